"""The root that a web application begins with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dobbin_like.database import Database
from dobbin_like.persistent import Persistent

__all__ = ["set_first_root"]


def set_first_root(database: Database, make: Callable[[], Persistent]) -> None:
    """Set what *make* returns as the root if there is none; another process may be at it, too."""

    def look() -> Any:
        if database.root is None:
            database.set_root(make())

    if not _has_root(database):
        database.run(look)


def _has_root(database: Database) -> bool:
    with database.reading() as root:
        return root is not None
