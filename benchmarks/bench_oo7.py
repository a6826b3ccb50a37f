"""OO7 small, beside ZODB: traversals hot and cold, with changes, and an insertion.

Run with ``python -m benchmarks.bench_oo7``; :mod:`benchmarks.oo7` tells what it is.
"""

from __future__ import annotations

import json
import shutil
import statistics
from typing import TYPE_CHECKING

from benchmarks.measure import RATIO, Bench, Row, child, main, median_ratio
from benchmarks.peers.turns import installed

if TYPE_CHECKING:
    from pathlib import Path

_BUILD = """
import sys, time
from benchmarks.oo7 import build
from benchmarks.oo7.{peer} import Store, classes
store = Store(sys.argv[1])
store.set_root(build(classes))
store.commit()
store.close()
print(time.monotonic_ns())
"""

_RUN = """
import json, sys, time
from benchmarks.oo7 import VISITED, insert, traverse
from benchmarks.oo7.{peer} import Store, classes

def visit(part):
    pass

def swap(part):
    change(part)
    part.x, part.y = part.y, part.x

change = classes.change
taken = {{}}
def measure(what, function, *arguments):
    start = time.thread_time()
    result = function(*arguments)
    taken.setdefault(what, []).append(time.thread_time() - start)
    return result

def cold():
    global store, module
    store = Store(sys.argv[1])
    store.begin()
    module = store.module()
    return traverse(module, visit)

def update():
    store.begin()
    assert traverse(module, swap) == VISITED
    store.commit()

def add(turn):
    store.begin()
    insert(module, classes, turn)
    store.commit()

assert measure("T1 cold", cold) == VISITED
for turn in range(3):
    measure("T1 hot", traverse, module, visit)
for turn in range(3):
    measure("T2b", update)
for turn in range(10):
    measure("insert", add, turn)
store.close()
print(time.monotonic_ns())
print(json.dumps(taken))
"""

LIMITS = {"T1 cold": 0.5, "T1 hot": 0.6, "T2b": 0.6, "insert": 0.6}
"""Ours by ZODB's."""


def oo7(bench: Bench) -> None:
    """The operations, in this order: all but the cold one find what they need in memory."""
    peers = (*installed("ours", "zodb"), "plain")
    built = {peer: bench.path() for peer in peers}
    for peer, path in built.items():
        child(_BUILD.format(peer=peer), path)
    taken: dict[str, list[dict[str, float]]] = {peer: [] for peer in peers}
    for _ in range(bench.rounds(5)):
        for peer, path in built.items():
            taken[peer].append(_run(bench, peer, path))
    for what, limit in LIMITS.items():
        times = {peer: [each[what] * 1000 for each in rounds] for peer, rounds in taken.items()}
        plain = f"plain objects: {statistics.median(times.pop('plain')):.1f} ms"
        row = Row(f"OO7 {what}", "ms", *map(statistics.median, times.values()))
        row.note = "" if what == "T1 cold" else plain
        if "zodb" in times:
            row.what += "; ref.: ZODB"
            row.limit, row.about, row.ratio = limit, RATIO, median_ratio(*times.values())
        bench.add(row)


def _run(bench: Bench, peer: str, built: Path) -> dict[str, float]:
    """Return the median of each operation, in a copy of the database and in a new process."""
    path = bench.path()
    if built.exists():
        shutil.copyfile(built, path)
    times = json.loads(child(_RUN.format(peer=peer), path)[1])
    path.unlink(missing_ok=True)
    return {what: statistics.median(each) for what, each in times.items()}


ALL = (oo7,)

if __name__ == "__main__":
    main(*ALL)
