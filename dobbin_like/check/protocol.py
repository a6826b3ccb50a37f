"""Checking a storage that is not a file through its protocol: transactions, versions, references.

The bytes of such a storage are its own business, but its answers have to be consistent. Works
for any storage that keeps the protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dobbin_like.check.trees import INNER_CLASS, check_trees
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.objects.codec.state_reader import StateReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from dobbin_like.check.report import Report
    from dobbin_like.contract import Storage


def check_protocol(
    storage: Storage, report: Report, progress: Callable[[int, int], object] | None = None
) -> None:
    """Check what *storage* has applied up to now; others may continue to use it.

    Cost: All states once, the newest twice; some bytes of memory for each oid.
    """
    until, count = storage.tid, len(storage)
    reader = StateReader(storage.names, storage.path)
    newest: dict[Oid, Tid] = {}
    wanted: dict[Oid, str] = {}
    last = NO_TID
    for logged in storage.transactions(until=until):
        where = f"transaction {logged.sequence} of {storage.path}"
        report.transactions += 1
        report.failed += logged.failed
        if logged.tid <= last:
            report.add(2, where, f"tid {logged.tid}", f"one above {last}")
        last = logged.tid
        if not logged.failed:
            _check_entries(storage, report, reader, logged, newest, wanted)
        if progress is not None:
            progress(report.transactions, count)
    report.objects = len(newest)
    _check_newest(storage, report, until, newest, wanted)
    inner = storage.names.class_number(*INNER_CLASS)
    if inner is not None:
        nodes = (oid for oid in newest if _class_number(storage, oid, until) == inner)
        check_trees(report, nodes, lambda oid: storage.load(Oid(oid), until), reader)


def _class_number(storage: Storage, oid: Oid, until: Tid) -> int | None:
    stored = storage.load(oid, until)
    return None if stored is None else (storage.names.shape(stored.number) or (stored.number,))[0]


def _check_newest(
    storage: Storage, report: Report, until: Tid, newest: dict[Oid, Tid], wanted: dict[Oid, str]
) -> None:
    for oid, tid in newest.items():
        stored = storage.load(oid, until)
        if stored is None or stored.tid != tid:
            found = "nothing" if stored is None else f"the version of {stored.tid}"
            report.add(2, f"oid {oid} of {storage.path}", found, f"that of {tid}")
    for oid, who in wanted.items():
        # It may have been stored before the first transaction that the storage returns.
        if oid not in newest and storage.load(oid, until) is None:
            report.add(2, who, f"a reference to oid {oid}, which is not stored", "a stored object")


def _check_entries(
    storage: Storage,
    report: Report,
    reader: StateReader,
    logged: Any,
    newest: dict[Oid, Tid],
    wanted: dict[Oid, str],
) -> None:
    oids = []
    for oid, stored in storage.entries(logged):
        where = f"oid {oid} of {storage.path}, tid {logged.tid}"
        oids.append(oid)
        report.versions += 1
        report.bytes += len(stored.data)
        newest[oid] = logged.tid
        if stored.tid != logged.tid:
            report.add(2, where, f"a version of {stored.tid}", f"one of {logged.tid}")
        try:
            _, references = reader.read(stored.number, stored.data)
        except Exception as error:  # noqa: BLE001  decoding raises whatever it likes
            report.add(8, where, f"{type(error).__name__}: {error}", "a state that can be decoded")
            continue
        for reference in references:
            wanted.setdefault(reference.oid, where)
    if oids != list(logged.oids):
        report.add(2, f"transaction {logged.sequence}", f"oids {oids}", list(logged.oids))
