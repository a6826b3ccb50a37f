"""The database of a web application, and the root that it begins with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dobbin_like.database import Database
from dobbin_like.opening import open as open_database
from dobbin_like.persistent import Persistent

__all__ = ["set_first_root"]


def open_with_root(
    where: Any, make_root: Callable[[], Persistent] | None, **options: Any
) -> Database:
    """Return the database of a setting, with a root.

    Args:
        where: A database, or what :func:`dobbin_like.open` takes, with *options*.
        make_root: Makes the root if there is none.
    """
    database = where if isinstance(where, Database) else open_database(where, **options)
    try:
        if make_root is not None:
            set_first_root(database, make_root)
    except BaseException:
        if database is not where:
            database.close()
        raise
    return database


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
