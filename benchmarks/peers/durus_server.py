"""Durus by its server, at a Unix socket: for several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durus.client_storage import ClientStorage
from durus.connection import Connection
from durus.file import File
from durus.file_storage2 import FileStorage2
from durus.storage_server import StorageServer

from benchmarks.peers import durus
from benchmarks.peers.served import socket_of

if TYPE_CHECKING:
    from pathlib import Path


def serve(path: str, *, sync: bool) -> None:
    """Serve until this process is ended."""
    file = File(path) if sync else durus.UnsyncedFile(path)
    StorageServer(FileStorage2(file), address=socket_of(path)).serve()


class Store(durus.Store):
    """See the package."""

    def connect(self, path: Path | str, *, sync: bool) -> Connection:
        return Connection(ClientStorage(address=socket_of(path)), cache_size=1_000_000)
