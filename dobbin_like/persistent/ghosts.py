"""The objects of one database instance by their oids: each is in memory once (I7).

What is not in memory yet is made as a ghost, of the class that the log knows it by; its
state comes when somebody touches it. Knows the log only as a :class:`Source` of bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from dobbin_like.ids import DELTA, Oid, Tid
from dobbin_like.persistent.broken import Broken
from dobbin_like.persistent.classes import ClassTable
from dobbin_like.persistent.entry import UNREAD, UNSTORED, Entry, Jar
from dobbin_like.persistent.serialize import Decoder
from dobbin_like.persistent.shapes import Shape
from dobbin_like.persistent.shared import SharedState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class StoredState(Protocol):
    """One version of one object as a storage gives it."""

    @property
    def tid(self) -> Tid: ...
    @property
    def number(self) -> int: ...
    @property
    def data(self) -> bytes: ...
    @property
    def position(self) -> int: ...


class Source(Protocol):
    """Where states come from."""

    path: str

    def load(self, oid: Oid, at: Tid | None = None) -> StoredState | None: ...

    def has(self, oid: Oid) -> bool: ...

    def transactions(self, since: Tid) -> Iterator[Any]: ...

    def version_before(self, oid: Oid, stored: Any) -> StoredState | None: ...


class Ghosts(SharedState, Jar):
    """Shared state whose objects come from a source. Any thread.

    It is their jar; what they ask for is answered by the classes that are built on this one.
    """

    def __init__(self, source: Source, classes: ClassTable) -> None:
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
        entry = self._cache.get(oid)
        if entry is not None:
            obj = entry()
            if obj is not None:
                return obj
        return self._make(oid, self._ghosts.get(class_number) or self._ghost_class(class_number))

    def _make(self, oid: Oid, ghost: type) -> Any:
        """Return a new ghost, or the object that somebody else has made meanwhile."""
        obj: Any = object.__new__(ghost)
        entry = Entry(obj, self.forget)  # As make_entry() does, without a call.
        entry.oid = oid
        entry.jar = self
        entry.serial = UNREAD
        entry.mask = None
        other = self._cache.setdefault(oid, entry)
        if other is entry:
            return obj
        with self.lock:  # somebody was faster, or the one before has just died
            # Whoever comes without the lock only adds; entries are replaced and taken out here.
            other = self._cache.setdefault(oid, entry)
            first = other()
            if first is not None:
                return first
            self._cache[oid] = entry
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
            entry = cached(oid)
            if entry is not None:
                obj = entry()
                if obj is not None:
                    return obj
            obj = new(ghost)
            made = Entry(obj, forget)  # As _make() does, without a call.
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

    def number_of(self, face: Any, entry: Entry) -> int:
        """Return the number under which an object of class *face* is stored."""
        classes = self.classes
        if entry.serial != UNSTORED and classes.is_ambiguous(face):
            stored = self.source.load(entry.oid)  # what it is by now, whatever it is here
            if stored is not None:
                return self.class_of(stored)
        return classes.known_numbers.get(face) or classes.number(face)

    def class_of(self, stored: StoredState) -> int:
        """Return the number of the class of a stored version."""
        if stored.number & DELTA:
            return stored.number - DELTA
        shape = self._shape(stored.number)
        return stored.number if shape is None else shape.class_number

    def _shape(self, number: int) -> Shape | None:
        return self._shapes.get(number) or self.classes.shape(number)

    def get(self, oid: Oid, snapshot: Tid | None) -> Any:
        """Return the object with *oid*, or ``None`` if it is not in *snapshot* (or at all)."""
        entry = self._cache.get(oid)
        obj = None if entry is None else entry()
        if obj is not None and entry is not None:
            newest = snapshot is None or entry.serial <= snapshot
            if newest and entry.serial > UNREAD:
                return obj
        stored = self.source.load(oid, snapshot)
        return None if stored is None else self.ghost(oid, self.class_of(stored))
