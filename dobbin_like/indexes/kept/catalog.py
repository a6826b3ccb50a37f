"""The indexes of a database as they are stored: ordinary objects that the root leads to."""

from __future__ import annotations

from collections.abc import Iterator

from dobbin_like.collections.btree.tree import keys_of
from dobbin_like.collections.btree.tree_set import BTreeSet
from dobbin_like.collections.btree.walk import Bounds
from dobbin_like.ids import INDEXES, ROOT_OID, Oid
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.objects.faces.broken import Broken
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.values.refs import ref_of

_OID_SIZE = 8


def entry_of(key: bytes, oid: int) -> bytes:
    """Return the entry of an object: its key, then its oid."""
    return key + oid.to_bytes(_OID_SIZE, "big")


def oid_of(entry: bytes) -> Oid:
    """Return the oid of an entry."""
    return Oid(int.from_bytes(entry[-_OID_SIZE:], "big"))


def key_of(entry: bytes) -> bytes:
    """Return the key of an entry."""
    return entry[:-_OID_SIZE]


class IndexEntries(BTreeSet[bytes]):
    """The entries of one index, in order."""

    __module__ = "dobbin_like.indexes"  # The name that logs have for it.
    _p_derived = True

    def span(self, low: bytes, high: bytes, *, backward: bool = False) -> Iterator[bytes]:
        """Iterate over the entries from *low* up to *high*, which is not among them."""
        if not low < high:
            return iter(())
        return self._stream(keys_of, Bounds(low, True, high, False), backward=backward)


class Index(Persistent):
    """One definition, and the entries. It never changes, but for the entries.

    ``class_number`` finds the class after it was renamed; 0: no object of it was stored then.
    ``function`` is ``(module, qualname)``, None for an index over attributes. ``version`` is the
    ``_p_version`` that the class had.
    """

    __module__ = "dobbin_like.indexes"  # The name that logs have for it.
    _p_derived = True

    def __init__(
        self,
        class_name: tuple[str, str],
        class_number: int,
        names: tuple[str, ...],
        function: tuple[str, str] | None,
        unique: bool,
        version: int,
        entries: IndexEntries,
    ) -> None:
        self.class_name = class_name
        self.class_number = class_number
        self.names = names
        self.function = function
        self.unique = unique
        self.version = version
        self.entries = entries


class Catalog(Persistent):
    """All indexes of a database, by class and what they are over."""

    __module__ = "dobbin_like.indexes"  # The name that logs have for it.
    _p_derived = True

    def __init__(self) -> None:
        self.indexes: dict[tuple[tuple[str, str], tuple[str, ...]], Index] = {}


def catalog_of(graph: Graph, view: View | None) -> Catalog | None:
    """Return the catalog as *view* sees it, or the newest one; None: there is none."""
    snapshot = None if view is None else view.tid
    root = graph.ghosts.get(ROOT_OID, snapshot)
    if root is None:
        return None
    if issubclass(type(root)._p_faces.plain, Broken):
        stored = graph.storage.load(ROOT_OID, snapshot)
        state = {} if stored is None else graph.states.read(ROOT_OID, stored)
    else:
        ref = ref_of(root)
        assert ref is not None
        state = graph.resolver.version(root, ref, view)[1]
    return state.get(INDEXES)
