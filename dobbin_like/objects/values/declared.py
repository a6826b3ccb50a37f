"""What is inside of values that declare it: dataclasses, attrs, named tuples, namespaces.

They can't be guarded themselves, but the containers in them can. Other classes may keep a cache in
a list of theirs, which has to stay as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MemberDescriptorType, SimpleNamespace
from typing import Any


def is_named_tuple(value: Any) -> bool:
    """Return whether *value* is a tuple with names that can be made anew of its items."""
    cls = type(value)
    return isinstance(value, tuple) and hasattr(cls, "_fields") and not hasattr(value, "__dict__")


def declares_parts(value: Any) -> bool:
    """Return whether the class of *value* says what its attributes are."""
    cls = type(value)
    if cls is SimpleNamespace or hasattr(cls, "__attrs_attrs__"):
        return True
    return hasattr(cls, "__dataclass_fields__")


def replace_parts(value: Any, convert: Callable[[Any], Any]) -> None:
    """Replace each declared attribute of *value* by what *convert* makes of it. In place."""
    attributes = getattr(value, "__dict__", {})
    for name in _names(value):
        if name in attributes:
            attributes[name] = convert(attributes[name])
        else:
            slot = next(
                (vars(cls)[name] for cls in type(value).__mro__ if name in vars(cls)), None
            )
            if isinstance(slot, MemberDescriptorType):
                try:
                    part = slot.__get__(value)
                except AttributeError:  # It was never set.
                    continue
                slot.__set__(value, convert(part))


def _names(value: Any) -> list[str]:
    cls = type(value)
    if cls is SimpleNamespace:
        return [*vars(value)]
    attrs = getattr(cls, "__attrs_attrs__", None)
    return [*cls.__dataclass_fields__] if attrs is None else [each.name for each in attrs]
