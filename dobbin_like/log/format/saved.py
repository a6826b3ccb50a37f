"""Saved positions to bytes and back: a head that opening reads, and slots in blocks.

Each block of slots has a checksum of its own in the head, so that it can be read when one of its
objects is first used: opening a large log reads almost none of the slots. The layout is described
in ``doctests/format.rst``.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable
from typing import Final, NamedTuple
from zlib import crc32

from dobbin_like.log.format.meta import DamagedError
from dobbin_like.log.format.record import (
    COMMITTED,
    KIND_POSITIONS,
    POSITIONS_SIZE,
    LogPlace,
    align,
    frame_head,
    seal,
)

POSITIONS: Final = struct.Struct("<IIIIQQQQQQQQII")
"""A frame, then: slots, stored oids, the tail that is covered, slots in a block."""

BLOCK_SLOTS: Final = 1 << 10
"""Slots in a block; the last one may have fewer."""

SLOT_SIZE: Final = 8
_SWAP: Final = sys.byteorder == "big"

if POSITIONS.size != POSITIONS_SIZE:
    text = "the struct string and the size disagree"
    raise AssertionError(text)


class PositionsHead(NamedTuple):
    """The fixed part of saved positions. Names, checksums and slots follow it."""

    slots: int  # Number of 8-byte positions that follow, by oid.
    stored: int  # Number of them that are not 0.
    covered: LogPlace  # The place up to which transactions are in the positions.


class SavedSlots(NamedTuple):
    """Where the slots of saved positions are in the file, and the checksums of their blocks."""

    slots: int
    start: int
    checksums: array[int]

    @property
    def end(self) -> int:
        return self.start + SLOT_SIZE * self.slots

    def place(self, number: int) -> tuple[int, int]:
        """Return the offset and the size of a block, in bytes."""
        first = number * BLOCK_SLOTS
        size = min(BLOCK_SLOTS, self.slots - first)
        return self.start + SLOT_SIZE * first, SLOT_SIZE * size

    def decode(self, number: int, data: bytes) -> array[int]:
        """Return the slots of a block. Raises DamagedError."""
        found, expected = crc32(data), self.checksums[number]
        if found != expected:
            text = f"saved positions with the checksum {found:08x}"
            raise DamagedError(text, f"{expected:08x}")
        block = array("Q", data)
        if _SWAP:
            block.byteswap()
        return block


def encode_block(block: array[int]) -> bytes:
    """Return slots as they are saved."""
    if _SWAP:
        block = block[:]
        block.byteswap()
    return block.tobytes()


def encode_positions_head(
    tail: LogPlace, head: PositionsHead, names: bytes, blocks: Iterable[bytes]
) -> tuple[bytes, int, LogPlace]:
    """Return what stands before the blocks, how many bytes fill up the frame, and its end."""
    checksums = array("I", map(crc32, blocks))
    if _SWAP:
        checksums.byteswap()
    meta = names + checksums.tobytes()
    length, covered = positions_size(head.slots, len(names)), head.covered
    fields = POSITIONS.pack(
        0,
        COMMITTED,
        KIND_POSITIONS,
        len(meta),
        length,
        tail.frame,
        head.slots,
        head.stored,
        covered.end,
        covered.frame,
        covered.sequence,
        covered.tid,
        covered.checksum,
        BLOCK_SLOTS,
    )
    start, checksum = seal(fields + meta, tail.checksum)
    after = LogPlace(tail.end + length, tail.end, checksum, tail.sequence, tail.tid)
    return start, length - len(start) - SLOT_SIZE * head.slots, after


def decode_positions_head(data: bytes) -> PositionsHead:
    """Return the fixed part of saved positions; its checksum has been verified."""
    fields = POSITIONS.unpack_from(data)
    slots, stored, end, frame, sequence, tid, checksum, _ = fields[6:]
    return PositionsHead(slots, stored, LogPlace(end, frame, checksum, sequence, tid))


def decode_saved_slots(data: bytes, offset: int) -> SavedSlots:
    """Return the slots of saved positions at *offset*; *data* is what :func:`head_size` says.

    Raises:
        DamagedError: The slots do not fit into the frame, or are in other blocks.
    """
    in_block = POSITIONS.unpack_from(data)[-1]
    if in_block != BLOCK_SLOTS:
        text = f"{in_block} slots in a block"
        raise DamagedError(text, f"{BLOCK_SLOTS}")
    slots, length = decode_positions_head(data).slots, frame_head(data).length
    size = 4 * _blocks(slots)
    if POSITIONS_SIZE + size > len(data) or len(data) + SLOT_SIZE * slots > length:
        text = f"{slots} slots"
        raise DamagedError(text, f"as many as {length} bytes have room for")
    checksums = array("I", data[len(data) - size :])
    if _SWAP:
        checksums.byteswap()
    return SavedSlots(slots, offset + len(data), checksums)


def head_size(data: bytes) -> int:
    """Return how many bytes of saved positions there are before the slots."""
    return POSITIONS_SIZE + frame_head(data).meta_size


def positions_size(slots: int, names_size: int) -> int:
    """Return how many bytes saved positions have in all."""
    return align(POSITIONS_SIZE + names_size + 4 * _blocks(slots) + SLOT_SIZE * slots)


def _blocks(slots: int) -> int:
    return -(-slots // BLOCK_SLOTS)
