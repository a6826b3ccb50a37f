"""One thread begins while another is anywhere in publishing: it sees what was committed before.

The one that begins is stopped at each line in which it asks for news. Then the one that publishes
goes on to each of its lines, as far as it comes; then the first one goes on.
"""

from __future__ import annotations

import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like.collections import BTree
from dobbin_like.database import Database
from dobbin_like.exc import PastDroppedError
from dobbin_like.persistent import Persistent, PersistentCounter, PersistentDict, checkout
from dobbin_like.safe import open as open_safe
from dobbin_like.storage import TransactionLog
from tests.helpers.stops import TIMEOUT_SECONDS, Breakpoints, Stop, StoppedThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BLOCKED_SECONDS = 0.005
"""Who has not come as far by then is taken to wait for the other."""

BLOCKED_TIMES = 5
"""How often in a row, before no later line is tried: the machine may have other work."""

ASKING = "newTransaction", "has_news", "_items", "begin_under_lock"
PUBLISHING = (
    "dobbin_like.transactions.publisher",
    "dobbin_like.log.reading",
    "dobbin_like.objects.graph",
)


class Root(Persistent):
    value = 0


class Thread(StoppedThread):
    """A thread that has a transaction, and then another one, in which it reads."""

    def __init__(self, begin: Callable[[], object], read: Callable[[], int], stop: Stop) -> None:
        self.seen: int | None = None
        self._begin, self._read = begin, read
        super().__init__(stop, self._first, self._second)

    def _first(self) -> None:
        self._begin()
        self._read()
        transaction.abort()  # Else begin() does, which asks for news, too.

    def _second(self) -> None:
        self.stop.run(self._begin)
        self.seen = self._read()
        transaction.abort()


def interleavings(
    begin: Callable[[], object], read: Callable[[], int], commit: Callable[[], int]
) -> Iterator[tuple[int, int, int | None, int]]:
    """Yield where both were stopped, what was seen, and what was committed before."""
    first, is_first_there = 0, True
    while is_first_there:
        first, second, blocked, is_second_there = first + 1, 0, 0, True
        while is_first_there and is_second_there and blocked < BLOCKED_TIMES:
            second += 1
            begins = Thread(begin, read, Stop(first, ("dobbin_like",), *ASKING))
            publishes = Thread(begin, read, Stop(second, PUBLISHING))
            expected = commit()
            begins.start(TIMEOUT_SECONDS)
            is_first_there = not begins.stop.ended.is_set()
            blocked = 0 if publishes.start(BLOCKED_SECONDS) else blocked + 1
            is_second_there = not publishes.stop.ended.is_set()
            begins.stop.go.set()
            begins.stop.ended.wait(BLOCKED_SECONDS)
            publishes.join()
            begins.join()
            yield first, second, begins.seen, expected


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "interleaved.log"


@pytest.fixture(autouse=True)
def switching_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.slow
def test_begin_sees_what_another_thread_is_publishing(path: Path) -> None:
    with (
        Database(TransactionLog(path, sync=False)) as database,
        Database(TransactionLog(path, sync=False)) as others,
    ):
        database.set_root(Root())
        transaction.commit()

        def commit() -> int:
            transaction.begin()
            root: Any = others.root
            checkout(root)
            root.value += 1
            transaction.commit()
            return int(root.value)

        def read() -> int:
            root: Any = database.root
            return int(root.value)

        tried = 0
        for first, second, seen, expected in interleavings(transaction.begin, read, commit):
            tried += 1
            assert seen == expected, (first, second)
    assert tried > 300


@pytest.mark.slow
def test_a_safe_sees_what_another_thread_is_publishing(path: Path) -> None:
    with open_safe(path) as safe, open_safe(path) as others:
        safe["value"] = 0

        def commit() -> int:
            others["value"] += 1
            return int(others["value"])

        found = threading.local()

        def begin() -> None:
            found.value = safe["value"]

        def read() -> int:
            return int(found.value)

        tried = 0
        for first, second, seen, expected in interleavings(begin, read, commit):
            tried += 1
            assert seen == expected, (first, second)
    assert tried > 300


CONFIRM = "dobbin_like.log.writing.durability", "confirm", 0
"""Where a transaction is appended, the lock given back, and nothing synced."""


def test_a_replay_does_not_go_past_what_becomes_visible_meanwhile(path: Path) -> None:
    """A tree is changed again; the counter beside it is merged with all that was appended."""
    with Database(path) as database:
        root: Any = PersistentDict(tree=BTree({0: 0}), counter=PersistentCounter())
        database.set_root(root)
        transaction.commit()
        tree, counter = root["tree"], root["counter"]

        def put(*keys: int) -> None:
            checkout(tree)
            tree.update(dict.fromkeys(keys))

        def add() -> None:
            checkout(counter)
            counter.increment()

        def changed(*steps: Callable[[], object]) -> Callable[[], None]:
            def change() -> None:
                with database.transaction():
                    for step in steps:
                        step()

            return change

        waiting = "dobbin_like.transactions.commit.unseen", "see", 3
        replaying = "dobbin_like.transactions.replay", "replay", 0
        first, second, both = (
            Breakpoints(CONFIRM),
            Breakpoints(CONFIRM),
            Breakpoints(waiting, replaying),
        )
        threads = [first.start(changed(partial(put, *range(1, 1000))))]
        # It waits for the first one, which has split what it changes, without the lock. Then
        # another one appends.
        threads.append(both.start(changed(partial(put, 1000), add)))
        threads.append(second.start(changed(add)))
        both.go()
        both.wait()
        second.go()
        threads[-1].join(TIMEOUT_SECONDS)
        both.go()
        first.go()
        for thread in threads:
            thread.join(TIMEOUT_SECONDS)
            assert not thread.is_alive()

        transaction.begin()
        assert (len(tree), counter.value) == (1001, 2)


def test_a_feed_that_begins_while_the_past_is_dropped_misses_nothing(path: Path) -> None:
    with Database(path, sync=False) as database:
        database.set_root(Root())
        transaction.commit()
        begun, ends = threading.Event(), threading.Event()

        def change() -> int:
            with database.transaction() as root:
                checkout(root)
                root.value += 1
            transaction.begin()
            tid = database.tid
            transaction.abort()
            return int(tid)

        def keep_past() -> None:
            with database.reading() as root:
                begun.set()
                ends.wait(TIMEOUT_SECONDS)
                assert root.value == 0

        def drop() -> None:
            database._store.publisher.drop_generations()

        keeping = threading.Thread(target=keep_past)
        keeping.start()
        assert begun.wait(TIMEOUT_SECONDS)
        since = database.tid
        transaction.abort()
        expected = [change() for _ in range(4)]
        database.pack()
        expected.append(change())
        feed, told = database.changes(since=since), []
        ends.set()
        keeping.join(TIMEOUT_SECONDS)

        def read() -> None:
            try:
                told.append([each.tid for each in feed])
            except PastDroppedError:
                told.append(expected)

        dropping = Breakpoints(("dobbin_like.log.reading.generations", "_take_out", 4))
        dropper = dropping.start(drop)
        stop = Stop(1, ("dobbin_like.log.reading.history",), "_parts")
        reader = threading.Thread(target=stop.run, args=(read,))
        reader.start()
        stop.came.wait(10 * BLOCKED_SECONDS)
        dropping.go()
        dropper.join(TIMEOUT_SECONDS)
        stop.go.set()
        reader.join(TIMEOUT_SECONDS)

        assert told == [expected]
