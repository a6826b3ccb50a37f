"""The base of the tests: the storages of one test. Needs no test runner."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any

import transaction

from dobbin_like.check import check_database
from dobbin_like.conformance.steps import commit
from dobbin_like.contract import Storage
from dobbin_like.database import Database


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

    def setup_method(self, _method: Any = None) -> None:
        self._ends = contextlib.ExitStack()

    def teardown_method(self, _method: Any = None) -> None:
        self._ends.close()

    def directory(self) -> Path:
        """Return a new directory that is removed when the test ends, for storages in files."""
        path = tempfile.mkdtemp(prefix="dobbin_like-")
        self._ends.callback(shutil.rmtree, path, ignore_errors=True)
        return Path(path)

    def opened(self, storage: Storage) -> Storage:
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

    def two(self, *lacks: str) -> tuple[Storage, Storage]:
        """Return two instances over the same new data, or skip the test."""
        storage = self.new(*lacks)
        return storage, self.another(storage)

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
