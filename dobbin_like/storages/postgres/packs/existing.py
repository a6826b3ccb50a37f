"""What an instance over a log in PostgreSQL knows of which objects there are, without asking."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

from dobbin_like.ids import Oid

_MOST: Final = 100_000
"""Objects of which is kept that they are there: a few megabytes."""


class Existing:
    """Some of the objects that there are, and all that packs have dropped since it was made.

    Any thread may ask and note what it has read; one at a time notes what is applied.
    """

    def __init__(self) -> None:
        self._some: set[Oid] = set()
        self._dropped = bytearray()  # A bit for each oid.

    def __contains__(self, oid: object) -> bool:
        """Return whether an object is known to be there."""
        # What was read before a pack may be noted after it.
        return oid in self._some and not self.is_dropped(cast("Oid", oid))

    def note(self, oids: Iterable[Oid]) -> None:
        """Know that these were read."""
        if len(self._some) > _MOST:
            self._some = set()
        self._some.update(oids)

    def apply(self, stored: Iterable[Oid], dropped: Iterable[Oid]) -> None:
        """Know that these were stored, and those dropped. May be repeated."""
        self.note(stored)
        if self._dropped:
            for oid in stored:
                if self.is_dropped(oid):
                    self._dropped[oid >> 3] &= ~(1 << (oid & 7))
        highest = max(dropped, default=-1)
        if highest >> 3 >= len(self._dropped):
            self._dropped += bytes((highest >> 3) + 1 - len(self._dropped))
        for oid in dropped:
            self._dropped[oid >> 3] |= 1 << (oid & 7)
            self._some.discard(oid)

    def is_dropped(self, oid: Oid) -> bool:
        """Return whether a pack has dropped an object, and nobody has stored it again."""
        at = oid >> 3
        return at < len(self._dropped) and bool(self._dropped[at] & (1 << (oid & 7)))
