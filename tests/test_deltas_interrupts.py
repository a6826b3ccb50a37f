"""Ctrl-C in what large collections do: in a transaction that goes on, in a merge, in reading."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest
import transaction

from dobbin_like.objects.deltas import layered, overlays
from dobbin_like.persistent import (
    PersistentDict,
    PersistentList,
    PersistentQueue,
    PersistentSet,
    checkout,
)
from tests.helpers.interrupts import interrupted

SIZE = 12
MAKE: dict[str, Any] = {
    "dict": lambda: PersistentDict({number: [number] for number in range(SIZE)}),
    "set": lambda: PersistentSet(range(SIZE)),
    "list": lambda: PersistentList([number] for number in range(SIZE)),
    "queue": lambda: PersistentQueue(range(SIZE)),
}


def step_dict(target: Any) -> None:
    target[1] = "one"
    del target[2]
    target[2] = "two"
    target["new"] = target.pop(3)
    target[4].append("more")
    target.popitem()
    target.setdefault(5, []).append(1)
    target["fine", 1] = None
    del target["fine", 1]


def step_set(target: Any) -> None:
    target.add("new")
    target.discard(1)
    target.discard(True)
    target.add(True)
    target.update("ab")
    target.pop()


def step_list(target: Any) -> None:
    target.append("new")
    target.extend(iter("ab"))
    target[1].append("more")
    target.pop()
    target.insert(0, "first")


def step_queue(target: Any) -> None:
    target.put("new")
    target.get()
    target.get()
    target.put("newer")


STEPS: dict[str, Any] = {
    "dict": step_dict,
    "set": step_set,
    "list": step_list,
    "queue": step_queue,
}


ADD: dict[str, Any] = {
    "dict": lambda target, item: target.__setitem__(item, [item]),
    "set": lambda target, item: target.add(item),
    "list": lambda target, item: target.append(item),
    "queue": lambda target, item: target.put(item),
}


def read(target: Any) -> Any:
    items = list(target.items()) if isinstance(target, PersistentDict) else list(target)
    assert len(target) == len(items)
    return sorted(map(repr, items)) if isinstance(target, PersistentSet) else items


def fill_anew(kind: str, root: Any) -> None:
    """Let *root* have as many items as at first, and commit that."""
    checkout(root)
    while root:
        root.get() if kind == "queue" else root.pop() if kind != "dict" else root.popitem()
    for item in range(SIZE):
        ADD[kind](root, [item] if kind == "list" else item)
    transaction.commit()


@pytest.fixture(autouse=True)
def _all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlays, "SMALL", -1)
    monkeypatch.setattr(layered, "_SMALL", -1)


@pytest.mark.parametrize("kind", MAKE)
def test_what_was_interrupted_is_one_state_and_goes_on(database, again, kind):
    root = MAKE[kind]()
    database.set_root(root)
    transaction.commit()
    other = again()
    for number in itertools.count(1):
        checkout(root)
        done = not interrupted(lambda: STEPS[kind](root), number)
        seen = read(root)
        # Interrupted or not, what one sees is what is stored.
        transaction.commit()
        assert read(root) == seen, number
        other.transaction_manager.begin()
        assert read(other.root) == seen, number
        if done:
            break
        fill_anew(kind, root)
    assert number > 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKE)
def test_a_merge_that_is_interrupted_is_done_or_not(database, again, kind):
    root = MAKE[kind]()
    database.set_root(root)
    transaction.commit()

    def theirs(name: str) -> None:
        with transaction.manager:
            checkout(root)
            ADD[kind](root, name)

    for number in itertools.count(1, 7):
        transaction.begin()
        checkout(root)
        ADD[kind](root, f"mine {number}")
        thread = threading.Thread(target=theirs, args=(f"theirs {number}",))
        thread.start()
        thread.join()
        done = not interrupted(transaction.commit, number)
        transaction.abort()
        names = str(read(root))
        assert f"theirs {number}" in names
        assert not done or f"mine {number}" in names
        assert read(again().root) == read(root)
        if done:
            break
        # What is merged or stored as a whole takes lines for each item: if there were ever
        # more of them, the end of the commit would go away as fast as it is approached.
        if len(root) > 3 * SIZE:
            fill_anew(kind, root)
    assert number > 100


@pytest.mark.parametrize("kind", ["dict", "set", "list"])
def test_a_fold_that_is_interrupted_is_done_by_the_next(database, kind):
    root = MAKE[kind]()
    database.set_root(root)
    transaction.commit()
    for number in itertools.count(1):
        checkout(root)
        ADD[kind](root, -number)
        expected = read(root)
        transaction.commit()
        done = not interrupted(lambda: read(root), number)
        assert read(root) == expected
        if done:
            break
