"""A signal handler, or a finalizer, that begins or ends transactions while its thread commits."""

from __future__ import annotations

import errno
import itertools
import sys
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like.check import check_log
from dobbin_like.database import Database
from dobbin_like.exc import (
    ChangesLostError,
    ClosedError,
    CommittingError,
    InDoubtError,
    IntegrityError,
    NotHeldError,
    SelfWaitError,
)
from dobbin_like.persistent import PersistentDict, checkout
from dobbin_like.storage import TransactionLog
from tests.helpers.amount import step
from tests.helpers.interrupts import handled_at_step
from tests.helpers.log_files import words_of

if TYPE_CHECKING:
    from pathlib import Path


def put(databases: list[Database], key: str, value: int) -> None:
    for database in databases:
        checkout(database.root[key])
        database.root[key]["n"] = value


def found(databases: list[Database], key: str) -> list[int]:
    return [database.root[key]["n"] for database in databases]


def open_at(paths: list[Path], manager: Any, **options: Any) -> list[Database]:
    return [
        Database(TransactionLog(path, **options), transaction_manager=manager) for path in paths
    ]


def new_at(paths: list[Path], manager: Any) -> list[Database]:
    databases = open_at(paths, manager)
    for database in databases:
        database.set_root(PersistentDict(main=PersistentDict(n=0), handler=PersistentDict(n=0)))
    manager.commit()
    return databases


def begin(manager: Any, databases: list[Database], number: int) -> None:
    manager.begin()


def begin_and_commit(manager: Any, databases: list[Database], number: int) -> None:
    manager.begin()
    put(databases, "handler", number)
    manager.commit()


def abort(manager: Any, databases: list[Database], number: int) -> None:
    manager.abort()


def change_and_commit(manager: Any, databases: list[Database], number: int) -> None:
    put(databases, "handler", number)
    manager.commit()


class Handler:
    """Does something in the middle of a commit."""

    def __init__(self, act: Any, manager: Any, databases: list[Database], number: int) -> None:
        self._act = act
        self._arguments = manager, databases, number
        self.done = self.refused = False

    def __call__(self) -> None:
        try:
            self._act(*self._arguments)
            self.done = True
        except (CommittingError, SelfWaitError):
            self.refused = True
        except ValueError as error:  # All has ended but the transaction itself.
            assert "it's 'Committed'" in str(error)  # noqa: PT017


def handled_in_commit(at: int, manager: Any, handler: Handler) -> bool:
    try:
        return handled_at_step(at, manager.get().commit, handler)
    except ValueError as error:
        # In free(): nothing but the manager does not know yet that it has ended.
        assert str(error) == "Foreign transaction"  # noqa: PT017
        return True


@pytest.mark.parametrize("act", [begin, begin_and_commit, abort, change_and_commit])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    "stride", [83, pytest.param(step(5), marks=pytest.mark.slow)], ids=["some", "more"]
)
def test_what_a_handler_does_at_any_step_of_a_commit_is_refused_or_done(
    tmp_path: Path, count: int, act: Any, stride: int
) -> None:
    """The commit was acknowledged and not stored, or was stored by one of two databases."""
    paths = [tmp_path / f"{number}.log" for number in range(count)]
    manager, others = transaction.TransactionManager(), transaction.TransactionManager()
    databases = new_at(paths, manager)
    readers = open_at(paths, others, read_only=True)
    refused = 0

    for number in itertools.count(1):
        at = number * stride * count
        manager.begin()
        put(databases, "main", number)
        handler = Handler(act, manager, databases, number)
        if not handled_in_commit(at, manager, handler):
            break
        refused += handler.refused

        others.begin()
        assert found(readers, "main") == [number] * count, at
        handled = found(readers, "handler")
        assert len(set(handled)) == 1, at
        if handler.done and act in (begin_and_commit, change_and_commit):
            assert handled == [number] * count, at
        manager.begin()
        assert found(databases, "main") == [number] * count
        assert found(databases, "handler") == handled
        assert not any(database.storage.held for database in databases)

    assert refused > 1
    for database in databases + readers:
        database.close()
    for path in paths:
        check_log(path).raise_if_bad()


def commit_now_and_then(databases, manager, number):
    """Let a commit come to its end.

    What an interrupt has left undone is more to do for the next commit: if that is interrupted
    one step later, and so on, none would ever come to its end.
    """
    if number % 5 == 0:
        manager.begin()
        put(databases, "main", -number)
        manager.commit()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("sync", [False, True], ids=["loose", "synced"])
@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_a_handler_that_raises_what_is_an_error_of_the_system_elsewhere_is_an_interrupt(
    tmp_path: Path, stride: int, count: int, sync: bool
) -> None:
    """TimeoutError was taken for an error of the disk: one of two databases had it, or the log
    was marked as failed, or the hooks were told that the commit had failed."""
    paths = [tmp_path / f"{number}.log" for number in range(count)]
    manager, others = transaction.TransactionManager(), transaction.TransactionManager()
    new = new_at(paths, manager)
    for database in new:
        database.close()
    databases = open_at(paths, manager, sync=sync)
    readers = open_at(paths, others, read_only=True)
    results = set()
    for number in itertools.count(1):
        manager.begin()
        put(databases, "main", number)
        told: list[bool] = []
        of_package = False

        def interrupt() -> None:
            nonlocal of_package
            frame = sys._getframe(2)
            # Or before the first line of what it calls when all is done.
            of_package = (
                frame.f_globals["__name__"].startswith("transaction.")
                or frame.f_code.co_name == "tpc_finish"
            )
            raise TimeoutError

        current = manager.get()
        current.addAfterCommitHook(told.append)
        result = ""
        try:
            came = handled_at_step((number - 1) * stride, current.commit, interrupt)
        except Exception as error:
            came, result = True, type(error).__name__
        manager.abort()
        others.begin()
        stored = [each == number for each in found(readers, "main")]
        assert len(set(stored)) == 1, number
        assert of_package or told in ([], stored[:1]), number
        if not came:
            break
        results.add((result, stored[0]))
        commit_now_and_then(databases, manager, number)
    assert ("TimeoutError", False) in results
    # Few steps come between the decision and the end: with a stride, a run may miss them.
    assert stride > 1 or ("TimeoutError", True) in results
    assert results <= {("TimeoutError", False), ("TimeoutError", True), ("", True)}
    for database in databases + readers:
        database.close()
    for path in paths:
        assert words_of(path)["FAILURES"] == 0
        check_log(path).raise_if_bad()


def closed_in_commit(
    at: int, manager: Any, database: Database, other: Path, *, leaves: bool
) -> tuple[bool, type[BaseException] | None]:
    """Commit; at one step, close the database, and open other files.

    Return whether it came so far, and what was raised.
    """
    opened: list[Any] = []

    def close() -> None:
        database.close()
        for _ in range(3):
            opened.append(other.open("w+b", buffering=0))
            opened[-1].write(bytes(8192))
        if leaves:
            raise SystemExit

    refused = ClosedError, InDoubtError, NotHeldError, OSError, SystemExit
    came, result = True, None
    try:
        came = handled_at_step(at, manager.get().commit, close)
    except refused as error:
        result = type(error)
    for file in opened:
        file.close()
        assert other.read_bytes() == bytes(8192), at
    manager.abort()
    return came, result


@pytest.mark.filterwarnings("ignore::dobbin_like.exc.UncommittedChangesWarning")
@pytest.mark.parametrize("leaves", [False, True], ids=["goes on", "leaves"])
@pytest.mark.parametrize("sync", [False, True], ids=["loose", "synced"])
@pytest.mark.parametrize("stride", [19, pytest.param(1, marks=pytest.mark.slow)])
def test_a_handler_closes_the_database_at_any_step_of_a_commit(
    tmp_path: Path, stride: int, sync: bool, leaves: bool
) -> None:
    """Other files were written to that it had opened then; and its exit was lost in an error."""
    results = set()
    for at in itertools.count(0, stride):
        path = tmp_path / f"{at}.log"
        manager = transaction.TransactionManager()
        new_at([path], manager)[0].close()
        (database,) = open_at([path], manager, sync=sync)
        manager.begin()
        put([database], "main", 1)
        came, result = closed_in_commit(at, manager, database, tmp_path / "other", leaves=leaves)
        if not came:
            database.close()
            break
        with Database(path, sync=False) as again:
            stored = again.root["main"]["n"]
            with again.transaction() as root:  # This thread does not hold its lock.
                checkout(root)
        if result not in (InDoubtError, SystemExit):
            assert stored == (result is None), (at, result)
        results.add((result, stored))
        path.unlink()  # The next one has the same inode.
    if leaves:
        assert results == {(SystemExit, 0), (SystemExit, 1)}
    else:
        assert {(ChangesLostError, 0), (None, 1)} < results


@pytest.mark.filterwarnings("ignore::dobbin_like.exc.UncommittedChangesWarning")
@pytest.mark.parametrize("leaves", [False, True], ids=["goes on", "leaves"])
@pytest.mark.parametrize("stride", [19, pytest.param(1, marks=pytest.mark.slow)])
def test_what_is_committed_to_one_of_two_databases_is_in_doubt_if_the_other_is_closed(
    tmp_path: Path, stride: int, leaves: bool
) -> None:
    """ClosedError tells that nothing is stored; whoever ran it again had it twice in one."""
    results = set()
    for at in itertools.count(0, stride):
        paths = [tmp_path / f"{at}.{number}.log" for number in range(2)]
        manager = transaction.TransactionManager()
        for each in new_at(paths, manager):
            each.close()
        first, second = databases = sorted(
            open_at(paths, manager, sync=False), key=lambda each: each._store.storage.sort_key
        )
        manager.begin()
        put(databases, "main", 1)
        came, result = closed_in_commit(at, manager, second, tmp_path / "other", leaves=leaves)
        assert first.outcome(first.tid) is True
        first.close()
        second.close()
        again = open_at(paths, transaction.TransactionManager())
        stored = tuple(sorted(found(again, "main")))
        for each in again:
            with each.transaction() as root:  # This thread does not hold its lock.
                checkout(root)
            each.close()
        if not came:
            break
        results.add((result, stored))
        for path in paths:
            path.unlink()
    split = {result for result, stored in results if stored == (0, 1)}
    assert split == ({SystemExit} if leaves else {InDoubtError})
    assert {stored for _, stored in results} == {(0, 0), (0, 1), (1, 1)}


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), IntegrityError("", 0, "", "")]
)
@pytest.mark.parametrize("failures", [1, 2, 100])
def test_news_of_others_that_can_not_be_read_do_not_let_a_commit_fail_that_is_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, failures: int
) -> None:
    """It raised what says that nothing is stored, and it was run again, perhaps."""
    manager, others = transaction.TransactionManager(), transaction.TransactionManager()
    (database,) = new_at([tmp_path / "a.log"], manager)
    (reader,) = open_at([tmp_path / "a.log"], others)
    publisher = database._store.publisher
    real, tries = publisher.catch_up_to, itertools.count(1)

    def fails(*args: Any) -> None:
        if next(tries) <= failures:
            raise error
        real(*args)

    manager.begin()
    put([database], "main", 1)
    with monkeypatch.context() as patch:
        patch.setattr(publisher, "catch_up_to", fails)
        if failures < 100:
            manager.commit()
        else:
            with pytest.raises(InDoubtError):
                manager.commit()
            manager.abort()
    for commits, each in (manager, database), (others, reader):
        commits.begin()
        assert found([each], "main") == [1]
        put([each], "main", 1)
        commits.commit()
    database.close()
    reader.close()


@pytest.fixture
def root(database: Database) -> PersistentDict[str, Any]:
    database.set_root(PersistentDict())
    transaction.commit()
    return database.root


def test_after_a_commit_that_was_interrupted_the_transaction_can_be_aborted(root):
    """Even if the interrupt has left the transaction in the state of one that commits."""
    transaction.begin()
    checkout(root)
    current = transaction.get()
    current.status = "Committing"

    transaction.abort()

    assert transaction.get() is not current
    checkout(root)
    transaction.commit()


def test_a_hook_before_the_commit_can_not_abort_it(root):
    """It was acknowledged, and nothing was stored."""
    checkout(root)
    root["n"] = 1
    transaction.get().addBeforeCommitHook(transaction.abort)

    with pytest.raises(SelfWaitError):
        transaction.commit()

    transaction.abort()
    assert "n" not in root


def test_a_hook_after_the_commit_begins_the_next_transaction(root):
    def go_on(committed: bool) -> None:
        transaction.begin()
        checkout(root)
        root["again"] = committed
        transaction.commit()

    checkout(root)
    root["n"] = 1
    transaction.get().addAfterCommitHook(go_on)
    transaction.commit()

    transaction.begin()
    assert dict(root) == {"n": 1, "again": True}


def test_nothing_more_is_checked_out_while_others_commit(tmp_path: Path) -> None:
    """Neither if this database takes part, and is not at it yet, nor if it does not."""
    manager = transaction.TransactionManager()
    databases = new_at([tmp_path / name for name in "ab"], manager)

    class Other:
        def tpc_begin(self, _transaction: Any) -> None:
            for database in databases:
                with pytest.raises(CommittingError):
                    checkout(database.root["handler"])

        def sortKey(self) -> str:  # noqa: N802
            return ""

        commit = tpc_vote = tpc_finish = abort = tpc_abort = lambda *_: None

    put(databases[:1], "main", 1)
    manager.get().join(Other())
    manager.commit()

    assert found(databases, "main") == [1, 0]
    for database in databases:
        database.close()
