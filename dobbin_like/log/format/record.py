"""Bytes to frames and back: the layout of everything after the header page.

Pure: knows nothing of files, threads or objects. The layout is described once, in
``doctests/format.rst``; here are the struct strings of that page and the functions
that fill and read them, except those in :mod:`.meta`. No other module knows the order of the
fields: they are read as named tuples. Read :mod:`dobbin_like.log.reading.reader` next.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from operator import itemgetter
from typing import Final, NamedTuple, cast
from zlib import crc32

from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.log.format.header import PAGE_SIZE
from dobbin_like.log.format.meta import (
    NUMBER_LIMIT,
    WORD,
    DamagedError,
    Meta,
    encode_meta,
)

FRAME: Final = struct.Struct("<IIIIQQ")
"""What every frame begins with; see FrameHead."""

TRANSACTION: Final = struct.Struct("<IIIIQQQQI")
"""What a transaction begins with; see TransactionHead."""

# A transaction after its checksum, and one of one entry.
TRANSACTION_REST: Final = struct.Struct("<IIIQQQQI")
CHANGE_REST: Final = struct.Struct("<IIIQQQQI32sI")

ENTRY: Final = struct.Struct("<QQIIIII")
"""An entry of the table of a transaction; see EntryHead."""

ENTRY_HEAD: Final = struct.Struct("<QQIIII")
"""An entry without its checksum."""

STREAM: Final = struct.Struct("<IIIIQQQII")
"""A frame, then: size of the data, size of a chunk, checksum of these and the table."""

LONG: Final = struct.Struct("<Q")

FRAME_SIZE: Final = 32
TRANSACTION_SIZE: Final = 52
ENTRY_SIZE: Final = 36
ENTRY_HEAD_SIZE: Final = 32
STREAM_SIZE: Final = 48
POSITIONS_SIZE: Final = 88
if (FRAME.size, TRANSACTION.size, ENTRY.size) != (FRAME_SIZE, TRANSACTION_SIZE, ENTRY_SIZE) or (
    (ENTRY_HEAD.size, STREAM.size) != (ENTRY_HEAD_SIZE, STREAM_SIZE)
):
    text = "the struct strings and the sizes disagree"
    raise AssertionError(text)

LEAST_SIZE: Final = STREAM_SIZE
"""No frame is shorter, in bytes."""

PREFIX_LIMIT: Final = POSITIONS_SIZE
"""No kind of frame has a longer fixed part, in bytes."""

CHECKED_FROM: Final = 4
"""The checksum of a frame covers the bytes from here on: all but itself."""

MARK_SIZE: Final = 16
"""The first bytes of a frame, which are never all zero: its kind is among them."""

# Kinds and states are stored on disk. Any two states differ in at least 16 bits.
KIND_TRANSACTION: Final = int.from_bytes(b"TRAN", "little")
KIND_STREAM: Final = int.from_bytes(b"STRM", "little")
KIND_POSITIONS: Final = int.from_bytes(b"SAVE", "little")
COMMITTED: Final = 0xC3C3C3C3
FAILED: Final = 0x3C3CA5A5

TID_LIMIT: Final = 1 << 63
"""No tid reaches this: 292 thousand years of microseconds."""

OID_LIMIT: Final = 1 << 40
"""No oid reaches this: positions are an array by oid, and oids are dense."""

_U32_LIMIT: Final = 1 << 32

_first: Final = itemgetter(0)

# What calling a named tuple does, at half the cost: for what every commit makes.
_new: Final = tuple.__new__

_unpack_frame: Final = FRAME.unpack_from
_unpack_transaction: Final = TRANSACTION.unpack_from
_unpack_long: Final = LONG.unpack_from

unpack_entry: Final = ENTRY.unpack_from
"""Return the fields of an EntryHead, of bytes and a place in them: for reading many."""


class FrameHead(NamedTuple):
    """What every frame begins with. Nothing of it is verified, nor of the other heads."""

    checksum: int  # Of the bytes that prefix_size() counts, except for itself.
    status: int
    kind: int
    meta_size: int  # In bytes.
    length: int  # Of the whole frame, in bytes.
    previous: int  # Offset of the frame before it; 0: none.


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
    """Return what a frame begins with, all of it of a transaction; DamagedError: Too few bytes."""
    if len(data) < FRAME_SIZE:
        raise _too_short(data, "a frame")
    fields = _unpack_frame(data)
    return transaction_head(data) if fields[2] == KIND_TRANSACTION else _new(FrameHead, fields)


def prefix_size(head: FrameHead | TransactionHead) -> int:
    """Return how many bytes of a frame its checksum covers, counted from its start.

    *head* is what any_head() has returned. DamagedError: There is no such frame.
    """
    if type(head) is TransactionHead:
        return TRANSACTION_SIZE + head.rows * ENTRY_SIZE + head.meta_size
    _, _, kind, meta_size, *_ = head
    if kind == KIND_STREAM and not meta_size:
        return STREAM_SIZE
    if kind == KIND_POSITIONS:
        return POSITIONS_SIZE + meta_size
    text = f"a frame of kind {kind:#010x}, meta {meta_size}"
    raise DamagedError(text, "a kind that is known")


def _too_short(data: bytes | bytearray, expected: str) -> DamagedError:
    return DamagedError(f"{len(data)} bytes", expected)


class LogPlace(NamedTuple):
    """A place between two frames and what the frame that follows is checked against."""

    end: int  # Offset of the place.
    frame: int  # Offset of the frame before it; 0: none.
    checksum: int  # Of that frame, or of the header page.
    sequence: int  # Number of transactions before it.
    tid: Tid  # Of the newest transaction before it; 0: none.


def first_place(page_checksum: int) -> LogPlace:
    """Return the place behind the header page, where the first frame begins."""
    return LogPlace(PAGE_SIZE, 0, page_checksum, 0, NO_TID)


def align(length: int) -> int:
    """Return *length* rounded up to whole 8 bytes: every frame begins aligned."""
    return (length + 7) & ~7


def tid_seed(tid: int) -> int:
    """Return what the checksums of the entries of transaction *tid* begin with."""
    return crc32(LONG.pack(tid))


def entry_checksum(seed: int, head: bytes, state: bytes) -> int:
    """Return the checksum of one entry: of tid, entry and state together.

    It covers all that loading an object relies on.
    """
    return crc32(state, crc32(head, seed))


def encode_entry(
    seed: int, oid: int, previous: int, index: int, distance: int, number: int, state: bytes
) -> bytes:
    """Return an entry; the fields are those of EntryHead."""
    head = ENTRY_HEAD.pack(oid, previous, index, distance, len(state), number)
    return head + WORD.pack(entry_checksum(seed, head, state))


def checked_head(
    tail: LogPlace, tid: int, count: int, meta_size: int, length: int, status: int
) -> bytes:
    """Return what a transaction at *tail* begins with, from CHECKED_FROM on."""
    return TRANSACTION_REST.pack(
        status, KIND_TRANSACTION, meta_size, length, tail.frame, tid, tail.sequence + 1, count
    )


def encode_transaction(
    tail: LogPlace,
    tid: int,
    entries: Sequence[tuple[int, int, bytes]],
    previous: Sequence[int],
    meta: Meta,
    status: int,
) -> tuple[bytes, int]:
    """Return the bytes of a transaction frame at *tail*, and its checksum.

    Args:
        entries: (oid, number of class or shape, state), in the order of the table.
        previous: For each of them, the position of the newest entry of its oid; 0: there is none.

    Raises:
        ValueError: A number does not fit its field.
    """
    seed = tid_seed(tid)
    meta_bytes = encode_meta(meta)
    count = len(entries)
    # What the checksum of the frame covers, but for its first part, and the states.
    parts: list[bytes] = [b""]
    states: list[bytes] = []
    # From the entry to its state, in bytes: shrinks by an entry, grows by a state.
    distance = count * ENTRY_SIZE + len(meta_bytes)
    pack, word = ENTRY_HEAD.pack, WORD.pack
    numbers = [number for _, number, _ in entries]
    if numbers and not 0 <= min(numbers) <= max(numbers) < NUMBER_LIMIT:
        text = f"class numbers from {min(numbers)} to {max(numbers)}"
        raise ValueError(text)
    for index, (oid, class_number, state) in enumerate(entries):
        size = len(state)
        if distance + size >= _U32_LIMIT:
            text = f"oid {oid}: its state ends {distance + size} bytes on"
            raise ValueError(text)
        head = pack(oid, previous[index], index, distance, size, class_number)
        parts += (head, word(crc32(state, crc32(head, seed))))
        states.append(state)
        distance += size - ENTRY_SIZE
    length = TRANSACTION_SIZE + count * ENTRY_SIZE + distance
    whole = (length + 7) & ~7
    parts[0] = checked_head(tail, tid, count, len(meta_bytes), whole, status)
    parts.append(meta_bytes)
    checked = b"".join(parts)
    checksum = crc32(checked, tail.checksum)
    return b"".join((word(checksum), checked, *states, bytes(whole - length))), checksum


def encode_change(
    tail: LogPlace, tid: int, oid: int, class_number: int, state: bytes, previous: int
) -> tuple[bytes, int]:
    """Do what encode_transaction() does for the most frequent: one object committed, no meta."""
    size = len(state)
    length = TRANSACTION_SIZE + ENTRY_SIZE + size
    whole = (length + 7) & ~7
    if whole >= _U32_LIMIT or not 0 <= class_number < NUMBER_LIMIT:
        text = f"oid {oid}: class number {class_number}, a state of {size} bytes"
        raise ValueError(text)
    head = ENTRY_HEAD.pack(oid, previous, 0, ENTRY_SIZE, size, class_number)
    checked = CHANGE_REST.pack(
        COMMITTED,
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
    return b"".join((WORD.pack(checksum), checked, state, bytes(whole - length))), checksum


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
    return seal(fields, tail.checksum)


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


def seal(data: bytes, seed: int) -> tuple[bytes, int]:
    """Return *data* with its checksum filled in, and the checksum."""
    checksum = crc32(data[CHECKED_FROM:], seed)
    return WORD.pack(checksum) + data[4:], checksum
