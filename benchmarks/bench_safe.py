"""A safe beside SQLite with pickles and beside ``shelve``.

Run with ``python -m benchmarks.bench_safe``.
"""

from __future__ import annotations

import contextlib
import pickle
import shelve
import sqlite3
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import VALUE, Bench, Row, fresh, in_turn, main, median_ratio, medians
from benchmarks.peers.registry import default_dbm
from dobbin_like import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEYS = 1000
VALUES: dict[str, Any] = {
    "a number": 5,
    "a small dict": {"name": "x" * 20, "sizes": [1, 2, 3], "open": True},
    "a list of 1,000": list(range(1000)),
}


class SQLite:
    """Pickles by key, as a cache on disk has them: each access is a transaction."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        execute = self.connection.execute
        execute("pragma journal_mode = wal")
        execute("pragma synchronous = full")
        execute("create table if not exists kept (key text primary key, value blob)")

    def __getitem__(self, key: str) -> Any:
        row = self.connection.execute("select value from kept where key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        return pickle.loads(row[0])

    def __setitem__(self, key: str, value: Any) -> None:
        self.connection.execute(
            "insert or replace into kept values (?, ?)", (key, pickle.dumps(value))
        )

    def update(self, values: dict[str, Any]) -> None:
        self.connection.execute("begin")
        for key, value in values.items():
            self[key] = value
        self.connection.execute("commit")

    def increment(self, key: str) -> None:
        self.connection.execute("begin immediate")
        self[key] = self[key] + 1
        self.connection.execute("commit")

    def close(self) -> None:
        self.connection.close()


@contextlib.contextmanager
def _three(bench: Bench, count: int = KEYS) -> Iterator[tuple[Any, Any, Any]]:
    """Open ours, SQLite and a shelf, each with *count* keys that have a number."""
    with (
        safe.open(bench.path(), pack_when=None) as ours,
        contextlib.closing(SQLite(bench.path())) as lite,
        shelve.open(str(bench.path())) as shelf,
    ):
        values = {str(number): number for number in range(count)}
        for each in (ours, lite, shelf):
            each.update(values)
        yield ours, lite, shelf


def _shelve() -> str:
    """Return what to call a shelf: ``dbm.dumb`` and ``dbm.ndbm`` wait for no disk, others may."""
    return f"shelve of {default_dbm()}"


def _read(mapping: Any, key: str, loops: range) -> None:
    for _ in loops:
        _ = mapping[key]


def _write(mapping: Any, key: str, value: Any, loops: range) -> None:
    for _ in loops:
        mapping[key] = value


def _increment(mapping: Any, key: str, loops: range) -> None:
    for _ in loops:
        mapping.increment(key)


def reading(bench: Bench) -> None:
    """One value, which is an own copy each time."""
    loops = range(bench.size(3000, quick=500))
    with _three(bench) as (ours, lite, shelf):
        for what, value in VALUES.items():
            for each in (ours, lite, shelf):
                each["500"] = value
            calls = [partial(fresh(_read), each, "500", loops) for each in (ours, lite, shelf)]
            taken = in_turn(*calls, rounds=bench.rounds(15))
            own, other, shelved = medians(taken, 1e6 / len(loops))
            note = f"{_shelve()}: {shelved:.3g} us"
            ratio = median_ratio(taken[0], taken[1])
            bench.add(Row(f"safe[key], {what}", "us", own, other, ratio=ratio, note=note))


def writing(bench: Bench) -> None:
    """One value, which is on stable storage when that returns; that of shelve may not be."""
    loops = range(bench.size(100, quick=30))
    with _three(bench) as (ours, lite, shelf):
        for what, value in VALUES.items():
            calls: list[Callable[[], None]] = [
                partial(_write, each, "500", value, loops) for each in (ours, lite, shelf)
            ]
            _row(bench, f"safe[key] = {what}", calls, loops)
        ours["n"] = lite["n"] = 0
        calls = [partial(_increment, each, "n", loops) for each in (ours, lite)]
        _row(bench, "safe.increment(key)", calls, loops)


def _row(bench: Bench, what: str, calls: list[Callable[[], None]], loops: range) -> None:
    taken = in_turn(*calls, rounds=bench.rounds(15), waits=True)
    own, other, *shelved = medians(taken, 1e6 / len(loops))
    note = f"{_shelve()}: {shelved[0]:.3g} us" if shelved else ""
    ratio = median_ratio(taken[0], taken[1])
    bench.add(Row(what, "us", own, other, ratio=ratio, note=note))


def size(bench: Bench) -> None:
    """The same in a safe of many keys, beside one of few."""
    loops = range(bench.size(50, quick=20))
    few, many = 100, bench.size(200_000, quick=20_000)
    with (
        safe.open(bench.path(), pack_when=None) as small,
        safe.open(bench.path(), pack_when=None) as large,
    ):
        for kept, count in ((small, few), (large, many)):
            kept.update({str(number): number for number in range(count)})
        calls = [partial(_write, each, "50", 1.5, loops) for each in (large, small)]
        taken = in_turn(*calls, rounds=bench.rounds(15), waits=True)
        own, other = medians(taken, 1e6 / len(loops))
        what = f"safe[key] = of {many:,} keys; {few}"
        bench.add(Row(what, "us", own, other, ratio=median_ratio(*taken)))
        calls = [partial(fresh(_read), each, "50", range(3000)) for each in (large, small)]
        taken = in_turn(*calls, rounds=bench.rounds(15))
        own, other = medians(taken, 1e6 / 3000)
        what = f"safe[key] of {many:,} keys; {few}"
        bench.add(Row(what, "us", own, other, ratio=median_ratio(*taken)))
        added = []
        for kept in (large, small):
            before = Path(kept.path).stat().st_size
            kept["50"] = 2.5
            added.append(Path(kept.path).stat().st_size - before)
        bench.add(Row("bytes logged for it", "bytes", *added, about=VALUE))


ALL = (reading, writing, size)

if __name__ == "__main__":
    main(*ALL)
