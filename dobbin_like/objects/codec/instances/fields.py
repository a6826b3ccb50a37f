"""Values of classes that declare fields: what is stored of them gets into the fields of now.

A field that the class has got since has its default. Python sets a default only in ``__init__()``,
which loading does not call; a plain one is also found in the class, but not that of a slot or of
a factory.

With ``frozen=True, slots=True``, a dataclass has methods that pickle a value as the list of its
fields. When a field has been moved or removed, what was stored before would get into others. So
what is stored is a dict, as of a dataclass without slots; a list is read as Python reads it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import MemberDescriptorType
from typing import Any, Final

from dobbin_like.objects.values.refs import Identity, in_class

_PROTOCOL: Final = 5
_SET_STATE: Final = "__setstate__"
_METHODS: Final = "__getstate__", _SET_STATE
_REDUCING: Final = "__reduce__", "__reduce_ex__"
_GENERATING: Final = frozenset({"attr", "dataclasses", "pydantic"})
"""Packages that give classes methods of pickle, which keep to the fields."""

_NOTHING: Final = object()

Default = Callable[[Any], Any]
"""Makes the default of a field of a value."""


class _ByClass(dict[type, Any]):
    """What is found out of a class once."""

    def __init__(self, find: Callable[[type], Any]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, cls: type) -> Any:
        found = self._find(cls)
        if not getattr(cls, "_p_immutable", False):  # Stand-ins are made for one loading.
            self[cls] = found
        return found


def _is_by_order(cls: type) -> bool:
    methods = [getattr(cls, name, None) for name in _METHODS]
    found = all(getattr(method, "__module__", "") == "dataclasses" for method in methods)
    return found and all(getattr(cls, name) is getattr(object, name) for name in _REDUCING)


def _is_named(cls: type) -> bool:
    if IS_BY_ORDER[cls]:
        return True
    if not hasattr(cls, "__dataclass_fields__") or cls.__dictoffset__:
        return False
    return _keeps_to_fields(cls) and not hasattr(cls, _SET_STATE)


def _keeps_to_fields(cls: type) -> bool:
    """Return whether no method of the program says how a value is pickled."""
    if not all(getattr(cls, name) is getattr(object, name) for name in _REDUCING):
        return False
    for name in _METHODS:
        method = getattr(cls, name, None)
        module = getattr(method, "__module__", None) or ""
        if method is not getattr(object, name, None) and module.split(".")[0] not in _GENERATING:
            return False
    return True


def _late(cls: type) -> tuple[tuple[str, Default, Any], ...]:
    found: list[tuple[str, Default, Any]] = []
    optional, make = _optional(cls) if _keeps_to_fields(cls) else ({}, _default_of_dataclass)
    for name, field in optional.items():
        there = in_class(cls, name, _NOTHING)
        if isinstance(there, MemberDescriptorType):
            found.append((name, partial(make, field), there))
        elif cls.__dictoffset__ and (
            there is _NOTHING or type(there).__module__ == "pydantic.fields"
        ):
            found.append((name, partial(make, field), None))
        # Else the class answers for an instance that has no such attribute.
    return tuple(found)


def _optional(cls: Any) -> tuple[dict[str, Any], Callable[[Any, Any], Any]]:
    """Return the fields that have a default, and what makes that of a field and a value."""
    if hasattr(cls, "__attrs_attrs__") and "attr" in sys.modules:
        none, fields = sys.modules["attr"].NOTHING, cls.__attrs_attrs__
        return {each.name: each for each in fields if each.default is not none}, _default_of_attrs
    if isinstance(getattr(cls, "__pydantic_fields__", None), dict):
        fields = cls.__pydantic_fields__
        optional = {name: each for name, each in fields.items() if not each.is_required()}
        return optional, _default_of_pydantic
    fields = _fields(cls) if hasattr(cls, "__dataclass_fields__") else ()
    return {each.name: each for each in fields if _has_default(each)}, _default_of_dataclass


def _has_default(field: Any) -> bool:
    missing = sys.modules["dataclasses"].MISSING
    return field.default is not missing or field.default_factory is not missing


def _default_of_dataclass(field: Any, _value: Any) -> Any:
    missing = sys.modules["dataclasses"].MISSING
    return field.default if field.default_factory is missing else field.default_factory()


def _default_of_attrs(field: Any, value: Any) -> Any:
    default, convert = field.default, field.converter
    if isinstance(default, sys.modules["attr"].Factory):
        default = default.factory(value) if default.takes_self else default.factory()
    if convert is None:
        return default
    return convert(default, value, field) if hasattr(convert, "takes_self") else convert(default)


def _default_of_pydantic(field: Any, value: Any) -> Any:
    if getattr(field, "default_factory_takes_validated_data", False):
        return field.get_default(call_default_factory=True, validated_data=vars(value))
    return field.get_default(call_default_factory=True)


IS_BY_ORDER: Final = _ByClass(_is_by_order)
"""Whether Python would store the values of a class by the order of their fields."""

_IS_NAMED: Final = _ByClass(_is_named)
"""Whether values of a class have nothing but the fields of a dataclass, in slots."""

LATE: Final = _ByClass(_late)
"""The fields that a value lacks unless they are stored: what makes the default, and the slot."""


def by_name(value: Any) -> Any:
    """Return what pickle takes for a value of a class that is stored by order otherwise."""
    made = value.__reduce_ex__(_PROTOCOL)
    names = [field.name for field in _fields(type(value))]
    return (*made[:2], {name: getattr(value, name) for name in names if hasattr(value, name)})


def takes_state(cls: type) -> bool:
    """Return whether :func:`set_state` knows how values of a class get their state."""
    return _IS_NAMED[cls] or bool(LATE[cls])


def set_state(value: Any, cls: Any, state: Any) -> None:
    """Give *value*, one of *cls*, what was stored of it, and its new fields their default."""
    if _IS_NAMED[cls]:
        names = {field.name for field in _fields(cls)} if IS_BY_ORDER[cls] else ()
        for name, part in _named(cls, state).items():
            if not names or name in names:
                object.__setattr__(value, name, part)
    elif hasattr(cls, _SET_STATE):
        cls.__setstate__(value, _named(cls, state) if _is_with_slots(state) else state)
    else:
        attributes, in_slots = state if _is_with_slots(state) else (_named(cls, state), {})
        if attributes:
            own = value.__dict__  # What may be a property by now is not asked.
            for name, part in attributes.items():  # Not update(): it shares its keys with others.
                own[sys.intern(name)] = part
        for name, part in in_slots.items():
            object.__setattr__(value, name, part)
    complete(value, cls)


def complete(value: Any, cls: type) -> None:
    """Give the fields of *value* that were not stored their default."""
    for name, make, slot in LATE[cls]:
        if slot is None:
            is_there = name in value.__dict__
        else:
            try:
                slot.__get__(value)
            except AttributeError:
                is_there = False
            else:
                is_there = True
        if not is_there:
            default = make(value)
            # What is changed in a persistent one would belong to nobody, and get lost.
            if not isinstance(default, Identity):
                object.__setattr__(value, name, default)


def _named(cls: type, state: Any) -> dict[str, Any]:
    """Return a state in the form in which it has the names of attributes."""
    if _is_with_slots(state):
        return {**(state[0] or {}), **state[1]}
    if type(state) is dict:
        return state
    return dict(zip([field.name for field in _fields(cls)], state, strict=False))


def _is_with_slots(state: Any) -> bool:
    """Return whether *state* is what Python makes of a value with slots."""
    return type(state) is tuple and [type(part) for part in state] in _WITH_SLOTS


_WITH_SLOTS: Final = [[type(None), dict], [dict, dict]]


def loader_of(cls: Any) -> Any:
    """Return a class whose instances become ones of *cls* when they get their state.

    It is none below *cls*, where that is possible: nobody finds it among its subclasses.
    """

    def take_state(self: Any, state: Any) -> None:
        object.__setattr__(self, "__class__", cls)
        set_state(self, cls, state)

    content: dict[str, Any] = {_SET_STATE: take_state}
    if cls.__new__ is object.__new__ and cls.__bases__ == (object,):
        # A key that waits for its state has no other hash than it will have.
        own = {"__slots__": cls.__slots__, "__hash__": cls.__hash__, **content}
        loader = type(cls.__name__, (object,), own)
        try:
            object.__setattr__(object.__new__(loader), "__class__", cls)
        except TypeError:  # It has something else, too.
            pass
        else:
            return loader
    return type(cls)(cls.__name__, (cls,), {"__slots__": (), **content})


def _fields(cls: type) -> Any:
    return sys.modules["dataclasses"].fields(cls)
