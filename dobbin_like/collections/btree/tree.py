"""What sorted maps and sorted sets have in common: a tree of nodes, and how it is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, starmap
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

from dobbin_like.collections.btree.build import grown
from dobbin_like.collections.btree.change import (
    check_writable,
    is_writable,
    remove_key,
    set_key,
)
from dobbin_like.collections.btree.nodes import (
    MISSING,
    BTreeInner,
    BTreeLeaf,
    BTreeLength,
    Items,
    differences,
    joined,
    refuse_key,
    unchanged,
    written_in,
)
from dobbin_like.collections.btree.plan import Plan
from dobbin_like.collections.btree.walk import (
    Bounds,
    bounds_of,
    changed,
    downward,
    find_key,
    no_bound,
    upward,
)
from dobbin_like.exc import Error
from dobbin_like.objects.faces.base import Persistent, checkout
from dobbin_like.objects.faces.elsewhere import IN_TREES, telling
from dobbin_like.objects.faces.stored_attribute import StoredAttribute, taken
from dobbin_like.objects.values.comparison import same
from dobbin_like.objects.values.refs import native_dict, set_native_dict
from dobbin_like.objects.values.value_kinds import KINDS, REFERENCE
from dobbin_like.objects.values.values import to_plain

K = TypeVar("K")
I = TypeVar("I")  # noqa: E741

ALL = Bounds()

_CONTENT: Final = {"_root": BTreeInner, "_length": BTreeLength}


@telling(IN_TREES)
class SortedTree(Persistent, Generic[K, I]):
    """A tree of nodes. Its own state leads to the root and the length, and never changes.

    An item is what a subclass makes of a key and its value: a pair, or the key.
    """

    _make: ClassVar[Any]
    """Returns the items of a list of keys and a list of values."""

    _root: BTreeInner = StoredAttribute("the root of a sorted tree")  # type: ignore[assignment]
    _length: BTreeLength = StoredAttribute("the length of a tree")  # type: ignore[assignment]

    _p_content = frozenset(_CONTENT)

    _v_changed: object = None
    """Replaced by each change of keys by the calling thread, in its working copy."""

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __new__(cls, /, *_args: Any, **_kwargs: Any) -> Self:
        # As a built-in container, it is whole before a constructor runs. The face is passed by:
        # copies are made of the plain class.
        self = super().__new__(cls)
        set_native_dict(self, _planted(self, ([], [])))
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CONTENT and not isinstance(value, _CONTENT[name]):
            raise taken(self, name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in _CONTENT:
            raise taken(self, name, "deleter")
        super().__delattr__(name)

    def _plant(self, items: Items) -> None:
        """Make the nodes of a new tree. *items* are sorted, and become those of the tree."""
        for name, part in _planted(self, items).items():
            setattr(self, name, part)

    # -- reading ----------------------------------------------------------------------

    def _repr_html_(self) -> str:
        from dobbin_like.objects.values.tables import table_of

        return table_of(self)

    def __len__(self) -> int:
        return self._length.value

    def __contains__(self, key: Any) -> bool:
        return find_key(self, key)[2] is not MISSING

    def _chunks(self, bounds: Bounds, *, backward: bool = False) -> Iterator[Items]:
        return (downward if backward else upward)(self, bounds)

    def _stream(
        self,
        make: Callable[[list[Any], list[Any]], Iterable[Any]],
        bounds: Bounds = ALL,
        *,
        backward: bool = False,
    ) -> Iterator[Any]:
        """Return what *make* gives of the keys and values in *bounds*, leaf by leaf.

        A change of the tree is told at the next item if the calling thread has checked it
        out by now, else at the next leaf.
        """
        chunks = self._chunks(bounds, backward=backward)
        if is_writable(self):
            return self._one_by_one(make, chunks)
        return chain.from_iterable(starmap(make, chunks))

    def _one_by_one(self, make: Any, chunks: Iterator[Items]) -> Iterator[Any]:
        token = self._v_changed
        for keys, values in chunks:
            for item in make(keys, values):
                yield item
                if self._v_changed is not token:
                    raise changed(self)

    def _first(self, make: Any, bounds: Bounds = ALL, *, backward: bool = False) -> Any:
        for keys, values in self._chunks(bounds, backward=backward):
            return next(iter(make(keys[:1], values[:1])))
        return MISSING

    # -- in order ---------------------------------------------------------------------

    def __iter__(self) -> Iterator[K]:
        return self._stream(keys_of)

    def __reversed__(self) -> Iterator[K]:
        return self._stream(keys_of, backward=True)

    def min_item(self) -> I:
        """Return the item with the smallest key; ``ValueError`` if there is none."""
        return self._end_item(backward=False)

    def max_item(self) -> I:
        """Return the item with the greatest key; ``ValueError`` if there is none."""
        return self._end_item(backward=True)

    def _end_item(self, *, backward: bool) -> I:
        item: I = self._first(self._make, backward=backward)
        if item is MISSING:
            text = f"the {type(self).__name__} is empty"
            raise ValueError(text)
        return item

    def next_item(self, key: K) -> I | None:
        """Return the item with the next key above *key*, which need not be there, or ``None``."""
        item: I = self._first(self._make, bounds_of(low=key, closed_low=False))
        return None if item is MISSING else item

    def prev_item(self, key: K) -> I | None:
        """Return the item with the next key below *key*, which need not be there, or ``None``."""
        item: I = self._first(self._make, bounds_of(high=key), backward=True)
        return None if item is MISSING else item

    def items_from(self, key: K, *, closed: bool = True) -> Iterator[I]:
        """Iterate over the items from *key* up; without that of *key* if not *closed*."""
        return self._stream(self._make, bounds_of(low=key, closed_low=closed))

    def items_backward(self) -> Iterator[I]:
        """Iterate over all items, from the greatest key down."""
        return self._stream(self._make, backward=True)

    def items_backward_from(self, key: K, *, closed: bool = True) -> Iterator[I]:
        """Iterate over the items from *key* down; without that of *key* if not *closed*."""
        return self._stream(self._make, bounds_of(high=key, closed_high=closed), backward=True)

    def items_range(
        self, start: K, end: K, *, closed_start: bool = True, closed_end: bool = False
    ) -> Iterator[I]:
        """Iterate over the items from *start* to *end*, downward if *end* is below *start*.

        An end belongs to the range if it is closed: as in Python's own ranges, the first is
        and the last is not.
        """
        bounds = bounds_of(start, closed_start, end, closed_end, ("start", "end"))
        try:
            down = end < start  # type: ignore[operator]
        except TypeError as error:
            if isinstance(error, Error):
                raise
            raise no_bound(end, "end", f"start={start!r:.60} has no order with it") from error
        if down:
            bounds = Bounds(end, closed_end, start, closed_start)
            return self._stream(self._make, bounds, backward=True)
        return self._stream(self._make, bounds)

    # -- changing ---------------------------------------------------------------------

    def _pop_last(self, method: str) -> tuple[Any, Any]:
        check_writable(self)
        pair = self._first(zip, backward=True)
        if pair is MISSING:
            text = f"{method}(): the {type(self).__name__} is empty"
            raise KeyError(text)
        return pair[0], remove_key(self, pair[0])

    def _fill(self, items: Items) -> None:
        plan = Plan(self)
        plan.set(self._root.links[2][0], "moves", self._root.links[2][0].moves + 1)
        # The tree may have been cleared before.
        plan.set(self._root, "_v_written", (items[0], len(items[0]), len(items[0])))
        plan.set(self._root, "links", grown(self, items))
        plan.count(len(items[0]))
        plan.apply()

    def _remove_range(self, bounds: Bounds) -> None:
        check_writable(self)
        keys = list(self._stream(keys_of, bounds))
        for key in keys:
            remove_key(self, key)

    def clear(self) -> None:
        """Remove all keys. Cost: the nodes, which are all written: others may be changing them."""
        check_writable(self)
        plan = Plan(self)
        todo: list[Any] = list(self._root.links[2])
        while todo:
            node = todo.pop()
            if node.is_leaf:
                plan.set(node, "items", ([], []))
                plan.set(node, "moves", node.moves + 1)
            else:
                todo.extend(node.links[2])
                plan.set(node, "links", (0, [], []))
        plan.set(self._root, "links", grown(self, ([], [])))
        plan.count(-len(self))
        plan.apply()

    # -- copies -----------------------------------------------------------------------

    def copy(self) -> Self:
        """Return a new tree of this class with the same items, not stored yet."""
        return self.__copy__()  # type: ignore[no-any-return]

    def __copy__(self) -> Any:
        plain: Any = type(self)._p_faces.plain
        made = plain.__new__(plain)
        native_dict(made).update(self.__getstate__())
        parts = list(self._chunks(ALL, backward=False))
        items = [key for keys, _ in parts for key in keys], [v for _, vs in parts for v in vs]
        native_dict(made).update(_planted(made, to_plain(items, {})))
        return made

    # -- conflicts --------------------------------------------------------------------

    def _p_replay(self, parts: Iterable[tuple[Any, Any, Any]]) -> None:
        """Apply the changes of a transaction again, key by key, to the tree as it is now."""
        before: list[Items] = []
        after: list[Items] = []
        written: list[Any] = []
        for part, old, new in parts:
            if isinstance(part, BTreeLeaf):
                before += [old["items"]] if old else []
                after += [new["items"]] if new else []
            written += written_in(new) if new else ()
        was, becomes = joined(before), joined(after)
        changes = differences(was, becomes)
        for key, old, value in (*changes, *unchanged(written, was, becomes)):
            now = find_key(self, key)[2]
            if not same(now, old):
                refuse_key(key, old, now, value)
        for key, _, value in changes:
            if value is MISSING:
                remove_key(self, key)
            else:
                set_key(self, key, value)


def look_up(tree: Any, key: Any) -> Any:
    """Return the value of *key* or MISSING: the thread's own copy if it may change it."""
    leaf, index, value = find_key(tree, key)
    if KINDS[type(value)] > REFERENCE and value is not MISSING and is_writable(tree):
        checkout(leaf)
        return leaf.items[1][index]
    return value


def keys_of(keys: list[Any], _values: list[Any]) -> list[Any]:
    """Return the keys of a leaf."""
    return keys


def values_of(_keys: list[Any], values: list[Any]) -> list[Any]:
    """Return the values of a leaf."""
    return values


def _planted(tree: Any, items: Items) -> dict[str, Any]:
    """Return what a tree of sorted *items* has of its own."""
    root = BTreeInner(tree, *grown(tree, items))
    return {"_length": BTreeLength(tree, len(items[0])), "_root": root}
