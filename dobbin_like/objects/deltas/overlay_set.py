"""Large sets in a working copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from typing import Any

from dobbin_like.objects.deltas.layered import built_in
from dobbin_like.objects.deltas.overlay import (
    NONE_LEFT,
    FirstKey,
    Overlay,
    Turned,
    key_in,
    stands_for,
)
from dobbin_like.objects.values.value_kinds import FROZENSET, KINDS, SET
from dobbin_like.objects.values.values import StateComparison


@stands_for(
    SET,
    "isdisjoint",
    "issubset",
    "issuperset",
    "union",
    "intersection",
    "difference",
    "symmetric_difference",
)
class OverlaySet(Overlay, MutableSet[Any]):
    """A set that is being changed. ``put`` is a dict, its values are ``None``."""

    __slots__ = ()
    kind = set

    def __init__(self, working: Any, base: Any) -> None:
        super().__init__(working, base)
        self._first = FirstKey(iter, base)

    def __contains__(self, item: object) -> bool:
        return item in self.put or (item not in self.gone and item in self.base)

    def __iter__(self) -> Iterator[Any]:
        gone, put = self.gone, self.put
        more = len(put) - len(gone)
        for part in ((member for member in self.base if member not in gone), put):
            for member in [*part] if part is put else part:
                yield member
                if len(put) - len(gone) != more or isinstance(self, Turned):
                    text = "Set changed size during iteration"
                    raise RuntimeError(text)

    def add(self, value: Any) -> None:
        """Add a member."""
        if value in self:
            return
        gone = key_in(self.gone, value) if value in self.gone else NONE_LEFT
        if gone is NONE_LEFT or not StateComparison().same(gone, value):
            self.put[value] = None
        else:
            del self.gone[value]
            self._first = FirstKey(iter, self.base)

    def discard(self, value: Any) -> None:
        """Remove a member if it is there."""
        if value in self.put:
            del self.put[value]
        elif value in self.base:
            self.gone[key_in(self.base, value)] = None

    def pop(self) -> Any:
        """Remove and return a member."""
        if self.put:
            return self.put.popitem()[0]
        member = self._first.find(self.gone)
        if member is NONE_LEFT:
            text = "pop from an empty set"
            raise KeyError(text)
        self.gone[member] = None
        return member

    def move_to(self, items: Any) -> None:
        super().move_to(items)
        self._first = FirstKey(iter, items)

    def came(self) -> Any:
        return [*self.put]

    def become(self, now: Any) -> bool:
        aliases, base = StateComparison(), self.base
        members = {member: member for member in now}
        self.gone = {
            member: None
            for member in base
            if member not in members or not aliases.same(member, members[member])
        }
        self.put = {
            member: None for member in members if member in self.gone or member not in base
        }
        return True

    def _touches_the_same(self, items: Any) -> bool:
        base = self.base
        return all((member in base) == (member in items) for member in (*self.gone, *self.put))

    def plain(self) -> set[Any]:
        whole = set(built_in(self.base))
        whole.difference_update(self.gone)
        whole.update(self.put)
        return whole

    def clear(self) -> None:
        """Remove all members."""
        self._whole().clear()

    def update(self, *others: Iterable[Any]) -> None:
        """Add the members of all *others*."""
        for other in others:
            for member in list(other) if other is self else other:
                self.add(member)

    def difference_update(self, *others: Iterable[Any]) -> None:
        """Remove the members of all *others*."""
        for other in others:
            for member in list(other) if other is self else other:
                self.discard(member)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        """Keep what is in all *others*."""
        self._whole().intersection_update(*others)

    def symmetric_difference_update(self, other: Iterable[Any]) -> None:
        """Keep what is in one of the two alone."""
        self._whole().symmetric_difference_update(other)


def _in_place(name: str) -> Any:
    def operate(self: OverlaySet, other: Any) -> Any:
        if not isinstance(other, OverlaySet) and KINDS[type(other)] not in (SET, FROZENSET):
            return NotImplemented
        getattr(self, name)(other)
        return self

    return operate


for _sign, _name in (
    ("or", "update"),
    ("sub", "difference_update"),
    ("and", "intersection_update"),
    ("xor", "symmetric_difference_update"),
):
    setattr(OverlaySet, f"__i{_sign}__", _in_place(_name))
