"""Committing with other participants: what is prepared counts when it is decided, or never."""

from __future__ import annotations

from dobbin_like.conformance.harness import (
    Harness,
    catch_up,
    commit,
    data_of,
    equal,
    locked,
    nothing_is_applied,
    raises,
    record_failure,
)
from dobbin_like.exc import NotHeldError
from dobbin_like.ids import Oid, Tid

ROOT = Oid(0)


class ParticipantTests(Harness):
    """The two steps of a commit that others may refuse."""

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
            with raises(NotHeldError):
                storage.decide()
            logged = storage.prepare(Tid(10), [(ROOT, 1, b"root")])
            for write in (storage.append, storage.prepare):
                with raises(NotHeldError):
                    write(Tid(11), [(ROOT, 1, b"root")])
            storage.decide()
            with raises(NotHeldError):
                storage.decide()
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
