"""OO7 in ZODB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import transaction
from BTrees.OOBTree import OOBTree
from persistent import Persistent

from benchmarks.oo7 import schema
from benchmarks.peers.zodb import open_database

if TYPE_CHECKING:
    from pathlib import Path


def _change(*_objects: Any) -> None:
    """Do nothing: it is noticed when an attribute is set."""


classes = schema(Persistent, OOBTree, __name__, _change)
globals().update(vars(classes))


class Store:
    """A ``FileStorage``, not synced."""

    def __init__(self, path: Path | str) -> None:
        self.database = open_database(path)
        self.root = self.database.open().root()
        self.begin, self.commit = transaction.begin, transaction.commit

    def set_root(self, module: Any) -> None:
        self.root["module"] = module

    def module(self) -> Any:
        return self.root["module"]

    def close(self) -> None:
        transaction.abort()
        self.database.close()
