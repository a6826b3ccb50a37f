"""A new log that holds one state: written whole, before anybody reads it.

It is a log of its own, with a store id of its own; oids, tids and the numbers of classes are those
of the log that the state is of. Knows no object.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, BinaryIO

from dobbin_like.ids import Tid
from dobbin_like.log.copies.new_log import Entries, NewLog
from dobbin_like.log.file import disk
from dobbin_like.log.file.new_file import NewFile
from dobbin_like.log.format.header import boot_number, encode_page
from dobbin_like.log.reading.reader import LoggedTransaction
from dobbin_like.log.reading.streams import copy_stream, stream_key

if TYPE_CHECKING:
    from dobbin_like.contract import NewNames

__all__ = ["SnapshotLog"]


class SnapshotLog(NewLog):
    """The log in *file*, which is empty; one thread.

    Args:
        tid: Of the state: what was before is not there.
        next_oid: The oids below it are never given out in it.
    """

    def __init__(self, file: NewFile, tid: Tid, next_oid: int) -> None:
        self.fd, self.path, self.generation = file.fd, file.path, 0
        self.attempt = 0  # Instead of what a packed log begins with.
        # For people who look at the file; nothing is decided by it.
        now_microseconds = time.time_ns() // 1000  # noqa: TID251
        boot = boot_number()
        data, self._page = encode_page(os.urandom(16), now_microseconds, boot, 0, tid, next_oid)
        disk.write(self.fd, self.path, data, 0)
        self.restart(next_oid)

    def append_stream(self, source: BinaryIO) -> tuple[int, int]:
        """Store what *source* yields; return its key and its size in bytes.

        Raises:
            OSError: Writing failed, or reading did.
        """
        self.flush()
        offset = self.tail.end
        self.tail, size = copy_stream(self.fd, self.path, self.tail, source)
        self._written = self.tail.end
        return stream_key(self.generation, offset), size

    def append_state(
        self, tid: Tid, entries: Entries, count: int, size: int, names: NewNames, note: str
    ) -> None:
        """Append *count* objects as one transaction.

        Args:
            size: Of their states, in bytes.
            note: The description of the transaction.

        Raises:
            OSError: Writing failed.
            struct.error: They are too many, or too big, for one transaction.
        """
        at = self.tail.end
        logged = LoggedTransaction(
            tid, at, at + size, 0, False, "", note, b"", "", (), 0, names, 0
        )
        self.append(logged, entries, names, count)
