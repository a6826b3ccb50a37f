"""What pickle writes of some values is not what they are: here is what to write instead.

A cached property leaves its value in the dict of an instance, where it is computed again when it
is asked for; a generic alias leaves a mark there when it is called, as in ``Box[int](3)``; attrs
keeps a hash there, with ``cache_hash=True``. None of them is a part of the value. And a time zone
pickles as a bound method, which takes getattr to load.
"""

from __future__ import annotations

import copyreg
import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

_PROTOCOL: Final = 5
_HASH: Final = "_attrs_cached_hash"
"""Where attrs keeps a hash. It expects None there, not nothing, as long as there is none."""

Reducer = Callable[[Any, Any], Any]
"""Takes a value and what it says itself of how it is pickled, or NotImplemented: it was not asked;
returns what pickle takes, NotImplemented for what it does itself."""


class _Reducers(dict[type, Reducer | None]):
    """How the values of a class are pickled, ``None``: as they say themselves."""

    def __missing__(self, cls: type) -> Reducer | None:
        found = _find(cls)
        if not getattr(cls, "_p_immutable", False):  # Stand-ins are made for one loading.
            self[cls] = found
        return found


REDUCERS: Final = _Reducers()


def _find(cls: type) -> Reducer | None:
    if cls.__name__ == "ZoneInfo" and cls.__module__ == "zoneinfo":
        return lambda zone, _said: (cls, (zone.key,))
    names = {
        name
        for base in cls.__mro__
        for name, value in vars(base).items()
        if isinstance(value, functools.cached_property)
    }
    if hasattr(cls, "__class_getitem__"):
        names.add("__orig_class__")
    hashes = (vars(base).get("__hash__") for base in cls.__mro__)
    if any(_HASH in getattr(getattr(each, "__code__", None), "co_names", ()) for each in hashes):
        names.add(_HASH)
    # What a class chooses itself is left alone.
    chosen = any(isinstance(getattr(cls, name, None), FunctionType) for name in _CHOOSING)
    if not names or (chosen and not _is_model(cls)) or cls in copyreg.dispatch_table:
        return None
    return functools.partial(_without, frozenset(names))


_CHOOSING: Final = ("__reduce__", "__reduce_ex__", "__getstate__")


def _is_model(cls: type) -> bool:
    """Return whether instances are pickled as pydantic does it: with their dict in a dict."""
    get: Any = cls.__getstate__
    own = isinstance(getattr(cls, "__reduce__", None), FunctionType)
    return not own and str(getattr(get, "__module__", "")).startswith("pydantic.")


def _without(names: frozenset[str], value: Any, said: Any) -> Any:
    # To ask an exception for its dict gives it one, and an empty one is pickled, too.
    if not isinstance(value, BaseException) and names.isdisjoint(getattr(value, "__dict__", ())):
        return said
    made = value.__reduce_ex__(_PROTOCOL) if said is NotImplemented else said
    if type(made) is not tuple or len(made) < 3:
        return made
    return (*made[:2], _part(made[2], names), *made[3:])


def _part(state: Any, names: frozenset[str]) -> Any:
    """Return a state without the attributes *names*; as pickle has it if there are no others."""
    if type(state) is tuple and len(state) == 2:  # With slots.
        return _part(state[0], names), state[1]
    if type(state) is not dict:
        return state
    if type(state.get("__dict__")) is dict:  # Of a model of pydantic.
        return {**state, "__dict__": _part(state["__dict__"], names) or {}}
    kept = {name: part for name, part in state.items() if name not in names}
    if _HASH in names and _HASH in state:
        kept[_HASH] = None
    return kept or None
