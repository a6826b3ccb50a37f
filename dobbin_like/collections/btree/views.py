"""Ranges of sorted trees, and the views of their keys, values and items: read as they are now."""

# ruff: noqa: SLF001  a tree and its views are one thing in several files
from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, Set, ValuesView
from typing import Any, ClassVar

from dobbin_like.collections.btree.tree import ALL, keys_of, look_up, values_of
from dobbin_like.collections.btree.walk import END, Bounds, bounds_of


class _Part:
    """What ranges and views have in common: a tree, bounds, and what they make of a leaf."""

    _make: ClassVar[Any] = staticmethod(keys_of)

    def __init__(self, tree: Any, bounds: Bounds) -> None:
        self._tree = tree
        self._bounds = bounds

    def __len__(self) -> int:
        if self._bounds == ALL:
            return len(self._tree)
        return sum(len(keys) for keys, _ in self._tree._chunks(self._bounds))

    def __iter__(self) -> Iterator[Any]:
        found: Iterator[Any] = self._tree._stream(self._make, self._bounds)
        return found

    def __reversed__(self) -> Iterator[Any]:
        found: Iterator[Any] = self._tree._stream(self._make, self._bounds, backward=True)
        return found


class _View(_Part):
    def __init__(self, source: Any, tree: Any, bounds: Bounds) -> None:
        super().__init__(tree, bounds)
        self._mapping = source


class BTreeKeys(_View, KeysView[Any]):
    """The keys, in order."""


class BTreeValues(_View, ValuesView[Any]):
    """The values, in the order of the keys."""

    _make = staticmethod(values_of)

    def __contains__(self, value: object) -> bool:
        return any(other is value or other == value for other in self)


class BTreeItems(_View, ItemsView[Any, Any]):
    """The pairs (key, value), in the order of the keys."""

    _make = zip


def inside(bounds: Bounds, key: Any) -> bool:
    """Return whether *key* is in *bounds*."""
    low, closed_low, high, closed_high = bounds
    if low is not END and (key < low or (not closed_low and not low < key)):
        return False
    return high is END or bool(key < high or (closed_high and not high < key))


class _Range(_Part):
    """A part of a tree, between two keys: a view, no copy."""

    def __contains__(self, key: Any) -> bool:
        # In this order: a key that can't be ordered is not there.
        return key in self._tree and inside(self._bounds, key)


class BTreeRange(_Range, Mapping[Any, Any]):
    """A range of a :class:`.BTree`: a mapping that can only be read."""

    def __getitem__(self, key: Any) -> Any:
        if key not in self:
            raise KeyError(key)
        return look_up(self._tree, key)

    def keys(self) -> KeysView[Any]:
        return BTreeKeys(self, self._tree, self._bounds)

    def values(self) -> ValuesView[Any]:
        return BTreeValues(self, self._tree, self._bounds)

    def items(self) -> ItemsView[Any, Any]:
        return BTreeItems(self, self._tree, self._bounds)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict_text(self.items())})"


class BTreeSetRange(_Range, Set[Any]):
    """A range of a :class:`.BTreeSet`: a set that can only be read."""

    @classmethod
    def _from_iterable(cls, members: Any) -> Any:
        return set(members)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)!r})"


def dict_text(items: Any) -> str:
    """Return what the representation of a dict with *items* would be."""
    return "{" + ", ".join(f"{key!r}: {value!r}" for key, value in items) + "}"


def slice_bounds(key: slice) -> Bounds:
    """Return the bounds that ``tree[low:high]`` means: with *low*, without *high*."""
    if key.step is not None:
        text = "a range of keys has no step; use reversed() for the other direction"
        raise ValueError(text)
    low = END if key.start is None else key.start
    high = END if key.stop is None else key.stop
    return bounds_of(low, True, high, False, ("start", "stop"))
