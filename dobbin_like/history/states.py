"""Stored versions as states, and what differs between two of them.

The states are copies of the caller's own, with ordinary values; persistent objects in
them are those of the graph. They are as they were stored: no ``_p_migrate`` has run.
"""

from __future__ import annotations

from typing import Any

from dobbin_like.ids import Oid
from dobbin_like.objects.codec.versions import VERSION
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.values.comparison import StateComparison, same
from dobbin_like.objects.values.refs import State


def stored_state(graph: Graph, oid: Oid, stored: Any) -> State:
    """Return the state of a stored version, empty for ``None``: the object was not there."""
    if stored is None:
        return {}
    state = graph.states.read(oid, stored)
    state.pop(VERSION, None)
    return state


def differing(before: State, after: State) -> list[str]:
    """Return the names of the attributes in which two states differ.

    Those of *after* first, then those that it has no more. Cost: the values.
    """
    names = [
        name for name, new in after.items() if not (name in before and same(before[name], new))
    ]
    names += [name for name in before if name not in after]
    if not names:  # but two attributes may have been one value, and are two now
        aliases = StateComparison()
        names = [name for name, new in after.items() if not aliases.same(before[name], new)]
    return names
