"""Both sides of a conflict for its error: which transaction was first, and where the two differ.

A conflict is found while the commit lock is held. So the error only keeps references, and compares
when ``sides`` is read. By then others may have gone on: only what can't change any more is
compared, which are published states, the working copy of the failed transaction, and the version
in the log that was the newest one at the conflict.

The cost is bounded: not all keys of a large collection are compared, and no large state is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, islice
from typing import Any, Final

from dobbin_like.contract import StoredVersion, Transaction
from dobbin_like.exc import ConflictError, Sides
from dobbin_like.ids import Oid, Tid
from dobbin_like.objects.deltas.delta import ITEMS
from dobbin_like.objects.deltas.layered import Layered, each_key
from dobbin_like.objects.deltas.overlay import Overlay
from dobbin_like.objects.faces.working_copy import PENDING, WorkingCopy
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.values.comparison import same
from dobbin_like.objects.values.refs import State
from dobbin_like.objects.values.short import ABSENT, difference, short
from dobbin_like.objects.values.value_kinds import DICT, KINDS, LIST, SET
from dobbin_like.timestamps import time_of

_TOLD: Final = 8  # Differences that an error tells.
_COMPARED: Final = 100  # Keys or items of one collection.
_READ: Final = 1 << 16  # Bytes of a version; a larger one is told if it is in memory.


_MERGING: Final = {DICT: "PersistentDict", LIST: "PersistentList", SET: "PersistentSet"}


class _NotRead:
    _p_immutable = True

    def __repr__(self) -> str:
        return "<not read>"


_NOT_READ: Final = _NotRead()

_Values = tuple[Any, Any, Any]
"""One value in the three states: old, theirs, own."""

_Change = tuple[str, Any, Any, Any]
"""The same, with its name first."""


def told_by(logged: Transaction) -> Sides:
    """Return which user has committed a transaction, when and with what note."""
    return Sides(logged.user, logged.description, time_of(logged.tid))


def first_side(graph: Graph, oid: Oid, since: Tid, at: Tid) -> tuple[Sides, StoredVersion | None]:
    """Tell who has changed an object last after *since*, up to *at*; return the version, too.

    Nothing is told if that can't be read any more. Cost: two small reads.
    """
    with suppress(Exception):  # Closed or packed since, or damaged: the next use reports that.
        stored = graph.storage.load(oid, at)
        if stored is not None and stored.tid > since:
            return told_by(graph.storage.transaction_of(stored)), stored
    return Sides(), None


def both_sides(
    graph: Graph, working: WorkingCopy, at: Tid, theirs: State | None, *, merges: bool
) -> Sides:
    """Tell both sides of the conflict of *working* with what was committed up to *at*.

    *theirs* is the state of then, if it is in memory. If the class *merges*, what only one of
    the two has changed is in no conflict.
    """
    sides, stored = first_side(graph, working.ref.oid, working.serial, at)
    faces = type(working.obj)._p_faces
    with suppress(Exception):  # As above.
        if theirs is None and stored is not None and len(stored.data) <= _READ:
            theirs = graph.states.decode(stored, working.ref)
    now = None if theirs is None else faces.state_of(theirs)
    own = faces.state_of(working)
    return compared(sides, faces.plain, working.base, now, own, merges=merges)


def refused_sides(find: Callable[[], Sides], refusal: ConflictError) -> Sides:
    """Tell what *find* does, with the differences for which code of a class has refused."""
    sides, refused = find(), refusal.sides
    told = refused.differences
    return sides._replace(differences=told, more=refused.more) if told else sides


def compared(
    sides: Sides, plain: Any, base: State, theirs: State | None, own: State, *, merges: bool
) -> Sides:
    """Return *sides* with what they have made of *base*; what both have changed comes first.

    *theirs* is ``None`` if it could not be read.
    """
    both: list[_Change] = []
    others: list[_Change] = []
    hint = ""
    hidden = ITEMS if plain._p_deltas else ""
    for name in {**base, **(theirs or {}), **own}:
        old, mine = base.get(name, ABSENT), own.get(name, ABSENT)
        their = _NOT_READ if theirs is None else theirs.get(name, ABSENT)
        values = old, their, old if mine is PENDING else mine
        with suppress(Exception):  # Code of users compares values and keys.
            changes = [*_changes("" if name == hidden else f".{name}", values, merges=merges)]
            for change in changes:
                by_both = not (same(change[1], change[2]) or same(change[1], change[3]))
                (both if by_both else others).append(change)
            for plain_ones in changes if name == hidden else [(f".{name}", *values)]:
                hint = hint or _hint(*plain_ones)
    found = both if merges and both else both + others
    told = tuple(difference(*change) for change in found[:_TOLD])
    return sides._replace(differences=told, more=len(found[_TOLD:]), hint=hint)


def _hint(place: str, *values: Any) -> str:
    """Say what would merge the changes of a plain collection, if each has changed other items."""
    kinds = {KINDS[type(value)] for value in values}
    kind = kinds.pop()
    old = values[0]
    if kinds or kind not in _MERGING or (kind == LIST and len(old) > _COMPARED):
        return ""
    if kind == LIST:  # Only what is appended is merged.
        apart = all(len(items) > len(old) and same(items[: len(old)], old) for items in values[1:])
    else:
        changed = [_at_all(values, key, kind) for key in _keys(values, kind, merges=False)]
        theirs, own = ({key for key, *by in changed if by[side]} for side in (0, 1))
        apart = bool(theirs and own) and theirs.isdisjoint(own)
    return f"a {_MERGING[kind]} in the place of {place} would merge the two" if apart else ""


def _at_all(values: _Values, key: Any, kind: int) -> tuple[Any, bool, bool]:
    """Return *key*, and which of the two have changed what is there."""
    old, their, mine = (_at(items, key, kind) for items in values)
    return key, not same(old, their), not same(old, mine)


def _changes(place: str, values: _Values, *, merges: bool) -> Iterator[_Change]:
    """Yield what was changed of an attribute: items, or the whole if it is no collection."""
    old, their, mine = values
    if mine is old and (their is old or their is _NOT_READ):
        return
    own_items = mine.base if isinstance(mine, Overlay) else mine
    kinds = {KINDS[type(value)] for value in (old, their, own_items) if value is not _NOT_READ}
    kind = kinds.pop()
    if kinds or kind not in (DICT, SET, LIST):
        if _is_changed(*values):
            yield place, *values
        return
    told = False
    for key in dict.fromkeys(_keys(values, kind, merges=merges)):
        items = _at(old, key, kind), _at(their, key, kind), _at(mine, key, kind)
        if _is_changed(*items):
            told = True
            yield f"{place}{{{short(key)}}}" if kind == SET else f"{place}[{short(key)}]", *items
    if not told and mine is not old and len(old) > _COMPARED:
        yield place, *values  # It is not known where.


def _keys(values: _Values, kind: int, *, merges: bool) -> Iterator[Any]:
    """Yield keys, members or indexes, those first that are likely to have been changed."""
    _, their, mine = values
    known = [items for items in values if items is not _NOT_READ]
    if kind == LIST:
        shortest, longest = min(map(len, known)), max(map(len, known))
        return islice(chain(range(shortest, longest), range(shortest)), _COMPARED)
    touched = [*mine.removed, *mine.all_added()] if isinstance(mine, Overlay) else []
    if touched and merges:
        return iter(touched)  # Their number is that of what the transaction has done.
    if isinstance(mine, Overlay):
        touched += mine.own
    if isinstance(their, Layered):
        touched += [*reversed([*their.added]), *their.removed]
        return islice(touched, _COMPARED)
    whole = [items for items in known if not isinstance(items, Overlay)]
    return islice(chain(touched, *(each_key(items, iter) for items in whole)), _COMPARED)


def _at(items: Any, key: Any, kind: int) -> Any:
    if items is _NOT_READ:
        return items
    if kind == LIST:
        return items[key] if key < len(items) else ABSENT
    if key not in items:
        return ABSENT
    return key if kind == SET else items[key]


def _is_changed(old: Any, their: Any, mine: Any) -> bool:
    return not (same(old, mine) and (their is _NOT_READ or same(old, their)))
