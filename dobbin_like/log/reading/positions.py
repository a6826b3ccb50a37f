"""Where the newest entry of each oid lies: file offsets by oid, in blocks.

A block is an array that is never replaced, and its cells are set in place: any thread may read
while one applies. Saved blocks are read one at a time, when they are first needed.
Knows nothing of files. Read :mod:`dobbin_like.log.reading.reader` next.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from dobbin_like.log.format.record import ENTRY_SIZE
from dobbin_like.log.format.saved import BLOCK_SLOTS, SLOT_SIZE
from dobbin_like.processes.threaded_dict import ThreadedDict

_SHIFT: Final = BLOCK_SLOTS.bit_length() - 1
_MASK: Final = BLOCK_SLOTS - 1

_SLOTS_FOR_AN_ENTRY: Final = 1000
"""Slots that are written in the time in which opening reads one entry of a transaction."""


class Positions:
    """Oid to position of its newest applied entry; 0 means that nothing is stored.

    Args:
        slots: How many oids have saved positions.
        stored: How many of these are not 0.
        read: Returns the saved slots of a block; any thread calls it, more than one at once, too.
    """

    __slots__ = ("_blocks", "_read", "_saved", "next_oid", "stored")

    def __init__(
        self, slots: int = 0, stored: int = 0, read: Callable[[int], array[int]] | None = None
    ) -> None:
        self._blocks: dict[int, array[int]] = ThreadedDict()
        self._saved = slots
        self._read = read
        self.next_oid: int = slots
        self.stored: int = stored

    def get(self, oid: int) -> int:
        """Return the position of an oid, 0 if there is none. Raises what reading a block does."""
        # Up to the end of a block: the block of an oid that is not stored yet may be damaged, and
        # a commit that stores it has to know that before, not when the block is updated.
        if 0 <= oid <= self.next_oid | _MASK:
            number = oid >> _SHIFT
            return (self._blocks.get(number) or self.block(number))[oid & _MASK]
        return 0

    def newest(self, oids: Iterable[int]) -> list[int]:
        """Return what :meth:`get` does, for many oids at once."""
        return list(map(self.get, oids))

    def update(self, oids: Sequence[int], first_entry: int) -> None:
        """Let *oids*, some of them, point to the entries from *first_entry* on.

        Raises what reading a block does: nothing is changed then. After :meth:`get` was called
        for each of them, it raises nothing. May be repeated after an interrupt.
        """
        blocks, position, is_one = self._blocks, first_entry, len(oids) == 1
        for number in (oids[0] >> _SHIFT,) if is_one else {oid >> _SHIFT for oid in oids}:
            if number not in blocks:
                self.block(number)
        for oid in oids:
            block, slot = blocks[oid >> _SHIFT], oid & _MASK
            # Counted side by side: an interrupt leaves neither without the other, and
            # what is run again is not counted again.
            if not block[slot]:
                self.stored += 1
            block[slot] = position
            position += ENTRY_SIZE
        highest = oids[0] if is_one else max(oids)
        if highest >= self.next_oid:
            self.next_oid = highest + 1

    def is_worth_saving(self, entries: int) -> bool:
        """Tell whether it costs less than to read so many entries; oids may be far apart."""
        return self.next_oid <= _SLOTS_FOR_AN_ENTRY * entries

    def reserve(self, next_oid: int) -> None:
        """Let the oids below *next_oid* count as used: those of objects that were dropped, too."""
        self.next_oid = max(self.next_oid, next_oid)

    def blocks(self) -> Iterator[array[int]]:
        """Yield the slots up to ``next_oid``, a block at a time; do not keep what is read.

        They are consistent if :meth:`update` is not called meanwhile.
        """
        end = self.next_oid
        for first in range(0, end, BLOCK_SLOTS):
            number = first >> _SHIFT
            block = self._blocks.get(number) or self._saved_block(number)
            yield block[: end - first]

    def block(self, number: int) -> array[int]:
        """Return the slots of a block, which may be set. Raises what reading it does."""
        # The block that was put there first: cells may have been set in that one.
        return self._blocks.get(number) or self._blocks.setdefault(
            number, self._saved_block(number)
        )

    def _saved_block(self, number: int) -> array[int]:
        block = array("Q")
        if self._read is not None and number * BLOCK_SLOTS < self._saved:
            block = self._read(number)
        if len(block) < BLOCK_SLOTS:
            block.frombytes(bytes(SLOT_SIZE * (BLOCK_SLOTS - len(block))))
        return block
