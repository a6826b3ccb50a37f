"""The commit lock of a log in memory: one thread of one instance at a time may write.

Keeps the promises of the lock of a file, and is given back whole however often taking and giving
were interrupted. Knows nothing of what it guards.
"""

from __future__ import annotations

import threading
import time
import weakref
from threading import get_ident
from typing import Final

from dobbin_like.exc import LockTimeout, SelfWaitError
from dobbin_like.processes.children import in_children
from dobbin_like.processes.interrupts import reentrant_lock
from dobbin_like.processes.threaded_dict import ThreadedDict

_GIVE_WAY_SECONDS: Final = 0.002
_GIVE_WAY_STEP_SECONDS: Final = 0.00005

_locks: weakref.WeakSet[MemoryLock] = weakref.WeakSet()
"""All locks of this process, for the children it forks."""


def _after_fork_in_child() -> None:
    for lock in _locks:
        lock.after_fork_in_child()


in_children(_after_fork_in_child)


class MemoryLock:
    """The lock that all instances over one log in memory share.

    ``_instances`` has the thread that waits for the lock or holds it, and the instance it
    does so through. Each thread sets and removes its own item only: set before the lock is
    taken and removed after it was given back, so that an interrupt between any two lines
    leaves release() something to go by.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        # Re-entrant, because that kind knows its owner; it is never taken twice.
        self._mutex = reentrant_lock()
        self._instances: dict[int, object] = ThreadedDict()
        self._last = 0  # The thread that had it last.
        _locks.add(self)

    def held(self, instance: object) -> bool:
        return self._instances.get(get_ident()) is instance and self._owned()

    def acquire(self, instance: object, timeout: float | None) -> None:
        """Get the lock for this thread, through *instance*; SelfWaitError: it waits or has it."""
        me = get_ident()
        if me in self._instances:
            raise SelfWaitError(self._path)
        try:
            self._instances[me] = instance
            started = time.monotonic()
            if self._last == me and len(self._instances) > 1:
                self._give_way(me, timeout)
            self._wait(timeout, started)
            self._last = me
        except BaseException:
            self.release(instance)
            raise

    def release(self, instance: object) -> None:
        """Give the lock back, if the calling thread holds it through *instance*. Idempotent."""
        me = get_ident()
        if self._instances.get(me) is not instance:
            return
        if self._owned():
            self._mutex.release()
        self._instances.pop(me, None)

    def wait_until_unused(self, instance: object) -> None:
        """Wait until no other thread uses *instance* to write."""
        me = get_ident()
        others = [
            thread
            for thread, other in list(self._instances.items())
            if other is instance and thread != me
        ]
        if others:
            with self._mutex:
                pass  # The holder has released it, and the next one is refused.

    def after_fork_in_child(self) -> None:
        self._mutex = reentrant_lock()
        self._instances.clear()
        self._last = 0

    def _owned(self) -> bool:
        # There is no public way to ask.
        return bool(self._mutex._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001

    def _wait(self, timeout: float | None, started: float) -> None:
        if timeout is None:
            self._mutex.acquire()
            return
        left = timeout - (time.monotonic() - started)
        if left > 0:
            acquired = self._mutex.acquire(timeout=min(left, threading.TIMEOUT_MAX))
        else:
            acquired = self._mutex.acquire(blocking=False)
        if not acquired:
            raise LockTimeout(self._path, timeout)

    def _give_way(self, me: int, timeout: float | None) -> None:
        """Let another thread that waits for the lock have it, for at most two milliseconds.

        The thread that released it would get it again before the one that it woke has run.
        """
        seconds = _GIVE_WAY_SECONDS if timeout is None else min(timeout, _GIVE_WAY_SECONDS)
        until = time.monotonic() + seconds
        while self._last == me and len(self._instances) > 1 and time.monotonic() < until:
            time.sleep(_GIVE_WAY_STEP_SECONDS)
