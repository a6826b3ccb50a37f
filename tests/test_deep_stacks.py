"""Commits from deep in the stack, where there is no room for them: whole or not there."""

from __future__ import annotations

import logging
import sys

import pytest
import transaction

from dobbin_like import PersistentDict, checkout, safe
from tests.helpers.steps import in_thread


@pytest.fixture
def db(database):
    database.set_root(PersistentDict(n=0, m=0))
    transaction.commit()
    return database


@pytest.fixture(autouse=True)
def _no_tracebacks_of_thousand_lines():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def depth():
    """Return how high the stack is."""
    frame, count = sys._getframe(), 0
    while frame is not None:
        frame, count = frame.f_back, count + 1
    return count


def from_depth(room, function):
    """Call *function* where *room* is left on the stack; tell whether it was enough."""

    def call(left):
        return call(left - 1) if left else function()

    try:
        call(sys.getrecursionlimit() - depth() - room)
    except RecursionError:
        return False
    return True


def change(db, number):
    checkout(db.root)
    db.root["n"] = db.root["m"] = number


def block(db, number):
    with db.transaction():
        change(db, number)


def run(db, number):
    db.run(lambda: change(db, number))


def plain(db, number):
    change(db, number)
    transaction.commit()


@pytest.mark.slow
@pytest.mark.parametrize("way", [block, run, plain], ids=lambda way: way.__name__)
def test_a_commit_without_room_on_the_stack_is_whole_or_not_there(db, way):
    limit, before, outcomes = sys.getrecursionlimit(), 0, set()
    for room in range(3, 120):
        done = from_depth(room, lambda number=room: way(db, number))
        outcomes.add(done)
        if way is plain:
            transaction.abort()
        assert not db.storage.held, room
        found = db.root["n"], db.root["m"]
        assert found == (room, room) or (not done and found == (before, before))
        in_thread(lambda number=room: block(db, -number))
        before = -room
        transaction.begin()
    assert outcomes == {True, False}
    assert sys.getrecursionlimit() == limit


@pytest.mark.slow
def test_a_safe_without_room_on_the_stack_goes_on(tmp_path):
    with safe.open(tmp_path / "safe") as kept:
        for room in range(3, 120):
            done = from_depth(room, lambda number=room: kept.update(n=number))
            assert kept.get("n", 0) == room or not done
            in_thread(lambda: kept.update(other=1))
