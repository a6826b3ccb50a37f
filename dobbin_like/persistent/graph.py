"""The objects of one database instance in memory: shared state and who sees what of it.

Committed state is published here, in one step for every view (I2), and
objects are masked exactly while somebody needs another state than the
newest. Readers of plain objects never come here (I6); readers of masked ones
take no lock. One re-entrant lock guards publication, begin and end of views,
checkout and the installation of ghosts; nothing is read from the log or
unpickled while it is held (I3).

The order of steps in :meth:`Graph.publish` is what readers without a lock
rely on. With older views about, for each object: (1) the chain with the new
and the old state, (2) the mask, (3) the native dict, (4) the serial; after
all objects the tid of the graph. Taking a mask off: class first, then the
chain. Each step may be repeated: what an interrupt cuts short is run again.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from dobbin_like.exc import ObjectNotFound, UnloadedClassError
from dobbin_like.ids import Oid, Tid
from dobbin_like.persistent.classes import Broken, ClassTable
from dobbin_like.persistent.entry import (
    UNREAD,
    UNSTORED,
    Entry,
    Mask,
    State,
    entry_of,
    make_entry,
    native_dict,
    set_native_dict,
    swap_class,
)
from dobbin_like.persistent.serialize import Decoder
from dobbin_like.persistent.values import KINDS, REFERENCE, Freezer
from dobbin_like.persistent.view import Horizon, View, WorkingCopy, visible_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class StoredState(Protocol):
    """One version of one object as a storage gives it."""

    @property
    def tid(self) -> Tid: ...
    @property
    def class_number(self) -> int: ...
    @property
    def data(self) -> bytes: ...


class Source(Protocol):
    """Where states come from."""

    def load(self, oid: Oid, at: Tid | None = None) -> StoredState | None: ...


class Publication(NamedTuple):
    """A new state of one object; ``face`` is the class it wears from now on, if another one."""

    obj: Any
    entry: Entry
    state: State
    face: Any


class _Local(threading.local):
    view: View | None = None
    manager: Any = None


class Graph:
    """The object graph of one database instance. Any thread."""

    def __init__(self, database: Any, source: Source, classes: ClassTable, *, guard: bool) -> None:
        # Set once.
        self.database = database
        self.source = source
        self.classes = classes
        self.guard = guard
        self.enlist: Callable[[], View]
        # Each thread its own.
        self.local = _Local()
        # Guarded by self.lock; tid and the cache are read without it.
        self.lock = threading.RLock()
        self.tid = Tid(0)
        self.has_root = False
        self.root_is_foreign = False
        self.horizon = Horizon()
        self._cache: dict[Oid, Entry] = {}
        self._masked: list[tuple[Tid, int, list[Any]]] = []
        self._count = itertools.count()
        # Filled by reference callbacks and finalizers, which must not wait for a lock.
        self._dead: deque[Entry] = deque()
        self.forget = self._dead.append
        self._retired: deque[View] = deque()

    # -- objects ------------------------------------------------------------

    def ghost(self, oid: Oid, class_number: int) -> Any:
        """Return the object with *oid*, a ghost if it is not in memory yet (I7)."""
        entry = self._cache.get(oid)
        if entry is not None:
            obj = entry()
            if obj is not None:
                return obj
        plain = self.classes.load_persistent(class_number)
        faces = plain._p_faces
        obj = object.__new__(faces.ghost or faces.make_ghost())
        entry = make_entry(obj, oid, self, UNREAD, self.forget)
        other = self._cache.setdefault(oid, entry)
        if other is entry:
            return obj
        with self.lock:  # somebody was faster, or the one before has just died
            other = self._cache.get(oid, entry)
            first = other()
            if first is not None and other is not entry:
                return first
            self._cache[oid] = entry
        return obj

    def cached(self, oid: Oid) -> Entry | None:
        """Return the entry of an object that is in memory, or ``None``."""
        return self._cache.get(oid)

    def get(self, oid: Oid, snapshot: Tid | None) -> Any:
        """Return the object with *oid*, or ``None`` if it is not in *snapshot* (or at all)."""
        entry = self._cache.get(oid)
        obj = None if entry is None else entry()
        if obj is not None and entry is not None:
            newest = snapshot is None or entry.serial <= snapshot
            if newest and entry.serial > UNREAD:
                return obj
        stored = self.source.load(oid, snapshot)
        return None if stored is None else self.ghost(oid, stored.class_number)

    def decode(self, data: bytes, entry: Entry) -> State:
        """Return the state that *data* holds, fit to be shared."""
        state: State = Decoder(data, self.ghost, self.classes).load()
        freezer = None
        for name, value in state.items():
            if KINDS[type(value)] > REFERENCE:
                if freezer is None:
                    freezer = Freezer(entry, guard=self.guard)
                state[name] = freezer.freeze(value)
        return state

    # -- the jar of an object (what its faces ask for) ----------------------

    def load(self, obj: Any, entry: Entry) -> None:
        """Read the newest state of a ghost; with older views about, it becomes masked."""
        while True:
            faces = type(obj)._p_faces
            if type(obj) is not faces.ghost:
                return
            if issubclass(faces.plain, Broken):
                self._mend(obj, faces)
                continue
            serial = entry.serial
            stored = self.source.load(entry.oid)
            if stored is None:
                raise ObjectNotFound(entry.oid)
            state = self.decode(stored.data, entry)
            with self.lock:
                if type(obj) is not faces.ghost:
                    return
                if entry.serial != serial:  # changed while it was read
                    continue
                set_native_dict(obj, state)
                entry.serial = stored.tid
                oldest = self.horizon.oldest()
                if oldest is None or oldest >= stored.tid:
                    swap_class(obj, faces.plain)
                    return
                mask = self._mask(obj, entry, ((stored.tid, state),))
                mask.foreign = True
                self._unmask_later(stored.tid, [obj])
                return

    def _mend(self, obj: Any, faces: Any) -> None:
        """Give a broken object its class if that is there by now."""
        number = faces.plain._p_number
        plain = self.classes.load_persistent(number)
        if issubclass(plain, Broken):
            raise UnloadedClassError(*plain._p_name, self.classes.reason(number))  # type: ignore[attr-defined]
        with self.lock:
            if type(obj) is faces.ghost:
                swap_class(obj, plain._p_faces.ghost or plain._p_faces.make_ghost())

    def visible(self, obj: Any, entry: Entry) -> State | None:
        """Return what the calling thread sees of a masked object; ``None``: not masked."""
        while True:
            mask = entry.mask
            if mask is None:
                return None
            view = self.local.view
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
                mask.chain = tuple((t, state if t == tid and s is None else s) for t, s in chain)
                if chain[0][0] == tid and chain[0][1] is None:
                    set_native_dict(obj, state)

    def _read_older(self, entry: Entry, mask: Mask, snapshot: Tid) -> None:
        """Add the version that *snapshot* sees behind those in the chain.

        A snapshot older than the object sees the oldest version: the object
        was handed to its thread by another one.
        """
        stored = self.source.load(entry.oid, snapshot)
        state = None if stored is None else self.decode(stored.data, entry)
        with self.lock:
            chain = mask.chain
            if entry.mask is mask and chain is not None:
                tid = Tid(0) if stored is None else stored.tid
                if chain[-1][0] > tid:
                    mask.chain = (*chain, (tid, chain[-1][1] if stored is None else state))

    def _stored_state(self, entry: Entry, tid: Tid) -> State | None:
        stored = self.source.load(entry.oid, tid)
        return None if stored is None else self.decode(stored.data, entry)

    def serial(self, obj: Any, entry: Entry) -> Tid:
        """Return the tid that last changed the object, as the calling thread sees it."""
        view = self.local.view
        if view is not None and id(obj) in view.working:
            return view.working[id(obj)].serial
        if type(obj) is type(obj)._p_faces.ghost:
            self.load(obj, entry)
        mask = entry.mask
        chain = None if mask is None else mask.chain
        if chain is not None and view is not None:
            version = visible_version(chain, view.tid)
            if version is not None:
                return version[0]
        return entry.serial

    # -- checkout -------------------------------------------------------------

    def checkout(self, obj: Any, entry: Entry) -> None:
        """Give the calling thread a working copy of the version it sees."""
        view = self.enlist()
        if id(obj) in view.working:
            return
        serial, base = self.version(obj, entry, view)
        faces = type(obj)._p_faces
        if faces.volatile:
            base = {name: value for name, value in base.items() if name not in faces.volatile}
        working = WorkingCopy(obj, entry, serial, base)
        with self.lock:
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

    def _mask(self, obj: Any, entry: Entry, chain: Any) -> Mask:
        """Mask *obj* (lock held): from now on every reader is asked who he is."""
        mask = entry.mask
        if mask is None:
            mask = Mask()
            mask.chain = chain
            entry.mask = mask
        elif chain is not None:
            mask.chain = chain
        faces = type(obj)._p_faces
        cls = faces.mask or faces.make_mask()
        if type(obj) is not cls:
            swap_class(obj, cls)
        return mask

    def uncheckout(self, view: View, working: WorkingCopy) -> None:
        """Take back one checkout of *view*: a savepoint is rolled back."""
        with self.lock:
            view.working.pop(id(working.obj), None)
            view.memo.pop(id(working.obj), None)
            if working.entry.mask is not None:
                working.entry.mask.holders.discard(id(view))
            self._unmask(working.obj, working.entry)

    # -- views ------------------------------------------------------------------

    def begin_view(self, view: View) -> None:
        """Let *view* read the newest snapshot from here on."""
        with self.lock:
            self._collect()
            if view.slot is not None:
                self._end(view)
            self.horizon.enter(view, self.tid)

    def end_view(self, view: View) -> None:
        """End *view*: nothing of it is left, no working copy, no mask, no memo."""
        with self.lock:
            self._end(view)

    def retire_view(self, view: View) -> None:
        """End the view of a thread that has ended: from a finalizer, which must not wait."""
        # There is no public way to ask whether it runs inside the lock of its own thread.
        owned = self.lock._is_owned()  # type: ignore[attr-defined]  # noqa: SLF001
        if owned or not self.lock.acquire(blocking=False):
            self._retired.append(view)
            return
        try:
            self._end(view)
        finally:
            self.lock.release()

    def drop_working(self, view: View) -> None:
        """Drop the working copies of *view*; its snapshot stays."""
        with self.lock:
            self._drop_working(view)

    def _end(self, view: View) -> None:
        moved = self.horizon.leave(view)
        self._drop_working(view)
        view.forget_states()
        if moved:
            self._unmask_due()

    def _drop_working(self, view: View) -> None:
        dropped = list(view.working.values())
        for working in dropped:
            view.memo.pop(id(working.obj), None)
            mask = working.entry.mask
            if mask is not None:
                mask.holders.discard(id(view))
        view.working.clear()
        for working in dropped:
            self._unmask(working.obj, working.entry)

    def _unmask_later(self, tid: Tid, objects: list[Any]) -> None:
        heapq.heappush(self._masked, (tid, next(self._count), objects))

    def _unmask_due(self) -> None:
        oldest = self.horizon.oldest()
        masked = self._masked
        while masked and (oldest is None or masked[0][0] <= oldest):
            for obj in masked[0][2]:
                entry = entry_of(obj)
                if entry is not None:
                    self._unmask(obj, entry)
            heapq.heappop(masked)

    def _unmask(self, obj: Any, entry: Entry) -> None:
        """Take the mask off if nobody needs it any more (lock held)."""
        mask = entry.mask
        if mask is None:
            return
        chain = mask.chain
        oldest = self.horizon.oldest()
        if chain is not None and oldest is not None and oldest < chain[0][0]:
            return
        unread = chain is not None and chain[0][1] is None
        if mask.holders:
            if chain is not None and not unread:
                mask.chain = None
            return
        faces = type(obj)._p_faces
        swap_class(obj, (faces.ghost or faces.make_ghost()) if unread else faces.plain)
        entry.mask = None

    def _collect(self) -> None:
        """Do what callbacks and finalizers have left to do (lock held)."""
        while self._retired:
            self._end(self._retired.popleft())
        while self._dead:
            entry = self._dead.popleft()
            if self._cache.get(entry.oid) is entry:
                del self._cache[entry.oid]

    # -- publication ---------------------------------------------------------

    def publish(self, tid: Tid, changes: Iterable[Publication], view: View) -> None:
        """Make the states that *view* has committed as *tid* those of everybody (I2).

        Ends *view*. May be called again with the same arguments after an
        interrupt, and then finishes what was begun.
        """
        with self.lock:
            self.horizon.leave(view)
            older = self.horizon.oldest() is not None
            for obj, entry, state, face in changes:
                if entry.serial == UNSTORED:
                    # New: nobody else has seen it. Dict first: it is sealed when it shows.
                    set_native_dict(obj, state)
                    self._cache[entry.oid] = entry
                    swap_class(obj, face)
                    entry.serial = tid
                elif entry.serial != tid:
                    self._publish_state(obj, entry, tid, state, older=older)
            self.tid = tid
            if older:
                self._unmask_later(tid, [change.obj for change in changes])
            self._end(view)
            for change in changes:
                self._unmask(change.obj, change.entry)
            self._unmask_due()
            self._collect()

    def _publish_state(
        self, obj: Any, entry: Entry, tid: Tid, state: State, *, older: bool
    ) -> None:
        mask = entry.mask
        assert mask is not None, "a changed object is checked out"
        if older or mask.chain is not None:
            chain = mask.chain or ((entry.serial, native_dict(obj)),)
            if chain[0][0] != tid:
                chain = self.horizon.prune(((tid, state), *chain))
            self._mask(obj, entry, chain)
        set_native_dict(obj, state)
        mask.foreign = False
        entry.serial = tid

    def publish_foreign(self, changed: dict[Oid, Tid], tid: Tid) -> None:
        """Make known what other processes and instances have committed, up to *tid*.

        The states are read when somebody touches them: the cost is that of
        the oids that are in memory, not that of their states. The caller
        holds the lock and has applied the same transactions to the source.
        """
        older = self.horizon.oldest() is not None
        masked: list[Any] = []
        for oid, changed_at in changed.items():
            entry = self._cache.get(oid)
            obj = None if entry is None else entry()
            if obj is None or entry is None or entry.serial == changed_at:
                continue
            faces = type(obj)._p_faces
            if type(obj) is faces.ghost:
                pass
            elif entry.mask is None and not older:
                # The old dict stays until it is replaced: a reader between two
                # steps of its own finds the attribute there.
                swap_class(obj, faces.ghost or faces.make_ghost())
            else:
                old = None if entry.mask is None else entry.mask.chain
                chain = old or ((entry.serial, native_dict(obj)),)
                chain = self.horizon.prune(((changed_at, None), *chain))
                self._mask(obj, entry, chain).foreign = True
                masked.append(obj)
            entry.serial = changed_at
        self.tid = tid
        if masked:
            self._unmask_later(tid, masked)
            self._unmask_due()

    # -- for tools ------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """Return the entries of all objects that are in memory."""
        return list(self._cache.values())
