"""What is in the values of a state, as JSON and as a line: the one place that knows their types.

States are read without the classes of the application: what is in them are values of the
standard library, references to objects, and stand-ins. Knows no logs.
"""

from __future__ import annotations

import base64
import math
import re
from array import array
from collections import ChainMap, UserDict, UserList, UserString, deque
from collections.abc import Callable, Collection, Iterable
from datetime import date, time
from itertools import islice
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from dobbin_like.cli.text import LIMIT, class_text
from dobbin_like.objects.codec.instances.makers import MakerMeta
from dobbin_like.objects.codec.shown.preview import Cut
from dobbin_like.objects.codec.stand_in import StandIn, StandInMeta
from dobbin_like.objects.codec.state_reader import Reference
from dobbin_like.texts import counted

NameOf = Callable[[int], str]
"""Gives the name of a class by its number in the log."""

ATOM, TEXT, ARRAY, MAPPING = "atom text array mapping".split()
"""Kinds of contents: what JSON has itself, a text, items with or without names, pairs."""

_DEPTH: Final = 100
"""Collections in each other that are written as JSON: others can't read much more."""

_BEGINNING: Final = 40
"""Characters, or bytes, that are shown of a value that is too long for a line."""

_DIGITS: Final = 4000
"""Python, for one, refuses to read longer integers."""


_ITEMS: Final = 5
"""The items of a collection that are shown inside a line."""

_SHOWN_DEPTH: Final = 3

_BRACKETS: Final = {
    "list": "[]",
    "tuple": "()",
    "set": "{}",
    "dict": "{}",
}


class Content(NamedTuple):
    """What a value consists of."""

    kind: str
    name: str
    text: str = ""
    items: Collection[Any] | None = None
    pairs: Collection[tuple[Any, Any]] | None = None
    oid: int | None = None


def content_of(value: Any, name_of: NameOf) -> Content:
    """Return what *value* consists of. Raises nothing, and runs no code of an application."""
    if type(value) is Reference:
        return Content(ATOM, name_of(value.class_number), oid=value.oid)
    if isinstance(value, StandIn):
        return _stand_in(value)
    if type(value) is Cut:
        more = counted(value.size, "character" if value.kind == "str" else "byte")
        return Content(TEXT, value.kind, f"{value.head[:_BEGINNING]!r}... {more}")
    if isinstance(value, type):
        return Content(TEXT, "type", _name_of_class(value))
    return _collection(value) or _atom(value)


def _name_of_class(cls: Any) -> str:
    if isinstance(cls, StandInMeta):
        return ".".join(cls._p_name)
    real = cls._p_real if isinstance(cls, MakerMeta) else cls
    name = getattr(real, "__name__", "?")
    return name if real.__module__ == "builtins" else f"{real.__module__}.{name}"


def _stand_in(value: StandIn) -> Content:
    name = ".".join(type(value)._p_name)
    if value._p_how == "member":
        return Content(TEXT, name, f"{name}.{value._p_args[0]}")
    args, named, items, pairs = _parts(value)
    return Content(ARRAY, name, items=[*args, *items], pairs=[*named.items(), *pairs])


def _parts(value: StandIn) -> tuple[list[Any], dict[str, Any], list[Any], list[Any]]:
    """Return arguments, attributes, items and pairs that are stored of a value."""
    _, _, args, kwargs, state, items, pairs = value._p_parts()
    named = dict(kwargs)
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
        state = {**(state[0] or {}), **state[1]}  # Of a class with slots.
    if isinstance(state, dict):
        named.update(state)
    elif state is not None:
        args = (*args, state)
    return [*args], named, items, pairs


def _collection(value: Any) -> Content | None:
    cls: Any = type(value)
    name = _name_of_class(cls)
    if cls is frozenset:
        name = "set"
    if isinstance(value, (dict, UserDict)):
        return Content(MAPPING, name, pairs=value.items())
    if isinstance(value, UserString):
        return Content(TEXT, name, str(value))
    if isinstance(value, (list, tuple, set, frozenset, deque, array, UserList)):
        return Content(ARRAY, name, items=value)
    if isinstance(value, ChainMap):
        return Content(ARRAY, name, items=value.maps)
    if isinstance(value, SimpleNamespace):
        return Content(ARRAY, name, items=[], pairs=vars(value).items())
    return None


def _atom(value: Any) -> Content:
    cls: Any = type(value)
    if isinstance(value, (str, bytes, bytearray)):
        kind, unit = (ATOM, "character") if cls is str else (TEXT, "byte")
        text = repr(value) if len(value) <= LIMIT else f"{value[:_BEGINNING]!r}..."
        more = f" {counted(len(value), unit)}" if len(value) > LIMIT else ""
        return Content(kind, cls.__name__, text + more)
    if isinstance(value, int) and value.bit_length() > _DIGITS * 3:
        return Content(TEXT, "int", f"<int of {value.bit_length():,} bits>")
    try:
        kind = ATOM if cls in (str, bool, int, type(None)) else TEXT
        if cls is float:
            kind = ATOM if math.isfinite(value) else TEXT
        return Content(kind, _name_of_class(cls), repr(value))
    except ValueError:  # Of a fraction with too many digits.
        return Content(TEXT, cls.__name__, f"<{cls.__name__}>")


def to_json(value: Any, name_of: NameOf, above: tuple[int, ...] = ()) -> Any:
    """Return *value* as JSON has it.

    Lists and tuples are arrays, dicts with keys that are texts objects. A reference is ``{"$ref":
    oid, "class": name}``; all else is ``{"$type": name, "value": ...}``: the items of a set or
    another collection, the pairs of a dict, the base64 of bytes, the text of a date or a number.
    A value of the application has what is stored of it instead: ``args``, ``attributes``,
    ``items``, ``pairs``. ``{"$cycle": n}`` is the value *n* levels above.
    """
    if id(value) in above:
        return {"$cycle": len(above) - above.index(id(value))}
    if isinstance(value, (bytes, bytearray)):
        return {"$type": type(value).__name__, "value": base64.b64encode(value).decode()}
    content = content_of(value, name_of)
    if content.oid is not None:
        return {"$ref": content.oid, "class": content.name}
    if content.items is None and content.pairs is None:
        return value if content.kind == ATOM else _text(value, content)
    if len(above) >= _DEPTH:
        return {"$type": content.name, "too_deep": True}
    above = (*above, id(value))
    if content.kind == MAPPING:
        return _mapping(content, name_of, above)
    if content.pairs is not None:
        return _own(value, content, name_of, above)
    items = [to_json(item, name_of, above) for item in content.items or ()]
    return items if content.name in ("list", "tuple") else _typed(content, items)


def _own(value: Any, content: Content, name_of: NameOf, above: tuple[int, ...]) -> Any:
    parts: dict[str, Any] = {"attributes": dict(content.pairs or ())}
    if isinstance(value, StandIn):
        parts = dict(zip(("args", "attributes", "items", "pairs"), _parts(value), strict=True))
    stored = {name: to_json(part, name_of, above) for name, part in parts.items() if part}
    return {"$type": content.name, **stored}


def _typed(content: Content, value: Any) -> dict[str, Any]:
    return {"$type": content.name, "value": value}


def _mapping(content: Content, name_of: NameOf, above: tuple[int, ...]) -> Any:
    pairs = list(content.pairs or ())
    if all(type(key) is str and not key.startswith("$") for key, _ in pairs):
        value: Any = {key: to_json(part, name_of, above) for key, part in pairs}
        return value if content.name == "dict" else _typed(content, value)
    return _typed(content, [[to_json(part, name_of, above) for part in pair] for pair in pairs])


def _text(value: Any, content: Content) -> dict[str, Any]:
    if isinstance(value, (date, time)):
        return _typed(content, value.isoformat())
    if isinstance(value, re.Pattern):
        return _typed(content, value.pattern)
    if isinstance(value, int):  # Hexadecimal: that has no limit.
        return _typed(content, hex(value))
    if isinstance(value, StandIn):  # A member of an enum.
        return _typed(content, to_json(value._p_args[0], str))
    is_own = isinstance(value, type) or content.text.startswith("<")
    return _typed(content, content.text if is_own else str(value))


def brackets(name: str, count: int) -> tuple[str, str]:
    """Return what stands before and behind the items of a collection, as in Python."""
    known = _BRACKETS.get(name)
    if known is None or (name == "set" and not count):
        return f"{name.rpartition('.')[2]}(", ")"
    return known[0], ",)" if name == "tuple" and count == 1 else known[1]


class Values:
    """Makes short texts of the values of states; *name_of* gives the names of classes."""

    def __init__(self, name_of: NameOf) -> None:
        self._name_of = name_of

    def short(self, value: Any, limit: int = LIMIT) -> str:
        """Return one line about *value*, as one would write it in Python where that is possible.

        Cost: what is shown, however large the value is.
        """
        text = self._text(value, _SHOWN_DEPTH)
        return text if len(text) <= limit else f"{text[: limit - 3]}..."

    def _text(self, value: Any, depth: int) -> str:
        content = content_of(value, self._name_of)
        if content.oid is not None:
            return f"<{class_text(content.name)} oid {content.oid}>"
        if content.items is None and content.pairs is None:
            return content.text
        return self._collection(content, depth)

    def _collection(self, content: Content, depth: int) -> str:
        inside: list[str] = []
        count = 0
        for items in (content.items, content.pairs):
            if items is None:
                continue
            count += len(items)
            wanted: Iterable[Any] = islice(items, _ITEMS - len(inside) if depth > 0 else 0)
            for item in wanted:
                inside.append(self._item(content, item, depth, in_pairs=items is content.pairs))
        if count > len(inside):
            inside.append(f"... {count:,} in all" if inside else "...")
        return ", ".join(inside).join(brackets(content.name, count))

    def _item(self, content: Content, item: Any, depth: int, *, in_pairs: bool) -> str:
        if not in_pairs:
            return self._text(item, depth - 1)
        key, value = item
        if content.kind == ARRAY:
            return f"{key}={self._text(value, depth - 1)}"
        return f"{self._text(key, depth - 1)}: {self._text(value, depth - 1)}"
