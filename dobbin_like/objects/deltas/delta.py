"""Deltas: what one transaction has changed in a large collection, stored instead of all of it.

A delta belongs to the version before it. It is a pickle of ``(tid of that version, keys
that went, items that came)``; the items are a dict for a dict, a list for a set or a list.
A whole state is written again when the deltas since the last one outweigh it, so that
reading costs at most about twice what reading a whole state costs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

from dobbin_like.ids import DELTA, NO_TID, Oid, Tid

__all__ = [
    "ITEMS",
    "Delta",
    "DeltaChain",
    "MissingBaseError",
    "apply_delta",
    "chain_of",
    "weight_of",
]

ITEMS: Final = "_items"
"""The attribute of a collection that deltas change. A class that has such deltas says so
by ``_p_deltas = True``."""

_STEP: Final = 200
"""What one more version to be read weighs, in bytes of a whole state."""


class Delta(NamedTuple):
    """What was changed; see above."""

    base: Tid
    gone: Collection[Any]
    put: Any


class DeltaChain(NamedTuple):
    """A stored version that is a delta, taken apart."""

    deltas: list[Delta]  # Oldest first.
    weight: int
    base: Any  # The stored version that they are changes of; None: one that is known.


class MissingBaseError(LookupError):
    """The version that a delta is a change of is not there."""


def chain_of(
    oid: Oid,
    stored: Any,
    decode: Callable[[Any], Delta],
    version_before: Callable[[Oid, Any], Any],
    known: Tid = NO_TID,
) -> DeltaChain:
    """Follow the deltas of *stored* back to a whole state, or to the version *known*.

    Raises:
        MissingBaseError: One of them is a change of something that is not there.

    Cost: that of the versions on the way.
    """
    deltas: list[Delta] = []
    weight = 0
    while stored.number & DELTA:
        delta = decode(stored)
        deltas.append(delta)
        weight += weight_of(stored.data)
        if delta.base == known:
            return DeltaChain(deltas[::-1], weight, None)
        stored = version_before(oid, stored)
        if stored is None or stored.tid != delta.base:
            text = f"a delta of version {delta.base} of oid {oid}, which is not there"
            raise MissingBaseError(text)
    return DeltaChain(deltas[::-1], weight, stored)


def weight_of(data: bytes) -> int:
    """Return what reading a delta costs, in bytes of a whole state."""
    return len(data) + _STEP


def apply_delta(items: Any, delta: Delta) -> None:
    """Change *items*, a built-in dict, set or list, as *delta* says.

    Raises:
        TypeError: It is the delta of something else.
    """
    gone, put = delta.gone, delta.put
    if isinstance(items, dict) and type(put) is dict:
        for key in gone:
            dict.pop(items, key, None)
        dict.update(items, put)
    elif isinstance(items, set) and type(put) is list:
        set.difference_update(items, gone)
        set.update(items, put)
    elif isinstance(items, list) and type(put) is list and not gone:
        list.extend(items, put)
    else:
        text = f"a delta with a {type(put).__name__}, of a {type(items).__name__}"
        raise TypeError(text)
