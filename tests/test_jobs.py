"""``JobQueue``: each job is claimed by one worker at a time, and done once or again."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sys
import time
import warnings
from contextlib import suppress
from datetime import timedelta
from itertools import chain
from queue import Empty
from typing import Any

import pytest
import transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dobbin_like import (
    ConflictError,
    Database,
    JobQueue,
    MemoryLog,
    PersistentDict,
    PersistentList,
    TransactionLog,
    checkout,
)
from dobbin_like.exc import (
    BlockError,
    ClaimDroppedWarning,
    ClassNotSupported,
    ClosedError,
    LeaseLostError,
    NoSuchAttributeError,
    UncommittedChangesError,
)
from dobbin_like.jobs.patience import Patience
from tests.helpers import processes
from tests.helpers.interrupts import each_step, interrupted_at_step
from tests.helpers.steps import Steps, in_thread
from tests.helpers.transactions import commit_elsewhere

LONG = 1000.0
WAIT = 60.0


def open_jobs(database: Database, **options: Any) -> JobQueue:
    with database.transaction():
        root: Any = PersistentDict(jobs=JobQueue(**options), done=PersistentList())
        database.set_root(root)
    jobs: JobQueue = root["jobs"]
    return jobs


@pytest.fixture
def jobs(database):
    return open_jobs(database)


def put(database: Database, *items: Any, **how: Any) -> None:
    with database.transaction() as root:
        for item in items:
            root["jobs"].put(item, **how)


def items(jobs: Any) -> list[Any]:
    return [job.item for job in jobs]


def claimed(jobs: JobQueue, **how: Any) -> Any:
    return jobs.claim(timeout=0, **how)


def do(database: Database, claim: Any, error: Exception | None = None) -> None:
    """Store that the job was done, and fail with *error*."""
    with claim as item:
        done = database.root["done"]
        checkout(done)
        done.append(item)
        if error is not None:
            raise error


def failed_count(database: Database) -> int:
    return sum(record.failed for record in database.transactions())


# A generator that is let go of in the midst can't raise one.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_job_whose_claim_is_interrupted_is_there_for_the_next_one(database, jobs):
    """An interrupt out of the commit left it to nobody until its lease had run out."""
    put(database, 1)
    for step in each_step(stride=5):
        held = []
        came = interrupted_at_step(step, lambda held=held: held.append(claimed(jobs, lease=LONG)))
        claim = held.pop() if held else claimed(jobs)
        with database.transaction():
            claim.release()
        if not came:
            break
    assert step > 500


# -- claiming -------------------------------------------------------------------------------


def test_jobs_are_claimed_in_the_order_of_their_commits(database, jobs, again):
    put(database, 1, 2)
    commit_elsewhere(lambda: jobs.put(3))

    for expected in (1, 2, 3):
        with claimed(jobs) as item:
            assert item == expected

    assert list(jobs) == []
    assert len(again().root["jobs"]) == 0


@pytest.mark.filterwarnings("ignore::dobbin_like.exc.ClaimDroppedWarning")
def test_those_of_higher_priority_come_first(database, jobs):
    put(database, "low")
    put(database, "high", "high too", priority=9)
    put(database, "middle", priority=4)

    expected = ["high", "high too", "middle", "low"]
    assert items(jobs) == expected
    assert [claim.item for claim in jobs.claims(LONG, timeout=0)] == expected


@pytest.mark.parametrize("priority", [-1, 10, 1.0, "1", None])
def test_a_priority_that_is_none_is_refused(jobs, priority):
    with pytest.raises(ValueError, match="a priority from 0 to 9"):
        jobs.put(1, priority=priority)


def test_a_queue_needs_an_attempt(database):
    with pytest.raises(ValueError, match="at least 1"):
        JobQueue(max_attempts=0)


NO_SECONDS = [timedelta(1), "60", float("nan"), True]


@pytest.mark.parametrize("span", NO_SECONDS)
def test_a_time_span_that_is_none_is_refused(jobs, span):
    jobs.put(1)
    transaction.commit()
    claim = jobs.claim()
    uses = (
        lambda: jobs.put(2, delay=span),
        lambda: jobs.claim(span, timeout=0),
        lambda: jobs.claim(timeout=span),
        lambda: claim.extend(span),
        lambda: claim.nack(delay=span),
        lambda: JobQueue(backoff=span),
    )
    for use in uses:
        with pytest.raises((TypeError, ValueError), match="expected seconds"):
            use()
    with claim:
        pass
    assert not len(jobs)


def test_a_lease_below_0_is_refused(jobs):
    jobs.put(1)
    transaction.commit()
    claim = jobs.claim()
    for use in (
        lambda: jobs.claim(-1, timeout=0),
        lambda: claim.extend(-0.5),
        lambda: JobQueue(backoff=-1),
    ):
        with pytest.raises(ValueError, match="expected 0 seconds or more"):
            use()
    claim.ack()


def test_a_job_is_there_when_the_transaction_commits_that_puts_it(database, jobs):
    def put_and_fail() -> None:
        with database.transaction():
            jobs.put(1)
            assert items(jobs) == [1]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        put_and_fail()
    assert len(jobs) == 0


def test_jobs_can_be_put_into_a_queue_that_is_not_stored_yet(database):
    jobs: JobQueue[int] = JobQueue()
    with database.transaction():
        jobs.put(1)
        database.set_root(jobs)

    assert claimed(jobs).item == 1


def test_what_is_claimed_is_nobody_elses(database, jobs, again):
    put(database, 1, 2)

    assert claimed(jobs).item == 1
    assert claimed(again().root["jobs"]).item == 2
    for queue in (jobs, again().root["jobs"]):
        with pytest.raises(Empty):
            claimed(queue)
    assert (len(jobs), jobs.qsize(), jobs.empty()) == (2, 0, True)


def test_a_delayed_job_waits(database, jobs):
    put(database, "later", delay=LONG)
    put(database, "now", delay=-1)

    assert (len(jobs), jobs.qsize(), jobs.empty()) == (2, 1, False)
    assert claimed(jobs).item == "now"
    with pytest.raises(Empty):
        claimed(jobs)


def test_a_worker_waits_for_a_delay_to_end(database, jobs):
    put(database, "soon", delay=0.02)

    claim = jobs.claim(timeout=WAIT)

    assert claim.item == "soon"
    assert claim.job._p_serial / 1e6 >= claim.job.due - 60  # The lease began when it was due.


def test_it_tells_how_many_are_due(database, jobs):
    put(database, 1, 2)
    put(database, 3, delay=LONG)
    claimed(jobs, lease=0)

    assert (len(jobs), jobs.qsize(), jobs.empty()) == (3, 2, False)
    claimed(jobs)
    assert (jobs.qsize(), jobs.empty()) == (1, False)
    assert repr(jobs) == "<JobQueue: 3 jobs, 0 dead>"


# -- how a claim ends -----------------------------------------------------------------------


def test_a_block_acknowledges_with_what_it_stores(database, jobs, again):
    put(database, "work")
    tids = len(list(database.transactions()))

    with claimed(jobs) as item:
        checkout(database.root["done"])
        database.root["done"].append(item)

    assert list(again().root["done"]) == ["work"]
    assert len(again().root["jobs"]) == 0
    assert len(list(database.transactions())) == tids + 2


def test_what_fails_is_tried_again_later(database, jobs):
    put(database, "work")

    with pytest.raises(ZeroDivisionError) as caught:
        do(database, claimed(jobs), ZeroDivisionError("no"))

    assert caught.value.__context__ is None
    assert list(database.root["done"]) == []
    (job,) = jobs
    assert (job.attempts, job.left, job.claimed, job.error) == (
        1,
        4,
        False,
        "ZeroDivisionError: no",
    )
    assert 0.5 < job.due - job._p_serial / 1e6 < 1.5
    with pytest.raises(Empty):
        claimed(jobs)


def test_the_backoff_grows(database):
    jobs = open_jobs(database, backoff=LONG, max_attempts=9)
    put(database, "work")
    delays = []
    for _ in range(4):
        claim = claim_of_next(jobs)
        with database.transaction():
            claim.nack()
        (job,) = jobs
        delays.append(round(job.due - job._p_serial / 1e6, 1))

    assert delays == [1000.0, 2000.0, 3600.0, 3600.0]


def claim_of_next(jobs: Any) -> Any:
    """Claim the job though its backoff has not ended."""
    (job,) = jobs
    if job.due is not None:
        with jobs._p_jar.transaction():
            checkout(job, jobs.waiting)
            del jobs.waiting[job.due, job.id]
            job.due = 0.0
            jobs.waiting[job.due, job.id] = job
    return claimed(jobs)


def test_what_fails_too_often_is_dead(database):
    jobs = open_jobs(database, max_attempts=2, backoff=0)
    put(database, "bad")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), claimed(jobs):
            raise ZeroDivisionError

    assert (len(jobs), len(jobs.dead)) == (0, 1)
    (job,) = jobs.dead.values()
    assert (job.item, job.attempts, job.error) == ("bad", 2, "ZeroDivisionError")

    with database.transaction():
        jobs.requeue(job)

    assert (len(jobs), len(jobs.dead), job.left) == (1, 0, 2)
    claim = claimed(jobs)
    assert (claim.item, claim.attempt) == ("bad", 3)
    with database.transaction(), pytest.raises(KeyError):
        jobs.requeue(job)


def test_only_what_is_dead_is_tried_again_and_the_error_says_what_it_is(database):
    jobs = open_jobs(database, max_attempts=2)
    with database.transaction():
        job, later = jobs.put("a"), jobs.put("b", delay=100)

    def refused(job):
        with database.transaction(), pytest.raises((KeyError, TypeError)) as e:
            jobs.requeue(job)
        return str(e.value)

    assert f"job {job.id:x} is not among the dead of this queue" in refused(job)
    assert "can be claimed already" in refused(job)
    assert "waits for its delay to end" in refused(later)
    with claimed(jobs):
        assert "a worker has claimed it" in refused(job)
    assert "was acknowledged" in refused(job)
    for none in job.id, None, "a":
        assert "expected a job: put() returns it" in refused(none)
    assert len(jobs) == 1


def test_a_job_that_kills_its_workers_is_dead_in_the_end(database):
    jobs = open_jobs(database, max_attempts=3)
    put(database, "deadly")
    for _ in range(3):
        assert claimed(jobs, lease=0).item == "deadly"

    with pytest.raises(Empty):
        claimed(jobs)

    assert [job.error for job in jobs.dead.values()] == ["its lease ran out"]


@pytest.mark.filterwarnings("ignore::dobbin_like.exc.ClaimDroppedWarning")
def test_many_that_are_due_are_moved_bit_by_bit(database, jobs):
    put(database, *range(250), delay=0.000001)

    assert sorted(claim.item for claim in jobs.claims(LONG, timeout=0)) == [*range(250)]


def test_who_comes_too_late_has_nothing_stored(database, jobs, again):
    put(database, "work")
    slow = claimed(jobs, lease=0)
    other = again()
    fast = claimed(other.root["jobs"])

    with pytest.raises(LeaseLostError) as caught:
        do(database, slow)

    assert (caught.value.job_id, caught.value.attempt) == (slow.job.id, 1)
    assert list(database.root["done"]) == []
    with fast:
        pass
    for end in (slow.ack, slow.nack, slow.release, fast.ack, fast.release):
        with pytest.raises(LeaseLostError):
            end()
        transaction.abort()
        other.transaction_manager.abort()
    for claim in (slow, fast):
        with pytest.raises(LeaseLostError):
            claim.extend(1)


def test_a_lease_that_ran_out_counts_until_somebody_else_claims(database, jobs):
    put(database, "work")
    with claimed(jobs, lease=0):
        pass
    assert len(jobs) == 0


def test_who_claims_while_the_job_is_acknowledged_wins(database, jobs):
    put(database, "work")
    slow = claimed(jobs, lease=0)

    with pytest.raises(ConflictError), slow:
        fast = in_thread(lambda: claimed(jobs))

    assert fast.attempt == 2
    with fast:
        pass
    assert len(jobs) == 0


def test_what_was_done_by_another_and_packed_away_is_lost(database, jobs, again):
    put(database, "work")
    slow = claimed(jobs, lease=0)
    other = again()
    with claimed(other.root["jobs"]):
        pass
    other.pack()
    transaction.begin()

    with pytest.raises(LeaseLostError):
        slow.ack()
    transaction.abort()


def test_a_conflict_is_no_attempt(database, jobs):
    put(database, "work")

    def change(whose: str) -> None:
        checkout(database.root)
        database.root["same"] = whose

    def work_beside_another() -> None:
        with claimed(jobs):
            change("mine")
            commit_elsewhere(lambda: change("theirs"))

    with pytest.raises(ConflictError):
        work_beside_another()

    (job,) = jobs
    assert (job.left, job.due, job.error) == (5, None, "")
    assert claimed(jobs).attempt == 2


def test_what_can_not_be_given_back_is_told(path, again, caplog):
    with Database(TransactionLog(path, sync=False, lock_timeout=0.01)) as database:
        jobs = open_jobs(database)
        put(database, "work")
        claim = claimed(jobs)
        other = again()
        other.storage.acquire()

        with pytest.raises(ZeroDivisionError):
            do(database, claim, ZeroDivisionError())

        other.storage.release()
        assert f"job {claim.id:x} could not be given back" in caplog.text
        (job,) = jobs
        assert job.claimed
        with claim:
            pass


def test_ctrl_c_gives_the_job_back_at_once(database, jobs):
    put(database, "work")

    with pytest.raises(KeyboardInterrupt), claimed(jobs):
        raise KeyboardInterrupt

    (job,) = jobs
    assert (job.attempts, job.left, job.claimed, job.due) == (1, 5, False, None)


def test_who_says_how_it_ends_is_not_contradicted(database, jobs):
    put(database, 1, 2, 3)
    with claimed(jobs) as _:
        claim = in_thread(lambda: claimed(jobs))  # Of another worker.
    with claim:
        claim.nack("not now", delay=LONG)
    claim = claimed(jobs)
    with claim:
        claim.release()

    late, free = sorted(jobs, key=lambda job: job.item)
    assert (late.item, late.error, late.left, late.claimed) == (2, "not now", 4, False)
    assert (free.item, free.left, free.due) == (3, 5, None)


def test_what_was_said_in_a_block_that_failed_is_taken_back(database, jobs):
    put(database, 1)
    claim = claimed(jobs)

    def acknowledge_and_fail() -> None:
        with claim:
            claim.ack()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        acknowledge_and_fail()

    assert [job.error for job in jobs] == ["ZeroDivisionError"]


def test_a_claim_may_end_in_any_transaction(database, jobs):
    put(database, 1)
    claim = claimed(jobs)

    claim.ack()
    transaction.abort()
    assert len(jobs) == 1
    with database.transaction(), claim as item:
        assert item == 1
    assert len(jobs) == 0


def test_a_block_in_a_block_that_fails_leaves_the_outer_one_as_it_was(database, jobs):
    put(database, 1)

    claim = claimed(jobs)
    with database.transaction() as root:
        checkout(root)
        root["before"] = 1
        with pytest.raises(ZeroDivisionError):
            do(database, claim, ZeroDivisionError())

    assert (database.root["before"], [*database.root["done"]]) == (1, [])
    assert [job.error for job in jobs] == ["ZeroDivisionError"]


def test_a_lease_can_be_extended(database, jobs, again):
    put(database, 1)
    claim = claimed(jobs, lease=0)

    claim.extend(LONG)

    with pytest.raises(Empty):
        claimed(again().root["jobs"])
    with claim:
        pass
    assert len(jobs) == 0


# -- what claiming refuses ------------------------------------------------------------------


def test_a_claim_is_no_part_of_another_transaction(database, jobs):
    put(database, 1)
    claim = claimed(jobs)

    with database.transaction():
        for begin in (jobs.claim, lambda: claim.extend(1), lambda: next(iter(jobs.claims()))):
            with pytest.raises(BlockError, match="a transaction of its own"):
                begin()
    with database.reading(), pytest.raises(BlockError):
        jobs.claim()
    checkout(database.root)
    with pytest.raises(UncommittedChangesError):
        jobs.claim()
    transaction.abort()
    assert not database.storage.held


def test_a_queue_that_is_not_stored_has_no_workers():
    with pytest.raises(ValueError, match="not stored yet"):
        JobQueue().claim()


def test_waiting_ends_with_the_database(path):
    database = Database(TransactionLog(path, sync=False))
    jobs = open_jobs(database)
    steps = Steps()

    @steps.thread
    def worker() -> None:
        with pytest.raises(ClosedError):
            jobs.claim()

    database.close()
    steps.join()


# -- waiting --------------------------------------------------------------------------------


def test_a_commit_of_the_process_wakes_who_waits(database, jobs):
    publisher = database_publisher(database)
    patience = Patience(publisher, WAIT)
    patience.seen = publisher.graph.shared.tid
    steps = Steps()
    steps.thread(lambda: patience.sleep(LONG))
    while not publisher.waiting:
        time.sleep(0.001)

    put(database, 1)

    steps.join()
    assert not publisher.waiting


def test_what_was_committed_before_is_not_waited_for(database, jobs):
    publisher = database_publisher(database)
    patience = Patience(publisher, WAIT)
    patience.seen = publisher.graph.shared.tid

    put(database, 1)
    patience.sleep(LONG)

    assert list(patience.pauses()) == []
    assert not publisher.waiting


def database_publisher(database: Database) -> Any:
    from dobbin_like.database import store_of

    return store_of(database).publisher


def test_a_worker_in_a_thread_waits_for_what_is_put(database, jobs):
    steps = Steps()
    found: list[int] = []

    @steps.thread
    def worker() -> None:
        for claim in jobs.claims(timeout=WAIT):
            with claim as item:
                found.append(item)
            if item == 9:
                return

    for item in range(10):
        put(database, item)
    steps.join()
    assert found == [*range(10)]


def test_a_commit_of_another_instance_is_found_by_who_waits(database, jobs, path):
    publishers: list[Any] = []
    steps = Steps()

    @steps.thread
    def worker() -> None:
        with Database(TransactionLog(path, sync=False)) as other:
            publishers.append(database_publisher(other))
            assert other.root["jobs"].claim(timeout=WAIT).item == 1

    while not (publishers and publishers[0].waiting):
        time.sleep(0.001)
    put(database, 1)

    steps.join()


def test_a_worker_in_another_process_waits_for_what_is_put(path):
    with Database(TransactionLog(path, sync=False)) as database:
        jobs = open_jobs(database)
        child = processes.forked(lambda: work(path, 1, WAIT))

        put(database, "work")

        assert processes.exit_code(child) == 0
        transaction.begin()
        assert [item for item, _ in database.root["done"]] == ["work"]
        assert len(jobs) == 0


def test_a_forked_child_commits_though_its_parent_waits(database, jobs):
    publisher = database_publisher(database)
    steps = Steps()
    steps.thread(lambda: claimed_later(jobs))
    while not publisher.waiting:
        time.sleep(0.001)

    def child() -> int:
        put(database, 1, delay=LONG)
        return len(jobs)

    assert processes.in_child(child) == 1
    put(database, 2)
    steps.join()


def claimed_later(jobs: Any) -> None:
    with jobs.claim(timeout=WAIT) as item:
        assert item == 2


def test_ctrl_c_ends_waiting(database, jobs):
    publisher = database_publisher(database)
    steps = Steps()

    @steps.thread
    def user() -> None:
        while not publisher.waiting:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        jobs.claim(timeout=WAIT)
    steps.join()
    put(database, 1)
    assert claimed(jobs).item == 1


# -- others at the same time ----------------------------------------------------------------


def test_those_who_put_and_end_claims_do_not_conflict(database, jobs):
    put(database, *range(6), priority=3)
    mine, theirs, other = (claimed(jobs) for _ in range(3))

    with database.transaction():
        mine.ack()
        jobs.put("mine", priority=3)
        jobs.put("mine, later", delay=LONG)
        commit_elsewhere(lambda: (theirs.ack(), jobs.put("theirs", priority=3)))
        commit_elsewhere(lambda: (other.nack(delay=0), jobs.put("too", delay=LONG)))
        in_thread(lambda: claimed(jobs))

    assert items(jobs)[:5] == [4, 5, "theirs", 2, "mine"]
    assert sorted(map(str, items(jobs)[5:])) == ["3", "mine, later", "too"]
    assert failed_count(database) == 0


def work(path: Any, most: int, wait: float, lease: float = LONG, takes: float = 0) -> None:
    """Do jobs until there are none for some time: store what was done, and by which attempt."""
    with Database(TransactionLog(path, sync=False)) as database:
        for _ in range(most):
            try:
                claim = database.root["jobs"].claim(lease, wait)
            except Empty:
                return
            time.sleep(takes)
            late = (LeaseLostError, ConflictError) if lease < LONG else ()
            with suppress(*late), claim as item:
                if item == "end":
                    return
                checkout(database.root["done"])
                database.root["done"].append((item, claim.attempt))


@pytest.mark.slow
def test_workers_do_not_fail_each_other(path):
    count = 200
    with Database(TransactionLog(path, sync=False)) as database:
        jobs = open_jobs(database)
        workers = [processes.forked(lambda: work(path, count + 1, 60)) for _ in range(4)]
        for item in range(count):
            put(database, item, priority=1 + item % 3)
        for _ in workers:  # However long the others have waited for the next one.
            put(database, "end")
        assert [processes.exit_code(worker) for worker in workers] == [0] * 4

        transaction.begin()
        assert sorted(database.root["done"]) == [(item, 1) for item in range(count)]
        assert len(jobs) == 0
        assert failed_count(database) <= count // 10


@pytest.mark.slow
def test_threads_share_the_jobs(database, jobs):
    count = 100
    put(database, *range(count))
    steps = Steps()
    found: list[list[int]] = [[], [], [], []]

    def worker(own: list[int]) -> None:
        for claim in jobs.claims(timeout=0):
            with claim as item:
                own.append(item)

    for own in found:
        steps.thread(lambda own=own: worker(own))
    steps.join()
    assert sorted(chain(*found)) == [*range(count)]
    assert failed_count(database) == 0


@pytest.mark.slow
@pytest.mark.parametrize("packs", [False, True])
def test_workers_that_are_killed_lose_no_job(path, packs):
    count, generator = 150, random.Random(packs)
    with Database(TransactionLog(path, sync=False)) as database:
        jobs = open_jobs(database, max_attempts=1000)
        with database.transaction():
            put_jobs = [jobs.put(item) for item in range(count)]

        def start() -> int:
            return processes.forked(lambda: work(path, count, 2, lease=0.2, takes=0.01))

        workers = [start() for _ in range(4)]
        for _ in range(20):
            time.sleep(generator.uniform(0.005, 0.05))
            worker = workers.pop(generator.randrange(len(workers)))
            os.kill(worker, signal.SIGKILL)
            assert processes.exit_code(worker) in (-signal.SIGKILL, 0)
            workers.append(start())
            if packs:
                database.pack()
        assert [processes.exit_code(worker) for worker in workers] == [0] * 4

        transaction.begin()
        done = list(database.root["done"])
        assert sorted(item for item, _ in done) == [*range(count)]
        assert any(attempt > 1 for _, attempt in done)
        assert len(jobs) == len(jobs.dead) == 0
        if not packs:
            for job in put_jobs:
                check_leases(list(database.history(job)))


def check_leases(revisions: list[Any]) -> None:
    """Check that a job was never claimed while a lease held: *revisions* are newest first."""
    due = 0.0
    for revision in reversed(revisions):
        attempts = revision.changed.get("attempts")
        if attempts is not None and attempts[1]:
            assert revision.tid >= int(due * 1e6)
            due = revision.changed["due"][1]


def test_jobs_outlive_a_pack(database, jobs, again):
    put(database, *range(5))
    with claimed(jobs):
        pass
    claim = claimed(jobs)

    database.pack()

    with claim as item:
        assert item == 1
    assert items(again().root["jobs"]) == [2, 3, 4]


@pytest.mark.slow
def test_the_classes_are_found_by_a_program_that_does_not_import_them(database, jobs, path):
    put(database, "work")
    program = (
        "import sys; from dobbin_like import Database\n"
        "assert not any('jobs' in name for name in sys.modules)\n"
        f"with Database({str(path)!r}, read_only=True) as database:\n"
        "    print([job.item for job in database.root['jobs']])\n"
    )
    done = processes.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=processes.python_path(),
    )
    assert (done.stdout, done.stderr) == ("['work']\n", "")


def test_they_live_in_memory_too():
    with Database(MemoryLog()) as database:
        jobs = open_jobs(database)
        put(database, 1)
        with claimed(jobs) as item:
            assert item == 1
        assert len(jobs) == 0


# -- tasks ----------------------------------------------------------------------------------


def test_tasks_share_the_jobs(database, jobs):
    put(database, *range(10))

    async def worker() -> None:
        async for claim in jobs.claims(timeout=0.05):
            async with claim as item:
                checkout(database.root["done"])
                database.root["done"].append(item)
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(worker() for _ in range(3)))

    asyncio.run(main())
    assert sorted(in_thread(lambda: [*database.root["done"]])) == [*range(10)]
    assert failed_count(database) == 0


def test_a_task_that_fails_gives_its_job_back(database, jobs):
    put(database, 1)

    async def main() -> None:
        async for claim in jobs.claims():
            async with claim as item:
                checkout(database.root["done"])
                database.root["done"].append(item)
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
    assert in_thread(lambda: [job.error for job in jobs]) == ["ZeroDivisionError"]
    assert in_thread(lambda: [*database.root["done"]]) == []


def test_a_task_that_comes_too_late_has_nothing_stored(database, jobs):
    put(database, 1)
    slow = claimed(jobs, lease=0)
    claimed(jobs)

    async def main() -> None:
        async with slow as item:
            checkout(database.root["done"])
            database.root["done"].append(item)

    with pytest.raises(LeaseLostError):
        asyncio.run(main())
    assert in_thread(lambda: [*database.root["done"]]) == []


def test_a_task_waits_and_can_be_cancelled(database, jobs):
    async def worker() -> Any:
        async with await anext(aiter(jobs.claims())) as item:
            return item

    async def main() -> None:
        idle, busy = (asyncio.create_task(worker()) for _ in range(2))
        await asyncio.sleep(0.01)
        idle.cancel()
        with pytest.raises(asyncio.CancelledError):
            await idle
        await asyncio.to_thread(put, database, 1)
        assert await busy == 1

    asyncio.run(main())
    assert in_thread(lambda: len(jobs)) == 0


def test_a_job_that_is_claimed_for_a_cancelled_task_is_given_back(database, jobs):
    put(database, 1)

    async def main() -> None:
        database.storage.acquire()  # The claim has to wait.
        try:
            task = asyncio.create_task(anext(aiter(jobs.claims())))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.sleep(0)
        finally:
            database.storage.release()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    (job,) = jobs
    assert (job.claimed, job.left, job.due) == (False, 5, None)


def test_a_task_in_a_block_can_not_claim(database, jobs):
    put(database, 1)

    async def main() -> None:
        async with database.transaction():
            await anext(aiter(jobs.claims()))

    with pytest.raises(BlockError, match="a transaction of its own"):
        asyncio.run(main())


# -- a model --------------------------------------------------------------------------------


class JobsModel(RuleBasedStateMachine):
    """The jobs beside lists: those that are ready, of which the lease ran out, and held ones."""

    def __init__(self) -> None:
        super().__init__()
        self.database = Database(MemoryLog())
        self.jobs = open_jobs(self.database, max_attempts=2)
        self.ready: list[list[int]] = [[] for _ in range(10)]
        self.lapsed: list[int] = []
        self.held: dict[int, Any] = {}
        self.waiting: set[int] = set()
        self.dead: set[int] = set()
        self.lost: list[Any] = []
        self.left: dict[int, int] = {}
        self.priority: dict[int, int] = {}

    def teardown(self) -> None:
        self.database.close()

    @rule(priority=st.sampled_from([0, 5, 9]), is_late=st.booleans())
    def put(self, priority: int, is_late: bool) -> None:
        item = len(self.left)
        put(self.database, item, priority=priority, delay=LONG * is_late)
        self.left[item], self.priority[item] = 2, priority
        if is_late:
            self.waiting.add(item)
        else:
            self.ready[priority].append(item)

    @rule(lease=st.sampled_from([0.0, LONG]))
    def claim(self, lease: float) -> None:
        for item in self.lapsed:
            self.lost.append(self.held.pop(item))
            if self.left[item]:
                self.ready[self.priority[item]].append(item)
            else:
                self.dead.add(item)
        self.lapsed = []
        queue = next((queue for queue in reversed(self.ready) if queue), None)
        if queue is None:
            with pytest.raises(Empty):
                claimed(self.jobs)
            return
        item = queue.pop(0)
        self.held[item] = claim = claimed(self.jobs, lease=lease)
        assert claim.item == item
        self.left[item] -= 1
        if not lease:
            self.lapsed.append(item)

    def end(self, data: Any) -> tuple[int, Any]:
        item = data.draw(st.sampled_from(sorted(self.held)))
        if item in self.lapsed:
            self.lapsed.remove(item)
        return item, self.held.pop(item)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def ack(self, data: Any) -> None:
        _, claim = self.end(data)
        with claim:
            pass
        self.lost.append(claim)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), is_late=st.booleans())
    def nack(self, data: Any, is_late: bool) -> None:
        item, claim = self.end(data)
        with self.database.transaction():
            claim.nack(delay=LONG * is_late)
        if not self.left[item]:
            self.dead.add(item)
        elif is_late:
            self.waiting.add(item)
        else:
            self.ready[self.priority[item]].append(item)
        self.lost.append(claim)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: Any) -> None:
        item, claim = self.end(data)
        with self.database.transaction():
            claim.release()
        self.left[item] += 1
        self.ready[self.priority[item]].append(item)
        self.lost.append(claim)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def extend(self, data: Any) -> None:
        item, claim = self.end(data)
        claim.extend(LONG)
        self.held[item] = claim

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def requeue(self, data: Any) -> None:
        item = data.draw(st.sampled_from(sorted(self.dead)))
        (job,) = (job for job in self.jobs.dead.values() if job.item == item)
        with self.database.transaction():
            self.jobs.requeue(job)
        self.dead.remove(item)
        self.left[item] = 2
        self.ready[self.priority[item]].append(item)

    @precondition(lambda self: self.lost)
    @rule(data=st.data())
    def come_too_late(self, data: Any) -> None:
        claim = data.draw(st.sampled_from(self.lost))
        with pytest.raises(LeaseLostError), claim:
            pass

    @invariant()
    def is_the_same(self) -> None:
        ready = [item for queue in reversed(self.ready) for item in queue]
        assert items(self.jobs)[: len(ready)] == ready
        assert sorted(items(self.jobs)) == sorted([*ready, *self.held, *self.waiting])
        assert {job.item for job in self.jobs.dead.values()} == self.dead
        assert self.jobs.qsize() == len(ready) + len(self.lapsed)
        assert self.jobs.empty() == (not ready and not self.lapsed)


TestJobsModel = JobsModel.TestCase
TestJobsModel.settings = settings(max_examples=30, stateful_step_count=30)
TestJobsModel = pytest.mark.slow(TestJobsModel)


# -- claims that nobody ends -------------------------------------------------------------------


def test_a_loop_that_does_not_end_its_claims_is_told(database, jobs):
    put(database, "a", "b", "c")
    with pytest.warns(ClaimDroppedWarning, match=r"a loop over claims.. went on") as caught:
        items = [claim.item for claim in jobs.claims(LONG, 0)]

    assert items == ["a", "b", "c"]
    assert [each.filename for each in caught] == [__file__] * len(items)
    assert len({str(each.message) for each in caught}) == 1  # Shown once.


def run_until_told(main: Any, told: Any) -> Any:
    """Run a task, and wait for two warnings: another thread may let go of the last claim."""
    result = asyncio.run(main())
    for _ in range(500):
        if len(told) == 2:
            break
        gc.collect()
        time.sleep(0.01)
    return result


def test_a_loop_of_a_task_that_does_not_end_its_claims_is_told(database, jobs):
    async def main() -> list[str]:
        return [claim.item async for claim in jobs.claims(LONG, 0)]

    put(database, "a", "b")
    with pytest.warns(ClaimDroppedWarning) as told:
        assert run_until_told(main, told) == ["a", "b"]
    assert len(told) == 2


def test_a_claim_that_was_lengthened_and_dropped_is_told(database, jobs):
    def work() -> None:
        for claim in jobs.claims(LONG, 0):
            claim.extend(LONG)

    put(database, "a", "b")
    with pytest.warns(ClaimDroppedWarning):
        work()


def enter(claim: Any) -> None:
    with claim:
        pass


def fail_in_it(claim: Any) -> None:
    with suppress(LookupError), claim:
        raise LookupError


@pytest.mark.parametrize("end", [enter, fail_in_it, "ack", "nack", "release"])
def test_claims_that_are_ended_are_not_told(database, jobs, end):
    def end_it(claim: Any) -> None:
        if callable(end):
            end(claim)
        else:
            with database.transaction():
                getattr(claim, end)()

    put(database, "a", "b")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        claims = iter(jobs.claims(LONG, 0))
        for _ in range(2):
            claim = next(claims)
            end_it(claim)
        put(database, "c", "d")
        kept = [next(claims), next(claims)]  # For a pool, say.
        for claim in kept:
            end_it(claim)
        del claim, kept, claims
        gc.collect()


def test_a_loop_that_breaks_or_fails_is_not_told(database, jobs):
    # Whoever breaks has a reason, and an error is told by itself.
    put(database, "a", "b", "c")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _claim in jobs.claims(LONG, 0):
            break
        with suppress(LookupError):
            for _claim in jobs.claims(LONG, 0):
                raise LookupError
        jobs.claim(LONG, 0)
        del _claim
        gc.collect()


# -- taking a job back ------------------------------------------------------------------


def test_a_job_that_nobody_has_claimed_can_be_cancelled(database, jobs):
    put(database, 1, 2, 3)
    put(database, "late", delay=LONG)
    _, ready, _, late = jobs
    with database.transaction():
        assert jobs.cancel(ready)
        assert jobs.cancel(late)
        assert not jobs.cancel(ready)
    assert items(jobs) == [1, 3]
    with database.transaction():
        assert not jobs.cancel(late)


def test_a_job_that_is_claimed_done_dead_or_elsewhere_is_not_cancelled(database, jobs):
    with database.transaction() as root:
        checkout(root)
        root["others"] = JobQueue()
        elsewhere = root["others"].put(0)
    put(database, 1)
    claim = jobs.claim(lease=LONG)
    with database.transaction():
        assert not jobs.cancel(claim.job)
        assert not jobs.cancel(elsewhere)
    with database.transaction():
        claim.ack()
    with database.transaction():
        assert not jobs.cancel(claim.job)

    one = open_dead(database, jobs)
    with database.transaction():
        assert not jobs.cancel(one)
    assert list(jobs.dead.values()) == [one]
    assert len(database.root["others"]) == 1


def open_dead(database: Database, jobs: JobQueue) -> Any:
    put(database, "dies")
    claim = jobs.claim(lease=LONG)
    with database.transaction():
        checkout(claim.job)
        claim.job.left = 0
        claim.nack("it broke")
    return claim.job


def test_who_cancels_a_job_that_a_worker_claims_meanwhile_gets_a_conflict(database, jobs):
    put(database, 1, 2)
    first = next(iter(jobs))
    transaction.begin()
    assert jobs.cancel(first)
    claim = in_thread(jobs.claim)
    assert claim.job is first
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()
    with database.transaction():
        assert not jobs.cancel(first)


def test_cancelling_a_job_merges_with_putting_and_claiming_others(database, jobs):
    put(database, *range(5))
    with database.transaction():
        assert jobs.cancel(list(jobs)[3])
        in_thread(put, database, "new")
        in_thread(jobs.claim)
    with database.reading():
        assert sorted(map(str, items(jobs))) == ["0", "1", "2", "4", "new"]


def test_what_is_cancelled_must_be_a_job(jobs):
    with pytest.raises(TypeError, match="a str was given, expected a job: put"):
        jobs.cancel("1")


# -- what a queue of jobs consists of ---------------------------------------------------


@pytest.mark.parametrize("name", ["ready", "waiting", "dead"])
def test_the_content_of_a_queue_is_not_replaced(database, jobs, name):
    """The next use failed with a bare TypeError, and the jobs were gone."""
    with pytest.raises(NoSuchAttributeError, match=f"setter of {name}: a JobQueue has"):
        setattr(jobs, name, None)
    with pytest.raises(NoSuchAttributeError, match=f"deleter of {name}"):
        delattr(jobs, name)
    for value in (None, property(len)):
        with pytest.raises(ClassNotSupported, match=f"defines {name}, where a JobQueue has"):
            type("Mails", (JobQueue,), {"__module__": __name__, name: value})
