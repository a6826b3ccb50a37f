"""Views of idle threads: a thread that waits between two transactions keeps no old versions.

While others commit, the snapshot of such a thread would keep versions in memory and masks on
objects, for as long as it waits. So its view *lapses*: it ends, and remembers which snapshot
it had. If the thread goes on without beginning a transaction, it reads that snapshot again.
All is done under the lock of the shared state, and each step may be repeated.
"""

from __future__ import annotations

from functools import partial

from dobbin_like.ids import Tid
from dobbin_like.objects.faces.view import Horizon, View
from dobbin_like.objects.graph.cache import Cache
from dobbin_like.objects.graph.masks import Masks
from dobbin_like.objects.values.refs import native_dict
from dobbin_like.processes.interrupts import finish_despite_interrupts


def let_idle_lapse(horizon: Horizon, newest: Tid) -> None:
    """Let the views lapse that are older than *newest* and whose threads are idle.

    Those have not run since the last look: a thread that reads unchanged objects runs no code
    of ours, and must not find a changed one among them.
    """
    for view in list(horizon.snapshots):
        may_lapse = view.between and not view.working and view.tid < newest
        if may_lapse and not view.run_time.has_run():
            finish_despite_interrupts(partial(_let_lapse, view, horizon))


def _let_lapse(view: View, horizon: Horizon) -> None:
    if view not in horizon.snapshots:  # This was done before an interrupt came; or it has left.
        return
    # In this order: what its thread remembers from now on, it forgets itself.
    view.lapsed = view.tid
    view.active = False
    view.forget_states()
    if horizon.snapshots.pop(view, None) is None:  # It has left meanwhile, for which it needs
        view.lapsed = None  # no lock, and does not come back to that snapshot.


def resume(view: View, tid: Tid, horizon: Horizon, cache: Cache, masks: Masks) -> None:
    """Make *view* one of the snapshot *tid*, with masks on all that has changed since."""
    horizon.snapshots[view] = tid
    horizon.floor = min(horizon.floor, tid)
    changed = [ref for ref in cache.all() if ref.serial > tid]
    # What was computed from newer states, and cached for all.
    for obj in (ref() for ref in cache.all()):
        if obj is not None:  # Not its truth, for which it would have to be read.
            faces = type(obj)._p_faces
            for name in faces.volatile or faces.find_volatile():
                native_dict(obj).pop(name, None)
    masks.masked.add_changed(changed)
    for ref in changed:
        obj, chain = ref(), None if ref.mask is None else ref.mask.chain
        # A ghost is masked when it is read.
        if obj is not None and type(obj) is not type(obj)._p_faces.ghost:
            # Also if there is a chain: an interrupt may have come before the class. The older
            # versions in it are those of other snapshots; between, others may be missing.
            chain = chain or ((ref.serial, native_dict(obj)),)
            newer = tuple(version for version in chain if version[0] > tid)
            masks.put_on(obj, ref, newer)
    view.tid = tid
    view.active = True
    view.lapsed = None
