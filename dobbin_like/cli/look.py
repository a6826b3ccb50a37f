"""The subcommands that tell of a log as a whole: census, check, info."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dobbin_like.check import check_log
from dobbin_like.cli.common import (
    ALLOW,
    FOUND,
    JSON,
    LOG,
    command,
    importable,
    opened,
    progress_bar,
    show,
)
from dobbin_like.cli.text import local_time
from dobbin_like.ids import ROOT_OID
from dobbin_like.repair.listing import readable
from dobbin_like.search.snapshot_scan import BETWEEN_REPORTS
from dobbin_like.storage import TransactionLog
from dobbin_like.texts import counted


@command("dobbin census shop.log")
@LOG
@JSON
def census(path: str, *, as_json: bool) -> None:
    """Count the objects and bytes of each class in PATH.

    Includes objects that can't be reached from the root. Imports no module of the program
    that wrote the log. Works on a log that is in use.
    """
    with opened(path) as database, progress_bar("counting") as progress:
        found = database.census(progress)
    show(found, found.as_dict(), as_json=as_json)


@command("dobbin check shop.log --allow 'shop.*'")
@LOG
@JSON
@ALLOW
def check(path: str, *, as_json: bool, allow: tuple[str, ...]) -> int:
    """Check every byte and every reference of the log PATH.

    Prints each problem with its place, and the objects that can't be reached from the root.
    Imports no module of the program that wrote the log, unless it is named by --allow: then
    classes that can't be loaded are found, too, and values that can't be rebuilt. Works on a log
    that is in use.
    """
    if allow:
        importable()
    with progress_bar("checking") as progress:
        report = check_log(path, progress, allow or None)
    if not report.transactions:
        _raise_if_foreign(path, is_damaged=not report.ok)
    show(report, report.as_dict(), as_json=as_json)
    return 0 if report.ok and not (report.broken or report.not_rebuilt) else FOUND


def _raise_if_foreign(path: str, *, is_damaged: bool) -> None:
    """Raise NotALogError if nothing in the file is of a log: then it is not a damaged one."""
    if is_damaged:
        next(readable(path), None)
    else:
        TransactionLog(path, read_only=True).close()


@command("dobbin info shop.log --json")
@LOG
@JSON
def info(path: str, *, as_json: bool) -> None:
    """Show the size of PATH, what it contains, and its classes."""
    with TransactionLog(path, read_only=True) as storage, progress_bar("counting") as progress:
        failed, first, last = 0, 0, 0
        for number, logged in enumerate(storage.transactions(), 1):
            first, last = first or logged.tid, logged.tid
            failed += logged.failed
            if progress is not None and not number % BETWEEN_REPORTS:
                progress(number, len(storage))
        root = storage.load(ROOT_OID)
        number = root.number if root else 0
        number = (storage.names.shape(number) or (number,))[0]
        root_class = ".".join(storage.names.class_name(number) or ("?",)) if root else None
        rows = storage.names.rows().classes
        classes = sorted({f"{module}.{name}" for _, module, name in rows})
        size, since = Path(path).stat().st_size, storage.complete_since
        times = f"{counted(storage.generation, 'time')}; the past begins {local_time(since)}"
        count = f"{len(storage):,}, of which {failed:,} failed"
        facts: list[tuple[str, Any, str | None]] = [
            ("file", str(Path(path).resolve()), str(Path(path).resolve())),
            ("size", size, counted(size, "byte")),
            ("transactions", len(storage), count),
            ("failed", failed, None),
            ("from", first, local_time(first) if first else "-"),
            ("to", last, local_time(last) if last else "-"),
            ("packed", storage.generation, times if since else "never"),
            ("complete_since", since, None),
            ("objects", storage.oid_count, f"{storage.oid_count:,}"),
            ("root", root_class, root_class or "none yet"),
            ("classes", classes, "\n".ljust(15).join(classes) or "none yet"),
        ]
    lines = (f"{name:<13} {text}" for name, _, text in facts if text is not None)
    show("\n".join(lines), {name: value for name, value, _ in facts}, as_json=as_json)
