"""Persistent containers: reading, beside plain subclasses of the built-in types; one key changed.

Run with ``python -m benchmarks.bench_collections``.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from transaction import TransactionManager

from benchmarks.measure import RATIO, Bench, Row, fresh, in_turn, main, median_ratio, medians
from benchmarks.peers.turns import NAMES, installed
from dobbin_like import (
    Database,
    PersistentCounter,
    PersistentDict,
    PersistentList,
    PersistentSet,
    TransactionLog,
    checkout,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COUNT = 1000
LOOPS = 10_000
PER_LOOP = 10


class Dict(dict[int, int]):
    """A plain subclass."""


class List(list[int]):
    """A plain subclass."""


class Set(set[int]):
    """A plain subclass."""


def _get(items: Any, loops: range) -> None:
    key = 500
    for _ in loops:
        _ = items[key]
        _ = items[key]
        _ = items[key]
        _ = items[key]
        _ = items[key]
        _ = items[key]
        _ = items[key]
        _ = items[key]
        _ = items[key]
        _ = items[key]


def _contains(items: Any, loops: range) -> None:
    key = 500
    for _ in loops:
        _ = key in items
        _ = key in items
        _ = key in items
        _ = key in items
        _ = key in items
        _ = key in items
        _ = key in items
        _ = key in items
        _ = key in items
        _ = key in items


def _iterate(items: Any, loops: range) -> None:
    for _ in loops:
        for _item in items:
            pass


def _iterate_pairs(items: Any, loops: range) -> None:
    for _ in loops:
        for _key, _value in items.items():
            pass


def _iterate_values(items: Any, loops: range) -> None:
    for _ in loops:
        for _value in items.values():
            pass


def reading(bench: Bench) -> None:
    """One item, and all of them: of a container that was loaded from the log."""
    path = bench.path()
    manager = TransactionManager()
    with Database(TransactionLog(path, sync=False), transaction_manager=manager) as database:
        numbers = {number: number for number in range(COUNT)}
        made = {
            "table": PersistentDict(numbers),
            "row": PersistentList(numbers),
            "members": PersistentSet(numbers),
        }
        database.set_root(PersistentDict(made))
        manager.commit()
    with Database(path, transaction_manager=manager) as database:
        root = database.root
        pairs: dict[str, tuple[Any, Any]] = {
            "d": (root["table"], Dict(numbers)),
            "l": (root["row"], List(numbers)),
            "s": (root["members"], Set(numbers)),
        }
        loops = range(bench.size(LOOPS, quick=LOOPS // 5))
        for what, read, name in (
            ("d[k]", _get, "d"),
            ("l[i]", _get, "l"),
            ("k in s", _contains, "s"),
            ("k in d", _contains, "d"),
        ):
            taken = _measure(bench, read, *pairs[name], loops)
            times = medians(taken, 1e9 / len(loops) / PER_LOOP)
            limit = None if what == "k in d" else 60
            bench.add(Row(what, "ns", *times, limit=limit, ratio=median_ratio(*taken)))
        loops = range(len(loops) // 100)
        for what, read, name in (
            ("iteration of a list", _iterate, "l"),
            ("iteration of a set", _iterate, "s"),
            ("iteration of a dict", _iterate, "d"),
            ("iteration of items()", _iterate_pairs, "d"),
            ("iteration of values()", _iterate_values, "d"),
        ):
            taken = _measure(bench, read, *pairs[name], loops)
            times = medians(taken, 1e9 / len(loops) / COUNT)
            ratio = median_ratio(*taken)
            bench.add(Row(what, "ns/item", *times, limit=1.1, about=RATIO, ratio=ratio))


def others(bench: Bench) -> None:
    """For information: one item of a dict, beside those of ZODB and Durus, which load it once."""
    numbers = {number: number for number in range(COUNT)}
    manager = TransactionManager()
    log = TransactionLog(bench.path(), sync=False)
    with Database(log, transaction_manager=manager) as database:
        database.set_root(PersistentDict(numbers))
        manager.commit()
        for peer in installed("zodb", "durus"):
            make = _mapping_of_zodb if peer == "zodb" else _dict_of_durus
            loops = range(bench.size(LOOPS, quick=LOOPS // 5))
            with make(bench.path(), numbers) as theirs:
                taken = _measure(bench, _get, database.root, theirs, loops)
            times = medians(taken, 1e9 / len(loops) / PER_LOOP)
            what = f"d[k]; ref.: {NAMES[peer]}"
            bench.add(Row(what, "ns", *times, ratio=median_ratio(*taken)))


@contextlib.contextmanager
def _mapping_of_zodb(path: Path, numbers: dict[int, int]) -> Iterator[Any]:
    from persistent.mapping import PersistentMapping

    from benchmarks.peers.zodb import open_database

    manager = TransactionManager()
    database = open_database(path)
    root = database.open(manager).root()
    root["table"] = PersistentMapping(numbers)
    manager.commit()
    yield root["table"]
    manager.abort()
    database.close()


@contextlib.contextmanager
def _dict_of_durus(path: Path, numbers: dict[int, int]) -> Iterator[Any]:
    from durus.persistent_dict import PersistentDict as DurusDict

    from benchmarks.peers.durus import open_connection

    connection = open_connection(path)
    root = connection.get_root()
    root["table"] = DurusDict(numbers)
    connection.commit()
    yield root["table"]
    connection.get_storage().close()


def _measure(
    bench: Bench, read: Callable[..., Any], ours: Any, reference: Any, loops: range
) -> list[list[float]]:
    taken: list[list[float]] = [[], []]
    for _ in range(5):  # Where a copy of the code lies in memory makes some difference.
        calls = partial(fresh(read), ours, loops), partial(fresh(read), reference, loops)
        for index, more in enumerate(in_turn(*calls, rounds=bench.rounds(15), warm=2)):
            taken[index].extend(more)
    return taken


def changing(bench: Bench) -> None:
    """One key of a large dict changed and committed, not synced, beside one of a small dict."""
    large = bench.size(1_000_000, quick=100_000)
    for what, older in (("", False), (", with an older snapshot", True)):
        small = _Changing(bench, 100, older=older)
        big = _Changing(bench, large, older=older)
        rounds = bench.size(100, quick=20)
        for _ in range(rounds):
            small.go()
            big.go()
        name = f"one key of {large:,}, of 100{what}"
        times = [statistics.median(one.times) * 1e6 for one in (big, small)]
        bench.add(Row(name, "us", *times, limit=3, about=RATIO, ratio=times[0] / times[1]))
        means = [statistics.mean(one.times) * 1e6 for one in (big, small)]
        bench.add(Row(f"{name}, mean", "us", *means, ratio=means[0] / means[1]))
        sizes = [statistics.median(one.sizes) for one in (big, small)]
        bench.add(Row(f"{name}, logged", "bytes", *sizes, limit=1.5, about=RATIO))
        mean = [statistics.mean(one.sizes) for one in (big, small)]
        bench.add(Row(f"{name}, logged, mean", "bytes", *mean))
        small.end()
        big.end()


class _Changing:
    """A database of one dict of some size, of which one key after the other is changed."""

    def __init__(self, bench: Bench, size: int, *, older: bool) -> None:
        self.times: list[float] = []
        self.sizes: list[int] = []
        self._path = bench.path()
        self._manager = TransactionManager()
        log = TransactionLog(self._path, sync=False)
        self._database = Database(log, transaction_manager=self._manager)
        self._database.set_root(PersistentDict({number: number for number in range(size)}))
        self._manager.commit()
        self._size = size
        self._generator = random.Random(1)
        self._done = threading.Event()
        self._reader: Any = None
        if older:
            began = threading.Event()
            self._reader = threading.Thread(target=self._read, args=(began,))
            self._reader.start()
            began.wait()

    def _read(self, began: threading.Event) -> None:
        _ = self._database.root[1]
        began.set()
        self._done.wait()

    def go(self) -> None:
        root, manager = self._database.root, self._manager
        for _ in range(10):
            key = self._generator.randrange(self._size)
            before = self._path.stat().st_size
            begun = time.perf_counter()
            checkout(root)
            root[key] = self._size + len(self.times)  # One that is there is no change.
            manager.commit()
            self.times.append(time.perf_counter() - begun)
            self.sizes.append(self._path.stat().st_size - before)

    def end(self) -> None:
        self._done.set()
        if self._reader is not None:
            self._reader.join()
        self._database.close()


def counter(bench: Bench) -> None:
    """For information: what an increment that meets another's costs, beside one that does not."""
    path = bench.path()
    managers = TransactionManager(), TransactionManager()
    rounds = bench.size(500, quick=100)
    with (
        Database(TransactionLog(path, sync=False), transaction_manager=managers[0]) as one,
        Database(TransactionLog(path, sync=False), transaction_manager=managers[1]) as other,
    ):
        one.set_root(PersistentCounter())
        managers[0].commit()
        managers[1].begin()
        calls = [partial(_increment, one, managers[0], rounds)]
        calls.append(partial(_increment_both, one, other, managers, rounds))
        alone, both = in_turn(*calls, rounds=bench.rounds(15))
        managers[0].begin()
        total = one.root.value
    assert total == (bench.rounds(15) + 1) * rounds * 3
    met, unmet = medians([both, alone], 1e6 / rounds)
    bench.add(Row("increments that meet, two of them", "us", met, 2 * unmet))


def _increment(database: Database, manager: Any, rounds: int) -> None:
    for _ in range(rounds):
        manager.begin()
        checkout(database.root)
        database.root.increment()
        manager.commit()


def _increment_both(one: Database, other: Database, managers: Any, rounds: int) -> None:
    for _ in range(rounds):
        for database, manager in ((one, managers[0]), (other, managers[1])):
            manager.begin()
            checkout(database.root)
            database.root.increment()
        managers[0].commit()
        managers[1].commit()


ALL = (reading, others, changing, counter)

if __name__ == "__main__":
    main(*ALL)
