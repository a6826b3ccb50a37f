"""Repairing the end of a log, whatever has happened to the machine or its disk.

There is one rule: a frame that is whole and chained is in the log; the log ends where no such
frame follows. It holds for power cuts, disks that went away and came back, failed syncs, copies,
and killed processes. DURABLE is a lower bound, and no other word is believed. Every step can be
repeated: if a process is killed between two of them, the next one does all of them again (I4).
Read :mod:`dobbin_like.log.writing.presence` next.
"""

from __future__ import annotations

import logging

from dobbin_like.log.file import disk
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.words import Words
from dobbin_like.log.format.header import (
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
    WordValues,
    decode_words,
)
from dobbin_like.log.format.record import LEAST_SIZE
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.writing.syncing import write_again

__all__ = ["recover"]

_logger = logging.getLogger(__name__)


def recover(log: ReadableLog) -> None:
    """Find the end of the log, make all before it durable, and let the words say so.

    What is after the end is cut off. Applies nothing.

    Requires: Commit lock and sync lock.

    Raises:
        IntegrityError: What was durable, or was read before, is damaged or gone. Nothing was cut.
        OSError: Writing or syncing failed.
    """
    file, words = log.file, log.file.words
    assert words is not None
    size = disk.status(file.fd, file.path).st_size
    end = log.find_end(words, size)
    said = decode_words(words.all())
    durable = min(said.durable or PAGE_SIZE, end)
    rest = log.rest(end, size)
    if _is_right(file, said, end) and not rest:
        return
    if rest:
        _logger.warning(
            "%s: %d bytes behind the last transaction are cut off", log.path, size - end
        )
        disk.cut(file.fd, file.path, end)
    write_again(file, durable, end)
    is_named = said.state not in (UNNAMED, None)
    if not is_named:  # The header page, too, may not be on stable storage.
        write_again(file, 0, WORDS_OFFSET)
    # The system may have dropped pages of a failed sync before they were written again: look
    # once more. What is written by now stays.
    certain = log.find_end(words, end)
    if certain < end:
        end = certain
        disk.cut(file.fd, file.path, end)
    try:
        disk.sync(file.fd, file.path)
    except disk.DiskError:
        # A thread may wait to sync what is lost now, and would not notice.
        words.put(FAILURES, (said.failures or 0) | 1)
        raise
    if not is_named:
        disk.sync_directory(file.path)
    _store(words, said, file, end)


def _is_right(file: LogFile, said: WordValues, end: int) -> bool:
    return (
        said.durable == said.appended == said.syncing == end
        and said.loose is not None
        and said.loose <= end
        and said.failures is not None
        and not said.failures & 1
        and said.state == USUAL
        and said.saved is not None
        and said.inode == file.inode
    )


def _store(words: Words, said: WordValues, file: LogFile, end: int) -> None:
    # LOOSE, which may have been ahead of the disk, before DURABLE: readers take the greater one.
    if said.appended is not None and said.appended > end:
        file.gone = (said.appended - end) // LEAST_SIZE
    words.put(LOOSE, end, end)
    words.put(DURABLE, end)
    words.put(SYNCING, end)
    words.put(STATE, USUAL)
    words.put(INODE, file.inode)
    if said.saved is None or said.saved >= end:
        words.put(SAVED, 0)
    # Last: as long as it is odd, no instance commits.
    if said.failures is None or said.failures & 1:
        words.put(FAILURES, (said.failures or 1) + 1)
