"""``Care``: what looks after the log of a database over the years."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, cast

from dobbin_like.exc import ObjectNotFound, PackError, ReadOnlyStorageError
from dobbin_like.ids import ROOT_OID
from dobbin_like.log import TransactionLog
from dobbin_like.storages.as_of import AsOf
from dobbin_like.upkeep.backup import BackupReport, backup
from dobbin_like.upkeep.migrate import migrate
from dobbin_like.upkeep.pack import Keep, PackReport, pack
from dobbin_like.upkeep.preload import preload
from dobbin_like.upkeep.rename import rename_class
from dobbin_like.upkeep.snapshot import SnapshotReport, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from dobbin_like.contract import Storage
    from dobbin_like.database import Database
    from dobbin_like.persistent import Persistent
    from dobbin_like.timestamps import Moment


class Care:
    """The part of a database that looks after its log. Mixed into ``Database``."""

    if TYPE_CHECKING:
        storage: Storage

        def _check_open(self) -> None: ...
        def catch_up(self) -> None: ...

    def backup(
        self,
        path: str | os.PathLike[str],
        progress: Callable[[int, int], object] | None = None,
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
        self._check_open()
        return backup(self.storage, os.fspath(path), progress)

    def snapshot(
        self,
        target: str | os.PathLike[str] | Storage,
        at: Moment | None = None,
        progress: Callable[[int, int], object] | None = None,
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
        self._check_open()
        self.catch_up()
        if isinstance(target, (str, os.PathLike)):
            target = os.fspath(target)
        newest = self.storage.tid
        if not newest:
            raise ObjectNotFound(ROOT_OID)
        with contextlib.closing(AsOf(self.storage, newest if at is None else at)) as source:
            return snapshot(cast("Storage", source), target, progress)

    def preload(self, progress: Callable[[int, int], object] | None = None) -> int:
        """Read all objects of this thread's snapshot at once; return how many there are.

        For programs that will need them all, and for servers that fork workers afterwards,
        which then share the memory. What the root does not lead to is not read. The objects
        stay in memory as long as the database is open and the root leads to them; later
        changes are read when touched, as ever. Other threads go on reading and committing.

        An object that can't be read, because it is damaged or can't be brought to its
        version, is left alone and logged as a warning: whoever touches it is told why. One
        whose class is not there is left alone, too. What only they lead to is not read.

        Meanwhile the garbage collector is off, for the whole process. May be interrupted and
        run again at any time.

        Args:
            progress: Called with the objects that were read, and all that are stored.

        Raises:
            ClosedError, OSError: As for reading, and whatever else a class of values raises.
            What was read stays in memory.

        Cost: Reading every object once, in the order of the file as far as references
        allow; a byte of memory for each oid beside the objects.
        """
        self._check_open()
        return preload(cast("Database", self), progress)

    # -- classes ---------------------------------------------------------------

    def rename_class(self, old: str | type, new: str | type) -> None:
        """Let what is stored as class *old* be of class *new* from now on.

        For a class that was renamed, or moved to another module; a value class (a dataclass,
        an enum) or a function that is stored by name as well. Names are ``"module.Qualname"``,
        classes stand for their names. One small transaction, however many instances there
        are; not that of the calling thread. Where the log knows *new* already, the two are one
        class from then on.

        All instances over the log follow when they catch up. An object of which the state is
        not in memory is of the new class when it is read; one that was read keeps its class
        until it is read anew, after a change by another process or once it has left memory,
        and a value keeps its class as long as the object that it is part of. A program that
        can't load the new class goes on with the old one, if it has it.

        New objects of the old class, if that is still about, are stored as a class of that
        name again.

        Raises:
            RenameError: The log knows no class *old*; *new* can't be loaded under the policy
                for loading; it does not derive from ``Persistent`` where the objects are
                persistent, or does where they are not; the two are the same.
            SelfWaitError: This thread is in the midst of a commit.
            LockTimeout, ReadOnlyStorageError, ClosedError, OSError: As for a commit.
            In all cases nothing was written.

        Cost: One small commit, and the classes of the log. If the old class can't be loaded
        any more and no object of it was touched, the log is searched for one first.
        """
        self._check_open()
        rename_class(cast("Database", self), old, new)

    def migrate(
        self,
        cls: type[Persistent],
        progress: Callable[[int, int], object] | None = None,
        batch: int = 1000,
    ) -> int:
        """Store anew what was stored as an older version of *cls* or of its subclasses.

        Each batch is a transaction of its own, not that of the calling thread. ``_p_migrate``
        runs under the commit lock, on the newest state, so that it never meets a conflict;
        a thread that has checked out one of the objects does, and runs again. Here, other
        than in reading, ``_p_migrate`` may make persistent objects, which are stored with the
        state. What another process changes meanwhile is left alone if it is of the new version.
        May be interrupted and run again at any time; what is done is done.

        Args:
            progress: Called with the oids that were looked at so far, and all there are.
            batch: Objects in a transaction.

        Returns:
            How many objects were stored anew.

        Raises:
            NotPersistentError: *cls* is not a subclass of ``Persistent``.
            MigrationError, NotStorableError: For one object. Its batch is not stored, those
                before are.
            SelfWaitError: This thread is in the midst of a commit.
            LockTimeout, ReadOnlyStorageError, ClosedError, IntegrityError, OSError: As for
                reading and for a commit.

        Cost: Reading every object once; storing the old ones.
        """
        self._check_open()
        return migrate(cast("Database", self), cls, progress, batch)

    def pack(
        self,
        keep: Keep = None,
        *,
        dry_run: bool = False,
        progress: Callable[[int, int], object] | None = None,
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
        self._check_open()
        storage: Any = self.storage
        if storage.read_only and not dry_run:
            raise ReadOnlyStorageError(storage.path, "the log was opened with read_only=True")
        if not isinstance(storage, TransactionLog):
            if not hasattr(storage, "pack"):
                raise PackError(storage.path, f"{type(storage).__name__} has no file")
            return cast("PackReport", storage.pack(keep, dry_run=dry_run, progress=progress))
        report = pack(storage.path, keep, dry_run=dry_run, progress=progress)
        if report.packed:
            cast("Database", self).catch_up()
        return report
