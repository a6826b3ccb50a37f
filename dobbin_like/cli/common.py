"""The shared parts of the subcommands: exit codes, arguments, JSON output, the progress bar."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from dobbin_like.database import Database
from dobbin_like.storage import TransactionLog

FOUND: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

LOG: Final = click.argument("path", type=click.Path(exists=True, dir_okay=False, readable=True))
"""An existing log."""

JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

_AGO: Final = re.compile(r"(\d+)\s*([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class _Moment(click.ParamType[Any]):
    """A tid, a time, or a time ago."""

    name = "moment"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | datetime:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        if value.isdecimal():
            return int(value)
        ago = _AGO.fullmatch(value)
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            # A time without a zone is local time.
            return datetime.fromisoformat(value).astimezone()
        except ValueError:
            text = f"{value!r} is not a tid, a time (2026-01-31T12:00) or a time ago (3d, 12h, 5m)"
            self.fail(text, param, ctx)


def when(name: str, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return an option that takes a moment."""
    return click.option(name, type=_Moment(), metavar="WHEN", help=text)


def show(report: object, facts: Any, *, as_json: bool) -> None:
    """Print a report; or *facts* as JSON on one line. Values that JSON lacks become texts."""
    print(json.dumps(facts, default=str) if as_json else report)


@contextlib.contextmanager
def opened(path: str, *, read_only: bool = True, **options: Any) -> Iterator[Database]:
    """Open the database at *path*, by default for reading."""
    with TransactionLog(path, read_only=read_only) as log, Database(log, **options) as database:
        yield database


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], object] | None]:
    """Yield a callback for (done, total) that draws a bar; None if stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def importable() -> None:
    """Make modules of the current directory importable, as ``python -m`` does."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
