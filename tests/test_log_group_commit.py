"""One sync for all that wait: what is seen meanwhile, and what becomes of it if it fails."""

from __future__ import annotations

import errno
import multiprocessing
import os
import sys
import sysconfig
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import transaction

from dobbin_like.check import check_log
from dobbin_like.database import Database
from dobbin_like.exc import ConflictError, InDoubtError, LockTimeout, SelfWaitError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.file import disk, range_wait
from dobbin_like.log.format.header import FAILURES, PAGE_SIZE, WORD_SIZE, word_offset
from dobbin_like.log.writing import flusher, presence
from dobbin_like.log.writing.recovery import recover
from dobbin_like.persistent import PersistentDict, checkout
from dobbin_like.processes.interrupts import finish_despite_interrupts
from dobbin_like.transactions.commit import lock
from tests.helpers.interrupts import each_step, handled_at_step
from tests.helpers.log_files import tids, words_of
from tests.helpers.power import count_syncs, fail_syncs
from tests.helpers.processes import exit_code, forked, forked_in_c, in_child
from tests.helpers.steps import Steps, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dobbin_like.log import LoggedTransaction
    from dobbin_like.log.reading.readable import ReadableLog

fork = multiprocessing.get_context("fork")
WAIT_SECONDS = 10


class SlowDisk:
    """Lets syncs of files wait until it is told that they may end, or fail."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._real = disk._datasync
        self._asked = threading.Semaphore(0)
        self._answers = threading.Semaphore(0)
        self._failing = False
        self.syncs = 0
        patch.setattr(disk, "_datasync", self._sync)

    def _sync(self, fd: int) -> None:
        self._asked.release()
        assert self._answers.acquire(timeout=WAIT_SECONDS), "nobody let the sync end"
        self.syncs += 1
        if self._failing:
            self._failing = False
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._real(fd)

    def wait_until_one_syncs(self) -> None:
        assert self._asked.acquire(timeout=WAIT_SECONDS), "nobody syncs"

    def let_it_end(self) -> None:
        self._answers.release()

    def let_it_fail(self) -> None:
        self._failing = True
        self._answers.release()

    def let_all_end(self) -> None:
        self._answers.release(1 << 20)


applying = threading.Lock()  # one thread at a time applies news; a database sees to that itself


def catch_up(log: TransactionLog) -> None:
    with applying:
        log.apply(log.read_news())


def append(log: TransactionLog, oid: int, data: bytes) -> LoggedTransaction:
    """Append a transaction, and wait for nothing."""
    log.acquire(settled=False)
    try:
        catch_up(log)
        return log.append(Tid(log.last_tid + 1), [(Oid(oid), 1, data)], wait=False)
    finally:
        log.release()


def commit(log: TransactionLog, oid: int, data: bytes) -> LoggedTransaction:
    logged = append(log, oid, data)
    log.confirm(logged)
    catch_up(log)
    return logged


def appended_until(path: Path, end: int) -> None:
    """Wait until all before *end* is appended, by whomever."""
    while (words_of(path)["APPENDED"] or 0) < end:
        os.sched_yield()


@pytest.fixture
def slow(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    """A disk that waits to be told; there is a log with one transaction, of object 0."""
    with TransactionLog(path) as log:
        commit(log, 0, b"first")
    slow = SlowDisk(monkeypatch)
    yield slow
    slow.let_all_end()


@contextmanager
def opened(path: Path, count: int, **options: Any) -> Iterator[list[TransactionLog]]:
    """Open some instances while nobody has to wait for the disk."""
    logs: list[TransactionLog] = []
    try:
        logs.extend(TransactionLog(path, **options) for _ in range(count))
        yield logs
    finally:
        for log in logs:
            log.close()


def visible(log: TransactionLog) -> list[int]:
    return [logged.tid for logged in log.read_news()]


# -- one sync for all -------------------------------------------------------------------


@pytest.mark.parametrize("instances", [1, 4])
def test_one_sync_is_for_all_that_were_appended_before_it(
    path: Path, slow: SlowDisk, instances: int
) -> None:
    """Threads of one instance, and instances as other processes have them."""
    steps = Steps()
    with opened(path, instances) as logs:
        steps.thread(lambda: commit(logs[0], 0, b"leads"))
        slow.wait_until_one_syncs()
        before = slow.syncs
        for number in range(1, 4):
            end = words_of(path)["APPENDED"] or 0
            log = logs[number % instances]
            steps.thread(lambda log=log, number=number: commit(log, number, b"follows"))
            appended_until(path, end + 1)
        slow.let_it_end()
        slow.wait_until_one_syncs()
        slow.let_all_end()
        steps.join()

        assert slow.syncs == before + 2
    assert len(tids(path)) == 5


def test_a_sync_is_not_for_what_was_appended_after_it_began(path: Path, slow: SlowDisk) -> None:
    steps = Steps()
    with opened(path, 3) as (first, second, reader):
        steps.thread(lambda: commit(first, 0, b"leads"))
        slow.wait_until_one_syncs()
        late = append(second, 1, b"late")
        slow.let_it_end()
        steps.join()
        reader.apply(reader.read_news())
        assert (len(reader), reader.tid) == (2, late.tid - 1)
        slow.let_all_end()
        second.confirm(late)

        assert visible(reader) == [late.tid]


def test_what_nobody_waits_for_gets_durable_when_the_log_is_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TransactionLog(path) as log:
        commit(log, 0, b"first")
        syncs = count_syncs(monkeypatch)
        logged = append(log, 1, b"second")
        assert syncs() == 0
    assert syncs() > 0
    assert words_of(path)["DURABLE"] == logged.end == path.stat().st_size


def test_what_is_committed_without_sync_gets_durable_by_itself(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flusher, "_DELAY_SECONDS", 0.05)
    syncs = count_syncs(monkeypatch)
    with TransactionLog(path, sync=False) as loose:
        for number in range(2):
            before = syncs()
            logged = append(loose, number, b"state")
            due = loose._writing.durability.flusher._timer
            assert due is not None
            due.join(60)
            assert syncs() > before
            assert words_of(path)["DURABLE"] == logged.end


def test_what_is_committed_without_sync_is_durable_when_the_log_is_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not so if the thread that does it had begun, and was not there yet."""
    steps, begun, is_closed = Steps(), threading.Event(), threading.Event()
    log = TransactionLog(path, sync=False)
    logged = commit(log, 0, b"state")
    durability = log._writing.durability
    durability.flusher.stop()
    real, closing = durability.queue.make_durable, threading.current_thread()

    def make_durable(*promise: Any) -> Any:
        if threading.current_thread() is not closing:
            begun.set()
            is_closed.wait(WAIT_SECONDS)
        return real(*promise)

    monkeypatch.setattr(durability.queue, "make_durable", make_durable)
    with TransactionLog(path):  # Who is alone syncs in any case.
        steps.thread(durability.make_durable)
        begun.wait(WAIT_SECONDS)
        log.close()
        assert words_of(path)["DURABLE"] == logged.end
        is_closed.set()
        steps.join()


def test_a_signal_handler_closes_a_log_that_it_has_interrupted_in_a_sync(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited for ever for the thread that brings all to the disk, which waited for the sync."""
    begun, goes = threading.Event(), threading.Event()
    real_run, real_sync = flusher.Flusher._run, disk._datasync

    def run(self: flusher.Flusher) -> None:
        begun.set()
        goes.wait(WAIT_SECONDS)
        real_run(self)

    def sync(fd: int) -> None:
        monkeypatch.setattr(disk, "_datasync", real_sync)
        goes.set()
        log.close()  # As a handler does, in the same thread.
        real_sync(fd)

    monkeypatch.setattr(flusher, "_DELAY_SECONDS", 0)
    monkeypatch.setattr(flusher.Flusher, "_run", run)
    log = TransactionLog(path, sync=False)
    with TransactionLog(path):  # Who is alone syncs in any case.
        logged = commit(log, 0, b"state")
        begun.wait(WAIT_SECONDS)
        monkeypatch.setattr(disk, "_datasync", sync)
        in_thread(log._writing.durability.make_durable)
        assert words_of(path)["DURABLE"] == logged.end
    assert log.closed


def test_what_could_not_be_synced_is_synced_when_the_log_is_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = TransactionLog(path, sync=False)
    logged = commit(log, 0, b"state")
    log._writing.durability.flusher.stop()
    with TransactionLog(path):  # Who is alone syncs in any case.
        with monkeypatch.context() as patch:
            # The system has no more locks, say: no sync has failed.
            patch.setattr(range_wait, "take", lambda *_: os.close(-1))
            with pytest.raises(OSError, match="Bad file descriptor"):
                log._writing.durability.make_durable()
        log.close()
        assert words_of(path)["DURABLE"] == logged.end


# -- what is seen before it is durable ------------------------------------------------------


def test_nobody_sees_what_is_not_durable(path: Path, slow: SlowDisk) -> None:
    steps = Steps()
    with (
        opened(path, 2) as (log, other),
        TransactionLog(path, read_only=True) as reader,
        TransactionLog(path, sync=False) as loose,
    ):
        steps.thread(lambda: commit(log, 0, b"second"))
        slow.wait_until_one_syncs()

        for each in (log, other, reader, loose):
            assert visible(each) == []
        with TransactionLog(path, read_only=True) as late, TransactionLog(path) as writer:
            assert len(late) == len(writer) == 1
        other.acquire(settled=False)
        assert [logged.tid for logged in other.unseen] == [2]
        other.release()
        slow.let_all_end()
        steps.join()

        for each in (other, reader, loose):
            assert visible(each) == [2]


def test_what_is_not_synced_is_seen_at_once_where_nobody_syncs(path: Path, slow: SlowDisk) -> None:
    with opened(path, 2, sync=False) as (log, other), TransactionLog(path) as reader:
        before = slow.syncs
        commit(log, 0, b"second")
        assert visible(reader) == visible(other) == [2]
        commit(other, 0, b"third")
        assert visible(log) == [3]
        assert slow.syncs == before
        slow.let_all_end()


def test_what_is_not_synced_waits_for_what_is_before_it(path: Path, slow: SlowDisk) -> None:
    steps = Steps()
    with opened(path, 1) as (log,), opened(path, 2, sync=False) as (loose, reader):
        steps.thread(lambda: commit(log, 0, b"second"))
        slow.wait_until_one_syncs()
        logged = append(loose, 1, b"third")
        assert visible(reader) == visible(loose) == []
        slow.let_it_end()
        slow.let_it_end()
        loose.confirm(logged)
        steps.join()

        assert visible(reader) == [2, 3]
        slow.let_all_end()


def test_a_failed_transaction_does_not_show_what_is_before_it(path: Path, slow: SlowDisk) -> None:
    steps = Steps()
    with opened(path, 1) as (log,), opened(path, 2, sync=False) as (loose, reader):
        steps.thread(lambda: commit(log, 0, b"second"))
        slow.wait_until_one_syncs()
        loose.acquire(settled=False)
        loose.fail(Tid(1), "why")
        loose.release()
        assert visible(reader) == []
        slow.let_all_end()
        steps.join()


# -- conflicts with what is not visible yet ---------------------------------------------------


def open_at(path: Path, **options: Any) -> Database:
    manager = transaction.ThreadTransactionManager()
    return Database(TransactionLog(path, **options), transaction_manager=manager)


def fill(path: Path, *keys: str) -> None:
    with open_at(path) as database:
        database.set_root(PersistentDict({key: PersistentDict(n=0) for key in keys}))
        database.transaction_manager.commit()


def increment(database: Database, *keys: str) -> None:
    for key in keys:
        item = database.root[key]
        checkout(item)
        item["n"] += 1


@pytest.mark.parametrize("instances", [1, 2])
def test_a_conflict_with_what_is_not_visible_yet_is_found(
    path: Path, monkeypatch: pytest.MonkeyPatch, instances: int
) -> None:
    fill(path, "a", "b")
    steps = Steps()
    databases = [open_at(path) for _ in range(instances)]
    leader, other = databases[0], databases[-1]
    slow = SlowDisk(monkeypatch)
    conflicts = []

    def lead() -> None:
        with leader.transaction_manager:
            increment(leader, "a")

    def follow() -> None:
        other.transaction_manager.begin()
        increment(other, "a")
        went.set()
        try:
            other.transaction_manager.commit()
        except ConflictError as error:
            conflicts.append(error)
            other.transaction_manager.abort()
            increment(other, "a")
            other.transaction_manager.commit()

    def go_on() -> None:
        other.transaction_manager.begin()
        increment(other, "b")
        other.transaction_manager.commit()

    went = threading.Event()
    steps.thread(lead)
    slow.wait_until_one_syncs()
    end = words_of(path)["APPENDED"] or 0
    steps.thread(follow)
    assert went.wait(WAIT_SECONDS)
    steps.thread(go_on)  # What has no conflict does not wait to be appended.
    appended_until(path, end + 1)
    assert words_of(path)["DURABLE"] < end  # type: ignore[operator]
    slow.let_all_end()
    steps.join()

    assert [error.class_name for error in conflicts] == ["PersistentDict"]
    for database in databases:
        with database.transaction_manager:
            assert (database.root["a"]["n"], database.root["b"]["n"]) == (2, 1)
        database.close()


@pytest.mark.parametrize("instances", [1, 2])
def test_who_depends_on_what_is_not_visible_waits_for_it_no_longer_than_for_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch, instances: int
) -> None:
    # It had the commit lock meanwhile, or waited without a limit behind the one that synced.
    fill(path, "a", "b")
    steps = Steps()
    databases = [open_at(path, lock_timeout=0.05) for _ in range(instances)]
    leader, other = databases[0], databases[-1]
    slow = SlowDisk(monkeypatch)

    def lead() -> None:
        with leader.transaction_manager:
            increment(leader, "a")

    steps.thread(lead)
    slow.wait_until_one_syncs()
    end = words_of(path)["APPENDED"]
    other.transaction_manager.begin()
    increment(other, "a")
    with pytest.raises(LockTimeout, match=r"or a commit before not synced, after 0\.05 seconds"):
        other.transaction_manager.commit()
    other.transaction_manager.abort()
    assert not other.storage.held
    assert words_of(path)["DURABLE"] < end  # type: ignore[operator]

    slow.let_all_end()
    steps.join()
    with other.transaction_manager:
        increment(other, "a")
    for database in databases:
        with database.transaction_manager:
            assert database.root["a"]["n"] == 2
        database.close()


@pytest.mark.parametrize("step", ["acquire", "prepare"])
def test_a_storage_waits_no_longer_for_another_that_syncs(
    path: Path, slow: SlowDisk, step: str
) -> None:
    steps = Steps()
    with opened(path, 1) as (log,), opened(path, 1, lock_timeout=0.05) as (hasty,):
        steps.thread(lambda: commit(log, 0, b"second"))
        slow.wait_until_one_syncs()
        if step == "acquire":
            with pytest.raises(LockTimeout):
                hasty.acquire()
        else:
            hasty.acquire(settled=False)
            with pytest.raises(LockTimeout):
                hasty.prepare(Tid(hasty.last_tid + 1), [(Oid(1), 1, b"third")])
            hasty.release()
        assert not hasty.held
        slow.let_all_end()
        steps.join()
        assert commit(hasty, 1, b"third").tid == hasty.last_tid


@pytest.mark.parametrize("step", ["acquire", "prepare", "wait_for"])
def test_what_the_lock_was_waited_for_is_no_more_left_for_another_that_syncs(
    path: Path, slow: SlowDisk, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    left: list[float] = []

    def look_on(_file: object, _end: int, seconds: float) -> bool:
        left.append(seconds)
        return False

    monkeypatch.setattr("dobbin_like.log.writing.durability.may_be_synced_in_time", look_on)
    steps = Steps()
    with opened(path, 1) as (log,), opened(path, 1, lock_timeout=100) as (hasty,):
        logged = append(log, 0, b"second")

        def keep_waiting() -> None:
            log.acquire(settled=False)
            held.set()
            while not words_of(path)["WAITING"]:
                os.sched_yield()
            time.sleep(0.05)
            log.release()

        held = threading.Event()
        steps.thread(keep_waiting)
        held.wait(WAIT_SECONDS)

        def depend() -> None:
            hasty.acquire(settled=step == "acquire")
            if step == "prepare":
                hasty.prepare(Tid(hasty.last_tid + 1), [(Oid(1), 1, b"third")])
            hasty.release()
            hasty.wait_for(logged)

        with pytest.raises(LockTimeout, match="after 100 seconds"):
            depend()
        hasty.release()
        steps.join()
        slow.let_all_end()

    assert 0 < left[0] <= 100 - 0.05


def test_who_has_appended_waits_for_another_that_syncs_without_a_limit(
    path: Path, slow: SlowDisk
) -> None:
    steps = Steps()
    with opened(path, 1) as (log,), opened(path, 1, lock_timeout=0.05) as (hasty,):
        steps.thread(lambda: commit(log, 0, b"second"))
        slow.wait_until_one_syncs()
        logged = append(hasty, 1, b"third")
        waits = threading.Event()

        @steps.thread
        def _confirm() -> None:
            waits.set()
            hasty.confirm(logged)

        waits.wait(WAIT_SECONDS)
        time.sleep(0.2)
        slow.let_all_end()
        steps.join()
        catch_up(hasty)
        assert hasty.tid == logged.tid


def count_up(path: Path, name: str, go: Any, counts: Any) -> None:
    """Let three threads of this process add to objects of their own, and to one of all."""
    real, syncs = disk._datasync, []

    def sync(fd: int) -> None:
        syncs.append(fd)
        real(fd)

    disk._datasync = sync
    with open_at(path) as database:
        steps = Steps()

        def work(key: str) -> None:
            manager = database.transaction_manager
            for number in range(20):
                for attempt in manager.attempts(10_000):
                    with attempt:
                        increment(database, *((key, "all") if number % 4 == 0 else (key,)))

        go.wait(WAIT_SECONDS)
        for thread in range(3):
            steps.thread(lambda key=f"{name}{thread}": work(key))
        steps.join()
    counts.put(len(syncs))


def test_nothing_is_lost_where_threads_and_processes_commit_at_once(path: Path) -> None:
    fill(path, "all", *(f"{name}{thread}" for name in "abc" for thread in range(3)))
    go, counts = fork.Barrier(3), fork.Queue()
    workers = [fork.Process(target=count_up, args=(path, name, go, counts)) for name in "abc"]
    for worker in workers:
        worker.start()
    syncs = sum(counts.get(timeout=WAIT_SECONDS) for _ in workers)
    for worker in workers:
        worker.join(WAIT_SECONDS)
        assert worker.exitcode == 0

    with open_at(path, read_only=True) as database:
        found = {key: item["n"] for key, item in database.root.items()}
        committed = sum(not logged.failed for logged in database.transactions())
    assert found == {"all": 45, **{f"{name}{thread}": 20 for name in "abc" for thread in range(3)}}
    assert committed == 181
    assert syncs < committed + 20
    check_log(path).raise_if_bad()


# -- a sync that fails -------------------------------------------------------------------------


@pytest.mark.parametrize("instances", [1, 3])
def test_all_that_waited_for_a_sync_that_failed_are_in_doubt(
    path: Path, slow: SlowDisk, instances: int
) -> None:
    steps, doubts = Steps(), []

    def wait(log: TransactionLog, oid: int) -> None:
        logged = append(log, oid, b"in doubt")
        with pytest.raises(InDoubtError) as caught:
            log.confirm(logged)
        doubts.append(caught.value.tid)

    with opened(path, instances) as logs, TransactionLog(path) as other:
        steps.thread(lambda: wait(logs[0], 0))
        slow.wait_until_one_syncs()
        for number in (1, 2):
            end = words_of(path)["APPENDED"] or 0
            steps.thread(lambda number=number: wait(logs[number % instances], number))
            appended_until(path, end + 1)
        slow.let_it_fail()
        steps.join()
        slow.let_all_end()

        assert sorted(doubts) == [2, 3, 4]
        assert words_of(path)["FAILURES"] == 1
        for each in (*logs, other):
            assert visible(each) == []
        commit(other, 5, b"goes on")  # Whoever takes the lock repairs the log before.
        assert words_of(path)["FAILURES"] == 2
        for each in logs:
            assert visible(each) == [2, 3, 4, 5]
        for each in logs:
            commit(each, 6, b"and on")
    assert len(tids(path)) == 5 + instances


@pytest.mark.parametrize("sync", [True, False])
def test_whoever_opens_the_log_repairs_it_though_others_have_it_open(
    path: Path, slow: SlowDisk, *, sync: bool
) -> None:
    steps = Steps()
    with opened(path, 1) as (log,):

        def wait() -> None:
            with pytest.raises(InDoubtError):
                commit(log, 0, b"in doubt")

        steps.thread(wait)
        slow.wait_until_one_syncs()
        slow.let_it_fail()
        steps.join()
        slow.let_all_end()
        with TransactionLog(path, sync=sync) as other:
            assert words_of(path)["FAILURES"] == 2
            assert [logged.tid for logged in other.transactions()] == [1, 2]
        assert visible(log) == [2]
        commit(log, 0, b"goes on")


def test_a_repair_waits_for_whoever_syncs(
    path: Path, slow: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word may be damaged at any time, and both are about to store DURABLE."""
    order: list[str] = []
    arrived = threading.Event()
    steps = Steps()

    def take(fd: int, where: str, which: int) -> None:
        arrived.set()
        range_wait_take(fd, where, which)

    def recover_then(log: ReadableLog) -> None:
        order.append("repairs")
        arrived.set()
        recover(log)

    with opened(path, 2) as (first, second):

        def sync() -> None:
            first.confirm(logged)
            order.append("has synced")

        logged = append(first, 0, b"syncs")
        steps.thread(sync)
        slow.wait_until_one_syncs()
        range_wait_take = range_wait.take
        monkeypatch.setattr(range_wait, "take", take)
        monkeypatch.setattr(presence, "recover", recover_then)
        with path.open("r+b") as file:
            file.seek(word_offset(FAILURES))
            file.write(b"\xff" * WORD_SIZE)
        steps.thread(lambda: commit(second, 1, b"repairs"))
        assert arrived.wait(WAIT_SECONDS)
        order.append("ends")
        slow.let_all_end()
        steps.join()

        assert order[0] == "ends"
        assert sorted(order) == ["ends", "has synced", "repairs"]
        assert visible(first) == [2, 3]


def test_a_repair_writes_again_what_is_not_durable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a sync that failed the system takes what it has for written."""
    written: list[tuple[int, int]] = []
    pwrite = os.pwrite

    def write(fd: int, data: bytes, offset: int) -> int:
        written.append((offset, offset + len(data)))
        return pwrite(fd, data, offset)

    with TransactionLog(path) as log, TransactionLog(path) as other:
        first = commit(log, 0, b"first")
        fail_syncs(monkeypatch, 1)
        with pytest.raises(InDoubtError):
            commit(log, 0, b"in doubt" * 100)
        end = words_of(path)["APPENDED"]
        monkeypatch.setattr(os, "pwrite", write)

        other.acquire()
        other.release()

        assert (first.end, end) in written
        assert visible(other) == [1, 2]


def test_what_waits_behind_a_repair_is_in_doubt_whatever_is_durable_by_then(path: Path) -> None:
    """Where its frame was, there may be that of another."""
    with TransactionLog(path) as log, TransactionLog(path) as other:
        commit(log, 0, b"first")
        waits = append(log, 1, b"waits")
        with pytest.MonkeyPatch.context() as patch:
            fail_syncs(patch, 1)
            with pytest.raises(InDoubtError):
                commit(other, 2, b"in doubt")
        other.acquire()
        other.release()
        assert visible(other) == [2, 3]

        with pytest.raises(InDoubtError, match="repaired"):
            log.confirm(waits)


def test_what_was_lost_with_a_sync_that_failed_is_forgotten(path: Path) -> None:
    """The system has dropped the pages, and others read zeros there."""
    with TransactionLog(path) as log, TransactionLog(path) as other:
        first = commit(log, 0, b"first")
        with pytest.MonkeyPatch.context() as patch:
            fail_syncs(patch, 1)
            with pytest.raises(InDoubtError):
                commit(log, 0, b"lost")
        end = words_of(path)["APPENDED"] or 0
        with path.open("r+b") as file:
            file.seek(first.end)
            file.write(bytes(end - first.end))

        instead = commit(other, 0, b"instead")
        assert [logged.tid for logged in log.read_news()] == [instead.tid]
        log.apply(log.read_news())
        assert log.load(Oid(0)).data == b"instead"  # type: ignore[union-attr]
        last = commit(log, 0, b"goes on")
    assert tids(path) == [1, instead.tid, last.tid]


def test_pages_that_are_lost_before_anybody_was_told_are_no_damage(path: Path) -> None:
    """The leader that got the error was killed; its pages are gone."""
    with TransactionLog(path) as log, TransactionLog(path) as other:
        first = commit(log, 0, b"first")
        lost = append(log, 0, b"lost")
        with path.open("r+b") as file:
            file.seek(first.end)
            file.write(bytes(lost.end - first.end))

        commit(other, 1, b"instead")
        with pytest.raises(InDoubtError):
            log.confirm(lost)
        assert [list(logged.oids) for logged in log.read_news()] == [[1]]
        commit(log, 0, b"goes on")
    assert len(tids(path)) == 3


def test_what_is_lost_stays_in_doubt_though_another_thread_commits_with_its_tid(
    path: Path,
) -> None:
    with TransactionLog(path) as log, TransactionLog(path) as other:
        first = commit(log, 0, b"first")
        lost = append(log, 0, b"lost")
        with path.open("r+b") as file:
            file.seek(first.end)
            file.write(bytes(lost.end - first.end))
        other.acquire()
        other.release()

        assert commit(log, 1, b"instead").tid == lost.tid
        with pytest.raises(InDoubtError, match="repaired"):
            log.confirm(lost)


@pytest.mark.parametrize("instances", [1, 2])
def test_no_other_transaction_gets_the_tid_of_what_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch, instances: int
) -> None:
    # Where the clock is behind the log, that of the last one was counted on.
    monkeypatch.setattr(lock, "time", SimpleNamespace(time_ns=lambda: 0))
    fill(path, "a", "b")
    databases = [open_at(path) for _ in range(instances)]
    in_doubt, other = databases[0], databases[-1]
    increment(in_doubt, "a")
    start = words_of(path)["APPENDED"] or 0
    with pytest.MonkeyPatch.context() as patch:
        fail_syncs(patch, 1)
        with pytest.raises(InDoubtError) as caught:
            in_doubt.transaction_manager.commit()
    in_doubt.transaction_manager.abort()
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes((words_of(path)["APPENDED"] or 0) - start))

    increment(other, "b")
    other.transaction_manager.commit()

    for database in databases:
        assert database.outcome(caught.value.tid) is False
        assert database.outcome(other.tid) is True
        database.close()


def test_a_database_is_told_that_a_commit_is_in_doubt_and_what_became_of_it(path: Path) -> None:
    fill(path, "a", "b")
    with open_at(path) as database, open_at(path) as other:
        manager = database.transaction_manager
        increment(database, "a")
        database.root["a"]["new"] = PersistentDict(n=7)
        with pytest.MonkeyPatch.context() as patch:
            fail_syncs(patch, 1)
            with pytest.raises(InDoubtError) as caught:
                manager.commit()
        manager.abort()
        assert database.root["a"]["n"] == 0

        increment(database, "b")
        manager.commit()

        for each in (database, other):
            each.transaction_manager.begin()
            assert each.root["a"]["n"] == each.root["b"]["n"] == 1
            assert each.root["a"]["new"]["n"] == 7
        assert caught.value.tid in [logged.tid for logged in database.transactions()]
        increment(database, "a")
        manager.commit()
    check_log(path).raise_if_bad()


def test_a_commit_in_doubt_that_another_thread_has_seen_comes_to_its_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log was repaired, with the transaction in it, before the one that waited was told."""
    with TransactionLog(path) as log, Database(log) as database:
        database.set_root(PersistentDict(n=0))
        transaction.commit()
        confirm = log.confirm

        def be_seen() -> None:
            assert database.root is not None
            transaction.begin()
            assert database.root["n"] == 1

        def be_in_doubt(logged: LoggedTransaction) -> None:
            confirm(logged)
            in_thread(be_seen)
            raise InDoubtError(log.path, logged.tid, "a sync has failed")

        with monkeypatch.context() as patch:
            patch.setattr(log, "confirm", be_in_doubt)
            checkout(database.root)
            database.root["n"] = 1
            with pytest.raises(InDoubtError):
                transaction.commit()
            transaction.abort()

        assert database.root["n"] == 1
        checkout(database.root)
        database.root["n"] += 1
        transaction.commit()
        assert database.root["n"] == 2


def test_a_sync_that_fails_at_the_end_is_an_error_and_the_log_is_closed(path: Path) -> None:
    log = TransactionLog(path)
    commit(log, 0, b"first")
    append(log, 0, b"second")
    with pytest.MonkeyPatch.context() as patch:
        fail_syncs(patch, *range(1, 10))
        log.close()
    assert log.closed
    with TransactionLog(path) as again:
        assert [logged.tid for logged in again.transactions()] == [1, 2]


# -- those that die ---------------------------------------------------------------------------


def test_what_a_leader_that_died_may_have_lost_is_written_again(path: Path) -> None:
    """Its sync may have failed, and the next one tells nothing."""
    with TransactionLog(path) as log:
        first = commit(log, 0, b"first")

        def die() -> None:
            disk._datasync = lambda fd: os._exit(7)
            commit(log, 1, b"dies")

        assert exit_code(forked(die)) == 7
        assert words_of(path)["SYNCING"] == words_of(path)["APPENDED"] > first.end  # type: ignore[operator]
        written: list[tuple[int, int]] = []
        with pytest.MonkeyPatch.context() as patch:
            pwrite = os.pwrite
            patch.setattr(
                os,
                "pwrite",
                lambda fd, data, at: written.append((at, at + len(data))) or pwrite(fd, data, at),
            )
            logged = commit(log, 2, b"goes on")
        assert any(start <= first.end and logged.offset <= end for start, end in written)
        assert [list(each.oids) for each in log.transactions()] == [[0], [1], [2]]


@pytest.mark.parametrize("sync", [True, False])
def test_what_a_dead_holder_has_written_whole_is_adopted_by_the_next(
    path: Path, *, sync: bool
) -> None:
    with TransactionLog(path) as log, TransactionLog(path) as reader:
        commit(log, 0, b"first")
        reader.apply(reader.read_news())

        def die() -> None:
            mine = TransactionLog(path, sync=sync)
            mine._writing.writer._tell_end = lambda: os._exit(7)
            commit(mine, 1, b"whole")

        assert exit_code(forked(die)) == 7
        assert visible(reader) == visible(log) == []
        commit(log, 2, b"next")

        assert [list(logged.oids) for logged in reader.read_news()] == [[1], [2]]
    assert len(tids(path)) == 3


def test_of_what_a_dead_holder_has_written_in_part_nothing_is_left(path: Path) -> None:
    """Or else a later frame might lead to it, if a clock goes back."""
    with TransactionLog(path) as log:
        commit(log, 0, b"first")

        def die() -> None:
            pwrite = os.pwrite

            def half(fd: int, data: bytes, offset: int) -> int:
                if b"torn" not in data:
                    return pwrite(fd, data, offset)
                pwrite(fd, data[:-1000], offset)
                os._exit(7)

            os.pwrite = half
            commit(TransactionLog(path, sync=False), 1, b"torn" * 10_000)

        assert exit_code(forked(die)) == 7
        assert b"torn" in path.read_bytes()
        log.acquire()
        log.release()

        assert b"torn" not in path.read_bytes()
        commit(log, 2, b"next")
    assert len(tids(path)) == 2


class Killer:
    """Ends this process before or after its *number*-th system call, or in the midst of it."""

    def __init__(self, number: int) -> None:
        import fcntl

        self.left = number
        names = ("pread", "pwrite", "ftruncate", "fstat", "stat", "fsync", "open", "close")
        for module, name in [(os, name) for name in names] + [
            (fcntl, "fcntl"),
            (fcntl, "flock"),
            (disk, "_datasync"),
        ]:
            setattr(module, name, self._counted(name, getattr(module, name)))

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                if name == "pwrite" and args[2] >= PAGE_SIZE:  # Words are stored at once.
                    real(args[0], args[1][: len(args[1]) // 2], args[2])
                os._exit(9)
            return real(*args, **options)

        return call


def appends(log: TransactionLog) -> None:
    commit(log, 1, b"appended" * 10)


def appends_much(log: TransactionLog) -> None:
    commit(log, 1, bytes(range(256)) * 1000)


def decides(log: TransactionLog) -> None:
    log.acquire()
    log.apply(log.read_news())
    logged = log.prepare(Tid(50), [(Oid(1), 1, b"decided" * 10)])
    log.decide(wait=False)
    log.release()
    log.confirm(logged)


def fails(log: TransactionLog) -> None:
    log.acquire()
    log.apply(log.read_news())
    log.prepare(Tid(50), [(Oid(1), 1, b"prepared" * 10)])
    log.fail(Tid(50), "why")
    log.release()


def streams(log: TransactionLog) -> None:
    import io

    log.acquire()
    log.apply(log.read_news())
    log.write_stream(io.BytesIO(b"x" * 100_000))
    log.append(Tid(50), [(Oid(1), 1, b"has a stream")])
    log.release()


def saves(log: TransactionLog) -> None:
    log._writing.writer.save_after_entries = 0
    commit(log, 1, b"one")
    commit(log, 1, b"two")


def closes(log: TransactionLog) -> None:
    commit(log, 1, b"one")
    log.close()


WORK = [appends, appends_much, decides, fails, streams, saves, closes]


@pytest.mark.slow
@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("work", WORK)
def test_whoever_dies_between_any_two_system_calls_leaves_a_log_that_all_agree_about(
    path: Path, work: Callable[[TransactionLog], None], *, alone: bool, sync: bool
) -> None:
    """With others that have the log open, and alone: then the next one recovers."""
    outcomes = Counter[int]()
    for number in range(1, 1000):
        path.unlink(missing_ok=True)
        with TransactionLog(path) as log:
            commit(log, 0, b"first")
        with opened(path, 0 if alone else 2) as others:

            def die(number: int = number) -> None:
                log = TransactionLog(path, sync=sync)
                Killer(number)
                work(log)

            code = exit_code(forked(die))
            assert code in (0, 9)
            if not alone:
                before = visible(others[0])
                log, reader = others
            else:
                before = tids(path)[1:]
                log, reader = TransactionLog(path), TransactionLog(path, read_only=True)
            assert log.load(Oid(0)) is not None
            commit(log, 2, b"next")
            reader.apply(reader.read_news())
            found = [each.tid for each in reader.transactions()]
            assert found == [each.tid for each in log.transactions()]
            assert found[1 : 1 + len(before)] == before
            assert reader.load(Oid(2)).data == b"next"  # type: ignore[union-attr]
            outcomes[len(found)] += 1
            if alone:
                log.close()
                reader.close()
        assert tids(path) == found
        if code == 0:
            break
    assert code == 0
    assert len(outcomes) > 1
    assert outcomes[2] > 1


def test_a_holder_that_was_killed_leaves_no_transaction_in_part(path: Path) -> None:
    """The same, of one kind of work, at some of its system calls."""
    with TransactionLog(path) as log, TransactionLog(path) as reader:
        commit(log, 0, b"first")
        for number in range(1, 60, 6):

            def die(number: int = number) -> None:
                mine = TransactionLog(path)
                Killer(number)
                for _ in range(10):
                    appends(mine)

            assert exit_code(forked(die)) == 9
            commit(log, 2, b"next")
            reader.apply(reader.read_news())
            assert [each.tid for each in reader.transactions()] == [
                each.tid for each in log.transactions()
            ]
    assert len(tids(path)) > 11


# -- forks that the hooks do not see --------------------------------------------------------------


def test_a_child_of_a_fork_that_no_hook_has_seen_does_not_hold_the_lock_of_its_parent(
    path: Path,
) -> None:
    with TransactionLog(path) as log:
        commit(log, 0, b"first")
        log.acquire()

        def child() -> None:
            assert not log.held
            log.release()
            log._writing.lock_timeout = 0.01
            with pytest.raises(LockTimeout):
                log.acquire()
            assert not log.held

        assert forked_in_c(child) == 0
        assert log.held
        assert in_child(lambda: held_by_another(path))
        log.release()
        commit(log, 0, b"second")
    assert len(tids(path)) == 2


def held_by_another(path: Path) -> bool:
    with TransactionLog(path, lock_timeout=0) as log:
        try:
            log.acquire()
        except LockTimeout:
            return True
    return False


def test_children_of_forks_that_no_hook_has_seen_commit_as_others_do(path: Path) -> None:
    fill(path, "a", "b")
    with open_at(path) as database:
        increment(database, "a")
        database.transaction_manager.commit()

        def child() -> None:
            for _ in range(5):
                for attempt in database.transaction_manager.attempts(100):
                    with attempt:
                        increment(database, "a", "b")
            database.close()

        for _ in range(3):
            assert forked_in_c(child) == 0
            increment(database, "a")
            for attempt in database.transaction_manager.attempts(100):
                with attempt:
                    increment(database, "a")
        database.transaction_manager.begin()
        assert (database.root["a"]["n"], database.root["b"]["n"]) == (19, 15)
    check_log(path).raise_if_bad()


@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="CPython without the global lock may hang or crash in a child forked beside threads",
)
def test_threads_of_a_child_that_no_hook_has_seen_begin_at_once(path: Path) -> None:
    """As those of a server in C: they use the log for the first time in that process."""
    fill(path, *"abcd")
    with Database(TransactionLog(path, sync=False)) as database:
        begin = threading.Barrier(4)

        def work(name: str) -> None:
            begin.wait()
            for _ in range(3):
                for attempt in transaction.attempts(1000):
                    with attempt:
                        checkout(database.root[name])
                        database.root[name]["new"] = PersistentDict(n=1)
                        database.root[name]["n"] += 1

        def child() -> None:
            steps = Steps()
            for name in "abcd":
                steps.thread(partial(work, name))
            steps.join()

        for _ in range(10):
            assert forked_in_c(child) == 0
        transaction.begin()
        assert [database.root[name]["n"] for name in "abcd"] == [30] * 4
    check_log(path).raise_if_bad()


# -- other threads -------------------------------------------------------------------------------


def test_a_log_is_closed_while_a_thread_waits_for_the_disk(path: Path, slow: SlowDisk) -> None:
    steps = Steps()
    log = TransactionLog(path)
    steps.thread(lambda: log.confirm(append(log, 0, b"second")))
    slow.wait_until_one_syncs()
    steps.thread(log.close)
    slow.let_all_end()
    steps.join()

    assert tids(path) == [1, 2]


def test_who_waits_for_the_disk_is_not_told_that_it_is_there_if_closing_is_interrupted(
    path: Path,
) -> None:
    log = TransactionLog(path)
    commit(log, 0, b"first")
    logged = append(log, 0, b"second")

    def interrupt(_fd: int) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "_datasync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            log.close()

    with pytest.raises(InDoubtError, match="interrupted"):
        log.confirm(logged)


@pytest.mark.parametrize("sync", [False, True], ids=["loose", "synced"])
def test_a_log_of_which_the_closing_is_interrupted_is_closed_or_can_be(
    path: Path, *, sync: bool
) -> None:
    """It said that it was closed, and kept the file open, and counted among its writers."""

    def interrupt() -> None:
        if sys._getframe(2).f_code is not finish_despite_interrupts.__code__:  # Not at its begin.
            raise KeyboardInterrupt

    for number in each_step():
        log = TransactionLog(path, sync=sync)
        append(log, 0, b"state")
        try:
            came = handled_at_step(number, log.close, interrupt)
        except KeyboardInterrupt:
            came = True
        log.close()
        assert log.closed, number
        assert log._reading.file.fd < 0, number
        if not came:
            break


def test_a_timeout_of_the_program_in_a_sync_is_no_error_of_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = disk._datasync

    def sync(fd: int) -> None:
        real(fd)
        raise TimeoutError  # By a handler of SIGALRM, when the call has returned.

    with opened(path, 2) as (log, other):
        commit(log, 0, b"first")
        with monkeypatch.context() as patch:
            patch.setattr(disk, "_datasync", sync)
            logged = append(log, 0, b"second")
            with pytest.raises(TimeoutError):
                log.confirm(logged)
            catch_up(other)
            other.acquire(settled=False)
            with pytest.raises(TimeoutError):
                other.wait_for(other.unseen[-1])
            other.release()
        assert words_of(path)["FAILURES"] == 0
        log.confirm(logged)
        assert words_of(path)["DURABLE"] == logged.end


def test_who_waits_for_another_commit_when_the_log_is_closed_need_not_any_more(
    path: Path,
) -> None:
    for options in ({}, {"lock_timeout": 1.0}):
        log = TransactionLog(path, **options)  # type: ignore[arg-type]
        catch_up(log)
        logged = append(log, 0, b"state")
        log.close()
        log.wait_for(logged)


def test_a_signal_handler_in_the_middle_of_a_sync_is_refused_what_would_be_synced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DURABLE was set back behind what it had committed; by another instance, it hung."""
    refused = []
    real = disk._datasync
    with opened(path, 1) as (log,):
        commit(log, 0, b"first")
        with opened(path, 1) as (other,):
            other.apply(other.read_news())

            def sync(fd: int) -> None:
                real(fd)
                for each in (log, other):
                    with pytest.raises(SelfWaitError):
                        commit(each, 1, b"in a signal handler")
                    refused.append(each.held)

            monkeypatch.setattr(disk, "_datasync", sync)
            commit(log, 0, b"second")
            monkeypatch.undo()
            commit(other, 1, b"after it")
            commit(log, 1, b"after it")
    assert refused == [False, False]
    assert tids(path) == [1, 2, 3, 4]


def test_a_lock_that_is_waited_for_in_vain_is_no_matter_of_the_disk(
    path: Path, slow: SlowDisk
) -> None:
    """The commit lock is free while the disk works, so that no timeout for it passes."""
    steps = Steps()
    with opened(path, 1) as (log,), TransactionLog(path, lock_timeout=0) as other:
        steps.thread(lambda: commit(log, 0, b"second"))
        slow.wait_until_one_syncs()
        logged = in_thread(append, other, 1, b"third")
        slow.let_all_end()
        steps.join()
        other.confirm(logged)
    assert tids(path) == [1, 2, 3]


@pytest.mark.timeout(10)
@pytest.mark.parametrize("what", ["lock", "sync"])
def test_who_can_not_wait_for_another_commit_is_told_and_does_not_try_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It held the commit lock, and ended by a signal only."""

    def fails(*_arguments: object) -> NoReturn:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with opened(path, 2) as (log, other):
        commit(other, 0, b"first")
        waits = append(log, 0, b"second")
        with monkeypatch.context() as patch:
            if what == "lock":
                patch.setattr(range_wait, "take", fails)
            else:  # Nor can it be noted that it has failed.
                patch.setattr(disk, "_datasync", fails)
                patch.setattr(os, "pwrite", fails)
            with pytest.raises(OSError, match="Read-only file system"):
                other.acquire()
        assert not other.held
        log.confirm(waits)
    assert tids(path) == [1, waits.tid]
