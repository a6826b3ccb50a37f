"""The data manager: what one thread does to one database in a transaction.

Each thread that uses a database has one, beside its view (:mod:`.thread_view`). It is the
resource that joins the transaction at the first checkout. The steps of the two-phase commit:

============  ==========================================  =====================
step          does                                        when it fails
============  ==========================================  =====================
tpc_begin     takes the commit lock, catches up with the  nothing was written
              log, finds conflicts
commit        gathers all states in memory                nothing was written
tpc_vote      appends the transaction, if nobody else     nobody sees it,
              can refuse it, releases the lock, waits     or it is in doubt
              until it is durable, publishes it; else
              prepares it
tpc_finish    does the same to what was prepared          it is in doubt
tpc_abort     takes everything back, records the failed   does not fail
              transaction, releases
============  ==========================================  =====================

The append is the decision: an interrupt after it is raised when the commit is done
(:mod:`.in_commit`). Should it lead to ``tpc_abort`` all the same, that does what ``tpc_finish``
does. ``abort`` and ``tpc_abort``
may come at any time, any number of times. If several databases take part, the decision of the
first is that of all: the ``tpc_abort`` of the others does what their ``tpc_finish`` does.
"""

from __future__ import annotations

import os
import sys
import time
import weakref
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from transaction.interfaces import ISavepointDataManager, TransientError
from zope.interface import implementer

from dobbin_like.contract import Storage, Transaction
from dobbin_like.exc import (
    BlockError,
    ChangesLostError,
    ClosedError,
    CommittingError,
    ConflictError,
    InDoubtError,
    LogPackedError,
    NotStorableError,
    OvertakenError,
    ReadOnlyStorageError,
    SelfWaitError,
    SnapshotDroppedError,
    UncommittedChangesError,
    WriteConflictError,
)
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.objects.faces.stream import slow_files
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.faces.working_copy import WorkingCopy
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.objects.graph.spool import spool_slow_files
from dobbin_like.objects.values.here import task_without_scope
from dobbin_like.processes.interrupts import finish_despite_interrupts
from dobbin_like.transactions.compare_sides import told_by
from dobbin_like.transactions.conflicts import find_conflicts
from dobbin_like.transactions.in_commit import (
    COMMITTING,
    abort_outside_commit,
    end_then_raise,
    hold,
)
from dobbin_like.transactions.lost_changes import (
    ABORT,
    Kept,
    kept_after,
    kept_since,
    read_in,
    tell_lost_changes,
)
from dobbin_like.transactions.publisher import Publisher
from dobbin_like.transactions.replay import replay
from dobbin_like.transactions.request_manager import refuse_in_request_of_other
from dobbin_like.transactions.savepoint import NewRoot, Savepoint
from dobbin_like.transactions.thread_view import ThreadView

if TYPE_CHECKING:
    from dobbin_like.indexes.kept.keeper import Keeper

_FOLLOW_TRIES: Final = 100
"""How often a log may be packed while one commit waits for its lock."""

# How far the commit of a thread is.
IDLE: Final = "idle"  # There is none; objects may be checked out.
BEGUN: Final = "begun"  # The commit lock is held; conflicts are looked for.
REPLAYING: Final = "replaying"  # Owners of structures do their changes again: they check out.
GATHERED: Final = "gathered"  # A failure from here on is recorded in the log.
APPENDING: Final = "appending"  # The storage decides: settle() tells whether it has.
PREPARED: Final = "prepared"  # It is written; others may still refuse it.
COMMITTED: Final = "committed"  # It is decided, and gets visible now.
PUBLISHED: Final = "published"  # All see it; the commit lock is given back.

_NEXT: Final[dict[str, tuple[str, ...]]] = {
    IDLE: (BEGUN,),
    BEGUN: (REPLAYING, GATHERED),
    REPLAYING: (BEGUN,),
    GATHERED: (BEGUN, APPENDING, PREPARED),
    PREPARED: (APPENDING,),
    APPENDING: (BEGUN, COMMITTED),
    COMMITTED: (PUBLISHED,),
    PUBLISHED: (),
}
"""What may follow. From everywhere the way back leads to IDLE."""


def new_tid(storage: Storage) -> Tid:
    """Return the tid for a transaction that follows what is appended to *storage*."""
    # The one place that asks the clock; no decision rests on it.
    now_microseconds, last = time.time_ns() // 1000, storage.last_tid  # noqa: TID251
    return Tid(now_microseconds if now_microseconds > last else last + 1)


_OBJECT: Final = "object"

_deciders: weakref.WeakKeyDictionary[Any, DataManager] = weakref.WeakKeyDictionary()
"""Transactions of several participants, and the data manager that decides for all of them."""


def _changes_lost(publisher: Publisher) -> ChangesLostError:
    """Return the error for a commit to a database that was closed."""
    return ChangesLostError(f"the database {publisher.storage.path}")


def acquire(publisher: Publisher, *, settled: bool = True) -> None:
    """Take the commit lock; if the log was packed, that of the new file."""
    if publisher.publishing:  # A signal handler, in the middle of that.
        raise SelfWaitError(publisher.storage.path)
    for _ in range(_FOLLOW_TRIES):
        try:
            publisher.storage.acquire(settled=settled)
        except LogPackedError:
            publisher.catch_up()
        except ClosedError:
            if publisher.closed:
                raise _changes_lost(publisher) from None
            raise
        else:
            break
    else:
        publisher.storage.acquire(settled=settled)
    if publisher.pid != os.getpid():  # Before this process has anything to publish.
        publisher.forget_parent()


@implementer(ISavepointDataManager)
class DataManager:
    """One thread's part in one database. Touched by its thread only."""

    def __init__(self, publisher: Publisher, thread: ThreadView) -> None:
        self._publisher = publisher
        self._storage = publisher.storage
        self._graph = publisher.graph
        self._shared = publisher.graph.shared
        self.thread = thread
        self.view: View = thread.view
        # The transaction that was joined, weakly; set after join() has returned.
        self._joined: weakref.ref[Any] | None = None
        self._task: weakref.ref[Any] | None = None  # That of asyncio which has joined it.
        self.new_root: NewRoot | None = None
        self.only_reads: Any = None  # A transaction in which nothing may be checked out.
        # Of the commit that is under way.
        self._phase = IDLE
        self._snapshot = NO_TID  # What the transaction has read.
        self._changes: Changes | None = None
        self._in_indexes: list[WorkingCopy] = []  # What was checked out to keep the indexes.
        self._tid = NO_TID
        self._decided_tid = NO_TID  # Of the last one that was committed.
        self._made: Transaction | None = None
        self._failure = ""
        self._kept: list[Kept] = []  # Of the last commit, and of aborts and rollbacks since.
        self._had_conflict = False  # The last one of this thread had.
        self._annotations: dict[str, Any] = _NO_ANNOTATIONS
        # Whether acquire_early() has taken the commit lock for the next transaction.
        self._early = False

    def sortKey(self) -> str:  # noqa: N802  the interface's name
        return f"{self._storage.sort_key}:{id(self._publisher):x}"

    @property
    def transaction_manager(self) -> Any:
        """The thread's transaction manager, ``None`` after the thread has ended."""
        return self.thread.transaction_manager()

    @property
    def pending(self) -> int:
        """How many objects are checked out, or set as the root, and not committed."""
        return len(self.view.working) + (self.new_root is not None)

    def tell_lost_changes(self) -> None:
        """Warn of what was changed too late, after the last commit of this thread."""
        kept, self._kept = self._kept, []
        tell_lost_changes(kept, self._changes)

    def _enter(self, phase: str) -> None:
        assert phase in _NEXT[self._phase], (self._phase, phase)
        self._phase = phase

    # -- joining --------------------------------------------------------------

    def join(self) -> View:
        """Take part in the thread's transaction, unless it is committing; return the view."""
        view = self.view
        if self._takes_part():  # As at nearly every checkout.
            return view
        self._check_may_change()
        if view.lapsed is not None:
            self._resume_to_change()
        if view.between:
            refuse_in_request_of_other(self._storage.path, self.transaction_manager)
            view.between = False
        current = self.thread.transaction_manager().get()
        if self._phase is IDLE and current.status == COMMITTING:
            raise CommittingError(self._storage.path)
        if self._joined is None or self._joined() is not current:
            self._join(current)
        elif "asyncio" in sys.modules:
            self._check_task()
        if not view.active:
            self._shared.begin_view(view)
        return view

    def _takes_part(self) -> bool:
        """Tell whether it has joined the transaction, and nothing has happened since."""
        joined = self._joined
        if (
            joined is None
            or not self.view.active
            or self._phase is not IDLE
            or "asyncio" in sys.modules
        ):
            return False
        current = joined()
        return (
            current is not None
            and current is self.thread.transaction_manager().get()
            and current.status != COMMITTING
        )

    def _join(self, current: Any) -> None:
        path = self._storage.path
        if current is self.only_reads:
            raise BlockError(path, "it only reads; use db.transaction()")
        reference = weakref.ref(current)
        current.abort = partial(abort_outside_commit, reference, path)
        current.commit = partial(end_then_raise, type(current).commit, reference)
        current.join(self)
        self._joined = reference
        task = task_without_scope() if "asyncio" in sys.modules else None
        self._task = None if task is None else weakref.ref(task)

    def _check_task(self) -> None:
        if task_without_scope() is not (None if self._task is None else self._task()):
            reason = "another task of this thread has changes; use async with db.transaction()"
            raise BlockError(self._storage.path, reason)

    def _check_may_change(self) -> None:
        phase = self._phase
        if phase is not IDLE and phase is not REPLAYING:
            raise CommittingError(self._storage.path)
        if self._publisher.closed:
            what = f"the database {self._storage.path}"
            raise ClosedError(what)
        if self._storage.read_only:
            raise ReadOnlyStorageError(self._storage.path, self._storage.why_read_only)

    def resume(self) -> None:
        """Go on in the snapshot that has lapsed while the thread was idle, if it is there."""
        self._publisher.resume(self.view)

    def _resume_to_change(self) -> None:
        self.resume()
        if self.view.lapsed is not None:
            raise SnapshotDroppedError(self._storage.path, self.view.lapsed)

    def leave(self) -> None:
        """End the view: the thread goes on under another transaction manager.

        Raises UncommittedChangesError if somebody can still commit what is checked out.
        """
        if self.pending and self.transaction_manager is not None:
            raise UncommittedChangesError(self._storage.path)
        self.thread.leave()

    def let_go(self) -> None:
        """Give the snapshot back until the next transaction; nothing may be checked out."""
        self.view.lapsed = None
        self._shared.end_view(self.view)

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
        if slow_files or self._graph.guard == "check":
            self._before_lock()
        if not (self._early and self._storage.held):
            acquire(self._publisher, settled=False)
        with self._shared.lock:
            if self._publisher.closed:
                raise _changes_lost(self._publisher)
            self.thread.committing = True
        self._enter(BEGUN)
        self._shared.counts.retries += self._had_conflict
        self._had_conflict = False
        self._snapshot = self.view.tid
        if self._storage.behind or self._publisher.unpublished is not None:
            self._publisher.catch_up()
        unseen = self._storage.unseen
        if unseen and self._depends_on(unseen):
            self._see(unseen[-1])
            self._find_conflicts()
            unseen = self._storage.unseen
            if unseen and self._depends_on(unseen):
                self._catch_up_to(unseen[-1])  # Others were first again: now they have to wait.
        self._find_conflicts()

    def _before_lock(self) -> None:
        """Do what takes long, and needs no lock."""
        if self._graph.guard == "check":
            from dobbin_like.objects.graph.changed_values import check_shared_values

            check_shared_values(self._graph)
        roots = [] if self.new_root is None else [self.new_root[0]]
        spool_slow_files(self.view.working.values(), roots, self._storage.path)

    def _depends_on(self, unseen: Sequence[Transaction]) -> bool:
        """Tell whether what nobody sees yet may be in conflict with this transaction."""
        if self.new_root is not None:
            return True
        oids = set()
        for working in self.view.working.values():
            oids.add(working.ref.oid)
            if hasattr(type(working.obj), "_p_replay"):
                return True  # On parts that were not checked out.
        return any(
            any(logged.names) or not (logged.failed or oids.isdisjoint(logged.oids))
            for logged in unseen
        )

    def _see(self, logged: Transaction) -> None:
        """Wait until a transaction is visible; without the lock, so that others may go on."""
        storage, publisher = self._storage, self._publisher
        storage.release()
        storage.wait_for(logged)
        acquire(publisher, settled=False)
        publisher.catch_up()

    def _find_conflicts(self) -> None:
        """Merge with what was committed since the snapshot; ConflictError: it can't be."""
        if self.view.tid == self._shared.tid and self.new_root is None:
            return
        try:
            torn = find_conflicts(self._graph, self.view, self.new_root)
            if torn:
                self._enter(REPLAYING)
                replay(self._graph, self.view, torn)
                self._shared.counts.replays += len(torn)
                self._enter(BEGUN)
        except ConflictError as error:
            self._failure = f"conflict: {error.class_name} oid {error.oid}"
            self._note_conflict(error.class_name)
            raise

    def _note_conflict(self, class_name: str) -> None:
        self._shared.counts.conflict(class_name)
        self._had_conflict = True

    def commit(self, transaction: Any) -> None:
        """Gather all that is to be written; nothing is written if this fails."""
        changes = self._changes = Changes(self._graph)
        keeper = self._keeper() if self._graph.indexed else None
        if self.new_root is not None:
            changes.add_root(*self.new_root)
        for working in list(self.view.working.values()):
            changes.add(working)
        if changes.new:
            changes.add_reachable()
        if self._kept:
            self.tell_lost_changes()
        if keeper is not None:
            self._keep_indexes(keeper, changes)
        self._enter(GATHERED)

    def _keeper(self) -> Keeper:
        from dobbin_like.indexes.kept.keeper import Keeper

        graph = self._graph
        keeper: Keeper = graph.keeper or Keeper(graph)
        graph.keeper = keeper
        keeper.keep_attribute(self.view)
        return keeper

    def _keep_indexes(self, keeper: Keeper, changes: Changes) -> None:
        """Add what *changes* change in the indexes."""
        unseen = self._storage.unseen
        if unseen and keeper.is_changed_by(unseen):
            self._catch_up_to(unseen[-1])
        updates = keeper.updates(changes, self.view)
        if not updates:
            return
        if unseen:
            self._catch_up_to(unseen[-1])  # All of them may have changed the same entries.
        before = set(self.view.working)
        self._enter(REPLAYING)
        keeper.apply(updates, self.view, self._snapshot)
        self._enter(BEGUN)
        self._in_indexes = [
            working for key, working in self.view.working.items() if key not in before
        ]
        for working in self._in_indexes:
            changes.add(working)
        changes.add_reachable()

    def _catch_up_to(self, logged: Transaction) -> None:
        """Wait until a transaction is visible; with the lock: no conflict can come meanwhile."""
        self._storage.wait_for(logged)
        self._publisher.catch_up()
        if self._storage.tid < logged.tid:
            failed = "a transaction before it could not be synced"
            raise ConflictError(failed=failed)

    def tpc_vote(self, transaction: Any) -> None:
        """Append the transaction: the last moment to refuse. Prepare it if others may refuse.

        An interrupt that comes when it is decided is held.
        """
        changes, storage = self._changes, self._storage
        assert changes is not None, "tpc_vote without commit"
        if not changes.entries:
            return
        if storage.unseen:
            self._check_stored_again(changes, storage.unseen)
        classes = self._graph.classes
        tid = self._tid = new_tid(storage)
        # Before it can be visible.
        self._publisher.own[tid] = partial(
            self._publisher.publish, changes=changes, view=self.view
        )
        try:
            # There is no public way to ask; unknown means there may be others.
            if len(getattr(transaction, "_resources", ())) != 1:
                self._made = storage.prepare(
                    tid, changes.entries, classes.new, classes.new_shapes, **self._annotations
                )
                self._enter(PREPARED)
                return
            self._enter(APPENDING)
            new = classes.new or classes.new_shapes
            self._made = storage.append(
                tid,
                changes.entries,
                classes.new,
                classes.new_shapes,
                wait=bool(new),  # Others must not give the same numbers.
                **self._annotations,
            )
            self._enter(COMMITTED)
            self._publish()
        except OvertakenError:
            self._gather_again(changes, transaction)
            self.tpc_vote(transaction)
        except (InDoubtError, OSError):
            raise
        except BaseException as error:  # noqa: BLE001  raised later, or by this
            self._hold_if_committed(transaction, error)

    def _hold_if_committed(self, transaction: Any, error: BaseException) -> None:
        if not self._is_committed(transaction):
            raise error
        if self._phase is not PUBLISHED:
            finish_despite_interrupts(self._publish)
        hold(transaction, error)

    def _gather_again(self, changes: Changes, transaction: Any) -> None:
        """Begin anew behind what another process has appended, and keep the others out."""
        self._publisher.give_up(self._tid)
        for working in self._in_indexes:  # They say where objects are that lose their oids now.
            self._shared.uncheckout(self.view, working)
        self._in_indexes = []
        changes.undo()
        self._changes = None
        self._enter(BEGUN)
        self._storage.release()
        acquire(self._publisher)
        self._publisher.catch_up()
        self._find_conflicts()
        self.commit(transaction)

    def _check_stored_again(self, changes: Changes, unseen: Sequence[Transaction]) -> None:
        """Refuse to store what others store again at this moment, after a pack dropped it."""
        oids = {entry[0] for entry in changes.entries}
        for logged in unseen:
            if not (
                logged.failed
                or logged.tid <= self._storage.tid  # It was waited for.
                or oids.isdisjoint(logged.oids)
            ):
                oid = next(Oid(oid) for oid in logged.oids if oid in oids)
                self._note_conflict(_OBJECT)
                error = WriteConflictError(_OBJECT, oid, logged.tid, NO_TID, "another thread", "")
                raise error.tell(partial(told_by, logged))

    def _publish(self) -> None:
        """Give the lock back, wait until the transaction is durable, and publish it.

        May be run again. Raises InDoubtError: nobody knows whether it is committed.
        """
        made, publisher, storage = self._made, self._publisher, self._storage
        assert made is not None
        classes = self._graph.classes
        if classes.new or classes.new_shapes:
            publisher.catch_up()
            if classes.new:
                publisher.note_classes()
            classes.confirm()
        storage.release()
        storage.confirm(made)
        try:
            publisher.catch_up_to(made)
        except ClosedError:
            if not publisher.closed:
                raise
        self._phase = PUBLISHED
        if self._shared.has_older:
            publisher.old_snapshots.look()

    def tpc_finish(self, transaction: Any) -> None:
        """Decide and publish. An interrupt is held until the whole commit is done."""
        try:
            if self._phase is PREPARED:
                _deciders.setdefault(transaction, self)
            self._finish()
        except (InDoubtError, OSError):
            raise
        except BaseException as error:  # noqa: BLE001  raised when the commit is done
            finish_despite_interrupts(self._finish)
            hold(transaction, error)

    def _finish(self) -> None:
        # Every step may be run again.
        if self._phase is PREPARED or self._phase is APPENDING:
            self._decide()
        changes, made = self._changes, self._made
        if changes is not None:
            if made is not None and self._phase is not PUBLISHED:
                self._publish()
            if self.view.working:
                self._shared.drop_working(self.view)
            self.new_root = self._joined = None
            self._decided_tid = self._tid
            written = changes.written
            self._made = self._changes = changes = None  # They refer to what was written.
            self._in_indexes = []
            self._kept = kept_after(written) if written and self._graph.guard else []
        self._leave_commit()

    def _decide(self) -> None:
        if self._phase is PREPARED:
            self._enter(APPENDING)
        if self._storage.settle(self._tid) is None:
            classes = self._graph.classes
            self._storage.decide(wait=bool(classes.new or classes.new_shapes))
        self._enter(COMMITTED)

    def _leave_commit(self) -> None:
        published = self._phase is PUBLISHED
        with self._shared.lock:
            self._phase = IDLE
            self.thread.committing = False
            if self._publisher.closed:
                self._shared.end_view(self.view)
        if not published:
            # To its end: no other call follows the abort of a transaction.
            finish_despite_interrupts(self._storage.release)

    def abort(self, transaction: Any) -> None:
        # All of it: an interrupt may have come before tpc_abort, or in the middle of it.
        self.tpc_abort(transaction)

    def tpc_abort(self, transaction: Any) -> None:
        """Take the commit back; the objects show the latest committed state.

        What is committed can't be taken back: it is published.
        """
        if self.thread.is_deciding():
            return
        if self._is_committed(transaction):
            try:
                self.tpc_finish(transaction)
            except InDoubtError:
                pass  # For this database, it is one of others, should it ever be visible.
            else:
                return
        if not self._publisher.give_up(self._tid) and self._phase is COMMITTED:
            self._phase = PUBLISHED  # Another thread has seen it meanwhile.
            self._finish()
            return
        try:
            if self._storage.held:
                self._record_failure()
        finally:
            try:
                self._take_back()
            finally:
                self._leave_commit()
                self._made = self._changes = None
                self._in_indexes = []
                self._failure = ""

    def _take_back(self) -> None:
        """Let nothing be checked out; note what the program has kept of it."""
        if self._changes is not None:
            self._changes.undo()
        self.replace_root(None)
        copies = self.view.working
        read = read_in(copies.values()) if copies and self._graph.guard else []
        self._shared.drop_working(self.view)
        self._joined = None
        self._kept += kept_since(ABORT, read)

    def _is_committed(self, transaction: Any) -> bool:
        """Return whether the decision was made before an error or an interrupt came."""
        if self._phase is PREPARED:
            first = _deciders.get(transaction)
            if first is not None and first is not self and first.has_decided():
                return True
        if self._phase is APPENDING:
            try:
                made = self._storage.settle(self._tid)
            except OSError:  # The disk is gone: it is in doubt.
                made = None
            if made is not None:
                self._made = made
                self._enter(COMMITTED)
        return self._phase in (COMMITTED, PUBLISHED)

    def has_decided(self) -> bool:
        """Return whether this database has committed the transaction, which it has prepared."""
        if self._phase is APPENDING:
            return self._storage.settle(self._tid) is not None
        return self._phase in (COMMITTED, PUBLISHED) or self._decided_tid == self._tid

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
        self._storage.fail(tid, reason, oids=oids, **self._annotations)

    # -- savepoints ---------------------------------------------------------------

    def savepoint(self) -> Savepoint:
        opened = self.thread.opened.pairs
        return Savepoint(self.view, opened, self._shared, self.new_root, self._rolled_back)

    def _rolled_back(self, new_root: NewRoot | None, kept: list[Kept]) -> None:
        self.replace_root(new_root)
        self._kept += kept

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
