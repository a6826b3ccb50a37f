"""A Data.fs of ZODB becomes a database. Needs ZODB, but no class that is stored in the file."""

from __future__ import annotations

import io
import os
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

from dobbin_like.exc import SourceError
from dobbin_like.exchange.foreign.graph import GraphImport, Record, check_start
from dobbin_like.exchange.foreign.mapping import Mapping
from dobbin_like.exchange.foreign.pickles import ClassPickle, UnreadableError, oid_in
from dobbin_like.exchange.new_database import ImportReport, NewDatabase
from dobbin_like.store import Progress

_BLOB_DIRECTORIES = ("blobs", "blobstorage")


def import_zodb(
    source: str,
    path: str,
    mapping: Mapping | None = None,
    progress: Progress | None = None,
    *,
    blobs: str | None = None,
) -> ImportReport:
    """Write what can be reached from the root of a ``Data.fs`` to a new database at *path*.

    *blobs* is the directory of its blobs; by default, ``blobs`` or ``blobstorage`` beside it. The
    file is opened for reading, and may be in use.

    Raises:
        SourceError: It is no file of ZODB.
        FileExistsError: There is a file at *path* that is not empty.
        ModuleNotFoundError: ZODB is not installed.
    """
    from ZODB.FileStorage import FileStorage
    from ZODB.POSException import POSError

    check_start(source, (b"FS21", b"FS30"), "a Data.fs of ZODB")
    # The index beside the file is a pickle that ZODB would load with all that it names.
    unindexed: Any = type("_FileStorage", (FileStorage,), {"_restore_index": lambda _: None})
    try:
        storage = unindexed(source, read_only=True)
    except (POSError, OSError, ValueError, EOFError) as error:
        found = f"{type(error).__name__}: {error}"
        raise SourceError(source, "its beginning", found, "a Data.fs of ZODB") from error
    with closing(storage), NewDatabase(path, f"import of {source}") as database:
        library = _Zodb(storage, _blobs_of(source, blobs))
        return GraphImport(library, database, mapping or Mapping()).run(progress)


def _blobs_of(source: str, blobs: str | None) -> Any:
    """Return what knows the names of the files of blobs, or None."""
    from ZODB.blob import FilesystemHelper

    if blobs is None:
        beside = [Path(source).parent / name for name in _BLOB_DIRECTORIES]
        blobs = next((os.fspath(place) for place in beside if place.is_dir()), None)
    return None if blobs is None else FilesystemHelper(blobs)


class _Zodb:
    """The objects of a storage of ZODB."""

    def __init__(self, storage: Any, blobs: Any) -> None:
        self._storage, self._blobs = storage, blobs
        self.count = len(storage)

    def _load(self, oid: int) -> tuple[bytes, bytes] | None:
        from ZODB.POSException import POSError, POSKeyError

        try:
            found: tuple[bytes, bytes] = self._storage.load(oid.to_bytes(8, "big"))
        except POSKeyError:
            return None
        except (POSError, OSError, ValueError) as error:
            text = f"{type(error).__name__}: {error}"
            raise UnreadableError(text) from error
        return found

    def record(self, oid: int) -> Record | None:
        found = self._load(oid)
        if found is None:
            return None
        try:
            what = ClassPickle(io.BytesIO(found[0])).load()
            # Beside a class, there may be arguments of __new__; older ones have both in a tuple.
            has_arguments = type(what[0]) is tuple and bool(what[1])
            module, name = what[0] if type(what[0]) is tuple else what
        except Exception as error:
            text = f"no class: {type(error).__name__}: {error}"
            raise UnreadableError(text) from error
        return Record((module, name), found[0], has_arguments)

    def target(self, pid: Any) -> tuple[int | None, str]:
        lost = ""
        if type(pid) is list:  # A weak one, or one to another database.
            kind, *rest = pid if len(pid) > 1 else ("w", (pid[0],))
            if kind != "w" or len(rest[0]) > 1:
                return None, "references to other databases are left out"
            pid, lost = rest[0][0], "weak references are ordinary ones now"
        return oid_in(pid), lost

    def blob(self, oid: int) -> BinaryIO | None:
        found = self._load(oid)
        if self._blobs is None or found is None:
            return None
        name = self._blobs.getBlobFilename(oid.to_bytes(8, "big"), found[1])
        try:
            return Path(name).open("rb")
        except FileNotFoundError:
            return None
