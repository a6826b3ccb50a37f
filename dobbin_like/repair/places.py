"""Where the next frame of a damaged log begins, after a place that can't be read.

A frame belongs to this log if its checksum is chained to an existing frame. If that frame is
gone, it belongs to the log if its entries are intact and the frame after it is chained to it, or
if it is saved positions that name what they are chained to. Other bytes that look like a frame do
not count: they may be from a log that was stored in a stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from dobbin_like.exc import IntegrityError
from dobbin_like.ids import NO_TID
from dobbin_like.log.format import frame_heads, record
from dobbin_like.log.format.header import PAGE_SIZE
from dobbin_like.log.format.record import FrameHead, LogPlace
from dobbin_like.log.reading.aside import MARK_OFFSET, MARKS
from dobbin_like.log.reading.reader import Frame, own_place, read_frame
from dobbin_like.repair.bits import seed_before
from dobbin_like.repair.parts import entries_of, read_mended, stream_parts
from dobbin_like.repair.source import Source

_ANY_MARK: Final = re.compile(MARKS)
_SEARCHED: Final = 1 << 20


class Places:
    """Searches for frames before *limit*."""

    def __init__(self, source: Source, limit: int) -> None:
        self._source = source
        self._limit = limit

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
        if offset + record.FRAME_SIZE > self._limit:
            return None
        return self._head(offset).previous

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
        if previous + head.length < offset:
            between = record.aside(place._replace(end=previous + head.length), offset)
            if self._reads(between):
                return between
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
        """Return the place at *offset* if there are saved positions that belong to this place.

        They contain the checksum that they are chained to.
        """
        if offset + record.POSITIONS_SIZE > self._limit:
            return None
        head = self._source.read(offset, record.POSITIONS_SIZE, self._limit)
        covered = frame_heads.decode_positions_head(head).covered
        if record.frame_head(head).kind not in record.POSITIONS_KINDS or covered.end != offset:
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
        at = offset + 8
        while at + record.STREAM_SIZE <= self._limit:
            size = min(_SEARCHED, self._limit - at)
            data = self._source.read(at, size, self._limit)
            for mark in _ANY_MARK.finditer(data, MARK_OFFSET):
                if not mark.start() % 8:
                    yield at + mark.start() - MARK_OFFSET
            if at + size >= self._limit:
                return
            at += size - 16

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
        if head.kind in record.POSITIONS_KINDS:
            return None
        if head.previous != tail.frame or not size <= head.length <= limit - offset:
            return None
        data = source.read(offset, size, limit)[record.CHECKED_FROM :]
        place = tail._replace(checksum=seed_before(data, head.checksum))
        after = LogPlace(offset + head.length, offset, head.checksum, 0, NO_TID)
        followed = after.end < limit
        if head.kind == record.KIND_REDO:
            after = record.aside(place, after.end)
            chained = not followed or self._reads(after)
        else:
            chained = not followed or self._chained_place(after, after.end) is not None
        if not chained:
            return None
        try:
            frame = read_frame(source, own_place(source, place, limit), limit)
            self._prove(frame, offset, followed=followed)
        except IntegrityError:
            return None
        return frame

    def _prove(self, frame: Frame, offset: int, *, followed: bool) -> None:
        """Raise IntegrityError unless the contents of *frame* pass their own checksums."""
        if frame.kind == record.KIND_REDO:
            head = self._source.read(offset, record.REDO_SIZE, frame.tail.end)
            try:
                frame_heads.decode_redo_head(head, offset)
            except record.DamagedError as error:
                raise self._source.damaged(offset, error) from None
            return
        if frame.logged is None:
            for _ in stream_parts(self._source, offset, frame.tail.end):
                pass
            return
        kept = entries_of(self._source, frame.logged, mend=False)
        if kept.lost or not (kept.entries or followed):
            text = f"{len(kept.entries)} whole entries of {len(frame.logged.oids)}"
            raise IntegrityError(self._source.path, offset, text, "all of them")
