"""Shared state: how commits become visible to all threads of one database instance at once.

Committed state is published here, in one step for every view (I2), and objects are masked
exactly while a thread needs another state than the newest. Readers of plain objects never
come here (I6); readers of masked ones take no lock. One re-entrant lock guards publication,
begin and end of views, checkout and the installation of ghosts; nothing is read from the
storage or decoded while it is held (I3).

The order of steps in :meth:`SharedState.publish` is what readers without a lock rely on. With
older views about, for each object: (1) the chain with the new and the old state, (2) the
mask, (3) the native dict, (4) the serial; after all objects the tid. Removing a mask: class
first, then the chain. Each step may be repeated: what an interrupt cuts short is run again.

Knows nothing of how states are read: that is :mod:`.state_source`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from dobbin_like.ids import Oid, Tid
from dobbin_like.objects.faces.view import Horizon, View
from dobbin_like.objects.faces.working_copy import WorkingCopy
from dobbin_like.objects.graph.counts import Counts
from dobbin_like.objects.graph.masked import MaskedRefs
from dobbin_like.objects.values.refs import (
    NOBODY,
    UNSTORED,
    Mask,
    ObjectRef,
    State,
    native_dict,
    set_native_dict,
    swap_class,
)
from dobbin_like.processes.interrupts import finish_despite_interrupts, reentrant_lock
from dobbin_like.processes.threaded_dict import ThreadedDict

_IDLE_SECONDS: Final = 1.0
"""Who has ended a transaction and does not run for so long, while others commit, waits."""


class Cache:
    """The objects in memory by oid, each once (I7). Any thread reads and adds.

    Replacing and removing is done under the lock of the shared state. ``forget`` is called by
    the garbage collector, and must not wait for a lock: it only notes the reference.
    """

    def __init__(self) -> None:
        self.refs: dict[Oid, ObjectRef] = ThreadedDict()
        self.dead: deque[ObjectRef] = deque()
        self.forget: Final = self.dead.append

    def get(self, oid: Oid) -> ObjectRef | None:
        return self.refs.get(oid)

    def all(self) -> list[ObjectRef]:
        return list(self.refs.values())

    def collect(self, masked: MaskedRefs) -> None:
        """Remove what the garbage collector has reported (lock held), its old versions too."""
        while self.dead:
            ref = self.dead[0]
            oid = getattr(ref, "oid", None)  # None: an interrupt came while it was made.
            if oid is not None:
                if self.refs.get(oid) is ref:
                    del self.refs[oid]
                masked.remove(ref)
                ref.mask = None
            self.dead.popleft()  # last: until then, it is done again if interrupted


class Publication(NamedTuple):
    """A new state of one object; ``face`` is the class it wears from now on, if another one."""

    obj: Any
    ref: ObjectRef
    state: State
    face: Any


class SharedState:
    """The shared state of the objects in a cache. Any thread; ``tid`` is read without ``lock``.

    ``has_older``: when something was published last, another view kept an older snapshot.
    """

    def __init__(self, cache: Cache) -> None:
        self.lock: threading.RLock = reentrant_lock()
        self.counts: Counts = Counts()
        self.has_older: bool = False
        self.tid: Tid = Tid(0)
        self.has_root = False
        self.root_is_foreign = False
        self.horizon: Horizon = Horizon()
        self._cache = cache
        self._masked = MaskedRefs()
        self.idle_seconds = _IDLE_SECONDS
        self._look_at = 0.0  # By the clock: when to look for idle threads again.
        # Filled by finalizers, which must not wait for a lock.
        self._retired: deque[View] = deque()

    def _end_retired(self) -> None:
        while self._retired:
            self._end(self._retired[0])
            self._retired.popleft()

    # -- views ------------------------------------------------------------------

    def begin_view(self, view: View) -> None:
        with self.lock:
            if self._retired or self._cache.dead:
                self._end_retired()
                self._cache.collect(self._masked)
            if view.working or view.kept or self._masked.turns:
                self._end(view)
            # What is registered is active, so that it will be ended.
            view.active = True
            view.tid = self.horizon.snapshots[view] = self.tid

    def move_view(self, view: View) -> None:
        """Let *view* read the newest snapshot from here on; it keeps its working copies.

        For the middle of a commit, when every working copy is one of the newest version.
        """
        with self.lock:
            view.forget_states()
            self.horizon.enter(view, self.tid)
            if self._masked.turns:
                self._unmask_due()

    def end_view(self, view: View) -> None:
        with self.lock:
            self._end(view)

    def let_idle_lapse(self) -> None:
        """End the views of threads that wait between transactions (lock held).

        They have not run since the last look: a thread that reads unchanged objects runs no code
        of ours, and must not find a changed one among them. Cost: a look at the clock, mostly.
        """
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + self.idle_seconds
        for view in list(self.horizon.snapshots):
            may_lapse = view.between and not view.working and view.tid < self.tid
            if may_lapse and not view.run_time.has_run():
                finish_despite_interrupts(partial(self._let_lapse, view))
        if self._masked.turns:
            self._unmask_due()

    def _let_lapse(self, view: View) -> None:
        # In this order: what its thread remembers from now on, it forgets itself.
        view.lapsed = view.tid
        view.active = False
        self.horizon.snapshots.pop(view, None)
        view.forget_states()

    def resume_view(self, view: View) -> None:
        """Let a view that has lapsed read its snapshot again. Cost: the objects in memory.

        The storage has that snapshot still.
        """
        with self.lock:
            tid = view.lapsed
            if tid is not None and not view.active:
                finish_despite_interrupts(partial(self._resume, view, tid))

    def _resume(self, view: View, tid: Tid) -> None:
        horizon = self.horizon
        horizon.snapshots[view] = tid
        horizon.floor = min(horizon.floor, tid)
        changed = [ref for ref in self._cache.all() if ref.serial > tid]
        # What was computed from newer states, and cached for all.
        for obj in (ref() for ref in self._cache.all()):
            if obj is not None:  # Not its truth, for which it would have to be read.
                faces = type(obj)._p_faces
                for name in faces.volatile or faces.find_volatile():
                    native_dict(obj).pop(name, None)
        self._masked.add_changed(changed)
        for ref in changed:
            obj, chain = ref(), None if ref.mask is None else ref.mask.chain
            # A ghost is masked when it is read.
            if obj is not None and type(obj) is not type(obj)._p_faces.ghost:
                # Also if there is a chain: an interrupt may have come before the class. The older
                # versions in it are those of other snapshots; between, others may be missing.
                chain = chain or ((ref.serial, native_dict(obj)),)
                newer = tuple(version for version in chain if version[0] > tid)
                self.mask(obj, ref, newer)
        view.tid = tid
        view.active = True
        view.lapsed = None

    def retire_view(self, view: View) -> None:
        """End the view of a thread that has ended: from a finalizer, which must not wait."""
        self._retired.append(view)  # First: if an interrupt comes, others end it.
        # There is no public way to ask whether it runs inside the lock of its own thread.
        if self.lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001
            return
        try:
            if self.lock.acquire(blocking=False):
                self._end_retired()
        finally:
            # It is not asked first whether it is held: an interrupt could come between.
            try:  # noqa: SIM105  and at the beginning of suppress()
                self.lock.release()
            except RuntimeError:  # It is not.
                pass

    def drop_working(self, view: View) -> None:
        if view.working:
            with self.lock:
                self._drop(view, list(view.working.values()))

    def uncheckout(self, view: View, working: WorkingCopy) -> None:
        """Drop one working copy of *view*: a savepoint is rolled back."""
        with self.lock:
            self._drop(view, (working,))

    def _end(self, view: View) -> None:
        self.horizon.snapshots.pop(view, None)
        if view.working:
            self._drop(view, list(view.working.values()))
        if view.kept:
            view.forget_states()
        if self._masked.turns:
            self._unmask_due()
        view.active = False  # last: until then, it is ended again if interrupted

    def _drop(self, view: View, copies: Iterable[WorkingCopy]) -> None:
        snapshots = self.horizon.snapshots
        oldest = min(snapshots.values()) if snapshots else None
        alone, memo, mine = view.alone, view.memo, view.working
        for working in copies:
            # The view forgets last: until then, it is done again if interrupted.
            obj, ref = working.obj, working.ref
            memo.pop(id(obj), None)
            mask = ref.mask
            if mask is not None:
                if mask is alone:
                    swap_class(obj, type(obj)._p_faces.plain)
                    ref.mask = None
                else:
                    mask.holders -= alone.holders
                    self._unmask(obj, ref, oldest)
            mine.pop(id(obj), None)

    # -- masks ------------------------------------------------------------------

    def mask(self, obj: Any, ref: ObjectRef, chain: Any, held: Mask = NOBODY) -> Mask:
        """Mask *obj* (lock held): from now on each reader gets the state that it sees.

        *chain* has its versions; ``None``: there are no others than before. *held* is ``alone`` of
        a view that has a working copy from now on.
        """
        before = ref.mask
        if chain is None and (before is None or before is held):
            mask = held
        else:
            before = before or NOBODY
            mask = Mask(chain or before.chain, before.holders | held.holders)
            mask.foreign = before.foreign
        ref.mask = mask
        faces = type(obj)._p_faces
        cls = faces.mask or faces.make_mask()
        if type(obj) is not cls:
            swap_class(obj, cls)
        return mask

    def mask_until_seen(self, refs: Iterable[ObjectRef]) -> None:
        """Unmask *refs* when all snapshots see their newest versions (lock held)."""
        self._masked.add(self.tid, refs)

    def _unmask_due(self) -> None:
        oldest = self.horizon.oldest()
        while found := self._masked.first(oldest):
            turn, refs = found
            needed = [ref for ref in refs if self._is_needed(ref, oldest)]
            self._masked.end(turn, self.tid, needed)

    def _is_needed(self, ref: ObjectRef, oldest: Tid | None) -> bool:
        """Take off a mask, or return True if a snapshot needs it."""
        obj = ref()
        if obj is not None:
            self._unmask(obj, ref, oldest)
        chain = None if ref.mask is None else ref.mask.chain
        return oldest is not None and chain is not None and oldest < chain[0][0]

    def _unmask(self, obj: Any, ref: ObjectRef, oldest: Tid | None) -> None:
        """Remove the mask if nobody needs it; *oldest* is the oldest snapshot (lock held)."""
        mask = ref.mask
        if mask is None:
            return
        chain = mask.chain
        if chain is not None and oldest is not None and oldest < chain[0][0]:
            return
        unread = chain is not None and chain[0][1] is None
        if mask.holders:
            if chain is not None and not unread:
                mask.chain = None
            return
        faces = type(obj)._p_faces
        swap_class(obj, (faces.ghost or faces.make_ghost()) if unread else faces.plain)
        ref.mask = None

    # -- publication ---------------------------------------------------------

    def publish(self, tid: Tid, changes: Sequence[Publication], view: View) -> None:
        """Make the states that *view* has committed as *tid* visible to all (I2).

        *view* begins anew. May be repeated after an interrupt, and then finishes what was begun.
        """
        with self.lock:
            snapshots = self.horizon.snapshots
            snapshots.pop(view, None)
            self.has_older = older = bool(snapshots)
            alone, memo, working = view.alone, view.memo, view.working
            for obj, ref, state, _face in changes:
                if ref.serial == tid:
                    continue
                mask = ref.mask
                if mask is alone and not older:
                    # As below, and the checkout ends as in _drop(): of most objects, in one go.
                    set_native_dict(obj, state)
                    ref.serial = tid
                    swap_class(obj, type(obj)._p_faces.plain)
                    ref.mask = None
                    memo.pop(id(obj), None)
                    working.pop(id(obj), None)
                    continue
                if older or (mask is not None and mask.chain is not None):
                    mask = self._push(obj, ref, tid, state)
                set_native_dict(obj, state)
                if mask is not None:  # None: not checked out, but stored again.
                    mask.foreign = False
                ref.serial = tid
            self.tid = tid
            self.begin_view(view)
            if older:  # Without other views, nobody needs a mask.
                self.mask_until_seen(ref for _, ref, _, _ in changes if ref.mask is not None)
                self.let_idle_lapse()
                self._unmask_due()

    def _push(self, obj: Any, ref: ObjectRef, tid: Tid, state: State) -> Mask:
        mask = ref.mask
        chain = (mask and mask.chain) or ((ref.serial, native_dict(obj)),)
        if chain[0][0] != tid:
            chain = self.horizon.prune(((tid, state), *chain))
        return self.mask(obj, ref, chain)

    def introduce(self, tid: Tid, changes: Sequence[Publication]) -> None:
        """Make the new objects of *changes* known (lock held), before the storage has them.

        Else a thread that asks for their oids would get other instances (I7). May be repeated.
        """
        refs = self._cache.refs
        for obj, ref, state, face in changes:
            if ref.serial == UNSTORED or refs.get(ref.oid) is not ref:
                # The cache last: what can be found is sealed and has its serial.
                set_native_dict(obj, state)
                swap_class(obj, face)
                ref.serial = tid
                refs[ref.oid] = ref

    def publish_foreign(self, changed: dict[Oid, Tid], tid: Tid) -> None:
        """Publish what others have committed, up to *tid*. Cost: that of the oids in memory.

        The caller holds the lock and has applied the same transactions to the storage.
        """
        older = len(self.horizon) > 0
        masked: list[ObjectRef] = []
        for oid, changed_at in changed.items():
            ref = self._cache.refs.get(oid)
            obj = None if ref is None else ref()
            if obj is None or ref is None:
                continue
            if ref.serial == changed_at:  # run again after an interrupt
                masked.append(ref)
                continue
            faces = type(obj)._p_faces
            if type(obj) is faces.ghost:
                pass
            elif ref.mask is None and not older:
                # The old dict stays until it is replaced: a reader between two steps of its
                # own finds the attribute there.
                swap_class(obj, faces.ghost or faces.make_ghost())
            else:
                old = None if ref.mask is None else ref.mask.chain
                chain = old or ((ref.serial, native_dict(obj)),)
                chain = self.horizon.prune(((changed_at, None), *chain))
                self.mask(obj, ref, chain).foreign = True
                masked.append(ref)
            ref.serial = changed_at
        self.tid = tid
        if masked:
            self.mask_until_seen(masked)
            self._unmask_due()
        if older:
            self.let_idle_lapse()
