"""The output of the demo: progress while the workers run, tables afterwards.

All figures come from the log: only what is in the file is shown.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import transaction
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from dobbin_like.database import Database
from dobbin_like.demo.model import Library
from dobbin_like.demo.questions import Questions
from dobbin_like.ids import NO_TID
from dobbin_like.storage import TransactionLog

_PLAIN_SECONDS: Final = 2.0
"""Between two lines when the output is not a terminal."""

_LIMIT: Final = 10
"""Rows of a table; a table of subclasses may have three times as many."""


class Figures:
    """The figures of one run, as of the last :meth:`catch_up`."""

    def __init__(self, database: Database, library: Library) -> None:
        storage = database.storage
        self._database = database
        self._storage = storage
        self._library = library
        self._last = NO_TID
        self._started = time.monotonic()
        self.transactions: int = 0
        self.conflicts: int = 0
        self.catch_up()
        # What was in the file before does not belong to this run.
        self.earlier: int = self.files
        self.transactions = self.conflicts = 0

    def catch_up(self) -> None:
        """Read what the workers have committed."""
        transaction.begin()
        for logged in self._storage.transactions(self._last):
            self._last = logged.tid
            self.conflicts += logged.failed
            self.transactions += not logged.failed
        tally = self._library.tally
        self.files: int = tally.files.value
        self.lines: int = tally.lines.value
        self.classes: int = tally.classes.value
        self.functions: int = tally.functions.value
        self.total: int = len(self._library.files)
        self.objects: int = len(self._database)
        # Of a log on a server, nobody asks for its size.
        is_file = isinstance(self._storage, TransactionLog)
        size = Path(self._storage.path).stat().st_size if is_file else 0
        self.megabytes: float = size / 1e6
        self.seconds: float = time.monotonic() - self._started
        self.rate: float = self.transactions / self.seconds if self.seconds else 0.0
        """Commits per second."""

    def _rows(self) -> list[tuple[str, str]]:
        return [
            (f"{self.files} of {self.total}", "files"),
            (f"{self.objects:,}", "objects"),
            (f"{self.transactions}", "transactions"),
            (f"{self.conflicts}", "conflicts retried"),
            (f"{self.rate:.0f}", "commits/s"),
            *([(f"{self.megabytes:.1f}", "MB")] if self.megabytes else []),
        ]

    def line(self) -> str:
        return ", ".join(f"{value} {name}" for value, name in self._rows())

    def picture(self, alive: int) -> Group:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", justify="right")
        for row in [*self._rows(), (f"{alive}", "workers running")]:
            table.add_row(*row)
        return Group(ProgressBar(total=self.total, completed=self.files, width=60), table)


class Progress:
    """The display while the workers run; a context manager."""

    def __init__(self, console: Console, figures: Figures, alive: int) -> None:
        self._console = console
        self._figures = figures
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(figures.picture(alive), console=console, auto_refresh=False)
        self._next_line_seconds = 0.0

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._print_line()

    def show(self, alive: int) -> None:
        if self._live is not None:
            self._live.update(self._figures.picture(alive), refresh=True)
        elif self._figures.seconds >= self._next_line_seconds:
            self._next_line_seconds = self._figures.seconds + _PLAIN_SECONDS
            self._print_line()

    def _print_line(self) -> None:
        self._console.print(self._figures.line(), highlight=False, soft_wrap=True)


def answers(questions: Questions, class_name: str, word: str) -> Iterator[Table]:
    """Yield the tables that answer the questions; for each class of that name, its subclasses."""
    table = _table("Most imported modules", "module", "imported by", "lines", "about")
    for module, count in questions.most_imported(_LIMIT):
        lines = f"{module.line_count:,}" if module.is_parsed else "no source"
        table.add_row(module.name, str(count), lines, module.doc)
    yield table
    table = _table("Largest classes", "class", "lines", "methods", "about")
    for cls in questions.largest_classes(_LIMIT):
        table.add_row(cls.full_name, f"{cls.line_count:,}", str(len(cls.methods)), cls.doc)
    yield table
    table = _table("Classes most others derive from", "class", "derived", "about")
    for cls, count in questions.most_derived_from(_LIMIT):
        table.add_row(cls.full_name, str(count), cls.doc)
    yield table
    modules = questions.about(word)
    title = f"Modules whose docstrings contain {word!r}: {len(modules)}"
    table = _table(title, "module", "lines", "about")
    for module in modules[:_LIMIT]:
        table.add_row(module.name, f"{module.line_count:,}", module.doc)
    yield table
    for cls in questions.find(class_name):
        found = questions.subclasses_of(cls)
        title = f"Subclasses of {cls.full_name}: {len(found)}"
        table = _table(title, "class", "line", "file")
        for derived, depth in found[: 3 * _LIMIT]:
            path = derived.module.path if derived.module is not None else ""
            line = str(derived.line) if path else ""
            # Each class is below the one that it derives from.
            table.add_row("  " * (depth - 1) + derived.full_name, line, path or "built in")
        if len(found) > 3 * _LIMIT:
            table.add_row(f"... and {len(found) - 3 * _LIMIT} more", "", "")
        yield table


def facts(questions: Questions, class_name: str, word: str) -> dict[str, Any]:
    """Return what answers() shows as values that JSON has."""
    return {
        "most_imported": {each.name: count for each, count in questions.most_imported(_LIMIT)},
        "largest_classes": {
            each.full_name: each.line_count for each in questions.largest_classes(_LIMIT)
        },
        "most_derived_from": {
            each.full_name: count for each, count in questions.most_derived_from(_LIMIT)
        },
        "about": [module.name for module in questions.about(word)],
        "subclasses": {
            cls.full_name: [each.full_name for each, _ in questions.subclasses_of(cls)]
            for cls in questions.find(class_name)
        },
    }


def _table(title: str, name: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", expand=True)
    table.add_column(name, no_wrap=True)
    for number in columns[:-1]:
        table.add_column(number, justify="right", no_wrap=True)
    # The last column gets the rest of the line, and is cut there.
    table.add_column(columns[-1], no_wrap=True, overflow="ellipsis", ratio=1)
    return table
