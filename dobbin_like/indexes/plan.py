"""Which index answers a search, and how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Final, NamedTuple

from dobbin_like.indexes.conditions import Condition, Range
from dobbin_like.indexes.kept.definition import Definition

_COUNTED: Final = 256
"""Entries that are counted of each index that would do, to take the one that leads to fewest."""

_ALL: Final = Range(b"", b"\xff")


class IndexPlan(NamedTuple):
    """The entries of one index that lie in ``spans``, in order.

    ``used`` are the names whose conditions hold for all of them. ``sorted_behind``: They are in
    the order that was asked for, and so many bytes stand before the key of that; None: they are
    not.
    """

    definition: Definition
    spans: Sequence[Range]
    used: frozenset[str]
    sorted_behind: int | None

    def entries(self, *, backward: bool = False) -> Iterator[bytes]:
        tree = self.definition.entries
        spans = reversed(self.spans) if backward else self.spans
        return chain.from_iterable(tree.span(*each, backward=backward) for each in spans)

    def weight(self) -> int:
        """Return how many entries there are, as far as it is counted."""
        return sum(1 for _ in islice(self.entries(), _COUNTED))


def plan(
    definitions: Iterable[Definition], conditions: Mapping[str, Condition], order_by: str | None
) -> IndexPlan | None:
    """Return how to find what fulfils *conditions*; None: only by looking at all objects."""
    plans = [_plan(each, conditions, order_by) for each in definitions]
    found = [each for each in plans if each is not None]
    # One that only helps with the order leads to all objects.
    found = [each for each in found if each.used] or found
    if len(found) < 2:
        return found[0] if found else None
    return min(
        found, key=lambda each: (each.weight(), -len(each.used), each.sorted_behind is None)
    )


def _plan(
    definition: Definition, conditions: Mapping[str, Condition], order_by: str | None
) -> IndexPlan | None:
    names = definition.names
    # It does not have the objects that lack one of its attributes.
    if any(name not in conditions and name != order_by for name in names):
        return None
    before = b""
    ranges: Sequence[Range] = ()
    used = []
    name = names[0]
    for name in names:
        asked = conditions.get(name)
        ranges = (_ALL,) if asked is None else asked.ranges
        if asked is not None:
            used.append(name)
        if asked is None or asked.equal is None or name == names[-1]:
            break
        before += asked.equal
    spans = [Range(before + low, before + high) for low, high in ranges]
    is_sorted = name == names[-1] and name == order_by
    return IndexPlan(definition, spans, frozenset(used), len(before) if is_sorted else None)
