"""Writers that wait for the disk at the same time: threads and processes, own objects and one.

Objects of two numbers, a text and references. Each commit is on stable storage when it returns:
here as everywhere, in SQLite by ``synchronous = full`` in write-ahead mode. Run with
``python -m benchmarks.bench_writers``.
"""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

import transaction

from benchmarks.measure import Bench, Row, main, median_ratio
from benchmarks.others import Others, receive
from benchmarks.peers import ours, sqlite
from dobbin_like.collections import PersistentCounter, PersistentDict
from dobbin_like.database import Database
from dobbin_like.persistent import checkout
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

WRITERS = 8
ATTEMPTS = 1000
SHAPES = ((1, 1), (4, 1), (8, 1), (2, 4))
"""Processes, and threads in each of them."""


def _fill(path: str) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        things = {n: ours.Thing(n, []) for n in range(WRITERS)}
        database.set_root(
            PersistentDict(things=PersistentDict(things), counter=PersistentCounter())
        )
        transaction.commit()


def _fill_sqlite(path: str) -> None:
    store = sqlite.Store(path, sync=True)
    store.one(WRITERS)
    store.connection.close()


# -- what one thread does -----------------------------------------------------------


def _write(
    path: str, conn: Connection, first: int, threads: int, seconds: float, what: str
) -> None:
    """Let some threads commit as often as they can; tell how long each commit has taken."""
    with Database(TransactionLog(path)) as database:
        work = {"own": _change_own, "one": _change_one, "add": _add}[what]
        _in_threads(conn, threads, seconds, lambda n, end: work(database, first + n, end))


def _change_own(database: Database, number: int, end: float) -> list[float]:
    taken = []
    while (began := time.monotonic()) < end:
        transaction.begin()
        thing = database.root["things"][number]
        checkout(thing)
        thing.number += 1
        transaction.commit()
        taken.append(time.monotonic() - began)
    return taken


def _change_one(database: Database, _number: int, end: float) -> list[float]:
    taken = []
    while (began := time.monotonic()) < end:
        for attempt in transaction.attempts(ATTEMPTS):
            with attempt:
                thing = database.root["things"][0]
                checkout(thing)
                thing.number += 1
        taken.append(time.monotonic() - began)
    return taken


def _add(database: Database, _number: int, end: float) -> list[float]:
    taken = []
    while (began := time.monotonic()) < end:
        for attempt in transaction.attempts(ATTEMPTS):
            with attempt:
                counter = database.root["counter"]
                checkout(counter)
                counter.increment()
        taken.append(time.monotonic() - began)
    return taken


def _write_sqlite(
    path: str, conn: Connection, first: int, threads: int, seconds: float, what: str
) -> None:
    def work(number: int, end: float) -> list[float]:
        store = sqlite.Store(path, sync=True)
        store.key = 0 if what == "one" else first + number
        taken = []
        while (began := time.monotonic()) < end:
            store.add()
            taken.append(time.monotonic() - began)
        store.connection.close()
        return taken

    _in_threads(conn, threads, seconds, work)


def _in_threads(
    conn: Connection, threads: int, seconds: float, work: Callable[[int, float], list[float]]
) -> None:
    results: list[list[float]] = [[] for _ in range(threads)]
    conn.send("ready")
    conn.recv()
    end = time.monotonic() + seconds

    def run(number: int) -> None:
        results[number] = work(number, end)

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    conn.send(results)


# -- all of them ----------------------------------------------------------------------


def _all(
    function: Callable[..., None], path: str, shape: tuple[int, int], seconds: float, what: str
) -> list[list[float]]:
    """Return the seconds of each commit of each thread."""
    processes, threads = shape
    jobs = [(path, number * threads, threads, seconds, what) for number in range(processes)]
    with Others(function, jobs) as conns:
        for conn in conns:
            conn.send("go")
        return [taken for conn in conns for taken in receive(conn)]


def _count(path: str, what: str, before: int, results: list[list[float]]) -> None:
    """Every commit that has returned is there, and no other."""
    with Database(TransactionLog(path)) as database:
        transaction.begin()
        things, counter = database.root["things"], database.root["counter"]
        found = counter.value if what == "add" else sum(thing.number for thing in things.values())
        assert found - before == sum(map(len, results)), (found - before, results)
        transaction.abort()


def _note(results: list[list[float]]) -> str:
    counts = [len(taken) for taken in results]
    waits = sorted(second for taken in results for second in taken)
    slowest = waits[int(len(waits) * 0.99)] * 1000
    return f"p99 {slowest:.1f} ms, slowest/fastest {min(counts) / max(counts):.2f}"


def _compare(
    bench: Bench, name: str, shape: tuple[int, int], what: str, peer: str, limit: float
) -> None:
    seconds = bench.size(2.0, quick=0.7)
    rates: list[list[float]] = [[], []]
    notes = ["", ""]
    before = 0 if what == "add" else sum(range(WRITERS))
    for _ in range(bench.rounds(5)):
        path = str(bench.path())
        _fill(path)
        results = _all(_write, path, shape, seconds, what)
        _count(path, what, before, results)
        rates[0].append(sum(map(len, results)) / seconds)
        notes[0] = _note(results)
        path = str(bench.path())
        _fill_sqlite(path)
        results = _all(_write_sqlite, path, shape, seconds, peer)
        rates[1].append(sum(map(len, results)) / seconds)
        notes[1] = _note(results)
    figures = map(statistics.median, rates)
    ratio = median_ratio(*rates)
    note = f"{notes[0]}; SQLite {notes[1]}; wanted {limit} x"
    bench.add(Row(f"{name}; ref.: SQLite", "commits/s", *figures, ratio=ratio, note=note))


def writers(bench: Bench) -> None:
    """Durable commits in a second, each writer with an object of its own."""
    shapes = list(zip(SHAPES, (1.0, 1.6, 2.0, 2.0), strict=True))
    for shape, limit in shapes[-1:] if bench.smallest else shapes:
        processes, threads = shape
        name = f"{processes} processes x {threads} threads, own objects"
        _compare(bench, name, shape, "own", "own", limit)


def counters(bench: Bench) -> None:
    """One counter, read and written by all, and one that adds up."""
    processes = 2 if bench.smallest else 4
    for what, name, limit in (("one", "one counter", 0.8), ("add", "PersistentCounter", 1.25)):
        _compare(bench, f"{name}, {processes} processes", (processes, 1), what, "one", limit)


ALL: tuple[Callable[[Bench], Any], ...] = (writers, counters)

if __name__ == "__main__":
    main(*ALL)
