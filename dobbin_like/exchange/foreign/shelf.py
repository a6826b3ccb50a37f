"""A shelve becomes a database: its root is a BTree with the keys of the shelf."""

from __future__ import annotations

import dbm
import io
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from typing import Any

from dobbin_like.exc import SourceError
from dobbin_like.exchange.foreign import kinds
from dobbin_like.exchange.foreign.mapping import Mapping
from dobbin_like.exchange.foreign.pickles import PickleReader, UnreadableError
from dobbin_like.exchange.foreign.trees import TreeWriter
from dobbin_like.exchange.new_database import ImportReport, NewDatabase
from dobbin_like.objects.values.short import short_key
from dobbin_like.store import Progress

_BETWEEN_REPORTS = 500

_ERRORS: Any = (*dbm.error, ImportError)
"""What opening raises: the errors of all kinds, and of one that is not there."""


def import_shelve(
    source: str, path: str, mapping: Mapping | None = None, progress: Progress | None = None
) -> ImportReport:
    """Write what is in a shelf to a new database at *path*.

    *source* is what ``shelve.open()`` takes. A value that can't be read is left out and told.

    Raises:
        SourceError: It is no shelf, or of a kind that this Python can't read.
        FileExistsError: There is a file at *path* that is not empty.
    """
    kind = dbm.whichdb(source)
    if not kind:
        found = "no such file" if kind is None else "an unknown format"
        raise SourceError(source, "its beginning", found, "a shelf")
    try:
        shelf: Any = dbm.open(source, "r")  # noqa: SIM115  closed below
    except _ERRORS as error:
        raise SourceError(source, "its beginning", str(error), f"a shelf of {kind}") from error
    with closing(shelf), NewDatabase(path, f"import of {source}") as database:
        return _Shelf(shelf, database, mapping or Mapping()).run(progress)


class _Shelf:
    """The import of one shelf."""

    def __init__(self, shelf: Any, database: NewDatabase, mapping: Mapping) -> None:
        self._shelf, self._database = shelf, database
        self._reader = PickleReader(database.writer, mapping, _refuse_reference)
        self._new_oid = count().__next__

    def run(self, progress: Progress | None) -> ImportReport:
        """Write the tree with all values that can be read."""
        there = sorted(self._readable(progress))
        keys = [text for text, _ in there]

        def values(begin: int, end: int) -> list[Any]:
            return [self._value(key) for _, key in there[begin:end]]

        TreeWriter(self._database, self._new_oid).put(self._new_oid(), kinds.TREE, keys, values)
        return self._database.complete()

    def _readable(self, progress: Progress | None) -> Iterator[tuple[str, bytes]]:
        """Yield the keys whose values can be read, as texts and as they are in the file."""
        all_keys = self._shelf.keys()
        for done, key in enumerate(all_keys, 1):
            try:
                text = key.decode()
                self._value(key)
            except (UnreadableError, UnicodeDecodeError) as error:
                self._database.problems.add(f"{short_key(key)}: {error}")
            else:
                yield text, key
            if progress is not None and not done % _BETWEEN_REPORTS:
                progress(done, len(all_keys))

    def _value(self, key: bytes) -> Any:
        return self._reader.read(io.BytesIO(self._shelf[key]))


def _refuse_reference(pid: Any) -> Any:
    text = f"a reference to another object, {pid!r:.60}"
    raise UnreadableError(text)
