"""The commit lock of a log. That of any other file is :mod:`.file_lock`.

It lets one thread of one process at a time write. It is ``flock`` on the log.
A flock belongs to the open file: two instances in one process exclude each other, and the
kernel takes it from a process that dies (I4). A mutex stands before it, because threads of
one instance share the open file. Knows nothing of frames.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from threading import get_ident
from types import BuiltinFunctionType
from typing import Final, NoReturn

from dobbin_like.exc import ClosedError, LatePatchError, LockTimeout, SelfWaitError
from dobbin_like.log.file.disk import DiskError
from dobbin_like.processes.interrupts import reentrant_lock
from dobbin_like.processes.refusals import if_possible
from dobbin_like.processes.threaded_dict import ThreadedDict
from dobbin_like.warn_after import Waits

_logger = logging.getLogger(__name__)

# What the locker of portalocker calls, with plain numbers: every commit passes here twice, and
# the flags of portalocker cost more than the system calls. And a program that commits once need
# not wait for the import.
_flock: Final = fcntl.flock
_WAIT: Final = fcntl.LOCK_EX
_TRY: Final = fcntl.LOCK_EX | fcntl.LOCK_NB
_FREE: Final = fcntl.LOCK_UN
_monotonic: Final = time.monotonic

_MAY_BLOCK: Final = isinstance(get_ident, BuiltinFunctionType)
"""Whether the other threads go on while one waits in the system. Those of gevent do not, which
puts functions of its own into ``threading``; but they do while one sleeps."""

_TRIES: Final = 20
"""How often a lock that is not free is tried again before it is waited for.

That takes as long as most commits hold it. A thread that sleeps instead needs two to three times
as long for what it does next: the processor has forgotten its code and data meanwhile."""

_FIRST_PAUSE_SECONDS: Final = 0.0001
_LONGEST_PAUSE_SECONDS: Final = 0.002


_holders: dict[tuple[int, int], tuple[int, int]] = ThreadedDict()
"""(device, inode) of locked files to process and thread that hold the lock here.

An item is set and removed only by the holder of that file's lock. The process, because a
child inherits what is noted here, and not the locks.
"""

syncing: dict[tuple[tuple[int, int], int, int], threading.RLock] = ThreadedDict()
"""(device, inode) of files, process and thread that waits for the disk with one, or is about to:
to a lock which that thread has meanwhile; an interrupt may leave an item behind.

What comes in the middle of that in the same thread must not wait for it, nor do it again."""


def _is_in_use(key: tuple[int, int], process: int, thread: int) -> bool:
    """Tell whether a thread holds the lock of a file, or syncs the file."""
    turn = syncing.get((key, process, thread))
    is_syncing = turn is not None and turn._is_owned()  # type: ignore[attr-defined]  # noqa: SLF001
    return is_syncing or _holders.get(key) == (process, thread)


class CommitLock:
    """The commit lock of one instance; any thread may acquire it.

    Guarded by the mutex: ``_locked``. Set by the owner before use: the descriptor and its key.
    By the owner: ``holds``, ``held_seconds`` and ``longest_hold_seconds``, which count how often
    and how long it was held; ``waits`` has how often it was not free.

    Args:
        open_file: Returns a descriptor of the log, open for writing, and what keeps it
            open; called with the mutex held, so that one thread creates the file.
        tell: Called before waiting for the lock, to let the holder know.
        give_up: Called when the wait has ended without the lock. It must not raise.

    Raises:
        LatePatchError: What this module has imported does not tell threads apart any more.
    """

    def __init__(
        self,
        path: str,
        open_file: Callable[[], tuple[int, object]],
        tell: Callable[[], object],
        give_up: Callable[[], object],
    ) -> None:
        if threading.get_ident is not get_ident:
            raise LatePatchError(path)
        self._path = path
        self._open_file = open_file
        self._tell = tell
        self._give_up = give_up
        self._mutex = reentrant_lock()
        self._fd = -1
        self.keeper: object = None  # Of the descriptor, while it may be locked.
        self._key = (0, 0)
        self._pid = os.getpid()
        self._closed = False
        self._stale = False  # The file has been replaced; set by any thread.
        self._locked = False  # True from before the flock until after it is given back.
        self._timeout: float | None = None  # Of the thread that got it last.
        self.owner: int = 0  # The thread that holds the lock through this instance; 0: none.
        self._since = 0.0
        self._count_anew()

    def _count_anew(self) -> None:
        self.waits: Waits = Waits(self._warn)
        self.holds: int = 0
        self.held_seconds: float = 0.0
        self.longest_hold_seconds: float = 0.0

    @property
    def owned(self) -> bool:
        """Whether the calling thread holds the lock through this instance."""
        return self.owner == get_ident() and self._pid == os.getpid()

    def acquire(self, timeout: float | None = None) -> None:
        """Get the lock. Without a timeout, wait as long as it takes.

        Args:
            timeout: In seconds; 0 tries once.

        Raises:
            LockTimeout: It was not free in time. Nothing is held.
            SelfWaitError: This thread holds it already, by this instance or another, or is about
                to sync the file.
            ClosedError: It was closed while this thread waited. Nothing is held.
            OSError: The file can't be opened or locked. Nothing is held.
        """
        me = self._pid, get_ident()
        # The mutex: this is a signal handler, and the thread takes or gives back the lock below.
        if (
            _holders.get(self._key) == me
            or self._mutex._is_owned()  # type: ignore[attr-defined]  # noqa: SLF001
            or (syncing and _is_in_use(self._key, *me))
        ):
            raise SelfWaitError(self._path)
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            if not self._mutex.acquire(False):  # The keyword would cost as much as the call.
                self.waits.during(partial(self._wait_for_thread, timeout))
            if self._closed:
                self._refuse()
            if self._fd < 0 or self._stale:
                self._bind(*self._open_file())
            # Before the lock: an interrupt right after it must not hide it from release().
            self._locked = True
            if not self._try() and (timeout == 0 or not self._try_again()):
                self._wait_told(timeout, deadline)
            self._since = _monotonic()
            self._timeout = timeout
            self.owner = me[1]
            _holders[self._key] = me
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the lock back; nothing happens if this thread does not hold it.

        Idempotent, and complete whenever it comes to its end: interrupted between any
        two lines, here or in acquire(), another call leaves nothing locked (I4).
        """
        # The mutex tells whose the lock is: only its owner gets it at once, or any thread
        # while it is free. If it is free, there is nothing to give back except perhaps
        # the flock of an acquire() that was interrupted.
        mutex = self._mutex
        if not mutex.acquire(False):
            return
        try:
            if self.owner == get_ident():
                # Before the flock: after it the item may be another's.
                _holders.pop(self._key, None)
                self.owner = 0
                self.holds += 1
                seconds = _monotonic() - self._since
                self.held_seconds += seconds
                if seconds > self.longest_hold_seconds:  # noqa: PLR1730  In every commit.
                    self.longest_hold_seconds = seconds
            if self._locked:
                if self._fd >= 0:
                    try:
                        _flock(self._fd, _FREE)
                    except OSError as error:
                        self._refuse_for(error)
                self._locked = False
        finally:
            # As often as it was taken, here and by calls that were interrupted: in one
            # step, for which there is no public method.
            try:  # noqa: SIM105  An interrupt could come at the beginning of suppress().
                mutex._release_save()  # type: ignore[attr-defined]  # noqa: SLF001
            except RuntimeError:  # A signal handler has done it.
                pass

    def let_others(self, until: Callable[[], bool], seconds: float) -> None:
        """Let other processes have the lock until a condition is true, or for some time.

        The owner has it again afterwards; no other thread of this instance gets it meanwhile.

        Raises LockTimeout: Others keep it for longer than the owner wanted to wait.
        """
        timeout, began = self._timeout, time.monotonic()
        end = began + (seconds if timeout is None else min(seconds, timeout))
        _flock(self._fd, _FREE)
        try:
            while not until() and time.monotonic() < end:
                time.sleep(_FIRST_PAUSE_SECONDS / 2)
        finally:
            if not self._try():
                deadline = None if timeout is None else began + timeout
                self.waits.during(partial(self._wait, timeout, deadline))
            self._since = _monotonic()

    def is_used(self, key: tuple[int, int]) -> bool:
        """Whether the calling thread is doing something with the file *key*: a signal handler."""
        return _is_in_use(key, os.getpid(), get_ident()) or self._mutex._is_owned()  # type: ignore[attr-defined]  # noqa: SLF001

    @property
    def kept_free(self) -> threading.RLock:
        """Return a context manager that keeps the threads of this instance from taking the lock.

        For taking other locks of the open file, which all these threads share.
        """
        return self._mutex

    def close(self) -> None:
        """Wait until no thread of this instance holds the lock, and forget the file.

        The descriptor is about to be closed: a thread that still wrote to it would write to
        any file that gets the number next.
        """
        with if_possible():  # The descriptor may be closed.
            self.release()  # What an acquire() of this thread has that was interrupted at its end.
        with self._mutex:
            self._closed = True
            self.unbind()

    def unbind(self) -> None:
        """Forget the descriptor; the next acquire() opens the file again."""
        self._fd = -1
        self.keeper = None

    def after_fork_in_child(self) -> None:
        """Start anew: what the parent holds is not held here.

        Requires: The descriptor has been replaced by one of this process; an unlock of
        the inherited one would take the lock from the parent.
        """
        self._mutex = reentrant_lock()
        self._pid = os.getpid()
        self._locked = False
        self.owner = 0
        self._count_anew()

    def rebind(self, forget: Callable[[], object]) -> None:
        """Lock another file from the next acquire() on: the log goes on there.

        Args:
            forget: Called if no thread of this instance has the lock.
        """
        self._stale = True
        mutex = self._mutex
        if mutex._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001
            return  # This thread has the lock, or is about to.
        try:
            # A thread that waits for the lock of the old file needs its descriptor until then.
            if mutex.acquire(blocking=False) and not self._locked:
                self.unbind()
                forget()
        finally:
            # It is not asked first whether it is held: an interrupt could come between.
            try:  # noqa: SIM105  and at the beginning of suppress()
                mutex.release()
            except RuntimeError:  # It is not.
                pass

    def _bind(self, fd: int, keeper: object) -> None:
        self._stale = False
        try:
            status = os.fstat(fd)
        except OSError as error:
            self._refuse_for(error)
        self._key = (status.st_dev, status.st_ino)
        self._fd = fd
        self.keeper = keeper
        if _is_in_use(self._key, self._pid, get_ident()):  # By another instance.
            raise SelfWaitError(self._path)

    def _refuse(self) -> NoReturn:
        what = f"the log {self._path}"
        raise ClosedError(what)

    def _wait_for_thread(self, timeout: float | None) -> None:
        if timeout is None:
            self._mutex.acquire()
        elif timeout <= 0 or not self._mutex.acquire(timeout=min(timeout, threading.TIMEOUT_MAX)):
            raise LockTimeout(self._path, timeout)

    def _try(self) -> bool:
        try:
            _flock(self._fd, _TRY)
        except BlockingIOError:
            return False
        except (OSError, ValueError) as error:
            self._refuse_for(error)
        return True

    def _refuse_for(self, error: OSError | ValueError) -> NoReturn:
        if isinstance(error, OSError) and error.errno is None:
            raise error
        if self._closed:  # By a signal handler, a moment ago.
            self._refuse()
        text = f"the commit lock can't be used: {error}"
        raise DiskError(errno.ENOLCK, text, self._path) from error

    def _try_again(self) -> bool:
        """Try some times to get the lock, without telling its holder; return whether it did."""
        return any(self._try() for _ in range(_TRIES))

    def _wait_told(self, timeout: float | None, deadline: float | None) -> None:
        """Wait for the lock, and let its holder know that this process waits."""
        self._tell()
        try:
            self.waits.during(partial(self._wait, timeout, deadline))
        except BaseException:
            self._give_up()
            raise

    def _wait(self, timeout: float | None, deadline: float | None) -> None:
        if deadline is None and _MAY_BLOCK:
            try:
                _flock(self._fd, _WAIT)
            except (OSError, ValueError) as error:
                self._refuse_for(error)
            return
        pause = _FIRST_PAUSE_SECONDS
        while not self._try():
            left = pause if deadline is None else deadline - time.monotonic()
            if timeout is not None and left <= 0:
                raise LockTimeout(self._path, timeout)
            time.sleep(min(pause, left))
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _warn(self, thread: str, seconds: float) -> None:
        _logger.warning(
            "%s: thread %r has waited for the commit lock for %.1f seconds; %s",
            self._path,
            thread,
            seconds,
            self._who_holds(),
        )

    def _who_holds(self) -> str:
        process, thread = _holders.get(self._key, (0, 0))
        if process == os.getpid():
            names = {each.ident: each.name for each in threading.enumerate()}
            return f"thread {names.get(thread, thread)!r} of this process holds it"
        # Late: it is rarely needed.
        from dobbin_like.log.file import lock_table

        holder = None
        with if_possible(), contextlib.suppress(IndexError):
            # An instance that may write holds another lock of the file.
            file = lock_table.locks_of_descriptor(self._fd)[0].file
            holder, _ = lock_table.flock_of(file)
        return f"{f'process {holder}' if holder else 'another process'} holds it"
