"""What was changed in shared state past all guards: found by comparing it with the log.

For ``guard="check"``, which is for tests and for looking for such a mistake.
"""

from __future__ import annotations

from typing import Any

from dobbin_like.exc import Error, SharedStateChangedError
from dobbin_like.objects.faces.broken import Broken
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.values.comparison import StateComparison
from dobbin_like.objects.values.refs import UNREAD, ObjectRef, State


def check_shared_values(graph: Graph) -> None:
    """Raise SharedStateChangedError if a state in memory is not what the log has.

    Cost: the objects in memory, and their states in the log.
    """
    for ref in graph.cache.all():
        obj = ref()
        if obj is None or issubclass(type(obj)._p_faces.plain, Broken):
            continue
        with graph.shared.lock:
            serial, state = ref.serial, graph.resolver.newest_in_memory(obj, ref)
            names = None if state is None else type(obj)._p_faces.state_of(state)
        if serial > UNREAD and names is not None:
            _compare(graph, obj, ref, serial, names)


def _compare(graph: Graph, obj: Any, ref: ObjectRef, serial: Any, state: State) -> None:
    try:
        logged = graph.states.fresh(ref, serial)
    except Error:  # It is damaged, or was dropped by a pack: nothing can be said.
        return
    same = StateComparison().same
    for name in {**logged, **state}:
        if name not in state or name not in logged or not same(state[name], logged[name]):
            if ref.serial == serial:  # Else others have committed it this very moment.
                graph.told_of_change = True
                raise SharedStateChangedError(type(obj).__name__, ref.oid, name)
            return
