"""The file of SQLite: made of a database, and kept up to date.

What was applied stands in the same transaction of SQLite as its rows: killed at any moment, the
file is as of one transaction of the database, and goes on from there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from dobbin_like.contract import Storage, StoredVersion, Transaction, is_packed
from dobbin_like.exc import CopyError, Error, IntegrityError
from dobbin_like.exchange.json_values import deeper
from dobbin_like.exchange.new_database import refuse_existing
from dobbin_like.exchange.source import Damaged, Versions, reason_of
from dobbin_like.exchange.sqlite.rows import Rows
from dobbin_like.exchange.sqlite.tables import INDEXES, Tables, quoted
from dobbin_like.ids import DELTA, Oid, Tid
from dobbin_like.log.file.disk import open_file
from dobbin_like.log.file.new_file import check_place, is_no_file
from dobbin_like.search.snapshot_scan import BETWEEN_REPORTS
from dobbin_like.storages.as_of import Pin
from dobbin_like.store import Progress
from dobbin_like.texts import counted

VERSION: Final = 1

_AT_ONCE: Final = 1000
"""Transactions that are applied in one of SQLite, at most."""

_WAIT_SECONDS: Final = 30
"""For others that write to the file, or read it without a WAL."""


class MirrorReport(NamedTuple):
    """What is in the file, and how much could not be read."""

    path: str
    objects: int
    damaged: int
    transactions: int
    tid: Tid

    def as_dict(self) -> dict[str, Any]:
        return self._asdict()

    def __str__(self) -> str:
        text = f"{self.path}: {counted(self.objects, 'object')}"
        if self.transactions:
            text += f", {counted(self.transactions, 'transaction')} applied"
        if self.damaged:
            text += f", {counted(self.damaged, 'damaged object')} left out"
        return f"{text}; as of tid {self.tid}"


def make(storage: Storage, path: str, progress: Progress | None = None) -> MirrorReport:
    """Make a file of SQLite of what *storage* has applied. It appears when it is complete.

    Raises:
        FileExistsError: There is a file at *path* that is not empty.
        CopyError: Another is writing a file for this path.
        sqlite3.Error, OSError: Writing failed. There is no file then.
    """
    with _new_file(path) as part, contextlib.closing(_connected(part)) as connection:
        # A half of it is never seen.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        mirror = Mirror(connection, storage, path)
        connection.execute("BEGIN")
        mirror.fill(progress)
        connection.execute("COMMIT")
        return mirror.report()


@contextlib.contextmanager
def _new_file(path: str) -> Iterator[str]:
    """Yield where to write a file that gets to *path* when the block has ended."""
    check_place(path)
    refuse_existing(path)
    part = f"{path}.part"
    if is_no_file(part):
        where = f"{part}, which it would be written to at first"
        raise CopyError(path, f"{where}, is no regular file; move it, or give another path")
    # Not through a link: another user may have put one there, to a file of ours.
    file = open_file(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.path.samestat(os.fstat(file), os.stat(part))  # noqa: PTH116
        except (BlockingIOError, FileNotFoundError):
            is_ours = False
        if not is_ours:
            reason = f"another is writing {part}; wait until it has ended"
            raise CopyError(path, reason)
        try:
            os.ftruncate(file, 0)  # What one has left that was killed.
            yield part
            os.fsync(file)
            _put(part, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                Path(part).unlink()
    finally:
        os.close(file)


def _put(part: str, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not Path(path).stat().st_size:
            Path(path).unlink()
    os.link(part, path)
    directory = open_file(str(Path(path).parent), os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _connected(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)


@contextlib.contextmanager
def opened(storage: Storage, path: str) -> Iterator[Mirror]:
    """Open a file that make() has made of the same database.

    Raises:
        CopyError: It is another file, or of another database. It is unchanged.
    """
    with contextlib.closing(_connected(path)) as connection:
        mirror = Mirror(connection, storage, path)
        mirror.load()
        # Others read what was there before while this one writes.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        yield mirror


class Mirror:
    """What is in a connection, and the storage that it is of. One thread."""

    def __init__(self, connection: sqlite3.Connection, storage: Storage, path: str) -> None:
        self.path = path
        self._connection, self._storage = connection, storage
        self._versions = Versions(storage)
        self._applied = 0
        self._state: dict[str, Any] = {}
        self._begin()

    def _begin(self) -> None:
        self._tables = Tables(self._connection)
        self._rows = Rows(self._connection, self._tables, self._versions)

    def report(self) -> MirrorReport:
        """Return what is there now."""
        (objects,) = self._connection.execute("SELECT count(*) FROM dobbin_objects").fetchone()
        (damaged,) = self._connection.execute("SELECT count(*) FROM dobbin_damaged").fetchone()
        return MirrorReport(self.path, objects, damaged, self._applied, self.tid)

    @property
    def tid(self) -> Tid:
        """Of the transaction up to which all is there."""
        return Tid(self._state["tid"])

    def load(self) -> None:
        """Read what the file says of itself. CopyError: It is not of this database."""
        query = "SELECT name, value FROM dobbin_state"
        try:
            self._state = dict(self._connection.execute(query).fetchall())
        except sqlite3.DatabaseError as error:
            # The lower byte: above it stands what the other one does.
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise  # It may be one; another has locked it.
            reason = f"no file that dobbin export has written: {error}; give another path"
            raise CopyError(self.path, reason) from None
        if self._state.get("version") != VERSION:
            reason = f"of version {self._state.get('version')}, expected {VERSION}"
            raise CopyError(self.path, f"{reason}; give another path")
        if self._state["database"] != _identity(self._storage):
            reason = f"of another database than {self._storage.path}; give another path"
            raise CopyError(self.path, reason)
        self._tables.load()

    def _save(self, **state: Any) -> None:
        self._state |= state
        self._connection.executemany(
            "INSERT OR REPLACE INTO dobbin_state VALUES (?, ?)", self._state.items()
        )

    # -- all objects --------------------------------------------------------------------

    @deeper()
    def fill(self, progress: Progress | None = None) -> None:
        """Write all objects to tables that are not there yet, in the transaction that is open."""
        storage, total = self._storage, self._storage.next_oid
        self._tables.create()
        self._rows.is_new = True
        for oid in map(Oid, range(total)):
            self._fill_one(oid)
            if progress is not None and oid % BETWEEN_REPORTS == BETWEEN_REPORTS - 1:
                progress(oid + 1, total)
        self._rows.flush()
        self._rows.is_new = False
        if progress is not None:
            progress(total, total)
        for statement in INDEXES.split(";"):
            self._connection.execute(statement)
        self._save(
            version=VERSION,
            database=_identity(storage),
            tid=storage.tid,
            generation=_generation(storage),
            next_number=storage.names.next_number,
        )

    def _fill_one(self, oid: Oid) -> None:
        try:
            stored = self._storage.load(oid)
        except Error as error:
            self._rows.damage(Damaged(oid, reason_of(error)), self._storage.tid)
        else:
            if stored is not None:
                self._rows.put(self._versions.read(oid, stored), stored.tid)

    def _make_anew(self, progress: Progress | None) -> None:
        names = [table.name for table in self._tables.all()]
        names += "dobbin_items dobbin_links dobbin_damaged dobbin_objects".split()
        names += "dobbin_columns dobbin_classes dobbin_state".split()
        for name in names:
            self._connection.execute(f"DROP TABLE {quoted(name)}")
        self._begin()
        self.fill(progress)

    # -- what is new --------------------------------------------------------------------

    @deeper()
    def catch_up(self, progress: Progress | None = None) -> int:
        """Apply all that the storage has applied and the file has not; return the transactions.

        What can't be followed step by step, because it was packed away, or a class was renamed,
        is made anew, in one transaction: a reader sees what was there before, or all.
        """
        applied = 0
        while self.tid != self._storage.tid or self._is_packed():
            with self._transaction():
                batch = list(islice(self._storage.transactions(self.tid), _AT_ONCE))
                applied += len(batch)
                if not self._can_follow() or any(map(self._renames, batch)):
                    self._make_anew(progress)
                    continue
                if self._is_packed():
                    self._remove_dropped()
                self._apply_all(batch)
            if progress is not None and batch:
                progress(batch[-1].sequence, len(self._storage))
        self._applied += applied
        return applied

    def follow(self, pause: Callable[[], object]) -> None:
        """Apply what is committed from now on, until *pause*, called in between, raises."""
        storage = self._storage
        pin = Pin(storage, self.tid)
        try:
            while True:
                pause()
                if not storage.has_news():
                    continue
                storage.apply(storage.read_news())
                self.catch_up()
                older, pin = pin, Pin(storage, self.tid)
                older.release()
                if is_packed(storage):
                    storage.drop_generations(self.tid)
        finally:
            pin.release()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Let all of the block count, or nothing."""
        before = self._state.copy()
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            self._state = before
            self._begin()
            self._tables.load()
            raise

    def _is_packed(self) -> bool:
        return bool(_generation(self._storage) != self._state["generation"])

    def _can_follow(self) -> bool:
        """Return whether the storage has the last transaction, and all that came after it."""
        storage, last = self._storage, self.tid
        if last <= storage.complete_since:
            # The files that were packed are kept while they are followed.
            is_kept = is_packed(storage) and storage.reaches(last)
            return last == storage.complete_since or is_kept
        there = next(iter(storage.transactions(until=last, newest_first=True)), None)
        return there is not None and there.tid == last

    def _renames(self, logged: Transaction) -> bool:
        """Return whether a transaction gives a new name to a class that was there before it."""
        first = self._state["next_number"]
        numbers = [row[0] for rows in logged.names for row in rows]
        self._state["next_number"] = max([first, *(number + 1 for number in numbers)])
        return any(number < first for number, _, _ in logged.names.classes)

    def _remove_dropped(self) -> None:
        """Take out the objects that a pack has dropped."""
        found = self._connection.execute("SELECT oid FROM dobbin_objects").fetchall()
        for (oid,) in found:
            if not self._storage.has(oid):
                self._rows.remove(oid)

    def _apply_all(self, batch: list[Transaction]) -> None:
        for logged in batch:
            if not logged.failed:
                try:
                    for oid, stored in self._storage.entries(logged):
                        self._apply(oid, stored)
                except IntegrityError:
                    self._apply_one_by_one(logged)
        self._rows.flush()
        tid = batch[-1].tid if batch else self.tid
        self._save(tid=tid, generation=_generation(self._storage))

    def _apply_one_by_one(self, logged: Transaction) -> None:
        """Apply what can be read of a transaction that is damaged."""
        for oid in logged.oids:
            try:
                stored = self._storage.load(oid, logged.tid)
            except Error as error:
                self._rows.damage(Damaged(oid, reason_of(error)), logged.tid)
            else:
                if stored is not None:
                    self._apply(oid, stored)

    def _apply(self, oid: Oid, stored: StoredVersion) -> None:
        if stored.number & DELTA:
            try:
                delta = self._versions.reader.delta(stored)
            except Exception:  # noqa: BLE001  it is told when the whole is read
                delta = None
            if delta is not None and self._rows.put_delta(oid, stored.tid, delta):
                return
        self._rows.put(self._versions.read(oid, stored), stored.tid)


def _identity(storage: Storage) -> str:
    """Return what all copies of a database have, packed or not, and no other database."""
    key = storage.sort_key
    return key.rpartition(":")[0] if key.count(":") == 2 else key


def _generation(storage: Storage) -> int:
    # Not every one is packed; and to ask what it is looks at all that it has, damaged or not.
    return getattr(storage, "generation", 0)
