"""Reading objects that are in shared state: what a plain Python object costs, or nearly.

Run with ``python -m benchmarks.bench_read``.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

from transaction import TransactionManager

from benchmarks.measure import RATIO, Bench, Row, fresh, in_turn, main, median_ratio, medians
from benchmarks.model import Item, PlainItem, Shelf, item_state, items, plain_item
from dobbin_like.database import Database
from dobbin_like.persistent import checkout
from dobbin_like.storage import TransactionLog

LOOPS = 20_000
PER_LOOP = 10


def _read(item: Any, loops: range) -> None:
    for _ in loops:
        _ = item.number
        _ = item.number
        _ = item.number
        _ = item.number
        _ = item.number
        _ = item.number
        _ = item.number
        _ = item.number
        _ = item.number
        _ = item.number


def _call(item: Any, loops: range) -> None:
    for _ in loops:
        item.double()
        item.double()
        item.double()
        item.double()
        item.double()
        item.double()
        item.double()
        item.double()
        item.double()
        item.double()


def attributes(bench: Bench) -> None:
    """An attribute read and a method call: loaded, just committed, changed and committed."""
    loops = range(bench.size(LOOPS, quick=LOOPS // 4))
    with (
        Database(bench.filled(1000), transaction_manager=TransactionManager()) as database,
        _changed_shelf(bench) as (committed, changed),
    ):
        loaded = next(items(database.root))
        assert loaded.number == 1000
        subjects = {"loaded": loaded, "just committed": committed, "changed": changed}
        for what, read in (("attribute read", _read), ("method call", _call)):
            for state, item in subjects.items():
                _compare(bench, f"{what}, {state}", read, item, loops)


def _compare(bench: Bench, what: str, read: Any, item: Item, loops: range) -> None:
    assert type(item) is Item
    plain = plain_item(item_state(0))
    taken: list[list[float]] = [[], []]
    for _ in range(5):  # Where a copy of the code lies in memory makes some difference.
        ours, reference = fresh(read), fresh(read)
        calls = partial(ours, item, loops), partial(reference, plain, loops)
        for index, more in enumerate(in_turn(*calls, rounds=bench.rounds(15), warm=3)):
            taken[index].extend(more)
    times = medians(taken, 1e9 / len(loops) / PER_LOOP)
    ratio = median_ratio(*taken)
    bench.add(Row(what, "ns", *times, limit=1.1, about=RATIO, ratio=ratio))


class _changed_shelf:  # noqa: N801  used as a function
    """Yields an item that was committed here, and one that was then changed here."""

    def __init__(self, bench: Bench) -> None:
        self.manager = TransactionManager()
        log = TransactionLog(bench.path(), sync=False)
        self.database = Database(log, transaction_manager=self.manager)

    def __enter__(self) -> tuple[Item, Item]:
        shelf = Shelf()
        self.database.set_root(shelf)
        shelf.buckets.extend([Item(1), Item(2)])
        self.manager.commit()
        committed, changed = shelf.buckets
        checkout(changed)
        changed.number = 7
        self.manager.commit()
        return committed, changed

    def __exit__(self, *_error: object) -> None:
        self.database.close()


def _walk(first: list[Any]) -> int:
    total = 0
    for item in first:
        while item is not None:
            total += item.number
            item = item.following  # noqa: PLW2901  a chain is walked to its end
    return total


def traversal(bench: Bench) -> None:
    """From object to object, over 100,000 that are in memory."""
    count = bench.size(100, quick=20) * 1000
    with Database(bench.filled(count), transaction_manager=TransactionManager()) as database:
        first = [bucket.items[0] for bucket in database.root.buckets]
        plain_first = [_plain_chain(start, 1000) for start in range(0, count, 1000)]
        ours, reference = fresh(_walk), fresh(_walk)
        assert ours(first) == reference(plain_first)
        taken = in_turn(
            lambda: ours(first), lambda: reference(plain_first), rounds=bench.rounds(25), warm=2
        )
    times = [count / value / 1e6 for value in medians(taken)]
    bench.add(
        Row(
            f"traversal of {count:,} objects",
            "million/s",
            *times,
            limit=0.9,
            about=RATIO,
            at_most=False,
            ratio=1 / median_ratio(*taken),
        )
    )


def _plain_chain(start: int, count: int) -> PlainItem:
    chain = [plain_item(item_state(start + index)) for index in range(count)]
    for item, following in itertools.pairwise(chain):
        item.following = following
    return chain[0]


def old_view(bench: Bench) -> None:
    """For information: an object that somebody needs in an older state, so that it is masked."""
    loops = range(LOOPS // 20)
    manager, other = TransactionManager(), TransactionManager()
    path = bench.path()
    with (
        Database(TransactionLog(path, sync=False), transaction_manager=manager) as database,
        Database(TransactionLog(path, sync=False), transaction_manager=other) as writer,
    ):
        item = Item(1)
        database.set_root(item)
        manager.commit()
        assert item.number == 1001
        other.begin()
        checkout(writer.root)
        writer.root.number = 5
        other.commit()
        database._store.publisher.catch_up()  # published while this thread's view is older
        assert item.number == 1001
        assert type(item) is not Item
        plain = plain_item(item_state(0))
        ours, reference = fresh(_read), fresh(_read)
        taken = in_turn(
            lambda: ours(item, loops), lambda: reference(plain, loops), rounds=bench.rounds(15)
        )
    times = medians(taken, 1e9 / len(loops) / PER_LOOP)
    bench.add(Row("attribute read, masked", "ns", *times, ratio=median_ratio(*taken)))


ALL = (attributes, traversal, old_view)

if __name__ == "__main__":
    main(*ALL)
