"""Shapes: the names of the attributes of states, which are stored once and not in each state."""

from __future__ import annotations

import functools
from collections.abc import Callable
from sys import intern
from typing import Any, Final, NamedTuple

from dobbin_like.objects.values.refs import State

_MANY: Final = 64
"""Attributes; beyond, no function is compiled for their number."""


class Shape(NamedTuple):
    """How states under one number of the log are to be read."""

    class_number: int
    names: tuple[str, ...]
    state: Callable[[tuple[Any, ...]], State]
    """Makes a state of a tuple of as many values."""


def shape_of(class_number: int, names: tuple[str, ...]) -> Shape:
    """Return the shape of states of a class with these attributes, in order."""
    # The interpreter's fast way to an attribute compares names by identity.
    names = tuple(map(intern, names))
    if len(names) > _MANY:
        return Shape(class_number, names, lambda values: dict(zip(names, values, strict=True)))
    return Shape(class_number, names, _maker(len(names))(*names))


@functools.cache
def _maker(count: int) -> Any:
    """Return a function of *count* names that returns a function of a tuple of values.

    ``dict(zip(names, values))`` takes twice as long, and every state that is read needs it.
    """
    keys = [f"k{index}" for index in range(count)]
    values = [f"v{index}" for index in range(count)]
    pairs = ", ".join(f"{key}: {value}" for key, value in zip(keys, values, strict=True))
    text = f"""
def make({", ".join(keys)}):
    def state(values):
        [{", ".join(values)}] = values
        return {{{pairs}}}
    return state
"""
    made: dict[str, Any] = {}
    exec(text, made)
    return made["make"]
