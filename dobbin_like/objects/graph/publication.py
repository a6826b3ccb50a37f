"""Shared state: how commits become visible to all threads of one database instance at once.

Committed state is published here, in one step for every view (I2). Readers of plain objects
never come here (I6); readers of masked ones take no lock. One re-entrant lock guards
publication, begin and end of views, checkout and the installation of ghosts; nothing is read
from the storage or decoded while it is held (I3).

The order of steps in :meth:`SharedState.publish` is what readers without a lock rely on. With
older views about, for each object: (1) the chain with the new and the old state, (2) the
mask, (3) the native dict, (4) the serial; after all objects the tid. Each step may be repeated:
what an interrupt cuts short is run again.

How masks are put on and taken off is in :mod:`.masks`, what becomes of idle threads in
:mod:`.idle_views`, how states are read in :mod:`.state_source`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from dobbin_like.ids import Oid, Tid
from dobbin_like.objects.faces.view import Horizon, Left, View
from dobbin_like.objects.faces.working_copy import WorkingCopy
from dobbin_like.objects.graph.cache import Cache
from dobbin_like.objects.graph.counts import ObjectCounts
from dobbin_like.objects.graph.idle_views import let_idle_lapse, resume
from dobbin_like.objects.graph.masks import MaskedRefs, Masks
from dobbin_like.objects.values.refs import (
    UNSTORED,
    Mask,
    ObjectRef,
    State,
    native_dict,
    set_native_dict,
    swap_class,
)
from dobbin_like.processes.interrupts import finish_despite_interrupts, reentrant_lock

_IDLE_SECONDS: Final = 1.0
"""A thread that ended its transaction and does not run for so long while others commit is idle."""

_MOST_LEFT: Final = 10_000
"""Threads that have ended, until the next begins a transaction."""


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
        self.counts: ObjectCounts = ObjectCounts()
        self.has_older: bool = False
        self.tid: Tid = Tid(0)
        self.has_root = False
        self.root_is_foreign = False
        self.horizon: Horizon = Horizon()
        self._cache = cache
        self.masks: Masks = Masks(self.horizon)
        self.masked: MaskedRefs = self.masks.masked  # Begin and end ask without a step between.
        self.idle_seconds = _IDLE_SECONDS
        self._look_at = 0.0  # By the clock: when to look for idle threads again.
        # Filled by finalizers, which must not wait for a lock.
        self._retired: deque[View] = deque()
        # What to warn of when no lock is held, and when: thread after thread may end so.
        self.left: deque[Left] = deque(maxlen=_MOST_LEFT)
        self.tell_left_at: float = 0.0

    def _end_retired(self) -> None:
        while self._retired:
            self._end(self._retired[0])
            self._retired.popleft()

    # -- views ------------------------------------------------------------------

    def begin_view(self, view: View) -> None:
        with self.lock:
            self.begin_under_lock(view)

    def begin_under_lock(self, view: View) -> None:
        """Begin a view (lock held)."""
        if self._retired or self._cache.dead:
            self._end_retired()
            self._cache.collect(self.masked)
        if view.working or view.kept or self.masked.turns:
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
            if self.masked.turns:
                self.masks.take_off_due(self.tid)

    def keep_nothing_for(self, view: View) -> None:
        """Keep nothing for *view* any more, which is committed and begins anew with that."""
        self.horizon.snapshots.pop(view, None)
        view.active = False

    def end_view(self, view: View) -> None:
        # Without the lock, which would cost as much as all the rest. A thread that publishes
        # meanwhile may put masks on for a view that has just left. It notes them before it looks
        # whether they are due, and this looks for such notes after the view has left: one of the
        # two takes them off.
        self.horizon.snapshots.pop(view, None)
        if view.working or view.kept or self.masked.turns:
            with self.lock:
                self._end(view)
        else:
            view.active = False

    def let_idle_lapse(self) -> None:
        """Let the views of idle threads lapse (lock held).

        Cost: a look at the clock, mostly.
        """
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + self.idle_seconds
        let_idle_lapse(self.horizon, self.tid)
        if self.masked.turns:
            self.masks.take_off_due(self.tid)

    def resume_view(self, view: View) -> None:
        """Let a view that has lapsed read its snapshot again. Cost: the objects in memory.

        The storage has that snapshot still.
        """
        with self.lock:
            tid = view.lapsed
            if tid is not None and not view.active:
                finish_despite_interrupts(
                    partial(resume, view, tid, self.horizon, self._cache, self.masks)
                )

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
        if self.masked.turns:
            self.masks.take_off_due(self.tid)
        view.active = False  # last: until then, it is ended again if interrupted

    def _drop(self, view: View, copies: Iterable[WorkingCopy]) -> None:
        oldest = self.horizon.oldest()
        alone, memo, mine = view.alone, view.memo, view.working
        take_off = self.masks.take_off
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
                    take_off(obj, ref, oldest)
            mine.pop(id(obj), None)

    # -- publication ---------------------------------------------------------

    def publish(self, tid: Tid, changes: Sequence[Publication], view: View) -> None:
        """Make the states that *view* has committed as *tid* visible to all (I2).

        *view* begins anew. The caller holds the lock. May be repeated after an interrupt, and then
        finishes what was begun.
        """
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
        self.begin_under_lock(view)
        if older:  # Without other views, nobody needs a mask.
            self.masked.add(tid, (ref for _, ref, _, _ in changes if ref.mask is not None))
            self.let_idle_lapse()
            self.masks.take_off_due(self.tid)

    def _push(self, obj: Any, ref: ObjectRef, tid: Tid, state: State) -> Mask:
        mask = ref.mask
        chain = (mask and mask.chain) or ((ref.serial, native_dict(obj)),)
        if chain[0][0] != tid:
            chain = self.horizon.prune(((tid, state), *chain))
        return self.masks.put_on(obj, ref, chain)

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
                self.masks.put_on(obj, ref, chain).foreign = True
                masked.append(ref)
            ref.serial = changed_at
        self.tid = tid
        if masked:
            self.masked.add(tid, masked)
            self.masks.take_off_due(self.tid)
        if older:
            self.let_idle_lapse()
