"""Threads that the package starts for itself, to do what can also be done later or never."""

from __future__ import annotations

import sys
import threading


def start_thread(thread: threading.Thread) -> bool:
    """Start *thread*; return whether it runs: not when the interpreter ends, or has too many."""
    if sys.is_finalizing():  # Before Python 3.12, start() would wait for ever.
        return False
    try:
        thread.start()
    except RuntimeError:
        return False
    return True
