"""OO7 small, beside ZODB: traversals hot and cold, with changes, and an insertion.

Run with ``python -m benchmarks.bench_oo7``; :mod:`benchmarks.oo7` tells what it is.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.measure import RATIO, Bench, Row, environment, main, median_ratio
from benchmarks.peers.turns import installed

if TYPE_CHECKING:
    from pathlib import Path

OPERATIONS = {"T1 cold": "t1_cold", "T1 hot": "t1", "T2b": "t2b", "insert": "insert"}
LIMITS = {"T1 cold": 0.5, "T1 hot": 0.6, "T2b": 0.6, "insert": 0.6}
"""Ours by ZODB's."""


def oo7(bench: Bench) -> None:
    """Four operations; ``side.oo7`` has all."""
    peers = (*installed("ours", "zodb"), "plain")
    taken: dict[str, list[dict[str, float]]] = {peer: [] for peer in peers}
    built = {peer: bench.path() for peer in peers}
    for peer, path in built.items():
        _child("build", peer, path, bench)
    for _ in range(bench.rounds(5)):
        for peer, path in built.items():
            copied = bench.path()
            if path.exists():
                shutil.copyfile(path, copied)
            taken[peer].append(json.loads(_child("measure", peer, copied, bench)))
    for what, limit in LIMITS.items():
        name = OPERATIONS[what]
        times = {peer: [each[name] for each in rounds] for peer, rounds in taken.items()}
        plain = f"plain objects: {statistics.median(times.pop('plain')):.1f} ms"
        row = Row(f"OO7 {what}", "ms", *map(statistics.median, times.values()))
        row.note = "" if what == "T1 cold" else plain
        if "zodb" in times:
            row.what += "; ref.: ZODB"
            row.limit, row.about, row.ratio = limit, RATIO, median_ratio(*times.values())
        bench.add(row)


def _child(what: str, peer: str, path: Path, bench: Bench) -> str:
    """Return what a fresh process prints that builds a database, or measures one."""
    command = [sys.executable, "-m", "benchmarks.oo7.run", what, peer, str(path)]
    size = {"OO7_SIZE": "tiny"} if bench.smallest else {}
    done = subprocess.run(
        command, env={**environment(), **size}, check=True, stdout=subprocess.PIPE
    )
    return done.stdout.decode()


ALL = (oo7,)

if __name__ == "__main__":
    main(*ALL)
