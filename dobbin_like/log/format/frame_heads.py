"""The fixed parts of the frames that are no transactions: streams, saved positions, redo areas.

As pure as :mod:`.record`, which has the layout of their fields.
Read :mod:`dobbin_like.log.reading.reader` next.
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

from dobbin_like.log.format.meta import WORD, DamagedError
from dobbin_like.log.format.record import (
    CHECKED_FROM,
    COMMITTED,
    IMAGE,
    IMAGE_SIZE,
    KIND_POSITIONS,
    KIND_REDO,
    KIND_STREAM,
    LONG,
    POSITIONS,
    POSITIONS_SIZE,
    REDO,
    REDO_SIZE,
    STREAM,
    STREAM_SIZE,
    LogPlace,
    frame_head,
)

__all__ = [
    "PositionsHead",
    "RedoHead",
    "StreamHead",
    "decode_image_head",
    "decode_positions_head",
    "decode_redo_head",
    "decode_stream_head",
    "encode_image_head",
    "encode_positions_head",
    "encode_redo_head",
    "encode_stream_head",
    "redo_checksum",
    "slots_distance",
    "stream_checksum",
]


class StreamHead(NamedTuple):
    """The fixed part of a stream frame. The data follow it, then the table of chunks."""

    size: int
    chunk_size: int
    own_checksum: int


def stream_checksum(size: int, chunk_size: int, table: bytes) -> int:
    """Return the checksum by which a stream is believed without its predecessor."""
    return crc32(table, crc32(LONG.pack(size) + WORD.pack(chunk_size)))


def encode_stream_head(tail: LogPlace, length: int, head: StreamHead) -> tuple[bytes, int]:
    """Return the fixed part of a stream frame of *length* bytes and its checksum."""
    fields = STREAM.pack(0, COMMITTED, KIND_STREAM, 0, length, tail.frame, *head)
    return _seal(fields, tail.checksum)


def decode_stream_head(data: bytes) -> StreamHead:
    """Return the fixed part of a stream. Raises DamagedError for another kind."""
    if len(data) < STREAM_SIZE:
        text = f"{len(data)} bytes"
        raise DamagedError(text, f"a stream of at least {STREAM_SIZE} bytes")
    fields = STREAM.unpack_from(data)
    if fields[2] != KIND_STREAM or fields[1] != COMMITTED:
        text = f"a frame of kind {fields[2]:#010x}"
        raise DamagedError(text, "a stream")
    head = StreamHead(*fields[6:])
    if head.chunk_size == 0:
        text = "chunks of 0 bytes"
        raise DamagedError(text, "a size of chunks")
    return head


class PositionsHead(NamedTuple):
    """The fixed part of saved positions. The tables of names follow it, then the slots."""

    slots: int  # Number of 8-byte positions that follow, by oid.
    stored: int  # Number of them that are not 0.
    covered: LogPlace  # The place up to which transactions are in the positions.
    slots_checksum: int


def encode_positions_head(tail: LogPlace, length: int, head: PositionsHead, names: bytes) -> bytes:
    """Return the fixed part of a positions frame with the tables of names."""
    covered = head.covered
    fields = POSITIONS.pack(
        0,
        COMMITTED,
        KIND_POSITIONS,
        len(names),
        length,
        tail.frame,
        head.slots,
        head.stored,
        covered.end,
        covered.frame,
        covered.sequence,
        covered.tid,
        covered.checksum,
        head.slots_checksum,
    )
    return _seal(fields + names, tail.checksum)[0]


def decode_positions_head(data: bytes) -> PositionsHead:
    """Return the fixed part of saved positions; its checksum has been verified."""
    fields = POSITIONS.unpack_from(data)
    slots, stored, end, frame, sequence, tid, checksum, slots_checksum = fields[6:]
    covered = LogPlace(end, frame, checksum, sequence, tid)
    return PositionsHead(slots, stored, covered, slots_checksum)


def slots_distance(data: bytes) -> int:
    """Return how far behind the start of saved positions the slots are, in bytes."""
    return POSITIONS_SIZE + frame_head(data).meta_size


class RedoHead(NamedTuple):
    """The fixed part of a redo area. Zeros follow it up to the image."""

    size: int  # Of the image with its head, in bytes.
    distance: int  # From the frame to the image, in bytes.
    own_checksum: int


def redo_checksum(offset: int, size: int, distance: int) -> int:
    """Return the checksum by which a redo area is believed without its predecessor."""
    return crc32(LONG.pack(offset) + LONG.pack(size) + WORD.pack(distance))


def encode_redo_head(tail: LogPlace, size: int, distance: int) -> bytes:
    """Return the fixed part of a redo area with an image of *size* bytes."""
    own = redo_checksum(tail.end, size, distance)
    length = distance + size
    fields = REDO.pack(0, COMMITTED, KIND_REDO, 0, length, tail.frame, size, distance, own)
    return _seal(fields, tail.checksum)[0]


def decode_redo_head(data: bytes, offset: int) -> RedoHead:
    """Return the fixed part of the redo area at *offset*. Raises DamagedError."""
    if len(data) < REDO_SIZE:
        text = f"{len(data)} bytes"
        raise DamagedError(text, f"a redo area of at least {REDO_SIZE} bytes")
    fields = REDO.unpack_from(data)
    head = RedoHead(*fields[6:])
    own = redo_checksum(offset, head.size, head.distance)
    if (
        fields[1:4] != (COMMITTED, KIND_REDO, 0)
        or head.own_checksum != own
        or head.distance + head.size != fields[4]
        or head.distance < REDO_SIZE
        or head.size < IMAGE_SIZE
    ):
        text = f"a frame of kind {fields[2]:#010x}, redo checksum {head.own_checksum:08x}"
        raise DamagedError(text, f"a redo area, {own:08x}")
    return head


def encode_image_head(base: int, seed: int) -> bytes:
    """Return what an image begins with when it begins at *base* of the log."""
    return IMAGE.pack(base, crc32(LONG.pack(base), seed), 0)


def decode_image_head(data: bytes, seed: int) -> int | None:
    """Return the base of an image, None if its head is damaged."""
    base: int = IMAGE.unpack(data)[0]
    return base if data == encode_image_head(base, seed) else None


def _seal(data: bytes, seed: int) -> tuple[bytes, int]:
    """Return *data* with its checksum filled in, and the checksum."""
    checksum = crc32(data[CHECKED_FROM:], seed)
    return WORD.pack(checksum) + data[4:], checksum
