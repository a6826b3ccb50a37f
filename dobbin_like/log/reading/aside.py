"""Frames aside: saved positions and redo areas, and how the log goes on without them.

They belong to no transaction, and whatever happens to their bytes must not hide one. So
nothing depends on what they say, and no proof is taken from them:

* No frame is chained to one of them. What the next frame's checksum begins with, and the
  frame that it names as the one before, come from the last frame that is not aside, and
  from the offsets between which those aside lie (:func:`record.aside`). A frame that fits
  behind a damaged place in this way proves that there is no transaction and no stream
  between; one that was lost would have changed all three.
* Where nothing follows, the words ASIDE and ASIDE_END say that all from here to there is
  aside. They are written after COMMITTED, ASIDE first: whatever mixture of old and new
  somebody sees, it is true, or it says nothing about the end of the log. Whoever cuts the
  log makes ASIDE_END smaller, too.

What fails both proofs is damage that may have been a transaction: the caller tells it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Final

from dobbin_like.contract import NO_NAMES
from dobbin_like.exc import IntegrityError
from dobbin_like.log.file.words import Words
from dobbin_like.log.format import record
from dobbin_like.log.format.header import ASIDE, ASIDE_END, COMMITTED
from dobbin_like.log.format.record import DamagedError, LogPlace
from dobbin_like.log.reading.reader import Frame, ReadBuffer, read_frame

__all__ = [
    "MARKS",
    "MARK_OFFSET",
    "Proof",
    "clip_aside",
    "leads_to",
    "note_aside",
    "passed_over",
    "places_like",
    "said_by",
]

Proof = Callable[[LogPlace, int], bool]
"""Tells whether all from a place up to an offset, where a frame ends, lies aside."""

MARKS: Final = b"TRAN|STRM|SAVE|POSN|REDO"
"""Of all kinds of frames, as a regular expression; they stand at MARK_OFFSET."""

MARK_OFFSET: Final = 8
_CHAINED: Final = frozenset(
    {record.KIND_TRANSACTION, record.KIND_STREAM, record.KIND_CHAINED_POSITIONS}
)
_LEAST: Final = 48
_PART: Final = 1 << 20
_OVERLAP: Final = 24
"""Of the parts that are searched: what is looked for ends 32 bytes behind the place of a frame."""

_BLOCK: Final = 512
"""Bytes that a disk gives, or refuses, together: no disk has smaller ones."""


def passed_over(
    buffer: ReadBuffer, tail: LogPlace, limit: int, proof: Proof | None = None, end: int = 0
) -> Frame | None:
    """Return what is at *tail* and can't be read as one frame, if it lies aside.

    Args:
        limit: Where the bytes end that may be looked at.
        proof: What is known about *end*, where a frame ends; nothing if it is not given.

    Returns:
        None if that is not proven.

    Cost: The bytes up to the next frame, or to *limit* if there is none.
    """
    if _is_chained(buffer, tail, limit):
        return None
    after = _place_behind(buffer, tail, limit)
    if after is None and proof is not None and proof(tail, end):
        after = record.aside(tail, end)
    if after is None:
        return None
    return Frame(record.KIND_DAMAGED, record.COMMITTED, after, None, NO_NAMES)


def _is_chained(buffer: ReadBuffer, tail: LogPlace, limit: int) -> bool:
    """Tell whether a frame at *tail* is a damaged transaction or stream, by what is left of it.

    Then nothing has to be searched.
    """
    try:
        data = buffer.read(tail.end, min(record.FRAME_SIZE, limit - tail.end), limit)
        head = record.frame_head(data)
    except (IntegrityError, DamagedError):
        return False
    return head.kind in _CHAINED and head.previous == tail.frame


def _place_behind(buffer: ReadBuffer, tail: LogPlace, limit: int) -> LogPlace | None:
    """Return the first place behind *tail* that a frame proves to follow frames aside."""
    after_that = re.escape(record.LONG.pack(tail.frame))
    pattern = re.compile(b"(?=(?:%b).{12}%b)" % (MARKS, after_that), re.DOTALL)
    limit = min(limit, os.fstat(buffer.fd).st_size)
    for offset in places_like(buffer.beside(), tail.end + 8, limit, pattern):
        place = record.aside(tail, offset)
        try:
            read_frame(buffer, place, limit)
        except IntegrityError:
            continue
        return place
    return None


def places_like(
    buffer: ReadBuffer, offset: int, limit: int, pattern: re.Pattern[bytes]
) -> Iterator[int]:
    """Yield from *offset* on the places of what looks like a frame; *pattern* is of its kind on.

    Goes on behind what the disk does not give.
    """
    most, least = _PART, offset
    while offset + _LEAST <= limit:
        end = min(offset + most, limit)
        if most == _BLOCK:  # Up to where a block ends, and more than the overlap.
            end = min((offset + _OVERLAP) // _BLOCK * _BLOCK + _BLOCK, limit)
        try:
            data = buffer.read(offset, end - offset, limit)
        except IntegrityError:  # The disk does not give all of it.
            if most == _BLOCK:
                offset, most = offset - offset % _BLOCK + _BLOCK, _PART
            else:
                most = _BLOCK
            continue
        for found in pattern.finditer(data, MARK_OFFSET):
            place = offset + found.start() - MARK_OFFSET
            if not place % 8 and least <= place <= limit - _LEAST:
                least = place + 8
                yield place
        if end == limit:
            return
        offset = end - _OVERLAP


def leads_to(known: LogPlace) -> Proof:
    """Return the proof of a place that is known already, from a frame that was read there."""
    return lambda tail, limit: record.aside(tail, limit) == known


def said_by(buffer: ReadBuffer, words: Words) -> Proof:
    """Return the proof of the words, for an end that they have named as committed."""

    def _proof(tail: LogPlace, limit: int) -> bool:
        end, start = words.get(ASIDE_END), words.get(ASIDE)
        if start and end and start <= tail.end and limit <= end:
            return True
        # Others may have gone on meanwhile: then it is told by what they have appended.
        committed = words.get(COMMITTED)
        if committed is None or committed <= limit:
            return False
        try:
            read_frame(buffer.beside(), record.aside(tail, limit), committed)
        except IntegrityError:
            return False
        return True

    return _proof


def note_aside(words: Words, start: int, end: int) -> None:
    """Let the words say that the log ends with frames aside, appended from *start* to *end*.

    Requires: The commit lock; COMMITTED is *end*.
    """
    if words.get(ASIDE_END) != start or words.get(ASIDE) is None:
        words.put(ASIDE, start)
    words.put(ASIDE_END, end)


def clip_aside(words: Words, end: int) -> None:
    """Let the words say nothing about what is behind *end*, where the log is cut.

    Requires: The commit lock.
    """
    said = words.get(ASIDE_END)
    if said is not None and said > end:
        words.put(ASIDE_END, end)
