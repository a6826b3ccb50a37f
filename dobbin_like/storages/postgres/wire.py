"""Statements that are sent together, in the form in which the server takes them; and the turn.

psycopg takes as long to adapt the parameters of a commit as the server takes to store them.

The turn is a transaction of the server that has locked ``meta``, so that no other process can
append. It ends with the first append, or with the connection.

Knows the text of no statement.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from itertools import count
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import generators
from psycopg.pq import ExecStatus, Format

from dobbin_like.exc import LockTimeout
from dobbin_like.storages.postgres.lines import Line, Lines

_TURN_SECONDS: Final = 5.0
"""How long one statement waits for the turn before it is asked again."""

Rows = Sequence[Sequence[Any]]

_numbers = count()  # A name is not given again: it may be known to the server all the same.


class Binary(bytes):
    """A parameter in the binary form of the server."""


class Call(NamedTuple):
    """A statement with ``$1`` and so on in it, and their values: as text, or :class:`Binary`."""

    text: bytes
    parameters: Sequence[bytes] = ()


def exchange(line: Line, calls: Sequence[Call]) -> list[Any]:
    """Return the results of statements, in binary form. One round trip.

    Outside of a transaction of the server, they are one.

    Raises:
        psycopg.Error: One was refused: none of them is done. Or the connection is lost.
    """
    pgconn, names = line.pgconn, line.prepared
    new = [] if names is None else sorted({call.text for call in calls} - names.keys())
    if len(calls) == 1 and not new:
        _send(line, calls[0])
        return _checked(line.wait(generators.execute(pgconn)))
    pgconn.enter_pipeline_mode()
    if names is not None:
        for text in new:
            names[text] = b"dobbin_like_%d" % next(_numbers)
            pgconn.send_prepare(names[text], text)
    for call in calls:
        _send(line, call)
    pgconn.pipeline_sync()
    results = line.wait(_fetched(line, len(new) + len(calls)))
    try:
        pgconn.exit_pipeline_mode()
    except psycopg.Error:
        pgconn.finish()  # It has ended somewhere: nobody knows what was done.
        raise
    try:
        return _checked(results)[len(new) :]
    except psycopg.Error:
        line.prepared = None if names is None else {}  # Not those that were not reached.
        raise


def wait_for_turn(
    lines: Lines,
    statement: Callable[[float], str],
    lock: Callable[[str, Line], Rows | None],
    since: float,
    lock_timeout: float | None,
) -> tuple[Line, Rows]:
    """Keep other processes from appending.

    Args:
        statement: Gives what :func:`lock_tables` takes, to wait for so many seconds.
        lock: That, or what calls it.
        since: When the caller began to wait, by the monotonic clock.

    Returns:
        The connection that has the turn, and the rows of the log that were asked for.

    Raises:
        LockTimeout: Others had it for *lock_timeout* seconds.
    """
    until = math.inf if lock_timeout is None else since + lock_timeout
    while True:
        wait = min(max(until - time.monotonic(), 0.001), _TURN_SECONDS)
        line, rows = lines.begin(partial(lock, statement(wait)))
        if rows is not None:
            return line, rows
        lines.give(line)
        if time.monotonic() >= until:
            raise LockTimeout(lines.path, lock_timeout or 0.0)


def lock_tables(text: str, line: Line) -> Rows | None:
    """Begin a transaction of the server that has the turn; None: it was not free in time.

    Returns:
        The rows of the log that *text* asks for.
    """
    try:
        cursor = line.execute(text, prepare=False)
    except psycopg.errors.LockNotAvailable:
        roll_back(line)
        return None
    while cursor.nextset():
        pass
    return cursor.fetchall()


def roll_back(line: Line) -> None:
    """End a transaction of the server; nothing of it is done. Raises psycopg.Error.

    psycopg would drop all prepared statements.
    """
    line.pgconn.send_query(b"rollback")
    _checked(line.wait(generators.execute(line.pgconn)))


def _send(line: Line, call: Call) -> None:
    formats = [Format.BINARY if type(each) is Binary else Format.TEXT for each in call.parameters]
    if line.prepared is None:
        line.pgconn.send_query_params(
            call.text, call.parameters, param_formats=formats, result_format=Format.BINARY
        )
    else:
        name = line.prepared[call.text]
        line.pgconn.send_query_prepared(name, call.parameters, formats, Format.BINARY)


def _fetched(line: Line, statements: int) -> Generator[Any, Any, list[Any]]:
    """Send what was queued, and return the results of so many statements."""
    yield from generators.send(line.pgconn)
    results: list[Any] = []
    for _ in range(statements):
        results += yield from generators.fetch_many(line.pgconn)
    yield from generators.fetch_many(line.pgconn)  # That of the end.
    return results


def _checked(results: list[Any]) -> list[Any]:
    for result in results:
        if result.status == ExecStatus.FATAL_ERROR:
            raise psycopg.errors.error_from_result(result)
    return results
