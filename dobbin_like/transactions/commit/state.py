"""How far the commit of a thread is: its phases, what is decided, and what follows that.

A decision can't be taken back: after it, the transaction is published, or it is in doubt.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Final

from dobbin_like.contract import Transaction
from dobbin_like.exc import ClosedError, InDoubtError, LogError, NotHeldError
from dobbin_like.ids import NO_TID
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.processes.interrupts import finish_despite_interrupts
from dobbin_like.transactions.in_commit import hold
from dobbin_like.transactions.publisher import Publisher

IDLE: Final = "idle"  # There is none; objects may be checked out.
BEGUN: Final = "begun"  # The commit lock is held; conflicts are looked for.
REPLAYING: Final = "replaying"  # Owners of structures do their changes again: they check out.
GATHERED: Final = "gathered"  # A failure from here on is recorded in the log.
APPENDING: Final = "appending"  # The storage decides: settle() tells whether it has.
PREPARED: Final = "prepared"  # It is written; others may still refuse it.
COMMITTED: Final = "committed"  # It is decided, and becomes visible now.
PUBLISHED: Final = "published"  # It is visible; the commit lock is given back.

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

_deciders: weakref.WeakKeyDictionary[Any, CommitState] = weakref.WeakKeyDictionary()
"""Transactions of several participants, and the commit that decides for all of them."""


class CommitState:
    """Where the commit of one thread to one database stands. Touched by its thread only.

    ``snapshot`` is what the transaction has read, ``changes`` what it has to write, ``tid`` its
    own, ``made`` what the storage has made of it. ``decided_tid`` is that of the last one that
    was committed. ``early``: the commit lock was taken for the transaction that begins next.
    """

    def __init__(self, publisher: Publisher, view: View) -> None:
        self.phase: str = IDLE
        self.snapshot = NO_TID
        self.changes: Changes | None = None
        self.tid = NO_TID
        self.made: Transaction | None = None
        self.decided_tid = NO_TID
        self.early: bool = False
        self._publisher = publisher
        self._storage = publisher.storage
        self._view = view

    @property
    def path(self) -> str:
        """Of the storage, for errors."""
        return self._storage.path

    def enter(self, phase: str) -> None:
        """Go on to *phase*."""
        assert phase in _NEXT[self.phase], (self.phase, phase)
        self.phase = phase

    def decide_for_all(self, transaction: Any) -> None:
        """Make the decision of this database that of all, unless another one has decided first."""
        _deciders.setdefault(transaction, self)

    def decide(self) -> None:
        """Append what is prepared, unless that has happened. May be run again."""
        if self.phase is PREPARED:
            self.enter(APPENDING)
        if self._storage.settle(self.tid) is None:
            self._storage.decide(wait=self.changes is None or self.changes.has_new_names)
        self.enter(COMMITTED)

    def is_committed(self, transaction: Any) -> bool:
        """Return whether the decision was made before an error or an interrupt came."""
        if self.phase in (PREPARED, APPENDING) and self._other_with(transaction) is not None:
            return True
        if self.phase is APPENDING:
            made = self._settled()
            if made is not None:
                self.made = made
                self.enter(COMMITTED)
        return self.phase in (COMMITTED, PUBLISHED)

    def _other_with(self, transaction: Any) -> CommitState | None:
        """Return the commit of another database that has decided for this one, too."""
        first = _deciders.get(transaction)
        return None if first is None or first is self or not first.has_decided() else first

    def _settled(self) -> Transaction | None:
        try:
            return self._storage.settle(self.tid)
        except (OSError, LogError, ClosedError):
            return None  # The disk is gone, or a signal handler has closed it: it is in doubt.

    def has_decided(self) -> bool:
        """Return whether this database has committed the transaction, which it has prepared."""
        if self.phase is APPENDING:
            return self._settled() is not None
        return self.phase in (COMMITTED, PUBLISHED) or self.decided_tid == self.tid

    # -- behind the decision ------------------------------------------------------

    def publish(self) -> None:
        """Give the lock back, wait until the transaction is durable, and publish it.

        May be run again. Raises InDoubtError: nobody knows whether it is committed.
        """
        made, changes = self.made, self.changes
        publisher, storage = self._publisher, self._storage
        unseen = storage.unseen  # Before others may have the lock.
        assert made is not None
        # Otherwise another thread might append names that are in the log already.
        if changes is not None and changes.has_new_names:
            classes = publisher.graph.classes
            publisher.if_open(publisher.catch_up)
            if classes.new:
                publisher.note_classes()
            classes.confirm()
            changes.has_new_names = False
        if not self.early:
            storage.release()
        try:
            storage.confirm(made)
        finally:
            # A thread that waits for what was taken early needs what this one has written.
            if self.early:
                storage.release()
        publisher.if_open(publisher.catch_up_to, made, unseen, self._view)
        self.phase = PUBLISHED
        if publisher.graph.shared.has_older:
            publisher.old_snapshots.look()

    def hold_if_committed(self, transaction: Any, error: BaseException) -> None:
        """Publish what was committed when *error* came, which is raised later; else raise it."""
        if not self.is_committed(transaction):
            raise error
        if self.phase is not PUBLISHED:
            self.bring_to_end(self.publish, transaction)
        hold(transaction, error)

    def bring_to_end(self, step: Callable[[], None], transaction: Any) -> None:
        """Run a step behind the decision, or the decision itself, to its end.

        InDoubtError: It is decided, but what others have committed can't be read; or another
        database has it, and this one was closed, or its disk has failed. What else is raised says
        that nothing is stored.
        """
        try:
            finish_despite_interrupts(step)
        except (LogError, OSError, ClosedError, NotHeldError) as error:
            if self.phase in (PREPARED, APPENDING):
                other = self._other_with(transaction)
                if other is None:
                    raise
                reason = f"it is committed to {other.path}, and here: {error}"
                raise InDoubtError(self.path, self.tid, reason) from error
            if isinstance(error, (ClosedError, NotHeldError)):
                raise
            if self.phase is COMMITTED:
                raise InDoubtError(self.path, self.tid, str(error)) from error
            hold(transaction, error)  # It is done; if it was an interrupt, that is to be told.
