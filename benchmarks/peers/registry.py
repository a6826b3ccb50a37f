"""All peers: what they are called, what has to be installed, and what they can't do."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

PROCESSES, THREADS, SYNC = "processes", "threads", "sync"
"""What some can't do: writers in several processes, or threads, and a durable commit."""


@dataclass(frozen=True)
class Peer:
    """A store, or a limit of what any could do."""

    title: str
    needs: tuple[str, ...] = ()
    """Modules that have to be installed."""
    versions: tuple[str, ...] = ()
    """Distributions of which the version is told."""
    cannot: dict[str, str] = field(default_factory=dict)
    """What it can't do, and why, as its own documentation says it."""
    served: bool = False
    is_limit: bool = False
    setting: str = ""
    """How it is set up, where there is a choice."""


_ONE_PROCESS = "a file belongs to one process"
_ONE_THREAD = "a connection belongs to one thread, and so does the storage"

PEERS: dict[str, Peer] = {
    "ours": Peer("dobbin_like", ("dobbin_like",), ("dobbin_like", "transaction")),
    "zodb": Peer(
        "ZODB",
        ("ZODB",),
        ("ZODB",),
        {PROCESSES: _ONE_PROCESS},
        setting="``FileStorage``; the cache of a connection holds all objects",
    ),
    "zeo": Peer(
        "ZEO",
        ("ZODB", "ZEO"),
        ("ZEO",),
        served=True,
        setting="ZODB by a server of this machine with a ``FileStorage``, at a Unix socket",
    ),
    "relstorage": Peer(
        "RelStorage",
        ("ZODB", "relstorage"),
        ("RelStorage",),
        setting="ZODB in SQLite, without history; not synced: ``synchronous = normal``, its "
        "default",
    ),
    "durus": Peer(
        "Durus",
        ("durus",),
        ("Durus",),
        {PROCESSES: _ONE_PROCESS, THREADS: _ONE_THREAD},
        setting="``FileStorage2``; the cache holds all objects",
    ),
    "durus_server": Peer(
        "Durus server",
        ("durus",),
        (),
        {THREADS: _ONE_THREAD},
        served=True,
        setting="Durus by its server, at a Unix socket",
    ),
    "sqlite": Peer(
        "SQLite",
        ("sqlite3",),
        (),
        setting="pickles by key in a table, write-ahead mode; synced: ``synchronous = full``, "
        "not synced: ``off``",
    ),
    "sqlite_normal": Peer(
        "SQLite, normal",
        ("sqlite3",),
        (),
        {SYNC: "``synchronous = normal`` syncs no commit"},
        setting="the same with ``synchronous = normal``, which its documentation recommends",
    ),
    "alchemy": Peer(
        "SQLAlchemy",
        ("sqlalchemy",),
        ("SQLAlchemy",),
        setting="its ORM on SQLite in write-ahead mode, a column for each attribute; "
        "``synchronous = full`` and ``normal``",
    ),
    "lmdb": Peer(
        "LMDB",
        ("lmdb",),
        ("lmdb",),
        setting="pickles by key; not synced: ``sync=False``, after which a power cut may damage "
        "the file",
    ),
    "disk_cache": Peer(
        "diskcache",
        ("diskcache",),
        ("diskcache",),
        setting="no eviction; synced: ``sqlite_synchronous`` is full, not synced: normal, its "
        "default",
    ),
    "shelf": Peer(
        "shelve",
        (),
        (),
        {
            SYNC: "whether a call of it waits for the disk is up to ``dbm``: with ``dbm.dumb``, "
            "none does",
            PROCESSES: "not supported while one writes",
            THREADS: "not supported",
        },
        setting="``sync()`` where others commit, for which ``dbm.gnu`` waits for the disk; "
        "``dbm.sqlite3`` does so for each key that is set",
    ),
    "floor": Peer(
        "floor",
        ("transaction",),
        (),
        is_limit=True,
        setting="a data manager of ``transaction`` that locks, pickles, frames and appends",
    ),
    "rawlog": Peer(
        "rawlog",
        (),
        (),
        is_limit=True,
        setting="as many bytes appended by ``write``, and ``fdatasync`` if synced; "
        "nothing can be found again",
    ),
    "checked": Peer(
        "checked",
        (),
        (),
        is_limit=True,
        setting="*rawlog*, and a checksum of each mebibyte, by ``zlib.crc32``",
    ),
    "plain": Peer(
        "plain", (), (), is_limit=True, setting="plain Python objects in one process, no store"
    ),
}


def is_installed(name: str) -> bool:
    return all(importlib.util.find_spec(module) for module in PEERS[name].needs)


def module_of(name: str) -> str:
    return f"benchmarks.peers.{name}"


def store_of(name: str) -> Any:
    """Return the ``Store`` of a peer."""
    return importlib.import_module(module_of(name)).Store


def served(name: str, path: Path | str, *, sync: bool) -> AbstractContextManager[None]:
    """Run the server of a peer that needs one, until the block ends."""
    if not PEERS[name].served:
        return contextlib.nullcontext()
    from benchmarks.peers.served import serving

    return serving(module_of(name), path, sync=sync)


def versions() -> dict[str, str]:
    """Return the versions of all that is installed of them."""
    import sqlite3

    found = {"SQLite": sqlite3.sqlite_version}
    for peer in PEERS.values():
        for distribution in peer.versions:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[distribution] = importlib.metadata.version(distribution)
    found["shelve"] = default_dbm()
    return found


def default_dbm() -> str:
    """Return the module that ``shelve`` uses for a new file."""
    import dbm

    for name in dbm._names:
        if importlib.util.find_spec(name):
            with contextlib.suppress(ImportError):
                return importlib.import_module(name).__name__
    return ""
