"""What a log meets over the years: other processes, forked workers, classes with other names.

Run with ``python -m benchmarks.bench_life``.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transaction import TransactionManager

from benchmarks.measure import RATIO, Bench, Row, child, in_turn, main, median_ratio, medians
from benchmarks.model import Shelf, Stamp
from benchmarks.others import Others, receive
from dobbin_like.database import Database
from dobbin_like.persistent import Persistent, checkout
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


class Article(Persistent):
    """What items are called after they were renamed."""


# -- what others have committed ---------------------------------------------------


def _change(path: str, conn: Connection, count: int, size: int) -> None:
    """Change so many objects of so many bytes in one commit, whenever asked to."""
    manager = TransactionManager()
    log = TransactionLog(path, sync=False)
    with Database(log, transaction_manager=manager) as database:
        shelf = Shelf()
        database.set_root(shelf)
        checkout(shelf)
        shelf.buckets.extend(Stamp() for _ in range(count))
        manager.commit()
        conn.send("ready")
        while number := conn.recv():
            manager.begin()
            checkout(*shelf.buckets)
            for stamp in shelf.buckets:
                stamp.value = number.to_bytes(size, "little")
            manager.commit()
            conn.send("done")


class _Follower:
    """Follows a process that changes objects, all of which are in memory here."""

    def __init__(self, path: Path, conn: Connection) -> None:
        self._conn = conn
        self._manager = TransactionManager()
        self.database = Database(path, transaction_manager=self._manager)

    def wait_for_news(self, number: int) -> None:
        self._manager.begin()
        for stamp in self.database.root.buckets:
            assert int.from_bytes(stamp.value, "little") == number - 1
        self._conn.send(number)
        receive(self._conn)

    def catch_up(self) -> None:
        self._manager.begin()

    def stop(self) -> None:
        self._conn.send(0)
        self.database.close()


def tailing(bench: Bench) -> None:
    """``begin()`` after another process has changed objects: few or many, small or big."""
    kinds = [(100, 100), (100, 100_000), (1000, 100)]
    taken: list[list[float]] = [[] for _ in kinds]
    paths = [bench.path() for _ in kinds]
    with (
        Others(_change, [(str(p), *kind) for p, kind in zip(paths, kinds, strict=True)]) as conns,
        ExitStack() as stack,
    ):
        followers = [_Follower(path, conn) for path, conn in zip(paths, conns, strict=True)]
        for follower in followers:
            stack.callback(follower.stop)
        for number in range(1, bench.rounds(41) + 1):
            for follower in followers:
                follower.wait_for_news(number)
            once = in_turn(*(follower.catch_up for follower in followers), rounds=1, warm=0)
            for times, (seconds,) in zip(taken, once, strict=True):
                times.append(seconds)
    few, big, many = medians(taken, 1e6)
    ratio = median_ratio(taken[1], taken[0])
    what = "catch up with 100 objects of 100 KB; reference: of 100 bytes"
    bench.add(Row(what, "us", big, few, limit=2, about=RATIO, ratio=ratio))
    what = "catch up with 1,000 objects of 100 bytes; reference: with 100"
    bench.add(Row(what, "us", many, few, ratio=median_ratio(taken[2], taken[0])))


# -- a class with another name --------------------------------------------------


def renaming(bench: Bench) -> None:
    """``rename_class()`` there and back again, synced, with as many instances as there are."""
    count = bench.size(1_000_000, quick=20_000)
    path = bench.path()
    shutil.copyfile(bench.filled(count), path)
    with path.open("rb") as file:
        os.fsync(file)  # Or the first commit would wait for all of it.
    names = "benchmarks.model.Item", f"{Article.__module__}.{Article.__qualname__}"
    if Article.__module__ == "__main__":
        names = names[0], "benchmarks.bench_life.Article"
    taken, grown = [], []
    with Database(path, transaction_manager=TransactionManager()) as database:
        for _ in range(bench.rounds(21)):
            before, start = path.stat().st_size, time.perf_counter()
            database.rename_class(*names)
            taken.append((time.perf_counter() - start) * 1000)
            grown.append(path.stat().st_size - before)
            database.rename_class(*reversed(names))
    what = f"rename a class of {count:,} instances"
    note = f"the first time {taken[0]:.1f} ms, at most {max(taken):.1f}"
    bench.add(Row(what, "ms", statistics.median(taken), limit=10, note=note))
    bench.add(Row(f"{what}: bytes logged", "bytes", max(grown), limit=1024))
    path.unlink()


# -- everything at once ------------------------------------------------------------

_PRELOAD = """
import sys, time
import benchmarks.model
from dobbin_like.database import Database
database = Database(sys.argv[1])
start = time.process_time()
assert database.preload() > int(sys.argv[2])
taken = time.process_time() - start
print(time.monotonic_ns())
print(taken)
"""

_READ = """
import sys, time
from benchmarks.model import items
from dobbin_like.database import Database
database = Database(sys.argv[1])
start = time.process_time()
assert sum(1 for item in items(database.root) if item.number) == int(sys.argv[2])
taken = time.process_time() - start
print(time.monotonic_ns())
print(taken)
"""


def preloading(bench: Bench) -> None:
    """``preload()``, beside touching one object after the other."""
    count = bench.size(100_000, quick=10_000)
    path = bench.filled(count)
    taken: list[list[float]] = [[], []]
    for _ in range(bench.rounds(7)):
        for times, script in zip(taken, (_PRELOAD, _READ), strict=True):
            times.append(float(child(script, path, count)[1]))
    what = f"preload {count:,} objects; reference: touch each"
    bench.add(Row(what, "s", *medians(taken), ratio=median_ratio(*taken)))


_FIND = """
import sys, time
import benchmarks.model
from dobbin_like.database import Database
database = Database(sys.argv[1])
how, count = sys.argv[3], int(sys.argv[2])
start = time.process_time()
if how == "few":
    assert sum(1 for _ in database.instances(benchmarks.model.Bucket)) == -(-count // 1000)
elif how == "all":
    assert sum(1 for _ in database.instances(benchmarks.model.Item)) == count
elif how == "census":
    assert database.census().objects > count
elif how == "walk":
    assert sum(1 for _ in database.walk()) > count
else:
    assert [way for _, way in database.referrers(count // 2)]
taken = time.process_time() - start
print(time.monotonic_ns())
print(taken)
"""


def finding(bench: Bench) -> None:
    """Looking through all objects, beside touching one after the other."""
    count = bench.size(100_000, quick=10_000)
    path = bench.filled(count)
    hows = {
        "few": f"instances() of one class in a thousand, of {count:,} objects",
        "all": "instances() of nearly all of them",
        "census": "census()",
        "walk": "walk()",
        "referrers": "referrers()",
    }
    taken: dict[str, list[float]] = {how: [] for how in ("touch", *hows)}
    for _ in range(bench.rounds(7)):
        for how, times in taken.items():
            script = _READ if how == "touch" else _FIND
            times.append(float(child(script, path, count, how)[1]))
    touch = taken["touch"]
    for how, what in hows.items():
        ours, reference = medians([taken[how], touch])
        ratio = median_ratio(taken[how], touch)
        bench.add(Row(f"{what}; reference: touch each", "s", ours, reference, ratio=ratio))


_WORKERS = """
import gc, json, multiprocessing, sys, time
from benchmarks.model import items
from dobbin_like.database import Database

path, how, count, workers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def pss():
    # In KiB. A page that n processes share counts as an nth in each of them.
    with open("/proc/self/smaps_rollup") as file:
        return int(file.read().partition("Pss:")[2].split()[0])

def work(conn):
    for job in iter(conn.recv, "stop"):
        if job == "read":
            assert sum(1 for item in items(database.root) if item.number) == count
            gc.collect()  # As it would come, in the life of a worker.
        conn.send(pss() if job == "measure" else None)

def ask(job):
    for conn in conns:
        conn.send(job)
    return [conn.recv() for conn in conns]

database = Database(path)
assert database.root is not None
if how != "cold":
    database.preload()
gc.collect()
if how == "frozen":
    gc.freeze()
context = multiprocessing.get_context("fork")
conns, processes = [], []
for _ in range(workers):
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there,))
    process.start()
    conns.append(here)
    processes.append(process)
ask("start")
figures = []
for job in ("wait", "read"):
    ask(job)
    figures.append(pss() + sum(ask("measure")))
for conn in conns:
    conn.send("stop")
for process in processes:
    process.join()
print(time.monotonic_ns())
print(json.dumps(figures))
"""


def forked_workers(bench: Bench) -> None:
    """The memory of a server and its workers, all of which have read everything."""
    if not Path("/proc/self/smaps_rollup").exists():
        return
    count, workers = bench.size(200_000, quick=10_000), 4
    path = bench.filled(count)
    figures: dict[str, Any] = {}
    for how in ("cold", "warm", "frozen"):
        out = child(_WORKERS, path, how, count, workers)[1]
        figures[how] = [kib / 1024 for kib in json.loads(out)]
    reference = figures["cold"][1]
    what = f"a server, {workers} workers, {count:,} objects read by each: preloaded, frozen"
    note = f"{figures['frozen'][0]:.0f} MiB before they read"
    bench.add(Row(what, "MiB", figures["frozen"][1], reference, limit=1, about=RATIO, note=note))
    note = f"{figures['warm'][0]:.0f} MiB before they read"
    what = "the same, preloaded, without gc.freeze()"
    bench.add(Row(what, "MiB", figures["warm"][1], reference, note=note))


ALL = (tailing, renaming, preloading, finding, forked_workers)

if __name__ == "__main__":
    # By its name: a class of this module is looked for there.
    from benchmarks import bench_life  # noqa: PLW0406

    main(*bench_life.ALL)
