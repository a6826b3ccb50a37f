"""The demo from start to end."""

from __future__ import annotations

import os
import platform
import shlex
import sysconfig
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from dobbin_like.check import check_database
from dobbin_like.database import Database
from dobbin_like.demo.display import Figures, Progress, answers, facts
from dobbin_like.demo.model import Library
from dobbin_like.demo.questions import Questions, inconsistencies
from dobbin_like.demo.workers import Workers, in_fresh_process, prepare
from dobbin_like.exc import Error, ServerUnavailableError, UsageError
from dobbin_like.opening import open_storage
from dobbin_like.texts import is_uri, shown

INTERRUPTED: Final = 130

_TICK_SECONDS: Final = 0.1


class DemoError(UsageError):
    """The log can't be used for the demo. It was not changed."""

    path: str
    reason: str
    text = "{path}: {reason}; give another path or URI"


def default_source() -> Path:
    """Return the standard library of the running Python."""
    return Path(sysconfig.get_path("stdlib"))


def default_workers() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(path: str, source: Path, workers: int, class_name: str, word: str, program: str) -> int:
    """Run the demo; return the exit code: 0 success, 1 problems, 130 stopped by Ctrl-C.

    *program* is how the command was called, for what it tells at the end.
    """
    console = Console()
    try:
        code = _fill(console, path, source, workers)
    except KeyboardInterrupt:
        _say(console, "", "Stopped before a worker was at work; the same command begins again.")
        return INTERRUPTED
    if code:
        return code
    try:
        _say(console, "", "A fresh process opens the log and follows the references:", "")
        unanswered = in_fresh_process(_answer_alone, path, class_name, word)
        wrong = 1 if _check(console, path) else 0
    except KeyboardInterrupt:
        _say(console, "", f"Stopped; all files are in {shown(path)}.")
        return INTERRUPTED
    _say_what_next(console, path, program)
    return wrong or unanswered


def _say_what_next(console: Console, path: str, program: str) -> None:
    where = shown(path)
    quoted = shlex.quote(where)
    if is_uri(path):
        is_at = f"The log is at {where}. To look at it:"
        looks = [
            f"  {program} follow {quoted} demo.replica --once",
            f"  {program} browse demo.replica",
        ]
    else:
        is_at = f"The file is {Path(path).resolve()}. To look at it:"
        looks = [f"  {program} browse {quoted}"]
    _say(
        console,
        "",
        is_at,
        f"  {program} ask {quoted} --subclasses-of ValueError",
        f"  {program} log {quoted}",
        *looks,
        "or in Python:",
        "  >>> import dobbin_like",
        f"  >>> db = dobbin_like.open({where!r}, allow=['dobbin_like.demo.*'])",
        "  >>> db.root.modules['json.decoder'].classes[0].methods",
    )


def run_for_machines(path: str, source: Path, workers: int) -> tuple[int, list[str] | None]:
    """Run the demo, and tell its way on standard error.

    Returns:
        The exit code, and what the check has found; None: it was not done.
    """
    console = Console(stderr=True)
    try:
        code = _fill(console, path, source, workers)
        problems = None if code else _check(console, path)
    except KeyboardInterrupt:
        _say(console, "", "Stopped; the same command continues.")
        return INTERRUPTED, None
    return (1 if problems else code), problems


def _say(console: Console, *lines: str) -> None:
    """Print *lines* as they are."""
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _open_library(path: str, *, read_only: bool) -> Database:
    """Open the log at *path*, which has to contain a library of the demo, or not exist."""
    if path.startswith("memory:") and not read_only:
        raise DemoError(path, "the workers share no memory")
    try:
        storage = open_storage(path, must_exist=read_only, read_only=read_only, sync=False)
    except (ValueError, ModuleNotFoundError) as error:
        if isinstance(error, Error):
            raise
        raise DemoError(shown(path), str(error)) from error
    database = Database(storage)
    root = database.get_root()
    if root is not None and not isinstance(root, Library):
        database.close()
        raise DemoError(shown(path), "this database was not made by the demo")
    return database


def _fill(console: Console, path: str, source: Path, count: int) -> int:
    with _open_library(path, read_only=False) as database:
        library = database.get_root() or prepare(database, source)
        if library.is_complete:
            _say(console, f"{shown(path)} is complete: {library.tally.files.value} files.")
            return 0
        running = platform.python_version()
        if library.version != running:
            reason = f"it was begun with Python {library.version}, this is {running}"
            raise DemoError(shown(path), reason)
        figures = Figures(database, library)
        what = f"{figures.total} files of {library.source}"
        if done := figures.files:
            missing = figures.total - done
            what = f"the {missing} missing files of {library.source} ({done} are stored)"
        workers = f"{count} worker{'s' * (count != 1)}"
        _say(
            console,
            *_about(path, workers, what),
            "Press Ctrl-C to stop; the same command continues where it stopped.",
            "",
        )
        try:
            _watch_workers(console, path, figures, count)
        except KeyboardInterrupt:
            figures.catch_up()
            there = f"{figures.files} of {figures.total} files"
            where = shown(path)
            _say(console, "", f"Stopped: {there} are in {where}; the same command continues.")
            return INTERRUPTED
        if missing := figures.total - figures.files:
            text = f"All workers have ended and {missing} files are missing"
            _say(console, f"{text}; run the same command again.")
            return 1
        _say_done(console, figures)
        return 0


def _say_done(console: Console, figures: Figures) -> None:
    _say(
        console,
        "",
        f"Done in {figures.seconds:.1f} seconds: {figures.files - figures.earlier} files, "
        f"{figures.transactions} transactions ({figures.rate:.0f} commits/s), "
        f"{figures.conflicts} conflicts retried.",
        f"In the log: {figures.lines:,} lines, {figures.classes:,} classes and "
        f"{figures.functions:,} functions as {figures.objects:,} objects"
        + (f", {figures.megabytes:.1f} MB." if figures.megabytes else "."),
    )


def _about(path: str, workers: str, what: str) -> list[str]:
    """Return what is told at the beginning: who works, on what, and how durable it is."""
    if is_uri(path):
        return [
            f"{workers}: each parses files and commits to {shown(path)}.",
            f"Parsing {what}.",
            "A server that goes away is waited for; the same command on other machines helps.",
        ]
    return [
        f"{workers}, no server: each parses files and commits to {path}.",
        f"Parsing {what}.",
        "Commits are not synced (sync=False): a killed process loses nothing, a power failure "
        "may lose the newest commits.",
    ]


def _watch_workers(console: Console, path: str, figures: Figures, count: int) -> None:
    """Start workers, and show their progress until all have ended."""
    with Workers(path, count) as workers, Progress(console, figures, count) as progress:
        alive, is_read = count, False
        told: set[str] = set()
        while alive or not is_read:
            workers.wait(_TICK_SECONDS)
            alive = workers.alive  # Before reading: so the last commit of the last worker is seen.
            try:
                figures.catch_up()
                is_read = True
            except ServerUnavailableError:
                is_read = False  # It is waited for, as the workers do.
            progress.show(alive)
            for lost in workers.lost:
                if lost not in told:
                    told.add(lost)
                    _say(console, f"{lost}; the others store its files.")


def answer_facts(path: str, class_name: str, word: str) -> dict[str, Any]:
    """Return the answers of the graph in *path* as values that JSON has."""
    with _open_library(path, read_only=True) as database:
        library = database.get_root()
        if library is None:
            raise DemoError(shown(path), "the database is empty")
        return {"complete": library.is_complete, **facts(Questions(library), class_name, word)}


def answer(path: str, class_name: str, word: str) -> bool:
    """Print the answers of the graph in *path*; return whether there is a class of that name."""
    console = Console()
    with _open_library(path, read_only=True) as database:
        library = database.get_root()
        if library is None:
            raise DemoError(shown(path), "the database is empty")
        if not library.is_complete:
            done = f"{library.tally.files.value} of {len(library.files)}"
            where = shown(path)
            _say(console, f"{done} files are stored; `dobbin demo {where}` continues.", "")
        questions = Questions(library)
        for table in answers(questions, class_name, word):
            console.print(table)
        if not questions.find(class_name):
            _say(console, f"No class is called {class_name!r}.")
            return False
    return True


def _answer_alone(path: str, class_name: str, word: str) -> None:
    """Answer in a new process, which Ctrl-C reaches as well as its parent."""
    try:
        found = answer(path, class_name, word)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    raise SystemExit(0 if found else 1)


def _check(console: Console, path: str) -> list[str]:
    """Check the log, tell what was found, and return the problems."""
    with _open_library(path, read_only=True) as database:
        wrong = list(inconsistencies(database.get_root()))  # Loads every reachable object.
        report = check_database(database)
    wrong += map(str, report.problems)
    _say(
        console,
        "",
        f"Checked: {report.transactions} transactions ({report.failed} of them failed), "
        f"{report.objects:,} objects in {report.versions:,} versions, every "
        "checksum and every reference, and the totals that all workers added to.",
        f"Found: {len(wrong) or 'no'} problem{'s' * (len(wrong) != 1)}.",
        *(f"WRONG: {problem}" for problem in wrong),
    )
    return wrong
