"""Logs with a redo area, and what is left where the machine has forgotten the log itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dobbin_like.ids import Oid, Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.format import header, record
from tests.helpers.log_files import with_words

if TYPE_CHECKING:
    from pathlib import Path

    from dobbin_like.log.reading.redo import Area

History = list[tuple[int, bool]]
"""(tid, failed) of the transactions in a log, oldest first."""


def open_log(path: Path, *, image: int = 4000, after: int = 1, **options: Any) -> TransactionLog:
    log = TransactionLog(path, **options)
    log._writing.writer.synced.image_bytes = image + record.IMAGE_SIZE & ~7
    log._writing.writer.synced.area_after_syncs = after
    return log


def commit(log: TransactionLog, data: bytes, oid: int = 0) -> int:
    log.acquire()
    try:
        log.apply(log.read_news())
        logged = log.append(Tid(log.tid + 1), [(Oid(oid), 1, data)])
        log.apply([logged])
    finally:
        log.release()
    return logged.tid


def words_of(log: TransactionLog) -> dict[str, int | None]:
    words = log._reading.file.words
    assert words is not None
    return {name: words.get(getattr(header, name)) for name in ("DURABLE", "REDO", "REDO_BASE")}


def area_of(log: TransactionLog) -> Area:
    """Return the redo area as its writer has found it."""
    area = log._writing.writer.synced._area
    assert area is not None
    return area


def with_area(path: Path, **options: Any) -> TransactionLog:
    """Return an open log with a redo area and no commit after it."""
    log = open_log(path, **options)
    commit(log, b"first")
    assert words_of(log)["REDO"]
    return log


def history(path: Path, **options: Any) -> History:
    """Return what is in a log, after every state and stream in it has been read."""
    with TransactionLog(path, **options) as log:
        logged = list(log.transactions())
        for entry in logged:
            for oid, stored in log.entries(entry):
                if not entry.failed:
                    assert log.load(oid, entry.tid) == stored
                    if stored.data.startswith(b"stream "):
                        offset, size = map(int, stored.data.split()[1:])
                        assert log.read_stream(offset, 0, size) == b"x" * size
        assert len(log) == len(logged)
        return [(entry.tid, entry.failed) for entry in logged]


def lose_log_from(data: bytes, offset: int) -> bytes:
    """Return a log of which the machine has forgotten what was appended from *offset* on."""
    return with_words(data[:offset], BOOT=1)
