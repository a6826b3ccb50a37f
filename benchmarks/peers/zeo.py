"""ZODB by ZEO: a server with a ``FileStorage``, and clients at a Unix socket of this machine."""

from __future__ import annotations

import os
import sys

from ZEO.ClientStorage import ClientStorage
from ZODB.DB import DB

from benchmarks.peers import zodb
from benchmarks.peers.served import socket_of


def serve(path: str, *, sync: bool) -> None:
    """Serve until this process is ended."""
    from ZEO.runzeo import main
    from ZODB.FileStorage import FileStorage

    sys.modules[FileStorage.__module__].fsync = os.fsync if sync else None
    main(["-a", socket_of(path), "-f", path])


class Store(zodb.Store):
    """See the package."""

    def open_database(self, blob_dir: str | None = None) -> DB:
        storage = ClientStorage(socket_of(self.path), wait_timeout=30)
        return DB(storage, cache_size=1_000_000)
