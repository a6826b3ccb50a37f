"""LMDB: pickles by key."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import lmdb

from benchmarks.peers.keyed import KeyStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_MAP_SIZE = 1 << 36  # Of addresses; the file takes what is in it.


def _key(number: int) -> bytes:
    return number.to_bytes(8, "big")


class Store(KeyStore):
    """See the package. Not synced, a power cut may damage the file: its documentation says so."""

    def __init__(self, path: Path | str, *, sync: bool = False) -> None:
        self.environment = lmdb.open(str(path), map_size=_MAP_SIZE, subdir=False, sync=sync)
        self.transaction: Any = None

    def begin(self) -> None:
        self.transaction = self.environment.begin(write=True)

    def commit(self) -> None:
        self.transaction.commit()

    def save(self, key: int, value: Any) -> None:
        self.transaction.put(_key(key), pickle.dumps(value, 5))

    def load_to_change(self, key: int) -> Any:
        return pickle.loads(self.transaction.get(_key(key)))

    def load(self, key: int) -> Any:
        with self.environment.begin(buffers=True) as transaction:
            return pickle.loads(transaction.get(_key(key)))

    def in_one(self, function: Callable[[Callable[[int], Any]], Any]) -> Any:
        with self.environment.begin(buffers=True) as self.transaction:
            get = self.transaction.get
            return function(lambda key: pickle.loads(get(_key(key))))

    def scan(self) -> Iterable[tuple[int, Any]]:
        cursor = self.transaction.cursor()
        cursor.set_key(_key(1))
        return ((int.from_bytes(key, "big"), pickle.loads(value)) for key, value in cursor)

    def another(self) -> Store:
        other = Store.__new__(Store)
        other.environment = self.environment  # Threads share it, and processes must not.
        return other

    def close(self) -> None:
        self.environment.close()
