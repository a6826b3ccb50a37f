"""Committing: a transaction is there completely or not at all, in one order for all readers."""

from __future__ import annotations

from collections.abc import Callable

from dobbin_like.conformance.assertions import equal, raises
from dobbin_like.conformance.harness import Harness
from dobbin_like.conformance.steps import (
    append,
    catch_up,
    commit,
    data_of,
    fail,
    locked,
    nothing_is_applied,
    record_failure,
    stored,
)
from dobbin_like.contract import NO_NAMES
from dobbin_like.exc import NotHeldError
from dobbin_like.ids import DELTA, Oid, Tid

ROOT = Oid(0)


class CommitTests(Harness):
    """The steps of a commit, and what other instances see after each."""

    def test_a_new_storage_is_empty(self) -> None:
        storage = self.new()

        equal((len(storage), storage.oid_count, storage.next_oid, storage.tid), (0, 0, 0, 0))
        equal((storage.names.next_number, storage.names.forgotten), (1, 0))
        equal((storage.has_news(), list(storage.read_news())), (False, []))
        equal(list(storage.transactions()), [])
        equal((storage.load(ROOT), storage.has(ROOT)), (None, False))
        equal((bool(storage), storage.closed), (True, False))
        equal((storage.read_only, storage.why_read_only, storage.held), (False, "", False))
        equal((storage.complete_since, storage.names.rows()), (0, NO_NAMES))
        equal((type(storage.path), type(storage.sort_key)), (str, str))

    def test_what_was_committed_is_read(self) -> None:
        storage = self.new()
        logged = commit(storage, {0: b"root", 3: b"three"}, [(1, "shop", "Cart")])

        equal((logged.failed, logged.sequence, list(logged.oids)), (False, 1, [0, 3]))
        equal((data_of(storage, 0), data_of(storage, 3)), (b"root", b"three"))
        equal((len(storage), storage.oid_count, storage.next_oid), (1, 2, 4))
        equal((storage.tid, storage.has_news()), (logged.tid, False))
        equal((storage.names.class_name(1), storage.names.next_number), (("shop", "Cart"), 2))

    def test_shapes_are_kept_beside_the_classes(self) -> None:
        storage = self.new()
        shapes = [(2, 1, ("x", "größe")), (3, 1, ())]
        equal((storage.names.shape(2), storage.names.shape_count(1)), (None, 0))
        commit(storage, {0: b"root"}, [(1, "shop", "Cart")], shapes, number=2)

        equal((storage.names.shape(2), storage.names.shape(3)), ((1, ("x", "größe")), (1, ())))
        equal((storage.names.shape(1), storage.names.shape(9)), (None, None))
        equal(storage.names.shape_number(1, ("x", "größe")), 2)
        equal(storage.names.shape_number(1, ("x",)), None)
        equal((storage.names.shape_count(1), storage.names.next_number), (2, 4))
        equal(stored(storage, 0).number, 2)
        names = storage.names.rows()
        equal((list(names.classes), list(names.shapes)), ([(1, "shop", "Cart")], shapes))

    def test_the_number_of_a_state_comes_back_with_its_flag(self) -> None:
        storage = self.new()
        flagged = DELTA + 1
        logged = commit(storage, {0: b""}, [(1, "shop", "Cart")], number=flagged)
        equal(stored(storage, 0).number, flagged)
        equal([version.number for _, version in storage.entries(logged)], [flagged])
        equal(storage.names.next_number, 2)

    def test_nothing_is_applied_before_it_is_told_so(self) -> None:
        storage = self.new()
        with locked(storage):
            logged = storage.append(Tid(10), [(ROOT, 1, b"root")], [(1, "shop", "Cart")])
            nothing_is_applied(storage)
            equal(storage.names.class_name(1), None)
            storage.apply([logged])

        equal((len(storage), storage.tid, data_of(storage, 0)), (1, 10, b"root"))

    def test_transactions_may_follow_each_other_under_one_lock(self) -> None:
        storage = self.new()
        with locked(storage):
            for number in range(3):
                append(storage, {0: b"%d" % number})

        equal((data_of(storage, 0), len(storage)), (b"2", 3))

    def test_a_transaction_may_be_empty(self) -> None:
        storage = self.new()
        commit(storage, {})

        equal((len(storage), storage.oid_count), (1, 0))

    def test_what_can_not_be_logged_is_refused_and_leaves_nothing(self) -> None:
        storage = self.new()
        last = commit(storage, {0: b"root"}).tid
        late = last + 1
        for tid, oids in ((last, [1]), (last - 1, [1]), (0, [1]), (late, [1, 1]), (late, [-1])):
            for write in (storage.append, storage.prepare):
                with locked(storage):
                    raises(ValueError, write, Tid(tid), [(Oid(oid), 1, b"") for oid in oids])

        equal((storage.has_news(), len(storage), storage.oid_count), (False, 1, 1))
        commit(storage, {1: b"one"})
        equal(data_of(storage, 1), b"one")

    def test_writing_needs_the_lock(self) -> None:
        storage = self.with_root()

        uses: list[Callable[[], object]] = [
            lambda: storage.append(Tid(100), [(ROOT, 1, b"")]),
            lambda: storage.prepare(Tid(100), [(ROOT, 1, b"")]),
            storage.decide,
            lambda: storage.settle(Tid(100)),
            lambda: storage.fail(Tid(100), "why"),
        ]
        for use in uses:
            raises(NotHeldError, use)
        equal((storage.has_news(), len(storage)), (False, 1))

    def test_states_are_kept_to_the_byte(self) -> None:
        storage = self.new()
        states = {0: b"", 1: bytes(range(256)), 2: bytes(1_000_000), 3: b"\0"}
        commit(storage, states)

        for oid, data in states.items():
            equal(data_of(storage, oid) == data, True, f"oid {oid}")

    def test_an_interrupted_holder_is_told_what_it_has_committed(self) -> None:
        storage = self.with_root()
        with locked(storage):
            equal(storage.settle(Tid(storage.tid + 10)), None)
            tid = Tid(storage.tid + 10)
            storage.append(tid, [(ROOT, 1, b"again")])
            for _ in range(2):
                found = storage.settle(tid)
                equal((found and found.tid, storage.settle(Tid(tid + 1))), (tid, None))
            catch_up(storage)

        equal((data_of(storage, 0), len(storage)), (b"again", 2))

    def test_a_failed_transaction_counts_and_changes_nothing(self) -> None:
        storage = self.new(self.lacks_failures)
        first = commit(storage, {0: b"root"})
        failed = fail(storage, "a conflict", [0, 7], user="me")
        commit(storage, {1: b"one"})

        equal((failed.failed, failed.reason, failed.user), (True, "a conflict", "me"))
        equal((list(failed.oids), failed.sequence), ([0, 7], 2))
        equal((len(storage), storage.oid_count, storage.next_oid), (3, 2, 2))
        equal((data_of(storage, 0), stored(storage, 0).tid), (b"root", first.tid))
        equal((storage.load(Oid(7)), storage.has(Oid(7))), (None, False))

    def test_a_failure_gets_a_tid_that_fits(self) -> None:
        storage = self.new(self.lacks_failures)
        last = commit(storage, {0: b"root"}).tid
        logged = fail(storage, "too late", tid=1)

        equal(logged.tid > last, True)
        equal(storage.tid, logged.tid)

    def test_what_is_prepared_counts_when_it_is_decided(self) -> None:
        storage = self.new()
        with locked(storage):
            logged = storage.prepare(Tid(10), [(ROOT, 1, b"root")], [(1, "shop", "Cart")])
            nothing_is_applied(storage)
            equal((storage.settle(Tid(10)), list(storage.read_news())), (None, []))
            storage.decide()
            nothing_is_applied(storage)
            found = storage.settle(Tid(10))
            equal((found and found.tid, [each.tid for each in storage.read_news()]), (10, [10]))
            storage.apply([logged])

        equal((len(storage), storage.tid, data_of(storage, 0)), (1, 10, b"root"))
        equal((logged.failed, logged.sequence, list(logged.oids)), (False, 1, [0]))

    def test_what_was_not_decided_can_be_decided_after_settling(self) -> None:
        storage = self.new()
        with locked(storage):
            logged = storage.prepare(Tid(10), [(ROOT, 1, b"root")])
            equal(storage.settle(Tid(10)), None)
            storage.decide()
            storage.apply([logged])

        equal(data_of(storage, 0), b"root")

    def test_what_is_neither_decided_nor_failed_leaves_nothing(self) -> None:
        storage = self.new()
        commit(storage, {0: b"root"}, [(1, "shop", "Cart")])
        with locked(storage):
            storage.prepare(Tid(100), [(ROOT, 1, b"lost")], [(2, "a", "B")])

        equal((storage.has_news(), catch_up(storage)), (False, []))
        equal((data_of(storage, 0), len(storage)), (b"root", 1))
        equal((storage.names.class_number("a", "B"), storage.names.next_number), (None, 2))
        commit(storage, {0: b"again"})
        equal((data_of(storage, 0), len(storage)), (b"again", 2))

    def test_the_steps_have_an_order(self) -> None:
        storage = self.new()
        with locked(storage):
            raises(NotHeldError, storage.decide)
            logged = storage.prepare(Tid(10), [(ROOT, 1, b"root")])
            for write in (storage.append, storage.prepare):
                raises(NotHeldError, write, Tid(11), [(ROOT, 1, b"root")])
            storage.decide()
            raises(NotHeldError, storage.decide)
            storage.apply([logged])

        equal(len(storage), 1)

    def test_a_prepared_transaction_can_be_made_a_failed_one(self) -> None:
        storage = self.new(self.lacks_failures)
        commit(storage, {0: b"root"}, [(1, "shop", "Cart")])
        with locked(storage):
            tid = Tid(storage.tid + 10)
            storage.prepare(tid, [(ROOT, 2, b"lost")], [(2, "a", "B")], user="me")
            logged = record_failure(storage, "a veto", tid=tid)
            equal(storage.settle(tid), None)

        equal((logged.tid, logged.failed, logged.reason), (tid, True, "a veto"))
        equal((logged.user, list(logged.oids)), ("me", [0]))
        equal((data_of(storage, 0), storage.tid), (b"root", tid))
        equal((storage.names.class_number("a", "B"), storage.names.next_number), (None, 2))
        equal((len(storage), storage.has_news()), (2, False))
