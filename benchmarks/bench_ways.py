"""What a program writes: a block, a thousand tasks of asyncio, workers that share jobs.

Run with ``python -m benchmarks.bench_ways``.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from transaction import ThreadTransactionManager

from benchmarks.measure import DIFFERENCE, Bench, Row, fresh, in_turn, main, medians
from benchmarks.model import Stamp
from benchmarks.others import Others, receive
from dobbin_like import Database, JobQueue, PersistentDict, PersistentList, checkout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from multiprocessing.connection import Connection
    from pathlib import Path

LOOPS = 1000
TASKS = 1000
WORKERS = 4
_FIRST = 50
_BEAT_SECONDS = 0.001
_BYTES = 100  # As many as a commit appends.
_CHANGED = b"changed "


def _commit(database: Database[Any], manager: Any, loops: range) -> None:
    for _ in loops:
        manager.begin()
        _ = database.root
        manager.commit()


def _block(database: Database[Any], _manager: Any, loops: range) -> None:
    for _ in loops:
        with database.transaction():
            pass


def block(bench: Bench) -> None:
    """A block that changes nothing, beside begin(), the root and commit()."""
    loops, manager = range(LOOPS), ThreadTransactionManager()
    with Database[Any](bench.path(), sync=False, transaction_manager=manager) as database:
        with database.transaction():
            database.set_root(Stamp())
        with database.reading() as root:
            assert root.value  # What a program uses has been read.
        ours, bare = fresh(_block), fresh(_commit)
        taken = in_turn(
            lambda: ours(database, manager, loops),
            lambda: bare(database, manager, loops),
            rounds=bench.rounds(41),
        )
        times = medians(taken, 1e6 / len(loops))
        bench.add(Row("db.transaction()", "us", *times, limit=3.0, about=DIFFERENCE))


async def _change(database: Database[Any], number: int, pause: float) -> None:
    await asyncio.sleep(pause)
    async with database.transaction() as stamps:
        checkout(stamps[number])
        stamps[number].value = _CHANGED


async def _append(fd: int, number: int, pause: float) -> None:
    await asyncio.sleep(pause)
    await asyncio.to_thread(_append_synced, fd, number)


def _append_synced(fd: int, number: int) -> None:
    os.pwrite(fd, bytes(_BYTES), number * _BYTES)
    os.fdatasync(fd)


async def _beats(stalls: list[float]) -> None:
    """Note by how much the loop is late, again and again."""
    before = time.perf_counter()
    while True:
        await asyncio.sleep(_BEAT_SECONDS)
        now = time.perf_counter()
        stalls.append(now - before - _BEAT_SECONDS)
        before = now


async def _all(
    task: Callable[[int, float], Awaitable[None]], count: int, over: float
) -> tuple[float, float]:
    """Let *count* tasks begin *over* so many seconds; return what it took, the longest stall."""
    stalls: list[float] = []
    rng = random.Random(0)
    began = time.perf_counter()
    work = [asyncio.create_task(task(number, rng.uniform(0, over))) for number in range(count)]
    if over:
        await asyncio.sleep(0)  # Making a thousand tasks is a stall, and no fault of a store.
    heart = asyncio.create_task(_beats(stalls))
    await asyncio.gather(*work)
    took = time.perf_counter() - began
    await asyncio.sleep(2 * _BEAT_SECONDS)
    heart.cancel()
    return took, max(stalls)


async def _warm(
    task: Callable[[int, float], Awaitable[None]], count: int, over: float
) -> tuple[float, float]:
    """Do as _all(), of a program that has run a while: modules and threads are there.

    And are no garbage: a collection of all that the program has would be the longest stall.
    """
    await _all(task, min(count, _FIRST), 0.1)
    gc.collect()
    gc.freeze()
    try:
        return await _all(task, count, over)
    finally:
        gc.unfreeze()


def tasks(bench: Bench) -> None:
    """A thousand tasks, each with an object of its own, commit to stable storage.

    Beside tasks that append as many bytes in a thread, and sync them.
    """
    count = bench.size(TASKS, quick=TASKS)
    for what, over in (("that come within a second", 1.0), ("at once", 0.0)):
        with Database[Any](bench.path()) as database:
            with database.transaction():
                database.set_root(PersistentList(Stamp() for _ in range(count)))
            change = partial(_change, database)
            took, stall = asyncio.run(_warm(change, count, over))
            with database.reading() as stamps:
                assert all(stamp.value == _CHANGED for stamp in stamps)
        with bench.path().open("wb") as file:
            append = partial(_append, file.fileno())
            bare, bare_stall = asyncio.run(_warm(append, count, over))
        bench.add(Row(f"{count:,} tasks {what}", "commits/s", count / took, count / bare))
        limit = 5.0 if over else None
        stalls = stall * 1e3, bare_stall * 1e3
        bench.add(Row("their longest stall of the loop", "ms", *stalls, limit=limit))


def _work(path: Path, conn: Connection) -> None:
    with Database[Any](path) as database:
        database.preload()
        conn.send("ready")
        conn.recv()
        done = database.root["done"]
        for claim in database.root["jobs"].claims(timeout=0.5):
            with claim as item:
                checkout(done)
                done[item] = item
            last = time.monotonic()
        conn.send((last, sum(database.stats().conflicts.values())))


def jobs(bench: Bench) -> None:
    """Four processes do jobs, of one short transaction each, to stable storage."""
    count, path = bench.size(2000, quick=500), bench.path()
    with Database[Any](path) as database, database.transaction():
        database.set_root(PersistentDict(jobs=JobQueue(), done=PersistentDict()))
        for item in range(count):
            database.root["jobs"].put(item)
    with Others(_work, [(path,)] * WORKERS) as conns:
        began = time.monotonic()
        for conn in conns:
            conn.send("go")
        ended, failed = zip(*map(receive, conns), strict=True)
    with Database[Any](path, read_only=True) as database, database.reading() as root:
        assert sorted(root["done"]) == [*range(count)]
    took = max(ended) - began
    bench.add(Row(f"jobs of {WORKERS} workers", "jobs/s", count / took))
    bench.add(Row("transactions that fail, for each job", "", sum(failed) / count, limit=0.1))


ALL = (block, tasks, jobs)

if __name__ == "__main__":
    main(*ALL)
