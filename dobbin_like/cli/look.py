"""The subcommands that tell of a log as a whole: census, check, info."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dobbin_like.check import check_log
from dobbin_like.cli.common import (
    ALLOW,
    FOUND,
    JSON,
    LOG,
    Complaint,
    command,
    damaged,
    importable,
    loss_facts,
    opened,
    progress_bar,
    reason,
    show,
    storage_at,
    usage,
)
from dobbin_like.cli.stored import Damaged, Snapshot
from dobbin_like.cli.text import Styled, as_called, line, local_time, note
from dobbin_like.contract import Storage, is_packed
from dobbin_like.exc import IntegrityError
from dobbin_like.ids import ROOT_OID
from dobbin_like.name_tables import class_and_names
from dobbin_like.repair.listing import readable, readable_classes
from dobbin_like.repair.report import Loss
from dobbin_like.search.questions import Census, census_of
from dobbin_like.search.snapshot_scan import BETWEEN_REPORTS
from dobbin_like.storage import TransactionLog
from dobbin_like.texts import counted, is_uri, shown

_Fact = tuple[str, Any, str | None]
"""What info tells: its name, its value in JSON, and its text; None: that is for JSON only."""


@command("dobbin census shop.log")
@LOG
@JSON
def census(path: str, *, as_json: bool) -> int:
    """Count the objects and bytes of each class in PATH.

    Includes objects that can't be reached from the root. Imports no module of the program
    that wrote the log. Works on a log that is in use. Damaged objects are listed after the
    others, and so is what can't be read of a log that can't be opened; the exit code is 1 then.
    """
    try:
        with opened(path) as database, Snapshot(database) as snapshot:
            with progress_bar("counting") as progress:
                found, lost = snapshot.census(progress)
            show(found, census_facts(found, lost), as_json=as_json)
    except IntegrityError as error:
        if is_uri(path):
            raise
        note(as_called(f"dobbin: {error}; this is what can be read"))
        return _census_of_readable(path, as_json=as_json)
    for each in () if as_json else lost:
        damaged({}, f"oid {each.oid}", each.error, as_json=False)
    return FOUND if lost else 0


def _census_of_readable(path: str, *, as_json: bool) -> int:
    with progress_bar("searching") as progress:
        tid, counts, losses = readable_classes(path, progress)
    found = census_of(tid, counts)
    beside = [loss_facts(loss) for loss in losses]
    show(found, {**found.as_dict(), "damaged": beside}, as_json=as_json)
    for loss in () if as_json else losses:
        line(Styled(f"damaged: {loss}", "red"))
    return FOUND


def census_facts(found: Census, lost: list[Damaged]) -> dict[str, Any]:
    """Return the counts of classes, and what could not be counted, as JSON has them."""
    beside = [{"oid": each.oid, "damaged": reason(each.error)} for each in lost]
    return {**found.as_dict(), "damaged": beside}


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
    if is_uri(path):
        return _check_uri(path, allow, as_json=as_json)
    if allow:
        importable()
    with progress_bar("checking") as progress, usage():
        report = check_log(path, progress, allow or None)
    if not report.transactions:
        _raise_if_foreign(path, is_damaged=not report.ok)
    show(report, report.as_dict(), as_json=as_json)
    if not (report.ok or as_json):
        note(as_called(f"`python -m dobbin_like repair {path} TO` saves what can be read"))
    return 0 if report.ok and not (report.broken or report.not_rebuilt) else FOUND


def _check_uri(uri: str, allow: tuple[str, ...], *, as_json: bool) -> int:
    """Check what the log at a URI says about itself; return the exit code."""
    if allow:
        text = f"{shown(uri)}: --allow is for a log in a file; let one follow it, and check that"
        raise Complaint(text)
    with storage_at(uri, read_only=True) as storage, progress_bar("checking") as progress:
        report = check_log(storage, progress)
    show(report, report.as_dict(), as_json=as_json)
    return 0 if report.ok and not report.broken else FOUND


def _raise_if_foreign(path: str, *, is_damaged: bool) -> None:
    """Raise NotALogError if nothing in the file is of a log: then it is not a damaged one."""
    if is_damaged:
        # What is lost comes before what can be read; at the end it turns out that nothing can.
        any(not isinstance(part, Loss) for part in readable(path))
    else:
        TransactionLog(path, read_only=True).close()


@command("dobbin info shop.log --json")
@LOG
@JSON
def info(path: str, *, as_json: bool) -> None:
    """Show the size of PATH, what it contains, and its classes."""
    with storage_at(path, read_only=True) as storage, progress_bar("counting") as progress:
        total, failed, first, last = 0, 0, 0, 0
        for total, logged in enumerate(storage.transactions(), 1):
            first, last = first or logged.tid, logged.tid
            failed += logged.failed
            if progress is not None and not total % BETWEEN_REPORTS:
                progress(total, len(storage))
        root = storage.load(ROOT_OID)
        number = class_and_names(storage.names, root.number)[0] if root else 0
        root_class = ".".join(storage.names.class_name(number) or ("?",)) if root else None
        rows = storage.names.rows().classes
        classes = sorted({f"{module}.{name}" for _, module, name in rows})
        count = f"{total:,}, of which {failed:,} failed"
        facts: list[_Fact] = [
            *_facts_of_place(storage),
            ("transactions", total, count),
            ("failed", failed, None),
            ("from", first, local_time(first) if first else "-"),
            ("to", last, local_time(last) if last else "-"),
            *_facts_of_packs(storage),
            ("objects", storage.oid_count, f"{storage.oid_count:,}"),
            ("root", root_class, root_class or "none yet"),
            ("classes", classes, "\n".ljust(15).join(classes) or "none yet"),
        ]
    lines = (f"{name:<13} {text}" for name, _, text in facts if text is not None)
    show("\n".join(lines), {name: value for name, value, _ in facts}, as_json=as_json)


def _facts_of_place(storage: Storage) -> Iterator[_Fact]:
    if not isinstance(storage, TransactionLog):
        yield "log", storage.path, storage.path
        return
    path = Path(storage.path)
    size = path.stat().st_size
    yield "file", str(path.resolve()), str(path.resolve())
    yield "size", size, counted(size, "byte")
    follows = "another log; only dobbin follow writes here" if storage.is_follower else None
    yield "follows", storage.is_follower, follows


def _facts_of_packs(storage: Storage) -> Iterator[_Fact]:
    if not is_packed(storage):
        return
    since = storage.complete_since
    times = f"{counted(storage.generation, 'time')}; the past begins {local_time(since)}"
    yield "packed", storage.generation, times if since else "never"
    yield "complete_since", since, None
