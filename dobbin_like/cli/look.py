"""The subcommands that inspect a log and write nothing: census, check, log, history, info."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from dobbin_like.check import check_log
from dobbin_like.cli.common import FOUND, JSON, LOG, importable, opened, progress_bar, show, when
from dobbin_like.history import ABSENT
from dobbin_like.history.revisions import TransactionRecord, transactions_of
from dobbin_like.ids import ROOT_OID
from dobbin_like.objects.deltas.delta import ITEMS
from dobbin_like.objects.values.values import StateComparison
from dobbin_like.storage import TransactionLog

_SHORT: Final = 70
"""How many characters of a value are shown."""


_ALLOW: Final = click.option(
    "--allow",
    multiple=True,
    metavar="NAME",
    help="A module or class that may be imported: 'shop.*' or 'shop.Cart'. May be repeated.",
)


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
@_ALLOW
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
    show(report, report.as_dict(), as_json=as_json)
    return 0 if report.ok and not (report.broken or report.not_rebuilt) else FOUND


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
        table.add_row(str(item.tid), _local_time(item.tid), item.user, count, text)
    # As wide as the terminal, or 160 columns in a file.
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table, highlight=False, markup=False)


@click.command()
@LOG
@click.argument("oid", type=click.IntRange(min=0))
@_limit("revisions")
@JSON
@_ALLOW
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
            print(f"{revision.tid}  {_local_time(revision.tid)}{who}  {revision.description}")
            for name, (old, new) in changed.items():
                print(f"    {name}: {_short(old)} -> {_short(new)}")
        if limit and next(found, None) is not None:
            print("there are more; use --limit 0 to show all", file=sys.stderr)


def differences(changed: dict[str, tuple[Any, Any]]) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each attribute in *changed*, and its value before and after, as texts.

    For a persistent dict, list or set, yield the items that differ: the whole of a large
    one would fill pages, twice, and hide the difference.
    """
    for name, (before, after) in changed.items():
        seen: Counter[str] = Counter()
        for item, old, new in _items(before, after) if name == ITEMS else ():
            label = f"[{item!r}]"
            seen[label] += 1
            again = f" #{seen[label]}" if seen[label] > 1 else ""  # The same repr as another.
            yield label + again, repr(old), repr(new)
        if not seen:  # No items; or the order has changed, or a list before its end.
            yield name, repr(before), repr(after)


def _items(before: Any, after: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield the items that differ. Nothing if the difference is not one of items."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*after, *(key for key in before if key not in after)]:
            old, new = before.get(key, ABSENT), after.get(key, ABSENT)
            if not StateComparison().same(old, new):
                yield key, old, new
    elif isinstance(before, set) and isinstance(after, set):
        yield from ((item, ABSENT, item) for item in sorted(after - before, key=repr))
        yield from ((item, item, ABSENT) for item in sorted(before - after, key=repr))
    elif isinstance(before, list) and isinstance(after, list):
        count = len(before)
        if StateComparison().same(before, after[:count]):
            yield from ((count + place, ABSENT, new) for place, new in enumerate(after[count:]))


def _local_time(tid: int) -> str:
    """Return the local time of a transaction, by the clock of the program that wrote it."""
    return datetime.fromtimestamp(tid / 1e6).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


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
        root_class = ".".join(storage.names.class_name(number) or ("?",)) if root else None
        rows = storage.names.rows().classes
        classes = sorted({f"{module}.{name}" for _, module, name in rows})
        size, since = Path(path).stat().st_size, storage.complete_since
        times = f"{storage.generation} times; the past begins {_local_time(since)}"
        count = f"{len(storage):,}, of which {failed:,} failed"
        facts: list[tuple[str, Any, str | None]] = [
            ("file", str(Path(path).resolve()), str(Path(path).resolve())),
            ("size", size, f"{size:,} bytes"),
            ("transactions", len(storage), count),
            ("failed", failed, None),
            ("from", first, _local_time(first) if first else "-"),
            ("to", last, _local_time(last) if last else "-"),
            ("packed", storage.generation, times if since else "never"),
            ("complete_since", since, None),
            ("objects", storage.oid_count, f"{storage.oid_count:,}"),
            ("root", root_class, root_class or "none yet"),
            ("classes", classes, "\n".ljust(15).join(classes) or "none yet"),
        ]
    lines = (f"{name:<13} {text}" for name, _, text in facts if text is not None)
    show("\n".join(lines), {name: value for name, value, _ in facts}, as_json=as_json)
