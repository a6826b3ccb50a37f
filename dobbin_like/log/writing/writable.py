"""The right to write to a log: one thread of one process has it, between acquire() and release().

:mod:`.writer` writes, and :mod:`.durability` waits until what was written is durable.
Read :mod:`dobbin_like.log.transaction_log` next.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Callable
from threading import get_ident
from typing import Final

from dobbin_like.exc import (
    Error,
    LogMovedError,
    LogPackedError,
    NotHeldError,
    ReadOnlyStorageError,
)
from dobbin_like.log.file import range_lock
from dobbin_like.log.file.at_path import is_replaced, size_at_path
from dobbin_like.log.file.disk import DiskError
from dobbin_like.log.file.lock import CommitLock
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.reading.log_index import Applied
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.writing.durability import Durability
from dobbin_like.log.writing.presence import alone, join
from dobbin_like.log.writing.syncing import SyncFailedError
from dobbin_like.log.writing.waiting import Waiting
from dobbin_like.log.writing.writer import Writer
from dobbin_like.processes.children import in_children
from dobbin_like.processes.interrupts import finish_despite_interrupts

__all__ = ["WritableLog"]

_logger = logging.getLogger(__name__)

_SAVE_AT_CLOSE_ENTRIES: Final = 10_000
"""Entries for which close() saves the positions: some 10 ms of opening."""

_PAUSE_SECONDS: Final = 0.0005
_GIVE_WAY_SECONDS: Final = 0.002

_MOST_HIDDEN: Final = 50
"""Transactions that may wait for the disk, most of them failed ones for which nobody waits."""


_kept: weakref.WeakSet[WritableLog] = weakref.WeakSet()
"""Those of this process that the children it forks have nothing to do with."""


def _after_fork_in_child() -> None:
    for writing in list(_kept):
        writing.let_go_in_child()


in_children(_after_fork_in_child)


class WritableLog:
    """The commit lock of a log, the writer for its holder, and the wait for the disk.

    Args:
        sync: Whether what is written is on stable storage before it is visible.
        lock_timeout: Seconds to wait for the commit lock, and with what is left of them for those
            that sync before anything is appended; None: as long as it takes.
    """

    def __init__(self, log: ReadableLog, *, sync: bool, lock_timeout: float | None) -> None:
        self.log = log
        self.sync = sync
        self.lock_timeout = lock_timeout
        self._waiting = Waiting(log)
        self.lock: CommitLock = CommitLock(
            log.path, self._descriptor, self._waiting.tell, self._waiting.give_up
        )
        self.writer: Writer = Writer(log, sync=sync)
        self.durability: Durability = Durability(log, self.writer, lock_timeout=lock_timeout)
        self._closing = False
        self._pid = os.getpid()
        self._starting: dict[int, int] = {}  # The thread that starts anew in a forked child.
        log.follow_to = self._follow_to

    # -- the lock --------------------------------------------------------------

    def acquire(self, *, settled: bool = True) -> None:
        """Take the commit lock; create the file if need be; put its end right.

        Args:
            settled: Wait until all that is appended is visible.

        Raises:
            LockTimeout: It was not free in time, or what is appended was not visible.
            LogMovedError: The path leads to another file, or to none.
            IntegrityError, OSError: See recover(). Nothing is held, nor after the errors of
                the contract.
        """
        log = self.log
        if log.closed or log.read_only:
            log.check_open()
            raise ReadOnlyStorageError(log.path, self.why_read_only)
        if os.getpid() != self._pid:
            self.after_fork_in_child()
        timeout = self.lock_timeout
        if timeout is None:
            self._take(None)
        else:
            since = time.monotonic()
            self._take(timeout)
            self.durability.patience.left = timeout - (time.monotonic() - since)
        if self._closing or self.writer.unseen:
            try:
                if self._closing:  # While this thread waited.
                    log.refuse_closed()
                if settled or len(self.writer.hidden) > _MOST_HIDDEN:
                    self._settle()
            except BaseException:
                self.release()
                raise

    def _take(self, timeout: float | None) -> None:
        log = self.log
        while True:
            file = log.file
            if file.is_given_away:
                file.check_descriptor()
            if not file.joined:
                self._join()
            if not file.is_ready:
                file.get_ready()
            self.lock.acquire(timeout)
            try:
                if self._start():
                    if self._waiting.told:
                        self._waiting.got_it()
                    return
            except BaseException:
                self.lock.release()
                raise
            self.lock.release()

    def _join(self) -> None:
        log = self.log
        # Another thread may be creating the file, or may have joined already.
        with self.lock.kept_free:
            file = log.file
            if not file.joined and file.attach():
                log.attach()
                if not join(log):
                    self._refuse_moved(file)

    def release(self) -> None:
        """Give the lock back; what was neither decided nor failed is dropped."""
        if os.getpid() != self._pid:
            self.after_fork_in_child()
        loose = False
        try:
            if self.lock.owner == get_ident():
                self.writer.stop()
                loose = self.writer.loose_end is not self.writer.synced_end
        finally:
            self.lock.release()
        if loose:
            self.durability.flusher.wake()

    def held_by_caller(self, step: str) -> Writer:
        """Return the writer. Raises NotHeldError if the calling thread does not hold the lock."""
        if not self.lock.owned:
            self.log.check_open()
            raise NotHeldError(self.log.path, step, "the commit lock; call acquire() before")
        return self.writer

    @property
    def why_read_only(self) -> str:
        """Why acquire() is refused; empty if it is not."""
        if not self.log.read_only:
            return ""
        return "the storage was opened with read_only=True; open it without it to change anything"

    def _settle(self) -> None:
        """Wait until all that is appended is visible. With the lock: nothing is added to it."""
        while hidden := self.writer.hidden:
            self.durability.wait_for(hidden[-1])
            self.writer.start(self._size_at_path(self.log.file))

    # -- its beginning and its end ---------------------------------------------

    def open(self) -> None:
        """Open the file if it is there, put its end right, and apply what is in it."""
        log = self.log
        while log.open():
            if log.read_only:
                return
            if join(log):
                log.apply(log.read_news())
                return
            # Another file has replaced it meanwhile: the log was packed or restored.
            log.start_anew()
            self.writer.forget()

    def close(self, *, save: bool = True) -> None:
        """Give files and lock back. Idempotent; waits for a commit of another thread.

        What was written without sync is brought to stable storage.

        Args:
            save: Whether the positions are saved for the next opening, if many entries came
                since and nobody holds the lock.

        Raises:
            OSError: Syncing failed. The log is closed all the same.
        """
        log = self.log
        if log.closed:
            return
        if os.getpid() != self._pid:
            self.after_fork_in_child()
        self._closing = True  # Threads that wait for the lock are refused.
        log.file.is_in_use = self.lock.is_used(log.file.key)
        self.durability.flusher.stop()
        try:
            if log.file.joined:
                self.release()
                if save:
                    self._save()
                self._leave()
        finally:
            self.lock.close()  # Nothing is appended any more.
            log.closed = True  # Last: if this is interrupted before, close() can be called again.
            try:
                self.durability.close()
            finally:
                try:
                    finish_despite_interrupts(self.close_file)
                except BaseException:
                    self.close_file()  # It may have come before the first step.
                    raise

    def close_file(self) -> None:
        """Give files and lock back."""
        self.lock.close()
        self.log.close_file()
        # What is in doubt may be in one that was replaced, which nothing else keeps.
        for promise in list(self.writer.promises.values()):
            promise.file.close()

    def after_fork_in_child(self) -> None:
        """Start anew in a forked child: own open file, new mutexes, nothing held.

        The parent keeps its lock; the child does not touch what the parent was writing.

        Raises:
            OSError: The file can't be opened. The next use tries again.
        """
        me, pid = get_ident(), os.getpid()
        # If no hook has seen the fork, several threads may call this: one of them does it. A lock
        # would not do: it may have been held when the process was forked.
        while self._starting.setdefault(pid, me) != me:
            if self._pid == pid:
                return
            time.sleep(_PAUSE_SECONDS)
        try:
            self.log.after_fork_in_child()
            self.lock.after_fork_in_child()
            self.writer.after_fork_in_child()
            self.durability.after_fork_in_child()
            self._pid = pid
        except BaseException:
            self._starting.pop(pid, None)
            raise

    def keep_from_children(self) -> None:
        """Let no child that is forked have the file, nor its locks: they end with this process."""
        _kept.add(self)

    def let_go_in_child(self) -> None:
        """Have nothing to do with the file, in a forked child."""
        self.after_fork_in_child()
        self.log.closed = True
        self.close_file()

    # -- inside ----------------------------------------------------------------

    def _descriptor(self) -> tuple[int, object]:
        """Return the descriptor to be locked and its file, created if there is none."""
        file = self.log.file
        return file.open_for_writing(), file

    def _follow_to(self, applied: Applied) -> None:
        # The old file is not written to any more.
        self.log.switch_to(applied)
        # A thread that waits for the lock of the old file finds out when it gets it; and the
        # holder of the lock of the new one makes the writer forget.
        self.lock.rebind(self.writer.forget)

    def _start(self) -> bool:
        """Begin to write; return False if the lock has to be taken again."""
        log = self.log
        if log.closed:  # While this thread waited.
            log.check_open()
        file = log.file
        if self.lock.keeper is not file:
            # Another thread has followed while this one waited for the lock of the old file.
            self.lock.rebind(self.writer.forget)
            raise LogPackedError(log.path, "the log was packed")
        size = self._size_at_path(file)
        if not file.joined:
            if file.words is not None or not self._create():
                return False
            size = self._size_at_path(file)
        if self.writer.start(size):
            self._give_way(file)
        return True

    def _create(self) -> bool:
        """Write the header page of the log, and count among its writers; see _start()."""
        file = self.log.file
        file.create()
        self.log.attach()
        # A file without a page is never recovered, so that there is nothing to wait for.
        fd, path = file.fd, file.path
        file.joined = range_lock.lock(fd, path, range_lock.WRITER, shared=True, wait=False)
        return file.joined

    def _give_way(self, file: LogFile) -> None:
        # flock lets a releasing process in again before the waiter that it woke has run, any
        # number of times. So the last holder lets a waiting process go first.
        self.lock.let_others(self.writer.is_disturbed, _GIVE_WAY_SECONDS)
        # Of the file that is locked: another thread may have followed to one that replaced it.
        if self.writer.start(self._size_at_path(file)):
            self._waiting.forget_the_dead()

    def _size_at_path(self, file: LogFile) -> int:
        try:
            return size_at_path(file)
        except LogMovedError:
            # Since it was opened for creation, others may have begun and packed it.
            file.attach()
            if is_replaced(file):
                raise LogPackedError(self.log.path, "the log was packed") from None
            if file.words is None:
                # Opened for creation a moment ago: the next acquire() opens it anew.
                # Before the lock is released: the next thread must not find this one.
                self.lock.unbind()
                file.forget()
            raise

    def _refuse_moved(self, file: LogFile) -> None:
        # That file: another thread may have followed meanwhile.
        if is_replaced(file):
            raise LogPackedError(self.log.path, "the log was packed")
        raise LogMovedError(self.log.path, "another file is there")

    def _for_a_moment(self, step: Callable[[], None]) -> None:
        """Run *step* with the lock. Raises LockTimeout at once if it is not free."""
        self._take(0)
        try:
            step()
        finally:
            self.release()

    def _save(self) -> None:
        """Save the positions for the next opening. A shortcut: it may fail."""
        unsaved, positions = self.log.applied.unsaved, self.log.applied.positions
        if unsaved <= _SAVE_AT_CLOSE_ENTRIES or not positions.is_worth_saving(unsaved):
            return
        try:
            self._for_a_moment(self.writer.save)
        except (DiskError, Error) as error:
            _logger.info("%s: positions are not saved: %s", self.log.path, error)

    def _leave(self) -> None:
        """Bring what is visible to stable storage; the last instance cuts off the zeros."""
        self.durability.make_durable()
        # Another thread may be joining: the locks of the open file are those of both.
        with self.lock.kept_free:
            file = self.log.file
        # The instance has followed to a packed log, where it wrote nothing; or the descriptor
        # was closed, and the locks are those of another file.
        if not file.joined or file.is_given_away:
            return
        try:
            with alone(file) as nobody_else:
                if nobody_else:
                    self._for_a_moment(self._tidy)
        except (DiskError, Error, SyncFailedError) as error:
            _logger.info("%s: not put in order: %s", self.log.path, error)

    def _tidy(self) -> None:
        appended = self.writer.appended
        # Failed transactions, which nobody has waited for.
        end = appended.place.end
        self.durability.queue.make_durable(self.log.file, end, appended.failures)
        self.writer.cut_zeros()
