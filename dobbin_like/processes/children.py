"""What runs in each child that is forked, whatever a signal handler does there."""

from __future__ import annotations

import os
from collections.abc import Callable


def in_children(start: Callable[[], object]) -> None:
    """Let *start* run in each child that this process forks, before anything else of the program.

    What a signal handler raises in a hook is lost, and the rest of the hook with it. So there are
    two: the second one runs *start* again unless it has come to its end. It has to bear that.
    What else it raises, the interpreter reports, and the child goes on.
    """
    if not hasattr(os, "register_at_fork"):
        return
    started_in = os.getpid()

    def first() -> None:
        nonlocal started_in
        start()
        started_in = os.getpid()

    def again() -> None:
        if started_in != os.getpid():
            first()

    os.register_at_fork(after_in_child=first)
    os.register_at_fork(after_in_child=again)
