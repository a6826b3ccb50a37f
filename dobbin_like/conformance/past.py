"""Reading: committed data is there, now and as of every earlier tid."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, NamedTuple

from dobbin_like.conformance.assertions import equal, in_threads, raises
from dobbin_like.conformance.harness import Harness
from dobbin_like.conformance.steps import append, commit, data_of, fail, locked, stored
from dobbin_like.contract import Storage, StoredVersion, Transaction
from dobbin_like.exc import ClosedError
from dobbin_like.ids import Oid, Tid


def versions(storage: Storage, oid: Oid, at: Tid | None = None) -> Iterator[StoredVersion]:
    """Yield the versions of an object, newest first."""
    version = storage.load(oid, at)
    while version is not None:
        yield version
        version = storage.version_before(oid, version)


class Told(NamedTuple):
    """A history that was written, for comparison."""

    storage: Storage
    transactions: list[Transaction]
    states: dict[int, dict[int, bytes]]
    """By tid, the states by oid at that time."""


class ReadingTests(Harness):
    """Reading, from any thread."""

    def told(self, *lacks: str) -> Told:
        """Write a history and return it, with the storage to read it from; or skip the test."""
        storage = self.new(*lacks)
        done: list[Transaction] = []
        states: dict[int, dict[int, bytes]] = {0: {}}
        now: dict[int, bytes] = {}

        def change(changes: dict[int, bytes], *names: Any, **about: Any) -> None:
            nonlocal now
            now = now | changes
            done.append(commit(storage, changes, *names, **about))
            states[done[-1].tid] = now

        about = {"user": "me", "description": "the first", "extension": b"{}"}
        change({0: b"root", 1: b"one"}, [(1, "shop", "Cart")], **about)
        change({1: b"one, again", 5: b"\0" * 100_000})
        middle = self.middle(storage)
        if middle is not storage:
            storage = self.opened(middle)
        if not self.lacks_failures:
            done.append(fail(storage, "a conflict", [1], user="you"))
            states[done[-1].tid] = now
        change({0: b""}, [(2, "shop", "Item")], number=2)
        change({}, [(1, "store", "Basket")])
        change({3: b"three", 1: b"one, at last"})
        return Told(self.read_from(storage), done, states)

    def test_the_counts_are_those_of_what_is_applied(self) -> None:
        storage, done, _ = self.told()

        equal(len(storage), len(done))
        equal(storage.tid, done[-1].tid)
        equal((storage.oid_count, storage.next_oid), (4, 6))
        equal(storage.names.next_number, 3)
        equal(bool(storage), True)
        equal((storage.has_news(), storage.read_news()), (False, []))

    def test_the_newest_versions_are_read(self) -> None:
        storage, done, states = self.told()

        for oid, data in states[done[-1].tid].items():
            found = stored(storage, oid).data
            equal((type(found), found), (bytes, data), f"oid {oid}")
            equal(storage.has(Oid(oid)), True)
        equal(stored(storage, 3).tid, done[-1].tid)
        equal(stored(storage, 5).tid, done[1].tid)

    def test_an_object_that_there_is_not_is_none(self) -> None:
        storage, _, _ = self.told()

        for oid in (2, 4, 6, 1_000_000, -1, -5):
            equal(storage.load(Oid(oid)), None, f"oid {oid}")
            equal(storage.has(Oid(oid)), False, f"oid {oid}")

    def test_every_version_is_read_as_of_every_tid(self) -> None:
        storage, _, states = self.told(self.lacks_history)

        for tid, now in states.items():
            for at in (tid, tid + 1, tid + 9):
                for oid in range(7):
                    equal(data_of(storage, oid, at), now.get(oid), f"oid {oid} at {at}")

    def test_the_versions_of_an_object_come_newest_first(self) -> None:
        storage, done, _ = self.told(self.lacks_history)
        writers = [done[-1].tid, done[1].tid, done[0].tid]

        equal([version.tid for version in versions(storage, Oid(1))], writers)
        equal([version.tid for version in versions(storage, Oid(1), done[1].tid)], writers[1:])
        equal([version.data for version in versions(storage, Oid(0))], [b"", b"root"])
        equal(list(versions(storage, Oid(2))), [])
        equal(list(versions(storage, Oid(3), done[0].tid)), [])

    def test_the_transactions_are_told_in_both_orders(self) -> None:
        storage, done, _ = self.told(self.lacks_history)
        tids = [logged.tid for logged in done]

        equal([logged.tid for logged in storage.transactions()], tids)
        equal([logged.tid for logged in storage.transactions(newest_first=True)], tids[::-1])
        for first in range(len(tids)):
            for last in range(len(tids)):
                between = tids[first + 1 : last + 1]
                for newest_first, expected in ((False, between), (True, between[::-1])):
                    limits = tids[first], tids[last]
                    found = storage.transactions(*limits, newest_first=newest_first)
                    equal([logged.tid for logged in found], expected, f"between {limits}")

    def test_a_transaction_is_told_as_it_was_committed(self) -> None:
        storage, done, _ = self.told(self.lacks_history)

        for found, logged in zip(storage.transactions(), done, strict=True):
            for name in ("tid", "sequence", "failed", "user", "description", "extension"):
                equal(getattr(found, name), getattr(logged, name), name)
            equal(list(found.oids), list(logged.oids))
        first = next(iter(storage.transactions()))
        equal((first.sequence, first.failed), (1, False))
        equal((first.user, first.description, first.extension), ("me", "the first", b"{}"))
        equal(list(first.oids), [0, 1])

    def test_a_failed_transaction_is_told_with_its_reason(self) -> None:
        storage, _, _ = self.told(self.lacks_history, self.lacks_failures)

        (failed,) = [logged for logged in storage.transactions() if logged.failed]
        equal((failed.reason, failed.user, list(failed.oids)), ("a conflict", "you", [1]))

    def test_the_entries_of_a_transaction_are_what_it_has_written(self) -> None:
        storage, _, states = self.told(self.lacks_history)

        for logged in storage.transactions():
            if not logged.failed:
                entries = list(storage.entries(logged))
                equal([oid for oid, _ in entries], list(logged.oids))
                for oid, version in entries:
                    equal((version.tid, version.data), (logged.tid, states[logged.tid][oid]))

    def test_the_transaction_of_a_version_is_the_one_that_wrote_it(self) -> None:
        storage, _, _ = self.told(self.lacks_history)

        for oid in (0, 1, 3, 5):
            for version in versions(storage, Oid(oid)):
                logged = storage.transaction_of(version)
                equal(logged.tid, version.tid)
                equal(oid in logged.oids, True)

    def test_classes_have_the_name_that_they_were_given_last(self) -> None:
        names = self.told().storage.names

        for number, name in ((1, ("store", "Basket")), (2, ("shop", "Item"))):
            equal((names.class_name(number), names.class_number(*name)), (name, number))
        equal((names.class_number("shop", "Cart"), names.class_name(7)), (None, None))

    def test_versions_keep_the_number_of_their_class(self) -> None:
        storage, _, _ = self.told()

        equal([stored(storage, oid).number for oid in (0, 1, 3, 5)], [2, 1, 1, 1])

    def test_many_threads_read_at_once(self) -> None:
        storage, done, states = self.told()
        last = states[done[-1].tid]

        def read() -> int:
            for _ in range(50):
                for oid in range(7):
                    equal(data_of(storage, oid), last.get(oid), f"oid {oid}")
            return 1

        equal(sum(in_threads(*[read] * 4)), 4)

    def test_nothing_is_read_after_close(self) -> None:
        storage, _, _ = self.told()
        storage.close()
        storage.close()

        equal(storage.closed, True)
        uses = (lambda: storage.load(Oid(0)), lambda: list(storage.transactions()))
        for use in (*uses, storage.read_news, storage.has_news):
            raises(ClosedError, use)

    def test_streams_are_read_in_ranges(self) -> None:
        data = bytes(range(256)) * 1000
        storage = self.new(self.lacks_streams)
        with locked(storage):
            key, size = storage.write_stream(io.BytesIO(data))
            append(storage, {0: b""}, [(1, "shop", "Cart")])
        reader = self.read_from(storage)

        equal((size, reader.stream_size(key)), (len(data), len(data)))
        ranges = [(0, 10), (65_530, 20), (0, 300_000), (250_000, 99_999), (256_000, 1)]
        for start, wanted in [*ranges, (300_000, 10), (5, 0)]:
            found = reader.read_stream(key, start, wanted)
            equal(found == data[start : start + wanted], True, f"{wanted} bytes from {start} on")
