"""The base of the tests: the storages of one test, and plain assertions.

Needs no test runner. Assertions are calls, so that they also work under ``python -O``.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import unittest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import transaction

from dobbin_like.check import check_database
from dobbin_like.database import Database
from dobbin_like.ids import Oid, Tid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dobbin_like.contract import ClassRow, ShapeRow, Storage, StoredVersion, Transaction

WAIT_SECONDS = 60.0
"""How long a test waits for its threads before it fails. No result depends on it."""


class Harness:
    """Creates the storages of one test and closes them when it ends.

    A subclass defines :meth:`make` and :meth:`again`. If its storage lacks a feature, it sets
    one of the attributes below to a text with the reason; tests that need it are skipped.
    """

    lacks_second_instance = ""  # There is only one instance over the data: no two processes.
    lacks_read_only = ""  # There are no read-only instances.
    lacks_lock_timeout = ""  # There is no timeout for the commit lock.
    lacks_history = ""  # Only the newest versions are kept, or those of a limited time.
    lacks_failures = ""  # Failed transactions are not recorded.
    lacks_streams = ""  # There are no streams.
    lacks_fork = ""  # A forked child can't continue to use the storage.

    def make(self) -> Storage:
        """Return a new, empty storage. To be defined by the subclass."""
        raise NotImplementedError  # Only the author of the storage can.

    def again(
        self, storage: Storage, *, lock_timeout: float | None = None, read_only: bool = False
    ) -> Storage:
        """Return another instance over the data of *storage*. To be defined by the subclass.

        It plays the part of another process, and has applied all commits.
        """
        raise NotImplementedError  # Only the author of the storage can.

    def middle(self, storage: Storage) -> Storage:
        """Return the storage to which the second half of a history is written."""
        return storage

    def reader(self, storage: Storage) -> Storage:
        """Return the storage that the tests of reading read."""
        return storage

    # -- what a runner calls -----------------------------------------------------

    def setup_method(self, _method: Any = None) -> None:
        """Begin a test."""
        self._ends = contextlib.ExitStack()

    def teardown_method(self, _method: Any = None) -> None:
        """End a test: close what was opened."""
        self._ends.close()

    # -- what the tests call -----------------------------------------------------

    def directory(self) -> Path:
        """Return a new directory that is removed when the test ends, for storages in files."""
        path = tempfile.mkdtemp(prefix="dobbin_like-")
        self._ends.callback(shutil.rmtree, path, ignore_errors=True)
        return Path(path)

    def opened(self, storage: Storage) -> Storage:
        """Return *storage*, which is closed when the test ends."""
        self._ends.callback(storage.close)
        return storage

    def new(self, *lacks: str) -> Storage:
        """Return a new storage, or skip the test if there is one of the reasons *lacks*."""
        for lack in lacks:
            need(lack)
        return self.opened(self.make())

    def with_root(self, *lacks: str) -> Storage:
        """Return a new storage with one transaction, which has stored oid 0, or skip the test."""
        storage = self.new(*lacks)
        commit(storage, {0: b"root"})
        return storage

    def read_from(self, storage: Storage) -> Storage:
        """Return the storage that the tests of reading read, which is closed when they end."""
        reader = self.reader(storage)
        return reader if reader is storage else self.opened(reader)

    def another(
        self, storage: Storage, *, lock_timeout: float | None = None, read_only: bool = False
    ) -> Storage:
        """Return another instance over the same data, or skip the test."""
        need(self.lacks_second_instance)
        if lock_timeout is not None:
            need(self.lacks_lock_timeout)
        if read_only:
            need(self.lacks_read_only)
        return self.opened(self.again(storage, lock_timeout=lock_timeout, read_only=read_only))

    def database(self, storage: Storage, manager: Any = None) -> Database:
        """Return a database on *storage* in which each thread has its own transactions."""
        manager = manager or transaction.ThreadTransactionManager()
        database = Database(storage, transaction_manager=manager)
        self._ends.callback(_end, database)
        return database


def _end(database: Database) -> None:
    if not database.closed:
        database.transaction_manager.abort()
        check_database(database).raise_if_bad()
        database.close()


def need(lack: str) -> None:
    """Skip the test if there is a reason, *lack*, why the storage can't run it."""
    if lack:
        raise unittest.SkipTest(lack)


# -- assertions -------------------------------------------------------------------


def equal(found: Any, expected: Any, what: str = "") -> None:
    """Fail unless *found* is equal to *expected*."""
    if found != expected:
        text = f"{what}: " if what else ""
        text += f"found {found!r}, expected {expected!r}"
        raise AssertionError(text)


@contextlib.contextmanager
def raises(kind: type[BaseException]) -> Iterator[None]:
    """Fail unless the block raises an error of this kind."""
    try:
        yield
    except kind:
        return
    text = f"nothing was raised, expected {kind.__name__}"
    raise AssertionError(text)


# -- threads ----------------------------------------------------------------------


def in_threads(*functions: Callable[[], Any]) -> list[Any]:
    """Run each function in its own thread, at the same time; return their results.

    An exception of one of them is raised here, and an AssertionError if one does not end.
    """
    results: list[Any] = [None] * len(functions)
    errors: list[BaseException] = []

    def run(number: int, function: Callable[[], Any]) -> None:
        try:
            results[number] = function()
        except BaseException as error:  # noqa: BLE001  raised below
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=item, daemon=True) for item in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    if errors:
        raise errors[0]
    equal([thread.is_alive() for thread in threads].count(True), 0, "threads that did not end")
    return results


def in_thread(function: Callable[[], Any]) -> Any:
    """Run *function* in its own thread; return its result, or raise its exception."""
    return in_threads(function)[0]


# -- steps of a storage -----------------------------------------------------------


@contextlib.contextmanager
def locked(storage: Storage) -> Iterator[None]:
    """Hold the commit lock."""
    storage.acquire()
    try:
        yield
    finally:
        storage.release()


def catch_up(storage: Storage) -> list[Transaction]:
    """Apply the news; return them."""
    news = list(storage.read_news())
    storage.apply(news)
    return news


def commit(
    storage: Storage,
    changes: dict[int, bytes],
    classes: Sequence[ClassRow] = (),
    shapes: Sequence[ShapeRow] = (),
    *,
    number: int = 1,
    **about: Any,
) -> Transaction:
    """Commit states by oid, all with the class *number*; return the transaction."""
    with locked(storage):
        catch_up(storage)
        return append(storage, changes, classes, shapes, number=number, **about)


def append(
    storage: Storage,
    changes: dict[int, bytes],
    classes: Sequence[ClassRow] = (),
    shapes: Sequence[ShapeRow] = (),
    *,
    number: int = 1,
    **about: Any,
) -> Transaction:
    """Append a transaction under the lock, and apply it; return it."""
    entries = [(Oid(oid), number, data) for oid, data in changes.items()]
    logged = storage.append(Tid(storage.tid + 10), entries, classes, shapes, **about)
    storage.apply([logged])
    return logged


def fail(
    storage: Storage, reason: str, oids: Sequence[int] = (), tid: int | None = None, **about: Any
) -> Transaction:
    """Record a failed transaction; return it."""
    with locked(storage):
        catch_up(storage)
        return record_failure(storage, reason, oids, tid, **about)


def record_failure(
    storage: Storage, reason: str, oids: Sequence[int] = (), tid: int | None = None, **about: Any
) -> Transaction:
    """Record a failed transaction under the lock, and apply it; return it."""
    named = [Oid(oid) for oid in oids]
    tid = storage.tid + 10 if tid is None else tid
    logged = storage.fail(Tid(tid), reason, oids=named, **about)
    if logged is None:
        text = "a failed transaction was not recorded"
        raise AssertionError(text)
    storage.apply([logged])
    return logged


def stored(storage: Storage, oid: int, at: int | None = None) -> StoredVersion:
    """Return a version of an object that exists."""
    found = storage.load(Oid(oid), None if at is None else Tid(at))
    if found is None:
        text = f"oid {oid} does not exist"
        raise AssertionError(text)
    return found


def nothing_is_applied(storage: Storage) -> None:
    """Fail unless the storage has applied no transaction."""
    equal((len(storage), storage.tid, storage.oid_count), (0, 0, 0))
    equal(storage.load(Oid(0)), None)


def data_of(storage: Storage, oid: int, at: int | None = None) -> bytes | None:
    """Return the state of an object, ``None`` if there is no such object."""
    found = storage.load(Oid(oid), None if at is None else Tid(at))
    return None if found is None else found.data
