"""``Database``: what a program holds.

The methods that tell of the past, look through the objects, care for the log and watch it are
functions of :mod:`dobbin_like.history`, :mod:`dobbin_like.search`, :mod:`dobbin_like.indexes`,
:mod:`dobbin_like.upkeep` and :mod:`dobbin_like.watch`. They are bound here when they are first
used: most programs never do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, ParamSpec, Self, TypeVar, overload

from dobbin_like.contract import Storage, is_storage
from dobbin_like.exc import NoSuchAttributeError
from dobbin_like.ids import Tid
from dobbin_like.late import LateMethod, bound
from dobbin_like.log import TransactionLog
from dobbin_like.mistaken.arguments import check_flags
from dobbin_like.mistaken.attributes import NoMapping, fixed
from dobbin_like.mistaken.paths import check_no_uri, check_there
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.objects.faces.elsewhere import IN_DATABASES, telling_getattr
from dobbin_like.processes.reopened import from_parts, itself, new_token, reopened
from dobbin_like.store import RootT, Store, warn_of_pending
from dobbin_like.timestamps import Moment

if TYPE_CHECKING:
    from dobbin_like.blocks import again, block
    from dobbin_like.history import feed, outcome, revisions
    from dobbin_like.history import undo as undoing
    from dobbin_like.indexes import build as indexing
    from dobbin_like.indexes.find import Found
    from dobbin_like.search import questions
    from dobbin_like.search import walk as walking
    from dobbin_like.store import Progress
    from dobbin_like.upkeep import backup as backups
    from dobbin_like.upkeep import migrate as migration
    from dobbin_like.upkeep import pack as packing
    from dobbin_like.upkeep import preload as preloading
    from dobbin_like.upkeep import rename as renaming
    from dobbin_like.upkeep import snapshot as snapshots
    from dobbin_like.upkeep.auto_pack import AutoPack
    from dobbin_like.watch import stats as figures

__all__ = ["Database", "store_of"]

_T = TypeVar("_T")
_P = ParamSpec("_P")
_R = TypeVar("_R")


@fixed(
    given="it is given when the database is opened: Database(path, {name}=...)",
    options="allow guard pack_when sync lock_timeout read_only must_exist",
    otherwise=(
        "it would be stored nowhere; checkout(db.root), then set db.root.{name} or "
        "db.root['{name}']"
    ),
    told=IN_DATABASES,
)
class Database(NoMapping, Generic[RootT]):
    """An object database: a graph of persistent objects over one storage.

    ``storage`` is a storage, or the path of a log (``~`` is the home directory). The file need
    not exist, but its directory; nothing is created before the first commit. Threads of a
    process share an instance. Every process, and every program that wants a graph of its own,
    opens one on the same path. It stays open, and in memory, until :meth:`close`.

    For type checkers, ``Database[Library]`` is one whose root is a ``Library``.

    Where a moment is asked for, it is a tid or a datetime with a time zone. A datetime means all
    transactions up to then, by the clock of the machines that committed them.

    Args:
        transaction_manager: Whose transactions the database takes part in;
            ``transaction.manager`` (one for each thread) if not given. A plain
            ``TransactionManager`` is for a database that one thread uses. A function that
            returns the manager in use is asked at each use of the database, for frameworks that
            make a manager for each request.
        allow: Names of modules or classes (``"shop.*"``, ``"shop.models.Cart"``) that may be
            imported and loaded beside value types of the standard library and the persistent
            classes, enums and dataclasses of modules that are imported already. A bare name of
            a module would allow nothing, and is refused.
        guard: Whether lists, dicts, sets, bytearrays and the containers of ``collections`` in
            shared state refuse to be changed. Without, they are ordinary, and a change without
            checkout is lost without a word. ``"check"``: they do, and every commit, the end of a
            block and close() compare what is in memory with the log, to find what was changed past
            the guards; for tests.
        pack_when: Let a thread pack the log by itself when at least this share of its bytes is
            not needed any more (0.5: half of them). One process packs, however many ask for
            it; a forked child does not. What fails is logged, and nothing else.
        sync, lock_timeout, read_only: Of a log that is given by its path, see
            :class:`~dobbin_like.TransactionLog`.
        must_exist: Refuse a path at which there is no file.

    Raises:
        StorageInUseError: The storage belongs to another database.
        ValueError: A name in ``allow`` names no class. ``storage`` is ``":memory:"``, or a URI,
            which :func:`dobbin_like.open` takes.
        NotALogError, FormatVersionError, IntegrityError, OSError: The file can't be opened,
            each saying why. FileNotFoundError: There is no such directory, or no file.
    """

    def __init__(
        self,
        storage: Storage | str | bytes | os.PathLike[str],
        *,
        transaction_manager: Any = None,
        allow: Iterable[str] = (),
        guard: bool | Literal["check"] = True,
        pack_when: float | None = None,
        sync: bool = True,
        lock_timeout: float | None = None,
        read_only: bool = False,
        must_exist: bool = False,
    ) -> None:
        self._auto_pack: AutoPack | None = None
        own = isinstance(storage, (str, bytes, os.PathLike))
        check_flags(must_exist=must_exist)
        if isinstance(storage, (str, bytes, os.PathLike)):
            path = os.path.expanduser(os.fsdecode(storage))  # noqa: PTH111
            check_no_uri(path)
            check_there(path, must_exist=must_exist)
            storage = TransactionLog(
                path, sync=sync, lock_timeout=lock_timeout, read_only=read_only
            )
        elif not sync or lock_timeout is not None or read_only or must_exist:
            text = "sync, lock_timeout, read_only and must_exist are for a path, not for a storage"
            raise TypeError(text)
        elif not is_storage(storage):
            text = f"expected a path or a storage, got {type(storage).__name__}"
            raise TypeError(text)
        try:
            self._store = Store(
                self, storage, transaction_manager=transaction_manager, allow=allow, guard=guard
            )
            self._begin(pack_when)
        except BaseException:
            if own:
                storage.close()
            raise

    def _begin(self, pack_when: float | None) -> None:
        try:
            self._store.open()
            if pack_when is not None:
                from dobbin_like.upkeep.auto_pack import auto_pack

                self._auto_pack = auto_pack(self._store, pack_when)
                self._auto_pack.start()
            self._token = new_token(self)
        except BaseException:
            if self._auto_pack is not None:
                self._auto_pack.stop()
            self._store.discard()
            raise

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as *the same database*, opened again in another process with the same options."""
        store = self._store
        reopen = partial(
            from_parts,
            type(self),
            allow=tuple(store.graph.classes.policy.allow),
            guard=store.graph.guard,
            pack_when=None if self._auto_pack is None else self._auto_pack.limit,
        )
        return reopened, (self._token, reopen, store.parts())

    __copy__ = itself
    __deepcopy__ = itself

    @property
    def storage(self) -> Storage:
        """The storage."""
        return self._store.storage

    @property
    def transaction_manager(self) -> Any:
        """Whose transactions the database takes part in."""
        return self._store.transaction_manager

    # -- the life of a database ---------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._store.closed

    def close(self) -> None:
        """End all views and close the storage. Changes under way are dropped.

        A :class:`~dobbin_like.exc.UncommittedChangesWarning` tells of those of this thread and of
        threads that have ended; others are told when they commit. Closing twice is fine; every
        other use afterwards raises :class:`~dobbin_like.exc.ClosedError`. Objects that were read
        stay readable.

        Raises SharedStateChangedError with ``guard="check"``, unless one was raised before; all
        is closed then.
        """
        self._close(warns=True)

    def _close(self, *, warns: bool) -> None:
        if self._store.is_given_back:
            return
        pending = self._store.pending() if warns else 0
        if warns:
            self._store.note_left()
        try:
            if warns and not self._store.graph.told_of_change:
                self._store.check_values()
        finally:
            self._store.publisher.closed = True
            try:
                if self._auto_pack is not None:
                    self._auto_pack.stop()
            finally:
                self._store.close()
        if pending:
            warn_of_pending(self.storage.path, pending, "closed")
        if warns:  # Last, and as that before: a warning may be raised as an error.
            self._store.tell_left()

    def __enter__(self) -> Self:
        self._store.check_open()
        return self

    def __exit__(self, error_type: object = None, *_error: object) -> None:
        # What is lost after an error, the error tells.
        self._close(warns=error_type is None)

    def __repr__(self) -> str:
        from dobbin_like.texts import counted

        state = "closed" if self.closed else counted(self.storage.oid_count, "object")
        return f"<Database {self.storage.path!r}: {state}>"

    def _repr_html_(self) -> str:
        from dobbin_like.watch.notebook import page_of

        return page_of(self._store)

    # -- objects ------------------------------------------------------------------

    def __len__(self) -> int:
        """Return the number of objects stored."""
        self._store.manager()  # every use of the database counts as one
        return self.storage.oid_count

    def __bool__(self) -> bool:
        """Return True: an empty database is a database."""
        return True

    def get(self, oid: int) -> Any:
        """Return the object with *oid*, or ``None`` if there is none in this thread's snapshot."""
        given: object = oid
        if not isinstance(given, int):
            text = f"expected an oid, which is an int, got {type(given).__name__}"
            raise TypeError(text)
        return self._store.get(oid)

    def get_root(self) -> RootT:
        """Return the root, or ``None`` if none is set."""
        root: RootT = self._store.get_root()
        return root

    @property
    def root(self) -> RootT:
        """The root, or ``None``; the same as :meth:`get_root`."""
        return self.get_root()

    if not TYPE_CHECKING:

        @root.setter
        def root(self, _obj: Any) -> None:
            instead = "db.set_root(obj) lets an object be the root"
            raise NoSuchAttributeError(type(self).__name__, "setter for root", instead)

    def set_root(self, obj: Persistent) -> None:
        """Set *obj*, which is in no database yet, as the root; its ``_p_oid`` is 0 at once.

        Others see it, and all that it leads to, when the transaction commits.

        Raises:
            NotPersistentError: *obj* is not an instance of ``Persistent``.
            RootError: There is a root, or *obj* belongs to a database.
        """
        self._store.set_root(obj)

    def release_snapshot(self) -> None:
        """Let the calling thread give its snapshot back, until it begins a transaction.

        For a thread that is going to wait, or to do something else for long. What it reads until
        then is the newest state; what it checks out is of a new snapshot.

        Raises:
            UncommittedChangesError: The thread has checked something out; commit or abort first.
        """
        self._store.release_snapshot()

    # -- the past -------------------------------------------------------------------

    @property
    def tid(self) -> Tid:
        """Of the newest committed transaction in this thread's snapshot; 0: there is none.

        To read the state and then go on with :meth:`changes`, begin here.
        """
        snapshot = self._store.snapshot()
        return self._store.graph.shared.tid if snapshot is None else snapshot

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
        from dobbin_like.storages.as_of import AsOf

        store = self._store
        store.check_open()
        store.publisher.catch_up()
        with store.publisher.lock:
            applied = store.storage.tid, store.storage.oid_count
        return type(self)(
            AsOf(store.storage, moment, applied),
            transaction_manager=store.transaction_manager,
            allow=store.graph.classes.policy.allow,
            guard=store.graph.guard,
        )

    if not TYPE_CHECKING:
        __getattr__ = telling_getattr(IN_DATABASES)

    # -- functions of the store ---------------------------------------------------------

    if TYPE_CHECKING:
        transactions: Final = bound(revisions.transactions)
        history: Final = bound(revisions.history)
        changes: Final = bound(feed.changes)
        wait: Final = bound(outcome.wait)
        outcome: Final = bound(outcome.outcome)
        undo: Final = bound(undoing.undo)
        census: Final = bound(questions.census)
        referrers: Final = bound(questions.referrers)
        index: Final = bound(indexing.index)
        drop_index: Final = bound(indexing.drop_index)
        indexes: Final = bound(indexing.indexes)
        discard: Final = bound(indexing.discard)
        walk: Final = bound(walking.walk)
        backup: Final = bound(backups.backup)
        snapshot: Final = bound(snapshots.snapshot)
        pack: Final = bound(packing.pack)
        preload: Final = bound(preloading.preload)
        migrate: Final = bound(migration.migrate)
        rename_class: Final = bound(renaming.rename_class)
        stats: Final = bound(figures.stats)

        def find(
            self,
            cls: type[_T],
            where: Mapping[str, Any] | None = None,
            /,
            *,
            order_by: str | None = None,
            reverse: bool = False,
            limit: int | None = None,
            **conditions: Any,
        ) -> Found[_T]: ...
        def transaction(self, *, note: str = "", user: str = "") -> block.Block[RootT]: ...
        def reading(self) -> block.Block[RootT]: ...
        def run(
            self,
            function: Callable[[], _R],
            *,
            retry: int = ...,
            note: str = "",
            user: str = "",
            on_retry: again.OnRetry | None = None,
        ) -> _R: ...
        @overload
        def transactional(self, function: Callable[_P, _R], /) -> Callable[_P, _R]: ...
        @overload
        def transactional(
            self,
            *,
            retry: int = ...,
            note: str = ...,
            user: str = ...,
            on_retry: again.OnRetry | None = ...,
        ) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...
        def transactional(self, *function: Any, **options: Any) -> Any: ...
        @overload
        def instances(self, cls: type[_T], progress: Progress | None = None) -> Iterator[_T]: ...
        @overload
        def instances(self, cls: str, progress: Progress | None = None) -> Iterator[Any]: ...
        def instances(self, cls: Any, progress: Progress | None = None) -> Iterator[Any]: ...
    else:
        transaction = LateMethod("dobbin_like.blocks.block")
        reading = LateMethod("dobbin_like.blocks.block")
        run = LateMethod("dobbin_like.blocks.again")
        transactional = LateMethod("dobbin_like.blocks.again")
        transactions = LateMethod("dobbin_like.history.revisions")
        history = LateMethod("dobbin_like.history.revisions")
        changes = LateMethod("dobbin_like.history.feed")
        wait = LateMethod("dobbin_like.history.outcome")
        outcome = LateMethod("dobbin_like.history.outcome")
        undo = LateMethod("dobbin_like.history.undo")
        instances = LateMethod("dobbin_like.search.questions")
        census = LateMethod("dobbin_like.search.questions")
        index = LateMethod("dobbin_like.indexes.build")
        drop_index = LateMethod("dobbin_like.indexes.build")
        indexes = LateMethod("dobbin_like.indexes.build")
        discard = LateMethod("dobbin_like.indexes.build")
        find = LateMethod("dobbin_like.indexes.find")
        referrers = LateMethod("dobbin_like.search.questions")
        walk = LateMethod("dobbin_like.search.walk")
        backup = LateMethod("dobbin_like.upkeep.backup")
        snapshot = LateMethod("dobbin_like.upkeep.snapshot")
        pack = LateMethod("dobbin_like.upkeep.pack")
        preload = LateMethod("dobbin_like.upkeep.preload")
        migrate = LateMethod("dobbin_like.upkeep.migrate")
        rename_class = LateMethod("dobbin_like.upkeep.rename")
        stats = LateMethod("dobbin_like.watch.stats")


def store_of(database: Database) -> Store:
    """Return the store of a database: for the other modules of this package."""
    return database._store
