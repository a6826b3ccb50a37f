"""Restoring a log from a backup, while programs may have it open.

The copy is verified before it takes the place of the log. What programs get to know that have the
log open: :mod:`dobbin_like.log.copies.replaced_log`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from dobbin_like.exc import CopyError, LogError
from dobbin_like.ids import Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.copies.backup_copy import copy_frames, copy_page
from dobbin_like.log.copies.backup_source import OriginalLog
from dobbin_like.log.copies.replaced_log import ReplacedLog
from dobbin_like.log.file.new_file import NewFile
from dobbin_like.log.file.words import Words
from dobbin_like.mistaken.arguments import (
    check_callables,
    check_flags,
    check_lock_timeout,
    checked_path,
)
from dobbin_like.store import Progress
from dobbin_like.texts import counted


class RestoreReport(NamedTuple):
    """The result of a restore.

    ``transactions`` (failed ones included) and ``size`` (in bytes) count what was restored, up
    to ``tid``. ``dropped`` counts the later transactions of the log that was there; None if
    they could not be counted.
    """

    path: str
    transactions: int
    size: int
    tid: Tid
    dropped: int | None

    def __str__(self) -> str:
        if self.dropped is None:
            dropped = "an unknown number of later transactions are"
        else:
            dropped = counted(self.dropped, "later transaction")
            dropped += " is" if self.dropped == 1 else " are"
        return (
            f"{self.path}: restored, {counted(self.transactions, 'transaction')}, "
            f"{counted(self.size, 'byte')}; as of tid {self.tid}; {dropped} gone"
        )


def restore(
    backup: str | os.PathLike[str],
    path: str | os.PathLike[str],
    progress: Progress | None = None,
    *,
    prefix: bool = False,
    lock_timeout: float | None = None,
) -> RestoreReport:
    """Let a copy of *backup*, which may be any log, take the place of the log at *path*.

    Every transaction is verified before it is copied. The log is replaced in one step, under its
    commit lock. Programs that have it open get LogMovedError from then on, when they begin a
    transaction or commit one; what they have committed before is in the old file, which is gone
    when the last of them closes it. When it returns, everything is on stable storage. If it is
    killed, the log is the old one or the restored one. The backup is only read, and can be
    continued: by it, the next ``backup()`` knows its log again.

    Args:
        progress: Called with the bytes copied so far, and all there are to copy.
        prefix: Whether of a damaged backup everything before the damage is restored.
        lock_timeout: Seconds to wait for the commit lock; None: as long as it takes.

    Raises:
        CopyError: Both are the same file; the backup has no transaction, or is a copy that was
            cut and *prefix* is false; the log has other names (hard links); or another program
            is restoring it.
        IntegrityError: The backup is damaged, and *prefix* is false; or nothing of it is whole.
        NotALogError, FormatVersionError: One of the files is something else.
        LockTimeout, SelfWaitError: The commit lock was not free.
        OSError: Reading or writing failed.
        In all cases, the log is unchanged; but if only the sync of its directory has failed, which
        is the last step, it is the restored one, perhaps until a power failure.

    Cost: The bytes of the backup, read twice and written once.
    """
    check_callables(progress=progress)
    check_flags(prefix=prefix)
    check_lock_timeout(lock_timeout=lock_timeout)
    backup = checked_path("backup", backup)
    # To replace a link would leave the old file.
    path = os.path.realpath(checked_path("path", path))
    with contextlib.closing(OriginalLog(backup, prefix=prefix)) as original:
        _check(original, path, prefix=prefix)
        with NewFile(path, original.mode) as new:
            start = copy_page(original, new.fd, new.path)
            words = Words(new.fd, new.path)
            copied = copy_frames(original, start, new.fd, new.path, words, progress)
            with ReplacedLog(path, lock_timeout) as old:
                dropped = _later(path, original.place.tid) if old.status else 0
                old.replace_by(new)
    return RestoreReport(path, *copied, original.place.tid, dropped)


def _check(original: OriginalLog, path: str, *, prefix: bool) -> None:
    if Path(path).exists() and Path(path).samefile(original.path):
        raise CopyError(path, "this is the backup itself")
    if not original.place.sequence:
        raise CopyError(path, f"{original.path} has no transaction")
    if original.is_cut and not prefix:
        reason = f"{original.path} is a copy that was cut; restore it as far as it goes (--prefix)"
        raise CopyError(path, reason)


def _later(path: str, tid: Tid) -> int | None:
    """Return how many transactions after *tid* the log has; None if it is damaged."""
    try:
        with TransactionLog(path, read_only=True) as log:
            return sum(1 for _ in log.transactions(tid))
    except LogError:
        return None
