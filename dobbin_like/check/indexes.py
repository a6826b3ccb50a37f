"""Whether the indexes of a database have what a look at all objects finds (I12)."""

from __future__ import annotations

from dobbin_like.check.report import Report
from dobbin_like.database import Database, store_of
from dobbin_like.exc import IndexFunctionError, UnloadedClassError
from dobbin_like.indexes.kept.catalog import catalog_of, entry_of, key_of, oid_of
from dobbin_like.indexes.kept.definition import Definition
from dobbin_like.indexes.scan import KeyScan
from dobbin_like.search.snapshot_scan import SnapshotScan
from dobbin_like.store import Store


def check_indexes(database: Database, report: Report) -> None:
    """I12: Compare the entries of each index with the keys of the objects, as of one tid.

    What can't be compared, because a function or a class is not there, is noted. Cost: for each
    index, reading every object, and memory for its entries.
    """
    if not store_of(database).graph.indexed or not report.ok:
        return
    with database.at(database.storage.tid) as past:
        store = store_of(past)
        catalog = catalog_of(store.graph, None)
        for index in () if catalog is None else catalog.indexes.values():
            definition = Definition(store.graph, index)
            try:
                _compare(store, definition, report)
            except (IndexFunctionError, UnloadedClassError) as error:
                report.notes.append(f"the index {definition.name} was not compared: {error}")


def _compare(store: Store, definition: Definition, report: Report) -> None:
    place = f"{report.path}, index {definition.name}"
    with SnapshotScan(store) as scan:
        expected = {entry_of(key, oid) for oid, key in KeyScan(scan, definition).all()}
    found = set(definition.entries)
    for entry in sorted(found ^ expected):
        oid = oid_of(entry)
        if entry in expected:
            report.add(12, place, f"no entry for the key of oid {oid}", "one")
        elif store.storage.has(oid):  # Else it was dropped by a pack.
            report.add(12, place, f"an entry of oid {oid} for another key", "none")
    keys = [key_of(entry) for entry in expected]
    if definition.unique and len(set(keys)) < len(keys):
        report.add(12, place, "a key of several objects", "a key of one")
