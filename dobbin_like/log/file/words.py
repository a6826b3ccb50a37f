"""The words of a header page as all processes share them, and the number of this boot.

Which words there are, and how they are checked, is told in :mod:`dobbin_like.log.format.header`.
"""

from __future__ import annotations

import mmap
import os
import time
from hashlib import blake2b
from pathlib import Path
from typing import Final

from dobbin_like.log.format.header import (
    COMMITTED,
    PAGE_SIZE,
    RETIRED,
    Page,
    encode_page,
    raw_word,
    word_value,
)

__all__ = ["Words", "boot_number", "new_page"]

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_number(path: Path = _BOOT_ID) -> int:
    """Return a number that changes when the machine starts anew; 0 where nothing tells."""
    try:
        text = path.read_bytes()
    except OSError:
        return 0
    return int.from_bytes(blake2b(text.strip(), digest_size=6).digest(), "little")


def new_page(boot: int, complete_since: int = 0, next_oid: int = 0) -> tuple[bytes, Page]:
    """Return the header page of a new log, with an identity of its own, and what it says."""
    # For people who look at the file; nothing is decided by it.
    now_microseconds = time.time_ns() // 1000  # noqa: TID251
    return encode_page(os.urandom(16), now_microseconds, boot, 0, complete_since, next_oid)


class Words:
    """The words of one log, through a mapping of its header page.

    Any thread may read. COMMITTED, DURABLE, SAVED, ASIDE, ASIDE_END, BOOT, REDO and REDO_BASE
    are written by the holder of the commit lock, but for DURABLE at the end of an instance that
    does not sync; TURN and the slots are hints for :mod:`dobbin_like.log.file.lock` and anybody's.

    ``view`` gives raw words by index; an item is one access of 8 aligned bytes.
    """

    def __init__(self, fd: int, *, writable: bool) -> None:
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self._map = mmap.mmap(fd, PAGE_SIZE, access=access)
        self._bytes = memoryview(self._map)
        self.view = self._bytes.cast("Q")

    def get(self, index: int) -> int | None:
        """Return the value of a word, None if it can't be believed."""
        return word_value(index, self.view[index])

    def put(self, index: int, value: int) -> None:
        """Store a value, whole, for all processes."""
        self.view[index] = raw_word(index, value)

    def retire(self) -> None:
        """Tell all who look at COMMITTED to look at the path for another file."""
        self.view[COMMITTED] = raw_word(RETIRED, self.get(COMMITTED) or 0)

    def close(self) -> None:
        """Give the mapping back; a reader that comes too late gets ValueError."""
        self.view.release()
        self._bytes.release()
        self._map.close()
