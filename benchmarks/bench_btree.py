"""Sorted trees: one lookup in a fresh database, an ordered scan, two processes that put keys in.

ZODB's ``OOBTree``, written in C, is measured beside it if it is installed. Run with
``python -m benchmarks.bench_btree``.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import transaction

from benchmarks.measure import (
    RATIO,
    Bench,
    Row,
    child,
    in_turn,
    main,
    median_ratio,
    medians,
)
from benchmarks.others import Others, receive
from dobbin_like import BTree, ConflictError, Database, TransactionLog, checkout

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from dobbin_like.ids import Oid, Tid

_COUNT = 1_000_000


def _size(bench: Bench) -> int:
    return bench.size(_COUNT, quick=_COUNT // 10)


_FILL = """
import sys, time, transaction
from dobbin_like import BTree, Database, TransactionLog
with Database(TransactionLog(sys.argv[1], sync=False)) as database:
    database.set_root(BTree((n, n) for n in range(int(sys.argv[2]))))
    transaction.commit()
print(time.monotonic_ns())
"""

_FILL_ZODB = """
import sys, time, transaction
from BTrees.OOBTree import OOBTree
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage
database = DB(FileStorage(sys.argv[1]))
with database.transaction() as connection:
    connection.root()["tree"] = tree = OOBTree()
    tree.update({n: n for n in range(int(sys.argv[2]))})
database.close()
print(time.monotonic_ns())
"""


def _filled(bench: Bench) -> Path:
    path = bench.path()
    child(_FILL, path, _size(bench))
    return path


class _Counting(TransactionLog):
    """Knows which records were read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, read_only=True)
        self.read: set[Oid] = set()

    def load(self, oid: Oid, at: Tid | None = None) -> Any:
        self.read.add(oid)
        return super().load(oid, at)


def lookup(bench: Bench) -> None:
    """One key of many, in a database that was opened for it."""
    path, size = _filled(bench), _size(bench)
    taken, most = [], 0
    for number in range(bench.rounds(50)):
        key = number * 7919 % size
        with _Counting(path) as log, Database(log) as database:
            start = time.perf_counter()
            assert database.root[key] == key
            taken.append(time.perf_counter() - start)
            most = max(most, len(log.read))
        transaction.abort()
    what = f"lookup in a fresh tree of {size:,}"
    bench.add(Row(f"{what}: records read", "", most, limit=4))
    bench.add(Row(f"{what}: time", "us", statistics.median(taken) * 1e6))
    with Database(path) as database:
        tree = database.root
        keys = [number * 7919 % size for number in range(10_000)]
        plain = {key: key for key in tree}

        def look_up(mapping: Any) -> None:
            for key in keys:
                mapping[key]

        ours, reference = medians(
            in_turn(lambda: look_up(tree), lambda: look_up(plain), rounds=bench.rounds(15)),
            1e9 / len(keys),
        )
        bench.add(Row("lookup in memory, beside a dict", "ns", ours, reference))
    transaction.abort()


def scan(bench: Bench) -> None:
    """All items in order: read from the file, and in memory."""
    path, size = _filled(bench), _size(bench)

    def fresh() -> None:
        with Database(path) as database:
            deque(database.root.items(), 0)
        transaction.abort()

    if importlib.util.find_spec("BTrees") is None or importlib.util.find_spec("ZODB") is None:
        print("  skipped: ZODB is not installed", file=sys.stderr)
        return
    peer = bench.path()
    child(_FILL_ZODB, peer, size)
    for what, functions in (
        ("scan of {:,} items from the file", (fresh, _fresh_scan_of_zodb(peer))),
        ("scan of {:,} items in memory", (_scan(path), _scan_of_zodb(peer))),
    ):
        taken = in_turn(*functions, rounds=bench.rounds(10))
        ours, reference = medians(taken, 1e9 / size)
        ratio = median_ratio(*taken)
        note = "OOBTree of ZODB"
        row = Row(what.format(size), "ns", ours, reference, 2.0, RATIO, ratio=ratio, note=note)
        bench.add(row)
    transaction.abort()


_kept: list[Any] = []


def _scan(path: Path) -> Any:
    database = Database(path)
    _kept.append(database)
    tree = database.root
    return lambda: deque(tree.items(), 0)


def _open_zodb(path: Path) -> Any:
    from ZODB.DB import DB
    from ZODB.FileStorage import FileStorage

    # As large a cache as the tree needs: ours keeps what it has read, too.
    return DB(FileStorage(str(path), read_only=True), cache_size=1_000_000)


def _fresh_scan_of_zodb(path: Path) -> Any:
    def fresh() -> None:
        database = _open_zodb(path)
        connection = database.open(transaction.TransactionManager())
        deque(connection.root()["tree"].items(), 0)
        connection.close()
        database.close()

    return fresh


def _scan_of_zodb(path: Path) -> Any:
    database = _open_zodb(path)
    connection = database.open(transaction.TransactionManager())
    _kept.append((database, connection))
    tree = connection.root()["tree"]
    return lambda: deque(tree.items(), 0)


def build(bench: Bench) -> None:
    """Made from sorted input and committed at once; put in one by one; changed in place."""
    size = _size(bench) // 10
    manager = transaction.TransactionManager()
    with Database(TransactionLog(bench.path(), sync=False), transaction_manager=manager) as db:
        start = time.perf_counter()
        tree = BTree((n * 2, n) for n in range(size))
        made = time.perf_counter()
        db.set_root(tree)
        manager.commit()
        stored = time.perf_counter()
        checkout(tree)
        for number in range(size // 10):
            tree[number * 7919 % size * 2 + 1] = number
        added = time.perf_counter()
        manager.commit()
    scale = 1e6 / size
    bench.add(Row(f"tree of {size:,} from sorted items, a key", "us", (made - start) * scale))
    bench.add(Row("and its commit, a key", "us", (stored - made) * scale))
    bench.add(Row("a key put in", "us", (added - stored) * scale * 10))


def _put_in(path: str, conn: Connection, number: int, count: int, each: int) -> None:
    """Put in every second key, a few at a time; report the seconds and what has failed."""
    failed = 0
    with Database(TransactionLog(path, sync=False)) as database:
        conn.send("ready")
        conn.recv()
        start = time.perf_counter()
        for first in range(number, count, 2 * each):
            transaction.begin()
            tree = database.root
            checkout(tree)
            for key in range(first, min(first + 2 * each, count), 2):
                tree[key] = number
            try:
                transaction.commit()
            except ConflictError:
                failed += 1
                transaction.abort()
        conn.send((time.perf_counter() - start, failed))


def two_processes(bench: Bench) -> None:
    """Two processes put disjoint keys into the same leaves of one tree."""
    count = bench.size(20_000, quick=2_000)
    for each in (1, 10):
        path = bench.path()
        with Database(TransactionLog(path, sync=False)) as database:
            database.set_root(BTree())
            transaction.commit()
        arguments = [(str(path), number, count, each) for number in range(2)]
        with Others(_put_in, arguments) as conns:
            for conn in conns:
                conn.send("go")
            results = [receive(conn) for conn in conns]
        seconds = max(taken for taken, _ in results)
        failed = sum(failures for _, failures in results)
        what = f"two processes, {each} keys in a commit"
        bench.add(Row(f"{what}: failed", "", failed, limit=0, note=f"{count:,} keys"))
        bench.add(Row(f"{what}: a key", "us", seconds / count * 1e6))
        with Database(path) as database:
            assert list(database.root) == list(range(count))
        transaction.abort()


ALL = (lookup, scan, build, two_processes)

if __name__ == "__main__":
    main(*ALL)
