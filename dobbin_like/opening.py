"""Open a database by its path or its URI, as a setting of a program names it."""

from __future__ import annotations

import os
from typing import Any

from dobbin_like.contract import Storage
from dobbin_like.database import Database
from dobbin_like.log import TransactionLog
from dobbin_like.mistaken.paths import check_there
from dobbin_like.texts import scheme_of

__all__ = ["open", "open_storage"]


def open(where: str | os.PathLike[str], **options: Any) -> Database:  # noqa: A001  as in shelve
    """Open the database at *where*: a path, or a URI with options in its query.

    ``file:shop.log?sync=no&lock_timeout=5`` is the log at that path, which is relative as any
    path is; ``file:///srv/shop.log`` is absolute. Characters may be quoted (``%3F``).
    ``memory:`` is a new database that ends with the process.
    ``postgresql://user@host/db?schema=shop`` is a log in PostgreSQL: see
    :class:`dobbin_like.storage.postgres.PostgresLog`, whose options may be there beside those of
    libpq. Another scheme is looked up among
    the entry points of the group ``dobbin_like.storages``: a function that takes the URI, without
    the options of databases, and returns a storage.

    Args:
        options: Keyword arguments of :class:`~dobbin_like.Database`; they go before those in
            the URI. There, flags are yes or no (1, true, on; 0, false, off), and ``allow`` may
            be given several times.

    Raises:
        ValueError: The URI has an unknown scheme, an unknown option or a wrong value.

    It also raises what ``Database`` does.
    """
    if not (isinstance(where, str) and (scheme := scheme_of(where))):
        return Database(where, **options)
    # Late: most programs open a path, and urllib.parse takes some milliseconds to import.
    from dobbin_like import uris

    uri, given = uris.split(where)
    options = given | options
    if scheme == "file":
        return Database(uris.path_of(uri), **options)
    storage = uris.storage_at(uri, options)
    try:
        return Database(storage, **options)
    except BaseException:
        storage.close()
        raise


def open_storage(
    where: str, *, read_only: bool = False, must_exist: bool = True, sync: bool = True
) -> Storage:
    """Open the storage at a path or a URI, without a database."""
    scheme = scheme_of(where)
    if scheme in ("", "file"):
        if scheme:
            from dobbin_like.uris import path_of

            where = path_of(where)
        check_there(where, must_exist=must_exist)
        return TransactionLog(where, read_only=read_only, sync=sync)
    from dobbin_like.uris import split, storage_at

    uri, given = split(where)
    return storage_at(uri, {"read_only": read_only, "must_exist": must_exist} | given)
