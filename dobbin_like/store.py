"""A database without its upkeep: objects, threads, the root, ``close()``.

:class:`Database <dobbin_like.database.Database>` has one. The functions of
:mod:`dobbin_like.history`, :mod:`dobbin_like.search` and :mod:`dobbin_like.upkeep` take it.
"""

from __future__ import annotations

import atexit
import io
import os
import pickle
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal

import transaction as transaction_package

from dobbin_like.contract import Storage
from dobbin_like.exc import (
    ClosedError,
    InvalidObjectReference,
    NotPersistentError,
    RedefinedClassWarning,
    RootError,
    StorageInUseError,
    UncommittedChangesWarning,
)
from dobbin_like.ids import ROOT_OID, Oid, Tid
from dobbin_like.mistaken.arguments import check_manager, checked_names, wrong_type
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.policy import Policy
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.objects.faces.classes.metaclass import PersistentMeta
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.values.here import current_scope, scope_of_context
from dobbin_like.objects.values.refs import UNSTORED, make_ref, ref_of
from dobbin_like.processes.threaded_dict import ThreadedDict
from dobbin_like.transactions.data_manager import DataManager
from dobbin_like.transactions.fork import claimed, claims, opened
from dobbin_like.transactions.lost_changes import tell_left
from dobbin_like.transactions.package_internals import may_have_begun
from dobbin_like.transactions.publisher import Publisher
from dobbin_like.transactions.thread_view import ThreadView
from dobbin_like.warn_outside import warn_outside

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    RootT = TypeVar("RootT", default=Any)
else:
    from typing import TypeVar

    RootT = TypeVar("RootT")

Progress = Callable[[int, int], object]
"""Called now and then with what is done, and all there is to do."""


class _ManagerPickler(pickle.Pickler):
    """Tries to pickle a manager; what takes part in its transaction leads to the database."""

    def __init__(self, database: object) -> None:
        super().__init__(io.BytesIO())
        self._database = database

    def persistent_id(self, obj: object) -> None:
        if obj is self._database:
            text = "a transaction is under way"
            raise TypeError(text)


_stores: Final[weakref.WeakSet[Store]] = weakref.WeakSet()
_pid: Final = os.getpid()


@atexit.register
def _warn_at_exit() -> None:
    """Tell what the program has changed and not committed, unless an error has ended it."""
    if os.getpid() != _pid or getattr(sys, "last_value", None) is not None:
        return  # A forked child has what its parent may commit.
    for store in list(_stores):
        if store.closed:
            continue
        store.note_left()
        pending = store.pending()
        if pending:
            warn_of_pending(store.storage.path, pending, "the program ends")
        store.tell_left()


def warn_of_pending(path: str, count: int, what: str) -> None:
    """Warn of objects that are checked out, as *what* happens."""
    from dobbin_like.texts import counted

    text = (
        f"{path}: {what} with changes that were neither committed nor aborted "
        f"({counted(count, 'object')} checked out); they are lost"
    )
    warn_outside(text, UncommittedChangesWarning)


def warn_if_redefined(store: Store, cls: type) -> None:
    """Warn if objects have another class of the name of *cls*."""
    if store.graph.classes.is_redefined(cls):
        text = (
            f"{cls.__module__}.{cls.__qualname__} was defined again: objects of "
            f"{store.storage.path} keep the class of before, without what is new in it, until "
            f"the database is closed and opened again"
        )
        warn_outside(text, RedefinedClassWarning)


class Store:
    """The objects of one storage, its threads, its root. Any thread, after open().

    Args:
        database: What the objects show as their database, and what is kept until close().
        storage: It belongs to this store from open() on.
    """

    def __init__(
        self,
        database: object,
        storage: Storage,
        *,
        transaction_manager: Any,
        allow: Iterable[str],
        guard: bool | Literal["check"],
    ) -> None:
        if not (isinstance(guard, int) and guard in (0, 1)) and guard != "check":
            raise wrong_type(guard, "guard", "True, False or 'check'")
        check_manager(transaction_manager)
        self.storage = storage
        self.given_manager = transaction_manager
        self.transaction_manager: Any = transaction_manager or transaction_package.manager
        self._database = database
        self._policy = Policy(checked_names(allow))
        self._guard: bool | Literal["check"] = guard
        self._claim = object()

    def open(self) -> None:
        """Have the storage, and be open until close(). Once; if it fails, discard() is to follow.

        A step of its own: whoever makes a store has it before there is anything to give back, and
        an interrupt does not lose it.

        Raises:
            StorageInUseError: The storage belongs to another one.
        """
        storage = self.storage
        with claims:
            if claimed.setdefault(storage, self._claim) is not self._claim:
                raise StorageInUseError(storage.path)
        classes = ClassTable(self._policy, storage.names, storage.path)
        self.graph: Graph = Graph(self._database, storage, classes, self.enlist, guard=self._guard)
        given = self.transaction_manager
        self.graph.follows = callable(given) and not hasattr(given, "begin")
        self.publisher: Publisher = Publisher(storage, self.graph)
        # What was in conflict, by the code of the function or another mark of its kind: how
        # many calls expect another, and how many did from the last one on.
        self.contended: dict[object, tuple[int, int]] = ThreadedDict()
        self._root: Any = None  # Once it was asked for, the graph stays in memory.
        self._managers: weakref.WeakSet[DataManager] = weakref.WeakSet()
        opened[self.publisher] = self._database
        _stores.add(self)
        if not self.graph.follows:
            self.manager()

    def discard(self) -> None:
        """Give up a store that could not be opened; the storage stays open."""
        if claimed.get(self.storage) is self._claim:
            del claimed[self.storage]
        publisher = vars(self).get("publisher")
        if publisher is not None:  # Else it did not get as far.
            opened.pop(publisher, None)

    @property
    def closed(self) -> bool:
        return self.publisher.closed

    @property
    def is_given_back(self) -> bool:
        """Whether close() has come to its end: interrupted before, it can be repeated."""
        return self.publisher not in opened

    def check_values(self) -> None:
        """With ``guard="check"``: see check_shared_values(). A commit does it by itself."""
        if self.graph.guard == "check":
            from dobbin_like.objects.graph.changed_values import check_shared_values

            check_shared_values(self.graph)

    def pending(self) -> int:
        """Return how many objects the calling thread has checked out, unless it commits now."""
        manager: DataManager | None = self.graph.local.manager
        if manager is None or manager.thread.committing:
            return 0
        manager.tell_lost_changes()
        return manager.pending

    def note_left(self) -> None:
        """Note what threads had checked out that have ended and are not collected yet."""
        for manager in self._all_managers():
            if manager.thread.has_ended():
                manager.thread.note_left()

    def tell_left(self) -> None:
        """Warn of what threads had checked out that have ended."""
        if self.graph.shared.left:
            tell_left(self.graph.shared.left, self.storage.path)

    def close(self) -> None:
        self.publisher.closed = True
        for manager in self._all_managers():
            manager.thread.leave()
        self.graph.local.keep(None)
        try:
            self.storage.close()
        finally:
            if self.storage.closed:
                opened.pop(self.publisher, None)

    def check_open(self) -> None:
        """Raise ClosedError after close()."""
        if self.publisher.closed:
            what = f"the database {self.storage.path}"
            raise ClosedError(what)

    def parts(self) -> bytes:
        """Return, pickled, the storage and the transaction manager (``None``: that of threads).

        Pickled by themselves: where the database is open, nobody needs them.

        Raises:
            ClosedError: After close().
            TypeError: They can't be pickled.
        """
        self.check_open()
        given = self.given_manager
        if given is transaction_package.manager:
            given = None
        try:
            _ManagerPickler(self.graph.database).dump(given)
        except Exception as error:
            text = (
                f"{self.storage.path}: the transaction manager can't be pickled ({error}); open "
                "the database in the other process instead"
            )
            raise TypeError(text) from error
        return pickle.dumps((self.storage, given))

    # -- objects ------------------------------------------------------------------

    def snapshot(self) -> Tid | None:
        """Return the snapshot of the calling thread; ``None`` between explicit transactions."""
        view = self.manager().view
        return view.tid if view.active else None

    def get(self, oid: int) -> Any:
        manager = self.manager()
        if oid == ROOT_OID:
            return self.root_seen_by(manager)
        view = manager.view
        return self.graph.ghosts.get(Oid(oid), view.tid if view.active else None)

    def get_root(self) -> Any:
        return self.root_seen_by(self.manager())

    def root_seen_by(self, manager: DataManager) -> Any:
        """Return the root in the snapshot of a data manager, or the one that was set there."""
        view = manager.view
        if view.new_root is not None:
            return view.new_root[0]
        root = self.graph.ghosts.get(ROOT_OID, view.tid if view.active else None)
        if root is not None:
            self._root = root
        return root

    def set_root(self, obj: Persistent) -> None:
        manager = self.manager()
        if not isinstance(type(obj), PersistentMeta):
            raise NotPersistentError.of(obj)
        current = self.get_root()
        if current is not None:
            if current is obj:
                return
            reason = (
                "there is one already, which stays the root; change that one, and in a program "
                "that runs again, set one only if db.root is None"
            )
            raise RootError(reason)
        ref = ref_of(obj)
        if ref is not None:
            which = "this" if ref.jar is self.graph else "another"
            reason = f"the object belongs to {which} database already, as oid {ref.oid}"
            raise RootError(reason)
        manager.join()
        new = make_ref(obj, ROOT_OID, self.graph, UNSTORED, self.graph.cache.forget)
        manager.view.new_root = (obj, new)

    def release_snapshot(self) -> None:
        """See :meth:`dobbin_like.Database.release_snapshot`."""
        manager = self.manager()
        if manager.pending:
            raise manager.uncommitted()
        manager.let_go()

    # -- threads and their data managers --------------------------------------------

    def manager(self) -> DataManager:
        """Return the data manager of the calling thread; ClosedError after close()."""
        local = self.graph.local
        manager: DataManager | None
        manager = local.of_thread if scope_of_context() is None else local.manager
        if manager is None or self.publisher.closed or self.graph.follows:
            self.check_open()
            manager = self._find_manager(manager)
        if manager.view.lapsed is not None:
            manager.resume()
        return manager

    def _find_manager(self, known: DataManager | None) -> DataManager:
        """Return the data manager under the transaction manager in use: *known*, or a new one."""
        scope = current_scope()
        given = self.transaction_manager
        if self.graph.follows and scope is None:
            given = given()
        is_default = given is transaction_package.manager
        if scope is not None:
            given = scope.transaction_manager(given)
        # The thread's own, so that a begin of another one does not reach this thread's view.
        own = getattr(given, "manager", given)
        if known is not None:
            if known.transaction_manager is own:
                return known
            known.leave()
        thread = ThreadView(self.publisher, own, scope, is_default=is_default)
        manager = DataManager(self.publisher, thread)
        self._managers.add(manager)
        own.registerSynch(thread)
        if not own.explicit:
            thread.newTransaction(None)
            thread.view.between = not may_have_begun(own)
        # Last: from now on it is the thread's, and every transaction tells it.
        self.graph.local.keep(manager)
        return manager

    def enlist(self) -> View:
        return self.manager().join()

    def views(self) -> list[View]:
        return self.publisher.old_snapshots.all_views()

    def _all_managers(self) -> list[DataManager]:
        while True:
            try:
                return list(self._managers)
            except RuntimeError:  # A thread has come meanwhile.
                continue

    def release_early(self) -> None:
        """Give back what the data manager's acquire_early() has taken, if it is held still."""
        manager: DataManager | None = self.graph.local.manager
        if manager is not None:
            manager.release_early()


def oid_in(graph: Graph, obj: Any, asked: str = "history()") -> Oid | None:
    """Return the oid of *obj*, which is an object or an oid; None: it is not stored yet.

    Args:
        asked: What it is wanted for, for the text of the error.

    Raises:
        NotPersistentError: It is neither.
        InvalidObjectReference: It belongs to another database.
    """
    if isinstance(obj, int) and not isinstance(obj, bool):
        return Oid(obj)
    if not isinstance(type(obj), PersistentMeta):
        raise NotPersistentError.of(obj)
    ref = ref_of(obj)
    if ref is None:
        return None
    if ref.jar is not graph:
        name = type(obj)._p_faces.plain.__name__
        raise InvalidObjectReference(name, ref.oid, asked)
    return ref.oid
