"""Writing a log from its first frame to its last, without a lock: no other program knows it yet.

Knows nothing of damage and objects.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import BinaryIO, Final

from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.log.file import disk
from dobbin_like.log.format import record
from dobbin_like.log.format.header import (
    ASIDE,
    ASIDE_END,
    COMMITTED,
    DURABLE,
    PAGE_SIZE,
    SAVED,
    boot_number,
    encode_page,
    raw_word,
)
from dobbin_like.log.format.record import LogPlace, Meta
from dobbin_like.log.reading.positions import Positions
from dobbin_like.log.reading.saved_positions import append_saved
from dobbin_like.log.reading.streams import copy_stream
from dobbin_like.name_tables import NameTables

_BUFFERED: Final = 1 << 20


class NewLog:
    """A log that is being written to an empty file. One thread.

    ``classes`` and ``positions`` are as of the last transaction.

    Args:
        complete_since: The tid since which every version is in it.
        next_oid: Oids below it are not given to new objects.
    """

    def __init__(self, fd: int, path: str, complete_since: int, next_oid: int) -> None:
        self.classes = NameTables()
        self.positions = Positions()
        self.positions.reserve(next_oid)
        self._fd = fd
        self._path = path
        self._parts: list[bytes] = []
        self._buffered = 0
        now_microseconds = time.time_ns() // 1000  # noqa: TID251  for people who look at the file
        boot = boot_number()
        page, fields = encode_page(
            os.urandom(16),
            now_microseconds,
            boot,
            complete_since=complete_since,
            next_oid=next_oid,
        )
        disk.write(fd, path, page, 0)
        self.tail = LogPlace(PAGE_SIZE, 0, fields.checksum, 0, NO_TID)

    def add(
        self, tid: Tid, entries: Sequence[tuple[Oid, int, bytes]], meta: Meta, *, failed: bool
    ) -> None:
        """Append a transaction. Raises OSError: the disk is full, or the like."""
        status = record.FAILED if failed else record.COMMITTED
        data, checksum = record.encode_transaction(
            self.tail, tid, entries, self.positions.get, meta, status
        )
        start = self.tail.end
        self.tail = LogPlace(start + len(data), start, checksum, self.tail.sequence + 1, tid)
        self._parts.append(data)
        self._buffered += len(data)
        if self._buffered >= _BUFFERED:
            self._flush()
        if failed:
            return
        self.classes.update(*meta.names)
        if entries:
            oids = [oid for oid, _, _ in entries]
            self.positions.update(oids, max(oids), start + record.TRANSACTION_SIZE)

    def add_stream(self, source: BinaryIO) -> int:
        """Append a stream; return its offset. Raises OSError."""
        self._flush()
        offset = self.tail.end
        self.tail, _ = copy_stream(self._fd, self._path, self.tail, source)
        return offset

    def end(self) -> None:
        """Save the positions, and commit everything. The file is not synced yet."""
        self._flush()
        saved = 0
        if self.positions.stored:
            saved = self.tail.end
            self.tail = append_saved(
                self._fd, self._path, self.tail, self.positions, self.classes, self.tail
            )
        end = self.tail.end
        aside_end = end if saved else 0
        words = (SAVED, saved), (ASIDE, saved), (ASIDE_END, aside_end)
        for index, value in (*words, (DURABLE, end), (COMMITTED, end)):
            word = raw_word(index, value).to_bytes(8, sys.byteorder)
            disk.write(self._fd, self._path, word, index * 8)

    def _flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            disk.write(self._fd, self._path, data, self.tail.end - len(data))
            self._parts = []
            self._buffered = 0
