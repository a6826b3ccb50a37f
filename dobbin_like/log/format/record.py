"""Bytes to frames and back: the layout of everything after the header page.

Pure: knows nothing of files, threads or objects. The layout is described once, in
``doctests/format.rst``; here are the struct strings of that page and the functions
that fill and read them, but for those of :mod:`.meta`. Checksums are computed here, so
that a caller gets either what was written or an error. Read
:mod:`dobbin_like.log.format.frame_heads` next.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from dobbin_like.ids import Tid
from dobbin_like.log.format.meta import (
    CLASS_LIMIT,
    NO_META,
    NUMBER_LIMIT,
    WORD,
    DamagedError,
    Meta,
    decode_meta,
    decode_names,
    encode_meta,
    encode_names,
)

__all__ = [
    "CLASS_LIMIT",
    "ENTRY",
    "ENTRY_SIZE",
    "FRAME",
    "NO_META",
    "NUMBER_LIMIT",
    "PREFIX_LIMIT",
    "WORD",
    "DamagedError",
    "LogPlace",
    "Meta",
    "align",
    "aside",
    "decode_meta",
    "decode_names",
    "encode_meta",
    "encode_names",
    "encode_transaction",
    "entry_checksum",
    "tid_seed",
]

FRAME: Final = struct.Struct("<IIIIQQ")
"""What every frame begins with: checksum, status, kind, size of meta, length, previous."""

TRANSACTION: Final = struct.Struct("<IIIIQQQQI")
"""A frame, then: tid, sequence, number of entries."""

FRAME_START: Final = struct.Struct("<II")
"""What the checksum of a frame leaves out: itself, and the status."""

TRANSACTION_REST: Final = struct.Struct("<IIQQQQI")
"""A transaction after that."""

CHANGE_REST: Final = struct.Struct("<IIQQQQI32sI")
"""A transaction of one entry after that."""

ENTRY: Final = struct.Struct("<QQIIIII")
"""Oid, previous position, index, distance to the state, its length, number, checksum."""

ENTRY_HEAD: Final = struct.Struct("<QQIIII")
"""An entry without its checksum."""

STREAM: Final = struct.Struct("<IIIIQQQII")
"""A frame, then: size of the data, size of a chunk, checksum of these and the table."""

POSITIONS: Final = struct.Struct("<IIIIQQQQQQQQII")
"""A frame, then: slots, stored oids, the tail that is covered, checksum of the slots."""

REDO: Final = struct.Struct("<IIIIQQQII")
"""A frame, then: size of the image, distance to it, checksum of these and the offset."""

IMAGE: Final = struct.Struct("<QII")
"""What an image begins with: its base, the checksum of it, 0."""

LONG: Final = struct.Struct("<Q")

FRAME_SIZE: Final = 32
TRANSACTION_SIZE: Final = 52
ENTRY_SIZE: Final = 36
ENTRY_HEAD_SIZE: Final = 32
STREAM_SIZE: Final = 48
POSITIONS_SIZE: Final = 88
REDO_SIZE: Final = 48
IMAGE_SIZE: Final = 16
if (FRAME.size, TRANSACTION.size, ENTRY.size) != (FRAME_SIZE, TRANSACTION_SIZE, ENTRY_SIZE) or (
    (ENTRY_HEAD.size, STREAM.size, POSITIONS.size, REDO.size, IMAGE.size)
    != (ENTRY_HEAD_SIZE, STREAM_SIZE, POSITIONS_SIZE, REDO_SIZE, IMAGE_SIZE)
):
    text = "the struct strings and the sizes disagree"
    raise AssertionError(text)

PREFIX_LIMIT: Final = POSITIONS_SIZE
"""No kind of frame has a longer fixed part, in bytes."""

STATUS_OFFSET: Final = 4
"""Of the status word from the start of a frame, in bytes; never across a sector."""

CHECKED_FROM: Final = 8
"""The checksum of a frame covers the bytes from here on: not itself, not the status."""

# Kinds and states stand on disk. The states differ in at least 16 bits from each other.
KIND_TRANSACTION: Final = int.from_bytes(b"TRAN", "little")
KIND_STREAM: Final = int.from_bytes(b"STRM", "little")
KIND_POSITIONS: Final = int.from_bytes(b"SAVE", "little")
KIND_CHAINED_POSITIONS: Final = int.from_bytes(b"POSN", "little")
"""Saved positions of release 0.1.0: chained like a transaction, and not written any more."""

KIND_REDO: Final = int.from_bytes(b"REDO", "little")
KIND_DAMAGED: Final = 0
"""Of what was passed over: frames aside that can't be read. Stands on no disk."""

ASIDE: Final = frozenset({KIND_POSITIONS, KIND_REDO, KIND_DAMAGED})
"""Frames that belong to no transaction: nothing behind them depends on what they say."""

POSITIONS_KINDS: Final = frozenset({KIND_POSITIONS, KIND_CHAINED_POSITIONS})
PREPARED: Final = 0x5A5A5A5A
COMMITTED: Final = 0xC3C3C3C3
FAILED: Final = 0x3C3CA5A5
STATUS_NAMES: Final = {PREPARED: "prepared", COMMITTED: "committed", FAILED: "failed"}

TID_LIMIT: Final = 1 << 63
"""No tid reaches this: 292 thousand years of microseconds."""

OID_LIMIT: Final = 1 << 40
"""No oid reaches this: positions are an array by oid, and oids are dense."""

_U32_LIMIT: Final = 1 << 32


class LogPlace(NamedTuple):
    """A place between two frames and what the frame that follows is checked against."""

    end: int  # Offset of the place.
    frame: int  # Offset of the frame before it, those aside left out; 0: none.
    checksum: int  # Of that frame, or of the header page; see aside().
    sequence: int  # Number of transactions before it.
    tid: Tid  # Of the newest transaction before it; 0: none.


def aside(tail: LogPlace, end: int) -> LogPlace:
    """Return the place at *end*, when nothing but frames aside lies between *tail* and it.

    It does not depend on what they say, nor on how many they are, and no other frames
    lead to it: a frame that is chained to this place proves all of that.
    """
    mixed = tail.checksum ^ crc32(LONG.pack(tail.end)) ^ crc32(LONG.pack(end))
    return LogPlace(end, tail.frame, mixed, tail.sequence, tail.tid)


def align(length: int) -> int:
    """Return *length* rounded up to whole 8 bytes: every frame begins aligned."""
    return (length + 7) & ~7


def tid_seed(tid: int) -> int:
    """Return what the checksums of the entries of transaction *tid* begin with."""
    return crc32(LONG.pack(tid))


def entry_checksum(seed: int, head: bytes, state: bytes) -> int:
    """Return the checksum of one entry: of tid, entry and state together.

    All that loading an object relies on is covered by this one number, so that loading
    needs nothing but the entry, the tid and the state.
    """
    return crc32(state, crc32(head, seed))


# -- frames -----------------------------------------------------------------


def encode_transaction(
    tail: LogPlace,
    tid: int,
    entries: Sequence[tuple[int, int, bytes]],
    previous: Callable[[int], int],
    meta: Meta,
    status: int,
) -> tuple[bytes, int]:
    """Return the bytes of a transaction frame and its checksum.

    Args:
        tail: The place it is appended to.
        entries: (oid, number of class or shape, state), in the order of the table.
        previous: Position of the newest entry of an oid, 0 if there is none.

    Raises:
        ValueError: A number does not fit its field. Nothing has been written.
    """
    if len(entries) == 1 and meta is NO_META:
        return _encode_change(tail, tid, entries[0], previous, status)
    seed = tid_seed(tid)
    meta_bytes = encode_meta(meta)
    count = len(entries)
    # What the checksum of the frame covers, but for its first part, and the states.
    parts: list[bytes] = [b""]
    states: list[bytes] = []
    # From the entry to its state, in bytes: shrinks by an entry, grows by a state.
    distance = count * ENTRY_SIZE + len(meta_bytes)
    pack, word = ENTRY_HEAD.pack, WORD.pack
    for index, (oid, class_number, state) in enumerate(entries):
        size = len(state)
        if distance + size >= _U32_LIMIT or not 0 <= class_number < NUMBER_LIMIT:
            text = f"oid {oid}: class number {class_number}, state ends {distance + size} bytes on"
            raise ValueError(text)
        head = pack(oid, previous(oid), index, distance, size, class_number)
        parts += (head, word(crc32(state, crc32(head, seed))))
        states.append(state)
        distance += size - ENTRY_SIZE
    length = TRANSACTION_SIZE + count * ENTRY_SIZE + distance
    whole = (length + 7) & ~7
    parts[0] = TRANSACTION_REST.pack(
        KIND_TRANSACTION, len(meta_bytes), whole, tail.frame, tid, tail.sequence + 1, count
    )
    parts.append(meta_bytes)
    checked = b"".join(parts)
    checksum = crc32(checked, tail.checksum)
    start = FRAME_START.pack(checksum, status)
    return b"".join((start, checked, *states, bytes(whole - length))), checksum


def _encode_change(
    tail: LogPlace,
    tid: int,
    entry: tuple[int, int, bytes],
    previous: Callable[[int], int],
    status: int,
) -> tuple[bytes, int]:
    """Do what encode_transaction() does for the most frequent of all: one object, no meta."""
    oid, class_number, state = entry
    size = len(state)
    length = TRANSACTION_SIZE + ENTRY_SIZE + size
    whole = (length + 7) & ~7
    if whole >= _U32_LIMIT or not 0 <= class_number < NUMBER_LIMIT:
        text = f"oid {oid}: class number {class_number}, a state of {size} bytes"
        raise ValueError(text)
    head = ENTRY_HEAD.pack(oid, previous(oid), 0, ENTRY_SIZE, size, class_number)
    checked = CHANGE_REST.pack(
        KIND_TRANSACTION,
        0,
        whole,
        tail.frame,
        tid,
        tail.sequence + 1,
        1,
        head,
        crc32(state, crc32(head, crc32(LONG.pack(tid)))),
    )
    checksum = crc32(checked, tail.checksum)
    start = FRAME_START.pack(checksum, status)
    return b"".join((start, checked, state, bytes(whole - length))), checksum
