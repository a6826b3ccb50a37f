"""The way from an object to a reference in its state, as one would write it in Python."""

from __future__ import annotations

from typing import Any

from dobbin_like.objects.codec.serialize import parts_of
from dobbin_like.objects.codec.stand_in import StandIn
from dobbin_like.objects.codec.state_reader import Reference


def way_to(state: dict[str, Any], target: int) -> str:
    """Return the way from an object to its first reference to oid *target*, as in Python.

    Empty if it leads through values whose parts are not known here.
    """
    seen: set[int] = set()
    left: list[tuple[str, Any]] = [(f".{name}", value) for name, value in state.items()][::-1]
    while left:
        way, value = left.pop()
        if type(value) is Reference:
            if value.oid == target:
                return way
        elif id(value) not in seen:
            seen.add(id(value))
            left += [(way + step, part) for step, part in _steps(value)][::-1]
    return ""


def _steps(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, StandIn):
        _, _, args, _, state, items, pairs = value._p_parts()
        attributes = state if isinstance(state, dict) else {}
        named = [(f".{name}", part) for name, part in attributes.items()]
        rest: list[Any] = [*args, *items, *pairs]
        return named + [("(...)", part) for part in rest]
    return [*parts_of(value)]
