"""The header of a log: whether it is one, and how far to walk."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from dobbin_like.check.report import Report
from dobbin_like.exc import FormatVersionError, IntegrityError, NotALogError
from dobbin_like.log.file import range_lock
from dobbin_like.log.file.disk import read_exactly
from dobbin_like.log.file.words import Words
from dobbin_like.log.format import header
from dobbin_like.log.format.header import (
    APPENDED,
    DURABLE,
    FAILURES,
    INODE,
    LOOSE,
    PAGE_SIZE,
    SAVED,
    SYNCING,
    WAITING,
    Page,
)

_ENDS: Final = frozenset({DURABLE, LOOSE, APPENDED, SYNCING})
"""The words that are places."""

_USED: Final = header.WORDS_OFFSET + header.WORD_COUNT * header.WORD_SIZE
"""What lies before in the header has a meaning, and zeros behind."""


class Limits(NamedTuple):
    """What the words of the header say of the walk.

    All bytes before ``certain`` have to be whole. The frames between it and ``end`` count up to
    the first one that is not whole; but if the words are not ``sure``, one behind which there are
    others is damaged. ``words`` are all of them as they were.
    """

    saved: int | None
    certain: int
    end: int
    sure: bool
    words: bytes


def page_of(fd: int, path: str, report: Report) -> Page | None:
    """I2: The header says that this is a log. I5: Its bytes are right, and unused ones zero."""
    size = os.fstat(fd).st_size
    try:
        start = read_exactly(fd, path, 0, min(PAGE_SIZE, size))
        if header.is_unwritten(start, size):
            return None
        page = header.decode_page(path, start)
    except IntegrityError as error:
        report.add(5, error.offset, error.found, error.expected)
    except NotALogError as error:
        report.add(5, 0, error.found, "the header of a log")
    except FormatVersionError as error:
        report.add(5, 0, f"format version {error.found}", f"up to {error.expected}")
    else:
        rest = start[_USED:].lstrip(b"\0")
        if rest:
            at = len(start) - len(rest)
            report.add(5, at, "unused bytes of the header that are not zero", "zeros")
        return page
    return None


def limits_of(fd: int, words: Words, report: Report) -> Limits:
    """I4: The words are valid, and inside the file."""
    written = is_written(fd, report.path)
    block = words.all()
    values = [words.find(index) for index in range(header.WORD_COUNT)]
    status = os.fstat(fd)  # After the words: what is durable is in the file by then.
    for index, value in enumerate(values):
        where, name = header.word_offset(index), header.WORD_NAMES[index]
        if value is None and index != WAITING:
            report.add(4, where, f"the word {name} fails its check", "a whole word")
        elif value is not None and value < PAGE_SIZE and index in _ENDS:
            report.add(4, where, f"the word {name} with {value}", f"at least {PAGE_SIZE}")
    if (values[FAILURES] or 0) & 1:
        report.notes.append(
            "a sync has failed; the next process that opens the log writes it again"
        )
    end, sure = _certain_end(values, status, report, written=written)
    certain = end if sure else PAGE_SIZE
    return Limits(values[SAVED], certain, end if written else status.st_size, sure, block)


def _certain_end(
    values: list[int | None], status: os.stat_result, report: Report, *, written: bool
) -> tuple[int, bool]:
    """Return up to where all frames have to be there, and whether that is certain."""
    # If nobody is there, LOOSE may be ahead of what a power cut has left.
    ends = [values[index] for index in ((DURABLE, LOOSE) if written else (DURABLE,))]
    end, size = max(PAGE_SIZE, *(end or 0 for end in ends)), status.st_size
    if end <= size:
        return end, None not in ends
    if values[INODE] not in {None, 0, header.inode_value(status.st_ino)}:
        report.notes.append(f"this is a copy that was cut at {size}; {end} bytes were there")
        return size, False
    report.add(1, size, "the end of the file", f"{end} bytes are durable")
    return size, True


def is_written(fd: int, path: str) -> bool:
    """Return whether somebody has the log open for writing."""
    return range_lock.holder(fd, path, range_lock.WRITER) is not None
