"""The shared parts of the subcommands: exit codes, arguments, JSON output, the progress bar."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from dobbin_like.cli.text import Styled, is_terminal, line, note, put
from dobbin_like.exc import Error, IntegrityError
from dobbin_like.mistaken.arguments import EMPTY_PATH
from dobbin_like.texts import is_uri, scheme_of, shown

if TYPE_CHECKING:
    from dobbin_like.contract import Storage
    from dobbin_like.database import Database
    from dobbin_like.repair.report import Loss

_T = TypeVar("_T")

FOUND: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130


_NO_FILES: Final = ("memory", "postgresql", "postgres")


class Complaint(click.ClickException):
    """What can't be done as it was asked for, in one line."""

    exit_code = USAGE

    def show(self, file: Any = None) -> None:
        note(f"dobbin: {self.message}")


class Stopped(click.Abort):
    """Ctrl-C has come when a part was done. *what*: how far it is, and what to do."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what: str = what


class _Path(click.Path):
    """A path, or a ``file:`` URI, of which the options are for programs."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not value:
            self.fail(EMPTY_PATH, param, ctx)
        if scheme_of(value) == "file":
            from dobbin_like.uris import path_of

            try:
                value = path_of(value)
            except ValueError as error:
                self.fail(str(error), param, ctx)
        return super().convert(value, param, ctx)


class _LogOrUri(_Path):
    """An existing file, or a URI."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if is_uri(value) and scheme_of(value) != "file":
            return value
        return super().convert(value, param, ctx)


ANY_FILE: Final = _Path(dir_okay=False)
"""A path, where nothing need be."""

ANY_LOG: Final = _LogOrUri(dir_okay=False)
"""A path, where nothing need be, or a URI."""


class _LogFile(_Path):
    """A file. *instead*: what to do about a log on a server."""

    def __init__(self, instead: str, *, exists: bool) -> None:
        super().__init__(exists=exists, dir_okay=False, readable=exists)
        self._instead = instead

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        # Another name with a colon is that of a file here.
        if scheme_of(value) in _NO_FILES or ("://" in value and scheme_of(value) != "file"):
            name = param.make_metavar(ctx)
            text = f"{shown(value)}: {ctx.command_path} takes a file as {name}; {self._instead}"
            raise Complaint(text)
        return super().convert(value, param, ctx)


def log_file(instead: str, name: str = "path", metavar: str = "PATH") -> Callable[..., Any]:
    """Return an argument: an existing log in a file. *instead*: what to do about a URI."""
    return click.argument(name, metavar=metavar, type=_LogFile(instead, exists=True))


def new_file(name: str, metavar: str) -> Callable[..., Any]:
    """Return an argument: a path where a file is made, or replaced."""
    instead = "to a server, copy the file by dobbin copy"
    return click.argument(name, metavar=metavar, type=_LogFile(instead, exists=False))


LOG: Final = click.argument(
    "path", metavar="PATH", type=_LogOrUri(exists=True, dir_okay=False, readable=True)
)
"""An existing log, by its path or its URI."""

JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

ALLOW: Final = click.option(
    "--allow",
    multiple=True,
    metavar="NAME",
    help="A module or class that may be imported: 'shop.*' or 'shop.Cart'. May be repeated.",
)

_AGO: Final = re.compile(r"(\d+)\s*([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def command(example: str, name: str | None = None) -> Callable[..., click.Command]:
    """Return a decorator for a subcommand whose help ends with an example."""
    return click.command(name, epilog=f"\b\nExample: {example}")


class _Moment(click.ParamType[Any]):
    """A tid, a time, or a time ago."""

    name = "moment"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | datetime:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        if value.isdecimal():
            return int(value)
        if value == "now":
            return datetime.now(UTC)
        ago = _AGO.fullmatch(value)
        try:
            if ago is not None:
                return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            # A time without a zone is local time.
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            text = f"{value!r} is not a tid, a time (2026-01-31T12:00) or a time ago (3d, 12h, 5m)"
            self.fail(text, param, ctx)


MOMENT: Final = _Moment()


def when(name: str, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return an option that takes a moment."""
    return click.option(name, type=MOMENT, metavar="WHEN", help=text)


AT: Final = when("--at", "As of a tid, a time (2026-01-31T12:00) or a time ago (3d, 12h, 5m).")


def limit_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return an option for the number of items of a listing."""
    return click.option(
        "-n",
        "--limit",
        type=click.IntRange(min=0),
        default=20,
        show_default=True,
        metavar="N",
        help=f"The number of {what}; 0: all.",
    )


def limited(found: Iterable[_T], count: int, shown: int = 0) -> Iterator[_T]:
    """Yield *count* of what was found, less *shown*, or all if it is 0; say if that is not all."""
    for number, item in enumerate(found, shown):
        if count and number >= count:
            note("there are more; use --limit 0 to show all")
            return
        yield item


def show(report: object, facts: Any, *, as_json: bool) -> None:
    """Print a report; or *facts* as JSON on one line.

    The exit code stays that of the report if nobody reads it to its end.
    """
    try:
        put(json.dumps(facts, allow_nan=False) if as_json else report, flush=True)
    except BrokenPipeError:
        read_no_more()


def read_no_more() -> None:
    """Let nothing more be written to a pipe that nobody reads, at the end of Python either."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def json_line(facts: Any) -> None:
    """Print one of several lines of JSON."""
    put(json.dumps(facts, allow_nan=False))


def damaged(facts: dict[str, Any], what: str, error: Error, *, as_json: bool) -> None:
    """Print a line in the place of what can't be read; in JSON after *facts*."""
    found = reason(error)
    if as_json:
        json_line({**facts, "damaged": found})
    else:
        line(Styled(f"{what}  damaged: {found}", "red"))


def loss_facts(loss: Loss) -> dict[str, Any]:
    """Return what can't be read of a damaged log, as JSON has it."""
    facts = asdict(loss)
    return {"damaged": facts.pop("what"), **facts}


def reason(error: Error) -> str:
    """Return what is wrong, for one line of many: the path and the hint are told once."""
    if isinstance(error, IntegrityError):
        return f"at {error.offset}: {error.found}, expected {error.expected}"
    return str(error)


def pause(seconds: float) -> None:
    """Sleep. Raises BrokenPipeError when nobody reads the results any more."""
    if is_given_up(seconds):
        raise BrokenPipeError


def is_given_up(seconds: float = 0) -> bool:
    """Return whether nobody reads the results any more, or will not some *seconds* later."""
    try:
        out = sys.stdout.fileno()
    except (AttributeError, OSError):  # Of a program that has replaced it.
        time.sleep(seconds)
        return False
    watch = select.poll()
    watch.register(out, 0)
    return any(event & select.POLLERR for _, event in watch.poll(seconds * 1000))


@contextlib.contextmanager
def opened(
    path: str, *, at: int | datetime | None = None, read_only: bool = True, **options: Any
) -> Iterator[Database]:
    """Open the database at *path*, by default for reading; as of *at*."""
    from dobbin_like.database import Database

    with storage_at(path, read_only=read_only) as log:
        with usage():
            database = Database(log, **options)
        with database:
            if at is None:
                yield database
            else:
                with database.at(at) as past:
                    yield past


@contextlib.contextmanager
def usage() -> Iterator[None]:
    """Let a ValueError for what was given on the command line be an error of its usage."""
    try:
        yield
    except ValueError as error:
        if isinstance(error, Error):
            raise
        raise click.UsageError(str(error)) from error
    except ModuleNotFoundError as error:
        raise click.UsageError(str(error)) from error


@contextlib.contextmanager
def storage_at(path: str, **options: Any) -> Iterator[Storage]:
    """Open the storage at a path or a URI, with the options of open_storage()."""
    from dobbin_like.opening import open_storage

    with usage():
        storage = open_storage(path, **options)
    with contextlib.closing(storage):
        yield storage


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], object] | None]:
    """Yield a callback for (done, total) that draws a bar; None if stderr is not a terminal."""
    if not (sys.stderr and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # Results that go to the same terminal are printed above the bar; others go their own way.
    with Progress(*columns, console=console, transient=True, redirect_stdout=is_terminal()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def importable() -> None:
    """Make modules of the current directory importable, as ``python -m`` does."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
