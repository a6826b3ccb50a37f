"""Stores that do the same work, each in a module of its own, so that it is all that is imported.

Each module has a ``Thing``, which is an object as users have them (two numbers, a text and a
list of references to others), and a ``Store`` with the same methods::

    Store(path, sync=False)    open it, or make it
    one(references)            commit one thing that has so many others in its list; none: no
                               list and no text, just two numbers
    change(times)              commits of one attribute of that thing, from begin() to commit()
    fill(count)                make and commit so many things, a thousand to a transaction
    read()                     visit all of them, return the sum of their first numbers
    first()                    the first attribute of the root
    close()

``ours`` stands beside ``zodb``, ``durus`` and ``sqlite``; ``floor`` can only change. Not synced
means the same everywhere: the operating system has it, and nobody waits for the disk.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Bench
from benchmarks.others import Others, receive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

PER_TRANSACTION = 1000
REFERENCES = 5
"""Of the one thing that is changed; those of many have 0 to 10."""

_NEEDS = {"ours": "dobbin_like", "zodb": "ZODB", "durus": "durus", "sqlite": "sqlite3"}

NAMES = {"zodb": "ZODB", "durus": "Durus", "sqlite": "SQLite", "floor": "floor"}


def text_of(number: int) -> str:
    """Return the text that a thing has."""
    return f"this is what is said of thing number {number}"


def how_many(number: int) -> int:
    """Return how many others a thing refers to: those that were made before it."""
    return min(number, number % 11)


def make(thing: Callable[[int, list[Any]], Any], count: int) -> Iterator[list[Any]]:
    """Yield lists of new things, a thousand in each."""
    last: list[Any] = []
    for start in range(0, count, PER_TRANSACTION):
        made = []
        for number in range(start, min(start + PER_TRANSACTION, count)):
            references = how_many(number)
            new = thing(number, last[-references:] if references else [])
            last = [*last[-9:], new]
            made.append(new)
        yield made


def installed(*peers: str) -> list[str]:
    """Return those of *peers* that are installed; say which are not."""
    found = []
    for peer in peers:
        if importlib.util.find_spec(_NEEDS.get(peer, "transaction")):
            found.append(peer)
        else:
            print(f"  skipped: {NAMES[peer]} is not installed", file=sys.stderr)
    return found


def store_of(peer: str) -> Any:
    """Return the ``Store`` of a peer."""
    return importlib.import_module(f"{__name__}.{peer}").Store


def _serve(peer: str, conn: Connection, path: str, sync: bool) -> None:
    """Do what comes through the pipe, and answer how long it took."""
    clock = time.perf_counter if sync else time.thread_time
    store = store_of(peer)(path, sync=sync)
    store.one(REFERENCES)
    conn.send("ready")
    while True:
        try:
            times = conn.recv()
        except EOFError:
            break
        start = clock()
        store.change(times)
        conn.send(clock() - start)
    store.close()


def changes_in_turn(
    bench: Bench, peers: list[str], *, sync: bool, times: int, rounds: int
) -> dict[str, list[float]]:
    """Return for each peer how many seconds one change took, in each round; they take turns.

    Each has a process of its own: all but one would else take part in a thread's transactions.
    """
    taken: dict[str, list[float]] = {peer: [] for peer in peers}
    with Others(_serve, [(peer, str(bench.path()), sync) for peer in peers]) as conns:
        for turn in range(rounds + 1):
            for peer, conn in zip(peers, conns, strict=True):
                conn.send(times)
                seconds = receive(conn)
                if turn:  # The first one is to warm up.
                    taken[peer].append(seconds / times)
    return taken
