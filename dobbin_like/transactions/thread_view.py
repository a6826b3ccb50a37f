"""The view of one thread: it begins and ends with the thread's transactions.

What the thread changes, and how that is committed, is :mod:`.data_manager`'s business.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING, Any

from transaction.interfaces import ISynchronizer
from zope.interface import implementer

from dobbin_like.exc import ClosedError
from dobbin_like.objects.faces.base import seal
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.values.refs import here

if TYPE_CHECKING:
    from dobbin_like.database import Database


@implementer(ISynchronizer)
class Synchronizer:
    """One thread's view of one database. Touched by its thread only, but for leave()."""

    def __init__(self, database: Database, transaction_manager: Any) -> None:
        # Weak: this object shall end with its thread, not with the next collection.
        self._transaction_manager: Any = weakref.ref(transaction_manager)
        self._database = database
        self.graph = database.graph
        self._storage: Any = database.storage
        self._packs = hasattr(database.storage, "drop_generations")
        self.view = View(here.memo)
        # From tpc_begin to the end of the commit. Guarded by the graph's lock: close()
        # leaves the view of a commit under way alone.
        self._committing = False
        # While a commit is made to count.
        self._finishing = False

    def __del__(self) -> None:
        # The thread has ended, or the database is gone.
        view = getattr(self, "view", None)  # None: an interrupt came while this was made.
        if view is not None and view.in_use():
            self.graph.retire_view(view)

    @property
    def transaction_manager(self) -> Any:
        """The thread's transaction manager, ``None`` after the thread has ended."""
        return self._transaction_manager()

    # -- what a transaction manager calls ------------------------------------

    def beforeCompletion(self, transaction: Any) -> None:  # noqa: N802
        """Nothing: the view lives until the transaction has ended."""

    def newTransaction(self, transaction: Any) -> None:  # noqa: N802
        """Begin a view on what is committed now, by anybody."""
        try:
            if self._database.has_news():
                self._database.catch_up()
            if self._packs and self._storage.has_past:
                self._database.drop_generations()
        except ClosedError:  # by its owner: whoever uses the database is told so
            return
        self._renew()

    def afterCompletion(self, transaction: Any) -> None:  # noqa: N802
        """End the view. Without explicit begins, the next one begins here.

        A commit does not catch up: it would move other databases of the
        thread forward.
        """
        self._seal()
        if self._database.closed or self._storage.closed:
            return
        if self._transaction_manager().explicit:
            self.graph.end_view(self.view)
            return
        if transaction.status != "Committed":
            self.newTransaction(transaction)
        else:
            self._renew()

    def _renew(self) -> None:
        if self._finishing:  # a signal handler in the midst of it: its view is in use
            return
        view = self.view
        unused = not (view.working or view.kept)
        if unused and view.active and view.tid == self.graph.tid:
            return  # nothing happened since: the snapshot is the newest
        self.graph.begin_view(view)

    def _seal(self) -> None:
        if here.opened:
            for obj, _ in here.opened:
                seal(obj)
            here.opened.clear()

    def leave(self) -> None:
        """The database is closed: take part in nothing any more. From any thread."""
        with self.graph.lock:
            if not self._committing:
                self.graph.end_view(self.view)
        own = self._transaction_manager()
        if own is not None:
            with contextlib.suppress(KeyError):
                own.unregisterSynch(self)
