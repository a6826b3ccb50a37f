"""What sorted maps and sorted sets have in common: a tree of nodes, and how it is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, starmap
from typing import Any, ClassVar, Generic, Self, TypeVar

from dobbin_like.collections.btree.build import check_order, grown
from dobbin_like.collections.btree.nodes import (
    MISSING,
    BTreeInner,
    BTreeLeaf,
    BTreeLength,
    Items,
    differences,
    find,
    find_any,
    joined,
    refuse_key,
    same,
    unchanged,
)
from dobbin_like.collections.btree.plan import Plan
from dobbin_like.collections.btree.walk import (
    Bounds,
    Path,
    bounds_of,
    changed,
    downward,
    path_to,
    upward,
)
from dobbin_like.exc import Error, SharedValueError
from dobbin_like.objects.faces.base import Persistent, checkout, is_new
from dobbin_like.objects.faces.stored_attribute import StoredAttribute
from dobbin_like.objects.faces.working_copy import WorkingCopy
from dobbin_like.objects.values.guards import describe
from dobbin_like.objects.values.here import here
from dobbin_like.objects.values.refs import native_dict, ref_of
from dobbin_like.objects.values.value_kinds import KINDS, REFERENCE
from dobbin_like.objects.values.values import to_plain

K = TypeVar("K")
I = TypeVar("I")  # noqa: E741

ALL = Bounds()


class SortedTree(Persistent, Generic[K, I]):
    """A tree of nodes. Its own state leads to the root and the length, and never changes.

    An item is what a subclass makes of a key and its value: a pair, or the key.
    """

    _make: ClassVar[Any]
    """Returns the items of a list of keys and a list of values."""

    _root: BTreeInner = StoredAttribute("the root of a sorted tree")  # type: ignore[assignment]
    _length: BTreeLength = StoredAttribute("the length of a tree")  # type: ignore[assignment]

    _v_changed: object = None
    """Replaced by each change of keys by the calling thread, in its working copy."""

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def _plant(self, items: Items) -> None:
        """Make the nodes of a new tree. *items* are sorted, and become those of the tree."""
        level, keys, children = grown(self, items)
        self._length = BTreeLength(self, len(items[0]))
        self._root = BTreeInner(self, level, keys, children)

    # -- checks before changes ------------------------------------------------------

    def _is_writable(self) -> bool:
        if type(here.memo.get(id(self))) is WorkingCopy:
            return True
        return type(self) is type(self)._p_faces.open and is_new(ref_of(self))

    def _check_writable(self) -> None:
        if not self._is_writable():
            ref = ref_of(self)
            raise SharedValueError(type(self).__name__, "" if is_new(ref) else describe(ref))

    # -- reading ----------------------------------------------------------------------

    def _repr_html_(self) -> str:
        from dobbin_like.objects.values.tables import table_of

        return table_of(self)

    def __len__(self) -> int:
        return self._length.value

    def __contains__(self, key: Any) -> bool:
        return self._find(key)[3] is not MISSING

    def _find(self, key: Any) -> tuple[Path, Any, int, Any]:
        """Return the way to the leaf where *key* is or would be, the leaf, the index, the value.

        The value is MISSING if it is not there. As a dict has it, so it is with a key that can't
        be ordered among the others.
        """
        try:
            path, leaf = path_to(self._root, key)
            return path, leaf, *find(*leaf.items, key)
        except (TypeError, ArithmeticError) as error:  # The latter is of a Decimal.
            if isinstance(error, Error):  # Of a key of the tree, of which the class is missing.
                raise
            return [], None, 0, MISSING

    def _value(self, key: Any) -> Any:
        """Return the value of *key* or MISSING: the thread's own copy if it may change it."""
        _, leaf, index, value = self._find(key)
        if KINDS[type(value)] > REFERENCE and value is not MISSING and self._is_writable():
            checkout(leaf)
            return leaf.items[1][index]
        return value

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
        if self._is_writable():
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
        bounds = bounds_of(start, closed_start, end, closed_end)
        if end < start:  # type: ignore[operator]
            bounds = Bounds(end, closed_end, start, closed_start)
            return self._stream(self._make, bounds, backward=True)
        return self._stream(self._make, bounds)

    # -- changing ---------------------------------------------------------------------

    def _insert(self, key: Any, value: Any, *, replace: bool = True) -> bool:
        """Set the value of *key*, if it is there only with *replace*. Return whether it is new."""
        self._check_writable()
        if isinstance(key, slice):  # Slices can be ordered, but tree[slice] is a range.
            text = "a slice is a range of keys, not a key"
            raise TypeError(text)
        path, leaf = path_to(self._root, key)
        keys, values = leaf.items
        index, now = find(keys, values, key)
        there = now is not MISSING
        if there and not replace:
            self._touch(leaf, key, now)
            return False
        if not there:
            check_order(keys, index, key)
        checkout(leaf)
        keys, values = leaf.items
        plan = Plan(self)
        if there:
            plan.set(leaf, "items", (keys, [*values[:index], value, *values[index + 1 :]]))
        else:
            keys = [*keys[:index], key, *keys[index:]]
            values = [*values[:index], value, *values[index:]]
            plan.fill(path, leaf, keys, values)
            self._plan_length(plan, 1)
        plan.apply()
        self._touch(leaf, key, value)
        return not there

    def _touch(self, leaf: BTreeLeaf, key: Any, value: Any) -> None:
        """Note that *key* of *leaf* was set, or MISSING made of it, if that is what it was before.

        Nothing else tells that the transaction is in conflict with one that changes it.
        """
        if type(here.memo.get(id(self))) is not WorkingCopy:
            return  # A new tree, which no other transaction knows.
        checkout(leaf)
        working = here.memo.get(id(leaf))
        if type(working) is WorkingCopy:  # Else what it was is not known: the leaf is new.
            before: Items = working.base["items"]
            if not same(find_any(*before, key)[1], value):
                return
        touched = [*leaf._v_touched]  # noqa: SLF001  volatile: of this transaction
        index, known = find_any(touched, touched, key)
        if known is MISSING:
            leaf._v_touched = [*touched[:index], key, *touched[index:]]  # noqa: SLF001

    def _remove(self, key: Any) -> Any:
        """Remove *key*; return its value, or MISSING."""
        self._check_writable()
        path, leaf, index, value = self._find(key)
        if value is MISSING:
            if leaf is not None:
                self._touch(leaf, key, MISSING)
            return MISSING
        checkout(leaf)
        keys, values = leaf.items
        plan = Plan(self)
        value = values[index]
        plan.drain(path, leaf, _without(keys, index), _without(values, index))
        self._plan_length(plan, -1)
        plan.apply()
        self._touch(leaf, key, MISSING)
        return value

    def _pop_last(self, method: str) -> tuple[Any, Any]:
        self._check_writable()
        pair = self._first(zip, backward=True)
        if pair is MISSING:
            text = f"{method}(): the {type(self).__name__} is empty"
            raise KeyError(text)
        return pair[0], self._remove(pair[0])

    def _plan_length(self, plan: Plan, change: int) -> None:
        plan.set(self._length, "value", plan.get(self._length, "value") + change)
        plan.set(self, "_v_changed", object())

    def _fill(self, items: Items) -> None:
        plan = Plan(self)
        plan.set(self._root.links[2][0], "moves", self._root.links[2][0].moves + 1)
        plan.set(self._root, "_v_touched", items[0])  # The tree may have been cleared before.
        plan.set(self._root, "links", grown(self, items))
        self._plan_length(plan, len(items[0]))
        plan.apply()

    def _remove_range(self, bounds: Bounds) -> None:
        self._check_writable()
        keys = list(self._stream(keys_of, bounds))
        for key in keys:
            self._remove(key)

    def clear(self) -> None:
        """Remove all keys. Cost: the nodes, which are all written: others may be changing them."""
        self._check_writable()
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
        self._plan_length(plan, -len(self))
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
        links = grown(made, to_plain(items, {}))
        nodes = {"_length": BTreeLength(made, len(items[0])), "_root": BTreeInner(made, *links)}
        native_dict(made).update(nodes)
        return made

    # -- conflicts --------------------------------------------------------------------

    def _p_replay(self, parts: Iterable[tuple[Any, Any, Any]]) -> None:
        """Apply the changes of a transaction again, key by key, to the tree as it is now."""
        before: list[Items] = []
        after: list[Items] = []
        touched: list[Any] = []
        for part, old, new in parts:
            if isinstance(part, BTreeLeaf):
                before += [old["items"]] if old else []
                after += [new["items"]] if new else []
            touched += new.get("_v_touched", ()) if new else ()
        was = joined(before)
        changes = differences(was, joined(after))
        for key, old, value in (*changes, *unchanged(touched, was)):
            now = self._find(key)[3]
            if not same(now, old):
                refuse_key(key, old, now, value)
        for key, _, value in changes:
            if value is MISSING:
                self._remove(key)
            else:
                self._insert(key, value)


def _without(values: list[Any], index: int) -> list[Any]:
    return [*values[:index], *values[index + 1 :]]


def keys_of(keys: list[Any], _values: list[Any]) -> list[Any]:
    """Return the keys of a leaf."""
    return keys


def values_of(_keys: list[Any], values: list[Any]) -> list[Any]:
    """Return the values of a leaf."""
    return values
