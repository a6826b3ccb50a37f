"""Changes that nobody would store: past the guards, and in values that were kept too long."""

from __future__ import annotations

import builtins
import gc
import itertools
import warnings
from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import attrs
import pytest
import transaction

import dobbin_like
from dobbin_like import BTree, Database, MemoryLog, Persistent, PersistentDict, checkout
from dobbin_like.exc import LostChangeWarning, SharedStateChangedError
from tests.helpers.steps import in_thread


class Box(Persistent):
    def __init__(self, **attributes):
        vars(self).update(attributes)


@dataclass
class Line:
    n: int = 1
    items: list = field(default_factory=list)


@pytest.fixture
def box(database):
    box = Box(items=[0], other=0)
    database.set_root(box)
    transaction.commit()
    return box


# -- what was kept beyond the transaction -------------------------------------------------


def commit_other(box):
    checkout(box)
    box.other += 1
    transaction.commit()


KEPT = {
    "a list": ([1], lambda kept: kept.append(2)),
    "a dict": ({1: 1}, lambda kept: kept.update({2: 2})),
    "a value of a dict": ({1: 1}, lambda kept: kept.update({1: 2})),
    "a set": ({1}, lambda kept: kept.symmetric_difference_update({1, 2})),
    "a bytearray": (bytearray(b"a"), lambda kept: kept.extend(b"b")),
    "a deque": (deque([1]), lambda kept: kept.append(2)),
    "a list with a tuple": ([(1, [2])], lambda kept: kept.append(2)),
    "an item": ([1], lambda kept: kept.__setitem__(0, 2)),
    "another type": ([1], lambda kept: kept.__setitem__(0, True)),
}


@pytest.mark.parametrize("kind", KEPT)
@pytest.mark.parametrize("how", ["read", "set", "inside", "in a collection", "of a new object"])
def test_a_value_that_is_changed_after_its_transaction_is_told(box, kind, how):
    value, change = KEPT[kind]
    checkout(box)
    kept = type(value)(value)
    box.items = {
        "inside": {"a": (kept, [])},
        "in a collection": PersistentDict(a=kept),
        "of a new object": Box(value=kept),
    }.get(how, kept)
    if how == "read":
        transaction.commit()
        checkout(box)
        kept = box.items
        box.other = 5
    transaction.commit()

    change(kept)

    name = "PersistentDict" if how == "in a collection" else "Box"
    with pytest.warns(LostChangeWarning, match=rf"of {name} oid \d was changed after the end"):
        commit_other(box)
    commit_other(box)  # It is told once.


def test_a_value_that_was_changed_for_its_next_transaction_is_no_matter(box):
    kept = []
    for n in range(3):
        kept.append(n)
        checkout(box)
        box.items = kept
        transaction.commit()
    assert box.items == [0, 1, 2]


class Pair(NamedTuple):
    n: int
    items: list


@dataclass(slots=True)
class Slots:
    n: int
    items: list


@attrs.define
class Attrs:
    n: int
    items: list


DECLARED = [Line, Slots, Attrs, Pair]
WITHIN = {
    "itself": lambda value: value,
    "in a list": lambda value: [1, value],
    "in a dict": lambda value: {"a": [value]},
    "in a tuple": lambda value: (1, value),
    "in a value": lambda value: Line(1, [value]),
    "deep": lambda value: Line(1, [{"a": Line(2, [value])}]),
}


@pytest.fixture
def box_of_all(again):
    db = again(allow=[f"{__name__}.*"])
    box = Box(items=[0], other=0)
    db.set_root(box)
    db.transaction_manager.commit()
    return box, db.transaction_manager


@pytest.mark.parametrize("make", DECLARED)
@pytest.mark.parametrize("within", WITHIN)
@pytest.mark.parametrize(
    ("how", "end"),
    [
        ("set", "commit"),
        *itertools.product(["read", "read and changed"], ["commit", "abort", "rollback"]),
    ],
)
def test_a_list_in_a_value_that_is_changed_too_late_is_told(box_of_all, make, within, how, end):
    box, manager = box_of_all
    kept = make(1, [[5]])
    checkout(box)
    if how != "set":
        box.items = WITHIN[within](kept), box
        manager.commit()
        checkout(box)
    savepoint = manager.savepoint() if end == "rollback" else manager.get()
    if how == "set":
        box.items = WITHIN[within](kept)
    else:
        kept = found = box.items[0]
        while type(kept) is not make or isinstance(kept.items[0], (dict, make)):
            kept = found = next(
                part
                for part in (found.values() if type(found) is dict else parts_of(found))
                if part != 1
            )
    if how == "read and changed":
        kept.items.append(6)
    getattr(savepoint, end)()

    kept.items[0].append(2)

    checkout(box)
    box.other += 1
    with pytest.warns(LostChangeWarning, match=r"a list of Box oid 0 was changed after the"):
        manager.commit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkout(box)
        box.other += 1
        manager.commit()


@pytest.mark.skipif(not hasattr(builtins, "frozendict"), reason="Python 3.15 has brought it")
@pytest.mark.parametrize("how", ["set", "read"])
def test_a_list_in_a_frozen_dict_that_is_changed_too_late_is_told(box, how):
    checkout(box)
    kept = box.items = builtins.frozendict(a=[1])
    if how == "read":
        transaction.commit()
        checkout(box)
        kept = box.items
    transaction.commit()

    kept["a"].append(2)

    with pytest.warns(LostChangeWarning, match="a list of Box oid 0 was changed after the end"):
        commit_other(box)


def parts_of(value):
    return value.items if isinstance(value, Line) else value


@pytest.mark.parametrize("count", [1, 1000])
def test_a_list_of_a_value_that_is_kept_alone_is_told_unless_there_are_many(box, count):
    checkout(box)
    box.items = [Line(1, [1]) for _ in range(count)]
    kept = box.items[0].items
    transaction.commit()
    kept.append(2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        commit_other(box)
    assert len(caught) == (count == 1)


@pytest.mark.parametrize("make", DECLARED)
def test_a_list_in_a_value_that_is_stored_again_is_no_matter(box_of_all, make):
    box, manager = box_of_all
    kept = make(1, [])
    for n in range(3):
        kept.items.append(n)
        checkout(box)
        box.items = [make(2, [kept])]
        manager.commit()
    assert box.items[0].items[0].items == [0, 1, 2]
    checkout(box)
    manager.commit()
    assert kept.items == [0, 1, 2]


def test_a_value_with_a_cache_that_is_kept_is_no_matter(box):
    checkout(box)
    kept = box.items = Line(1, [1])
    kept.cache = []
    transaction.commit()
    kept.cache.append(1)
    commit_other(box)


@pytest.mark.parametrize("size", [1, 500])
@pytest.mark.parametrize("collection", [dict, PersistentDict, BTree])
def test_a_value_that_was_only_read_and_is_changed_later_is_told(box, collection, size):
    checkout(box)
    box.items = collection({n: [n] for n in range(size)})
    transaction.commit()
    checkout(box)
    if collection is not dict:
        checkout(box.items)
    kept = box.items[0]
    transaction.commit()

    kept.append(2)

    with pytest.warns(LostChangeWarning, match="was changed after the end"):
        commit_other(box)


@pytest.mark.parametrize("value", [[1, [2], (3, [4])], {"a": {1}}, {1.5}, deque([[1]])], ids=repr)
def test_a_value_that_is_kept_and_not_changed_is_no_matter(box, value):
    checkout(box)
    box.items = kept = value
    transaction.commit()
    commit_other(box)
    assert box.items == kept


@pytest.mark.parametrize("kind", KEPT)
@pytest.mark.parametrize("how", ["read", "inside", "in a collection"])
def test_a_value_that_is_changed_after_an_abort_is_told(box, kind, how):
    value, change = KEPT[kind]
    checkout(box)
    box.items = {"inside": {"a": (value, [])}, "in a collection": PersistentDict(a=value)}.get(
        how, value
    )
    transaction.commit()
    checkout(box)
    if how == "in a collection":
        checkout(box.items)
    kept = box.items if how == "read" else box.items["a"]
    kept = kept[0] if how == "inside" else kept
    transaction.abort()

    change(kept)

    name = "PersistentDict" if how == "in a collection" else "Box"
    with pytest.warns(LostChangeWarning, match=rf"of {name} oid \d was changed after the abort"):
        commit_other(box)
    commit_other(box)  # It is told once.


def test_a_value_that_is_changed_after_a_rollback_is_told_by_the_commit(box):
    checkout(box)
    box.other = 1
    kept, savepoint = box.items, transaction.savepoint()
    kept.append(1)
    savepoint.rollback()
    assert box.items == [0]
    kept.append(2)

    with pytest.warns(LostChangeWarning, match="of Box oid 0 was changed after the rollback"):
        transaction.commit()
    assert (box.items, kept) == ([0], [0, 1, 2])


def test_a_value_that_is_not_changed_after_a_rollback_is_no_matter(box):
    checkout(box)
    for _ in range(2):
        kept, savepoint = box.items, transaction.savepoint()
        kept.append(1)
        savepoint.rollback()
        assert box.items is not kept
    box.items.append(3)
    commit_other(box)
    assert box.items == [0, 3]


def test_a_value_that_was_changed_before_an_abort_is_no_matter(database, box):
    for _ in range(3):
        checkout(box)
        kept = box.items
        kept.append(1)
        transaction.abort()
    commit_other(box)
    assert (box.items, kept) == ([0], [0, 1])


def test_a_value_that_nobody_keeps_is_freed_by_an_abort(database, box):
    checkout(box)
    box.items.append(1)
    transaction.abort()
    assert not database._store.manager()._kept


def test_a_value_that_is_set_again_after_an_abort_is_no_matter(box):
    checkout(box)
    kept = box.items
    transaction.abort()
    checkout(box)
    kept.append(1)
    box.items = kept
    transaction.commit()
    assert box.items == [0, 1]


@pytest.mark.parametrize("end", ["commit", "abort", "rollback"])
@pytest.mark.parametrize("kind", ["Box", "BTree"])
def test_the_warning_names_the_class_of_an_object_that_has_left_memory(tmp_path, kind, end):
    with Database(tmp_path / "log") as db, db.transaction():
        db.set_root(Box(part=Box(items=[]) if kind == "Box" else BTree(items=[])))
    with Database(tmp_path / "log") as db:
        savepoint = transaction.savepoint()
        part = db.get(1)  # Nothing else leads to it: the root is not read.
        checkout(part)
        kept = part.items if kind == "Box" else part["items"]
        kept.append(1)
        del part
        {"commit": transaction.commit, "abort": transaction.abort}.get(end, savepoint.rollback)()
        gc.collect()  # A tree and its nodes know each other.
        kept.append(2)
        with pytest.warns(LostChangeWarning, match=f"^a list of {kind} oid 1 was changed after"):
            db.close()


def test_what_was_changed_too_late_is_told_when_the_database_is_closed():
    with Database(MemoryLog()) as db:
        box = Box(items=[1])
        db.set_root(box)
        checkout(box)
        kept = box.items
        transaction.commit()
        kept.append(2)
        with pytest.warns(LostChangeWarning, match="a list of Box oid 0"):
            db.close()


def test_a_value_that_nobody_keeps_is_freed(database, box):
    checkout(box)
    box.items = [[1], {"a": [2]}, deque([3]), ([4],)]
    box.more = Box(items=[4], others=[[5]])
    transaction.commit()
    assert not database._store.manager()._kept


def test_a_program_that_makes_it_an_error_stores_nothing(database, box):
    checkout(box)
    box.items = kept = [1]
    transaction.commit()
    kept.append(2)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkout(box)
        box.other = 7
        with pytest.raises(LostChangeWarning):
            transaction.commit()
    transaction.abort()
    assert box.other == 0


# -- what was changed past the guards --------------------------------------------------


@pytest.fixture
def checking(again):
    db = again(guard="check")
    db.set_root(PersistentDict())
    db.transaction_manager.commit()
    return db


def store(db, make):
    checkout(db.root)
    db.root.update(make())
    db.root["box"] = Box(**make())
    db.transaction_manager.commit()


def commit(db):
    checkout(db.root)
    db.root["n"] = db.root.get("n", 0) + 1
    db.transaction_manager.commit()


PAST_THE_GUARDS = {
    "dataclass": (lambda: Line(1), lambda value: setattr(value, "n", 2)),
    "array": (lambda: array("i", [1]), lambda value: value.append(2)),
    "list": (lambda: [1], lambda value: list.append(value, 2)),
    "in a list": (lambda: [Line(1)], lambda value: setattr(value[0], "n", 2)),
}


@pytest.mark.parametrize("kind", PAST_THE_GUARDS)
@pytest.mark.parametrize("where", ["items", "value"])
def test_what_was_changed_in_shared_state_is_found_by_a_commit(checking, kind, where):
    make, change = PAST_THE_GUARDS[kind]
    store(checking, lambda: {"value": make()})
    commit(checking)
    root = checking.root

    change(root["value"] if where == "items" else root["box"].value)

    name = r"PersistentDict oid 0: \._items" if where == "items" else r"Box oid 1: \.value"
    with pytest.raises(SharedStateChangedError, match=name + " was changed in shared state"):
        commit(checking)
    checking.transaction_manager.abort()
    assert checking.root["n"] == 1


@pytest.mark.parametrize("name", ["value", "new"])
def test_an_attribute_that_was_set_past_the_class_is_found_by_a_commit(checking, name):
    store(checking, lambda: {"value": 1})
    vars(checking.root["box"])[name] = 2
    with pytest.raises(SharedStateChangedError, match=rf"Box oid 1: \.{name} was changed"):
        commit(checking)


def test_another_thread_finds_it_too(checking):
    store(checking, lambda: {"value": Line(1)})
    checking.root["box"].value.n = 2
    with pytest.raises(SharedStateChangedError):
        in_thread(lambda: commit(checking))


@pytest.mark.parametrize("kind", PAST_THE_GUARDS)
def test_a_block_that_checks_nothing_out_finds_it(checking, kind):
    make, change = PAST_THE_GUARDS[kind]
    store(checking, lambda: {"value": make()})
    with pytest.raises(SharedStateChangedError), checking.transaction() as root:
        change(root["value"])


def test_reading_finds_nothing(checking):
    store(checking, lambda: {"value": Line(1)})
    with checking.reading() as root:
        assert root["value"].n == 1
    with checking.transaction() as root:
        assert root["value"].n == 1


def test_closing_finds_it_if_nobody_was_told(checking):
    store(checking, lambda: {"value": Line(1)})
    checking.root["value"].n = 2
    with pytest.raises(SharedStateChangedError):
        checking.close()
    assert checking.closed
    checking.close()


def test_the_error_that_leaves_a_with_is_not_replaced(again):
    db = again(guard="check")
    db.set_root(PersistentDict(value=Line(1)))
    db.transaction_manager.commit()
    db.root["value"].n = 2
    with pytest.raises(ZeroDivisionError), db:
        raise ZeroDivisionError
    assert db.closed


def test_nothing_is_found_where_nothing_was_changed(checking):
    store(checking, lambda: {kind: make() for kind, (make, _) in PAST_THE_GUARDS.items()})
    checkout(checking.root)
    checking.root["tree"] = BTree({n: [n] for n in range(300)})
    commit(checking)
    assert checking.root["tree"][5] == [5]
    for n in range(3):
        checkout(checking.root["tree"], checking.root["box"])
        checking.root["tree"][n].append(7)
        checking.root["box"].array.append(3)
        commit(checking)
    assert checking.root["tree"][2] == [2, 7]


def test_a_database_of_a_uri_can_check(tmp_path):
    with dobbin_like.open(f"file:{tmp_path}/data.log?guard=check") as db:
        db.set_root(Box(value=Line(1)))
        transaction.commit()
        db.root.value.n = 2
        checkout(db.root)
        with pytest.raises(SharedStateChangedError):
            transaction.commit()
        transaction.abort()
