"""Changes that come too late: in a list that was stored, after the transaction has ended.

A working copy has ordinary lists, dicts and sets, which a program can keep. After the commit, they
belong to nobody: what is changed in them is not stored. That can't be refused, but told by the
next commit of the thread.
"""

from __future__ import annotations

import sys
import warnings
from operator import is_
from typing import Any, Final, NamedTuple

from dobbin_like.exc import LostChangeWarning
from dobbin_like.objects.graph.changes import Changes, Written
from dobbin_like.objects.values.guards import SHARED_TYPES, describe
from dobbin_like.objects.values.refs import ObjectRef
from dobbin_like.objects.values.value_kinds import DICT, KINDS, REFERENCE, SET, base_of


def _own_references() -> int:
    value: list[Any] = []
    return sys.getrefcount(value)


_OWN_REFERENCES: Final = _own_references()
"""To a value that nobody keeps: of a variable, and where Python counts that, of an argument."""


class Kept(NamedTuple):
    """A container that somebody still has, and what was stored of it."""

    ref: ObjectRef
    value: Any
    stored: Any


def kept_after(written: list[Written]) -> list[Kept]:
    """Return which of the containers that a commit has stored are in use elsewhere.

    Empties *written*. Cost: the containers. That somebody has one is a guess, by the references
    to it; those of a container that holds another go first.
    """
    kept = []
    rest: list[Any] = [each for each in written if type(each[2]) in SHARED_TYPES]
    written.clear()  # The tuples among them.
    for at in range(len(rest)):
        ref, value, stored = rest[at]
        rest[at] = None
        if sys.getrefcount(value) > _OWN_REFERENCES:
            kept.append(Kept(ref, value, stored))
    return kept


def tell_lost_changes(kept: list[Kept], changes: Changes | None) -> None:
    """Warn of containers that were changed, unless *changes* store them again."""
    changed = [each for each in kept if not _is_same(each.value, each.stored)]
    if not changed:
        return
    again = set() if changes is None else {id(value) for _, value, _ in changes.written}
    for ref, value, _ in changed:
        if id(value) not in again:
            kind = base_of(type(value)).__name__
            text = (
                f"a {kind} of {describe(ref)} was changed after the end of the transaction that "
                f"has stored it: the change is lost; after a checkout(), read the {kind} from its "
                "object again"
            )
            warnings.warn(text, LostChangeWarning, stacklevel=2)


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
