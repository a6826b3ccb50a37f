"""Logs that are to be copied; read :mod:`dobbin_like.log.copies.backup_copy` next."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dobbin_like.exc import IntegrityError
from dobbin_like.log.file import disk
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.rights import mode_of
from dobbin_like.log.format import record
from dobbin_like.log.format.header import DURABLE, Page
from dobbin_like.log.format.record import LogPlace
from dobbin_like.log.reading.chain import certain_frames, verify
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.reading.reader import Frame, read_frame
from dobbin_like.log.reading.saved_positions import place_before


class OriginalLog:
    """A log that is to be copied, as far as it was committed when this was opened.

    Has a descriptor of its own, so it does not matter if another file replaces the log meanwhile.
    With *prefix*, a damaged log is taken up to the first damage. It may raise what opening a log
    raises.
    """

    def __init__(self, path: str, *, prefix: bool = False) -> None:
        self._log = ReadableLog(path, read_only=True)
        self.path: str = self._log.path
        self._file = self._log.file
        try:
            if prefix:
                self._apply_prefix()
            else:
                self._log.open()
        except BaseException:
            self._log.close()
            raise

    def close(self) -> None:
        self._log.close()

    @property
    def file(self) -> LogFile:
        """The file that was opened."""
        return self._file

    @property
    def page(self) -> Page | None:
        """What identifies the log; None: it was not begun."""
        return self._file.page

    @property
    def mode(self) -> int:
        """The permissions of the file."""
        with disk.named(self.path):
            return mode_of(self._file.fd)

    @property
    def place(self) -> LogPlace:
        """Where the committed frames end."""
        return self._log.applied.tail

    @property
    def is_cut(self) -> bool:
        """Whether it ends before what was durable."""
        file = self._file
        durable = None if file.words is None else file.words.find(DURABLE)
        return durable is not None and disk.status(file.fd, file.path).st_size < durable

    def sync(self) -> None:
        """Bring what is committed to stable storage: the copy must not have more than the log."""
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
        except IntegrityError:
            return False
        return after == tail

    def verified(
        self, tail: LogPlace, limit: int | None = None
    ) -> Iterator[tuple[LogPlace, Frame, bool]]:
        """Yield the places from *tail* on, the frames behind them, and whether each is whole.

        Saved positions need not be: the copy has the same transactions. IntegrityError: Another
        frame is damaged. Cost: The bytes of the frames.
        """
        states = self._log.buffer
        limit = self.place.end if limit is None else limit
        for frame in certain_frames(self._log.buffer, tail, limit):
            whole = True
            try:
                verify(states, tail, frame)
            except IntegrityError:
                if frame.kind != record.KIND_POSITIONS:
                    raise
                whole = False
            yield tail, frame, whole
            tail = frame.tail

    def _apply_prefix(self) -> None:
        """Apply the frames up to the first that is damaged."""
        log = self._log
        if log.file.open():
            page, _ = log.attach()
            size = disk.status(log.file.fd, log.path).st_size
            with contextlib.suppress(IntegrityError):
                for _, frame, _ in self.verified(record.first_place(page.checksum), size):
                    log.applied.move_to(frame.tail)

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the file. Raises IntegrityError: there are none, or the disk refuses."""
        return disk.read_exactly(self._file.fd, self.path, offset, size)
