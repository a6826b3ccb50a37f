"""Where in a damaged log something looks like a frame."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from dobbin_like.exc import IntegrityError
from dobbin_like.log.reading.reader import ReadBuffer

MARKS: Final = b"TRAN|STRM|SAVE"
"""Of all kinds of frames, as a regular expression; they stand at MARK_OFFSET."""

MARK_OFFSET: Final = 8
_LEAST: Final = 48
_PART: Final = 1 << 20
_OVERLAP: Final = 24
"""Of the parts that are searched: what is looked for ends 32 bytes behind the place of a frame."""

_BLOCK: Final = 512
"""Bytes that a disk gives, or refuses, together: no disk has smaller ones."""


def places_like(
    buffer: ReadBuffer, offset: int, limit: int, pattern: re.Pattern[bytes]
) -> Iterator[int]:
    """Yield the places from *offset* on that look like frames; *pattern* begins at their kind.

    Skips what the disk can't read.
    """
    most, least = _PART, offset
    while offset + _LEAST <= limit:
        end = min(offset + most, limit)
        if most == _BLOCK:  # Up to where a block ends, and more than the overlap.
            end = min((offset + _OVERLAP) // _BLOCK * _BLOCK + _BLOCK, limit)
        try:
            data = buffer.read(offset, end - offset, limit)
        except IntegrityError:  # The disk can't read all of it.
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
