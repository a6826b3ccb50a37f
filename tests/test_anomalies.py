"""The anomalies of Berenson et al., "A Critique of ANSI SQL Isolation Levels", SIGMOD 1995.

Each is tried by two actors who share one file in three ways: two threads of one database,
two databases in one process, two processes. An actor does one step at a time and answers
before the next one begins, so that the order is that of the lines of a test.

Snapshot isolation allows one of them, write skew: it is asserted as allowed, and as
prevented when a transaction checks out what its decision depends on.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like.check import check_database, check_log
from dobbin_like.database import Database
from dobbin_like.exc import ConflictError, ReadConflictError, WriteConflictError
from dobbin_like.persistent import Persistent, PersistentList, checkout
from dobbin_like.storage import TransactionLog
from tests.helpers.processes import die_with_parent, shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TIMEOUT_SECONDS = 60


class Account(Persistent):
    def __init__(self, balance):
        self.balance = balance


class Bank(Persistent):
    def __init__(self):
        self.x = Account(50)
        self.y = Account(50)
        self.all = PersistentList([self.x, self.y])


class Hands:
    """Does the steps: one actor in one thread, with a transaction manager of its own."""

    def __init__(self, database: Database, manager: Any) -> None:
        self.database = database
        self.manager = manager

    def begin(self):
        self.manager.begin()

    def arrive(self):
        """Use the database: only from then on does a begin() of this thread reach it."""
        self.database.get(0)

    def read(self, name):
        return getattr(self.database.root, name).balance

    def checkout(self, *names):
        checkout(*[getattr(self.database.root, name) for name in names])

    def write(self, name, balance):
        self.checkout(name)
        getattr(self.database.root, name).balance = balance

    def count(self):
        return len(self.database.root.all)

    def add(self, balance):
        account = Account(balance)
        checkout(self.database.root.all)
        self.database.root.all.append(account)
        self.manager.commit()
        return account._p_oid

    def has(self, oid):
        return self.database.get(oid) is not None

    def commit(self):
        """Return None, or the class of the conflict, after which the transaction is over."""
        try:
            self.manager.commit()
        except ConflictError as error:
            self.manager.abort()
            return type(error)
        return None

    def abort(self):
        self.manager.abort()

    def close(self):
        self.manager.abort()
        check_database(self.database).raise_if_bad()
        self.database.close()


class Actor:
    """Passes each step on to hands that are somewhere else, and waits for the answer."""

    def __init__(
        self, send: Callable[[Any], object], receive: Callable[[], tuple[bool, Any]]
    ) -> None:
        self._send = send
        self._receive = receive

    def __getattr__(self, step):
        def do(*args):
            self._send((step, args))
            done, answer = self._receive()
            if not done:
                raise answer
            return answer

        return do


def serve(hands, receive, send):
    """Do steps until there is None in place of one."""
    while (request := receive()) is not None:
        step, args = request
        try:
            send((True, getattr(hands, step)(*args)))
        except Exception as error:
            send((False, error))


# -- two threads --------------------------------------------------------------


def two_threads(path: Path) -> Iterator[tuple[Any, Any]]:
    database = Database(TransactionLog(path, sync=False))
    threads, requests, actors = [], [], []
    for _ in range(2):
        request: queue.Queue[Any] = queue.Queue()
        answer: queue.Queue[Any] = queue.Queue()
        hands = Hands(database, transaction.manager)
        args = (hands, request.get, answer.put)
        threads.append(threading.Thread(target=serve, args=args, daemon=True))
        threads[-1].start()
        requests.append(request)
        actors.append(
            Actor(request.put, lambda answer=answer: answer.get(timeout=TIMEOUT_SECONDS))
        )
    yield actors[0], actors[1]
    for actor, request, thread in zip(actors, requests, threads, strict=True):
        actor.abort()
        request.put(None)
        thread.join(TIMEOUT_SECONDS)
    check_database(database).raise_if_bad()
    database.close()


# -- two databases in one process ---------------------------------------------


def two_instances(path: Path) -> Iterator[tuple[Any, Any]]:
    actors = []
    for _ in range(2):
        manager = transaction.TransactionManager()
        database = Database(TransactionLog(path, sync=False), transaction_manager=manager)
        actors.append(Hands(database, manager))
    yield actors[0], actors[1]
    for actor in actors:
        actor.close()


# -- two processes ------------------------------------------------------------


def serve_paths(connection: Any) -> None:
    """Serve one path after the other: a process takes longer to start than a test to run."""
    die_with_parent()
    while (path := connection.recv()) is not None:
        database = Database(TransactionLog(path, sync=False))
        serve(Hands(database, transaction.manager), connection.recv, connection.send)
        database.close()


@pytest.fixture(scope="module")
def connections() -> Iterator[list[Any]]:
    context = multiprocessing.get_context("spawn")
    processes, ours = [], []
    for _ in range(2):
        our_end, their_end = context.Pipe()
        processes.append(context.Process(target=serve_paths, args=(their_end,), daemon=True))
        processes[-1].start()
        shared(processes[-1])
        their_end.close()
        ours.append(our_end)
    yield ours
    for process, connection in zip(processes, ours, strict=True):
        connection.send(None)
        process.join(TIMEOUT_SECONDS)
        connection.close()
        assert process.exitcode == 0
        process.close()


def two_processes(path: Path, connections: list[Any]) -> Iterator[tuple[Any, Any]]:
    actors = []
    for connection in connections:

        def receive(connection=connection):
            assert connection.poll(TIMEOUT_SECONDS), "the process does not answer"
            return connection.recv()

        connection.send(path)
        actors.append(Actor(connection.send, receive))
    yield actors[0], actors[1]
    for actor, connection in zip(actors, connections, strict=True):
        actor.close()
        connection.send(None)


@pytest.fixture(params=["threads", "instances", "processes"])
def two(request: pytest.FixtureRequest, path: Path) -> Iterator[tuple[Any, Any]]:
    """Two actors who share a bank, each at the begin of a transaction."""
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(Bank())
        transaction.commit()
    transaction.manager.clearSynchs()
    if request.param == "threads":
        pairs = two_threads(path)
    elif request.param == "instances":
        pairs = two_instances(path)
    else:
        pairs = two_processes(path, request.getfixturevalue("connections"))
    one, other = next(pairs)
    for actor in (one, other):
        actor.arrive()
        actor.begin()
    yield one, other
    assert next(pairs, None) is None
    check_log(path).raise_if_bad()


@pytest.fixture(params=["cold", "warm"])
def warm(request: pytest.FixtureRequest, two: tuple[Any, Any]) -> bool:
    """Whether the reader has every object in memory when the writer commits."""
    reader = two[0]
    if request.param == "warm":
        reader.read("x")
        reader.read("y")
        reader.count()
        reader.begin()
    return request.param == "warm"


@pytest.fixture
def conflict(request: pytest.FixtureRequest) -> type[ConflictError]:
    """The class of a conflict between the two."""
    threads = request.node.callspec.params["two"] == "threads"
    return WriteConflictError if threads else ReadConflictError


# -- the anomalies ------------------------------------------------------------


def test_dirty_write_is_prevented(two, conflict):
    one, other = two

    one.write("x", 1)
    other.write("x", 2)
    other.write("y", 2)
    other_failed = other.commit()
    one.write("y", 1)
    one_failed = one.commit()

    one.begin()
    assert (other_failed, one_failed) == (None, conflict)
    assert (one.read("x"), one.read("y")) == (2, 2)


def test_dirty_read_of_what_is_aborted_later_is_prevented(two, warm):
    reader, writer = two

    writer.write("x", 10)
    before = reader.read("x")
    writer.abort()
    after = reader.read("x")

    assert (before, after) == (50, 50)


def test_dirty_read_of_an_intermediate_state_is_prevented(two, warm):
    reader, writer = two

    writer.write("x", 10)
    seen = [reader.read("x")]
    writer.write("x", 20)
    writer.commit()
    reader.begin()
    seen.append(reader.read("x"))

    assert seen == [50, 20]


def test_fuzzy_read_is_prevented(two, warm):
    reader, writer = two

    seen = [reader.read("x")]
    writer.write("x", 10)
    writer.commit()
    seen.append(reader.read("x"))
    writer.write("x", 11)
    writer.commit()
    seen.append(reader.read("x"))

    assert seen == [50, 50, 50]


def test_the_first_read_is_of_the_snapshot_too(two, warm):
    reader, writer = two

    writer.write("x", 10)
    writer.commit()

    assert reader.read("x") == 50


def test_phantom_in_a_collection_is_prevented(two, warm):
    reader, writer = two

    seen = [reader.count()]
    writer.add(7)
    seen.append(reader.count())
    reader.begin()
    seen.append(reader.count())

    assert seen == [2, 2, 3]


def test_phantom_object_is_prevented(two, warm):
    reader, writer = two

    oid = writer.add(7)

    assert not reader.has(oid)
    reader.begin()
    assert reader.has(oid)


def test_lost_update_is_prevented(two, conflict):
    one, other = two

    ours, theirs = one.read("x"), other.read("x")
    other.write("x", theirs + 20)
    other_failed = other.commit()
    one.write("x", ours + 30)
    one_failed = one.commit()
    one.begin()
    one.write("x", one.read("x") + 30)
    retry_failed = one.commit()

    other.begin()
    assert (other_failed, one_failed, retry_failed) == (None, conflict, None)
    assert other.read("x") == 100


def test_lost_update_of_what_was_checked_out_before_is_prevented(two, conflict):
    one, other = two

    one.checkout("x")
    other.checkout("x")
    one.write("x", one.read("x") + 30)
    one.commit()
    other.write("x", other.read("x") + 20)

    assert other.commit() is conflict


def test_read_skew_is_prevented(two, warm):
    reader, writer = two

    x = reader.read("x")
    writer.write("x", 10)
    writer.write("y", 90)
    writer.commit()
    y = reader.read("y")

    assert x + y == 100


def test_read_skew_between_two_transactions_of_the_other_is_prevented(two, warm):
    reader, writer = two

    writer.write("x", 10)
    writer.commit()
    x = reader.read("x")
    writer.write("y", 90)
    writer.commit()
    y = reader.read("y")

    assert (x, y) == (50, 50)


def test_write_skew_is_allowed(two):
    one, other = two  # Each may take 60 if 100 are there, both together must not.

    ours = one.read("x") + one.read("y")
    theirs = other.read("x") + other.read("y")
    one.write("x", -10)
    other.write("y", -10)
    failed = (one.commit(), other.commit())

    one.begin()
    assert (ours, theirs) == (100, 100)
    assert failed == (None, None)
    assert one.read("x") + one.read("y") == -20


def test_write_skew_is_prevented_by_checking_out_what_was_decided_on(two, conflict):
    one, other = two

    for actor, name in ((one, "x"), (other, "y")):
        actor.checkout("x", "y")
        assert actor.read("x") + actor.read("y") == 100
        actor.write(name, -10)
    failed = (one.commit(), other.commit())

    one.begin()
    assert failed == (None, conflict)
    assert one.read("x") + one.read("y") == 40


def test_both_commit_when_they_changed_different_objects(two):
    one, other = two

    one.write("x", 1)
    other.write("y", 2)
    failed = (one.commit(), other.commit())

    one.begin()
    assert failed == (None, None)
    assert (one.read("x"), one.read("y")) == (1, 2)
