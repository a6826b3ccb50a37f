"""What is merged of two changes of a list is what one of their orders would have made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import transaction

from dobbin_like import MemoryLog
from dobbin_like.database import Database
from dobbin_like.exc import ConflictError
from dobbin_like.persistent import PersistentList, checkout
from tests.helpers.transactions import commit_elsewhere


def put_back(items):
    items.append(items.pop())
    items.append(8)


def refill(items):
    known = [*items]
    items.clear()
    items.extend([*known, 11])


def add_and_sort(items):
    items.append(5000)
    items.sort()


CHANGES = {
    "append": lambda items: items.append(3),
    "extend": lambda items: items.extend([4, 5]),
    "+=": lambda items: items.__iadd__([6]),
    "insert in front": lambda items: items.insert(0, 0),
    "insert at the end": lambda items: items.insert(len(items), 9),
    "insert behind the end": lambda items: items.insert(9999, 9),
    "a slice at the end": lambda items: items.__setitem__(slice(len(items), None), [7]),
    "the last": lambda items: items.__setitem__(-1, 0),
    "del": lambda items: items.__delitem__(0),
    "pop": lambda items: items.pop(),
    "put back": put_back,
    "remove": lambda items: items.remove(1),
    "*=": lambda items: items.__imul__(2),
    "reverse": lambda items: items.reverse(),
    "sort": lambda items: items.sort(),
    "add and sort": add_and_sort,
    "clear": lambda items: items.clear(),
    "refill": refill,
    "anew": lambda items: items.__init__([*items, 12]),
    "an attribute": lambda items: setattr(items, "name", "x"),
}
APPENDING = ("append", "extend", "+=", "an attribute")


def content(items):
    return [*items], getattr(items, "name", None)


@pytest.fixture(params=[2, 200])
def size(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def database() -> Iterator[Database]:
    with Database(MemoryLog()) as database:
        database.set_root(PersistentList())
        transaction.commit()
        yield database


def in_order(size, *changes):
    items = PersistentList(range(1, size + 1))
    checkout(items)
    for change in changes:
        change(items)
    return content(items)


@pytest.mark.parametrize("mine", CHANGES)
def test_what_is_merged_has_an_order(database, size, mine):
    merged = set()
    for theirs, change in CHANGES.items():
        items = PersistentList(range(1, size + 1))
        with database.transaction() as root:
            checkout(root)
            root.append(items)
        checkout(items)
        CHANGES[mine](items)

        def change_too(items=items, change=change):
            checkout(items)
            change(items)

        commit_elsewhere(change_too)
        try:
            transaction.commit()
        except ConflictError:
            transaction.abort()
            continue
        merged.add(theirs)
        orders = in_order(size, change, CHANGES[mine]), in_order(size, CHANGES[mine], change)
        assert content(items) in orders, theirs
    assert mine not in APPENDING or merged.issuperset(APPENDING[:-1])
