"""The methods of a database for the upkeep of its log: backup, snapshot, pack."""

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
    """Bring the backup of this database at *path* up to date.

    * No file, or an empty one: the log is copied.
    * A backup of this database: new transactions are appended, after its end was verified.
    * A backup from before the database was packed: the log is copied beside it and then
      replaces it.
    * Anything else is refused.

    Every transaction is verified before it is copied. Others may read and commit meanwhile. When
    it returns, everything is on stable storage. If it is killed, the backup is unchanged or
    complete. To restore, copy the file back.

    Args:
        progress: Called with the bytes copied so far, and all there are to copy.

    Raises:
        CopyError: The file is the log itself, a backup of another database, or has
            transactions that this one has not; another program is writing to it; nothing was
            committed yet; or the storage has no file.
        NotALogError, FormatVersionError: The file is something else.
        IntegrityError: The file, or the log, is damaged; the error has its path.
        OSError: Reading or writing failed.
        In all cases, the file is unchanged.

    Cost: The new bytes, read twice and written once.
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

    All objects that can be reached from the root become one transaction, with the tid of the
    state; oids, numbers, streams and the names of classes and attributes stay. The past and
    unreachable objects are left out. The new database has its own store id: a backup of one is
    not a backup of the other. Others may read and commit meanwhile.

    A file is written beside its place and put there when it is complete and on stable storage;
    if the program is killed before, nothing is at the path. More than 4 GiB do not fit into one
    transaction and become several.

    Args:
        target: A path with no file or an empty one, or an empty storage.
        at: The tid or datetime of the state; by default, what is committed now.
        progress: Called with objects that were read or written, and all there are to be.

    Raises:
        FileExistsError: The file is not empty.
        CopyError: The storage is not empty; or another is writing a file for this path.
        ObjectNotFound: There is, or was, no root.
        TransactionNotFound, PastDroppedError, ValueError: As for ``at()``.
        SelfWaitError: This thread is in the middle of a commit to the storage.
        IntegrityError: A state or a stream is damaged.
        OSError: Reading or writing failed.
        In all cases, nothing was written.

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
    """Drop objects and versions that are no longer needed, and free their space on the disk.

    Drops objects that can't be reached from the root, and versions older than *keep*. A new
    file with the rest is written beside the log and replaces it in one step; store id, oids,
    tids, users and descriptions stay. Other threads and processes may read and commit meanwhile,
    except for a short wait at the end. They switch to the new file by themselves; older
    snapshots still read the old one.

    If it is killed, interrupted or fails, the log is unchanged or packed, and intact either way.

    Args:
        keep: The time since which every snapshot stays readable, and every version and
            transaction is kept: a tid, a datetime with a time zone, or a timedelta for how
            long ago. None: only the newest versions are kept.
        dry_run: Only report what would be dropped.
        progress: Called with the bytes done so far, and all there are to do.

    Raises:
        PackError: *keep* is in the future, or a tid after the last one; or the storage has
            no file, or one with more than one name (a hard link).
        PackRunningError: The log is already being packed.
        ReadOnlyStorageError: It may not be written.
        IntegrityError: Something that is kept is damaged; ``dobbin repair`` helps.
        OSError: Reading or writing failed.
        SelfWaitError: This thread is in the middle of a commit.
        In all cases, the log is unchanged.

    Cost: The kept bytes, read twice and written once; some 20 bytes of memory for each object.
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
