"""What the tests of our peers say of their collections, said of ours, from their own packages.

Left out as a whole: the conflict tests of BTrees that are about the nodes of a tree in ZODB
(``testConflict.py``: they count the keys of buckets), those of ``transaction`` that are about
its own managers with resources that are mocks, and ``zc.queue``, whose queue is pulled from at any
index and which needs ZODB.
"""

from __future__ import annotations

import functools
import unittest
from typing import Any

import pytest
import transaction

from dobbin_like import BTree, BTreeSet, Database, PersistentDict, PersistentList, checkout
from dobbin_like.collections import check_btree
from dobbin_like.exc import ConflictError
from dobbin_like.persistent import is_changed
from dobbin_like.storage import MemoryLog

pytest.importorskip("BTrees", reason="it has no wheel for every Python")
from BTrees.tests import common
from persistent.tests import test_list, test_mapping
from transaction.tests import savepointsample, test_savepoint

# ruff: noqa: A002, N802, N815  The names of methods and arguments are theirs.


def left_out(*tables: dict[str, str]) -> Any:
    """Expect tests of a class to fail, by the reason: they are about what we do otherwise."""
    reasons = {
        name: reason
        for table in tables
        for reason, names in table.items()
        for name in names.split()
    }

    def decorate(cls: Any) -> Any:
        for name, reason in reasons.items():
            theirs = getattr(cls, name)

            def test(self: Any, theirs: Any = theirs) -> None:
                theirs(self)

            functools.update_wrapper(test, theirs)
            setattr(cls, name, pytest.mark.xfail(reason=reason)(test))
        return cls

    return decorate


OF_TREES = {
    "it is about ghosts, states and interfaces of ZODB": (
        "testGhostUnghost testSetstateArgumentChecking testShortRepr testProvidesInterface"
    ),
    "a class that is persistent twice is refused": "testPersistentSubclass",
    "it is about their pairs of classes, in C and in Python": (
        "testPurePython test_impl_pickle test_isinstance_subclass"
    ),
}
OF_MERGES = {
    "items are merged one by one, of a collection that was emptied, too": (
        "testFailMergeEmptyAndFill"
    ),
}


class Stored(unittest.TestCase):
    """Tests of objects that are stored, and checked out."""

    def setUp(self) -> None:
        super().setUp()
        self.database = Database(MemoryLog())
        self.database.set_root(PersistentList())
        transaction.commit()

    def tearDown(self) -> None:
        transaction.abort()
        self.database.close()
        super().tearDown()

    def stored(self, obj: Any) -> Any:
        checkout(self.database.root)
        self.database.root.append(obj)
        transaction.commit()
        checkout(obj)
        return obj


class Mapping(PersistentDict):
    pass


class List(PersistentList):
    pass


# Not in the classes: there, an attribute of ours is refused.
Mapping._p_changed = List._p_changed = property(is_changed)  # type: ignore[attr-defined]


@left_out(
    {
        "the name of the class is in the repr": "testTheWorld",
        "it looks at the attribute for the items": (
            "test___repr___converts_legacy_container_attr test_clear_empty_legacy_container "
            "test_copy test_copy_legacy_container"
        ),
        "it changes what is not checked out": "test_clear_no_jar",
    },
)
class TestPersistentDict(Stored, test_mapping.PersistentMappingTests):
    def _getTargetClass(self):
        return Mapping

    def _makeOne(self, *args, **kwargs):
        return self.stored(Mapping(*args, **kwargs))


@left_out(
    {
        "the name of the class is in the repr": "testTheWorld",
        "it looks at the attribute for the items": "test_copy",
        "it changes what is not checked out": (
            "test_getslice_same_class test_volatile_attributes_not_persisted"
        ),
    },
)
class TestPersistentList(Stored, test_list.TestPList):
    def _getTargetClass(self):
        return List

    def _makeOne(self, *args):
        return self.stored(List(*args))


class Tree(BTree):
    """A tree with their names for what ours has under others."""

    has_key = BTree.__contains__

    def insert(self, key, value):
        is_new = key not in self
        self.setdefault(key, value)
        return int(is_new)

    def minKey(self, low=None):
        return end_of(keys_between(self, low, None), 0)

    def maxKey(self, high=None):
        return end_of(keys_between(self, None, high), -1)

    def keys(self, min=None, max=None, excludemin=False, excludemax=False):
        return keys_between(self, min, max, excludemin, excludemax)

    def values(self, *limits, **options):
        return [self[key] for key in self.keys(*limits, **options)]

    def items(self, *limits, **options):
        return [(key, self[key]) for key in self.keys(*limits, **options)]

    def iterkeys(self, *limits, **options):
        return iter(self.keys(*limits, **options))

    def itervalues(self, *limits, **options):
        return iter(self.values(*limits, **options))

    def iteritems(self, *limits, **options):
        return iter(self.items(*limits, **options))

    def _check(self):
        assert not check_btree(self)


class TreeSet(BTreeSet):
    """A set with their names for what ours has under others."""

    has_key = BTreeSet.__contains__
    minKey, maxKey, _check = Tree.minKey, Tree.maxKey, Tree._check

    def insert(self, member):
        is_new = member not in self
        self.add(member)
        return int(is_new)

    def keys(self, min=None, max=None, excludemin=False, excludemax=False):
        return keys_between(self, min, max, excludemin, excludemax)


def keys_between(tree, low, high, without_low=False, without_high=False):
    """Return the keys as a list: there is no view that is a sequence as well."""
    if low is None:
        found = tree.items_backward() if high is None else tree.items_backward_from(high)
        keys = [item[0] if isinstance(tree, BTree) else item for item in found][::-1]
    else:
        found = tree.items_from(low)
        keys = [item[0] if isinstance(tree, BTree) else item for item in found]
        keys = keys if high is None else [key for key in keys if key <= high]
    if without_low and keys and low in (None, keys[0]):
        del keys[0]
    if without_high and keys and high in (None, keys[-1]):
        del keys[-1]
    return keys


def end_of(keys, index):
    if not keys:
        raise ValueError("no key satisfies the conditions")
    return keys[index]


class OfTrees(Stored):
    """Of trees that are stored and checked out; keys and values may be of any type."""

    key_tx = val_tx = coerce_to_key = coerce_to_value = staticmethod(lambda value: value)

    def _makeOne(self, *args):
        return self.stored(self._getTargetClass()(*args))

    testCannotSetArbitraryAttributeOnBase = None  # It would set one, for the tests that follow.

    def _getTargetInterface(self):
        raise NotImplementedError

    def _checkIt(self, tree):
        assert not check_btree(tree)

    def getTwoKeys(self):
        return 1, 2

    def getTwoValues(self):
        return "a", ["b"]


@left_out(
    OF_TREES,
    {
        "it is about ghosts, states and interfaces of ZODB": (
            "testAccessRaisesPOSKeyErrorOnNested testAccessRaisesPOSKeyErrorOnSelf "
            "testAddTwoSetsChanged testRemoveInSmallMapSetsChanged testSetstateBadChild "
            "test_legacy_py_pickle"
        ),
        "it looks into nodes of theirs": "testPathologicalRangeSearch",
        "it is about keys and values of one type of C": (
            "testKeyAndValueOverflow test_assign_key_type_None test_assign_key_type_float "
            "test_assign_key_type_str test_assign_value_type_None "
            "test_assign_value_type_float test_assign_value_type_str"
        ),
        "it is ValueError, and a default, as for a dict": "testBadUpdateTupleSize testSetdefault",
        "it is the greatest one, as the last one of a dict": "test_popitem",
        "ours is cut": "testRepr",
    },
)
@pytest.mark.slow
class TestBTree(OfTrees, common.BTreeTests):
    def _getTargetClass(self):
        return Tree


@left_out(
    OF_TREES,
    {
        "it is about ghosts, states and interfaces of ZODB": (
            "testAddingOneSetsChanged testRemoveInSmallSetSetsChanged"
        ),
        "add() returns nothing, as that of a set": "testDuplicateInsert testInsertReturnsValue",
        "a set has ranges, no indexes": "testGetItem",
        "it is the greatest one, as the last one of a list": "test_pop",
    },
)
@pytest.mark.slow
class TestBTreeSet(OfTrees, common.ExtendedSetTests):
    def _getTargetClass(self):
        return TreeSet


class Merges(OfTrees):
    """Two transactions change one collection, from what it was to what each has made of it."""

    VALUES = tuple(range(2001))

    def _setupConflict(self):
        made = super()._setupConflict()
        checkout(*made[1:4])
        return made

    def _test_merge(self, before, theirs, own, expected, message="", should_fail=False):
        was, by_them, by_us, merged = map(contents, (before, theirs, own, expected))
        place = self.database.root.index(before)
        transaction.commit()
        with Database(
            self.database.storage.another(), transaction_manager=transaction.TransactionManager()
        ) as other:
            same = other.root[place]
            checkout(before, same)
            self.change(before, was, by_them)
            self.change(same, was, by_us)
            transaction.commit()
            if should_fail:
                with pytest.raises(ConflictError):
                    other.transaction_manager.commit()
            else:
                other.transaction_manager.commit()
                assert contents(same) == merged
                assert not check_btree(same)
            other.transaction_manager.abort()


def contents(tree):
    return dict(BTree.items(tree)) if isinstance(tree, BTree) else set(tree)


@left_out(OF_MERGES)
class TestMergesOfTrees(Merges, common.MappingConflictTestBase):
    def _getTargetClass(self):
        return Tree

    def change(self, tree, before, after):
        for key in before.keys() - after.keys():
            del tree[key]
        tree.update(after.items() - before.items())


@left_out(OF_MERGES)
class TestMergesOfSets(Merges, common.SetConflictTestBase):
    def _getTargetClass(self):
        return TreeSet

    def change(self, members, before, after):
        for member in before - after:
            members.remove(member)
        members.update(after - before)


class Attributes:
    """What their sample of a data manager is: a mapping. Here, one of a database of ours."""

    def __init__(self, database):
        self._root = database.root

    def __setitem__(self, key, value):
        checkout(self._root)
        self._root[key] = value

    def __getitem__(self, key):
        return self._root[key]

    def __contains__(self, key):
        return key in self._root


class TestSavepoints(test_savepoint.SavepointTests):
    @pytest.fixture(autouse=True)
    def _databases(self, monkeypatch):
        databases = [Database(MemoryLog()) for _ in range(2)]
        for database in databases:
            database.set_root(PersistentDict())
        transaction.commit()
        handed_out = iter(databases)
        monkeypatch.setattr(
            savepointsample, "SampleSavepointDataManager", lambda: Attributes(next(handed_out))
        )
        yield
        transaction.abort()
        for database in databases:
            database.close()
