"""One thread closes a database while another one is in the middle of a transaction."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import Database, MemoryLog, Persistent, PersistentDict, checkout
from dobbin_like.storage import TransactionLog
from tests.helpers.stops import TIMEOUT_SECONDS, Breakpoints
from tests.helpers.things import Thing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DECIDED = "dobbin_like.transactions.commit.state", "publish", 0
"""Where a transaction is in the log, and the commit lock is held."""

OWN_IS_DECIDED = (
    ("dobbin_like.transactions.commit.lock", "new_tid", 0),
    ("dobbin_like.transactions.publisher", "_read_news", 0),
)
"""Where one of the database itself is about to be appended, and where it is."""

PACKING = "dobbin_like.upkeep.pack", "_copy", 0
"""Where a pack has begun that nothing keeps from its end."""

LOOKING = "dobbin_like.objects.faces.working_copy", "containers_of", 0
"""Where it is looked what was read from a working copy that is dropped."""

CLOSING_SECONDS = 0.2
"""Who has not closed the database by then waits for the other thread."""


class Old(Persistent):
    name = "old"

    @classmethod
    def _p_migrate(cls, state: dict[str, Any], _version: int) -> dict[str, Any]:
        return state


class New(Old):
    pass


@pytest.fixture(params=["file", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Return a function that opens the log."""
    memory = MemoryLog()
    if request.param == "memory":
        return memory.another
    return lambda: TransactionLog(tmp_path / "closing.log", sync=False)


def closed_at(database: Any, step: Callable[[], object], *places: tuple[str, str, int]) -> None:
    """Do *step* in a thread, and close the database when it has come to the last of the places."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            step()
        except BaseException as error:
            failed.append(error)

    steps = Breakpoints(*places)
    thread = steps.start(run)
    for _ in places[1:]:
        steps.go()
        steps.wait()
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

    closed_at(database, step, DECIDED)
    with Database(make()) as again:
        assert again.root["thing"].text == "of a class that is new"
        transaction.abort()


def test_a_class_that_was_renamed_is_renamed(make: Callable[[], Any]) -> None:
    database = Database(make())
    database.run(lambda: database.set_root(PersistentDict(old=Old())))
    transaction.abort()

    closed_at(database, lambda: database.rename_class(Old, New), *OWN_IS_DECIDED)

    with Database(make()) as again:
        assert isinstance(again.root["old"], New)
        transaction.abort()


def test_objects_that_were_migrated_are_counted(
    make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(make())
    database.run(lambda: database.set_root(PersistentDict(old=Old())))
    transaction.abort()
    monkeypatch.setattr(Old, "_p_version", 1)
    migrated: list[int] = []

    closed_at(database, lambda: migrated.append(database.migrate(Old)), *OWN_IS_DECIDED)

    assert migrated == [1]
    with Database(make()) as again:
        assert [logged.description for logged in again.transactions()][-1] == "migrate Old"
        transaction.abort()


def test_a_log_that_was_packed_is_reported(tmp_path: Path) -> None:
    """What is left in the indexes, the next pack takes out."""
    path = tmp_path / "packed.log"
    database: Any = Database(path, sync=False)
    database.run(lambda: database.set_root(PersistentDict(old=Old())))
    transaction.abort()
    database.index(Old, "name")
    with database.transaction() as root:
        checkout(root)
        del root["old"]
    reports: list[Any] = []

    closed_at(database, lambda: reports.append(database.pack()), PACKING)

    assert [report.packed for report in reports] == [True]
    with Database(path, sync=False) as again:
        assert again.find(Old, name="old").first() is None
        assert again.indexes()[0].entries == 1
        again.pack()
        transaction.abort()
        assert again.indexes()[0].entries == 0
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

    closed_at(database, step, LOOKING)
