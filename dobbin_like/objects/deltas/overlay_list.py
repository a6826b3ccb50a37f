"""Large lists in a working copy."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, MutableSequence
from typing import Any

from dobbin_like.objects.deltas.layered import built_in, starts_with
from dobbin_like.objects.deltas.overlay import Materialized, Overlay, stands_for
from dobbin_like.objects.values.value_kinds import KINDS, LIST, SHAREABLE, TUPLE
from dobbin_like.objects.values.values import StateComparison


@stands_for(LIST, "count index")
class OverlayList(Overlay, MutableSequence[Any]):
    """A list that is being appended to; any other change replaces it by an ordinary list."""

    __slots__ = ()
    kind = list

    def __init__(self, working: Any, base: Any) -> None:
        super().__init__(working, base)
        self.added: list[Any] = []

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        try:
            at = range(len(self))[index]
        except (IndexError, TypeError):
            return [][index]  # Raises what a list raises, in its words.
        below = len(self.base)
        return self._value(at, self.base[at]) if at < below else self.added[at - below]

    def __iter__(self) -> Iterator[Any]:
        # Like a list, it goes on over what the list has become meanwhile.
        for at, value in enumerate(self.base):
            yield self._value(at, value)
            if isinstance(self, Materialized):
                yield from _from(self.base, at + 1)
                return
        below, added, at = len(self.base), self.added, 0
        while at < len(added):
            yield added[at]
            at += 1
            if isinstance(self, Materialized):
                yield from _from(self.base, below + at)
                return

    def __reversed__(self) -> Iterator[Any]:
        at = len(self) - 1
        while 0 <= at < len(self):
            yield self[at]
            at -= 1

    def append(self, value: Any) -> None:
        self.added.append(value)

    def extend(self, values: Iterable[Any]) -> None:
        if KINDS[type(values)] in (LIST, TUPLE):
            self.added.extend(list(self) if values is self else values)
        else:
            for value in values:  # Which may look at the list, or change it.
                self.append(value)

    def __radd__(self, other: Any) -> Any:
        return other + self.plain()

    def __iadd__(self, values: Iterable[Any]) -> Any:
        self.extend(values)
        return self

    def insert(self, index: int, value: Any) -> None:
        if operator.index(index) >= len(self):
            self.append(value)
        else:
            self._materialize().insert(index, value)

    def pop(self, index: int = -1) -> Any:
        if self.added and operator.index(index) in (-1, len(self) - 1):
            return self.added.pop()
        return self._materialize().pop(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._materialize()[index] = value

    def __delitem__(self, index: Any) -> None:
        del self._materialize()[index]

    def __imul__(self, count: int) -> Any:
        whole = self._materialize()
        whole *= count
        return whole

    def remove(self, value: Any) -> None:
        self._materialize().remove(value)

    def reverse(self) -> None:
        self._materialize().reverse()

    def sort(self, *, key: Any = None, reverse: bool = False) -> None:
        self._materialize().sort(key=key, reverse=reverse)

    def take_difference(self, now: Any) -> bool:
        size = len(self.base)
        self.added = now[size:]
        self.own = dict(enumerate(now[:size]))
        return len(now) >= size and StateComparison().same(built_in(self.base), now[:size])

    def _touches_the_same(self, items: Any) -> bool:
        if starts_with(items, self.base):
            return True
        size = len(self.base)
        start = built_in(items)[:size]
        return len(start) == size and StateComparison().same(built_in(self.base), start)

    def _has_same(self, key: Any, value: Any) -> bool:
        return True  # Appending changes no item.

    def plain(self) -> list[Any]:
        base = built_in(self.base)
        if not SHAREABLE.issuperset(map(type, base)):
            return list(self)
        return [*base, *self.added]


def _from(items: list[Any], start: int) -> Iterator[Any]:
    """Yield the items from *start* on, as they are when they are reached."""
    at = start
    while at < len(items):
        yield items[at]
        at += 1
