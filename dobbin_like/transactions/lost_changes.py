"""Warnings of lost changes: in a list of a working copy, after the transaction has ended.

A working copy has ordinary lists, dicts and sets, which a program can keep. After the commit or
the abort, they belong to no object: changes to them are not stored. They can't be refused, but the
next commit of the thread warns of them.

And of the uncommitted changes of a thread that has ended: another thread warns of them when it
begins a transaction, or closes the database.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable
from operator import is_
from typing import Any, Final, NamedTuple

from dobbin_like.exc import LostChangeWarning, UncommittedChangesWarning
from dobbin_like.objects.faces.view import Left
from dobbin_like.objects.faces.working_copy import WorkingCopy, Written, containers_of
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.objects.values.declared import declared_parts, declares_parts, is_frozen
from dobbin_like.objects.values.guards import SHARED_TYPES, describe, owner_of
from dobbin_like.objects.values.refs import ObjectRef
from dobbin_like.objects.values.value_kinds import (
    BASES,
    BYTEARRAY,
    DICT,
    FROZENSET,
    KINDS,
    OTHER,
    REFERENCE,
    SET,
    TUPLE,
    base_of,
)
from dobbin_like.warn_outside import warn_nowhere, warn_outside


def _own_references() -> int:
    value: list[Any] = []
    return sys.getrefcount(value)


_OWN_REFERENCES: Final = _own_references()
"""To a value that nobody keeps: of a variable, and where Python counts that, of an argument."""

_MANY: Final = 100
"""Values; a commit of more would take notably longer."""


class KeptContainer(NamedTuple):
    """A container that is still in use, what was stored of it, or was in it, and since when.

    *owner* names its object, which may be gone when the user is told.
    """

    owner: str
    value: Any
    stored: Any
    end: str = "end of the transaction that has stored"


ABORT: Final = "abort of the transaction that has read"
ROLLBACK: Final = "rollback to a savepoint in the transaction that has read"


def objects_of(written: list[Written]) -> list[Any]:
    """Return the owners of the containers, to keep alive those that the program has dropped."""
    return [ref() for ref, _, _ in written]


def kept_after(written: list[Written], objects: list[Any]) -> list[KeptContainer]:
    """Return which of the containers that a commit has stored are in use elsewhere.

    Empties both; *objects* are their owners, which are to be named. Cost: the containers. Whether
    one is in use is a guess by its reference count; containers that hold others are looked at
    first.
    """
    kept = []
    rest: list[Any] = [
        each for each in written if type(each[2]) in SHARED_TYPES or each[2] is None
    ]
    written.clear()  # The tuples among them.
    for at in range(len(rest)):
        ref, value, stored = rest[at]
        rest[at] = None
        if stored is None:
            kept += _kept_in(ref, value)
        elif sys.getrefcount(value) > _OWN_REFERENCES:
            kept.append(KeptContainer(describe(owner_of(ref)), value, stored))
    objects.clear()
    return kept


def _kept_in(ref: ObjectRef, values: list[Any]) -> list[KeptContainer]:
    """Return the containers in dataclasses and the like, if these or parts of them are in use.

    Of many values, parts are not looked at. Empties *values*.
    """
    kept = []
    is_many = len(values) > _MANY
    while values:
        value = values.pop()
        is_kept = sys.getrefcount(value) > _OWN_REFERENCES
        if is_kept or not is_many:
            parts = _parts_in(value)
            # The others are to what the part is in, and to the list.
            if is_kept or any(sys.getrefcount(part) > _OWN_REFERENCES + 2 for part in parts):
                containers = [part for part in parts if KINDS[type(part)] in BASES]
                owner = describe(owner_of(ref))
                kept += [KeptContainer(owner, each, each.copy()) for each in containers]
    return kept


def _parts_in(value: Any) -> list[Any]:
    """Return the containers and arbitrary values in the declared parts of one, however deep."""
    met: dict[int, Any] = {id(value): value}
    todo = [value]
    while todo:
        each = todo.pop()
        kind = KINDS[type(each)]
        if kind == OTHER:
            known = is_frozen(each) or declares_parts(each)
            parts = declared_parts(each) if known else ()
        else:
            parts = each.values() if kind == DICT else () if kind == BYTEARRAY else each
        fresh = {id(part): part for part in parts if KINDS[type(part)] > REFERENCE}
        todo += [part for key, part in fresh.items() if key not in met]
        met |= fresh
    del met[id(value)]
    return [part for part in met.values() if KINDS[type(part)] not in (TUPLE, FROZENSET)]


def read_in(copies: Iterable[WorkingCopy]) -> list[Written]:
    """Return the containers that were read from *copies*, which are about to be dropped."""
    # All at once: another thread may close the database, which drops them.
    return [each for working in list(copies) for each in containers_of(working)]


def kept_since(end: str, read: list[Written], objects: list[Any]) -> list[KeptContainer]:
    """Return which of the containers are in use when their copies were dropped.

    Empties *read*, and *objects*, which are theirs.
    """
    kept = kept_after(read, objects)
    return [each._replace(stored=each.value.copy(), end=end) for each in kept]


def tell_lost_changes(kept: list[KeptContainer], changes: Changes | None) -> None:
    """Warn of containers that were changed, unless *changes* store them again."""
    changed = [each for each in kept if not _is_same(each.value, each.stored)]
    if not changed:
        return
    again: set[int] = set()
    for _, value, stored in [] if changes is None else changes.written:
        again.add(id(value))
        for each in value if stored is None else ():
            again.update(map(id, _parts_in(each)))
    for owner, value, _, end in changed:
        if id(value) not in again:
            kind = base_of(type(value)).__name__
            text = (
                f"a {kind} of {owner} was changed after the {end} it: the change is lost; "
                f"after a checkout(), read the {kind} from its object again"
            )
            warn_outside(text, LostChangeWarning)


def _is_same(value: Any, stored: Any) -> bool:
    """Compare the parts of two containers; of those that are containers, their own pair tells."""
    if len(value) != len(stored):
        return False
    if KINDS[type(value)] == SET:
        return all(map(stored.__contains__, value))
    if KINDS[type(value)] == DICT and not _are_same(value.values(), stored.values()):
        return False
    return _are_same(value, stored)


def _are_same(parts: Any, stored: Any) -> bool:
    return all(map(is_, parts, stored)) or all(map(_is_same_part, parts, stored))


def _is_same_part(part: Any, stored: Any) -> bool:
    kind = KINDS[type(part)]
    if kind <= REFERENCE:
        return part is stored or (type(part) is type(stored) and bool(part == stored))
    return kind == KINDS[type(stored)]


def tell_left(left: deque[Left], path: str) -> None:
    """Warn, once for all of them, of what threads that are gone had checked out. Empties *left*.

    Requires: No lock is held.
    """
    gone: list[Left] = []
    while left:
        try:
            gone.append(left.popleft())
        except IndexError:  # Another thread warns of it.
            break
    here = os.getpid()
    gone = [each for each in gone if each.process == here]
    if not gone:
        return
    first = gone[0]
    owner = owner_of(first.ref)
    lives = owner is not None and owner() is not None
    what = describe(owner) if lives else f"{first.class_name} oid {first.ref.oid}"
    if first.objects > 1:
        what += f" and {first.objects - 1:,} more"
    others = f"; so have {len(gone) - 1:,} others" if len(gone) > 1 else ""
    text = (
        f"{path}: {first.who} has ended with changes that were neither committed nor aborted "
        f"({what} {first.what}); they are lost{others}; commit them there, or make them in a "
        "block: with db.transaction()"
    )
    warn_nowhere(text, UncommittedChangesWarning)
