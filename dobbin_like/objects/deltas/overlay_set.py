"""Large sets in a working copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from typing import Any

from dobbin_like.objects.deltas.layered import built_in
from dobbin_like.objects.deltas.overlay import NONE_LEFT, Materialized, Overlay, key_in, stands_for
from dobbin_like.objects.values.value_kinds import FROZENSET, KINDS, SET
from dobbin_like.objects.values.values import StateComparison


@stands_for(
    SET,
    "isdisjoint issubset issuperset union intersection difference symmetric_difference",
)
class OverlaySet(Overlay, MutableSet[Any]):
    """A set that is being changed. ``added`` is a dict, its values are ``None``."""

    __slots__ = ()
    kind = set

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
        if removed is NONE_LEFT or not StateComparison().same(removed, value):
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
        self.removed = {
            member: None
            for member in base
            if member not in members or not aliases.same(member, members[member])
        }
        self.added = {
            member: None for member in members if member in self.removed or member not in base
        }
        return True

    def _touches_the_same(self, items: Any) -> bool:
        base = self.base
        return all(
            (member in base) == (member in items) for member in (*self.removed, *self.added)
        )

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
