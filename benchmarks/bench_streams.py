"""A stream of 256 MiB stored and read, beside a plain file and a blob of ZODB.

Run with ``python -m benchmarks.bench_streams``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import transaction

from benchmarks.measure import RATIO, Bench, Row, in_turn, main, median_ratio, medians
from benchmarks.model import Shelf
from benchmarks.peers.turns import installed
from dobbin_like.database import Database
from dobbin_like.persistent import PersistentFile, checkout
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BLOCK = 1 << 20


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    while block := source.read(BLOCK):
        target.write(block)


def _read(stream: Any, size: int) -> None:
    read = 0
    while block := stream.read(BLOCK):
        read += len(block)
    assert read == size


class _Ours:
    """A stream in a log, not synced."""

    def __init__(self, path: Path, source: Path) -> None:
        self.path, self.source = path, source

    def store(self) -> None:
        self.path.unlink(missing_ok=True)
        log = TransactionLog(self.path, sync=False)
        with Database(log) as database, self.source.open("rb") as source:
            shelf = Shelf()
            database.set_root(shelf)
            checkout(shelf)
            shelf.value = PersistentFile(source)
            transaction.commit()

    def read(self) -> None:
        with Database(self.path) as database:
            stream = database.root.value
            stream.open()
            _read(stream, self.source.stat().st_size)


class _Plain:
    """A file."""

    def __init__(self, path: Path, source: Path) -> None:
        self.path, self.source = path, source

    def store(self) -> None:
        self.path.unlink(missing_ok=True)
        with (
            self.source.open("rb", buffering=0) as source,
            self.path.open("wb", buffering=0) as file,
        ):
            _copy(source, file)

    def read(self) -> None:
        with self.path.open("rb", buffering=0) as file:
            _read(file, self.source.stat().st_size)


class _Blob:
    """A blob in a directory of its own, not synced."""

    def __init__(self, path: Path, source: Path) -> None:
        self.path, self.source = path, source

    def _open(self) -> Any:
        from benchmarks.peers.zodb import open_database

        return open_database(self.path, blob_dir=str(self.path.with_suffix(".blobs")))

    def store(self) -> None:
        from ZODB.blob import Blob

        database = self._open()
        with database.transaction() as connection, self.source.open("rb", buffering=0) as source:
            blob = connection.root.blob = Blob()
            with blob.open("w") as file:
                _copy(source, file)
        database.close()

    def read(self) -> None:
        database = self._open()
        with (
            database.transaction() as connection,
            connection.root.blob.open("r") as file,
        ):
            _read(file, self.source.stat().st_size)
        database.close()


def streams(bench: Bench) -> None:
    """Stored from a file, and read, by the mebibyte; all of it in the memory of the system."""
    size = bench.size(256, quick=32) << 20
    source = bench.path()
    block = bytes(range(256)) * 4096
    with source.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
    stores: dict[str, Callable[..., Any]] = {"ours": _Ours, "a plain file": _Plain}
    if installed("zodb"):
        stores["a blob of ZODB"] = _Blob
    made = {name: store(bench.path(), source) for name, store in stores.items()}
    for what in ("store", "read"):
        calls = [getattr(store, what) for store in made.values()]
        taken = in_turn(*calls, rounds=bench.rounds(7))
        rates = [size / 1e6 / seconds for seconds in medians(taken)]
        for index, name in enumerate(made):
            if not index:
                continue
            row = Row(f"{what} a stream of {size >> 20} MiB; ref.: {name}", "MB/s", *rates[:1])
            row.reference = rates[index]
            row.ratio = 1 / median_ratio(taken[0], taken[index])
            row.at_most = False
            if what == "store":
                row.limit = 1000
            elif name == "a plain file":
                row.limit, row.about = 0.6, RATIO
            bench.add(row)


ALL = (streams,)

if __name__ == "__main__":
    main(*ALL)
