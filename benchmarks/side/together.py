"""Several processes, or threads, at one store: writers, and a reader beside a writer."""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.others import Others, receive
from benchmarks.peers.registry import PEERS, store_of

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

MOST_WRITERS = 8
"""Things that are there for them, one for each."""

Outcome = tuple[float, int, list[float]]
"""How long one writer took, its attempts, and the seconds of each increment."""


def adds(store: Any, seconds: float) -> Outcome:
    """Increment for that long, and at least once: the last increment may end later."""
    tried, taken = 0, []
    begin = began = time.monotonic()
    while not taken or began < begin + seconds:
        tried += store.add()
        now = time.monotonic()
        taken.append(now - began)
        began = now
    return began - begin, tried, taken


def _write(
    peer: str, conn: Connection, path: str, sync: bool, indexes: list[int], seconds: float
) -> None:
    """Increment as often as can be, in a thread for each index; one needs no other thread."""
    store = store_of(peer)(path, sync=sync)
    if len(indexes) == 1:
        store.pick(indexes[0])
        store.add()  # What is imported for the first commit is imported now.
        conn.send("ready")
        conn.recv()
        conn.send([adds(store, seconds)])
        return
    outcomes: list[Outcome] = []
    begun = threading.Barrier(len(indexes) + 1)

    def run(index: int) -> None:
        try:
            mine = store.another()
            mine.pick(index)
            mine.add()
        except BaseException:
            begun.abort()
            raise
        begun.wait()
        outcomes.append(adds(mine, seconds))

    threads = [threading.Thread(target=run, args=(index,)) for index in indexes]
    for thread in threads:
        thread.start()
    conn.send("ready")
    conn.recv()
    begun.wait()
    for thread in threads:
        thread.join()
    assert len(outcomes) == len(indexes)
    conn.send(outcomes)


def prepare(peer: str, path: Path, *, sync: bool) -> None:
    """Make a thing for each of the writers."""
    store = store_of(peer)(path, sync=sync)
    store.fill(MOST_WRITERS)
    store.close()


def write(
    peer: str, path: Path, shape: list[list[int]], *, sync: bool, seconds: float
) -> dict[str, float]:
    """Let processes increment the things of the indexes that *shape* has for each.

    Raises AssertionError: What was acknowledged is not there afterwards, or more than that is.
    """
    jobs = [(peer, str(path), sync, indexes, seconds) for indexes in shape]
    with Others(_write, jobs) as conns:
        for conn in conns:
            conn.send("go")
        outcomes: list[Outcome] = [each for conn in conns for each in receive(conn)]
    if not PEERS[peer].is_limit:
        first = len(outcomes)  # Before the time is taken.
        check(peer, path, sum(len(taken) for _, _, taken in outcomes) + first, sync=sync)
    return figures(outcomes)


def figures(outcomes: list[Outcome]) -> dict[str, float]:
    """Return what several writers have done: each in its own time, so that nothing is late."""
    rates = [len(taken) / took for took, _, taken in outcomes]
    waits = sorted(seconds for _, _, taken in outcomes for seconds in taken)
    tried = sum(tried for _, tried, _ in outcomes)
    return {
        "rate": sum(rates),
        "wasted": (tried - len(waits)) / tried * 100,
        "fair": min(rates) / max(rates),
        "p99": waits[int(len(waits) * 0.99)] * 1000,
    }


def check(peer: str, path: Path, count: int, *, sync: bool) -> None:
    """Raise AssertionError unless *count* was added to the things."""
    store = store_of(peer)(path, sync=sync)
    found = sum([thing.number for thing in store.everything()])
    store.close()
    before = sum(range(MOST_WRITERS))
    assert found - before == count, (peer, found - before, count)


# -- one who reads, beside one who writes ----------------------------------------------


def _put(peer: str, conn: Connection, path: str, seconds: float) -> None:
    """Write the time, as often as can be."""
    store = store_of(peer)(path)
    store.pick(0)
    store.put(time.monotonic_ns())
    conn.send("ready")
    conn.recv()
    count, begin = 0, time.monotonic()
    while (took := time.monotonic() - begin) < seconds:
        store.put(time.monotonic_ns())
        count += 1
    conn.send(count / took)


def _get(peer: str, conn: Connection, path: str, seconds: float) -> None:
    """Read it, as often as can be; tell how old each new one is that is seen."""
    store = store_of(peer)(path)
    store.pick(0)
    last, ages = store.get(), []
    conn.send("ready")
    conn.recv()
    count, begin = 0, time.monotonic()
    while (took := time.monotonic() - begin) < seconds:
        seen = store.get()
        count += 1
        if seen != last:
            ages.append(time.monotonic_ns() - seen)
            last = seen
    conn.send((count / took, statistics.median(ages) if ages else float("nan")))


def _act(peer: str, conn: Connection, role: str, path: str, seconds: float) -> None:
    {"put": _put, "get": _get}[role](peer, conn, path, seconds)


def read_and_write(peer: str, path: Path, seconds: float) -> dict[str, float]:
    """Let one process write the time into an attribute, and another one read it."""
    jobs = [(peer, role, str(path), seconds) for role in ("put", "get")]
    with Others(_act, jobs) as (writer, reader):
        for conn in (writer, reader):
            conn.send("go")
        writes = receive(writer)
        reads, age = receive(reader)
    return {"writes": writes, "reads": reads, "age": age / 1000}
