"""Checking whether a log, or an open database, keeps the invariants.

::

    report = check_log("data.log")
    print(report)
    report.raise_if_bad()

Reads only, takes no lock of the file and works while others commit. A damaged log gives
problems in the report, not an exception. Read :mod:`.report`, then :mod:`.scan` (the
walk over a log), :mod:`.content` (what its frames hold), :mod:`.states` (what is in them)
and :mod:`.memory` (the objects of a database).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dobbin_like.check.memory import check_memory
from dobbin_like.check.protocol import check_protocol
from dobbin_like.check.report import (
    INVARIANTS,
    BrokenClass,
    CheckFailedError,
    Dangling,
    Problem,
    Report,
)
from dobbin_like.check.scan import Progress, Scan, compare_with_storage
from dobbin_like.exc import ClosedError
from dobbin_like.log.transaction_log import TransactionLog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dobbin_like.contract import Storage
    from dobbin_like.database import Database

__all__ = [
    "INVARIANTS",
    "BrokenClass",
    "CheckFailedError",
    "Dangling",
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
    """Check a log by its path, or the log of an open storage and what that has applied.

    A storage that is no file of ours is checked by what it tells. Of a file:

    Every frame, checksum, chain, position and reference; and what the root does not lead to.
    Nothing of the application is imported, unless *allow* is given: then it is tried
    which classes can be loaded.

    Args:
        allow: As for a database: names that may be imported. Those of classes that can't
            be loaded are in ``broken`` of the report.
        progress: Called now and then with the bytes checked so far and all bytes.

    What the disk does not give is a problem as any other damage, and the walk goes on.

    Raises:
        OSError: The file can't be opened, or read for another reason.

    Cost: The bytes of the log, those of the newest states twice; 17 bytes of memory for
    each oid.
    """
    if isinstance(log, (str, os.PathLike)):
        report = Report(os.fspath(log))
        Scan(report.path, report, None, allow).run(progress)
        return report
    report = Report(log.path)
    if not isinstance(log, TransactionLog):
        check_protocol(log, report, progress)
        return report
    known = len(log)
    scan = Scan(log.path, report, known, allow)
    try:
        scan.run(progress)
    except FileNotFoundError:
        if known:
            raise
        return report  # Nothing is created before the first commit.
    compare_with_storage(scan, log, report)
    return report


def check_database(database: Database, progress: Progress | None = None) -> Report:
    """Check the log of an open database, and the objects that it has in memory.

    Other threads may go on. The calling thread may have a transaction, but must not be
    in the middle of committing it.

    Raises:
        ClosedError: The database is closed.
        OSError: The file can't be opened or read.

    Cost: That of :func:`check_log`, and each object in memory; publication waits while
    these are looked at.
    """
    if database.closed:
        what = f"the database {database.storage.path}"
        raise ClosedError(what)
    report = check_log(database.storage, progress)
    check_memory(database, report)
    return report
