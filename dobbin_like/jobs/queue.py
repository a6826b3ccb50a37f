"""``JobQueue``: work for many workers, each job done by one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from queue import Empty
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from dobbin_like.collections import BTree, PersistentDict, PersistentQueue
from dobbin_like.collections.common import going_over
from dobbin_like.database import Database, store_of
from dobbin_like.exc import ObjectNotFound
from dobbin_like.jobs.claim import Claim, Claims
from dobbin_like.jobs.parts import (
    PRIORITIES,
    Job,
    check_job,
    drop,
    due_in,
    due_jobs,
    give_back,
    place,
    why_alive,
)
from dobbin_like.mistaken.arguments import check_span, check_timeout
from dobbin_like.objects.faces.base import Persistent, checkout
from dobbin_like.objects.faces.elsewhere import IN_JOB_QUEUES, telling
from dobbin_like.objects.faces.stored_attribute import taken
from dobbin_like.objects.values.refs import set_native_dict

T = TypeVar("T")

_LEASE_SECONDS: Final = 60.0


@telling(IN_JOB_QUEUES)
class JobQueue(Persistent, Generic[T]):
    """Jobs for workers in many threads and processes. No job is lost, whoever is killed.

    A job may be put in any transaction; it is there when that commits. A worker claims one for
    the time of a lease, and acknowledges it with what it has made of it. If the worker dies, or
    takes longer, another one gets the job. Jobs of higher priority come first, those of the same
    in the order of the commits. No two of these transactions are in conflict, unless they end
    the same claim. The queue checks out what it changes.

    A lease ends by the clock of the worker: where the clocks of machines differ, or are set,
    leases and delays are as much shorter or longer.

    ``dead`` has the jobs that have failed *max_attempts* times, by id: a dict, from which those
    that are of no use any more can be deleted.

    Args:
        max_attempts: How often a job is claimed before it is put among the dead.
        backoff: Seconds from the first failure to the next attempt; each time twice as many.
    """

    __module__ = "dobbin_like.jobs"  # The name that logs have for it.

    _p_content = frozenset({"ready", "waiting", "dead"})
    _p_options = frozenset({"max_attempts", "backoff"})

    if TYPE_CHECKING:  # By its name, the module is another one, without these classes.
        max_attempts: int
        backoff: float
        ready: tuple[PersistentQueue[Job[T]], ...]
        waiting: BTree[tuple[float, int], Job[T]]
        dead: PersistentDict[int, Job[T]]

    def __new__(cls, /, *_args: Any, **_kwargs: Any) -> Self:
        # The constructor of a subclass may not call that of this class.
        self = super().__new__(cls)
        parts = {
            "max_attempts": 5,
            "backoff": 1.0,
            "ready": tuple(PersistentQueue() for _ in PRIORITIES),
            "waiting": BTree(),
            "dead": PersistentDict(),
        }
        set_native_dict(self, parts)
        return self

    def __init__(self, *, max_attempts: int = 5, backoff: float = 1.0) -> None:
        if not isinstance(max_attempts, int) or max_attempts < 1:
            text = f"expected max_attempts of at least 1, got {max_attempts!r}"
            raise ValueError(text)
        check_span(backoff=backoff)
        self.max_attempts = max_attempts
        self.backoff = backoff

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._p_content:
            raise taken(self, name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in self._p_content | self._p_options:
            raise taken(self, name, "deleter")
        super().__delattr__(name)

    # -- for all ----------------------------------------------------------------------------

    def put(self, item: T, *, priority: int = 0, delay: float = 0.0) -> Job[T]:
        """Add a job to do *item*; return it. Part of the transaction of the thread.

        Args:
            priority: From 0 to 9; higher ones come first.
            delay: Seconds from now before which it is not claimed.
        """
        if not isinstance(priority, int) or priority not in PRIORITIES:
            text = f"expected a priority from 0 to {PRIORITIES[-1]}, got {priority!r}"
            raise ValueError(text)
        job = Job(item, priority, self.max_attempts, due_in(delay))
        place(self, job)
        return job

    def cancel(self, job: Job[T]) -> bool:
        """Take out a job that is ready or delayed; return whether it was. Part of the transaction.

        False: a worker has claimed it, or it is done, dead or of another queue; nothing changed.
        If a worker claims it before the transaction commits, that has a conflict; run again, this
        returns False. A claimed job goes on, and is the worker's until its lease has run out.

        Cost: Of a ready job, those of its priority that come before it.
        """
        check_job(job)
        with suppress(ObjectNotFound):  # It is done, and packed away.
            return not job.claimed and drop(self, job)
        return False

    def requeue(self, job: Job[T]) -> None:
        """Let a dead job be tried again, as often as a new one; ``KeyError``: it is not dead."""
        check_job(job)
        checkout(self.dead)
        if job.id not in self.dead:
            text = f"job {job.id:x} is not among the dead of this queue: {why_alive(self, job)}"
            raise KeyError(text)
        checkout(job)
        del self.dead[job.id]
        job.left = self.max_attempts
        give_back(self, job, 0)

    def __len__(self) -> int:
        """Return the number of jobs that are not done: ready, delayed and claimed ones."""
        return sum(map(len, self.ready)) + len(self.waiting)

    def __iter__(self) -> Iterator[Job[T]]:
        """Iterate over these, in the order in which they would be claimed if all were due."""
        return going_over(self, chain(*reversed(self.ready), self.waiting.values()))

    def qsize(self) -> int:
        """Return how many could be claimed now."""
        return sum(map(len, self.ready)) + sum(1 for _ in due_jobs(self))

    def empty(self) -> bool:
        """Return whether none could be claimed now."""
        return not any(map(len, self.ready)) and next(due_jobs(self), None) is None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} jobs, {len(self.dead)} dead>"

    # -- for workers ------------------------------------------------------------------------

    def claim(self, lease: float = _LEASE_SECONDS, timeout: float | None = None) -> Claim[T]:
        """Claim the next job, wait for one if there is none. A transaction of its own.

        Args:
            lease: Seconds after which another worker gets the job if it was not acknowledged.
            timeout: How many seconds to wait; by default, as long as it takes. 0: not at all.

        Raises:
            queue.Empty: There was no job within *timeout* seconds.
            BlockError, UncommittedChangesError: The thread is in a transaction.
            ValueError: The queue is not stored yet.
            ClosedError: The database is closed, perhaps meanwhile.
            LockTimeout, InDoubtError, OSError: As a commit raises them. A job that was claimed
                is claimed by nobody until its lease runs out.
        """
        claim = self.claims(lease, timeout).next_claim()
        if claim is None:
            raise Empty
        return claim

    def claims(self, lease: float = _LEASE_SECONDS, timeout: float | None = None) -> Claims[T]:
        """Return what claims job after job, for ``for`` and ``async for``; see :meth:`claim`.

        It ends when there was no job for *timeout* seconds. The next job is claimed when it is
        asked for: a worker has one at a time. A claim that the loop drops without entering or
        ending it gives a :class:`~dobbin_like.exc.ClaimDroppedWarning`.
        """
        database: Any = self._p_jar
        if not isinstance(database, Database):
            text = f"this {type(self).__name__} is not stored yet; commit it, then claim"
            raise ValueError(text)  # noqa: TRY004  it will be right later
        check_span(lease=lease)
        check_timeout(timeout=timeout)
        return Claims(store_of(database), self, lease, timeout)
