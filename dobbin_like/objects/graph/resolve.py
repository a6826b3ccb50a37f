"""What the calling thread sees of an object: the newest state, or that of its snapshot.

Reads the state of a ghost; resolves which version of a masked object the thread's view sees,
and reads those that are not in memory. Nothing is read under the lock (I3), so what was read
is only used if the object is still as it was.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, Final

from dobbin_like.contract import Storage, StoredVersion
from dobbin_like.exc import ObjectNotFound, SnapshotDroppedError, UnloadedClassError
from dobbin_like.ids import DELTA, Oid, Tid
from dobbin_like.objects.codec.versions import VERSION
from dobbin_like.objects.faces.broken import Broken
from dobbin_like.objects.faces.view import View, visible_version
from dobbin_like.objects.faces.working_copy import WorkingCopy
from dobbin_like.objects.graph.ghosts import Ghosts
from dobbin_like.objects.graph.publication import SharedState
from dobbin_like.objects.graph.state_source import StateSource
from dobbin_like.objects.values.here import (
    current_scope,
    here,
    scope_of_context,
    states_here,
)
from dobbin_like.objects.values.refs import (
    Mask,
    ObjectRef,
    State,
    native_dict,
    set_native_dict,
    swap_class,
)

_CHANGING: Final[State] = {}
"""Stands for a state while another thread changes what is seen: it is asked again."""


class Local(threading.local):
    """The data manager of the calling thread, or of its task.

    ``of_thread`` is the answer if the context has no scope, which the caller may ask itself.
    """

    of_thread: Any = None

    @property
    def manager(self) -> Any:
        scope = current_scope()
        return self.of_thread if scope is None else scope.managers.get(self)

    def keep(self, manager: Any) -> None:
        """Let *manager* be the one of the calling thread, or task; ``None``: it has none."""
        scope = current_scope()
        if scope is not None:
            scope.managers[self] = manager
        else:
            self.of_thread = manager
            if manager is not None:
                # It ends with the thread at once; the manager may be part of a cycle.
                self.life: _Life = _Life()
                manager.thread.life = weakref.ref(self.life)


class _Life:
    """There as long as its thread."""

    __slots__ = ("__weakref__",)


class Resolver:
    """Finds the state of an object that the calling thread sees. Any thread."""

    def __init__(
        self,
        storage: Storage,
        shared: SharedState,
        ghosts: Ghosts,
        states: StateSource,
        local: Local,
    ) -> None:
        self._storage = storage
        self._shared = shared
        self._ghosts = ghosts
        self._states = states
        self._local = local
        self._shapes = ghosts.classes.known_shapes

    def active_view(self) -> View | None:
        local = self._local
        manager = local.of_thread if scope_of_context() is None else local.manager
        if manager is None:
            return None
        view: View = manager.view
        # In this order: when another thread lets it lapse, ``lapsed`` is set first.
        while not view.active:
            if view.lapsed is None:
                return None
            manager.resume()
        return view

    # -- ghosts -------------------------------------------------------------

    def load(self, obj: Any, ref: ObjectRef) -> None:
        """Read the newest state of a ghost; with older views about, it becomes masked."""
        shared = self._shared
        horizon = shared.horizon
        self.active_view()  # Else, a snapshot that has lapsed may need a mask later.
        while True:
            faces = type(obj)._p_faces
            if type(obj) is not faces.ghost:
                return
            serial = ref.serial
            stored = self._storage.load(ref.oid) or self._packed_away(ref.oid)
            shape = self._shapes.get(stored.number) or self._ghosts.shape(stored.number)
            # As class_of() does, without a call.
            number = shape.class_number if shape else stored.number & ~DELTA
            if self._ghosts.faces.get(number) is not faces.ghost and self._is_other(
                obj, faces, number
            ):
                continue
            state = self._states.decode_shaped(stored, shape, ref, faces.plain)
            with self._shared.lock:
                if type(obj) is not faces.ghost:
                    return
                if ref.serial != serial:  # changed while it was read
                    continue
                tid = stored.tid
                set_native_dict(obj, state)
                ref.serial = tid
                shared.counts.loads += 1
                if tid <= horizon.floor or not horizon.has_older(tid):
                    swap_class(obj, faces.plain)
                    return
                # First: an interrupt must not leave a mask that nobody takes off.
                shared.masked.add(shared.tid, [ref])
                shared.masks.put_on(obj, ref, ((tid, state),)).foreign = True
                return

    def _packed_away(self, oid: Oid) -> StoredVersion:
        """Return the newest version in a view of a dropped object.

        Raises:
            ObjectNotFound: There is none.
            SnapshotDroppedError: There was one in the snapshot of this thread.
        """
        view = self.active_view()
        with self._shared.lock:
            snapshots = self._shared.horizon.between(Tid(-1), Tid(self._shared.tid + 1))
        for tid in snapshots:
            try:
                stored = self._storage.load(oid, tid)
            except SnapshotDroppedError:
                if view is not None and tid == view.tid:
                    raise
                continue
            if stored is not None:
                return stored
        raise ObjectNotFound(oid)

    def _is_other(self, obj: Any, faces: Any, class_number: int) -> bool:
        """Give a ghost the class it is stored as, if that is another one; return whether to retry.

        So it is when the class was renamed, or can be loaded for a broken object by now.
        """
        ghost = self._ghosts.face(class_number)
        if issubclass(ghost, Broken):
            if not issubclass(faces.plain, Broken):
                return False
            reason = self._ghosts.classes.reason(class_number)
            if reason:
                raise UnloadedClassError(*ghost._p_name, reason)
            return True  # it has come this very moment
        if ghost is faces.ghost:
            return False
        with self._shared.lock:
            if type(obj) is faces.ghost:
                swap_class(obj, ghost)
        return True

    def broken_state(self, ref: ObjectRef, class_number: int) -> tuple[State, str]:
        """Return the state of a broken object, read again, and why its class is not loaded."""
        stored = self._stored_version(ref)
        state = self._states.read(ref.oid, stored)
        state.pop(VERSION, None)
        return self._states.share(state, ref), self._ghosts.classes.reason(class_number)

    def _stored_version(self, ref: ObjectRef) -> StoredVersion:
        view = self.active_view()
        stored = None if view is None else self._storage.load(ref.oid, view.tid)
        # A snapshot older than the object: it was handed to its thread by another one.
        stored = stored or self._storage.load(ref.oid)
        if stored is None:
            raise ObjectNotFound(ref.oid)
        return stored

    # -- masked objects -----------------------------------------------------

    def visible(self, obj: Any, ref: ObjectRef) -> State | None:
        """Return what the calling thread sees of a masked object; ``None``: not masked."""
        while True:
            view = self.active_view()  # First: it puts masks on again, for a snapshot that lapsed.
            mask = ref.mask
            state = None if mask is None else self._masked(obj, ref, mask, view)
            if state is _CHANGING or (view is not None and not view.active):
                continue  # If it has lapsed since, the mask may have been taken off too early.
            if view is not None and state is not None:
                view.remember(obj, state)
            return state

    def _masked(self, obj: Any, ref: ObjectRef, mask: Mask, view: View | None) -> State:
        """Return what *view* sees; ``_CHANGING``: that is to be asked again."""
        chain = mask.chain
        if chain is None:
            state = native_dict(obj)
            # A publication sets the chain before it swaps the dict.
            if ref.mask is not mask or mask.chain is not None:
                return _CHANGING
            return state
        version = chain[0] if view is None else visible_version(chain, view.tid)
        if version is None:
            self._read_older(ref, mask, view.tid)  # type: ignore[union-attr]
            return _CHANGING
        if version[1] is None:
            self._read_version(obj, ref, mask, version[0])
            return _CHANGING
        return version[1]

    def _read_version(self, obj: Any, ref: ObjectRef, mask: Mask, tid: Tid) -> None:
        state = self._stored_state(ref, tid)
        if state is None:
            raise ObjectNotFound(ref.oid)
        with self._shared.lock:
            chain = mask.chain
            self._shared.counts.loads += 1
            if ref.mask is mask and chain is not None:
                # The dict first: nobody reads it while there is a chain, and a chain whose
                # newest state is there says that the dict may be shown.
                if chain[0][0] == tid and chain[0][1] is None:
                    set_native_dict(obj, state)
                mask.chain = tuple((t, state if t == tid and s is None else s) for t, s in chain)

    def _read_older(self, ref: ObjectRef, mask: Mask, snapshot: Tid) -> None:
        """Add the version that *snapshot* sees behind those in the chain.

        Also those that other views see between: without them, they would see the one before. A
        snapshot older than the object sees the oldest version: another thread has passed the
        object on.
        """
        with self._shared.lock:
            chain = mask.chain
            if ref.mask is not mask or chain is None:
                return
            end = chain[-1][0]
            between = self._shared.horizon.between(snapshot, end)
        versions: list[tuple[Tid, State | None]] = []
        for tid in between:
            stored = self._storage.load(ref.oid, tid)
            if stored is not None and stored.tid < (versions[-1] if versions else chain[-1])[0]:
                versions.append((stored.tid, None))
        stored = self._storage.load(ref.oid, snapshot)
        if stored is not None:
            older: tuple[Tid, State | None] = stored.tid, self._states.decode(stored, ref)
        else:
            tid, state = (*chain, *versions)[-1]
            older = Tid(0), self._stored_state(ref, tid) if state is None else state
        if older[0] < (versions[-1] if versions else chain[-1])[0]:
            versions.append(older)
        with self._shared.lock:
            self._shared.counts.loads += 1
            chain = mask.chain
            if ref.mask is mask and chain is not None and chain[-1][0] == end:
                mask.chain = (*chain, *versions)

    def _stored_state(self, ref: ObjectRef, tid: Tid) -> State | None:
        stored = self._storage.load(ref.oid, tid)
        return None if stored is None else self._states.decode(stored, ref)

    def serial(self, obj: Any, ref: ObjectRef) -> Tid:
        view = self.active_view()
        if view is not None and id(obj) in view.working:
            return view.working[id(obj)].serial
        faces = type(obj)._p_faces
        if type(obj) is faces.ghost:
            if issubclass(faces.plain, Broken):
                return self._stored_version(ref).tid
            self.load(obj, ref)
        if view is not None and ref.mask is not None and ref.mask.chain is not None:
            return self.version(obj, ref, view)[0]
        return ref.serial

    # -- what cached properties have computed ---------------------------------

    def newest_tid(self) -> Tid:
        return self._shared.tid

    def keep_cached(self, obj: Any, ref: ObjectRef, name: str, value: Any, newest: Tid) -> None:
        """Keep *value* in the shared state if all threads would compute it, else in the view.

        *newest* is the tid before it was computed. All see the state that it was computed from if
        nobody has committed since, no snapshot is older, and the thread has changed nothing.
        """
        view, shared = self.active_view(), self._shared
        is_dirty = any(type(state) is WorkingCopy for state in states_here())
        with shared.lock:
            if type(obj) is type(obj)._p_faces.ghost:
                return
            is_newest = newest == shared.tid and (view is None or view.tid == newest)
            is_alone = ref.mask is None or ref.mask.chain is None
            if is_newest and is_alone and not is_dirty and not shared.horizon.has_older(newest):
                native_dict(obj)[name] = value
            elif view is not None:
                state = here.memo.get(id(obj)) or (native_dict(obj) if is_alone else None)
                if state is not None:
                    view.remember(obj, {**state, name: value})

    def newest_in_memory(self, obj: Any, ref: ObjectRef) -> State | None:
        """Return the newest state of an object; ``None``: it would have to be read."""
        with self._shared.lock:
            if type(obj) is type(obj)._p_faces.ghost:
                return None
            chain = None if ref.mask is None else ref.mask.chain
            return native_dict(obj) if chain is None else chain[0][1]

    def version(self, obj: Any, ref: ObjectRef, view: View | None) -> tuple[Tid, State]:
        """Return ``(serial, state)`` of the version that *view* sees, or of the newest."""
        while True:
            self.load(obj, ref)
            with self._shared.lock:
                mask = ref.mask
                if type(obj) is not type(obj)._p_faces.ghost:
                    chain = None if mask is None else mask.chain
                    if chain is None:
                        return ref.serial, native_dict(obj)
                    found = chain[0] if view is None else visible_version(chain, view.tid)
                    if found is not None and found[1] is not None:
                        return found[0], found[1]
            if mask is not None and mask.chain is not None:
                if found is None:
                    assert view is not None
                    self._read_older(ref, mask, view.tid)
                else:
                    self._read_version(obj, ref, mask, found[0])
