"""Frames in their order: where they must be whole, and where the log ends.

Each frame is chained to the one before it by its checksum, so that neither the remains of an
older end nor any other bytes look like a continuation. What is known to be in the log must be
whole: a bad frame there is damage and raises an error; it is never cut, skipped or guessed at.
The end of the log is found by the same chain: it is the first place where no whole frame follows.
Knows no words: the caller says up to where frames are certain.
Read :mod:`dobbin_like.log.reading.readable` next.
"""

from __future__ import annotations

from collections.abc import Iterator

from dobbin_like.exc import IntegrityError
from dobbin_like.log.file import disk
from dobbin_like.log.format import record
from dobbin_like.log.format.record import LogPlace
from dobbin_like.log.reading.reader import (
    Frame,
    LoggedTransaction,
    ReadBuffer,
    read_frame,
    read_run,
    stored_entries,
    verify_saved,
)
from dobbin_like.log.reading.streams import verify_stream

__all__ = [
    "certain_frames",
    "certain_transactions",
    "find_end",
    "transactions_before_cut",
    "verify",
    "whole_frames",
]


def certain_frames(buffer: ReadBuffer, tail: LogPlace, limit: int) -> Iterator[Frame]:
    """Yield the frames from *tail* up to *limit*, all of which must be there.

    Raises:
        IntegrityError: One is damaged.

    Cost: Objects changed, not their sizes: states and streams are not read.
    """
    while tail.end < limit:
        frame = read_frame(buffer, tail, limit)
        yield frame
        tail = frame.tail


def certain_transactions(
    buffer: ReadBuffer, tail: LogPlace, limit: int
) -> Iterator[tuple[list[LoggedTransaction], LogPlace]]:
    """Yield the transactions of certain_frames(): some, or none, and the place after them.

    For callers that need no other frames: reading many at once costs less.
    """
    while tail.end < limit:
        run, tail = read_run(buffer, tail, limit)
        if not run:
            frame = read_frame(buffer, tail, limit)
            run, tail = [] if frame.logged is None else [frame.logged], frame.tail
        yield run, tail


def whole_frames(buffer: ReadBuffer, tail: LogPlace, limit: int) -> Iterator[Frame]:
    """Yield the frames from *tail* up to the first place where no whole one follows.

    Args:
        limit: Where the bytes end that may be looked at.

    Raises:
        IntegrityError: The disk can't read what is there, so the end is not known.

    Cost: The bytes of the frames.
    """
    while tail.end < limit:
        try:
            frame = read_frame(buffer, tail, limit)
            verify(buffer, tail, frame)
        except IntegrityError as error:
            if isinstance(error.__cause__, OSError):
                raise
            return
        yield frame
        tail = frame.tail


def find_end(
    buffer: ReadBuffer,
    tail: LogPlace,
    limit: int,
    durable: int | None,
) -> int:
    """Return where the whole frames after *tail* end.

    Args:
        limit: The size of the file.
        durable: Up to where they must be whole, as the header says; None: not known.

    Raises:
        IntegrityError: Nothing tells where the log ends; or what was durable is not there.
    """
    path, place = buffer.path, tail
    if limit < tail.end:
        text = "the end of the file, which was cut"
        raise IntegrityError(path, limit, text, f"at least {tail.end} bytes")
    for frame in whole_frames(buffer, tail, limit):
        place = frame.tail
    if durable is None and disk.first_not_zero(buffer.fd, path, place.end, limit) is not None:
        # It may be damage in what was durable: nothing after it may be given up.
        text = "no whole frame, and a header that does not say where the log ends"
        raise IntegrityError(path, place.end, text, "frames, or nothing")
    if durable is not None and place.end < durable <= limit:
        found = f"no whole frame, where the log has {durable - place.end} bytes more"
        raise IntegrityError(path, place.end, found, "a whole frame")
    return place.end


def transactions_before_cut(
    buffer: ReadBuffer, tail: LogPlace, limit: int, end: int
) -> Iterator[tuple[list[LoggedTransaction], LogPlace]]:
    """Yield what certain_transactions() does, up to the frame that *limit* has cut.

    For a copy that was cut at *limit*, from a log that ended at *end*: a frame that ends before
    *limit* must be whole; one that does not must end before *end*.

    Raises, Cost: As for certain_frames().
    """
    while limit - tail.end >= record.LEAST_SIZE:
        head = record.frame_head(buffer.read(tail.end, record.FRAME_SIZE, limit))
        if limit - tail.end < head.length <= end - tail.end and head.previous == tail.frame:
            return
        frame = read_frame(buffer, tail, limit)
        tail = frame.tail
        yield [] if frame.logged is None else [frame.logged], tail


def verify(buffer: ReadBuffer, tail: LogPlace, frame: Frame) -> None:
    """Check what reading a frame leaves out: states, streams, saved positions.

    Raises:
        IntegrityError: A part of it is damaged.

    Cost: The bytes of the frame.
    """
    if frame.logged is not None:
        for _ in stored_entries(buffer, frame.logged):
            pass
    elif frame.kind == record.KIND_STREAM:
        verify_stream(buffer.fd, buffer.path, tail.end)
    else:
        verify_saved(buffer, tail.end, frame.tail.end)
