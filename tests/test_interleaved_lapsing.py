"""A thread goes on, after it has waited, while another one lets its snapshot lapse.

The one that commits is stopped where it has found that the other one does not run. Then that goes
on to each of its lines in which it looks how its snapshot is; then both go on.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import ConflictError
from dobbin_like.database import Database
from dobbin_like.exc import SnapshotDroppedError
from dobbin_like.persistent import Persistent, checkout
from tests.helpers.stops import TIMEOUT_SECONDS, Breakpoints, Stop, StoppedThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Step = Callable[[], object]

LAPSING = "dobbin_like.objects.graph.idle_views", "_let_lapse", 0

STEP_SECONDS = 0.02
"""Who has not ended by then is taken to wait for the other."""


class Root(Persistent):
    value = 0
    other = 0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Any]:
    with Database(tmp_path / "lapsing.log", sync=False) as database:
        database.set_root(Root())
        transaction.commit()
        database._store.graph.shared.idle_seconds = 0
        yield database


class Waiting(StoppedThread):
    """A thread that has read the root between two transactions, and waits."""

    def __init__(self, database: Any, stop: Stop, step: Step) -> None:
        self.result: object = None
        self.read = 0
        self._database, self._do = database, step
        super().__init__(stop, self._read_between, self._go_on)

    def _read_between(self) -> None:
        transaction.abort()
        self.read = self._database.root.value

    def _go_on(self) -> None:
        self.stop.run(self._take_step)
        transaction.abort()

    def _take_step(self) -> None:
        try:
            self.result = self._do()
        except (ConflictError, SnapshotDroppedError) as error:
            self.result = error


def change(database: Any) -> None:
    with database.transaction() as root:
        checkout(root)
        root.value += 1
        root.other += 1


def lapsing_at(database: Any, step: Step, *functions: str) -> Iterator[Waiting]:
    """Yield the thread, ended, for each of its lines at which its snapshot has lapsed."""
    number, is_there = 0, True
    while is_there:
        number += 1
        transaction.abort()
        database.release_snapshot()
        waiting = Waiting(database, Stop(number, ("dobbin_like",), *functions), step)
        time.sleep(STEP_SECONDS)  # Until it waits.
        change(database)  # Which sees that it has run.
        time.sleep(STEP_SECONDS)
        commit = Breakpoints(LAPSING)
        committing = commit.start(lambda: change(database))
        waiting.start(STEP_SECONDS)
        commit.go()
        committing.join(STEP_SECONDS)
        waiting.join()
        committing.join(TIMEOUT_SECONDS)
        is_there = waiting.stop.left <= 0
        yield waiting
    assert number > 2


def test_what_is_read_is_of_one_snapshot(database: Any) -> None:
    root = database.root

    for waiting in lapsing_at(database, lambda: root.other, "active_view", "visible"):
        assert waiting.result == waiting.read


def test_a_transaction_that_begins_can_check_out(database: Any) -> None:
    root = database.root

    def step() -> int:
        transaction.begin()
        checkout(root)
        return int(root.value)

    for waiting in lapsing_at(database, step, "newTransaction", "_find"):
        assert waiting.result in (waiting.read + 1, waiting.read + 2)


def test_who_has_waited_for_a_transaction_can_check_out(database: Any) -> None:
    root, shared = database.root, database._store.graph.shared

    def step() -> int:
        database.wait(shared.tid)
        checkout(root)
        return int(root.value)

    for waiting in lapsing_at(database, step, "wait", "_find"):
        assert waiting.result in (waiting.read + 1, waiting.read + 2)


def test_what_is_checked_out_is_of_the_snapshot_that_was_read(database: Any) -> None:
    root = database.root

    def step() -> int:
        checkout(root)
        return int(root.value)

    for waiting in lapsing_at(database, step, "join", "_find"):
        assert waiting.result == waiting.read


def test_what_others_have_committed_is_in_conflict(database: Any) -> None:
    root = database.root

    def step() -> str:
        checkout(root)
        root.value = -1
        transaction.commit()
        return "committed"

    for waiting in lapsing_at(database, step, "join", "_find"):
        assert isinstance(waiting.result, ConflictError)
