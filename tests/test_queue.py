"""``PersistentQueue``: in the order of the commits, to one consumer each."""

from __future__ import annotations

import multiprocessing
import random
from queue import Empty
from typing import Any

import pytest
import transaction

from dobbin_like.database import Database
from dobbin_like.exc import ConflictError, SharedValueError
from dobbin_like.persistent import PersistentDict, PersistentList, PersistentQueue, checkout
from dobbin_like.storage import TransactionLog
from tests.helpers.transactions import commit_elsewhere

fork = multiprocessing.get_context("fork")


@pytest.fixture(params=[3, 500])
def queue(request, database):
    queue = PersistentQueue(range(request.param))
    database.set_root(queue)
    transaction.commit()
    return queue


def put(queue: Any, item: Any) -> None:
    checkout(queue)
    queue.put(item)


def get(queue: Any) -> Any:
    checkout(queue)
    return queue.get()


def remove(queue: Any, item: Any) -> None:
    checkout(queue)
    queue.remove(item)


def test_an_item_is_removed_wherever_it_is(queue, again):
    remove(queue, 1)
    transaction.commit()
    assert list(queue)[:2] == list(again().root)[:2] == [0, 2]
    with pytest.raises(ValueError, match="1 is not in this PersistentQueue"):
        remove(queue, 1)


def test_removing_merges_with_what_is_put_and_taken_by_others(database, queue):
    before = list(queue)
    remove(queue, 1)
    commit_elsewhere(lambda: (put(queue, "new"), get(queue)))
    transaction.commit()
    assert list(queue) == [*before[2:], "new"]


def test_an_item_that_another_has_taken_is_not_removed(database, queue):
    remove(queue, 0)
    commit_elsewhere(lambda: get(queue))
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()
    assert 0 not in queue


def test_what_comes_first_goes_first(queue, again):
    expected = list(queue)
    generator = random.Random(1)
    for number in range(60):
        if generator.random() < 0.6:
            put(queue, number)
            expected.append(number)
        elif expected:
            assert queue.peek() == expected[0]
            assert get(queue) == expected.pop(0)
        if generator.random() < 0.5:
            transaction.commit()
        assert len(queue) == len(expected)
    transaction.commit()
    assert list(queue) == expected == list(again().root)
    assert (expected[-1] in queue, "x" in queue, bool(queue)) == (True, False, True)


def test_an_empty_one_says_so(database):
    queue: Any = PersistentQueue()
    database.set_root(queue)
    transaction.commit()
    checkout(queue)
    for ask in (queue.get, queue.peek):
        with pytest.raises(Empty):
            ask()
    assert (len(queue), list(queue), bool(queue)) == (0, [], False)
    queue.put(None)
    assert queue.get() is None
    transaction.commit()


def test_it_is_read_only_until_checked_out(queue):
    for change in (queue.get, queue.clear, lambda: queue.put(1)):
        with pytest.raises(SharedValueError):
            change()
    assert repr(queue).startswith("PersistentQueue([0, 1, 2")


def test_those_who_put_do_not_conflict(queue, again):
    before = list(queue)
    put(queue, "mine")
    put(queue, "mine too")
    commit_elsewhere(lambda: put(queue, "theirs"))
    transaction.commit()
    assert list(queue)[len(before) :] == ["theirs", "mine", "mine too"]
    assert list(again().root) == list(queue)


def test_putting_and_taking_do_not_conflict(queue):
    before = list(queue)
    put(queue, "mine")
    commit_elsewhere(lambda: get(queue))
    transaction.commit()
    assert list(queue) == [*before[1:], "mine"]

    assert get(queue) == before[1]
    commit_elsewhere(lambda: put(queue, "theirs"))
    transaction.commit()
    assert list(queue) == [*before[2:], "mine", "theirs"]


def test_two_who_take_the_same_conflict(queue):
    before = list(queue)
    assert get(queue) == before[0]
    commit_elsewhere(lambda: get(queue))
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()
    assert get(queue) == before[1]
    transaction.commit()
    assert list(queue) == before[2:]


def test_an_aborted_one_takes_nothing(queue):
    before = list(queue)
    get(queue)
    put(queue, 1)
    transaction.abort()
    assert list(queue) == before


def test_a_savepoint_takes_back(queue):
    before = list(queue)
    get(queue)
    point = transaction.savepoint()
    get(queue)
    put(queue, "x")
    point.rollback()
    transaction.commit()
    assert list(queue) == before[1:]


def test_what_was_put_and_taken_in_one_transaction_leaves_nothing(queue):
    before = list(queue)
    put(queue, "new")
    for item in [*before, "new"]:
        assert get(queue) == item
    commit_elsewhere(lambda: put(queue, "theirs"))
    transaction.commit()
    assert list(queue) == ["theirs"]


def work(path: str, number: int, count: int) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        if number % 2:
            for item in range(count):
                with transaction.manager:
                    put(database.root["queue"], (number, item))
        else:
            while take_one(database) < 2 * count:
                pass


def take_one(database: Database) -> int:
    """Take an item if there is one; return how many were taken by all."""
    for attempt in transaction.manager.attempts(1000):
        with attempt:
            queue, done = database.root["queue"], database.root["done"]
            if len(queue):
                checkout(queue, done)
                done.append(queue.get())
            taken = len(done)
    return taken


def test_processes_hand_each_item_to_one_consumer(path):
    count = 40
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentDict(queue=PersistentQueue(), done=PersistentList()))
        transaction.commit()
        workers = [fork.Process(target=work, args=(str(path), n, count)) for n in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0
        transaction.begin()
        taken = list(database.root["done"])
        assert sorted(taken) == [(number, item) for number in (1, 3) for item in range(count)]
        assert [item for number, item in taken if number == 1] == list(range(count))
        assert len(database.root["queue"]) == 0


def go_over(queue: Any, step: Any) -> None:
    for _ in queue:
        step()


def test_what_is_changed_while_one_goes_over_it_is_the_queue(database):
    queue: Any = PersistentQueue([1, 2, 3])
    database.set_root(queue)
    transaction.commit()
    checkout(queue)
    for change in queue.get, lambda: queue.put(4):
        with pytest.raises(RuntimeError, match="PersistentQueue changed during iteration"):
            go_over(queue, change)
    transaction.abort()
    assert list(queue) == [1, 2, 3]


def test_what_the_loop_over_a_queue_raises_is_its_own():
    def fail():
        text = "of the program, during iteration"
        raise RuntimeError(text)

    with pytest.raises(RuntimeError, match="of the program"):
        go_over(PersistentQueue([1, 2, 3]), fail)
