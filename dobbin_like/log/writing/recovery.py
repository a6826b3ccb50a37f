"""Putting the end of a log right, after whatever has happened to the machine or its disk.

There is one rule: a frame that is whole and chained is there; the log ends where no such
frame follows. It holds for power cuts, disks that went away and came back, syncs that failed,
copies, and processes that were killed. DURABLE is a lower bound, and no other word is believed.
Every step can be repeated: killed between two of them, the next one does it again (I4).
Read :mod:`dobbin_like.log.writing.presence` next.
"""

from __future__ import annotations

import logging
import os

from dobbin_like.log.file import disk
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.words import Words, value_in
from dobbin_like.log.format.header import (
    APPENDED,
    DURABLE,
    FAILURES,
    INODE,
    LOOSE,
    PAGE_SIZE,
    SAVED,
    STATE,
    SYNCING,
    UNNAMED,
    USUAL,
    WORDS_OFFSET,
)
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.writing.syncing import write_again

__all__ = ["recover"]

_logger = logging.getLogger(__name__)


def recover(log: ReadableLog) -> None:
    """Find the end of the log, make all before it durable, and let the words say so.

    What lies behind the end is cut off. Applies nothing.

    Requires: Commit lock and sync lock.

    Raises:
        IntegrityError: What was durable, or was read before, is damaged or gone. Nothing was cut.
        OSError: Writing or syncing failed.
    """
    file, words = log.file, log.file.words
    assert words is not None
    size = os.fstat(file.fd).st_size
    end = log.find_end(words, size)
    block = words.all()
    durable = min(value_in(block, DURABLE) or PAGE_SIZE, end)
    rest = log.rest(end, size)
    if _is_right(file, block, end) and not rest:
        return
    if rest:
        _logger.warning(
            "%s: %d bytes behind the last transaction are cut off", log.path, size - end
        )
        disk.cut(file.fd, file.path, end)
    write_again(file, durable, end)
    is_named = value_in(block, STATE) not in (UNNAMED, None)
    if not is_named:  # Nor is it known that the header page was brought to stable storage.
        write_again(file, 0, WORDS_OFFSET)
    # The system may have dropped lost pages since they were read. What is written now stays.
    certain = log.find_end(words, end)
    if certain < end:
        end = certain
        disk.cut(file.fd, file.path, end)
    try:
        disk.sync(file.fd, file.path)
    except OSError:
        # Somebody may be waiting to sync what is lost now, and would not be told.
        words.put(FAILURES, (value_in(block, FAILURES) or 0) | 1)
        raise
    if not is_named:
        disk.sync_directory(file.path)
    _store(words, block, file, end)


def _is_right(file: LogFile, block: bytes, end: int) -> bool:
    loose, failures = value_in(block, LOOSE), value_in(block, FAILURES)
    return (
        value_in(block, DURABLE) == value_in(block, APPENDED) == value_in(block, SYNCING) == end
        and loose is not None
        and loose <= end
        and failures is not None
        and not failures & 1
        and value_in(block, STATE) == USUAL
        and value_in(block, SAVED) is not None
        and value_in(block, INODE) == file.inode
    )


def _store(words: Words, block: bytes, file: LogFile, end: int) -> None:
    # LOOSE, which may have been ahead of the disk, before DURABLE: readers take the greater one.
    words.put(LOOSE, end, end)
    words.put(DURABLE, end)
    words.put(SYNCING, end)
    words.put(STATE, USUAL)
    words.put(INODE, file.inode)
    saved = value_in(block, SAVED)
    if saved is None or saved >= end:
        words.put(SAVED, 0)
    # Last: as long as it is odd, nobody commits.
    failures = value_in(block, FAILURES)
    if failures is None or failures & 1:
        words.put(FAILURES, (failures or 1) + 1)
