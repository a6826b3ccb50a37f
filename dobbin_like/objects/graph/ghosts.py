"""The objects of one database instance by their oids: each is in memory once (I7).

What is not in memory yet is made as a ghost, of the class that the log knows it by; its
state comes when somebody touches it. Knows the storage only by its contract.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dobbin_like.ids import DELTA, Oid, Tid
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.serialize import Decoder
from dobbin_like.objects.faces.broken import Broken
from dobbin_like.objects.graph.publication import SharedState
from dobbin_like.objects.values.refs import UNREAD, UNSTORED, Jar, ObjectRef
from dobbin_like.objects.values.shapes import Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dobbin_like.contract import Storage, StoredVersion


class Ghosts(SharedState, Jar):
    """Shared state whose objects come from a source. Any thread.

    It is their jar; what they ask for is answered by the classes that are built on this one.
    """

    def __init__(self, source: Storage, classes: ClassTable) -> None:
        super().__init__()
        # Set once.
        self.source = source
        self.classes = classes
        self._shapes = classes.known_shapes
        # By class number: the classes of ghosts that are loaded for good.
        self._ghosts: dict[int, type] = {}
        self._decoder = Decoder.of(self.ghost, classes, self._known_reference())

    def ghost(self, oid: Oid, class_number: int) -> Any:
        """Return the object with *oid*, a ghost if it is not in memory yet (I7)."""
        ref = self._cache.get(oid)
        if ref is not None:
            obj = ref()
            if obj is not None:
                return obj
        return self._make(oid, self._ghosts.get(class_number) or self._ghost_class(class_number))

    def _make(self, oid: Oid, ghost: type) -> Any:
        """Return a new ghost, or the object that somebody else has made meanwhile."""
        obj: Any = object.__new__(ghost)
        ref = ObjectRef(obj, self.forget)  # As make_ref() does, without a call.
        ref.oid = oid
        ref.jar = self
        ref.serial = UNREAD
        ref.mask = None
        other = self._cache.setdefault(oid, ref)
        if other is ref:
            return obj
        with self.lock:  # somebody was faster, or the one before has just died
            # Whoever comes without the lock only adds; entries are replaced and taken out here.
            other = self._cache.setdefault(oid, ref)
            first = other()
            if first is not None:
                return first
            self._cache[oid] = ref
        return obj

    def _known_reference(self) -> Callable[[Any, Any], Any]:
        """Return a method of decoders: :meth:`ghost` for classes that are loaded already.

        Most of what states lead to are such references; a call less for each can be seen.
        """
        cached, ghosts, make = self._cache.get, self._ghosts, self._make
        keep, forget, new = self._cache.setdefault, self.forget, object.__new__
        resolve = Decoder.persistent_load

        def persistent_load(decoder: Any, pid: Any) -> Any:
            try:
                oid, class_number = pid
                ghost = ghosts[class_number]
            except (KeyError, TypeError, ValueError):  # a class, a member, or a new class
                return resolve(decoder, pid)
            ref = cached(oid)
            if ref is not None:
                obj = ref()
                if obj is not None:
                    return obj
            obj = new(ghost)
            made = ObjectRef(obj, forget)  # As _make() does, without a call.
            made.oid = oid
            made.jar = self
            made.serial = UNREAD
            made.mask = None
            return obj if keep(oid, made) is made else make(oid, ghost)

        return persistent_load

    def _ghost_class(self, class_number: int) -> type:
        while True:
            plain = self.classes.load_persistent(class_number)
            faces = plain._p_faces
            ghost: type = faces.ghost or faces.make_ghost()
            if issubclass(plain, Broken):  # asked again: its class may be there by then
                return ghost
            self._ghosts[class_number] = ghost
            if self.classes.load_persistent(class_number) is plain:
                return ghost
            # Renamed meanwhile: follow() may have come before.

    def follow(self, numbers: Iterable[int]) -> None:
        """Class *numbers* may have got other names; called after the source has applied it."""
        self.classes.follow(numbers)
        for number in numbers:
            self._ghosts.pop(number, None)

    def number_of(self, face: Any, ref: ObjectRef) -> int:
        """Return the number under which an object of class *face* is stored."""
        classes = self.classes
        if ref.serial != UNSTORED and classes.is_ambiguous(face):
            stored = self.source.load(ref.oid)  # what it is by now, whatever it is here
            if stored is not None:
                return self.class_of(stored)
        return classes.known_numbers.get(face) or classes.number(face)

    def class_of(self, stored: StoredVersion) -> int:
        """Return the number of the class of a stored version."""
        if stored.number & DELTA:
            return stored.number - DELTA
        shape = self._shape(stored.number)
        return stored.number if shape is None else shape.class_number

    def _shape(self, number: int) -> Shape | None:
        return self._shapes.get(number) or self.classes.shape(number)

    def get(self, oid: Oid, snapshot: Tid | None) -> Any:
        """Return the object with *oid*, or ``None`` if it is not in *snapshot* (or at all)."""
        ref = self._cache.get(oid)
        obj = None if ref is None else ref()
        if obj is not None and ref is not None:
            newest = snapshot is None or ref.serial <= snapshot
            if newest and ref.serial > UNREAD:
                return obj
        stored = self.source.load(oid, snapshot)
        return None if stored is None else self.ghost(oid, self.class_of(stored))
