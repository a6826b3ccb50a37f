"""Where the newest entry of each oid lies: a dense array of file offsets.

Any thread may read while one applies: cells are set in place, and an array that is too
short is replaced whole by a longer one, so that a reader never sees one that is moving.
Knows nothing of files. Read :mod:`dobbin_like.log.reading.reader` next.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from dobbin_like.log.format.record import ENTRY_SIZE

_SWAP: Final = sys.byteorder == "big"
_BLOCK: Final = 1 << 17
_SLACK: Final = 1024
"""Least growth, in slots: small databases grow in one step of 8 KiB."""


class Positions:
    """Oid to position of its newest applied entry; 0 means that nothing is stored.

    ``slots`` may be longer than ``next_oid``; cells past it are 0. Readers have to refuse negative
    oids themselves.
    """

    __slots__ = ("next_oid", "slots", "stored")

    def __init__(self) -> None:
        self.slots: array[int] = array("Q")
        self.next_oid: int = 0
        self.stored: int = 0

    def get(self, oid: int) -> int:
        """Return the position of an oid, 0 if there is none."""
        if 0 <= oid < self.next_oid:
            return self.slots[oid]
        return 0

    def newest(self, oids: Iterable[int]) -> list[int]:
        """Return what :meth:`get` does, for many oids at once."""
        slots, end = self.slots, self.next_oid
        return [slots[oid] if 0 <= oid < end else 0 for oid in oids]

    def update(self, oids: Sequence[int], first_entry: int) -> None:
        """Let *oids*, some of them, point to the entries from *first_entry* on."""
        highest = oids[0] if len(oids) == 1 else max(oids)
        slots = self.slots
        if highest >= len(slots):
            self._grow(highest + 1)
            slots = self.slots
        position = first_entry
        for oid in oids:
            # Counted side by side: an interrupt leaves neither without the other, and
            # what is run again is not counted again.
            if not slots[oid]:
                self.stored += 1
            slots[oid] = position
            position += ENTRY_SIZE
        if highest >= self.next_oid:
            self.next_oid = highest + 1

    def reserve(self, next_oid: int) -> None:
        """Let the oids below *next_oid* count as used: those of objects that were dropped, too."""
        if next_oid > len(self.slots):
            self._grow(next_oid)
        self.next_oid = max(self.next_oid, next_oid)

    def encode(self) -> bytes:
        return b"".join(self.blocks())

    def blocks(self) -> Iterator[bytes]:
        """Yield the slots up to ``next_oid`` as they are saved, a megabyte at a time."""
        for start in range(0, self.next_oid, _BLOCK):
            block = self.slots[start : min(start + _BLOCK, self.next_oid)]
            if _SWAP:
                block.byteswap()
            yield block.tobytes()

    @classmethod
    def decode(cls, block: array[int], stored: int) -> Positions:
        """Return positions from what :meth:`blocks` yielded; *block* is taken over."""
        positions = cls()
        positions.slots = block
        if _SWAP:
            positions.slots.byteswap()
        positions.next_oid = len(positions.slots)
        positions.stored = stored
        return positions

    def _grow(self, needed: int) -> None:
        # A new array, because growing in place moves cells under the eyes of a reader.
        length = max(needed + _SLACK, len(self.slots) * 5 // 4)
        longer = self.slots[:]
        longer.frombytes(bytes(8 * (length - len(longer))))
        self.slots = longer
