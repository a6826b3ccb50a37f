"""Transaction blocks, functions that are run again, and snapshots to read."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import gc
import itertools
import pickle
import sys
import threading
import warnings
from typing import TYPE_CHECKING

import pytest
import transaction
from transaction.interfaces import DoomedTransaction, TransactionFailedError, TransientError

from dobbin_like import (
    BTree,
    Database,
    JobQueue,
    MemoryLog,
    Persistent,
    PersistentDict,
    TransactionLog,
    checkout,
)
from dobbin_like.blocks.block import Block
from dobbin_like.database import store_of
from dobbin_like.exc import (
    BlockError,
    CommittingError,
    ConflictError,
    InDoubtError,
    SelfWaitError,
    TransactionNotFound,
    UncommittedChangesError,
    UncommittedChangesWarning,
    UndoError,
)
from dobbin_like.objects.faces import working_copy
from tests.helpers.interrupts import each_step, handled_at_step, interrupted, interrupting
from tests.helpers.processes import exit_code, forked
from tests.helpers.steps import in_thread
from tests.helpers.things import Thing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    with Database(TransactionLog(path, sync=False)) as database:
        with database.transaction():
            database.set_root(PersistentDict({"n": 0}))
        yield database


def stored(db: Database) -> dict[str, Any]:
    """What another thread sees."""
    found: dict[str, Any] = in_thread(lambda: dict(db.root))
    return found


def put(db: Database, name: str, value: object) -> None:
    checkout(db.root)
    db.root[name] = value


def is_idle(db: Database) -> bool:
    """Tell whether the thread has nothing under way."""
    return not (db.storage.held or transaction.get()._resources)


# -- one block ------------------------------------------------------------------------------


def reindex(db: Database) -> None:
    db.index(Thing, "x")


def test_a_block_begins_a_snapshot_gives_the_root_and_commits(db):
    in_thread(lambda: db.run(lambda: put(db, "n", 1)))
    with db.transaction() as root:
        assert root is db.root
        assert root["n"] == 1
        in_thread(lambda: db.run(lambda: put(db, "n", 2)))
        assert root["n"] == 1
        put(db, "m", 3)
    assert stored(db) == {"n": 2, "m": 3}
    assert is_idle(db)


def test_a_block_tells_who_and_what_for(db):
    with db.transaction(note="Count", user="ada"):
        put(db, "n", 1)
        with db.transaction(note="and more"):
            put(db, "m", 1)
    *_, last = db.transactions()
    assert (last.user, last.description) == ("ada", "Count\nand more")


def test_a_block_leaves_no_snapshot_behind(db):
    for block in (db.transaction, db.reading):
        with block():
            pass
        assert len(db._store.graph.shared.horizon) == 0
        in_thread(lambda: db.run(lambda: put(db, "n", db.root["n"] + 1)))
    assert db.root["n"] == 2


def test_an_exception_takes_everything_back(db):
    with pytest.raises(ZeroDivisionError), db.transaction() as root:  # noqa: PT012
        put(db, "n", 1)
        raise ZeroDivisionError
    assert root["n"] == 0
    assert stored(db) == {"n": 0}
    assert is_idle(db)


def test_the_object_that_was_handed_to_a_thread_is_of_its_snapshot(db):
    root = db.root
    seen = []

    def work():
        with db.transaction():
            in_thread(lambda: db.run(lambda: put(db, "n", 1)))
            seen.append(root["n"])
            checkout(root)
            root["n"] += 10

    with pytest.raises(ConflictError):
        in_thread(work)
    assert seen == [0]
    assert stored(db) == {"n": 1}


def test_a_conflict_is_raised_at_the_end_and_leaves_nothing(db):
    with pytest.raises(ConflictError), db.transaction() as root:  # noqa: PT012
        put(db, "n", 1)
        in_thread(lambda: db.run(lambda: put(db, "n", 2)))
    assert root["n"] == 2
    assert is_idle(db)
    with db.transaction():
        put(db, "n", 3)
    assert stored(db) == {"n": 3}


@pytest.mark.parametrize(
    "begin", [lambda db: db.transaction().__enter__(), Database.release_snapshot, reindex]
)
def test_what_is_not_committed_is_named(db, begin):
    put(db, "part", PersistentDict())
    transaction.commit()
    checkout(db.root["part"], db.root)
    with pytest.raises(UncommittedChangesError, match=r"2 objects, .* PersistentDict oid 1") as e:
        begin(db)
    assert (e.value.class_name, e.value.oid, e.value.count) == ("PersistentDict", 1, 2)
    assert "transaction.abort()" in str(e.value)
    transaction.abort()


def test_a_root_that_is_not_committed_is_named():
    with Database(MemoryLog()) as db:
        db.set_root(PersistentDict())
        with pytest.raises(UncommittedChangesError, match=r"\(in PersistentDict oid 0\); call"):
            db.release_snapshot()
        transaction.abort()


def test_what_another_database_has_not_committed_is_not_said_to_be_of_this_one(db):
    with Database(MemoryLog()) as other:
        other.set_root(PersistentDict())
        with pytest.raises(UncommittedChangesError, match=r"nor aborted; call") as e:
            db.transaction().__enter__()
        assert e.value.count == 0
        transaction.abort()


def test_a_doomed_block_is_aborted(db):
    with pytest.raises(DoomedTransaction), db.transaction():  # noqa: PT012
        put(db, "n", 1)
        transaction.doom()
    assert stored(db) == {"n": 0}
    assert is_idle(db)


def test_what_was_changed_before_is_not_dropped(db):
    put(db, "n", 1)
    with (
        pytest.raises(UncommittedChangesError, match="neither committed nor aborted"),
        db.transaction(),
    ):
        raise AssertionError
    with pytest.raises(UncommittedChangesError), db.reading():
        raise AssertionError
    assert db.root["n"] == 1
    transaction.commit()
    assert stored(db) == {"n": 1}


def test_a_block_that_was_not_entered_is_not_left(db):
    block = db.transaction()
    with pytest.raises(BlockError, match=r"it was not entered$"):
        block.__exit__(None, None, None)
    with pytest.raises(BlockError, match=r"not entered by async with$"):
        asyncio.run(block.__aexit__(None, None, None))
    with block:
        with pytest.raises(BlockError, match=r"not entered by async with$"):
            asyncio.run(block.__aexit__(None, None, None))
        checkout(db.root)
        db.root["n"] = 9
    assert stored(db) == {"n": 9}


def test_a_block_is_for_one_with(db):
    block = db.transaction()
    with block, pytest.raises(BlockError, match="entered before"), block:
        raise AssertionError
    with pytest.raises(BlockError, match="entered before"), block:
        raise AssertionError


# No signal comes where a profiler can be: in a generator that is dropped before its end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_while_a_block_is_taken_back_leaves_nothing_of_it(db, tmp_path):
    def change() -> None:
        with contextlib.suppress(ZeroDivisionError), db.transaction(), other.transaction():
            put(db, "n", 1)
            put(other, "n", 1)
            db.root["n"] = 1 / 0

    def interrupt() -> None:
        nonlocal is_taken_back
        frame: Any = sys._getframe()
        while frame is not None:
            is_taken_back |= frame.f_code.co_name == "_take_back"
            frame = frame.f_back
        raise KeyboardInterrupt

    count = 0
    with Database(TransactionLog(tmp_path / "other", sync=False)) as other:
        with other.transaction():
            other.set_root(PersistentDict({"n": 0}))
        for step in each_step():
            is_taken_back = False
            with contextlib.suppress(KeyboardInterrupt):
                if not handled_at_step(step, change, interrupt):
                    break
            if is_taken_back:
                count += 1
                assert (db.root["n"], other.root["n"]) == (0, 0)
                assert is_idle(db)
                assert is_idle(other)
            transaction.abort()
            with db.transaction():
                put(db, "m", step)
    assert count > 50


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("fails", [False, True])
def test_after_an_interrupt_the_next_block_is_no_part_of_what_was_interrupted(db, fails):
    def change() -> None:
        with contextlib.suppress(ZeroDivisionError), db.transaction():
            put(db, "n", 1)
            db.root["n"] = 1 / (not fails)

    def interrupt() -> None:
        raise KeyboardInterrupt

    for step in each_step():
        kept = None  # As the prompt keeps it, and with it the block.
        try:
            if not handled_at_step(step, change, interrupt):
                break
        except KeyboardInterrupt as error:
            kept = error
        transaction.abort()
        with db.transaction():
            put(db, "m", step)
        assert stored(db)["m"] == step, kept
    assert step > 100


@pytest.mark.parametrize("end", [transaction.commit, transaction.abort, transaction.begin])
def test_the_transaction_of_a_block_is_ended_by_nobody_else(db, end):
    with pytest.raises(BlockError, match="was ended in it; leave begin"), db.transaction():  # noqa: PT012
        put(db, "n", 1)
        end()
        put(db, "m", 1)
    assert "m" not in stored(db)
    assert is_idle(db)


def test_a_block_is_left_by_the_thread_that_has_entered_it(db):
    block = db.transaction()
    block.__enter__()
    put(db, "n", 1)
    with pytest.raises(BlockError, match="another thread"):
        in_thread(lambda: block.__exit__(None, None, None))
    block.__exit__(None, None, None)
    assert stored(db) == {"n": 1}


def test_a_generator_that_has_not_left_its_block_is_told(db):
    def names():
        with db.transaction() as root:
            yield from list(root)

    with pytest.raises(BlockError, match="has not ended"), db.transaction():  # noqa: PT012
        put(db, "m", 1)
        going_on = names()
        next(going_on)
    assert stored(db) == {"n": 0}
    with contextlib.suppress(BlockError):
        going_on.close()
    with db.transaction():
        put(db, "n", 1)
    assert stored(db) == {"n": 1}


@pytest.mark.filterwarnings("error::dobbin_like.exc.UncommittedChangesWarning")
def test_a_block_has_ended_when_it_tells_what_went_with_a_generator(db):
    def changes():
        with db.transaction():
            put(db, "n", 1)
            yield

    going_on = changes()
    next(going_on)
    with pytest.raises(UncommittedChangesWarning):
        going_on.close()
    with db.transaction() as root:
        assert root["n"] == 0
        put(db, "m", 1)
    assert stored(db) == {"n": 0, "m": 1}


def test_what_is_dropped_with_a_generator_is_told(db):
    def names():
        with db.transaction() as root:
            yield from list(root)

    def store_for_each(*, count):
        for _ in itertools.islice(names(), count):
            with db.transaction():
                put(db, "m", 1)

    with pytest.warns(UncommittedChangesWarning, match="not run to its end.*PersistentDict oid 0"):
        store_for_each(count=1)
    assert stored(db) == {"n": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(names())
        store_for_each(count=None)
    assert stored(db) == {"n": 0, "m": 1}


def test_nothing_is_begun_while_the_thread_commits(db):
    refused = []

    class Participant:
        def tpc_begin(self, _transaction):
            with pytest.raises(CommittingError), db.transaction():
                raise AssertionError
            refused.append(True)

        def sortKey(self):  # noqa: N802
            return "~"

        def __getattr__(self, name):
            return lambda *_: None

    with db.transaction():
        put(db, "n", 1)
        transaction.get().join(Participant())
    assert refused
    assert stored(db) == {"n": 1}


@pytest.mark.parametrize("within", ["a block", "none"])
def test_a_block_in_a_hook_after_the_commit_is_a_transaction_of_its_own(db, within):
    told = []

    def after(committed):
        told.append(committed)
        with db.transaction(note="hook"):
            put(db, "hook", 1)

    with db.transaction() if within == "a block" else contextlib.nullcontext():
        put(db, "n", 1)
        transaction.get().addAfterCommitHook(after)
        if within == "none":
            transaction.commit()
    assert told == [True]
    assert stored(db) == {"n": 1, "hook": 1}
    with db.transaction():
        put(db, "n", 2)
    assert stored(db) == {"n": 2, "hook": 1}
    assert [each.description for each in db.transactions()][-2:] == ["hook", ""]


def test_a_checkout_in_a_hook_after_the_commit_is_told_to_begin_anew(db):
    told = []

    def after(_committed):
        with pytest.raises(CommittingError, match="one after it begins anew"):
            checkout(db.root)
        transaction.begin()
        put(db, "m", 2)
        transaction.commit()
        told.append(True)

    put(db, "n", 1)
    transaction.get().addAfterCommitHook(after)
    transaction.commit()
    assert told == [True]
    assert stored(db) == {"n": 1, "m": 2}


def test_a_block_in_a_hook_after_a_commit_in_explicit_mode_is_refused(path):
    manager = transaction.TransactionManager(explicit=True)
    refused = []

    def after(_committed):
        with pytest.raises(CommittingError), db.transaction():
            raise AssertionError
        refused.append(True)

    with Database(path, transaction_manager=manager) as db, manager as current:
        db.set_root(PersistentDict())
        current.addAfterCommitHook(after)
    assert refused == [True]


def test_how_often_a_function_is_run_again_is_no_negative_number(db):
    rounds = []
    for run in db.run, lambda function, retry: db.transactional(retry=retry)(function)():
        with pytest.raises(ValueError, match="retry is -1, expected 0 or more"):
            run(lambda: rounds.append("run"), retry=-1)
        run(lambda: rounds.append(0), retry=0)
    assert rounds == [0, 0]


def test_a_hook_before_the_commit_is_part_of_the_block(db):
    def count():
        with db.transaction():
            put(db, "hook", 1)

    with db.transaction():
        transaction.get().addBeforeCommitHook(count)
        put(db, "n", 1)
    assert stored(db) == {"n": 1, "hook": 1}


def test_the_child_of_a_fork_in_a_block_takes_nothing_from_the_parent(db, path):
    with db.transaction():
        put(db, "n", 1)

        def child():
            raise KeyError

        def fail():
            with pytest.raises(KeyError):
                db.run(child)

        pid = forked(fail)
        assert exit_code(pid) == 0
    assert stored(db) == {"n": 1}


# -- blocks in blocks -----------------------------------------------------------------------


class Part(Persistent):
    """Of few attributes: a class remembers so many sets of names as most have."""

    def __init__(self, n, of):
        self.n, self.of = n, of


def test_a_savepoint_copies_no_values_that_can_not_be_changed(db, monkeypatch):
    # It pickled each state that was checked out: thousands of blocks took minutes.
    with db.transaction() as root:
        checkout(root)
        root["things"] = [Part(n, root) for n in range(5)]

    def refuse(_):
        raise AssertionError

    monkeypatch.setattr(working_copy, "deep_copy", refuse)
    with db.transaction() as root:
        for thing in root["things"]:
            with db.transaction():
                checkout(thing)
                thing.n += 10
        with contextlib.suppress(KeyError), db.transaction():
            thing.n = -1
            thing.more = 1
            raise KeyError
    assert [vars(thing) for thing in db.root["things"]] == [
        {"n": n, "of": db.root} for n in range(10, 15)
    ]


def test_a_block_in_a_block_is_a_savepoint(db):
    with db.transaction() as root:
        put(db, "n", 1)
        with pytest.raises(ZeroDivisionError), db.transaction():  # noqa: PT012
            put(db, "n", 2)
            raise ZeroDivisionError
        assert root["n"] == 1
        with db.transaction():
            put(db, "m", 3)
        assert stored(db) == {"n": 0}
    assert stored(db) == {"n": 1, "m": 3}


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("is_joined", [False, True])
def test_a_block_in_a_block_takes_back_what_it_has_done_to_a_new_object(db, is_open, is_joined):
    new = Thing(value=[1])
    with db.transaction() as root:
        if is_joined:
            put(db, "n", 1)
        if is_open:
            checkout(new)
            new.value.append(2)
        with pytest.raises(ZeroDivisionError), db.transaction():  # noqa: PT012
            checkout(new)
            new.value.append(3)
            checkout(root)
            root["new"] = new
            raise ZeroDivisionError
        put(db, "new", new)
    assert stored(db)["new"].value == ([1, 2] if is_open else [1])


def test_two_databases_commit_together(db, tmp_path):
    with Database(tmp_path / "other.log") as other:
        with db.transaction(), other.transaction():
            other.set_root(PersistentDict())
            put(db, "n", 1)
        assert len(other) == 1
        assert stored(db) == {"n": 1}
        with pytest.raises(ZeroDivisionError), db.transaction(), other.transaction():  # noqa: PT012
            put(other, "n", 1)
            put(db, "n", 2)
            raise ZeroDivisionError
        assert stored(db) == {"n": 1}
        assert stored(other) == {}


def test_databases_with_managers_of_their_own_commit_apart(db, tmp_path):
    manager = transaction.ThreadTransactionManager()
    with Database(tmp_path / "other.log", transaction_manager=manager) as other:
        with pytest.raises(ZeroDivisionError), db.transaction():  # noqa: PT012
            put(db, "n", 1)
            with other.transaction():
                other.set_root(PersistentDict())
                with db.transaction():
                    put(db, "m", 1)
            raise ZeroDivisionError
        assert len(other) == 1
        assert stored(db) == {"n": 0}


def test_a_transaction_of_a_framework_is_not_ended_by_a_block(path):
    manager = transaction.TransactionManager(explicit=True)
    with Database(path, transaction_manager=manager) as db:
        manager.begin()
        with db.transaction():
            db.set_root(PersistentDict())
        assert db.root is not None
        manager.abort()
        with db.transaction():
            assert db.root is None
            db.set_root(PersistentDict())
        with db.reading() as root:
            assert root is not None


# -- reading --------------------------------------------------------------------------------


def test_reading_is_a_snapshot(db):
    with db.reading() as root:
        in_thread(lambda: db.run(lambda: put(db, "n", 1)))
        assert root["n"] == 0
    with db.reading() as root:
        assert root["n"] == 1


def test_nothing_is_changed_in_a_block_that_reads(db):
    with pytest.raises(BlockError, match="only reads"), db.reading() as root:
        checkout(root)
    with db.reading(), pytest.raises(BlockError, match="only reads"), db.transaction():
        raise AssertionError
    put(db, "n", 1)
    transaction.commit()
    assert stored(db) == {"n": 1}


def test_no_database_is_changed_in_a_block_that_reads_another_one(db, tmp_path):
    with Database(tmp_path / "other.log") as other:
        with other.transaction():
            other.set_root(PersistentDict())
        with db.reading(), pytest.raises(BlockError, match="only reads"), other.transaction():
            raise AssertionError
        with db.reading(), pytest.raises(BlockError, match="only reads"):
            put(other, "n", 1)
        with db.reading(), other.reading() as root:
            assert dict(root) == {}
        with db.transaction(), other.transaction():
            put(other, "n", 1)
        assert stored(other) == {"n": 1}


def test_reading_in_a_transaction_shows_its_changes(db):
    with db.transaction():
        put(db, "n", 1)
        with db.reading() as root:
            assert root["n"] == 1
        with db.reading():
            put(db, "m", 1)  # It is the transaction that is changed.
    assert stored(db) == {"n": 1, "m": 1}


# -- functions ------------------------------------------------------------------------------


def test_a_function_is_run_again_and_then_has_no_conflict(db):
    seen, errors = [], []

    def count():
        seen.append((db.root["n"], db.storage.held))
        put(db, "n", db.root["n"] + 1)
        if len(seen) == 1:
            in_thread(lambda: db.run(lambda: put(db, "n", 10)))
        return db.root["n"]

    assert db.run(count, on_retry=lambda *told: errors.append(told)) == 11
    assert seen == [(0, False), (10, True)]
    [(error, failures)] = errors
    assert isinstance(error, ConflictError)
    assert failures == 1
    assert stored(db) == {"n": 11}
    assert is_idle(db)


def test_a_function_is_run_as_often_as_it_says(db):
    calls = []

    @db.transactional(retry=2)
    def fail():
        calls.append(db.root["n"])
        put(db, "n", 1)
        raise TransientError

    with pytest.raises(TransientError):
        fail()
    assert calls == [0, 0, 0]
    assert is_idle(db)
    with pytest.raises(TransientError):
        db.run(fail.__wrapped__, retry=0)
    assert len(calls) == 4


def test_what_is_not_transient_is_raised_at_once(db):
    calls = []

    def fail():
        calls.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        db.run(fail)
    assert len(calls) == 1


def test_who_wants_a_block_to_be_run_again_is_told_of_functions(db):
    with pytest.raises(TypeError, match=r"a function can: db.run\(function, retry=5\)"):
        db.transaction(retry=5)


def test_in_a_block_the_outer_one_runs_it_again(db):
    calls = []

    def inner():
        calls.append(db.root["n"])
        if len(calls) == 1:
            raise TransientError
        put(db, "n", 1)

    def outer():
        put(db, "m", len(calls))
        db.run(inner)

    db.run(outer)
    assert calls == [0, 0]
    assert stored(db) == {"n": 1, "m": 1}


def test_a_decorated_function_is_called_as_before(db):
    @db.transactional
    def add(number: int, *, name: str = "n") -> int:
        """Add a number."""
        put(db, name, db.root.get(name, 0) + number)
        return db.root[name]

    assert (add(2), add(number=3, name="m")) == (2, 3)
    assert add.__name__ == "add"
    assert add.__doc__ == "Add a number."
    assert stored(db) == {"n": 2, "m": 3}


def test_a_generator_function_is_refused(db):
    def generator():
        yield

    with pytest.raises(TypeError, match="is a generator function"):
        db.run(generator)
    with pytest.raises(TypeError, match="is a generator function"):
        db.transactional(retry=1)(generator)


async def changed_later(db):
    put(db, "n", 2)


def generated_later(db):
    yield put(db, "n", 2)


async def generated_async(db):
    yield put(db, "n", 2)


@pytest.mark.parametrize("later", [changed_later, generated_later, generated_async])
def test_what_would_run_after_the_transaction_is_refused(db, later):
    """Its code ran when the caller used the result, and nothing was stored of it."""

    def function():
        put(db, "n", 1)
        return later(db)

    for run in (
        lambda: db.run(function),
        lambda: db.run(functools.partial(function)),
        db.transactional(function),
    ):
        with pytest.raises(TypeError, match="whose code would run after the transaction"):
            run()
        assert is_idle(db)
    assert stored(db) == {"n": 0}


def test_a_block_is_no_decorator(db):
    for block in db.transaction(), db.reading():
        with pytest.raises(TypeError, match=r"a block is no decorator .* @db\.transactional\(\)"):

            @block
            def change():
                pass


@pytest.mark.parametrize("given", [None, 5, "n"])
def test_what_is_no_function_is_refused(db, given):
    with pytest.raises(TypeError, match="expected a function, not"):
        db.run(given)


def test_a_coroutine_is_no_function(db):
    coroutine = changed_later(db)
    with pytest.raises(TypeError, match="not coroutine; give it without calling it"):
        db.run(coroutine)
    coroutine.close()


def held_while_it_gets_durable(db, run):
    """Return whether the commit lock was held at each wait for the disk while *run* ran."""
    held, confirm = [], db.storage.confirm

    def confirm_and_note(made):
        held.append(db.storage.held)
        confirm(made)

    db.storage.confirm = confirm_and_note
    run()
    return held


def test_a_contended_function_holds_the_lock_until_it_is_durable(db):
    def count():
        put(db, "n", db.root["n"] + 1)

    assert held_while_it_gets_durable(db, lambda: db.run(count)) == [False]
    store_of(db).contended[count.__code__] = 1, 8
    assert held_while_it_gets_durable(db, lambda: db.run(count)) == [True]
    assert not db.storage.held


def test_one_that_is_in_doubt_gives_the_lock_back(db):
    def count():
        put(db, "n", db.root["n"] + 1)

    def fail(made):
        raise InDoubtError(str(db.storage.path), made.tid, "the disk is gone")

    db.storage.confirm = fail
    store_of(db).contended[count.__code__] = 1, 8
    with pytest.raises(InDoubtError):
        db.run(count)
    assert not db.storage.held


def test_an_object_that_is_called_is_a_function(db):
    class Call:
        def __call__(self):
            put(db, "n", 3)

    class CallLater:
        async def __call__(self):
            put(db, "n", db.root["n"] + 1)

    db.run(Call())
    asyncio.run(db.run(CallLater()))
    assert stored(db)["n"] == 4


@pytest.mark.slow
def test_threads_that_count_lose_nothing_and_none_starves(db):
    def work():
        for _ in range(100):
            db.run(lambda: put(db, "n", db.root["n"] + 1), retry=1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stored(db) == {"n": 400}


@pytest.mark.slow
def test_two_databases_in_any_order_end(db, tmp_path):
    """The second attempt does not wait for one lock with another one in its hands."""
    with Database(TransactionLog(tmp_path / "other.log", sync=False)) as other:
        other.run(lambda: other.set_root(PersistentDict({"n": 0})))

        def both(first, second):
            put(first, "n", first.root["n"] + 1)
            with second.transaction():
                put(second, "n", second.root["n"] + 1)

        def work(first, second):
            for _ in range(50):
                first.run(lambda: both(first, second), retry=1000)

        threads = [
            threading.Thread(target=work, args=order)
            for order in [(db, other), (other, db)]
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stored(db) == stored(other) == {"n": 200}


# -- interrupts -----------------------------------------------------------------------------


@pytest.mark.slow
def test_an_interrupt_leaves_all_or_nothing_and_the_next_block_works(db):
    before = 0
    for number in range(1, 4000, 3):

        def change(value=number):
            with db.transaction() as root:
                checkout(root)
                root["n"] = root["m"] = value

        went_on = interrupted(change, number)
        with db.transaction() as root:
            found = root["n"], root.get("m", 0)
        assert found in ((before, before), (number, number))
        assert is_idle(db)
        before = found[0]
        if not went_on:
            return
    raise AssertionError("it never came to its end")


@pytest.mark.slow
def test_an_interrupt_in_an_inner_block_leaves_the_outer_one(db):
    before = 0
    for number in range(1, 4000, 3):
        went_on = failed = False

        def change(value=number):
            with db.transaction():
                put(db, "inner", value)

        try:
            with db.transaction() as root:
                put(db, "outer", number)
                went_on = interrupted(change, number)
                with db.transaction():
                    put(db, "after", number)
                assert root["outer"] == number
        except TransactionFailedError:  # It came into the middle of a savepoint.
            failed = True
        found = stored(db)
        assert found.get("outer", 0) == found.get("after", 0) == (before if failed else number)
        assert is_idle(db)
        before = found.get("outer", 0)
        if not went_on:
            return
    raise AssertionError("it never came to its end")


def test_a_block_is_ended_by_its_manager(path):
    """One of a class of the program may do more than commit, or abort."""
    ends = []

    class Telling(transaction.TransactionManager):
        def commit(self):
            super().commit()
            ends.append("commit")

        def abort(self):
            super().abort()
            ends.append("abort")

    with Database(path, transaction_manager=Telling()) as database:
        with database.transaction():
            database.set_root(PersistentDict())
        with database.reading():
            pass
        with contextlib.suppress(KeyError), database.transaction():
            raise KeyError
        assert ends == ["commit", "abort", "abort"]


# -- an interrupt just before the first line of the end of a block ---------------------------


def interrupted_block(db, name):
    with interrupting(Block.__exit__), db.transaction():
        put(db, name, 1)


def test_what_an_interrupt_has_left_is_dropped_by_the_next_block(db):
    with contextlib.suppress(KeyboardInterrupt):
        interrupted_block(db, "n")
    with db.transaction():
        put(db, "m", 1)
    assert stored(db) == {"n": 0, "m": 1}
    assert is_idle(db)


@pytest.mark.parametrize("handles", ["handler", "handler in a handler", "prompt"])
def test_who_handles_the_interrupt_has_a_block_of_his_own(db, monkeypatch, handles):
    def clean_up():
        assert db.run(lambda: put(db, "m", 1)) is None
        with db.reading() as root:
            assert root["n"] == 0

    try:
        interrupted_block(db, "n")
    except KeyboardInterrupt as error:
        if handles == "handler":
            clean_up()
        elif handles == "prompt":
            monkeypatch.setattr(sys, "last_value", error, raising=False)
        else:
            try:
                raise ValueError
            except ValueError:
                clean_up()
    if handles == "prompt":
        clean_up()
    assert stored(db) == {"n": 0, "m": 1}
    assert is_idle(db)


def test_who_keeps_the_interrupt_goes_on_after_an_abort(db):
    with pytest.raises(KeyboardInterrupt) as kept:
        interrupted_block(db, "n")
    transaction.abort()
    with db.transaction():
        put(db, "m", 1)
    assert stored(db) == {"n": 0, "m": 1}
    assert is_idle(db), kept
    del kept
    gc.collect()  # Other tests of this thread are not in that block.


def test_no_commit_stores_what_an_interrupt_has_left(db):
    with contextlib.suppress(KeyboardInterrupt):
        interrupted_block(db, "n")
    with pytest.raises(DoomedTransaction):
        transaction.commit()
    transaction.abort()
    put(db, "m", 1)
    transaction.commit()
    assert stored(db) == {"n": 0, "m": 1}


def test_a_call_behind_what_an_interrupt_has_left_may_take_the_lock(db):
    held = []
    count = overtaken_once(db, held)
    db.run(count)
    with contextlib.suppress(KeyboardInterrupt):
        interrupted_block(db, "m")
    transaction.abort()

    db.run(count)

    assert held == [False, True, True]


@pytest.mark.parametrize("goes_on", ["to its end", "with another block"])
def test_a_block_in_which_one_was_left_takes_all_back(db, goes_on):
    text = "has kept a block in it from its end"
    with pytest.raises(BlockError, match=text), db.transaction():  # noqa: PT012
        put(db, "n", 1)
        with contextlib.suppress(KeyboardInterrupt):
            interrupted_block(db, "m")
        if goes_on == "with another block":
            with db.transaction():
                raise AssertionError
    assert stored(db) == {"n": 0}
    assert is_idle(db)


def test_a_block_that_goes_on_is_not_taken_for_left(db):
    """The error that is handled in it has passed the end of others."""
    try:
        with db.transaction():
            raise ValueError
    except ValueError:
        with db.transaction():
            put(db, "n", 1)
            with db.transaction():
                put(db, "m", 1)
    assert stored(db) == {"n": 1, "m": 1}


def test_an_interrupt_at_the_end_of_a_claim_leaves_its_job(db):
    queue = JobQueue()
    with db.transaction() as root:
        checkout(root)
        root["queue"] = queue
        queue.put("job")
    with pytest.raises(KeyboardInterrupt), interrupting(Block.__exit__), queue.claim(lease=0.01):
        put(db, "n", 1)
    assert stored(db)["n"] == 0
    with queue.claim(timeout=5):
        put(db, "n", 2)
    assert stored(db)["n"] == 2


def test_errors_pickle():
    for error in (BlockError("p", "r"), UncommittedChangesError("p", "Cart", 3, 1)):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), copy.args, str(copy)) == (type(error), error.args, str(error))


def test_structures_are_replayed_in_blocks(db):
    with db.transaction() as root:
        checkout(root)
        root["tree"] = BTree()
    tree = db.root["tree"]

    def other():
        with db.transaction():
            checkout(tree)
            tree[2] = 2

    with db.transaction():
        checkout(tree)
        tree[1] = 1
        in_thread(other)
    assert dict(in_thread(lambda: dict(tree))) == {1: 1, 2: 2}


def overtaken_once(db, held):
    """Return a function that notes whether it holds the lock; its first call is in conflict."""

    def count():
        held.append(db.storage.held)
        put(db, "n", db.root["n"] + 1)
        if len(held) == 1:
            in_thread(lambda: db.run(lambda: put(db, "n", 10)))

    return count


def test_after_a_conflict_the_next_calls_of_a_function_have_none(db):
    held = []
    count = overtaken_once(db, held)

    for _ in range(10):
        db.run(count)

    assert held == [False, True, *[True] * 8, False]
    assert stored(db) == {"n": 20}
    assert is_idle(db)


def test_they_are_twice_as_many_each_time_until_one_is_not_needed(db):
    held, overtake = [], True

    def count():
        held.append(db.storage.held)
        put(db, "n", db.root["n"] + 1)
        if overtake and not held[-1]:
            in_thread(lambda: db.run(lambda: put(db, "n", 10)))

    def calls_with_lock():
        del held[:]
        while not held or held[-1]:
            db.run(count)
        return len(held) - 1

    db.run(count)  # In conflict.
    for expected in (8, 16, 32, 64, 64):
        del held[:]
        for _ in range(expected):
            db.run(count)
        assert held == [True] * expected
        del held[:]
        db.run(count)
        assert held == [False, True]
    overtake = False
    assert calls_with_lock() == 64
    db.run(count)
    assert held[-1] is False
    overtake = True
    db.run(count)
    overtake = False
    assert calls_with_lock() == 8
    assert is_idle(db)


def test_other_functions_and_calls_in_a_block_go_on_without_the_lock(db):
    held = []
    count = overtaken_once(db, held)
    db.run(count)

    with db.transaction():
        db.run(count)
    db.run(lambda: db.run(count))
    assert held[2:] == [False, False]
    db.run(count)
    assert held[4:] == [True]
    assert is_idle(db)


class LockSeen:
    """Stands before append(): sees whether another process could take the lock meanwhile."""

    def __init__(self, storage, path):
        self._path, self._append = path, storage.append
        self.free = []
        storage.append = self

    def __call__(self, *args, **options):
        with self._path.open("rb") as other, contextlib.suppress(BlockingIOError):
            self.free.append(False)
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.free[-1] = True
        return self._append(*args, **options)


@pytest.mark.parametrize("early", [False, True])
def test_a_handler_that_expects_a_conflict_leaves_the_lock_to_the_commit_it_is_in(db, path, early):
    """It gave back the lock that its own thread held, in the middle of a commit."""
    contended, seen = store_of(db).contended, LockSeen(db.storage, path)
    refused = CommittingError, SelfWaitError, BlockError, UncommittedChangesError, ValueError

    def change():
        put(db, "n", db.root["n"] + 1)

    def handled():
        put(db, "handled", db.root.get("handled", 0) + 1)

    def handle():
        contended[handled.__code__] = 8, 8
        with contextlib.suppress(*refused):
            db.run(handled)

    came = True
    for step in each_step():
        if not came:
            break
        contended[change.__code__] = 8 * early, 8
        with contextlib.suppress(*refused):
            came = handled_at_step(step, lambda: db.run(change), handle)
        transaction.abort()
        assert not db.storage.held, step
        assert not any(seen.free), step
    assert len(seen.free) > step / 2
    assert db.root["n"] > step / 3


def test_what_has_failed_before_it_checked_anything_out_is_no_change(db):
    first = next(iter(db.transactions())).tid
    for tid, error in (first, UndoError), (12345, TransactionNotFound):
        with pytest.raises(error):
            db.undo(tid)
        with db.transaction() as root:
            checkout(root)
            root["n"] = tid
        assert stored(db)["n"] == tid


def test_what_was_rolled_back_is_no_change(db):
    savepoint = transaction.savepoint()
    checkout(db.root)
    db.root["n"] = 1
    savepoint.rollback()
    with db.transaction() as root:
        assert root.get("n") != 1
