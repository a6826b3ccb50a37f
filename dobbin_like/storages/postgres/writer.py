"""What the holder of the lock appends to a log in PostgreSQL, and what has become of it.

1. In turn, other processes can't append, until the first append: :mod:`.wire`.
2. ``append()`` is one statement, and the decision: see :mod:`.offers`. Out of turn, other threads
   prepare their own meanwhile, and those of one moment are sent together: :mod:`.sending`. If the
   answer is lost, that is found out before ``append()`` returns or raises; after an interrupt, by
   ``settle()``.
3. ``prepare()`` does it in a transaction of the server, which others wait for; ``decide()`` is the
   commit of that.

Streams are written before; a process that is killed then leaves them behind.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, BinaryIO, Final

import psycopg

from dobbin_like.contract import NO_NAMES, ClassRow, Entry, NewNames, ShapeRow
from dobbin_like.exc import (
    Error,
    InDoubtError,
    NotHeldError,
    OvertakenError,
    ServerUnavailableError,
)
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.format.meta import Meta
from dobbin_like.log.writing.encode import check_numbers
from dobbin_like.storages.postgres.lines import Line, Lines, discard, is_lost, reason_of
from dobbin_like.storages.postgres.offers import (
    Offer,
    commit,
    find_out,
    make_offer,
    put,
    put_in_turn,
)
from dobbin_like.storages.postgres.packs.existing import Existing
from dobbin_like.storages.postgres.reading import news_in
from dobbin_like.storages.postgres.sending import Parcel, Sender
from dobbin_like.storages.postgres.streams import drop_streams, put_stream
from dobbin_like.storages.postgres.tables import (
    PostgresTransaction,
    Statements,
    refuse_empty,
    transaction_of_row,
)
from dobbin_like.storages.postgres.wire import Rows, lock_tables, roll_back, wait_for_turn

_logger = logging.getLogger(__name__)

_FAILURE_TRIES: Final = 100
_FAILURE_PAUSE_SECONDS: Final = 0.01

_Send = Callable[[Line, Offer], PostgresTransaction | None]

# What has become of a transaction that append() or prepare() was given.
_PREPARED: Final = "prepared"  # It is in a transaction of the server.
_SENT: Final = "sent"  # Nobody knows.
_APPENDED: Final = "appended"


class Writer:
    """What one thread is doing from acquire() to release().

    Keeps the contract of the methods of :class:`dobbin_like.contract.Storage` that have the same
    names. Touched by its thread only.

    Args:
        head: What is applied. Others may apply more before it appends: what it follows then is
            not what it has looked at, and it is overtaken.
        existing: What this process knows of which objects there are.
        lock_timeout: Seconds to wait for others that commit; None: as long as it takes.
        answer_seconds: How long the server lets a transaction wait for its next statement.
    """

    def __init__(
        self,
        lines: Lines,
        statements: Statements,
        sender: Sender,
        head: PostgresTransaction,
        existing: Existing,
        *,
        lock_timeout: float | None,
        answer_seconds: float,
    ) -> None:
        self._path = lines.path
        self._lines = lines
        self._statements = statements
        self._sender = sender
        self._existing = existing
        self._lock_timeout = lock_timeout
        self._answer_seconds = answer_seconds
        self.unseen: Sequence[PostgresTransaction] = ()
        self.base: PostgresTransaction = head  # What an append follows.
        self.let_others_on: bool = False  # Other threads may hold the lock by now.
        self.news: list[PostgresTransaction] = []  # In turn: all there is behind the head.
        self._parcel: Parcel | None = None
        self.forget()

    def forget(self) -> None:
        """Begin with nothing."""
        self._line: Line | None = None  # In a transaction of the server.
        self.has_turn: bool = False  # Since acquire(), until the first append.
        self._offer: Offer | None = None
        self._outcome = ""
        self._made: PostgresTransaction | None = None  # The one that was appended last.
        self._written: list[int] = []
        self._patience = self._lines.patience_seconds

    def follow(self) -> None:
        """Follow what other threads have appended, or just send: ``unseen``."""
        self.unseen = self._sender.unseen(self.base)
        if self.unseen:
            self.base = self.unseen[-1]

    def moved_to(self, head: PostgresTransaction) -> None:
        """Follow what this thread has applied."""
        if head.sequence >= self.base.sequence:
            self.base = head

    # -- the turn ----------------------------------------------------------------

    def take_turn(self, since: float) -> None:
        """Keep other processes from appending, until the first append or the end.

        Args:
            since: When the caller began to wait, by the monotonic clock.
        """
        self._sender.send_all()
        self.news = news_in(self._path, self.base, self._wait_for_turn(since))
        self.has_turn = True

    def _wait_for_turn(self, since: float) -> Rows:
        """Take the turn; return the rows of the log from what an append follows on."""
        turn = partial(self._statements.turn, self._answer_seconds, self.base.sequence)
        lock, timeout = self._lock_tables, self._lock_timeout
        return wait_for_turn(self._lines, turn, lock, since, timeout)[1]

    def _lock_tables(self, text: str, line: Line) -> Rows | None:
        self._line = line  # Before: after an interrupt, release() ends what it has begun.
        rows = lock_tables(text, line)
        if rows is None:
            self._line = None
        return rows

    def drop(self) -> None:
        """Take back what was prepared or written and is not committed. May be repeated."""
        if self._parcel is not None and self._outcome == _SENT:
            self._sender.withdraw(self._parcel)
        self._end_line()
        # What was sent may be in the log, with its streams.
        written = [] if self._outcome == _SENT else self._written
        if written:
            drop_streams(self._lines, self._statements, written)
        self.forget()

    def _end_line(self) -> None:
        """Take back what was not committed on the connection of this holder."""
        line = self._line
        if line is None:
            return
        if line.process == os.getpid() and not line.closed:
            try:
                roll_back(line)
            except psycopg.Error:
                discard(line)
        self._line = None
        self._lines.give(line)

    # -- what is appended --------------------------------------------------------

    def write_stream(self, source: BinaryIO) -> tuple[int, int]:
        key, size = put_stream(self._lines, self._statements, source)
        self._written.append(key)
        return key, size

    def append(
        self, let_others_on: Callable[[], None] | None, tid: Tid, *rows: Any, **annotations: Any
    ) -> PostgresTransaction:
        """Put a transaction behind what this thread has looked at.

        Args:
            let_others_on: Called when other threads may append; None: they have to wait.
        """
        offer = self._new_offer("append()", tid, *rows, **annotations)
        self._outcome = _SENT
        if self._line is not None:
            return self._sent(offer, self._append_in_turn)
        self._parcel = parcel = Parcel(offer)
        self._sender.add(parcel)
        if let_others_on is not None:
            let_others_on()
        patience, self._patience = self._patience, 0.0
        try:
            made = self._sender.finish(parcel, patience)
        except (OvertakenError, ServerUnavailableError):
            self._outcome, self._parcel = "", None
            raise
        self._note_appended(made)
        return made

    def _append_in_turn(self, line: Line, offer: Offer) -> PostgresTransaction | None:
        made = put_in_turn(line, self._statements, offer, decide=True)
        if made is None and offer.more:
            roll_back(line)
        return made

    def prepare(self, tid: Tid, *rows: Any, **annotations: Any) -> PostgresTransaction:
        offer = self._new_offer("prepare()", tid, *rows, **annotations)
        if self._line is None:
            self._sender.send_all()
            self._wait_for_turn(time.monotonic())
        line = self._line
        assert line is not None
        try:
            made = put_in_turn(line, self._statements, offer)
        except psycopg.Error as error:
            raise ServerUnavailableError(self._path, reason_of(error)) from error
        if made is None:
            raise self._overtaken(offer)
        self._offer = offer._replace(made=made)
        self._outcome = _PREPARED
        return made

    def decide(self) -> None:
        offer = self._offer
        if offer is None or self._outcome != _PREPARED:
            raise NotHeldError(self._path, "decide()", "a prepared transaction")
        self._outcome = _SENT
        try:
            self._sent(offer, self._commit_prepared)
        except OvertakenError as error:
            reason = "the connection was lost, and another transaction has taken its place"
            raise ServerUnavailableError(self._path, reason) from error

    def _commit_prepared(self, line: Line, offer: Offer) -> PostgresTransaction | None:
        commit(line, self._statements)
        return offer.made

    def _new_offer(
        self,
        step: str,
        tid: Tid,
        entries: Sequence[Entry],
        classes: Sequence[ClassRow] = (),
        shapes: Sequence[ShapeRow] = (),
        *,
        user: str = "",
        description: str = "",
        extension: bytes = b"",
    ) -> Offer:
        if self._outcome in (_PREPARED, _SENT):
            raise NotHeldError(self._path, step, "the end of the one before")
        check_numbers(tid, [entry[0] for entry in entries], self.base.tid)
        names = NewNames(tuple(classes), tuple(shapes)) if classes or shapes else NO_NAMES
        meta = Meta(names, user, description, extension)
        existing = self._existing
        self._offer = make_offer(
            self.base,
            tid,
            entries,
            meta,
            streams=self._written,
            known=existing,
            is_dropped=existing.is_dropped,
            mark=self._sender.mark,
        )
        return self._offer

    def _sent(self, offer: Offer, send: _Send) -> PostgresTransaction:
        """Return what was appended; find out about it if the answer is lost."""
        line = self._line
        assert line is not None
        try:
            made = send(line, offer)
            self._line = None
            self._lines.give(line)
        except psycopg.Error as error:
            if not is_lost(error, line):
                self._outcome = ""
                if error.sqlstate in ("40001", "40P01"):
                    raise self._overtaken(offer) from error
                raise ServerUnavailableError(self._path, reason_of(error)) from error
            self._discard_line()
            made = self._found_out(offer, offer, error)
        if made is None:
            raise self._overtaken(offer)
        self._note_appended(made)
        return made

    def _found_out(
        self, offer: Offer, instead: Offer, cause: BaseException
    ) -> PostgresTransaction | None:
        try:
            return self._ask(offer, instead)
        except ServerUnavailableError as error:
            reason = f"the answer of the server was lost ({reason_of(cause)}), then {error.reason}"
            raise InDoubtError(self._path, offer.made.tid, reason) from error

    def _ask(self, offer: Offer, instead: Offer) -> PostgresTransaction | None:
        """Find out what has become of *offer*; wait for the server only the first time."""
        patience, self._patience = self._patience, 0.0
        offers = [offer]
        others = offers if instead is offer else [instead]
        made = find_out(self._lines, self._statements, offers, others, patience)
        return made[0] if made else None

    def _note_appended(self, made: PostgresTransaction) -> None:
        self._made = self.base = made
        self._parcel = None
        self.has_turn = False
        self._written = []
        self._outcome = _APPENDED

    def _overtaken(self, offer: Offer) -> Error:
        """Return the error for an offer that does not follow the last transaction."""
        self._outcome, self._offer = "", None
        if self.has_turn:  # Nobody has come between: it was behind before.
            return NotHeldError(self._path, "append()", "all news applied")
        return OvertakenError(self._path, offer.before.sequence)

    def settle(self, tid: Tid) -> PostgresTransaction | None:
        made, offer = self._made, self._offer
        if made is not None and made.tid == tid:
            return made
        if offer is None or offer.made.tid != tid or self._outcome != _SENT:
            return None
        self._discard_line()
        if self._parcel is not None:
            made = self._sender.settle(self._parcel, _interrupted)
        else:
            made = self._ask(offer, _interrupted(offer))
        if made is None:
            self._outcome, self._offer, self._parcel = "", None, None
        else:
            self._note_appended(made)
        return made

    def _discard_line(self) -> None:
        line, self._line = self._line, None
        self.has_turn = False
        discard(line)

    def fail(
        self,
        tid: Tid,
        reason: str,
        *,
        user: str = "",
        description: str = "",
        extension: bytes = b"",
        oids: Sequence[Oid] = (),
    ) -> None:
        meta = Meta(NO_NAMES, user, description, extension, reason)
        if self._outcome == _PREPARED and self._offer is not None:
            made = self._offer.made
            about = made.user, made.description, made.extension
            tid, oids, meta = made.tid, list(made.oids), Meta(NO_NAMES, *about, reason)
        self.drop()
        try:
            for _ in range(_FAILURE_TRIES):
                if self._lines.run(partial(self._put_failure, tid, oids, meta)):
                    return
                time.sleep(_FAILURE_PAUSE_SECONDS)
            text = "others are always faster"
        except (ValueError, Error) as error:
            text = str(error)
        _logger.warning("%s: a failed transaction is not recorded: %s", self._path, text)

    def _put_failure(self, tid: Tid, oids: Sequence[Oid], meta: Meta, line: Line) -> bool:
        row = line.execute(self._statements["head"], (), binary=True).fetchone()
        head = transaction_of_row(row or refuse_empty(self._path))
        tid = Tid(max(tid, head.tid + 1))
        check_numbers(tid, oids, head.tid)
        offer = make_offer(head, tid, (), meta, failed=True, oids=oids)
        return bool(put(line, self._statements, [offer]))


def _interrupted(offer: Offer) -> Offer:
    """Return what takes the place of a transaction that was interrupted.

    Should that still be on its way, it finds its place taken. It does not go behind what is
    applied now: another thread may have applied the transaction itself.
    """
    meta, oids = Meta(reason="interrupted"), [Oid(oid) for oid in offer.made.oids]
    return make_offer(offer.before, offer.made.tid, (), meta, failed=True, oids=oids)
