"""Taking an old transaction back: attribute by attribute, unless it was changed since.

All is found out before anything is changed; then the objects are checked out and given
their states, in the transaction of the caller. So what others commit meanwhile is a
conflict like any other.

The attributes of a persistent dict are its keys, those of a persistent set its members:
what is undone there are those that the transaction changed. A structure of many objects, such
as a tree, can't be taken back part by part: what was moved to a new part then may have got
company there since. So its owner does the opposite of what was done, as it does again what was
done where parts are in conflict: see :mod:`dobbin_like.transactions.replay`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from dobbin_like.collections.dict import PersistentDict
from dobbin_like.collections.set import PersistentSet
from dobbin_like.contract import Storage, Transaction
from dobbin_like.exc import (
    ConflictError,
    PastDroppedError,
    TransactionNotFound,
    UndoConflictError,
    UndoError,
)
from dobbin_like.history.states import differing
from dobbin_like.ids import CATALOG_CLASS, ROOT_OID, Oid, Tid
from dobbin_like.objects.deltas.delta import ITEMS
from dobbin_like.objects.faces.base import checkout
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.values.comparison import same
from dobbin_like.objects.values.refs import ObjectRef, State, ref_of
from dobbin_like.objects.values.short import ABSENT, short_key
from dobbin_like.objects.values.value_kinds import DICT, KINDS, SET
from dobbin_like.storages.as_of import check_complete
from dobbin_like.store import Store
from dobbin_like.timestamps import tid_of
from dobbin_like.transactions.compare_sides import compared, first_side
from dobbin_like.transactions.conflicts import checked_state, own_state
from dobbin_like.transactions.replay import PartChange

_WHO = "a later transaction, or by this one"


class _Step(NamedTuple):
    """What undoing does to one object: attributes and items by name or key, ABSENT: delete."""

    obj: Any
    attributes: dict[str, Any]
    items: dict[Any, Any]


def undo(store: Store, tid: int) -> None:
    """Take back what transaction *tid* has changed, in the transaction of this thread.

    Nothing is written before the caller commits. Every attribute that *tid* changed gets the
    value that it had before, and so does every key of a ``PersistentDict`` and every member of a
    ``PersistentSet``. What else was changed since stays, and so do the objects that *tid* made.
    An undo is a transaction as any other, and can be undone.

    If something was changed again since, ``_p_resolve_conflict(state after tid, state
    now, state before tid)`` of the class decides. Changed back to what it was before
    *tid*, it needs no undoing.

    Raises:
        UndoConflictError: Something was changed again since, and the class can't
            resolve it. It is a ConflictError, but to run it again does not help.
        TransactionNotFound: No transaction in this thread's snapshot has this tid.
        PastDroppedError: What there was before was dropped by packing.
        UndoError: The transaction failed, changed no object, or set the root.
        UnloadedClassError: The class of a changed object is not loaded.
        In all cases nothing was changed. Other errors are those of a checkout.

    Cost: The objects that *tid* changed, and the versions of them since; a small read
    for each transaction since.
    """
    storage, graph, manager = store.storage, store.graph, store.manager()
    view = manager.join()
    logged = _find(storage, tid_of(tid, "tid"), view.tid)
    changed = _without_indexes(graph, view, logged) if graph.indexed else logged.oids
    oids = _changed_oids(storage, logged, changed)
    owned = _structures(storage, graph, view, changed, logged.tid)
    parts = frozenset[Oid]().union(*(structure.oids for structure in owned))
    steps = [_step(graph, view, oid, logged.tid) for oid in oids if oid not in parts]
    before = manager.savepoint()
    try:
        for step in steps:
            if step is not None:
                checkout(step.obj)
                _apply(step, view.working[id(step.obj)])
        for structure in owned:
            structure.take_back(logged.tid, view.tid)
    except BaseException:  # Of whatever kind: all of it, or nothing.
        before.rollback()
        raise


def _find(storage: Storage, tid: Tid, snapshot: Tid) -> Transaction:
    if tid > snapshot:
        reason = f"this thread sees the log up to {snapshot}; begin a transaction to see more"
        raise TransactionNotFound(storage.path, tid, reason)
    # What it changed needs the version before.
    before = Tid(tid - 1)
    try:
        check_complete(storage, before)
    except PastDroppedError as error:
        raise PastDroppedError(error.path, before, error.complete_since, tid) from None
    logged: Transaction | None = next(storage.transactions(Tid(tid - 1), tid), None)
    if logged is None:
        raise TransactionNotFound(storage.path, tid, "none has this tid")
    if logged.failed:
        raise UndoError(storage.path, tid, "it failed, and changed nothing")
    if not logged.oids:
        raise UndoError(storage.path, tid, "it changed no object")
    return logged


def _without_indexes(graph: Graph, view: View, logged: Transaction) -> Sequence[int]:
    """Return what the transaction has changed, but for indexes, which follow by themselves."""
    found = []
    for oid in logged.oids:
        part = graph.ghosts.get(oid, view.tid)
        plain = type(part)._p_faces.plain
        attribute, ref = getattr(plain, "_p_part_of", None), ref_of(part)
        assert ref is not None
        owner = None if attribute is None else graph.fresh(ref, logged.tid).get(attribute)
        if (plain.__module__, plain.__qualname__) == CATALOG_CLASS:
            reason = "it made or dropped an index; call drop_index() or index()"
            raise UndoError(graph.storage.path, logged.tid, reason)
        if not any(getattr(type(each), "_p_derived", False) for each in (part, owner)):
            found.append(oid)
    return found


def _changed_oids(storage: Storage, logged: Transaction, changed: Iterable[int]) -> list[Oid]:
    """Return those of the *changed* objects that were there before the transaction."""
    oids = [oid for oid in map(Oid, changed) if storage.load(oid, Tid(logged.tid - 1))]
    reason = "" if changed else "it changed indexes only, which follow by themselves"
    if ROOT_OID in logged.oids and ROOT_OID not in oids:
        reason = "it set the root, which can't be changed"
    elif not (oids or reason):
        reason = "it only made objects; take them off what refers to them"
    if reason:
        raise UndoError(storage.path, logged.tid, reason)
    return oids


def _step(graph: Graph, view: View, oid: Oid, tid: Tid) -> _Step | None:
    obj = graph.ghosts.get(oid, view.tid)
    ref = ref_of(obj)
    assert ref is not None
    serial, now = _now(graph, view, obj, ref)
    before = graph.fresh(ref, Tid(tid - 1))
    after = graph.fresh(ref, tid)
    if serial == tid or not differing(after, now):
        if not differing(before, after):
            return None
        # Whole: so what was one value in two attributes is one again.
        return _Step(obj, {**dict.fromkeys(after, ABSENT), **before}, {})
    return _merge(graph, obj, tid, serial or view.tid, before, after, now)


def _now(graph: Graph, view: View, obj: Any, ref: ObjectRef) -> tuple[Tid | None, State]:
    """Return the tid and the state that the thread sees; no tid: it has changed the state."""
    working = view.working.get(id(obj))
    if working is None:
        serial, state = graph.resolver.version(obj, ref, view)
        return serial, type(obj)._p_faces.state_of(state)
    changed = working.changed() is not None
    working.copy_pending()
    return None if changed else working.serial, type(obj)._p_faces.state_of(working)


def _merge(
    graph: Graph, obj: Any, tid: Tid, serial: Tid, before: State, after: State, now: State
) -> _Step:
    """Return how the change from *before* to *after* is taken back; see :func:`undo`."""
    plain = type(obj)._p_faces.plain
    attributes: dict[str, Any] = {}
    items: dict[Any, Any] = {}
    for name in differing(before, after):
        old, new, present = (state.get(name, ABSENT) for state in (before, after, now))
        if same(present, new):
            attributes[name] = old
        elif not same(present, old):
            again = name
            if name == ITEMS and issubclass(plain, (PersistentDict, PersistentSet)):
                found = _merge_items(old, new, present)
                if isinstance(found, dict):
                    items = found
                    continue
                again += found
            merged = _resolve(graph, obj, tid, serial, again, before, after, now)
            return _Step(obj, {**dict.fromkeys(now, ABSENT), **merged}, {})
    return _Step(obj, attributes, items)


def _merge_items(before: Any, after: Any, now: Any) -> dict[Any, Any] | str:
    """Return what becomes of which items; the name of one that was changed again."""
    old, new, present = (
        items if KINDS[type(items)] == DICT else dict.fromkeys(items)
        for items in (before, after, now)
    )
    changes: dict[Any, Any] = {}
    for key in [*new, *(key for key in old if key not in new)]:
        was, became, is_now = (items.get(key, ABSENT) for items in (old, new, present))
        if same(was, became) or same(is_now, was):
            continue
        if not same(is_now, became):
            return f"[{short_key(key)}]"
        changes[key] = was
    return changes


def _resolve(
    graph: Graph,
    obj: Any,
    tid: Tid,
    serial: Tid,
    attribute: str,
    before: State,
    after: State,
    now: State,
) -> State:
    plain = type(obj)._p_faces.plain
    resolve = getattr(plain, "_p_resolve_conflict", None)

    def conflict(failed: str = "") -> UndoConflictError:
        name, oid = plain.__name__, obj._p_oid
        who, _ = first_side(graph, oid, tid, serial)
        # At once: the transaction goes on, and may change its values.
        sides = compared(who, plain, after, now, before, merges=True)
        error = UndoConflictError(name, oid, serial, tid, _WHO, failed, attribute)
        return error.tell(lambda: sides)

    if resolve is None:
        raise conflict()
    try:
        merged = resolve(after, own_state(now), before)
    except ConflictError as error:
        failed = f"its resolution was refused ({error.failed or type(error).__name__})"
        raise conflict(failed) from error
    return checked_state(plain.__name__, merged)


def _apply(step: _Step, working: dict[str, Any]) -> None:
    for name, value in step.attributes.items():
        if value is ABSENT:
            working.pop(name, None)
        else:
            working[name] = value
    if not step.items:
        return
    items = step.obj._items  # noqa: SLF001  the thread's own copy by now
    for key, value in step.items.items():
        if KINDS[type(items)] == SET:
            (items.discard if value is ABSENT else items.add)(key)
        elif value is ABSENT:
            items.pop(key, None)
        else:
            items[key] = value


# -- structures of many objects -----------------------------------------------------


class _Structure(NamedTuple):
    """An owner, the oids of the parts that a transaction changed, and how to change them back."""

    owner: Any
    oids: frozenset[Oid]
    changes: tuple[PartChange, ...]

    def take_back(self, tid: Tid, snapshot: Tid) -> None:
        """Do the opposite of what transaction *tid* did, or raise UndoConflictError."""
        checkout(self.owner)
        try:
            self.owner._p_replay(self.changes)
        except ConflictError as error:
            name, oid = type(self.owner).__name__, self.owner._p_oid
            serial = max(part._p_serial or snapshot for part, _, _ in self.changes)
            conflict = UndoConflictError(name, oid, serial, tid, _WHO, error.failed, "parts")
            sides = error.sides
            raise conflict.tell(lambda: sides) from error


def _structures(
    storage: Storage, graph: Graph, view: View, oids: Iterable[int], tid: Tid
) -> list[_Structure]:
    """Return the structures to which some of *oids* belong, all changed by transaction *tid*.

    Those that were there before it: what it has made goes with what leads to it.
    """
    found: dict[Oid, tuple[Any, dict[Oid, PartChange]]] = {}
    for oid in map(Oid, oids):
        part = graph.ghosts.get(oid, view.tid)
        attribute = getattr(type(part), "_p_part_of", None)
        ref = ref_of(part)
        if attribute is None or ref is None:
            continue
        after = graph.fresh(ref, tid)
        owner = after.get(attribute)
        owner_oid = getattr(owner, "_p_oid", None)
        if owner_oid is None or not hasattr(type(owner), "_p_replay"):
            continue
        if storage.load(owner_oid, Tid(tid - 1)) is None:
            continue
        known = storage.load(oid, Tid(tid - 1)) is not None
        before = MappingProxyType(graph.fresh(ref, Tid(tid - 1))) if known else None
        change = PartChange(part, MappingProxyType(after), before)
        found.setdefault(owner_oid, (owner, {}))[1][oid] = change
    return [
        _Structure(owner, frozenset(changes), tuple(changes.values()))
        for owner, changes in found.values()
    ]
