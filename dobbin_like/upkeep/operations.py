"""What a database offers for the upkeep of its log: backup, snapshot, pack."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from dobbin_like.exc import ObjectNotFound, PackError, ReadOnlyStorageError
from dobbin_like.ids import ROOT_OID
from dobbin_like.log import TransactionLog
from dobbin_like.storages.as_of import AsOf
from dobbin_like.upkeep import backup as backups
from dobbin_like.upkeep import pack as packing
from dobbin_like.upkeep import snapshot as snapshots

if TYPE_CHECKING:
    from dobbin_like.contract import Storage
    from dobbin_like.store import Progress, Store
    from dobbin_like.timestamps import Moment
    from dobbin_like.upkeep.backup import BackupReport
    from dobbin_like.upkeep.pack import Keep, PackReport
    from dobbin_like.upkeep.snapshot import SnapshotReport


def backup(
    store: Store, path: str | os.PathLike[str], progress: Progress | None = None
) -> BackupReport:
    """Let the file at *path* be a backup of this database, up to what is committed now.

    * Nothing is there, or an empty file: the log is copied.
    * A backup of this database: what is new is appended, after its end was verified.
    * A backup that was made before the database was packed: the log is copied beside
      it and then replaces it.
    * Anything else is refused.

    Every transaction is verified before it is copied. Others go on reading and
    committing. When it returns, all of it is on stable storage. Killed at any moment it
    leaves the backup as it was or as it shall be. To restore, copy the file back.

    Args:
        progress: Called with the bytes that are copied so far, and all there are.

    Raises:
        CopyError: The file is the log itself, a backup of another database, or has
            transactions that this one has not; another writes to it; nothing was
            committed yet; or the storage has no file.
        NotALogError, FormatVersionError: The file is something else.
        IntegrityError: The file, or the log, is damaged; the path in it tells which.
        OSError: The disk is full, or the like.
        In all cases the file is what it was.

    Cost: The bytes that are new, read twice and written once.
    """
    store.check_open()
    return backups.backup(store.storage, os.fspath(path), progress)


def snapshot(
    store: Store,
    target: str | os.PathLike[str] | Storage,
    at: Moment | None = None,
    progress: Progress | None = None,
) -> SnapshotReport:
    """Write the state of this database to *target*, as a database of its own.

    What can be reached from the root becomes one transaction, with the tid of the
    state; oids and numbers stay, streams and the names of classes and attributes are
    carried along. The past and what is unreachable are not. It has a store id of its
    own: a backup of the one is none of the other. Others go on reading and committing.

    Into a file, it is written beside its place and put there when it is whole and on
    stable storage; killed before, it leaves nothing at the path. More than 4 GiB do
    not fit into one transaction and become some.

    Args:
        target: A path where nothing is yet, or only an empty file; or a storage in which
            nothing is yet.
        at: As of then, a tid or a datetime; by default, what is committed now.
        progress: Called with objects that were dealt with, and objects to be dealt with.

    Raises:
        FileExistsError: The file has something in it.
        CopyError: The storage has; or another writes a file for this path.
        ObjectNotFound: There is, or was, no root.
        TransactionNotFound, PastDroppedError, ValueError: As for ``at()``.
        IntegrityError: A state or a stream is damaged.
        OSError: The disk is full, or the like.
        In all cases nothing was written.

    Cost: The states, read twice and written once; some bytes of memory for each object.
    Into a storage: all of them in memory.
    """
    store.check_open()
    store.publisher.catch_up()
    if isinstance(target, (str, os.PathLike)):
        target = os.fspath(target)
    newest = store.storage.tid
    if not newest:
        raise ObjectNotFound(ROOT_OID)
    with contextlib.closing(AsOf(store.storage, newest if at is None else at)) as source:
        return snapshots.snapshot(source, target, progress)


def pack(
    store: Store,
    keep: Keep = None,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> PackReport:
    """Drop what nobody can see any more, and give its room on the disk back.

    Objects that can't be reached from the root are dropped, and versions older than
    *keep*. A new file with the rest is written beside the log and takes its place in one
    step; store id, oids, tids, users and descriptions stay. Other threads and processes
    go on reading and committing meanwhile, but for a short wait at the end, and follow
    to the new file by themselves; older snapshots go on reading the old one.

    Killed at any moment, interrupted or failed, it leaves the log as it was, or packed,
    and whole in both cases.

    Args:
        keep: From when on every snapshot stays readable, and every version and
            transaction is kept: a tid, a datetime that knows its time zone, or a
            timedelta: how long ago. Nothing: only what is seen now.
        dry_run: Only report what would be dropped.
        progress: Called with the bytes that are done and all there are to do.

    Raises:
        PackError: *keep* is in the future, or a tid after the last one; or the storage has
            no file, or one with more than one name (a hard link).
        PackRunningError: The log is being packed already, by whomever.
        ReadOnlyStorageError: It may not be written.
        IntegrityError: Something that is kept is damaged; ``dobbin repair`` helps.
        OSError: The disk is full, or the like.
        SelfWaitError: It was called in the midst of a commit.
        In all cases the log is what it was.

    Cost: The bytes that are kept, read twice and written once; some 20 bytes of memory
    for each object.
    """
    store.check_open()
    storage = store.storage
    if storage.read_only and not dry_run:
        raise ReadOnlyStorageError(storage.path, storage.why_read_only)
    if not isinstance(storage, TransactionLog):
        raise PackError(storage.path, f"{type(storage).__name__} has no file")
    report = packing.pack(storage.path, keep, dry_run=dry_run, progress=progress)
    if report.packed:
        store.publisher.catch_up()
    return report
