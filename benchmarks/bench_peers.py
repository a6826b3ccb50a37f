"""The same work done by others, for comparison: SQLite with pickles, and ZODB and Durus.

The two are measured if they are installed. Run with ``python -m benchmarks.bench_peers``.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pickle
import sqlite3
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.bench_commit import _Store as Ours
from benchmarks.measure import Bench, Row, in_turn, main, medians
from benchmarks.model import item_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _no_sync(_fd: int) -> None:
    """Stand for ``fsync`` where a peer can't be told to do without."""


class SQLite:
    """States as pickles in a table, in write-ahead mode."""

    def __init__(self, path: Path, *, sync: bool) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        execute = self.connection.execute
        execute("pragma journal_mode = wal")
        execute(f"pragma synchronous = {'full' if sync else 'off'}")
        execute("create table object (oid integer primary key, state blob)")
        execute("insert into object values (0, ?)", (pickle.dumps({"value": bytes(8)}),))
        self.number = 0

    def change(self, times: int) -> None:
        execute = self.connection.execute
        for _ in range(times):
            self.number += 1
            execute("begin immediate")
            state = pickle.dumps({"value": self.number.to_bytes(8, "big")})
            execute("update object set state = ? where oid = 0", (state,))
            execute("commit")

    def store(self, count: int, per_transaction: int) -> None:
        for start in range(0, count, per_transaction):
            self.connection.execute("begin immediate")
            self.connection.executemany(
                "insert into object (state) values (?)",
                [
                    (pickle.dumps(item_state(number)),)
                    for number in range(start, start + per_transaction)
                ],
            )
            self.connection.execute("commit")


class ZODB:
    """A FileStorage, which always syncs its commits."""

    def __init__(self, path: Path, *, sync: bool) -> None:
        import transaction
        from persistent.mapping import PersistentMapping
        from ZODB.DB import DB
        from ZODB.FileStorage import FileStorage

        self.manager = transaction.TransactionManager()
        storage = FileStorage(str(path))
        sys.modules[FileStorage.__module__].fsync = os.fsync if sync else _no_sync
        self.root = DB(storage).open(self.manager).root()
        self.root["stamp"] = self.stamp = PersistentMapping()
        self.manager.commit()
        self.number = 0

    def change(self, times: int) -> None:
        for _ in range(times):
            self.number += 1
            self.stamp["value"] = self.number.to_bytes(8, "big")
            self.manager.commit()


class Durus:
    """A FileStorage, which never syncs its commits; it has one thread, and no other processes."""

    def __init__(self, path: Path, *, sync: bool) -> None:
        from durus.connection import Connection
        from durus.file_storage import FileStorage
        from durus.persistent_dict import PersistentDict

        logging.getLogger("durus").setLevel(logging.WARNING)
        self.connection = Connection(FileStorage(str(path)))
        self.stamp = PersistentDict()
        self.connection.get_root()["stamp"] = self.stamp
        self.connection.commit()
        self.number = 0

    def change(self, times: int) -> None:
        for _ in range(times):
            self.number += 1
            self.stamp["value"] = self.number.to_bytes(8, "big")
            self.connection.commit()


def _installed() -> dict[str, Callable[..., Any]]:
    peers: dict[str, Callable[..., Any]] = {"SQLite": SQLite}
    for name, module, peer in (("ZODB", "ZODB", ZODB), ("Durus", "durus", Durus)):
        if importlib.util.find_spec(module):
            peers[name] = peer
        else:
            print(f"  skipped: {name} is not installed", file=sys.stderr)
    return peers


def commits(bench: Bench) -> None:
    """A commit of one changed attribute; ours beside that of each peer."""
    for name, peer in _installed().items():
        for sync in (False,) if peer is Durus else (False, True):
            _compare(bench, name, peer, sync=sync)


def _compare(bench: Bench, name: str, peer: Callable[..., Any], *, sync: bool) -> None:
    times = 50 if sync else 500
    ours = Ours(bench.path(), sync=sync)
    theirs = peer(bench.path(), sync=sync)
    taken = in_turn(
        lambda: ours.change(times),
        lambda: theirs.change(times),
        rounds=bench.rounds(11),
        waits=sync,
    )
    what = f"commit, {'' if sync else 'not '}synced; reference: {name}"
    bench.add(Row(what, "us", *medians(taken, 1e6 / times)))
    ours.database.close()


def bulk(bench: Bench) -> None:
    """100,000 pickles, 1,000 to a transaction, by SQLite; see ``bench_bulk`` for ours."""
    count = 20_000 if bench.quick else 100_000
    [taken] = in_turn(
        lambda: SQLite(bench.path(), sync=False).store(count, 1000), rounds=3, warm=0
    )
    rate = count / medians([taken])[0]
    bench.add(Row(f"SQLite stores {count:,} pickles", "objects/s", rate))


ALL = (commits, bulk)

if __name__ == "__main__":
    main(*ALL)
