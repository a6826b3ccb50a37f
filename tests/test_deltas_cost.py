"""Large collections: an operation costs what it touches, whatever the size."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from io import BufferedReader, RawIOBase
from typing import Any

import pytest
import transaction

from dobbin_like.collections import BTree, BTreeSet
from dobbin_like.exc import ConflictError
from dobbin_like.objects.deltas.layered import LayeredDict, changed_items
from dobbin_like.objects.values.guards import SharedDict
from dobbin_like.persistent import (
    PersistentDict,
    PersistentFile,
    PersistentList,
    PersistentQueue,
    PersistentSet,
    checkout,
)
from tests.helpers.transactions import commit_elsewhere

pytestmark = pytest.mark.usefixtures("program_of_its_own")

SIZE = 20_000
CALLS = 5_000
"""More than any operation here needs, and less than one call for each item of a collection."""
BYTES = 120_000
"""Less than a copy of a collection of that size takes: that is 160,000 and more."""

MAKE: dict[str, Any] = {
    "dict": lambda: PersistentDict.fromkeys(range(SIZE)),
    "list": lambda: PersistentList(range(SIZE)),
    "set": lambda: PersistentSet(range(SIZE)),
    "queue": lambda: PersistentQueue(range(SIZE)),
    "tree": lambda: BTree((number, None) for number in range(SIZE)),
    "tree set": lambda: BTreeSet(range(SIZE)),
}
ADD: dict[str, Any] = {
    "dict": lambda items, item: items.__setitem__(item, None),
    "list": lambda items, item: items.append(item),
    "set": lambda items, item: items.add(item),
    "queue": lambda items, item: items.put(item),
    "tree": lambda items, item: items.__setitem__(item, None),
    "tree set": lambda items, item: items.add(item),
}
READ: dict[str, Any] = {
    "dict": lambda items: (len(items), 5 in items, items[7], items.get(-1)),
    "list": lambda items: (len(items), items[5], items[-1], items[-10:], items[3:9]),
    "set": lambda items: (len(items), 5 in items, -1 in items),
    "queue": lambda items: (len(items), items.peek()),
    "tree": lambda items: (len(items), 5 in items, items[7], items.get(-1)),
    "tree set": lambda items: (len(items), 5 in items, -1 in items),
}
REMOVE: dict[str, Any] = {
    "dict": lambda items: (items.pop(9), items.popitem()),
    "set": lambda items: (items.discard(9), items.pop()),
    "queue": lambda items: items.get(),
    "tree": lambda items: (items.pop(9), items.popitem()),
    "tree set": lambda items: (items.discard(9), items.pop()),
}
kinds = pytest.mark.parametrize("kind", MAKE)


class Pipe(RawIOBase):
    """A source that may be slow to read."""

    def readable(self) -> bool:
        return True


class Cost:
    """Counts calls, and the bytes that are in use at most, of the calling thread.

    Not those of finalizers: what other tests have left is not collected meanwhile.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.bytes = 0

    def __enter__(self) -> Cost:
        gc.disable()
        tracemalloc.start()
        self._before = sys.getprofile()
        sys.setprofile(self._count)
        return self

    def _count(self, _frame: Any, event: str, _argument: Any) -> None:
        self.calls += event in ("call", "c_call")

    def __exit__(self, *_error: object) -> None:
        sys.setprofile(self._before)
        gc.enable()
        self.bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


def check(cost: Cost) -> None:
    assert (cost.calls < CALLS, cost.bytes < BYTES) == (True, True), vars(cost)


@pytest.fixture
def root(database, kind):
    made = MAKE[kind]()
    database.set_root(made)
    transaction.commit()
    return made


@kinds
def test_a_change_is_committed_and_read(root, kind):
    for item in range(SIZE, SIZE + 3):
        with Cost() as cost:
            checkout(root)
            ADD[kind](root, item)
            READ[kind](root)
            transaction.commit()
            READ[kind](root)
        check(cost)


@kinds
def test_a_file_that_is_slow_to_read_elsewhere_costs_nothing(root, kind):
    file = PersistentFile(BufferedReader(Pipe()))
    with Cost() as cost:
        checkout(root)
        ADD[kind](root, SIZE)
        transaction.commit()
    check(cost)
    assert isinstance(file, PersistentFile)  # It was alive.


@pytest.mark.parametrize("kind", REMOVE)
def test_a_removal_is_committed_and_read(root, kind):
    checkout(root)
    ADD[kind](root, SIZE)
    transaction.commit()
    with Cost() as cost:
        checkout(root)
        REMOVE[kind](root)
        transaction.commit()
        READ[kind](root)
    check(cost)


@kinds
def test_changes_of_two_threads_are_merged(root, kind):
    item = SIZE
    for _ in range(3):
        checkout(root)
        ADD[kind](root, item)
        commit_elsewhere(lambda item=item: (checkout(root), ADD[kind](root, 2 * item)))
        with Cost() as cost:
            transaction.commit()
            READ[kind](root)
        check(cost)
        item += 1
    assert len(root) == SIZE + 6


@kinds
def test_changes_of_two_instances_are_merged(database, again, root, kind):
    there = again(transaction_manager=transaction.manager).root
    READ[kind](there)
    item = SIZE
    for _ in range(3):
        checkout(root)
        ADD[kind](root, item)
        commit_elsewhere(lambda item=item: (checkout(there), ADD[kind](there, 2 * item)))
        with Cost() as cost:
            transaction.commit()
            transaction.begin()
            READ[kind](root)
            READ[kind](there)
        check(cost)
        item += 1
    assert len(root) == len(there) == SIZE + 6


@kinds
def test_an_older_snapshot_is_read_beside_a_commit(root, kind):
    READ[kind](root)
    commit_elsewhere(lambda: (checkout(root), ADD[kind](root, SIZE)))
    with Cost() as cost:
        READ[kind](root)
        length = len(root)
    check(cost)
    assert length == SIZE
    transaction.begin()
    assert len(root) == SIZE + 1


@pytest.mark.parametrize("kind", ["dict", "set", "list"])
def test_few_of_many_changes_copy_more_than_a_little(root, kind):
    items, copied = vars(root)["_items"], []
    for item in range(SIZE, SIZE + 1000):
        with Cost() as cost:
            items = changed_items(items, (), {item: 1} if kind == "dict" else [item])
        copied.append(cost.bytes)
    assert len(items) == SIZE + 1000
    assert sum(count > 10_000 for count in copied) < len(copied) // 20
    assert sum(count > BYTES for count in copied) <= 5


@pytest.mark.parametrize("kind", ["dict"])
def test_reads_of_many_versions_add_up_to_one_of_all(root, kind):
    for item in range(SIZE, SIZE + 30):
        checkout(root)
        root[item] = None
        transaction.commit()
        for number in range(SIZE // 200):
            assert number in root
    assert type(vars(root)["_items"]) is LayeredDict
    was_flat = False
    for item in range(SIZE + 30, SIZE + 60):
        checkout(root)
        root[item] = None
        transaction.commit()
        for number in range(SIZE // 200):
            assert number in root
        was_flat = was_flat or type(vars(root)["_items"]) is SharedDict
    assert was_flat


# -- lists: what is known of versions without comparing their items --------------------------


def append(items: Any, item: Any) -> None:
    checkout(items)
    items.append(item)


@pytest.fixture
def kind():
    return "list"


def test_a_list_that_was_read_as_a_whole_meanwhile_is_merged(root):
    for number in range(3):
        append(root, "mine")
        commit_elsewhere(lambda number=number: append(root, number))
        commit_elsewhere(lambda: root.count("mine"))
        with Cost() as cost:
            transaction.commit()
        check(cost)
    assert root[SIZE:] == [0, "mine", 1, "mine", 2, "mine"]


@pytest.mark.parametrize("change", [lambda r: r.sort(reverse=True), lambda r: r.pop(0)])
def test_a_list_that_was_changed_and_added_to_is_in_conflict(root, change):
    append(root, "mine")
    commit_elsewhere(lambda: (checkout(root), change(root)))
    commit_elsewhere(lambda: append(root, "theirs"))
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()
    assert len(root) in (SIZE, SIZE + 1)


def test_a_list_that_was_written_again_is_merged(root):
    append(root, "mine")
    commit_elsewhere(lambda: (checkout(root), root.insert(0, -1)))
    commit_elsewhere(lambda: (checkout(root), root.pop(0)))
    commit_elsewhere(lambda: append(root, "theirs"))
    transaction.commit()
    assert root[SIZE:] == ["theirs", "mine"]


def test_a_list_whose_attribute_was_changed_is_merged(root):
    append(root, "mine")

    def label() -> None:
        checkout(root)
        root.label = "theirs"

    commit_elsewhere(label)
    commit_elsewhere(lambda: append(root, "theirs"))
    transaction.commit()
    assert (root.label, root[SIZE:]) == ("theirs", ["theirs", "mine"])


@pytest.mark.parametrize("step", [None, 1, 2, -1])
def test_slices_of_a_list_that_was_added_to_are_those_of_the_built_in(root, step):
    append(root, "new")
    root.extend(["newer", "newest"])
    transaction.commit()
    expected = [*range(SIZE), "new", "newer", "newest"]
    bounds = [None, 0, 3, SIZE - 1, SIZE, SIZE + 2, SIZE + 9, -1, -3, -5, -SIZE - 4]
    for start in bounds:
        for stop in bounds:
            found = root[start:stop:step]
            assert (type(found), found) == (list, expected[start:stop:step])


def test_a_tuple_of_plain_values_costs_what_a_plain_value_costs(database):
    trees = [
        BTree((number, None) for number in range(100)),
        BTree(((0, number), None) for number in range(100)),
    ]
    database.set_root(PersistentList(trees))
    transaction.commit()
    calls = [0, 0]
    for number in range(100, 105):
        for index, key in enumerate([number, (0, number)]):
            with Cost() as cost:
                checkout(trees[index])
                # A working copy of the leaf, and at the commit, its shared state.
                trees[index][key] = None
                transaction.commit()
            calls[index] += cost.calls
    assert calls[1] < 1.5 * calls[0], calls
