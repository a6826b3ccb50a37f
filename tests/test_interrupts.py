"""Ctrl-C between any two lines: everything is as before, or as after, and nothing is stuck."""

from __future__ import annotations

import pytest
import transaction

from dobbin_like import PersistentList, checkout
from tests.helpers.interrupts import interrupted
from tests.helpers.things import Thing

"""Lines of Applied.move_to(): no signal comes between lines in which nothing is called."""


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
