"""The file that takes the place of a packed log: written from the start, frame by frame.

Frames are appended in big writes, and nobody reads the file before it has its place. Needs
no more memory than the positions of the objects and a few megabytes, however long a
transaction is. Knows no object.
"""

from __future__ import annotations

import os
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Final, cast
from zlib import crc32

from dobbin_like.contract import NewNames
from dobbin_like.exc import CopyError, PackError, PackRunningError
from dobbin_like.ids import NO_TID
from dobbin_like.log.copies.packed_log import PackedLog
from dobbin_like.log.file import disk
from dobbin_like.log.file.new_file import PACKED, NewFile
from dobbin_like.log.format import frame_heads, record
from dobbin_like.log.format.frame_heads import PositionsHead
from dobbin_like.log.format.header import (
    ASIDE,
    ASIDE_END,
    BOOT,
    COMMITTED,
    DURABLE,
    PAGE_SIZE,
    SAVED,
    boot_number,
    encode_page,
    raw_word,
)
from dobbin_like.log.format.meta import NO_META, Meta
from dobbin_like.log.format.record import ENTRY_SIZE, TRANSACTION_SIZE, LogPlace
from dobbin_like.log.reading.positions import Positions
from dobbin_like.log.reading.reader import LoggedTransaction
from dobbin_like.log.reading.streams import StreamReader, copy_stream, stream_key, stream_offset
from dobbin_like.name_tables import NameTables

__all__ = ["NewLog", "PackFile", "meta_of"]

_LONG: Final = 1 << 22
"""Bytes of a transaction that is not gathered in memory."""

_WRITE: Final = 1 << 20
"""Bytes that are gathered for one write."""

_SYNC: Final = 1 << 24
"""Bytes after which the new file is synced: a sync of the log never has to wait for more."""

Entries = Iterator[tuple[int, int, bytes]]
"""(oid, number of class or shape, state), in the order of the table."""


class PackFile(NewFile):
    """The new file while it is written, beside the log: ``<path>.pack``.

    Raises:
        PackRunningError: Another process, or another thread, packs the log.
    """

    def __init__(self, path: str, mode: int) -> None:
        super().__init__(path, mode)
        self.path = os.path.realpath(path) + PACKED

    def _open(self) -> bool:
        try:
            return super()._open()
        except CopyError:
            raise PackRunningError(self.path) from None


class NewLog:
    """A log of the next generation that is written from the start; one thread.

    ``positions`` and ``tail`` are those of what was appended; ``path`` is where it lies;
    ``attempt`` counts how often it was begun.

    Args:
        old: The log whose place it is going to take.
    """

    def __init__(self, file: PackFile, old: PackedLog) -> None:
        page = old.page
        assert page is not None
        self.fd, self.path = file.fd, file.path
        self._file = file
        self.generation = page.generation + 1
        since = max(page.complete_since, old.place.tid)
        # That of another run of the machine: should we die after the file has come to its
        # place, the next writer brings it and its name to stable storage, as after a power
        # cut, before it commits.
        try:
            data, self._page = encode_page(
                page.store_id,
                page.created_microseconds,
                boot_number() ^ 1,
                self.generation,
                since,
                old.positions.next_oid,
            )
        except ValueError as error:
            raise PackError(old.path, str(error)) from None
        disk.write(self.fd, self.path, data, 0)
        self.attempt = 0
        self.restart(old.positions.next_oid)

    def restart(self, next_oid: int) -> None:
        """Begin again, without any frame; make room for oids below *next_oid*."""
        disk.cut(self.fd, self.path, PAGE_SIZE)
        self.attempt += 1
        self.tail = LogPlace(PAGE_SIZE, 0, self._page.checksum, 0, NO_TID)
        self.positions = Positions()
        self.positions.reserve(next_oid)
        self._parts: list[bytes] = []
        self._gathered = 0
        self._written = self._synced = PAGE_SIZE
        self._saved = self._saved_end = 0
        # Sorted; by the offset in the old file.
        self._streams_from, self._streams_to = array("Q"), array("Q")

    def append(
        self, logged: LoggedTransaction, entries: Entries, names: NewNames, count: int
    ) -> None:
        """Append a transaction as it was, with *count* of its entries.

        Args:
            names: What is new in the tables of names.

        Raises:
            OSError: Writing failed.
        """
        meta = meta_of(logged, names)
        status = record.FAILED if logged.failed else record.COMMITTED
        previous: Callable[[int], int] = (lambda _oid: 0) if logged.failed else self.positions.get
        if logged.end - logged.offset > _LONG:
            oids: Sequence[int] = self._append_long(logged, entries, count, previous, meta, status)
        else:
            gathered = list(entries)  # Before the place is asked for: there may be streams.
            oids = [entry[0] for entry in gathered]
            data, checksum = record.encode_transaction(
                self.tail, logged.tid, gathered, previous, meta, status
            )
            self._write(data)
            self._move(len(data), checksum, logged)
        if not logged.failed and oids:
            first_entry = self.tail.frame + TRANSACTION_SIZE
            self.positions.update(oids, max(oids), first_entry)

    def _append_long(
        self,
        logged: LoggedTransaction,
        entries: Entries,
        count: int,
        previous: Callable[[int], int],
        meta: Meta,
        status: int,
    ) -> array[int]:
        """Append a transaction as it comes: its states first, what is before them last.

        Returns:
            The oids.

        Memory: 8 bytes for each entry.
        """
        self.flush()
        tail, seed = self.tail, record.tid_seed(logged.tid)
        meta_bytes = record.encode_meta(meta)
        oids, table = array("Q"), bytearray()
        start = at = tail.end + TRANSACTION_SIZE
        # From the entry to its state, as in record.encode_transaction().
        distance = count * ENTRY_SIZE + len(meta_bytes)
        self._written += TRANSACTION_SIZE + distance
        for index, (oid, number, state) in enumerate(entries):
            oids.append(oid)
            head = record.ENTRY_HEAD.pack(oid, previous(oid), index, distance, len(state), number)
            table += head
            table += record.WORD.pack(crc32(state, crc32(head, seed)))
            if len(table) > _WRITE:
                disk.write(self.fd, self.path, bytes(table), at)
                at += len(table)
                table = bytearray()
            distance += len(state) - ENTRY_SIZE
            self._write(state)
        length = TRANSACTION_SIZE + count * ENTRY_SIZE + distance
        whole = record.align(length)
        self._write(bytes(whole - length))
        self.flush()
        last = bytes(table) + meta_bytes
        disk.write(self.fd, self.path, last, at)
        rest = record.TRANSACTION_REST.pack(
            record.KIND_TRANSACTION,
            len(meta_bytes),
            whole,
            tail.frame,
            logged.tid,
            tail.sequence + 1,
            count,
        )
        checksum = self._checksum(crc32(rest, tail.checksum), start, at + len(last))
        disk.write(self.fd, self.path, record.FRAME_START.pack(checksum, status) + rest, tail.end)
        self._move(whole, checksum, logged)
        return oids

    def _checksum(self, checksum: int, start: int, end: int) -> int:
        """Go on with a checksum over bytes that were written."""
        for at in range(start, end, _WRITE):
            data = disk.read_exactly(self.fd, self.path, at, min(_WRITE, end - at))
            checksum = crc32(data, checksum)
        return checksum

    def _move(self, length: int, checksum: int, logged: LoggedTransaction) -> None:
        tail = self.tail
        self.tail = LogPlace(tail.end + length, tail.end, checksum, tail.sequence + 1, logged.tid)

    def stream_key(self, key: int, streams: StreamReader) -> int:
        """Return the key of a stream in this log; copy it if it is not there yet.

        Raises:
            IntegrityError: It is damaged.
            OSError: Writing failed.
        """
        offset = stream_offset(key)
        known = self._streams_from
        index = bisect_left(known, offset)
        if index == len(known) or known[index] != offset:
            self.flush()
            source = cast("BinaryIO", _Source(streams, offset))
            tail, _ = copy_stream(self.fd, self.path, self.tail, source)
            known.insert(index, offset)
            self._streams_to.insert(index, self.tail.end)
            self.tail, self._written = tail, tail.end
            self._sync_now_and_then()
        return stream_key(self.generation, self._streams_to[index])

    def save_positions(self, classes: NameTables) -> None:
        """Append the positions as they are now, for a quick opening.

        Raises:
            OSError: Writing failed.

        Cost: 8 bytes for each oid; no more than that in memory.
        """
        tail, slots = self.tail, self.positions.slots
        slots_count = self.positions.next_oid
        table = record.encode_names(classes.rows())
        checksum = 0
        for block in _blocks(slots, slots_count):
            checksum = crc32(block, checksum)
        head = PositionsHead(slots_count, self.positions.stored, tail, checksum)
        length = record.align(record.POSITIONS_SIZE + len(table) + 8 * slots_count)
        data = frame_heads.encode_positions_head(tail, length, head, table)
        self._write(data)
        for block in _blocks(slots, slots_count):
            self._write(block)
        self._write(bytes(length - len(data) - 8 * slots_count))
        self._saved, self._saved_end = tail.end, tail.end + length
        self.tail = record.aside(tail, tail.end + length)

    def flush(self) -> None:
        """Write what was gathered. Raises OSError."""
        data, self._parts, self._gathered = b"".join(self._parts), [], 0
        disk.write(self.fd, self.path, data, self._written)
        self._written += len(data)

    def sync(self) -> None:
        """Bring all to stable storage, owner and permissions too. Raises OSError."""
        self.flush()
        with disk.named(self.path):
            os.fsync(self.fd)
        self._synced = self._written

    def complete(self) -> None:
        """Let all that was appended count, and bring it to stable storage. Raises OSError."""
        self.flush()
        end = self.tail.end
        aside = (self._saved, end) if end == self._saved_end else (0, 0)
        self._put(COMMITTED, end)
        for index, value in zip((SAVED, ASIDE, ASIDE_END), (self._saved, *aside), strict=True):
            self._put(index, value)
        self._put(DURABLE, self.tail.end)
        self.sync()

    def drop_generations(self) -> None:
        """Let others write to the file, which has come to its place for good. Raises OSError."""
        self._put(BOOT, boot_number())
        self._file.unlock()

    def _put(self, index: int, value: int) -> None:
        # Not through a mapping, which a child that is forked meanwhile would keep open.
        raw = raw_word(index, value).to_bytes(8, sys.byteorder)
        disk.write(self.fd, self.path, raw, index * 8)

    def _write(self, data: bytes) -> None:
        self._parts.append(data)
        self._gathered += len(data)
        if self._gathered >= _WRITE:
            self.flush()
            self._sync_now_and_then()

    def _sync_now_and_then(self) -> None:
        if self._written - self._synced >= _SYNC:
            self.sync()


def meta_of(logged: LoggedTransaction, names: NewNames) -> Meta:
    """Return what a transaction says about itself, with other names."""
    meta = Meta(names, logged.user, logged.description, logged.extension, logged.reason)
    return meta if meta != NO_META else NO_META


def _blocks(slots: array[int], count: int) -> Iterator[bytes]:
    """Yield the first *count* slots as they are saved, some at a time."""
    for start in range(0, count, _WRITE // 8):
        block = slots[start : min(start + _WRITE // 8, count)]
        if sys.byteorder == "big":
            block.byteswap()
        yield block.tobytes()


class _Source:
    """A stored stream as something that can be read from the start to the end."""

    def __init__(self, streams: StreamReader, offset: int) -> None:
        self._streams = streams
        self._offset = offset
        self._at = 0

    def read(self, size: int) -> bytes:
        data = self._streams.read(self._offset, self._at, size)
        self._at += len(data)
        return data
