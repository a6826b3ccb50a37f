"""``Past``: what a database tells of its past."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from dobbin_like.history import feed, undo
from dobbin_like.history.revisions import history, transactions
from dobbin_like.ids import NO_TID, Tid
from dobbin_like.storages.as_of import AsOf

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from dobbin_like.contract import Storage
    from dobbin_like.history.feed import Change
    from dobbin_like.history.revisions import Revision, TransactionRecord
    from dobbin_like.objects.graph.graph import Graph
    from dobbin_like.persistent import Persistent
    from dobbin_like.timestamps import Moment
    from dobbin_like.transactions.data_manager import DataManager


class Past:
    """The part of a database that asks about what was. Mixed into ``Database``.

    Where a moment is asked for, it is a tid or a datetime with a time zone. A datetime
    means all transactions up to then, by the clock of the machines that committed them.
    """

    if TYPE_CHECKING:
        storage: Storage
        graph: Graph
        transaction_manager: Any
        closed: bool
        _news_lock: threading.RLock

        def _manager(self) -> DataManager: ...
        def _check_open(self) -> None: ...
        def catch_up(self) -> None: ...

    @property
    def tid(self) -> Tid:
        """Of the newest committed transaction in this thread's snapshot; 0: there is none.

        Who reads the state and then goes on with :meth:`changes` begins here.
        """
        view = self._manager().view
        return view.tid if view.active else self.graph.tid

    def transactions(
        self,
        since: Moment | None = None,
        until: Moment | None = None,
        *,
        newest_first: bool = False,
    ) -> Iterator[TransactionRecord]:
        """Yield the transactions after *since*, up to *until*, with the failed ones.

        Oldest first, or newest first. They are those of the log as of now, whatever the
        snapshot of this thread is; those that are committed later are not among them.
        ``transactions(until=tid)`` are those that ``at(tid)`` shows, and
        ``transactions(since=tid)`` the rest. A moment may lie before the log, or in
        the future.

        In a log that was packed, what is left of the older transactions is told.

        Raises:
            ValueError: A datetime without a time zone.
            IntegrityError: A transaction is damaged. What was yielded before is right.

        Cost: What is yielded. To find where to begin, a small read for each transaction
        after *since*, or after *until* if newest first.
        """
        self._check_open()
        self.catch_up()
        return transactions(self.storage, since, until, newest_first=newest_first)

    def history(self, obj: Persistent | int) -> Iterator[Revision]:
        """Yield the transactions that changed *obj*, newest first.

        *obj* is an object or an oid. Begins with the version that this thread sees,
        and leaves out what it has changed and not committed. Each has the old and the new
        value of what it changed, as they were stored: values of classes that are not loaded
        are stand-ins, ``ABSENT`` stands for an attribute that is not there. The object
        need not be loaded, nor its class be there. One that is not stored yet has none.

        In a log that was packed, what the oldest revision that was kept has changed is not
        known: it has all attributes, as if it had made the object.

        Raises:
            ObjectNotFound: There is no object with this oid in the thread's snapshot.
            NotPersistentError: *obj* is neither an oid nor a persistent object.
            InvalidObjectReference: It belongs to another database.
            IntegrityError: A version is damaged. What was yielded before is right.

        Cost: The two states, for each that is yielded.
        """
        view = self._manager().view
        at = view.tid if view.active else None
        return history(self.graph, self.storage, obj, at)

    def at(self, moment: Moment) -> Self:
        """Return a read-only database as of *moment*, over the same log.

        It shows what was committed up to that tid or datetime, now and as long as it is
        open; there may be several. Its objects are its own: the same oids, other instances.
        It shares the file, its positions and its classes with this database, and the
        transaction manager and the policy for loading. Changing it is refused. Close it
        after use, it is a context manager; this database stays open, and when this one is
        closed first, nothing more can be read there.

        Raises:
            TransactionNotFound: The moment is before the first transaction, or in the
                future; a tid above that of the last transaction is.
            PastDroppedError: What there was then was dropped by packing.
            ValueError: A datetime without a time zone.

        Cost: A small read for each transaction since. Reading an object: the versions of
        it that are newer. ``len()``, once: what was changed since.
        """
        self._check_open()
        self.catch_up()
        with self._news_lock:
            applied = self.storage.tid, self.storage.oid_count
        make: Any = type(self)
        past: Self = make(
            AsOf(self.storage, moment, applied),
            transaction_manager=self.transaction_manager,
            allow=self.graph.classes.policy.allow,
            guard=self.graph.guard,
        )
        return past

    def undo(self, tid: int) -> None:
        """Take back what transaction *tid* has changed, in the transaction of this thread.

        Nothing is written before the caller commits; ``transaction.abort()`` drops it.
        Every attribute that *tid* changed gets the value that it had before, if nobody
        has changed it since; so does every key of a ``PersistentDict`` and every member of
        a ``PersistentSet``. What others have changed since stays. Objects that *tid* made
        stay as well: nothing leads to them any more when those that referred to them are
        taken back. An undo is a transaction as any other, and can be undone.

        If something was changed again since, ``_p_resolve_conflict(state after tid, state
        now, state before tid)`` of the class decides. Changed back to what it was before
        *tid*, it needs no undoing.

        Raises:
            UndoConflictError: Something was changed again since, and the class can't
                resolve it. It is a ConflictError, but to run it again does not help.
            TransactionNotFound: No transaction in this thread's snapshot has this tid.
            PastDroppedError: What there was before was dropped by packing.
            UndoError: The transaction failed, changed no object, or elected the root.
            UnloadedClassError: The class of a changed object is not loaded.
            ReadOnlyStorageError: The storage is read-only.
            NotStorableError: What this thread has checked out can't be copied.
            In all cases nothing was changed.

        Cost: The objects that *tid* changed, and the versions of them since; a small read
        for each transaction since.
        """
        undo.undo(self.storage, self._manager(), Tid(tid))

    def changes(self, since: Moment = NO_TID, wait: float | None = None) -> Iterator[Change]:
        """Yield what was committed after *since*: a feed, oldest first.

        Nothing is missed and nothing comes twice, whoever commits: threads of this
        process, or other processes. Keep the tid of the last change that was dealt with:
        in this process or another, ``changes(since=tid)`` goes on behind it. Failed
        transactions are left out.

        The feed has its own place in the log. It does not move the snapshot of this
        thread; begin a transaction to read the objects as the change has left them. A
        feed is for one thread; it ends when the database is closed.

        Args:
            since: A tid or a datetime; by default, from the start of the log.
            wait: Seconds to wait for the next change; ``math.inf``: for ever. ``None``: the
                feed ends with what is committed now.

        Raises:
            TransactionNotFound: The tid is above that of the last transaction: the log was
                replaced by an earlier copy, or the tid is of another one.
            PastDroppedError: Changes after *since* were dropped by packing, before the feed
                began or while it was behind. Read the whole state, and go on from ``tid``.
            ValueError: A datetime without a time zone.
            IntegrityError: A version is damaged; a note has the tid from which to go on.

        Cost: The states that were changed, before and after. Waiting, a read of memory
        now and then: 20 a second after a while.
        """
        self._check_open()
        made: Any = self
        return feed.changes(made, since, wait)
