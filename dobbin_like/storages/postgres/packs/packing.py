"""The steps of a pack of a log in PostgreSQL, each one transaction of the server.

What is dropped is decided elsewhere. The order makes it safe, also if it ends after any of them:

1. :meth:`Packing.announce` appends a row to the log, in turn, as a commit does. From then on the
   past is told to be whole only since the *cut*, the last transaction up to the tid that is kept,
   and the objects that the row names are not there any more: a commit follows the newest row, and
   whoever commits behind it knows what is gone. All at once: a commit that takes up one of them
   may take up what that refers to.
2. :meth:`Packing.drop_objects` deletes them, and :meth:`Packing.drop_versions` the versions that
   no snapshot since the cut sees. Only whole objects, or the oldest versions of one: whoever finds
   a version has found the right one. Until all objects are deleted, the row says that it is
   ``due``, so that a process that opens the log meanwhile knows of them, too.
3. :meth:`Packing.drop_streams` and :meth:`Packing.thin_out` take away what nothing refers to
   any more.

Nothing but the generation of the newest row keeps two packs apart; that one waits for the other
to end is only told earlier by a lock.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.pq import TransactionStatus

from dobbin_like.contract import NO_NAMES
from dobbin_like.exc import PackRunningError, ServerUnavailableError
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.log.format.meta import Meta, encode_meta
from dobbin_like.storages.postgres.lines import Line, Lines, discard, reason_of
from dobbin_like.storages.postgres.offers import commit
from dobbin_like.storages.postgres.packs.pins import Pins
from dobbin_like.storages.postgres.packs.statements import TEXTS
from dobbin_like.storages.postgres.reading import news_in
from dobbin_like.storages.postgres.tables import (
    PostgresTransaction,
    PostgresVersion,
    Statements,
    array_text,
    new_id,
    transaction_of_row,
)
from dobbin_like.storages.postgres.wire import lock_tables, roll_back, wait_for_turn
from dobbin_like.timestamps import now

DESCRIPTION: Final = "pack"
"""Of the transactions that a pack makes."""

OBJECTS_AT_ONCE: Final = 5000
"""Objects that are deleted in one statement."""

_PAGE: Final = 1000
"""Transactions of which the rows are looked at in one statement."""

_LARGE: Final = 64 << 10
"""Bytes of a state that is not read together with others."""

_KEPT_MICROSECONDS: Final = 30 * 24 * 3600 * 1_000_000
"""How long the row of a transaction stays of which nothing is left."""


class PinnedError(Exception):
    """Another process has begun to read what was to be dropped."""


class There(NamedTuple):
    """What there is of one object, and how much of it no snapshot since the cut sees."""

    oid: Oid
    versions: int
    size: int
    later_size: int
    old: int
    old_size: int


class Packing:
    """One pack of one log: what is read for it, and its steps. One thread.

    Args:
        lines: Of its own: answers take longer here. They are closed by close().
        head: What is applied, or anything before: the log has to go on from there.
        pins: Those of the instance, of which the server may not know.
        lock_timeout: Seconds to wait for others that commit; None: as long as it takes.
    """

    def __init__(
        self,
        lines: Lines,
        statements: Statements,
        head: PostgresTransaction,
        pins: Pins,
        *,
        lock_timeout: float | None,
        answer_seconds: float,
    ) -> None:
        self._path = lines.path
        self._lines = lines
        self._statements = statements
        self._pins = pins
        self._lock_timeout = lock_timeout
        self._answer_seconds = answer_seconds
        self._texts = {name: statements.of(text) for name, text in TEXTS.items()}
        self.newest: PostgresTransaction = head
        self._generation: int | None = None  # That the newest row has, unless others pack.
        self.locked_seconds: float = 0.0  # The longest time for which nobody could append.

    # -- reading -----------------------------------------------------------------

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._lines.close()

    def _all(self, name: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        text = self._texts[name]
        return self._lines.run(lambda line: line.execute(text, parameters, binary=True).fetchall())

    def _one(self, name: str, parameters: Any = ()) -> tuple[Any, ...]:
        return self._all(name, parameters)[0]

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Refuse other packs meanwhile. PackRunningError: there is one."""
        line, _ = self._lines.begin(self._lock)
        try:
            yield
        finally:
            try:
                roll_back(line)
            except psycopg.Error:
                discard(line)
            self._lines.give(line)

    def _lock(self, line: Line) -> None:
        try:
            line.execute(self._texts["lock"].replace("%%", "%"), prepare=False)
        except psycopg.errors.LockNotAvailable:
            raise PackRunningError(self._path) from None

    def look(self, wanted: Tid) -> PostgresTransaction:
        """Find the newest transaction; return the cut, the last one up to *wanted*.

        What was packed already stays so: it is not before the cut of the pack before.
        """
        self.look_on()
        self._generation = self.newest.generation
        pinned = self._one("oldest_pin")[0], self._pins.oldest()
        wanted = Tid(min([wanted, *(tid for tid in pinned if tid is not None)]))
        self.cut: PostgresTransaction = transaction_of_row(self._one("cut", (wanted,)))
        return self.cut

    def look_on(self) -> None:
        """Find the newest transaction, and see to it that nobody else has packed."""
        text, since = self._statements["news"], self.newest.sequence
        rows = self._lines.run(lambda line: line.execute(text, (since,), binary=True).fetchall())
        self._follow(rows)

    def _follow(self, rows: Sequence[Sequence[Any]]) -> None:
        news = news_in(self._path, self.newest, rows)
        if news:
            self.newest = news[-1]
        if self._generation not in (None, self.newest.generation):
            raise PackRunningError(self._path)

    def states(self, oids: Sequence[int]) -> Iterator[tuple[Oid, PostgresVersion]]:
        """Yield the versions as of the cut of those of *oids* that may refer to others."""
        wanted = _LARGE, array_text(oids), self.cut.tid
        for oid, tid, number, data in self._all("states", wanted):
            whole = self._one("state", (oid, tid))[0] if data is None else data
            yield oid, PostgresVersion(tid, number, whole)

    def version_before(self, oid: Oid, stored: PostgresVersion) -> PostgresVersion | None:
        rows = self._all("before", (oid, stored.tid))
        return PostgresVersion(*rows[0]) if rows else None

    def each_between(
        self, after: int, until: int, see: Callable[[Oid, int, bytes | None], None]
    ) -> None:
        """Show what transactions have stored: oid, number, and a state that may refer to others.

        Args:
            after: The position of the transaction before.
            until: The position of the last one.
            see: Is called for each; if the connection is lost, again for all.
        """
        self._lines.run(partial(self._show, "later", (after, until), see))

    def _show(self, name: str, wanted: Any, see: Callable[..., None], line: Line) -> None:
        at_once = 500 if psycopg.capabilities.has_stream_chunked() else 1
        with line.cursor() as cursor:
            for row in cursor.stream(self._texts[name], wanted, binary=True, size=at_once):
                see(*row)

    def there(self, first: int, after: int) -> Iterator[There]:
        """Yield what there is of each object from oid *first* on, up to *after*."""
        wanted = {"cut": self.cut.tid, "first": first, "after": after}
        for row in self._all("there", wanted):
            yield There(*row)

    def pages(self) -> Iterator[tuple[Tid, Tid]]:
        """Yield tids, a number of transactions apart, up to the cut; those between are looked at.

        Transactions of which nothing is left are passed over.
        """
        after = NO_TID
        while (until := self._one("page", (after, self.cut.tid, _PAGE))[0]) is not None:
            yield after, until
            after = until

    def left(self, after: Tid, until: Tid) -> Iterator[Sequence[Any]]:
        """Yield what would be left of transactions before the cut, if all objects are kept.

        Of each: whether it has stored anything or failed, and the oids of what is left.
        """
        wanted = {"cut": self.cut.tid, "after": after, "until": until}
        yield from self._all("left", wanted)

    def transactions(self) -> int:
        """Return how many transactions there are, without those of which nothing is left."""
        return int(self._one("transactions")[0])

    def each_stream(
        self, numbers: Sequence[int], see: Callable[[Oid, Tid, int, bytes], None]
    ) -> None:
        """Show oid, tid, number and state of the streams that snapshots since the cut see.

        Args:
            numbers: Of their class and its shapes.
            see: Is called for each; if the connection is lost, again for all.
        """
        wanted = {"numbers": list(numbers), "cut": self.cut.tid}
        self._lines.run(partial(self._show, "stream_states", wanted, see))

    def stream_keys(self) -> list[int]:
        """Return the keys of streams that may be dropped if no state refers to them.

        Not those for which a transaction may just be running.
        """
        return [key for key, _ in self._all("stream_keys", (self.cut.tid,))]

    def streams_size(self, keys: Sequence[int] | None = None) -> int:
        """Return the bytes of all streams, or of some."""
        if keys is None:
            return int(self._one("streams_size")[0])
        return int(self._one("stream_sizes", (array_text(keys),))[0])

    # -- the steps ---------------------------------------------------------------

    @contextlib.contextmanager
    def turn(self) -> Iterator[Line]:
        """Keep others from appending; ``newest`` is known. What is not committed is not done."""
        line = self._take_turn()
        began = time.monotonic()
        try:
            yield line
            if line.pgconn.transaction_status != TransactionStatus.IDLE:
                roll_back(line)
        except psycopg.Error as error:
            discard(line)
            raise ServerUnavailableError(self._path, reason_of(error)) from error
        except BaseException:
            discard(line)
            raise
        finally:
            self.locked_seconds = max(self.locked_seconds, time.monotonic() - began)
        self._lines.give(line)

    def _take_turn(self) -> Line:
        turn = partial(self._statements.turn, self._answer_seconds, self.newest.sequence)
        since, timeout = time.monotonic(), self._lock_timeout
        line, rows = wait_for_turn(self._lines, turn, lock_tables, since, timeout)
        try:
            self._follow(rows)
        except BaseException:
            discard(line)
            raise
        return line

    def announce(self, line: Line, oids: Sequence[Oid]) -> None:
        """Append a row that tells of the pack, and of the objects that it drops.

        In turn, by its line. Nothing stored after the cut is among them.

        Raises:
            PinnedError: A snapshot before the cut is pinned by now.
        """
        (pinned,) = line.execute(self._texts["oldest_pin"], (), binary=True).fetchone() or (None,)
        if pinned is not None and pinned < self.cut.tid:
            raise PinnedError
        newest = self.newest
        made = newest._replace(
            sequence=newest.sequence + 1,
            id=new_id(),
            previous=newest.id,
            tid=Tid(max(now(), newest.tid + 1)),
            complete_since=self.cut.tid,
            generation=newest.generation + 1,
        )
        parameters = {
            "oids": array_text(oids),
            "id": made.id,
            "tid": made.tid,
            "meta": encode_meta(Meta(NO_NAMES, "", DESCRIPTION, b"")),
            "since": made.complete_since,
            "generation": made.generation,
            "pos": newest.sequence,
            "prev": newest.id,
        }
        rows = line.execute(self._texts["announce"], parameters, binary=True).fetchall()
        if not rows:
            raise PackRunningError(self._path)
        commit(line, self._statements)
        self.newest, self._generation = made, made.generation

    def drop_objects(self) -> Iterator[tuple[int, int]]:
        """Delete the objects that are announced; also those of a pack that was ended before.

        Yields:
            Now and then, how many versions were deleted, and their bytes.
        """
        for pos, since, oids in self._all("due", (self.newest.sequence,)):
            for start in range(0, len(oids), OBJECTS_AT_ONCE):
                some = array_text(oids[start : start + OBJECTS_AT_ONCE])
                versions, size = self._one("drop_objects", (some, since))
                yield versions, size
            self._all("done", (pos,))

    def drop_versions(self, first: int, after: int) -> tuple[int, int]:
        """Drop what no snapshot since the cut sees of objects from oid *first* on, up to *after*.

        Returns:
            How many versions were dropped, and their bytes.
        """
        versions, size = self._one("drop_versions", (first, after, self.cut.tid))
        return versions, size

    def drop_streams(self, keys: Sequence[int]) -> int:
        """Drop streams to which no state refers; return their bytes."""
        return int(self._one("drop_streams", (array_text(keys),))[0])

    def thin_out(self, after: Tid, until: Tid) -> int:
        """Let transactions up to the cut name what is left of them; return of how many nothing is.

        Args:
            after: The tid of the transaction before.
            until: The tid of the last one.
        """
        wanted = {"after": after, "until": until, "cut": self.cut.tid}
        return int(self._one("thin_out", wanted)[0])

    def forget(self) -> None:
        """Delete rows that nobody has applied last for long, and pins of killed processes."""
        limit = now() - _KEPT_MICROSECONDS
        for name, parameters in (("forget", (limit,)), ("forget_pins", ())):
            text = self._texts[name]
            self._lines.run(lambda line: line.execute(text, parameters))  # noqa: B023  at once
