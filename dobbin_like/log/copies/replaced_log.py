"""A log that is replaced by one that does not continue it: a restored backup.

Instances that have the old file open must not go on: its word STATE tells them, and they raise
LogMovedError, even if they only read. Knows no object.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Self

from dobbin_like.exc import CopyError, IntegrityError, LogMovedError
from dobbin_like.log.file.at_path import size_at_path
from dobbin_like.log.file.disk import DiskError, status
from dobbin_like.log.file.lock import CommitLock
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.new_file import NewFile
from dobbin_like.log.format.header import APPENDED, FAILURES, RESTORED, STATE, USUAL
from dobbin_like.log.writing.syncing import SyncFailedError, SyncQueue


class ReplacedLog:
    """The log at *path*, locked; a context manager. It need not be there, and may be damaged.

    ``status`` is that of the file; None if there is none.

    Args:
        timeout: Seconds to wait for the commit lock; None: as long as it takes.

    Raises:
        NotALogError, FormatVersionError: The file is something else.
        CopyError: It has other names, which would lead to the old file.
        LockTimeout, SelfWaitError: The commit lock is not free.
        OSError: It can't be opened.
    """

    def __init__(self, path: str, timeout: float | None) -> None:
        self.path = path
        self.status: os.stat_result | None = None
        self._timeout = timeout
        self._file = LogFile(path, read_only=False)
        self._lock = CommitLock(path, lambda: (self._file.fd, self._file), _nothing, _nothing)

    def __enter__(self) -> Self:
        try:
            while Path(self.path).exists() and not self._take():
                self._let_go()
        except BaseException:
            self._let_go()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._let_go()

    def replace_by(self, new: NewFile) -> None:
        """Let *new* come to the place, in one step.

        Raises:
            FileExistsError: There was no log, and another process has begun one.
            OSError: It could not be put there, and the log is as it was. Or it is there, and
                perhaps not on stable storage: only the sync of its directory has failed.
        """
        words = self._file.words
        if words is None:
            new.put(replace=self.status is not None)
            return
        # Before the replacement: while the path leads to this file, nobody acts on the word.
        words.put(STATE, RESTORED)
        try:
            new.put(replace=True)
        except BaseException:
            # Not if the file was replaced, and only a later step has failed.
            with contextlib.suppress(LogMovedError):
                size_at_path(self._file)
                words.put(STATE, USUAL)
            raise

    def _take(self) -> bool:
        """Lock the file; return False if it is not at the path any more."""
        file = self._file
        file.open_for_writing()
        self._lock.acquire(self._timeout)
        try:
            size_at_path(file)
        except LogMovedError:
            return False
        # Damaged, it can't be opened any more, and few processes have it open.
        with contextlib.suppress(IntegrityError):
            file.attach()
        self.status = status(file.fd, file.path)
        if self.status.st_nlink > 1:
            raise CopyError(self.path, "it has other names, which would lead to the old file")
        self._settle()
        return True

    def _settle(self) -> None:
        """Let the threads that wait for the disk go on: nothing is appended any more."""
        words = self._file.words
        if words is not None:
            # If that fails, they are in doubt.
            with contextlib.suppress(IntegrityError, DiskError, SyncFailedError):
                end, failures = words.get(APPENDED), words.get(FAILURES)
                SyncQueue().make_durable(self._file, end, failures)

    def _let_go(self) -> None:
        self._lock.release()
        self._lock.unbind()
        self._file.close()
        self.status = None


def _nothing() -> None:
    """Let no waiting process go first: they are all refused afterwards."""
