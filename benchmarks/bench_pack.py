"""Packing: how fast it goes, how long writers wait for it, what it takes from them and in memory.

Run with ``python -m benchmarks.bench_pack``. With more processes at work than there are
processors, the figures are those of the scheduler.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from benchmarks.measure import RATIO, VALUE, Bench, Row, child, main

if TYPE_CHECKING:
    from pathlib import Path

_FILL = """
import pathlib, random, sys, time
from transaction import TransactionManager
from benchmarks.model import PER_BUCKET, Bucket, Shelf, Stamp
from dobbin_like.database import Database
from dobbin_like.persistent import checkout
from dobbin_like.storage import TransactionLog
count, size = int(sys.argv[2]), int(sys.argv[3])
manager = TransactionManager()

def stamp():
    made = Stamp()
    vars(made)['value'] = random.randbytes(size)
    return made

with Database(TransactionLog(sys.argv[1], sync=False), transaction_manager=manager) as database:
    shelf = Shelf()
    database.set_root(shelf)
    manager.commit()
    for start in range(0, count, PER_BUCKET):
        checkout(shelf)
        made = [stamp() for _ in range(PER_BUCKET)]
        shelf.buckets.append(Bucket(made))
        manager.commit()
        checkout(*made[::3])  # A third of them has an older version.
        for item in made[::3]:
            item.value = random.randbytes(size)
        manager.commit()
print(time.monotonic_ns())
"""

_PACK = """
import json, resource, sys, time
from dobbin_like.upkeep.pack import pack_file
pack_file(sys.argv[2])  # What is imported and made once, is now.
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = pack_file(sys.argv[1])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(time.monotonic_ns())
memory = (peak - before) * 1024
print(json.dumps([report.after.bytes, report.seconds, report.after.objects, memory]))
"""

_WRITE = """
import json, statistics, subprocess, sys, threading, time
import transaction
from benchmarks import model
from benchmarks.measure import environment
from dobbin_like.database import Database
from dobbin_like.persistent import checkout
from dobbin_like.storage import TransactionLog
path, where, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
database = Database(TransactionLog(path, sync=False))
stamps = list(database.root.buckets[0].items)
ends = []

def write(until):
    number = 0
    while not until():
        transaction.begin()
        stamp = stamps[number % len(stamps)]
        checkout(stamp)
        stamp.value = number.to_bytes(8, "big")
        transaction.commit()
        ends.append(time.monotonic())
        number += 1

def figures():
    gaps = [after - before for before, after in zip(ends, ends[1:])]
    return len(gaps) / (ends[-1] - ends[0]), max(gaps), statistics.median(gaps)

start = time.monotonic()
write(lambda: time.monotonic() - start > seconds)
usual = figures()
ends.clear()
found = []
if where == "process":
    script = ("import sys; from dobbin_like.upkeep.pack import pack_file; "
              "r = pack_file(sys.argv[1]); "
              "print(r.seconds, r.locked_seconds)")
    packer = subprocess.Popen([sys.executable, "-c", script, path], env=environment(),
                              stdout=subprocess.PIPE, text=True)
    write(lambda: packer.poll() is not None)
    found = [float(word) for word in packer.communicate()[0].split()]
else:
    def pack():
        report = database.pack()
        found.extend([report.seconds, report.locked_seconds])
    thread = threading.Thread(target=pack)
    thread.start()
    write(lambda: not thread.is_alive())
print(time.monotonic_ns())
print(json.dumps([usual, figures(), found]))
"""


def _filled(bench: Bench, count: int, size: int) -> Path:
    path = bench.path()
    child(_FILL, path, count, size)
    return path


def _packed(bench: Bench, count: int, size: int) -> tuple[float, float, int, int]:
    """Pack a log with *count* objects; return its bytes, the seconds, objects, more memory."""
    path, small = _filled(bench, count, size), _filled(bench, 1000, 10)
    _, out = child(_PACK, path, small)
    path.unlink()
    bytes_after, seconds, objects, memory = json.loads(out)
    return bytes_after, seconds, objects, memory


def live_data(bench: Bench) -> None:
    """Bytes that are kept in a second, beside a copy of as many bytes that is synced."""
    for size, count in ((1000, 200_000), (100, 500_000)):
        number = bench.size(count, quick=count // 10)
        path, small = _filled(bench, number, size), _filled(bench, 1000, 10)
        rates, copies = [], []
        for _ in range(3):
            again = bench.path()
            shutil.copy(path, again)
            _, out = child(_PACK, again, small)
            kept, seconds, _, _ = json.loads(out)
            rates.append(kept / seconds / 1e6)
            copies.append(_copy_rate(again, bench.path()))
            again.unlink()
        limit = 50 if size == 1000 else None
        what = f"pack, states of {size} bytes"
        ours, reference = sorted(rates)[1], sorted(copies)[1]
        bench.add(Row(what, "MB/s", ours, reference, limit, VALUE, at_most=False))
        path.unlink()


def _copy_rate(source: Path, target: Path) -> float:
    script = """
import os, shutil, sys, time
start = time.monotonic()
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "wb") as target:
    shutil.copyfileobj(source, target, 1 << 20)
    os.fsync(target.fileno())
taken = time.monotonic() - start
print(time.monotonic_ns())
print(taken)
"""
    _, out = child(script, source, target)
    rate = target.stat().st_size / float(out) / 1e6
    target.unlink()
    return rate


def writers(bench: Bench) -> None:
    """The longest wait of one who commits without a pause, and how many commits he gets."""
    count = bench.size(1_000_000, quick=100_000)
    path = _filled(bench, count, 100)
    for where in ("process", "thread"):
        again = bench.path()
        shutil.copy(path, again)
        _, out = child(_WRITE, again, where, bench.size(3.0, quick=1.0))
        usual, packing, (seconds, locked) = json.loads(out)
        again.unlink()
        by = f"pack in another {where}, {count:,} objects: "
        longest, before = packing[1] * 1000, usual[1] * 1000
        note = f"locked {locked * 1000:.0f} ms; {seconds:.1f} s; at most {before:.0f} ms before"
        bench.add(Row(by + "longest wait", "ms", longest, None, 100, note=note))
        rates = packing[0], usual[0]
        bench.add(Row(by + "commits", "/s", *rates, 0.5, RATIO, at_most=False))
    path.unlink()


def memory(bench: Bench) -> None:
    """What a packing process takes at most, for each object: two sizes, and what is between."""
    few, many = bench.size(100_000, quick=20_000), bench.size(1_000_000, quick=100_000)
    less = _packed(bench, few, 100)
    more = _packed(bench, many, 100)
    grown = (more[3] - less[3]) / (more[2] - less[2])
    bench.add(
        Row(f"pack, memory from {few:,} to {many:,} objects", "bytes/object", grown, None, 64)
    )


ALL = (live_data, writers, memory)

if __name__ == "__main__":
    main(*ALL)
