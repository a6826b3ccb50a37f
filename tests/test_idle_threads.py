"""What may stay in memory, or on the disk, for a thread that has a snapshot and does nothing."""

from __future__ import annotations

import gc
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import PersistentDict, checkout
from dobbin_like.objects.values.refs import ref_of
from tests.helpers.steps import TIMEOUT_SECONDS
from tests.helpers.things import Thing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dobbin_like import Database


class Waiting:
    """A thread that does one thing, waits, and then does what it is told."""

    def __init__(self) -> None:
        self._told: list[Callable[[], Any]] = []
        self._turn, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._results: list[tuple[Any, BaseException | None]] = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while self._turn.acquire() and self._told:
            try:
                self._results.append((self._told.pop()(), None))
            except BaseException as error:
                self._results.append((None, error))
            self._done.release()

    def do(self, function: Callable[[], Any]) -> Any:
        self._told.append(function)
        self._turn.release()
        assert self._done.acquire(timeout=TIMEOUT_SECONDS)
        result, error = self._results.pop()
        if error is not None:
            raise error
        return result

    def end(self) -> None:
        self._turn.release()
        self.thread.join(TIMEOUT_SECONDS)


@pytest.fixture
def idle() -> Iterator[Waiting]:
    waiting = Waiting()
    yield waiting
    waiting.end()


@pytest.fixture
def thing(database: Database) -> Thing:
    thing = Thing(x=0, y=0, child=None)
    database.set_root(thing)
    transaction.commit()
    return thing


@contextmanager
def changing(obj: Any) -> Iterator[None]:
    checkout(obj)
    yield
    transaction.commit()


def change(thing: Thing, times: int = 1) -> None:
    for _ in range(times):
        with changing(thing):
            thing.x += 1


@pytest.mark.parametrize("begun", [True, False])
def test_one_old_version_of_an_object_stays_for_a_snapshot(database, thing, idle, begun):
    idle.do(transaction.begin if begun else transaction.abort)
    idle.do(lambda: database.root.x)

    change(thing, 20)

    assert len(ref_of(thing).mask.chain) == 2
    assert len(database._store.graph.shared._masked) == 1
    assert idle.do(lambda: thing.x) == 0


def test_what_was_made_and_dropped_since_a_snapshot_is_freed(database, thing, idle):
    idle.do(transaction.begin)
    idle.do(lambda: database.root)
    dropped = []
    for _ in range(5):
        with changing(thing):
            thing.child = PersistentDict(inner=Thing(x=0))
        dropped.append(weakref.ref(thing.child["inner"]))
        change(thing.child["inner"])

    gc.collect()
    change(thing, 2)
    gc.collect()

    assert [ref() is None for ref in dropped] == [True] * 4 + [False]
    assert len(database._store.graph.cache.all()) == 3
    assert idle.do(lambda: thing.child) is None


def test_what_a_snapshot_has_read_stays_though_it_was_dropped(database, thing, idle):
    with changing(thing):
        thing.child = Thing(x="before")
    idle.do(transaction.begin)
    idle.do(lambda: database.root)
    with changing(thing):
        thing.child = None

    gc.collect()
    change(thing, 2)

    assert idle.do(lambda: thing.child.x) == "before"


def test_masks_are_taken_off_when_the_snapshot_ends(database, thing, idle):
    idle.do(transaction.begin)
    idle.do(lambda: database.root)
    change(thing, 3)

    idle.do(transaction.begin)

    assert type(thing) is Thing
    assert len(database._store.graph.shared._masked) == 0
