"""Making and dropping indexes, and taking objects out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple, NoReturn

from dobbin_like.blocks.alone import run_alone
from dobbin_like.exc import (
    IndexDefinitionError,
    NotPersistentError,
    UniqueError,
    UnknownAttributeWarning,
)
from dobbin_like.ids import DISCARDED, INDEXES, Oid
from dobbin_like.indexes.kept.catalog import (
    Catalog,
    Index,
    IndexEntries,
    catalog_of,
    entry_of,
    key_of,
    oid_of,
)
from dobbin_like.indexes.kept.definition import Definition, given
from dobbin_like.indexes.known import wrong_name
from dobbin_like.indexes.scan import KeyScan
from dobbin_like.mistaken.arguments import check_callables, check_flags
from dobbin_like.objects.faces.base import Persistent, checkout
from dobbin_like.objects.faces.classes.metaclass import PersistentMeta
from dobbin_like.objects.values.refs import native_dict, ref_of
from dobbin_like.search.snapshot_scan import SnapshotScan
from dobbin_like.store import Progress, Store
from dobbin_like.transactions.commit.before_lock import get_ready
from dobbin_like.warn_outside import warn_outside

Over = str | Callable[[Any], Any]
"""An attribute, or a function of an object."""


class IndexInfo(NamedTuple):
    """One index: its class, what it is over, and how many objects are in it."""

    class_name: str
    names: tuple[str, ...]
    unique: bool
    function: str | None
    entries: int


def index(
    store: Store,
    cls: type[Persistent],
    *over: Over,
    unique: bool = False,
    progress: Progress | None = None,
) -> None:
    """Keep an index of the objects of *cls* and its subclasses, from now on and for everybody.

    Over one attribute, several (objects that have all of them are in it), or one function, which
    has to be at the top of a module and may look at the attributes of the object alone. Call it
    when a program starts: if the index is there, nothing is done, but that the program has given
    the function. Else, or if the ``_p_version`` of *cls* has grown since, all objects are read,
    and the index is committed, in a transaction of its own: not in a block, and not with
    uncommitted changes. If there are objects and none is in it, because none has the attribute,
    there is an :class:`~dobbin_like.exc.UnknownAttributeWarning`.

    Args:
        unique: Refuse the commit of a second object with the same key.
        progress: Called with the oids that were looked at so far, and all there are.

    Raises:
        IndexDefinitionError: There is such an index, unique or not as this is not to be; there is
            no root; the function can't be found by its name.
        UniqueError, NotIndexableError: Of existing objects. There is no index then.
        UnloadedClassError: An object is of a class that is not loaded: it may belong there.
        UncommittedChangesError, BlockError: The thread is in a transaction.

    Cost: Reading every object; others can commit meanwhile. They wait while the entries are
    written.
    """
    check_flags(unique=unique)
    check_callables(progress=progress)
    making = _Making(store, cls, over, unique=unique)
    if not making.is_there():
        with SnapshotScan(store) as scan:
            making.read(scan, progress)
            _commit(store, making.write, f"index {making.name}")
    for text in making.wrong_names():
        warn_outside(text, UnknownAttributeWarning)


def drop_index(store: Store, cls: type[Persistent] | str, *over: Over) -> None:
    """Drop an index: one small transaction of its own. The next pack frees its space.

    *cls* may be a name, ``"module.Qualname"``, of a class that is not there.

    Raises:
        IndexDefinitionError: There is none.
        UncommittedChangesError, BlockError: The thread is in a transaction.
    """
    if not isinstance(cls, (str, type)):
        _refuse_class(cls, over, "drop_index")
    names = tuple(x if isinstance(x, str) else getattr(x, "__name__", "?") for x in over)
    name = f"{cls if isinstance(cls, str) else cls.__name__}({', '.join(names)})"

    def drop() -> None:
        catalog = catalog_of(store.graph, store.manager().view)
        if catalog is not None:
            for key, each in catalog.indexes.items():
                found = Definition(store.graph, each)
                if found.names == names and _is_of(found, each, cls):
                    checkout(catalog)
                    del catalog.indexes[key]
                    return
        raise IndexDefinitionError(store.storage.path, name, "there is none")

    _commit(store, drop, f"drop index {name}")


def _is_of(found: Definition, stored: Index, cls: Any) -> bool:
    name = cls if isinstance(cls, str) else f"{cls.__module__}.{cls.__qualname__}"
    return name in (found.class_name, ".".join(stored.class_name))


def indexes(store: Store) -> list[IndexInfo]:
    """Return the indexes that there are, as the calling thread sees them."""
    view = store.manager().view
    catalog = catalog_of(store.graph, view if view.active else None)
    return [_info(store, each) for each in ({} if catalog is None else catalog.indexes).values()]


def _info(store: Store, stored: Index) -> IndexInfo:
    found = Definition(store.graph, stored)
    function = None if stored.function is None else ".".join(stored.function)
    return IndexInfo(found.class_name, found.names, found.unique, function, len(found.entries))


def discard(store: Store, obj: Persistent) -> None:
    """Take *obj* out of all indexes, in the transaction of this thread: it is done with.

    For an object that is taken off what leads to it, and that ``find()`` shall not find until the
    database is packed; its unique keys are free. The object is checked out, and stays as it is.

    It deletes nothing, and is for good. Nobody looks whether the root still leads to *obj*: if it
    does, the object stays where it is, a pack keeps it, and ``find()`` never finds it again,
    whatever is changed in it. Only a copy (:func:`copy.copy`) is an object like others.
    """
    if not isinstance(type(obj), PersistentMeta):
        raise NotPersistentError.of(obj, "one object: call discard() for each")
    checkout(obj)
    ref = ref_of(obj)
    working = None if ref is None else store.manager().view.working.get(id(obj))
    (native_dict(obj) if working is None else working)[DISCARDED] = True


def _refuse_class(given: Any, over: tuple[Over, ...], method: str = "index") -> NoReturn:
    if isinstance(given, type):
        raise NotPersistentError(given.__name__)
    name = repr(given) if isinstance(given, str) else f"a {type(given).__name__}"
    names = (given, *over) if isinstance(given, str) else over
    raise NotPersistentError(
        name, f"the class of the objects first: {_call('Class', names, method)}"
    )


def _call(class_name: str, over: tuple[Any, ...], method: str = "index") -> str:
    texts = (repr(x) if isinstance(x, str) else getattr(x, "__name__", "...") for x in over)
    return f"db.{method}({', '.join([class_name, *texts])})"


def _parts(given: Any) -> Iterable[Any]:
    return given if isinstance(given, (tuple, list)) else (given,)


class _Making:
    """An index that is to be made: the entries of what is there."""

    def __init__(
        self, store: Store, cls: type[Persistent], over: tuple[Over, ...], *, unique: bool
    ) -> None:
        given_class: Any = cls
        if not isinstance(given_class, PersistentMeta):
            _refuse_class(cls, over)
        store.check_open()
        self._store = store
        self._path = store.storage.path
        self._class: Any = given_class._p_faces.plain
        names = [
            each if isinstance(each, str) else getattr(each, "__name__", "?") for each in over
        ]
        self.name = f"{cls.__module__}.{cls.__qualname__}({', '.join(names)})"
        if cls.__module__.startswith("dobbin_like."):
            self._refuse("expected a class of the program, and its subclasses")
        function = self._function(over)
        name = cls.__module__, cls.__qualname__
        number = store.storage.names.class_number(*name) or 0
        entries = IndexEntries()
        version = cls._p_version
        self._index = Index(name, number, tuple(names), function, unique, version, entries)
        self._keys: dict[Oid, bytes | None] = {}
        self._seen = 0  # Objects that were read to make it.
        self._is_empty = False

    def _function(self, over: tuple[Over, ...]) -> tuple[str, str] | None:
        if over and all(isinstance(each, str) for each in over):
            return None
        function: Any = over[0] if len(over) == 1 else None
        if not callable(function):
            parts = [part for each in over for part in _parts(each)]
            names = [part for part in parts if isinstance(part, str)] or ["name", "other_name"]
            form = _call(self._class.__name__, tuple(names))
            self._refuse(f"expected the names of attributes, or one function: {form}")
        module: str = getattr(function, "__module__", None) or ""
        name: str = getattr(function, "__qualname__", "")
        if not (module and name.isidentifier()):
            self._refuse("expected a function at the top of a module, which has a name there")
        given[module, name] = function
        return module, name

    def _refuse(self, reason: str) -> None:
        raise IndexDefinitionError(self._path, self.name, reason)

    def is_there(self) -> bool:
        self._store.publisher.catch_up()
        there = self._find(catalog_of(self._store.graph, None))
        if there is None or self._is_outdated(there[1]):
            return False
        self._is_empty = not there[1].entries
        return True

    def _find(self, catalog: Catalog | None) -> tuple[Any, Index] | None:
        """Return the index that is there already, and its key in the catalog."""
        new = self._index
        for key, each in () if catalog is None else catalog.indexes.items():
            if each.names != new.names or not self._is_of_class(each):
                continue
            if each.function != new.function:
                self._refuse("there is another one of this name; drop it first")
            if each.unique != new.unique:
                kind = "" if each.unique else "not "
                self._refuse(f"there is one that is {kind}unique; drop it first")
            return key, each
        return None

    def _is_of_class(self, there: Index) -> bool:
        return _is_of(Definition(self._store.graph, there), there, self._class)

    def _is_outdated(self, there: Index) -> bool:
        return there.version < self._index.version

    def read(self, scan: SnapshotScan, progress: Progress | None) -> None:
        """Find the keys of all objects that are stored."""
        self._key_scan = KeyScan(scan, Definition(self._store.graph, self._index))
        self._keys.update(self._key_scan.all(progress))
        self._since = scan.tid

    def write(self) -> None:
        """Add the index; the commit lock is held. What was changed since is read again."""
        store = self._store
        graph, storage, view = store.graph, store.storage, store.manager().view
        root = store.get_root()
        if root is None:
            self._refuse("there is no root to keep it with; set one first")
        catalog = catalog_of(graph, view)
        there = self._find(catalog)
        if there is not None and not self._is_outdated(there[1]):
            return  # Somebody else has made it meanwhile.
        for logged in storage.transactions(self._since):
            for oid in () if logged.failed else logged.oids:
                stored = storage.load(oid)
                self._keys[oid] = None if stored is None else self._key_scan.key(oid, stored)
        keys = self._keys.items()
        entries = sorted(entry_of(key, oid) for oid, key in keys if key is not None)
        if self._index.unique:
            self._check_unique(entries)
        checkout(self._index)
        self._index.entries = IndexEntries(entries)
        self._seen = self._key_scan.seen
        self._is_empty = bool(self._seen) and not entries
        if catalog is None:
            catalog = Catalog()
            checkout(root)
            view.working[id(root)][INDEXES] = catalog
            graph.indexed = True
        checkout(catalog)
        if there is not None:
            del catalog.indexes[there[0]]
        catalog.indexes[self._index.class_name, self._index.names] = self._index

    def wrong_names(self) -> Iterator[str]:
        """Yield a text for each name that no object has, if no object is in the index."""
        if not self._is_empty:
            return
        name = self._index.names[0]
        if self._index.function is None:
            told = [wrong_name(self._store, self._class, each) for each in self._index.names]
        else:
            told = [f"for all objects, {name}() raises AttributeError" if self._seen else None]
        for wrong in told:
            if wrong is not None:
                yield f"{self._path}: index {self.name}: {wrong}"

    def _check_unique(self, entries: list[bytes]) -> None:
        for one, other in pairwise(entries):
            if key_of(one) == key_of(other):
                oid, graph = oid_of(other), self._store.graph
                told = Definition(graph, self._index).told(graph.ghosts.get(oid, None))
                raise UniqueError(self._class.__name__, oid, self.name, told, oid_of(one))


def _commit(store: Store, step: Callable[[], None], note: str) -> None:
    manager = store.manager()
    if manager.pending:  # At once, not after a wait for the lock.
        raise manager.uncommitted()
    get_ready(store.graph)
    run_alone(store, step, "an index is made, or dropped, in a transaction of its own", note)
