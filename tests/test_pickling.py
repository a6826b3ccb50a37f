"""A pickled database, log or safe is the same one, in the process where it arrives."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import Database, PersistentDict, checkout, safe
from dobbin_like.exc import ClosedError
from dobbin_like.storage import MemoryLog, OverlayLog, TransactionLog
from tests.helpers.processes import forked_in_c, in_child

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METHODS = [
    pytest.param("spawn", marks=pytest.mark.slow),
    pytest.param("forkserver", marks=pytest.mark.slow),
    "fork",
]


@pytest.fixture(params=METHODS)
def workers(request: pytest.FixtureRequest) -> Iterator[ProcessPoolExecutor]:
    """One worker process, started by each of the methods."""
    with ProcessPoolExecutor(1, multiprocessing.get_context(request.param)) as pool:
        yield pool
    if request.param == "forkserver":
        forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with Database(path, allow="shop.*", guard=False) as database:
        database.set_root(PersistentDict(n=0))
        transaction.commit()
        yield database


class Loud(Database):
    """A database of the application."""


def again(shared: Any) -> Any:
    return pickle.loads(pickle.dumps(shared))


# -- what runs in the workers ------------------------------------------------------


def add_one(database: Database) -> tuple[int, int, int]:
    """Return the process, which instance it was, and the new number."""
    for attempt in transaction.attempts(3):
        with attempt:
            checkout(database.root)
            database.root["n"] += 1
    transaction.begin()
    return os.getpid(), id(database), database.root["n"]


def count_up(kept: safe.Safe) -> int:
    return kept.increment("n")  # type: ignore[no-any-return]


def options_of(database: Database) -> tuple[Any, ...]:
    log = database.storage
    assert isinstance(log, TransactionLog)
    graph = database._store.graph
    allow = tuple(graph.classes.policy.allow)
    packing = database._auto_pack
    writing = log._writing
    try:
        return (
            type(database),
            log.path,
            (allow, graph.guard, packing and packing.limit),
            (writing.sync, writing.lock_timeout, log.read_only),
        )
    finally:
        if multiprocessing.parent_process() is not None:
            database.close()


# -- in other processes ------------------------------------------------------------


def test_a_worker_opens_the_database_once_however_often_it_gets_it(workers, database):
    answers = [workers.submit(add_one, database).result() for _ in range(3)]

    processes, instances, numbers = zip(*answers, strict=True)
    assert set(processes) != {os.getpid()}
    assert len(set(processes)) == len(set(instances)) == 1
    assert numbers == (1, 2, 3)
    transaction.begin()
    assert database.root["n"] == 3


def test_a_safe_can_be_given_to_workers(workers, path):
    with safe.open(path) as kept:
        assert list(workers.map(count_up, [kept] * 3)) == [1, 2, 3]
        assert kept["n"] == 3


@pytest.mark.slow
def test_a_spawned_process_opens_the_database_with_its_options(path):
    with Database(path) as database:
        database.set_root(PersistentDict())
        transaction.commit()
    log = TransactionLog(path, sync=False, lock_timeout=7.0)
    with (
        Loud(log, allow=["shop.*"], guard=False, pack_when=0.25) as database,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        there = pool.submit(options_of, database).result()

        assert there == options_of(database)
        assert there[0] is Loud
        assert there[2:] == ((("shop.*",), False, 0.25), (False, 7.0, False))


@pytest.mark.slow
def test_a_spawned_process_finds_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Database("data.log") as database:
        database.set_root(PersistentDict(n=0))
        transaction.commit()
        data = pickle.dumps(database)
        monkeypatch.chdir("/")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            assert pool.submit(add_one, database).result()[2] == 1
            assert pool.submit(again_elsewhere, data).result() == 2


def again_elsewhere(data: bytes) -> int:
    return add_one(pickle.loads(data))[2]


def test_a_forked_child_has_the_one_that_it_has_inherited(database):
    data = pickle.dumps(database)

    assert in_child(lambda: pickle.loads(data) is database)
    assert forked_in_c(lambda: os._exit(pickle.loads(data) is not database)) == 0


def test_a_child_that_has_closed_the_inherited_one_opens_it_again(database):
    data = pickle.dumps(database)

    def child() -> int:
        database.close()
        return add_one(pickle.loads(data))[2]

    assert in_child(child) == 1


def test_a_child_can_unpickle_while_a_thread_of_its_parent_does(database, path, monkeypatch):
    other = pickle.dumps(safe.open(path.with_name("other.safe")))  # It is closed at once.
    opening, end = threading.Event(), threading.Event()

    def slowly(*args: Any, **options: Any) -> Any:
        opening.set()
        end.wait(60)
        return Database(*args, **options)

    monkeypatch.setattr(safe.opening, "Database", slowly)
    thread = threading.Thread(target=lambda: pickle.loads(other).close())
    thread.start()
    try:
        assert opening.wait(60)
        data = pickle.dumps(database)
        assert in_child(lambda: pickle.loads(data) is database)
    finally:
        end.set()
        thread.join()


# -- in this process ---------------------------------------------------------------


@pytest.mark.parametrize("make", [again, copy.copy, copy.deepcopy])
def test_there_is_no_second_one_in_a_process(database, path, make):
    with safe.open(path.with_name("data.safe")) as kept:
        for shared in database, database.storage, kept:
            assert make(shared) is shared
        assert make({"settings": [database]})["settings"][0] is database


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_a_copy_of_what_is_in_memory_is_itself(database, make):
    overlay = OverlayLog(database.storage)
    with (
        Database(MemoryLog(), transaction_manager=transaction.TransactionManager()) as memory,
        database.at(database.tid) as past,
    ):
        for shared in memory, memory.storage, past, past.storage, overlay:
            assert make(shared) is shared


def test_one_that_was_closed_is_opened_when_it_is_unpickled(path):
    with TransactionLog(path) as log:
        data = pickle.dumps(log)

    with pickle.loads(data) as opened:
        assert opened is not log
        assert pickle.loads(data) is opened


# -- what can't be pickled ------------------------------------------------------------


def test_what_is_closed_cannot_be_pickled(path):
    for make in Database, TransactionLog, safe.open:
        with make(path.with_name(make.__name__)) as shared:
            pass
        with pytest.raises(ClosedError):
            pickle.dumps(shared)


def test_what_is_in_memory_says_what_to_do(database):
    log = MemoryLog()
    for shared in log, OverlayLog(database.storage), Database(log):
        with pytest.raises(TypeError, match="no other can open it; use a TransactionLog, or fork"):
            pickle.dumps(shared)
    shared.close()


def test_a_database_as_of_a_moment_says_what_to_do(database):
    with (
        database.at(database.tid) as past,
        pytest.raises(TypeError, match=rf"call at\({database.tid}\) there"),
    ):
        pickle.dumps(past)


def test_a_transaction_manager_that_cannot_be_pickled_is_named(path):
    with (
        Database(path, transaction_manager=transaction.TransactionManager()) as database,
        pytest.raises(TypeError, match="transaction manager can't be pickled"),
    ):
        pickle.dumps(database)


def test_a_manager_in_whose_transaction_the_database_takes_part_cannot_be_pickled(path):
    manager = transaction.TransactionManager()
    with Database(path, transaction_manager=manager) as database:
        database.set_root(PersistentDict())
        with pytest.raises(TypeError, match=r"can't be pickled \(a transaction is under way\)"):
            pickle.dumps(database)
        manager.abort()


def test_the_manager_of_the_threads_is_the_same_everywhere(path):
    with Database(path, transaction_manager=transaction.manager) as database:
        assert again(database) is database
