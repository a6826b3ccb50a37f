"""Backups: a copy of the log, to which new transactions are appended.

A backup is a log itself, and restoring is copying it back. How frames are copied and what a
killed process leaves: :mod:`dobbin_like.log.copies.backup_copy`.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dobbin_like.exc import CopyError, LockTimeout, LogMovedError, SelfWaitError
from dobbin_like.log import TransactionLog
from dobbin_like.log.copies.backup_copy import (
    Copied,
    LogCopy,
    OriginalLog,
    Progress,
    copy_frames,
    copy_page,
)
from dobbin_like.log.file.new_file import NewFile
from dobbin_like.log.file.words import Words
from dobbin_like.log.format.header import PAGE_SIZE, is_unwritten

if TYPE_CHECKING:
    from dobbin_like.contract import Storage
    from dobbin_like.ids import Tid


class BackupReport(NamedTuple):
    """The result of a backup.

    ``full``: the whole log was copied, not only the new transactions. ``transactions`` (failed
    ones included) and ``size`` (in bytes) count what was copied. ``tid`` is that of the newest
    transaction in the backup.
    """

    path: str
    full: bool
    transactions: int
    size: int
    tid: Tid

    def __str__(self) -> str:
        how = "copied in full" if self.full else "brought up to date"
        return (
            f"{self.path}: {how}, {self.transactions} transactions, {self.size} bytes; "
            f"as of tid {self.tid}"
        )


def backup(storage: Storage, path: str, progress: Progress | None = None) -> BackupReport:
    """Update the copy of the log of *storage* at *path*; see :func:`.operations.backup`."""
    if not isinstance(storage, TransactionLog):
        raise CopyError(path, f"{type(storage).__name__} has no file that could be copied")
    if _is_free(storage.path):
        raise CopyError(path, f"{storage.path} has no transaction yet")
    with closing(OriginalLog(storage.path)) as original:
        if _is_same(storage.path, path):
            raise CopyError(path, "this is the database itself")
        original.sync()
        copied = None if _is_free(path) else _append(original, path, progress)
        full = copied is None
        if copied is None:
            copied = _copy(original, path, progress)
        return BackupReport(path, full, *copied, original.place.tid)


def _is_same(path: str, other: str) -> bool:
    try:
        return Path(path).samefile(other)
    except FileNotFoundError:
        return False


def _is_free(path: str) -> bool:
    """Return whether there is no file, or one in which nothing was ever committed."""
    try:
        with Path(path).open("rb") as file:
            return is_unwritten(file.read(PAGE_SIZE), os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        return True


def _append(original: OriginalLog, path: str, progress: Progress | None) -> Copied | None:
    """Append the new transactions; return None if the log was packed since."""
    with closing(LogCopy(path)) as copy:
        ours, theirs = original.page, copy.page
        if ours is None or theirs is None or ours.store_id != theirs.store_id:
            raise CopyError(path, f"it is not a backup of {original.path}; give another path")
        try:
            _lock(copy)
            start = copy.place_in(original)
            if start is not None:
                return copy.extend(original, start, progress)
            if ours.generation > theirs.generation and original.place.tid >= copy.place.tid:
                return None
        finally:
            copy.release()
    reason = (
        f"it has what {original.path} does not have: that one was replaced by an earlier copy, "
        f"or this one was written to; keep this one, and give another path"
    )
    raise CopyError(path, reason)


def _lock(copy: LogCopy) -> None:
    try:
        copy.acquire()
    except (LockTimeout, SelfWaitError, LogMovedError):
        reason = "another is writing to it; wait until it has ended"
        raise CopyError(copy.path, reason) from None


def _copy(original: OriginalLog, path: str, progress: Progress | None) -> Copied:
    with NewFile(path, original.mode) as new:
        start = copy_page(original, new.fd, path)
        with closing(Words(new.fd, writable=True)) as words:
            copied = copy_frames(original, start, new.fd, new.path, words, progress)
        new.put(replace=True)
    return copied
