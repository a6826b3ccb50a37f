"""Append the committed frames of a log to an earlier copy of it.

The copy is a log itself, byte for byte the same as the original, except for the words of the
header. The checksum of a frame depends on all frames before it: if both logs have the same
frame at the same place, they have everything before it in common, and the copy goes on there.

At any moment, readers and the next writer find the copy either as it was or complete: the first
bytes of the new part are written last, and without them nothing after the old end is a frame.
Knows no object.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final, NamedTuple

from dobbin_like.exc import CopyError, LogMovedError
from dobbin_like.log.copies.backup_source import OriginalLog
from dobbin_like.log.file import disk
from dobbin_like.log.file.at_path import size_at_path
from dobbin_like.log.file.words import Words
from dobbin_like.log.format import header, record
from dobbin_like.log.format.header import Page, encode_page, inode_value
from dobbin_like.log.format.record import LogPlace
from dobbin_like.log.reading.chain import verify
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.reading.reader import read_frame
from dobbin_like.log.reading.saved_positions import place_before
from dobbin_like.log.writing.writable import WritableLog

Progress = Callable[[int, int], object]
"""Called with the bytes copied so far and the bytes to copy."""

_PIECE: Final = 1 << 22
"""Bytes that are verified before they are copied: they are in the cache then."""

_READ: Final = 1 << 20
_HELD_BACK: Final = record.MARK_SIZE


class Copied(NamedTuple):
    """What was copied. ``size`` is in bytes; failed transactions count."""

    transactions: int
    size: int


class LogCopy:
    """An earlier copy of a log, opened to be brought up to date.

    Nothing is written to it but frames of the original: no saved positions of its own. It may
    raise what opening a log raises.
    """

    def __init__(self, path: str) -> None:
        self._log = ReadableLog(path, read_only=False)
        self._writing = WritableLog(self._log, sync=True, lock_timeout=0)
        self._writing.writer.save_after_entries = sys.maxsize
        self._writing.keep_from_children()
        self.path: str = self._log.path
        try:
            self._writing.open()
        except BaseException:
            self._writing.close_file()
            raise

    def close(self) -> None:
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
        self._writing.release()

    def check_path(self) -> None:
        """Raise CopyError if the file is not at its path any more: what was copied is lost."""
        try:
            size_at_path(self._log.file)
        except LogMovedError as error:
            reason = "it was deleted or replaced while it was written; make the backup again"
            raise CopyError(self.path, reason) from error

    def place_in(self, original: OriginalLog) -> LogPlace | None:
        """Return the end of what both logs have, if this one has no transaction after it.

        Saved positions may be there, written by a process that has opened the copy.
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
            if frame.logged is not None:
                return None
            tail = before
        if page is not None and not original.has_place(tail):
            tail = record.first_place(page.checksum)
        return tail if original.has_place(tail) else None

    def extend(
        self, original: OriginalLog, start: LogPlace, progress: Progress | None = None
    ) -> Copied:
        """Append what *original* has after *start*, which place_in() has returned.

        Requires: The commit lock.

        Raises:
            IntegrityError: The original is damaged. Nothing was appended.
            OSError: Writing failed. Nothing was appended.
        """
        self._writing.held_by_caller("extend()").forget()
        _, words = self._log.attach()
        fd = self._log.file.fd
        if start.end < self.place.end:
            words.put(header.SAVED, 0)
            _put_end(words, start.end)
        try:
            disk.cut(fd, self.path, start.end)
            return copy_frames(original, start, fd, self.path, words, progress)
        finally:
            end = words.get(header.DURABLE)
            if end < disk.status(fd, self.path).st_size:
                disk.cut(fd, self.path, end)


def _put_end(words: Words, end: int) -> None:
    words.put(header.LOOSE, end, end)  # And APPENDED.
    words.put(header.DURABLE, end)
    words.put(header.SYNCING, end)


def copy_page(original: OriginalLog, fd: int, path: str) -> LogPlace:
    """Write the page of *original*, which has one, as of a new log; return its first place."""
    identity = original.page
    assert identity is not None
    page, _ = encode_page(*identity[:2], *identity[3:6])
    disk.write(fd, path, page, 0)
    Words(fd, path).put(header.INODE, inode_value(disk.status(fd, path).st_ino))
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

    When it returns, they are on stable storage and count. If it is killed, or fails because
    the original is damaged or can't be written, nothing new counts.

    Cost: The bytes of the frames, read twice and written once.
    """
    pieces = _Pieces(original, start.end, fd, path, progress)
    if pieces.first == pieces.last:
        pieces.tell(pieces.last)
        return Copied(0, 0)
    transactions = saved = 0
    for tail, frame, whole in original.verified(start):
        if frame.logged is not None:
            transactions += 1
        elif frame.kind == record.KIND_POSITIONS and whole:
            saved = tail.end
        if frame.tail.end - pieces.copied >= _PIECE:
            pieces.copy(frame.tail.end)
    pieces.copy(pieces.last)
    pieces.let_count(words, saved)
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

    def let_count(self, words: Words, saved: int) -> None:
        """Write what was held back, and then what says that it counts."""
        disk.sync(self._fd, self._path)
        disk.write(self._fd, self._path, self._original.read(self.first, _HELD_BACK), self.first)
        disk.sync(self._fd, self._path)
        _put_end(words, self.last)
        if saved:
            words.put(header.SAVED, saved)
        disk.sync(self._fd, self._path)
