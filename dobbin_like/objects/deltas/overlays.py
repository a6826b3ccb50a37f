"""Overlays of large lists and sets, and the choice of the overlay for a collection."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, MutableSequence, MutableSet
from typing import Any, Final

from dobbin_like.objects.deltas.layered import DELTA_TYPES, built_in, starts_with
from dobbin_like.objects.deltas.overlay import NONE_LEFT, Materialized, Overlay, key_in
from dobbin_like.objects.deltas.overlay_dict import OverlayDict
from dobbin_like.objects.values.comparison import StateComparison, same
from dobbin_like.objects.values.value_kinds import DICT, KINDS, LIST, SET, SHAREABLE, TUPLE

SMALL: Final = 64
"""Up to this size a collection is copied at checkout."""


class OverlayList(Overlay, MutableSequence[Any]):
    """A list that is being appended to; any other change replaces it by an ordinary list."""

    __slots__ = ()

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

    def __imul__(self, count: Any) -> Any:
        return self._materialize().__imul__(count)

    def remove(self, value: Any) -> None:
        self._materialize().remove(value)

    def reverse(self) -> None:
        self._materialize().reverse()

    def sort(self, **options: Any) -> None:
        self._materialize().sort(**options)

    def count(self, value: Any) -> int:
        return self.plain().count(value)

    def index(self, value: Any, *limits: Any) -> int:
        return self.plain().index(value, *limits)

    def take_difference(self, now: Any) -> bool:
        size = len(self.base)
        self.added = now[size:]
        self.own: dict[Any, Any] = dict(enumerate(now[:size]))
        return len(now) >= size and same(built_in(self.base), now[:size])

    def _touches_the_same(self, items: Any, touched: Iterable[Any]) -> bool:
        if touched:  # What begins as before was not appended all the same.
            return False
        if starts_with(items, self.base):
            return True
        size = len(self.base)
        start = built_in(items)[:size]
        return len(start) == size and same(built_in(self.base), start)

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


class OverlaySet(Overlay, MutableSet[Any]):
    """A set that is being changed. ``added`` is a dict, its values are ``None``."""

    __slots__ = ()

    def __contains__(self, item: object) -> bool:
        return item in self.added or (item not in self.removed and item in self.base)

    def __iter__(self) -> Iterator[Any]:
        removed, added = self.removed, self.added
        more = len(added) - len(removed)
        for part in ((member for member in self.base if member not in removed), added):
            for member in [*part] if part is added else part:
                yield member
                if len(added) - len(removed) != more or isinstance(self, Materialized):
                    text = "Set changed size during iteration"
                    raise RuntimeError(text)

    def add(self, value: Any) -> None:
        if value in self:
            return
        removed = key_in(self.removed, value) if value in self.removed else NONE_LEFT
        if removed is NONE_LEFT or not same(removed, value):
            self.added[value] = None
        else:
            del self.removed[value]
            self._ends = None  # It is at its old place again.

    def discard(self, value: Any) -> None:
        if value in self.added:
            del self.added[value]
        elif value in self.base:
            self.removed[key_in(self.base, value)] = None

    def pop(self) -> Any:
        if self.added:
            return self.added.popitem()[0]
        member = self._end(0)
        if member is NONE_LEFT:
            text = "pop from an empty set"
            raise KeyError(text)
        self.removed[member] = None
        return member

    def all_added(self) -> Any:
        return [*self.added]

    def take_difference(self, now: Any) -> bool:
        aliases, base = StateComparison(), self.base
        members = {member: member for member in now}
        self.removed: dict[Any, None] = {
            member: None
            for member in base
            if member not in members or not aliases.same(member, members[member])
        }
        self.added: dict[Any, None] = {
            member: None for member in members if member in self.removed or member not in base
        }
        return True

    def _touches_the_same(self, items: Any, touched: Iterable[Any]) -> bool:
        base, changed = self.base, (*self.removed, *self.added)
        return all((member in base) == (member in items) for member in (*changed, *touched))

    def plain(self) -> set[Any]:
        whole = set(built_in(self.base))
        whole.difference_update(self.removed)
        whole.update(self.added)
        return whole

    def update(self, *others: Iterable[Any]) -> None:
        for other in others:
            for member in list(other) if other is self else other:
                self.add(member)

    def difference_update(self, *others: Iterable[Any]) -> None:
        for other in others:
            for member in list(other) if other is self else other:
                self.discard(member)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        self._materialize().intersection_update(*others)

    def symmetric_difference_update(self, other: Iterable[Any]) -> None:
        self._materialize().symmetric_difference_update(other)


_OVERLAYS: Final[dict[int, Any]] = {DICT: OverlayDict, SET: OverlaySet, LIST: OverlayList}
KINDS.update({cls: kind for kind, cls in _OVERLAYS.items()})


def overlay_of(working: Any, items: Any) -> Overlay | None:
    """Return an overlay over shared *items*; ``None`` if they have to be copied."""
    if len(items) <= SMALL or not are_independent(items):
        return None
    return _overlay_of(working, items)


def are_independent(items: Any) -> bool:
    """Return whether each of the shared *items* can be copied without the others."""
    return type(items) in DELTA_TYPES and not items._p_together


def _overlay_of(working: Any, items: Any) -> Overlay:
    cls: Any = type(working.obj)._p_faces.plain
    made: Overlay = (cls._p_overlay or _OVERLAYS[KINDS[type(items)]])(working, items)
    return made


def difference(working: Any, items: Any, now: Any) -> Overlay | None:
    """Return an overlay that makes *now*, a built-in, of *items*; ``None`` if that is impossible.

    If items are not independent, it has only a difference and can't be read. Cost: the size.
    """
    kind = KINDS[type(items)]
    if kind not in _OVERLAYS or kind != KINDS[type(now)]:
        return None
    made = _overlay_of(working, items)
    return made if made.take_difference(now) else None
