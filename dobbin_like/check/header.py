"""The header of a log: whether it is one, and how far to walk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from dobbin_like.exc import FormatVersionError, IntegrityError, NotALogError
from dobbin_like.log.file.disk import read_exactly
from dobbin_like.log.file.words import Words, boot_number
from dobbin_like.log.format.header import (
    ASIDE,
    ASIDE_END,
    BOOT,
    COMMITTED,
    DURABLE,
    PAGE,
    PAGE_CHECK,
    PAGE_SIZE,
    REDO,
    REDO_BASE,
    SAVED,
    SLOT_COUNT,
    SLOTS,
    TURN,
    Page,
    decode_page,
    is_unwritten,
)
from dobbin_like.log.reading.reader import ReadBuffer
from dobbin_like.log.reading.redo import durable_in_log_end

if TYPE_CHECKING:
    from dobbin_like.check.report import Report

_MEANINGS: Final = (
    (0, PAGE.size + PAGE_CHECK.size),
    *((index * 8, index * 8 + 8) for index in (COMMITTED, DURABLE, BOOT, TURN, REDO)),
    (SAVED * 8, ASIDE * 8 + 8),
    (SLOTS * 8, (SLOTS + SLOT_COUNT) * 8),
    (REDO_BASE * 8, REDO_BASE * 8 + 8),
)
"""First and last offset of the fields of the header."""

_NAMES: Final = {
    DURABLE: "DURABLE",
    COMMITTED: "COMMITTED",
    SAVED: "SAVED",
    BOOT: "BOOT",
    REDO: "REDO",
    REDO_BASE: "REDO_BASE",
    ASIDE: "ASIDE",
    ASIDE_END: "ASIDE_END",
}
"""The words, in the order in which they are read: DURABLE is never after COMMITTED."""

_YOUNGER: Final = frozenset({REDO, REDO_BASE, ASIDE, ASIDE_END})
"""Words that a log of an earlier release does not have."""


class Limits(NamedTuple):
    """The words of the header, and their consequences for the walk.

    All bytes before ``certain`` have to be whole. After a power failure, the frames between
    it and ``end`` count up to the first one that is not whole.
    """

    committed: int | None
    durable: int | None
    saved: int | None
    redo: int | None
    certain: int
    end: int


def page_of(fd: int, path: str, report: Report) -> Page | None:
    """I2: The header says that this is a log, and its checksum is right."""
    size = os.fstat(fd).st_size
    try:
        start = read_exactly(fd, path, 0, min(PAGE_SIZE, size))
        if is_unwritten(start, size):
            return None
        page = decode_page(path, start)
    except IntegrityError as error:
        report.add(5, error.offset, error.found, error.expected)
    except NotALogError as error:
        report.add(5, 0, error.found, "the header of a log")
    except FormatVersionError as error:
        report.add(5, 0, f"format version {error.found}", f"up to {error.expected}")
    else:
        _check_rest(start, report)
        return page
    return None


def _check_rest(start: bytes, report: Report) -> None:
    """I5: Unused bytes of the header are zero."""
    rest = bytearray(start)
    for first, end in _MEANINGS:
        rest[first:end] = bytes(end - first)
    if any(rest):
        at = next(at for at, byte in enumerate(rest) if byte)
        report.add(5, at, "unused bytes of the header that are not zero", "zeros")


def limits_of(fd: int, path: str, words: Words, report: Report) -> Limits:
    """I4: The words are valid, in order and inside the file."""
    values = {index: words.get(index) for index in _NAMES}
    durable, saved, redo = values[DURABLE], values[SAVED], values[REDO]
    committed, boot = values[COMMITTED], values[BOOT]
    size = os.fstat(fd).st_size
    for index, value in values.items():
        # A log of an earlier release has zeros for the newer words.
        if value is None and not (index in _YOUNGER and words.view[index] == 0):
            found = f"the word {_NAMES[index]} fails its check"
            report.add(4, index * 8, found, "a whole word")
    if committed is not None and committed < PAGE_SIZE:
        found = f"the committed end {committed}"
        report.add(4, COMMITTED * 8, found, f"at least {PAGE_SIZE}")
    power_cut = boot is not None and boot != boot_number()
    if committed is None or power_cut:
        # The bytes after it may be in the redo area; the next writer restores them.
        own = durable_in_log_end(
            ReadBuffer(fd, path), words, PAGE_SIZE if durable is None else durable
        )
        if own > size:
            report.add(1, size, "the end of the file", f"{own} bytes are durable")
        end = size if committed is None else min(size, committed)
        return Limits(committed, durable, saved, redo, min(own, size), end)
    # In a copy of a log in use, the words may be from two moments: what was durable at the
    # later one was committed at the earlier one, and is there.
    committed = max(committed, durable or 0)
    if committed > size:
        report.add(1, size, "the end of the file", f"{committed} bytes are committed")
    end = min(committed, size)
    return Limits(committed, durable, saved, redo, end, end)
