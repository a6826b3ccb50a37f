"""Bytes to frames and back: the layout of everything after the header page.

Pure: knows nothing of files, threads or objects. The layout is described once, in
``doctests/format.rst``; here are the struct strings of that page and the functions
that fill and read them, but for those of :mod:`.meta`. Nobody else knows the order of the
fields: they are read as named tuples. Read :mod:`dobbin_like.log.format.frame_heads` next.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final, NamedTuple, cast
from zlib import crc32

from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.log.format.header import PAGE_SIZE
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
    "ENTRY_SIZE",
    "LEAST_SIZE",
    "NO_META",
    "NUMBER_LIMIT",
    "PREFIX_LIMIT",
    "WORD",
    "DamagedError",
    "EntryHead",
    "FrameHead",
    "LogPlace",
    "Meta",
    "TransactionHead",
    "align",
    "any_head",
    "aside",
    "checked_head",
    "decode_meta",
    "decode_names",
    "encode_entry",
    "encode_meta",
    "encode_names",
    "encode_transaction",
    "entry_checksum",
    "entry_head",
    "first_place",
    "frame_head",
    "frame_start",
    "oids_in",
    "prefix_size",
    "tid_of",
    "tid_seed",
    "transaction_head",
    "unpack_entry",
]

FRAME: Final = struct.Struct("<IIIIQQ")
"""What every frame begins with; see FrameHead."""

TRANSACTION: Final = struct.Struct("<IIIIQQQQI")
"""What a transaction begins with; see TransactionHead."""

FRAME_START: Final = struct.Struct("<II")
"""What the checksum of a frame leaves out: itself, and the status."""

TRANSACTION_REST: Final = struct.Struct("<IIQQQQI")
"""A transaction after that."""

CHANGE_REST: Final = struct.Struct("<IIQQQQI32sI")
"""A transaction of one entry after that."""

ENTRY: Final = struct.Struct("<QQIIIII")
"""An entry of the table of a transaction; see EntryHead."""

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

LEAST_SIZE: Final = STREAM_SIZE
"""No frame is shorter, in bytes."""

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

_first: Final = itemgetter(0)

# What a named tuple does when it is called, at half the cost: for what every commit makes.
_new: Final = tuple.__new__

_unpack_frame: Final = FRAME.unpack_from
_unpack_transaction: Final = TRANSACTION.unpack_from
_unpack_long: Final = LONG.unpack_from

unpack_entry: Final = ENTRY.unpack_from
"""Return the fields of an EntryHead, of bytes and a place in them: for who reads many."""


class FrameHead(NamedTuple):
    """What every frame begins with. Nothing of it is verified, nor of the other heads."""

    checksum: int  # Of what prefix_size() counts, but for itself and the status.
    status: int
    kind: int
    meta_size: int  # In bytes.
    length: int  # Of the whole frame, in bytes.
    previous: int  # Offset of the frame before it, those aside left out; 0: none.


class TransactionHead(NamedTuple):
    """What a transaction begins with. Its table follows, its meta, its states."""

    checksum: int
    status: int
    kind: int
    meta_size: int
    length: int
    previous: int
    tid: Tid
    sequence: int  # 1 for the first one; failed ones count.
    rows: int  # Of its table: a row is an entry.


class EntryHead(NamedTuple):
    """What a transaction says of one object. A version is loaded by it, and by the tid."""

    oid: Oid
    previous: int  # Position of the version before; 0: none.
    row: int  # In the table.
    distance: int  # From the entry to the state, in bytes.
    length: int  # Of the state, in bytes.
    number: int  # Of its class or shape, with flags.
    checksum: int  # See entry_checksum().


def frame_head(data: bytes | bytearray) -> FrameHead:
    """Return what a frame begins with. Raises DamagedError: the bytes are too few."""
    if len(data) < FRAME_SIZE:
        raise _too_short(data, "a frame")
    return _new(FrameHead, _unpack_frame(data))


def transaction_head(data: bytes | bytearray) -> TransactionHead:
    """Return what a transaction begins with. Raises DamagedError: the bytes are too few."""
    if len(data) < TRANSACTION_SIZE:
        raise _too_short(data, "a transaction")
    return _new(TransactionHead, _unpack_transaction(data))


def tid_of(data: bytes, at: int) -> Tid:
    """Return the tid of the transaction that begins *at* a place of the bytes."""
    tid: Tid = _unpack_long(data, at + FRAME_SIZE)[0]
    return tid


def entry_head(data: bytes, at: int = 0) -> EntryHead:
    """Return the entry *at* a place of the bytes."""
    return _new(EntryHead, unpack_entry(data, at))


def oids_in(table: bytes | memoryview, count: int) -> Sequence[Oid]:
    """Return the oids in a table of so many entries."""
    if count == 1:
        return _unpack_long(table, 0)
    return cast("Sequence[Oid]", array("Q", map(_first, ENTRY.iter_unpack(table))))


def any_head(data: bytes | bytearray) -> FrameHead | TransactionHead:
    """Return what a frame begins with; all of it if that says that it is a transaction.

    Raises:
        DamagedError: The bytes are too few.
    """
    if len(data) < FRAME_SIZE:
        raise _too_short(data, "a frame")
    fields = _unpack_frame(data)
    return transaction_head(data) if fields[2] == KIND_TRANSACTION else _new(FrameHead, fields)


def prefix_size(head: FrameHead | TransactionHead) -> int:
    """Return how many bytes of a frame its checksum covers, counted from its start.

    Args:
        head: What any_head() has returned.

    Raises:
        DamagedError: There is no such frame.
    """
    if type(head) is TransactionHead:
        return TRANSACTION_SIZE + head.rows * ENTRY_SIZE + head.meta_size
    _, _, kind, meta_size, *_ = head
    if kind == KIND_STREAM and not meta_size:
        return STREAM_SIZE
    if kind in POSITIONS_KINDS:
        return POSITIONS_SIZE + meta_size
    if kind == KIND_REDO and not meta_size:
        return REDO_SIZE
    text = f"a frame of kind {kind:#010x}, meta {meta_size}"
    raise DamagedError(text, "a kind that is known")


def _too_short(data: bytes | bytearray, expected: str) -> DamagedError:
    return DamagedError(f"{len(data)} bytes", expected)


class LogPlace(NamedTuple):
    """A place between two frames and what the frame that follows is checked against."""

    end: int  # Offset of the place.
    frame: int  # Offset of the frame before it, those aside left out; 0: none.
    checksum: int  # Of that frame, or of the header page; see aside().
    sequence: int  # Number of transactions before it.
    tid: Tid  # Of the newest transaction before it; 0: none.


def first_place(page_checksum: int) -> LogPlace:
    """Return the place behind the header page, where the first frame begins."""
    return LogPlace(PAGE_SIZE, 0, page_checksum, 0, NO_TID)


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


def encode_entry(
    seed: int, oid: int, previous: int, index: int, distance: int, number: int, state: bytes
) -> bytes:
    """Return an entry; the fields are those of EntryHead."""
    head = ENTRY_HEAD.pack(oid, previous, index, distance, len(state), number)
    return head + WORD.pack(entry_checksum(seed, head, state))


def checked_head(tail: LogPlace, tid: int, count: int, meta_size: int, length: int) -> bytes:
    """Return what a transaction at *tail* begins with, from CHECKED_FROM on."""
    return TRANSACTION_REST.pack(
        KIND_TRANSACTION, meta_size, length, tail.frame, tid, tail.sequence + 1, count
    )


def frame_start(checksum: int, status: int) -> bytes:
    """Return what a frame begins with, up to CHECKED_FROM."""
    return FRAME_START.pack(checksum, status)


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
    parts[0] = checked_head(tail, tid, count, len(meta_bytes), whole)
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
