"""Dicts in which several threads look things up, also on a Python without the global lock."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from typing import Any

import pytest
import transaction

from dobbin_like import BTree, Database, MemoryLog, Persistent, PersistentDict, checkout
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.processes.threaded_dict import GET_WAITS, ThreadedDict, get_unchanged
from tests.helpers.steps import in_thread

LIMIT_SECONDS = 5e-6
"""A look-up takes less than one; one that waits for itself, ten to fifty on an idle machine."""


class Box(Persistent):
    """Something to store, with values of which each thread makes its own."""

    def __init__(self, number):
        self.pairs = {(n, str(number)): n for n in range(4)}
        self.boxes = []


def seconds_for(get):
    """Return what a look-up of keys that are equal to the thread's own takes, mostly."""
    taken = []
    for number in range(200):
        key = (number % 4, str(7))
        started = time.perf_counter()
        assert get(key) == number % 4
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def in_another_thread(get):
    found = []
    in_thread(lambda: found.append(seconds_for(get)))
    return found[0]


def four_pairs():
    return {(number, str(7)): number for number in range(4)}


def test_it_finds_what_a_dict_finds():
    table = ThreadedDict({1: None, (2, "b"): "two"})
    assert table.get(1, "default") is None
    assert table.get((2, "b")) == "two"
    assert table.get(3) is None
    assert table.get(3, "default") == "default"
    with pytest.raises(TypeError):
        table.get([])


def test_a_look_up_in_a_dict_of_defaults_adds_nothing():
    items = defaultdict(list, {1: "one"})
    assert get_unchanged(items, 1) == "one"
    assert get_unchanged(items, 2) is None
    assert get_unchanged(items, 2, "default") == "default"
    assert list(items) == [1]


def test_a_thread_finds_at_once_what_another_has_put_in():
    table = ThreadedDict()
    table.update(four_pairs())
    assert in_another_thread(table.get) < LIMIT_SECONDS


def test_it_is_told_right_whether_a_look_up_in_a_plain_dict_waits():
    assert (in_another_thread(four_pairs().get) >= LIMIT_SECONDS) == GET_WAITS


@pytest.mark.parametrize("large", [False, True])
def test_a_thread_finds_at_once_what_another_has_stored_in_a_dict(large):
    """A large one is in parts, as it is changed."""
    with Database(MemoryLog()) as database:
        pairs = four_pairs()
        if large:
            pairs.update((number, "more") for number in range(20_000))
        database.set_root(PersistentDict(pairs))
        transaction.commit()
        checkout(database.root)
        database.root["changed"] = 1
        transaction.commit()
        assert in_another_thread(database.root.get) < LIMIT_SECONDS


def test_a_thread_finds_at_once_what_another_has_stored_as_a_value():
    with Database(MemoryLog()) as database:
        database.set_root(Box(7))
        transaction.commit()
        assert in_another_thread(database.root.pairs.get) < LIMIT_SECONDS


# -- the dicts of a database ----------------------------------------------------------------

OTHERS = {
    "_annotations": "of one thread",
    "_new_counts": "of the thread that has the commit lock",
    "memo": "of one thread",
    "references": "of the thread that decodes",
    "working": "of one thread",
    "_pins": "nothing is looked up in it",
    "_starting": "nothing is looked up by get()",
    "known": "nothing is looked up by get()",
    "snapshots": "nothing is looked up in it by get()",
}
"""Attributes that may be ordinary dicts, and why."""


def dicts_of(part: Any, seen: dict[int, Any], path: str):
    """Yield the dicts that are attributes of *part* and of its parts, and where they are."""
    if id(part) in seen or not type(part).__module__.startswith("dobbin_like."):
        return
    seen[id(part)] = part
    names = {name for cls in type(part).__mro__ for name in getattr(cls, "__slots__", ())}
    for name in names | set(getattr(part, "__dict__", ())):
        value = getattr(part, name, None)
        if isinstance(value, dict):
            yield f"{path}.{name}", name, value
        elif not isinstance(value, (Persistent, Changes, type)):
            yield from dicts_of(value, seen, f"{path}.{name}")


@pytest.mark.skipif(not GET_WAITS, reason="all dicts are alike")
@pytest.mark.parametrize("kind", ["file", "memory"])
def test_the_dicts_that_the_threads_of_a_database_share_are_such(kind, database):
    with Database(MemoryLog()) if kind == "memory" else database as opened:
        opened.set_root(BTree({1: Box(1)}))
        transaction.commit()
        found = list(dicts_of(opened._store, {}, "store"))
    assert len(found) > 10
    assert {
        where for where, name, value in found if type(value) is dict and name not in OTHERS
    } == (set())
