"""``Database``: the whole, as a program holds it."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

import transaction as transaction_package

from dobbin_like.exc import ClosedError, NotPersistentError, RootError, StorageInUseError
from dobbin_like.history.past import Past
from dobbin_like.ids import ROOT_OID, Oid
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.policy import Policy
from dobbin_like.objects.faces.faces import PersistentMeta
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.values.refs import UNSTORED, make_ref, ref_of
from dobbin_like.search.find import Find
from dobbin_like.storage import Storage, TransactionLog
from dobbin_like.transactions.data_manager import DataManager
from dobbin_like.transactions.fork import claimed, claims, opened
from dobbin_like.transactions.publisher import Shown
from dobbin_like.upkeep.auto_pack import AutoPack, start_auto_pack
from dobbin_like.upkeep.care import Care

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from dobbin_like.objects.faces.view import View
    from dobbin_like.persistent import Persistent


class Database(Shown, Past, Care, Find):
    """An object database: a graph of persistent objects over one storage.

    ``storage`` is a storage, or the path of a log, which need not exist;
    nothing is created before the first commit. Threads of a process share an
    instance; every process, and whoever wants a graph of his own, opens one
    on the same path. It stays open, and in memory, until :meth:`close`.

    Args:
        transaction_manager: Whose transactions the database takes part in;
            ``transaction.manager`` (one for each thread) if not given. A
            plain ``TransactionManager`` is for a database that one thread uses.
        allow: Names of modules or classes (``"shop.*"``,
            ``"shop.models.Cart"``) that may be imported and loaded beside
            value types of the standard library and the persistent classes,
            enums and dataclasses of modules that are imported already.
        guard: Whether lists, dicts, sets and bytearrays in shared state
            refuse to be changed. Without, they are the built-in types
            themselves, and a change without checkout is lost without a word.
        pack_when: Let a thread pack the log by itself when at least this share of its
            bytes is not needed any more (0.5: half of them). One process packs, however
            many ask for it; a forked child does not. What fails is logged, and nothing
            else.

    Raises:
        StorageInUseError: The storage belongs to another database.
        NotALogError, FormatVersionError, IntegrityError, OSError: The file
            can't be opened, each saying why.
    """

    def __init__(
        self,
        storage: Storage | str | bytes | os.PathLike[str],
        *,
        transaction_manager: Any = None,
        allow: Iterable[str] = (),
        guard: bool = True,
        pack_when: float | None = None,
    ) -> None:
        self._auto_pack: AutoPack | None = None
        own = isinstance(storage, (str, bytes, os.PathLike))
        if isinstance(storage, (str, bytes, os.PathLike)):
            storage = TransactionLog(os.fsdecode(storage))
        elif not hasattr(storage, "read_news"):
            text = f"expected a path or a storage, got {type(storage).__name__}"
            raise TypeError(text)
        with claims:
            if storage in claimed:
                raise StorageInUseError(storage.path)
            claimed.add(storage)
        try:
            self._set_up(storage, transaction_manager, allow, guard=guard)
            if pack_when is not None:
                self._auto_pack = start_auto_pack(storage, pack_when)
        except BaseException:
            claimed.discard(storage)
            opened.discard(self)
            if own:
                storage.close()
            raise

    def _set_up(
        self, storage: Storage, transaction_manager: Any, allow: Iterable[str], *, guard: bool
    ) -> None:
        names = (allow,) if isinstance(allow, str) else tuple(allow)
        # Set once.
        self.storage: Storage = storage
        self.transaction_manager = transaction_manager or transaction_package.manager
        self.graph = Graph(self, storage, ClassTable(Policy(names), storage), guard=guard)
        self.graph.enlist = self._enlist
        self.closed = False
        self._set_up_news()
        self._root: Any = None
        self._managers: weakref.WeakSet[DataManager] = weakref.WeakSet()
        self.graph.tid = storage.tid
        self.graph.has_root = storage.has(ROOT_OID)
        opened.add(self)
        self._manager()

    # -- the life of a database ---------------------------------------------

    def close(self) -> None:
        """End all views and close the storage. Changes under way are dropped.

        Closing twice is fine; every other use afterwards raises
        :class:`~dobbin_like.exc.ClosedError`. Objects that were read stay
        readable.
        """
        if self.closed:
            return
        self.closed = True
        for manager in list(self._managers):
            manager.leave()
        self.graph.local.manager = None
        try:
            if self._auto_pack is not None:
                self._auto_pack.stop()
        finally:
            self.storage.close()
            opened.discard(self)

    def __enter__(self) -> Database:
        self._check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.storage.oid_count} objects"
        return f"<Database {self.storage.path!r}: {state}>"

    def _check_open(self) -> None:
        if self.closed:
            what = f"the database {self.storage.path}"
            raise ClosedError(what)

    # -- objects ------------------------------------------------------------------

    def __len__(self) -> int:
        """Return the number of objects stored."""
        self._manager()  # every use of the database counts as one
        return self.storage.oid_count

    def __bool__(self) -> bool:
        """Return True: an empty database is a database."""
        return True

    def get(self, oid: int) -> Any:
        """Return the object with *oid*, or ``None`` if there is none in this thread's snapshot."""
        manager = self._manager()
        if oid == ROOT_OID and manager.new_root is not None:
            return manager.new_root[0]
        view = manager.view
        return self.graph.get(Oid(oid), view.tid if view.active else None)

    def get_root(self) -> Any:
        """Return the root, or ``None`` if none is elected."""
        root = self.get(ROOT_OID)
        if root is not None and self._manager().new_root is None:
            self._root = root  # from here on, the graph stays in memory
        return root

    @property
    def root(self) -> Any:
        """The root, or ``None``; the same as :meth:`get_root`."""
        return self.get_root()

    def set_root(self, obj: Persistent) -> None:
        """Elect *obj*, which is in no database yet, as the root; its ``_p_oid`` is 0 at once.

        Others see it, and all that it leads to, when the transaction commits.

        Raises:
            NotPersistentError: *obj* is not an instance of ``Persistent``.
            RootError: There is a root, or *obj* belongs to a database.
        """
        manager = self._manager()
        if not isinstance(type(obj), PersistentMeta):
            raise NotPersistentError(type(obj).__name__)
        current = self.get_root()
        if current is not None:
            if current is obj:
                return
            reason = "there is one already; change that one, it is elected for good"
            raise RootError(reason)
        ref = ref_of(obj)
        if ref is not None:
            which = "this" if ref.jar is self.graph else "another"
            reason = f"the object belongs to {which} database already, as oid {ref.oid}"
            raise RootError(reason)
        manager.join()
        new = make_ref(obj, ROOT_OID, self.graph, UNSTORED, self.graph.forget)
        manager.new_root = (obj, new)

    # -- threads and their data managers --------------------------------------------

    def _manager(self) -> DataManager:
        """Return the data manager of the calling thread."""
        manager: DataManager | None = self.graph.local.manager
        self._check_open()
        if manager is None:
            manager = self._make_manager()
        return manager

    def _make_manager(self) -> DataManager:
        given = self.transaction_manager
        # The thread's own, so that nobody else's begin reaches this thread's view.
        own = getattr(given, "manager", given)
        manager = DataManager(self, own)
        self._managers.add(manager)
        own.registerSynch(manager)
        if not own.explicit:
            manager.newTransaction(None)
        # Last: from now on it is the thread's, and every transaction tells it.
        self.graph.local.view = manager.view
        self.graph.local.manager = manager
        return manager

    def _enlist(self) -> View:
        manager: DataManager | None = self.graph.local.manager
        if manager is None or self.closed:
            manager = self._manager()
        return manager.join()

    def acquire_early(self) -> None:
        """Take the commit lock for the transaction that this thread is about to begin.

        Others wait to commit until it has ended; it meets no conflict. Begin it right after
        this, and call :meth:`release_early` when it has ended, however it did.

        Raises:
            LockTimeout, SelfWaitError, ReadOnlyStorageError, ClosedError: As for a commit.
            Nothing is held.
        """
        self._manager().acquire_early()

    def release_early(self) -> None:
        """Give back the lock of :meth:`acquire_early`, if it is held still. Idempotent."""
        manager: DataManager | None = self.graph.local.manager
        if manager is not None:
            manager.release_early()
