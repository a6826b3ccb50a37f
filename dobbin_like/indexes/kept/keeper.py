"""How a commit keeps the indexes: entries out and in, by the states before and after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from dobbin_like.contract import Transaction
from dobbin_like.exc import IndexStaleError, UniqueConflictError, UniqueError
from dobbin_like.ids import INDEXES, NO_TID, ROOT_OID, Oid, Tid
from dobbin_like.indexes.kept.catalog import Catalog, catalog_of, entry_of, oid_of
from dobbin_like.indexes.kept.definition import Definition, standing_for
from dobbin_like.indexes.kept.sortable import behind
from dobbin_like.objects.faces.base import checkout
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.graph.publication import Publication
from dobbin_like.objects.values.refs import ObjectRef, ref_of


class Update(NamedTuple):
    """The key of one object in one index, before and after; None: it is not there."""

    definition: Definition
    change: Publication
    before: bytes | None
    after: bytes | None


class Keeper:
    """The indexes of one graph, as commits keep them. Holder of the commit lock."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._catalog: Catalog | None = None
        self._serial: Tid = NO_TID  # Of the catalog that these are of.
        self._definitions: list[Definition] = []
        self._of_class: dict[Any, list[Definition]] = {}

    def keep_attribute(self, view: View) -> None:
        """Let the root lead to the catalog, whatever the transaction has made of its state."""
        ref = self._graph.cache.get(ROOT_OID)
        working = None if ref is None else view.working.get(id(ref()))
        if working is not None and INDEXES in working.base:
            working[INDEXES] = working.base[INDEXES]

    def is_changed_by(self, unseen: Iterable[Transaction]) -> bool:
        """Tell whether transactions that nobody sees yet have made or dropped an index."""
        ref = self._find()
        oid = ROOT_OID if ref is None else ref.oid
        return any(oid in logged.oids for logged in unseen)

    def _find(self) -> ObjectRef | None:
        catalog = self._catalog = self._catalog or catalog_of(self._graph, None)
        return None if catalog is None else ref_of(catalog)

    def updates(self, changes: Changes, view: View) -> list[Update]:
        """Return what *changes*, which are gathered, mean for the indexes."""
        self._refresh()
        if not self._definitions:
            return []
        found = []
        of_class = self._of_class
        for change in changes.publications:
            obj, ref, state, face = change
            definitions = of_class.get(face)
            if definitions is None:
                definitions = [each for each in self._definitions if each.is_of(face)]
                of_class[face] = definitions
            if not definitions:
                continue
            working = view.working.get(id(obj))
            # What a pack has dropped may have lost its entries.
            there = working is not None and self._graph.storage.has(ref.oid)
            base = working.base if working is not None and there else None
            for definition in definitions:
                before = definition.key(face, ref.oid, base)
                after = definition.key(face, ref.oid, state)
                if before != after:
                    found.append(Update(definition, change, before, after))
        return found

    def _refresh(self) -> None:
        graph, ref = self._graph, self._find()
        if ref is None:
            return
        serial, state = graph.resolver.version(self._catalog, ref, None)
        if serial != self._serial:
            self._definitions = [Definition(graph, each) for each in state["indexes"].values()]
            self._of_class = {}
            self._serial = serial

    def apply(self, updates: Sequence[Update], view: View, snapshot: Tid) -> None:
        """Change the entries, as *view*, which sees the newest snapshot from here on.

        *snapshot* is what the transaction has read.

        Raises UniqueError or UniqueConflictError: a key that has to be unique is there;
        IndexStaleError.
        """
        self._graph.shared.move_view(view)
        for update in updates:
            checkout(update.definition.entries)
            if update.before is not None:
                self._take_out(update, update.before)
        stored = {update.change.ref.oid for update in updates if update.after is not None}
        for update in updates:
            if update.after is not None:
                if update.definition.unique:
                    self._check_unique(update, update.after, stored, snapshot)
                entry = entry_of(update.after, update.change.ref.oid)
                update.definition.entries.add(entry)

    def _take_out(self, update: Update, key: bytes) -> None:
        definition, change = update.definition, update.change
        try:
            definition.entries.remove(entry_of(key, change.ref.oid))
        except KeyError:
            name = change.face.__name__
            raise IndexStaleError(name, change.ref.oid, definition.name) from None

    def _check_unique(self, update: Update, key: bytes, stored: set[Oid], snapshot: Tid) -> None:
        definition, (_, ref, state, face) = update.definition, update.change
        storage = self._graph.storage
        for entry in list(definition.entries.span(key, behind(key))):
            other = oid_of(entry)
            if other == ref.oid:
                continue
            if other not in stored and not storage.has(other):
                definition.entries.discard(entry)  # A pack has dropped the object.
                continue
            version = storage.load(other)
            seen = version is None or other in stored or version.tid <= snapshot
            error = UniqueError if seen else UniqueConflictError
            told = definition.told(standing_for(face, state))
            raise error(face.__name__, ref.oid, definition.name, told, other)
