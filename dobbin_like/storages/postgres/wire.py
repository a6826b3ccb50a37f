"""Statements that are sent together, and in the form in which the server takes them.

Knows no statements. psycopg takes as long to adapt the parameters of a commit as the server takes
to store them.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import count
from typing import Any, NamedTuple

import psycopg
from psycopg import generators
from psycopg.pq import ExecStatus, Format

from dobbin_like.storages.postgres.lines import Line

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
