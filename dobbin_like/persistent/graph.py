"""The objects of one database instance in memory: ghosts, loading, who sees what.

Answers the faces of the objects: reads the state of a ghost, resolves what
the calling thread sees of a masked object, makes working copies. What is
shared and how it changes: :mod:`.shared`. Knows the log only as a
:class:`Source` of bytes.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol

from dobbin_like.exc import IntegrityError, ObjectNotFound, UnloadedClassError
from dobbin_like.ids import DELTA, NO_TID, ROOT_OID, Oid, Tid
from dobbin_like.persistent.base import Persistent
from dobbin_like.persistent.broken import Broken
from dobbin_like.persistent.classes import ClassTable
from dobbin_like.persistent.delta import (
    ITEMS,
    Delta,
    DeltaChain,
    MissingBaseError,
    apply_delta,
    chain_of,
)
from dobbin_like.persistent.entry import (
    UNREAD,
    UNSTORED,
    Entry,
    Mask,
    State,
    native_dict,
    set_native_dict,
    swap_class,
)
from dobbin_like.persistent.kinds import KINDS, REFERENCE, SHAREABLE
from dobbin_like.persistent.layered import DELTA_TYPES, changed_items, mark_stored
from dobbin_like.persistent.serialize import Decoder, StateError
from dobbin_like.persistent.shapes import Shape
from dobbin_like.persistent.shared import SharedState
from dobbin_like.persistent.values import Freezer, frozen
from dobbin_like.persistent.versions import VERSION, split_version, upgrade
from dobbin_like.persistent.view import View, WorkingCopy, visible_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


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

    def version_before(self, oid: Oid, stored: Any) -> StoredState | None: ...


class Graph(SharedState):
    """The object graph of one database instance. Any thread."""

    def __init__(self, database: Any, source: Source, classes: ClassTable, *, guard: bool) -> None:
        super().__init__()
        # Set once.
        self.database = database
        self.source = source
        self.classes = classes
        self.guard = guard
        self.enlist: Callable[[], View]
        self._shapes = classes.known_shapes
        # By class number: the classes of ghosts that are loaded for good.
        self._ghosts: dict[int, type] = {}
        self._decoder = Decoder.of(self.ghost, classes, self._known_reference())

    # -- objects ------------------------------------------------------------

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

    def decode(self, stored: StoredState, entry: Entry) -> State:
        """Return the state that *stored* holds, of the version of the class, fit to be shared.

        Raises:
            IntegrityError: The bytes hold no state of that class or shape.
        """
        plain = _plain_of(entry)
        return self._decode(stored, self._shape(stored.number), entry, plain)

    def _decode(self, stored: StoredState, shape: Shape | None, entry: Entry, plain: Any) -> State:
        if stored.number & DELTA:
            return self._decode_deltas(stored, entry, plain)
        try:
            state: State = self._decoder(BytesIO(stored.data)).state(shape)
        except StateError as error:
            raise self._damaged(stored, error) from None
        if plain._p_version or VERSION in state:
            state = upgrade(plain, entry.oid, state)
        if SHAREABLE.issuperset(map(type, state.values())):
            return state
        state = self.share(state, entry)
        if plain._p_deltas:
            mark_stored(state, stored.tid, len(stored.data))
        return state

    def read(self, oid: Oid, stored: StoredState) -> State:
        """Return the state that *stored* holds as it was stored, with its version.

        Raises:
            IntegrityError: The bytes hold no state of that class or shape, or a delta of a
                version that is not there.

        Cost: the state; of a large collection, that and the deltas since it was stored whole.
        """
        if stored.number & DELTA:
            return self._whole(stored, self._chain(oid, stored, NO_TID))
        try:
            state: State = self._decoder(BytesIO(stored.data)).state(self._shape(stored.number))
        except StateError as error:
            raise self._damaged(stored, error) from None
        return state

    def _decode_deltas(self, stored: StoredState, entry: Entry, plain: Any) -> State:
        """Return the state of a large collection, fit to be shared.

        If an earlier version is in memory, only what was changed since is read.
        """
        obj = entry()
        before: State = {} if obj is None else native_dict(obj)
        items: Any = before.get(ITEMS)
        known = items._p_serial if type(items) in DELTA_TYPES else NO_TID
        chain = self._chain(entry.oid, stored, NO_TID if plain._p_version else known)
        if chain.base is None:
            spare = items._p_spare - chain.weight
            freezer = Freezer(entry, guard=self.guard)
            for _, gone, put in chain.deltas:
                present = [key for key in gone if key in items]
                items = changed_items(items, present, frozen(put, freezer.freeze))
            state = {**before, ITEMS: items}
        else:
            state = self._whole(stored, chain)
            if plain._p_version or VERSION in state:
                state = upgrade(plain, entry.oid, state)
            spare = len(chain.base.data) - chain.weight
            state = self.share(state, entry)
        mark_stored(state, stored.tid, spare)
        return state

    def _chain(self, oid: Oid, stored: StoredState, known: Tid) -> DeltaChain:
        try:
            return chain_of(oid, stored, self._delta, self.source.version_before, known)
        except MissingBaseError as error:
            path, expected = self.source.path, "the version before"
            raise IntegrityError(path, stored.position, str(error), expected) from None

    def _delta(self, stored: StoredState) -> Delta:
        try:
            return self._decoder(BytesIO(stored.data)).delta()  # type: ignore[no-any-return]
        except StateError as error:
            raise self._damaged(stored, error) from None

    def _whole(self, stored: StoredState, chain: DeltaChain) -> State:
        state = self.read(ROOT_OID, chain.base)
        try:
            for delta in chain.deltas:
                apply_delta(state.get(ITEMS), delta)
        except TypeError as error:
            path, expected = self.source.path, "one of the collection before it"
            raise IntegrityError(path, stored.position, str(error), expected) from None
        return state

    def _damaged(self, stored: StoredState, error: StateError) -> IntegrityError:
        what = f"a state that is a {error.found}"
        return IntegrityError(self.source.path, stored.position, what, error.expected)

    def fresh(self, entry: Entry, serial: Tid) -> State:
        """Return the state that *serial* has written, a copy of the caller's own."""
        stored = self.source.load(entry.oid, serial)
        if stored is None:
            raise ObjectNotFound(entry.oid)
        state = self.read(entry.oid, stored)
        plain = _plain_of(entry)
        if plain._p_version or VERSION in state:
            return upgrade(plain, entry.oid, state)
        return state

    def share(self, state: State, entry: Entry) -> State:
        """Make *state*, which nobody else has, fit to be shared; return it."""
        freezer = Freezer(entry, guard=self.guard)
        for name, value in state.items():
            if KINDS[type(value)] > REFERENCE:
                state[name] = freezer.freeze(value)
        freezer.finish()
        return state

    # -- the jar of an object (what its faces ask for) ----------------------

    def load(self, obj: Any, entry: Entry) -> None:
        """Read the newest state of a ghost; with older views about, it becomes masked."""
        horizon = self.horizon
        while True:
            faces = type(obj)._p_faces
            if type(obj) is not faces.ghost:
                return
            serial = entry.serial
            stored = self.source.load(entry.oid)
            if stored is None:
                raise ObjectNotFound(entry.oid)
            shape = self._shapes.get(stored.number) or self._shape(stored.number)
            # As class_of() does, without a call.
            number = shape.class_number if shape else stored.number & ~DELTA
            if self._ghosts.get(number) is not faces.ghost and self._is_other(obj, faces, number):
                continue
            state = self._decode(stored, shape, entry, faces.plain)
            with self.lock:
                if type(obj) is not faces.ghost:
                    return
                if entry.serial != serial:  # changed while it was read
                    continue
                tid = stored.tid
                set_native_dict(obj, state)
                entry.serial = tid
                if tid <= horizon.floor or not horizon.has_older(tid):
                    swap_class(obj, faces.plain)
                    return
                # First: an interrupt must not leave a mask that nobody takes off.
                self._unmask_later(tid, [obj])
                self._mask(obj, entry, ((tid, state),)).foreign = True
                return

    def _is_other(self, obj: Any, faces: Any, class_number: int) -> bool:
        """Give a ghost the class it is stored as, if that is another one.

        So it is when the class was renamed, or has come for a broken object.
        """
        ghost = self._ghost_class(class_number)
        if issubclass(ghost, Broken):
            if not issubclass(faces.plain, Broken):
                return False
            reason = self.classes.reason(class_number)
            if reason:
                raise UnloadedClassError(*ghost._p_name, reason)
            return True  # it has come this very moment
        if ghost is faces.ghost:
            return False
        with self.lock:
            if type(obj) is faces.ghost:
                swap_class(obj, ghost)
        return True

    def broken_state(self, entry: Entry, class_number: int) -> tuple[State, str]:
        """Return what is stored of a broken object, and why its class is not loaded.

        The version that the calling thread sees, read anew each time.
        """
        stored = self._stored_version(entry)
        _, state = split_version(self.read(entry.oid, stored))
        return self.share(state, entry), self.classes.reason(class_number)

    def _stored_version(self, entry: Entry) -> StoredState:
        view = self.active_view()
        stored = None if view is None else self.source.load(entry.oid, view.tid)
        # A snapshot older than the object: it was handed to its thread by another one.
        stored = stored or self.source.load(entry.oid)
        if stored is None:
            raise ObjectNotFound(entry.oid)
        return stored

    def visible(self, obj: Any, entry: Entry) -> State | None:
        """Return what the calling thread sees of a masked object; ``None``: not masked."""
        while True:
            mask = entry.mask
            if mask is None:
                return None
            view = self.active_view()
            chain = mask.chain
            if chain is None:
                state: State | None = native_dict(obj)
                # A publication sets the chain before it swaps the dict.
                if entry.mask is not mask or mask.chain is not None:
                    continue
            else:
                version = chain[0] if view is None else visible_version(chain, view.tid)
                if version is None:
                    self._read_older(entry, mask, view.tid)  # type: ignore[union-attr]
                    continue
                state = version[1]
                if state is None:
                    self._read_version(obj, entry, mask, version[0])
                    continue
            if view is not None and state is not None:
                view.remember(obj, state)
            return state

    def _read_version(self, obj: Any, entry: Entry, mask: Mask, tid: Tid) -> None:
        """Read a version that stands in the chain unread."""
        state = self._stored_state(entry, tid)
        if state is None:
            raise ObjectNotFound(entry.oid)
        with self.lock:
            chain = mask.chain
            if entry.mask is mask and chain is not None:
                # The dict first: nobody reads it while there is a chain, and a chain whose
                # newest state is there says that the dict may be shown.
                if chain[0][0] == tid and chain[0][1] is None:
                    set_native_dict(obj, state)
                mask.chain = tuple((t, state if t == tid and s is None else s) for t, s in chain)

    def _read_older(self, entry: Entry, mask: Mask, snapshot: Tid) -> None:
        """Add the version that *snapshot* sees behind those in the chain.

        And those that other views see between: a version that is missing there
        would be taken for the one before it. A snapshot older than the object
        sees the oldest version: the object was handed to its thread by another one.
        """
        with self.lock:
            chain = mask.chain
            if entry.mask is not mask or chain is None:
                return
            end = chain[-1][0]
            between = self.horizon.between(snapshot, end)
        versions: list[tuple[Tid, State | None]] = []
        for tid in between:
            stored = self.source.load(entry.oid, tid)
            if stored is not None and stored.tid < (versions[-1] if versions else chain[-1])[0]:
                versions.append((stored.tid, None))
        stored = self.source.load(entry.oid, snapshot)
        if stored is not None:
            older: tuple[Tid, State | None] = stored.tid, self.decode(stored, entry)
        else:
            tid, state = (*chain, *versions)[-1]
            older = Tid(0), self._stored_state(entry, tid) if state is None else state
        if older[0] < (versions[-1] if versions else chain[-1])[0]:
            versions.append(older)
        with self.lock:
            chain = mask.chain
            if entry.mask is mask and chain is not None and chain[-1][0] == end:
                mask.chain = (*chain, *versions)

    def _stored_state(self, entry: Entry, tid: Tid) -> State | None:
        stored = self.source.load(entry.oid, tid)
        return None if stored is None else self.decode(stored, entry)

    def serial(self, obj: Any, entry: Entry) -> Tid:
        """Return the tid that last changed the object, as the calling thread sees it."""
        view = self.active_view()
        if view is not None and id(obj) in view.working:
            return view.working[id(obj)].serial
        faces = type(obj)._p_faces
        if type(obj) is faces.ghost:
            if issubclass(faces.plain, Broken):
                return self._stored_version(entry).tid
            self.load(obj, entry)
        if view is not None and entry.mask is not None and entry.mask.chain is not None:
            return self.version(obj, entry, view)[0]
        return entry.serial

    # -- checkout -------------------------------------------------------------

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

    def version(self, obj: Any, entry: Entry, view: View | None) -> tuple[Tid, State]:
        """Return ``(serial, state)`` of the version that *view* sees, or of the newest."""
        while True:
            self.load(obj, entry)
            with self.lock:
                mask = entry.mask
                if type(obj) is not type(obj)._p_faces.ghost:
                    chain = None if mask is None else mask.chain
                    if chain is None:
                        return entry.serial, native_dict(obj)
                    found = chain[0] if view is None else visible_version(chain, view.tid)
                    if found is not None and found[1] is not None:
                        return found[0], found[1]
            if mask is not None and mask.chain is not None:
                if found is None:
                    assert view is not None
                    self._read_older(entry, mask, view.tid)
                else:
                    self._read_version(obj, entry, mask, found[0])


def _plain_of(entry: Entry) -> Any:
    obj = entry()
    return Persistent if obj is None else type(obj)._p_faces.plain
