"""The invariants of shared state in memory: faces, masks, views, serials, states.

Takes the locks of the database while it walks over the objects in memory, and compares with
the log afterwards. Writes nothing. Knows the log only as the storage of the database.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, NamedTuple

from dobbin_like.check.report import Report
from dobbin_like.exc import Error
from dobbin_like.ids import ROOT_OID, Tid
from dobbin_like.objects.faces.broken import Broken
from dobbin_like.objects.faces.stream import PersistentStream
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.values import value_kinds
from dobbin_like.objects.values.refs import UNREAD, UNSTORED, ObjectRef, State, native_dict, ref_of
from dobbin_like.store import Store

_ATTEMPTS = 3
"""Walks until problems count: a thread that ends leaves its view to the next collection."""

_PAUSE_SECONDS = 0.001
"""Between two walks: a view that is leaving has to get the lock."""


class _Seen(NamedTuple):
    """One object as it was under the lock; ``state`` is None for a ghost."""

    obj: Any
    ref: ObjectRef
    serial: Tid
    state: State | None


class _Walk:
    """The findings of one walk under the locks.

    ``leaving``: views that read, and are in no horizon, with their snapshots. A view leaves
    without the lock; one that was leaving in the walk *before*, too, has not left.
    """

    def __init__(self, store: Store, before: _Walk | None) -> None:
        self.graph = store.graph
        self.report = Report(store.storage.path)
        self.note = self.report.add
        self.seen: list[_Seen] = []
        self.masked = 0
        self.views = {id(view): view for view in store.views()}
        active = {view: view.tid for view in self.views.values() if view.active}
        registered = self.graph.shared.horizon.snapshots.copy()
        self.leaving = active.keys() - registered.keys()
        self.stuck = self.leaving & before.leaving if before else set()
        self.ended = registered.keys() - active.keys()
        self.oldest = min([*registered.values(), *active.values()], default=None)
        self.storage_tid = store.storage.tid
        self.stored = store.storage.oid_count

    def run(self) -> None:
        self._check_views()
        self._check_tid()
        entries = self.graph.cache.all()
        if len(set(map(id, entries))) != len(entries):
            self.note(7, "cache", "an entry under two oids", "one object for each oid")
        for ref in entries:
            obj = ref()
            if obj is not None:
                self._check_object(ref, obj)

    def _check_views(self) -> None:
        """I3: The horizon has the snapshots that views read, and no others."""
        for view in self.stuck:
            self.note(
                3, "horizon", f"not the snapshot {view.tid} that a view reads", "all of them"
            )
        for view in self.ended:
            self.note(3, "horizon", f"a view of {view.tid} that has ended", "those that read")
        for view in self.views.values():
            if not view.active and (view.working or view.kept):
                found = f"{len(view.working)} working copies, {len(view.kept)} states"
                self.note(3, "a view that has ended", found, "nothing left of it")
            if view.tid > self.graph.shared.tid:
                self.note(2, "a view", f"snapshot {view.tid}", f"at most {self.graph.shared.tid}")

    def _check_tid(self) -> None:
        """I2: No transaction is published that is not applied."""
        tid = self.graph.shared.tid
        if tid > self.storage_tid:
            self.note(2, "shared state", f"tid {tid}", f"at most {self.storage_tid}")
        if self.graph.shared.has_root != bool(self.stored):
            found = f"has_root is {self.graph.shared.has_root}"
            self.note(2, "shared state", found, f"{self.stored} objects to have one or not")

    def _check_object(self, ref: ObjectRef, obj: Any) -> None:
        place = f"{type(obj).__name__} oid {ref.oid}"
        self._check_identity(ref, obj, place)
        self._check_face(ref, obj, place)
        if ref.mask is not None:
            self.masked += 1
            self._check_mask(ref, obj, place)
        if ref.serial > self.graph.shared.tid:
            self.note(2, place, f"serial {ref.serial}", f"at most {self.graph.shared.tid}")
        ghost = type(obj) is type(obj)._p_faces.ghost
        chain = None if ref.mask is None else ref.mask.chain
        newest = native_dict(obj) if chain is None else chain[0][1]
        self.seen.append(_Seen(obj, ref, ref.serial, None if ghost else newest))

    def _check_identity(self, ref: ObjectRef, obj: Any, place: str) -> None:
        """I7: Oid, cache entry and object refer to each other."""
        if self.graph.cache.get(ref.oid) is not ref:
            self.note(7, place, "a cache entry under another oid", "one under its own oid")
        if ref.jar is not self.graph or ref_of(obj) is not ref:
            self.note(7, place, "an object that leads to another entry", "its own")

    def _check_face(self, ref: ObjectRef, obj: Any, place: str) -> None:
        """I6: An object has its plain face unless it is masked or a ghost."""
        faces = type(obj)._p_faces
        masked = type(obj) is faces.mask
        if masked != (ref.mask is not None):
            found = f"the face {type(obj)!r}" + (" and no mask" if masked else " under a mask")
            self.note(6, place, found, "mask and face together")
        elif not masked and type(obj) not in (faces.plain, faces.ghost):
            self.note(6, place, f"the face {type(obj)!r}", "plain, masked or ghost")
        if ref.serial == UNSTORED or (ref.serial == UNREAD and type(obj) is not faces.ghost):
            self.note(2, place, f"serial {ref.serial}", "the tid that wrote it")

    def _check_mask(self, ref: ObjectRef, obj: Any, place: str) -> None:
        """I6: An object is masked only while a working copy or an older view needs it."""
        mask = ref.mask
        assert mask is not None
        chain = mask.chain
        for holder in mask.holders:
            view = self.views.get(holder)
            if view is None or id(obj) not in view.working:
                self.note(6, place, "held by a view without a working copy", "one that has it")
        if chain is None:
            if not mask.holders:
                self.note(6, place, "masked, with no working copy and no older version", "plain")
            return
        if not mask.holders and (self.oldest is None or self.oldest >= chain[0][0]):
            self.note(6, place, f"masked, though all views see {chain[0][0]}", "plain")
        tids = [version[0] for version in chain]
        if tids != sorted(set(tids), reverse=True) or tids[0] != ref.serial:
            self.note(2, place, f"versions {tids}", f"newest first, from {ref.serial} on")
        newest = chain[0][1]
        if newest is not None and newest is not native_dict(obj):
            self.note(2, place, "a newest version that is not the shared state", "the same")


def check_memory(store: Store, report: Report) -> None:
    """Check the objects of *store* in memory; not in the middle of a commit of this thread."""
    walk = _walk_memory(store, None)
    for _ in range(_ATTEMPTS - 1):
        if walk.report.ok and not walk.leaving:
            break
        time.sleep(_PAUSE_SECONDS)
        walk = _walk_memory(store, walk)
    report.problems += walk.report.problems
    report.loaded = sum(seen.state is not None for seen in walk.seen)
    report.masked = walk.masked
    for seen in walk.seen:
        if seen.serial > UNREAD:
            _compare_with_log(seen, walk, report)
    with contextlib.suppress(Error):  # Damaged, but present.
        if walk.stored and store.storage.load(ROOT_OID) is None:
            report.add(2, "oid 0", "no root", "a root, because there are objects")


def _walk_memory(store: Store, before: _Walk | None) -> _Walk:
    graph = store.graph
    passing = View({})
    graph.shared.begin_view(passing)  # Completes the work that finalizers have left.
    graph.shared.end_view(passing)
    # The same order of locks as in a commit.
    with store.publisher.lock, graph.shared.lock:
        walk = _Walk(store, before)
        walk.run()
    return walk


def _compare_with_log(seen: _Seen, walk: _Walk, report: Report) -> None:
    """I2: Serial and shared state of an object are those of its newest version in the log."""
    ref = seen.ref
    place = f"{type(seen.obj).__name__} oid {ref.oid}"
    try:
        stored = walk.graph.storage.load(ref.oid, walk.storage_tid)
        if stored is None:
            # It was unreachable when the log was packed, and is still in memory.
            if not walk.graph.packed:
                report.add(2, place, "an object that the log does not have", "a stored one")
        elif stored.tid != seen.serial:
            report.add(2, place, f"serial {seen.serial}", f"{stored.tid}, as in the log")
        elif seen.state is not None and not issubclass(type(seen.obj)._p_faces.plain, Broken):
            logged = walk.graph.states.decode(stored, ref)
            _compare_states(place, seen, logged, report)
    except Error:  # Damaged bytes; noted when the log was scanned.
        return


def _compare_states(place: str, seen: _Seen, logged: State, report: Report) -> None:
    faces = type(seen.obj)._p_faces
    shared = faces.state_of(seen.state)
    if faces.plain is PersistentStream:  # Its position depends on the file.
        shared, logged = ({**state, "_offset": 0} for state in (shared, logged))
    for name in shared.keys() | logged.keys():
        if name not in shared or name not in logged or not _equal(shared[name], logged[name]):
            found = f"attribute {name} in shared state differs from the log"
            report.add(2, place, found, "what was committed, unchanged since")


def _equal(shared: Any, logged: Any) -> bool:
    """Return whether two values are the same, as far as it can be found without user code."""
    seen: set[tuple[int, int]] = set()  # a value may contain itself
    todo = [(shared, logged)]
    while todo:
        pair = todo.pop()
        key = id(pair[0]), id(pair[1])
        if key not in seen:
            seen.add(key)
            inside = _compare(*pair)
            if inside is None:
                return False
            todo.extend(inside)
    return True


def _compare(shared: Any, logged: Any) -> list[tuple[Any, Any]] | None:
    """Return the pairs of parts that have to be the same, or ``None`` if the values differ."""
    kind = value_kinds.KINDS[type(shared)]
    if shared is logged or kind == value_kinds.OTHER:
        return []
    kept = [hasattr(type(value), "_p_parts") for value in (shared, logged)]
    if any(kept):  # the class is not loaded, or was not when the object was read
        return [(shared._p_parts(), logged._p_parts())] if all(kept) else []
    if kind != value_kinds.KINDS[type(logged)] or kind == value_kinds.REFERENCE:
        return None
    if kind == value_kinds.IMMUTABLE:
        same = type(shared) is type(logged) and shared == logged
        is_nan = shared != shared and logged != logged  # noqa: PLR0124
        return [] if same or is_nan else None
    if len(shared) != len(logged):
        return None
    if kind in {value_kinds.SET, value_kinds.FROZENSET}:
        return []
    pairs = list(zip(shared, logged, strict=True))
    if kind == value_kinds.DICT:
        pairs += zip(shared.values(), logged.values(), strict=True)
    return pairs
