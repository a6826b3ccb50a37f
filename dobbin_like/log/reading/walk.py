"""Walking over the transactions of a log: oldest or newest first, from any tid on.

Going back relies on the field ``previous`` of the frames alone; every frame that is yielded was
verified, and so was the chain from it to the frame after it (I2). The beginning of a walk is found
by fixed parts that are not verified; the frame there is. Knows no words. Read
:mod:`dobbin_like.log.reading.readable` next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dobbin_like.exc import IntegrityError
from dobbin_like.ids import NO_TID, Tid
from dobbin_like.log.file.disk import read_exactly
from dobbin_like.log.format import record
from dobbin_like.log.format.header import PAGE_SIZE
from dobbin_like.log.format.record import DamagedError, LogPlace
from dobbin_like.log.reading.chain import certain_frames
from dobbin_like.log.reading.reader import LoggedTransaction, ReadBuffer, read_frame
from dobbin_like.log.reading.saved_positions import place_before, previous_frame

_BEHIND: Final = 1 << 16
"""Bytes read at once by a walk back: hundreds of small transactions."""


class BackwardBuffer(ReadBuffer):
    """Reads of one walk back: reads ahead towards the start of the file."""

    def read(self, offset: int, size: int, limit: int) -> bytes:
        """Return *size* bytes at *offset*; never looks past *limit*."""
        at = offset - self._start
        if not 0 <= at <= len(self._data) - size:
            # Half of it after the offset: frames are verified forward.
            start = max(0, offset - _BEHIND // 2)
            end = max(offset + size, min(start + _BEHIND, limit))
            try:
                self._data = read_exactly(self.fd, self.path, start, end - start)
            except IntegrityError:  # It may be the bytes around it that the disk can't read.
                start = offset
                self._data = read_exactly(self.fd, self.path, offset, size)
            self._start = start
            at = offset - start
        return self._data[at : at + size]


def walk(
    buffer: ReadBuffer, tail: LogPlace, page_checksum: int, since: Tid, until: Tid
) -> Iterator[LoggedTransaction]:
    """Yield the transactions with ``since < tid <= until`` before *tail*, oldest first.

    IntegrityError: One is damaged. What was yielded before is right. Cost: What is yielded, and
    the fixed parts of the transactions after *since*.
    """
    if tail.tid <= since:
        return
    start = _place_of(buffer, tail, page_checksum, since) if since > NO_TID else None
    forward = ReadBuffer(buffer.fd, buffer.path)
    place = start or record.first_place(page_checksum)
    for frame in certain_frames(forward, place, tail.end):
        logged = frame.logged
        if logged is not None and logged.tid > since:
            if logged.tid > until:
                return
            yield logged


def walk_back(
    buffer: ReadBuffer, tail: LogPlace, page_checksum: int, since: Tid, until: Tid
) -> Iterator[LoggedTransaction]:
    """Do what walk() does, newest first. The cost is that of those after *until*."""
    if until < tail.tid:
        place = _place_of(buffer, tail, page_checksum, until)
        if place is None:
            return
        tail = read_frame(buffer, place, tail.end).tail
    while tail.frame and tail.tid > since:
        place = _place_of(buffer, tail, page_checksum, tail.tid)
        if place is None:
            return
        # With the streams and saved positions that follow it: the chain is not broken.
        logged = None
        after = place
        for frame in certain_frames(buffer, place, tail.end):
            logged = logged or frame.logged
            after = frame.tail
        if after != tail or logged is None:
            error = DamagedError(f"frames that lead to {after}", f"what was read: {tail}")
            raise buffer.damaged(place.end, error)
        yield logged
        tail = place


def transaction_at(
    buffer: ReadBuffer, position: int, page_checksum: int, limit: int
) -> LoggedTransaction:
    """Return the transaction of the entry at *position*; IntegrityError: There is no whole one."""
    head = buffer.read(position, record.ENTRY_SIZE, limit)
    row = record.entry_head(head).row
    offset = position - row * record.ENTRY_SIZE - record.TRANSACTION_SIZE
    if offset < PAGE_SIZE:
        error = DamagedError(f"an entry of a transaction at {offset}", f"at {PAGE_SIZE} or after")
        raise buffer.damaged(position, error)
    place = place_before(buffer, offset, page_checksum, limit)
    logged = read_frame(buffer, place, limit).logged
    if logged is None or row >= len(logged.oids):
        error = DamagedError(f"entry {row} of something else", "an entry of a transaction")
        raise buffer.damaged(position, error)
    return logged


def _place_of(buffer: ReadBuffer, tail: LogPlace, page_checksum: int, tid: Tid) -> LogPlace | None:
    """Return the place before the newest transaction up to *tid*; None if there is none.

    Looks at fixed parts, which nobody has verified: the caller reads the frame there.
    """
    offset = tail.frame
    while offset:
        head = record.frame_head(buffer.read(offset, record.FRAME_SIZE, tail.end))
        if head.kind == record.KIND_TRANSACTION:
            data = buffer.read(offset, record.TRANSACTION_SIZE, tail.end)
            if record.transaction_head(data).tid <= tid:
                return place_before(buffer, offset, page_checksum, tail.end)
        offset = previous_frame(buffer, offset, head.previous)
    return None
