"""Becomes another program that is killed when its parent is gone: ``launcher.py PARENT COMMAND``.

It is run by itself, without the package, so that it is left as soon as possible.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):  # It was gone before that.
        sys.exit(1)
    os.execvp(sys.argv[2], sys.argv[2:])
