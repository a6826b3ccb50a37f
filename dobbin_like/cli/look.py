"""The subcommands that inspect a log and write nothing: census, check, log, history, info."""

from __future__ import annotations

import sys
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.table import Table

from dobbin_like.check import check_log
from dobbin_like.cli.common import (
    ALLOW,
    FOUND,
    JSON,
    LOG,
    importable,
    local_time,
    opened,
    progress_bar,
    show,
    table_console,
    when,
)
from dobbin_like.cli.difference import differences
from dobbin_like.history.revisions import TransactionRecord, transactions_of
from dobbin_like.ids import ROOT_OID
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from collections.abc import Callable

_SHORT: Final = 70
"""How many characters of a value are shown."""


def _limit(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "-n",
        "--limit",
        type=click.IntRange(min=0),
        default=20,
        show_default=True,
        metavar="N",
        help=f"The number of {what}; 0: all.",
    )


@click.command()
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


@click.command()
@LOG
@JSON
@ALLOW
def check(path: str, *, as_json: bool, allow: tuple[str, ...]) -> int:
    """Check every byte and every reference of the log PATH.

    Prints each problem with its place, and the objects that can't be reached from the root.
    Imports no module of the program that wrote the log, unless it is named by --allow: then
    classes that can't be loaded are found, too. Works on a log that is in use.
    """
    if allow:
        importable()
    with progress_bar("checking") as progress:
        report = check_log(path, progress, allow or None)
    show(report, report.as_dict(), as_json=as_json)
    return 0 if report.ok and not report.broken else FOUND


@click.command()
@LOG
@_limit("transactions")
@when("--since", "Only after a tid, a time (2026-01-31T12:00) or a time ago (3d, 12h, 5m).")
@when("--until", "Only those up to then.")
@click.option("--failed", is_flag=True, help="Only failed transactions.")
@click.option("--oldest-first", is_flag=True, help="List them in the order of their commits.")
@JSON
def log(
    path: str,
    *,
    limit: int,
    since: int | datetime | None,
    until: int | datetime | None,
    failed: bool,
    oldest_first: bool,
    as_json: bool,
) -> None:
    """List the transactions in PATH, the newest first.

    Failed transactions are included. With --json, prints one JSON object per line.
    """
    with TransactionLog(path, read_only=True) as storage:
        found = transactions_of(storage, since, until, newest_first=not oldest_first)
        wanted = (item for item in found if item.failed or not failed)
        shown = list(islice(wanted, limit)) if limit else wanted
        if as_json:
            for item in shown:
                show(None, {**item._asdict(), "time": item.time.isoformat()}, as_json=True)
        else:
            _print_transactions(list(shown))
            if limit and next(wanted, None) is not None:
                print("there are more; use --limit 0 to show all", file=sys.stderr)


def _print_transactions(shown: list[TransactionRecord]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("tid", "time", "user", "objects", "description"):
        table.add_column(name, justify="right" if name == "objects" else "left")
    for item in shown:
        text = item.description
        if item.failed:
            text = f"FAILED ({item.reason or 'its process died'}) {text}".rstrip()
        count = "-" if item.failed else str(len(item.oids))
        table.add_row(str(item.tid), local_time(item.tid), item.user, count, text)
    table_console().print(table, highlight=False, markup=False)


@click.command()
@LOG
@click.argument("oid", type=click.IntRange(min=0))
@_limit("revisions")
@JSON
@ALLOW
def history(path: str, oid: int, *, limit: int, as_json: bool, allow: tuple[str, ...]) -> None:
    """List the changes of the object OID in PATH.

    Lists the transactions that changed it, the newest first, with the attributes that each
    has changed; for a collection, the items. Values whose classes are not loaded are shown as
    stand-ins; --allow names classes that may be imported. With --json, prints one JSON object
    per line.
    """
    if allow:
        importable()
    with opened(path, allow=allow) as database:
        found = database.history(oid)
        for revision in islice(found, limit or None):
            changed = {name: values for name, *values in differences(revision.changed)}
            if as_json:
                time = revision.time.isoformat()
                show(None, {**revision._asdict(), "time": time, "changed": changed}, as_json=True)
                continue
            who = f"  {revision.user}" if revision.user else ""
            print(f"{revision.tid}  {local_time(revision.tid)}{who}  {revision.description}")
            for name, (old, new) in changed.items():
                print(f"    {name}: {_short(old)} -> {_short(new)}")
        if limit and next(found, None) is not None:
            print("there are more; use --limit 0 to show all", file=sys.stderr)


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."


@click.command()
@LOG
@JSON
def info(path: str, *, as_json: bool) -> None:
    """Show the size of PATH, what it contains, and its classes."""
    with TransactionLog(path, read_only=True) as storage:
        failed, first, last = 0, 0, 0
        for logged in storage.transactions():
            first, last = first or logged.tid, logged.tid
            failed += logged.failed
        root = storage.load(ROOT_OID)
        number = root.number if root else 0
        number = (storage.names.shape(number) or (number,))[0]
        facts: dict[str, Any] = {
            "file": str(Path(path).resolve()),
            "size": Path(path).stat().st_size,
            "transactions": len(storage),
            "failed": failed,
            "from": first,
            "to": last,
            "packed": storage.generation,
            "complete_since": storage.complete_since,
            "objects": storage.oid_count,
            "root": ".".join(storage.names.class_name(number) or ("?",)) if root else None,
            "classes": sorted(
                {f"{module}.{name}" for _, module, name in storage.names.rows().classes}
            ),
        }
    lines = (f"{name:<13} {value}" for name, value in _readable(facts).items())
    show("\n".join(lines), facts, as_json=as_json)


def _readable(facts: dict[str, Any]) -> dict[str, str]:
    first, last, since = facts["from"], facts["to"], facts["complete_since"]
    times = f"{facts['packed']} times; the past begins {local_time(since)}"
    return {
        "file": facts["file"],
        "size": f"{facts['size']:,} bytes",
        "transactions": f"{facts['transactions']:,}, of which {facts['failed']:,} failed",
        "from": local_time(first) if first else "-",
        "to": local_time(last) if last else "-",
        "packed": times if since else "never",
        "objects": f"{facts['objects']:,}",
        "root": facts["root"] or "none yet",
        "classes": "\n".ljust(15).join(facts["classes"]) or "none yet",
    }
