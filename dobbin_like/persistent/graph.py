"""The objects of one database instance in memory: the jar that their faces ask.

A tower of one class, each floor a file: what is shared and how it changes
(:mod:`.shared`), objects by their oids (:mod:`.ghosts`), their states as the log has them
(:mod:`.stored`), what the calling thread sees of them (:mod:`.visible`), and, here, its
working copies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dobbin_like.ids import Tid
from dobbin_like.persistent.classes import ClassTable
from dobbin_like.persistent.entry import Entry, State, native_dict
from dobbin_like.persistent.ghosts import Source
from dobbin_like.persistent.view import View, WorkingCopy
from dobbin_like.persistent.visible import VisibleStates

if TYPE_CHECKING:
    from collections.abc import Callable


class Graph(VisibleStates):
    """The object graph of one database instance. Any thread."""

    def __init__(self, database: Any, source: Source, classes: ClassTable, *, guard: bool) -> None:
        super().__init__(source, classes, guard=guard)
        # Set once.
        self.database = database
        self.enlist: Callable[[], View]

    def checkout(self, obj: Any, entry: Entry, *, exclusive: bool = False) -> None:
        """Give the calling thread a working copy of the version it sees."""
        view = self.enlist()
        known = view.working.get(id(obj))
        if known is None or view.memo.get(id(obj)) is not known:
            self._check_out(view, obj, entry)
        if exclusive:
            view.working[id(obj)].exclusive = True

    def _check_out(self, view: View, obj: Any, entry: Entry) -> None:
        with self.lock:
            if entry.mask is None and type(obj) is type(obj)._p_faces.plain:
                self._checkout(view, obj, entry, entry.serial, native_dict(obj))
                return
        serial, base = self.version(obj, entry, view)
        with self.lock:
            self._checkout(view, obj, entry, serial, base)

    def _checkout(self, view: View, obj: Any, entry: Entry, serial: Tid, base: State) -> None:
        faces = type(obj)._p_faces
        if not faces.volatile.isdisjoint(base):
            base = {name: value for name, value in base.items() if name not in faces.volatile}
        working = WorkingCopy(obj, entry, serial, base)
        # The view knows first: it gives back what it holds, whatever happens.
        view.working[id(obj)] = working
        self._mask(obj, entry, None).holders.add(id(view))
        view.memo[id(obj)] = working
