"""The output of the demo: progress while the workers run, tables afterwards.

On a terminal, the progress is a live display; elsewhere, it is a plain line now and then. All
figures come from the log: only what is in the file is shown.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import transaction
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from dobbin_like.ids import NO_TID
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

    from dobbin_like.database import Database
    from dobbin_like.demo.model import Class, Library, Module
    from dobbin_like.demo.questions import Derived

_PLAIN_SECONDS: Final = 2.0
"""Between two lines when the output is not a terminal."""


class Figures:
    """The figures of one run, read from the file: begin a transaction, and read."""

    def __init__(self, database: Database, library: Library) -> None:
        storage = database.storage
        assert isinstance(storage, TransactionLog), "the demo opens files"
        self._database = database
        self._storage = storage
        self._library = library
        self._last = NO_TID
        self._started = time.monotonic()
        self.transactions = self.conflicts = self.earlier = 0
        self.catch_up()
        # What was in the file before does not belong to this run.
        self.earlier, self.transactions, self.conflicts = self.files, 0, 0

    def catch_up(self) -> None:
        """Catch up with what the workers have committed."""
        transaction.begin()
        for logged in self._storage.transactions(self._last):
            self._last = logged.tid
            if logged.failed:
                self.conflicts += 1
            else:
                self.transactions += 1
        tally = self._library.tally
        self.files, self.lines = tally.files.value, tally.lines.value
        self.classes, self.functions = tally.classes.value, tally.functions.value
        self.total = len(self._library.files)
        self.objects = len(self._database)
        self.megabytes = Path(self._storage.path).stat().st_size / 1e6
        self.seconds = time.monotonic() - self._started

    @property
    def rate(self) -> float:
        """Commits per second of this run."""
        return self.transactions / self.seconds if self.seconds else 0.0

    def line(self) -> str:
        """Return all figures in one line."""
        return (
            f"{self.files} of {self.total} files, {self.objects:,} objects, "
            f"{self.transactions} transactions, {self.conflicts} conflicts retried, "
            f"{self.rate:.0f} commits/s, {self.megabytes:.1f} MB"
        )


class Progress:
    """The display while the workers run; a context manager."""

    def __init__(self, console: Console, figures: Figures, alive: int) -> None:
        self._console = console
        self._figures = figures
        self._alive = alive
        self._live: Live | None = None
        self._next_line_seconds = 0.0

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(self._picture(), console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._console.print(self._figures.line(), highlight=False, soft_wrap=True)

    def show(self, alive: int) -> None:
        """Show the current figures, with *alive* running workers."""
        self._alive = alive
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
        elif self._figures.seconds >= self._next_line_seconds:
            self._next_line_seconds = self._figures.seconds + _PLAIN_SECONDS
            self._console.print(self._figures.line(), highlight=False, soft_wrap=True)

    def _picture(self) -> Group:
        figures = self._figures
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", justify="right")
        table.add_column()
        table.add_row(f"{figures.files} of {figures.total}", "files")
        table.add_row(f"{figures.objects:,}", "objects")
        table.add_row(f"{figures.transactions:,}", "transactions")
        table.add_row(f"{figures.conflicts:,}", "conflicts retried")
        table.add_row(f"{figures.rate:,.0f}", "commits per second")
        table.add_row(f"{figures.megabytes:.1f}", "MB in the file")
        table.add_row(f"{self._alive}", "workers running")
        bar = ProgressBar(total=figures.total, completed=figures.files, width=60)
        return Group(bar, table)


def imported_table(found: list[tuple[Module, int]]) -> Table:
    """Return a table of modules and how many modules import them."""
    table = _table("Most imported modules", "module", "imported by", "lines", "about")
    for module, count in found:
        lines = f"{module.line_count:,}" if module.is_parsed else "no source"
        table.add_row(module.name, str(count), lines, module.doc)
    return table


def largest_table(found: list[Class]) -> Table:
    """Return a table of classes with their sizes."""
    table = _table("Largest classes", "class", "lines", "methods", "about")
    for cls in found:
        table.add_row(cls.full_name, f"{cls.line_count:,}", str(len(cls.methods)), cls.doc)
    return table


def derived_from_table(found: list[tuple[Class, int]]) -> Table:
    """Return a table of classes and how many derive from them."""
    table = _table("Classes most others derive from", "class", "derived", None, "about")
    for cls, count in found:
        table.add_row(cls.full_name, str(count), cls.doc)
    return table


def subclasses_table(cls: Class, found: list[Derived], limit: int) -> Table:
    """Return a table of subclasses, each below the class it derives from."""
    title = f"Subclasses of {cls.full_name}: {len(found)}"
    table = _table(title, "class", "line", None, "file")
    for derived in found[:limit]:
        module = derived.cls.module
        path = module.path if module is not None else ""
        line = str(derived.cls.line) if path else ""
        table.add_row("  " * (derived.depth - 1) + derived.cls.full_name, line, path or "built in")
    if len(found) > limit:
        table.add_row(f"... and {len(found) - limit} more", "", "")
    return table


def about_table(word: str, found: list[Module], limit: int) -> Table:
    """Return a table of modules whose docstrings contain a word."""
    title = f"Modules whose docstrings contain {word!r}: {len(found)}"
    table = _table(title, "module", "lines", None, "about")
    for module in found[:limit]:
        table.add_row(module.name, f"{module.line_count:,}", module.doc)
    return table


def _table(title: str, name: str, number: str, other: str | None, text: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", expand=True)
    table.add_column(name, no_wrap=True)
    table.add_column(number, justify="right", no_wrap=True)
    if other is not None:
        table.add_column(other, justify="right", no_wrap=True)
    # The last column gets the rest of the line, and is cut there.
    table.add_column(text, no_wrap=True, overflow="ellipsis", ratio=1)
    return table
