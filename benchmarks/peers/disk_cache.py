"""diskcache: values by key, which it pickles, in SQLite; and files beside it for large ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from diskcache import Cache

from benchmarks.peers import BLOCK
from benchmarks.peers.keyed import KeyStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_NORMAL, _FULL = 1, 2


class Store(KeyStore):
    """See the package. It must not forget values; and has ``synchronous = normal`` if not told."""

    def __init__(self, path: Path | str, *, sync: bool = False) -> None:
        self.cache = Cache(
            f"{path}.d",
            timeout=60,
            eviction_policy="none",
            sqlite_synchronous=_FULL if sync else _NORMAL,
        )
        self.transaction: Any = None

    def begin(self) -> None:
        self.transaction = self.cache.transact()
        self.transaction.__enter__()

    def commit(self) -> None:
        self.transaction.__exit__(None, None, None)

    def save(self, key: int, value: Any) -> None:
        self.cache[key] = value

    def load(self, key: int) -> Any:
        return self.cache[key]

    load_to_change = load

    def in_one(self, function: Callable[[Callable[[int], Any]], Any]) -> Any:
        with self.cache.transact():  # It has none that only reads.
            return function(self.load)

    def another(self) -> Store:
        other = Store.__new__(Store)
        other.cache = self.cache  # It opens a connection for each thread.
        return other

    def open_streams(self) -> None:
        pass

    def store_stream(self, file: BinaryIO) -> None:
        self.cache.set("stream", file, read=True)

    def read_stream(self) -> Iterator[bytes]:
        with self.cache.read("stream") as file:
            while block := file.read(BLOCK):
                yield block

    def close(self) -> None:
        self.cache.close()
