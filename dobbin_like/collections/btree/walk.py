"""Ways through a sorted tree: to one key, and from leaf to leaf in either direction.

A walk reads one leaf after the other and holds nothing of those before. It keeps to the keys,
not to the nodes: where the nodes have changed on the way, because a transaction has ended,
it finds its way anew from the key that it has come to.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from dobbin_like.collections.btree.nodes import MISSING, BTreeInner, BTreeLeaf, Items
from dobbin_like.exc import Error

END: Final[Any] = type("End", (), {"__repr__": lambda _: "<end>"})()
"""Stands for the key before all or behind all."""

Path = list[tuple[BTreeInner, int]]
"""Inner nodes from the root down, and which child the way goes on with."""


class Bounds(NamedTuple):
    """A range of keys; an end is part of it where it is closed."""

    low: Any = END
    closed_low: bool = True
    high: Any = END
    closed_high: bool = False


def bounds_of(
    low: Any = END,
    closed_low: bool = True,
    high: Any = END,
    closed_high: bool = False,
    names: tuple[str, str] = ("key", "key"),
) -> Bounds:
    """Return the range from *low* to *high*; TypeError if one of them has no order: NaN, None.

    *names*: of the arguments that they are, for that error.
    """
    name = names[0]
    for bound in (low, high):
        if bound is not END:
            try:
                unordered = bound < bound or bound != bound  # noqa: PLR0124
            except TypeError as error:
                if isinstance(error, Error):
                    raise
                raise no_bound(bound, name, str(error)) from error
            if unordered:
                raise no_bound(bound, name, f"neither {bound!r:.60} < {bound!r:.60} nor == holds")
        name = names[1]
    return Bounds(low, closed_low, high, closed_high)


def no_bound(bound: Any, name: str, why: str) -> TypeError:
    """Return the error of a bound that has no order. *name*: of the argument."""
    if bound is None:
        why = (
            "expected a key; a range without an end is tree[start:], tree[:end] or "
            "tree.items_backward_from(start), and one without any is the tree"
        )
        return TypeError(f"{name}=None, {why}")
    return TypeError(f"{name}={bound!r:.60} can't be ordered: {why}")


def not_ordered(one: Any, other: Any) -> TypeError:
    """Return the error of keys, or a key and a bound, that have no order."""
    text = f"keys can't be ordered: neither {one!r:.60} < {other!r:.60} nor == holds"
    return TypeError(text)


def path_to(node: Any, key: Any) -> tuple[Path, BTreeLeaf]:
    """Return the way to the leaf under *node* where *key* is or would be, and the leaf."""
    path: Path = []
    while True:
        level, keys, children = node.links
        index = bisect_right(keys, key)
        path.append((node, index))
        node = children[index]
        if level == 1:
            return path, node


def find_key(tree: Any, key: Any) -> tuple[Any, int, Any]:
    """Return the leaf where *key* is or would be, the index there, and the value.

    The value is MISSING if it is not there. As a dict has it, so it is with a key that can't
    be ordered among the others: then there is no leaf.
    """
    try:
        # Without the calls of path_to() and find(): every read of a tree passes here.
        node, level = tree._root, 0  # noqa: SLF001
        while level != 1:
            level, keys, children = node.links
            node = children[bisect_right(keys, key)]
        keys, values = node.items
        index = bisect_left(keys, key)
        there = index < len(keys) and keys[index] == key
        return node, index, values[index] if there else MISSING
    except (TypeError, ArithmeticError) as error:  # The latter is of a Decimal.
        if isinstance(error, Error):  # Of a key of the tree, of which the class is missing.
            raise
        return None, 0, MISSING


def upward(tree: Any, bounds: Bounds) -> Iterator[Items]:
    """Yield the items in *bounds* leaf by leaf, in order.

    Raises RuntimeError if the calling thread has put keys into the tree or taken some out, or
    the transaction in which it had done so has ended.
    """
    token = tree._v_changed  # noqa: SLF001
    start, closed = bounds.low, bounds.closed_low
    while True:
        node, index, ceiling = _lowest_inner(tree._root, start)  # noqa: SLF001
        links = _, keys, children = node.links
        begin = _first(children[index].items, start, closed=closed)
        while True:
            items = children[index].items
            end, all_below = _end(items, bounds.high, closed=bounds.closed_high)
            if begin < end:
                yield items if end - begin == len(items[0]) else _cut(items, begin, end)
                if tree._v_changed is not token:  # noqa: SLF001
                    raise changed(tree)
            start = keys[index] if index < len(keys) else ceiling
            if not all_below or start is END:
                return
            index += 1
            if index == len(children) or node.links is not links:
                break
            begin = 0
        closed = True


def downward(tree: Any, bounds: Bounds) -> Iterator[Items]:
    """Yield the items in *bounds* leaf by leaf, from the highest key down; see :func:`upward`."""
    token = tree._v_changed  # noqa: SLF001
    high, closed = bounds.high, bounds.closed_high
    while True:
        node, floor = tree._root, END  # noqa: SLF001
        while not node.is_leaf:
            _, keys, children = node.links
            index = _child_below(keys, high, closed=closed)
            if index:
                floor = keys[index - 1]
            node = children[index]
        items = node.items
        begin = _first(items, bounds.low, closed=bounds.closed_low)
        end, _ = _end(items, high, closed=closed)
        if begin < end:
            keys, values = items
            yield keys[begin:end][::-1], values[begin:end][::-1]
            if tree._v_changed is not token:  # noqa: SLF001
                raise changed(tree)
        if begin or floor is END:
            return
        high, closed = floor, False


def changed(tree: Any) -> RuntimeError:
    """Return the error of an iterator whose tree has changed."""
    text = f"{type(tree).__name__} changed during iteration"
    return RuntimeError(text)


def _lowest_inner(node: Any, start: Any) -> tuple[BTreeInner, int, Any]:
    """Return the parent of the leaf of *start*, which child it is, and where the parent ends."""
    ceiling = END
    while True:
        level, keys, children = node.links
        index = 0 if start is END else bisect_right(keys, start)
        if level == 1:
            return node, index, ceiling
        if index < len(keys):
            ceiling = keys[index]
        node = children[index]


def _child_below(keys: list[Any], high: Any, *, closed: bool) -> int:
    """Return the child that has the greatest key not above *high*."""
    if high is END:
        return len(keys)
    return bisect_right(keys, high) if closed else bisect_left(keys, high)


def _first(items: Items, low: Any, *, closed: bool) -> int:
    return 0 if low is END else _cut_at(items[0], low, behind=not closed)


def _end(items: Items, high: Any, *, closed: bool) -> tuple[int, bool]:
    """Return the index behind the last key up to *high*, and whether the range may go on."""
    keys = items[0]
    if high is END or not keys or keys[-1] < high:
        return len(keys), True
    return _cut_at(keys, high, behind=closed), False


def _cut_at(keys: list[Any], bound: Any, *, behind: bool) -> int:
    """Return where *bound* cuts *keys*: before or behind the key that equals it.

    Raises TypeError if it has no order among them: what was found would be arbitrary.
    """
    at = bisect_left(keys, bound)
    if at == len(keys) or bound < keys[at]:
        return at
    if bound != keys[at]:
        raise not_ordered(bound, keys[at])
    return at + behind


def _cut(items: Items, begin: int, end: int) -> Items:
    keys, values = items
    return keys[begin:end], values[begin:end]
