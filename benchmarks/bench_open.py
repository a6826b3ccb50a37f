"""Opening a database, and reading all of it, from the start of Python on.

Run with ``python -m benchmarks.bench_open``.
"""

from __future__ import annotations

import pickle
import statistics
from typing import TYPE_CHECKING

from benchmarks.measure import (
    DIFFERENCE,
    RATIO,
    Bench,
    Row,
    child,
    main,
    median_ratio,
    medians,
)
from benchmarks.model import item_state

if TYPE_CHECKING:
    from pathlib import Path

_NOTHING = """
import time
print(time.monotonic_ns())
"""

_IMPORT = """
import time
import benchmarks.model
print(time.monotonic_ns())
"""

_OPEN = """
import sys, time
import benchmarks.model
from dobbin_like.database import Database
start = time.perf_counter()
database = Database(sys.argv[1])
assert database.root.name == "shelf"
taken = time.perf_counter() - start
print(time.monotonic_ns())
print(taken)
"""

_READ = """
import sys, time
from benchmarks.model import items
from dobbin_like.database import Database
database = Database(sys.argv[1])
total = sum(item.number for item in items(database.root))
print(time.monotonic_ns())
print(time.process_time())
assert total == sum(range(1000, int(sys.argv[2]) + 1000))
"""

_PICKLES = """
import pickle, sys, time
from benchmarks.model import plain_item
total = 0
with open(sys.argv[1], "rb") as file:
    load = pickle.Unpickler(file).load
    for _ in range(int(sys.argv[2])):
        total += plain_item(load()).number
print(time.monotonic_ns())
"""

_STREAM = """
import resource, sys, time
import transaction
from benchmarks.model import Shelf
from dobbin_like.database import Database
from dobbin_like.persistent import PersistentFile, checkout

with open(sys.argv[2], "rb") as source, Database(sys.argv[1]) as database:
    start = time.perf_counter()
    shelf = Shelf()
    database.set_root(shelf)
    checkout(shelf)
    shelf.value = PersistentFile(source)
    transaction.commit()
    written = time.perf_counter() - start
with open(sys.argv[2], "rb") as source, Database(sys.argv[1]) as database:
    start = time.perf_counter()
    stream = database.root.value
    stream.open()
    while block := stream.read(1 << 20):
        assert block == source.read(len(block))
    assert not source.read(1)
    read = time.perf_counter() - start
print(time.monotonic_ns())
try:
    # What getrusage() says counts the parent too, at the moment when it forked.
    with open("/proc/self/status") as file:
        peak = int(file.read().partition("VmHWM:")[2].split()[0])
except FileNotFoundError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak / 1024, written, read)
"""


def opening(bench: Bench) -> None:
    """From starting Python to the first attribute of the root, in databases of three sizes."""
    most = bench.size(1_000_000, quick=100_000)
    counts = (most // 100, most // 10, most)
    paths = [bench.filled(count) for count in counts]
    from_start: list[list[float]] = [[] for _ in counts]
    inside: list[list[float]] = [[] for _ in counts]
    bare: list[list[float]] = [[], []]
    for _ in range(bench.rounds(15)):
        for path, taken, opened in zip(paths, from_start, inside, strict=True):
            seconds, out = child(_OPEN, path)
            taken.append(seconds)
            opened.append(float(out))
        bare[0].append(child(_NOTHING)[0])
        bare[1].append(child(_IMPORT)[0])
    times = medians(from_start, 1000)
    nothing, importing = medians(bare, 1000)
    for count, taken, time in zip(counts[1:], from_start[1:], times[1:], strict=True):
        what = f"open {count:,} objects; reference {counts[0]:,}"
        ratio = median_ratio(taken, from_start[0])
        bench.add(Row(what, "ms", time, times[0], limit=2, about=RATIO, ratio=ratio))
    what = f"open {counts[-1]:,} objects; reference: Python and importing"
    bench.add(Row(what, "ms", times[-1], importing, limit=100, about=DIFFERENCE))
    bench.add(Row("importing; reference: Python alone", "ms", importing, nothing))
    opened_in = medians(inside, 1000)
    what = f"of which opening {counts[-1]:,} objects; reference {counts[0]:,}"
    bench.add(Row(what, "ms", opened_in[-1], opened_in[0]))


def reading_cold(bench: Bench) -> None:
    """Every one of 100,000 objects, from starting Python; beside one file of pickles."""
    count = bench.size(100_000, quick=20_000)
    path, pickles = bench.filled(count), bench.path()
    _write_pickles(pickles, count)
    ours, reference, busy = [], [], []
    for _ in range(bench.rounds(11)):
        taken, out = child(_READ, path, count)
        ours.append(taken)
        busy.append(float(out))
        reference.append(child(_PICKLES, pickles, count)[0])
    figures = statistics.median(ours), statistics.median(reference)
    limit = None if bench.quick else 0.6
    note = f"of which it had a processor for {statistics.median(busy):.2f} s"
    bench.add(Row(f"read {count:,} objects cold", "s", *figures, limit=limit, note=note))


def _write_pickles(path: Path, count: int) -> None:
    with path.open("wb") as file:
        for number in range(count):
            pickle.dump(item_state(number), file, 5)


def streams(bench: Bench) -> None:
    """1 GiB stored and read back: the most memory that the process ever had."""
    size = bench.size(1024, quick=64) << 20
    source, path = bench.path(), bench.path()
    block = bytes(range(256)) * 4096
    with source.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
    peak, written, read = map(float, child(_STREAM, path, source)[1].split())
    rate = size / (1 << 20)
    what = f"stream of {size >> 20} MiB: peak of memory"
    note = f"stored at {rate / written:.0f} MiB/s, read and compared at {rate / read:.0f}"
    bench.add(Row(what, "MiB", peak, limit=100, note=note))
    source.unlink()
    path.unlink()


ALL = (opening, reading_cold, streams)

if __name__ == "__main__":
    main(*ALL)
