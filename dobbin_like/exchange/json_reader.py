"""The counterpart of :mod:`.json_values`: states made of JSON, with references and stand-ins.

The JSON may have been written by anybody: no class of an application is loaded or called, and
what has no meaning raises ValueError.
"""

from __future__ import annotations

import base64
import re
import struct
from array import array
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from dobbin_like.objects.codec.instances.makers import make_array
from dobbin_like.objects.codec.state_writer import ClassName, StateWriter

_HOWS: Final = ("call", "new", "member")
_LONGEST: Final = 120
"""Characters of JSON that are shown in an error."""


def name_in(text: Any) -> ClassName:
    """Return module and qualname of ``module:qualname``."""
    module, colon, qualname = text.partition(":") if isinstance(text, str) else ("", "", "")
    if not (module and colon and qualname):
        raise _wrong(text, "the name of a class as 'module:Class'")
    return module, qualname


class ValueReader:
    """Makes states of JSON for *writer*.

    *refer* is called with the oid of each reference, and returns the one that it has now.
    """

    def __init__(self, writer: StateWriter, refer: Callable[[int], int]) -> None:
        self._writer = writer
        self._refer = refer
        self._same: dict[Any, Any] = {}

    def state(self, found: Any) -> dict[str, Any]:
        """Return a state. ValueError: It is none."""
        self._same = {}
        state = self._read(found)
        if type(state) is not dict or not all(type(name) is str for name in state):
            raise _wrong(found, "a state, an object with a key for each attribute")
        return state

    def _read(self, found: Any, number: Any = None) -> Any:
        cls = type(found)
        if cls is list:
            items: list[Any] = self._define(number, [])
            items.extend([self._read(item) for item in found])
            return items
        if cls is not dict:
            return self._define(number, found)
        special = next((key for key in found if key[:1] == "$"), None)
        if special is None:
            pairs: dict[Any, Any] = self._define(number, {})
            for key, value in found.items():
                pairs[key] = self._read(value)
            return pairs
        return self._special(found, number)

    def _define(self, number: Any, value: Any) -> Any:
        if number is not None:
            self._same[number] = value
        return value

    def _special(self, found: dict[str, Any], number: Any) -> Any:
        for key, read in _BY_KEY.items():
            if key in found:
                return read(self, found, number)
        for key, make in _SIMPLE.items():
            if key in found:
                try:
                    return self._define(number, make(found[key]))
                except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
                    raise _wrong(found, f"a value of {key}") from error
                except (ValueError, re.error, struct.error) as error:
                    raise _wrong(found, f"a value of {key}") from error
        raise _wrong(found, "a key with $ that has a meaning")

    def _defined(self, found: dict[str, Any], _number: Any) -> Any:
        if not isinstance(found["$id"], int) or "$is" not in found:
            raise _wrong(found, "a number and $is")
        return self._read(found["$is"], found["$id"])

    def _again(self, found: dict[str, Any], _number: Any) -> Any:
        if "$first" in found:
            for part in found["$first"]:
                self._read(part)
        number = found["$same"]
        if not isinstance(number, int) or number not in self._same:
            raise _wrong(found, "the $id of a value before it")
        return self._same[number]

    def _reference(self, found: dict[str, Any], number: Any) -> Any:
        oid = found["$ref"]
        if type(oid) is not int or oid < 0:
            raise _wrong(found, "the oid of an object")
        name = name_in(found.get("class"))
        return self._define(number, self._writer.reference(self._refer(oid), name))

    def _sequence(self, found: dict[str, Any], number: Any) -> Any:
        key = next(key for key in ("$tuple", "$frozenset") if key in found)
        items = [self._read(item) for item in _list_in(found, key)]
        return self._define(number, tuple(items) if key == "$tuple" else _hashed(frozenset, items))

    def _set(self, found: dict[str, Any], number: Any) -> Any:
        made: set[Any] = self._define(number, set())
        for item in _list_in(found, "$set"):
            _hashed(made.add, self._read(item))
        return made

    def _dict(self, found: dict[str, Any], number: Any) -> Any:
        made: dict[Any, Any] = self._define(number, {})
        for key, value in self._pairs(_list_in(found, "$dict")):
            _hashed(made.__setitem__, key, value)
        return made

    def _pairs(self, found: Any) -> Any:
        for pair in found if isinstance(found, list) else (found,):
            if not isinstance(pair, list) or len(pair) != 2:
                raise _wrong(pair, "a key and a value, in a list")
            yield self._read(pair[0]), self._read(pair[1])

    def _class(self, found: dict[str, Any], number: Any) -> Any:
        return self._define(number, self._writer.class_named(name_in(found["$class"])))

    def _value(self, found: dict[str, Any], number: Any) -> Any:
        name, how = name_in(found["$value"]), found.get("how")
        if how not in _HOWS:
            raise _wrong(found, f"how it is made, one of {', '.join(_HOWS)}")
        cls: Any = self._writer.stand_in(name)
        args = [self._read(part) for part in _list_in(found, "args")]
        kwargs = self._read(found.get("kwargs", {}))
        if how == "member":
            if len(args) not in (1, 2):
                raise _wrong(found, "the name of a member, or its value and 0")
            return self._define(number, self._writer.member(name, *args))
        if not isinstance(kwargs, dict):
            raise _wrong(found, "arguments by name in kwargs")
        made = cls(*args) if how == "call" else cls.__new__(cls, *args, **kwargs)
        self._define(number, made)
        made.extend([self._read(part) for part in _list_in(found, "items")])
        for key, value in self._pairs(_list_in(found, "pairs")):
            made[key] = value
        if "state" in found:
            made.__setstate__(self._read(found["state"]))
        return made


def _list_in(found: dict[str, Any], key: str) -> list[Any]:
    items = found.get(key, [])
    if not isinstance(items, list):
        raise _wrong(found, f"a list in {key}")
    return items


def _hashed(function: Callable[..., Any], *values: Any) -> Any:
    try:
        return function(*values)
    except TypeError as error:
        raise _wrong(values[0], "what can be a key, or in a set") from error


def _wrong(found: Any, expected: str) -> ValueError:
    text = repr(found)
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return ValueError(f"{text}, expected {expected}")


# -- values that have a form of their own -----------------------------------------------


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _float(text: str) -> float:
    if text in ("nan", "inf", "-inf"):
        return float(text)
    value: float = struct.unpack(">d", bytes.fromhex(text))[0]
    return value


def _pattern(parts: list[Any]) -> re.Pattern[Any]:
    pattern, flags = parts
    if isinstance(pattern, dict):
        pattern = _bytes(pattern["$bytes"])
    return re.compile(pattern, flags)


def _named(text: str) -> Any:
    return {"Ellipsis": Ellipsis, "NotImplemented": NotImplemented}[text]


def _array(parts: list[Any]) -> Any:
    code, form, data = parts
    return make_array(array, code, form, _bytes(data))


_SIMPLE: Final[dict[str, Callable[[Any], Any]]] = {
    "$int": lambda text: int(text, 0),
    "$float": _float,
    "$str": lambda text: _bytes(text).decode("utf-8", "surrogatepass"),
    "$bytes": _bytes,
    "$bytearray": lambda text: bytearray(_bytes(text)),
    "$decimal": Decimal,
    "$date": date.fromisoformat,
    "$datetime": datetime.fromisoformat,
    "$time": time.fromisoformat,
    "$uuid": UUID,
    "$pattern": _pattern,
    "$array": _array,
    "$name": _named,
}

_BY_KEY: Final[dict[str, Callable[[ValueReader, dict[str, Any], Any], Any]]] = {
    "$id": ValueReader._defined,  # noqa: SLF001  its own table
    "$same": ValueReader._again,  # noqa: SLF001
    "$ref": ValueReader._reference,  # noqa: SLF001
    "$tuple": ValueReader._sequence,  # noqa: SLF001
    "$frozenset": ValueReader._sequence,  # noqa: SLF001
    "$set": ValueReader._set,  # noqa: SLF001
    "$dict": ValueReader._dict,  # noqa: SLF001
    "$class": ValueReader._class,  # noqa: SLF001
    "$value": ValueReader._value,  # noqa: SLF001
}
