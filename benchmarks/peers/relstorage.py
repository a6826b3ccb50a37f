"""ZODB by RelStorage, in files of SQLite: for several processes, and without a server."""

from __future__ import annotations

from relstorage.adapters.sqlite.adapter import Sqlite3Adapter
from relstorage.options import Options
from relstorage.storage import RelStorage
from ZODB.DB import DB

from benchmarks.peers import zodb


class Store(zodb.Store):
    """See the package. Not synced, it has ``synchronous = normal``, as if it is told nothing."""

    def open_database(self, blob_dir: str | None = None) -> DB:
        options = Options(keep_history=False, commit_lock_timeout=60)
        pragmas = {"synchronous": "full" if self.sync else "normal"}
        adapter = Sqlite3Adapter(f"{self.path}.d", pragmas, options=options)
        return DB(RelStorage(adapter, options=options), cache_size=1_000_000)
