"""The objects of one database instance in memory: the jar that their faces ask.

A tower of one class, each floor a file: what is shared and how it changes
(:mod:`.publication`), objects by their oids (:mod:`.ghosts`), their states as the log has them
(:mod:`.state_source`), what the calling thread sees of them (:mod:`.resolve`), and, here, its
working copies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dobbin_like.ids import Tid
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.faces.working_copy import WorkingCopy
from dobbin_like.contract import Storage
from dobbin_like.objects.graph.resolve import VisibleStates
from dobbin_like.objects.values.refs import ObjectRef, State, native_dict

if TYPE_CHECKING:
    from collections.abc import Callable


class Graph(VisibleStates):
    """The object graph of one database instance. Any thread."""

    def __init__(self, database: Any, source: Storage, classes: ClassTable, *, guard: bool) -> None:
        super().__init__(source, classes, guard=guard)
        # Set once.
        self.database = database
        self.enlist: Callable[[], View]

    def checkout(self, obj: Any, ref: ObjectRef, *, exclusive: bool = False) -> None:
        """Give the calling thread a working copy of the version it sees."""
        view = self.enlist()
        known = view.working.get(id(obj))
        if known is None or view.memo.get(id(obj)) is not known:
            self._checkout_visible(view, obj, ref)
        if exclusive:
            view.working[id(obj)].exclusive = True

    def _checkout_visible(self, view: View, obj: Any, ref: ObjectRef) -> None:
        with self.lock:
            if ref.mask is None and type(obj) is type(obj)._p_faces.plain:
                self._add_working_copy(view, obj, ref, ref.serial, native_dict(obj))
                return
        serial, base = self.version(obj, ref, view)
        with self.lock:
            self._add_working_copy(view, obj, ref, serial, base)

    def _add_working_copy(
        self, view: View, obj: Any, ref: ObjectRef, serial: Tid, base: State
    ) -> None:
        faces = type(obj)._p_faces
        if not faces.volatile.isdisjoint(base):
            base = {name: value for name, value in base.items() if name not in faces.volatile}
        working = WorkingCopy(obj, ref, serial, base)
        # The view knows first: it gives back what it holds, whatever happens.
        view.working[id(obj)] = working
        self._mask(obj, ref, None).holders.add(id(view))
        view.memo[id(obj)] = working
