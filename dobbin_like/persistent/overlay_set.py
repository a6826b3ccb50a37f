"""Large sets in a working copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from typing import Any

from dobbin_like.persistent.kinds import FROZENSET, KINDS, SET
from dobbin_like.persistent.layered import built_in
from dobbin_like.persistent.overlay import Overlay, stands_for


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

    def __contains__(self, item: object) -> bool:
        return item in self.put or (item not in self.gone and item in self.base)

    def __iter__(self) -> Iterator[Any]:
        size, gone = self.size, self.gone
        for part in ((member for member in self.base if member not in gone), [*self.put]):
            for member in part:
                yield member
                if self.size != size:
                    text = "Set changed size during iteration"
                    raise RuntimeError(text)

    def add(self, value: Any) -> None:
        """Add a member."""
        if value not in self:
            if value in self.gone:
                del self.gone[value]
            else:
                self.put[value] = None
            self.size += 1

    def discard(self, value: Any) -> None:
        """Remove a member if it is there."""
        if value in self.put:
            del self.put[value]
        elif value in self.base and value not in self.gone:
            self.gone[value] = None
        else:
            return
        self.size -= 1

    def came(self) -> Any:
        return [*self.put]

    def become(self, now: Any) -> bool:
        base = self.base
        self.gone = dict.fromkeys(member for member in base if member not in now)
        self.put = dict.fromkeys(member for member in now if member not in base)
        self.size = len(now)
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
