"""Saving and loading positions, so that opening does not depend on the size of a log.

A positions frame holds the positions and the tables of names as of a place in the log, and
says which place: whoever loads it goes on reading from there. It is a shortcut and
nothing else: where it is damaged, whichever bytes of it, the log is read from the start,
and past it (I10; :mod:`dobbin_like.log.reading.aside`).
"""

from __future__ import annotations

import logging
from zlib import crc32

from dobbin_like.exc import IntegrityError
from dobbin_like.ids import NO_TID
from dobbin_like.log.file import disk
from dobbin_like.log.format import frame_heads, record
from dobbin_like.log.format.frame_heads import PositionsHead
from dobbin_like.log.format.header import PAGE_SIZE
from dobbin_like.log.format.record import DamagedError, LogPlace
from dobbin_like.log.reading.positions import Positions
from dobbin_like.log.reading.reader import ReadBuffer, read_frame
from dobbin_like.log.reading.trusted_end import saved_slots
from dobbin_like.name_tables import NameTables

__all__ = ["append_saved", "load_saved", "place_before"]

_logger = logging.getLogger(__name__)


def place_before(buffer: ReadBuffer, offset: int, page_checksum: int, limit: int) -> LogPlace:
    """Return the place at *offset*, where a frame begins.

    Raises:
        IntegrityError: No frame of this log begins there.

    Cost: A few small reads.
    """
    previous = first = _previous(buffer, offset, limit)
    place = record.first_place(page_checksum)
    if previous:
        head = record.frame_head(buffer.read(previous, record.FRAME_SIZE, limit))
        place = LogPlace(previous + head.length, first, head.checksum, 0, NO_TID)
    if place.end > offset:
        error = DamagedError(f"a frame up to {place.end} before that", f"one up to {offset}")
        raise buffer.damaged(previous, error)
    while previous:
        # No frame is the last one here, and each is followed by one that is as long.
        found = record.transaction_head(buffer.read(previous, record.TRANSACTION_SIZE, limit))
        if found.kind == record.KIND_TRANSACTION:
            place = place._replace(sequence=found.sequence, tid=found.tid)
            break
        previous = _previous(buffer, previous, limit)
    # What is between the two lies aside, or the frame at *offset* does not fit.
    return place if place.end == offset else record.aside(place, offset)


def _previous(buffer: ReadBuffer, offset: int, limit: int) -> int:
    previous = record.frame_head(buffer.read(offset, record.FRAME_SIZE, limit)).previous
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

    Args:
        limit: Where the bytes end that are certain to be there.

    Returns:
        None if they are damaged or not there.

    Cost: 8 bytes for each oid, read as one block.
    """
    if offset >= limit:
        return None
    try:
        frame = read_frame(buffer, place_before(buffer, offset, page_checksum, limit), limit)
        if frame.kind not in record.POSITIONS_KINDS:
            return None
        head, block = saved_slots(buffer, offset, frame.tail.end)
    except IntegrityError as error:
        _logger.warning("saved positions can't be used, reading the whole log: %s", error)
        return None
    return Positions.decode(block, head.stored), NameTables(*frame.names), head.covered


def append_saved(
    fd: int,
    path: str,
    tail: LogPlace,
    positions: Positions,
    classes: NameTables,
    covered: LogPlace,
) -> LogPlace:
    """Append the positions as of *covered*; return the place after the frame.

    Raises:
        OSError: Writing failed; the caller cuts the file at ``tail.end``.

    Cost: 8 bytes for each oid.
    """
    block = positions.encode()
    table = record.encode_names(classes.rows())
    head = PositionsHead(positions.next_oid, positions.stored, covered, crc32(block))
    length = record.align(record.POSITIONS_SIZE + len(table) + len(block))
    data = frame_heads.encode_positions_head(tail, length, head, table)
    fill = bytes(length - len(data) - len(block))
    disk.write(fd, path, b"".join((data, block, fill)), tail.end)
    return record.aside(tail, tail.end + length)
