"""Whether the sorted trees of a log are valid: order, bounds, depth, sizes, length.

Reads the newest states and loads no class. Trees are found by their nodes, whose classes belong
to this package even if the tree is of a subclass. Keys whose classes are not loaded can't be
compared, and are assumed to be in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from dobbin_like.check.report import Report
from dobbin_like.collections.btree.check import Node, structure
from dobbin_like.objects.codec.state_reader import Reference, StateReader

INNER_CLASS: Final = ("dobbin_like.collections", "BTreeInner")
"""The name of the class of inner nodes in a log. Each tree has at least one."""


def check_trees(
    report: Report, inner: Iterable[int], load: Callable[[int], Any], reader: StateReader
) -> None:
    """I11: Check every tree that has one of the *inner* nodes, which are given by their oids.

    If a state can't be read, the tree is checked up to there; the state is reported elsewhere.
    *load* returns the stored version of an oid, or None. Cost: the newest states of the nodes.
    """
    nodes = _Nodes(load, reader)
    trees = {oid for oid in map(nodes.tree_of, inner) if oid is not None}
    for oid in sorted(trees):
        place = f"{report.path}, tree oid {oid}"
        try:
            tree = nodes.state(oid)
            length = nodes.state(tree["_length"].oid)["value"]
            for problem in structure(oid, tree["_root"].oid, length, nodes.read, _before):
                report.add(11, place, problem, "a tree")
        except Exception as error:  # noqa: BLE001  damaged bytes may raise anything
            if not report.problems:
                report.add(11, place, f"{type(error).__name__}: {error}", "nodes that can be read")


class _Nodes:
    """The nodes of trees, by their oids."""

    def __init__(self, load: Callable[[int], Any], reader: StateReader) -> None:
        self._load = load
        self._reader = reader

    def state(self, oid: int) -> dict[str, Any]:
        stored = self._load(oid)
        if stored is None:
            raise LookupError(oid)
        return self._reader.read(stored.number, stored.data)[0]

    def read(self, oid: int) -> Node:
        node = self.state(oid)
        name, tree = f"the node oid {oid}", node["tree"].oid
        if "items" in node:
            return Node(name, oid, tree, 0, *node["items"])
        level, keys, children = node["links"]
        return Node(name, oid, tree, level, keys, [child.oid for child in children])

    def tree_of(self, oid: int) -> int | None:
        """Return the oid of the tree that a node belongs to; None if it can't be read."""
        try:
            tree = self.state(oid)["tree"]
        except Exception:  # noqa: BLE001  damaged bytes may raise anything
            return None
        return tree.oid if type(tree) is Reference else None


def _before(one: Any, other: Any) -> bool:
    try:
        return bool(one < other)
    except Exception:  # noqa: BLE001  a stand-in raises whatever it likes
        return True
