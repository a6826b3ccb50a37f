"""First committer wins: finding conflicts, and resolving them where the class can.

An object that a view has checked out must not have been changed by a
transaction that was committed since the view's snapshot, whether the view
has changed it or not. Called with the commit lock held and all news applied.

A conflict is resolved by the class, if it can make one state out of three; or, if the object is
part of a structure of many objects, by the owner of the structure: see :mod:`.replay`.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import Any, Final

from dobbin_like.contract import Transaction
from dobbin_like.exc import ConflictError, ObjectNotFound, ReadConflictError, WriteConflictError
from dobbin_like.ids import NO_TID, ROOT_OID, Oid, Tid
from dobbin_like.objects.deltas.delta import ITEMS
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.faces.working_copy import WorkingCopy
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.values.refs import State, ref_of
from dobbin_like.objects.values.values import deep_copy, to_plain
from dobbin_like.transactions.compare_sides import (
    both_sides,
    first_side,
    refused_sides,
    told_by,
)

logger: Final = logging.getLogger(__name__)


TornStructure = tuple[Any, ConflictError]
"""The owner of a structure whose parts are in conflict, and how: it is to do its changes again."""

_Merged = tuple[WorkingCopy, Tid, State, State | None]
"""A working copy, its new serial and base, and its state; ``None``: the one that it has."""


def find_conflicts(graph: Graph, view: View) -> list[TornStructure]:
    """Compare what *view* has checked out with what is committed now, and resolve what can be.

    Returns the structures that have to be changed again; their parts are as they were.

    Raises:
        ReadConflictError: The newer version was found in the log.
        WriteConflictError: A thread of this instance has committed it. In both cases the working
            copies are as they were.
    """
    if view.tid == graph.shared.tid and view.new_root is None:
        return []  # Nothing was committed since.
    _check_structures(graph, view)
    merged, torn = _resolve_all(graph, view)
    if view.new_root and graph.shared.has_root:
        name, at = type(view.new_root[0]).__name__, graph.shared.tid
        # If others have set it, neither its reference nor its tid is in memory.
        sides, stored = first_side(graph, ROOT_OID, NO_TID, at)
        serial = NO_TID if stored is None else stored.tid
        foreign = graph.shared.root_is_foreign
        error = _error(name, ROOT_OID, serial, NO_TID, "", foreign=foreign)
        raise error.tell(lambda: sides)
    for working, serial, base, state in merged:
        if id(owner_of(working.obj)) not in torn:
            working.rebase(serial, base, state)
            graph.shared.counts.merged += 1
    return list(torn.values())


def _resolve_all(graph: Graph, view: View) -> tuple[list[_Merged], dict[int, TornStructure]]:
    merged: list[_Merged] = []
    torn: dict[int, TornStructure] = {}
    for working in list(view.working.values()):
        if working.ref.serial != working.serial:
            try:
                merged.append(_resolve(graph, working))
            except ConflictError as error:
                owner = owner_of(working.obj)
                if owner is None:
                    raise
                torn.setdefault(id(owner), (owner, error))
    return merged, torn


def owner_of(obj: Any) -> Any:
    """Return the owner of the structure that *obj* is part of, or ``None``.

    As the calling thread sees it: ``_p_part_of`` of the class names the attribute.
    """
    attribute = getattr(type(obj), "_p_part_of", None)
    owner = None if attribute is None else getattr(obj, attribute, None)
    return owner if hasattr(type(owner), "_p_replay") else None


def _check_structures(graph: Graph, view: View) -> None:
    """Refuse a transaction that depends on a whole structure of which others have changed a part.

    It does if it has checked out the owner, and has changed no part or is exclusive. Parts that
    are not in memory were not read by it. Cost: what was committed since its snapshot; else
    nothing.
    """
    copies = list(view.working.values())
    whole = {id(copy.obj): copy.obj for copy in copies if hasattr(type(copy.obj), "_p_replay")}
    if not whole:
        return
    exclusive = {id(copy.obj) for copy in copies if copy.exclusive}
    for copy in copies:
        owner = id(owner_of(copy.obj))
        if owner in whole and owner not in exclusive and copy.changed() is not None:
            del whole[owner]
    if whole:
        for logged in graph.storage.transactions(view.tid):
            for oid in () if logged.failed else logged.oids:
                _check_part(graph, whole, Oid(oid), logged)


def _check_part(graph: Graph, whole: dict[int, Any], oid: Oid, logged: Transaction) -> None:
    """Refuse if the object *oid*, which *logged* has changed, is part of one of *whole*."""
    ref = graph.cache.get(oid)
    part = None if ref is None else ref()
    if ref is None or part is None:
        return
    owner: Any = None
    with suppress(ObjectNotFound):  # A part that is new since: it was not read.
        owner = owner_of(part)
    owner_entry = ref_of(owner) if id(owner) in whole else None
    if owner_entry is not None:
        foreign = ref.mask is None or ref.mask.foreign
        name = type(owner)._p_faces.plain.__name__
        failed = f"its {type(part)._p_faces.plain.__name__} oid {oid} was changed"
        values = owner_entry.oid, logged.tid, owner_entry.serial
        raise _error(name, *values, failed, foreign=foreign).tell(partial(told_by, logged))


def _resolve(graph: Graph, working: WorkingCopy) -> _Merged:
    ref, obj = working.ref, working.obj
    plain = type(obj)._p_faces.plain
    name = plain.__name__
    foreign = ref.mask is None or ref.mask.foreign
    resolve: Any = getattr(plain, "_p_resolve_conflict", None)
    merges = resolve is None and getattr(plain, "_p_merge", False)

    def conflict(theirs: State | None, failed: str = "", refusal: Any = None) -> ConflictError:
        error = _conflict(graph, name, ref.oid, working.serial, failed, foreign=foreign)
        only_both = merges and not working.exclusive
        find = partial(both_sides, graph, working, graph.shared.tid, theirs, merges=only_both)
        return error.tell(partial(refused_sides, find, refusal) if refusal else find)

    # A checkout without a change means that the transaction depends on what it has read.
    if not (merges or resolve) or working.exclusive or working.changed() is None:
        raise conflict(graph.resolver.newest_in_memory(obj, ref))
    try:
        saved_serial, saved = graph.resolver.version(obj, ref, None)
    except ObjectNotFound as error:  # unreachable, and dropped by a pack
        raise conflict(None, "it was dropped since") from error
    if merges:
        if not working.fits(saved):
            raise conflict(saved)
        logger.debug("merging changes of %s oid %d", name, ref.oid)
        return working, saved_serial, saved, None
    try:
        merged = resolve(own_state(working.base), own_state(saved), _mine(working))
    except ConflictError as refusal:
        failed = f"its resolution was refused ({refusal.failed or type(refusal).__name__})"
        raise conflict(saved, failed, refusal) from refusal
    logger.debug("resolved a conflict of %s oid %d", name, ref.oid)
    return working, saved_serial, saved, dict(checked_state(name, merged))


def checked_state(name: str, merged: Any) -> State:
    """Return what ``_p_resolve_conflict`` of the class *name* has returned, if it is a state."""
    if not isinstance(merged, dict) or not all(type(name) is str for name in merged):
        text = f"{name}._p_resolve_conflict() returned {merged!r:.60}, expected a state dict"
        raise TypeError(text)
    return merged


def _mine(working: WorkingCopy) -> dict[str, Any]:
    working.copy_pending()
    overlay = working.overlay()
    return dict(working) if overlay is None else {**working, ITEMS: overlay.plain()}


def own_state(state: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a shared state that user code may change."""
    memo: dict[int, Any] = {}
    return deep_copy({name: to_plain(value, memo) for name, value in state.items()})  # type: ignore[no-any-return]


def _conflict(
    graph: Graph, name: str, oid: Oid, base_serial: Tid, failed: str, *, foreign: bool
) -> ConflictError:
    ref = graph.cache.get(oid)
    serial = NO_TID if ref is None else ref.serial
    return _error(name, oid, serial, base_serial, failed, foreign=foreign)


def _error(
    name: str, oid: Oid, serial: Tid, base_serial: Tid, failed: str, *, foreign: bool
) -> ConflictError:
    logger.debug("conflict of %s oid %d with tid %d", name, oid, serial)
    if foreign:
        who = "another process or instance"
        return ReadConflictError(name, oid, serial, base_serial, who, failed)
    return WriteConflictError(name, oid, serial, base_serial, "another thread", failed)
