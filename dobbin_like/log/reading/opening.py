"""What is applied when a file is opened: the saved positions, and all that is certain after them.

In the file of a packed log, it is what the instance had applied of the file before; the rest is
news. Read :mod:`dobbin_like.log.reading.readable` next.
"""

from __future__ import annotations

import logging
import weakref

from dobbin_like.exc import IntegrityError
from dobbin_like.ids import Tid
from dobbin_like.log.file import disk
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.words import Words
from dobbin_like.log.format.header import DURABLE, INODE, PAGE_SIZE, SAVED
from dobbin_like.log.reading.chain import certain_transactions, transactions_before_cut
from dobbin_like.log.reading.log_index import Applied
from dobbin_like.log.reading.reader import LoggedTransaction, ReadBuffer
from dobbin_like.log.reading.saved_positions import load_saved

__all__ = ["apply_certain", "read_packed"]

_logger = logging.getLogger(__name__)


def apply_certain(path: str, applied: Applied, words: Words) -> None:
    """Apply all up to DURABLE, from saved positions on.

    Raises:
        IntegrityError: It is damaged; or the file was cut, and is no copy.
    """
    _load_saved(applied, words, None)
    durable = words.find(DURABLE) or PAGE_SIZE
    size = disk.status(applied.file.fd, applied.file.path).st_size
    limit = durable
    if size < durable:
        if not _is_copy(applied.file, words):
            text = "the end of the file, which was cut"
            raise IntegrityError(path, size, text, f"at least {durable} bytes")
        _logger.warning("%s: a copy that was cut at %d of %d bytes", path, size, durable)
        limit = size
    place = applied.tail
    buffer = ReadBuffer(applied.file.fd, path)
    runs = certain_transactions(buffer, place, limit)
    if limit < durable:
        runs = transactions_before_cut(buffer, place, limit, durable)
    for run, after in runs:
        place = after
        applied.apply(path, run)
    if place.end != applied.tail.end:
        applied.move_to(place)


def _is_copy(file: LogFile, words: Words) -> bool:
    """Tell whether the file is a copy: it has another inode than the one that was written to."""
    return words.find(INODE) not in (None, 0, file.inode)


def read_packed(
    path: str, replaced: LogFile, seen: Tid
) -> tuple[Applied, list[LoggedTransaction]] | None:
    """Open the file at *path*, which has replaced another one, and read all of it.

    Args:
        seen: The tid of the newest transaction that is applied of the file that was replaced.

    Returns:
        What is applied of the new file, up to *seen*, and what is new. None: it is not there yet.

    Raises:
        OSError: It can't be opened.
    """
    file = LogFile(path, read_only=replaced.read_only, follows=replaced.follows)
    old = replaced.page
    try:
        file.open()
    except FileNotFoundError:
        return None
    page, words = file.page, file.words
    if page is None or words is None or old is None or page.store_id != old.store_id:
        return None
    if page.generation <= old.generation:  # The same file: the switch was not completed.
        return None
    applied = Applied(file)
    applied.attach(page)
    # Saved positions that are ahead of what is applied here would hide news: the log was
    # packed twice since. Then all of it is read.
    _load_saved(applied, words, seen)
    place = applied.tail
    news: list[LoggedTransaction] = []
    for run, after in certain_transactions(ReadBuffer(file.fd, path), place, words.visible()):
        place = after
        applied.apply(path, [logged for logged in run if logged.tid <= seen])
        news += [logged for logged in run if logged.tid > seen]
    passed = news[-1].end if news else applied.tail.end
    if place.end != passed:
        applied.pass_over(passed, place)
    return applied, news


def _load_saved(applied: Applied, words: Words, until: Tid | None) -> None:
    """Start with the saved positions of a file, unless they are ahead of *until*."""
    offset, page = words.find(SAVED), applied.file.page
    if not offset or page is None:
        return
    # What is not certain to be there has to be read frame by frame.
    size = disk.status(applied.file.fd, applied.file.path).st_size
    certain = min(words.find(DURABLE) or 0, size)
    # Weak: the last reference to an Applied closes its file, if that was replaced.
    lost = weakref.WeakMethod(applied.count_unsaved)
    saved = load_saved(applied.file, page.checksum, offset, certain, lost)
    if saved is not None and (until is None or saved[2].tid <= until):
        applied.positions, applied.names, tail = saved
        applied.positions.reserve(page.next_oid)
        applied.move_to(tail)
