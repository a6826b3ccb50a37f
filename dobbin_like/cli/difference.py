"""The changes of a revision of an object, as text; for a collection, item by item."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from dobbin_like.history import ABSENT
from dobbin_like.objects.deltas.delta import ITEMS
from dobbin_like.objects.values.values import StateComparison

if TYPE_CHECKING:
    from collections.abc import Iterator

Difference = tuple[str, str, str]
"""An attribute or item, and its value before and after."""


def differences(changed: dict[str, tuple[Any, Any]]) -> Iterator[Difference]:
    """Yield the differences in *changed*, attribute by attribute.

    For a persistent dict, list or set, yield the items that differ: the whole of a large
    one would fill pages, twice, and hide the difference. Cost: the values.
    """
    for name, (before, after) in changed.items():
        seen: Counter[str] = Counter()
        for item, old, new in _items(before, after) if name == ITEMS else ():
            label = f"[{item!r}]"
            seen[label] += 1
            again = f" #{seen[label]}" if seen[label] > 1 else ""  # The same repr as another.
            yield label + again, repr(old), repr(new)
        if not seen:  # No items; or the order has changed, or a list before its end.
            yield name, repr(before), repr(after)


def _items(before: Any, after: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield the items that differ. Nothing if the difference is not one of items."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*after, *(key for key in before if key not in after)]:
            old, new = before.get(key, ABSENT), after.get(key, ABSENT)
            if not StateComparison().same(old, new):
                yield key, old, new
    elif isinstance(before, set) and isinstance(after, set):
        yield from ((item, ABSENT, item) for item in sorted(after - before, key=repr))
        yield from ((item, item, ABSENT) for item in sorted(before - after, key=repr))
    elif isinstance(before, list) and isinstance(after, list):
        count = len(before)
        if StateComparison().same(before, after[:count]):
            yield from ((count + place, ABSENT, new) for place, new in enumerate(after[count:]))
