"""Sorted trees of ours, written from items in order."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any

from dobbin_like.collections.btree.build import links_over
from dobbin_like.exc import NotStorableError
from dobbin_like.exchange.new_database import NewDatabase
from dobbin_like.objects.codec.state_reader import Reference
from dobbin_like.objects.codec.state_writer import ClassName
from dobbin_like.objects.values.short import short_key

_HOME = "dobbin_like.collections"


class TreeWriter:
    """Writes trees to *database*. *new_oid* gives the oids of their nodes.

    A value that can't be stored is replaced by None, and told.
    """

    def __init__(self, database: NewDatabase, new_oid: Callable[[], int]) -> None:
        self._database, self._new_oid = database, new_oid

    def put(
        self,
        oid: int,
        name: ClassName,
        keys: list[Any],
        values_of: Callable[[int, int], list[Any]],
    ) -> None:
        """Write a tree of class *name*; *values_of* gives the values from one index to another."""
        tree = self._database.writer.reference(oid, name)

        def leaf(begin: int, end: int) -> Reference:
            items = keys[begin:end], values_of(begin, end)
            return self._leaf({"tree": tree, "moves": 0, "items": items})

        def inner(level: int, bounds: list[Any], children: list[Any]) -> Reference:
            state = {"tree": tree, "links": (level, bounds, children)}
            return self._node("BTreeInner", state)

        root = inner(*links_over(keys, leaf, inner))
        length = self._node("BTreeLength", {"tree": tree, "value": len(keys)})
        self._database.put(oid, name, {"_length": length, "_root": root})

    def _node(self, kind: str, state: dict[str, Any]) -> Reference:
        name = (_HOME, kind)
        made = self._database.writer.reference(self._new_oid(), name)
        self._database.put(made.oid, name, state)
        return made

    def _leaf(self, state: dict[str, Any]) -> Reference:
        try:
            return self._node("BTreeLeaf", state)
        except NotStorableError:
            keys, values = state["items"]
            stored = [
                value if self._is_storable(key, value) else None
                for key, value in zip(keys, values or repeat(None), strict=False)
            ]
            return self._node("BTreeLeaf", {**state, "items": (keys, stored)})

    def _is_storable(self, key: Any, value: Any) -> bool:
        try:
            self._database.writer.encode((_HOME, "BTreeLeaf"), {"items": ([key], [value])})
        except NotStorableError as error:
            self._database.problems.add(
                f"the value of {short_key(key)} is None now: {error.reason}"
            )
            return False
        return True
