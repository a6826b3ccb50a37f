"""The frames of a log that are not transactions: streams and saved positions."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import Final

from dobbin_like.check.report import Report
from dobbin_like.exc import IntegrityError
from dobbin_like.log.format import record
from dobbin_like.log.format.record import LogPlace
from dobbin_like.log.format.saved import BLOCK_SLOTS, decode_positions_head
from dobbin_like.log.reading.positions import Positions
from dobbin_like.log.reading.reader import Frame, ReadBuffer, read_block, saved_slots, verify_saved
from dobbin_like.log.reading.streams import StoredStreams
from dobbin_like.name_tables import NameTables

_STREAM_PART: Final = 1 << 20


class Parts:
    """Checks the frames that are not transactions, with the values that they have to match.

    ``positions`` are by oid; ``saved`` has the places of saved positions. After a
    ``gap``, frames are checked only on their own: they may depend on missing transactions.
    """

    def __init__(self, buffer: ReadBuffer, report: Report) -> None:
        self.report = report
        self.positions: Positions = Positions()
        self.saved: set[int] = set()
        self.gap = False
        self._buffer = buffer
        self.names: NameTables = NameTables()
        self._stream_reader = StoredStreams(buffer.fd, buffer.path)
        self._streams: dict[int, int] = {}  # Their sizes, by place.

    def _check_stream(self, offset: int, end: int) -> None:
        """I5: Every chunk of a stream has the bytes that were written."""
        reader, start = self._stream_reader, offset + record.STREAM_SIZE
        size = reader.size(offset)
        self._streams[offset] = size
        self.report.streams += 1
        self.report.stream_bytes += size
        data = self._buffer.read(offset, record.STREAM_SIZE, end)
        chunk_size = record.decode_stream_head(data).chunk_size
        at = 0
        while at < size:
            try:
                at += len(reader.read(offset, at, _STREAM_PART))
            except IntegrityError as error:
                self._damage(error)
                # After the chunk that it names.
                at = max(at, error.offset - start) // chunk_size * chunk_size + chunk_size
        table_size = record.WORD.size * -(-size // chunk_size)
        self._check_fill(start + size + table_size, end)

    def _check_saved(self, tail: LogPlace, frame: Frame) -> None:
        """I10: Saved positions and classes are equal to those that a scan finds."""
        self.saved.add(tail.end)
        buffer, end = self._buffer, frame.tail.end
        slots = saved_slots(buffer, tail.end, end)
        head = decode_positions_head(buffer.read(tail.end, record.POSITIONS_SIZE, end))
        saved = Positions(head.slots, head.stored, partial(read_block, buffer, slots))
        verify_saved(buffer, tail.end, end)
        self._check_fill(slots.end, end)
        if self.gap or head.covered.sequence != tail.sequence:
            return
        scanned = self.positions
        if (saved.next_oid, saved.stored) != (scanned.next_oid, scanned.stored):
            found = f"saved positions of {saved.stored} objects below oid {saved.next_oid}"
            expected = f"{scanned.stored} below {scanned.next_oid}"
            self.report.add(10, tail.end, found, expected)
        elif (oid := _first_difference(saved, scanned)) is not None:
            found = f"saved position {saved.get(oid)} of oid {oid}"
            self.report.add(10, tail.end, found, scanned.get(oid))
        if frame.names != self.names.rows():
            self.report.add(10, tail.end, "saved classes and shapes", "those of the transactions")

    def _damage(self, error: IntegrityError) -> None:
        self.report.add(5, error.offset, error.found, error.expected)

    def _check_fill(self, start: int, end: int) -> None:
        """I5: What fills a frame up to whole words is zero."""
        if start < end and any(self._buffer.read(start, end - start, end)):
            self.report.add(5, start, "bytes after the last part of a frame", "zeros")


def _first_difference(one: Positions, other: Positions) -> int | None:
    """Return the first oid whose positions differ; both are of as many oids."""
    pairs = zip(count(0, BLOCK_SLOTS), one.blocks(), other.blocks(), strict=False)
    first = next((first for first, block, expected in pairs if block != expected), None)
    if first is None:
        return None
    return next(oid for oid in count(first) if one.get(oid) != other.get(oid))
