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

The tests state the promises of :mod:`dobbin_like.contract`: those of readers in
:mod:`.past`, of a commit in :mod:`.commits` and :mod:`.participants`, of several instances in
:mod:`.news`, of the lock in :mod:`.locks`, of streams in :mod:`.streams`, of a storage that
is packed in :mod:`.packed`; what programs make of all of it is in :mod:`.objects` and
:mod:`.snapshots`.
"""

from __future__ import annotations

from dobbin_like.conformance.commits import CommitTests
from dobbin_like.conformance.harness import Harness
from dobbin_like.conformance.locks import LockTests
from dobbin_like.conformance.news import NewsTests
from dobbin_like.conformance.objects import DatabaseTests
from dobbin_like.conformance.packed import PackedTests
from dobbin_like.conformance.participants import ParticipantTests
from dobbin_like.conformance.past import ReadingTests
from dobbin_like.conformance.run import Outcome, run
from dobbin_like.conformance.snapshots import SnapshotTests
from dobbin_like.conformance.streams import StreamTests

__all__ = ["Harness", "Outcome", "ReadingTests", "StorageTests", "run"]


class StorageTests(
    ReadingTests,
    CommitTests,
    ParticipantTests,
    NewsTests,
    LockTests,
    StreamTests,
    PackedTests,
    DatabaseTests,
    SnapshotTests,
):
    """All tests. A subclass defines ``make`` and ``again``."""
