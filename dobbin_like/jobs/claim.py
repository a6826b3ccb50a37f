"""What a worker holds: a job that is its own until the lease runs out; and waiting for one.

A claim is a transaction of its own. It holds the commit lock from its beginning, so that it sees
what the one before has left, and is never in conflict. A worker that waits asks without the lock
whether there is anything to claim.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, NoReturn, TypeVar

from dobbin_like.blocks.again import run
from dobbin_like.blocks.alone import run_alone
from dobbin_like.blocks.block import Block, reading
from dobbin_like.exc import BlockError, ClaimDroppedWarning, InDoubtError, LeaseLostError
from dobbin_like.jobs.parts import (
    Job,
    QueueParts,
    fail,
    give_back,
    is_claimed,
    next_due,
    place,
    seconds,
    take,
    take_out,
)
from dobbin_like.jobs.patience import Patience
from dobbin_like.mistaken.arguments import check_span, check_texts, check_timeout
from dobbin_like.objects.faces.base import checkout
from dobbin_like.store import Store
from dobbin_like.transactions.in_commit import is_interrupt
from dobbin_like.warn_outside import warn_outside

__all__ = ["Claim", "Claims"]

T = TypeVar("T")

_LONGEST_ERROR: Final = 1000
_NO_PART: Final = "a claim is a transaction of its own, and can't be part of another one"

logger: Final = logging.getLogger(__name__)


class Claim(Generic[T]):
    """A job that this worker may do until its lease runs out, by the clock of the machine.

    ``with claim as item:`` is a transaction that acknowledges the job with its commit: what the
    worker has stored is stored once, whatever happens. An exception takes all back and leaves the
    block; the job is tried again later, or at once if it was a conflict or no error (Ctrl-C),
    which does not count as an attempt. ``async with`` does the same for a task.

    Or without the block: :meth:`ack` and :meth:`nack` are changes as any other, which get visible
    with the transaction in which they are made.
    """

    _is_left = False  # The loop that has given it out goes on.

    def __init__(self, store: Store, jobs: QueueParts, job: Job[T]) -> None:
        self._store, self._jobs = store, jobs
        self.job = job
        self.id: int = job.id
        self.attempt: int = job.attempts
        self._is_settled = False  # In the block that was entered.
        self._is_begun = False  # Somebody has entered it, or called what ends it.

    @property
    def item(self) -> T:
        """What was put."""
        return self.job.item

    def __repr__(self) -> str:
        return f"<Claim of job {self.id:x}, attempt {self.attempt}>"

    # -- how it ends ----------------------------------------------------------------------

    def ack(self) -> None:
        """Acknowledge: the job is done, and gone when the transaction commits.

        LeaseLostError: Another worker may have it. Abort what was done for it.
        """
        self._end_claim()

    def nack(self, error: str = "", delay: float | None = None) -> None:
        """Give the job back: it has failed, and *error* says how.

        It is claimed again after *delay* seconds; by default, after the backoff of the queue,
        twice as long each time. If no attempt is left, it is put among the dead.

        LeaseLostError: Another worker may have it.
        """
        check_texts(error=error)
        check_timeout(delay=delay)
        self._end_claim()
        fail(self._jobs, self.job, (error or "")[:_LONGEST_ERROR], delay)

    def release(self) -> None:
        """Give the job back as if it had not been claimed. LeaseLostError: see :meth:`nack`."""
        self._end_claim()
        checkout(self.job)
        self.job.left += 1
        give_back(self._jobs, self.job, 0)

    def extend(self, lease: float) -> None:
        """Let the lease run out in *lease* seconds from now. A transaction of its own.

        For work that takes long: before the block that acknowledges it, which would be in
        conflict.

        Raises:
            LeaseLostError: Another worker may have it.
            BlockError: The thread is in a block.
        """
        check_span(lease=lease)

        def lengthen() -> None:
            self._take_out()
            checkout(self.job)
            self.job.due = seconds() + lease
            place(self._jobs, self.job)

        run_alone(self._store, lengthen, _NO_PART)

    def __del__(self) -> None:
        # Only now: it may have been in other hands, those of a pool, say.
        if self._is_left and not (self._is_begun or sys.is_finalizing()):
            text = (
                f"{self._store.storage.path}: a loop over claims() went on, and its claim before "
                f"was neither acknowledged nor given back: that job is done again when the lease "
                f"has run out; write 'with claim as item:' in the loop, or call claim.ack()"
            )
            warn_outside(text, ClaimDroppedWarning)

    def _end_claim(self) -> None:
        self._is_begun = True
        self._take_out()
        self._is_settled = True

    def _take_out(self) -> None:
        job = self.job
        if not is_claimed(self._jobs, job, self.attempt):
            raise LeaseLostError(self._store.storage.path, self.id, self.attempt)
        take_out(self._jobs, job)

    # -- as a block -----------------------------------------------------------------------

    def __enter__(self) -> T:
        self._is_begun = True
        self._block: Block[Any] = Block(self._store)
        self._block.__enter__()
        self._is_settled = False
        return self.item

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with ExitStack() as stack:
                stack.push(self._block)
                self._acknowledge(error)
        except BaseException as failure:
            self._give_back(failure)
            raise

    def _acknowledge(self, error: BaseException | None) -> None:
        """Acknowledge if nothing else was said; raise *error* if there is one."""
        if error is not None:
            raise error
        if not self._is_settled:
            self.ack()

    def _give_back(self, error: BaseException) -> None:
        """Give the job back after *error*; if that is not possible, its lease runs out."""
        if isinstance(error, (LeaseLostError, InDoubtError)):
            return  # It is no longer ours, or may be done.
        if self._block.transient or not isinstance(error, Exception):
            step: Callable[[], None] = self.release
        else:
            step = partial(self.nack, traceback.format_exception_only(error)[-1].strip())

        try:
            with suppress(LeaseLostError):
                run(self._store, step)
        except Exception:
            text = "%s: job %x could not be given back, it stays claimed until its lease runs out"
            logger.warning(text, self._store.storage.path, self.id, exc_info=True)

    async def __aenter__(self) -> T:
        self._is_begun = True
        self._block = Block(self._store)
        await self._block.__aenter__()
        self._is_settled = False
        return self.item

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        from dobbin_like.blocks import tasks

        try:
            async with AsyncExitStack() as stack:
                stack.push_async_exit(self._block)
                self._acknowledge(error)
        except BaseException as failure:
            await tasks.in_thread(partial(self._give_back, failure))
            raise


class Claims(Generic[T]):
    """Jobs as they are claimed, one after the other, for ``for`` and ``async for``."""

    def __init__(self, store: Store, jobs: QueueParts, lease: float, wait: float | None) -> None:
        self._store, self._jobs, self._lease = store, jobs, lease
        self._wait = wait

    def __iter__(self) -> Iterator[Claim[T]]:
        while (claim := self.next_claim()) is not None:
            yield claim
            claim._is_left = True  # noqa: SLF001
            claim = None  # Nobody has it but the loop.

    def next_claim(self) -> Claim[T] | None:
        """Return the next one; None: there was none in time."""
        patience = Patience(self._store.publisher, self._wait)
        while (claim := self._try(patience)) is None:
            if patience.is_over():
                return None
            for pause in patience.pauses():
                patience.sleep(pause)
        return claim

    async def __aiter__(self) -> AsyncIterator[Claim[T]]:
        import asyncio

        patience = Patience(self._store.publisher, self._wait)
        while True:
            claim = await self._try_in_task(patience)
            if claim is not None:
                yield claim
                claim._is_left = True  # noqa: SLF001
                claim = None
                patience = Patience(self._store.publisher, self._wait)
            elif patience.is_over():
                return
            else:
                for pause in patience.pauses():
                    await asyncio.sleep(pause)

    async def _try_in_task(self, patience: Patience) -> Claim[T] | None:
        from dobbin_like.blocks import tasks

        found: list[Claim[T]] = []

        def step() -> None:
            claim = self._try(patience)
            if claim is not None:
                found.append(claim)

        if not tasks.enter_scope():
            _refuse(self._store)
        try:
            await tasks.in_thread(step)
        except BaseException:  # The task is cancelled: nobody gets the job.
            for claim in found:
                await tasks.in_thread(partial(run, self._store, claim.release))
            raise
        finally:
            tasks.leave_scope()
        return found[0] if found else None

    def _try(self, patience: Patience) -> Claim[T] | None:
        """Claim a job if one is there; else tell *patience* what to wait for."""
        store = self._store
        patience.seen = store.publisher.graph.shared.tid
        block = reading(store)
        with block:
            if block.is_part:
                _refuse(store)
            patience.due = next_due(self._jobs)
        if patience.due > seconds():
            return None
        taken: list[Claim[T]] = []
        try:
            run_alone(store, partial(self._take, taken), _NO_PART)
        except BaseException as error:
            if is_interrupt(error):  # It is raised out of the commit: nobody gets the job.
                for claim in taken:
                    # It may not be committed; if it is and this fails, its lease runs out.
                    with suppress(Exception):
                        run(store, claim.release)
            raise
        return taken[0] if taken else None

    def _take(self, taken: list[Claim[T]]) -> None:
        job = take(self._jobs, self._lease)
        if job is not None:
            # Made here: after the transaction the job may be another attempt's.
            taken.append(Claim(self._store, self._jobs, job))


def _refuse(store: Store) -> NoReturn:
    raise BlockError(store.storage.path, _NO_PART)
