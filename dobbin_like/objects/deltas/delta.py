"""Deltas: what one transaction has changed in a large collection, stored instead of all of it.

A delta is the change of one earlier version. It is a pickle of ``(tid of that version,
removed keys, added items)``; the items are a dict for a dict, a list for a set or a list.
A whole state is written again when the deltas since the last one outweigh it, so that
reading costs at most about twice what reading a whole state costs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

from dobbin_like.ids import DELTA, NO_TID, Oid, Tid

ITEMS: Final = "_items"
"""The attribute of a collection that deltas change. A class that has such deltas says so
with ``_p_deltas = True``."""

_STEP: Final = 200
"""The cost of reading one more version, in bytes of a whole state."""


class Delta(NamedTuple):
    """One change of a collection; see above."""

    base: Tid
    removed: Collection[Any]
    added: Any


DeltaChain = tuple[list[Delta], int, Any]
"""Deltas, the oldest first, what they weigh, and the stored version below; None: a known one."""


class MissingBaseError(LookupError):
    """The version that a delta changes is missing."""


def chain_of(
    oid: Oid,
    stored: Any,
    decode: Callable[[Any], Delta],
    version_before: Callable[[Oid, Any], Any],
    known: Tid = NO_TID,
) -> DeltaChain:
    """Follow the deltas of *stored* back to a whole state, or to the version *known*.

    Raises MissingBaseError if a version is missing. Cost: the versions on the way.
    """
    deltas: list[Delta] = []
    weight = 0
    while stored.number & DELTA:
        delta = decode(stored)
        deltas.append(delta)
        weight += weight_of(stored.data)
        if delta.base == known:
            return deltas[::-1], weight, None
        stored = version_before(oid, stored)
        if stored is None or stored.tid != delta.base:
            text = f"a delta of version {delta.base} of oid {oid}, which is not there"
            raise MissingBaseError(text)
    return deltas[::-1], weight, stored


def weight_of(data: bytes) -> int:
    """Return what reading a delta costs, in bytes of a whole state."""
    return len(data) + _STEP


def apply_delta(items: Any, delta: Delta) -> None:
    """Change *items*, a built-in, as *delta* says; TypeError if it is the delta of another."""
    removed, added = delta.removed, delta.added
    if isinstance(items, dict) and type(added) is dict:
        for key in removed:
            dict.pop(items, key, None)
        dict.update(items, added)
    elif isinstance(items, set) and type(added) is list:
        set.difference_update(items, removed)
        set.update(items, added)
    elif isinstance(items, list) and type(added) is list and not removed:
        list.extend(items, added)
    else:
        text = f"a delta with a {type(added).__name__}, of a {type(items).__name__}"
        raise TypeError(text)
