"""Reading everything that can be reached from the root, at once.

Reads one generation of references after the other, each in the order of the file, and keeps
nothing: objects stay in memory because the objects that refer to them do.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from dobbin_like.contract import is_packed, reading_ahead
from dobbin_like.exc import ClosedError, Error
from dobbin_like.ids import Oid
from dobbin_like.mistaken.arguments import check_callables
from dobbin_like.objects.codec.references import references
from dobbin_like.objects.codec.serialize import ATOMS
from dobbin_like.objects.faces.broken import Broken
from dobbin_like.objects.values.refs import UNSTORED, ObjectRef, State, native_dict, ref_of
from dobbin_like.objects.values.value_kinds import BYTEARRAY, DICT, KINDS, OTHER, REFERENCE
from dobbin_like.processes.collector import without_collections
from dobbin_like.store import Progress, Store

_logger = logging.getLogger(__name__)

_BETWEEN_REPORTS: Final = 1000
"""Objects; reading them takes some milliseconds."""


def preload(store: Store, progress: Progress | None = None) -> int:
    """Read all objects of this thread's snapshot at once; return how many there are.

    For programs that will need them all, and for servers that fork workers afterwards, which
    then share the memory. What can't be reached from the root is not read. An object that can't
    be read, because it is damaged or its migration fails, is skipped with a warning; using it
    raises the error. One whose class is missing is skipped, too, and what only they lead to.

    Others may read and commit meanwhile. The garbage collector is off, for the whole process.
    May be interrupted and run again at any time. *progress* is called with the number of objects
    read, and of all stored objects.

    Cost: Reading every object once, in the order of the file as far as references
    allow, from a server many at once; a byte of memory for each oid beside the objects.
    """
    check_callables(progress=progress)
    root = store.get_root()
    if root is None:
        return 0
    walk = _Walk(store, progress)
    without_collections(lambda: walk.run(root))
    return walk.done


class _Walk:
    def __init__(self, store: Store, progress: Progress | None) -> None:
        self._graph = store.graph
        self._storage = store.storage
        self._view = store.graph.resolver.active_view()
        self._report = progress or (lambda _done, _total: None)
        self._known = bytearray(store.storage.next_oid)  # 1 for each oid that was found
        self._found: list[ObjectRef] = []  # those that were not read yet
        self._failed = 0
        self.done = 0

    def run(self, root: Any) -> None:
        place_of = self._storage.place_of if is_packed(self._storage) else None
        total = self._storage.oid_count
        self._add(root)
        while self._found:
            entries, self._found = self._found, []
            if place_of is not None and len(entries) > 1:
                entries.sort(key=lambda ref: place_of(ref.oid))
            refs = {ref.oid: ref for ref in entries}
            for oid in reading_ahead(self._storage, refs, lambda oid: _is_ghost(refs[oid])):  # noqa: B023
                ref = refs[oid]
                obj = ref()
                if obj is not None:  # Another thread may have made it unreachable.
                    self._read(obj, ref)
                    if not self.done % _BETWEEN_REPORTS:
                        self._report(self.done, total)
        self._report(self.done, total)
        if self._failed:
            text = "%s: %d objects could not be read; using one raises the error"
            _logger.warning(text, self._storage.path, self._failed)

    def _read(self, obj: Any, ref: ObjectRef) -> None:
        try:
            if not self._follow(tuple(self._state(obj, ref).values())):
                self._follow_stored(ref)
            self.done += 1
        except ClosedError:
            raise
        except Error as error:
            if issubclass(type(obj)._p_faces.plain, Broken):
                return
            if not self._failed:
                text = "%s: the object with oid %d can't be read: %s"
                _logger.warning(text, self._storage.path, ref.oid, error)
            self._failed += 1

    def _state(self, obj: Any, ref: ObjectRef) -> State:
        """Return the state that the thread sees of an object."""
        faces = type(obj)._p_faces
        fresh = type(obj) is faces.ghost
        if fresh:
            self._graph.load(obj, ref)
            faces = type(obj)._p_faces  # It may be of a class that was renamed.
        # The class after the dict: while we have a snapshot, nobody replaces what a plain
        # object shows without masking it before.
        state = native_dict(obj)
        if type(obj) is not faces.plain:
            state = self._graph.resolver.version(obj, ref, self._view)[1]
        return state if fresh else faces.state_of(state)

    def _follow(self, values: tuple[Any, ...]) -> bool:
        """Find what values refer to; return False if they don't show it."""
        groups = [values]
        seen: set[int] = set()  # values may hold themselves
        while groups:
            for value in groups.pop():
                cls = type(value)
                if cls in ATOMS:
                    continue
                kind = KINDS[cls]
                if kind == REFERENCE:
                    self._add(value)
                elif kind == OTHER or getattr(cls, "_p_immutable", False):
                    return False  # an instance of any class, or its stand-in
                elif kind > REFERENCE and kind != BYTEARRAY and id(value) not in seen:
                    seen.add(id(value))
                    groups.append(tuple(value))
                    if kind == DICT:
                        groups.append(tuple(value.values()))
        return True

    def _follow_stored(self, ref: ObjectRef) -> None:
        """Find what a stored state refers to: its values may refer to anything by now."""
        at = None if self._view is None else self._view.tid
        stored = self._storage.load(ref.oid, at)
        for oid, _ in [] if stored is None else references(stored.data):
            target = self._graph.cache.get(Oid(oid))
            if target is not None:
                self._add_entry(target)

    def _add(self, obj: Any) -> None:
        ref = ref_of(obj)
        if ref is not None and ref.serial != UNSTORED:
            self._add_entry(ref)

    def _add_entry(self, ref: ObjectRef) -> None:
        known, oid = self._known, ref.oid
        if oid < len(known) and not known[oid]:
            known[oid] = 1
            self._found.append(ref)


def _is_ghost(ref: ObjectRef) -> bool:
    obj = ref()
    return obj is not None and type(obj) is type(obj)._p_faces.ghost
