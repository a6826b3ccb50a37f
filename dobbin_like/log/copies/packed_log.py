"""The log that is to be packed, as of a tid, read frame by frame.

Needs no more memory than the positions of the objects and a few megabytes, however many
transactions there are and however long they are. Knows no object.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from dobbin_like.contract import Entry
from dobbin_like.exc import LockTimeout, PackError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.file import disk
from dobbin_like.log.file.at_path import is_replaced, size_at_path
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.format import record
from dobbin_like.log.format.header import PAGE_SIZE, REPLACED, STATE, USUAL, Page, encode_page
from dobbin_like.log.format.record import ENTRY_SIZE, LogPlace
from dobbin_like.log.reading.chain import certain_frames, certain_transactions
from dobbin_like.log.reading.positions import Positions
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.reading.reader import (
    Frame,
    LoggedTransaction,
    LoggedVersion,
    ReadBuffer,
    stored_entries,
)
from dobbin_like.log.reading.streams import StoredStreams, stream_offset
from dobbin_like.log.writing.writable import WritableLog
from dobbin_like.name_tables import NameTables

_READ: Final = 1 << 22
"""Bytes of a transaction that are held at once."""

_ASK_SECONDS: Final = 0.5

_REFUSED: Final = frozenset({errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV})


def check_names(path: str, names: int) -> None:
    """Raise PackError unless a file has one name: another would lead to the old file."""
    if names > 1:
        reason = f"it has {names} names, and the others would keep the old file"
        raise PackError(path, reason)


class PackedLog:
    """The log that is to be packed, as of *keep*; an instance of its own, for one thread.

    While it waits for the commit lock, it calls *stopping* now and then; if that returns true,
    it raises InterruptedError. It may raise what opening a log raises.

    Cost: As for opening; from the start of the log if *keep* is before what is saved.
    """

    def __init__(
        self,
        path: str,
        keep: Tid | None,
        *,
        read_only: bool,
        stopping: Callable[[], bool] | None = None,
    ) -> None:
        self._stopping = stopping
        lock_timeout = None if stopping is None else _ASK_SECONDS
        self._log = ReadableLog(path, read_only=read_only)
        self._writing = WritableLog(self._log, sync=True, lock_timeout=lock_timeout)
        # Saved positions would be lost with this file.
        self._writing.writer.save_after_entries = sys.maxsize
        self.path: str = self._log.path
        self._writing.keep_from_children()
        try:
            self._open(keep)
        except BaseException:
            self._writing.close_file()
            raise

    def close(self) -> None:
        self._writing.close(save=False)

    @property
    def file(self) -> LogFile:
        """The file that was opened."""
        return self._log.file

    @property
    def page(self) -> Page | None:
        """What identifies the log; None: it was not begun."""
        return self._log.file.page

    @property
    def generation(self) -> int:
        """How often the log was packed."""
        return self._log.applied.generation

    @property
    def place(self) -> LogPlace:
        """The place behind the last transaction up to *keep*."""
        return self._log.applied.tail

    @property
    def start(self) -> LogPlace:
        """The place before the first frame."""
        return record.first_place(self.page.checksum if self.page else 0)

    @property
    def positions(self) -> Positions:
        """Of the objects, as of *keep*."""
        return self._log.applied.positions

    @property
    def names(self) -> NameTables:
        """The tables of names as of *keep*."""
        return self._log.applied.names

    @property
    def end(self) -> int:
        """Where the visible bytes end by now, in bytes."""
        words = self._log.file.words
        return PAGE_SIZE if words is None else max(words.visible(), self.place.end)

    @property
    def streams(self) -> StoredStreams:
        """Reads the stored streams, by their offsets."""
        return StoredStreams(self._log.file.fd, self.path)

    def read_stream(self, key: int, start: int, size: int) -> bytes:
        """Return bytes of a stream, as that of any log does."""
        return self.streams.read(stream_offset(key), start, size)

    def acquire(self) -> None:
        """Take the commit lock, however long that takes. Raises as that of any log."""
        while True:
            try:
                self._writing.acquire()
            except LockTimeout:
                if self._stopping is not None and self._stopping():
                    text = "it was stopped"
                    raise InterruptedError(text) from None
            else:
                return

    def seen_words(self) -> bytes:
        """Return the words of the header that change with every commit."""
        words = self._log.file.words
        return b"" if words is None else words.seen()

    def version(self, oid: int) -> LoggedVersion | None:
        """Return the version of an object as of *keep*; None if it has none."""
        return self._version(oid, self._log.applied.positions.get(oid))

    def replaced_by(self, oid: int, stored: LoggedVersion) -> LoggedVersion | None:
        """Return the version that *stored* has replaced in this file."""
        return self._version(oid, stored.previous)

    def _version(self, oid: int, position: int) -> LoggedVersion | None:
        applied = self._log.applied
        if not position or applied.loader is None:
            return None
        return applied.loader.load(Oid(oid), position, applied.limit)

    def frames(self, tail: LogPlace, limit: int) -> Iterator[Frame]:
        """Yield the frames from *tail* up to *limit*, which were committed."""
        return certain_frames(self._log.buffer, tail, limit)

    def read_entries(
        self, logged: LoggedTransaction, chosen: Sequence[int] | None = None
    ) -> Iterator[Entry]:
        """Yield the entries of a transaction, each verified; see stored_entries()."""
        for oid, stored in stored_entries(self._pieces, logged, chosen):
            yield oid, stored.number, stored.data

    def read_sizes(self, logged: LoggedTransaction, chosen: Sequence[int]) -> int:
        """Return the bytes of the states of some entries, without reading them."""
        size, pieces = 0, self._pieces
        for row in chosen:
            position = logged.first_entry + row * ENTRY_SIZE
            entry = pieces.read(position, ENTRY_SIZE, logged.end)
            size += record.entry_head(entry).length
        return size

    @property
    def _pieces(self) -> ReadBuffer:
        return ReadBuffer(self._log.file.fd, self.path, _READ)

    def next_page(self) -> tuple[bytes, Page]:
        """Return the header page of the log that takes the place of this one. Raises PackError."""
        page = self.page
        assert page is not None
        try:
            return encode_page(
                page.store_id,
                page.created_microseconds,
                page.generation + 1,
                max(page.complete_since, self.place.tid),
                self.positions.next_oid,
            )
        except ValueError as error:
            raise PackError(self.path, str(error)) from None

    def replace_by(self, path: str) -> None:
        """Let the log go on in the file at *path*: a packed one, complete and synced.

        One step for all processes: opening the log finds the one file or the other. Open
        instances follow to the new file, except this one, which is to be closed.

        Raises:
            LogMovedError: The log was moved, or another file is in its place.
            PackError: The file has got a second name meanwhile, or can't be replaced.
            OSError: The file could not be moved; the log is as it was.
        """
        self._writing.held_by_caller("replace_by()")
        file = self._log.file
        words = file.words
        assert words is not None
        # Resolved: replacing a symbolic link would leave the old file under its other names.
        place = os.path.realpath(self.path)
        size_at_path(file)  # Copying may have taken long since the lock was taken.
        check_names(self.path, disk.status(file.fd, file.path).st_nlink)
        try:
            # First: if this process dies in between, the next holder of the lock resets it.
            words.put(STATE, REPLACED)
            os.replace(path, place)  # noqa: PTH105
        except BaseException as error:
            if not is_replaced(file):
                words.put(STATE, USUAL)
            if isinstance(error, OSError) and error.errno in _REFUSED:
                reason = f"no other file can take its place ({error.strerror})"
                raise PackError(self.path, reason) from error
            raise
        disk.sync_directory(place)

    def release(self) -> None:
        self._writing.release()

    def _open(self, keep: Tid | None) -> None:
        """Apply what is there up to *keep*, one frame after the other."""
        log = self._log
        # Opening repairs what a process that died has left.
        self._writing.open()
        applied = log.applied
        if keep is None or self.page is None or applied.tail.tid <= keep:
            return
        end = applied.tail.end
        applied.positions, applied.names = Positions(), NameTables()
        applied.positions.reserve(self.page.next_oid)
        applied.move_to(self.start)
        for run, _ in certain_transactions(log.buffer, applied.tail, end):
            kept = [logged for logged in run if logged.tid <= keep]
            applied.apply(self.path, kept)
            if len(kept) < len(run):
                break
