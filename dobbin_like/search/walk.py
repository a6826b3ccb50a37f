"""What an object leads to, the nearest first, in one byte of memory for each oid.

Breadth first, each generation in the order of its oids. A generation is kept as a list while it
is short, and found again among the marks when it is not: a chain of a million objects costs what
a million references in one object cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from dobbin_like.contract import reading_ahead
from dobbin_like.ids import ROOT_OID, Oid
from dobbin_like.mistaken.arguments import check_callables
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.search.snapshot_scan import BETWEEN_REPORTS, SnapshotScan
from dobbin_like.store import Progress, Store

_UNKNOWN, _ONE, _OTHER, _DONE = range(4)
"""Marks: those of two generations alternate."""

_LIST_LIMIT: Final = 1 << 14
"""Oids of a generation that are kept in a list."""


def walk(
    store: Store, start: Persistent | int | None = None, progress: Progress | None = None
) -> Iterator[Any]:
    """Yield *start* and all objects that it leads to, each once: the nearest first.

    Those of one distance come in the order of their oids. An object is read from the log just
    before it is given, and what it refers to after that. Objects whose class is not there are
    among them, and so are the nodes of a ``BTree``. Nothing comes from a start that is not
    stored yet; a reference to nothing is passed over.

    *start* is an object or an oid; by default, the root, if there is one. *progress* is called
    with the objects that were given, and all that are stored.

    Raises:
        ObjectNotFound: There is no object with this oid in the thread's snapshot.
        NotPersistentError: *start* is neither an oid nor a persistent object.
        InvalidObjectReference: It belongs to another database.
        IntegrityError: An object is damaged. What was yielded before is right.
        ClosedError: The database is closed.

    Cost: Reading the bytes of what is given from the log, without loading a class; one byte
    of memory for each oid.
    """
    check_callables(progress=progress)
    scan = SnapshotScan(store)
    oid = ROOT_OID if start is None else scan.oid_of(start, "walk()")
    return iter(()) if oid is None else _walk(scan, oid, progress)


def _walk(scan: SnapshotScan, start: Oid, progress: Progress | None) -> Iterator[Any]:
    with scan:
        marks = _Marks(scan.storage.next_oid)
        total = 0 if progress is None else scan.storage.oid_count
        done = 0
        marks.add([start])
        while marks.turn():
            for oid in reading_ahead(scan.storage, marks.generation()):
                stored = scan.load(oid)
                if stored is None:
                    continue  # A reference that leads nowhere; `check` tells which object has it.
                yield scan.object_of(oid, stored)
                marks.add(scan.references(oid, stored))
                done += 1
                if progress is not None and not done % BETWEEN_REPORTS:
                    progress(done, total)
        if progress is not None:
            progress(done, total)


class _Marks:
    """What was found so far, and what of it comes next. One thread."""

    def __init__(self, count: int) -> None:
        self._flags = bytearray(count)
        self._mark, self._next_mark = _ONE, _OTHER
        # The generation and the next one, as far as they are short: else None.
        self._oids: list[int] | None = []
        self._next: list[int] | None = []

    def add(self, oids: Iterable[int]) -> None:
        """Let the new ones of *oids* belong to the next generation."""
        flags, count, mark = self._flags, len(self._flags), self._next_mark
        for oid in oids:
            if 0 <= oid < count and not flags[oid]:
                flags[oid] = mark
                if self._next is not None:
                    self._next.append(oid)
                    if len(self._next) > _LIST_LIMIT:
                        self._next = None

    def turn(self) -> bool:
        """Go on to the next generation; return whether it has any oids."""
        self._mark, self._next_mark = self._next_mark, self._mark
        self._oids, self._next = self._next, []
        return self._oids is None or bool(self._oids)

    def generation(self) -> Iterator[Oid]:
        """Yield the oids of the generation, in order, while others are added to the next."""
        if self._oids is not None:
            self._oids.sort()
            for oid in self._oids:
                self._flags[oid] = _DONE
                yield Oid(oid)
            return
        oid = self._flags.find(self._mark)
        while oid >= 0:
            self._flags[oid] = _DONE
            yield Oid(oid)
            oid = self._flags.find(self._mark, oid + 1)
