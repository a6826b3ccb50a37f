"""Counts the calls of one commit, which no noise of the machine touches.

Counted is one change of one attribute, from ``begin()`` to the return of ``commit()``, not
synced, after some more of the same that warm up; garbage is not collected meanwhile.

*calls*
    of Python functions (comprehensions and generators too, each time that they are entered)
    that stand in the store's own package.
*files*
    of that package in which these functions stand.
*visits*
    how often a call leads into another file than the call before, in the order of the calls:
    how often somebody who reads along has to open a file. Returns are not counted.
*in, out*
    how often control passes from one of these files into another, by call and by return.
*transaction*, *others*
    calls of Python functions in the ``transaction`` package, and anywhere else: the standard
    library, mostly.
*C*
    calls of built-in functions and methods from any of them; of classes and by operators they
    are not seen.

Run with ``python -m benchmarks.count_calls``; ``--where`` lists the calls in order.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.peers import REFERENCES
from benchmarks.peers.turns import NAMES, installed, store_of

if TYPE_CHECKING:
    from types import FrameType

PACKAGES = {"ours": "dobbin_like", "zodb": "ZODB", "durus": "durus"}
HEAD = ["", "calls", "files", "visits", "in, out", "transaction", "others", "C"]
WARM = 20
CASES = {"two numbers": 0, f"and a text and {REFERENCES} others in a list": REFERENCES}


class Call(NamedTuple):
    """A Python function that was called."""

    depth: int
    package: str
    file: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{'  ' * self.depth}{self.name}  {self.file}:{self.line}"


class Counted:
    """What was called: a profile function for the interpreter."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.calls: list[Call] = []
        self.c_calls = 0
        self.crossings = 0
        self._open: list[Call] = []

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "c_call":
            self.c_calls += bool(self._open)
        elif event == "call" and (self._open or code.co_name == "change"):
            package, file = _place(code.co_filename)
            call = Call(len(self._open), package, file, code.co_firstlineno, code.co_qualname)
            self._cross(call)
            self._open.append(call)
            self.calls.append(call)
        elif event == "return" and self._open:
            self._cross(self._open.pop())

    def _cross(self, call: Call) -> None:
        """Count *call*, which begins or ends, if it is of another file than what calls it."""
        if call.package == self.package:
            inside = [other for other in self._open if other.package == self.package]
            self.crossings += not inside or inside[-1].file != call.file

    def cells(self) -> list[str]:
        calls = self.calls[1:]  # The first one is change() itself.
        own = [call for call in calls if call.package == self.package]
        packages = Counter(call.package for call in calls)
        files = [call.file for call in own]
        visits = sum(file != before for before, file in zip([None, *files], files, strict=False))
        others = len(calls) - len(own) - packages["transaction"]
        figures = (len(own), len(set(files)), visits, self.crossings)
        return [str(each) for each in (*figures, packages["transaction"], others, self.c_calls)]


def _place(filename: str) -> tuple[str, str]:
    """Return the package of a file, and how the file is called from there."""
    parts = Path(filename).parts
    for index, part in reversed(list(enumerate(parts))):
        if part in (*PACKAGES.values(), "transaction", "benchmarks"):
            return part, "/".join(parts[index:])
    return "", "/".join(parts[-2:])


def count(peer: str, references: int) -> Counted:
    """Count one change in a store of *peer*. In a process of its own: others join in."""
    with tempfile.TemporaryDirectory() as directory:
        store: Any = store_of(peer)(Path(directory, "1.log"))
        store.one(references)
        store.change(WARM)
        counted = Counted(PACKAGES[peer])
        gc.disable()
        sys.setprofile(counted)
        store.change(1)
        sys.setprofile(None)
        store.close()
    return counted


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the calls of one commit.")
    parser.add_argument("--where", action="store_true", help="list the calls in order")
    parser.add_argument("peers", nargs="*", help="ours, zodb, durus; all if not given")
    options = parser.parse_args()
    lines = [HEAD]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for what, references in CASES.items():
            for peer in installed(*(options.peers or PACKAGES)):
                counted = pool.submit(count, peer, references).result()
                lines.append([f"{NAMES.get(peer, peer)}: {what}", *counted.cells()])
                if options.where:
                    print(f"\n{lines[-1][0]}", *counted.calls, sep="\n")
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *rest in lines:
        figures = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        print(first.ljust(widths[0]), *figures, sep="  ")


if __name__ == "__main__":
    main()
