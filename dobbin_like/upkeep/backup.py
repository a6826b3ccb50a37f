"""Backups: a copy of the log, to which new transactions are appended; a log itself."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from dobbin_like.exc import (
    CopyError,
    LockTimeout,
    LogMovedError,
    ReadOnlyStorageError,
    SelfWaitError,
)
from dobbin_like.ids import Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.copies.backup_copy import Copied, LogCopy, copy_frames, copy_page
from dobbin_like.log.copies.backup_source import OriginalLog
from dobbin_like.log.file import disk
from dobbin_like.log.file.at_path import check_opened
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.new_file import NewFile, check_place
from dobbin_like.log.file.words import Words
from dobbin_like.log.format.header import PAGE_SIZE, is_unwritten
from dobbin_like.mistaken.arguments import check_callables, checked_path
from dobbin_like.store import Progress, Store
from dobbin_like.texts import counted


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
            f"{self.path}: {how}, {counted(self.transactions, 'transaction')}, "
            f"{counted(self.size, 'byte')}; as of tid {self.tid}"
        )


def backup(
    store: Store, path: str | os.PathLike[str], progress: Progress | None = None
) -> BackupReport:
    """Bring the backup of this database at *path* up to date.

    If there is no file, or one from before the database was packed, the log is copied. To a
    backup of this database, the new transactions are appended. Anything else is refused.

    Every transaction is verified before it is copied. Others may read and commit meanwhile. When
    it returns, everything is on stable storage. If it is killed, the backup is unchanged or
    complete.

    Args:
        progress: Called with the bytes copied so far, and all there are to copy.

    Raises:
        CopyError: The file is the log itself, a backup of another database, or has
            transactions that this one has not; another program is writing to it, or has deleted
            or replaced it meanwhile; it may not be written; nothing was committed yet; or the
            storage has no file.
        NotALogError, FormatVersionError: The file is something else.
        LogMovedError: The log that is open is not at its path any more; ``snapshot()`` saves what
            it has.
        IntegrityError: The file, or the log, is damaged; the error has its path.
        In all cases, and after OSError, the file is unchanged.

    Cost: The new bytes, read twice and written once.
    """
    check_callables(progress=progress)
    path = checked_path("path", path)
    store.check_open()
    storage = store.storage
    if not isinstance(storage, TransactionLog):
        raise CopyError(path, f"{type(storage).__name__} has no file that could be copied")
    mine = storage.file
    storage.check_path()  # Another log there would be copied as this one.
    if _is_free(storage.path):
        storage.check_path()
        raise CopyError(path, f"{storage.path} has no transaction yet")
    with closing(OriginalLog(storage.path)) as original:
        check_opened(mine, original.file)  # It may have been moved since.
        if Path(path).exists() and Path(path).samefile(storage.path):
            raise CopyError(path, "this is the database itself")
        original.sync()
        copied = None if _is_free(path) else _append(original, path, progress)
        full = copied is None
        if copied is None:
            with NewFile(path, original.mode) as new:
                start, words = copy_page(original, new.fd, path), Words(new.fd, new.path)
                copied = copy_frames(original, start, new.fd, new.path, words, progress)
                new.put(replace=True)
        return BackupReport(path, full, *copied, original.place.tid)


def _is_free(path: str) -> bool:
    """Return whether there is no file, or one in which nothing was ever committed."""
    check_place(path)
    try:
        with Path(path).open("rb") as file:
            return is_unwritten(file.read(PAGE_SIZE), disk.status(file.fileno(), path).st_size)
    except FileNotFoundError:
        return True


def _append(original: OriginalLog, path: str, progress: Progress | None) -> Copied | None:
    """Append the new transactions; return None if the log was packed since."""
    # Before it is opened for writing, which puts the end of any log right.
    with closing(LogFile(path, read_only=True)) as file:
        file.open()
        ours, theirs = original.page, file.page
    if ours is None or theirs is None or ours.store_id != theirs.store_id:
        raise CopyError(path, f"it is not a backup of {original.path}; give another path")
    with closing(_opened(path)) as copy:
        try:
            _lock(copy)
            start = copy.place_in(original)
            if start is not None:
                copied = copy.extend(original, start, progress)
                copy.check_path()
                return copied
            if ours.generation > theirs.generation and original.place.tid >= copy.place.tid:
                return None
        finally:
            copy.release()
    reason = (
        f"it has what {original.path} does not have: that one was replaced by an earlier copy, "
        f"or this one was written to; keep this one, and give another path"
    )
    raise CopyError(path, reason)


def _opened(path: str) -> LogCopy:
    try:
        return LogCopy(path)
    except ReadOnlyStorageError as error:
        if not isinstance(error.__cause__, OSError):  # It follows another log.
            raise
        reason = f"it may be read and not written ({error.__cause__.strerror})"
        raise CopyError(path, reason) from error


def _lock(copy: LogCopy) -> None:
    try:
        copy.acquire()
    except (LockTimeout, SelfWaitError, LogMovedError):
        reason = "another is writing to it; wait until it has ended"
        raise CopyError(copy.path, reason) from None
