"""Committing: a transaction is there completely or not at all, in one order for all readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dobbin_like.conformance.harness import (
    Harness,
    catch_up,
    commit,
    data_of,
    equal,
    fail,
    need,
    raises,
)
from dobbin_like.exc import NotHeldError
from dobbin_like.ids import Oid, Tid

if TYPE_CHECKING:
    pass

__all__ = ["CommitTests"]

ROOT = Oid(0)


class CommitTests(Harness):
    """The steps of a commit, and what other instances see after each."""

    def test_a_new_storage_is_empty(self) -> None:
        storage = self.new()

        equal((len(storage), storage.oid_count, storage.next_oid, storage.tid), (0, 0, 0, 0))
        equal(storage.next_class_number, 1)
        equal((storage.has_news(), storage.read_news()), (False, []))
        equal(list(storage.transactions()), [])
        equal((storage.load(ROOT), storage.has(ROOT)), (None, False))
        equal((bool(storage), storage.closed), (True, False))
        equal((storage.read_only, storage.held), (False, False))
        equal((type(storage.path), type(storage.sort_key)), (str, str))

    def test_what_was_committed_is_read(self) -> None:
        storage = self.new()
        logged = commit(storage, {0: b"root", 3: b"three"}, [(1, "shop", "Cart")])

        equal((logged.failed, logged.sequence, list(logged.oids)), (False, 1, [0, 3]))
        equal((data_of(storage, 0), data_of(storage, 3)), (b"root", b"three"))
        equal((len(storage), storage.oid_count, storage.next_oid), (1, 2, 4))
        equal((storage.tid, storage.has_news()), (logged.tid, False))
        equal((storage.class_name(1), storage.next_class_number), (("shop", "Cart"), 2))

    def test_shapes_are_kept_beside_the_classes(self) -> None:
        storage = self.new()
        shapes = [(2, 1, ("x", "größe")), (3, 1, ())]
        storage.acquire()
        logged = storage.prepare(Tid(10), [(ROOT, 2, b"root")], [(1, "shop", "Cart")], shapes)
        before = (storage.shape(2), storage.shape_count(1))
        storage.finish()
        storage.apply([logged])
        storage.release()

        equal(before, (None, 0))
        equal((storage.shape(2), storage.shape(3)), ((1, ("x", "größe")), (1, ())))
        equal((storage.shape(1), storage.shape(9)), (None, None))
        equal(
            (storage.shape_number(1, ("x", "größe")), storage.shape_number(1, ("x",))), (2, None)
        )
        equal((storage.shape_count(1), storage.next_class_number), (2, 4))
        equal(storage.load(ROOT).number, 2)
        names = storage.names()
        equal((list(names.classes), list(names.shapes)), ([(1, "shop", "Cart")], shapes))

    def test_the_number_of_a_state_comes_back_with_its_flag(self) -> None:
        storage = self.new()
        storage.acquire()
        flagged = (1 << 24) + 1
        logged = storage.prepare(Tid(10), [(ROOT, flagged, b"")], [(1, "shop", "Cart")])
        storage.finish()
        storage.apply([logged])
        storage.release()
        equal(storage.load(ROOT).number, flagged)
        equal([stored.number for _, stored in storage.entries(logged)], [flagged])
        equal(storage.next_class_number, 2)

    def test_nothing_is_applied_before_it_is_told_so(self) -> None:
        storage = self.new()
        storage.acquire()
        logged = storage.prepare(Tid(10), [(ROOT, 1, b"root")], [(1, "shop", "Cart")])
        prepared = (len(storage), storage.tid, storage.load(ROOT), storage.oid_count)
        storage.finish()
        finished = (len(storage), storage.tid, storage.load(ROOT), storage.oid_count)
        storage.apply([logged])
        storage.release()

        equal(prepared, (0, 0, None, 0))
        equal(finished, (0, 0, None, 0))
        equal((len(storage), storage.tid, data_of(storage, 0)), (1, 10, b"root"))

    def test_what_is_neither_finished_nor_failed_leaves_nothing(self) -> None:
        storage = self.new()
        commit(storage, {0: b"root"}, [(1, "shop", "Cart")])
        for decided in (True, False):
            storage.acquire()
            storage.prepare(Tid(100), [(ROOT, 1, b"lost")], [(2, "a", "B")], decided=decided)
            storage.release()

            equal((storage.has_news(), catch_up(storage)), (False, []))
            equal((data_of(storage, 0), len(storage)), (b"root", 1))
            equal((storage.class_number("a", "B"), storage.next_class_number), (None, 2))
        commit(storage, {0: b"again"})

        equal((data_of(storage, 0), len(storage)), (b"again", 2))

    def test_a_transaction_that_can_be_vetoed_has_to_be_decided(self) -> None:
        storage = self.new()
        storage.acquire()
        logged = storage.prepare(Tid(10), [(ROOT, 1, b"root")], (), decided=False)
        with raises(NotHeldError):
            storage.finish()
        storage.decide()
        storage.decide()
        storage.finish()
        storage.apply([logged])
        storage.release()

        equal(data_of(storage, 0), b"root")

    def test_transactions_may_follow_each_other_under_one_lock(self) -> None:
        storage = self.new()
        storage.acquire()
        for number in range(3):
            logged = storage.prepare(Tid(number + 1), [(ROOT, 1, b"%d" % number)], ())
            storage.finish()
            storage.apply([logged])
        storage.release()

        equal((data_of(storage, 0), len(storage)), (b"2", 3))

    def test_a_transaction_may_be_empty(self) -> None:
        storage = self.new()
        commit(storage, {})

        equal((len(storage), storage.oid_count), (1, 0))

    def test_what_can_not_be_logged_is_refused_and_leaves_nothing(self) -> None:
        storage = self.new()
        last = commit(storage, {0: b"root"}).tid
        for tid, oids in (
            (last, [1]),
            (last - 1, [1]),
            (0, [1]),
            (last + 1, [1, 1]),
            (last + 1, [-1]),
        ):
            storage.acquire()
            with raises(ValueError):
                storage.prepare(Tid(tid), [(Oid(oid), 1, b"") for oid in oids], ())
            storage.release()

        equal((storage.has_news(), len(storage), storage.oid_count), (False, 1, 1))
        commit(storage, {1: b"one"})
        equal(data_of(storage, 1), b"one")

    def test_writing_needs_the_lock(self) -> None:
        storage = self.new()
        commit(storage, {0: b"root"})

        with raises(NotHeldError):
            storage.prepare(Tid(100), [(ROOT, 1, b"")], ())
        for step in (storage.decide, storage.finish):
            with raises(NotHeldError):
                step()
        with raises(NotHeldError):
            storage.fail(Tid(100), "why")

    def test_the_steps_have_an_order(self) -> None:
        storage = self.new()
        storage.acquire()
        with raises(NotHeldError):
            storage.finish()
        storage.prepare(Tid(10), [(ROOT, 1, b"root")], ())
        with raises(NotHeldError):
            storage.prepare(Tid(11), [(ROOT, 1, b"root")], ())
        storage.release()

    def test_states_are_kept_to_the_byte(self) -> None:
        storage = self.new()
        states = {0: b"", 1: bytes(range(256)), 2: bytes(1_000_000), 3: b"\0"}
        commit(storage, states)

        for oid, data in states.items():
            equal(data_of(storage, oid) == data, True, f"oid {oid}")

    # -- failed transactions -----------------------------------------------------------

    def test_a_failed_transaction_counts_and_changes_nothing(self) -> None:
        need(self.lacks_failures)
        storage = self.new()
        first = commit(storage, {0: b"root"})
        failed = fail(storage, "a conflict", [0, 7], user="me")
        commit(storage, {1: b"one"})

        equal((failed.failed, failed.reason, failed.user), (True, "a conflict", "me"))
        equal((list(failed.oids), failed.sequence), ([0, 7], 2))
        equal((len(storage), storage.oid_count, storage.next_oid), (3, 2, 2))
        equal((data_of(storage, 0), storage.load(ROOT).tid), (b"root", first.tid))
        equal((storage.load(Oid(7)), storage.has(Oid(7))), (None, False))

    def test_a_prepared_transaction_can_be_made_a_failed_one(self) -> None:
        need(self.lacks_failures)
        storage = self.new()
        commit(storage, {0: b"root"}, [(1, "shop", "Cart")])
        for decided in (True, False):
            storage.acquire()
            tid = Tid(storage.tid + 10)
            entries = [(ROOT, 2, b"lost")]
            storage.prepare(tid, entries, [(2, "a", "B")], user="me", decided=decided)
            logged = storage.fail(tid, "a veto")
            storage.apply([logged])
            storage.release()

            equal((logged.tid, logged.failed, logged.reason), (tid, True, "a veto"))
            equal((logged.user, list(logged.oids)), ("me", [0]))
            equal((data_of(storage, 0), storage.tid), (b"root", tid))
            equal((storage.class_number("a", "B"), storage.next_class_number), (None, 2))
        equal((len(storage), storage.has_news()), (3, False))

    def test_a_failure_gets_a_tid_that_fits(self) -> None:
        need(self.lacks_failures)
        storage = self.new()
        last = commit(storage, {0: b"root"}).tid
        storage.acquire()
        logged = storage.fail(Tid(1), "too late")
        storage.apply([logged])
        storage.release()

        equal(logged.tid > last, True)
        equal(storage.tid, logged.tid)
