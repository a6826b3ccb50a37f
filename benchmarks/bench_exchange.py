"""Moving in and out: exports as JSON and to SQLite, imports of JSON and of a Data.fs of ZODB.

Run with ``python -m benchmarks.bench_exchange``.
"""

from __future__ import annotations

import importlib.util
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import transaction

from benchmarks.measure import ROOT, Bench, Row, main
from dobbin_like.database import Database, store_of
from dobbin_like.exchange.foreign.mapping import Mapping
from dobbin_like.exchange.foreign.zodb import import_zodb
from dobbin_like.exchange.json_lines import export_json_file, import_json
from dobbin_like.exchange.new_database import NewDatabase
from dobbin_like.exchange.source import Source
from dobbin_like.exchange.sqlite import mirror
from dobbin_like.persistent import PersistentDict, checkout
from dobbin_like.search.snapshot_scan import SnapshotScan
from dobbin_like.storage import TransactionLog
from tests.helpers import plone_like

if TYPE_CHECKING:
    from pathlib import Path

CART = ("shop", "Cart")


def _shop(path: Path, count: int) -> None:
    """Write a database of *count* objects, of which most refer to another one."""
    with NewDatabase(path, "made") as database:
        root = {"first": database.writer.reference(1, CART)}
        database.put(0, ("dobbin_like.persistent", "PersistentDict"), {"_items": root})
        for oid in range(1, count):
            state = {
                "number": oid,
                "owner": f"owner {oid % 1000}",
                "price": oid * 1.5,
                "paid": oid % 2 == 0,
                "tags": ["a", "b"] if not oid % 10 else None,
                "gift_of": database.writer.reference(oid - 1, CART) if oid % 3 else None,
            }
            database.put(oid, CART, state)
        database.complete()


def _rows(path: Path, count: int) -> float:
    """Return the seconds that the same rows take without a database: the reference."""
    rows = ((n, n, f"owner {n % 1000}", n * 1.5, n % 2, '["a", "b"]', n - 1) for n in range(count))
    started = time.perf_counter()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE cart (oid INTEGER PRIMARY KEY, a, b, c, d, e, f)")
        connection.executemany("INSERT INTO cart VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
    path.unlink()
    return time.perf_counter() - started


def to_sqlite(bench: Bench) -> None:
    """All objects to a new file."""
    count = bench.size(1_000_000, quick=100_000)
    path, file = bench.path(), bench.path()
    _shop(path, count)
    with TransactionLog(path, read_only=True) as storage:
        started = time.perf_counter()
        mirror.make(storage, str(file))
        taken = time.perf_counter() - started
    reference = _rows(bench.path(), count)
    limit = 60 * count / 1_000_000
    bench.add(Row(f"{count:,} objects to SQLite", "s", taken, reference, limit=limit))
    for each in (path, file):
        each.unlink()


def delay(bench: Bench) -> None:
    """From the return of a commit until its rows are there, in another process."""
    if not (importlib.util.find_spec("click") and importlib.util.find_spec("rich")):
        print("  skipped: the extra cli is not installed", file=sys.stderr)
        return
    path, file = bench.path(), bench.path()
    count = bench.size(30, quick=5)
    with Database(path) as database:
        database.set_root(PersistentDict({f"k{n}": n for n in range(100_000)}))
        transaction.commit()
        call = [sys.executable, "-m", "dobbin_like", "export", str(path), "--to", "sqlite"]
        with subprocess.Popen(
            [*call, str(file), "--follow"], cwd=ROOT, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            taken = [_seen(database, file, n) for n in range(count)]
            process.terminate()
    bench.add(Row("a commit is in SQLite after", "s", statistics.median(taken)))
    bench.add(Row("the same, the longest", "s", max(taken), limit=1.0))
    for each in (path, file):
        each.unlink()


def _seen(database: Database, file: Path, number: int) -> float:
    query = "SELECT value FROM dobbin_state WHERE name = 'tid'"
    checkout(database.root)
    database.root[f"new {number}"] = number
    transaction.commit()
    started = time.perf_counter()
    with closing(sqlite3.connect(file)) as connection:
        while connection.execute(query).fetchone() != (database.tid,):
            time.sleep(0.002)
    return time.perf_counter() - started


def as_json(bench: Bench) -> None:
    """All objects as lines of JSON, and back."""
    count = bench.size(300_000, quick=30_000)
    path, lines, new = bench.path(), bench.path(), bench.path()
    _shop(path, count)
    with Database(path, read_only=True) as database, SnapshotScan(store_of(database)) as scan:
        started = time.perf_counter()
        export_json_file(Source(scan), str(lines))
        bench.add(Row("export as JSON", "objects/s", count / (time.perf_counter() - started)))
    with lines.open("rb") as source:
        started = time.perf_counter()
        import_json("lines", source, str(new))
        bench.add(Row("import of JSON", "objects/s", count / (time.perf_counter() - started)))
    for each in (path, lines, new):
        each.unlink()


def from_zodb(bench: Bench) -> None:
    """A tree of folders and documents with a catalog, as content management systems have it."""
    if importlib.util.find_spec("ZODB") is None:
        print("ZODB is not installed: no import of it is measured")
        return
    source, path = bench.path(), bench.path()
    count = plone_like.write(str(source), bench.size(50_000, quick=5_000))
    started = time.perf_counter()
    names = {"oldsite.Annotations": {"as": "dict"}}
    import_zodb(str(source), str(path), Mapping(names.get))
    taken = time.perf_counter() - started
    bench.add(Row(f"import of {count:,} objects of ZODB", "s", taken))
    path.unlink()


ALL = (to_sqlite, delay, as_json, from_zodb)

if __name__ == "__main__":
    main(*ALL)
