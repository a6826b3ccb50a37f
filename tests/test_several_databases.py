"""Several databases in one transaction: all of them have it, or none, whatever comes between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like.check import check_log
from dobbin_like.database import Database
from dobbin_like.exc import InDoubtError
from dobbin_like.persistent import PersistentDict, checkout
from dobbin_like.storage import TransactionLog
from tests.helpers.amount import step
from tests.helpers.interrupts import Interrupt
from tests.helpers.power import fail_syncs
from tests.helpers.steps import Steps
from tests.helpers.tracing import tracing

if TYPE_CHECKING:
    from pathlib import Path


class Both(Interrupt):
    """Interrupts lines of this package, and of the one that commits to all databases."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "dobbin_like")

    def __call__(self, frame: Any, event: str, arg: Any) -> Any:
        if frame.f_globals.get("__name__", "") == "transaction._transaction":
            return self.line
        return super().__call__(frame, event, arg)


def open_at(path: Path, manager: Any, **options: Any) -> Database:
    return Database(TransactionLog(path, **options), transaction_manager=manager)


def set_all(databases: list[Database], value: int) -> None:
    for database in databases:
        checkout(database.root)
        database.root["n"] = value
        database.root[f"new {value}"] = PersistentDict(n=value)


def add_one(databases: list[Database]) -> None:
    for database in databases:
        checkout(database.root)
        database.root["n"] += 1


def values(paths: list[Path]) -> set[int]:
    """Return what is in the logs, as whoever opens them reads it."""
    found = set()
    for path in paths:
        with open_at(path, transaction.TransactionManager(), read_only=True) as database:
            found.add(database.root["n"])
    return found


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.log" for name in "ab"]
    for path in paths:
        with open_at(path, transaction.TransactionManager()) as database:
            database.set_root(PersistentDict(n=0))
            database.transaction_manager.commit()
    return paths


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize(
    "lines", [29, pytest.param(step(7), marks=pytest.mark.slow)], ids=["some", "more"]
)
def test_an_interrupt_anywhere_never_splits_a_commit(
    paths: list[Path], lines: int, *, sync: bool
) -> None:
    manager = transaction.TransactionManager()
    outcomes = set()
    databases = [open_at(path, manager, sync=sync) for path in paths]
    for value, number in enumerate(range(1, 100_000, lines), start=1):
        before = values(paths)
        assert len(before) == 1
        manager.begin()
        set_all(databases, value)
        try:
            with tracing(Both(number)):
                manager.commit()
            hit = False
        except KeyboardInterrupt:
            hit = True
        manager.abort()

        found = values(paths)
        assert len(found) == 1, number
        assert found in (before, {value})
        outcomes.add(found == {value})
        manager.begin()
        assert {database.root["n"] for database in databases} == found
        assert not any(database.storage.held for database in databases)
        if not hit:
            break
    assert not hit
    assert outcomes == {True, False}
    for database in databases:
        database.close()
    for path in paths:
        check_log(path).raise_if_bad()


def test_two_that_see_the_same_files_by_other_paths_never_wait_for_each_other(
    paths: list[Path], tmp_path: Path
) -> None:
    """The locks are taken in the order of the files, not of their names."""
    swapped = [tmp_path / "0.log", tmp_path / "1.log"]
    for link, path in zip(swapped, reversed(paths), strict=True):
        link.symlink_to(path)
    hard = [tmp_path / "2.log", tmp_path / "3.log"]
    for link, path in zip(hard, reversed(paths), strict=True):
        link.hardlink_to(path)
    steps = Steps()

    def work(here: list[Path]) -> None:
        manager = transaction.TransactionManager()
        databases = [open_at(path, manager, lock_timeout=20) for path in here]
        for _ in range(30):
            for attempt in manager.attempts(1000):
                with attempt:
                    add_one(databases)
        for database in databases:
            database.close()

    for here in (paths, swapped, hard):
        steps.thread(lambda here=here: work(here))
    steps.join()

    assert values(paths) == {90}


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_after_a_sync_that_failed_all_go_on(paths: list[Path], failing: int) -> None:
    """Before the first has decided, none has it; after that, one may be in doubt."""
    manager = transaction.TransactionManager()
    databases = [open_at(path, manager) for path in paths]
    set_all(databases, 1)
    with pytest.MonkeyPatch.context() as patch:
        fail_syncs(patch, failing)
        with pytest.raises((OSError, InDoubtError)):
            manager.commit()
    manager.abort()
    # One that was in doubt is a conflict, when it has been found to be committed.
    for attempt in manager.attempts(3):
        with attempt:
            set_all(databases, 2)
    for database in databases:
        database.close()
    assert values(paths) == {2}
    for path in paths:
        check_log(path).raise_if_bad()
