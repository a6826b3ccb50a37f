"""The demo from start to end."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sysconfig
from pathlib import Path
from typing import Final

import transaction
from rich.console import Console

from dobbin_like.database import Database
from dobbin_like.demo import display
from dobbin_like.demo.model import Library
from dobbin_like.demo.questions import Questions, inconsistencies
from dobbin_like.demo.store import prepare
from dobbin_like.demo.workers import Workers, in_fresh_process
from dobbin_like.exc import UsageError
from dobbin_like.storage import TransactionLog

INTERRUPTED: Final = 130

_TICK_SECONDS: Final = 0.1
_LIMIT: Final = 10


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
        say(console, "", "Stopped before a worker was at work; the same command begins again.")
        return INTERRUPTED
    if code:
        return code
    try:
        say(console, "", "A fresh process opens the file and follows the references:", "")
        unanswered = in_fresh_process(_answer_alone, path, class_name, word)
        wrong = _check(console, path)
    except KeyboardInterrupt:
        return INTERRUPTED
    _farewell(console, path)
    return wrong or unanswered


def say(console: Console, *lines: str) -> None:
    """Print *lines* as they are."""
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


# -- filling the file ---------------------------------------------------------


def open_library(path: str, *, read_only: bool) -> Database:
    """Open *path*, which has to contain a library of the demo, or not exist.

    Raises:
        DemoError: It contains something else.
    """
    database = Database(TransactionLog(path, sync=False, read_only=read_only))
    root = database.get_root()
    if root is not None and not isinstance(root, Library):
        database.close()
        raise DemoError(path, "this database was not made by the demo")
    return database


def _fill(console: Console, path: str, source: Path, count: int) -> int:
    with open_library(path, read_only=False) as database:
        library = database.get_root() or prepare(database, source)
        if library.is_complete:
            say(
                console,
                f"{path} is complete: {library.tally.files.value} files.",
            )
            return 0
        running = platform.python_version()
        if library.version != running:
            reason = f"it was begun with Python {library.version}, this is {running}"
            raise DemoError(path, reason)
        _introduce(console, path, library, count)
        try:
            return _tail(console, path, database, library, count)
        except KeyboardInterrupt:
            transaction.begin()
            there = f"{library.tally.files.value} of {len(library.files)} files"
            say(console, "", f"Stopped: {there} are in {path}; the same command continues.")
            return INTERRUPTED


def _introduce(console: Console, path: str, library: Library, count: int) -> None:
    done, total = library.tally.files.value, len(library.files)
    what = f"{total} files of {library.source}"
    if done:
        what = f"the {total - done} missing files of {library.source} ({done} are stored)"
    say(
        console,
        f"{count} worker{'s' * (count != 1)}, no server: each parses files and commits to {path}.",
        f"Parsing {what}.",
        "Commits are not synced (sync=False): a killed process loses nothing, a power failure may "
        "lose the newest commits.",
        "Press Ctrl-C to stop; the same command continues where it stopped.",
        "",
    )


def _tail(console: Console, path: str, database: Database, library: Library, count: int) -> int:
    figures = display.Figures(database, library)
    with Workers(path, count) as workers, display.Progress(console, figures, count) as progress:
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
                    say(console, f"{lost}; the others store its files.")
    if not library.is_complete:
        say(
            console,
            f"All workers have ended and {figures.total - figures.files} files are missing; "
            "run the same command again.",
        )
        return 1
    say(
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


# -- asking it ----------------------------------------------------------------


def answer(path: str, class_name: str, word: str) -> None:
    """Print the answers of the graph in *path*.

    Raises:
        DemoError: It does not contain a library.
        SystemExit: With 1: there is no class with that name.
    """
    console = Console()
    with open_library(path, read_only=True) as database:
        library = database.get_root()
        if library is None:
            raise DemoError(path, "the database is empty")
        questions = Questions(library)
        if not library.is_complete:
            done, total = library.tally.files.value, len(library.files)
            say(
                console, f"{done} of {total} files are stored; `dobbin demo {path}` continues.", ""
            )
        console.print(display.imported_table(questions.most_imported(_LIMIT)))
        console.print(display.largest_table(questions.largest_classes(_LIMIT)))
        console.print(display.derived_from_table(questions.most_derived_from(_LIMIT)))
        console.print(display.about_table(word, questions.about(word), _LIMIT))
        found = questions.find(class_name)
        for cls in found:
            derived = questions.subclasses_of(cls)
            console.print(display.subclasses_table(cls, derived, 3 * _LIMIT))
        if not found:
            say(console, f"No class is called {class_name!r}.")
            raise SystemExit(1)


def _answer_alone(path: str, class_name: str, word: str) -> None:
    """Answer in a new process, which Ctrl-C reaches as well as its parent."""
    try:
        answer(path, class_name, word)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


# -- checking it --------------------------------------------------------------


def _check(console: Console, path: str) -> int:
    from dobbin_like.check import check_database

    with open_library(path, read_only=True) as database:
        wrong = list(inconsistencies(database.get_root()))  # Loads every reachable object.
        report = check_database(database)
        wrong += map(str, report.problems)
        say(
            console,
            "",
            f"Checked: {report.transactions} transactions ({report.failed} of them failed), "
            f"{report.objects:,} objects in {report.versions:,} versions, every "
            "checksum and every reference, and the totals that all workers added to.",
            f"Found: {len(wrong) or 'no'} problem{'s' * (len(wrong) != 1)}.",
        )
    for problem in wrong:
        say(console, f"WRONG: {problem}")
    return 1 if wrong else 0


def _farewell(console: Console, path: str) -> None:
    program = "dobbin" if shutil.which("dobbin") else "python -m dobbin_like"
    quoted = shlex.quote(path)
    say(
        console,
        "",
        f"The file is {Path(path).resolve()}. To look at it:",
        f"  {program} ask {quoted} --subclasses-of ValueError",
        f"  {program} log {quoted}",
        "or in Python:",
        "  >>> from dobbin_like import Database",
        f"  >>> db = Database({path!r}, allow=['dobbin_like.demo.*'])",
        "  >>> db.root.modules['json.decoder'].classes[0].methods",
    )
