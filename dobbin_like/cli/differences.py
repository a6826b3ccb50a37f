"""What differs between two states of an object, by attribute or by item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from dobbin_like.cli.text import Styled, columns, line
from dobbin_like.cli.values import NameOf, Values, to_json
from dobbin_like.history.states import differing
from dobbin_like.objects.deltas.delta import ITEMS
from dobbin_like.objects.values.comparison import same
from dobbin_like.objects.values.short import ABSENT
from dobbin_like.texts import counted

_SHOWN: Final = 50
"""Differences of one object that are shown to people; JSON has all of them."""


class ValueChange(NamedTuple):
    """An attribute, or an item; ``ABSENT`` stands for the value of one that is not there."""

    name: str
    old: Any
    new: Any


def differences(
    before: dict[str, Any], after: dict[str, Any], values: Values
) -> Iterator[ValueChange]:
    """Yield the attributes in which two states of an object differ.

    For a persistent dict, list or set, yield the items that differ: the whole of a large
    one would fill pages, twice, and hide the difference.
    """
    before, after = _with_items(before), _with_items(after)
    for name in differing(before, after):
        old, new = before.get(name, ABSENT), after.get(name, ABSENT)
        seen: Counter[str] = Counter()
        for item, was, becomes in _items(old, new) if name == ITEMS else ():
            label = f"[{values.short(item)}]"
            seen[label] += 1
            again = f" #{seen[label]}" if seen[label] > 1 else ""  # The same text as another.
            yield ValueChange(label + again, was, becomes)
        if not seen:  # No items; or the order has changed, or a list before its end.
            yield ValueChange(name, old, new)


def _with_items(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state; of a leaf of a tree, with a dict in the place of its keys and values."""
    if not state.keys() >= {"tree", "moves", "items"}:
        return state
    try:
        keys, values = state["items"]
        items = dict(zip(keys, values, strict=True))
    except (TypeError, ValueError):  # Keys without a hash, or an object of an application.
        return state
    return {name: value for name, value in state.items() if name != "items"} | {ITEMS: items}


def _items(before: Any, after: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield the items that differ. Nothing if the difference is not one of items."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*after, *(key for key in before if key not in after)]:
            old, new = before.get(key, ABSENT), after.get(key, ABSENT)
            if not same(old, new):
                yield key, old, new
    elif isinstance(before, set) and isinstance(after, set):
        yield from ((item, ABSENT, item) for item in sorted(after - before, key=repr))
        yield from ((item, item, ABSENT) for item in sorted(before - after, key=repr))
    elif isinstance(before, list) and isinstance(after, list):
        count = len(before)
        if same(before, after[:count]):
            yield from ((count + place, ABSENT, new) for place, new in enumerate(after[count:]))


def print_differences(found: Iterator[ValueChange], values: Values) -> None:
    """Print a line for each: what is there no more, and what has come."""
    for number, (name, old, new) in enumerate(found):
        if number == _SHOWN:
            line(f"    and {counted(1 + sum(1 for _ in found), 'more difference')}")
            return
        room = columns() - len(name) - 10
        one = old is ABSENT or new is ABSENT
        each = max(20, room - len(repr(ABSENT)) if one else room // 2)  # So that both are seen.
        was, becomes = (v if v is ABSENT else values.short(v, each) for v in (old, new))
        line("    ", Styled(name, "cyan"), f": {was} -> {becomes}")


def as_json(found: Iterator[ValueChange], name_of: NameOf) -> dict[str, Any]:
    """Return the differences by name; ``old`` or ``new`` is missing where nothing was there."""
    return {
        name: {
            side: to_json(value, name_of)
            for side, value in (("old", old), ("new", new))
            if value is not ABSENT
        }
        for name, old, new in found
    }
