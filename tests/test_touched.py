"""What was written is written, also if it equals what was there."""

from __future__ import annotations

import asyncio
import random

import pytest
import transaction

from dobbin_like import (
    BTree,
    BTreeSet,
    ConflictError,
    Database,
    Persistent,
    PersistentDict,
    PersistentList,
    PersistentQueue,
    PersistentSet,
    checkout,
    is_changed,
    is_checked_out,
    touch,
)
from dobbin_like.collections.btree.nodes import noted, written_in
from dobbin_like.exc import NotPersistentError
from dobbin_like.ids import DELTA, ROOT_OID
from tests.helpers.steps import in_thread
from tests.helpers.things import Thing
from tests.helpers.trees import make_small, sound


def fill_again(tree):
    kept = dict(tree.items())
    tree.clear()
    tree.update(kept)


DICTS = {
    "set": lambda d: d.__setitem__("a", 1),
    "set and back": lambda d: (d.__setitem__("a", 2), d.__setitem__("a", 1)),
    "removed and set": lambda d: d.__setitem__("a", d.pop("a")),
    "setdefault": lambda d: d.setdefault("a", 5),
    "update": lambda d: d.update({"a": 1}),
    "update pairs": lambda d: d.update([("a", 1)]),
    "cleared and filled": fill_again,
}
SETS = {
    "add": lambda s: s.add("a"),
    "update": lambda s: s.update(["b"], {"a"}),
    "|=": lambda s: s.__ior__({"a"}),
    "removed and added": lambda s: (s.remove("a"), s.add("a")),
    "^= twice": lambda s: (s.__ixor__({"a"}), s.__ixor__({"a"})),
    "symmetric": lambda s: [s.symmetric_difference_update({"a"}) for _ in "12"],
}
ABSENT_DICT = {
    "pop": lambda d: d.pop("x", None),
    "set and popped": lambda d: (d.__setitem__("x", 1), d.__delitem__("x")),
}
ABSENT_SET = {
    "discard": lambda s: s.discard("x"),
    "difference_update": lambda s: s.difference_update(["x"]),
    "-=": lambda s: s.__isub__({"x"}),
    "added and removed": lambda s: (s.add("x"), s.remove("x")),
}


def put(obj, key):
    obj.add(key) if hasattr(obj, "add") else obj.__setitem__(key, 1)


def take(obj, key):
    obj.remove(key) if hasattr(obj, "remove") else obj.__delitem__(key)


CASES = [
    (cls, write, theirs, name)
    for cls, writes, theirs in (
        (PersistentDict, DICTS, lambda d: take(d, "a")),
        (PersistentDict, ABSENT_DICT, lambda d: put(d, "x")),
        (PersistentSet, SETS, lambda s: take(s, "a")),
        (PersistentSet, ABSENT_SET, lambda s: put(s, "x")),
        (BTree, DICTS, lambda d: take(d, "a")),
        (BTree, ABSENT_DICT, lambda d: put(d, "x")),
        (BTreeSet, SETS, lambda s: take(s, "a")),
        (BTreeSet, ABSENT_SET, lambda s: put(s, "x")),
    )
    for name, write in writes.items()
]
IDS = [f"{cls.__name__} {name}" for cls, _, _, name in CASES]


@pytest.fixture(params=[3, 200])
def size(request):
    return request.param


@pytest.fixture
def pair(database, again, monkeypatch):
    """Two databases over one log, and how to begin with an object in both."""
    make_small(monkeypatch)
    other = again()

    def elect(cls, size):
        items = ["a", "b", *(f"k{n:03}" for n in range(size))]
        database.set_root(cls.fromkeys(items, 1) if hasattr(cls, "fromkeys") else cls(items))
        transaction.commit()
        other.transaction_manager.begin()
        checkout(database.root)
        checkout(other.root)
        return database.root, other.root

    return elect


def commit(obj):
    obj._p_jar.transaction_manager.commit()


@pytest.mark.parametrize(("cls", "write", "theirs", "name"), CASES, ids=IDS)
def test_a_write_that_changes_nothing_is_in_conflict_with_one_that_does(
    pair, size, cls, write, theirs, name
):
    # Alone, it was; beside any other change both commits succeeded: the journal of one said
    # "added", and it was not there.
    mine, other = pair(cls, size)
    write(mine)
    put(mine, "mine")
    theirs(other)
    commit(other)

    with pytest.raises(ConflictError):
        commit(mine)
    transaction.abort()
    assert "mine" not in mine


@pytest.mark.parametrize(("cls", "write", "theirs", "name"), CASES, ids=IDS)
def test_it_is_in_conflict_with_no_other_change(pair, size, cls, write, theirs, name):
    if "cleared" in name:
        return  # All keys were written.
    mine, other = pair(cls, size)
    write(mine)
    put(mine, "mine")
    put(other, "theirs")
    take(other, "k001")
    commit(other)
    commit(mine)
    other._p_jar.transaction_manager.begin()
    for obj in (mine, other):
        assert "mine" in obj
        assert "theirs" in obj
        assert "k001" not in obj
        assert len(obj) == size + 3
        if cls in (BTree, BTreeSet):
            assert sound(obj)


@pytest.mark.parametrize(("cls", "write", "theirs", "name"), CASES, ids=IDS)
def test_two_that_change_nothing_at_the_same_key_both_commit(pair, size, cls, write, theirs, name):
    mine, other = pair(cls, size)
    for obj, more in ((mine, "mine"), (other, "theirs")):
        write(obj)
        put(obj, more)
    commit(other)
    commit(mine)
    assert "mine" in mine
    assert "theirs" in mine


@pytest.mark.parametrize("cls", [BTree, BTreeSet])
@pytest.mark.parametrize("splits", ["mine", "theirs"])
@pytest.mark.parametrize("key", ["a", "b"])
def test_a_key_is_looked_for_where_a_split_has_put_it(pair, cls, splits, key):
    mine, other = pair(cls, 0)
    put(mine, "b")
    put(mine, "mine")
    for n in range(100):
        put(mine if splits == "mine" else other, f"a{n:03}")
    put(mine, "a")
    take(other, key)
    commit(other)
    with pytest.raises(ConflictError, match=f"the key '{key}' was changed"):
        commit(mine)


@pytest.mark.parametrize("value", ["new", "old"])
def test_an_attribute_that_is_set_to_what_it_was_counts_as_written(pair, size, value):
    mine, other = pair(PersistentDict, size)
    mine.note = "old"
    commit(mine)
    other._p_jar.transaction_manager.begin()
    checkout(mine)
    checkout(other)
    mine.note = "old"
    put(mine, "mine")
    other.note = value
    put(other, "theirs")
    commit(other)
    if value == "old":
        commit(mine)
        assert "theirs" in mine
    else:
        with pytest.raises(ConflictError):
            commit(mine)


in_sets = pytest.mark.parametrize("cls", [PersistentSet, BTreeSet])


@in_sets
def test_what_a_savepoint_takes_back_was_not_written(pair, size, cls):
    mine, other = pair(cls, size)
    put(mine, "mine")
    point = transaction.savepoint()
    put(mine, "a")
    point.rollback()
    take(other, "a")
    commit(other)
    commit(mine)
    assert "a" not in mine


@in_sets
def test_what_was_written_before_a_savepoint_still_counts(pair, size, cls):
    mine, other = pair(cls, size)
    put(mine, "a")
    point = transaction.savepoint()
    put(mine, "mine")
    point.rollback()
    put(mine, "another")
    take(other, "a")
    commit(other)
    with pytest.raises(ConflictError):
        commit(mine)


@pytest.mark.parametrize("written", ["a", "b", "mine"])
def test_a_savepoint_that_is_gone_back_to_again_knows_only_what_was_written_before_it(
    pair, written
):
    mine, other = pair(BTreeSet, 0)
    put(mine, "mine")
    points = []
    for key in ("a", "b"):
        points.append(transaction.savepoint())
        put(mine, key)
        points[-1].rollback()
        put(mine, f"beside {key}")
        points[0].rollback()
    if written != "mine":
        put(mine, written)
    take(other, "b")
    commit(other)
    if written == "b":
        with pytest.raises(ConflictError):
            commit(mine)
    else:
        commit(mine)
        assert list(mine) == ["a", "mine"]


def test_keys_that_are_noted_are_those_of_each_state():
    generator = random.Random(3)
    states = [(None, [])]
    for number in range(3000):
        written, keys = generator.choice(states[-3:])
        key = number if generator.random() < 0.5 else number % 10
        states.append((noted(written, key), [*keys, key]))
    for written, keys in states:
        assert set(written_in({"_v_written": written})) == set(keys)


def test_a_key_that_is_noted_again_and_again_takes_no_more_room():
    written = None
    for number in range(10_000):
        written = noted(written, str(number % 3))
        assert len(written[0]) <= 256
    assert set(written_in({"_v_written": written})) == {"0", "1", "2"}


def test_keys_without_a_hash_are_noted():
    written = None
    for number in range(1000):
        written = noted(written, [number])
    assert written_in({"_v_written": written}) == [[number] for number in range(1000)]


@pytest.mark.parametrize("is_set", [False, True])
def test_an_item_of_a_list_that_was_set_is_no_append(database, again, size, is_set):
    other = again()
    database.set_root(PersistentList(range(size)))
    transaction.commit()
    other.transaction_manager.begin()
    checkout(database.root)
    checkout(other.root)
    if is_set:
        database.root[0] = 0  # As it was.
    database.root.append("mine")
    other.root.append("theirs")
    commit(other.root)
    if is_set:
        with pytest.raises(ConflictError):
            commit(database.root)
    else:
        commit(database.root)
        assert list(database.root[-2:]) == ["theirs", "mine"]


@pytest.mark.parametrize(
    "fail",
    [
        lambda items: items.pop(9999),
        lambda items: items.remove("none"),
        lambda items: items.__delitem__(9999),
        lambda items: items.__setitem__(9999, 1),
        lambda items: items.insert("first", 1),
    ],
)
def test_what_has_failed_and_changed_nothing_is_no_write(database, again, size, fail):
    other = again()
    database.set_root(PersistentList(range(size)))
    transaction.commit()
    other.transaction_manager.begin()
    checkout(database.root)
    checkout(other.root)
    with pytest.raises((IndexError, TypeError, ValueError)):
        fail(database.root)
    database.root.append("mine")
    other.root.append("theirs")
    commit(other.root)
    commit(database.root)
    assert list(database.root[-2:]) == ["theirs", "mine"]


# -- touch(), is_checked_out(), is_changed() -----------------------------------------------


class Box(Persistent):
    def __init__(self):
        self.tags = ["a"]


MAKE = [Box, PersistentDict, PersistentSet, PersistentList, PersistentQueue, BTree]


@pytest.mark.parametrize("make", MAKE)
def test_what_is_touched_is_stored_though_it_is_as_it_was(database, make):
    database.set_root(make())
    transaction.commit()
    obj, serial = database.root, database.root._p_serial
    checkout(obj)
    transaction.commit()
    assert obj._p_serial == serial

    touch(obj)
    assert is_changed(obj)
    transaction.commit()
    assert obj._p_serial > serial
    assert not is_changed(obj)


def test_a_large_collection_is_touched_at_the_cost_of_a_delta(database):
    database.set_root(PersistentDict.fromkeys(range(10_000)))
    transaction.commit()
    touch(database.root)
    transaction.commit()
    assert database.storage.load(ROOT_OID).number & DELTA
    assert dict(database.root) == dict.fromkeys(range(10_000))


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("change", [touch, lambda obj: setattr(obj, "note", 1)])
def test_what_two_touch_or_one_of_them_changes_is_a_conflict(database, again, make, change):
    other = again()
    database.set_root(make())
    transaction.commit()
    other.transaction_manager.begin()
    checkout(other.root)
    change(other.root)
    touch(database.root)
    commit(other.root)
    with pytest.raises(ConflictError):
        commit(database.root)
    transaction.abort()

    touch(database.root)
    commit(database.root)


def test_a_thread_knows_what_it_has_checked_out_and_changed(database):
    box = Box()
    assert (is_checked_out(box), is_changed(box)) == (False, True)
    checkout(box)
    assert is_checked_out(box)
    database.set_root(box)
    transaction.commit()

    assert (is_checked_out(box), is_changed(box)) == (False, False)
    checkout(box)
    assert (is_checked_out(box), is_changed(box)) == (True, False)
    box.tags.append("b")
    assert is_changed(box)
    assert in_thread(lambda: (is_checked_out(box), is_changed(box))) == (False, False)
    box.tags.pop()
    assert not is_changed(box)
    touch(box)
    point = transaction.savepoint()
    box.tags.append("c")
    point.rollback()
    assert is_changed(box)
    transaction.abort()
    assert (is_checked_out(box), is_changed(box)) == (False, False)


def test_a_ghost_is_asked_without_reading_it(path):
    with Database(path) as database:
        database.set_root(PersistentDict(box=Box()))
        transaction.commit()
    with Database(path) as database:
        box = database.root["box"]
        assert (is_checked_out(box), is_changed(box)) == (False, False)
        assert type(box) is type(box)._p_faces.ghost


@pytest.mark.parametrize("make", [BTree.fromkeys, BTreeSet])
def test_a_tree_has_changed_if_a_node_has(database, make):
    database.set_root(make(range(1000)))
    transaction.commit()
    tree = database.root
    checkout(tree)
    tree.discard(5000) if hasattr(tree, "discard") else tree.pop(5000, None)
    assert not is_changed(tree)
    tree.add(-1)
    assert is_changed(tree)
    transaction.abort()
    assert not is_changed(tree)


@pytest.mark.parametrize("ask", [is_checked_out, is_changed, touch])
def test_what_is_not_persistent_is_refused(ask):
    with pytest.raises(NotPersistentError):
        ask([])


def test_a_thread_whose_tasks_have_blocks_can_ask(database):
    async def ask():
        async with database.transaction():
            thing = Thing(x=1)
            database.set_root(thing)
        async with database.transaction():
            checkout(thing)
            before = is_changed(thing)
            thing.x = 2
            return before, is_changed(thing)

    assert in_thread(lambda: asyncio.run(ask())) == (False, True)
