"""SQLite: pickles in a table, by key, in write-ahead mode."""

from __future__ import annotations

import pickle
import sqlite3
from typing import TYPE_CHECKING, Any, BinaryIO

from benchmarks.peers import BLOCK
from benchmarks.peers.keyed import KeyStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_SELECT = "select state from object where key = ?"
_REPLACE = "insert into object values (?, ?) on conflict do update set state = excluded.state"


class Store(KeyStore):
    """See the package. Each thread has a connection."""

    unsynced = "off"

    def __init__(self, path: Path | str, *, sync: bool = False) -> None:
        self.path, self.sync = path, sync
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=60)
        self.execute = self.connection.execute
        self.execute("pragma journal_mode = wal")
        self.execute(f"pragma synchronous = {'full' if sync else self.unsynced}")
        self.execute("create table if not exists object (key integer primary key, state blob)")

    def begin(self) -> None:
        self.execute("begin immediate")

    def commit(self) -> None:
        self.execute("commit")

    def save(self, key: int, value: Any) -> None:
        self.execute(_REPLACE, (key, pickle.dumps(value, 5)))

    def save_all(self, rows: list[tuple[int, Any]]) -> None:
        pickled = [(key, pickle.dumps(value, 5)) for key, value in rows]
        self.connection.executemany(_REPLACE, pickled)

    def load(self, key: int) -> Any:
        return pickle.loads(self.execute(_SELECT, (key,)).fetchone()[0])

    load_to_change = load

    def scan(self) -> Iterable[tuple[int, Any]]:
        rows = self.execute("select key, state from object where key > 0 order by key")
        return ((key, pickle.loads(state)) for key, state in rows)

    def in_one(self, function: Callable[[Callable[[int], Any]], Any]) -> Any:
        self.execute("begin")
        result = function(self.load)
        self.execute("commit")
        return result

    def another(self) -> Store:
        return type(self)(self.path, sync=self.sync)

    def open_streams(self) -> None:
        pass

    def store_stream(self, file: BinaryIO) -> None:
        size = file.seek(0, 2)
        file.seek(0)
        self.begin()
        self.execute("insert into object values (-1, zeroblob(?))", (size,))
        with self.connection.blobopen("object", "state", -1) as blob:
            while block := file.read(BLOCK):
                blob.write(block)
        self.commit()

    def read_stream(self) -> Iterator[bytes]:
        with self.connection.blobopen("object", "state", -1, readonly=True) as blob:
            while block := blob.read(BLOCK):
                yield block

    def close(self) -> None:
        self.connection.close()
