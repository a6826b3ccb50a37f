"""Saving and loading positions, so that opening does not depend on the size of a log.

A positions frame holds the positions and the tables of names as of a place in the log, and
says which place: whoever loads it goes on reading from there. It is a shortcut and
nothing else: where the positions are damaged, the log is read from the start (I10).
"""

from __future__ import annotations

import logging
from zlib import crc32

from dobbin_like.contract import NewNames
from dobbin_like.exc import IntegrityError
from dobbin_like.ids import NO_TID
from dobbin_like.log.format import record
from dobbin_like.log.format.header import PAGE_SIZE
from dobbin_like.log.format.meta import encode_names
from dobbin_like.log.format.record import DamagedError, LogPlace, PositionsHead
from dobbin_like.log.reading.chain import saved_slots
from dobbin_like.log.reading.positions import Positions
from dobbin_like.log.reading.reader import ReadBuffer, read_frame
from dobbin_like.name_tables import NameTables

_logger = logging.getLogger(__name__)


def place_before(buffer: ReadBuffer, offset: int, page_checksum: int, limit: int) -> LogPlace:
    """Return the place at *offset*; IntegrityError: No frame of this log begins there."""
    head = record.frame_head(buffer.read(offset, record.FRAME_SIZE, limit))
    previous = first = previous_frame(buffer, offset, head.previous)
    place = record.first_place(page_checksum)
    if previous:
        head = record.frame_head(buffer.read(previous, record.FRAME_SIZE, limit))
        place = LogPlace(previous + head.length, first, head.checksum, 0, NO_TID)
    if place.end != offset:
        error = DamagedError(f"a frame up to {place.end} before that", f"one up to {offset}")
        raise buffer.damaged(previous, error)
    while previous:
        # No frame is the last one here, and each is followed by one that is as long.
        found = record.transaction_head(buffer.read(previous, record.TRANSACTION_SIZE, limit))
        if found.kind == record.KIND_TRANSACTION:
            place = place._replace(sequence=found.sequence, tid=found.tid)
            break
        previous = previous_frame(buffer, previous, found.previous)
    return place


def previous_frame(buffer: ReadBuffer, offset: int, previous: int) -> int:
    """Return *previous*, where a frame says that the one before it is; IntegrityError: it lies."""
    if previous and not PAGE_SIZE <= previous < offset:
        error = DamagedError(
            f"a frame after that at {previous}", f"one between it and {PAGE_SIZE}"
        )
        raise buffer.damaged(offset, error)
    return previous


def load_saved(
    buffer: ReadBuffer, offset: int, page_checksum: int, limit: int
) -> tuple[Positions, NameTables, LogPlace] | None:
    """Return positions, classes and the place they are of, from the frame at *offset*.

    None if they are damaged, or not before *limit*. Cost: 8 bytes for each oid, in one read.
    """
    if offset >= limit:
        return None
    try:
        frame = read_frame(buffer, place_before(buffer, offset, page_checksum, limit), limit)
        if frame.kind != record.KIND_POSITIONS:
            return None
        head, block = saved_slots(buffer, offset, frame.tail.end)
    except IntegrityError as error:
        _logger.warning("saved positions can't be used, reading the whole log: %s", error)
        return None
    return Positions.decode(block, head.stored), NameTables(*frame.names), head.covered


def encode_saved(
    tail: LogPlace, positions: Positions, classes: NameTables, covered: LogPlace
) -> tuple[bytes, LogPlace]:
    """Return a frame at *tail* with the positions as of *covered*, and the place after it."""
    block = positions.encode()
    start, fill, after = encode_around(tail, positions, classes.rows(), covered, crc32(block))
    return b"".join((start, block, fill)), after


def encode_around(
    tail: LogPlace, positions: Positions, names: NewNames, covered: LogPlace, checksum: int
) -> tuple[bytes, bytes, LogPlace]:
    """Return what stands before the slots, whose checksum is given, what behind, and the end."""
    table, size = encode_names(names), 8 * positions.next_oid
    head = PositionsHead(positions.next_oid, positions.stored, covered, checksum)
    length = record.align(record.POSITIONS_SIZE + len(table) + size)
    start, own = record.encode_positions_head(tail, length, head, table)
    after = LogPlace(tail.end + length, tail.end, own, tail.sequence, tail.tid)
    return start, bytes(length - len(start) - size), after
