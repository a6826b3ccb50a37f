"""One frame of a damaged log at a known place, and its contents.

Reads a frame as a log does. If that fails, searches for a flipped bit that explains the checksum,
then for intact entries, which have their own checksums.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

from dobbin_like.exc import IntegrityError
from dobbin_like.ids import Oid
from dobbin_like.log.format import record
from dobbin_like.log.format.meta import decode_meta, decode_names
from dobbin_like.log.format.record import DamagedError, LogPlace, Meta
from dobbin_like.log.reading.reader import (
    Frame,
    LoggedTransaction,
    LoggedVersion,
    own_place,
    read_frame,
)
from dobbin_like.repair.bits import find_flip
from dobbin_like.repair.source import Source

_STATES: Final = (record.COMMITTED, record.FAILED)
_MOST_WRONG_BITS: Final = 4
"""Bits of a status: the valid ones differ in 16 bits or more."""

_FIELDS: Final = ((8, 4), (12, 4), (48, 4))
"""Offset and size of the fields that determine the length of the fixed part of a frame."""


class Kept(NamedTuple):
    """A transaction: itself, its intact entries, and (position, oid) of the damaged ones."""

    logged: LoggedTransaction
    entries: list[tuple[Oid, LoggedVersion]]
    lost: list[tuple[int, Oid]]


# -- frames -----------------------------------------------------------------


def read_mended(source: Source, tail: LogPlace, limit: int) -> Frame | None:
    """Return the frame at *tail*, with flipped bits corrected; None if that is not enough."""
    for flips in _explanations(source, tail, limit):
        for flip in flips:
            source.flip(*flip)
        try:
            return read_frame(source, own_place(source, tail, limit), limit)
        except IntegrityError:
            for flip in flips:
                source.flip(*flip)
    return None


def _explanations(source: Source, tail: LogPlace, limit: int) -> Iterator[list[tuple[int, int]]]:
    """Yield the bits, as (offset, mask), that may have to be flipped to read the frame."""
    yield []
    room = min(record.PREFIX_LIMIT, limit - tail.end)
    if room < record.STREAM_SIZE:
        return
    head = source.read(tail.end, room, limit)
    for flip in _prefix_flips(source, tail, head, limit):
        yield [flip]


def _nearest_status(head: bytes) -> int | None:
    """Return the status that there is and that this one nearly is; None if it may be any."""
    found = record.frame_head(head).status
    nearest = min(_STATES, key=lambda status: (status ^ found).bit_count())
    return nearest if (nearest ^ found).bit_count() <= _MOST_WRONG_BITS else None


def _prefix_flips(
    source: Source, tail: LogPlace, head: bytes, limit: int
) -> Iterator[tuple[int, int]]:
    """Yield the flips after which the checksum of the frame is right."""
    written = record.frame_head(head).checksum
    size = _prefix_size(head)
    if size is not None and size <= limit - tail.end:
        data = source.read(tail.end, size, limit)[record.CHECKED_FROM :]
        difference = crc32(data, tail.checksum) ^ written
        if difference.bit_count() == 1:  # The checksum itself is damaged.
            at, mask = divmod(difference.bit_length() - 1, 8)
            yield tail.end + at, 1 << mask
        found = find_flip(difference, len(data))
        if found is not None:
            yield tail.end + record.CHECKED_FROM + found.at, found.mask
    for start, length in _FIELDS:
        for bit in range(length * 8 if start + length <= len(head) else 0):
            at, mask = start + bit // 8, 1 << bit % 8
            if _is_right_with(source, tail, head, limit, at, mask):
                yield tail.end + at, mask


def _is_right_with(
    source: Source, tail: LogPlace, head: bytes, limit: int, at: int, mask: int
) -> bool:
    """Return whether the checksum of the frame is right after this bit of it is flipped."""
    changed = bytearray(head)
    changed[at] ^= mask
    size = _prefix_size(changed)
    fields = record.frame_head(head)
    if size is None or not at < size <= min(fields.length, limit - tail.end):
        return False
    data = bytearray(source.read(tail.end, size, limit))
    data[at] ^= mask
    return crc32(data[record.CHECKED_FROM :], tail.checksum) == fields.checksum


def _prefix_size(head: bytes | bytearray) -> int | None:
    """Return how many bytes the checksum of a frame covers, None for no kind of frame."""
    try:
        return record.prefix_size(record.any_head(head))
    except DamagedError:
        return None


# -- entries ----------------------------------------------------------------


def entries_of(source: Source, logged: LoggedTransaction, *, mend: bool = True) -> Kept:
    """Return a transaction with its intact entries.

    *mend*: the table is intact, so a flipped bit is one of the state.
    """
    seed = record.tid_seed(logged.tid)
    whole: list[tuple[Oid, LoggedVersion]] = []
    lost: list[tuple[int, Oid]] = []
    # A buffer of its own for the table: the other goes through the states.
    table = source.beside()
    for index, number in enumerate(logged.oids):
        oid = Oid(number)
        position = logged.first_entry + index * record.ENTRY_SIZE
        entry = table.read(position, record.ENTRY_SIZE, logged.end)
        stored = _entry(source, logged, index, entry, seed, mend=mend)
        if stored is None:
            lost.append((position, oid))
        else:
            whole.append((oid, stored))
    return Kept(logged, whole, lost)


def _entry(
    source: Source, logged: LoggedTransaction, index: int, entry: bytes, seed: int, *, mend: bool
) -> LoggedVersion | None:
    _, previous, row, distance, length, number, checksum = record.entry_head(entry)
    position = logged.first_entry + index * record.ENTRY_SIZE
    start = position + distance
    if row != index or start + length > logged.end:
        return None
    data = source.read(start, length, logged.end)
    head = entry[: record.ENTRY_HEAD_SIZE]
    difference = record.entry_checksum(seed, head, data) ^ checksum
    if difference:
        found = find_flip(difference, len(head) + length) if mend else None
        if found is None or found.at < len(head):
            return None
        source.flip(start + found.at - len(head), found.mask)
        data = source.read(start, length, logged.end)
    number &= record.NUMBER_LIMIT - 1
    return LoggedVersion(logged.tid, number, data, position, previous)


def kept_part(source: Source, tail: LogPlace, limit: int) -> Kept | None:
    """Return the intact parts of a transaction whose fixed part can't be corrected.

    An entry whose checksum is right proves that the tid is right, too. User, description, names
    and the oids of lost entries are taken as they are read. None if there is no intact entry, or
    it is not a transaction that counted.
    """
    offset = tail.end
    if limit - offset < record.TRANSACTION_SIZE + record.ENTRY_SIZE:
        return None
    start = source.read(offset, record.TRANSACTION_SIZE, limit)
    head = record.transaction_head(start)
    end = offset + head.length if head.length <= limit - offset else limit
    if head.kind != record.KIND_TRANSACTION or not tail.tid < head.tid < record.TID_LIMIT:
        return None
    if _nearest_status(start) != record.COMMITTED:
        return None
    oids = walked_oids(source, offset, end)
    meta = Meta()
    table_end = record.TRANSACTION_SIZE + head.rows * record.ENTRY_SIZE
    if table_end + head.meta_size <= end - offset:
        data = source.read(offset + table_end, head.meta_size, end)
        with contextlib.suppress(DamagedError):
            meta = Meta(decode_names(data))  # They come first.
            meta = decode_meta(data)
    first = offset + record.TRANSACTION_SIZE
    texts = meta.user, meta.description, meta.extension, ""
    logged = LoggedTransaction(
        head.tid, offset, end, head.sequence, False, *texts, oids, first, meta.names, 0
    )
    kept = entries_of(source, logged, mend=False)
    return kept if kept.entries else None


def walked_oids(source: Source, offset: int, end: int) -> list[Oid]:
    """Return the oids of the entries of a transaction, as they are read.

    Up to the last entry of those that are numbered in order, past damaged ones among them; up to
    the last that the transaction says to have, if the states of the others leave room for that.
    """
    start = record.transaction_head(source.read(offset, record.TRANSACTION_SIZE, end))
    table = offset + record.TRANSACTION_SIZE
    told = start.rows if table + start.rows * record.ENTRY_SIZE <= end else 0
    oids: list[Oid] = []
    whole, states = 0, end
    for position in range(table, end - record.ENTRY_SIZE + 1, record.ENTRY_SIZE):
        head = record.entry_head(source.read(position, record.ENTRY_SIZE, end))
        if head.row == len(oids) and head.oid < record.OID_LIMIT:
            whole, states = len(oids) + 1, min(states, position + head.distance)
        elif len(oids) >= told:
            break
        oids.append(head.oid)
    has_room = table + told * record.ENTRY_SIZE + start.meta_size <= states
    return oids if whole and has_room else oids[:whole]


# -- streams ----------------------------------------------------------------


def stream_parts(source: Source, offset: int, end: int) -> Iterator[bytes]:
    """Yield the data of a stream, chunk by chunk; IntegrityError: the table or one is damaged."""
    head = record.decode_stream_head(source.read(offset, record.STREAM_SIZE, end))
    start = offset + record.STREAM_SIZE
    chunks = -(-head.size // head.chunk_size) if head.chunk_size else 0
    table_at, table_size = start + head.size, record.WORD.size * chunks
    if table_at + table_size > end:
        raise IntegrityError(source.path, offset, f"{head.size} bytes", f"less than {end}")
    table = source.read(table_at, table_size, end)
    found = record.stream_checksum(head.size, head.chunk_size, table)
    if not _mended(source, table_at, table_size, found ^ head.own_checksum):
        text = f"stream checksum {head.own_checksum:08x}"
        raise IntegrityError(source.path, offset, text, f"{found:08x}")
    table = source.read(table_at, table_size, end)
    for index in range(chunks):
        at = start + index * head.chunk_size
        size = min(head.chunk_size, table_at - at)
        (written,) = record.WORD.unpack_from(table, index * record.WORD.size)
        found = crc32(source.read(at, size, end))
        if not _mended(source, at, size, found ^ written):
            text = f"stream checksum {written:08x}"
            raise IntegrityError(source.path, at, text, f"{found:08x}")
        yield source.read(at, size, end)


def _mended(source: Source, offset: int, size: int, difference: int) -> bool:
    """Return whether the bytes are intact, possibly after one bit is corrected."""
    if not difference:
        return True
    found = find_flip(difference, size)
    if found is not None:
        source.flip(offset + found.at, found.mask)
    return found is not None
