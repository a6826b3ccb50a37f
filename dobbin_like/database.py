"""``Database``: the whole, as a program holds it."""

from __future__ import annotations

import os
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import transaction as transaction_package

from dobbin_like.exc import ClosedError, NotPersistentError, RootError, StorageInUseError
from dobbin_like.ids import ROOT_OID, Oid, Tid
from dobbin_like.life.auto_pack import AutoPack, start_auto_pack
from dobbin_like.life.care import Care
from dobbin_like.life.find import Find
from dobbin_like.life.past import Past
from dobbin_like.manager import DataManager
from dobbin_like.persistent.classes import ClassTable
from dobbin_like.persistent.entry import UNSTORED, entry_of, make_entry
from dobbin_like.persistent.faces import PersistentMeta, making
from dobbin_like.persistent.graph import Graph
from dobbin_like.persistent.policy import Policy
from dobbin_like.persistent.shared import whole
from dobbin_like.storage import Storage, TransactionLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from dobbin_like.persistent import Persistent
    from dobbin_like.persistent.changes import Changes
    from dobbin_like.persistent.shared import Publication
    from dobbin_like.persistent.view import View

_open: set[Database] = set()
"""The open databases of this process: for those who fork, and to keep them.

A database lives until it is closed, whether anybody holds it or not: its
objects would be nobody's without it.
"""

_claims = threading.Lock()
_claimed: weakref.WeakSet[Any] = weakref.WeakSet()
"""The storages that belong to a database."""


class _News(NamedTuple):
    """What others have committed: the transactions, the newest tid by oid, the newest tid."""

    transactions: list[Any]
    changed: dict[Oid, Tid]
    tid: Tid


class Database(Past, Care, Find):
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
        with _claims:
            if storage in _claimed:
                raise StorageInUseError(storage.path)
            _claimed.add(storage)
        try:
            self._set_up(storage, transaction_manager, allow, guard=guard)
            if pack_when is not None:
                self._auto_pack = start_auto_pack(storage, pack_when)
        except BaseException:
            _claimed.discard(storage)
            _open.discard(self)
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
        # Taken by whoever reads or applies news, and while a commit is made to
        # count; before the graph's lock, after the commit lock.
        self._news_lock = threading.RLock()
        self._unshown: _News | None = None  # read from the log, not shown to all yet
        self._root: Any = None
        self._managers: weakref.WeakSet[DataManager] = weakref.WeakSet()
        self.graph.tid = storage.tid
        self.graph.has_root = storage.has(ROOT_OID)
        _open.add(self)
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
            _open.discard(self)

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
        entry = entry_of(obj)
        if entry is not None:
            which = "this" if entry.jar is self.graph else "another"
            reason = f"the object belongs to {which} database already, as oid {entry.oid}"
            raise RootError(reason)
        manager.join()
        new = make_entry(obj, ROOT_OID, self.graph, UNSTORED, self.graph.forget)
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

    # -- what others have committed -----------------------------------------------------

    def has_news(self) -> bool:
        """Tell whether there is anything to catch up with. Cost: a read of memory."""
        return self._unshown is not None or self.storage.has_news()

    def catch_up(self) -> None:
        """Apply what others have appended to the log. Cost: what changed."""
        if self.showing:
            return
        with self._news_lock:
            while True:
                if self._unshown is None:
                    self._unshown = self._read_news()
                    if self._unshown is None:
                        return
                with self.graph.lock:
                    whole(self._show_news)
                if not getattr(self.storage, "retired", False):
                    return

    def let_go_of_past(self) -> None:
        """Let the storage let go of packed files that no view needs, now or from now on.

        Does not wait: if somebody is catching up, another time will do.
        """
        if self.showing or not self._news_lock.acquire(blocking=False):
            return
        try:
            with self.graph.lock:
                # A view that begins reads what is shown, which may be behind what was read.
                tid, oldest = self.graph.tid, self.graph.horizon.oldest()
            cast("Any", self.storage).let_go(tid if oldest is None else min(tid, oldest))
        finally:
            self._news_lock.release()

    def _read_news(self) -> _News | None:
        news = self.storage.read_news() if self.storage.has_news() else []
        if not news:  # or saved positions only, which are passed over by now
            return None
        changed: dict[Oid, Tid] = {}
        tid = self.graph.tid
        for logged in news:
            if not logged.failed:
                tid = logged.tid
                changed.update(dict.fromkeys(logged.oids, tid))
        return _News(news, changed, tid)

    def _show_news(self) -> None:
        # May be run again after an interrupt, by this call or by the next catch_up().
        if self._unshown is None:
            return
        news, changed, tid = self._unshown
        storage, graph = self.storage, self.graph
        # Not what an interrupted run has applied already.
        storage.apply(news[len(news) - (news[-1].sequence - len(storage)) :])
        for logged in news:
            if logged.names.classes and not logged.failed:
                graph.follow([number for number, _, _ in logged.names.classes])
        if ROOT_OID in changed and not graph.has_root:
            graph.has_root = graph.root_is_foreign = True
        graph.publish_foreign(changed, tid)
        self._unshown = None

    @property
    def showing(self) -> bool:
        """Whether the calling thread is in the midst of publishing or catching up.

        Then it asks from a signal handler or a finalizer, and must not wait for itself.
        """
        # There is no public way to ask.
        return bool(self._news_lock._is_owned())  # type: ignore[attr-defined]

    def counts(self, logged: Any) -> bool:
        """Tell whether a transaction that was prepared is committed. Holder of the commit lock."""
        return self.storage.tid >= logged.tid or self.storage.has_news()

    def publish(self, logged: Any, changes: Changes, view: View) -> None:
        """Make a prepared transaction of this instance count and show it to all threads.

        Under the lock for news: nobody takes it for somebody else's. May be
        run again after an interrupt.
        """
        # Run again with the locks still held: nobody may see what is half published, or
        # take our own transaction for somebody else's.
        with self._news_lock, self.graph.lock:
            whole(partial(self._publish, logged, changes, view))

    def _publish(self, logged: Any, changes: Changes, view: View) -> None:
        storage, graph = self.storage, self.graph
        if not self.counts(logged):
            storage.finish()
        graph.introduce(logged.tid, changes.introductions)
        if storage.tid < logged.tid:
            storage.apply([logged])
        graph.has_root = True
        graph.publish(logged.tid, changes.publications, view)

    def publish_own(self, logged: Any, introductions: Sequence[Publication]) -> None:
        """Make a prepared transaction count that is no view's, as if others had made it.

        Args:
            introductions: Objects that it stores for the first time.

        May be run again after an interrupt.
        """
        with self._news_lock, self.graph.lock:
            whole(partial(self._publish_own, logged, introductions))

    def _publish_own(self, logged: Any, introductions: Sequence[Publication]) -> None:
        storage, graph = self.storage, self.graph
        if not self.counts(logged):
            storage.finish()
        graph.introduce(logged.tid, introductions)
        if storage.tid < logged.tid:
            storage.apply([logged])
        graph.follow([number for number, _, _ in logged.names.classes])
        introduced = {publication.entry.oid for publication in introductions}
        changed = {oid: logged.tid for oid in logged.oids if oid not in introduced}
        graph.publish_foreign(changed, logged.tid)

    def apply_failed(self, logged: Any) -> None:
        """Count a failed transaction of this instance."""
        with self._news_lock, self.graph.lock:
            if self.storage.tid < logged.tid:
                self.storage.apply([logged])


_forking: list[Database] = []
_fork_turn = threading.Lock()
"""Hooks run before the interpreter serializes forks: one thread at a time."""


# ruff: noqa: SLF001
def _before_fork() -> None:
    _fork_turn.acquire()
    making.acquire()
    _claims.acquire()
    _forking[:] = sorted(_open, key=id)
    for database in _forking:
        database._news_lock.acquire()
        database.graph.lock.acquire()


def _after_fork_in_parent() -> None:
    for database in _forking:
        database.graph.lock.release()
        database._news_lock.release()
    _after_fork()


def _after_fork_in_child() -> None:
    # The locks were held by the thread that forked, so that nothing was half
    # published; they are made anew because other threads are gone.
    for database in _forking:
        database.graph.lock = threading.RLock()
        database._news_lock = threading.RLock()
        database.storage.after_fork_in_child()
    _after_fork()


def _after_fork() -> None:
    _forking.clear()
    _claims.release()
    making.release()
    _fork_turn.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
