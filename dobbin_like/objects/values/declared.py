"""What is inside of values that declare it: dataclasses, attrs, models of pydantic and the like.

They can't be guarded themselves, but the containers in them can. Other classes may keep a cache in
a list of theirs, which has to stay as it is.
"""

from __future__ import annotations

from collections import ChainMap, UserDict, UserList
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import MemberDescriptorType, SimpleNamespace
from typing import Any, Final

from dobbin_like.objects.values.refs import in_class
from dobbin_like.objects.values.value_kinds import FROZEN_DICT


def is_frozen(value: Any) -> bool:
    """Return whether *value* is a tuple with names, or a frozen dict, whose parts may change."""
    cls = type(value)
    return cls is FROZEN_DICT or (isinstance(value, tuple) and hasattr(cls, "_fields"))


def frozen_of(
    value: Any,
    keys: Callable[[Iterable[Any]], Iterable[Any]],
    parts: Callable[[Iterable[Any]], Iterable[Any]],
) -> Any:
    """Return one as *value*, of what *keys* and *parts* make of what is in it."""
    if type(value) is FROZEN_DICT:
        return FROZEN_DICT(zip(keys(value), parts(value.values()), strict=True))
    made = tuple.__new__(type(value), parts(value))
    attributes = getattr(value, "__dict__", None)  # Of a subclass without slots.
    if attributes:
        vars(made).update(attributes)
    return made


def declares_parts(value: Any) -> bool:
    """Return whether the class of *value* says what its attributes are."""
    return _DECLARING[type(value)]


class _Declaring(dict[type, bool]):
    def __missing__(self, cls: type) -> bool:
        found = cls is SimpleNamespace or not _WRAPPERS.keys().isdisjoint(cls.__mro__)
        found = found or any(hasattr(cls, name) for name in _DECLARATIONS)
        self[cls] = found
        return found


_WRAPPERS: Final[dict[type, str]] = {ChainMap: "maps", UserDict: "data", UserList: "data"}
"""Classes of the standard library, to derive from, and the attribute that has what is in them."""
_DECLARING: Final = _Declaring()
_DECLARATIONS: Final = ("__attrs_attrs__", "__dataclass_fields__", "__pydantic_fields__")


def declared_parts(value: Any) -> Iterator[Any]:
    """Yield the declared attributes of *value*, or what is in a named tuple or frozen dict."""
    if is_frozen(value):
        yield from value.values() if type(value) is FROZEN_DICT else value
        return
    attributes = getattr(value, "__dict__", {})
    for name in _names(value):
        if name in attributes:
            yield attributes[name]
        elif (slot := _slot(value, name)) is not None:
            with suppress(AttributeError):  # It was never set.
                yield slot.__get__(value)
    for found in _dicts_of_model(value):
        yield from found.values()


def replace_parts(value: Any, convert: Callable[[Any], Any]) -> None:
    """Replace each declared attribute of *value* by what *convert* makes of it. In place."""
    attributes = getattr(value, "__dict__", {})
    for name in _names(value):
        if name in attributes:
            attributes[name] = convert(attributes[name])
        elif (slot := _slot(value, name)) is not None:
            try:
                part = slot.__get__(value)
            except AttributeError:  # It was never set.
                continue
            slot.__set__(value, convert(part))
    for found in _dicts_of_model(value):
        # The dict itself stays ordinary: pydantic takes no other.
        found.update({name: convert(part) for name, part in found.items()})


def _slot(value: Any, name: str) -> Any:
    found = in_class(type(value), name)
    return found if isinstance(found, MemberDescriptorType) else None


def _dicts_of_model(value: Any) -> list[dict[str, Any]]:
    beside = _DICTS_OF_MODELS if hasattr(type(value), "__pydantic_fields__") else ()
    found = (getattr(value, name, None) for name in beside)
    return [each for each in found if type(each) is dict]


def _names(value: Any) -> list[str]:
    cls = type(value)
    if cls is SimpleNamespace:
        return [*vars(value)]
    names = [name for base, name in _WRAPPERS.items() if base in cls.__mro__]
    for declaration in _DECLARATIONS:
        if (fields := getattr(cls, declaration, None)) is not None:
            # Those of attrs are objects.
            found = [getattr(field, "name", field) for field in fields]
            return [*dict.fromkeys(names + found)]
    return names


_DICTS_OF_MODELS: Final = ("__pydantic_extra__", "__pydantic_private__")
"""Where models of pydantic have attributes that are no fields."""
