"""The demo from start to end."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
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
from dobbin_like.exc import UsageError
from dobbin_like.storage import TransactionLog

INTERRUPTED: Final = 130

_TICK_SECONDS: Final = 0.1


class DemoError(UsageError):
    """The file can't be used for the demo. It was not changed."""

    path: str
    reason: str
    text = "{path}: {reason}; give another path"


def default_source() -> Path:
    """Return the standard library of the running Python."""
    return Path(sysconfig.get_path("stdlib"))


def default_workers() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(path: str, source: Path, workers: int, class_name: str, word: str) -> int:
    """Run the demo; return the exit code: 0 success, 1 problems, 130 stopped by Ctrl-C."""
    console = Console()
    try:
        code = _fill(console, path, source, workers)
    except KeyboardInterrupt:
        _say(console, "", "Stopped before a worker was at work; the same command begins again.")
        return INTERRUPTED
    if code:
        return code
    try:
        _say(console, "", "A fresh process opens the file and follows the references:", "")
        unanswered = in_fresh_process(_answer_alone, path, class_name, word)
        wrong = _check(console, path)
    except KeyboardInterrupt:
        return INTERRUPTED
    program = "dobbin" if shutil.which("dobbin") else "python -m dobbin_like"
    quoted = shlex.quote(path)
    _say(
        console,
        "",
        f"The file is {Path(path).resolve()}. To look at it:",
        f"  {program} ask {quoted} --subclasses-of ValueError",
        f"  {program} log {quoted}",
        f"  {program} browse {quoted}",
        "or in Python:",
        "  >>> from dobbin_like import Database",
        f"  >>> db = Database({path!r}, allow=['dobbin_like.demo.*'])",
        "  >>> db.root.modules['json.decoder'].classes[0].methods",
    )
    return wrong or unanswered


def _say(console: Console, *lines: str) -> None:
    """Print *lines* as they are."""
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _open_library(path: str, *, read_only: bool) -> Database:
    """Open *path*, which has to contain a library of the demo, or not exist."""
    database = Database(TransactionLog(path, sync=False, read_only=read_only))
    root = database.get_root()
    if root is not None and not isinstance(root, Library):
        database.close()
        raise DemoError(path, "this database was not made by the demo")
    return database


def _fill(console: Console, path: str, source: Path, count: int) -> int:
    with _open_library(path, read_only=False) as database:
        library = database.get_root() or prepare(database, source)
        if library.is_complete:
            _say(console, f"{path} is complete: {library.tally.files.value} files.")
            return 0
        running = platform.python_version()
        if library.version != running:
            reason = f"it was begun with Python {library.version}, this is {running}"
            raise DemoError(path, reason)
        figures = Figures(database, library)
        what = f"{figures.total} files of {library.source}"
        if done := figures.files:
            missing = figures.total - done
            what = f"the {missing} missing files of {library.source} ({done} are stored)"
        workers = f"{count} worker{'s' * (count != 1)}"
        _say(
            console,
            f"{workers}, no server: each parses files and commits to {path}.",
            f"Parsing {what}.",
            "Commits are not synced (sync=False): a killed process loses nothing, a power failure "
            "may lose the newest commits.",
            "Press Ctrl-C to stop; the same command continues where it stopped.",
            "",
        )
        try:
            _watch_workers(console, path, figures, count)
        except KeyboardInterrupt:
            figures.catch_up()
            there = f"{figures.files} of {figures.total} files"
            _say(console, "", f"Stopped: {there} are in {path}; the same command continues.")
            return INTERRUPTED
        if missing := figures.total - figures.files:
            text = f"All workers have ended and {missing} files are missing"
            _say(console, f"{text}; run the same command again.")
            return 1
        _say(
            console,
            "",
            f"Done in {figures.seconds:.1f} seconds: {figures.files - figures.earlier} files, "
            f"{figures.transactions} transactions ({figures.rate:.0f} commits/s), "
            f"{figures.conflicts} conflicts retried.",
            f"In the file: {figures.lines:,} lines, {figures.classes:,} classes and "
            f"{figures.functions:,} functions as {figures.objects:,} objects, "
            f"{figures.megabytes:.1f} MB.",
        )
        return 0


def _watch_workers(console: Console, path: str, figures: Figures, count: int) -> None:
    """Start workers, and show their progress until all have ended."""
    with Workers(path, count) as workers, Progress(console, figures, count) as progress:
        alive = count
        told: set[str] = set()
        while alive:
            workers.wait(_TICK_SECONDS)
            alive = workers.alive  # Before reading: so the last commit of the last worker is seen.
            figures.catch_up()
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
            raise DemoError(path, "the database is empty")
        return {"complete": library.is_complete, **facts(Questions(library), class_name, word)}


def answer(path: str, class_name: str, word: str) -> bool:
    """Print the answers of the graph in *path*; return whether there is a class of that name."""
    console = Console()
    with _open_library(path, read_only=True) as database:
        library = database.get_root()
        if library is None:
            raise DemoError(path, "the database is empty")
        if not library.is_complete:
            done = f"{library.tally.files.value} of {len(library.files)}"
            _say(console, f"{done} files are stored; `dobbin demo {path}` continues.", "")
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


def _check(console: Console, path: str) -> int:
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
    return 1 if wrong else 0
