"""What ``find()`` can ask of a value: to equal another one, to lie in a range, to begin with text.

A range has values of one type: no number is below ``"a"``, and ``None`` is in no range.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dobbin_like.indexes.kept.sortable import behind, sortable, text_from
from dobbin_like.objects.values.short import short

__all__ = ["above", "at_least", "at_most", "below", "between", "one_of", "starts_with"]


class Range(NamedTuple):
    """Keys from *low* up to *high*, which is not among them."""

    low: bytes
    high: bytes


class Condition:
    """What is asked of one value: to lie in one of several ranges, which are in order.

    ``equal`` is the only key that fits; None: there may be others.
    """

    def __init__(
        self, name: str, values: tuple[Any, ...], *ranges: Range, equal: bytes | None = None
    ) -> None:
        self._name = name
        self._values = values
        self.ranges = ranges
        self.equal = equal

    def __repr__(self) -> str:
        # Not repr(): that of an object may read all that it leads to.
        inside = ", ".join(map(short, self._values))
        return f"{self._name}({inside})" if self._name else inside

    def has(self, key: bytes) -> bool:
        return any(low <= key < high for low, high in self.ranges)


def condition(value: Any) -> Condition:
    """Return *value* itself if it is a condition, else that to equal it."""
    if isinstance(value, Condition):
        return value
    key = sortable(value)
    return Condition("", (value,), _only(key), equal=key)


def between(low: Any, high: Any) -> Condition:
    """From *low* to *high*, both included."""
    first, last = sortable(low), sortable(high)
    if first[0] != last[0]:
        text = f"between({short(low)}, {short(high)}): the two have no order"
        raise TypeError(text)
    return Condition("between", (low, high), Range(first, behind(last)))


def at_least(value: Any) -> Condition:
    """*value* or more."""
    key = sortable(value)
    return Condition("at_least", (value,), Range(key, behind(key[:1])))


def above(value: Any) -> Condition:
    """More than *value*."""
    key = sortable(value)
    return Condition("above", (value,), Range(behind(key), behind(key[:1])))


def at_most(value: Any) -> Condition:
    """*value* or less."""
    key = sortable(value)
    return Condition("at_most", (value,), Range(key[:1], behind(key)))


def below(value: Any) -> Condition:
    """Less than *value*."""
    key = sortable(value)
    return Condition("below", (value,), Range(key[:1], key))


def one_of(*values: Any) -> Condition:
    """One of *values*."""
    try:
        keys = sorted({sortable(value) for value in values})
    except TypeError as error:
        text = f"one_of({', '.join(map(short, values))}): {error}; give the values one by one"
        raise TypeError(text) from None
    return Condition("one_of", values, *map(_only, keys))


def starts_with(text: str) -> Condition:
    """Text that begins with *text*."""
    given: Any = text
    if not isinstance(given, str):
        message = f"starts_with({given!r}): expected a str"
        raise TypeError(message)
    head = text_from(text)
    return Condition("starts_with", (text,), Range(head, behind(head)))


def _only(key: bytes) -> Range:
    return Range(key, behind(key))
