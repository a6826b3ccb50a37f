"""Whether the nodes of a sorted tree make a tree: order, bounds, depth, sizes, length.

Looks at nodes as the caller reads them: objects in memory, or states in a log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from operator import lt
from typing import Any, NamedTuple

from dobbin_like.collections.btree.nodes import INNER_MAX, LEAF_MAX
from dobbin_like.collections.btree.tree import SortedTree
from dobbin_like.collections.btree.walk import END


class Node(NamedTuple):
    """What a node says of itself: ``level`` is 0 for a leaf; ``below`` are values or children.

    ``name`` is for the reader of a message; ``identity`` and ``tree``, the identity of the tree,
    are what the caller tells nodes from each other by.
    """

    name: str
    identity: int
    tree: int
    level: int
    keys: list[Any]
    below: list[Any]


def check_btree(tree: SortedTree[Any, Any]) -> list[str]:
    """Return what is wrong with a :class:`.BTree` or :class:`.BTreeSet`, as this thread sees it.

    Nothing can be, unless a key has changed its order, the file was damaged, or there is an
    error in this package. Cost: the tree.
    """

    def read(node: Any) -> Node:
        name = f"{type(node).__name__} oid {node._p_oid}"
        if node.is_leaf:
            return Node(name, id(node), id(node.tree), 0, *node.items)
        return Node(name, id(node), id(node.tree), *node.links)

    return list(structure(id(tree), tree._root, len(tree), read))  # noqa: SLF001


def structure(
    tree: int,
    root: Any,
    length: int,
    read: Callable[[Any], Node],
    before: Callable[[Any, Any], bool] = lt,
) -> Iterator[str]:
    """Yield what is wrong with the nodes under *root*, which say that *tree* is their tree.

    *read* takes the root, and the children that it finds, and returns what a node says; what it
    raises is the caller's. *before*: Whether a key is below another one.
    """
    count = 0
    todo: list[tuple[Any, int | None, Any, Any]] = [(root, None, END, END)]
    seen: set[int] = set()
    while todo:
        reference, level, low, high = todo.pop()
        node = read(reference)
        if node.identity in seen:
            yield f"{node.name} is in the tree twice"
            continue
        seen.add(node.identity)
        if node.tree != tree:
            yield f"{node.name} belongs to another tree"
        if level is not None and node.level != level:
            yield f"{node.name} is on level {node.level}, expected {level}"
            continue
        yield from _shape(node, is_root=level is None)
        yield from _order(node, low, high, before)
        if node.level:
            bounds = [low, *node.keys, high]
            ranges = zip(node.below, bounds, bounds[1:])  # noqa: B905  _shape() tells
            todo.extend((child, node.level - 1, *limits) for child, *limits in ranges)
        else:
            count += len(node.keys)
    if count != length:
        yield f"{count} keys, but a length of {length}"


def _shape(node: Node, *, is_root: bool) -> Iterator[str]:
    keys, below = len(node.keys), len(node.below)
    if is_root and not node.level:
        yield f"{node.name} is the root and a leaf"
    if node.level:
        if below != keys + 1 or below > INNER_MAX or (below < 2 and not is_root):
            yield f"{node.name} has {below} children and {keys} keys between them"
        return
    if keys != below:
        yield f"{node.name} has {keys} keys and {below} values"
    if keys > LEAF_MAX:
        yield f"{node.name} has {keys} keys, at most {LEAF_MAX} are expected"


def _order(node: Node, low: Any, high: Any, before: Callable[[Any, Any], bool]) -> Iterator[str]:
    keys = node.keys
    for one, other in pairwise(keys):
        if not before(one, other):
            yield f"{node.name} has the key {other!r:.60} behind {one!r:.60}"
    if keys and low is not END and not (keys[0] == low or before(low, keys[0])):
        yield f"{node.name} has the key {keys[0]!r:.60}, which is below {low!r:.60}"
    if keys and high is not END and not before(keys[-1], high):
        yield f"{node.name} has the key {keys[-1]!r:.60}, which is not below {high!r:.60}"
