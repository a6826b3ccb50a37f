"""Where a job is, and how it gets from one place to the next. Knows no database.

::

    put ──> ready ──claim──> waiting (claimed) ──ack──> gone
    put with a delay ──> waiting ──due──> ready
    ready, or waiting with a delay ──cancel──> gone
    claimed ──nack, or its lease runs out──> waiting or ready; after the last attempt ──> dead

``ready`` has a queue for each priority, whose items merge; ``waiting`` is sorted by the time at
which a delay or a lease ends. A job is moved by the next claim, under the commit lock: two claims
never meet. What else changes a job (its worker, in any transaction) takes its key out of
``waiting``, so that it is in conflict with a claim that has found the lease run out.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final, Generic, Protocol, TypeVar

from dobbin_like.collections import BTree, PersistentDict, PersistentQueue
from dobbin_like.exc import ObjectNotFound
from dobbin_like.mistaken.arguments import check_seconds
from dobbin_like.objects.faces.base import Persistent, checkout
from dobbin_like.objects.values.short import short
from dobbin_like.timestamps import now

T = TypeVar("T")

PRIORITIES: Final = range(10)

_LONGEST_BACKOFF_SECONDS: Final = 3600.0
_MOST_MOVED: Final = 100
"""How many jobs that are due one claim moves: it is to be short, others wait for it."""


class Job(Persistent, Generic[T]):
    """A piece of work in a queue of jobs. To be read; a queue and its workers change it.

    ``item`` is what was put. ``attempts`` tells how often it was claimed, ``left`` how often it
    may still fail, ``error`` what the last failure said. ``due``: when its delay or its lease
    ends, in seconds since the epoch; None: it has neither. ``claimed``: a worker has it, or had
    it until its lease ran out.
    """

    __module__ = "dobbin_like.jobs"  # The name that logs have for it.

    def __init__(self, item: T, priority: int, left: int, due: float | None) -> None:
        # Also where a program has seeded random, and after forks.
        self.id: int = secrets.randbits(63)
        self.item = item
        self.priority = priority
        self.attempts = 0
        self.left = left
        self.due = due
        self.claimed = False
        self.error = ""

    def __repr__(self) -> str:
        return f"<Job {self.id:x}: {short(self.item)}, attempts: {self.attempts}>"


class QueueParts(Protocol):
    """What a queue of jobs consists of."""

    max_attempts: int
    backoff: float

    @property
    def ready(self) -> Sequence[PersistentQueue[Any]]: ...
    @property
    def waiting(self) -> BTree[tuple[float, int], Any]: ...
    @property
    def dead(self) -> PersistentDict[int, Any]: ...


def seconds() -> float:
    """Return the time by the clock of this machine, in seconds since the epoch."""
    return now() / 1_000_000


def due_in(delay: float) -> float | None:
    """Return when a job is due after *delay*; None: at once."""
    check_seconds(delay=delay)
    return seconds() + delay if delay > 0 else None


def next_due(jobs: QueueParts) -> float:
    """Return when a job can be claimed: a time, that may be over; infinity: there is none."""
    if any(map(len, jobs.ready)):
        return 0.0
    return jobs.waiting.min_item()[0][0] if len(jobs.waiting) else math.inf


def due_jobs(jobs: QueueParts) -> Iterator[Job[Any]]:
    """Yield those of which a delay or lease is over, the earliest first."""
    moment = seconds()
    for (due, _), job in jobs.waiting.items():
        if due > moment:
            return
        yield job


def is_claimed(jobs: QueueParts, job: Job[Any], attempt: int) -> bool:
    """Return whether *job* is what was claimed by that attempt: it was not ended or lost since.

    The waiting jobs are checked out: what is seen here is of one snapshot, that of the change.
    """
    checkout(jobs.waiting)
    with suppress(ObjectNotFound):  # It was done by another one, and packed away.
        is_same = job.claimed and job.attempts == attempt
        return is_same and (job.due, job.id) in jobs.waiting
    return False


def why_alive(jobs: QueueParts, job: Job[Any]) -> str:
    """Say where *job* is, which is not among the dead."""
    if (job.due, job.id) not in jobs.waiting:
        return "it can be claimed already, or was acknowledged, or is one of another queue"
    if job.claimed:
        return "a worker has claimed it; it comes back by itself if the lease runs out"
    return "it waits for its delay to end, and is tried again by itself"


def check_job(job: object) -> None:
    """Raise TypeError if *job* is none, but what was put, or the id of one."""
    if not isinstance(job, Job):
        text = (
            f"a {type(job).__name__} was given, expected a job: put() returns it, the queue "
            "iterates over those that are not done, and dead.values() are the dead"
        )
        raise TypeError(text)


# -- moving a job ---------------------------------------------------------------------------


def place(jobs: QueueParts, job: Job[Any]) -> None:
    """Put *job*, which is nowhere, where it can be claimed when it is due."""
    if job.due is None:
        queue = jobs.ready[job.priority]
        checkout(queue)
        queue.put(job)
    else:
        checkout(jobs.waiting)
        jobs.waiting[job.due, job.id] = job


def take(jobs: QueueParts, lease: float) -> Job[Any] | None:
    """Claim the next job; None: there is none. Requires the commit lock."""
    for job in list(islice(due_jobs(jobs), _MOST_MOVED)):
        take_out(jobs, job)
        if job.claimed and job.left < 1:
            bury(jobs, job, "its lease ran out")
        else:
            give_back(jobs, job, 0)
    for queue in reversed(jobs.ready):
        if len(queue):
            checkout(queue)
            found: Job[Any] = queue.get()
            checkout(found)
            found.attempts += 1
            found.left -= 1
            found.claimed = True
            found.due = seconds() + lease
            place(jobs, found)
            return found
    return None


def take_out(jobs: QueueParts, job: Job[Any]) -> None:
    """Take *job* out of those that wait."""
    checkout(jobs.waiting)
    assert job.due is not None, "it is ready"
    del jobs.waiting[job.due, job.id]


def drop(jobs: QueueParts, job: Job[Any]) -> bool:
    """Take *job*, which nobody has claimed, from where it is; return whether it was there."""
    if job.due is None:
        queue = jobs.ready[job.priority]
        checkout(queue)
        with suppress(ValueError):  # It is done, dead or of another queue.
            queue.remove(job)
            return True
    elif (job.due, job.id) in jobs.waiting:
        take_out(jobs, job)
        return True
    return False


def give_back(jobs: QueueParts, job: Job[Any], delay: float) -> None:
    """Let *job*, which was taken out, be claimed again after *delay* seconds."""
    checkout(job)
    job.claimed = False
    job.due = due_in(delay)
    place(jobs, job)


def fail(jobs: QueueParts, job: Job[Any], error: str, delay: float | None) -> None:
    """Note that *job*, which was taken out, has failed: it is tried again, or dead."""
    if job.left < 1:
        bury(jobs, job, error)
        return
    checkout(job)
    job.error = error
    if delay is None:
        failures = max(jobs.max_attempts - job.left, 1)
        delay = min(jobs.backoff * 2.0 ** min(failures - 1, 63), _LONGEST_BACKOFF_SECONDS)
    give_back(jobs, job, delay)


def bury(jobs: QueueParts, job: Job[Any], error: str) -> None:
    """Put *job*, which was taken out, among the dead."""
    checkout(job, jobs.dead)
    job.claimed = False
    job.due = None
    job.error = error
    jobs.dead[job.id] = job
