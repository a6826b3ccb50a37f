"""Changes of a structure of many objects that are done again, on what others have made of it.

Objects that are parts of one structure (the nodes of a tree) can be in conflict though what two
transactions wanted is not: one has split a node that the other has put something into. No state
made of three can settle that. So the class of the parts says whose they are::

    class Node(Persistent):
        _p_part_of = "tree"            # the attribute that leads to the owner

    class Tree(Persistent):
        def _p_replay(self, parts):    # [(part, state before, state after), ...]
            ...

and the owner does what the transaction has done once more, on the newest nodes. It gets all parts
that the transaction has checked out, and the new ones that these lead to: before is ``None`` for
a new part. From the states it finds out what was changed (not how), looks whether others have
changed the same, and raises ``ConflictError`` if so. What is volatile in a part is in the state
after, too: the owner may have noted there what no state tells. The states are its to look at;
what is mutable in the state after may be put into the structure, what is in the state before must
not be changed.

When it is called, the working copies of the parts are gone, the new ones lead nowhere, and the
transaction sees the newest snapshot: nothing else that it had checked out was changed by anybody,
or it was resolved, so that all it has is what it would have made of that snapshot. The commit
lock is held, so that nobody appends anything meanwhile, and nothing was written. The owner is
checked out; it may check out whatever it needs. Whatever it raises ends the transaction.

A transaction that has checked out the owner and changed no part, or is exclusive, depends on the
whole: then a part that others have changed is a conflict, and nothing is done again.

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
    """One part of a structure, and its state before and after; ``None``: it was not there."""

    part: Any
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


def replay(graph: Graph, view: View, torn: Iterable[TornStructure], at: Tid) -> bool:
    """Let the owners of *torn* structures do again what the transaction of *view* did to them.

    *at* was the newest tid before conflicts were looked for. Returns False, and has done nothing,
    if more was published since: what was appended before can become visible at any moment, and
    the view would go past it.

    Raises ConflictError if one of them refuses; the transaction has to be aborted then.
    """
    todo = [(owner, error, _parts(view, owner)) for owner, error in torn]
    # All of them are looked at before the snapshot moves, for they are to be seen as they were.
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
