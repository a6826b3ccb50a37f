"""Checking a storage that is not a file through its protocol: transactions, versions, references.

The bytes of such a storage are its own business, but its answers have to be consistent.
"""

from __future__ import annotations

from collections.abc import Iterable

from dobbin_like.check.report import Report
from dobbin_like.check.trees import INNER_CLASS, check_trees
from dobbin_like.contract import Storage, StoredVersion, Transaction
from dobbin_like.exc import IntegrityError, StreamMovedError
from dobbin_like.ids import DELTA, NO_TID, Oid, Tid
from dobbin_like.name_tables import class_and_names
from dobbin_like.objects.codec.state_reader import STREAM_CLASS, Reference, StateReader
from dobbin_like.store import Progress

_STREAM_PART = 1 << 20


def check_protocol(storage: Storage, report: Report, progress: Progress | None = None) -> None:
    """Check what *storage* has applied up to now; others may continue to use it."""
    check = _Check(storage, report)
    check.transactions(progress)
    check.newest()


class _Check:
    def __init__(self, storage: Storage, report: Report) -> None:
        self._storage = storage
        self._report = report
        self._until = storage.tid
        self._reader = StateReader(storage.names, storage.path)
        self._newest: dict[Oid, Tid] = {}
        self._wanted: dict[Oid, str] = {}  # With the first place that refers to it.
        # Of before the last pack, only the newest version of each object refers to others:
        # those of the last whole one, and the objects of which there is a change of that.
        self._since = storage.complete_since
        self._packed: dict[Oid, tuple[Oid, ...]] = {}
        self._changed: set[Oid] = set()

    def transactions(self, progress: Progress | None) -> None:
        report, last, count = self._report, NO_TID, len(self._storage)
        for logged in self._storage.transactions(until=self._until):
            report.transactions += 1
            report.failed += logged.failed
            if logged.tid <= last:
                where = f"transaction {logged.sequence} of {self._storage.path}"
                report.add(2, where, f"tid {logged.tid}", f"one above {last}")
            last = logged.tid
            if not logged.failed:
                self._check_entries(logged)
            if progress is not None:
                progress(report.transactions, count)
        report.objects = len(self._newest)

    def _check_entries(self, logged: Transaction) -> None:
        oids, report = [], self._report
        for oid, stored in self._storage.entries(logged):
            where = f"oid {oid} of {self._storage.path}, tid {logged.tid}"
            oids.append(oid)
            report.versions += 1
            report.bytes += len(stored.data)
            self._newest[oid] = logged.tid
            if stored.tid != logged.tid:
                report.add(2, where, f"a version of {stored.tid}", f"one of {logged.tid}")
            try:
                _, references = self._reader.read(stored.number, stored.data)
            except Exception as error:  # noqa: BLE001  decoding may raise anything
                found = f"{type(error).__name__}: {error}"
                report.add(8, where, found, "a state that can be decoded")
                continue
            self._note_targets(oid, stored, where, references)
        told = list(logged.oids)
        if logged.tid <= self._since:  # A pack that was ended has left names of what is gone.
            there = set(oids)
            told = [oid for oid in told if oid in there]
        if oids != told:
            report.add(2, f"transaction {logged.sequence}", f"oids {oids}", list(logged.oids))

    def _note_targets(
        self, oid: Oid, stored: StoredVersion, where: str, references: Iterable[Reference]
    ) -> None:
        targets = tuple(reference.oid for reference in references)
        is_change = stored.number & DELTA
        if stored.tid > self._since:
            self._want(where, targets)
            if not is_change:  # Perhaps it was dropped, and stored again.
                self._packed.pop(oid, None)
        elif is_change:
            self._changed.add(oid)
        else:
            self._packed[oid] = targets
            self._changed.discard(oid)

    def _want(self, where: str, targets: Iterable[Oid]) -> None:
        for oid in targets:
            self._wanted.setdefault(oid, where)

    def _want_packed(self) -> None:
        storage, since = self._storage, self._since
        for oid, targets in self._packed.items():
            where = f"oid {oid} of {storage.path} as of tid {since}"
            stored = storage.load(oid, since) if oid in self._changed else None
            if stored is not None:
                whole = self._reader.whole(oid, stored, storage.version_before)
                self._want(where, [each.oid for each in self._reader.read(*whole)[1]])
            else:
                self._want(where, targets)

    def newest(self) -> None:
        self._want_packed()
        report, names = self._report, self._storage.names
        inner, nodes = names.class_number(*INNER_CLASS), []
        stream = names.class_number(*STREAM_CLASS)
        for oid, tid in self._newest.items():
            stored = self._load(oid)
            if stored is None or stored.tid != tid:
                found = "nothing" if stored is None else f"the version of {stored.tid}"
                report.add(2, f"oid {oid} of {self._storage.path}", found, f"that of {tid}")
            if stored is None:
                continue
            class_number, _ = class_and_names(names, stored.number)
            if class_number == inner:
                nodes.append(oid)
            elif class_number == stream:
                self._check_stream(oid, stored)
        for oid, where in self._wanted.items():
            # It may have been stored before the first transaction that the storage returns.
            if oid not in self._newest and self._load(oid) is None:
                found = f"a reference to oid {oid}, which is not stored"
                report.add(2, where, found, "a stored object")
        check_trees(report, nodes, self._load, self._reader)

    def _check_stream(self, oid: Oid, stored: StoredVersion) -> None:
        """Check that all bytes are there of the stream to which a stream object refers."""
        try:
            state, _ = self._reader.read(stored.number, stored.data)
        except Exception:  # noqa: BLE001  told when its transaction was checked
            return
        key, size = state.get("_offset"), state.get("_size")
        if not (isinstance(key, int) and isinstance(size, int)):
            found = f"a stream of {size!r} bytes at {key!r}"
            self._report.add(2, f"oid {oid} of {self._storage.path}", found, "two numbers")
            return
        there, behind = 0, ""
        try:
            while part := self._storage.read_stream(key, there, _STREAM_PART):
                there += len(part)
        except IntegrityError as error:
            behind = f", then {error.found}"
        except StreamMovedError:
            if self._storage.complete_since != self._since:
                return  # Another process packs the log meanwhile.
            behind = ", the log was packed and has no such stream"
        self._report.streams += 1
        self._report.stream_bytes += size
        if there != size or behind:
            where = f"stream {key} of oid {oid} of {self._storage.path}"
            self._report.add(2, where, f"{there} bytes{behind}", f"{size} bytes")

    def _load(self, oid: int) -> StoredVersion | None:
        return self._storage.load(Oid(oid), self._until)
