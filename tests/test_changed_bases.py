"""Classes whose base is another one than when their objects were stored."""

from __future__ import annotations

import pytest
import transaction

from dobbin_like import BTree, Database, Persistent, PersistentDict, PersistentList
from dobbin_like.check import check_database
from dobbin_like.exc import ChangedBaseError
from dobbin_like.persistent import PersistentCounter, PersistentQueue, PersistentSet, checkout

BASES = {
    "plain": Persistent,
    "dict": PersistentDict,
    "list": PersistentList,
    "set": PersistentSet,
    "queue": PersistentQueue,
    "counter": PersistentCounter,
    "tree": BTree,
}
ASK = {
    "dict": len,
    "list": list,
    "set": lambda box: 1 in box,
    "queue": lambda box: box.peek(),
    "counter": lambda box: box.value,
    "tree": lambda box: box[1],
}


def box_of(base):
    cls = type(base)("Box", (base,), {"__module__": __name__, "__qualname__": "Box"})
    globals()["Box"] = cls
    return cls


def stored(path, base, size=3):
    made = box_of(base)()
    checkout(made)
    made.label = "a box"
    if isinstance(made, PersistentDict):
        made.update((n, n) for n in range(size))
    elif isinstance(made, PersistentList):
        made.extend(range(size))
    with Database(path) as database:
        database.set_root(PersistentDict(box=made))
        transaction.commit()


@pytest.mark.parametrize("ask", [dict, {}.update, lambda box: {**box}])
def test_who_copies_what_becomes_a_dict_is_told_the_same(path, ask):
    # TypeError: Box.keys() returned a non-iterable
    stored(path, Persistent)
    box_of(PersistentDict)

    with Database(path) as database, pytest.raises(ChangedBaseError, match="a collection"):
        ask(database.root["box"])


@pytest.mark.parametrize("now", ASK)
def test_a_plain_object_that_becomes_a_collection_says_so(path, now):
    # AttributeError: no attribute '_items', or the default of a hasattr().
    stored(path, Persistent)
    box_of(BASES[now])

    with Database(path) as database:
        box = database.root["box"]
        for _ in range(2):
            with pytest.raises(ChangedBaseError, match="stored with the attributes label") as e:
                ASK[now](box)
            assert (e.value.class_name, e.value.oid) == ("Box", box._p_oid)
            assert box.label == "a box"
            checkout(box)
        with pytest.raises(ChangedBaseError):
            ASK[now](box)
        transaction.abort()
        check_database(database).raise_if_bad()


@pytest.mark.parametrize("now", ["dict", "list", "set", "queue"])
def test_a_collection_without_its_items_is_not_stored_until_it_has_some(path, now):
    stored(path, Persistent)
    box_of(BASES[now])

    with Database(path) as database:
        box = database.root["box"]
        assert "no items" in repr(vars(box)["_items"])
        checkout(box)
        box.label = "another box"
        with pytest.raises(ChangedBaseError, match="stored with the attributes label"):
            transaction.commit()
        transaction.abort()
        assert box.label == "a box"
        checkout(box)
        vars(box)["_items"] = box._p_builtin()
        transaction.commit()
        assert len(box) == 0
        assert box.label == "a box"


def test_reading_the_items_is_reading_an_attribute_that_no_class_has():
    # Else CPython does not remember where it is, and each read takes twice as long.
    for cls in (PersistentDict, PersistentList, PersistentSet, PersistentQueue):
        assert not hasattr(cls, "_items")


@pytest.mark.parametrize("size", [3, 100])
@pytest.mark.parametrize("change", [False, True])
def test_a_dict_that_becomes_a_list_does_not_show_its_keys(path, size, change):
    stored(path, PersistentDict, size)
    if change:
        with Database(path) as database:
            checkout(database.root["box"])
            database.root["box"]["more"] = 1
            transaction.commit()
    box_of(PersistentList)

    with Database(path) as database:
        box = database.root["box"]
        for ask in (list, len, checkout):
            with pytest.raises(ChangedBaseError, match="a dict, its class expects a list"):
                ask(box)
        check_database(database).raise_if_bad()


def test_a_list_that_becomes_a_dict_is_read_again_with_its_former_base(path):
    stored(path, PersistentList)
    box_of(PersistentDict)
    with Database(path) as database, pytest.raises(ChangedBaseError, match="a list"):
        len(database.root["box"])

    box_of(PersistentList)
    with Database(path) as database:
        assert list(database.root["box"]) == [0, 1, 2]


def test_an_upgrade_makes_what_the_new_base_needs(path):
    stored(path, PersistentList)

    class Box(PersistentDict):
        _p_version = 1

        @staticmethod
        def _p_migrate(state, version):
            return {**state, "_items": dict(enumerate(state["_items"]))}

    Box.__qualname__ = "Box"
    globals()["Box"] = Box

    with Database(path) as database:
        assert database.root["box"] == {0: 0, 1: 1, 2: 2}
        assert database.root["box"].label == "a box"


def test_a_new_object_without_its_items_is_no_case_of_this():
    made = object.__new__(BTree)  # As if by another's unpickler.

    with pytest.raises(AttributeError, match="_root"):
        made[1]
    assert not hasattr(made, "_length")
