"""Objects as users have them, and the same work done by ZODB, Durus and SQLite.

Run with ``python -m benchmarks.bench_users``.
"""

from __future__ import annotations

import statistics

from benchmarks.measure import DIFFERENCE, RATIO, Bench, Row, child, main, median_ratio
from benchmarks.peers.turns import NAMES, changes_in_turn, installed

ALL_PEERS = ("durus", "zodb", "sqlite")


def beside(
    bench: Bench,
    what: str,
    unit: str,
    taken: dict[str, list[float]],
    limits: dict[str, float],
    *,
    scale: float = 1,
) -> None:
    """Add a row for each peer: our time beside its own, and what is wanted of the ratio."""
    ours = taken["ours"]
    for peer, theirs in taken.items():
        if peer == "ours":
            continue
        figures = statistics.median(ours) * scale, statistics.median(theirs) * scale
        bench.add(
            Row(
                f"{what}; ref.: {NAMES.get(peer, peer)}",
                unit,
                *figures,
                limit=limits.get(peer),
                about=RATIO,
                ratio=median_ratio(ours, theirs),
            )
        )


def commits(bench: Bench) -> None:
    """From ``begin()`` over setting one attribute to the return of ``commit()``."""
    peers = installed("ours", *ALL_PEERS, "floor")
    taken = changes_in_turn(bench, peers, sync=False, times=500, rounds=bench.rounds(25))
    beside(bench, "change, not synced", "us", taken, {"durus": 0.6, "zodb": 0.5}, scale=1e6)
    times = bench.size(50, quick=10)
    taken = changes_in_turn(bench, peers, sync=True, times=times, rounds=bench.rounds(15))
    beside(bench, "change, synced", "us", taken, {}, scale=1e6)


_FILL = """
import sys, time
from benchmarks.peers.{peer} import Store
store = Store(sys.argv[1])
start = time.thread_time()
store.fill(int(sys.argv[2]))
taken = time.thread_time() - start
store.close()
print(time.monotonic_ns())
print(taken)
"""

_READ = """
import sys, time
from benchmarks.peers.{peer} import Store
total = Store(sys.argv[1]).read()
taken = time.process_time()
print(time.monotonic_ns())
print(taken)
count = int(sys.argv[2])
assert total == count * (count - 1) // 2
"""

_FIRST = """
import sys, time
from benchmarks.peers.{peer} import Store
assert Store(sys.argv[1]).first() == "root"
taken = time.process_time()
print(time.monotonic_ns())
print(taken)
"""

_COMMIT = """
import sys, time
from benchmarks.peers.{peer} import Store
Store(sys.argv[1]).one(0)
taken = time.process_time()
print(time.monotonic_ns())
print(taken)
"""

_OURS = "from dobbin_like import Database, Persistent, PersistentDict, checkout"
"""What nearly every program imports; importing the package alone imports nothing of it."""

_IMPORT = """
import time
{statement}
taken = time.process_time()
print(time.monotonic_ns())
print(taken)
"""


def _run(script: str, *arguments: object) -> float:
    """Return the seconds that *script* says it had a processor."""
    return float(child(script, *arguments)[1])


def many(bench: Bench) -> None:
    """100,000 things made and committed, a thousand to a transaction; read from a cold start."""
    count = bench.size(100_000, quick=20_000)
    peers = installed("ours", *ALL_PEERS)
    made: dict[str, list[float]] = {peer: [] for peer in peers}
    read: dict[str, list[float]] = {peer: [] for peer in peers}
    for _ in range(1 if bench.smallest else 3):
        for peer in peers:
            path = bench.path()
            made[peer].append(_run(_FILL.format(peer=peer), path, count) / count)
            read[peer].append(_run(_READ.format(peer=peer), path, count))
    limits = {"zodb": 1 / 2, "sqlite": 1 / 0.8}
    beside(bench, f"make {count:,}, each", "us", made, limits, scale=1e6)
    limits = {"zodb": 0.45, "sqlite": 1.4}
    beside(bench, f"read {count:,} cold", "s", read, {} if bench.quick else limits)


def starting(bench: Bench) -> None:
    """From starting Python to an attribute and to a commit; and what importing takes of it."""
    peers = installed("ours", *ALL_PEERS)
    paths = {peer: bench.path() for peer in peers}
    for peer, path in paths.items():
        _run(_FILL.format(peer=peer), path, bench.size(10_000, quick=10_000))
    read: dict[str, list[float]] = {peer: [] for peer in peers}
    committed: dict[str, list[float]] = {peer: [] for peer in peers}
    imports: dict[str, list[float]] = {_OURS: [], "import transaction": []}
    for _ in range(bench.rounds(15)):
        for peer, path in paths.items():
            read[peer].append(_run(_FIRST.format(peer=peer), path))
            committed[peer].append(_run(_COMMIT.format(peer=peer), bench.path()))
        for statement, times in imports.items():
            times.append(_run(_IMPORT.format(statement=statement)))
    beside(bench, "start to the first attribute", "ms", read, {"zodb": 0.75}, scale=1000)
    beside(bench, "start to the first commit", "ms", committed, {}, scale=1000)
    figures = [statistics.median(times) * 1000 for times in imports.values()]
    what = "import what a program uses; ref.: transaction alone"
    bench.add(Row(what, "ms", *figures, limit=30, about=DIFFERENCE))


ALL = (commits, many, starting)

if __name__ == "__main__":
    main(*ALL)
