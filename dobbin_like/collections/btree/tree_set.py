"""``BTreeSet``: a sorted set in many records."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, MutableSet, Set
from itertools import chain
from operator import eq
from typing import Any, Generic, TypeVar

from dobbin_like.collections.btree.build import sorted_items
from dobbin_like.collections.btree.change import check_writable, remove_key, set_key
from dobbin_like.collections.btree.nodes import MISSING
from dobbin_like.collections.btree.tree import SortedTree, keys_of
from dobbin_like.collections.btree.views import BTreeSetRange, slice_bounds
from dobbin_like.in_place import in_place

T = TypeVar("T")


class BTreeSet(SortedTree[T, T], Generic[T]):
    """A set in the order of its members. All of ``set``, and more: ranges, neighbours.

    To ``set`` what :class:`.BTree` is to ``dict``: see there for what members have to be,
    conflicts, iterators and costs.
    """

    __module__ = "dobbin_like.collections"  # The name that logs have for it.
    _make = staticmethod(keys_of)

    def __init__(self, members: Iterable[T] = (), /) -> None:
        items = _sorted_members(members)
        if items[0] or len(self):  # As that of a set, it begins anew.
            self._plant(items)

    @classmethod
    def _from_iterable(cls, members: Iterable[Any]) -> Any:
        return BTreeSet(members)

    def __getitem__(self, key: Any) -> Set[T]:
        """Return the range ``members[low:high]``, a view: with *low*, without *high*."""
        if type(key) is not slice:
            text = f"members are asked for by ranges of keys, not by {type(key).__name__}"
            raise TypeError(text)
        return BTreeSetRange(self, slice_bounds(key))

    @reprlib.recursive_repr("BTreeSet(...)")
    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BTreeSet):
            return len(self) == len(other) and all(map(eq, self, other))
        if not isinstance(other, Set):
            return NotImplemented
        try:
            return len(self) == len(other) and all(member in other for member in self)
        except TypeError:  # a member of ours has no hash
            return False

    def add(self, member: T) -> None:
        set_key(self, member, None, replace=False)

    def discard(self, member: T) -> None:
        remove_key(self, member)

    def remove(self, member: T) -> None:
        if remove_key(self, member) is MISSING:
            raise KeyError(member)

    def pop(self) -> T:
        """Remove and return the greatest member; ``KeyError`` if there is none."""
        return self._pop_last("pop")[0]  # type: ignore[no-any-return]

    def __delitem__(self, key: Any) -> None:
        """Remove the members of the range in ``del members[low:high]``."""
        if type(key) is not slice:
            text = f"members are removed by remove(), ranges by slices, not {type(key).__name__}"
            raise TypeError(text)
        self._remove_range(slice_bounds(key))

    def update(self, *others: Iterable[T]) -> None:
        """Add all members of *others*. At little cost if the set is empty."""
        check_writable(self)
        if len(self):
            for member in list(chain(*others)):
                self.add(member)
            return
        items = _sorted_members(chain(*others))
        if items[0]:
            self._fill(items)

    def difference_update(self, *others: Iterable[Any]) -> None:
        check_writable(self)
        for member in list(chain(*others)):
            remove_key(self, member)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        check_writable(self)
        for member in list(self.difference(self.intersection(*others))):
            remove_key(self, member)

    def symmetric_difference_update(self, other: Iterable[T]) -> None:
        check_writable(self)
        for member in BTreeSet(other):
            if remove_key(self, member) is MISSING:
                self.add(member)

    def union(self, *others: Iterable[Any]) -> BTreeSet[Any]:
        return BTreeSet(chain(self, *others))

    def intersection(self, *others: Iterable[Any]) -> BTreeSet[T]:
        sets = [self._common(other) for other in others]
        return BTreeSet(member for member in self if all(member in other for other in sets))

    def difference(self, *others: Iterable[Any]) -> BTreeSet[T]:
        sets = [self._common(other) for other in others]
        return BTreeSet(member for member in self if not any(member in other for other in sets))

    def _common(self, other: Iterable[Any]) -> BTreeSet[T]:
        """Return what of *other* is a member: the rest need not be ordered."""
        return BTreeSet(member for member in other if member in self)

    def symmetric_difference(self, other: Iterable[Any]) -> BTreeSet[Any]:
        other = BTreeSet(other)
        return self.difference(other).union(other.difference(self))

    def isdisjoint(self, other: Iterable[Any]) -> bool:
        return not any(member in self for member in other)

    def issubset(self, other: Iterable[Any]) -> bool:
        others = other if isinstance(other, Set) else self._common(other)
        return all(member in others for member in self)

    def issuperset(self, other: Iterable[Any]) -> bool:
        return all(member in self for member in other)


def _sorted_members(members: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    keys = list(members)
    keys, values = sorted_items(keys, [None] * len(keys))
    return keys, values


# Not inherited: a persistent class has a metaclass of its own.
for _name in "and or sub xor le lt ge gt iand ior isub ixor".split():
    setattr(BTreeSet, f"__{_name}__", getattr(MutableSet, f"__{_name}__"))
for _name, _change in (
    ("rand", set.intersection_update),
    ("ror", set.update),
    ("rsub", set.difference_update),
    ("rxor", set.symmetric_difference_update),
):
    setattr(BTreeSet, f"__{_name}__", in_place(_change)(getattr(MutableSet, f"__{_name}__")))
MutableSet.register(BTreeSet)
