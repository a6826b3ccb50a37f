"""One thread closes a database while another one is in the middle of a transaction."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import Database, MemoryLog, PersistentDict, checkout
from dobbin_like.storage import TransactionLog
from tests.helpers.stops import TIMEOUT_SECONDS, Steps
from tests.helpers.things import Thing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DECIDED = "dobbin_like.transactions.data_manager", "_publish", 0
"""Where a transaction is in the log, and the commit lock is held."""

LOOKING = "dobbin_like.objects.faces.working_copy", "containers_of", 0
"""Where it is looked what was read from a working copy that is dropped."""

CLOSING_SECONDS = 0.2
"""Who has not closed the database by then waits for the other thread."""


@pytest.fixture(params=["file", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Return a function that opens the log."""
    memory = MemoryLog()
    if request.param == "memory":
        return memory.another
    return lambda: TransactionLog(tmp_path / "closing.log", sync=False)


def closed_at(database: Any, place: tuple[str, str, int], step: Callable[[], object]) -> None:
    """Do *step* in a thread, and close the database when it has come to a place."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            step()
        except BaseException as error:
            failed.append(error)

    steps = Steps(place)
    thread = steps.start(run)
    closing = threading.Thread(target=database.close, daemon=True)
    closing.start()
    closing.join(CLOSING_SECONDS)
    steps.go()
    for each in (thread, closing):
        each.join(TIMEOUT_SECONDS)
        assert not each.is_alive()
    assert failed == []


def test_what_is_decided_is_acknowledged(make: Callable[[], Any]) -> None:
    """It was an error, and the lock was never given back."""
    database = Database(make())
    database.run(lambda: database.set_root(PersistentDict()))
    transaction.abort()

    def step() -> None:
        with database.transaction() as root:
            checkout(root)
            root["thing"] = Thing(text="of a class that is new")

    closed_at(database, DECIDED, step)
    with Database(make()) as again:
        assert again.root["thing"].text == "of a class that is new"
        transaction.abort()


def test_an_abort_goes_on(make: Callable[[], Any]) -> None:
    database = Database(make())
    database.run(lambda: database.set_root(PersistentDict(things=[Thing(n=[1]), Thing(n=[2])])))
    transaction.abort()

    def step() -> None:
        transaction.begin()
        for thing in database.root["things"]:
            checkout(thing)
            thing.n.append(3)
        transaction.abort()

    closed_at(database, LOOKING, step)
