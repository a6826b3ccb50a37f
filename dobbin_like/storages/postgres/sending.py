"""What the threads of one instance append at the same time travels in one round trip.

Each puts its transaction behind the one before, lets the next thread prepare its own, and waits
for its turn to send: whoever has it sends all that is there by then. One transaction of the server
decides them, so that they are there in their order, or from some one on not at all: if another
process was faster, all that wait are overtaken.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

import psycopg

from dobbin_like.exc import Error, InDoubtError, OvertakenError, ServerUnavailableError
from dobbin_like.processes.interrupts import reentrant_lock
from dobbin_like.storages.postgres.lines import Lines, discard, is_lost, reason_of
from dobbin_like.storages.postgres.offers import Offer, find_out, put
from dobbin_like.storages.postgres.tables import PostgresTransaction, Statements

_MOST_BYTES: Final = 1 << 20
_MOST: Final = 100

_MARK_SIZE: Final = 6
"""Bytes of an id, of 16, that tell an instance from the others; the rest are chosen each time."""

# What has become of a transaction.
QUEUED: Final = "queued"
SENT: Final = "sent"  # Nobody knows, unless somebody is just sending it.
APPENDED: Final = "appended"
OVERTAKEN: Final = "overtaken"  # It never will be there.
REFUSED: Final = "refused"  # So it is, because of the server.


class Parcel:
    """A transaction on its way, and what has become of it.

    The thread that has made it asks; whoever sends it answers. ``together`` are those that were
    sent with it; ``reason`` tells why it was refused, or why nobody knows.
    """

    __slots__ = ("made", "offer", "reason", "state", "together")

    def __init__(self, offer: Offer) -> None:
        self.offer: Offer = offer
        self.state: str = QUEUED
        self.made: PostgresTransaction | None = None
        self.together: Sequence[Parcel] = (self,)
        self.reason: str = ""


class Sender:
    """Sends what the threads of one instance append. Any thread.

    ``_turn`` is held to send, and to find out what has become of what was sent: also if the thread
    that sent it was interrupted, for whatever is ``SENT`` when it is taken is not being sent.
    ``_mutex`` is held for moments only, and guards the lists.
    """

    def __init__(self, lines: Lines, statements: Statements) -> None:
        self._lines = lines
        self._statements = statements
        self.forget()

    def forget(self) -> None:
        """Begin anew, in a forked child: the threads of the parent are not here."""
        # What the ids of the transactions begin with that are given to this.
        self.mark: bytes = os.urandom(_MARK_SIZE)
        self._turn = reentrant_lock()
        self._mutex = reentrant_lock()
        self._queue: list[Parcel] = []
        self._followed: list[Parcel] = []  # All that may be or get visible, and is not applied.

    def unseen(self, head: PostgresTransaction) -> list[PostgresTransaction]:
        """Return what follows *head*, or will, of what was given to this; oldest first."""
        if not self._followed:
            return []
        with self._mutex:
            # Should one be missing, those behind it will not be there either.
            self._followed = [
                each for each in self._followed if each.offer.made.sequence > head.sequence
            ]
            return [each.made or each.offer.made for each in self._followed]

    def add(self, parcel: Parcel) -> None:
        """Let a transaction be sent with the next ones. One thread at a time: it has the lock."""
        with self._mutex:
            self._followed.append(parcel)
            self._queue.append(parcel)

    def finish(self, parcel: Parcel, patience_seconds: float) -> PostgresTransaction:
        """Return what was appended, when it is.

        Args:
            patience_seconds: How long to go on if the answer of the server is lost.

        Raises:
            OvertakenError, ServerUnavailableError: Nothing was written.
            InDoubtError: Nobody knows.
        """
        with self._turn:
            while parcel.state == QUEUED:
                self._send(self._next(), patience_seconds)
            if parcel.state == SENT and not parcel.reason:  # Its sender was interrupted.
                self._find_out(parcel.together, "", patience_seconds)
        return self._result(parcel)

    def settle(
        self, parcel: Parcel, instead: Callable[[Offer], Offer]
    ) -> PostgresTransaction | None:
        """Return what was appended of one whose thread was interrupted; None: it never will be.

        Args:
            instead: Makes what takes the place of an offer.

        Raises:
            ServerUnavailableError: It is not known.
        """
        with self._turn:
            if parcel.state == QUEUED:
                self._decide([parcel], [])
            elif parcel.state == SENT:
                together = [each for each in parcel.together if each.state == SENT]
                offers = [each.offer for each in together]
                other = [instead(offers[0])]
                made = find_out(self._lines, self._statements, offers, other, 0.0)
                self._decide(together, made)
        return parcel.made

    def withdraw(self, parcel: Parcel) -> None:
        """Let a transaction not be sent any more, if it was not. Its thread gives up."""
        with self._mutex:
            if parcel.state == QUEUED:
                self._decide([parcel], [])

    def send_all(self) -> None:
        """Return when what was added is sent, and answered."""
        with self._turn:
            while together := self._next():
                self._send(together, self._lines.patience_seconds)

    def _next(self) -> list[Parcel]:
        """Return what is sent next."""
        with self._mutex:
            self._queue = [each for each in self._queue if each.state == QUEUED]
            together = self._queue[:1]
            size = 0
            for before, each in pairwise(self._queue[:_MOST]):
                size += before.offer.size
                if before.offer.more or each.offer.more or size + each.offer.size > _MOST_BYTES:
                    break
                if each.offer.made.previous != before.offer.made.id:
                    break  # Its thread has seen what has overtaken the one before.
                together.append(each)
            for each in together:
                each.together = together
            # The first first: if an interrupt comes between, the others do not go without it.
            for each in together:
                each.state = SENT
            del self._queue[: len(together)]
        return together

    def _send(self, together: Sequence[Parcel], patience_seconds: float) -> None:
        try:
            line, _ = self._lines.begin(lambda _line: None)
        except ServerUnavailableError as error:
            with self._mutex:
                together = [*together, *self._queue]
            self._decide(together, [], error.reason)
            return
        try:
            made = put(line, self._statements, [each.offer for each in together])
        except psycopg.Error as error:
            lost = is_lost(error, line)
            discard(line)
            if lost:
                self._find_out(together, reason_of(error), patience_seconds)
            else:
                passing = len(together) > 1 or error.sqlstate in ("40001", "40P01")
                # One that is refused finds out alone.
                self._decide(together, [], "" if passing else reason_of(error))
        except BaseException:
            discard(line)
            raise
        else:
            self._lines.give(line)
            self._decide(together, made)

    def _find_out(self, together: Sequence[Parcel], reason: str, patience_seconds: float) -> None:
        together = [each for each in together if each.state == SENT]
        offers = [each.offer for each in together]
        try:
            made = find_out(self._lines, self._statements, offers, offers, patience_seconds)
        except Error as error:
            before = f"the answer of the server was lost ({reason or 'interrupted'})"
            for each in together:
                each.reason = f"{before}, then {getattr(error, 'reason', error)}"
            self._drop(together)
        else:
            self._decide(together, made)

    def _decide(
        self, together: Sequence[Parcel], made: Sequence[PostgresTransaction], reason: str = ""
    ) -> None:
        """Let it be known what has become of some that were sent. May be repeated."""
        by_id = {each.id: each for each in made}
        with self._mutex:
            # The last first: nothing is left that could only be found out with one before.
            for each in reversed(together):
                each.made = by_id.get(each.offer.made.id)
                each.reason = reason
                each.state = APPENDED if each.made else REFUSED if reason else OVERTAKEN
                if each.made:  # It is followed until it is applied: without its states.
                    each.offer = each.offer._replace(parameters=(), more=())
        if len(made) < len(together):
            self._drop([each for each in together if not each.made])

    def _drop(self, parcels: Sequence[Parcel]) -> None:
        """Let nothing follow these, which are not there: what does already is overtaken."""
        with self._mutex:
            gone = {each.offer.made.id for each in parcels}
            for each in self._queue:
                if each.state == QUEUED and each.offer.made.previous in gone:
                    gone.add(each.offer.made.id)
                    each.state = OVERTAKEN
            self._queue = [each for each in self._queue if each.state == QUEUED]
            # What an interrupt has left of those before is dropped as well.
            self._followed = [
                each
                for each in self._followed
                if not (each.offer.made.id in gone or each.state == OVERTAKEN or each.reason)
            ]

    def _result(self, parcel: Parcel) -> PostgresTransaction:
        made, offer = parcel.made, parcel.offer
        if made is not None:
            return made
        if parcel.state == REFUSED:
            raise ServerUnavailableError(self._lines.path, parcel.reason)
        if parcel.state == SENT:
            raise InDoubtError(self._lines.path, offer.made.tid, parcel.reason)
        raise OvertakenError(self._lines.path, offer.before.sequence)
