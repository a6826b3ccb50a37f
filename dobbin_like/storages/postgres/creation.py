"""Looking for the tables of a log when it is opened, and making them."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import Final

import psycopg

from dobbin_like.exc import FormatVersionError, NotALogError, ServerUnavailableError
from dobbin_like.storages.postgres.lines import Line, Lines
from dobbin_like.storages.postgres.tables import FORMAT, Statements, refuse_empty

_CREATE_TRIES: Final = 20
_CREATE_PAUSE_SECONDS: Final = 0.1

_FIND_SCHEMA: Final = "select 1 from pg_namespace where nspname = %s"

_NO_TABLES: Final = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)

_ALSO_CREATED: Final = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.InternalError,  # "tuple concurrently updated"
)
"""What one of two connections gets that create the same tables at the same moment."""


def find_tables(lines: Lines, statements: Statements, *, create: bool) -> bytes:
    """Return the id of the log that the tables have; create them if they are not there.

    Raises:
        NotALogError: They are not there, and may not be created. Or they are of another kind.
        FormatVersionError: A newer release has made them.
        ServerUnavailableError: The server can't be reached, or refuses.
    """
    try:
        number, store = _meta(lines, statements)
    except ServerUnavailableError as error:
        if not isinstance(error.__cause__, _NO_TABLES):
            raise
        if not create:
            raise NotALogError(lines.path, "there are no tables of a log") from None
        lines.run(partial(_create, statements))
        number, store = _meta(lines, statements)
    if number < FORMAT:
        text = f"its tables are of format {number}, of a snapshot of the source before 0.1.0"
        raise NotALogError(lines.path, text)
    if number > FORMAT:
        raise FormatVersionError(lines.path, number, FORMAT)
    return store


def _meta(lines: Lines, statements: Statements) -> tuple[int, bytes]:
    """Return the number of the format, and the id of the log."""
    text = statements["meta"]
    row = lines.run(lambda line: line.execute(text, (), binary=True).fetchone())
    number, store = row or refuse_empty(lines.path)
    return number, bytes(store)


def _create(statements: Statements, line: Line) -> None:
    # A role that may not make schemas may not do so either if it is there.
    schema = line.execute(_FIND_SCHEMA, (statements.schema,)).fetchone() is None
    for attempt in range(_CREATE_TRIES):
        try:
            line.execute(statements.create(schema=schema), prepare=False)  # One transaction.
        except _ALSO_CREATED:
            if attempt == _CREATE_TRIES - 1:
                raise
            time.sleep(random.uniform(0, _CREATE_PAUSE_SECONDS))
        else:
            return
