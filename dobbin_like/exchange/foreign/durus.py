"""A file of Durus becomes a database. Needs Durus, but no class that is stored in the file."""

from __future__ import annotations

import io
import zlib
from contextlib import closing
from typing import Any, BinaryIO

from dobbin_like.exc import SourceError
from dobbin_like.exchange.foreign.graph import GraphImport, Record, check_start
from dobbin_like.exchange.foreign.mapping import Mapping
from dobbin_like.exchange.foreign.pickles import ClassPickle, UnreadableError, oid_in
from dobbin_like.exchange.new_database import ImportReport, NewDatabase
from dobbin_like.store import Progress

_ZLIB = 0x78
"""With this byte, a compressed state begins; no pickle does."""


def import_durus(
    source: str, path: str, mapping: Mapping | None = None, progress: Progress | None = None
) -> ImportReport:
    """Write what can be reached from the root of a file of Durus to a new database at *path*.

    Raises:
        SourceError: It is no file of Durus.
        FileExistsError: There is a file at *path* that is not empty.
        ModuleNotFoundError: Durus is not installed.
    """
    from durus.file_storage import FileStorage

    check_start(source, (b"SHELF-1\n", b"DFS20\0"), "a file of Durus")
    try:
        storage = FileStorage(source, readonly=True)
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        raise SourceError(source, "its beginning", found, "a file of Durus") from error
    with closing(storage), NewDatabase(path, f"import of {source}") as database:
        return GraphImport(_Durus(storage), database, mapping or Mapping()).run(progress)


class _Durus:
    """The objects of a storage of Durus."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self.count = 0  # It is not known.

    def record(self, oid: int) -> Record | None:
        from durus.serialize import unpack_record

        try:
            _, data, _ = unpack_record(self._storage.load(oid.to_bytes(8, "big")))
        except KeyError:
            return None
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise UnreadableError(text) from error
        file = io.BytesIO(data)
        try:
            name = ClassPickle(file).load()
            first, rest = data[: file.tell()], data[file.tell() :]
            state = zlib.decompress(rest) if rest[:1] == bytes([_ZLIB]) else rest
            module, qualname = name
        except Exception as error:
            text = f"no class, or no state: {type(error).__name__}: {error}"
            raise UnreadableError(text) from error
        return Record((module, qualname), first + state)

    def target(self, pid: Any) -> tuple[int | None, str]:
        return oid_in(pid), ""

    def blob(self, oid: int) -> BinaryIO | None:
        return None
