"""Ctrl-C in a change of a sorted tree: it is done or not, and the transaction goes on."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import transaction

from dobbin_like import BTree, checkout
from dobbin_like.exc import ConflictError
from tests.helpers.interrupts import interrupted
from tests.helpers.transactions import commit_elsewhere
from tests.helpers.trees import make_small, sound

STEPS: dict[str, Any] = {
    "set": lambda tree: tree.__setitem__(5, "new"),
    "added": lambda tree: tree.__setitem__(5.5, "new"),
    "split": lambda tree: tree.update(dict.fromkeys((5.1, 5.2), "new")),
    "removed": lambda tree: tree.pop(5, None),
    "joined": lambda tree: tree.__delitem__(slice(1, 6)),
    "set as it was": lambda tree: tree.__setitem__(5, 5),
    "removed in vain": lambda tree: tree.pop(5.5, None),
}


@pytest.fixture
def tree(database, monkeypatch):
    make_small(monkeypatch)
    tree = BTree((number, number) for number in range(40))
    database.set_root(tree)
    transaction.commit()
    return tree


@pytest.mark.parametrize("name", STEPS)
def test_a_change_that_is_interrupted_is_done_or_not(tree, name):
    for number in itertools.count(1, step=1 + 2 * (name == "joined")):
        checkout(tree)
        tree[-1] = tree.pop(39)
        done = not interrupted(lambda: STEPS[name](tree), number, "dobbin_like.collections")
        assert sound(tree)
        assert len(tree) == len(list(tree))
        STEPS[name](tree)
        like = BTree({-1: 39, **{key: key for key in range(39)}})
        checkout(like)
        STEPS[name](like)
        assert tree == like
        transaction.abort()
        if done:
            break
    assert number > 20


@pytest.mark.parametrize("name", STEPS)
def test_what_is_written_after_an_interrupt_is_in_conflict(tree, name):

    def change_the_same() -> None:
        checkout(tree)
        tree.update(dict.fromkeys((5, 5.1, 5.2, 5.5), "theirs"))

    for number in range(1, 60, 5):
        transaction.begin()
        assert len(tree) == 40
        checkout(tree)
        interrupted(lambda: STEPS[name](tree), number, "dobbin_like.collections")
        STEPS[name](tree)
        commit_elsewhere(change_the_same)
        with pytest.raises(ConflictError):
            transaction.commit()
        transaction.abort()
        checkout(tree)
        for key in (5.1, 5.2, 5.5):
            del tree[key]
        tree[5] = 5
        transaction.commit()
