"""The half of a log in PostgreSQL that reads it. Any thread.

What is applied is one transaction, the *head*: everything is read as of it, from a server that has
it. Nothing else is kept in memory but the names of classes and shapes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final, cast

from dobbin_like.contract import StoredVersion, Transaction
from dobbin_like.exc import (
    HistoryLostError,
    IntegrityError,
    PastDroppedError,
    SnapshotDroppedError,
    StreamMovedError,
)
from dobbin_like.ids import DELTA, NO_TID, Oid, Tid
from dobbin_like.log.format.meta import decode_meta
from dobbin_like.name_tables import NameTables
from dobbin_like.storages.head import StorageWithHead
from dobbin_like.storages.postgres.ahead import AHEAD_BYTES, Ahead
from dobbin_like.storages.postgres.at_head import rows_as_of
from dobbin_like.storages.postgres.cache.cache_file import Cache
from dobbin_like.storages.postgres.cache.update import bring_up_to_date
from dobbin_like.storages.postgres.creation import find_tables
from dobbin_like.storages.postgres.lines import Lines
from dobbin_like.storages.postgres.packs.existing import Existing
from dobbin_like.storages.postgres.packs.pins import Pins
from dobbin_like.storages.postgres.tables import (
    CHUNK_SIZE,
    PostgresTransaction,
    PostgresVersion,
    Statements,
    array_text,
    refuse_empty,
    transaction_of_row,
)
from dobbin_like.storages.postgres.wire import exchange

_PAGE: Final = 1000
"""Transactions that are read at once when the past is read."""

_OBJECTS: Final = 100
"""Objects of a transaction that are read at once."""


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


class ReadablePostgres(StorageWithHead[PostgresTransaction]):
    """A log in PostgreSQL as its readers see it."""

    retired = has_past = False  # A pack leaves everything in its place.

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
        self._existing = Existing()
        self._pins = Pins(lines, self._statements, read_only=read_only)
        self.names: NameTables = NameTables()
        try:
            self._read_head(cache, create=create)
        except BaseException:
            self._close_reading()
            raise

    def _read_head(self, cache: str | None, *, create: bool) -> None:
        """Find the log, and read what there is to be known of its last transaction."""
        store = find_tables(self._lines, self._statements, create=create)
        self.sort_key: str = f"dobbin_like:{store.hex()}"
        if cache is not None:  # Before the head: it may be up to what is just committed.
            self._cache = Cache(cache, store)
        head = transaction_of_row(self._one("head") or refuse_empty(self.path))
        self._head = head
        for (meta,) in self._as_of(head, "names", head.sequence):
            self.names.update(*decode_meta(meta).names)
        due = self._as_of(head, "due", head.sequence)
        self._existing.apply((), [oid for (oid,) in due])
        if self._cache is not None:
            rest = self._lines, self._statements, head
            bring_up_to_date(self._cache, *rest, may_lag=self.read_only)

    def _close_reading(self) -> None:
        """Close the cache and the connections."""
        if self._cache is not None:
            self._cache.close()
        self._lines.close()

    # -- statements --------------------------------------------------------------

    def _all(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        text = self._statements[statement]
        return self._lines.run(lambda line: line.execute(text, parameters, binary=True).fetchall())

    def _one(self, statement: str, *parameters: object) -> tuple[Any, ...] | None:
        found = self._all(statement, *parameters)
        return found[0] if found else None

    def _as_of(
        self,
        head: PostgresTransaction,
        statement: str,
        *parameters: object,
        asked: Tid | None = None,
    ) -> list[tuple[Any, ...]]:
        rest = self._lines, self._statements, head, statement, parameters
        try:
            return rows_as_of(*rest, may_lag=self.read_only, asked=asked)
        except SnapshotDroppedError:
            self._asked_at = -math.inf  # The next begin() has to know of the pack.
            raise

    def _since_now(self) -> Tid:
        """Return since when the past is whole, on the server."""
        return Tid((self._one("since") or refuse_empty(self.path))[0])

    # -- news --------------------------------------------------------------------

    def has_news(self) -> bool:
        return self._has_news(self._freshness)

    def _has_news(self, freshness: float) -> bool:
        """Return whether there is news; without asking, if that was done so short ago."""
        self._check_open()
        head = self._head  # Before: another thread may apply more meanwhile.
        if self._known > head.sequence:
            return True
        now = time.monotonic()
        # Without freshness, the answer to another thread is none: it may not be noted yet.
        if freshness and now < self._asked_at + freshness:
            return False
        count, id_ = self._newest()
        self._asked_at = now
        if id_ == head.id:
            return False
        if count < head.sequence:
            if self.read_only:
                return False  # A standby that lags behind the one that was read before.
            raise HistoryLostError(self.path, head.sequence, f"only {count} transactions")
        self._known = count
        return True

    def _newest(self) -> tuple[int, bytes]:
        """Return the position and the id of the last transaction that there is."""
        call = self._statements.call("newest")
        # Every begin asks. A cursor of psycopg would take as long as the server.
        [result] = self._lines.run(lambda line: exchange(line, [call]))
        if not result.ntuples:
            refuse_empty(self.path)
        return int.from_bytes(result.get_value(0, 0), "big"), bytes(result.get_value(0, 1))

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
            self._existing.apply(logged.oids, logged.dropped)
            if self._cache is not None:
                self._cache.note_changed((*logged.oids, *logged.dropped))
        self._head = logged

    # -- packs -------------------------------------------------------------------

    @property
    def complete_since(self) -> Tid:
        return self._head.complete_since

    @property
    def generation(self) -> int:
        return self._head.generation

    def drop_generations(self, oldest: Tid | None) -> None:
        """Nothing: what a pack drops is gone."""

    def pin(self, tid: Tid) -> object:
        self._check_open()
        return self._pins.pin(tid)

    def unpin(self, token: object) -> None:
        if not self.closed:
            self._pins.unpin(token)

    def reaches(self, tid: Tid) -> bool:
        return tid >= self.complete_since

    def place_of(self, oid: Oid) -> int:
        """Return a number in the order of the table."""
        return oid + 1 if 0 <= oid < self.next_oid else 0

    def load_dropped(self, oid: Oid, at: Tid) -> StoredVersion | None:
        return None  # What a pack keeps, load() finds.

    def is_dropped(self, oid: Oid) -> bool:
        return self._existing.is_dropped(oid)

    def _is_gone(self, oid: Oid, at: Tid | None = None) -> bool:
        """Return whether there is nothing of an object as of *at*, deleted or still to be."""
        return self._existing.is_dropped(oid) and (at is None or at >= self.complete_since)

    def stream_is_moved(self, key: int) -> bool:
        """Return False: streams keep their keys."""
        return False

    def _check_whole(self, since: Tid, now: Tid) -> None:
        """Raise PastDroppedError if a pack that is not applied has dropped what is after *since*.

        Args:
            now: Since when the past is whole, on the server.
        """
        if now > max(since, self.complete_since):
            raise PastDroppedError(self.path, since, now)

    # -- reading -----------------------------------------------------------------

    def has(self, oid: Oid) -> bool:
        self._check_open()
        head = self._head
        if not 0 <= oid < head.next_oid or self._is_gone(oid):
            return False
        return bool(self._as_of(head, "has", oid, head.tid, asked=head.tid))

    def load(self, oid: Oid, at: Tid | None = None) -> PostgresVersion | None:
        self._check_open()
        head = self._head
        if not 0 <= oid < head.next_oid or self._is_gone(oid, at):
            return None
        found = self._ahead.take(oid, at)
        if found is None and self._cache is not None:
            found = self._cache.load(oid, at)
        if found is None:
            tid = head.tid if at is None else min(at, head.tid)
            found = self._version(head, oid, tid, asked=tid)
        if found is not None:
            self._existing.note((oid,))
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
        # A change of another version is not the first.
        asked = Tid(stored.tid - 1) if stored.number & DELTA else None
        return self._version(self._head, oid, Tid(stored.tid - 1), asked=asked)

    def _version(
        self, head: PostgresTransaction, oid: Oid, at: Tid, *, asked: Tid | None
    ) -> PostgresVersion | None:
        rows = self._as_of(head, "load", oid, at, asked=asked)
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
        while True:
            whole = max(since, self.complete_since)
            try:
                rows = self._as_of(self._head, statement, since, until, _PAGE, asked=whole)
            except SnapshotDroppedError:
                rows = []
                self._check_whole(since, self._since_now())
            now = Tid(rows[-1][-1]) if rows else NO_TID
            page = [transaction_of_row(row[:-1]) for row in rows]
            if now > max(since, self.complete_since):
                if newest_first:  # The pack has left these alone, and some want no more.
                    yield from (logged for logged in page if logged.tid >= now)
                raise PastDroppedError(self.path, since, now)
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
            self._check_whole(Tid(stored.tid - 1), self._since_now())
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
                if self._existing.is_dropped(oid) and tid <= self.complete_since:
                    continue
                if oid in found:
                    yield Oid(oid), found[oid]
                elif tid > self.complete_since:  # Else a pack has not come to the row yet.
                    self._check_whole(Tid(tid - 1), self._since_now())
                    raise IntegrityError(self.path, tid, f"no version of oid {oid}", "one of it")

    # -- streams -----------------------------------------------------------------

    def stream_size(self, key: int) -> int:
        self._check_open()
        rows = self._as_of(self._head, "last_chunk", key)
        if not rows:
            if self._since_now() > self.complete_since:
                raise SnapshotDroppedError(self.path, self.tid)
            if self.generation:
                raise StreamMovedError(self.path, key)
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
