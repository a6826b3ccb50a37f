"""Which peers there are, and processes of theirs that take turns."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from benchmarks.others import Others, receive
from benchmarks.peers import REFERENCES
from benchmarks.peers.registry import PEERS, is_installed, store_of

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from benchmarks.measure import Bench

NAMES = {name: peer.title for name, peer in PEERS.items() if name != "ours"}
"""What a peer is called, where it is not called as its module is."""


def installed(*peers: str) -> list[str]:
    """Return those of *peers* that are installed; say which are not."""
    found = []
    for peer in peers:
        if is_installed(peer):
            found.append(peer)
        else:
            print(f"  skipped: {NAMES.get(peer, peer)} is not installed", file=sys.stderr)
    return found


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
