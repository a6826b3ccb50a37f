"""Steps that may be run again: what an interrupt cuts short is begun anew.

Ctrl-C, or another exception that a signal handler raises, may come between any two lines.
Where half of a change must never be seen, it is written as a step that may be repeated, and run
by :func:`finish_despite_interrupts`. A lock that is taken by ``with`` is given back:
:func:`reentrant_lock`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

_MORE_FRAMES: Final = 300
"""Of the stack: as many as the end of a transaction takes, and what it logs."""

_limits: Final[list[int]] = []
"""The limit of recursion that there was before it was raised: one for all threads, as it is."""


def finish_despite_interrupts(step: Callable[[], None]) -> None:
    """Run *step*, which may be repeated from any point, to its end, whatever interrupts it.

    The exception is raised when *step* has come to its end, or when it happens again and again
    and so is the step's own. After a RecursionError, there is more room on the stack: that from
    which it is called may have left too little, now as before.
    """
    interrupt: BaseException | None = None
    for _ in range(10):
        try:
            try:
                step()
                break
            except BaseException as error:  # noqa: BLE001  raised below
                interrupt = error
                if isinstance(error, RecursionError) and not _limits:
                    _limits.append(sys.getrecursionlimit())
                    sys.setrecursionlimit(_limits[0] + _MORE_FRAMES)
        except BaseException as error:  # noqa: BLE001  another one, that very moment
            interrupt = error
    if _limits:
        _put_limit_back()
    if interrupt is not None:
        raise interrupt


def _put_limit_back() -> None:
    # The stack may be too high for it: then the call around this one does it, or the next one.
    # Another thread may have done it.
    with suppress(RecursionError, IndexError):
        if sys.getrecursionlimit() == _limits[0] + _MORE_FRAMES:  # Else the program has set it.
            sys.setrecursionlimit(_limits[0])
        _limits.clear()


if TYPE_CHECKING:

    class _RLock:  # Type checkers let nobody inherit from that of threading.
        def acquire(self) -> bool: ...
        def release(self) -> None: ...
        def _recursion_count(self) -> int: ...

else:
    _RLock = type(threading.RLock())


class GivenBack(_RLock):
    """A re-entrant lock that is not held when an interrupt has kept a ``with`` from beginning.

    CPython 3.14 looks for signals between the end of ``__enter__`` and the block (gh-148874): if
    ``__enter__`` is that of a lock, written in C, nothing gives the lock back. If it is one in
    Python, the interrupt comes inside of it.
    """

    def __enter__(self) -> bool:
        before = self._recursion_count()
        try:
            return self.acquire()
        except BaseException:
            finish_despite_interrupts(lambda: self._give_back(before))
            raise

    def _give_back(self, count: int) -> None:
        while self._recursion_count() > count:
            self.release()


def reentrant_lock() -> threading.RLock:
    """Return a lock for ``with``: wherever an interrupt comes, the thread holds it inside only."""
    lock: Any = GivenBack() if sys.version_info[:2] == (3, 14) else threading.RLock()
    return cast("threading.RLock", lock)
