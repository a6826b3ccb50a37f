"""Many small objects: made, and committed a thousand at a time.

Run with ``python -m benchmarks.bench_bulk``.
"""

from __future__ import annotations

import gc
import os
import pickle
from typing import TYPE_CHECKING

from transaction import TransactionManager

from benchmarks.measure import Bench, Row, in_turn, main, median_ratio, medians
from benchmarks.model import PER_BUCKET, Bucket, Item, Shelf, item_state, plain_item
from dobbin_like.database import Database
from dobbin_like.persistent import checkout
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from pathlib import Path


def _store(path: Path, count: int) -> None:
    manager = TransactionManager()
    with Database(TransactionLog(path, sync=False), transaction_manager=manager) as database:
        shelf = Shelf()
        database.set_root(shelf)
        manager.commit()
        for start in range(0, count, PER_BUCKET):
            checkout(shelf)
            bucket = Bucket([Item(number) for number in range(start, start + PER_BUCKET)])
            shelf.buckets.append(bucket)
            manager.commit()
    path.unlink()


def _bare(path: Path, count: int) -> None:
    """Do without a store: make plain objects, pickle each state, append."""
    kept = []
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for start in range(0, count, PER_BUCKET):
        made = [plain_item(item_state(number)) for number in range(start, start + PER_BUCKET)]
        kept.append(made)
        os.write(fd, b"".join([pickle.dumps(vars(item), 5) for item in made]))
    os.close(fd)
    path.unlink()


def create_and_commit(bench: Bench) -> None:
    """100,000 objects of five attributes, from the constructor to the log, not synced."""
    count = bench.size(100_000, quick=20_000)
    gc.collect()
    taken = in_turn(
        lambda: _store(bench.path(), count),
        lambda: _bare(bench.path(), count),
        rounds=bench.size(7, quick=3),
    )
    figures = [count / value for value in medians(taken)]
    ratio = 1 / median_ratio(*taken)
    what = f"create and commit {count:,} objects"
    bench.add(Row(what, "objects/s", *figures, limit=130_000, at_most=False, ratio=ratio))


ALL = (create_and_commit,)

if __name__ == "__main__":
    main(*ALL)
