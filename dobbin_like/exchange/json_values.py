"""Values of states as JSON, so that they can be read back without a loss.

Texts, booleans, None, finite floats, integers of 53 bits, lists, and dicts whose keys are texts
that don't begin with ``$`` are JSON's own. All else is an object with one or more keys that
begin with ``$``; see ``docs/reference/exports.rst``.
"""

from __future__ import annotations

import base64
import copyreg
import math
import re
import struct
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from dobbin_like.objects.codec.instances.makers import MakerMeta
from dobbin_like.objects.codec.stand_in import StandIn, StandInMeta
from dobbin_like.objects.codec.state_reader import Reference

NameOf = Callable[[int], tuple[str, str]]
"""Gives module and qualname of a class by its number in the log."""

_SAFE: Final = 1 << 53
"""The integers below are the same in all that reads JSON."""

_DECIMAL_BITS: Final = 1000
"""Integers that are longer are written as hexadecimal numbers: that takes no limit."""

_ATOMS: Final = frozenset({bool, type(None)})
_NO_CONTAINERS: Final = frozenset(
    {bool, type(None), int, float, str, bytes, Reference, Decimal, UUID, datetime, date, time}
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


_FRAMES: Final = 6000
"""Calls in each other: JSON has several levels where a state has one."""


@contextmanager
def deeper() -> Iterator[None]:
    """Allow as many calls in each other as a state takes that could be stored."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _FRAMES))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


class Made(NamedTuple):
    """How a value of a class is made: what pickle has of it."""

    how: str
    name: tuple[str, str]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012  never changed
    state: Any = None
    items: list[Any] = []  # noqa: RUF012  never changed
    pairs: list[tuple[Any, Any]] = []  # noqa: RUF012  never changed


def text_of(name: tuple[str, str]) -> str:
    """Return the name of a class as it is written: ``module:qualname``."""
    return ":".join(name)


class ValueWriter:
    """Turns the values of one state into JSON. One thread."""

    def __init__(self, name_of: NameOf) -> None:
        self._name_of = name_of
        # By id: the containers that are met more than once, and their numbers once written.
        self._shared: set[int] = set()
        self._numbers: dict[int, int] = {}
        self._made: dict[int, tuple[Any, Made]] = {}

    def state(self, state: dict[str, Any]) -> Any:
        """Return a state as JSON."""
        self._shared, self._numbers, self._made = set(), {}, {}
        if any(type(value) not in _NO_CONTAINERS for value in state.values()):
            self._look_for_shared(state)
        return self._dict(state)

    def value(self, value: Any) -> Any:
        """Return a value of its own as JSON."""
        return self.state({"": value})[""]

    def _look_for_shared(self, state: dict[str, Any]) -> None:
        seen: set[int] = set()
        waiting = [state.values()]
        while waiting:
            for value in waiting.pop():
                if type(value) in _NO_CONTAINERS:
                    continue
                if id(value) in seen:
                    self._share(value)
                    continue
                seen.add(id(value))
                waiting.append(self._inside(value))

    def _share(self, value: Any) -> None:
        """Note that a value is met more than once.

        So is what is in a tuple, or is an argument: as a part of itself, it is written in itself.
        """
        waiting = [value]
        while waiting:
            value = waiting.pop()
            if type(value) not in _NO_CONTAINERS and id(value) not in self._shared:
                self._shared.add(id(value))
                if type(value) not in (list, dict, set):
                    waiting += self._inside(value)

    def _inside(self, value: Any) -> Any:
        cls = type(value)
        if cls in (list, tuple, set, frozenset):
            return value
        if cls is dict:
            return [*value.keys(), *value.values()]
        if isinstance(value, (type, bytearray, array, re.Pattern)) or is_named(value):
            return ()
        made = self._how(value)
        pairs = [part for pair in made.pairs for part in pair]
        return [*made.args, *made.kwargs.values(), made.state, *made.items, *pairs]

    def _how(self, value: Any) -> Made:
        """Return how a value is made; once, for what it is asked for may be new each time."""
        known = self._made.get(id(value))
        if known is None:
            known = self._made[id(value)] = value, made_of(value)
        return known[1]

    # -- writing --------------------------------------------------------------------

    def _write(self, value: Any) -> Any:
        cls = type(value)
        if cls is str:
            return _text(value) if _SURROGATE.search(value) else value
        if cls in _ATOMS:
            return value
        if cls is int:
            return value if -_SAFE < value < _SAFE else {"$int": _digits(value)}
        if cls is float:
            return value if math.isfinite(value) else {"$float": _special(value)}
        if cls is Reference:
            return {"$ref": value.oid, "class": text_of(self._name_of(value.class_number))}
        if id(value) not in self._shared:
            return self._content(value)
        return self._shared_content(value)

    def _shared_content(self, value: Any) -> Any:
        """Return what is met more than once: it has a number, by which it is named later.

        What is built after its parts, as a tuple is, may be met among them: then that one is it.
        """
        number = self._numbers.get(id(value))
        if number is not None:
            return {"$same": number}
        if type(value) in (list, dict, set):
            number = self._number(value)
            return {"$id": number, "$is": self._content(value)}
        content = self._content(value)
        if "$first" in content:
            return content
        if type(value) in (tuple, frozenset) and id(value) in self._numbers:
            return {"$first": [content], "$same": self._numbers[id(value)]}
        return {"$id": self._number(value), "$is": content}

    def _number(self, value: Any) -> int:
        return self._numbers.setdefault(id(value), len(self._numbers) + 1)

    def _content(self, value: Any) -> Any:
        cls = type(value)
        if cls is list:
            return [self._write(item) for item in value]
        if cls is dict:
            return self._dict(value)
        if cls in _SEQUENCES:
            return {_SEQUENCES[cls]: [self._write(item) for item in value]}
        write = _SIMPLE.get(cls)
        found = None if write is None else write(value)
        return self._other(value) if found is None else found

    def _dict(self, value: dict[Any, Any]) -> Any:
        if all(type(key) is str and key[:1] != "$" and key.isascii() for key in value) or all(
            type(key) is str and key[:1] != "$" and not _SURROGATE.search(key) for key in value
        ):
            return {key: self._write(item) for key, item in value.items()}
        return {"$dict": [[self._write(key), self._write(item)] for key, item in value.items()]}

    def _other(self, value: Any) -> Any:
        if isinstance(value, type):
            return {"$class": text_of(name_of_class(value))}
        if is_named(value):
            return {"$name": repr(value)}
        return self._made_value(value, self._how(value))

    def _made_value(self, value: Any, made: Made) -> Any:
        """Return a value of a class. The parts come in the order of pickle.

        So what a part names was written before it.
        """
        found: dict[str, Any] = {"$value": text_of(made.name), "how": made.how}
        if made.args:
            found["args"] = [self._write(part) for part in made.args]
        if made.kwargs:
            found["kwargs"] = {name: self._write(part) for name, part in made.kwargs.items()}
        if id(value) in self._shared:
            if id(value) in self._numbers:  # Made while its arguments were.
                return {"$first": [found], "$same": self._numbers[id(value)]}
            self._number(value)
        if made.items:
            found["items"] = [self._write(part) for part in made.items]
        if made.pairs:
            found["pairs"] = [[self._write(part) for part in pair] for pair in made.pairs]
        if made.state is not None:
            found["state"] = self._write(made.state)
        return found


def is_named(value: Any) -> bool:
    """Return whether it is one of the two values that are only a name."""
    return value is Ellipsis or value is NotImplemented


def name_of_class(cls: Any) -> tuple[str, str]:
    """Return module and qualname of a class, or of what stands for one."""
    if type(cls) is StandInMeta:
        return cls._p_name
    real = cls._p_real if type(cls) is MakerMeta else cls
    return real.__module__, real.__qualname__


def made_of(value: Any) -> Made:
    """Return how a stand-in, or a value of the standard library, is made."""
    if isinstance(value, StandIn):
        _, how, *parts = value._p_parts()
        return Made(how, type(value)._p_name, *parts)
    cls: Any = type(value)
    name = "pathlib" if cls.__module__ == "pathlib._local" else cls.__module__, cls.__qualname__
    if name == ("zoneinfo", "ZoneInfo"):
        return Made("call", name, (value.key,))
    call, args, state, items, pairs = (*value.__reduce_ex__(5), None, None, None)[:5]
    rest = state, list(items or ()), list(pairs or ())
    if call is copyreg.__newobj__:  # type: ignore[attr-defined]
        return Made("new", name, args[1:], {}, *rest)
    if call is copyreg.__newobj_ex__:  # type: ignore[attr-defined]
        _, own, named = args
        return Made("new", name, own, named, *rest)
    return Made("call", name, args, {}, *rest)


# -- values that have a form of their own -----------------------------------------------


def _digits(value: int) -> str:
    return str(value) if value.bit_length() <= _DECIMAL_BITS else hex(value)


def _special(value: float) -> str:
    """Return infinity or NaN as text; a NaN that is not the usual one by its bits."""
    bits = struct.pack(">d", value).hex()
    return _USUAL.get(bits, bits)


_USUAL: Final = {struct.pack(">d", float(text)).hex(): text for text in ("nan", "inf", "-inf")}


def _base64(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode()


def _text(value: str) -> dict[str, str]:
    # JSON would make one character of two halves.
    return {"$str": _base64(value.encode("utf-8", "surrogatepass"))}


def _moment(value: datetime) -> dict[str, str] | None:
    plain = value.tzinfo is None or value.tzinfo is UTC
    return {"$datetime": value.isoformat()} if plain and not value.fold else None


def _time(value: time) -> dict[str, str] | None:
    plain = value.tzinfo is None and not value.fold
    return {"$time": value.isoformat()} if plain else None


def _uuid(value: UUID) -> dict[str, str] | None:
    return {"$uuid": str(value)} if value.is_safe.value is None else None


def _pattern(value: re.Pattern[Any]) -> dict[str, Any]:
    pattern = value.pattern
    text = {"$bytes": _base64(pattern)} if isinstance(pattern, bytes) else pattern
    return {"$pattern": [text, int(value.flags)]}


def _array(value: array[Any]) -> dict[str, Any]:
    reduced: Any = value.__reduce_ex__(5)
    _, code, form, data = reduced[1]
    return {"$array": [code, form, _base64(data)]}


_SEQUENCES: Final[dict[Any, str]] = {tuple: "$tuple", set: "$set", frozenset: "$frozenset"}

_SIMPLE: Final[dict[Any, Callable[[Any], Any]]] = {
    bytes: lambda value: {"$bytes": _base64(value)},
    bytearray: lambda value: {"$bytearray": _base64(value)},
    Decimal: lambda value: {"$decimal": str(value)},
    date: lambda value: {"$date": value.isoformat()},
    datetime: _moment,
    time: _time,
    UUID: _uuid,
    re.Pattern: _pattern,
    array: _array,
}
