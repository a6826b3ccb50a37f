"""Saving and loading positions, so that the time to open a log does not depend on its size.

A positions frame holds the positions and the tables of names as of a place in the log, and that
place, from which opening goes on reading. It is only a shortcut: if the positions are damaged, the
log is read from the start (I10).
Opening takes the names and the place; positions are read when they are needed.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Iterable
from typing import Any

from dobbin_like.contract import NewNames
from dobbin_like.exc import IntegrityError
from dobbin_like.ids import NO_TID
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.format import record
from dobbin_like.log.format.header import PAGE_SIZE
from dobbin_like.log.format.meta import encode_names
from dobbin_like.log.format.record import DamagedError, LogPlace
from dobbin_like.log.format.saved import (
    PositionsHead,
    SavedSlots,
    decode_positions_head,
    encode_block,
    encode_positions_head,
)
from dobbin_like.log.reading.chain import certain_transactions
from dobbin_like.log.reading.positions import Positions
from dobbin_like.log.reading.reader import ReadBuffer, read_block, read_frame, saved_slots
from dobbin_like.name_tables import NameTables

Lost = Callable[[], Callable[[int], None] | None]
"""Gives what is to be called with the number of entries that were read in place of positions."""

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
        # Reading more than a short frame has is safe: another frame follows each of these.
        found = record.transaction_head(buffer.read(previous, record.TRANSACTION_SIZE, limit))
        if found.kind == record.KIND_TRANSACTION:
            place = place._replace(sequence=found.sequence, tid=found.tid)
            break
        previous = previous_frame(buffer, previous, found.previous)
    return place


def previous_frame(buffer: ReadBuffer, offset: int, previous: int) -> int:
    """Return *previous*, the offset of the frame before this one; IntegrityError: it is wrong."""
    if previous and not PAGE_SIZE <= previous < offset:
        error = DamagedError(
            f"a frame after that at {previous}", f"one between it and {PAGE_SIZE}"
        )
        raise buffer.damaged(offset, error)
    return previous


def load_saved(
    file: LogFile, page_checksum: int, offset: int, limit: int, lost: Lost
) -> tuple[Positions, NameTables, LogPlace] | None:
    """Return positions, classes and the place they are of, from the frame at *offset*.

    None if they are damaged, or not before *limit*. If a block turns out to be damaged later, the
    function that *lost* returns is called.

    Cost: 4 bytes for each 1,024 oids; the positions are read a block at a time, when they are
    asked for.
    """
    if offset >= limit:
        return None
    buffer = ReadBuffer(file.fd, file.path)
    try:
        frame = read_frame(buffer, place_before(buffer, offset, page_checksum, limit), limit)
        if frame.kind != record.KIND_POSITIONS:
            return None
        saved = saved_slots(buffer, offset, frame.tail.end)
    except IntegrityError as error:
        _warn(error)
        return None
    head = decode_positions_head(buffer.read(offset, record.POSITIONS_SIZE, limit))
    start = record.first_place(page_checksum)
    source = _Source(file, saved, start, head.covered.end, lost)
    positions = Positions(saved.slots, head.stored, source.block)
    return positions, NameTables(*frame.names), head.covered


def _warn(error: IntegrityError) -> None:
    # The text only: a kept log record would keep the file, which its last reader closes.
    text = str(error)
    _logger.warning("saved positions can't be used, reading the whole log: %s", text)


class _Source:
    """Reads saved positions; a damaged block is rebuilt from the log itself. Any thread.

    Keeps *file* open, even if it was replaced: blocks that were not read yet may be needed.
    """

    def __init__(
        self,
        file: LogFile,
        saved: SavedSlots,
        start: LogPlace,
        end: int,
        lost: Lost,
    ) -> None:
        self._file = file
        self._saved = saved
        self._start = start
        self._end = end
        self._lost = lost
        self._scanned: Positions | None = None
        self._damage: tuple[Any, ...] = ()  # From the log, which is not read again for each block.

    def block(self, number: int) -> array[int]:
        """Return the slots of a block.

        Raises:
            IntegrityError: It is damaged, and so is the log before it.
        """
        if self._scanned is None:
            # The current descriptor: the number of a closed one may belong to another file.
            buffer = ReadBuffer(self._file.fd, self._file.path)
            try:
                return read_block(buffer, self._saved, number)
            except IntegrityError as error:
                if self._damage:
                    raise IntegrityError(*self._damage) from error
                _warn(error)
                self._scanned = self._scan(buffer)
        return self._scanned.block(number)

    def _scan(self, buffer: ReadBuffer) -> Positions:
        positions, entries = Positions(), 0
        try:
            for run, _ in certain_transactions(buffer, self._start, self._end):
                for logged in run:
                    if logged.oids and not logged.failed:
                        positions.update(logged.oids, logged.first_entry)
                        entries += len(logged.oids)
        except IntegrityError as error:
            if not isinstance(error.__cause__, OSError):  # The fault may be over the next time.
                self._damage = error.args
            raise
        count_lost = self._lost()
        if count_lost is not None:
            count_lost(entries)
        return positions


def encode_saved(
    tail: LogPlace, positions: Positions, names: NameTables, covered: LogPlace
) -> tuple[bytes, LogPlace]:
    """Return a frame at *tail* with the positions as of *covered*, and the place after it.

    Raises:
        IntegrityError: Saved positions that are needed for it can't be read.
    """
    blocks = [encode_block(block) for block in positions.blocks()]
    start, fill, after = encode_around(tail, positions, names.rows(), covered, blocks)
    return b"".join((start, *blocks, fill)), after


def encode_around(
    tail: LogPlace,
    positions: Positions,
    names: NewNames,
    covered: LogPlace,
    blocks: Iterable[bytes],
) -> tuple[bytes, bytes, LogPlace]:
    """Return the bytes before the encoded *blocks*, those after them, and the end."""
    head = PositionsHead(positions.next_oid, positions.stored, covered)
    start, fill, after = encode_positions_head(tail, head, encode_names(names), blocks)
    return start, bytes(fill), after
