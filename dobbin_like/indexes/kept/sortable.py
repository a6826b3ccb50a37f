"""Values as bytes whose order is that of the values: one order for all types.

``None`` first, then numbers, text, bytes, days, times without and with a zone, spans of time,
UUIDs, members of enums, persistent objects, tuples. Values are the same key where ``==`` says so:
1, 1.0 and True; two datetimes of one moment. Members of enums are told by their names, persistent
objects by their oids.

Bytes, because a node of many keys is copied and compared as a whole. The first one is the rank of
the type. No key is the beginning of another one, so that keys can stand one after the other.
"""

from __future__ import annotations

import enum
import math
import struct
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final
from uuid import UUID

from dobbin_like.objects.values.refs import Identity, ref_of

ORDERED: Final = (
    "None, a number, str, bytes, date, datetime, timedelta, UUID, a member of an enum, a "
    "persistent object, or a tuple of these"
)
"""What can be indexed, for the texts of errors."""

(
    _NONE, _NUMBER, _TEXT, _BYTES, _DATE, _NAIVE, _AWARE, _SPAN, _UUID, _MEMBER, _OBJECT, _TUPLE,
) = (bytes((rank,)) for rank in range(1, 13))  # fmt: skip

_END: Final = b"\0\1"
"""Behind text, in which a zero byte is followed by 255."""

_SIGN: Final = 1 << 63
_EXACT: Final = b"\x80"
_DIGITS_LIMIT: Final = 5000
"""Decimal digits before or behind the point; the rest of a number is found by its digits."""

_double: Final = struct.Struct(">d").pack
_EPOCH: Final = datetime(1, 1, 1)
_AWARE_EPOCH: Final = _EPOCH.replace(tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def sortable(value: Any) -> bytes:
    """Return *value* as a key; TypeError if it has no order."""
    encode = _ENCODERS.get(type(value))
    return _other(value) if encode is None else encode(value)


def text_from(text: str) -> bytes:
    """Return with what the keys begin of all texts that begin with *text*."""
    return _TEXT + _escaped(text)


def behind(prefix: bytes) -> bytes:
    """Return what is above all that begin with *prefix*, and below what else is above them."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes((head[-1] + 1,))


def _escaped(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass").replace(b"\0", b"\0\xff")


def _number(value: Any) -> bytes:
    """Return the nearest double, and what is left: nothing, for nearly all numbers."""
    if isinstance(value, Decimal) and (value.is_nan() or abs(value.adjusted()) > _DIGITS_LIMIT):
        text = f"{value!r:.60} has no order, or is too far from 1"
        raise TypeError(text)
    try:
        near = float(value)
    except OverflowError:
        near = math.inf if value > 0 else -math.inf
    if math.isnan(near):
        text = f"{value!r} has no order"
        raise TypeError(text)
    if math.isinf(near) and near != value:
        near = math.copysign(sys.float_info.max, near)
    bits = int.from_bytes(_double(near + 0.0), "big")  # Without the sign of a zero.
    bits = ~bits & (2 * _SIGN - 1) if bits & _SIGN else bits | _SIGN
    key = _NUMBER + bits.to_bytes(8, "big")
    return key + (_EXACT if near == value else _rest(Fraction(value) - Fraction(near)))


def _rest(rest: Fraction) -> bytes:
    """Return what lies between a number and its double: exponent and digits."""
    scale = 0
    top, bottom = abs(rest.numerator), rest.denominator  # Which has no factors but 2 and 5.
    while bottom != 1:
        top, scale = 10 * top, scale + 1
        divisor = math.gcd(top, bottom)
        top, bottom = top // divisor, bottom // divisor
    digits = str(Decimal(top))  # Of an int, Python refuses to make more than 4300.
    exponent = (len(digits) - scale + _SIGN).to_bytes(8, "big")
    text = exponent + digits.rstrip("0").encode() + b"\0"
    if rest > 0:
        return b"\x81" + text
    return b"\x7f" + bytes(255 - byte for byte in text)


def _moment(value: datetime) -> bytes:
    if value.utcoffset() is None:
        return _NAIVE + _microseconds(value.replace(tzinfo=None) - _EPOCH)
    return _AWARE + _microseconds(value - _AWARE_EPOCH)


def _microseconds(span: timedelta) -> bytes:
    # A timedelta can be longer than 64 bits hold.
    return (span // _MICROSECOND + (1 << 79)).to_bytes(10, "big")


def _reference(value: Any) -> bytes:
    ref = ref_of(value)
    # What is not stored is equal to itself, and to nothing that is.
    number = -1 - id(value) if ref is None else ref.oid
    return _OBJECT + (number + _SIGN).to_bytes(8, "big")


def _other(value: Any) -> bytes:
    for kind, encode in _BY_BASE:
        if isinstance(value, kind):
            return encode(value)
    name = getattr(value, "_p_kind", type(value).__name__)  # Of a guarded container.
    text = f"a {name} has no order, expected {ORDERED}"
    raise TypeError(text)


_BY_BASE: Final[tuple[tuple[type, Callable[[Any], bytes]], ...]] = (
    (str, lambda value: _TEXT + _escaped(str.__str__(value)) + _END),  # Of an enum, too.
    (int, lambda value: _number(int(value))),
    (float, lambda value: _number(float(value))),
    (Identity, _reference),
    (tuple, lambda value: _TUPLE + b"".join(map(sortable, value)) + b"\0"),
    (enum.Flag, lambda value: _number(value.value)),
    (enum.Enum, lambda value: _MEMBER + _escaped(value.name) + _END),
)

_ENCODERS: Final[dict[type, Callable[[Any], bytes]]] = {
    type(None): lambda _value: _NONE,
    **dict.fromkeys((bool, int, float, Decimal), _number),
    str: lambda value: _TEXT + _escaped(value) + _END,
    bytes: lambda value: _BYTES + value.replace(b"\0", b"\0\xff") + _END,
    date: lambda value: _DATE + value.toordinal().to_bytes(4, "big"),
    datetime: _moment,
    timedelta: lambda value: _SPAN + _microseconds(value),
    UUID: lambda value: _UUID + value.bytes,
}
