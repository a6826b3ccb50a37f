"""One commit of one changed attribute: time and bytes.

Run with ``python -m benchmarks.bench_commit``.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

from transaction import TransactionManager

from benchmarks.measure import RATIO, Bench, Row, in_turn, main, median_ratio, medians
from benchmarks.model import Stamp
from dobbin_like.database import Database
from dobbin_like.persistent import checkout
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from pathlib import Path

_values = map(lambda number: number.to_bytes(8, "big"), itertools.count(1))  # noqa: C417


class NoDatabase:
    """A participant that has nothing to do: what is left is the transaction package."""

    def __init__(self, manager: Any) -> None:
        self.transaction_manager = manager

    def sortKey(self) -> str:  # noqa: N802
        return "no database"

    def _nothing(self, _transaction: object) -> None:
        pass

    tpc_begin = commit = tpc_vote = tpc_finish = tpc_abort = abort = _nothing


class _Store:
    def __init__(self, path: Path, *, sync: bool) -> None:
        self.path = path
        self.manager = TransactionManager()
        self.database = Database(TransactionLog(path, sync=sync), transaction_manager=self.manager)
        self.stamp = Stamp()
        self.database.set_root(self.stamp)
        self.manager.commit()

    def change(self, times: int) -> None:
        stamp, commit = self.stamp, self.manager.commit
        for _ in range(times):
            checkout(stamp)
            stamp.value = next(_values)
            commit()

    def bytes_of_one(self) -> int:
        before = self.path.stat().st_size
        self.change(1)
        return self.path.stat().st_size - before


class _Bare:
    """A file to which the same bytes are appended, and nothing else."""

    def __init__(self, path: Path, size: int, *, sync: bool) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self.data = bytes(size)
        self.sync = sync

    def append(self, times: int) -> None:
        for _ in range(times):
            os.write(self.fd, self.data)
            if self.sync:
                os.fdatasync(self.fd)


def unsynced(bench: Bench) -> None:
    """``sync=False``, begin to end; beside a bare append, and beside the package alone."""
    times = bench.size(1000, quick=200)
    store = _Store(bench.path(), sync=False)
    size = store.bytes_of_one()
    bare = _Bare(bench.path(), size, sync=False)
    manager = TransactionManager()
    nobody = NoDatabase(manager)

    def package() -> None:
        for _ in range(times):
            manager.get().join(nobody)
            manager.commit()

    taken = in_turn(
        lambda: store.change(times), lambda: bare.append(times), package, rounds=bench.rounds(25)
    )
    ours, append, alone = medians(taken, 1e6 / times)
    note = f"the transaction package alone: {alone:.1f} us"
    bench.add(Row("commit, not synced", "us", ours, append, limit=40, note=note))
    bench.add(Row("bytes logged for it", "bytes", size, len(next(_values)), limit=150))
    store.database.close()
    os.close(bare.fd)


def synced(bench: Bench) -> None:
    """``sync=True``; beside a bare append and ``fdatasync``."""
    times = bench.size(50, quick=10)
    store = _Store(bench.path(), sync=True)
    bare = _Bare(bench.path(), store.bytes_of_one(), sync=True)
    taken = in_turn(
        lambda: store.change(times),
        lambda: bare.append(times),
        rounds=bench.rounds(25),
        waits=True,
    )
    figures = medians(taken, 1e6 / times)
    ratio = median_ratio(*taken)
    bench.add(Row("commit, synced", "us", *figures, limit=1.2, about=RATIO, ratio=ratio))
    store.database.close()
    os.close(bare.fd)


ALL = (unsynced, synced)

if __name__ == "__main__":
    main(*ALL)
