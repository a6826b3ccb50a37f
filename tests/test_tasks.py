"""Tasks of asyncio: each block has a snapshot and changes of its own."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import transaction
from transaction.interfaces import TransientError

from dobbin_like import (
    BTree,
    Database,
    Persistent,
    PersistentDict,
    TransactionLog,
    checkout,
    is_changed,
    is_checked_out,
)
from dobbin_like.blocks.block import Block
from dobbin_like.database import store_of
from dobbin_like.exc import (
    BlockError,
    ConflictError,
    LockTimeout,
    NotStorableError,
    ReadOnlyError,
    UncommittedChangesWarning,
)
from dobbin_like.objects.values.here import current_scope, scope_of_context
from tests.helpers.steps import in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Thing(Persistent):
    def __init__(self, n: int) -> None:
        self.n = n


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    with Database(TransactionLog(path, sync=False)) as database:
        with database.transaction():
            database.set_root(PersistentDict({"n": 0}))
        yield database


def put(db, name, value):
    checkout(db.root)
    db.root[name] = value


def stored(db):
    return in_thread(lambda: dict(db.root))


class Turns:
    """Lets tasks wait for each other's steps."""

    def __init__(self):
        self.events = {}

    def _event(self, name):
        return self.events.setdefault(name, asyncio.Event())

    def done(self, name):
        self._event(name).set()

    async def after(self, name):
        await asyncio.wait_for(self._event(name).wait(), 30)


# -- one task -------------------------------------------------------------------------------


def test_a_block_commits_and_leaves_nothing_behind(db):
    async def main():
        async with db.transaction(note="a task", user="ada") as root:
            assert root is db.root
            put(db, "n", 1)
            assert root["n"] == 1
            assert stored(db) == {"n": 0}
        assert current_scope() is None
        assert db.root["n"] == 1

    asyncio.run(main())
    assert stored(db) == {"n": 1}
    *_, last = db.transactions()
    assert (last.user, last.description) == ("ada", "a task")
    assert len(db._store.graph.shared.horizon) == 0


def test_an_exception_takes_everything_back(db):
    async def main():
        async with db.transaction():
            put(db, "n", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
    assert stored(db) == {"n": 0}


def test_a_commit_that_fails_raises_in_the_task(db):
    async def main():
        with pytest.raises(NotStorableError):
            async with db.transaction():
                put(db, "n", lambda: 0)
        async with db.transaction():
            put(db, "n", 1)

    asyncio.run(main())
    assert stored(db) == {"n": 1}


def test_reading_is_a_snapshot(db):
    async def main():
        async with db.reading() as root:
            in_thread(lambda: db.run(lambda: put(db, "n", 1)))
            assert root["n"] == 0
            with pytest.raises(BlockError, match="only reads"):
                checkout(root)
        async with db.reading() as root:
            assert root["n"] == 1

    asyncio.run(main())


def test_blocks_in_a_block_are_savepoints(db):
    async def main():
        async with db.transaction() as root:
            put(db, "n", 1)
            with pytest.raises(ZeroDivisionError):  # noqa: PT012
                async with db.transaction():
                    put(db, "n", 2)
                    raise ZeroDivisionError
            with db.transaction():
                put(db, "m", 3)
            async with db.reading():
                assert dict(root) == {"n": 1, "m": 3}
            assert stored(db) == {"n": 0}

    asyncio.run(main())
    assert stored(db) == {"n": 1, "m": 3}


def test_an_async_block_in_a_plain_one_is_part_of_it(db):
    async def main():
        with db.transaction():
            async with db.transaction():
                put(db, "n", 1)
            assert stored(db) == {"n": 0}

    asyncio.run(main())
    assert stored(db) == {"n": 1}


def test_new_objects_belong_to_the_task(db):
    async def main():
        thing = Thing(1)
        async with db.transaction():
            checkout(thing)
            thing.n = 2
            put(db, "thing", thing)
            thing.n = 3
            await asyncio.sleep(0)
        with pytest.raises(ReadOnlyError):
            thing.n = 4

    asyncio.run(main())
    with db.reading() as root:
        assert root["thing"].n == 3


def test_two_databases_commit_together(db, tmp_path):
    with Database(tmp_path / "other.log") as other:

        async def main():
            async with db.transaction(), other.transaction():
                other.set_root(PersistentDict())
                put(db, "n", 1)

        asyncio.run(main())
        assert len(other) == 1
    assert stored(db) == {"n": 1}


@pytest.mark.parametrize("is_plain", [False, True])
def test_databases_with_managers_of_their_own_commit_apart(db, tmp_path, is_plain):
    manager = transaction.ThreadTransactionManager()
    with Database(tmp_path / "other.log", transaction_manager=manager) as other:

        def change():
            other.set_root(PersistentDict())

        async def main():
            async with db.transaction():
                put(db, "n", 1)
                if is_plain:
                    with other.transaction():
                        change()
                else:
                    async with other.transaction():
                        change()
                        async with db.transaction():
                            put(db, "m", 1)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            asyncio.run(main())
        assert len(other) == 1
        assert stored(db) == {"n": 0}


def test_structures_are_replayed_in_the_thread_that_commits(db):
    async def main():
        async with db.transaction() as root:
            put(db, "tree", BTree())
        turns = Turns()

        async def first():
            async with db.transaction() as root:
                checkout(root["tree"])
                root["tree"][1] = 1
                turns.done("changed")
                await turns.after("committed")

        async def second():
            await turns.after("changed")
            async with db.transaction() as root:
                checkout(root["tree"])
                root["tree"][2] = 2
            turns.done("committed")

        await asyncio.gather(first(), second())
        async with db.reading() as root:
            assert dict(root["tree"]) == {1: 1, 2: 2}

    asyncio.run(main())


def test_what_a_task_has_done_to_an_object_can_be_asked(db):
    async def main():
        async with db.transaction() as root:
            assert not is_checked_out(root)
            put(db, "n", 1)
            assert is_checked_out(root)
            assert is_changed(root)
            assert await asyncio.to_thread(lambda: is_changed(root)) is False

    asyncio.run(main())


# -- several tasks --------------------------------------------------------------------------


def test_tasks_see_their_own_changes_and_no_others(db):
    turns = Turns()

    async def one():
        async with db.transaction() as root:
            put(db, "one", 1)
            turns.done("one")
            await turns.after("two")
            assert dict(root) == {"n": 0, "one": 1}

    async def two():
        await turns.after("one")
        async with db.transaction() as root:
            assert dict(root) == {"n": 0}
            put(db, "two", 2)
            turns.done("two")
            await asyncio.sleep(0)
            assert dict(root) == {"n": 0, "two": 2}

    async def main():
        await asyncio.gather(one(), two())

    asyncio.run(main())
    assert stored(db) == {"n": 0, "one": 1, "two": 2}


def test_tasks_conflict_and_are_run_again(db):
    failures = []

    async def count():
        n = db.root["n"]
        await asyncio.sleep(0)
        put(db, "n", n + 1)

    async def main():
        async def conflicting():
            async with db.transaction():
                put(db, "n", 5)
                await asyncio.gather(asyncio.create_task(another()))

        async def another():
            async with db.transaction():
                put(db, "n", 1)

        with pytest.raises(ConflictError):
            await conflicting()
        on_retry = lambda error, n: failures.append(n)  # noqa: E731
        await asyncio.gather(*(db.run(count, retry=50, on_retry=on_retry) for _ in range(8)))

    asyncio.run(main())
    assert stored(db) == {"n": 9}
    assert failures


def test_a_decorated_coroutine_function_is_a_transaction(db):
    @db.transactional(retry=3)
    async def add(number, *, name="n"):
        await asyncio.sleep(0)
        put(db, name, db.root.get(name, 0) + number)
        return db.root[name]

    async def main():
        return await add(2), await add(3, name="m")

    assert asyncio.run(main()) == (2, 3)
    assert stored(db) == {"n": 2, "m": 3}


def is_locked(db):
    """Tell whether another process would have to wait for the commit lock."""
    with TransactionLog(db.storage.path, lock_timeout=0) as other:
        try:
            other.acquire()
        except LockTimeout:
            return True
        other.release()
        return False


def test_a_coroutine_function_that_is_run_again_has_no_conflict(db):
    seen = []

    async def count():
        seen.append((db.root["n"], is_locked(db)))
        put(db, "n", db.root["n"] + 1)
        await asyncio.sleep(0)
        if len(seen) == 1:
            in_thread(lambda: db.run(lambda: put(db, "n", 10)))
        async with db.transaction():
            put(db, "m", is_locked(db))

    async def main():
        await db.run(count, retry=1)
        assert not is_locked(db)

    asyncio.run(main())
    assert seen == [(0, False), (10, True)]
    assert stored(db) == {"n": 11, "m": True}


@pytest.mark.parametrize("end", [asyncio.CancelledError, ZeroDivisionError, BlockError])
def test_a_coroutine_function_that_holds_the_lock_gives_it_back(db, end):
    rounds = []

    async def fail():
        put(db, "n", db.root["n"] + 1)
        rounds.append(is_locked(db))
        if len(rounds) == 1:
            in_thread(lambda: db.run(lambda: put(db, "n", 10)))
        elif end is BlockError:
            current_scope().transaction_manager(db.transaction_manager).abort()
        else:
            raise end

    async def main():
        with pytest.raises(end):
            await db.run(fail)
        assert rounds == [False, True]
        assert not is_locked(db)
        async with db.transaction():
            put(db, "m", 1)

    asyncio.run(main())
    assert stored(db) == {"n": 10, "m": 1}


def test_who_does_not_get_the_lock_leaves_nothing(path):
    async def main(db):
        async def count():
            put(db, "n", db.root["n"] + 1)
            if not rounds:
                in_thread(lambda: db.run(lambda: put(db, "n", 10)))
                other.acquire()
            rounds.append(True)

        with TransactionLog(path) as other:
            with pytest.raises(LockTimeout):
                await db.run(count)
            other.release()
            assert current_scope() is None
            await db.run(count)

    rounds = []
    with Database(path, sync=False, lock_timeout=0.01) as db:
        db.run(lambda: db.set_root(PersistentDict({"n": 0})))
        asyncio.run(main(db))
        assert len(rounds) == 2
        assert stored(db) == {"n": 11}


def test_what_fails_without_a_conflict_is_run_again_without_the_lock(db):
    rounds = []

    async def fail():
        rounds.append(is_locked(db))
        if len(rounds) < 3:
            raise TransientError

    asyncio.run(db.run(fail))
    assert rounds == [False] * 3


def test_who_waits_for_the_lock_keeps_nobody_off(db):
    """However many wait to commit, the one that has the lock gets the threads that it asks."""
    turns, rounds = Turns(), []

    async def count():
        n = db.root["n"]
        rounds.append(n)
        put(db, "n", n + 1)
        if len(rounds) == 1:
            await turns.after("conflict")
            return
        turns.done("locked")
        await turns.after("waiting")
        await asyncio.to_thread(lambda: None)

    async def wait(number):
        await turns.after("locked")
        async with db.transaction():
            put(db, f"waiting {number}", number)
            turns.done("waiting")

    async def main():
        counting = asyncio.create_task(db.run(count))
        await asyncio.sleep(0)
        async with db.transaction():
            put(db, "n", 10)
        turns.done("conflict")
        await asyncio.wait_for(asyncio.gather(counting, *map(wait, range(100))), 30)

    asyncio.run(main())
    assert rounds == [0, 10]
    assert len(stored(db)) == 101


def test_what_was_changed_in_a_task_is_told_there(db):
    async def main():
        async with db.transaction() as root:
            assert not is_changed(root)
            put(db, "m", 1)
            assert is_checked_out(root)
            assert is_changed(root)
        assert not is_changed(root)

    asyncio.run(main())


def test_what_a_task_starts_does_not_inherit_its_changes(db):
    async def child():
        assert current_scope() is None
        assert db.root["n"] == 0
        async with db.transaction() as root:
            assert root["n"] == 0
            put(db, "child", 1)

    async def main():
        async with db.transaction():
            put(db, "n", 1)
            await asyncio.create_task(child())
            assert await asyncio.to_thread(lambda: db.root["n"]) == 0
            seen = []
            thread = threading.Thread(target=lambda: seen.append(db.root["n"]))
            thread.start()
            await asyncio.to_thread(thread.join)
            assert seen == [0]
            asyncio.get_running_loop().call_soon(lambda: seen.append(db.root["n"]))
            await asyncio.sleep(0.01)
            assert seen == [0, 0]

    asyncio.run(main())
    assert stored(db) == {"n": 1, "child": 1}


@pytest.mark.parametrize("has_changes", [False, True])
@pytest.mark.parametrize("start", [asyncio.create_task, lambda made: asyncio.wait_for(made, 5)])
def test_what_a_task_starts_in_its_block_changes_nothing_beside_it(db, start, has_changes):
    if sys.version_info >= (3, 12) and start is not asyncio.create_task:
        pytest.skip("wait_for() starts no task")
    refused = pytest.raises(BlockError, match="no part of it; use async with")

    async def child():
        with refused:
            put(db, "n", 1)
        with db.transaction():
            put(db, "plain", 1)
        async with db.transaction():
            put(db, "async", 1)

    async def later(ended):
        await ended.wait()
        put(db, "later", 1)
        transaction.commit()

    async def main():
        ended = asyncio.Event()
        async with db.transaction():
            if has_changes:
                put(db, "m", 1)
            await start(child())
            after = asyncio.create_task(later(ended))
        ended.set()
        await after

    asyncio.run(main())
    changed = {"m": 1} if has_changes else {}
    assert stored(db) == {"n": 0, "plain": 1, "async": 1, "later": 1, **changed}


@pytest.mark.parametrize("end", [transaction.commit, transaction.abort, transaction.begin])
def test_the_transaction_of_the_thread_is_not_ended_in_the_block_of_a_task(db, end):
    async def main():
        async with db.transaction():
            put(db, "n", 1)
            end()

    transaction.begin()
    with pytest.raises(BlockError, match="of the thread, not that of this task"):
        asyncio.run(main())
    assert stored(db) == {"n": 0}
    put(db, "n", 2)
    transaction.commit()
    assert stored(db) == {"n": 2}


def test_a_callback_in_a_block_changes_nothing_beside_it(db):
    async def main():
        async with db.transaction():
            done = asyncio.get_running_loop().create_future()
            done.add_done_callback(callback)
            done.set_result(None)
            await asyncio.sleep(0.01)

    def callback(_done):
        with pytest.raises(BlockError, match="no part of it"):
            put(db, "n", 1)
        called.append(True)

    called = []
    asyncio.run(main())
    assert called
    assert stored(db) == {"n": 0}


def test_what_a_thread_that_was_asked_has_not_committed_is_told(db):
    def commits():
        put(db, "committed", 1)
        transaction.commit()

    async def main(asked):
        async with db.transaction():
            await asyncio.to_thread(asked)

    asyncio.run(main(commits))
    with pytest.warns(UncommittedChangesWarning, match="PersistentDict oid 0"):
        asyncio.run(main(lambda: put(db, "n", 1)))
    assert stored(db) == {"n": 0, "committed": 1}


@pytest.mark.filterwarnings("error::dobbin_like.exc.UncommittedChangesWarning")
def test_a_block_has_ended_when_it_tells_of_a_thread(db):
    async def change_beside():
        async with db.transaction():
            put(db, "m", 1)
            await asyncio.to_thread(put, db, "n", 1)

    async def main():
        with pytest.raises(UncommittedChangesWarning):
            await change_beside()
        assert scope_of_context() is None
        async with db.transaction():
            put(db, "next", 1)

    asyncio.run(main())
    assert stored(db) == {"n": 0, "m": 1, "next": 1}


def test_a_change_beside_that_of_another_task_is_refused(db):
    turns = Turns()

    async def first():
        put(db, "n", 1)
        turns.done("changed")
        await turns.after("refused")
        transaction.commit()

    async def second():
        await turns.after("changed")
        with pytest.raises(BlockError, match="another task of this thread has changes"):
            put(db, "m", 1)
        async with db.transaction():
            put(db, "m", 2)
        turns.done("refused")

    async def main():
        await asyncio.gather(first(), second())

    asyncio.run(main())
    assert stored(db) == {"n": 1, "m": 2}


@pytest.mark.parametrize("drop", [transaction.begin, transaction.abort])
def test_a_task_does_not_drop_the_changes_of_another_one(db, drop):
    turns = Turns()

    async def first():
        with transaction.manager:
            put(db, "n", 1)
            turns.done("changed")
            await turns.after("refused")

    async def second():
        await turns.after("changed")
        with pytest.raises(BlockError, match="another task of this thread has changes"):
            drop()
        turns.done("refused")

    async def forgetful():
        put(db, "m", 1)

    async def main():
        await asyncio.gather(first(), second())
        await asyncio.create_task(forgetful())
        drop()

    asyncio.run(main())
    assert stored(db) == {"n": 1}


def test_a_plain_block_beside_that_of_another_task_is_refused(db):
    turns = Turns()

    async def first():
        with db.transaction():
            put(db, "n", 1)
            turns.done("in it")
            await turns.after("refused")

    async def second():
        await turns.after("in it")
        refused = pytest.raises(BlockError, match="another task of this thread is in one")
        with refused, db.transaction():
            raise AssertionError
        turns.done("refused")

    async def main():
        await asyncio.gather(first(), second())

    asyncio.run(main())
    assert stored(db) == {"n": 1}


def test_a_block_is_left_by_the_task_that_has_entered_it(db):
    async def main():
        block = db.transaction()
        await block.__aenter__()
        put(db, "n", 1)

        async def leave():
            await block.__aexit__(None, None, None)

        with pytest.raises(BlockError, match="another thread or task"):
            await asyncio.create_task(leave())
        await block.__aexit__(None, None, None)

    asyncio.run(main())
    assert stored(db) == {"n": 1}


def test_a_block_that_a_task_enters_twice_ends_its_scope_once(db):
    async def main():
        block = db.transaction()
        async with block:
            with pytest.raises(BlockError, match="entered before"):
                await block.__aenter__()
            put(db, "n", 1)
        assert scope_of_context() is None

    asyncio.run(main())
    assert stored(db) == {"n": 1}


def test_a_task_of_another_library_is_told_what_to_do(db):
    with pytest.raises(RuntimeError, match="async with is for tasks of asyncio; in those of trio"):
        db.transaction().__aenter__().send(None)


@pytest.mark.parametrize("beside", ["block", "checkout", "begin"])
def test_a_task_of_trio_is_kept_out_of_the_block_of_another(db, beside):
    trio = pytest.importorskip("trio")

    def commit(name):
        if beside == "block":
            with db.transaction():
                put(db, name, 1)
            return
        if beside == "begin":
            db.transaction_manager.begin()
        put(db, name, 1)
        db.transaction_manager.commit()

    async def waits(changed, refused):
        with contextlib.suppress(KeyError), db.transaction():
            put(db, "n", 1)
            changed.set()
            await refused.wait()
            raise KeyError

    async def main():
        changed, refused = trio.Event(), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waits, changed, refused)
            await changed.wait()
            with pytest.raises(BlockError, match="in tasks of trio call a function in a thread"):
                commit("other")
            refused.set()
        commit("alone")

    trio.run(main)
    assert stored(db) == {"n": 0, "alone": 1}


async def _names(block):
    async with block as root:
        for name in [*root]:
            yield name


def test_what_an_async_generator_has_left_is_ended_before_the_next_block(db):
    async def main():
        for n in range(3):
            for _ in range(2):
                async for _ in _names(db.reading()):
                    break
            async with db.transaction():
                put(db, "n", n)
        async for _ in _names(db.reading()):
            break
        await asyncio.sleep(0.01)
        assert current_scope() is None
        async with db.transaction():
            put(db, "more", 1)

    asyncio.run(main())
    assert stored(db) == {"n": 2, "more": 1}


@pytest.mark.parametrize("ends", [False, True])
def test_what_an_async_generator_has_left_is_ended_before_the_block_around_it(db, ends):
    failed = []

    async def look(n):
        async with db.transaction():
            async for _ in _names(db.reading()):
                break
            put(db, "n", n)
            if ends:
                await asyncio.sleep(0.01)
            if n == 2:
                raise ZeroDivisionError

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, found: failed.append(found))
        await look(1)
        with pytest.raises(ZeroDivisionError):
            await look(2)
        await asyncio.sleep(0.01)
        stopped = asyncio.create_task(look(3))
        for _ in range(3):
            await asyncio.sleep(0)
        stopped.cancel()
        await asyncio.wait([stopped])
        assert current_scope() is None
        async with db.transaction():
            put(db, "more", 1)

    asyncio.run(main())
    assert stored(db)["n"] in (1, 3)
    assert stored(db)["more"] == 1
    assert failed == []


def test_what_an_async_generator_has_changed_in_a_block_is_not_committed_with_that(db):
    async def change():
        async with db.transaction():
            async for _ in _names(db.transaction()):
                put(db, "n", 1)
                break

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # It is told there, too.
        with pytest.raises(
            BlockError, match=r"a block that was entered in it has not ended|has kept"
        ):
            await change()
        async with db.transaction():
            put(db, "more", 1)

    asyncio.run(main())
    assert stored(db) == {"n": 0, "more": 1}


def test_what_an_async_generator_drops_is_told(db):
    async def main():
        async for _ in _names(db.transaction()):
            put(db, "n", 1)
            break
        await asyncio.sleep(0.01)
        async with db.transaction():
            put(db, "more", 1)

    # Around all: another task ends the generator, and its context may have filters of its own.
    with pytest.warns(UncommittedChangesWarning, match="a generator with an open"):
        asyncio.run(main())
    assert stored(db) == {"n": 0, "more": 1}


def test_who_is_cancelled_while_a_generator_ends_gives_the_lock_back(db):
    async def main():
        async def work():
            async with Block(store_of(db), holds_lock=True):
                put(db, "n", 1)
                async for _ in _names(db.transaction()):
                    break
                asyncio.current_task().cancel()  # The end of the block waits for the generator.

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(work())
        assert not db.storage.held
        async with db.transaction():
            put(db, "more", 1)

    asyncio.run(main())
    assert stored(db) == {"n": 0, "more": 1}


# -- the feed -------------------------------------------------------------------------------


def test_the_feed_is_iterated_without_blocking_the_loop(db):
    async def main():
        seen = []

        async def follow():
            async for change in db.changes(since=start, wait=60):
                seen.append(change.description)
                if seen[-1] == "last":
                    return

        start = db.tid
        task = asyncio.create_task(follow())
        for note in ("first", "second", "last"):
            async with db.transaction(note=note):
                put(db, "n", note)
            await asyncio.sleep(0)
        await asyncio.wait_for(task, 60)
        assert seen == ["first", "second", "last"]
        assert [change.description async for change in db.changes(since=start)] == seen
        assert [change.description for change in db.changes(since=start)] == seen

    asyncio.run(main())


def test_the_feed_has_what_others_commit(db, path):
    async def main():
        feed = aiter(db.changes(since=db.tid, wait=60))
        with Database(path) as other:
            for note in ("first", "second"):
                coming = asyncio.ensure_future(anext(feed))
                await asyncio.sleep(0)
                async with other.transaction(note=note):
                    put(other, "n", note)
                assert (await asyncio.wait_for(coming, 60)).description == note
        await feed.aclose()

    asyncio.run(main())


def test_a_feed_that_waits_ends_with_its_task_and_with_the_database(path):
    async def main():
        with Database(path) as db:

            async def follow():
                return [change async for change in db.changes(wait=60)]

            first, second = asyncio.create_task(follow()), asyncio.create_task(follow())
            await asyncio.sleep(0.1)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
        assert await asyncio.wait_for(second, 60) == []

    asyncio.run(main())


# -- cancellation ---------------------------------------------------------------------------


def test_a_cancellation_aborts(db):
    async def work():
        async with db.transaction():
            put(db, "n", 1)
            await asyncio.sleep(60)

    async def main():
        task = asyncio.create_task(work())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await work()
        async with db.transaction():
            put(db, "m", 1)

    asyncio.run(main())
    assert stored(db) == {"n": 0, "m": 1}
    assert not db.storage.held


def test_a_cancellation_in_a_commit_comes_when_that_has_ended(db):
    async def work():
        async with db.transaction():
            put(db, "n", 1)

    async def main():
        other = TransactionLog(db.storage.path)
        try:
            in_thread_holds = threading.Event()
            release = threading.Event()

            def hold():
                other.acquire()
                in_thread_holds.set()
                release.wait(30)
                other.release()

            holder = threading.Thread(target=hold)
            holder.start()
            await asyncio.to_thread(in_thread_holds.wait, 30)
            task = asyncio.create_task(work())
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.sleep(0.05)
            task.cancel()
            assert not task.done()
            release.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(holder.join)
        finally:
            other.close()

    asyncio.run(main())
    assert stored(db) == {"n": 1}


@pytest.mark.slow
def test_a_task_that_is_cancelled_anywhere_leaves_all_or_nothing(db):
    async def work(number):
        async with db.transaction() as root:
            await asyncio.sleep(0)
            put(db, "n", number)
            await asyncio.sleep(0)
            root["m"] = number

    async def main():
        loop = asyncio.get_running_loop()
        outcomes = set()
        for number in range(1, 60):
            task = asyncio.create_task(work(number))
            for _ in range(number % 12):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            found = await loop.run_in_executor(None, lambda: stored(db))
            assert found.get("n", 0) == found.get("m", 0)
            outcomes.add(found["n"] == number)
            assert not db.storage.held
        assert outcomes == {True, False}

    asyncio.run(main())


@pytest.mark.slow
def test_a_few_blocks_begin_in_each_turn_of_the_loop(db):
    begun: list[tuple[int, int]] = []  # The turn, and the task.
    turn = 0

    async def count_turns():
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async def task(number):
        async with db.transaction():
            begun.append((turn, number))

    async def main():
        counting = asyncio.create_task(count_turns())
        await asyncio.gather(*map(task, range(100)))
        counting.cancel()

    asyncio.run(main())
    turns = [when for when, _ in begun]
    assert [number for _, number in begun] == list(range(100))
    assert max(map(turns.count, turns)) <= 8
    assert turns[-1] - turns[0] < 40


def test_who_is_cancelled_before_his_turn_holds_nobody_up(db):
    begun = []

    async def task(number):
        async with db.transaction():
            begun.append(number)

    async def main():
        tasks = [asyncio.create_task(task(number)) for number in range(30)]
        await asyncio.sleep(0)
        for number in range(8, 20):
            tasks[number].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert begun == [*range(8), *range(20, 30)]


def test_blocks_begin_in_a_loop_that_comes_after_one_that_was_given_up(db):
    async def task():
        async with db.transaction():
            pass

    async def give_up():
        for _ in range(20):
            asyncio.create_task(task())  # noqa: RUF006
        await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(task() for _ in range(20)))

    asyncio.run(give_up())
    asyncio.run(main())


def test_a_thousand_tasks_keep_apart(db):
    async def work(number):
        async with db.transaction() as root:
            before = dict(root)
            put(db, f"task {number}", number)
            for _ in range(number % 4):
                await asyncio.sleep(0)
            assert dict(root) == before | {f"task {number}": number}

    async def main():
        await asyncio.gather(*(work(number) for number in range(1000)))

    asyncio.run(main())
    assert len(stored(db)) == 1001
    assert len(db._store.graph.shared.horizon) == 0
