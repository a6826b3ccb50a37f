"""The data manager: what one thread does to one database in a transaction.

Each thread that uses a database has one. It is the synchronizer that begins and ends
the thread's view (:mod:`.synchronizer`), and, here, the resource that joins the
transaction at the first checkout. The steps of the two-phase commit:

============  ==========================================  =====================
step          does                                        when it fails
============  ==========================================  =====================
tpc_begin     takes the commit lock, catches up with the  nothing was written
              log, finds conflicts
commit        gathers all states in memory                nothing was written
tpc_vote      appends the record and makes it durable     the record is no more
tpc_finish    makes it count, publishes, releases         does not fail
tpc_abort     takes everything back, records the failed   does not fail
              transaction, releases
============  ==========================================  =====================

``abort`` and ``tpc_abort`` may come at any time, any number of times, also
after ``tpc_finish``, and undo nothing that finished.
"""

from __future__ import annotations

import json
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from transaction.interfaces import ISavepointDataManager, TransientError
from zope.interface import implementer

from dobbin_like.conflicts import find_conflicts
from dobbin_like.exc import (
    ClosedError,
    CommittingError,
    ConflictError,
    LogPackedError,
    NotStorableError,
    ReadOnlyStorageError,
)
from dobbin_like.ids import Tid, next_tid
from dobbin_like.persistent.changes import Changes
from dobbin_like.persistent.shared import whole
from dobbin_like.persistent.spool import spool_slow_files
from dobbin_like.persistent.stream import some_are_slow
from dobbin_like.replay import replay
from dobbin_like.savepoint import Savepoint
from dobbin_like.synchronizer import Synchronizer

if TYPE_CHECKING:
    from dobbin_like.database import Database
    from dobbin_like.persistent.entry import Entry
    from dobbin_like.persistent.view import View
    from dobbin_like.storage import Storage

_FOLLOW_TRIES: Final = 100
"""How often a log may be packed while one commit waits for its lock."""


def new_tid(storage: Storage) -> Tid:
    """Return the tid for a transaction that follows what *storage* has applied."""
    # The one place that asks the clock; no decision rests on it.
    now_microseconds = time.time_ns() // 1000  # noqa: TID251
    return next_tid(now_microseconds, storage.tid)


def acquire(database: Database) -> None:
    """Take the commit lock, of the file in which the log goes on if it was packed."""
    for _ in range(_FOLLOW_TRIES):
        try:
            database.storage.acquire()
        except LogPackedError:
            database.catch_up()
        else:
            return
    database.storage.acquire()


def _nothing() -> None:
    """Stand for a weak reference to no transaction."""


@implementer(ISavepointDataManager)
class DataManager(Synchronizer):
    """One thread's part in one database. Touched by its thread only."""

    def __init__(self, database: Database, transaction_manager: Any) -> None:
        super().__init__(database, transaction_manager)
        # The transaction that was joined, weakly; set after join() has returned.
        self._joined: Any = _nothing
        self.new_root: tuple[Any, Entry] | None = None
        # One commit at a time: what it has gathered, what it has appended, why it failed.
        self._changes: Changes | None = None
        self._logged: Any = None
        self._decided = False
        self._failure = ""
        self._gathered = False
        self._annotations: dict[str, Any] = {}
        # While owners of structures do their changes again, in tpc_begin.
        self._replaying = False
        # Whether acquire_early() has taken the commit lock for the next transaction.
        self._early = False

    def sortKey(self) -> str:  # noqa: N802  the interface's name
        """Order data managers in the same way in every process."""
        return f"{self._storage.sort_key}:{id(self._database):x}"

    # -- joining --------------------------------------------------------------

    def join(self) -> View:
        """Take part in the thread's transaction; return the view.

        Raises:
            CommittingError: The commit of this transaction is under way.
            ReadOnlyStorageError: The storage is read-only.
        """
        if self._committing and not self._replaying:
            raise CommittingError(self._storage.path)
        if self._storage.read_only:
            opened = "the storage was opened with read_only=True; open it without"
            reason = getattr(self._storage, "why_read_only", opened)
            raise ReadOnlyStorageError(self._storage.path, reason)
        current = self._transaction_manager().get()
        if self._joined() is not current:
            current.join(self)
            self._joined = weakref.ref(current)
        if not self.view.active:
            self.graph.begin_view(self.view)
        return self.view

    def acquire_early(self) -> None:
        """Take the commit lock for the transaction that begins next: it meets no conflict.

        Given back at the end of its commit or abort, and in any case by
        :meth:`release_early`, which has to follow.

        Raises:
            LockTimeout, SelfWaitError, ReadOnlyStorageError, ClosedError: As for a commit.
            Nothing is held.
        """
        self._early = True
        acquire(self._database)

    def release_early(self) -> None:
        """Give back what :meth:`acquire_early` has taken, if it is held still. Idempotent."""
        self._early = False
        whole(self._storage.release)

    # -- two-phase commit -------------------------------------------------------

    def tpc_begin(self, transaction: Any) -> None:
        """Take the commit lock and catch up.

        Raises:
            ReadConflictError: The log has brought a newer version of an
                object that is checked out.
            WriteConflictError: A thread of this database has committed one.
            LockTimeout: The lock was not free in time.
            SelfWaitError: The transaction would wait for itself.
        """
        self._failure = ""
        self._gathered = False
        self._annotations = _annotations(transaction)
        if some_are_slow():
            roots = [] if self.new_root is None else [self.new_root[0]]
            spool_slow_files(self.view.working.values(), roots, self._storage.path)
        if not (self._early and self._storage.held):
            acquire(self._database)
        with self.graph.lock:
            if self._database.closed:
                what = f"the database {self._storage.path}"
                raise ClosedError(what)
            self._committing = True
        if self._database.has_news():
            self._database.catch_up()
        self._find_conflicts()

    def commit(self, transaction: Any) -> None:
        """Gather all that is to be written.

        Raises:
            NotStorableError: A value can't be stored; nothing was written.
            InvalidObjectReference: An object of another database is referred to.
        """
        storage = self._storage
        changes = self._changes = Changes(self.graph, storage.next_oid, storage.write_stream)
        if self.new_root is not None:
            changes.add_root(*self.new_root)
        for working in list(self.view.working.values()):
            changes.add(working)
        changes.add_reachable()
        self._gathered = True

    def tpc_vote(self, transaction: Any) -> None:
        """Append the record and make it durable: the last moment to refuse."""
        changes = self._changes
        assert changes is not None, "tpc_vote without commit"
        if changes.entries:
            self._decided = _is_alone(transaction)
            self._logged = self._storage.prepare(
                self._next_tid(),
                changes.entries,
                self.graph.classes.new,
                self.graph.classes.new_shapes,
                decided=self._decided,
                **self._annotations,
            )

    def tpc_finish(self, transaction: Any) -> None:
        """Make the record count and publish it. An interrupt waits until that is done."""
        try:
            whole(self._finish)
        finally:
            self._finishing = False  # It is, unless the steps themselves have failed.

    def _finish(self) -> None:
        # Every step may be run again, the last one too: were an interrupt to leave it undone,
        # the abort of the next transaction would take itself for one in the midst of this.
        self._finishing = True
        changes, logged = self._changes, self._logged
        if changes is not None:
            if logged is not None:
                if not self._decided:
                    self._storage.decide()
                if changes.collections:
                    changes.stored_as(logged.tid)
                self._database.publish(logged, changes, self.view)
                self.graph.classes.confirm()
            self.graph.drop_working(self.view)
            self.new_root = None
            self._joined = _nothing
            self._logged = None
            self._changes = None
        self._leave_commit()
        self._storage.release()
        self._finishing = False

    def _leave_commit(self) -> None:
        with self.graph.lock:
            self._committing = False
            if self._database.closed:
                self.graph.end_view(self.view)

    def abort(self, transaction: Any) -> None:
        """Forget the changes of this thread."""
        # All of it: an interrupt may have come before tpc_abort, or in the middle of it.
        self.tpc_abort(transaction)

    def tpc_abort(self, transaction: Any) -> None:
        """Take the commit back; the objects show the latest committed state."""
        if self._finishing:
            return  # called by a signal handler or finalizer in the midst of it
        held = self._storage.held
        if held and self._logged is not None and self._database.counts(self._logged):
            # Interrupted in tpc_finish, after the point of no return.
            self.tpc_finish(transaction)
            return
        # From here on it does not count: it is about to be recorded as one that failed, and to
        # an abort that comes after an interrupt, that would look like one that is committed.
        self._logged = None
        try:
            if held:
                self._record_failure(transaction)
        finally:
            try:
                if self._changes is not None:
                    self._changes.undo()
                self._forget()
            finally:
                self._leave_commit()
                self._storage.release()
                self._changes = None
                self._failure = ""

    def should_retry(self, error: BaseException) -> bool:
        """Tell whether running the transaction again may succeed."""
        return isinstance(error, TransientError)

    def _forget(self) -> None:
        self.replace_root(None)
        self.graph.drop_working(self.view)
        self._joined = _nothing

    def _record_failure(self, transaction: Any) -> None:
        """Write down that a transaction failed, if it got as far as being one."""
        changes = self._changes
        gathered = self._gathered and changes is not None and changes.entries
        if not (self._failure or gathered):
            return
        reason = self._failure or "refused by another participant"
        oids = [] if changes is None else [entry[0] for entry in changes.entries]
        failed = self._storage.fail(self._next_tid(), reason, oids=oids, **self._annotations)
        if failed is not None:
            self._database.apply_failed(failed)

    def _next_tid(self) -> Tid:
        return new_tid(self._storage)

    def _find_conflicts(self) -> None:
        try:
            torn = find_conflicts(self.graph, self.view, self.new_root)
            if torn:
                self._replaying = True
                replay(self.graph, self.view, torn)
        except ConflictError as error:
            self._failure = f"conflict: {error.class_name} oid {error.oid}"
            raise
        finally:
            self._replaying = False

    # -- savepoints ---------------------------------------------------------------

    def savepoint(self) -> Savepoint:
        """Return a point that the transaction can be rolled back to, any number of times."""
        return Savepoint(self)

    def replace_root(self, new_root: tuple[Any, Entry] | None) -> None:
        """Let *new_root* be what this transaction has elected; ``None``: nothing."""
        if self.new_root is not None and new_root is None:
            self.new_root[1].jar = None  # it belongs to no database again
        self.new_root = new_root


def _is_alone(transaction: Any) -> bool:
    """Tell whether nobody else can refuse the transaction once this one has voted.

    Then the record may be adopted by recovery; otherwise it has to be marked
    in ``tpc_finish``, at the price of a second sync.
    """
    # There is no public way to ask; unknown means there may be others.
    resources = getattr(transaction, "_resources", ())
    return len(resources) == 1


def _annotations(transaction: Any) -> dict[str, Any]:
    user, description = transaction.user, transaction.description
    extension = transaction.extension
    if not (user or description or extension):
        return _NO_ANNOTATIONS
    data = b""
    if extension:
        try:
            data = json.dumps(extension, sort_keys=True).encode()
        except (TypeError, ValueError) as error:
            name = "transaction.extension"
            raise NotStorableError(name, None, ".", f"not JSON: {error}") from error
    return {"user": user or "", "description": description or "", "extension": data}


_NO_ANNOTATIONS: Final[dict[str, Any]] = {}
