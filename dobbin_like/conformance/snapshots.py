"""A database on the storage: snapshots and conflicts."""

from __future__ import annotations

from functools import partial

from dobbin_like.conformance.assertions import equal, in_thread, in_threads, raises
from dobbin_like.conformance.model import (
    PairHarness,
    Sum,
    Thing,
    abort,
    begin,
    change,
    commit,
    edit,
    set_root,
)
from dobbin_like.conformance.steps import stored
from dobbin_like.database import Database
from dobbin_like.exc import ReadConflictError, WriteConflictError
from dobbin_like.persistent import Persistent, checkout


class SnapshotTests(PairHarness):
    """Every transaction sees one state, and the first of two that change it wins."""

    def test_a_snapshot_stays_what_it_was(self) -> None:
        one, two = self.pair(x=1, y=1)
        root = two.root
        equal(root.x, 1)  # The rest is read when the other has gone on.
        for number in range(2, 6):
            change(one, x=number, y=number)

        equal((root.x, root.y), (1, 1))
        begin(two)
        equal((root.x, root.y), (5, 5))

    def test_what_was_not_read_yet_is_read_as_of_the_snapshot(self) -> None:
        one, two = self.pair(self.lacks_history, part=Thing(x=1))
        begin(two)
        for number in range(2, 6):
            edit(one.root.part, x=number)
            commit(one)
        self._switch_file(two, one.root, one.root.part)

        equal(two.root.part.x, 1)
        begin(two)
        equal(two.root.part.x, 5)

    def test_what_is_younger_than_the_snapshot_is_not_there(self) -> None:
        one, two = self.pair(self.lacks_history, part=None)
        change(one, part=Thing(x=1))
        oid = one.root.part._p_oid
        self._switch_file(two, one.root)

        equal((two.get(oid), two.root.part), (None, None))
        begin(two)
        equal(two.get(oid) is two.root.part, True)

    def _switch_file(self, database: Database, *objects: Persistent) -> None:
        """Let another thread catch up; the snapshot of this one does not change."""
        snapshot = database.storage.tid
        in_thread(partial(len, database))
        equal(database.storage.tid > snapshot, True)
        # If a storage returns a newer version than requested, a database would ask for ever.
        for obj in objects:
            oid = obj._p_oid
            if oid is not None:
                equal(stored(database.storage, oid, snapshot).tid <= snapshot, True, f"oid {oid}")

    def test_the_first_of_two_instances_wins(self) -> None:
        one, two = self.pair(x=1)
        edit(two.root, x=2)
        change(one, x=3)
        raises(ReadConflictError, commit, two)
        equal(two.root.x, 3)
        abort(two)

        equal((two.root.x, two.storage.held), (3, False))
        change(two, x=4)
        begin(one)
        equal(one.root.x, 4)

    def test_the_first_of_two_threads_wins(self) -> None:
        database, root = self.one(x=1)
        edit(root, x=2)
        in_thread(lambda: change(database, x=3))
        raises(WriteConflictError, commit, database)
        abort(database)

        equal(root.x, 3)

    def test_a_conflict_is_counted_and_recorded(self) -> None:
        one, two = self.pair(self.lacks_failures, x=1)
        edit(two.root, x=2)
        change(one, x=3)
        raises(ReadConflictError, commit, two)
        abort(two)
        begin(one)

        equal((len(one.storage), len(two.storage)), (3, 3))
        if not self.lacks_history:
            told = [(logged.failed, bool(logged.reason)) for logged in one.storage.transactions()]
            equal(told, [(False, False), (False, False), (True, True)])

    def test_changes_are_merged_where_the_class_knows_how(self) -> None:
        one, two = self.pair(sum=Sum())
        begin(two)
        checkout(two.root.sum)
        two.root.sum.total += 5
        checkout(one.root.sum)
        one.root.sum.total += 7
        commit(one)
        commit(two)
        begin(one)

        equal((one.root.sum.total, two.root.sum.total), (12, 12))

    def test_what_a_decision_depends_on_can_be_checked_out(self) -> None:
        one, two = self.pair(a=Thing(on_call=True), b=Thing(on_call=True))
        begin(two)
        for database, mine, others in ((one, "a", "b"), (two, "b", "a")):
            root = database.root
            checkout(getattr(root, mine), getattr(root, others))
            if getattr(root, others).on_call:
                getattr(root, mine).on_call = False
        commit(one)
        raises(ReadConflictError, commit, two)
        abort(two)

        equal((two.root.a.on_call, two.root.b.on_call), (False, True))

    def test_only_begin_catches_up(self) -> None:
        one, two = self.pair(x=1)
        change(one, x=2)

        equal(two.root.x, 1)
        edit(two.root, y=1)
        raises(ReadConflictError, commit, two)
        begin(two)
        equal(two.root.x, 2)

    def test_money_is_neither_made_nor_lost(self) -> None:
        storage = self.new()
        first = self.database(storage)
        set_root(first, Thing(accounts=[Thing(balance=10) for _ in range(4)]))
        databases = [first, self.database(self.another(storage))]

        def transfer(number: int) -> None:
            database = databases[number % 2]
            manager = database.transaction_manager
            for step in range(15):
                source, target = step % 4, (step + 1 + number % 3) % 4
                for attempt in manager.attempts(1000):
                    with attempt:
                        accounts = database.root.accounts
                        equal(sum(account.balance for account in accounts), 40)
                        checkout(*{id(a): a for a in accounts}.values())
                        accounts[source].balance -= 1
                        accounts[target].balance += 1

        in_threads(*[lambda number=number: transfer(number) for number in range(4)])

        for database in databases:
            begin(database)
            equal(sum(account.balance for account in database.root.accounts), 40)
        equal(len(databases[0].storage), len(databases[1].storage))
        done = [logged for logged in databases[0].storage.transactions() if not logged.failed]
        if not self.lacks_history:
            equal(len(done), 61)
