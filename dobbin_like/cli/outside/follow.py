"""The subcommand that lets a file follow a log: follow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import click

from dobbin_like.cli.common import (
    JSON,
    Stopped,
    command,
    json_line,
    new_file,
    pause,
    progress_bar,
    storage_at,
)
from dobbin_like.cli.text import note, put
from dobbin_like.exc import HistoryLostError, ServerUnavailableError
from dobbin_like.ids import NO_TID
from dobbin_like.storage import TransactionLog
from dobbin_like.texts import shown
from dobbin_like.upkeep.follow import Follower, FollowReport

_LONGEST_PAUSE_SECONDS: Final = 5.0
"""Between two attempts to open a log of which the server is away."""


@command("dobbin follow postgresql://ada@db.example/shop shop.replica")
@click.argument("source")
@new_file("path", "PATH")
@click.option("--once", is_flag=True, help="Copy what is there by now, and end.")
@click.option("--compare", is_flag=True, help="Compare all of both first, every byte.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.01),
    default=0.2,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks at SOURCE.",
)
@JSON
def follow(
    source: str, path: str, *, once: bool, compare: bool, interval: float, as_json: bool
) -> None:
    """Let the file PATH follow the log SOURCE.

    SOURCE is a path or a URI. PATH gets its transactions with the same tids, failed ones and
    streams too, and those that are committed from then on, until Ctrl-C. Programs may open PATH
    meanwhile with read_only=True, and see what comes; to write to it is refused. The same command
    goes on after a kill at any moment. While a server is away, it is waited for.

    If PATH has transactions that SOURCE does not have, the exit code is 1, and nothing is
    changed; it is 130 if Ctrl-C comes before PATH has all that was there at the beginning. With
    --json, prints one JSON object per line: how far PATH is, first and when something has come.
    """
    following = _Following(source, path, as_json=as_json)
    try:
        if once:
            following.run_once(compare=compare)
        else:
            following.run(interval, compare=compare)
    except KeyboardInterrupt:
        following.stop()


class _Following:
    """One call of the command."""

    def __init__(self, source: str, path: str, *, as_json: bool) -> None:
        self._source = source
        self._path = path
        self._as_json = as_json
        self._away = False  # And that was told.
        self._before: int | None = None  # How many transactions were in the file.
        self._had_all = False  # Once, since then.
        # An instance that does not append writes nothing to a log in PostgreSQL. But one for
        # reading takes a server that has lost transactions for a standby that lags behind.
        self._read_only = not source.startswith(("postgresql:", "postgres:"))

    def run(self, interval: float, *, compare: bool) -> None:
        """Catch up again and again; end only by what is raised."""
        wait = interval
        while True:
            try:
                with self._opened(compare=compare) as follower:
                    compare, wait = False, interval
                    while True:
                        self._catch_up(follower)
                        pause(interval)
            except HistoryLostError as error:
                # A new follower finds out whether they were copied.
                note(f"dobbin: {error}")
            except ServerUnavailableError as error:
                if not self._had_all:
                    raise
                if not self._away:
                    note(f"dobbin: {error}; waiting for it")
                self._away = True
            pause(wait)
            wait = min(2 * wait, max(interval, _LONGEST_PAUSE_SECONDS))

    def run_once(self, *, compare: bool) -> None:
        """Catch up, and tell of it."""
        with self._opened(compare=compare) as follower:
            self._catch_up(follower)

    def stop(self) -> None:
        """Tell what is in the file after Ctrl-C, which is the way to end it when it had all."""
        if self._before is None:
            raise KeyboardInterrupt
        report = self._report()
        if not self._had_all:
            text = f"{report}; the same command goes on from there"
            raise Stopped(text)
        if not self._as_json:
            put(report)

    def _report(self) -> FollowReport:
        """Return what is in the file, as others see it: whatever has ended, it is there."""
        there, tid = 0, NO_TID
        with (
            contextlib.suppress(FileNotFoundError),
            TransactionLog(self._path, read_only=True) as log,
        ):
            there, tid = len(log), log.tid
        return FollowReport(self._path, there, there - (self._before or 0), tid)

    @contextlib.contextmanager
    def _opened(self, *, compare: bool) -> Iterator[Follower]:
        with storage_at(self._source, read_only=self._read_only) as storage:
            before = self._report().transactions if self._before is None else self._before
            with progress_bar("copying") as progress:
                follower = Follower(storage, self._path, progress)
            with follower:
                self._before = before
                if compare:
                    with progress_bar("comparing") as progress:
                        follower.compare(progress)
                yield follower

    def _catch_up(self, follower: Follower) -> None:
        first = not self._had_all
        with progress_bar("following") if first else contextlib.nullcontext() as progress:
            report = follower.catch_up(progress)
        self._had_all = True
        has_come = first or report.copied
        report = report._replace(copied=report.transactions - (self._before or 0))
        if self._away:
            self._away = False
            note(f"dobbin: {shown(self._source)} is there again")
        if self._as_json and has_come:
            json_line(report._asdict())
        elif first:
            put(report)
        put(end="", flush=True)
