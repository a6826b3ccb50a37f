"""Attributes that every state of a class has, and what a state says that lacks them.

So it is when the base of a class was changed after the state was stored.
"""

from __future__ import annotations

from typing import Any

from dobbin_like.exc import ChangedBaseError
from dobbin_like.objects.faces.base import is_new
from dobbin_like.objects.values.refs import State, ref_of


class StoredAttribute:
    """Answers in the class for an attribute that the state of an object lacks."""

    def __init__(self, expected: str) -> None:
        self._expected = expected

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, obj: Any, owner: Any = None) -> Any:
        if obj is None:
            return self
        ref = ref_of(obj)
        if ref is None or is_new(ref):  # Its constructor has not come that far.
            text = f"{type(obj).__name__!r} object has no attribute {self._name!r}"
            raise AttributeError(text, name=self._name, obj=obj)
        names = ", ".join(obj.__dict__) or "none"
        found, expected = f"the attributes {names}", f"{self._name}, {self._expected}"
        raise ChangedBaseError(type(obj).__name__, ref.oid, found, expected)


def check_builtin(cls: Any, ref: Any, state: State, name: str) -> None:
    """Raise ChangedBaseError if *name* in *state* is another built-in than that of *cls*."""
    value, expected = state.get(name), cls._p_builtin
    if isinstance(value, (dict, list, set)) and not isinstance(value, expected):
        kind = next(kind for kind in (dict, list, set) if isinstance(value, kind))
        found, needed = f"{name}, a {kind.__name__}", f"a {expected.__name__}"
        raise ChangedBaseError(cls.__name__, ref.oid, found, needed)
