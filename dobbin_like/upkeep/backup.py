"""Bringing a backup up to date: a copy of the log that grows by what is new.

A backup is a log itself, and restoring is copying it back. What happens to a file that
is there already is decided by what it holds; see :func:`backup`. How frames are copied
and what a kill leaves: :mod:`dobbin_like.log.copies.backup_copy`.
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
from dobbin_like.log.format.header import PAGE_SIZE, Words, is_unwritten

if TYPE_CHECKING:
    from dobbin_like.contract import Storage
    from dobbin_like.ids import Tid


class BackupReport(NamedTuple):
    """What a backup did."""

    path: str
    full: bool
    """Whether the whole log was copied; else what is new was appended."""

    transactions: int
    """That were copied, failed ones included."""

    size: int
    """Bytes that were copied."""

    tid: Tid
    """Of the newest transaction in the backup."""

    def __str__(self) -> str:
        how = "copied in full" if self.full else "brought up to date"
        return (
            f"{self.path}: {how}, {self.transactions} transactions, {self.size} bytes; "
            f"as of tid {self.tid}"
        )


def backup(storage: Storage, path: str, progress: Progress | None = None) -> BackupReport:
    """Let the file at *path* be a copy of the log of *storage*, up to what is committed now.

    Nothing there, or an empty file: the whole log is copied. An earlier copy: what is new is
    appended. An earlier copy, and the log was packed since: the whole log is copied and
    then replaces it. Anything else is refused.

    Raises:
        CopyError: The file is the log itself, a copy of another database, or has what
            the log has not; another writes to it; or nothing was committed yet.
        NotALogError, FormatVersionError: The file is something else.
        IntegrityError: The file, or the log, is damaged; the path in it tells which.
        OSError: The disk is full, or the like.
        In all cases the file is what it was.

    Cost: The bytes that are copied; opening the two files.
    """
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
    """Append what is new; return None if the log was packed since."""
    with closing(LogCopy(path)) as copy:
        _check_store(original, copy)
        try:
            _lock(copy)
            start = copy.place_in(original)
            if start is not None:
                return copy.extend(original, start, progress)
            _check_packed(original, copy)
            return None
        finally:
            copy.release()


def _lock(copy: LogCopy) -> None:
    """Keep others from writing to the backup; put right what one that was killed has left."""
    try:
        copy.acquire()
    except (LockTimeout, SelfWaitError, LogMovedError):
        reason = "another is writing to it; wait until it has ended"
        raise CopyError(copy.path, reason) from None


def _check_store(original: OriginalLog, copy: LogCopy) -> None:
    ours, theirs = original.page, copy.page
    if ours is None or theirs is None or ours.store_id != theirs.store_id:
        raise CopyError(copy.path, f"it is not a backup of {original.path}; give another path")


def _check_packed(original: OriginalLog, copy: LogCopy) -> None:
    """Raise CopyError unless the copy is one of the log before that was packed."""
    ours, theirs = original.page, copy.page
    assert ours is not None
    assert theirs is not None
    if ours.generation > theirs.generation and original.place.tid >= copy.place.tid:
        return
    reason = (
        f"it has what {original.path} does not have: that one was replaced by an earlier copy, "
        f"or this one was written to; keep this one, and give another path"
    )
    raise CopyError(copy.path, reason)


def _copy(original: OriginalLog, path: str, progress: Progress | None) -> Copied:
    with NewFile(path, original.mode) as new:
        start = copy_page(original, new.fd, path)
        words = Words(new.fd, writable=True)
        try:
            copied = copy_frames(original, start, new.fd, new.path, words, progress)
        finally:
            words.close()
        new.put(replace=True)
    return copied
