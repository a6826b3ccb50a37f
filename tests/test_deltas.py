"""Large collections: what is logged of a change, what is shared, what is merged."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from dobbin_like.check import check_log
from dobbin_like.database import Database
from dobbin_like.exc import ConflictError, IntegrityError, ReadConflictError
from dobbin_like.ids import DELTA, Oid
from dobbin_like.objects.deltas.layered import (
    LayeredDict,
    LayeredList,
    LayeredSet,
    changed_items,
    each_key,
)
from dobbin_like.objects.deltas.overlay import Overlay
from dobbin_like.persistent import (
    PersistentDict,
    PersistentList,
    PersistentSet,
    checkout,
)
from dobbin_like.repair import repair
from dobbin_like.storage import MemoryLog, TransactionLog

SIZE = 1000
FULL: dict[Any, Any] = {
    PersistentDict: lambda: {number: str(number) for number in range(SIZE)},
    PersistentList: lambda: [str(number) for number in range(SIZE)],
    PersistentSet: lambda: set(map(str, range(SIZE))),
}


def elect(database: Database, root: Any) -> Any:
    database.set_root(root)
    database.transaction_manager.commit()
    return root


def stored(database: Database, oid: int) -> Any:
    return database.storage.load(Oid(oid))


def is_delta(database: Database, obj: Any) -> bool:
    return bool(stored(database, obj._p_oid).number & DELTA)


def changed(database: Database, root: Any, change: Any) -> None:
    checkout(root)
    change(root)
    transaction.commit()


def shared_items(obj: Any) -> Any:
    return type(obj)._p_faces and object.__getattribute__(obj, "__dict__")["_items"]


# -- what is logged --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "change"),
    [
        (PersistentDict, lambda c: c.__setitem__(5, "five")),
        (PersistentDict, lambda c: c.__setitem__("new", 1)),
        (PersistentDict, lambda c: c.pop(7)),
        (PersistentDict, lambda c: c.setdefault("x", c)),
        (PersistentDict, lambda c: c.update({1: None, "y": [1]})),
        (PersistentDict, lambda c: c.popitem()),
        (PersistentSet, lambda c: c.add("new")),
        (PersistentSet, lambda c: c.remove("7")),
        (PersistentSet, lambda c: c.update("ab")),
        (PersistentSet, lambda c: c.pop()),
        (PersistentList, lambda c: c.append("new")),
        (PersistentList, lambda c: c.extend("ab")),
        (PersistentList, lambda c: c.insert(SIZE, [1])),
    ],
)
def test_one_change_is_logged_alone(database, again, cls, change):
    root = elect(database, cls(FULL[cls]()))
    whole = len(stored(database, 0).data)
    changed(database, root, change)

    assert is_delta(database, root)
    assert len(stored(database, 0).data) < 100 < whole
    read = again().root
    assert len(read) == len(root)
    if cls is PersistentSet:
        assert set(read) == set(root)
    else:
        assert [str(item) for item in read] == [str(item) for item in root]


@pytest.mark.parametrize(
    ("cls", "change"),
    [
        (PersistentDict, lambda c: c.clear()),
        (PersistentDict, lambda c: c.update(dict.fromkeys(range(SIZE), 0))),
        (PersistentDict, lambda c: setattr(c, "note", 1)),
        (PersistentSet, lambda c: c.intersection_update(["1"])),
        (PersistentList, lambda c: c.sort()),
        (PersistentList, lambda c: c.reverse()),
        (PersistentList, lambda c: c.pop(0)),
        (PersistentList, lambda c: c.__setitem__(3, 0)),
    ],
)
def test_what_touches_all_of_it_is_logged_whole(database, again, cls, change):
    root = elect(database, cls(FULL[cls]()))
    changed(database, root, change)

    assert not is_delta(database, root)
    assert again().root == root


def test_a_whole_state_is_logged_when_the_deltas_outweigh_it(database, again):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    whole = len(stored(database, 0).data)
    deltas = [0]
    for number in range(200):
        changed(database, root, lambda c, number=number: c.__setitem__(number, -number))
        if is_delta(database, root):
            deltas[-1] += len(stored(database, 0).data)
        else:
            deltas.append(0)
    assert len(deltas) > 2
    assert max(deltas) <= whole
    assert again().root == root


def test_small_ones_are_logged_whole(database):
    root = elect(database, PersistentDict(a=1, b=2))
    changed(database, root, lambda c: c.__setitem__("a", 2))
    assert not is_delta(database, root)


def test_what_is_one_value_stays_one(database, again):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    one: list[int] = []
    changed(database, root, lambda c: c.update({"a": one, "b": one}))
    assert not is_delta(database, root)  # Two keys lead to one value.
    assert root["a"] is root["b"]
    read = again().root
    assert read["a"] is read["b"]
    changed(database, root, lambda c: c["a"].append(1))
    assert root["b"] == [1]


def test_a_value_that_is_also_elsewhere_in_the_collection_stays_one(database):
    root = elect(database, PersistentDict(FULL[PersistentDict]() | {"a": [1], "n": [[2]]}))
    changed(database, root, lambda c: c.__setitem__("b", c["a"]))
    assert root["a"] is root["b"]
    changed(database, root, lambda c: c.__setitem__("d", c["n"][0]))
    assert root["d"] is root["n"][0]


def test_mutable_values_are_found_changed_however_deep(database, again):
    items = {number: {"list": [number]} for number in range(SIZE)}
    root = elect(database, PersistentDict(items))
    changed(database, root, lambda c: c[5]["list"].append("more"))
    assert is_delta(database, root)
    assert len(stored(database, 0).data) < 100
    assert again().root[5] == root[5] == {"list": [5, "more"]}

    checkout(root)
    assert root[6] == {"list": [6]}  # Looked at, and not changed.
    tid = database.tid
    transaction.commit()
    assert database.tid == tid


def test_what_cannot_be_stored_is_refused_by_its_key(database):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    checkout(root)
    root["bad"] = lambda: None
    with pytest.raises(Exception, match=r"\['bad'\]"):
        transaction.commit()
    transaction.abort()
    assert "bad" not in root


def test_new_objects_in_a_delta_are_stored(database, again):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    changed(database, root, lambda c: c.__setitem__("child", PersistentDict(a=1)))
    assert is_delta(database, root)
    assert again().root["child"]["a"] == 1


def test_a_class_with_versions_is_logged_whole(database):
    root = elect(database, Versioned(FULL[PersistentDict]()))
    changed(database, root, lambda c: c.__setitem__(1, 2))
    assert not is_delta(database, root)


class Versioned(PersistentDict):
    _p_version = 1

    @staticmethod
    def _p_migrate(state, version):
        return state


# -- what a thread sees ------------------------------------------------------------------


def test_an_older_snapshot_reads_what_it_read(database):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    begun, committed = threading.Event(), threading.Event()
    seen: list[Any] = []

    def reader() -> None:
        with transaction.manager:
            seen.append(database.root[5])
            begun.set()
            committed.wait(30)
            seen.extend([root[5], "new" in root, len(root), 7 in root, list(root.items())])

    thread = threading.Thread(target=reader)
    thread.start()
    begun.wait(30)
    before = FULL[PersistentDict]()
    for number in range(10):
        changed(database, root, lambda c, n=number: c.update({5: n, f"new{n}": n}))
    changed(database, root, lambda c: c.pop(7))
    committed.set()
    thread.join()

    assert seen == ["5", "5", False, SIZE, True, list(before.items())]
    assert (root[5], root["new3"], 7 in root, len(root)) == (9, 3, False, SIZE + 9)


def test_an_iterator_goes_on_over_what_it_began_with(database):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    changed(database, root, lambda c: c.__setitem__("new", 1))
    steps = iter(root)
    first = next(steps)
    changed(database, root, lambda c: c.pop(first))
    assert [first, *steps] == [*range(SIZE), "new"]


def test_reading_often_folds_what_is_layered(database):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    changed(database, root, lambda c: c.__setitem__("new", 1))
    assert isinstance(shared_items(root), LayeredDict)
    for number in range(SIZE):
        assert root[number] == str(number)
    assert not isinstance(shared_items(root), LayeredDict)
    assert root["new"] == 1


def test_abort_and_savepoints_take_back_what_was_touched(database):
    root = elect(database, PersistentDict(FULL[PersistentDict]() | {"list": [1]}))
    checkout(root)
    root[1] = "one"
    del root[2]
    point = transaction.savepoint()
    root[1] = "two"
    root["list"].append(2)
    root.clear()
    point.rollback()
    assert (root[1], 2 in root, root["list"], len(root)) == ("one", False, [1], SIZE)
    root[3] = "three"
    point.rollback()
    assert root[3] == "3"
    transaction.commit()
    assert (root[1], 2 in root) == ("one", False)

    checkout(root)
    root[1] = "three"
    transaction.abort()
    assert root[1] == "one"


def test_what_holds_an_overlay_gets_at_what_became_of_it(database):
    root = elect(database, PersistentList(FULL[PersistentList]()))
    checkout(root)
    items = root._items
    assert isinstance(items, Overlay)
    items.sort(reverse=True)
    items.append("last")
    assert root[-1] == items[-1] == "last"
    assert root[0] == items[0] == "999"
    transaction.commit()
    assert root[-1] == "last"


# -- merging -------------------------------------------------------------------------------


def content_of(cls: type, size: int) -> Any:
    """Return what a collection is made from, with *size* items."""
    if cls is PersistentDict:
        return dict(list(FULL[cls]().items())[:size])
    if cls is PersistentSet:
        return set(map(str, range(size)))
    return FULL[cls]()[:size]


@pytest.fixture(params=["one instance", "two instances"])
def elsewhere(request, database, again):
    """Do something in another thread, of this instance or another, and commit it."""
    other = (
        database
        if request.param == "one instance"
        else again(transaction_manager=transaction.manager)
    )

    def run(change: Any, *, exclusive: bool = False) -> None:
        failed: list[BaseException] = []

        def work() -> None:
            try:
                with transaction.manager:
                    checkout(other.root, exclusive=exclusive)
                    change(other.root)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]

    return run


@pytest.mark.parametrize("size", [10, SIZE])
@pytest.mark.parametrize(
    ("cls", "mine", "theirs"),
    [
        (PersistentDict, lambda c: c.__setitem__(1, "m"), lambda c: c.__setitem__(2, "t")),
        (PersistentDict, lambda c: c.pop(1), lambda c: c.__setitem__("t", "t")),
        (PersistentDict, lambda c: c.__setitem__("m", [1]), lambda c: c.__setitem__("t", [1])),
        (PersistentSet, lambda c: c.add("m"), lambda c: c.add("t")),
        (PersistentSet, lambda c: c.remove("1"), lambda c: c.add("t")),
        (PersistentList, lambda c: c.append("m"), lambda c: c.append("t")),
        (PersistentList, lambda c: c.extend("mn"), lambda c: c.extend("tu")),
    ],
)
def test_different_items_merge(database, again, elsewhere, cls, mine, theirs, size):
    content = content_of(cls, size)
    root = elect(database, cls(content))
    expected = cls(content)
    for change in (theirs, mine):  # In the order of their commits.
        checkout(expected)
        change(expected)

    checkout(root)
    mine(root)
    elsewhere(theirs)
    transaction.commit()

    assert root == expected
    if cls is PersistentList:
        assert list(root) == list(expected)
    assert again().root == expected


@pytest.mark.parametrize("size", [10, SIZE])
@pytest.mark.parametrize(
    ("cls", "mine", "theirs"),
    [
        (PersistentDict, lambda c: c.__setitem__(1, "m"), lambda c: c.__setitem__(1, "t")),
        (PersistentDict, lambda c: c.__setitem__("n", 1), lambda c: c.__setitem__("n", 2)),
        (PersistentDict, lambda c: c.pop(1), lambda c: c.__setitem__(1, "t")),
        (PersistentDict, lambda c: c.__setitem__(1, "m"), lambda c: c.pop(1)),
        (PersistentDict, lambda c: c.pop(1), lambda c: c.pop(1)),
        (PersistentDict, lambda c: setattr(c, "n", 1), lambda c: setattr(c, "n", 2)),
        (PersistentSet, lambda c: c.add("n"), lambda c: c.add("n")),
        (PersistentSet, lambda c: c.remove("1"), lambda c: c.remove("1")),
        (PersistentList, lambda c: c.append(1), lambda c: c.pop()),
        (PersistentList, lambda c: c.sort(key=str, reverse=True), lambda c: c.append(1)),
        (PersistentList, lambda c: c.__setitem__(0, 1), lambda c: c.append(1)),
    ],
)
def test_the_same_item_is_a_conflict(database, elsewhere, cls, mine, theirs, size):
    content = content_of(cls, size)
    root = elect(database, cls(content))
    checkout(root)
    mine(root)
    elsewhere(theirs)
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()
    expected = cls(content)
    checkout(expected)
    theirs(expected)
    assert root == expected


def test_whoever_is_exclusive_conflicts_with_every_change(database, elsewhere):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    checkout(root, exclusive=True)
    root["length"] = len(root)
    elsewhere(lambda c: c.__setitem__("new", 1))
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()

    checkout(root)
    root["length"] = len(root)
    checkout(root, exclusive=True)  # Later is early enough.
    elsewhere(lambda c: c.__setitem__("newer", 1))
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()


def test_a_checkout_without_a_change_depends_on_all_of_it(database, elsewhere):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    checkout(root)
    elsewhere(lambda c: c.__setitem__("new", 1))
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()


class Whole(PersistentDict):
    _p_merge = False


def test_a_class_can_turn_merging_off(database, elsewhere):
    root = elect(database, Whole(FULL[PersistentDict]()))
    checkout(root)
    root[1] = "mine"
    elsewhere(lambda c: c.__setitem__(2, "theirs"))
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()


def test_attributes_beside_the_items_merge_with_them(database, elsewhere):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    checkout(root)
    root.mine = 1
    root[1] = "mine"
    elsewhere(lambda c: (setattr(c, "theirs", 2), c.__setitem__(2, "theirs")))
    transaction.commit()
    assert (root.mine, root.theirs, root[1], root[2]) == (1, 2, "mine", "theirs")


# -- other places of a log -------------------------------------------------------------------


def several(database: Database, root: Any) -> dict[Any, Any]:
    for number in range(5):
        changed(database, root, lambda c, n=number: (c.__setitem__(n, [n]), c.pop(n + 100, None)))
    assert is_delta(database, root)
    return dict(root)


def test_a_packed_log_keeps_what_a_delta_changes(path, database, again):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    expected = several(database, root)
    changed(database, root, lambda c: c.__setitem__("gone", PersistentDict()))
    gone = root["gone"]._p_oid
    changed(database, root, lambda c: c.pop("gone"))
    report = database.pack()

    assert report.after.objects == 1
    assert not database.storage.has(Oid(gone))
    assert dict(again().root) == expected
    changed(database, root, lambda c: c.__setitem__("more", 1))
    assert is_delta(database, root)
    database.pack()
    assert dict(again().root) == expected | {"more": 1}
    check_log(path).raise_if_bad()


def test_a_pack_up_to_a_tid_keeps_what_later_deltas_change(path, database, again):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    several(database, root)
    tid, then = database.tid, dict(root)
    expected = several(database, root)
    database.pack(keep=tid)
    assert dict(again().root) == expected
    with database.at(tid) as past:
        assert dict(past.root) == then


def test_a_snapshot_has_the_whole_state(tmp_path, database):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    changed(database, root, lambda c: c.__setitem__("child", PersistentDict(a=(1, "x"))))
    expected = dict(root)
    database.snapshot(tmp_path / "snapshot.log")
    with Database(tmp_path / "snapshot.log") as other:
        assert not stored(other, 0).number & DELTA
        assert other.root.keys() == expected.keys()
        assert other.root["child"]["a"] == (1, "x")
        assert len(other.storage) == 1
    memory = MemoryLog()
    database.snapshot(memory)
    with Database(memory) as other:
        assert other.root.keys() == expected.keys()


def test_the_past_is_told_from_deltas(database):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    tids = [database.tid]
    for number in range(3):
        changed(database, root, lambda c, n=number: c.__setitem__("n", n))
        tids.append(database.tid)
    with database.at(tids[2]) as past:
        assert past.root["n"] == 1
    history = list(database.history(root))
    assert [revision.tid for revision in history] == tids[::-1]
    assert list(history[0].changed) == ["_items"]
    feed = list(database.changes(since=tids[0]))
    assert [change.attributes for change in feed] == [{0: ("_items",)}] * 3
    database.undo(tids[-1])
    transaction.commit()
    assert root["n"] == 1


def test_a_delta_whose_base_is_lost_is_named_and_not_salvaged(path, tmp_path, database):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    base = stored(database, 0)
    changed(database, root, lambda c: c.__setitem__("n", 1))
    database.close()
    data = bytearray(path.read_bytes())
    at = data.index(base.data)
    data[at : at + len(base.data)] = bytes(len(base.data))
    path.write_bytes(data)

    with Database(TransactionLog(path)) as damaged, pytest.raises(IntegrityError):
        damaged.root[1]
    assert check_log(path).problems
    report = repair(path, to=tmp_path / "new.log")
    assert not report.complete
    assert any(0 in loss.oids for loss in report.losses)
    with Database(tmp_path / "new.log") as new:
        assert new.root is None


@pytest.mark.parametrize("storage_of", [TransactionLog, lambda _path: MemoryLog()])
def test_other_instances_follow(tmp_path, storage_of):
    with Database(storage_of(tmp_path / "x.log")) as database:
        root = elect(database, PersistentDict(FULL[PersistentDict]()))
        assert several(database, root) == dict(root)


# -- against the built-in ------------------------------------------------------------------


KEYS = st.integers(0, 90)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.integers()),
        st.tuples(st.just("pop"), KEYS, st.none()),
        st.tuples(st.just("setdefault"), KEYS, st.integers()),
        st.tuples(st.just("popitem"), st.none(), st.none()),
        st.tuples(st.just("commit"), st.none(), st.none()),
        st.tuples(st.just("abort"), st.none(), st.none()),
        st.tuples(st.just("fold"), st.none(), st.none()),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(OPERATIONS)
def test_a_dict_does_what_the_built_in_does(operations):
    content = dict.fromkeys(range(10, 80), 0)
    with Database(MemoryLog()) as database:
        root = elect(database, PersistentDict(content))
        committed = dict(content)
        for name, key, value in operations:
            if name in ("commit", "abort"):
                getattr(transaction, name)()
                committed = dict(content) if name == "commit" else committed
                content = dict(committed)
            elif name == "fold":
                assert list(root.items()) == list(content.items())
            else:
                checkout(root)
                assert do(root, name, key, value) == do(content, name, key, value)
                assert list(root.items()) == list(content.items())
                assert list(reversed(root)) == list(reversed(content))
                assert len(root) == len(content)
        transaction.commit()
        assert list(root.items()) == list(content.items())
        transaction.abort()


def do(target: Any, name: str, key: Any, value: Any) -> Any:
    try:
        if name == "set":
            target[key] = value
            return None
        if name == "pop":
            return target.pop(key)
        if name == "setdefault":
            return target.setdefault(key, value)
        return target.popitem()
    except KeyError:
        return KeyError


@pytest.mark.parametrize("cls", [PersistentDict, PersistentSet])
@pytest.mark.parametrize("size", [300, 5000])
@pytest.mark.parametrize("reads", [0, 50])
def test_changes_of_shared_items_are_those_of_the_built_in(database, cls, size, reads):
    generator = random.Random(size)
    root = elect(database, cls(dict.fromkeys(range(size), 0)))
    items = shared_items(root)
    expected = dict.fromkeys(items, 0)
    older = []
    for step in range(600):
        removed = generator.sample(list(expected), generator.randrange(min(4, len(expected))))
        added = {generator.randrange(2 * size): step for _ in range(generator.randrange(4))}
        items = changed_items(items, removed, added if cls is PersistentDict else [*added])
        for key in removed:
            del expected[key]
        expected.update(added)
        assert len(items) == len(expected)
        for key in generator.choices(range(2 * size), k=reads):
            assert (key in items) == (key in expected)
            if cls is PersistentDict:
                assert items.get(key, -1) == expected.get(key, -1)
        if not step % 40:
            keys = list(each_key(items, iter))
            assert (keys if cls is PersistentDict else sorted(keys)) == (
                list(expected) if cls is PersistentDict else sorted(expected)
            )
            if cls is PersistentDict:
                assert list(each_key(items, reversed)) == keys[::-1]
            older.append((items, dict(expected)))
    for version, content in older:
        # What came after it has not changed it.
        assert version == (content if cls is PersistentDict else set(content))
        assert list(version) == list(content) or cls is PersistentSet


def test_sets_and_lists_in_layers(database):
    for cls, layered in ((PersistentSet, LayeredSet), (PersistentList, LayeredList)):
        obj = cls(FULL[cls]())
        root = database.root
        if root is None:
            root = elect(database, PersistentDict())
        checkout(root)
        root[cls.__name__] = obj
        transaction.commit()
        checkout(obj)
        (obj.add if cls is PersistentSet else obj.append)("new")
        transaction.commit()
        assert isinstance(shared_items(obj), layered)
        assert "new" in obj
        assert "5" in obj
        assert len(obj) == SIZE + 1
        assert sorted(obj) == sorted([*FULL[cls](), "new"])
    listed = database.root["PersistentList"]
    assert (listed[-1], listed[SIZE], listed[0], listed[-2]) == ("new", "new", "0", "999")
    with pytest.raises(IndexError):
        listed[SIZE + 1]
    assert listed[998:] == ["998", "999", "new"]


def test_another_thread_and_another_instance_read_through_many_deltas(database, again):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    other = again(transaction_manager=transaction.manager)
    assert other.root[1] == "1"
    for number in range(30):
        changed(database, root, lambda c, n=number: c.__setitem__(n, n))
        transaction.begin()
        assert other.root[number] == number
    assert dict(other.root) == dict(root)


def test_what_another_instance_has_changed_is_read_and_not_the_rest(database, again):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    there = again(transaction_manager=transaction.manager)
    assert there.root[1] == "1"
    before = shared_items(there.root)
    for number in range(3):
        changed(database, root, lambda c, n=number: (c.__setitem__(n, [n]), c.pop(n + 100)))
    transaction.begin()
    assert there.root[2] == [2]
    assert 102 not in there.root
    assert shared_items(there.root).below is before

    begun, committed = threading.Event(), threading.Event()
    seen = []

    def reader() -> None:
        with transaction.manager:
            seen.append(there.root[3])
            begun.set()
            committed.wait(30)
            seen.extend([there.root[3], len(there.root)])

    thread = threading.Thread(target=reader)
    thread.start()
    begun.wait(30)
    changed(database, root, lambda c: c.update({3: "three", "new": 1}))
    transaction.begin()
    assert there.root[3] == "three"
    committed.set()
    thread.join()
    assert seen == ["3", "3", SIZE - 3]
    assert dict(there.root) == dict(root)


def test_a_conflict_with_another_instance_is_one_of_reading(database, again):
    root = elect(database, PersistentDict(FULL[PersistentDict]()))
    other = again(transaction_manager=transaction.manager)
    checkout(root)
    root[1] = "mine"

    def work() -> None:
        with transaction.manager:
            checkout(other.root)
            other.root[1] = "theirs"

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with pytest.raises(ReadConflictError):
        transaction.commit()
    transaction.abort()
    assert root[1] == "theirs"
