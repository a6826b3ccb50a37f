"""Values that Python would store by the order of their fields: they are stored by name.

With ``frozen=True, slots=True``, a dataclass has methods that pickle a value as the list of its
fields. When a field has been moved or removed, what was stored before would get into others. So
what is stored is a dict, as of a dataclass without slots; a list is read as Python reads it.
"""

from __future__ import annotations

import sys
from typing import Any, Final

_PROTOCOL: Final = 5
_METHODS: Final = "__getstate__", "__setstate__"
_REDUCING: Final = "__reduce__", "__reduce_ex__"


class _ByOrder(dict[type, bool]):
    """Whether Python would store the values of a class by the order of their fields."""

    def __missing__(self, cls: type) -> bool:
        methods = [getattr(cls, name, None) for name in _METHODS]
        found = all(getattr(method, "__module__", "") == "dataclasses" for method in methods)
        found = found and all(getattr(cls, name) is getattr(object, name) for name in _REDUCING)
        if not getattr(cls, "_p_immutable", False):  # Stand-ins are made for one loading.
            self[cls] = found
        return found


IS_BY_ORDER: Final = _ByOrder()


def by_name(value: Any) -> Any:
    """Return what pickle takes for a value of such a class."""
    made = value.__reduce_ex__(_PROTOCOL)
    names = [field.name for field in _fields(type(value))]
    return (*made[:2], {name: getattr(value, name) for name in names if hasattr(value, name)})


def set_fields(value: Any, cls: type, state: Any) -> None:
    """Give the fields of *value*, one of such a class, what was stored; new ones their default."""
    if type(state) is not dict:
        state = dict(zip([field.name for field in _fields(cls)], state, strict=False))
    missing = sys.modules["dataclasses"].MISSING
    for field in _fields(cls):
        if field.name in state:
            found = state[field.name]
        elif field.default is not missing:
            found = field.default
        elif field.default_factory is not missing:
            found = field.default_factory()
        else:
            continue
        object.__setattr__(value, field.name, found)


def loader_of(cls: Any) -> Any:
    """Return a class whose instances become ones of *cls* when they get their state.

    It is none below *cls*, where that is possible: nobody finds it among its subclasses.
    """

    def set_state(self: Any, state: Any) -> None:
        set_fields(self, cls, state)
        object.__setattr__(self, "__class__", cls)

    if cls.__new__ is object.__new__ and cls.__bases__ == (object,):
        content = {"__slots__": cls.__slots__, "__setstate__": set_state}
        loader = type(cls.__name__, (object,), content)
        try:
            object.__setattr__(object.__new__(loader), "__class__", cls)
        except TypeError:  # It has something else, too.
            pass
        else:
            return loader
    return type(cls)(cls.__name__, (cls,), {"__slots__": (), "__setstate__": set_state})


def _fields(cls: type) -> Any:
    return sys.modules["dataclasses"].fields(cls)
