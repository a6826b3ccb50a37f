"""``shelve``: pickles by key in what ``dbm`` finds; for one process, and without transactions."""

from __future__ import annotations

import shelve
from typing import TYPE_CHECKING, Any

from benchmarks.peers.keyed import KeyStore

if TYPE_CHECKING:
    from pathlib import Path


class Store(KeyStore):
    """See the package. What is kept in buffers is written where others commit."""

    def __init__(self, path: Path | str, *, sync: bool = False) -> None:
        assert not sync
        self.shelf = shelve.open(str(path), protocol=5)  # noqa: SIM115

    def begin(self) -> None:
        pass

    def commit(self) -> None:
        self.shelf.sync()

    def save(self, key: int, value: Any) -> None:
        self.shelf[str(key)] = value

    def load(self, key: int) -> Any:
        return self.shelf[str(key)]

    load_to_change = load

    def close(self) -> None:
        self.shelf.close()
