"""A log that is to be copied: its frames as far as they are committed, verified whole.

Frames aside may be damaged: whatever their bytes are, the copy holds the same transactions.
Knows no object. Read :mod:`dobbin_like.log.copies.backup_copy` next.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from dobbin_like.exc import IntegrityError
from dobbin_like.log.file import disk
from dobbin_like.log.format import record
from dobbin_like.log.format.header import Page
from dobbin_like.log.format.record import LogPlace
from dobbin_like.log.reading.aside import leads_to
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.reading.reader import Frame, read_frame
from dobbin_like.log.reading.saved_positions import place_before
from dobbin_like.log.reading.trusted_end import decided_frames, verify

__all__ = ["OriginalLog"]

_BLOCK: Final = 512
"""Bytes that a disk gives, or refuses, together: no disk has smaller ones."""


class OriginalLog:
    """A log that is to be copied, as far as it was committed when this was opened.

    Has a descriptor of its own: that another file is put in place of the log meanwhile
    does not matter.

    Raises:
        OSError, NotALogError, FormatVersionError, IntegrityError: It can't be read.
    """

    def __init__(self, path: str) -> None:
        self._log = ReadableLog(path, read_only=True)
        self.path = self._log.path
        self._damaged: list[tuple[int, int]] = []  # Frames aside, found by verified().
        try:
            self._log.open()
        except BaseException:
            self._log.close()
            raise
        self._file = self._log.file

    def close(self) -> None:
        """Give the file back."""
        self._log.close()

    @property
    def page(self) -> Page | None:
        """What identifies the log; None: it was not begun."""
        return self._file.page

    @property
    def mode(self) -> int:
        """The permissions of the file."""
        return os.fstat(self._file.fd).st_mode & 0o777

    @property
    def place(self) -> LogPlace:
        """Where the committed frames end."""
        return self._log.applied.tail

    def sync(self) -> None:
        """Wait until what is committed is on stable storage.

        Else a power cut could leave less of it than of its copy.
        """
        disk.sync(self._file.fd, self.path)

    def has_place(self, tail: LogPlace) -> bool:
        """Return whether this log has the same frames up to *tail* as the log *tail* is of."""
        page = self._file.page
        if page is None or tail.end > self.place.end:
            return False
        buffer = self._log.buffer
        after = record.first_place(page.checksum)
        try:
            if tail.frame:
                before = place_before(buffer, tail.frame, page.checksum, self.place.end)
                after = read_frame(buffer, before, self.place.end).tail
            if after == tail or tail == self.place:
                return True
            # Behind frames aside: a frame that is chained to the place tells that it is one.
            return record.aside(after, tail.end) == tail and bool(next(self._frames(tail)))
        except IntegrityError:
            return False

    def verified(self, tail: LogPlace) -> Iterator[tuple[LogPlace, Frame]]:
        """Yield the places from *tail* on, and the frames behind them, verified whole.

        Frames aside that are not are of KIND_DAMAGED: they are copied as they are.

        Raises:
            IntegrityError: Another one is damaged.

        Cost: The bytes of the frames.
        """
        states = self._log.buffer
        for frame in self._frames(tail):
            shown = frame
            try:
                verify(states, tail, frame)
            except IntegrityError:
                if frame.kind in {record.KIND_TRANSACTION, record.KIND_STREAM}:
                    raise
                shown = frame._replace(kind=record.KIND_DAMAGED)
            if shown.kind == record.KIND_DAMAGED:
                self._damaged.append((tail.end, frame.tail.end))
            yield tail, shown
            tail = frame.tail

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the file; zeros for those of damaged frames aside that the disk refuses.

        Raises:
            IntegrityError: At the end of the file; the disk refuses others.
        """
        try:
            return disk.read_exactly(self._file.fd, self.path, offset, size)
        except IntegrityError:
            ends = [at for pair in self._damaged for at in pair if offset < at < offset + size]
            blocks = range(offset - offset % _BLOCK + _BLOCK, offset + size, _BLOCK)
            cuts = sorted({offset, *ends, *blocks, offset + size})
            return b"".join(map(self._piece, cuts[:-1], cuts[1:]))

    def _piece(self, start: int, end: int) -> bytes:
        try:
            return disk.read_exactly(self._file.fd, self.path, start, end - start)
        except IntegrityError:
            if any(first <= start and end <= last for first, last in self._damaged):
                return bytes(end - start)
            raise

    def _frames(self, tail: LogPlace) -> Iterator[Frame]:
        buffer = self._log.buffer
        return decided_frames(buffer, tail, self.place.end, leads_to(self.place))
