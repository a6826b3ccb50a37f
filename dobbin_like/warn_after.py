"""After how long a warning is logged, and what is found out while something is waited for.

Set the two limits at the start of a program; ``None``: never.

A thread that waits can't tell that it does. So another one looks when the limit is over: it is
started by the first wait of a while, and ends when nobody waits. Knows nothing of locks.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Final, TypeVar

from dobbin_like.processes.children import in_children
from dobbin_like.processes.interrupts import reentrant_lock

__all__ = ["Waits", "lock_seconds", "snapshot_seconds"]

lock_seconds: float | None = 10.0
"""How long a thread may wait for the commit lock. A commit holds it for milliseconds, the end of
a pack for less than a second; it takes as long only where something stands still."""

snapshot_seconds: float | None = 300.0
"""How long a thread may stay with a snapshot while newer transactions come. A report may take a
minute; after five, it is more likely that somebody forgot to end a transaction."""

_LEAST_SECONDS: Final = 0.01

_T = TypeVar("_T")


class Waits:
    """The waits for one thing. Any thread.

    Args:
        warn: Logs a warning; called with the name of a thread that waits, and for how many
            seconds it does. In another thread, which holds nothing.
    """

    def __init__(self, warn: Callable[[str, float], object]) -> None:
        self.count: int = 0
        self.seconds: float = 0.0
        self.longest_seconds: float = 0.0
        self.warn = warn
        self._counting = reentrant_lock()

    def during(self, step: Callable[[], _T]) -> _T:
        """Return what *step* returns, which waits."""
        wait = _Wait(self)
        try:
            _current.add(wait)
            _watcher.wake()
            return step()
        finally:
            _current.discard(wait)
            seconds = time.monotonic() - wait.since
            with self._counting:
                self.count += 1
                self.seconds += seconds
                self.longest_seconds = max(self.longest_seconds, seconds)


class _Wait:
    """One wait that is going on."""

    def __init__(self, waits: Waits) -> None:
        self.waits = waits
        self.since = time.monotonic()
        self.thread = threading.current_thread().name
        self.told = False


# Weak: an interrupt that comes before a wait is taken out leaves nothing to be warned of.
_current: Final[weakref.WeakSet[_Wait]] = weakref.WeakSet()


class _Watcher:
    """Looks at the waits that go on, in a thread of its own."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def wake(self, seconds: float | None = None) -> None:
        """Let it look after some time, unless it does already: twice at most, if two ask at once.

        Args:
            seconds: By default, those after which a wait is too long.
        """
        limit = lock_seconds
        if self._timer is not None or limit is None:
            return
        delay = max(limit if seconds is None else seconds, _LEAST_SECONDS)
        delay = min(delay, threading.TIMEOUT_MAX)
        self._timer = timer = threading.Timer(delay, self._look)
        timer.name = "dobbin_like waits"
        timer.daemon = True
        try:
            timer.start()
        except BaseException as error:
            self._timer = None
            if not isinstance(error, RuntimeError):  # The interpreter ends.
                raise

    def forget(self) -> None:
        """Start anew in a forked child, where the thread is not."""
        self._timer = None
        _current.clear()

    def _look(self) -> None:
        self._timer = None  # A thread that waits from here on wakes it again.
        limit, now = lock_seconds, time.monotonic()
        if limit is None:
            return
        waits = sorted(_going_on(), key=lambda wait: wait.since)
        # Of many that wait for the same, one is told of: it is the same trouble.
        told = {wait.waits for wait in waits if wait.told}
        delays = []
        for wait in waits:
            seconds = now - wait.since
            if seconds < limit:
                delays.append(limit - seconds)
            elif wait.waits not in told:
                told.add(wait.waits)
                wait.told = True
                wait.waits.warn(wait.thread, seconds)
            elif not wait.told:
                delays.append(limit)
        if delays:
            self.wake(min(delays))


def _going_on() -> list[_Wait]:
    while True:
        try:
            return list(_current)
        except RuntimeError:  # One has begun meanwhile.
            continue


_watcher: Final = _Watcher()

in_children(_watcher.forget)
