"""Ctrl-C between any two lines: everything is as before, or as after, and nothing is stuck."""

from __future__ import annotations

import contextlib
import itertools

import pytest
import transaction

from dobbin_like import PersistentList, checkout
from dobbin_like.objects.values.value_kinds import KINDS, REFERENCE, REFERENCES, SHAREABLE
from tests.helpers.interrupts import interrupted
from tests.helpers.things import Thing

TRANSACTIONS = "dobbin_like.transactions"


def change(thing):
    checkout(thing)
    thing.x += 1
    thing.l[0] = thing.x


def change_and_add(thing):
    change(thing)
    thing.new = PersistentList([thing.x, [thing]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "act"),
    [
        (change, lambda _thing: transaction.commit()),
        (change_and_add, lambda _thing: transaction.commit()),
        (change, lambda _thing: transaction.abort()),
        (lambda _thing: None, checkout),
        (change, lambda _thing: transaction.begin()),
    ],
    ids=["commit", "commit with a new object", "abort", "checkout", "begin"],
)
def test_an_interrupt_leaves_all_or_nothing(database, again, caplog, prepare, act):
    thing = Thing(x=0, l=[0])
    database.set_root(thing)
    transaction.commit()
    other = again()

    for number in range(1, 3000, 7):
        transaction.begin()
        before = thing.x
        prepare(thing)
        if not interrupted(lambda: act(thing), number):
            break
        transaction.abort()

        other.transaction_manager.begin()
        assert thing.x in (before, before + 1)
        assert thing.l == [thing.x]
        assert (other.root.x, other.root.l) == (thing.x, thing.l)
        assert type(thing) is Thing
        checkout(other.root)
        other.root.number = number
        other.transaction_manager.commit()
        transaction.begin()
        assert thing.number == number
    else:
        raise AssertionError("it never came to its end")


def test_after_an_interrupted_commit_an_abort_is_an_abort(database, again):
    thing = Thing(x=0, l=[0])
    database.set_root(thing)
    transaction.commit()
    other = again()

    for number in itertools.count(1):
        change(thing)
        done = not interrupted(transaction.commit, number, module=TRANSACTIONS)
        transaction.abort()

        before = thing.x
        change(thing)
        transaction.abort()
        assert (thing.x, thing.l) == (before, [before])
        assert not database.storage.held
        other.transaction_manager.begin()
        change(other.root)
        other.transaction_manager.commit()
        assert thing.x == before
        transaction.begin()
        assert thing.x == before + 1
        if done:
            break
    assert number > 20


class Vetoes:
    """Votes last, and always against."""

    transaction_manager = None

    def sortKey(self):  # noqa: N802
        return "~"

    def tpc_vote(self, _transaction):
        raise ValueError

    def nothing(self, _transaction):
        pass

    tpc_begin = commit = tpc_finish = tpc_abort = abort = nothing


def test_a_vetoed_commit_whose_abort_is_interrupted_never_counts(database, again):
    thing = Thing(x=0, l=[0])
    database.set_root(thing)
    transaction.commit()
    other = again()

    def commit():
        with contextlib.suppress(ValueError):
            transaction.commit()

    for number in itertools.count(1):
        change(thing)
        transaction.get().join(Vetoes())
        done = not interrupted(commit, number, module=TRANSACTIONS)
        transaction.abort()

        assert (thing.x, thing.l) == (0, [0])
        assert not database.storage.held
        other.transaction_manager.begin()
        assert other.root.x == 0
        if done:
            break
    assert number > 20


def test_an_interrupt_leaves_no_type_out_of_those_that_are_shared():
    module = "dobbin_like.objects.values.value_kinds"
    for number in itertools.count(1):
        cls = type("Fresh", (Thing,), {})
        done = not interrupted(lambda cls=cls: KINDS[cls], number, module=module)

        assert KINDS[cls] == REFERENCE
        assert cls in SHAREABLE
        assert cls in REFERENCES
        if done:
            break
    assert number > 5
