"""Two who change the same collection: processes, and threads.

Run with ``python -m benchmarks.bench_together``.
"""

from __future__ import annotations

import pickle
import sqlite3
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import transaction

from benchmarks.measure import Bench, Row, main, median_ratio
from benchmarks.others import Others, receive
from dobbin_like.database import Database
from dobbin_like.persistent import PersistentDict, PersistentList, checkout
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

COUNT = 100_000
ATTEMPTS = 10

# -- two processes ------------------------------------------------------------------


def _insert(path: str, conn: Connection, number: int, seconds: float) -> None:
    """Put as many keys of one's own into the dict as can be, each in a transaction."""
    count = attempts = 0
    with Database(TransactionLog(path, sync=False)) as database:
        table = database.root
        assert len(table) == COUNT
        conn.send("ready")
        conn.recv()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for attempt in transaction.attempts(ATTEMPTS):
                attempts += 1
                with attempt:
                    checkout(table)
                    table[number, count] = count
            count += 1
    conn.send((count, attempts))


def _insert_into_sqlite(path: str, conn: Connection, number: int, seconds: float) -> None:
    count = 0
    execute = _open_sqlite(path).execute
    conn.send("ready")
    conn.recv()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        execute("begin immediate")
        key = COUNT + 2 * count + number
        execute("insert into item values (?, ?)", (key, pickle.dumps(count)))
        execute("commit")
        count += 1
    conn.send((count, count))


def _open_sqlite(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = off")
    connection.execute("create table if not exists item (key integer primary key, value blob)")
    return connection


def _fill(path: str) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentDict({number: number for number in range(COUNT)}))
        transaction.commit()


def _fill_sqlite(path: str) -> None:
    connection = _open_sqlite(path)
    rows = [(number, pickle.dumps(number)) for number in range(COUNT)]
    connection.execute("begin")
    connection.executemany("insert into item values (?, ?)", rows)
    connection.execute("commit")
    connection.close()


def _both(function: Callable[..., None], path: str, seconds: float) -> tuple[float, str]:
    """Return the commits of both processes in a second, and how they came about."""
    with Others(function, [(path, number, seconds) for number in range(2)]) as conns:
        for conn in conns:
            conn.send("go")
        counts, attempts = zip(*map(receive, conns), strict=True)
    slower, faster = sorted(counts)
    note = f"{sum(attempts) / sum(counts):.2f} attempts for each; one made {slower}, one {faster}"
    return sum(counts) / seconds, note


def processes(bench: Bench) -> None:
    """Different keys put into one dict of 100,000 by two processes, one in a transaction."""
    seconds = bench.size(2.0, quick=0.5)
    rates: list[list[float]] = [[], []]
    note = ""
    for _ in range(bench.rounds(5)):
        path = str(bench.path())
        _fill(path)
        rate, note = _both(_insert, path, seconds)
        rates[0].append(rate)
        path = str(bench.path())
        _fill_sqlite(path)
        rates[1].append(_both(_insert_into_sqlite, path, seconds)[0])
    figures = map(statistics.median, rates)
    bench.add(
        Row(
            f"two processes, a dict of {COUNT:,}; ref.: SQLite",
            "commits/s",
            *figures,
            limit=10_000,
            at_most=False,
            ratio=median_ratio(*rates),
            note=note,
        )
    )


# -- two threads --------------------------------------------------------------------


def threads(bench: Bench) -> None:
    """The second of two commits that add to the same collection: it merges the first one's."""
    times = bench.size(300, quick=50)
    taken: dict[str, list[float]] = {"list": [], "dict": []}
    with (
        Database(TransactionLog(bench.path(), sync=False)) as database,
        ThreadPoolExecutor(1) as other,
    ):
        numbers = {number: number for number in range(COUNT)}
        database.set_root(
            PersistentDict(list=PersistentList(numbers), dict=PersistentDict(numbers))
        )
        transaction.commit()
        row, table = database.root["list"], database.root["dict"]

        def append(number: int) -> None:
            transaction.begin()
            checkout(row)
            row.append(number)

        def put(number: int) -> None:
            transaction.begin()
            checkout(table)
            table[COUNT + number] = number

        for number in range(0, 2 * times, 2):
            for what, change in (("list", append), ("dict", put)):
                taken[what].append(_second(change, number, other))
        transaction.begin()
        assert len(row) == len(table) == COUNT + 2 * times
    figures = [statistics.median(taken[what]) * 1000 for what in ("list", "dict")]
    what = f"second of two appends, a list of {COUNT:,}; ref.: a dict"
    ratio = median_ratio(taken["list"], taken["dict"])
    bench.add(Row(what, "ms", *figures, limit=0.15, ratio=ratio))
    bench.add(Row(f"the same, a dict of {COUNT:,}", "ms", figures[1], limit=0.15))


def _second(change: Callable[[int], None], number: int, other: ThreadPoolExecutor) -> float:
    """Let another thread change and commit while this one has changed; time our commit."""

    def change_there() -> None:
        change(number + 1)
        transaction.commit()

    change(number)
    other.submit(change_there).result()
    start = time.perf_counter()
    transaction.commit()
    return time.perf_counter() - start


ALL: tuple[Callable[[Bench], Any], ...] = (processes, threads)

if __name__ == "__main__":
    main(*ALL)
