"""Bringing a local cache to where the log in PostgreSQL is, when the log is opened."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Final

import psycopg

from dobbin_like.exc import ServerUnavailableError
from dobbin_like.storages.postgres.cache import Cache, Place, Row
from dobbin_like.storages.postgres.lines import Line, Lines
from dobbin_like.storages.postgres.tables import PostgresTransaction, Statements

_logger = logging.getLogger(__name__)

_ROWS: Final = 1000
"""Rows that the client takes over at once."""

_BLOCK_BYTES: Final = 4 << 20
_BLOCK_ROWS: Final = 10_000


def bring_up_to_date(
    cache: Cache, lines: Lines, statements: Statements, head: PostgresTransaction
) -> None:
    """Compare a cache with the server, and let it have all versions up to *head*.

    If another process is at it, that is left to it; what the cache lacks is not loaded from it.

    Raises:
        ServerUnavailableError: The server can't be reached.
    """
    _compare(cache, lines, statements, head)
    if cache.writable and cache.place.position < head.sequence:
        try:
            lines.run(partial(_copy, cache, statements, head))
        except ServerUnavailableError:
            raise
        except OSError as error:  # The disk is full, or the like.
            _logger.warning("%s is not brought up to date: %s", cache.path, error)
    place = cache.place
    if 0 < place.position < head.sequence:
        since = place.position, head.sequence
        rows = lines.run(
            lambda line: line.execute(statements["changed"], since, binary=True).fetchall()
        )
        for (oids,) in rows:
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
    ask = statements["at"]
    row = lines.run(lambda line: line.execute(ask, (place.position,), binary=True).fetchone())
    if row is None or row[1] != place.id or place.position > head.sequence:
        text = "%s is discarded: %s does not have its transaction %d"
        _logger.warning(text, cache.path, lines.path, place.position)
        cache.discard()


def _copy(cache: Cache, statements: Statements, head: PostgresTransaction, line: Line) -> None:
    """Append all versions behind the place of the cache, up to *head*. May be repeated."""
    cache.begin()
    rows: list[Row] = []
    size = 0
    for row in _versions(line, statements, cache.place, head):
        rows.append(row)
        size += len(row[3])
        if size > _BLOCK_BYTES or len(rows) == _BLOCK_ROWS:
            cache.add(rows)
            rows, size = [], 0
    cache.add(rows, Place(head.sequence, head.tid, head.id))


def _versions(
    line: Line, statements: Statements, place: Place, head: PostgresTransaction
) -> Iterator[Row]:
    text, until = statements["versions_between"], [place.position, head.sequence]
    if not place.position:  # In the order in which they lie: no index is asked.
        text, until = statements["versions"], [head.tid]
    at_once = _ROWS if psycopg.capabilities.has_stream_chunked() else 1
    with line.cursor() as cursor:
        yield from cursor.stream(text, until, binary=True, size=at_once)
