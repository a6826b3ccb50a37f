"""CPython's own tests for mappings, from the standard library, against sorted ones.

What is left out of them, and why, stands where it is left out.
"""

from __future__ import annotations

import pytest

from dobbin_like import BTree, PersistentMeta, checkout

mapping_tests = pytest.importorskip("test.mapping_tests", reason="this Python lacks its tests")


class OpenMeta(PersistentMeta):
    """Checks out each tree as soon as it is made: the tests know of no checkout."""

    def __call__(cls, *args, **kwargs):  # noqa: N805
        made = super().__call__(*args, **kwargs)
        checkout(made)
        return made


class OpenTree(BTree, metaclass=OpenMeta):
    def copy(self):
        copied = super().copy()
        checkout(copied)
        return copied


class TestMapping(mapping_tests.TestMappingProtocol):
    type2test = OpenTree

    # It asks for type(), which tells the face of an object that is checked out; for all but
    # that see test_fromkeys_makes_trees_of_the_class() in test_btree.py.
    test_fromkeys = None


class TestHashMapping(mapping_tests.TestHashMappingProtocol):
    type2test = OpenTree

    test_fromkeys = None  # As above.
    # These look for the exceptions of a hash: keys are ordered here, and not hashed.
    test_getitem = test_pop = test_setdefault = None
    # It says "{}" for an empty one; ours say which class they are.
    test_repr = None
    # It nests 100,000 levels, for a RecursionError: whoever nests trees gets it too, but ours
    # reads attributes on each level, which overflows the stack of some Pythons before.
    test_repr_deep = None
    # It compares two keys that are equal by hash.
    test_eq = None
