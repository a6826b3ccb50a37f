"""Threads: those that the package starts for itself, and whether one of the program has run."""

from __future__ import annotations

import sys
import threading
import time

from dobbin_like.processes.refusals import if_possible


def start_thread(thread: threading.Thread) -> bool:
    """Start *thread*; return whether it runs: not when the interpreter ends, or has too many."""
    if sys.is_finalizing():  # Before Python 3.12, start() would wait for ever.
        return False
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


class RunTime:
    """Tells now and then whether the thread that has made it has run since.

    Any thread asks. A thread that waits for a lock, for input or for time does not run.
    """

    __slots__ = ("_clock", "_seen")

    def __init__(self) -> None:
        self.follow()

    def follow(self) -> None:
        """Look at the calling thread from now on."""
        # That of pthread_getcpuclockid(), which may crash for a thread that has ended, or that
        # is none for the system. The kernel refuses the clock of a thread that is not there.
        self._clock = ~threading.get_native_id() << 3 | 6
        self._seen = -1.0

    def has_run(self) -> bool:
        """Return whether the thread has run since the last call; True: it can't be told."""
        seen = self._seen
        with if_possible():  # It may have ended, or been in the process that has forked this one.
            self._seen = time.clock_gettime(self._clock)
            return self._seen != seen
        return True
