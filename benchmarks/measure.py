"""Taking times, and telling them: what all the scripts share.

Noise of a shared machine comes in bursts. So ours and the reference are taken in turn, in
short rounds, and what counts is the median of the rounds, and of their ratios.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT = Path(__file__).resolve().parent.parent

SOURCE = "DOBBIN_LIKE_SOURCE"
"""In the environment: where children find the package, if it is not that of this source."""

RATIO, DIFFERENCE, VALUE = "ratio", "difference", "value"
"""What a limit is about: ours by the reference, ours less the reference, ours alone."""


@dataclass
class Row:
    """One line of the table. ``limit`` is ``None`` where a figure has no target."""

    what: str
    unit: str
    ours: float
    reference: float | None = None
    limit: float | None = None
    about: str = VALUE
    at_most: bool = True
    ratio: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.ratio is None and self.reference:
            self.ratio = self.ours / self.reference

    def figure(self) -> float:
        """Return what the limit is compared with."""
        if self.about == RATIO:
            assert self.ratio is not None
            return self.ratio
        if self.about == DIFFERENCE:
            assert self.reference is not None
            return self.ours - self.reference
        return self.ours

    def verdict(self) -> str:
        if self.limit is None:
            return ""
        good = self.figure() <= self.limit if self.at_most else self.figure() >= self.limit
        return "ok" if good else "MISSED"

    def cells(self) -> list[str]:
        sign = "<=" if self.at_most else ">="
        unit = "x" if self.about == RATIO else self.unit
        sum_sign = "+" if self.about == DIFFERENCE else ""
        target = "" if self.limit is None else f"{sign} {sum_sign}{_number(self.limit)} {unit}"
        return [
            self.what,
            f"{_number(self.ours)} {self.unit}",
            "" if self.reference is None else f"{_number(self.reference)} {self.unit}",
            "" if self.ratio is None else f"{self.ratio:.2f}",
            target,
            self.verdict(),
            self.note,
        ]


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


Number = TypeVar("Number", int, float)

_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"

_FILL = """
import pathlib, sys, time
from benchmarks.model import fill
fill(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
print(time.monotonic_ns())
"""

HEAD = ["what", "ours", "reference", "ratio", "target", "", ""]


class Bench:
    """One run: how thorough, where the files lie, what was found."""

    def __init__(
        self, *, quick: bool, smallest: bool = False, directory: str | None = None
    ) -> None:
        self.quick = quick or smallest
        self.smallest = smallest
        self.rows: list[Row] = []
        self._directory = Path(tempfile.mkdtemp(prefix="bench-", dir=directory))
        self._count = 0
        self._filled: dict[int, Path] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_error: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def path(self) -> Path:
        """Return a path that does not exist yet."""
        self._count += 1
        return self._directory / f"{self._count}.log"

    def filled(self, count: int) -> Path:
        """Return a log with *count* items, made once in a run. Not to be written."""
        if count not in self._filled:
            path = self._filled[count] = self.path()
            child(_FILL, path, count)
        return self._filled[count]

    def size(self, thorough: Number, *, quick: Number) -> Number:
        """Return how many, or how many seconds; of the smallest only whether it works is asked."""
        if self.smallest:
            least = 0.05 if isinstance(quick, float) else max(200, quick // 50)
            return min(quick, least)
        return quick if self.quick else thorough

    def rounds(self, thorough: int) -> int:
        """Return how often to measure."""
        if self.smallest:
            return 1
        return max(3, thorough // 5) if self.quick else thorough

    def add(self, row: Row) -> None:
        """Take a figure, and show it at once."""
        self.rows.append(row)
        print("  " + "   ".join(cell for cell in row.cells() if cell), flush=True)


def table(rows: list[Row]) -> str:
    """Return the rows as a table."""
    lines = [HEAD] + [row.cells() for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    text = []
    for index, line in enumerate(lines):
        cells = [
            cell.ljust(width) if column in (0, 6) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
        if not index:
            text.append("-" * len(text[0]))
    return "\n".join(text)


def fresh(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a copy of *function* that has learned nothing yet.

    The interpreter specializes bytecode for what it meets: a loop that has met both
    plain and persistent objects is slow for both.
    """
    code = function.__code__.replace()
    return types.FunctionType(code, function.__globals__, function.__name__)


def in_turn(
    *functions: Callable[[], Any], rounds: int, warm: int = 1, waits: bool = False
) -> list[list[float]]:
    """Return the seconds of each round, for each function; they take turns.

    Where nothing *waits*, they are those that the thread had a processor, so that other
    programs on the machine disturb less.
    """
    clock = time.perf_counter if waits else time.thread_time
    for _ in range(warm):
        for function in functions:
            function()
    taken: list[list[float]] = [[] for _ in functions]
    for turn in range(rounds):
        order = range(len(functions))
        for index in order if turn % 2 else reversed(order):
            start = clock()
            functions[index]()
            taken[index].append(clock() - start)
    return taken


def medians(taken: list[list[float]], scale: float = 1.0) -> list[float]:
    """Return the median of each, times *scale*."""
    return [statistics.median(times) * scale for times in taken]


def median_ratio(ours: list[float], reference: list[float]) -> float:
    """Return the median of the ratios of rounds that were taken one after the other."""
    return statistics.median(a / b for a, b in zip(ours, reference, strict=True))


def environment() -> dict[str, str]:
    """Return an environment in which a child finds this package and these scripts.

    As users have it: modules that were compiled once are not compiled again.
    """
    given = {name: value for name, value in os.environ.items() if name != _NO_BYTECODE}
    return {**given, "PYTHONPATH": os.environ.get(SOURCE, str(ROOT))}


def child(script: str, *arguments: object, prefix: Iterable[str] = ()) -> tuple[float, str]:
    """Run *script* in a new interpreter; return seconds from its start, and its output.

    The seconds end where the script has printed the monotonic clock in its first line.
    """
    command = [*prefix, sys.executable, "-c", script, *map(str, arguments)]
    start = time.monotonic_ns()
    done = subprocess.run(
        command, env=environment(), check=True, stdout=subprocess.PIPE, text=True, timeout=600
    )
    first, _, rest = done.stdout.partition("\n")
    return (int(first) - start) / 1e9, rest


def heading() -> str:
    """Return what the figures depend on, in one line."""
    return (
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"
    )


def main(*measurements: Callable[[Bench], None]) -> None:
    """Run *measurements* as the command line says, and print the table."""
    parser = argparse.ArgumentParser(description="Measure the store; see benchmarks/README.rst.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the time, more noise")
    parser.add_argument("--smallest", action="store_true", help="only see whether all works")
    parser.add_argument("--directory", help="where to put the files; a temporary one if not given")
    parser.add_argument("only", nargs="*", help="words: measure what has one of them in its name")
    options = parser.parse_args()
    print(heading(), flush=True)
    with Bench(
        quick=options.quick, smallest=options.smallest, directory=options.directory
    ) as bench:
        for measurement in measurements:
            name = f"{measurement.__module__.rpartition('.')[2]}.{measurement.__name__}"
            if options.only and not any(word in name for word in options.only):
                continue
            print(name, flush=True)
            measurement(bench)
        print("\n" + table(bench.rows))
