"""What several threads append to a log in PostgreSQL at the same time is sent together."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor, wait
from types import SimpleNamespace

import pytest
import transaction

from dobbin_like import Database, PersistentCounter, PersistentDict, checkout
from dobbin_like.check import check_database
from dobbin_like.conformance.steps import append, catch_up, commit, data_of
from dobbin_like.exc import (
    ClosedError,
    InDoubtError,
    OvertakenError,
    ReadConflictError,
    SelfWaitError,
    ServerUnavailableError,
)
from dobbin_like.ids import Oid, Tid
from dobbin_like.storages.memory_lock import MemoryLock
from dobbin_like.transactions.commit import lock
from tests.helpers import processes
from tests.helpers.cutting_proxy import BEFORE, LATE, LOST, WAIT_SECONDS
from tests.helpers.interrupts import interrupted
from tests.helpers.postgres_logs import in_another_process
from tests.helpers.postgres_server import missing, new_schema
from tests.helpers.stops import Breakpoints
from tests.helpers.things import Thing

if missing():
    pytest.skip(missing(), allow_module_level=True)

from dobbin_like.storage.postgres import PostgresLog
from dobbin_like.storages.postgres import log as log_module
from dobbin_like.storages.postgres import offers

MANY = 1_000_000


@pytest.fixture
def logs(server, proxy, schema):
    """A log through the proxy, with one transaction, and one as in another process."""
    with (
        PostgresLog(server.dsn(proxy.port), schema=schema, patience=15) as log,
        PostgresLog(server.dsn(), schema=schema) as other,
        in_another_process(other),
    ):
        commit(log, {0: b"root"})
        catch_up(other)
        yield log, other


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def write(log, oid, **options):
    """Append a transaction of one object, as a thread does that lets others on."""
    log.acquire(settled=False)
    try:
        made = append_one(log, oid, **options)
    finally:
        log.release()
    return made


def append_one(log, oid, *, number=1):
    return log.append(Tid(log.last_tid + 10), [(Oid(oid), number, b"%d" % oid)], wait=False)


@contextlib.contextmanager
def waiting_together(log, pool, *writes):
    """Begin to write in threads, one after the other; let them send when the block is left."""
    with log._sender._turn:
        yield add_to_queue(log, pool, writes)


def add_to_queue(log, pool, writes):
    running = []
    for each in writes:
        before = len(log._sender._queue)
        running.append(pool.submit(each))
        wait_until(lambda before=before: len(log._sender._queue) > before)
    return running


def wait_until(is_so):
    until = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.001)


def ids(transactions):
    return [logged.id for logged in transactions]


def result_of(running):
    error = running.exception(WAIT_SECONDS)
    return running.result() if error is None else type(error)


def writes_of(log, *oids):
    return [lambda oid=oid: write(log, oid) for oid in oids]


# -- one message -----------------------------------------------------------------------


def test_what_threads_append_at_the_same_time_is_one_message(logs, proxy, pool):
    log, other = logs
    write(log, 9)  # With a statement that is prepared.
    catch_up(log)
    proxy.cut_at(MANY, BEFORE)
    with waiting_together(log, pool, *writes_of(log, 1, 2, 3, 4)) as running:
        pass
    made = [each.result(WAIT_SECONDS) for each in running]
    assert MANY - proxy.cut_at(0, BEFORE) == 1

    for each in logs:
        catch_up(each)
        assert (len(each), each.oid_count) == (6, 6)
        assert [data_of(each, oid) for oid in (1, 2, 3, 4)] == [b"1", b"2", b"3", b"4"]
    assert [logged.sequence for logged in made] == [3, 4, 5, 6]
    assert [logged.oid_count for logged in made] == [3, 4, 5, 6]
    assert ids(log.transactions())[2:] == ids(made)
    assert other.next_oid == log.next_oid == 10


def test_what_is_appended_is_told_to_the_next_one(logs, pool):
    log, _ = logs
    with waiting_together(log, pool, *writes_of(log, 5)) as running:
        log.acquire(settled=False)
        assert [logged.oids for logged in log.unseen] == [(5,)]
        assert (log.next_oid, log.last_tid) == (6, log.unseen[0].tid)
        assert (len(log), log.load(Oid(5))) == (1, None)
    assert running[0].result(WAIT_SECONDS).sequence == 2
    assert append_one(log, 6).sequence == 3
    log.release()


def test_who_asks_for_settled_waits_for_the_others(logs, pool):
    log, _ = logs
    with waiting_together(log, pool, *writes_of(log, 5)) as running:
        settled = pool.submit(lambda: (log.acquire(), log.unseen, log.read_news(), log.release()))
    _, unseen, news, _ = settled.result(WAIT_SECONDS)
    assert (unseen, ids(news)) == ((), ids([running[0].result()]))


def test_a_thread_that_waits_for_the_server_has_not_given_up_its_commit(logs, pool):
    log, _ = logs

    def two():
        log.acquire(settled=False)
        first = append_one(log, 1)
        held = log.held
        with pytest.raises(SelfWaitError):
            log.acquire()
        log.apply([first])
        second = append_one(log, 2)
        log.release()
        return first.sequence, held, second.sequence, log.held

    assert pool.submit(two).result(WAIT_SECONDS) == (2, True, 3, False)


def test_what_has_more_than_one_part_is_sent_alone(logs, pool, monkeypatch):
    log, other = logs
    monkeypatch.setattr(offers, "_PART_BYTES", 10)

    def large():
        log.acquire(settled=False)
        entries = [(Oid(oid), 1, bytes(8)) for oid in range(20, 24)]
        made = log.append(Tid(log.last_tid + 10), entries, wait=False)
        log.release()
        return made

    writes = [*writes_of(log, 1), large, *writes_of(log, 2)]
    with waiting_together(log, pool, *writes) as running:
        pass
    assert [each.result(WAIT_SECONDS).sequence for each in running] == [2, 3, 4]
    catch_up(other)
    assert (len(other), other.oid_count) == (4, 7)


def test_the_states_of_what_was_appended_are_not_kept_in_memory(logs):
    """Until the next commit, which may never come."""
    _, log = logs  # Without the proxy, which keeps what it has read last.
    write(log, 1)
    tracemalloc.start()
    try:
        log.acquire(settled=False)
        log.append(Tid(log.last_tid + 10), [(Oid(1), 1, bytes(5 << 20))], wait=False)
        log.release()
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()
    assert len(log._sender._followed) == 2


# -- others are faster ------------------------------------------------------------------


def test_all_are_overtaken_if_another_process_was_faster(logs, pool):
    log, other = logs
    with waiting_together(log, pool, *writes_of(log, 1, 2, 3)) as running:
        commit(other, {7: b"other"})
    assert [result_of(each) for each in running] == [OvertakenError] * 3

    catch_up(log)
    assert (len(log), data_of(log, 7), log._sender._followed) == (2, b"other", [])
    commit(log, {1: b"again"})
    assert len(log) == 3


def test_what_another_thread_applies_is_not_what_this_one_has_looked_at(logs, pool):
    """Else it would follow a transaction that it was not compared with."""
    log, other = logs
    log.acquire(settled=False)
    commit(other, {0: b"other"})
    pool.submit(lambda: log.apply(log.read_news())).result(WAIT_SECONDS)
    with pytest.raises(OvertakenError):
        append(log, {0: b"mine"})
    log.release()
    log.acquire(settled=False)
    append(log, {0: b"mine"})
    log.release()
    assert data_of(log, 0) == b"mine"


def test_what_does_not_follow_what_was_queued_before_is_not_taken_for_it(logs, pool):
    """One thread is behind, another one is not; both wait to be sent."""
    log, other = logs
    is_behind, may_append = threading.Event(), threading.Event()

    def late():
        log.acquire(settled=False)
        is_behind.set()
        assert may_append.wait(WAIT_SECONDS)
        try:
            return append_one(log, 1)
        finally:
            log.release()

    with log._sender._turn:
        first = pool.submit(late)
        assert is_behind.wait(WAIT_SECONDS)
        for _ in range(2):
            commit(other, {7: b"other"})
        catch_up(log)
        may_append.set()
        wait_until(lambda: len(log._sender._queue) == 1)
        (second,) = add_to_queue(log, pool, writes_of(log, 2))
    assert result_of(first) is OvertakenError
    made = second.result(WAIT_SECONDS)
    for each in logs:
        catch_up(each)
        assert ids(each.transactions())[3:] == [made.id]
        assert (each.load(Oid(1)), data_of(each, 2)) == (None, b"2")


def test_what_is_prepared_behind_a_transaction_that_was_overtaken_is_so_as_well(logs, pool):
    log, other = logs
    with waiting_together(log, pool, *writes_of(log, 1)) as running:
        log.acquire(settled=False)
        assert len(log.unseen) == 1
        commit(other, {7: b"other"})
    assert result_of(running[0]) is OvertakenError
    with pytest.raises(OvertakenError):
        log.prepare(Tid(log.last_tid + 10), [(Oid(2), 1, b"mine")])
    log.release()
    commit(log, {2: b"mine"})
    assert len(log) == 3


def test_what_this_thread_applies_is_followed(logs):
    log, other = logs
    log.acquire(settled=False)
    commit(other, {0: b"other"})
    catch_up(log)
    append(log, {0: b"mine"})
    log.release()
    assert (len(log), data_of(log, 0)) == (3, b"mine")


def test_what_is_refused_is_not_taken_for_that_of_others(logs, pool):
    log, _ = logs
    writes = [*writes_of(log, 1), lambda: write(log, 2, number=1 << 70), *writes_of(log, 3)]
    with waiting_together(log, pool, *writes) as running:
        pass
    assert [result_of(each) for each in running] == [OvertakenError] * 3
    assert result_of(pool.submit(writes[1])) is ServerUnavailableError
    assert write(log, 1).sequence == 2


def test_a_commit_of_another_process_with_the_same_tid_is_not_taken_for_that_of_a_thread(
    server, schema, pool, monkeypatch
):
    # Where their clocks are behind the log, both count on. What the thread had changed was seen,
    # and its commit came to its end, though it had been overtaken and nothing of it was stored.
    monkeypatch.setattr(lock, "time", SimpleNamespace(time_ns=lambda: 0))
    there = transaction.TransactionManager()
    with (
        PostgresLog(server.dsn(), schema=schema) as log,
        PostgresLog(server.dsn(), schema=schema) as another,
        in_another_process(another),
        Database(log) as database,
    ):
        database.set_root(PersistentDict(n=0))
        transaction.commit()
        tids = []

        def add(database, manager, count):
            manager.begin()
            checkout(database.root)
            database.root["n"] += count
            manager.commit()
            tids.append(database.tid)

        with Database(another, transaction_manager=there) as other:
            with waiting_together(
                log, pool, lambda: add(database, database.transaction_manager, 1)
            ) as running:
                add(other, there, 10)
                assert database.wait(tids[0], WAIT_SECONDS)
                assert database.root["n"] == 10
            assert result_of(running[0]) is ReadConflictError
            transaction.begin()
            add(database, transaction.manager, 1)
            there.begin()
            assert other.root["n"] == database.root["n"] == 11


# -- an answer that is lost -------------------------------------------------------------


@pytest.mark.parametrize("how", [BEFORE, LOST, LATE])
def test_what_was_sent_together_and_lost_is_done_once(logs, proxy, pool, how):
    log, other = logs
    with waiting_together(log, pool, *writes_of(log, 1, 2, 3)) as running:
        proxy.cut_at(1, how)
    made = [each.result(WAIT_SECONDS) for each in running]
    if how == LATE:
        proxy.deliver()

    assert proxy.was_cut.is_set()
    assert [logged.sequence for logged in made] == [2, 3, 4]
    catch_up(other)
    assert ids(other.transactions())[1:] == ids(made)
    assert [data_of(other, oid) for oid in (1, 2, 3)] == [b"1", b"2", b"3"]


def test_all_that_were_sent_together_are_in_doubt_if_it_can_not_be_found_out(logs, proxy, pool):
    log, other = logs
    log._lines.patience_seconds = 0.3
    with waiting_together(log, pool, *writes_of(log, 1, 2)) as running:
        proxy.cut_at(1, BEFORE)
        other.acquire()  # Nobody can put anything.
    assert [result_of(each) for each in running] == [InDoubtError] * 2
    other.release()
    log._lines.patience_seconds = 15
    commit(log, {1: b"again"})
    assert (len(log), data_of(log, 1)) == (2, b"again")


def test_a_server_that_is_away_is_told_to_all_that_wait(server, schema, pool):
    with PostgresLog(server.dsn(), schema=schema, patience=0.2) as log:
        commit(log, {0: b"root"})
        with waiting_together(log, pool, *writes_of(log, 1, 2)) as running:
            server.kill()
        try:
            results = [result_of(each) for each in running]
        finally:
            server.start()
        assert set(results) <= {InDoubtError, ServerUnavailableError}
        log._lines.patience_seconds = 15
        commit(log, {1: b"again"})
        assert data_of(log, 1) == b"again"


# -- interrupts -------------------------------------------------------------------------


def test_who_is_interrupted_before_it_was_sent_takes_it_back(logs, pool):
    log, other = logs
    tid = Tid(log.tid + 10)
    sending = threading.Event()
    ended = threading.Event()

    def hold_the_turn():
        with log._sender._turn:
            sending.set()
            wait_until(lambda: len(log._sender._queue) == 1)
            (second,) = add_to_queue(log, pool, writes_of(log, 2))
            os.kill(os.getpid(), signal.SIGINT)
            assert ended.wait(WAIT_SECONDS)
        return second

    holder = pool.submit(hold_the_turn)
    assert sending.wait(WAIT_SECONDS)
    log.acquire(settled=False)

    def append_until_interrupted():
        with contextlib.suppress(KeyboardInterrupt):
            log.append(tid, [(Oid(1), 1, b"mine")], wait=False)
        log._sender.withdraw(log._writers[threading.get_ident()]._parcel)
        ended.set()

    append_until_interrupted()
    assert log.settle(tid) is None
    log.release()

    assert result_of(holder.result(WAIT_SECONDS)) is OvertakenError
    catch_up(other)
    assert len(other) == 1
    assert write(log, 2).sequence == 2


@pytest.mark.parametrize("first", ["the interrupted one", "the other one"])
def test_what_was_sent_by_a_thread_that_is_interrupted_is_settled(logs, proxy, pool, first):
    """Whoever asks first finds out what has become of both."""
    log, other = logs
    tid = Tid(log.tid + 10)
    proxy.hold_at(1, lambda: os.kill(os.getpid(), signal.SIGINT))
    log.acquire(settled=False)
    parts = []
    take = log._sender._next

    def with_another():
        parts.extend(add_to_queue(log, pool, writes_of(log, 2)))
        return take()

    log._sender._next = with_another
    with pytest.raises(KeyboardInterrupt):
        log.append(tid, [(Oid(1), 1, b"mine")], wait=False)
    log._sender._next = take
    if first == "the other one":
        wait([*parts], WAIT_SECONDS)
    made = log.settle(tid)
    log.release()
    found = result_of(parts[0])
    proxy.deliver()

    catch_up(other)
    logged = list(other.transactions())[1:]
    if made is not None:
        assert ids(logged) == ids([made, found])
    else:
        assert found is OvertakenError
        assert [each.failed for each in logged] == [True]
    if first == "the other one":
        assert made is not None
    commit(log, {3: b"again"})
    assert len(log) == len(other) + 1


@pytest.mark.slow
def test_an_interrupt_anywhere_beside_other_threads_loses_nothing(server, schema, pool):
    with Database(PostgresLog(server.dsn(), schema=schema)) as database:
        parts = [PersistentDict(n=0) for _ in range(4)]
        database.set_root(PersistentDict(parts=parts))
        transaction.commit()
        stop = threading.Event()

        def add(number):
            checkout(parts[number])
            parts[number]["n"] += 1

        def work(number):
            done = 0
            while not stop.is_set():
                database.run(lambda: add(number), retry=100)
                done += 1
            return done

        def mine():
            transaction.begin()
            add(0)
            transaction.commit()

        running = [pool.submit(work, number) for number in (1, 2, 3)]
        at = 1
        try:
            while interrupted(mine, at):
                transaction.abort()
                at += 7
        finally:
            stop.set()
        counts = [each.result(WAIT_SECONDS) for each in running]
        transaction.begin()
        made = [each for each in database.storage.transactions() if not each.failed]
        counts.insert(0, sum(parts[0]._p_oid in each.oids for each in made) - 1)
        assert [part["n"] for part in parts] == counts
        check_database(database).raise_if_bad()
        assert at > 300


# -- databases --------------------------------------------------------------------------


@pytest.mark.slow
def test_threads_of_two_processes_lose_no_change(server, schema, pool):  # noqa: C901
    """Own objects, new ones, one that is merged and one that is in conflict."""
    each = 40

    def work(database, number):
        for count in range(each):

            def change(count=count):
                root = database.root
                own = root["own"]
                checkout(own[number], root["counter"])
                own[number][count] = PersistentDict(by=number)
                root["counter"].increment()
                if count % 4 == 0:
                    checkout(root)
                    root["n"] += 1

            database.run(change, retry=1000)

    with contextlib.ExitStack() as ends:
        databases = []
        for _ in range(2):
            log = PostgresLog(server.dsn(), schema=schema)
            ends.enter_context(in_another_process(log))
            databases.append(ends.enter_context(Database(log)))
        own = [PersistentDict() for _ in range(8)]
        databases[0].set_root(PersistentDict(own=own, counter=PersistentCounter(), n=0))
        transaction.commit()
        running = [pool.submit(work, databases[n % 2], n) for n in range(8)]
        for one in running:
            one.result(120)
        transaction.begin()
        for database in databases:
            root = database.root
            assert (root["counter"].value, root["n"]) == (8 * each, 8 * each // 4)
            for number, mine in enumerate(root["own"]):
                assert {key: part["by"] for key, part in mine.items()} == dict.fromkeys(
                    range(each), number
                )
            check_database(database).raise_if_bad()


SENDS = "dobbin_like.storages.postgres.sending", "finish", 0
"""Where a thread has let others on, and has not sent its transaction."""

VOTES = "dobbin_like.transactions.data_manager", "tpc_vote", 0
"""Where the objects of a transaction are encoded."""

PUBLISHES = "dobbin_like.transactions.publisher", "catch_up_to", 0
"""Where a transaction is in the log, and no thread sees it."""


ASKS = "dobbin_like.storages.postgres.reading", "_has_news"


@pytest.fixture
def opened(server, schema):
    """Return a function that opens a database, as another process does."""
    with contextlib.ExitStack() as ends:

        def open_it(**options):
            log = PostgresLog(server.dsn(), schema=schema, **options)
            ends.enter_context(in_another_process(log))
            return ends.enter_context(Database(log))

        yield open_it


def add(database, key, value=1, place=None):
    with database.transaction() as root:
        items = root if place is None else root[place]
        checkout(items)
        items[key] = value


@pytest.mark.parametrize("overtaken", [False, True])
def test_new_names_are_stored_with_the_transaction_that_uses_them(opened, overtaken):
    """One thread ends its commit while another one has encoded objects of a new class."""
    database, other = opened(), opened()
    database.run(lambda: database.set_root(PersistentDict()))
    first, second = Breakpoints(SENDS), Breakpoints(VOTES)
    threads = [
        first.start(lambda: add(database, "number")),
        second.start(lambda: add(database, "thing", Thing(text="new"))),
    ]
    if overtaken:
        add(other, "other")
    first.go()
    threads[0].join(0.2 if overtaken else WAIT_SECONDS)  # Then it waits for the lock.
    second.go()
    for thread in threads:
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()

    with opened().reading() as root:
        assert (root["number"], root["thing"].text) == (1, "new")
        assert ("other" in root) == overtaken


SEES = "dobbin_like.transactions.commit.unseen", "see", 3
"""Where a thread has waited for what others had appended, and does not hold the lock."""


def test_who_waits_for_a_transaction_that_is_overtaken_goes_on(opened):
    """Another thread is faster both times, and then another process is faster than that."""
    # It raised ConflictError, "a transaction before it could not be synced", though all merge.
    database, other = opened(), opened()
    database.run(lambda: database.set_root(PersistentDict(counter=PersistentCounter())))

    def count():
        with database.transaction() as root:
            checkout(root["counter"])
            root["counter"].increment()

    stops = Breakpoints(SENDS), Breakpoints(SEES), Breakpoints(SENDS), Breakpoints(SENDS)
    # The tid of the other process is the lower one.
    steps = count, count, lambda: add(other, "other"), count
    threads = [each.start(step) for each, step in zip(stops, steps, strict=True)]
    for number in (2, 1, 0, 3):
        stops[number].go()
        threads[number].join(WAIT_SECONDS)
        assert not threads[number].is_alive()
    with opened().reading() as root:
        assert (root["counter"].value, root["other"]) == (3, 1)


def test_transactions_over_two_databases_do_not_wait_for_each_other(server, pool):
    """Another process commits to one of them while one thread has gathered what it stores."""
    # The thread took its lock again, behind that of the other database: both waited for ever.
    with contextlib.ExitStack() as ends:

        def open_it(schema):
            log = PostgresLog(server.dsn(), schema=schema, lock_timeout=5)
            return ends.enter_context(Database(log))

        databases = [open_it(new_schema()) for _ in range(2)]
        databases.sort(key=lambda database: database.storage.sort_key)
        for database in databases:
            database.run(lambda database=database: database.set_root(PersistentDict()))
        other = open_it(databases[0].storage._options.schema)
        ends.enter_context(in_another_process(other.storage))

        def add_to_both(key):
            with transaction.manager:
                for database in databases:
                    checkout(database.root)
                    database.root[key] = 1

        stop = Breakpoints(VOTES)
        thread = stop.start(lambda: add_to_both("one"))
        running = [pool.submit(add, other, "other"), pool.submit(add_to_both, "two")]
        wait(running, 0.2)
        stop.go()
        thread.join(WAIT_SECONDS)
        for one in running:
            one.result(WAIT_SECONDS)
        transaction.begin()
        assert [sorted(database.root) for database in databases] == [
            ["one", "other", "two"],
            ["one", "two"],
        ]


def test_what_a_thread_has_committed_it_sees_at_once(opened):
    """Another one, whose transaction comes before, has not published that yet."""
    database = opened(freshness=600)
    database.run(lambda: database.set_root(PersistentDict({n: PersistentDict() for n in (1, 2)})))
    assert not database.storage.has_news()  # This asks: from now on, nobody does.
    first = Breakpoints(PUBLISHES)
    thread = first.start(lambda: add(database, "a", place=1))
    try:
        add(database, "b", place=2)
        with database.transaction() as root:
            assert [dict(items) for items in root.values()] == [{"a": 1}, {"b": 1}]
            checkout(root[2])
            root[2]["c"] = 1
    finally:
        first.go()
        thread.join(WAIT_SECONDS)
    with database.reading() as root:
        assert [dict(items) for items in root.values()] == [{"a": 1}, {"b": 1, "c": 1}]


def test_who_asks_for_news_does_not_rely_on_what_another_thread_asks(logs):
    """That one has the answer, and has not noted it yet."""
    log, other = logs
    commit(other, {1: b"one"})
    asks, notes = Breakpoints((*ASKS, 4)), Breakpoints((*ASKS, 9))
    told = []
    threads = [asks.start(lambda: told.append(log.has_news())), notes.start(log.has_news)]
    assert log._asked_at > 0
    assert log._known < len(other)
    asks.go()
    threads[0].join(WAIT_SECONDS)
    assert told == [True]
    notes.go()
    threads[1].join(WAIT_SECONDS)


def test_closing_waits_for_those_who_wait_for_the_server(logs, pool):
    log, other = logs
    with waiting_together(log, pool, *writes_of(log, 1, 2)) as running:
        closing = pool.submit(log.close)
        wait_until(lambda: log.closed)
        assert not closing.done()
    closing.result(WAIT_SECONDS)
    assert [each.result(WAIT_SECONDS).sequence for each in running] == [2, 3]
    with pytest.raises(ClosedError):
        write(log, 3)
    catch_up(other)
    assert len(other) == 3


@pytest.mark.parametrize("in_c", [False, True])
@pytest.mark.parametrize("act", [write, lambda log, _: log.close()])
def test_a_child_has_nothing_of_what_threads_of_its_parent_append(logs, pool, in_c, act):
    log, other = logs

    def child():
        signal.alarm(20)
        if not in_c:
            log.after_fork_in_child()
        act(log, 9)

    with waiting_together(log, pool, *writes_of(log, 1, 2)) as running:
        if in_c:
            assert processes.forked_in_c(child) == 0
        else:
            assert processes.exit_code(processes.forked(child)) == 0
    results = [result_of(each) for each in running]
    catch_up(other)
    if act is write:
        assert results == [OvertakenError, OvertakenError]
        assert (len(other), data_of(other, 9)) == (2, b"9")
    else:
        assert [made.sequence for made in results] == [2, 3]
        assert [data_of(other, oid) for oid in (1, 2)] == [b"1", b"2"]


def test_a_child_can_open_a_log_while_a_thread_of_its_parent_does(
    server, schema, pool, monkeypatch
):
    # It waited for ever for a lock of the thread, which is not in the child.
    opening, end = threading.Event(), threading.Event()

    def slowly(path):
        opening.set()
        end.wait(60)
        return MemoryLock(path)

    def open_it():
        PostgresLog(server.dsn(), schema=schema).close()

    def child():
        end.set()
        open_it()

    monkeypatch.setattr(log_module, "MemoryLock", slowly)
    thread = pool.submit(open_it)
    try:
        assert opening.wait(WAIT_SECONDS)
        assert processes.exit_code(processes.forked(child)) == 0
    finally:
        end.set()
        thread.result(WAIT_SECONDS)
