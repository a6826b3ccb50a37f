"""Sorted items, and nodes that are made of many of them at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice, pairwise
from math import ceil
from operator import itemgetter, lt
from typing import Any

from dobbin_like.collections.btree.nodes import (
    FILL,
    INNER_MAX,
    LEAF_MAX,
    BTreeInner,
    BTreeLeaf,
    Items,
)
from dobbin_like.collections.btree.walk import not_ordered

Links = tuple[int, list[Any], list[Any]]
"""The level of an inner node, the keys between its children, and the children."""


def grown(tree: Any, items: Items) -> Links:
    """Return the links of a root over new nodes of *tree* that have *items*. Cost: the items."""
    keys, values = items
    return links_over(
        keys,
        lambda begin, end: BTreeLeaf(tree, keys[begin:end], values[begin:end]),
        lambda level, bounds, children: BTreeInner(tree, level, bounds, children),
    )


def links_over(
    keys: list[Any],
    leaf: Callable[[int, int], Any],
    inner: Callable[[int, list[Any], list[Any]], Any],
) -> Links:
    """Make the nodes of a tree with sorted *keys*; return the links of its root.

    *leaf* makes the one of the keys from one index to another, *inner* one with these links.
    """
    children: list[Any] = []
    bounds: list[Any] = []
    for begin, end in _shares(len(keys), int(LEAF_MAX * FILL)):
        bounds.append(keys[begin] if keys else None)
        children.append(leaf(begin, end))
    level = 1
    while len(children) > INNER_MAX * FILL:
        upper: list[Any] = []
        firsts: list[Any] = []
        for begin, end in _shares(len(children), int(INNER_MAX * FILL)):
            firsts.append(bounds[begin])
            upper.append(inner(level, bounds[begin + 1 : end], children[begin:end]))
        children, bounds = upper, firsts
        level += 1
    return level, bounds[1:], children


def sorted_items(keys: list[Any], values: list[Any]) -> Items:
    """Return keys and values in order, of each key the last value. Cost: little if sorted."""
    if not _is_sorted(keys):
        pairs = sorted(zip(keys, values, strict=True), key=itemgetter(0))
        keys, values = [], []
        for key, value in pairs:
            if keys and keys[-1] == key:
                values[-1] = value
            else:
                keys.append(key)
                values.append(value)
        if not _is_sorted(keys):
            one, other = next(pair for pair in pairwise(keys) if not pair[0] < pair[1])
            raise not_ordered(one, other)
    if keys:
        if isinstance(keys[0], slice):
            raise not_ordered(keys[0], keys[0])
        check_order([], 0, keys[0])
    return keys, values


def _is_sorted(keys: list[Any]) -> bool:
    return all(map(lt, keys, islice(keys, 1, None)))


def check_order(keys: list[Any], index: int, key: Any) -> None:
    """Refuse a key that can't stand at *index*: those before it were compared already."""
    if index < len(keys):
        if not key < keys[index]:
            raise not_ordered(key, keys[index])
    elif key < key or key != key:  # noqa: PLR0124  None raises here; not a number has no order
        raise not_ordered(key, key)


def _shares(count: int, most: int) -> list[tuple[int, int]]:
    """Return where to cut *count* things into even parts of at most *most*; at least one."""
    parts = max(1, ceil(count / most))
    cuts = [count * part // parts for part in range(parts + 1)]
    return list(pairwise(cuts))
