"""What a commit to a log in PostgreSQL costs, beside an insert of one row, in turn.

::

    python -m benchmarks.postgres 'host=localhost user=postgres dbname=postgres'

Each is durable as the server is set. The row has as many bytes as the state; one connection, kept
open, statements prepared. *begin* asks whether others have committed, *load* reads an object that
is not in memory; the reference is ``select 1``. Medians of single times, in milliseconds.

At last, 100,000 objects of 1 KiB are read: by a log that is opened with an empty cache, and by
psycopg alone, as a stream. The best of three, in megabytes a second.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

import psycopg
import transaction

from dobbin_like import Database, PersistentDict, checkout
from dobbin_like.storage.postgres import PostgresLog

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 300
OBJECTS = 100_000
OBJECT_BYTES = 1024
AT_ONCE = 1000
SCHEMA = "dobbin_like_benchmark"


def timed(step: Callable[[int], object], number: int) -> float:
    begun = time.perf_counter()
    step(number)
    return 1000 * (time.perf_counter() - begun)


def in_turn(steps: dict[str, Callable[[int], object]]) -> None:
    """Print how long each step takes; they take turns, so that noise meets all."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(ROUNDS):
        for name, step in steps.items():
            times[name].append(timed(step, number))
    for name, found in times.items():
        print(f"{name:<32} {median(found):8.3f}   p99 {quantiles(found, n=100)[98]:8.3f}")


def append_to(storage: PostgresLog, entries: list[tuple[int, int, bytes]]) -> None:
    storage.acquire(settled=False)
    made = storage.append(storage.tid + 1, entries)
    storage.apply([made])
    storage.release()


def read_all(dsn: str, plain: psycopg.Connection) -> None:
    """Print how fast many objects are read when a log is opened with an empty cache."""
    with PostgresLog(dsn, schema=SCHEMA) as log:
        first = log.next_oid
        for start in range(first, first + OBJECTS, AT_ONCE):
            states = [(start + n, 1, os.urandom(OBJECT_BYTES)) for n in range(AT_ONCE)]
            append_to(log, states)

    def cached(_: int) -> None:
        with tempfile.TemporaryDirectory() as place:
            PostgresLog(dsn, schema=SCHEMA, cache=Path(place, "cache")).close()

    def streamed(_: int) -> None:
        text = f"select oid, tid, number, data from {SCHEMA}.version"
        with plain.cursor() as cursor:
            assert sum(1 for _ in cursor.stream(text, binary=True, size=1000)) >= OBJECTS

    for name, step in {"psycopg, a stream of rows": streamed, "open, empty cache": cached}.items():
        best = min(timed(step, number) for number in range(3))
        print(f"{name:<32} {OBJECTS * OBJECT_BYTES / 1000 / best:8.0f}   MB/s")


def main(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as plain:
        plain.execute(f"drop schema if exists {SCHEMA} cascade")
        plain.execute(f"create schema {SCHEMA}")
        plain.execute(f"create table {SCHEMA}.row (id int8 primary key, data bytea not null)")
        insert = f"insert into {SCHEMA}.row values (%s, %b)"
        with Database(PostgresLog(dsn, schema=SCHEMA)) as database:
            database.set_root(PersistentDict(n=0, parts=[PersistentDict() for _ in range(ROUNDS)]))
            transaction.commit()
            root, storage = database.root, database.storage

            def commit(number: int) -> None:
                checkout(root)
                root["n"] = number
                transaction.commit()

            def append(number: int) -> None:
                append_to(storage, [(10_000 + number, 1, bytes(100))])

            checkout(root)
            del root["parts"]
            transaction.commit()
            in_turn(
                {
                    "psycopg, insert of 100 bytes": lambda n: plain.execute(
                        insert, (n, bytes(100))
                    ),
                    "the storage alone, 100 bytes": append,
                    "begin(), which comes before": lambda _: transaction.begin(),
                    "checkout, one attribute, commit": commit,
                }
            )
            in_turn(
                {
                    "psycopg, select 1": lambda _: plain.execute("select 1").fetchone(),
                    "begin()": lambda _: transaction.begin(),
                    "load of one object": lambda n: storage.load(n + 1),
                }
            )
        read_all(dsn, plain)
        plain.execute(f"drop schema {SCHEMA} cascade")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.postgres", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "dsn", help="of the server: 'host=localhost user=postgres dbname=postgres'"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main(_parse().dsn)
