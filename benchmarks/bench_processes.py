"""Several processes on one log: how soon one sees another, and how they take turns.

Run with ``python -m benchmarks.bench_processes``. On fewer processors than processes the
figures are those of the scheduler.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import time
from typing import TYPE_CHECKING

import transaction

from benchmarks.measure import RATIO, Bench, Row, main
from benchmarks.model import Shelf, Stamp
from benchmarks.others import PATIENCE_SECONDS, Others, receive
from dobbin_like.database import Database
from dobbin_like.persistent import checkout
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

Ends = list[tuple[int, int]]
"""When the lock was taken and when it was given back, in nanoseconds of one clock."""


class _Watched(TransactionLog):
    """Writes down when its lock is held."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, sync=False)
        self.ends: Ends = []
        self._taken = 0

    def acquire(self, *, settled: bool = True) -> None:
        super().acquire(settled=settled)
        self._taken = time.monotonic_ns()

    def release(self) -> None:
        given = time.monotonic_ns() if self.held else 0
        super().release()
        if given:
            self.ends.append((self._taken, given))


# -- what the other processes do ---------------------------------------------


def _poll(path: str, conn: Connection, count: int) -> None:
    """See each commit as soon as can be; report from when to when it took."""
    seen = []
    with Database(path) as database:
        shelf = database.root
        last = shelf.stamp
        conn.send("ready")
        deadline = time.monotonic() + PATIENCE_SECONDS
        begin = transaction.begin
        while len(seen) < count and time.monotonic() < deadline:
            begin()
            stamp = shelf.stamp
            if stamp != last:
                seen.append(time.monotonic_ns() - stamp)
                last = stamp
                conn.send_bytes(b"!")
    conn.send(seen)


def _echo(conn: Connection, count: int) -> None:
    """Spin on a pipe: the quickest that two processes can tell each other something."""
    seen = []
    conn.send("ready")
    while len(seen) < count:
        while not conn.poll(0):
            pass
        seen.append(time.monotonic_ns() - int.from_bytes(conn.recv_bytes(), "little"))
        conn.send_bytes(b"!")
    conn.send(seen)


def _write(path: str, conn: Connection, number: int, seconds: float) -> None:
    """Commit as often as can be to an object of one's own."""
    log = _Watched(path)
    with Database(log) as database:
        stamp = database.root.buckets[number]
        conn.send("ready")
        conn.recv()
        end = time.monotonic() + seconds
        for value in itertools.count():
            if time.monotonic() >= end:
                break
            checkout(stamp)
            stamp.value = value.to_bytes(8, "big")
            transaction.commit()
    conn.send(log.ends)


# -- what starts them ------------------------------------------------------------


def _prepare(path: Path, writers: int = 0) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        shelf = Shelf()
        database.set_root(shelf)
        checkout(shelf)
        shelf.buckets.extend(Stamp() for _ in range(writers))
        transaction.commit()


def seen_elsewhere(bench: Bench) -> None:
    """From calling ``commit()`` here to having read the value there, by polling ``begin()``."""
    count = bench.size(2000, quick=300)
    path = bench.path()
    _prepare(path)
    took = []
    with (
        Others(_poll, [(str(path), count)]) as (conn,),
        Database(TransactionLog(path, sync=False)) as database,
    ):
        shelf = database.root
        for _ in range(count):
            checkout(shelf)
            stamp = shelf.stamp = time.monotonic_ns()
            transaction.commit()
            took.append(time.monotonic_ns() - stamp)
            if not conn.poll(PATIENCE_SECONDS):
                raise TimeoutError("the other process does not see a commit")
            conn.recv_bytes()
        seen = receive(conn)
    ours = statistics.median(seen) / 1000
    note = f"after {statistics.median(took) / 1000:.0f} us commit() has returned"
    reference = _pipe(count)
    bench.add(
        Row("commit seen elsewhere; ref.: a pipe", "us", ours, reference, limit=80, note=note)
    )


def _pipe(count: int) -> float:
    with Others(_echo_first, [(count,)]) as (conn,):
        for _ in range(count):
            conn.send_bytes(time.monotonic_ns().to_bytes(8, "little"))
            if not conn.poll(PATIENCE_SECONDS):
                raise TimeoutError("the other process does not answer")
            conn.recv_bytes()
        return statistics.median(receive(conn)) / 1000


def _echo_first(count: int, conn: Connection) -> None:
    _echo(conn, count)


def _compete(bench: Bench, writers: int, seconds: float) -> list[Ends]:
    path = bench.path()
    _prepare(path, writers)
    arguments = [(str(path), number, seconds) for number in range(writers)]
    with Others(_write, arguments) as conns:
        for conn in conns:
            conn.send("go")
        return [receive(conn) for conn in conns]


def hand_over(bench: Bench) -> None:
    """From giving the commit lock back to the other of two processes having it."""
    both = _compete(bench, 2, bench.size(3.0, quick=0.5))
    start = max(ends[0][0] for ends in both)
    stop = min(ends[-1][1] for ends in both)
    held = sorted((*ends, who) for who, each in enumerate(both) for ends in each)
    waits = [
        after[0] - before[1]
        for before, after in itertools.pairwise(held)
        if before[2] != after[2] and start <= before[0] and after[1] <= stop
    ]
    ours = statistics.median(waits) / 1e6 if waits else float("inf")
    share = len(waits) / len(held)
    note = f"{share:.0%} of {len(held):,} commits took the lock from the other"
    bench.add(Row("hand-over of the lock between two", "ms", ours, limit=0.5, note=note))


def fairness(bench: Bench) -> None:
    """Of four processes that write as fast as they can, the slowest beside the fastest."""
    counts = sorted(map(len, _compete(bench, 4, bench.size(4.0, quick=1.0))))
    what = "commits of four writers: slowest, fastest"
    note = json.dumps(counts)
    if (os.cpu_count() or 1) < len(counts):
        note += f" on {os.cpu_count()} processors"
    bench.add(
        Row(what, "", counts[0], counts[-1], limit=0.5, about=RATIO, at_most=False, note=note)
    )


ALL = (seen_elsewhere, hand_over, fairness)

if __name__ == "__main__":
    main(*ALL)
