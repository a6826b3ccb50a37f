"""What a commit writes: the changed states, and all that is newly reachable.

Gathered in memory under the commit lock, before anything is written (I8).
Gives out oids for new objects; :meth:`Changes.undo` takes them back.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, BinaryIO, Final, cast
from weakref import getweakrefs

from dobbin_like.contract import PackedStorage, Transaction, is_packed
from dobbin_like.exc import InvalidObjectReference
from dobbin_like.ids import DELTA, ROOT_OID, Oid, Tid
from dobbin_like.objects.codec.refused.culprit import culprit, rebuilt
from dobbin_like.objects.codec.serialize import Decoder, Encoder
from dobbin_like.objects.codec.versions import VERSION, with_version
from dobbin_like.objects.deltas.delta import ITEMS, weight_of
from dobbin_like.objects.deltas.layered import changed_items, mark_stored
from dobbin_like.objects.deltas.overlay import Overlay
from dobbin_like.objects.faces.base import is_new
from dobbin_like.objects.faces.lookup import is_left_unread, left_unread
from dobbin_like.objects.faces.stream import PersistentFile, PersistentStream, StoredBytes
from dobbin_like.objects.faces.working_copy import PENDING, WorkingCopy, Written, containers_of
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.graph.publication import Publication
from dobbin_like.objects.values.lost_keys import KeyCheckingFreezer, check_keys
from dobbin_like.objects.values.refs import (
    UNSTORED,
    ObjectRef,
    State,
    make_ref,
    native_dict,
    ref_of,
)
from dobbin_like.objects.values.shapes import shape_of
from dobbin_like.objects.values.value_kinds import (
    KINDS,
    REFERENCE,
    SHAREABLE,
)
from dobbin_like.objects.values.values import Freezer, frozen, needs_whole_copy, to_plain
from dobbin_like.processes.collector import without_collections

# What a named tuple does when it is called, at half the cost.
_new: Final = tuple.__new__

_MANY: Final = 200
"""Objects from which on it costs less to keep the collector off while they are gathered."""

_DECODE: Final[State] = {}
"""Stands for a shared state that has to be made from the bytes."""


def _never(_oid: Oid) -> bool:
    return False


class Changes:
    """The changes of one transaction to one database. Holder of the commit lock."""

    _encoder: Encoder | None = None

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._storage = graph.storage
        classes = graph.classes
        if classes.new or classes.new_shapes:
            classes.discard()  # Left by a commit whose end was interrupted.
        if classes.forgotten != classes.names.forgotten:
            classes.look_up_again()
        self.unseen: Sequence[Transaction] = graph.storage.unseen
        """Of the storage, before anything is looked up in it: another thread may apply it then."""
        self._next_oid = 0  # 0: none was given out.
        self.packed: bool = graph.packed
        storage = graph.storage
        self._is_dropped: Callable[[Oid], bool] = (
            cast("PackedStorage", storage).is_dropped if self.packed else _never
        )
        self.new: deque[ObjectRef] = deque()
        """Objects that are new, or have to be stored again, and are not written yet."""
        self._made: list[ObjectRef] = []
        self._objects: dict[Oid, Any] = {}
        self._current: tuple[Any, Oid] = (None, Oid(0))
        self.written: list[Written] = []
        self.new_oids: dict[int, Oid] = {}
        self.entries: list[tuple[Oid, int, bytes]] = []
        """``(oid, number of class or shape, bytes of the state)``, as the log takes them."""
        self.publications: list[Publication] = []
        self.collections: list[tuple[State, int]] = []
        """The states of collections, and the bytes of deltas that may follow on each."""
        self.introductions: list[Publication] = []
        """Those of the publications that are of new objects."""
        self.has_new_names = True
        """Whether the new names of the graph may be its own; others may commit if they are not."""

    def add_root(self, obj: Any, ref: ObjectRef) -> None:
        self._objects[ref.oid] = obj
        self.new.append(ref)

    def add_all(self, copies: Sequence[WorkingCopy]) -> None:
        """Add all that is checked out."""
        for working in copies[:_MANY]:
            self.add(working)
        if len(copies) > _MANY:
            without_collections(lambda: deque(map(self.add, copies[_MANY:]), maxlen=0))

    def add(self, working: WorkingCopy) -> None:
        state = working.changed()
        if state is None:
            self.written += containers_of(working)
            return
        obj, ref, base = working.obj, working.ref, working.base
        faces = type(obj)._p_faces
        overlay = working.overlay() if faces.plain._p_deltas else None
        if overlay is not None:
            if self._write_delta(working):
                return
            state.update(_whole_items(overlay))
        self.write(obj, ref, faces.plain, state, base, working)

    def add_reachable(self) -> None:
        """Add what is new and was found from what was added."""
        self._add_reachable(_MANY)
        if self.new:
            without_collections(lambda: self._add_reachable(sys.maxsize))

    def _add_reachable(self, count: int) -> None:
        while self.new and count:
            count -= 1
            ref = self.new.popleft()
            obj = self._objects[ref.oid]
            if ref.serial != UNSTORED:
                self._store_again(obj, ref)
                continue
            face = type(obj)._p_faces.plain
            if face is PersistentFile:
                face, attributes = obj._p_store(self._storage.write_stream)
            else:
                attributes = native_dict(obj)
            self.write(obj, ref, face, face._p_faces.state_of(attributes), {})
            self.introductions.append(self.publications[-1])

    def _store_again(self, obj: Any, ref: ObjectRef) -> None:
        """Add an object that a pack has dropped; ObjectNotFound: its state was not in memory."""
        if ref.oid not in {written[0] for written in self.entries}:
            _, state = self._graph.resolver.version(obj, ref, None)
            plain = type(obj)._p_faces.plain
            self.write(obj, ref, plain, plain._p_faces.state_of(state), {})

    def _write_delta(self, working: WorkingCopy) -> bool:
        """Write what was changed of a large collection instead of all; tell if that was done."""
        obj, ref, base = working.obj, working.ref, working.base
        face = type(obj)._p_faces.plain
        overlay = working.delta()
        if overlay is None or face._p_version or VERSION in base:
            return False
        if self.packed and self._is_dropped(ref.oid):
            return False  # It was out of reach: there is no version to be changed.
        items = base[ITEMS]
        alone = self._alone(working, overlay)
        if alone is None:
            return False
        shared, written = alone
        self._current = (face, ref.oid)
        try:
            number = self._graph.ghosts.number_of(face, ref)
            data = self._any_encoder().encode((working.serial, [*overlay.removed], written))
        except Exception:  # noqa: BLE001  of the values: writing it whole tells which one
            return False
        spare = items._p_spare - weight_of(data)
        if spare < 0:
            return False
        changed = changed_items(items, overlay.removed, shared)
        self.entries.append((ref.oid, number | DELTA, data))
        state = {**base, ITEMS: changed}
        self.collections.append((state, spare))
        self.publications.append(_new(Publication, (obj, ref, state, face)))
        return True

    def _alone(self, working: WorkingCopy, overlay: Overlay) -> tuple[Any, Any] | None:
        """Return what was added, to share and to write; ``None``: something else leads into it."""
        if not overlay.settle():
            return None
        if not overlay.names_are_found_again():
            return None
        added = overlay.all_added()
        if 2 * (len(overlay.removed) + len(added)) > len(overlay):
            return None  # It is at least half of the whole.
        freezer = Freezer(working.ref, guard=bool(self._graph.guard))
        shared = frozen(added, freezer.copy)
        for value in (*overlay.own.values(), *working.values()):
            if value is not overlay and value is not PENDING and KINDS[type(value)] > REFERENCE:
                freezer.copy(value)
        if freezer.found_together:
            return None
        self.written += freezer.copied()
        return shared, to_plain(added, {}) if freezer.found_shared else added

    def write(
        self,
        obj: Any,
        ref: ObjectRef,
        face: Any,
        state: State,
        base: State,
        working: WorkingCopy | None = None,
    ) -> None:
        """Turn *state* into bytes and into what is published.

        *base* has the values, of shared state, that were not read and are PENDING in *state*,
        which is that of *working*, if one is given.
        """
        self._current = (face, ref.oid)
        if self.packed and face is PersistentStream:
            state = self._stream_moved(ref, state)
        graph = self._graph
        classes = graph.classes
        try:
            known = None if face in classes.ambiguous else classes.known_numbers.get(face)
            number = known or graph.ghosts.number_of(face, ref)
            flat = None
            shape = number
            if not (face._p_version or VERSION in state):
                names = tuple(state)
                shape = classes.known_shape_numbers.get((number, names)) or classes.shape_number(
                    number, names
                )
                if shape != number:  # Else the names have to stand in the state.
                    flat = graph.flat.turn(self, ref, state, base)
            if flat is None:
                if working is not None and working.has_pending:
                    state = _with_bound(working, state)
                shared, shape, data = self._any(ref, face, number, state, base)
            else:
                shared, data = flat
        except Exception as error:
            # What nobody has read was stored before: it is not the culprit.
            state = {name: value for name, value in state.items() if value is not PENDING}
            raise self._culprit(ref, face, state, error) from error
        if face._p_deltas:
            self.collections.append((shared, len(data)))
        self.entries.append((ref.oid, shape, data))
        self.publications.append(_new(Publication, (obj, ref, shared, face)))

    def _culprit(self, ref: ObjectRef, face: Any, state: State, error: Exception) -> BaseException:
        if isinstance(error, MemoryError):  # It is about no value.
            return error
        tell, told = getattr(face, "_p_told", None), None
        if tell is not None:
            owner, told = tell(state)
            if owner is not None:
                face, ref = type(owner)._p_faces.plain, ref_of(owner) or ref
        oid = None if ref.serial == UNSTORED else ref.oid
        attempt = partial(self._attempt, ref)
        return culprit(attempt, state, error, face.__name__, oid, told)

    def _attempt(self, ref: ObjectRef, value: Any) -> None:
        """Write a value, and make it again: raises what this raises."""
        loaded = self._rebuilt(self._any_encoder().encode(value), Decoder.load)
        self._graph.states.share({"": loaded}, ref, KeyCheckingFreezer)

    def _rebuilt(self, data: bytes, take: Callable[[Decoder], Any]) -> Any:
        encoder = self._any_encoder()
        checked, encoder.met_checked = encoder.met_checked, False
        return rebuilt(data, self._known, self._graph.classes, take, checked=checked)

    def _any(
        self, ref: ObjectRef, face: Any, class_number: int, state: State, base: State
    ) -> tuple[State, int, bytes]:
        if not all(type(name) is str for name in state):  # Of a StrEnum, say.
            state = {str.__str__(name): value for name, value in state.items()}
        pending = {name: base[name] for name, value in state.items() if value is PENDING}
        shared = state
        if not SHAREABLE.issuperset(map(type, state.values())):
            shared, state = self._share(ref, state, pending)
        if face._p_version or VERSION in state:
            state = with_version(face, ref.oid, state)
        classes = self._graph.classes
        names = tuple(state)
        number = classes.shape_number(class_number, names)
        shaped = number != class_number
        data = self._any_encoder().encode(tuple(state.values()) if shaped else state)
        if shared is _DECODE:
            # What can't be guarded is at least not shared: the loaded copy.
            shape = shape_of(class_number, names) if shaped else None
            loaded = self._rebuilt(data, lambda decoder: decoder.state(shape))
            loaded.pop(VERSION, None)
            if keys_of := getattr(face, "_p_keys", None):
                check_keys(keys_of(loaded))
            shared = self._graph.states.share(loaded, ref, KeyCheckingFreezer)
        return shared, number, data

    def _stream_moved(self, ref: ObjectRef, state: State) -> State:
        """Return the state of a stream with the key that it has in the packed file."""
        source = self._storage
        assert is_packed(source)
        key = state["_offset"]
        if source.is_dropped(ref.oid):  # The stream with it, and both are stored again.
            key, _ = self._storage.write_stream(cast("BinaryIO", StoredBytes(source, key)))
        elif source.stream_is_moved(key):
            key = self._graph.fresh(ref, source.tid)["_offset"]
        else:
            return state
        return {**state, "_offset": key}

    def _any_encoder(self) -> Encoder:
        if self._encoder is None:
            self._encoder = Encoder(self, self._graph.classes)
        return self._encoder

    def _share(self, ref: ObjectRef, state: State, pending: State) -> tuple[State, State]:
        memo: dict[int, Any] = {}
        shared: State = {}
        plain: State = {}
        freezer = Freezer(ref, guard=bool(self._graph.guard))
        for name, value in state.items():
            if value is PENDING:
                shared[name] = pending[name]
                plain[name] = to_plain(pending[name], memo)
            else:
                shared[name] = freezer.copy(value)
                plain[name] = value
        freezer.finish()
        self.written += freezer.copied()
        if freezer.found_shared:  # taken over from another object
            plain = {name: to_plain(value, memo) for name, value in plain.items()}
        return (_DECODE if freezer.found_other else shared), plain

    def _known(self, oid: Oid, class_number: int) -> Any:
        # New objects are in no cache before they are published.
        obj = self._objects.get(oid)
        return self._graph.ghosts.ghost(oid, class_number) if obj is None else obj

    def reference(self, obj: Any) -> tuple[Oid, int]:
        """Return ``(oid, class number)`` of *obj*; a new object gets its oid here."""
        graph = self._graph
        classes = graph.classes
        face = type(obj)._p_faces.plain
        if face is PersistentFile:  # which it will not be for long
            face = PersistentStream
        known = None if face in classes.ambiguous else classes.known_numbers.get(face)
        for ref in getweakrefs(obj):  # As ref_of() does, without a call.
            if type(ref) is ObjectRef and ref.jar is not None:
                break
        else:
            cls = type(obj)
            if cls is PersistentStream or (cls is not face and is_left_unread(obj)):
                raise left_unread(obj)
            oid: Any = self._next_oid or max(self._storage.next_oid, ROOT_OID + 1)
            self._next_oid = oid + 1
            ref = make_ref(obj, oid, graph, UNSTORED, graph.cache.forget)
            self._made.append(ref)
            self._objects[oid] = obj
            self.new_oids[id(obj)] = oid
            self.new.append(ref)
            return oid, known or graph.ghosts.number_of(face, ref)
        if ref.jar is not graph:
            referring, oid = self._current
            place = f"{referring.__name__} oid {oid}"
            raise InvalidObjectReference(face.__name__, ref.oid, place)
        if self.packed and ref.oid not in self._objects and not is_new(ref):
            self._objects[ref.oid] = obj
            if self._is_dropped(ref.oid):
                self.new.append(ref)
        return ref.oid, known or graph.ghosts.number_of(face, ref)

    def stored_as(self, tid: Tid) -> None:
        """Note that all of it is stored as transaction *tid*. May be repeated."""
        for state, spare in self.collections:
            mark_stored(state, tid, spare)

    def undo(self) -> None:
        """Take back what was given out: the new objects are new again."""
        self.written.clear()
        for ref in self._made:
            if ref.serial == UNSTORED:
                ref.jar = None
        if self.has_new_names:
            self._graph.classes.discard()


def _with_bound(working: WorkingCopy, state: State) -> State:
    """Return *state*, that of a working copy, with what was not read, if that has to be whole."""
    base = working.base
    pending = [base[name] for name, value in state.items() if value is PENDING]
    if not any(map(needs_whole_copy, pending)):
        return state
    working.copy_pending()
    return {**type(working.obj)._p_faces.state_of(working), **_whole_items(working.overlay())}


def _whole_items(overlay: Overlay | None) -> State:
    return {} if overlay is None else {ITEMS: overlay.plain()}
