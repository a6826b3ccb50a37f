"""Taking back what a transaction did to structures of many objects, such as trees.

Part by part it can't be taken back: what was moved to a new part then may have got company
there since. So the owner does the opposite of what was done, as it does again what was
done where parts are in conflict: see :mod:`dobbin_like.transactions.replay`.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Any, NamedTuple

from dobbin_like.contract import Storage
from dobbin_like.exc import ConflictError, UndoConflictError
from dobbin_like.ids import Oid, Tid
from dobbin_like.objects.faces.base import checkout
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.values.refs import ref_of
from dobbin_like.transactions.replay import PartChange


class Structure(NamedTuple):
    """An owner, the oids of the parts that a transaction changed, and how to change them back."""

    owner: Any
    oids: frozenset[Oid]
    changes: tuple[PartChange, ...]

    def take_back(self, tid: Tid, snapshot: Tid) -> None:
        """Do the opposite of what transaction *tid* did, or raise UndoConflictError."""
        checkout(self.owner)
        try:
            self.owner._p_replay(self.changes)
        except ConflictError as error:
            name, who = type(self.owner).__name__, "a later transaction, or by this one"
            serial = max(part._p_serial or snapshot for part, _, _ in self.changes)
            oid = self.owner._p_oid
            raise UndoConflictError(name, oid, serial, tid, who, error.failed, "parts") from error


def structures(
    storage: Storage, graph: Graph, view: View, oids: Iterable[int], tid: Tid
) -> list[Structure]:
    """Return the structures to which some of *oids* belong, all changed by transaction *tid*.

    Those that were there before it: what it has made goes with what leads to it.
    """
    found: dict[Oid, tuple[Any, dict[Oid, PartChange]]] = {}
    for oid in map(Oid, oids):
        part = graph.ghosts.get(oid, view.tid)
        attribute = getattr(type(part), "_p_part_of", None)
        ref = ref_of(part)
        if attribute is None or ref is None:
            continue
        after = graph.fresh(ref, tid)
        owner = after.get(attribute)
        owner_oid = getattr(owner, "_p_oid", None)
        if owner_oid is None or not hasattr(type(owner), "_p_replay"):
            continue
        if storage.load(owner_oid, Tid(tid - 1)) is None:
            continue
        known = storage.load(oid, Tid(tid - 1)) is not None
        before = MappingProxyType(graph.fresh(ref, Tid(tid - 1))) if known else None
        change = PartChange(part, MappingProxyType(after), before)
        found.setdefault(owner_oid, (owner, {}))[1][oid] = change
    return [
        Structure(owner, frozenset(changes), tuple(changes.values()))
        for owner, changes in found.values()
    ]
