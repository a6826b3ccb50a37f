"""Copying the committed frames of a log behind those of an earlier copy of it.

The copy is a log itself, byte for byte that which it is a copy of, but for the words of
the header. It goes on where the chain of its frames meets the chain of the other: the
checksum of a frame depends on all frames before it, so that one frame that both have at
one place says that they have all before it in common.

A copy that is appended to is what it was or what it shall be, at any moment, for readers
and for the next who writes to it: the first 8 bytes of what is new (checksum and status)
are written last, and without them no frame behind is one.
Knows no object.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final, NamedTuple

from dobbin_like.log.copies.backup_source import OriginalLog
from dobbin_like.log.file import disk
from dobbin_like.log.file.words import Words, boot_number
from dobbin_like.log.format import record
from dobbin_like.log.format.header import (
    BOOT,
    COMMITTED,
    DURABLE,
    PAGE_SIZE,
    REDO,
    SAVED,
    Page,
    raw_word,
)
from dobbin_like.log.format.record import LogPlace
from dobbin_like.log.reading.aside import clip_aside, note_aside
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.reading.reader import read_frame
from dobbin_like.log.reading.saved_positions import place_before
from dobbin_like.log.reading.trusted_end import verify
from dobbin_like.log.writing.writable import WritableLog

__all__ = ["Copied", "LogCopy", "OriginalLog", "Progress", "copy_frames", "copy_page"]

Progress = Callable[[int, int], object]
"""Called with the bytes copied so far and the bytes to copy."""

_PIECE: Final = 1 << 22
"""Bytes that are verified before they are copied: they are in the cache then."""

_READ: Final = 1 << 20
_IDENTITY_SIZE: Final = 8 * COMMITTED
"""What is before the words of a header page: the same in a log and its copies."""

_HELD_BACK: Final = record.CHECKED_FROM


class Copied(NamedTuple):
    """What was copied. ``size`` is in bytes; failed transactions count."""

    transactions: int
    size: int


class LogCopy:
    """An earlier copy of a log, opened to be brought up to date.

    Nothing is written to it but frames of the original: no saved positions of its own.

    Raises:
        OSError, NotALogError, FormatVersionError, IntegrityError: It can't be opened.
    """

    def __init__(self, path: str) -> None:
        self._log = ReadableLog(path, read_only=False)
        self._writing = WritableLog(self._log, sync=True, lock_timeout=0)
        self._writing.writer.save_after_entries = sys.maxsize
        self.path = self._log.path
        try:
            self._writing.open()
        except BaseException:
            self._writing.close_file()
            raise

    def close(self) -> None:
        """Give the file back."""
        self._writing.close(save=False)

    @property
    def page(self) -> Page | None:
        """What identifies the log; None: it was not begun."""
        return self._log.file.page

    @property
    def place(self) -> LogPlace:
        """Where the committed frames end."""
        return self._log.applied.tail

    def acquire(self) -> None:
        """Take the commit lock, and apply what others have appended."""
        self._writing.acquire()
        self._log.apply(self._log.read_news())

    def release(self) -> None:
        """Give the lock back."""
        self._writing.release()

    def place_in(self, original: OriginalLog) -> LogPlace | None:
        """Return the end of what both logs have, if this one has no transaction behind it.

        What may be behind it are positions, saved by somebody who has looked at the copy.

        Raises:
            IntegrityError: The last frame of this log is damaged.
        """
        page = self.page
        tail = self.place
        buffer = self._log.buffer
        while page is not None and tail.frame:
            before = place_before(buffer, tail.frame, page.checksum, self.place.end)
            frame = read_frame(buffer, before, self.place.end)
            verify(buffer, before, frame)
            if original.has_place(tail):
                return tail
            if frame.tail != tail:  # Frames aside are between.
                tail = frame.tail
                continue
            if frame.logged is not None:
                return None
            tail = before
        if page is not None and not original.has_place(tail):
            tail = record.first_place(page.checksum)
        return tail if original.has_place(tail) else None

    def extend(
        self, original: OriginalLog, start: LogPlace, progress: Progress | None = None
    ) -> Copied:
        """Append what *original* has behind *start*; all of it, or nothing counts.

        Args:
            start: What place_in() has returned.

        Requires: The commit lock.

        Raises:
            IntegrityError: The original is damaged. Nothing was appended.
            OSError: Writing failed. Nothing was appended.
        """
        writer = self._writing.held_by_caller("extend()")
        _, words = self._log.attach()
        fd = self._log.file.fd
        writer.synced.distrust(words)
        if start.end < self.place.end:
            _forget_behind(words, start.end)
        try:
            disk.cut(fd, self.path, start.end)
            return copy_frames(original, start, fd, self.path, words, progress)
        finally:
            end = words.get(COMMITTED)
            if end is not None and end < os.fstat(fd).st_size:
                disk.cut(fd, self.path, end)


def _forget_behind(words: Words, end: int) -> None:
    # From the outside in: what the words say is true at any moment.
    words.put(SAVED, 0)
    clip_aside(words, end)
    if (words.get(REDO) or 0) >= end:
        words.put(REDO, 0)
    words.put(DURABLE, end)
    words.put(COMMITTED, end)


def copy_page(original: OriginalLog, fd: int, path: str) -> LogPlace:
    """Write the header page of *original* as that of a log without frames.

    Returns:
        The place where its frames begin.

    Requires: The original has one; see OriginalLog.

    Raises:
        OSError: Writing failed.
    """
    identity = original.page
    assert identity is not None
    page = bytearray(PAGE_SIZE)
    page[:_IDENTITY_SIZE] = original.read(0, _IDENTITY_SIZE)
    boot = boot_number()
    for index, value in ((COMMITTED, PAGE_SIZE), (DURABLE, PAGE_SIZE), (SAVED, 0), (BOOT, boot)):
        page[index * 8 : index * 8 + 8] = raw_word(index, value).to_bytes(8, sys.byteorder)
    disk.write(fd, path, bytes(page), 0)
    return record.first_place(identity.checksum)


def copy_frames(
    original: OriginalLog,
    start: LogPlace,
    fd: int,
    path: str,
    words: Words,
    progress: Progress | None = None,
) -> Copied:
    """Append the frames of *original* from *start* on to a log that ends there.

    When it returns, they are on stable storage and count. Killed before, it leaves a tail
    that counts for nothing.

    Raises:
        IntegrityError: The original is damaged. Nothing new counts.
        OSError: Writing failed. Nothing new counts.

    Cost: The bytes of the frames, read twice and written once.
    """
    pieces = _Pieces(original, start.end, fd, path, progress)
    if pieces.first == pieces.last:
        pieces.tell(pieces.last)
        return Copied(0, 0)
    transactions = saved = 0
    aside: int | None = None  # Where those begin that the log ends with.
    for tail, frame in original.verified(start):
        if frame.logged is not None:
            transactions += 1
        elif frame.kind in record.POSITIONS_KINDS:
            saved = tail.end
        if frame.kind not in record.ASIDE:
            aside = None
        elif aside is None:
            aside = tail.end
        if frame.tail.end - pieces.copied >= _PIECE:
            pieces.copy(frame.tail.end)
    pieces.copy(pieces.last)
    pieces.let_count(words, saved, aside)
    return Copied(transactions, pieces.last - pieces.first)


class _Pieces:
    """Copies bytes of one file to the same place of another. One thread, once.

    ``copied`` is the offset up to which all is copied, but for what is held back.
    """

    def __init__(
        self, original: OriginalLog, first: int, fd: int, path: str, progress: Progress | None
    ) -> None:
        self.first = self.copied = first
        self.last = original.place.end
        self._original = original
        self._fd = fd
        self._path = path
        self._progress = progress

    def tell(self, copied: int) -> None:
        if self._progress is not None:
            self._progress(copied - self.first, self.last - self.first)

    def copy(self, end: int) -> None:
        """Copy up to *end*."""
        for at in range(self.copied, end, _READ):
            data = self._original.read(at, min(_READ, end - at))
            skip = _HELD_BACK if at == self.first else 0
            disk.write(self._fd, self._path, data[skip:], at + skip)
            self.tell(at + len(data))
        self.copied = end

    def let_count(self, words: Words, saved: int, aside: int | None) -> None:
        """Write what was held back, and then what says that it counts."""
        disk.sync(self._fd, self._path)
        disk.write(self._fd, self._path, self._original.read(self.first, _HELD_BACK), self.first)
        disk.sync(self._fd, self._path)
        words.put(COMMITTED, self.last)
        words.put(DURABLE, self.last)
        if aside is not None:
            note_aside(words, aside, self.last)
        if saved:
            words.put(SAVED, saved)
        disk.sync(self._fd, self._path)
