"""``BTree``: a sorted map in many records, of which only those are read that are needed."""

from __future__ import annotations

import reprlib
from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from functools import partial
from itertools import chain
from operator import eq
from typing import Any, Generic, Self, TypeVar, overload

from dobbin_like.collections.btree.build import sorted_items
from dobbin_like.collections.btree.change import (
    check_writable,
    is_writable,
    remove_key,
    set_key,
)
from dobbin_like.collections.btree.nodes import MISSING
from dobbin_like.collections.btree.tree import SortedTree, look_up
from dobbin_like.collections.btree.views import (
    BTreeItems,
    BTreeKeys,
    BTreeRange,
    BTreeValues,
    dict_text,
    slice_bounds,
)
from dobbin_like.collections.btree.walk import END, Bounds, bounds_of
from dobbin_like.exc import SharedValueError
from dobbin_like.objects.values.guards import finds

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class BTree(SortedTree[K, tuple[K, V]], Generic[K, V]):
    """A mapping in the order of its keys. All of ``dict``, and more: ranges, neighbours.

    Made from *items* as a dict is; sorted items are stored at little cost. Keys need ``<`` and
    ``==`` that agree with each other, and no hash; a key that can't be ordered against the
    others is refused with a ``TypeError``. To change a value in place, check out the tree,
    which covers its nodes, and get the value by its key.

    Transactions that change different keys do not conflict. What one has only read (``len``, a
    range, a missing key) is not compared, unless it has checked the tree out with
    ``exclusive=True``, or has changed nothing in it.

    An iterator whose tree gets other keys, by the thread that iterates, raises
    ``RuntimeError`` at its next item, or at its next leaf if the tree was checked out
    after it began. A value that is replaced meanwhile is seen or not. An iterator that
    outlives its transaction goes on with what is there then, each key at most once, in order.

    Cost: A lookup reads one record on each level: beside the tree itself two up to some
    20,000 keys, three up to some 4,000,000. A change writes one leaf and the length.
    """

    __module__ = "dobbin_like.collections"  # The name that logs have for it.
    _make = zip

    def __init__(self, items: Mapping[K, V] | Iterable[tuple[K, V]] = (), /, **others: V) -> None:
        pairs = _sorted_pairs(items, others)
        if pairs[0]:
            self._plant(pairs)

    @classmethod
    def fromkeys(cls, keys: Iterable[Any], value: Any = None) -> Any:
        return cls((key, value) for key in keys)

    @overload
    def __getitem__(self, key: slice) -> Mapping[K, V]: ...
    @overload
    def __getitem__(self, key: K) -> V: ...
    def __getitem__(self, key: Any) -> Any:
        """Return the value of *key*, or for ``tree[low:high]`` the range from low up to high.

        The range is a mapping, a view of the tree: *low* belongs to it, *high* does not,
        and one that is left out is no limit.
        """
        if type(key) is slice:
            return BTreeRange(self, slice_bounds(key))
        value = look_up(self, key)
        if value is not MISSING:
            return value
        missing = getattr(type(self), "__missing__", None)
        if missing is None:
            raise KeyError(key)
        return missing(self, key)

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: V | T) -> V | T: ...
    def get(self, key: Any, default: Any = None) -> Any:
        value = look_up(self, key)
        return default if value is MISSING else value

    def keys(self, min: K | None = None, max: K | None = None) -> KeysView[K]:  # noqa: A002
        """Return a view of the keys, in order; of those from *min* to *max*, both included."""
        return BTreeKeys(self, self, _closed(min, max))

    def values(self, *, min: K | None = None, max: K | None = None) -> ValuesView[V]:  # noqa: A002
        """Return a view of the values in the order of their keys; limits as in :meth:`keys`."""
        return BTreeValues(self, self, _closed(min, max))

    def items(
        self,
        *,
        min: K | None = None,  # noqa: A002
        max: K | None = None,  # noqa: A002
    ) -> ItemsView[K, V]:
        """Return a view of the pairs in the order of their keys; limits as in :meth:`keys`."""
        return BTreeItems(self, self, _closed(min, max))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, BTree):
            return len(self) == len(other) and all(map(eq, self.items(), other.items()))
        if not isinstance(other, Mapping):
            return NotImplemented
        if len(self) != len(other):
            return False
        try:
            return all(key in other and other[key] == value for key, value in self.items())
        except TypeError:  # a key of ours has no hash
            return False

    @reprlib.recursive_repr("BTree(...)")
    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict_text(self.items())})"

    def __setitem__(self, key: K, value: V) -> None:
        try:
            set_key(self, key, value)
        except SharedValueError:
            # get() may be that of a subclass.
            if is_writable(self) or not finds(partial(look_up, self), key, value):
                raise

    def add(self, key: K, value: Any = True) -> None:
        """Set the value of *key*: for trees of which only the keys matter."""
        set_key(self, key, value)

    def __delitem__(self, key: Any) -> None:
        """Remove *key*, or for ``del tree[low:high]`` all keys of that range."""
        if type(key) is slice:
            self._remove_range(slice_bounds(key))
        elif remove_key(self, key) is MISSING:
            raise KeyError(key)

    @overload
    def pop(self, key: K) -> V: ...
    @overload
    def pop(self, key: K, default: V | T) -> V | T: ...
    def pop(self, key: Any, default: Any = MISSING) -> Any:
        value = remove_key(self, key)
        if value is not MISSING:
            return value
        if default is MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[K, V]:
        """Remove and return the pair with the greatest key; ``KeyError`` if there is none."""
        return self._pop_last("popitem")

    def setdefault(self, key: K, default: Any = None) -> Any:
        set_key(self, key, default, replace=False)
        return look_up(self, key)

    def update(self, items: Mapping[K, V] | Iterable[tuple[K, V]] = (), /, **others: V) -> None:
        """Set items as ``dict.update`` does. At little cost if the tree is empty.

        When a key is refused, those before it have been set.
        """
        check_writable(self)
        if not len(self):
            keys, values = _sorted_pairs(items, others)
            if keys:
                self._fill((keys, values))
            return
        for key, value in _pairs(items, others):
            set_key(self, key, value)

    def __or__(self, other: Any) -> BTree[Any, Any]:
        if not isinstance(other, Mapping):
            return NotImplemented
        return BTree(chain(self.items(), other.items()))

    def __ror__(self, other: Any) -> BTree[Any, Any]:
        if not isinstance(other, Mapping):
            return NotImplemented
        return BTree(chain(other.items(), self.items()))

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self


def _pairs(items: Any, others: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the pairs that ``dict(items, **others)`` would have."""
    if hasattr(items, "keys"):
        if isinstance(items, (BTree, dict)):
            yield from items.items()
        else:
            for key in items.keys():  # noqa: SIM118  as dict does
                yield key, items[key]
    else:
        for number, parts in enumerate(map(tuple, items)):
            if len(parts) != 2:
                found = f"element #{number} has length {len(parts)}"
                text = f"BTree update sequence {found}; 2 is required"
                raise ValueError(text)
            yield parts
    yield from others.items()


def _sorted_pairs(items: Any, others: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    pairs = list(_pairs(items, others))
    return sorted_items([key for key, _ in pairs], [value for _, value in pairs])


def _closed(low: Any, high: Any) -> Bounds:
    if low is None and high is None:
        return Bounds()
    low, high = END if low is None else low, END if high is None else high
    return bounds_of(low, True, high, True, ("min", "max"))


MutableMapping.register(BTree)
