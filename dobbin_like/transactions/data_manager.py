"""The data manager: what one thread does to one database in a transaction.

Each thread that uses a database has one, beside its view (:mod:`.thread_view`). It is the
resource that joins the transaction at the first checkout. The steps of the two-phase commit:

============  ==========================================  =====================
step          does                                        when it fails
============  ==========================================  =====================
tpc_begin     takes the commit lock, catches up with the  nothing was written
              log, finds conflicts
commit        gathers all states in memory                nothing was written
tpc_vote      appends the transaction, if nobody else     nobody sees it
              can refuse it; else prepares it
tpc_finish    decides what was prepared; publishes,       does not fail
              releases
tpc_abort     takes everything back, records the failed   does not fail
              transaction, releases
============  ==========================================  =====================

The append is the decision: from then on, ``tpc_abort`` does what ``tpc_finish`` does, and the
interrupt that led to it is raised by the ``transaction`` package. ``abort`` and ``tpc_abort``
may come at any time, any number of times.
"""

from __future__ import annotations

import time
import weakref
from typing import Any, Final

from transaction.interfaces import ISavepointDataManager, TransientError
from zope.interface import implementer

from dobbin_like.contract import Storage, Transaction
from dobbin_like.exc import (
    ClosedError,
    CommittingError,
    ConflictError,
    LogPackedError,
    NotStorableError,
    ReadOnlyStorageError,
)
from dobbin_like.ids import NO_TID, Tid
from dobbin_like.interrupts import finish_despite_interrupts
from dobbin_like.objects.faces.stream import slow_files
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.objects.graph.spool import spool_slow_files
from dobbin_like.transactions.conflicts import find_conflicts
from dobbin_like.transactions.publisher import Publisher
from dobbin_like.transactions.replay import replay
from dobbin_like.transactions.savepoint import NewRoot, Savepoint
from dobbin_like.transactions.thread_view import ThreadView

_FOLLOW_TRIES: Final = 100
"""How often a log may be packed while one commit waits for its lock."""


# How far the commit of a thread is.
IDLE: Final = "idle"  # There is none; objects may be checked out.
BEGUN: Final = "begun"  # The commit lock is held; conflicts are looked for.
REPLAYING: Final = "replaying"  # Owners of structures do their changes again: they check out.
GATHERED: Final = "gathered"  # A failure from here on is recorded in the log.
APPENDING: Final = "appending"  # The storage decides: settle() tells whether it has.
PREPARED: Final = "prepared"  # It is written; others may still refuse it.
COMMITTED: Final = "committed"  # It is decided, and published now.

_NEXT: Final[dict[str, tuple[str, ...]]] = {
    IDLE: (BEGUN,),
    BEGUN: (REPLAYING, GATHERED),
    REPLAYING: (BEGUN,),
    GATHERED: (APPENDING, PREPARED),
    PREPARED: (APPENDING,),
    APPENDING: (COMMITTED,),
    COMMITTED: (),
}
"""What may follow. From everywhere the way back leads to IDLE."""


def new_tid(storage: Storage) -> Tid:
    """Return the tid for a transaction that follows what *storage* has applied."""
    # The one place that asks the clock; no decision rests on it.
    now_microseconds, last = time.time_ns() // 1000, storage.tid  # noqa: TID251
    return Tid(now_microseconds if now_microseconds > last else last + 1)


def acquire(publisher: Publisher) -> None:
    """Take the commit lock; if the log was packed, that of the new file."""
    for _ in range(_FOLLOW_TRIES):
        try:
            publisher.storage.acquire()
        except LogPackedError:
            publisher.catch_up()
        else:
            return
    publisher.storage.acquire()


@implementer(ISavepointDataManager)
class DataManager:
    """One thread's part in one database. Touched by its thread only."""

    def __init__(self, publisher: Publisher, thread: ThreadView) -> None:
        self._publisher = publisher
        self._storage = publisher.storage
        self._graph = publisher.graph
        self._shared = publisher.graph.shared
        self.thread = thread
        self.view = thread.view
        self._sort_key = f"{self._storage.sort_key}:{id(publisher):x}"
        # The transaction that was joined, weakly; set after join() has returned.
        self._joined: weakref.ref[Any] | None = None
        self.new_root: NewRoot | None = None
        # Of the commit that is under way.
        self._phase = IDLE
        self._changes: Changes | None = None
        self._tid = NO_TID
        self._made: Transaction | None = None
        self._failure = ""
        self._annotations: dict[str, Any] = _NO_ANNOTATIONS
        # Whether acquire_early() has taken the commit lock for the next transaction.
        self._early = False

    def sortKey(self) -> str:  # noqa: N802  the interface's name
        return self._sort_key

    @property
    def transaction_manager(self) -> Any:
        """The thread's transaction manager, ``None`` after the thread has ended."""
        return self.thread.transaction_manager()

    def _enter(self, phase: str) -> None:
        assert phase in _NEXT[self._phase], (self._phase, phase)
        self._phase = phase

    # -- joining --------------------------------------------------------------

    def join(self) -> View:
        """Take part in the thread's transaction, unless it is committing; return the view."""
        phase = self._phase
        if phase is not IDLE and phase is not REPLAYING:
            raise CommittingError(self._storage.path)
        if self._publisher.closed:
            what = f"the database {self._storage.path}"
            raise ClosedError(what)
        if self._storage.read_only:
            raise ReadOnlyStorageError(self._storage.path, self._storage.why_read_only)
        current = self.thread.transaction_manager().get()
        joined = self._joined
        if joined is None or joined() is not current:
            current.join(self)
            self._joined = weakref.ref(current)
        if not self.view.active:
            self._shared.begin_view(self.view)
        return self.view

    def acquire_early(self) -> None:
        """Take the commit lock for the transaction that begins next: it will have no conflict.

        The end of its commit or abort gives the lock back, and in any case :meth:`release_early`,
        which has to follow. If this raises, as a commit may, nothing is held.
        """
        self._early = True
        acquire(self._publisher)

    def release_early(self) -> None:
        """Give back what :meth:`acquire_early` has taken, if it is still held. Idempotent."""
        self._early = False
        finish_despite_interrupts(self._storage.release)

    # -- two-phase commit -------------------------------------------------------

    def tpc_begin(self, transaction: Any) -> None:
        """Take the commit lock, catch up and find conflicts."""
        self._failure = ""
        if transaction.user or transaction.description or transaction.extension:
            self._annotations = _annotations(transaction)
        else:
            self._annotations = _NO_ANNOTATIONS
        if slow_files:
            roots = [] if self.new_root is None else [self.new_root[0]]
            spool_slow_files(self.view.working.values(), roots, self._storage.path)
        if not (self._early and self._storage.held):
            try:
                self._storage.acquire()
            except LogPackedError:
                self._publisher.catch_up()
                acquire(self._publisher)
        with self._shared.lock:
            if self._publisher.closed:
                what = f"the database {self._storage.path}"
                raise ClosedError(what)
            self.thread.committing = True
        self._enter(BEGUN)
        if self._publisher.unpublished is not None or self._storage.has_news():
            self._publisher.catch_up()
        if self.view.tid != self._shared.tid or self.new_root is not None:
            self._find_conflicts()

    def _find_conflicts(self) -> None:
        try:
            torn = find_conflicts(self._graph, self.view, self.new_root)
            if torn:
                self._enter(REPLAYING)
                replay(self._graph, self.view, torn)
                self._enter(BEGUN)
        except ConflictError as error:
            self._failure = f"conflict: {error.class_name} oid {error.oid}"
            raise

    def commit(self, transaction: Any) -> None:
        """Gather all that is to be written; nothing is written if this fails."""
        changes = self._changes = Changes(self._graph)
        if self.new_root is not None:
            changes.add_root(*self.new_root)
        for working in list(self.view.working.values()):
            changes.add(working)
        if changes.new:
            changes.add_reachable()
        self._enter(GATHERED)

    def tpc_vote(self, transaction: Any) -> None:
        """Append the transaction: the last moment to refuse. Prepare it if others may refuse."""
        changes, storage = self._changes, self._storage
        assert changes is not None, "tpc_vote without commit"
        if not changes.entries:
            return
        classes = self._graph.classes
        tid = self._tid = new_tid(storage)
        # There is no public way to ask; unknown means there may be others.
        alone = len(getattr(transaction, "_resources", ())) == 1
        if alone:
            self._publisher.begin_to_decide()
            self._enter(APPENDING)
        put = storage.append if alone else storage.prepare
        self._made = put(
            tid, changes.entries, classes.new, classes.new_shapes, **self._annotations
        )
        self._enter(COMMITTED if alone else PREPARED)

    def tpc_finish(self, transaction: Any) -> None:
        """Decide and publish. An interrupt waits until that is done."""
        try:
            self._finish()
        except BaseException:
            finish_despite_interrupts(self._finish)
            raise

    def _finish(self) -> None:
        # Every step may be run again.
        if self._phase is PREPARED or self._phase is APPENDING:
            self._decide()
        changes, made = self._changes, self._made
        if changes is not None:
            if made is not None:
                if changes.collections:
                    changes.stored_as(made.tid)
                self._publisher.publish(made, changes, self.view)
                classes = self._graph.classes
                if classes.new or classes.new_shapes:
                    classes.confirm()
            if self.view.working:
                self._shared.drop_working(self.view)
            self.new_root = self._joined = None
            self._made = self._changes = None
        self._leave_commit()

    def _decide(self) -> None:
        if self._phase is PREPARED:
            self._publisher.begin_to_decide()
            self._enter(APPENDING)
        if self._storage.settle(self._tid) is None:
            self._storage.decide()
        self._enter(COMMITTED)

    def _leave_commit(self) -> None:
        if self._phase is not IDLE:  # The commit lock is held still.
            self._publisher.end_to_decide()
        with self._shared.lock:
            self._phase = IDLE
            self.thread.committing = False
            if self._publisher.closed:
                self._shared.end_view(self.view)
        self._storage.release()

    def abort(self, transaction: Any) -> None:
        # All of it: an interrupt may have come before tpc_abort, or in the middle of it.
        self.tpc_abort(transaction)

    def tpc_abort(self, transaction: Any) -> None:
        """Take the commit back; the objects show the latest committed state.

        What is committed can't be taken back: it is published.
        """
        if self.thread.is_deciding():
            return
        held = self._storage.held
        if held and self._is_committed():
            self.tpc_finish(transaction)
            return
        try:
            if held:
                self._record_failure()
        finally:
            try:
                if self._changes is not None:
                    self._changes.undo()
                self.replace_root(None)
                self._shared.drop_working(self.view)
                self._joined = None
            finally:
                self._leave_commit()
                self._made = self._changes = None
                self._failure = ""

    def _is_committed(self) -> bool:
        """Return whether the decision was made before an interrupt came."""
        if self._phase is APPENDING:
            made = self._storage.settle(self._tid)
            if made is not None:
                self._made = made
                self._enter(COMMITTED)
        return self._phase is COMMITTED

    def should_retry(self, error: BaseException) -> bool:
        return isinstance(error, TransientError)

    def _record_failure(self) -> None:
        """Record a failed transaction, unless it failed before it had changes."""
        changes = self._changes
        gathered = (
            self._phase not in (IDLE, BEGUN, REPLAYING) and changes is not None and changes.entries
        )
        if not (self._failure or gathered):
            return
        reason = self._failure or "refused by another participant"
        oids = [] if changes is None else [entry[0] for entry in changes.entries]
        tid = new_tid(self._storage)
        failed = self._storage.fail(tid, reason, oids=oids, **self._annotations)
        if failed is not None:
            self._publisher.apply_failed(failed)

    # -- savepoints ---------------------------------------------------------------

    def savepoint(self) -> Savepoint:
        return Savepoint(self.view, self._shared, self.new_root, self.replace_root)

    def replace_root(self, new_root: NewRoot | None) -> None:
        """Let *new_root* be what this transaction has set as the root; ``None``: nothing."""
        if self.new_root is not None and new_root is None:
            self.new_root[1].jar = None  # it belongs to no database again
        self.new_root = new_root


def _annotations(transaction: Any) -> dict[str, Any]:
    user, description = transaction.user, transaction.description
    extension, data = transaction.extension, b""
    if extension:
        import json

        try:
            data = json.dumps(extension, sort_keys=True).encode()
        except (TypeError, ValueError) as error:
            name = "transaction.extension"
            raise NotStorableError(name, None, ".", f"not JSON: {error}") from error
    return {"user": user or "", "description": description or "", "extension": data}


_NO_ANNOTATIONS: Final[dict[str, Any]] = {}
