"""Entries of objects that a pack has dropped: found leaf by leaf, and taken out.

Only the holder of the commit lock changes entries. So a leaf is written as it is without them, by
a transaction of no thread: no other one can have changed it meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from dobbin_like.indexes.kept.catalog import catalog_of, oid_of
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.objects.values.refs import ref_of
from dobbin_like.store import Store
from dobbin_like.transactions.own_commit import commit_own

_LEAVES: Final = 200
"""Leaves that are written under one commit lock; that takes some 10 ms."""


def sweep(store: Store) -> None:
    """Take out the entries of objects that are not stored any more.

    Raises what a commit raises; what was taken out before stays out. Cost: reading the indexes.
    """
    store.publisher.catch_up()
    catalog = catalog_of(store.graph, None)
    if catalog is None:
        return
    sweeping = _Sweep(store)
    for index in sweeping.state(catalog)["indexes"].values():
        sweeping.run(sweeping.state(index)["entries"])


class _Sweep:
    def __init__(self, store: Store) -> None:
        self._graph = store.graph
        self._publisher = store.publisher
        self._has = store.storage.has

    def state(self, obj: Any) -> dict[str, Any]:
        """Return the newest state of an object, whatever the thread sees."""
        ref = ref_of(obj)
        assert ref is not None
        return self._graph.resolver.version(obj, ref, None)[1]

    def run(self, entries: Any) -> None:
        leaves = (leaf for leaf in self._leaves(self.state(entries)["_root"]) if self._gone(leaf))
        while batch := list(islice(leaves, _LEAVES)):
            self._commit(entries, batch)

    def _leaves(self, node: Any) -> Iterator[Any]:
        """Yield the leaves; one that comes or goes meanwhile may be missed, or be empty."""
        for child in self.state(node)["links"][2]:
            if child.is_leaf:
                yield child
            else:
                yield from self._leaves(child)

    def _gone(self, leaf: Any) -> int:
        """Return how many entries of a leaf are of objects that are gone."""
        return sum(not self._has(oid_of(entry)) for entry in self.state(leaf)["items"][0])

    def _commit(self, entries: Any, leaves: Sequence[Any]) -> None:
        def gather(changes: Changes) -> tuple[()] | None:
            gone = 0
            for leaf in leaves:
                state = self.state(leaf)
                kept = [entry for entry in state["items"][0] if self._has(oid_of(entry))]
                if len(kept) < len(state["items"][0]):
                    gone += len(state["items"][0]) - len(kept)
                    self._write(changes, leaf, {**state, "items": (kept, [None] * len(kept))})
            if not gone:
                return None
            length = self.state(entries)["_length"]
            state = self.state(length)
            self._write(changes, length, {**state, "value": state["value"] - gone})
            return ()

        commit_own(self._publisher, gather, "drop entries of indexes after a pack")

    def _write(self, changes: Changes, node: Any, state: dict[str, Any]) -> None:
        ref = ref_of(node)
        assert ref is not None
        changes.write(node, ref, type(node)._p_faces.plain, state, {})
