"""Repeating the changes of a transaction to a structure, on top of what others have committed.

Objects that are parts of one structure (the nodes of a tree) can be in conflict although the
changes that two transactions want are not: one has split a node into which the other has put an
item. No merge of three states of a node resolves that. So the parts name their owner::

    class Node(Persistent):
        _p_part_of = "tree"            # the attribute that leads to the owner

    class Tree(Persistent):
        def _p_replay(self, parts):    # [(part, state before, state after), ...]
            ...

and the owner repeats the changes of the transaction, on the newest nodes. It gets all parts that
the transaction has checked out, and the new ones that these lead to; the state before is ``None``
for a new part. From the states it finds out what was changed (not how), checks whether others have
changed the same, and raises ``ConflictError`` if so. The state after includes the volatile
attributes of a part: the owner may have noted there what is not stored. It may put mutable values
of the state after into the structure, and must not change those of the state before.

When it is called, the working copies of the parts are gone, the new parts are not referred to, and
the transaction sees the newest snapshot: everything else that it had checked out was not changed
by others, or was resolved, so that its working copies fit that snapshot. The commit lock is held,
so that no other process appends, and nothing was written. The owner is checked out; it may check
out other objects. If it raises an exception, the transaction fails.

A transaction that has checked out the owner and changed no part, or is exclusive, depends on the
whole structure: then a part that others have changed is a conflict, and nothing is repeated.

``db.undo()`` calls it too, in an ordinary transaction, with the states the other way round: after
is ``None`` for a part that the transaction to be undone had made.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from dobbin_like.exc import ConflictError
from dobbin_like.ids import Tid
from dobbin_like.objects.faces.base import checkout, is_new
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.values.refs import ref_of
from dobbin_like.objects.values.value_kinds import (
    DICT,
    FROZENSET,
    KINDS,
    LIST,
    REFERENCE,
    SET,
    TUPLE,
)
from dobbin_like.transactions.compare_sides import refused_sides
from dobbin_like.transactions.conflicts import TornStructure, owner_of

logger: Final = logging.getLogger(__name__)


class PartChange(NamedTuple):
    """One part of a structure, and its state before and after; ``None``: it did not exist."""

    part: Any
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


def replay(graph: Graph, view: View, torn: Iterable[TornStructure], at: Tid) -> bool:
    """Let the owners of *torn* structures repeat what the transaction of *view* did to them.

    *at* was the newest tid before conflicts were looked for. Returns False, and has done nothing,
    if more was published since: what was appended before can become visible at any moment, and
    the view would go past it.

    Raises ConflictError if one of them refuses; the transaction has to be aborted then.
    """
    todo = [(owner, error, _parts(view, owner)) for owner, error in torn]
    # Before the snapshot moves: the parts are to be seen as they were.
    with graph.shared.lock:
        if graph.shared.tid != at:
            return False
        for _, _, parts in todo:
            for change in parts:
                working = view.working.get(id(change.part))
                if working is not None:
                    graph.shared.uncheckout(view, working)
        graph.shared.move_view(view)
    for owner, error, parts in todo:
        ref = ref_of(owner)
        if ref is None or not graph.storage.has(ref.oid):
            raise error  # all of it was dropped since, and packed away
        try:
            checkout(owner)
            owner._p_replay(parts)
        except ConflictError as refusal:
            reason = refusal.failed or type(refusal).__name__
            name = type(owner).__name__
            failed = f"the changes of the {name} could not be done again ({reason})"
            values: tuple[Any, ...] = (*error.args[:-1], failed)
            find = partial(refused_sides, partial(getattr, error, "sides"), refusal)
            raise type(error)(*values).tell(find) from refusal
        logger.debug("replayed the changes of %s", type(owner).__name__)
    return True


def _parts(view: View, owner: Any) -> list[PartChange]:
    """Return the parts of *owner* that the transaction has checked out or made."""
    found: list[PartChange] = []
    todo: list[Any] = []
    for working in list(view.working.values()):
        if owner_of(working.obj) is owner:
            working.copy_pending()
            before = MappingProxyType(working.base)
            found.append(PartChange(working.obj, before, MappingProxyType({**working})))
            todo.extend(type(working.obj)._p_faces.state_of(working).values())
    seen: set[int] = set()
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if KINDS[type(value)] == REFERENCE:
            if is_new(ref_of(value)) and owner_of(value) is owner:
                found.append(PartChange(value, None, MappingProxyType({**vars(value)})))
                todo.extend(type(value)._p_faces.state_of(vars(value)).values())
        else:
            todo.extend(_inside(value))
    return found


def _inside(value: Any) -> Iterable[Any]:
    kind = KINDS[type(value)]
    if kind <= REFERENCE:
        return ()
    if kind == DICT:
        return [*value, *value.values()]
    return value if kind in (LIST, SET, TUPLE, FROZENSET) else ()
