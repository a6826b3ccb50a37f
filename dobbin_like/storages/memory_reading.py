"""What all instances over one log in memory share, and the half of each that reads it.

Below the transactions lies the ground: nothing, or a storage as of one moment.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import NamedTuple, cast

from dobbin_like.contract import NO_NAMES, NewNames, StoredVersion, Transaction
from dobbin_like.exc import IntegrityError
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.name_tables import NameTables
from dobbin_like.processes.threaded_dict import ThreadedDict
from dobbin_like.storages.as_of import AsOf
from dobbin_like.storages.head import StorageWithHead
from dobbin_like.storages.memory_lock import MemoryLock

_tid_of = attrgetter("tid")


class MemoryTransaction(NamedTuple):
    """One transaction in memory."""

    tid: Tid
    sequence: int  # 1 for the first one; failed ones count.
    failed: bool
    user: str
    description: str
    extension: bytes
    reason: str
    oids: Sequence[Oid]
    names: NewNames  # Classes and shapes that are new in this transaction.
    versions: Sequence[MemoryVersion]  # By the side of the oids; none if it failed.
    oid_count: int  # What there is when it is applied.
    next_oid: Oid


class MemoryVersion(NamedTuple):
    """One version of one object in memory."""

    tid: Tid
    number: int  # Of its class, or of its shape.
    data: bytes
    position: int  # The number of its transaction, for the texts of errors.
    before: MemoryVersion | None


class Shared:
    """What all instances over one log share. Any thread.

    ``transactions`` begins with one that stands for what lies below, the *ground*, and is only
    added to. ``streams`` has the bytes of streams by their keys: also of those whose
    transaction is still to come. Both are changed by the holder of the lock.
    """

    def __init__(self, path: str, ground: AsOf | None = None, first_stream: int = 1) -> None:
        self.path = path
        self.ground = ground
        self.names: NewNames = NO_NAMES if ground is None else ground.names.rows()
        self.lock: MemoryLock = MemoryLock(path)
        tid, sequence, counts = NO_TID, 0, (0, Oid(0))
        if ground is not None:
            tid, sequence, counts = ground.tid, len(ground), (ground.oid_count, ground.next_oid)
        rest = "", "", b"", "", (), NO_NAMES, ()
        self.transactions: list[MemoryTransaction] = [
            MemoryTransaction(tid, sequence, False, *rest, *counts)
        ]
        self.streams: dict[int, bytes] = ThreadedDict()
        self.next_stream = first_stream


class ReadableMemory(StorageWithHead[MemoryTransaction]):
    """A log in memory as its readers see it. Any thread."""

    def __init__(self, shared: Shared) -> None:
        self.path: str = shared.path
        self.sort_key: str = f"dobbin_like:{shared.path}"
        self._shared = shared
        # What is applied: the newest transaction, the newest version by oid, the names.
        self._head = shared.transactions[0]
        self._newest: dict[Oid, MemoryVersion] = ThreadedDict()
        self.names: NameTables = NameTables(*shared.names)
        self.apply(self.read_news())

    @property
    def complete_since(self) -> Tid:
        ground = self._shared.ground
        return NO_TID if ground is None else ground.complete_since

    def has_news(self) -> bool:
        if self.closed:
            self._check_open()
        return self._shared.transactions[-1] is not self._head

    def read_news(self) -> list[MemoryTransaction]:
        self._check_open()
        first = self._shared.transactions[0].sequence
        return self._shared.transactions[self._head.sequence - first + 1 :]

    def apply(self, news: Sequence[Transaction]) -> None:
        for logged in cast("Sequence[MemoryTransaction]", news):
            self._check_follows(logged.sequence)
            if logged.names is not NO_NAMES:
                self.names.update(*logged.names)
            self._newest.update(zip(logged.oids, logged.versions))  # noqa: B905  failed: none
            # Last: with the new tid, a reader finds the new versions.
            self._head = logged

    def has(self, oid: Oid) -> bool:
        return self.load(oid) is not None

    def load(self, oid: Oid, at: Tid | None = None) -> StoredVersion | None:
        if self.closed:
            self._check_open()
        version = self._newest.get(oid)
        if at is not None:
            while version is not None and version.tid > at:
                version = version.before
        ground = self._shared.ground
        return ground.load(oid, at) if version is None and ground is not None else version

    def stream_size(self, key: int) -> int:
        found = self._stream(key)
        return len(found) if isinstance(found, bytes) else found.stream_size(key)

    def read_stream(self, key: int, start: int, size: int) -> bytes:
        found = self._stream(key)
        if not isinstance(found, bytes):
            return found.read_stream(key, start, size)
        start = max(start, 0)
        return found[start : start + max(size, 0)]

    def _stream(self, key: int) -> bytes | AsOf:
        """Return the bytes of a stream, or the storage below, where it has to be then."""
        self._check_open()
        found = self._shared.streams.get(key, self._shared.ground)
        if found is None:
            raise IntegrityError(self.path, key, "nothing", "a stream")
        return found

    def version_before(self, oid: Oid, stored: StoredVersion) -> StoredVersion | None:
        self._check_open()
        ground = self._below(stored)
        if ground is not None:
            return ground.version_before(oid, stored)
        before = cast("MemoryVersion", stored).before
        ground = self._shared.ground
        return ground.load(oid) if before is None and ground is not None else before

    def transactions(
        self, since: Tid = NO_TID, until: Tid | None = None, *, newest_first: bool = False
    ) -> Iterator[Transaction]:
        self._check_open()
        until = self.tid if until is None else min(until, self.tid)
        here, ground = self._shared.transactions, self._shared.ground
        end = bisect_right(here, until, key=_tid_of)
        # The first one stands for what lies below.
        begin = min(max(1, bisect_right(here, since, key=_tid_of)), end)
        below: Iterator[Transaction] = iter(())
        if ground is not None:
            below = ground.transactions(since, until, newest_first=newest_first)
        if newest_first:
            return chain(reversed(here[begin:end]), below)
        return chain(below, here[begin:end])

    def transaction_of(self, stored: StoredVersion) -> Transaction:
        self._check_open()
        ground = self._below(stored)
        if ground is not None:
            return ground.transaction_of(stored)
        here = self._shared.transactions
        return here[stored.position - here[0].sequence]

    def entries(self, transaction: Transaction) -> Iterator[tuple[Oid, StoredVersion]]:
        self._check_open()
        ground = self._below(transaction)
        if ground is not None:
            yield from ground.entries(transaction)
        else:
            logged = cast("MemoryTransaction", transaction)
            yield from zip(logged.oids, logged.versions)  # noqa: B905  failed: none

    def _below(self, what: StoredVersion | Transaction) -> AsOf | None:
        """Return what lies below if a version or transaction is from there."""
        ground = self._shared.ground
        return ground if ground is not None and what.tid <= ground.tid else None
