"""A log to whose place another comes that is no continuation of it: a restored backup.

Whoever has it open must not go on as if nothing had happened: its word STATE tells, and they
get LogMovedError, those that only read too. Knows no object.
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
            FileExistsError: There was no log, and somebody has begun one.
            OSError: It could not be put there, and the log is as it was. Or it is there, and
                perhaps not on stable storage: only the sync of its directory has failed.
        """
        words = self._file.words
        if words is None:
            new.put(replace=self.status is not None)
            return
        # Before: as long as the path leads to this file, it says nothing to anybody.
        words.put(STATE, RESTORED)
        try:
            new.put(replace=True)
        except BaseException:
            # Not if only what follows has failed, or was interrupted.
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
        with contextlib.suppress(IntegrityError):  # Nobody can open it, and few have.
            file.attach()
        self.status = status(file.fd, file.path)
        if self.status.st_nlink > 1:
            raise CopyError(self.path, "it has other names, which would lead to the old file")
        self._settle()
        return True

    def _settle(self) -> None:
        """Give their answer to the threads that wait for the disk: nobody appends any more."""
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
    """Let nobody go first: whoever waits is refused then."""
