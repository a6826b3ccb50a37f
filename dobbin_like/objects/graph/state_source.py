"""The versions that the log has of an object, read: bytes in, a state out.

A version is stored whole, or, of a large collection, as a delta: what was changed since
the version before. A state that is to be shared has its values guarded.
"""

from __future__ import annotations

import sys
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from dobbin_like.contract import Storage, StoredVersion
from dobbin_like.exc import Error, IntegrityError, ObjectNotFound, ReadCycleError
from dobbin_like.ids import DELTA, NO_TID, Oid, Tid
from dobbin_like.objects.codec.instructions import StateError, as_file
from dobbin_like.objects.codec.versions import VERSION, upgrade
from dobbin_like.objects.deltas.delta import (
    ITEMS,
    Delta,
    DeltaChain,
    MissingBaseError,
    apply_delta,
    chain_of,
)
from dobbin_like.objects.deltas.layered import DELTA_TYPES, changed_items, mark_stored
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.objects.faces.stored_attribute import check_items
from dobbin_like.objects.faces.working_copy import PENDING, PartialState
from dobbin_like.objects.graph.ghosts import Ghosts
from dobbin_like.objects.values.here import here
from dobbin_like.objects.values.refs import ObjectRef, State, native_dict
from dobbin_like.objects.values.shapes import Shape
from dobbin_like.objects.values.value_kinds import KINDS, REFERENCE
from dobbin_like.objects.values.values import Freezer, frozen, guard_lists

if TYPE_CHECKING:
    from dobbin_like.objects.codec.rebuild import Rebuilder

_ONCE: Final = "once"
_TWICE: Final = "twice"
_IN_PART: Final = "in part"
"""How often a thread is decoding one state, one time inside the other."""


class StateSource:
    """Reads the states of the objects that *ghosts* makes. Any thread."""

    def __init__(self, storage: Storage, ghosts: Ghosts, *, guard: bool) -> None:
        self._storage = storage
        self._ghosts = ghosts
        self._decoder = ghosts.decoder()
        self._guard = guard

    def decode(self, stored: StoredVersion, ref: ObjectRef) -> State:
        """Return the state of a version as its class has it now, fit to be shared."""
        plain = _plain_of(ref)
        return self.decode_shaped(stored, self._ghosts.shape(stored.number), ref, plain)

    def decode_shaped(
        self, stored: StoredVersion, shape: Shape | None, ref: ObjectRef, plain: Any
    ) -> State:
        """Do what :meth:`decode` does, for an object of class *plain*.

        Raises ReadCycleError if the calling thread is at it already, and is not a signal handler
        that does the same once more; ``here.reading`` has what can be had of the state then.
        """
        reading, key = here.reading, id(ref)
        before = reading.get(key)
        if before is not None and not _is_decoding(key):
            before = None  # An interrupt has left it.
        if before is None:
            reading[key] = _ONCE
        elif before is _ONCE:
            reading[key] = _TWICE
        else:
            if before is _TWICE:
                reading[key] = _IN_PART
                reading[key] = self._partial(stored, ref, plain)
            elif before is _IN_PART:  # Not a hash, but a value itself needs it.
                reading[key] = self._partial(stored, ref, plain, values=False)
            raise ReadCycleError(plain.__name__, ref.oid, "")
        try:
            return self._decode(stored, shape, ref, plain)
        finally:
            if before is None:
                reading.pop(key, None)
            else:
                reading[key] = before

    def _decode(
        self, stored: StoredVersion, shape: Shape | None, ref: ObjectRef, plain: Any
    ) -> State:
        if stored.number & DELTA:
            return self._decode_deltas(stored, ref, plain)
        try:
            state: State = self._decoder(as_file(stored.data)).state(shape)
        except Exception as error:  # noqa: BLE001  of a class, or damage
            state = self._decode_again(ref.oid, stored, error).state(shape)
        if plain._p_version or VERSION in state:
            state = upgrade(plain, ref.oid, state)
        state = self.share(state, ref)
        if plain._p_deltas:
            check_items(plain, ref, state, ITEMS)
            mark_stored(state, stored.tid, len(stored.data))
        return state

    def _partial(
        self, stored: StoredVersion, ref: ObjectRef, plain: Any, *, values: bool = True
    ) -> PartialState:
        """Return what can be decoded of a state before any hash is asked for.

        *values*: also what has values of the application, whose classes may ask for something.
        """
        from dobbin_like.objects.codec.state_reader import StateReader  # It is rarely needed.

        reader = StateReader(self._storage.names, self._storage.path)
        number, data = reader.whole(ref.oid, stored, self._storage.version_before)
        state, _ = reader.read(number, data)
        if state.pop(VERSION, 0) != plain._p_version:
            return PartialState(plain.__name__, ref.oid, dict.fromkeys(state, PENDING))
        data, rest = reader.without_hashes(state, values=values)
        partial = self.share(self._decoder(as_file(data)).state(None), ref)
        partial.update(dict.fromkeys(rest, PENDING))
        return PartialState(plain.__name__, ref.oid, partial)

    def read(self, oid: Oid, stored: StoredVersion) -> State:
        """Return the state that *stored* holds as it was stored, with its version.

        Raises IntegrityError as :meth:`decode`, and if the base of a delta is missing.
        """
        if stored.number & DELTA:
            deltas, _, base = self._chain(oid, stored, NO_TID)
            return self._whole(oid, stored, deltas, base)
        shape = self._ghosts.shape(stored.number)
        try:
            state: State = self._decoder(as_file(stored.data)).state(shape)
        except Exception as error:  # noqa: BLE001  of a class, or damage
            state = self._decode_again(oid, stored, error).state(shape)
        return state

    def fresh(self, ref: ObjectRef, serial: Tid) -> State:
        stored = self._storage.load(ref.oid, serial)
        if stored is None:
            raise ObjectNotFound(ref.oid)
        state = self.read(ref.oid, stored)
        plain = _plain_of(ref)
        if plain._p_version or VERSION in state:
            return upgrade(plain, ref.oid, state)
        return state

    def share(self, state: State, ref: ObjectRef, freezer_class: type[Freezer] = Freezer) -> State:
        """Make *state*, which nobody else has, fit to be shared; return it."""
        if guard_lists(state, ref, guard=self._guard):
            return state
        freezer = freezer_class(ref, guard=self._guard, own=True)
        for name, value in state.items():
            if KINDS[type(value)] > REFERENCE:
                state[name] = freezer.copy(value)
        freezer.finish()
        return state

    def _decode_deltas(self, stored: StoredVersion, ref: ObjectRef, plain: Any) -> State:
        """Return the state of a large collection, read from the newest version in memory on."""
        obj = ref()
        before: State = {} if obj is None else native_dict(obj)
        items: Any = before.get(ITEMS)
        known = items._p_serial if type(items) in DELTA_TYPES else NO_TID
        deltas, weight, base = self._chain(ref.oid, stored, NO_TID if plain._p_version else known)
        if base is None:
            spare = items._p_spare - weight
            freezer = Freezer(ref, guard=self._guard, own=True)
            for _, removed, added in deltas:
                present = [key for key in removed if key in items]
                items = changed_items(items, present, frozen(added, freezer.copy))
            state = {**before, ITEMS: items}
        else:
            state = self._whole(ref.oid, stored, deltas, base)
            if plain._p_version or VERSION in state:
                state = upgrade(plain, ref.oid, state)
            spare = len(base.data) - weight
            if plain._p_deltas:
                check_items(plain, ref, state, ITEMS)
            state = self.share(state, ref)
        mark_stored(state, stored.tid, spare)
        return state

    def _chain(self, oid: Oid, stored: StoredVersion, known: Tid) -> DeltaChain:
        try:
            delta = partial(self._delta, oid)
            return chain_of(oid, stored, delta, self._storage.version_before, known)
        except MissingBaseError as error:
            path, expected = self._storage.path, "the version before"
            raise IntegrityError(path, stored.position, str(error), expected) from None

    def _delta(self, oid: Oid, stored: StoredVersion) -> Delta:
        try:
            return self._decoder(as_file(stored.data)).delta()  # type: ignore[no-any-return]
        except Exception as error:  # noqa: BLE001  of a class, or damage
            return self._decode_again(oid, stored, error).delta()

    def _whole(
        self, oid: Oid, stored: StoredVersion, deltas: list[Delta], base: StoredVersion
    ) -> State:
        state = self.read(oid, base)
        try:
            for delta in deltas:
                apply_delta(state.get(ITEMS), delta)
        except TypeError as error:
            path, expected = self._storage.path, "one of the collection before it"
            raise IntegrityError(path, stored.position, str(error), expected) from None
        return state

    def _decode_again(self, oid: Oid, stored: StoredVersion, error: Exception) -> Rebuilder:
        """Return a decoder that has stand-ins for the values that *error* is about, or raise."""
        if isinstance(error, StateError):
            what = f"a state that is a {error.found}"
            damage = IntegrityError(self._storage.path, stored.position, what, error.expected)
            raise damage from None
        from dobbin_like.objects.codec import rebuild  # It is rarely needed.

        rebuilder = rebuild.Rebuilder(stored.data, self._ghosts.ghost, self._ghosts.classes)
        if not isinstance(error, rebuild.PASSING) and rebuilder.rebuild():
            return rebuilder
        if not isinstance(error, (*rebuild.PASSING, Error)) or _is_malformed(stored.data, error):
            what = f"a state that can't be decoded: {type(error).__name__}: {error}"
            raise IntegrityError(self._storage.path, stored.position, what, "a pickle") from error
        classes = self._ghosts.classes
        name = classes.name_of(self._ghosts.class_of(stored))
        error.add_note(f"while the state of {name} oid {oid} was read")
        raise error


def _is_decoding(key: int) -> bool:
    """Tell whether a caller is decoding the state of the object whose reference has the id *key*.

    The stack knows; an entry could be left behind by an interrupt.
    """
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001
    while frame is not None:
        if frame.f_code is _DECODING and frame.f_locals.get("key") == key:
            return True
        frame = frame.f_back
    return False


_DECODING: Final = StateSource.decode_shaped.__code__


def _is_malformed(data: bytes, error: Exception) -> bool:
    """Return whether memory was not enough because lengths or places in *data* are wrong."""
    if not isinstance(error, MemoryError):
        return False
    import pickletools

    try:
        return any(opcode.name.endswith("PUT") for opcode, _, _ in pickletools.genops(data))
    except ValueError:
        return True


def _plain_of(ref: ObjectRef) -> Any:
    obj = ref()
    return Persistent if obj is None else type(obj)._p_faces.plain
