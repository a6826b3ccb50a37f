"""Random walks of threads whose snapshots lapse, against a list of all states there were.

The threads run one at a time, and come to rest after each step. The database looks for idle ones
at every commit, so that a snapshot lapses as soon as two commits come while its thread waits.
"""

from __future__ import annotations

import random
from functools import cached_property
from typing import TYPE_CHECKING

import pytest
import transaction

from dobbin_like import ConflictError, Database, PersistentDict, TransactionLog, checkout
from tests.helpers.things import Thing
from tests.test_idle_threads import Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OBJECTS = 5
STEPS = 120
ACTIONS = ["begin", "commit", "abort", "read", "read", "cached", "change", "change", "foreign"]


class Number(Thing):
    @cached_property
    def double(self) -> int:
        return 2 * self.x


class Walk:
    """One thread: *snapshot* is the place of what it sees in *history*, a list of states."""

    def __init__(self, database: Database, oids: list[int], history: list[list[int]]) -> None:
        self.database = database
        self.oids = oids
        self.history = history
        self.thread = Waiting()
        self.thread.do(lambda: database.root)  # From now on, begin() takes a snapshot.
        self.begin()

    def begin(self) -> None:
        self.thread.do(transaction.begin)
        self.snapshot = len(self.history) - 1

    def abort(self) -> None:
        self.thread.do(transaction.abort)
        self.snapshot = len(self.history) - 1

    def commit(self) -> None:
        """What it sees afterwards is the end of something, and not older than before."""
        self.thread.do(transaction.commit)
        seen = [self.read(oid) for oid in self.oids]
        assert seen in self.history[self.snapshot :]
        self.snapshot = self.history.index(seen)

    def read(self, oid: int) -> int:
        return self.thread.do(lambda: self.database.get(oid).x)

    def cached(self, oid: int) -> int:
        return self.thread.do(lambda: self.database.get(oid).double) // 2

    def change(self, oid: int) -> bool:
        """Change an object and commit; return whether there was no conflict."""

        def change() -> None:
            number = self.database.get(oid)
            checkout(number)
            number.x += 1
            transaction.commit()

        try:
            self.thread.do(change)
        except ConflictError:
            self.abort()
            return False
        return True


@pytest.fixture
def others(path: Path) -> Iterator[Database]:
    """What another process does: its commits come as news."""
    log = TransactionLog(path, sync=False)
    with Database(log, transaction_manager=transaction.TransactionManager()) as others:
        yield others
        others.transaction_manager.abort()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_threads_that_wait_and_go_on_see_their_snapshots(database, others, seed):
    chance = random.Random(seed)
    objects = [Number(x=0) for _ in range(OBJECTS)]
    database.set_root(PersistentDict(enumerate(objects)))
    transaction.commit()
    oids = [obj._p_oid for obj in objects]
    database._store.graph.shared.idle_seconds = 0
    history = [[0] * OBJECTS]
    walks = [Walk(database, oids, history) for _ in range(3)]
    try:
        for _ in range(STEPS):
            action, place = chance.choice(ACTIONS), chance.randrange(OBJECTS)
            take_step(chance.choice(walks), action, place, others)
    finally:
        for walk in walks:
            walk.thread.end()


def take_step(walk: Walk, action: str, place: int, others: Database) -> None:
    history, oid = walk.history, walk.oids[place]
    seen = history[walk.snapshot][place]
    if action in ("read", "cached"):
        assert getattr(walk, action)(oid) == seen
    elif action == "foreign":
        with others.transaction_manager:
            number = others.get(oid)
            checkout(number)
            number.x += 1
    elif action == "change":
        is_newest = seen == history[-1][place]
        assert walk.change(oid) == is_newest
        if not is_newest:
            return
    else:
        getattr(walk, action)()
    if action in ("foreign", "change"):
        state = list(history[-1])
        state[place] += 1
        history.append(state)
    if action == "change":
        walk.snapshot = len(history) - 1
