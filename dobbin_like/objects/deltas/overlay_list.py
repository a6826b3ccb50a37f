"""Large lists in a working copy."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, MutableSequence
from typing import Any

from dobbin_like.objects.deltas.layered import built_in
from dobbin_like.objects.deltas.overlay import Overlay, Turned, stands_for
from dobbin_like.objects.values.value_kinds import KINDS, LIST, SHAREABLE, TUPLE
from dobbin_like.objects.values.values import StateComparison


@stands_for(LIST, "count", "index")
class OverlayList(Overlay, MutableSequence[Any]):
    """A list that is being added to; every other change makes it an ordinary list."""

    __slots__ = ()
    kind = list

    def __init__(self, working: Any, base: Any) -> None:
        super().__init__(working, base)
        self.put: list[Any] = []

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        try:
            at = range(len(self))[index]
        except (IndexError, TypeError):
            return [][index]  # Raises what a list raises, in its words.
        below = len(self.base)
        return self._value(at, self.base[at]) if at < below else self.put[at - below]

    def __iter__(self) -> Iterator[Any]:
        # What the list becomes meanwhile is gone on with, as in a list.
        for at, value in enumerate(self.base):
            yield self._value(at, value)
            if isinstance(self, Turned):
                yield from _from(self.base, at + 1)
                return
        below, put, at = len(self.base), self.put, 0
        while at < len(put):
            yield put[at]
            at += 1
            if isinstance(self, Turned):
                yield from _from(self.base, below + at)
                return

    def __reversed__(self) -> Iterator[Any]:
        at = len(self) - 1
        while 0 <= at < len(self):
            yield self[at]
            at -= 1

    def append(self, value: Any) -> None:
        """Add *value* at the end."""
        self.put.append(value)

    def extend(self, values: Iterable[Any]) -> None:
        """Add all *values* at the end."""
        if KINDS[type(values)] in (LIST, TUPLE):
            self.put.extend(list(self) if values is self else values)
        else:
            for value in values:  # Which may look at the list, or change it.
                self.append(value)

    def __radd__(self, other: Any) -> Any:
        return other + self.plain()

    def __iadd__(self, values: Iterable[Any]) -> Any:
        self.extend(values)
        return self

    def insert(self, index: int, value: Any) -> None:
        """Put *value* before *index*."""
        if operator.index(index) >= len(self):
            self.append(value)
        else:
            self._whole().insert(index, value)

    def pop(self, index: int = -1) -> Any:
        """Remove and return the item at *index*."""
        if self.put and operator.index(index) in (-1, len(self) - 1):
            return self.put.pop()
        return self._whole().pop(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._whole()[index] = value

    def __delitem__(self, index: Any) -> None:
        del self._whole()[index]

    def __imul__(self, count: int) -> Any:
        whole = self._whole()
        whole *= count
        return whole

    def remove(self, value: Any) -> None:
        """Remove the first item that equals *value*."""
        self._whole().remove(value)

    def reverse(self) -> None:
        """Turn the order round."""
        self._whole().reverse()

    def sort(self, *, key: Any = None, reverse: bool = False) -> None:
        """Sort in place."""
        self._whole().sort(key=key, reverse=reverse)

    def clear(self) -> None:
        """Remove all items."""
        self._whole().clear()

    def become(self, now: Any) -> bool:
        size = len(self.base)
        self.put = now[size:]
        self.own = dict(enumerate(now[:size]))
        return len(now) >= size and StateComparison().same(built_in(self.base), now[:size])

    def _touches_the_same(self, items: Any) -> bool:
        size = len(self.base)
        start = built_in(items)[:size]
        return len(start) == size and StateComparison().same(built_in(self.base), start)

    def _has_same(self, key: Any, value: Any) -> bool:
        return True  # What was added to has not changed.

    def plain(self) -> list[Any]:
        base = built_in(self.base)
        if not SHAREABLE.issuperset(map(type, base)):
            return list(self)
        return [*base, *self.put]


def _from(items: list[Any], start: int) -> Iterator[Any]:
    """Yield what *items* have from *start* on, as they are by then."""
    at = start
    while at < len(items):
        yield items[at]
        at += 1
