"""Bringing a local cache to where the log in PostgreSQL is, when the log is opened."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final

import psycopg

from dobbin_like.exc import ServerUnavailableError
from dobbin_like.storages.postgres.at_head import LEAST_SECONDS, rows_as_of, wait_for
from dobbin_like.storages.postgres.cache.cache_file import Cache, Place, Row
from dobbin_like.storages.postgres.lines import Line, Lines
from dobbin_like.storages.postgres.tables import PostgresTransaction, Statements

_logger = logging.getLogger(__name__)

_ROWS: Final = 1000
"""Rows that the client takes over at once."""

_BLOCK_BYTES: Final = 4 << 20


def bring_up_to_date(
    cache: Cache,
    lines: Lines,
    statements: Statements,
    head: PostgresTransaction,
    *,
    may_lag: bool,
) -> None:
    """Compare a cache with the server, and let it have all versions up to *head*.

    If another process is at it, that is left to it; what the cache lacks is not loaded from it.

    Args:
        may_lag: The server may be a standby.

    Raises:
        ServerUnavailableError: The server can't be reached, or does not have *head* yet.
        HistoryLostError: It does not have it.
    """
    _compare(cache, lines, statements, head)
    if cache.writable and cache.place.position < head.sequence:
        try:
            until = time.monotonic() + LEAST_SECONDS
            while not lines.run(partial(_copy, cache, statements, head)):
                wait_for(lines, statements, head, until if may_lag else None)
        except OSError as error:  # The disk is full, or the like.
            if error.errno is None or isinstance(error, ServerUnavailableError):
                raise
            _logger.warning("%s is not brought up to date: %s", cache.path, error)
    place = cache.place
    if 0 < place.position < head.sequence:
        since = place.position, head.sequence
        for (oids,) in rows_as_of(lines, statements, head, "changed", since, may_lag=may_lag):
            cache.note_changed(oids)
    if cache.writable:
        cache.unlock()


def _compare(
    cache: Cache, lines: Lines, statements: Statements, head: PostgresTransaction
) -> None:
    """Discard what is not the beginning of the log up to *head*."""
    place = cache.place
    if not place.position:
        return
    ask, wanted = statements["since_place"], {"at": place.position, "until": head.sequence}
    row = lines.run(lambda line: line.execute(ask, wanted, binary=True).fetchone())
    # A gap may be the place of a pack of long ago, which told what it had dropped.
    if row != (place.id, True) or place.position > head.sequence:
        text = "%s is discarded: %s does not have its transaction %d, or not all that follow"
        _logger.warning(text, cache.path, lines.path, place.position)
        cache.discard()


def _copy(cache: Cache, statements: Statements, head: PostgresTransaction, line: Line) -> bool:
    """Append all versions behind the place of the cache, up to *head*. May be repeated.

    Returns:
        Whether it was done: not, if the server does not have *head*.
    """
    cache.begin()
    with line.transaction():  # A pool does not lead to another server in it.
        line.execute("set local statement_timeout = 0", prepare=False)
        row = line.execute(statements["at"], (head.sequence,), binary=True).fetchone()
        if row is None or row[1] != head.id:
            return False
        versions = _versions(line, statements, cache.place, head)
        while rows := list(islice(versions, _ROWS)):
            for block in _blocks(rows):
                cache.add(block)
    cache.add((), Place(head.sequence, head.tid, head.id))
    return True


def _blocks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Divide rows, so that what is written at once is not large, unless one of them is."""
    sizes = [len(row[3]) for row in rows]
    if sum(sizes) <= _BLOCK_BYTES:
        yield rows
        return
    begin = size = 0
    for at, each in enumerate(sizes):
        if size and size + each > _BLOCK_BYTES:
            yield rows[begin:at]
            begin, size = at, 0
        size += each
    yield rows[begin:]


def _versions(
    line: Line, statements: Statements, place: Place, head: PostgresTransaction
) -> Iterator[Row]:
    text = statements["versions_between"]
    until = {"after": place.position, "until": head.sequence, "tid": head.tid}
    if not place.position:  # In the order in which they lie: no index is asked.
        text = statements["versions"]
    at_once = _ROWS if psycopg.capabilities.has_stream_chunked() else 1
    with line.cursor() as cursor:
        yield from cursor.stream(text, until, binary=True, size=at_once)
