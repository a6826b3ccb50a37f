"""How a thread joins a transaction: what is checked before its first checkout."""

from __future__ import annotations

import sys
import weakref
from functools import partial
from typing import Any, Final

from dobbin_like.exc import (
    BlockError,
    ClosedError,
    CommittingError,
    ReadOnlyStorageError,
    SnapshotDroppedError,
)
from dobbin_like.objects.values.here import (
    HOW_TO_TELL_APART,
    current_task,
    has_ended,
    has_loop,
    scope_around,
    task_without_scope,
)
from dobbin_like.transactions.commit.failure import note_failure
from dobbin_like.transactions.commit.request_manager import refuse_in_request_of_other
from dobbin_like.transactions.commit.state import IDLE, REPLAYING
from dobbin_like.transactions.in_commit import (
    COMMITTING,
    DECIDED,
    abort_outside_commit,
    end_then_raise,
)
from dobbin_like.transactions.publisher import Publisher
from dobbin_like.transactions.thread_view import ThreadView

_OTHER_TASK: Final = f"another task of this thread has changes; {HOW_TO_TELL_APART}"


_OTHER_BLOCK: Final = (
    "it is that of the task which has started this one, and what is changed here is no part of "
    "it; use async with db.transaction() in this task, too"
)


def note_block(transaction: Any, only_reads: bool) -> None:
    """Note that a block ends a transaction; *only_reads*: nothing may be checked out in it."""
    transaction.only_reads = only_reads


def ends_with_block(transaction: Any) -> bool:
    """Tell whether a block ends a transaction, of whichever database."""
    return hasattr(transaction, "only_reads")


def only_reads(transaction: Any) -> bool:
    """Tell whether nothing may be checked out in a transaction, of whichever database."""
    return getattr(transaction, "only_reads", False)


class Joining:
    """The transaction in which one thread takes part with one database. Touched by it only.

    ``transaction`` is the one that was joined, weakly; None: none, or it has ended.
    """

    def __init__(self, publisher: Publisher, thread: ThreadView) -> None:
        self.transaction: weakref.ref[Any] | None = None
        self._publisher = publisher
        self._storage = publisher.storage
        self._thread = thread
        self._view = thread.view
        self._task: weakref.ref[Any] | None = None  # That which has joined it.
        self._inner: weakref.ref[Any] | None = None  # The manager behind one that forwards calls.

    def takes_part(self) -> bool:
        """Tell whether it has joined the thread's transaction, and nothing has happened since."""
        joined = self.transaction
        if joined is None or not self._view.active:
            return False
        if "asyncio" in sys.modules or "trio.lowlevel" in sys.modules:
            return False
        current = joined()
        return (
            current is not None
            and current is self._thread.transaction_manager().get()
            and current.status != COMMITTING
        )

    def join(self, manager: object, phase: str) -> None:
        """Let *manager*, whose commit is in *phase*, take part in the thread's transaction."""
        current = self._find(phase)
        may_have_tasks = "asyncio" in sys.modules or "trio.lowlevel" in sys.modules
        if self.transaction is None or self.transaction() is not current:
            path = self._storage.path
            if only_reads(current):
                reason = (
                    "it only reads; use db.transaction(), or in a web application a method that "
                    "is not among its read_methods, such as POST"
                )
                raise BlockError(path, reason)
            inner = getattr(current, "_manager", None)  # There is no public way to ask.
            if inner is not None and inner is not self._thread.transaction_manager():
                self._refuse_proxy(inner)
            reference = weakref.ref(current)
            task = None
            if may_have_tasks:
                task = task_without_scope()
                self._note_block_around(current)
            of_task = None if task is None else weakref.ref(task)
            current.abort = partial(_abort, reference, path, of_task)
            current.commit = partial(end_then_raise, type(current).commit, reference)
            current._saveAndGetCommitishError = partial(note_failure, reference)  # noqa: SLF001
            current.join(manager)
            self.transaction = reference  # Not before join() has returned.
            self._task = of_task
        elif may_have_tasks:
            self._check_task()
        if not self._view.active:
            self._publisher.graph.shared.begin_view(self._view)

    def _refuse_proxy(self, inner: Any) -> None:
        """Refuse a proxy for several managers: only the first one would tell the thread's view."""
        if self._inner is None:
            self._inner = weakref.ref(inner)
        elif self._inner() is not inner:
            text = (
                f"{self._storage.path}: the transaction_manager of the database stands for "
                "several ones; give it the function that returns the manager in use"
            )
            raise TypeError(text)

    def _find(self, phase: str) -> Any:
        """Return the thread's transaction, in which something may be checked out."""
        view, path = self._view, self._storage.path
        if phase is not IDLE and phase is not REPLAYING:
            raise CommittingError(path)
        if self._publisher.closed:
            what = f"the database {path}"
            raise ClosedError(what)
        if self._storage.read_only:
            raise ReadOnlyStorageError(path, self._storage.why_read_only)
        own = self._thread.transaction_manager()
        if view.between:
            refuse_in_request_of_other(path, own)
            # A thread that lets it lapse just now has done so then.
            with self._publisher.graph.shared.lock:
                view.between = False
        if view.lapsed is not None:
            self._publisher.resume(view)
            if view.lapsed is not None:
                view.between = True
                raise SnapshotDroppedError(path, view.lapsed)
        current = own.get()
        if phase is IDLE and current.status in DECIDED:
            raise CommittingError(path)
        return current

    def _note_block_around(self, current: Any) -> None:
        """Refuse changes beside the block of the task that has started the calling one.

        A thread that the task has started may commit them itself, and so may what goes on after
        a request; a warning tells if it did not.
        """
        scope = scope_around()
        if scope is None or self._thread.transaction_manager().explicit:
            return
        if ends_with_block(current):
            return
        if has_loop() and scope.carrier is not None:
            raise BlockError(self._storage.path, _OTHER_BLOCK)
        scope.note_beside(current)

    def _check_task(self) -> None:
        if task_without_scope() is not (None if self._task is None else self._task()):
            raise BlockError(self._storage.path, _OTHER_TASK)


def _abort(transaction: weakref.ref[Any], path: str, of_task: weakref.ref[Any] | None) -> None:
    """Abort a transaction, as begin() does too, unless a task that goes on would lose its changes.

    Raises BlockError: *of_task* has made them, and another one is running.
    """
    task = None if of_task is None else of_task()
    if task is not None and current_task() not in (None, task) and not has_ended(task):
        raise BlockError(path, _OTHER_TASK)
    abort_outside_commit(transaction, path)
