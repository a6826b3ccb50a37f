"""Transactions that are put at the end of a log in PostgreSQL, and what has become of them.

A commit is one row: *this transaction behind that one, if that one is the last*. The key of the
table decides between two who try. The row has an id that no other has, chosen before the first
attempt; so an attempt whose answer was lost is found out: it is made again, or another one is made
in its place, and whatever stands there then stands there for good.
"""

from __future__ import annotations

import time
from typing import Final

from dobbin_like.exc import ServerUnavailableError
from dobbin_like.storages.postgres.lines import Line, Lines
from dobbin_like.storages.postgres.tables import (
    Offer,
    PostgresTransaction,
    Statements,
    transaction_of_row,
)

_PAUSE_SECONDS: Final = 0.02


def put(
    line: Line, statements: Statements, offer: Offer, *, in_turn: bool = False
) -> PostgresTransaction | None:
    """Put a transaction at the end; return it. None: it does not follow the last one any more."""
    alone = bool(offer.more) and not in_turn
    if alone:
        line.execute("begin isolation level read committed")
    text = statements["append_in_turn" if in_turn else "append"]
    line.warned = False
    row = line.execute(text, offer.parameters, binary=True).fetchone()
    if row is None:
        if alone:
            line.execute("rollback")
        return None
    for part in offer.more:
        line.execute(statements["put_more"], part)
    if alone:
        commit(line, statements)
    elif line.warned and not in_turn:
        wait_until_durable(line, statements)
    return offer.made._replace(oid_count=row[0])


def commit(line: Line, statements: Statements) -> None:
    """Commit what was put in a transaction of the server."""
    line.warned = False
    line.execute("commit")
    if line.warned:
        wait_until_durable(line, statements)


def wait_until_durable(line: Line, statements: Statements) -> None:
    """Return when all that is visible by now is as durable as an acknowledged commit.

    With standbys that have to acknowledge, a commit becomes visible without them when the server
    was restarted, or was told to cancel the wait. The commit of this waits again.
    """
    line.warned = False
    line.execute(statements["barrier"])
    if line.warned:
        line.close()
        line.execute("select 1")  # Raises: this was cancelled as well.


def find_out(
    lines: Lines, statements: Statements, offer: Offer, instead: Offer, patience_seconds: float
) -> PostgresTransaction | None:
    """Return what was put if *offer* is in the log, for good; None: it is not, and never will be.

    Args:
        instead: What is put there if nothing is there yet: *offer* itself, or what keeps it out.
        patience_seconds: How long to try; 0: once.

    Raises:
        ServerUnavailableError: It is not known yet.
    """
    until = time.monotonic() + patience_seconds
    while True:
        left = max(until - time.monotonic(), 0)
        settled, made = lines.run(lambda line: _look(line, statements, offer, instead), left)
        if settled:
            return made
        if time.monotonic() > until:
            reason = "whoever has locked the table meta does not go on"
            raise ServerUnavailableError(lines.path, reason)
        time.sleep(_PAUSE_SECONDS)


def _look(
    line: Line, statements: Statements, offer: Offer, instead: Offer
) -> tuple[bool, PostgresTransaction | None]:
    """Return whether it is settled, and what was put if that is *offer*."""
    made = put(line, statements, instead)
    if made is not None:
        return True, made if instead is offer else None
    found = line.execute(statements["at"], (offer.made.sequence,), binary=True).fetchone()
    if found is None:
        return False, None  # Somebody has the lock, perhaps the attempt itself.
    if found[1] != offer.made.id:
        return True, None
    wait_until_durable(line, statements)
    return True, transaction_of_row(found)
