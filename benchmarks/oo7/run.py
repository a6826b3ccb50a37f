"""OO7 in a fresh process: ``python -m benchmarks.oo7.run build|measure PEER PATH``.

``measure`` prints a JSON object: how many milliseconds each operation took, the median of some, in
a database that it opens; *t1_cold* is with opening it. Changes are committed, and not synced.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.oo7 import COMPOSITES, IS_TINY, build, integrity, operations

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES = 1 if IS_TINY else 3
"""How often each is done; structural modifications more often."""

LONG_MS = 1000
"""What takes longer in all is not done again."""

TURNS = 1 if IS_TINY else 10


Timed = list[tuple[float, int]]
"""Milliseconds, and what an operation returned."""


def make(peer: str, path: str) -> None:
    """Build the database."""
    module = importlib.import_module(f"benchmarks.oo7.{peer}")
    store = module.Store(path)
    store.set_root(build(module.classes))
    store.commit()
    store.close()


def _timed(call: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call(*arguments)
    return (time.perf_counter() - start) * 1000, result


class Measured:
    """A database, and what its operations took."""

    def __init__(self, peer: str, path: str) -> None:
        module = importlib.import_module(f"benchmarks.oo7.{peer}")
        self.classes, self._path, self._store_class = module.classes, path, module.Store
        self.taken: dict[str, float] = {}
        if peer == "plain":
            self._open()
            self.taken["t1_cold"], _ = _timed(operations.t1, self.module, self.classes)
        else:
            self.taken["t1_cold"], _ = _timed(self._open_and_traverse)

    def _open(self) -> None:
        self.store = self._store_class(self._path)
        self.store.begin()
        self.module = self.store.module()

    def _open_and_traverse(self) -> None:
        self._open()
        assert operations.t1(self.module, self.classes) == operations.VISITED

    def read(self, operation: Callable[..., int]) -> None:
        operation(self.module, self.classes)  # What it needs is in memory afterwards.
        self._keep(operation, self._often(self._read, operation))

    def _often(self, call: Callable[..., int], operation: Callable[..., int]) -> Timed:
        each: Timed = []
        while len(each) < TIMES and sum([taken for taken, _ in each]) < LONG_MS:
            each.append(_timed(call, operation))
        return each

    def _read(self, operation: Callable[..., int]) -> int:
        self.store.begin()
        return operation(self.module, self.classes)

    def write(self, operation: Callable[..., int], *turns: int) -> None:
        if turns:
            self._keep(operation, [_timed(self._write, operation, turn) for turn in turns])
        else:
            self._keep(operation, self._often(self._write, operation))

    def _write(self, operation: Callable[..., int], *turn: int) -> int:
        self.store.begin()
        result = operation(self.module, self.classes, *turn)
        self.store.commit()
        return result

    def _keep(self, operation: Callable[..., int], each: Timed) -> None:
        name = operation.__name__
        results = {result for _, result in each}
        assert results == {operations.EXPECTED.get(name, each[0][1])}, (name, results)
        self.taken[name] = statistics.median([taken for taken, _ in each])

    def check(self, composites: int) -> None:
        self.store.begin()
        assert integrity.check(self.module) == composites


def measure(peer: str, path: str) -> dict[str, float]:
    """Do all operations; check the database before, and after each kind of change."""
    measured = Measured(peer, path)
    for operation in operations.READS:
        measured.read(operation)
    measured.check(COMPOSITES)
    for operation in operations.WRITES:
        measured.write(operation)
    measured.check(COMPOSITES)
    measured.write(operations.insert, *range(TURNS))
    measured.check(COMPOSITES + TURNS * operations.INSERTED)
    measured.write(operations.delete, *range(TURNS))
    measured.check(COMPOSITES)
    measured.store.close()
    return measured.taken


if __name__ == "__main__":
    what, peer_name, place = sys.argv[1:]
    print(json.dumps({"build": make, "measure": measure}[what](peer_name, place)))
