"""The data manager: what one thread does to one database in a transaction.

Each thread that uses a database has one, beside its view (:mod:`.thread_view`). It is the
resource that joins the transaction at the first checkout. The steps of the two-phase commit:

============  ==========================================  =====================
step          does                                        when it fails
============  ==========================================  =====================
tpc_begin     takes the commit lock, catches up with the  nothing was written
              log, finds conflicts
commit        gathers all states in memory                nothing was written
tpc_vote      appends the transaction, if no other        it is not visible,
              participant can refuse it, releases the     or it is in doubt
              lock, waits until it is durable, publishes
              it; otherwise prepares it
tpc_finish    does the same to what was prepared          it is in doubt
tpc_abort     takes everything back, records the failed   does not fail
              transaction, releases
============  ==========================================  =====================

The append is the decision: an interrupt after it is raised when the commit is done
(:mod:`.in_commit`). If it leads to ``tpc_abort`` all the same, that does what ``tpc_finish`` does.
``abort`` and ``tpc_abort`` may be called at any time, any number of times. If several databases
take part, the decision of the first is that of all: the ``tpc_abort`` of the others does what
their ``tpc_finish`` does.

The parts of the steps: :mod:`dobbin_like.transactions.commit`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from transaction.interfaces import ISavepointDataManager, TransientError
from zope.interface import implementer

from dobbin_like.contract import is_distant
from dobbin_like.exc import (
    ClosedError,
    Error,
    InDoubtError,
    NotHeldError,
    OvertakenError,
    SelfWaitError,
    UncommittedChangesError,
)
from dobbin_like.objects.faces.stream import slow_files
from dobbin_like.objects.faces.view import NewRoot, View
from dobbin_like.objects.faces.working_copy import WorkingCopy
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.processes.interrupts import finish_despite_interrupts
from dobbin_like.transactions.commit.annotations import (
    NO_ANNOTATIONS,
    annotations_of,
    record_failure,
)
from dobbin_like.transactions.commit.before_lock import do_slow_steps, get_ready
from dobbin_like.transactions.commit.conflict_search import ConflictSearch
from dobbin_like.transactions.commit.index_changes import keep_indexes, keeper_of
from dobbin_like.transactions.commit.joining import Joining
from dobbin_like.transactions.commit.lock import acquire, changes_lost, new_tid
from dobbin_like.transactions.commit.state import (
    APPENDING,
    BEGUN,
    COMMITTED,
    GATHERED,
    IDLE,
    PREPARED,
    PUBLISHED,
    CommitState,
)
from dobbin_like.transactions.in_commit import hold
from dobbin_like.transactions.lost_changes import (
    ABORT,
    KeptContainer,
    kept_after,
    kept_since,
    objects_of,
    read_in,
    tell_lost_changes,
)
from dobbin_like.transactions.package_internals import participants_of
from dobbin_like.transactions.publisher import Publisher
from dobbin_like.transactions.savepoint import Savepoint
from dobbin_like.transactions.thread_view import ThreadView


@implementer(ISavepointDataManager)
class DataManager:
    """One thread's part in one database. Touched by its thread only."""

    def __init__(self, publisher: Publisher, thread: ThreadView) -> None:
        self._publisher = publisher
        self._storage = publisher.storage
        self._is_distant = is_distant(publisher.storage)
        self._graph = publisher.graph
        self._shared = publisher.graph.shared
        self.thread = thread
        self.view: View = thread.view
        self.joining: Joining = Joining(publisher, thread)
        # Of the commit that is under way.
        self._state = CommitState(publisher, self.view)
        self._conflicts = ConflictSearch(publisher, self.view, self._state)
        self._in_indexes: list[WorkingCopy] = []  # What was checked out to keep the indexes.
        # Of the last commit, and of aborts and rollbacks since.
        self._kept: list[KeptContainer] = []
        self._annotations: dict[str, Any] = NO_ANNOTATIONS
        # Whether the thread has the lock for something else, in which a signal handler commits.
        self._refused = False

    def sortKey(self) -> str:  # noqa: N802  the interface's name
        return f"{self._storage.sort_key}:{id(self._publisher):x}"

    @property
    def transaction_manager(self) -> Any:
        """The thread's transaction manager, ``None`` after the thread has ended."""
        return self.thread.transaction_manager()

    @property
    def pending(self) -> int:
        """How many objects are checked out, or set as the root, and not committed."""
        return len(self.view.working) + (self.view.new_root is not None)

    def uncommitted(self) -> UncommittedChangesError:
        """Return the error that tells what is pending."""
        # A copy: a task may ask for the changes of a thread that still runs.
        objects = [working.obj for working in [*self.view.working.values()]]
        objects += self.view.new_root[:1] if self.view.new_root is not None else ()
        if not objects:
            return UncommittedChangesError(self._storage.path)
        first = objects[0]
        name = type(first).__name__
        return UncommittedChangesError(self._storage.path, name, first._p_oid, len(objects))

    def tell_lost_changes(self) -> None:
        """Warn of values that were changed too late, after the last commit of this thread."""
        kept, self._kept = self._kept, []
        tell_lost_changes(kept, self._state.changes)

    # -- joining --------------------------------------------------------------

    def join(self) -> View:
        """Take part in the thread's transaction, unless it is committing; return the view."""
        joining, phase = self.joining, self._state.phase
        # It takes part already at nearly every checkout.
        if joining.transaction is None or phase is not IDLE or not joining.takes_part():
            joining.join(self, phase)
        return self.view

    def resume(self) -> None:
        """Go on in the snapshot that has lapsed while the thread was idle, if it is there."""
        self._publisher.resume(self.view)

    def leave(self) -> None:
        """End the view: the thread goes on under another transaction manager.

        Raises UncommittedChangesError if somebody can still commit what is checked out.
        """
        if self.pending and self.transaction_manager is not None:
            raise self.uncommitted()
        self.thread.leave()

    def let_go(self) -> None:
        """Give the snapshot back until the next transaction; nothing may be checked out."""
        self._shared.end_view(self.view)
        self.view.lapsed = None

    def acquire_early(self) -> None:
        """Take the commit lock for the transaction that begins next: it will have no conflict.

        The end of its commit or abort gives the lock back, and in any case :meth:`release_early`,
        which has to follow. If this raises, as a commit may, nothing is held.
        """
        if self._graph.indexed:
            get_ready(self._graph)
        acquire(self._publisher)
        # Not before: a signal handler that commits meanwhile would take it for held.
        self._state.early = True

    def release_early(self) -> None:
        """Give back what :meth:`acquire_early` has taken, if it is still held. Idempotent."""
        self._state.early = False
        finish_despite_interrupts(self._storage.release)

    # -- two-phase commit -------------------------------------------------------

    def tpc_begin(self, transaction: Any) -> None:
        """Take the commit lock, catch up and find conflicts."""
        self._conflicts.failure = ""
        about = transaction.user or transaction.description or transaction.extension
        self._annotations = annotations_of(transaction) if about else NO_ANNOTATIONS
        if slow_files or self._graph.indexed or self._graph.guard == "check":
            do_slow_steps(self._publisher, self.view)
        self._refused = False
        if not (self._state.early and self._storage.held):
            # With several databases, all keep the others out from here on, in the same order
            # everywhere: one that is overtaken would take its lock after those of the others.
            settled = self._is_distant and len(participants_of(transaction)) != 1
            try:
                acquire(self._publisher, settled=settled)
            except SelfWaitError:
                self._refused = self._state.phase is IDLE
                raise
        with self._shared.lock:
            if self._publisher.closed:
                raise changes_lost(self._publisher)
            self.thread.committing = True
        self._state.enter(BEGUN)
        self._shared.counts.retries += self._conflicts.had_conflict
        self._conflicts.had_conflict = False
        self._state.snapshot = self.view.tid
        if self._storage.behind:
            self._publisher.catch_up()
        if self._storage.unseen:
            self._conflicts.wait_for_unseen()
        # As find_conflicts() does, without a call: mostly, nothing was committed since. After the
        # storage: what another thread has applied, and not published yet, is not unseen any more.
        if (
            self._publisher.unpublished is not None
            or self.view.tid != self._shared.tid
            or self.view.new_root is not None
        ):
            self._conflicts.find()

    def commit(self, transaction: Any) -> None:
        """Gather all that is to be written; nothing is written if this fails."""
        graph, view = self._graph, self.view
        changes = self._state.changes = Changes(graph)
        keeper = keeper_of(graph, view) if graph.indexed else None
        if self.view.new_root is not None:
            changes.add_root(*self.view.new_root)
        changes.add_all([*view.working.values()])
        if changes.new:
            changes.add_reachable()
        if self._kept:
            self.tell_lost_changes()
        if keeper is not None:
            self._in_indexes = keep_indexes(keeper, changes, self._publisher, view, self._state)
        self._state.enter(GATHERED)

    def tpc_vote(self, transaction: Any) -> None:
        """Append the transaction, or prepare it if others may still refuse.

        An interrupt that comes when it is decided is held.
        """
        changes, storage = self._state.changes, self._storage
        assert changes is not None, "tpc_vote without commit"
        if not changes.entries:
            self._store_nothing()
            return
        if changes.unseen:
            self._conflicts.refuse_stored_again(changes)
        classes = self._graph.classes
        changes.has_new_names = bool(classes.new or classes.new_shapes)
        tid = self._state.tid = new_tid(storage)
        # Before it can be visible.
        self._publisher.own[tid] = partial(
            self._publisher.publish, changes=changes, view=self.view
        )
        try:
            # Others may refuse it. As participants_of() does, without a call.
            if len(getattr(transaction, "_resources", ())) != 1:
                self._state.made = storage.prepare(
                    tid, changes.entries, classes.new, classes.new_shapes, **self._annotations
                )
                self._state.enter(PREPARED)
                return
            self._state.enter(APPENDING)
            self._state.made = storage.append(
                tid,
                changes.entries,
                classes.new,
                classes.new_shapes,
                wait=changes.has_new_names,  # Others must not give the same numbers.
                **self._annotations,
            )
            self._state.enter(COMMITTED)
            self._state.publish()
        except OvertakenError:
            self._gather_again(changes, transaction)
            self.tpc_vote(transaction)
        except InDoubtError:
            raise
        except BaseException as error:  # noqa: BLE001  raised later, or by this
            self._state.hold_if_committed(transaction, error)

    def _store_nothing(self) -> None:
        """Publish what others have committed: no own publication will do it."""
        if self._is_distant:  # No append finds conflicts.
            self._publisher.catch_up()
            self._conflicts.find()
        elif self._storage.unseen:
            self._publisher.catch_up()

    def _gather_again(self, changes: Changes, transaction: Any) -> None:
        """Start again after what another process has appended, now with the lock."""
        self._publisher.give_up(self._state.tid)
        for working in self._in_indexes:  # They say where objects are that lose their oids now.
            self._shared.uncheckout(self.view, working)
        self._in_indexes = []
        changes.undo()
        self._state.changes = None
        self._state.enter(BEGUN)
        self._storage.release()
        acquire(self._publisher)
        self._publisher.catch_up()
        self._conflicts.find()
        self.commit(transaction)

    def tpc_finish(self, transaction: Any) -> None:
        """Decide and publish. An interrupt is held until the whole commit is done."""
        try:
            if self._state.phase is PREPARED:
                self._state.decide_for_all(transaction)
            self._finish()
        except InDoubtError:
            raise
        except BaseException as error:
            if isinstance(error, OSError) and not (
                self._state.is_committed(transaction) or self._state.has_decided()
            ):
                raise  # The disk has refused it.
            hold(transaction, error)
            try:
                self._state.bring_to_end(self._finish, transaction)
            except (ClosedError, NotHeldError) as later:
                # A signal handler has closed it; or a server that refuses is not asked again.
                raise error from later

    def _finish(self) -> None:
        # Every step may be run again.
        state = self._state
        if state.phase is PREPARED or state.phase is APPENDING:
            state.decide()
        changes = state.changes
        if changes is not None:
            if state.made is not None and state.phase is not PUBLISHED:
                state.publish()
            written = changes.written
            objects = objects_of(written) if written else []
            if self.view.working:
                self._shared.drop_working(self.view)
            self.view.new_root = self.joining.transaction = None
            state.decided_tid = state.tid
            state.made = state.changes = changes = None  # They refer to what was written.
            self._in_indexes = []
            self._kept = kept_after(written, objects) if written and self._graph.guard else []
        self._leave_commit()

    def _leave_commit(self) -> None:
        published = self._state.phase is PUBLISHED
        with self._shared.lock:
            self._state.phase = IDLE
            self.thread.committing = False
            if self._publisher.closed:
                self._shared.end_view(self.view)
        if not published and not self._refused:
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
        if self._state.is_committed(transaction):
            try:
                self.tpc_finish(transaction)
            except (Error, OSError):
                pass  # For this database, it is one of others, should it ever be visible.
            else:
                return
        if not self._publisher.give_up(self._state.tid) and self._state.phase is COMMITTED:
            self._state.phase = PUBLISHED  # Another thread has seen it meanwhile.
            self._finish()
            return
        try:
            if self._storage.held and not self._refused:
                reason, about = self._conflicts.failure, self._annotations
                record_failure(self._storage, self._state, reason, about)
        finally:
            try:
                self._take_back()
            finally:
                self._leave_commit()
                self._state.made = self._state.changes = None
                self._in_indexes = []
                self._conflicts.failure = ""

    def _take_back(self) -> None:
        """Let nothing be checked out; note what the program has kept of it."""
        if self._state.changes is not None:
            self._state.changes.undo()
        self.replace_root(None)
        copies = self.view.working
        read = read_in(copies.values()) if copies and self._graph.guard else []
        objects = objects_of(read)
        self._shared.drop_working(self.view)
        self.joining.transaction = None
        self._kept += kept_since(ABORT, read, objects)

    def should_retry(self, error: BaseException) -> bool:
        return isinstance(error, TransientError)

    # -- savepoints ---------------------------------------------------------------

    def savepoint(self) -> Savepoint:
        opened = self.thread.opened.pairs
        return Savepoint(self.view, opened, self._shared, self._rolled_back)

    def _rolled_back(self, new_root: NewRoot | None, kept: list[KeptContainer]) -> None:
        self.replace_root(new_root)
        self._kept += kept

    def replace_root(self, new_root: NewRoot | None) -> None:
        """Let *new_root* be what this transaction has set as the root; ``None``: nothing."""
        if self.view.new_root is not None and new_root is None:
            self.view.new_root[1].jar = None  # it belongs to no database again
        self.view.new_root = new_root


def uncommitted_in(transaction: Any) -> UncommittedChangesError | None:
    """Return what tells of changes in *transaction*, of one database; None: there are none.

    The caller warns of them; no other warning comes when the thread ends.
    """
    for each in participants_of(transaction):
        if isinstance(each, DataManager) and each.pending:
            each.thread.is_told = True
            return each.uncommitted()
    return None
