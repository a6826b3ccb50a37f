"""Short texts of values, for errors: making them loads no object and never fails.

Code of users runs only for a value that has nothing but immutable values inside: the
``__repr__`` of another one might read persistent objects.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from dobbin_like.exc import Difference
from dobbin_like.objects.values.guards import describe
from dobbin_like.objects.values.refs import ref_of
from dobbin_like.objects.values.value_kinds import (
    BYTEARRAY,
    DICT,
    FROZENSET,
    IMMUTABLE,
    KINDS,
    LIST,
    OTHER,
    REFERENCE,
    SET,
    TUPLE,
    base_of,
    frame_of,
)

_LENGTH: Final = 80  # Characters of a text; the middle of a longer one is left out.
_END: Final = 20  # Of these, how many are its end.
_ITEMS: Final = 4  # Items of a collection that are told.
_DEPTH: Final = 3  # Collections in each other of which items are told.
_BITS: Final = 256  # An integer that is larger is told by its size.

_BRACKETS: Final = {
    LIST: ("[", "]"),
    TUPLE: ("(", ")"),
    DICT: ("{", "}"),
    SET: ("{", "}"),
    FROZENSET: ("{", "}"),
}
_BUILT_IN: Final = {list: LIST, tuple: TUPLE, dict: DICT, set: SET, frozenset: FROZENSET}


class _Absent:
    def __repr__(self) -> str:
        return "<absent>"

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
"""Stands for the value of an attribute, key or item that is not there."""


def difference(name: str, old: Any, theirs: Any, own: Any) -> Difference:
    """Return what tells of three values; ``ABSENT`` stands for one that is not there."""
    return Difference(name, short(old), short(theirs), short(own))


def short_key(key: Any) -> str:
    """Return a key as the way to a part of a value tells it: the beginning of its repr."""
    try:
        return f"{key!r:.60}"
    except Exception:  # noqa: BLE001  of code of users; Python writes no number of 4,300 digits
        return f"<{type(key).__name__}>"


def short(value: Any) -> str:
    """Return a text as ``repr()`` makes it, shortened where it is long."""
    try:
        text = _text(value, _DEPTH).replace("\n", " ")
    except Exception as error:  # noqa: BLE001  of whatever kind: it comes from code of users
        return f"<{type(value).__name__}: repr() raised {type(error).__name__}>"
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - _END - 3]}...{text[-_END:]}"


def _text(value: Any, depth: int) -> str:
    cls = type(value)
    kind = KINDS[cls]
    if kind == REFERENCE:
        return f"a new {cls.__name__}" if ref_of(value) is None else describe(ref_of(value))
    if kind == BYTEARRAY or cls is str or cls is bytes:
        return repr(value) if len(value) <= _LENGTH else f"{value[:_LENGTH]!r}..."
    if cls is int and value.bit_length() > _BITS:
        return f"<int of {value.bit_length()} bits>"
    if kind == IMMUTABLE or value is ABSENT:
        return repr(value)
    name = _name(value, kind)
    if kind == OTHER:
        kind = next((kind for base, kind in _BUILT_IN.items() if isinstance(value, base)), OTHER)
    if kind != OTHER:
        return name + _items(value, kind, depth)
    attributes = _attributes(value)
    if attributes and all(KINDS[type(inner)] == IMMUTABLE for inner in attributes.values()):
        return repr(value)
    inside = (f"{at}={_text(inner, depth - 1)}" for at, inner in attributes.items())
    return f"{name}({_list(inside, len(attributes), depth)})"


def _name(value: Any, kind: int) -> str:
    """Return the name of the type of a value, unless brackets tell it."""
    if kind != OTHER and not frame_of(value):
        return ""
    return (type(value) if kind == OTHER else base_of(type(value))).__name__


def _items(value: Any, kind: int, depth: int) -> str:
    opening, closing = _BRACKETS[kind]
    inside: Iterable[str] = (_text(inner, depth - 1) for inner in value)
    if kind == DICT:
        inside = (f"{_text(k, depth - 1)}: {_text(value[k], depth - 1)}" for k in value)
    return f"{opening}{_list(inside, len(value), depth)}{closing}"


def _list(inside: Iterable[str], size: int, depth: int) -> str:
    told = list(islice(inside, _ITEMS)) if depth > 0 else []
    return ", ".join([*told, f"... {size} in all"] if size > len(told) else told)


def _attributes(value: Any) -> dict[str, Any]:
    # Of a dataclass with slots, too.
    names = getattr(type(value), "__dataclass_fields__", ())
    return {name: getattr(value, name, ABSENT) for name in names} or getattr(value, "__dict__", {})
