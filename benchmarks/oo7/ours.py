"""OO7 in this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import transaction

from benchmarks.oo7 import schema
from dobbin_like.collections import BTree
from dobbin_like.database import Database
from dobbin_like.persistent import Persistent, checkout
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from pathlib import Path

classes = schema(Persistent, BTree, __name__, checkout)
globals().update(vars(classes))


class Store:
    """A log, not synced."""

    def __init__(self, path: Path | str) -> None:
        self.database = Database(TransactionLog(path, sync=False))
        self.begin, self.commit = transaction.begin, transaction.commit

    def set_root(self, module: Any) -> None:
        self.database.set_root(module)

    def module(self) -> Any:
        return self.database.root

    def close(self) -> None:
        self.database.close()
