"""What is exported: the stored objects of a snapshot, damaged ones among them.

An object that can't be read is an item like any other, so that an export goes on after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from dobbin_like.contract import Storage, StoredVersion
from dobbin_like.exc import Error, IntegrityError
from dobbin_like.ids import DELTA, Oid, Tid
from dobbin_like.name_tables import class_and_names
from dobbin_like.objects.codec.state_reader import StateReader
from dobbin_like.objects.codec.state_writer import ClassName
from dobbin_like.search.snapshot_scan import BETWEEN_REPORTS, SnapshotScan
from dobbin_like.store import Progress


class FoundState(NamedTuple):
    """An object with its state: references and stand-ins are in it."""

    oid: Oid
    tid: Tid
    name: ClassName
    state: dict[str, Any]


class Damaged(NamedTuple):
    """What is in the place of an object that can't be read."""

    oid: Oid
    reason: str


class Versions:
    """Reads versions of a storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.path: str = storage.path
        self.reader: StateReader = StateReader(storage.names, storage.path)

    def class_number(self, stored: StoredVersion) -> int:
        """Return the number of the class of a version."""
        return class_and_names(self.storage.names, stored.number)[0]

    def name_of(self, class_number: int) -> ClassName:
        """Return the name of a class by its number in the log. IntegrityError: There is none."""
        name = self.storage.names.class_name(class_number)
        if name is None:
            found = f"class number {class_number}"
            raise IntegrityError(self.path, 0, found, "the number of a class in the log")
        return name

    def read(self, oid: Oid, stored: StoredVersion) -> FoundState | Damaged:
        """Return what a version is."""
        try:
            name = self.name_of(self.class_number(stored))
            number, data = stored.number, stored.data
            if number & DELTA:
                number, data = self.reader.whole(oid, stored, self.storage.version_before)
            return FoundState(oid, stored.tid, name, self.reader.read(number, data)[0])
        except Error as error:
            return Damaged(oid, reason_of(error))
        except Exception as error:  # noqa: BLE001  whatever decoding raises
            return Damaged(oid, f"a state that can't be decoded: {type(error).__name__}: {error}")


class Source(Versions):
    """The objects of a snapshot scan, which stays the caller's."""

    def __init__(self, scan: SnapshotScan) -> None:
        super().__init__(scan.storage)
        self.scan = scan
        self.tid: Tid = scan.tid

    def all(self, start: Oid | None, progress: Progress | None) -> Iterator[FoundState | Damaged]:
        """Yield the objects that *start* leads to, or every one, in the order of the oids."""
        total = self.storage.next_oid
        oids: Iterable[int] = range(total) if start is None else self._reached(start)
        for number, oid in enumerate(map(Oid, oids), 1):
            try:
                stored = self.scan.load(oid)
            except Error as error:
                yield Damaged(oid, reason_of(error))
            else:
                if stored is not None:
                    yield self.read(oid, stored)
            if progress is not None and not number % BETWEEN_REPORTS:
                progress(oid + 1, total)
        if progress is not None:
            progress(total, total)

    def _reached(self, start: Oid) -> Iterator[int]:
        """Yield what *start* leads to. Cost: one byte of memory for each oid."""
        marks = bytearray(self.storage.next_oid)
        marks[start] = 1
        waiting = [int(start)]
        while waiting:
            oid = Oid(waiting.pop())
            try:
                stored = self.scan.load(oid)
                found = [] if stored is None else self.scan.references(oid, stored)
            except Error:
                continue  # It is told when it is yielded.
            for target in found:
                if 0 <= target < len(marks) and not marks[target]:
                    marks[target] = 1
                    waiting.append(target)
        oid = Oid(marks.find(1))
        while oid >= 0:
            yield oid
            oid = Oid(marks.find(1, oid + 1))


def reason_of(error: Error) -> str:
    """Return what is wrong with an object, in one line."""
    if isinstance(error, IntegrityError):
        return f"at {error.offset}: {error.found}, expected {error.expected}"
    return str(error)
