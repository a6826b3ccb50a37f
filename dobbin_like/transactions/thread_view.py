"""The view of one thread: it begins and ends with the thread's transactions.

What the thread changes, and how that is committed: :mod:`.data_manager`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from transaction.interfaces import ISynchronizer
from zope.interface import implementer

from dobbin_like.exc import BlockError, ClosedError, LogError
from dobbin_like.objects.faces.base import seal
from dobbin_like.objects.faces.view import Left, View
from dobbin_like.objects.values.here import (
    OpenedObjects,
    Scope,
    current_scope,
    here,
    scope_of_context,
)
from dobbin_like.transactions.in_commit import COMMITTING, is_interrupt, refuse_second_commit
from dobbin_like.transactions.lost_changes import tell_left
from dobbin_like.transactions.package_internals import may_have_begun
from dobbin_like.transactions.publisher import Publisher
from dobbin_like.transactions.savepoint import note_new_objects

_DECIDING = ("tpc_vote", "_finish")
"""Methods of the data manager from whose start to whose end nothing is taken back."""

_TELL_SECONDS: Final = 60.0
"""For so long, nobody is told of more threads that have ended with changes, but by close()."""

_OF_THREAD: Final = (
    "commit(), abort() and begin() of its manager end the transaction of the thread, not that of "
    "this task; let an exception leave the block, or open one in it as a savepoint"
)


def has_transaction(transaction_manager: Callable[[], Any]) -> bool:
    """Tell whether a transaction was begun, or need not be."""
    manager = transaction_manager()
    return manager is not None and (not manager.explicit or may_have_begun(manager))


@implementer(ISynchronizer)
class ThreadView:
    """One thread's view of one database. Touched by its thread only, except by leave().

    ``committing``, from tpc_begin to the end of a commit, keeps close() in another thread from
    ending the view; guarded by the lock of the graph.
    """

    def __init__(
        self,
        publisher: Publisher,
        transaction_manager: Any,
        scope: Scope | None = None,
        *,
        is_default: bool = False,
    ) -> None:
        # Weak: this object has to end with its thread, not with the next garbage collection.
        self.transaction_manager: Any = weakref.ref(transaction_manager)
        self._publisher = publisher
        self._storage = publisher.storage
        self._shared = publisher.graph.shared
        self.view: View = View(here.own_memo if scope is None else scope.memo)
        publisher.old_snapshots.views.add(self.view)
        self.opened: OpenedObjects = (scope or here).opened_under(
            transaction_manager,
            partial(has_transaction, self.transaction_manager),
            is_default=is_default,
        )
        note_new_objects(transaction_manager, self.opened, self._shared.lock)
        self.committing = False
        self.ends_with_block: bool = False  # The transaction: a block of this database does.
        self.life: weakref.ref[Any] | None = None  # That of the thread; None: of a task.
        self._is_of_task = scope is not None
        name = threading.current_thread().name
        self._who = "a task" if self._is_of_task else f"the thread {name!r}"
        self._pid = os.getpid()
        self.is_told: bool = False  # A warning of what it leaves was given, or noted.

    def __del__(self) -> None:
        # The thread has ended, or the database is gone.
        view = getattr(self, "view", None)  # None: an interrupt came while this was made.
        if view is not None and view.in_use():
            try:
                if not sys.is_finalizing():
                    self.note_left()
            finally:
                self._shared.retire_view(view)

    def note_left(self) -> None:
        """Note what is checked out, or set as the root, to be told by the next begin or close.

        It can't be committed any more. Called from a finalizer, too: in any thread, at any line,
        with any lock held. So it takes no lock, runs no code of others, and does not warn.
        """
        copies, new_root = [*self.view.working.values()], self.view.new_root
        changed = [(each.obj, each.ref, "checked out") for each in copies]
        if new_root is not None:
            changed.append((*new_root, "set as the root"))
        # In a forked child, these are changes of the parent.
        if changed and self._pid == os.getpid() and not self.is_told:
            self.is_told = True
            obj, ref, what = changed[0]
            about = type(obj).__name__, ref, len(changed), what
            self._shared.left.append(Left(self._pid, self._who, *about))

    def has_ended(self) -> bool:
        """Tell whether its thread has."""
        return self.life is not None and self.life() is None

    # -- what a transaction manager calls ------------------------------------

    def beforeCompletion(self, transaction: Any) -> None:  # noqa: N802
        """Refuse a second commit, and the end of another transaction than that of the task.

        The view lives until the transaction has ended.
        """
        # First by a function of C: every transaction passes here.
        if scope_of_context() is not None and not self._is_of_task and current_scope() is not None:
            raise BlockError(self._storage.path, _OF_THREAD)
        if transaction.status == COMMITTING:
            refuse_second_commit(transaction, self._storage.path)

    def newTransaction(self, transaction: Any) -> None:  # noqa: N802
        publisher, view, shared = self._publisher, self.view, self._shared
        try:
            view.between = False
            view.lapsed = None
            # As Publisher.has_news() does, and in its order.
            news = self._storage.has_news() or publisher.unpublished is not None
            if news:
                self._catch_up()
            if publisher.keeps_past:
                publisher.drop_generations()
            is_newest = view.active and view.tid == shared.tid and not (view.working or view.kept)
            if not (is_newest or (self.committing and self.is_deciding())):
                with shared.lock:
                    shared.begin_under_lock(view)
                    view.lapsed = None  # Another thread may have let it lapse since it was not.
                if news:
                    publisher.old_snapshots.look()
        except ClosedError:  # by its owner: the next use of the database raises it
            return
        except BaseException:
            self._begin_after_all()
            raise
        # Not at the end of another one, nor when the thread has just come to use the database: a
        # warning may be raised as an error.
        if shared.left and transaction is not None and self.life is not None:
            self._tell_left()

    def _catch_up(self) -> None:
        """Publish what is new, and keep nothing for the old snapshot."""
        # Otherwise this is a signal handler, in the middle of a commit.
        if not (self.view.working or self.committing):
            self._shared.end_view(self.view)
        self._publisher.catch_up()

    def _begin_after_all(self) -> None:
        """Begin a snapshot: the program may go on in this transaction, and needs one for all."""
        if not (self._publisher.closed or self.view.working or self.committing):
            self._shared.begin_view(self.view)

    def _tell_left(self) -> None:
        shared, now = self._shared, time.monotonic()
        if now < shared.tell_left_at or self.committing:
            return
        # In a signal handler or a finalizer, a lock may be held. There is no public way to ask.
        if not (self._publisher.publishing or shared.lock._is_owned()):  # type: ignore[attr-defined]  # noqa: SLF001
            shared.tell_left_at = now + _TELL_SECONDS
            tell_left(shared.left, self._storage.path)

    def afterCompletion(self, transaction: Any) -> None:  # noqa: N802
        """End the view. Without explicit begins and blocks, the next one begins here.

        A commit has moved the view if it has published something; it does not catch up: that would
        move other databases of the thread forward.
        """
        if self.opened.pairs:
            self._seal_opened()
        view, is_failing = self.view, sys.exc_info()[1] is not None
        if self._publisher.closed:
            return
        view.lapsed = None
        if self.transaction_manager().explicit or self.ends_with_block:
            self.ends_with_block = False
            self._shared.end_view(view)
        elif transaction.status != "Committed":
            try:
                self.newTransaction(None)
            except (OSError, LogError) as error:
                # The first error is the one to be raised: a commit may be in doubt. The next
                # begin or commit reports the disk.
                if not is_failing or is_interrupt(error):
                    raise
        elif not (
            (view.active and view.tid == self._shared.tid and not (view.working or view.kept))
            or self.is_deciding()
        ):
            self._shared.begin_view(view)
        view.between = True

    def _seal_opened(self) -> None:
        opened = self.opened.pairs
        with self._shared.lock:  # Another thread may store one of them.
            for obj, _ in opened:
                seal(obj)
        opened.clear()

    def is_deciding(self) -> bool:
        """Tell whether a signal handler or finalizer asks in the middle of a commit.

        It must not touch the view nor the decision. Found by the stack: an interrupt could
        leave a flag set.
        """
        frame = sys._getframe(1) if self.committing else None  # noqa: SLF001
        while frame is not None:
            if frame.f_code.co_name in _DECIDING:
                manager = frame.f_locals.get("self")
                if getattr(manager, "thread", None) is self:
                    return True
            frame = frame.f_back
        return False

    def leave(self) -> None:
        """End the view, because the database is closed. From any thread."""
        with self._shared.lock:
            if not self.committing:
                self._shared.end_view(self.view)
        own = self.transaction_manager()
        if own is not None:
            with contextlib.suppress(KeyError):
                own.unregisterSynch(self)
