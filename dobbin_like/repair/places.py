"""Where the next frame of a damaged log begins, after a place that can't be read.

A frame belongs to this log if its checksum is chained to an existing frame. If that one is gone,
its entries have to be intact and the frame after it chained to it, or it is saved positions that
name what they are chained to. Other bytes that look like a frame do not count: they may be from a
log that was stored in a stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from dobbin_like.exc import IntegrityError
from dobbin_like.ids import NO_TID
from dobbin_like.log.format import record
from dobbin_like.log.format.header import PAGE_SIZE
from dobbin_like.log.format.record import FrameHead, LogPlace
from dobbin_like.log.format.saved import decode_positions_head
from dobbin_like.log.reading.places import MARKS, places_like
from dobbin_like.log.reading.reader import Frame, own_place, read_frame
from dobbin_like.repair.bits import seed_before
from dobbin_like.repair.parts import entries_of, read_mended, stream_parts
from dobbin_like.repair.source import Source

_ANY_MARK: Final = re.compile(MARKS)


class FrameSearch:
    """Searches for frames; all before *certain* have to be there."""

    def __init__(self, source: Source, certain: int) -> None:
        self._source = source
        self._limit = source.size
        self._certain = certain
        self._zeros = source.size  # From here on there are only zeros, as far as it is known.

    def is_end(self, offset: int) -> bool:
        """Return whether the log may end there: behind it, there are zeros written ahead."""
        if offset < self._zeros:
            found = self._source.first_not_zero(offset)
            if found is not None:
                return False
            self._zeros = offset
        return True

    def next(self, tail: LogPlace) -> tuple[LogPlace, bool] | None:
        """Return the next place with a frame of this log, and whether it is chained."""
        for offset in self._candidates(tail.end):
            place = self._chained_place(tail, offset) or self._saved_place(tail, offset)
            if place is not None:
                return place, True
            previous = self._previous(offset)
            if previous is not None and tail.end <= previous < offset:
                alone = LogPlace(offset, previous, 0, 0, tail.tid)
                if self.alone(alone) is not None:
                    return alone, False
        return None

    def _previous(self, offset: int) -> int | None:
        fits = offset + record.FRAME_SIZE <= self._limit
        return self._head(offset).previous if fits else None

    def _head(self, offset: int) -> FrameHead:
        return record.frame_head(self._source.read(offset, record.FRAME_SIZE, self._limit))

    def _chained_place(self, tail: LogPlace, offset: int) -> LogPlace | None:
        """Return the place at *offset* if the frame there is chained to one before it."""
        previous = self._previous(offset)
        if previous is None or not PAGE_SIZE <= previous < offset or previous < tail.frame:
            return None
        head = self._head(previous)
        place = LogPlace(offset, previous, head.checksum, tail.sequence, tail.tid)
        if self._reads(place):
            return place
        # The frame after the damaged one may have a flipped bit, too.
        if previous != tail.end or read_mended(self._source, place, self._limit) is None:
            return None
        return place

    def _reads(self, place: LogPlace) -> bool:
        """Return whether a frame at *place*, with any sequence number, is chained to it."""
        try:
            read_frame(self._source, own_place(self._source, place, self._limit), self._limit)
        except IntegrityError:
            return False
        return True

    def _saved_place(self, tail: LogPlace, offset: int) -> LogPlace | None:
        """Return the place at *offset* if saved positions there say what they are chained to."""
        if offset + record.POSITIONS_SIZE > self._limit:
            return None
        head = self._source.read(offset, record.POSITIONS_SIZE, self._limit)
        covered = decode_positions_head(head).covered
        if record.frame_head(head).kind != record.KIND_POSITIONS or covered.end != offset:
            return None
        if not tail.end <= covered.frame < offset:
            return None
        try:
            read_frame(self._source, covered, self._limit)
        except IntegrityError:
            return None
        return covered._replace(tid=tail.tid)

    def _candidates(self, offset: int) -> Iterator[int]:
        """Yield where the next frame may begin: by the length of this one, and by the bytes."""
        if offset + record.FRAME_SIZE <= self._limit:
            end = offset + self._head(offset).length
            if offset < end <= self._limit - record.STREAM_SIZE and not end % 8:
                yield end
        yield from places_like(self._source.beside(), offset + 8, self._limit, _ANY_MARK)

    def alone(self, tail: LogPlace) -> Frame | None:
        """Return the frame at *tail*, if it is one, although its predecessor is gone.

        Its entries are intact, or it is an intact stream; and the frame after it is chained to it,
        or the log ends there.
        """
        source, limit, offset = self._source, self._limit, tail.end
        if limit - offset < record.STREAM_SIZE:
            return None
        start = source.read(offset, min(record.PREFIX_LIMIT, limit - offset), limit)
        try:
            head = record.any_head(start)
            size = record.prefix_size(head)
        except record.DamagedError:
            return None
        if head.kind == record.KIND_POSITIONS:
            return None
        if head.previous != tail.frame or not size <= head.length <= limit - offset:
            return None
        data = source.read(offset, size, limit)[record.CHECKED_FROM :]
        place = tail._replace(checksum=seed_before(data, head.checksum))
        after = LogPlace(offset + head.length, offset, head.checksum, 0, NO_TID)
        followed = after.end != self._certain and not self.is_end(after.end)
        if followed and self._chained_place(after, after.end) is None:
            return None
        try:
            frame = read_frame(source, own_place(source, place, limit), limit)
            self._prove(frame, offset, followed=followed)
        except IntegrityError:
            return None
        return frame

    def _prove(self, frame: Frame, offset: int, *, followed: bool) -> None:
        """Raise IntegrityError unless the contents of *frame* pass their own checksums."""
        if frame.logged is None:
            for _ in stream_parts(self._source, offset, frame.tail.end):
                pass
            return
        kept = entries_of(self._source, frame.logged, mend=False)
        if kept.lost or not (kept.entries or followed):
            text = f"{len(kept.entries)} whole entries of {len(frame.logged.oids)}"
            raise IntegrityError(self._source.path, offset, text, "all of them")
