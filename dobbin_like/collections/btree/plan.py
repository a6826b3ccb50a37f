"""What one change does to the nodes of a sorted tree: planned first, done in one step.

All errors happen before the first node is changed: a comparison that fails, a node that can't
be read, a checkout that is refused. An interrupt waits until all is done.
"""

from __future__ import annotations

from typing import Any

from dobbin_like.collections.btree.nodes import (
    FILL,
    INNER_MAX,
    INNER_MIN,
    LEAF_MAX,
    LEAF_MIN,
    BTreeInner,
    BTreeLeaf,
    Items,
    noted,
)
from dobbin_like.collections.btree.walk import Path
from dobbin_like.objects.faces.base import checkout
from dobbin_like.objects.faces.working_copy import PENDING, WorkingCopy
from dobbin_like.objects.values.here import here
from dobbin_like.objects.values.refs import State, native_dict
from dobbin_like.processes.interrupts import finish_despite_interrupts


def owned(node: Any) -> State:
    """Check *node* out; return its attributes, as the calling thread may change them.

    The tree is checked out already, by the same task: that is asked once for all nodes.
    """
    working = here.memo.get(id(node))
    if type(working) is WorkingCopy:
        return working
    faces = type(node)._p_faces
    if type(node) is not faces.open and type(node) is not faces.owned:
        checkout(node)
        working = here.memo.get(id(node))
    return working if type(working) is WorkingCopy else native_dict(node)


class Plan:
    """New values for attributes of nodes.

    These are read and set where they are kept, not by the faces of the nodes: one change looks
    at the same few of them again and again.
    """

    def __init__(self, tree: Any) -> None:
        self._tree = tree
        # By id: the attributes of a node, what is to become of them, and the node.
        self._nodes: dict[int, tuple[State, State, Any]] = {}

    def _node(self, node: Any) -> tuple[State, State, Any]:
        known = self._nodes.get(id(node))
        if known is None:
            known = self._nodes[id(node)] = owned(node), {}, node
        return known

    def set(self, node: Any, name: str, value: Any) -> None:
        """Plan that attribute *name* of *node*, which is checked out now, becomes *value*."""
        self._node(node)[1][name] = value

    def get(self, node: Any, name: str) -> Any:
        """Return what attribute *name* of *node* is planned to be; else the thread's own value."""
        state, planned, _ = self._node(node)
        if name in planned:
            return planned[name]
        value = state[name]
        return state.own_value(name) if value is PENDING else value  # type: ignore[attr-defined]

    def apply(self) -> None:
        def assign() -> None:
            for state, planned, _ in self._nodes.values():
                state.update(planned)

        finish_despite_interrupts(assign)

    def count(self, change: int) -> None:
        """Let the tree have so many more keys; its iterators are told."""
        tree = self._tree
        state, planned, _ = self._node(tree._length)  # noqa: SLF001
        planned["value"] = state["value"] + change
        self.set(tree, "_v_changed", object())

    def note(self, leaf: BTreeLeaf, key: Any) -> None:
        """Note that *key* of *leaf* is set or removed.

        Nothing else tells that the transaction is in conflict with one that changes it, if it
        is as it was in the end.
        """
        if type(here.memo.get(id(self._tree))) is WorkingCopy:  # Nobody else knows a new tree.
            state, planned, _ = self._node(leaf)
            planned["_v_written"] = noted(state.get("_v_written"), key)

    def fill(self, path: Path, leaf: BTreeLeaf, keys: list[Any], values: list[Any]) -> None:
        """Give *leaf*, to which *path* leads, more items: split it if they are too many."""
        if len(keys) <= LEAF_MAX:
            self.set(leaf, "items", (keys, values))
            return
        at = len(keys) // 2
        if all(index == len(node.links[2]) - 1 for node, index in path):
            # What grows at its end is filled, not left half empty behind.
            at = int(len(keys) * FILL)
        right = BTreeLeaf(self._tree, keys[at:], values[at:])
        self._move(leaf, (keys[:at], values[:at]))
        self._link(path, keys[at], right)

    def _move(self, leaf: BTreeLeaf, items: Items) -> None:
        """Give *leaf* other items, some of which come from other leaves or go there."""
        self.set(leaf, "items", items)
        self.set(leaf, "moves", self.get(leaf, "moves") + 1)

    def drain(self, path: Path, leaf: BTreeLeaf, keys: list[Any], values: list[Any]) -> None:
        """Give *leaf*, to which *path* leads, fewer items: join it with another if too few."""
        parent, index = path[-1]
        siblings = parent.links[2]
        if len(keys) >= LEAF_MIN or len(siblings) == 1:
            self.set(leaf, "items", (keys, values))
            return
        if index:
            left, right, at = siblings[index - 1], leaf, index - 1
            more_keys, more_values = self.get(left, "items")
            keys, values = [*more_keys, *keys], [*more_values, *values]
        else:
            left, right, at = leaf, siblings[1], 0
            more_keys, more_values = self.get(right, "items")
            keys, values = [*keys, *more_keys], [*values, *more_values]
        if len(keys) <= LEAF_MAX * 3 // 4:
            self._move(left, (keys, values))
            self._move(right, ([], []))
            self._unlink(path[:-1], parent, at)
            return
        middle = len(keys) // 2
        self._move(left, (keys[:middle], values[:middle]))
        self._move(right, (keys[middle:], values[middle:]))
        level, bounds, children = self.get(parent, "links")
        self.set(parent, "links", (level, _replaced(bounds, at, keys[middle]), children))

    def _link(self, path: Path, bound: Any, right: Any) -> None:
        """Put *right*, whose keys begin at *bound*, behind the child at the end of *path*."""
        for depth in range(len(path) - 1, -1, -1):
            node, index = path[depth]
            level, keys, children = self.get(node, "links")
            keys = [*keys[:index], bound, *keys[index:]]
            children = [*children[: index + 1], right, *children[index + 1 :]]
            if len(children) <= INNER_MAX:
                self.set(node, "links", (level, keys, children))
                return
            at = len(children) // 2
            if index + 2 == len(children):
                at = min(int(len(children) * FILL), len(children) - 2)
            bound = keys[at - 1]
            right = BTreeInner(self._tree, level, keys[at:], children[at:])
            if depth:
                self.set(node, "links", (level, keys[: at - 1], children[:at]))
            else:  # The root stays the root.
                left = BTreeInner(self._tree, level, keys[: at - 1], children[:at])
                self.set(node, "links", (level + 1, [bound], [left, right]))

    def _unlink(self, path: Path, node: Any, at: int) -> None:
        """Remove the child behind key number *at* from *node*, to which *path* leads."""
        level, keys, children = self.get(node, "links")
        keys = [*keys[:at], *keys[at + 1 :]]
        children = [*children[: at + 1], *children[at + 2 :]]
        self.set(node, "links", (level, keys, children))
        if path:
            if len(children) < INNER_MIN:
                self._join(path, node)
        elif level > 1 and len(children) == 1:
            # There is only one node on the level under the root.
            below = children[0]
            self.set(node, "links", self.get(below, "links"))
            self.set(below, "links", (0, [], []))

    def _join(self, path: Path, node: Any) -> None:
        """Join *node*, which has few children, with a neighbour, or share out what they have."""
        parent, index = path[-1]
        _, bounds, siblings = self.get(parent, "links")
        at = max(index - 1, 0)
        left, right = siblings[at], siblings[at + 1]
        level, keys, children = self.get(left, "links")
        _, more_keys, more_children = self.get(right, "links")
        keys, children = [*keys, bounds[at], *more_keys], [*children, *more_children]
        if len(children) <= INNER_MAX * 3 // 4:
            self.set(left, "links", (level, keys, children))
            self.set(right, "links", (0, [], []))
            self._unlink(path[:-1], parent, at)
            return
        middle = len(children) // 2
        self.set(left, "links", (level, keys[: middle - 1], children[:middle]))
        self.set(right, "links", (level, keys[middle:], children[middle:]))
        bounds = _replaced(bounds, at, keys[middle - 1])
        self.set(parent, "links", (level + 1, bounds, siblings))


def _replaced(values: list[Any], index: int, value: Any) -> list[Any]:
    return [*values[:index], value, *values[index + 1 :]]
