"""Objects by their oids: what is not in memory yet is made as a ghost.

A ghost has the class that the storage knows the object by; its state is read when somebody
touches it. Knows the storage only by its contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dobbin_like.contract import Storage, StoredVersion
from dobbin_like.ids import DELTA, Oid, Tid
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.serialize import Decoder
from dobbin_like.objects.faces.broken import Broken
from dobbin_like.objects.graph.cache import Cache
from dobbin_like.objects.graph.publication import SharedState
from dobbin_like.objects.values.refs import UNREAD, UNSTORED, Jar, ObjectRef
from dobbin_like.objects.values.shapes import Shape
from dobbin_like.processes.threaded_dict import ThreadedDict


class Ghosts:
    """Makes the objects of one jar, each once (I7). Any thread."""

    def __init__(
        self, jar: Jar, storage: Storage, classes: ClassTable, cache: Cache, shared: SharedState
    ) -> None:
        self._jar = jar
        self._storage = storage
        self.classes = classes
        self._cache = cache
        self._shared = shared
        self._shapes = classes.known_shapes
        # By class number: the classes of ghosts that are loaded for good.
        self.faces: dict[int, type] = ThreadedDict()

    def ghost(self, oid: Oid, class_number: int) -> Any:
        """Return the object with *oid*, a ghost if it is not in memory yet (I7)."""
        ref = self._cache.refs.get(oid)
        if ref is not None:
            obj = ref()
            if obj is not None:
                return obj
        return self._make(oid, self.faces.get(class_number) or self.face(class_number))

    def _make(self, oid: Oid, face: type) -> Any:
        """Return a new ghost, or the object that another thread has made meanwhile."""
        obj: Any = object.__new__(face)
        ref = ObjectRef(obj, self._cache.forget)  # As make_ref() does, without a call.
        ref.oid = oid
        ref.jar = self._jar
        ref.serial = UNREAD
        ref.mask = None
        refs = self._cache.refs
        other = refs.setdefault(oid, ref)
        if other is ref:
            return obj
        with self._shared.lock:  # another thread was faster, or the object has just died
            # Without the lock refs are only added; they are replaced and removed here.
            other = refs.setdefault(oid, ref)
            first = other()
            if first is not None:
                return first
            refs[oid] = ref
        return obj

    def decoder(self) -> Callable[[Any], Any]:
        """Return a class of decoders that make ghosts of references; see :meth:`Decoder.of`.

        Most of what states lead to are references to objects whose class is loaded already; a
        call less for each can be measured.
        """
        cached, faces, make = self._cache.refs.get, self.faces, self._make
        keep, forget, new = self._cache.refs.setdefault, self._cache.forget, object.__new__
        resolve, jar = Decoder.persistent_load, self._jar

        def persistent_load(decoder: Any, pid: Any) -> Any:
            try:
                oid, class_number = pid
                face = faces[class_number]
            except (KeyError, TypeError, ValueError):  # a class, a member, or a new class
                return resolve(decoder, pid)
            several = type(oid) is tuple
            if several:  # Mostly, all of them are in memory.
                here = [
                    obj
                    for ref in map(cached, oid)
                    if ref is not None and (obj := ref()) is not None
                ]
                if len(here) == len(oid):
                    return here
            found = []
            for one in oid if several else (oid,):
                ref = cached(one)
                obj = None if ref is None else ref()
                if obj is None:
                    obj = new(face)
                    made = ObjectRef(obj, forget)  # As _make() does, without a call.
                    made.oid = one
                    made.jar = jar
                    made.serial = UNREAD
                    made.mask = None
                    if keep(one, made) is not made:
                        obj = make(one, face)
                found.append(obj)
            return found if several else obj

        return Decoder.of(self.ghost, self.classes, persistent_load)

    def face(self, class_number: int) -> type:
        while True:
            plain = self.classes.load_persistent(class_number)
            faces = plain._p_faces
            ghost: type = faces.ghost or faces.make_ghost()
            if issubclass(plain, Broken):  # asked again: its class may be there by then
                return ghost
            self.faces[class_number] = ghost
            if self.classes.load_persistent(class_number) is plain:
                return ghost
            # Renamed meanwhile: follow() may have come before.

    def follow(self, numbers: Iterable[int]) -> None:
        """See :meth:`.ClassTable.follow`."""
        self.classes.follow(numbers)
        for number in numbers:
            self.faces.pop(number, None)

    def number_of(self, face: Any, ref: ObjectRef) -> int:
        """Return the number under which an object of class *face* is stored."""
        classes = self.classes
        if ref.serial != UNSTORED and face in classes.ambiguous:
            stored = self._storage.load(ref.oid)  # what it is by now, whatever it is here
            if stored is not None:
                return self.class_of(stored)
        known = classes.known_numbers.get(face)
        if known is not None:
            return known
        number = classes.number(face)
        self.faces.pop(number, None)  # Of a class that had its name before a reload.
        return number

    def class_of(self, stored: StoredVersion) -> int:
        if stored.number & DELTA:
            return stored.number - DELTA
        shape = self.shape(stored.number)
        return stored.number if shape is None else shape.class_number

    def shape(self, number: int) -> Shape | None:
        """Return a shape by its number; ``None``: *number* is of a class, or of a delta."""
        return self._shapes.get(number) or self.classes.shape(number)

    def get(self, oid: Oid, snapshot: Tid | None) -> Any:
        """Return the object with *oid*, or ``None`` if it is not in *snapshot* (or at all)."""
        ref = self._cache.refs.get(oid)
        obj = None if ref is None else ref()
        if obj is not None and ref is not None:
            newest = snapshot is None or ref.serial <= snapshot
            if newest and ref.serial > UNREAD:
                return obj
        stored = self._storage.load(oid, snapshot)
        return None if stored is None else self.ghost(oid, self.class_of(stored))
