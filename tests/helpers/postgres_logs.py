"""Logs in PostgreSQL of one process that behave as those of several."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dobbin_like.storages.memory_lock import MemoryLock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dobbin_like.storage.postgres import PostgresLog
    from dobbin_like.upkeep.packs.report import PackReport
    from tests.helpers.postgres_server import Server


@contextlib.contextmanager
def in_another_process(log: PostgresLog) -> Iterator[None]:
    """Let *log* take no turns with the threads of this process."""
    lock, log._lock = log._lock, MemoryLock(log.path)
    yield
    log._lock = lock


def pack_as_another(
    log: PostgresLog, keep: timedelta = timedelta(0), **options: Any
) -> PackReport:
    """Pack a log as another process would, which knows no snapshot of this one."""
    from dobbin_like import Database
    from dobbin_like.storage.postgres import PostgresLog

    some = {"schema": log._options.schema, "prepare": log._options.prepare}
    with Database(PostgresLog(log._dsn, **some)) as database:
        return database.pack(keep, **options)


def take_back(server: Server, schema: str, position: int) -> None:
    """Let a log have lost its last transactions, as a server that has failed may have."""
    import psycopg

    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        last = f"(select tid from {schema}.log where pos = {position})"
        for table in ("version", "log"):
            connection.execute(f"delete from {schema}.{table} where tid > {last}")
