"""Who may write to a log: one thread of one process, between acquire() and release().

What it writes is :mod:`.writer`'s business. Read :mod:`dobbin_like.log.transaction_log` next.
"""

from __future__ import annotations

import os
import threading
from threading import get_ident

from dobbin_like.exc import (
    LogMovedError,
    LogPackedError,
    NotHeldError,
    ReadOnlyStorageError,
)
from dobbin_like.log.file import lock
from dobbin_like.log.file.lock import CommitLock
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.format.header import Page, Words
from dobbin_like.log.reading.log_index import Applied
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.writing.writer import Writer

__all__ = ["LockedLog"]


class LockedLog(ReadableLog):
    """A readable log with its commit lock, and a writer for whoever holds it."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: bool,
        lock_timeout: float | None,
        read_only: bool,
    ) -> None:
        super().__init__(path, read_only=read_only)
        self._lock_timeout = lock_timeout
        self.read_only = read_only
        self._pid = os.getpid()
        self._lock = CommitLock(self.path, self._descriptor)
        self._writer = Writer(self._file, self._applied, self._boot, sync=sync)

    def after_fork_in_child(self) -> None:
        """Start anew in a forked child: own open file, new mutexes, nothing held.

        The parent keeps its lock; what it was writing is none of the child's business.
        """
        self._pid = os.getpid()
        self._attaching = threading.Lock()
        self._view = None
        self._lock.watch(None)
        self._file.after_fork_in_child()
        self._lock.after_fork_in_child()
        if self._file.moved:  # What is inherited must not be locked: it is the parent's.
            self._lock.unbind()
        self._writer.after_fork_in_child()
        words = self._file.words
        if words is not None:
            self._lock.watch(words.view)
            self._view = words.view

    @property
    def why_read_only(self) -> str:
        """Why acquire() is refused; empty if it is not."""
        return "the log was opened with read_only=True" if self.read_only else ""

    @property
    def held(self) -> bool:
        """Whether the calling thread holds the commit lock through this instance."""
        return self._lock.owned

    def acquire(self) -> None:
        """Take the commit lock; create the file if need be; put its end right.

        Raises:
            LockTimeout: Another held it for too long.
            SelfWaitError: This thread holds it, by this instance or another.
            ReadOnlyStorageError: The log was opened for reading.
            LogMovedError: The path leads to another file, or to none.
            LogPackedError: The log was packed; read_news() follows to the new file.
            IntegrityError, OSError: See recover(). In all cases nothing is held.
        """
        if self.closed or self.read_only:
            self._check_open()
            raise ReadOnlyStorageError(self.path, self.why_read_only)
        if lock.process != self._pid:
            self.after_fork_in_child()
        self._lock.acquire(self._lock_timeout)
        try:
            self._start_writing()
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """Give the lock back; cut off what was neither finished nor failed.

        Idempotent; nothing happens if this thread does not hold the lock.
        """
        if lock.process != self._pid:
            self.after_fork_in_child()
        try:
            if self._lock.owner == get_ident():
                self._writer.stop()
        finally:
            self._lock.release()

    # -- inside ----------------------------------------------------------------

    def _attach(self) -> tuple[Page, Words]:
        page, words = super()._attach()
        self._lock.watch(words.view)
        return page, words

    def _descriptor(self) -> tuple[int, object]:
        """Return the descriptor to be locked and its file, created if there is none."""
        file = self._file
        fd, words = file.open_for_writing(), file.words
        self._lock.watch(None if words is None else words.view)
        return fd, file

    def _switch_file(self, file: LogFile, applied: Applied) -> None:
        # Before anybody can lock the new file. Nobody writes to the old one any more.
        self._writer.switch_file(file, applied)
        super()._switch_file(file, applied)
        # Whoever waits for the lock of the old file finds out when it gets it.
        self._lock.rebind()

    def _start_writing(self) -> None:
        self._check_open()
        file = self._file
        if self._lock.keeper is not file:
            # Another thread has followed while this one waited for the lock of the old file.
            self._lock.rebind()
            raise LogPackedError(self.path, "the log was packed")
        try:
            size = file.size_at_path()
        except LogMovedError:
            if file.is_replaced():
                raise LogPackedError(self.path, "the log was packed") from None
            if self._view is None:
                # Opened for creation a moment ago: the next acquire() opens it anew.
                # Before the lock is released: the next thread must not find this one.
                self._lock.unbind()
                self._file.forget()
            raise
        if self._view is None:
            self._file.create(self._boot)
            self._attach()
            size = self._file.size_at_path()
        self._writer.start(size)

    def _close_file(self) -> None:
        self._lock.close()
        super()._close_file()

    def _check_held(self, step: str) -> None:
        if self._lock.owner != get_ident():
            self._check_open()
            raise NotHeldError(self.path, step, "the commit lock; call acquire() before")
