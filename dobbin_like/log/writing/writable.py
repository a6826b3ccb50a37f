"""Who may write to a log: one thread of one process, between acquire() and release().

Guards the end of the file: who holds the lock finds it as COMMITTED says, and leaves it so.
What is written is :mod:`.writer`'s business. Read :mod:`dobbin_like.log.transaction_log` next.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from threading import get_ident
from typing import Final

from dobbin_like.exc import (
    Error,
    LockTimeout,
    LogMovedError,
    LogPackedError,
    NotHeldError,
    ReadOnlyStorageError,
)
from dobbin_like.log.file import disk, lock
from dobbin_like.log.file.lock import CommitLock
from dobbin_like.log.file.words import Words
from dobbin_like.log.format.header import BOOT, COMMITTED, DURABLE
from dobbin_like.log.reading.log_index import Applied
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.reading.redo import area_offset
from dobbin_like.log.writing.writer import Writer

__all__ = ["WritableLog"]

_logger = logging.getLogger(__name__)

_SAVE_AT_CLOSE_ENTRIES: Final = 10_000
"""Entries for which close() saves the positions: some 10 ms of opening."""


class WritableLog:
    """The commit lock of a log, and a writer for whoever holds it.

    Args:
        sync: Whether what is written is on stable storage before it counts.
        lock_timeout: Seconds to wait for the commit lock; None: as long as it takes.
    """

    def __init__(self, log: ReadableLog, *, sync: bool, lock_timeout: float | None) -> None:
        self.log = log
        self.lock_timeout = lock_timeout
        self.lock = CommitLock(log.path, self._descriptor)
        self.writer = Writer(log.file, log.applied, log.boot, sync=sync)
        self._pid = os.getpid()
        log.follow_to = self._follow_to

    # -- the lock --------------------------------------------------------------

    def acquire(self) -> None:
        """Take the commit lock; create the file if need be; put its end right.

        Raises:
            LogMovedError: The path leads to another file, or to none.
            IntegrityError, OSError: See recover(). Nothing is held, nor after the errors of
                the contract.
        """
        if self.log.closed or self.log.read_only:
            self.log.check_open()
            raise ReadOnlyStorageError(self.log.path, self.why_read_only)
        if lock.process != self._pid:
            self.after_fork_in_child()
        self.lock.acquire(self.lock_timeout)
        try:
            self._start_writing()
        except BaseException:
            self.lock.release()
            raise

    def release(self) -> None:
        """Give the lock back; cut off what was neither decided nor failed."""
        if lock.process != self._pid:
            self.after_fork_in_child()
        try:
            if self.lock.owner == get_ident():
                self.writer.stop()
        finally:
            self.lock.release()

    def held_by_caller(self, step: str) -> Writer:
        """Return the writer. Raises NotHeldError if the calling thread does not hold the lock."""
        if self.lock.owner != get_ident():
            self.log.check_open()
            raise NotHeldError(self.log.path, step, "the commit lock; call acquire() before")
        return self.writer

    @property
    def why_read_only(self) -> str:
        """Why acquire() is refused; empty if it is not."""
        if not self.log.read_only:
            return ""
        return "the storage was opened with read_only=True; open it without it to change anything"

    # -- its beginning and its end ---------------------------------------------

    def open(self) -> None:
        """Open the file if it is there, and apply what is in it.

        After a power cut, what was acknowledged may be in the redo area only, and readers of
        the log itself would miss it: so it is recovered first. A failure of that is told: it
        is the same that acquire() will raise.
        """
        log = self.log
        log.open()
        words = log.file.words
        if log.read_only or words is None or words.get(BOOT) == log.boot:
            return
        if area_offset(words) == 0:
            return
        try:
            self._for_a_moment(lambda: None)
            log.apply(log.read_news())
        except LockTimeout:
            # Whoever has it has recovered, or is about to: then it comes as news.
            pass
        except (OSError, Error) as error:
            _logger.warning("%s: not recovered from a power cut: %s", log.path, error)

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
        words = log.file.words
        try:
            if words is not None and not log.read_only:
                self.release()
                if save:
                    self._save()
                self._sync(words)
        finally:
            log.closed = True
            self.close_file()

    def close_file(self) -> None:
        """Give files and lock back."""
        self.lock.close()
        self.log.close_file()

    def after_fork_in_child(self) -> None:
        """Start anew in a forked child: own open file, new mutexes, nothing held.

        The parent keeps its lock; what it was writing is none of the child's business.
        """
        self._pid = os.getpid()
        self.lock.watch(None)
        self.log.after_fork_in_child()
        self.lock.after_fork_in_child()
        if self.log.file.moved:  # What is inherited must not be locked: it is the parent's.
            self.lock.unbind()
        self.writer.after_fork_in_child()
        self.lock.watch(self.log.view)

    # -- inside ----------------------------------------------------------------

    def _descriptor(self) -> tuple[int, object]:
        """Return the descriptor to be locked and its file, created if there is none."""
        file = self.log.file
        fd, words = file.open_for_writing(), file.words
        self.lock.watch(None if words is None else words.view)
        return fd, file

    def _follow_to(self, applied: Applied) -> None:
        # Before anybody can lock the new file. Nobody writes to the old one any more.
        self.writer.switch_file(applied.file, applied)
        self.log.switch_to(applied)
        # Whoever waits for the lock of the old file finds out when it gets it.
        self.lock.rebind()

    def _start_writing(self) -> None:
        log = self.log
        if log.closed:  # While this thread waited.
            log.check_open()
        file = log.file
        if self.lock.keeper is not file:
            # Another thread has followed while this one waited for the lock of the old file.
            self.lock.rebind()
            raise LogPackedError(log.path, "the log was packed")
        try:
            size = file.size_at_path()
        except LogMovedError:
            if file.is_replaced():
                raise LogPackedError(log.path, "the log was packed") from None
            if log.view is None:
                # Opened for creation a moment ago: the next acquire() opens it anew.
                # Before the lock is released: the next thread must not find this one.
                self.lock.unbind()
                file.forget()
            raise
        if log.view is None:
            file.create(log.boot)
            _, words = log.attach()
            self.lock.watch(words.view)
            size = file.size_at_path()
        self.writer.start(size)

    def _for_a_moment(self, step: Callable[[], None]) -> None:
        """Run *step* with the lock. Raises LockTimeout at once if it is not free."""
        self.lock.acquire(0)
        try:
            self._start_writing()
            step()
        finally:
            self.release()

    def _save(self) -> None:
        """Save the positions for the next opening. A shortcut: it may fail."""
        if self.log.applied.unsaved <= _SAVE_AT_CLOSE_ENTRIES:
            return
        try:
            self._for_a_moment(self.writer.save)
        except (OSError, Error) as error:
            _logger.info("%s: positions are not saved: %s", self.log.path, error)

    def _sync(self, words: Words) -> None:
        if not self.writer.unsynced:
            return
        committed = words.get(COMMITTED)
        try:
            disk.sync(self.log.file.fd, self.log.path)
        except OSError:
            self.writer.synced.distrust(words)
            raise
        durable = words.get(DURABLE)
        if committed is not None and (durable is None or durable < committed):
            # What was committed before the sync is durable, whoever wrote it. Should
            # another process store a later end in between, it is only looked at again.
            words.put(DURABLE, committed)
