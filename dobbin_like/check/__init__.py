"""Checking whether a log, or an open database, keeps the invariants.

::

    report = check_log("data.log")
    print(report)
    report.raise_if_bad()

It only reads, takes no lock of the file, and works while others commit. Damage is reported as
problems, not raised as an exception. Read :mod:`.report`, then :mod:`.scan` (the walk over a
log), :mod:`.content` (the contents of its frames), :mod:`.newest` (what the newest versions make
up), :mod:`.memory` (the objects of a database) and :mod:`.indexes`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from dobbin_like.check.indexes import check_indexes
from dobbin_like.check.memory import check_memory
from dobbin_like.check.protocol import check_protocol
from dobbin_like.check.report import (
    INVARIANTS,
    BrokenClass,
    CheckFailedError,
    Dangling,
    NotRebuilt,
    Problem,
    Report,
)
from dobbin_like.check.scan import Scan, compare_with_storage
from dobbin_like.contract import Storage, is_storage
from dobbin_like.database import Database, store_of
from dobbin_like.mistaken.arguments import check_callables, wrong_type
from dobbin_like.storage import TransactionLog
from dobbin_like.store import Progress

__all__ = [
    "INVARIANTS",
    "BrokenClass",
    "CheckFailedError",
    "Dangling",
    "NotRebuilt",
    "Problem",
    "Progress",
    "Report",
    "check_database",
    "check_log",
]


def check_log(
    log: str | os.PathLike[str] | Storage,
    progress: Progress | None = None,
    allow: Iterable[str] | None = None,
) -> Report:
    """Check a log by its path, or the log of an open storage and what the storage has applied.

    Checks every frame, checksum, chain, position and reference of the file, and which objects
    can be reached from the root. A storage that is not a file of this package is checked
    through its protocol. No module of the application is imported, unless *allow* is given:
    then the check also finds out which classes can be loaded.

    Bytes that the disk can't read are a problem like other damage, and the walk continues.

    Args:
        progress: Called with the bytes checked so far, and all bytes.
        allow: Names that may be imported, as for a database. Those of classes that can't
            be loaded are in ``broken`` of the report.

    Raises:
        OSError: The file can't be opened, or can't be read for another reason.

    Cost: The bytes of the log, those of the newest states twice; 17 bytes of memory for
    each oid.
    """
    check_callables(progress=progress)
    if isinstance(log, (str, os.PathLike)):
        report = Report(os.fspath(log))
        Scan(report, None, allow).run(progress)
        return report
    if not is_storage(log):
        raise wrong_type(log, "log", "a path or a storage, as db.storage is")
    report = Report(log.path)
    if not isinstance(log, TransactionLog):
        check_protocol(log, report, progress)
        return report
    known = len(log)
    scan = Scan(report, known, allow)
    try:
        scan.run(progress)
    except FileNotFoundError:  # No file is created before the first commit.
        if known:
            raise
    else:
        compare_with_storage(scan, log, report)
    return report


def check_database(database: Database, progress: Progress | None = None) -> Report:
    """Check the log of an open database as check_log() does, the objects in memory, the indexes.

    Other threads may use the database meanwhile. The calling thread may have a transaction,
    but must not be in the middle of committing it. Publication waits while the objects in
    memory are checked.
    """
    given: object = database
    if not isinstance(given, Database):
        raise wrong_type(given, "database", "a Database; check_log() checks a file or a storage")
    store = store_of(database)
    store.check_open()
    report = check_log(database.storage, progress)
    check_memory(store, report)
    check_indexes(database, report)
    return report
