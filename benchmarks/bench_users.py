"""Objects as users have them, and the same work done by ZODB, Durus and SQLite.

Run with ``python -m benchmarks.bench_users``.
"""

from __future__ import annotations

import statistics

from benchmarks.measure import RATIO, Bench, Row, child, main, median_ratio
from benchmarks.peers import NAMES, changes_in_turn, installed

ALL_PEERS = ("durus", "zodb", "sqlite")


def beside(
    bench: Bench,
    what: str,
    unit: str,
    taken: dict[str, list[float]],
    limits: dict[str, float],
    *,
    scale: float = 1,
    note: str = "",
) -> None:
    """Add a row for each peer: our time beside its own, and what is wanted of the ratio."""
    ours = taken["ours"]
    for peer, theirs in taken.items():
        if peer == "ours":
            continue
        figures = statistics.median(ours) * scale, statistics.median(theirs) * scale
        bench.add(
            Row(
                f"{what}; ref.: {NAMES[peer]}",
                unit,
                *figures,
                limit=limits.get(peer),
                about=RATIO,
                ratio=median_ratio(ours, theirs),
                note=note,
            )
        )


def commits(bench: Bench) -> None:
    """From ``begin()`` over setting one attribute to the return of ``commit()``."""
    peers = installed("ours", *ALL_PEERS, "floor")
    taken = changes_in_turn(bench, peers, sync=False, times=500, rounds=bench.rounds(25))
    beside(bench, "change, not synced", "us", taken, {"durus": 0.6, "zodb": 0.5}, scale=1e6)
    times = 10 if bench.quick else 50
    taken = changes_in_turn(bench, peers, sync=True, times=times, rounds=bench.rounds(15))
    beside(bench, "change, synced", "us", taken, {}, scale=1e6)


_FILL = """
import sys, time
from benchmarks.peers import store_of
store = store_of(sys.argv[1])(sys.argv[2])
start = time.perf_counter(), time.process_time()
store.fill(int(sys.argv[3]))
taken = time.perf_counter() - start[0], time.process_time() - start[1]
store.close()
print(time.monotonic_ns())
print(*taken)
"""

_READ = """
import sys, time
from benchmarks.peers.{peer} import Store
total = Store(sys.argv[1]).read()
print(time.monotonic_ns())
count = int(sys.argv[2])
assert total == count * (count - 1) // 2
"""


def many(bench: Bench) -> None:
    """100,000 things made and committed, a thousand to a transaction; read from a cold start."""
    count = 20_000 if bench.quick else 100_000
    peers = installed("ours", *ALL_PEERS)
    made: dict[str, list[float]] = {peer: [] for peer in peers}
    read: dict[str, list[float]] = {peer: [] for peer in peers}
    for _ in range(bench.rounds(5)):
        for peer in peers:
            path = bench.path()
            busy = child(_FILL, peer, path, count)[1].split()[1]
            made[peer].append(float(busy) / count)
            read[peer].append(child(_READ.format(peer=peer), path, count)[0])
    limits = {"zodb": 1 / 2, "sqlite": 1 / 0.8}
    beside(bench, f"make {count:,}, each", "us", made, limits, scale=1e6)
    limits = {"zodb": 0.45, "sqlite": 1.4}
    beside(bench, f"read {count:,} cold", "s", read, {} if bench.quick else limits)


ALL = (commits, many)

if __name__ == "__main__":
    main(*ALL)
