"""The locks of files, by portalocker; above all the commit lock of a log.

The commit lock lets one thread of one process at a time write. It is ``flock`` on the log.
A flock belongs to the open file: two instances in one process exclude each other, and the
kernel takes it from a process that dies (I4). A mutex stands before it, because threads of
one instance share the open file. The page of the header has a few words by which waiters
ask for their turn; they are hints, and nothing but fairness depends on them. Knows nothing
of frames.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Final, NoReturn

from dobbin_like.exc import ClosedError, LockTimeout, SelfWaitError
from dobbin_like.log.format.header import SLOT_COUNT, SLOTS, TURN

if TYPE_CHECKING:
    from portalocker.portalocker import FlockLocker

# FlockLocker, not portalocker.lock(): that one follows a switch of the process which may be
# set to lockf, and lockf belongs to the process: two instances would both get the lock.
# The commit lock takes the primitive that the locker has, with plain numbers: every commit
# passes here twice, and the flags of portalocker cost more than the system calls.
_WAIT: Final = fcntl.LOCK_EX
_TRY: Final = fcntl.LOCK_EX | fcntl.LOCK_NB
_FREE: Final = fcntl.LOCK_UN

_FIRST_PAUSE_SECONDS: Final = 0.0001
_LONGEST_PAUSE_SECONDS: Final = 0.002
_GIVE_WAY_SECONDS: Final = 0.002
_GIVE_WAY_STEP_SECONDS: Final = 0.00005

process = os.getpid()
"""This process, also after a fork: asking the system at every step costs more."""


def _after_fork_in_child() -> None:
    global process  # noqa: PLW0603  there is one of it
    process = os.getpid()
    # The child inherits what is noted here, and not the locks.
    _holders.clear()
    for inherited in _locks:
        inherited.owner = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _random() -> int:
    return int.from_bytes(os.urandom(8), "little") >> 1 | 1


def _set(view: memoryview[int], index: int, word: int) -> None:
    """Set a word of the header.

    Another thread may let the header go: the log goes on in another file, and fairness in
    this one matters to nobody any more.
    """
    with suppress(ValueError):
        view[index] = word


def _locker() -> FlockLocker:
    # Late: it takes 16 ms to import, and a program that only reads never locks.
    from portalocker.portalocker import FlockLocker

    return FlockLocker()


def try_lock(fd: int, path: str) -> bool:
    """Lock a file if it is free; return whether it was. Raises OSError: it can't be locked."""
    from portalocker import AlreadyLocked, LockException, LockFlags

    try:
        _locker().lock(fd, LockFlags.EXCLUSIVE | LockFlags.NON_BLOCKING)
    except AlreadyLocked:
        return False
    except LockException as error:
        raise OSError(errno.ENOLCK, f"it can't be locked: {error}", path) from error
    return True


def unlock(fd: int) -> None:
    """Let others lock a file that try_lock() has locked."""
    _locker().unlock(fd)


_holders: dict[tuple[int, int], int] = {}
"""(device, inode) of locked files to the thread of this process that holds the lock.

An item is set and removed only by the holder of that file's lock.
"""

_locks: weakref.WeakSet[CommitLock] = weakref.WeakSet()
"""All locks of this process, for the children it forks."""

_NOBODY: Final = bytes(8 * SLOT_COUNT)


class CommitLock:
    """The commit lock of one instance; any thread may acquire it.

    Guarded by the mutex: ``_locked``. Set by the owner before use: the descriptor, its
    key and the view of the header words.

    Args:
        open_file: Returns a descriptor of the log, open for writing, and what keeps it
            open; called with the mutex held, so that one thread creates the file.
    """

    def __init__(self, path: str, open_file: Callable[[], tuple[int, object]]) -> None:
        self._path = path
        self._open_file = open_file
        self._mutex = threading.RLock()
        self._fd = -1
        self._keeper: object = None  # Of the descriptor, while it may be locked.
        self._key = (0, 0)
        self._view: memoryview[int] | None = None
        self._slots: memoryview[int] | None = None
        self._flock: Callable[[int, int], object]
        self._me = _random()
        self._slot = SLOTS + self._me % SLOT_COUNT
        self._closed = False
        self._stale = False  # The file has been replaced; set by any thread.
        self._locked = False  # True from before the flock until after it is given back.
        self.owner = 0  # The thread that holds the lock through this instance; 0: none.
        _locks.add(self)

    def watch(self, view: memoryview[int] | None) -> None:
        """Use the words of the header, raw, for fairness from now on; or no longer."""
        if view is not None and view is self._view:
            return
        self._view = view
        if self._slots is not None:
            self._slots.release()
        self._slots = None if view is None else view[SLOTS : SLOTS + SLOT_COUNT]

    @property
    def keeper(self) -> object:
        """What keeps the descriptor open that is locked, or was last; for the owner."""
        return self._keeper

    @property
    def owned(self) -> bool:
        """Whether the calling thread holds the lock through this instance."""
        return self.owner == get_ident()

    def acquire(self, timeout: float | None = None) -> None:
        """Get the lock. Without a timeout, wait as long as it takes.

        Args:
            timeout: In seconds; 0 tries once.

        Raises:
            LockTimeout: It was not free in time. Nothing is held.
            SelfWaitError: This thread holds it already, by this instance or another.
            ClosedError: It was closed while this thread waited. Nothing is held.
            OSError: The file can't be opened or locked. Nothing is held.
        """
        me = get_ident()
        if _holders.get(self._key) == me:
            raise SelfWaitError(self._path)
        deadline = None
        if timeout is None:
            self._mutex.acquire()
        else:
            deadline = time.monotonic() + timeout
            if not self._acquire_mutex(timeout):
                raise LockTimeout(self._path, timeout)
        try:
            if self._closed:
                self._refuse()
            if self._fd < 0 or self._stale:
                self._bind(*self._open_file())
            # Before the lock: an interrupt right after it must not hide it from release().
            self._locked = True
            self._acquire_flock(timeout, deadline)
            self.owner = me
            _holders[self._key] = me
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the lock back; nothing happens if this thread does not hold it.

        Idempotent, and complete whenever it comes to its end: interrupted between any
        two lines, here or in acquire(), another call leaves nothing locked (I4).
        """
        # The mutex tells whose the lock is: only its owner, or anybody while it is free,
        # gets it at once. A free one means that there is nothing to give back but
        # perhaps a flock of an acquire() that was interrupted.
        mutex = self._mutex
        if not mutex.acquire(False):  # The keyword would cost as much as the call.
            return
        try:
            if self._locked:
                if self.owner == get_ident():
                    # Before the flock: after it the item may be another's.
                    _holders.pop(self._key, None)
                    self.owner = 0
                # A hook of somebody else may come here in a child before ours does: the
                # inherited descriptor has the lock of the parent.
                if self._fd >= 0 and os.getpid() == process:
                    self._flock(self._fd, _FREE)
                self._locked = False
        finally:
            # As often as it was taken, here and by calls that were interrupted: in one
            # step, for which there is no public name.
            mutex._release_save()  # type: ignore[attr-defined]  # noqa: SLF001

    def close(self) -> None:
        """Wait until no thread of this instance holds the lock, and forget the file.

        The descriptor is about to be closed: a thread that still writes to it would
        write to whatever file gets the number next.
        """
        with self._mutex:
            self._closed = True
            self._fd = -1
            self._keeper = None
            self.watch(None)

    def unbind(self) -> None:
        """Forget the descriptor; the next acquire() opens the file again."""
        self._fd = -1
        self._keeper = None

    def after_fork_in_child(self) -> None:
        """Start anew: what the parent holds is not held here.

        Requires: The descriptor has been replaced by one of this process; an unlock of
        the inherited one would take the lock from the parent.
        """
        self._mutex = threading.RLock()
        self._locked = False
        self.owner = 0
        self._me = _random()
        self._slot = SLOTS + self._me % SLOT_COUNT

    def rebind(self) -> None:
        """Lock another file from the next acquire() on: the log goes on there."""
        self._stale = True
        # A thread that waits for the lock of the old file needs its descriptor until then.
        if self._mutex.acquire(blocking=False):
            try:
                if not self._locked:
                    self._fd = -1
                    self._keeper = None
                    self.watch(None)
            finally:
                self._mutex.release()

    def _bind(self, fd: int, keeper: object) -> None:
        self._stale = False
        status = os.fstat(fd)
        self._key = (status.st_dev, status.st_ino)
        self._flock = _locker().locker
        self._fd = fd
        self._keeper = keeper
        if _holders.get(self._key) == get_ident():  # Another instance created the file.
            raise SelfWaitError(self._path)

    def _refuse(self) -> NoReturn:
        what = f"the log {self._path}"
        raise ClosedError(what)

    def _acquire_mutex(self, timeout: float) -> bool:
        if timeout <= 0:
            return self._mutex.acquire(blocking=False)
        return self._mutex.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))

    def _acquire_flock(self, timeout: float | None, deadline: float | None) -> None:
        view = self._view
        if view is None:
            self._wait(timeout, deadline)
            return
        # flock lets the releaser in again before the waiter it woke has run, for as long
        # as it likes. So whoever had the last turn lets the others go first.
        if self._should_give_way(view):
            with suppress(ValueError):
                self._give_way(view, deadline)
        elif self._try():
            _set(view, TURN, self._me)
            return
        _set(view, self._slot, time.monotonic_ns())
        try:
            self._wait(timeout, deadline)
            _set(view, TURN, self._me)
        finally:
            _set(view, self._slot, 0)

    def _should_give_way(self, view: memoryview[int]) -> bool:
        try:
            return view[TURN] == self._me and self._waiters()
        except ValueError:  # As in _set().
            return False

    def _try(self) -> bool:
        try:
            self._flock(self._fd, _TRY)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._unusable(error) from error
        return True

    def _wait(self, timeout: float | None, deadline: float | None) -> None:
        if deadline is None:
            try:
                self._flock(self._fd, _WAIT)
            except OSError as error:
                raise self._unusable(error) from error
            return
        pause = _FIRST_PAUSE_SECONDS
        while not self._try():
            left = deadline - time.monotonic()
            if left <= 0:
                raise LockTimeout(self._path, timeout)
            time.sleep(min(pause, left))
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _unusable(self, error: OSError) -> OSError:
        text = f"the commit lock can't be used: {error}"
        return OSError(errno.ENOLCK, text, self._path)

    def _waiters(self) -> bool:
        slots = self._slots
        return slots is not None and slots.tobytes() != _NOBODY

    def _give_way(self, view: memoryview[int], deadline: float | None) -> None:
        """Wait until another one had the lock, for at most two milliseconds."""
        slots = self._slots
        if slots is None:
            return
        before = list(slots)
        until = time.monotonic() + _GIVE_WAY_SECONDS
        if deadline is not None:
            until = min(until, deadline)
        while view[TURN] == self._me and self._waiters():
            if time.monotonic() >= until:
                # Waited in vain: those who asked are dead. A live one that was too slow
                # loses a hint, not its place in the queue of the kernel.
                for index, since in enumerate(before):
                    if since and slots[index] == since:
                        slots[index] = 0
                return
            time.sleep(_GIVE_WAY_STEP_SECONDS)
