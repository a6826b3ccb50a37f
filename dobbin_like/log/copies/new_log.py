"""A log that is written from its first frame to its last before it is opened by others.

What a pack, a snapshot into a file, and a repair write. Needs no lock, and no more memory
than the positions of the objects and a few megabytes, however long a transaction is. Knows
no object.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO, Final
from zlib import crc32

from dobbin_like.contract import Entry, NewNames
from dobbin_like.ids import Tid
from dobbin_like.log.file import disk
from dobbin_like.log.file.new_file import NewFile
from dobbin_like.log.file.words import Words
from dobbin_like.log.format import record
from dobbin_like.log.format.header import DURABLE, PAGE_SIZE, SAVED, Page, inode_value
from dobbin_like.log.format.meta import NO_META, Meta, encode_meta
from dobbin_like.log.format.record import ENTRY_SIZE, TRANSACTION_SIZE, LogPlace
from dobbin_like.log.format.saved import encode_block
from dobbin_like.log.reading.positions import Positions
from dobbin_like.log.reading.reader import LoggedTransaction
from dobbin_like.log.reading.saved_positions import encode_around
from dobbin_like.log.reading.streams import copy_stream, stream_key, stream_offset

_LONG: Final = 1 << 22
"""Bytes of a transaction that is not gathered in memory."""

_WRITE: Final = 1 << 20
"""Bytes that are gathered for one write."""

_SYNC: Final = 1 << 24
"""Bytes after which the file is synced: a sync of another log never has to wait for more."""


class NewLog:
    """A log that is written to an empty file; one thread. OSError: Writing failed.

    ``positions`` and ``tail`` are those of what was appended; ``path`` is where it lies. *page*
    is what encode_page() returns; room is made for oids below *next_oid*.
    """

    def __init__(self, file: NewFile, page: tuple[bytes, Page], next_oid: int) -> None:
        self.path: str = file.path
        self._fd = file.fd
        self._file = file
        data, self._page = page
        disk.write(self._fd, self.path, data, 0)
        self.restart(next_oid)

    def restart(self, next_oid: int) -> None:
        """Begin again, without any frame."""
        disk.cut(self._fd, self.path, PAGE_SIZE)
        self.tail: LogPlace = record.first_place(self._page.checksum)
        self.positions: Positions = Positions()
        self.positions.reserve(next_oid)
        self._parts: list[bytes] = []
        self._gathered = 0
        self._written = self._synced = PAGE_SIZE
        self._saved = 0
        # Sorted; by the offset in another file.
        self._streams_from, self._streams_to = array("Q"), array("Q")

    def append(
        self,
        tid: Tid,
        entries: Iterable[Entry],
        meta: Meta,
        *,
        failed: bool = False,
        count: int = 0,
        size: int = 0,
    ) -> None:
        """Append a transaction.

        *count* is the number of the entries, *size* their bytes: if they are not given, all
        entries are held in memory. struct.error: They are too many, or too big, for one.
        """
        status = record.FAILED if failed else record.COMMITTED
        previous: Callable[[int], int] = (lambda _oid: 0) if failed else self.positions.get
        if size > _LONG:
            oids: Sequence[int] = self._append_long(tid, entries, count, previous, meta, status)
        else:
            gathered = list(entries)  # Before the place is used: this may append streams.
            oids = [entry[0] for entry in gathered]
            before = [previous(oid) for oid in oids]
            data, checksum = record.encode_transaction(
                self.tail, tid, gathered, before, meta, status
            )
            self._write(data)
            self._move(len(data), checksum, tid)
        if not failed and oids:
            self.positions.update(oids, self.tail.frame + TRANSACTION_SIZE)

    def _append_long(
        self,
        tid: Tid,
        entries: Iterable[Entry],
        count: int,
        previous: Callable[[int], int],
        meta: Meta,
        status: int,
    ) -> array[int]:
        """Append a transaction as it comes: what is before the states last. Return the oids."""
        self.flush()
        tail, seed = self.tail, record.tid_seed(tid)
        meta_bytes = encode_meta(meta)
        oids, table = array("Q"), bytearray()
        start = at = tail.end + TRANSACTION_SIZE
        # From the entry to its state, as in record.encode_transaction().
        distance = count * ENTRY_SIZE + len(meta_bytes)
        self._written += TRANSACTION_SIZE + distance
        for row, (oid, number, state) in enumerate(entries):
            oids.append(oid)
            table += record.encode_entry(seed, oid, previous(oid), row, distance, number, state)
            if len(table) > _WRITE:
                disk.write(self._fd, self.path, bytes(table), at)
                at += len(table)
                table = bytearray()
            distance += len(state) - ENTRY_SIZE
            self._write(state)
        length = TRANSACTION_SIZE + count * ENTRY_SIZE + distance
        whole = record.align(length)
        self._write(bytes(whole - length))
        self.flush()
        last = bytes(table) + meta_bytes
        disk.write(self._fd, self.path, last, at)
        head = record.checked_head(tail, tid, count, len(meta_bytes), whole, status)
        checksum = self._checksum(crc32(head, tail.checksum), start, at + len(last))
        disk.write(self._fd, self.path, record.WORD.pack(checksum) + head, tail.end)
        self._move(whole, checksum, tid)
        return oids

    def _checksum(self, checksum: int, start: int, end: int) -> int:
        """Go on with a checksum over bytes that were written."""
        for at in range(start, end, _WRITE):
            data = disk.read_exactly(self._fd, self.path, at, min(_WRITE, end - at))
            checksum = crc32(data, checksum)
        return checksum

    def _move(self, length: int, checksum: int, tid: Tid) -> None:
        tail = self.tail
        self.tail = LogPlace(tail.end + length, tail.end, checksum, tail.sequence + 1, tid)

    def append_stream(self, source: BinaryIO) -> tuple[int, int]:
        """Append what *source* yields; return the key of the stream, and its size in bytes."""
        self.flush()
        offset = self.tail.end
        self.tail, size = copy_stream(self._fd, self.path, self.tail, source)
        self._written = self.tail.end
        self._sync_now_and_then()
        return stream_key(self._page.generation, offset), size

    def moved_stream(self, key: int, source: BinaryIO) -> int:
        """Return the key in this log of a stream of another; copy it if it is not there yet."""
        offset = stream_offset(key)
        known = self._streams_from
        place = bisect_left(known, offset)
        if place < len(known) and known[place] == offset:
            return self._streams_to[place]
        moved, _ = self.append_stream(source)
        known.insert(place, offset)
        self._streams_to.insert(place, moved)
        return moved

    def save_positions(self, names: NewNames) -> None:
        """Append the positions as they are now, and all *names*, for a quick opening."""
        tail, positions = self.tail, self.positions
        blocks = map(encode_block, positions.blocks())
        start, fill, after = encode_around(tail, positions, names, tail, blocks)
        self._write(start)
        for block in positions.blocks():
            self._write(encode_block(block))
        self._write(fill)
        self._saved, self.tail = tail.end, after

    def flush(self) -> None:
        """Write what was gathered."""
        data, self._parts, self._gathered = b"".join(self._parts), [], 0
        disk.write(self._fd, self.path, data, self._written)
        self._written += len(data)

    def sync(self) -> None:
        """Bring all to stable storage, owner and permissions too."""
        self.flush()
        with disk.named(self.path):
            os.fsync(self._fd)
        self._synced = self._written

    def complete(self) -> None:
        """Let all that was appended count, and bring it to stable storage."""
        self.flush()
        words = Words(self._fd, self.path)
        # With SAVED, INODE.
        words.put(SAVED, self._saved, inode_value(disk.status(self._fd, self.path).st_ino))
        # DURABLE, LOOSE, APPENDED and SYNCING.
        words.put(DURABLE, *[self.tail.end] * 4)
        self.sync()

    def hand_over(self) -> None:
        """Let others write to the file, which has come to its place for good."""
        self._file.unlock()

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
