"""The half of a log in PostgreSQL that reads it. Any thread.

What is applied is one transaction, the *head*: everything is read as of it, from a server that has
it. Nothing else is kept in memory but the names of classes and shapes.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, cast

import psycopg

from dobbin_like.contract import StoredVersion, Transaction
from dobbin_like.exc import (
    FormatVersionError,
    HistoryLostError,
    IntegrityError,
    NotALogError,
    ServerUnavailableError,
)
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.log.format.meta import decode_meta
from dobbin_like.name_tables import NameTables
from dobbin_like.storages.applied import Applied
from dobbin_like.storages.postgres.ahead import AHEAD_BYTES, Ahead
from dobbin_like.storages.postgres.at_head import rows_as_of
from dobbin_like.storages.postgres.cache import Cache
from dobbin_like.storages.postgres.caching import bring_up_to_date
from dobbin_like.storages.postgres.lines import Line, Lines
from dobbin_like.storages.postgres.tables import (
    CHUNK_SIZE,
    FORMAT,
    PostgresTransaction,
    PostgresVersion,
    Statements,
    array_text,
    refuse_empty,
    transaction_of_row,
)

_PAGE: Final = 1000
"""Transactions that are read at once by who reads the past."""

_MOST_EXISTING: Final = 100_000
"""Objects of which is kept that they are there: a few megabytes."""

_OBJECTS: Final = 100
"""Objects of a transaction that are read at once."""

_CREATE_TRIES: Final = 20
_CREATE_PAUSE_SECONDS: Final = 0.1

_NO_TABLES: Final = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)

_ALSO_CREATED: Final = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.InternalError,  # "tuple concurrently updated"
)
"""What one of two gets who create the same tables at the same moment."""


def news_in(
    path: str, head: PostgresTransaction, rows: Sequence[Sequence[Any]]
) -> list[PostgresTransaction]:
    """Return what follows *head* by the rows of the log from its position on.

    Raises:
        HistoryLostError: It is not there, or one does not follow the one before.
    """
    last = rows[0][1] if rows else None
    if last != head.id:
        raise HistoryLostError(path, head.sequence, "another one, or none")
    news = [transaction_of_row(row) for row in rows[1:]]
    for logged in news:
        if logged.previous != last:
            raise HistoryLostError(path, logged.sequence - 1, "another one")
        last = logged.id
    return news


class ReadablePostgres(Applied[PostgresTransaction]):
    """A log in PostgreSQL as its readers see it."""

    complete_since = NO_TID

    _cache: Cache | None = None

    def __init__(
        self,
        lines: Lines,
        schema: str,
        *,
        create: bool,
        read_only: bool,
        freshness: float,
        cache: str | None,
    ) -> None:
        self.path: str = lines.path
        self.read_only = read_only
        self._freshness = freshness
        self._known = 0  # Transactions that there are, as was seen last.
        self._asked_at = -math.inf  # When that was, by the monotonic clock, or before.
        self._lines = lines
        self._statements = Statements(schema)
        self._ahead = Ahead()
        self._existing: set[Oid] = set()  # Some of the objects that there are.
        store = self._open(create=create)
        self.sort_key: str = f"dobbin_like:{store.hex()}"
        self._head = transaction_of_row(self._one("head") or refuse_empty(self.path))
        self.names: NameTables = NameTables()
        for (meta,) in self._as_of(self._head, "names", self._head.sequence):
            self.names.update(*decode_meta(meta).names)
        if cache is not None:
            self._cache = Cache(cache, store)
            bring_up_to_date(self._cache, lines, self._statements, self._head, may_lag=read_only)

    def _open(self, *, create: bool) -> bytes:
        """Return the id of the log; create its tables if they are not there."""
        try:
            number, store = self._one("meta") or refuse_empty(self.path)
        except ServerUnavailableError as error:
            if not isinstance(error.__cause__, _NO_TABLES):
                raise
            if not create:
                raise NotALogError(self.path, "there are no tables of a log") from None
            self._lines.run(self._create)
            number, store = self._one("meta") or refuse_empty(self.path)
        if number != FORMAT:
            raise FormatVersionError(self.path, number, FORMAT)
        return bytes(store)

    def _create(self, line: Line) -> None:
        for attempt in range(_CREATE_TRIES):
            try:
                line.execute(self._statements.create(), prepare=False)  # One transaction.
            except _ALSO_CREATED:
                if attempt == _CREATE_TRIES - 1:
                    raise
                time.sleep(random.uniform(0, _CREATE_PAUSE_SECONDS))
            else:
                return

    # -- statements --------------------------------------------------------------

    def _all(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        text = self._statements[statement]
        return self._lines.run(lambda line: line.execute(text, parameters, binary=True).fetchall())

    def _one(self, statement: str, *parameters: object) -> tuple[Any, ...] | None:
        found = self._all(statement, *parameters)
        return found[0] if found else None

    def _as_of(
        self, head: PostgresTransaction, statement: str, *parameters: object
    ) -> list[tuple[Any, ...]]:
        lines, statements, may_lag = self._lines, self._statements, self.read_only
        return rows_as_of(lines, statements, head, statement, parameters, may_lag=may_lag)

    # -- news --------------------------------------------------------------------

    def has_news(self) -> bool:
        self._check_open()
        head = self._head  # Before: another thread may apply more meanwhile.
        if self._known > head.sequence:
            return True
        now = time.monotonic()
        if now < self._asked_at + self._freshness:
            return False
        count, id_ = self._one("newest") or refuse_empty(self.path)
        self._asked_at = now
        if id_ == head.id:
            return False
        if count < head.sequence:
            if self.read_only:
                return False  # A standby that lags behind the one that was read before.
            raise HistoryLostError(self.path, head.sequence, f"only {count} transactions")
        self._known = count
        return True

    def read_news(self) -> list[PostgresTransaction]:
        self._check_open()
        head = self._head
        # From the head itself on, by which is seen whether it is still there.
        rows = self._all("news", head.sequence)
        return [] if self.read_only and not rows else news_in(self.path, head, rows)

    def apply(self, news: Sequence[Transaction]) -> None:
        for logged in cast("Sequence[PostgresTransaction]", news):
            self._check_follows(logged.sequence)
            if not logged.failed:
                self.names.update(*logged.names)
            # Last: with the new tid, a reader finds the new versions.
            self._ahead.apply(logged, self._move_to)

    def _move_to(self, logged: PostgresTransaction) -> None:
        if not logged.failed:
            self._note_existing(logged.oids)
            if self._cache is not None:
                self._cache.note_changed(logged.oids)
        self._head = logged

    def _note_existing(self, oids: Iterable[Oid]) -> None:
        if len(self._existing) > _MOST_EXISTING:
            self._existing = set()
        self._existing.update(oids)

    # -- reading -----------------------------------------------------------------

    def has(self, oid: Oid) -> bool:
        self._check_open()
        head = self._head
        return 0 <= oid < head.next_oid and bool(self._as_of(head, "has", oid, head.tid))

    def load(self, oid: Oid, at: Tid | None = None) -> PostgresVersion | None:
        self._check_open()
        head = self._head
        if not 0 <= oid < head.next_oid:
            return None
        found = self._ahead.take(oid, at)
        if found is None and self._cache is not None:
            found = self._cache.load(oid, at)
        if found is None:
            found = self._version(head, oid, head.tid if at is None else min(at, head.tid))
        if found is not None:
            self._note_existing((oid,))
        return found

    def read_ahead(self, oids: Sequence[Oid]) -> None:
        """Read the newest versions of these objects in one round trip, but for large ones."""
        self._check_open()
        head, cache = self._head, self._cache
        if cache is not None:
            oids = [oid for oid in oids if not cache.has(oid)]
            if not oids:
                return
        rows = self._as_of(head, "load_many", array_text(oids), head.tid, AHEAD_BYTES)
        versions = {row[0]: PostgresVersion(*row[1:]) for row in rows}
        self._ahead.keep(versions, lambda: self._head is head)

    def version_before(self, oid: Oid, stored: StoredVersion) -> PostgresVersion | None:
        self._check_open()
        return self._version(self._head, oid, Tid(stored.tid - 1))

    def _version(self, head: PostgresTransaction, oid: Oid, at: Tid) -> PostgresVersion | None:
        rows = self._as_of(head, "load", oid, at)
        return PostgresVersion(*rows[0]) if rows else None

    def transactions(
        self, since: Tid = NO_TID, until: Tid | None = None, *, newest_first: bool = False
    ) -> Iterator[PostgresTransaction]:
        self._check_open()
        last = self.tid if until is None else min(until, self.tid)
        return self._pages(Tid(max(since, NO_TID)), last, newest_first=newest_first)

    def _pages(
        self, since: Tid, until: Tid, *, newest_first: bool
    ) -> Iterator[PostgresTransaction]:
        statement = "newest_first" if newest_first else "oldest_first"
        while rows := self._as_of(self._head, statement, since, until, _PAGE):
            page = [transaction_of_row(row) for row in rows]
            yield from page
            if len(page) < _PAGE:
                return
            if newest_first:
                until = Tid(page[-1].tid - 1)
            else:
                since = page[-1].tid

    def transaction_of(self, stored: StoredVersion) -> PostgresTransaction:
        self._check_open()
        rows = self._as_of(self._head, "of_tid", stored.tid)
        if not rows:
            raise IntegrityError(self.path, stored.tid, "no transaction", "one with this tid")
        return transaction_of_row(rows[0])

    def entries(self, transaction: Transaction) -> Iterator[tuple[Oid, PostgresVersion]]:
        self._check_open()
        oids, tid = () if transaction.failed else transaction.oids, transaction.tid
        for start in range(0, len(oids), _OBJECTS):
            wanted = oids[start : start + _OBJECTS]
            rows = self._as_of(self._head, "entries", array_text(wanted), tid)
            found = {oid: PostgresVersion(tid, number, data) for oid, number, data in rows}
            for oid in wanted:
                if oid not in found:
                    raise IntegrityError(self.path, tid, f"no version of oid {oid}", "one of it")
                yield Oid(oid), found[oid]

    # -- streams -----------------------------------------------------------------

    def stream_size(self, key: int) -> int:
        self._check_open()
        rows = self._as_of(self._head, "last_chunk", key)
        if not rows:
            raise IntegrityError(self.path, key, "nothing", "a stream")
        number, size = rows[0]
        return int(number * CHUNK_SIZE + size)

    def read_stream(self, key: int, start: int, size: int) -> bytes:
        self._check_open()
        start = max(start, 0)
        end = start + max(size, 0)
        rows = self._as_of(self._head, "chunks", key, start, end)
        if not rows:
            self.stream_size(key)  # Raises if there is none.
        return b"".join(chain.from_iterable(rows))
