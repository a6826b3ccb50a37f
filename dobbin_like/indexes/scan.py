"""The keys that stored objects have in an index, found by reading all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dobbin_like.contract import StoredVersion
from dobbin_like.exc import UnloadedClassError
from dobbin_like.ids import DISCARDED, Oid
from dobbin_like.indexes.kept.definition import Definition
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.objects.values.refs import ref_of
from dobbin_like.search.snapshot_scan import SnapshotScan
from dobbin_like.store import Progress


class KeyScan:
    """Reads keys for one definition, as of one snapshot. One thread."""

    def __init__(self, scan: SnapshotScan, definition: Definition) -> None:
        self._scan = scan
        self._definition = definition
        self.seen: int = 0  # Objects of its classes, whether they are in it or not.
        self._faces: dict[int, Any] = {}  # By the number of a state: a few for each class.

    def all(self, progress: Progress | None = None) -> Iterator[tuple[Oid, bytes]]:
        """Yield the objects that are in the index, by oid, with their keys.

        Raises UnloadedClassError: an object may be of one of its classes, and nobody can tell.
        """
        for oid, stored in self._scan.all(progress):
            key = self.key(oid, stored)
            if key is not None:
                yield oid, key

    def key(self, oid: Oid, stored: StoredVersion) -> bytes | None:
        """Return the key of one version; None: it is not in the index."""
        if stored.number not in self._faces:
            self._faces[stored.number] = self._face(self._scan.class_of(stored))
        face = self._faces[stored.number]
        if face is None:
            return None
        obj = self._scan.object_of(oid, stored)
        ref = ref_of(obj)
        assert ref is not None
        state = self._scan.graph.states.decode(stored, ref)
        if DISCARDED not in state:
            self.seen += 1
        return self._definition.key(face, oid, state)

    def _face(self, number: int) -> Any:
        graph = self._scan.graph
        face = graph.classes.load(number)
        if not (isinstance(face, type) and issubclass(face, Persistent)):
            module, name = graph.storage.names.class_name(number) or ("", "")
            raise UnloadedClassError(module, name, graph.classes.reason(number))
        return face if self._definition.is_of(face) else None
