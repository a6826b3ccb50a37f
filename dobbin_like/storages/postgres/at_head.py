"""Rows as of what is applied, from a server that has that.

Not every server does: a standby that lags behind the one that was read before, or one that has
taken the place of the primary and lacks something. It would answer with older states, beside newer
ones that are in memory already. So each statement asks for the last transaction that is applied as
well, and gives nothing without it; a pool may lead every statement to another server.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from dobbin_like.exc import HistoryLostError, ServerUnavailableError, SnapshotDroppedError
from dobbin_like.ids import NO_TID, Tid
from dobbin_like.storages.postgres.lines import Line, Lines
from dobbin_like.storages.postgres.tables import PostgresTransaction, Statements

LEAST_SECONDS: Final = 2.0
"""How long a standby may lag behind also when a log is opened."""

_PAUSE_SECONDS: Final = 0.02

Rows = list[tuple[Any, ...]]


def rows_as_of(
    lines: Lines,
    statements: Statements,
    head: PostgresTransaction,
    name: str,
    parameters: Sequence[object] = (),
    *,
    may_lag: bool,
    asked: Tid | None = None,
) -> Rows:
    """Return the rows of a statement, as of *head*. One round trip, if there are any.

    Args:
        may_lag: It may be a standby: it is waited for.
        asked: If there are no rows, the past has to be whole since this tid.

    Raises:
        SnapshotDroppedError: It is not.
        HistoryLostError: The server does not have *head*.
        ServerUnavailableError: It does not have it yet. Or it can't be reached.
    """
    ask = partial(_ask, statements, name, (head.sequence, head.id, *parameters))
    until = time.monotonic() + max(lines.patience_seconds, LEAST_SECONDS)
    while (found := lines.run(ask)) is None:
        wait_for(lines, statements, head, until if may_lag else None)
    rows, since = found
    if asked is not None and asked < since:
        raise SnapshotDroppedError(lines.path, asked)
    return rows


def wait_for(
    lines: Lines, statements: Statements, head: PostgresTransaction, until: float | None
) -> None:
    """Return when it may be that the server has *head*. Raises what rows_as_of() raises."""
    at = statements["at"]
    row = lines.run(lambda line: line.execute(at, (head.sequence,), binary=True).fetchone())
    if row is not None and row[1] == head.id:
        return  # By now, or that was another server.
    if row is not None or until is None:
        raise HistoryLostError(lines.path, head.sequence, "another one" if row else "none")
    if time.monotonic() > until:
        reason = f"it is a standby that lags behind, without transaction {head.sequence} yet"
        raise ServerUnavailableError(lines.path, reason)
    time.sleep(_PAUSE_SECONDS)


def _ask(
    statements: Statements, name: str, parameters: Sequence[object], line: Line
) -> tuple[Rows, Tid] | None:
    """Return what there is, and if that is nothing, since when the past is whole.

    None: The server does not have the head.
    """
    rows: Rows = line.execute(statements[name], parameters, binary=True).fetchall()
    if rows:
        return rows, NO_TID
    since = line.execute(statements[f"no {name}"], parameters, binary=True).fetchone()
    return None if since is None else (rows, since[0])
