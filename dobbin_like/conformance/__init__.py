"""A test suite for storages: that they keep the contract, and work under a database.

::

    from dobbin_like.conformance import StorageTests

    class TestMyStorage(StorageTests):
        def make(self):
            return MyStorage(self.directory() / "data")

        def again(self, storage, *, lock_timeout=None, read_only=False):
            return MyStorage(storage.path, timeout=lock_timeout, read_only=read_only)

        lacks_fork = "the connection to the server is not shared with children"

pytest finds and runs such a class; :func:`run` runs it without pytest. Each test creates its
own storages and closes them. If a storage lacks a feature, an attribute ``lacks_...`` of the
class gives the reason as a text: see :class:`.harness.Harness`.

The tests state the promises of :mod:`dobbin_like.contract`; what programs make of all of it is
in :mod:`.objects` and :mod:`.snapshots`.
"""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from typing import NamedTuple

from dobbin_like.conformance.commits import CommitTests
from dobbin_like.conformance.harness import Harness
from dobbin_like.conformance.locks import LockTests
from dobbin_like.conformance.news import NewsTests
from dobbin_like.conformance.objects import DatabaseTests
from dobbin_like.conformance.packed import PackedTests
from dobbin_like.conformance.past import ReadingTests
from dobbin_like.conformance.snapshots import SnapshotTests
from dobbin_like.conformance.streams import StreamTests

__all__ = ["Harness", "Outcome", "ReadingTests", "StorageTests", "run"]


class StorageTests(
    ReadingTests,
    CommitTests,
    NewsTests,
    LockTests,
    StreamTests,
    PackedTests,
    DatabaseTests,
    SnapshotTests,
):
    """All tests. A subclass defines ``make`` and ``again``."""


class Outcome(NamedTuple):
    """The result of one test, with the error if it failed, or the reason if it was skipped."""

    test: str
    error: Exception | None
    skipped: str


def run(tests: type[Harness]) -> Iterator[Outcome]:
    """Run all tests of a class, in the order of their names; yield the result of each.

    ::

        failed = [outcome for outcome in run(MyStorageTests) if outcome.error]

    An interrupt, and any other exception that is not an ``Exception``, ends the run.
    """
    for name in sorted(dir(tests)):
        if name.startswith("test_"):
            yield _run_one(tests(), name)


def _run_one(case: Harness, name: str) -> Outcome:
    try:
        case.setup_method()
        try:
            getattr(case, name)()
        finally:
            case.teardown_method()
    except unittest.SkipTest as skip:
        return Outcome(name, None, str(skip))
    except Exception as error:  # noqa: BLE001  it is what the caller asks for
        return Outcome(name, error, "")
    return Outcome(name, None, "")
