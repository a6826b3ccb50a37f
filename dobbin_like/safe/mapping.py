"""``Safe``: a mapping in a file, in which each access is a transaction of its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from numbers import Number
from typing import TYPE_CHECKING, Any, Final, Self, cast, overload

from dobbin_like.database import Database, store_of
from dobbin_like.exc import BlockError, ClosedError, ObjectNotFound, SelfWaitError
from dobbin_like.mistaken.attributes import fixed
from dobbin_like.objects.values.here import keep_scope, out_of_block, scope_of_context
from dobbin_like.processes.reopened import itself, new_token, reopened
from dobbin_like.safe.block import SafeBlock
from dobbin_like.safe.ends import note_open
from dobbin_like.safe.groups import Group, Groups
from dobbin_like.safe.growth import Growth
from dobbin_like.safe.reentry import was_inside
from dobbin_like.safe.stored import Writeback, handed_out, held, is_key, normal_key, stored_forms
from dobbin_like.storage import TransactionLog
from dobbin_like.upkeep.packs.report import PackReport

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    _T = TypeVar("_T")
    _K = TypeVar("_K", default=Any)
    _V = TypeVar("_V", default=Any)
else:
    from typing import TypeVar

    _K, _V = TypeVar("_K"), TypeVar("_V")

_MISSING: Final[Any] = object()
_TRIES: Final = 100
"""How often to look for a value that others replace and a pack drops."""


@fixed(
    given="it is given when the safe is opened: safe.open(path, {name}=...)",
    options="flag writeback allow timeout pack_when",
    otherwise="it would be stored nowhere; set the item, safe['{name}']",
)
class Safe(MutableMapping[_K, _V]):
    """A dict in a file. Made by :func:`dobbin_like.safe.open`.

    Each access is a transaction of its own. When a method that changes something has returned,
    the change is on stable storage. Reading returns what any thread or process has stored last,
    and never waits. Changes wait for each other; none is lost, and none fails because of another.
    Keys are strings, integers, bytes and tuples of these, in insertion order. Values are what a
    :class:`~dobbin_like.Database` stores, copied when they are stored and when they are read.

    Any thread may call any method. After :meth:`close`, all raise
    :class:`~dobbin_like.exc.ClosedError`. A value that can't be stored raises
    :class:`~dobbin_like.exc.NotStorableError`, and nothing was stored.
    """

    def __new__(cls, *_args: Any, **options: Any) -> Self:
        if "again" not in options:
            text = "a Safe is not made by its class: call safe.open(path)"
            raise TypeError(text)
        return super().__new__(cls)

    def __init__(
        self,
        database: Database,
        groups: Groups,
        *,
        writeback: bool,
        pack_when: float | None,
        again: tuple[Any, ...],
    ) -> None:
        self._again = again
        self._token = new_token(self)
        self._database = database
        self._publisher = store_of(database).publisher
        self._groups = groups
        self._root: Any = None
        log = database.storage
        assert isinstance(log, TransactionLog)
        self._growth = None if pack_when is None else Growth(log, pack_when)
        self._writeback = Writeback(writeback=writeback)
        note_open(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as *the same safe*, opened again in another process with the same options."""
        self._items()
        return reopened, (self._token, *self._again)

    __copy__ = itself
    __deepcopy__ = itself

    # -- reading -------------------------------------------------------------------

    def __getitem__(self, key: _K) -> _V:
        found = self._value(key)
        if found is _MISSING:
            raise KeyError(key)
        return cast("_V", found)

    @overload
    def get(self, key: _K, /) -> _V | None: ...
    @overload
    def get(self, key: _K, default: _V | _T, /) -> _V | _T: ...
    def get(self, key: _K, default: Any = None) -> Any:
        found = self._value(key)
        return default if found is _MISSING else found

    def __contains__(self, key: object) -> bool:
        return is_key(key) and normal_key(key) in self._items()

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[_K]:
        """Iterate over the current keys; later changes do not matter."""
        items = self._items()
        return iter(items if self._groups.current is None else list(items))

    def __reversed__(self) -> Iterator[_K]:
        items: Any = self._items()
        return iter(reversed(items if self._groups.current is None else list(items)))

    def items(self) -> ItemsView[_K, _V]:
        return _Items(self)

    def values(self) -> ValuesView[_V]:
        return _Values(self)

    def __or__(self, other: Mapping[_K, _V]) -> dict[_K, _V]:
        if not isinstance(other, Mapping):
            return NotImplemented
        return {**self, **other}

    def __ror__(self, other: Mapping[_K, _V]) -> dict[_K, _V]:
        if not isinstance(other, Mapping):
            return NotImplemented
        return {**other, **self}

    def __repr__(self) -> str:
        database = self._database
        try:
            state = "closed" if database.closed else f"{len(self)} keys"
        except BlockError:
            state = "in a block of another task"
        return f"<Safe {database.storage.path!r}: {state}>"

    # -- changing ------------------------------------------------------------------

    def __setitem__(self, key: _K, value: _V) -> None:
        """Store the current state of *value*. Cost: a commit, and the value."""
        self._put({key: value})

    def __delitem__(self, key: _K) -> None:
        with self._changing() as group:
            self._remove(group, key)

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """As ``dict.pop``; if several pop a key at the same time, one of them gets the value."""
        with self._changing() as group:
            found = self._value(key)
            if found is not _MISSING:
                self._remove(group, key)
                return found
        if default is _MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[_K, _V]:
        with self._changing() as group:
            key = next(reversed(self._items()), _MISSING)
            if key is not _MISSING:
                found = self._value(key)
                self._remove(group, key)
                return key, found
        text = "popitem(): the safe is empty"
        raise KeyError(text)

    def clear(self) -> None:
        with self._changing() as group:
            self._items().clear()
            for key in self._writeback:
                self._writeback.replace(group, key, None)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return a copy of the value of *key*; if there is none, set it to *default* first."""
        found = self._value(key)
        if found is not _MISSING:
            return found
        stored = stored_forms({key: default})
        with self._changing() as group:
            found = self._value(key)
            if found is _MISSING:
                self._store(group, *stored)
                found = self._value(key)
        return found

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Set all the items in one transaction."""
        self._put({**dict(other), **more})

    def __ior__(self, other: Mapping[_K, _V] | Iterable[tuple[_K, _V]]) -> Self:
        self.update(other)
        return self

    def add(self, key: _K, value: _V) -> bool:
        """Set *key* if it does not exist; return whether it was set.

        If several add a key at the same time, one of them gets ``True``.
        """
        if key in self:
            return False
        stored = stored_forms({key: value})
        with self._changing() as group:
            if key in self:
                return False
            self._store(group, *stored)
        return True

    def increment(self, key: _K, by: Any = 1) -> _V:
        """Add *by* to the number at *key*, 0 if it does not exist; return the sum."""
        with self._changing() as group:
            value: Any = self.get(key, 0)
            for number in (value, by):
                if not isinstance(number, Number):
                    text = f"increment({key!r}): {type(number).__name__} is not a number"
                    raise TypeError(text)
            value = value + by
            self._store(group, *stored_forms({key: value}))
        return cast("_V", value)

    def transaction(self) -> contextlib.AbstractContextManager[object]:
        """Run a block as one transaction: all its changes are stored, or none if it raises.

        From its first line to its last, no other thread or process changes the safe: what is
        read in the block stays true. The others wait, so keep it short, and do not use ``await``
        in it. Only the thread of the block takes part. A block inside another one is part of it;
        if the inner one raises, its changes are discarded, and the outer one may continue.

        Raises:
            NotStorableError: At the end, if the class of a value must not be loaded.
            SelfWaitError: The thread is in a transaction of another safe on the same file.
            BlockError: The block is entered twice, or left by another thread; or another task
                of the thread is in a block. Any access of this task raises it then.
        """
        return SafeBlock(self.path, self._block)

    def _block(self) -> contextlib.AbstractContextManager[Group]:
        group = self._groups.current
        if group is None:
            return self._writeback.taken_back(self._alone(block=True))
        self._check_may_take_part(group)
        return self._writeback.taken_back(self._groups.inner(group))

    # -- the life of a safe --------------------------------------------------------

    def sync(self) -> None:
        """With ``writeback``, store the returned values that were changed."""
        self._put(self._writeback.changed())
        self._writeback.clear()

    def pack(self) -> PackReport:
        """Free the space of replaced and removed values, as :meth:`dobbin_like.Database.pack`.

        This is optional: a safe packs itself when half of the file is no longer needed.
        """
        self._items()
        if self._growth is not None:
            self._growth.join()
        return self._database.pack()

    def close(self) -> None:
        """Call :meth:`sync`, wait for a running pack, and close the file. Idempotent."""
        if self._database.closed:
            return
        try:
            self.finish()
        finally:
            self._database.close()

    @property
    def path(self) -> str:
        return self._database.storage.path

    @property
    def closed(self) -> bool:
        return self._database.closed

    @property
    def moved(self) -> bool:
        """Whether a change has raised LogMovedError: the file at the path is another one."""
        return self._groups.moved

    def finish(self) -> None:
        """When the interpreter ends: as :meth:`close`, but others may store something later."""
        if self._database.closed:
            return
        try:
            if not self._database.storage.read_only:
                self.sync()
        finally:
            if self._growth is not None:
                self._growth.join()

    def leave_to_parent(self) -> None:
        """In a forked child: leave changed values and the transaction of the thread behind."""
        self._writeback.clear()
        self._groups.leave()

    def __enter__(self) -> Self:
        self._items()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __del__(self, is_finalizing: Any = sys.is_finalizing) -> None:
        # As shelve does. Not if the constructor has failed; nor when the interpreter ends: it
        # was finished before, and the modules may be gone already, the names here included.
        if not is_finalizing() and hasattr(self, "_writeback") and not self._database.closed:
            with contextlib.suppress(Exception):
                self.close()

    # -- inside --------------------------------------------------------------------

    def _items(self) -> Any:
        """Return the root, with all commits, or as the transaction of the thread sees it."""
        database = self._database
        if database.closed:
            what = f"the safe {database.storage.path}"
            raise ClosedError(what)
        publisher = self._publisher
        if publisher.has_news():
            publisher.catch_up()
            if publisher.keeps_past:
                publisher.drop_generations()
        if self._root is None:
            self._root = self._find_root()
            if self._root is None:
                return {}
        in_scope, groups = scope_of_context() is not None, self._groups
        group = groups.current if in_scope or groups.had_task else None
        if group is not None and in_scope:
            return self._items_of_group()
        return self._root

    @out_of_block
    def _find_root(self) -> Any:
        return self._database.root

    @out_of_block
    def _items_of_group(self) -> dict[Any, Any]:
        """Return what the transaction of the thread has, for a task in a block."""
        return dict(self._root)

    def _value(self, key: Any) -> Any:
        if not is_key(key):
            hash(key)
            self._items()
            return _MISSING
        key = normal_key(key)
        raw = self._items().get(key, _MISSING)
        return _MISSING if raw is _MISSING else self._handed_out(key, raw)

    def _handed_out(self, key: Any, raw: Any) -> Any:
        found = self._writeback.value(key, _MISSING)
        if found is not _MISSING:
            return found
        for _ in range(_TRIES):
            try:
                value = handed_out(raw)
            except ObjectNotFound:
                # Replaced or removed, and dropped by a pack, since it was looked up.
                before, raw = raw, self._items().get(key, _MISSING)
                if raw is _MISSING:
                    return _MISSING
                if raw is before:
                    raise
            else:
                return self._writeback.hand_out(key, value, held(raw))
        return handed_out(raw)

    def _changing(self) -> contextlib.AbstractContextManager[Group]:
        """Return a block for one change: part of the transaction of the thread, or its own.

        Raises SelfWaitError if a signal handler or finalizer asks in the middle of another change.
        """
        group = self._groups.current
        if group is not None:
            self._check_may_take_part(group)
        change = self._alone() if group is None else contextlib.nullcontext(group)
        return change if scope_of_context() is None else _out_of_block(change)

    def _check_may_take_part(self, group: Group) -> None:
        """Raise SelfWaitError unless the code of a block asks.

        What a signal handler or finalizer changes while the block does a step of its own would
        be mixed up with that, or come too late for the commit, and nobody would know.
        """
        if not group.block or was_inside(self, self._groups):
            raise SelfWaitError(self.path)

    @contextlib.contextmanager
    def _alone(self, *, block: bool = False) -> Iterator[Group]:
        with self._groups.outer(block=block) as group:
            yield group
        if self._growth is not None:
            self._growth.written()

    def _put(self, values: Mapping[Any, Any]) -> None:
        # All that can fail comes before the first change: the thread may be in a transaction.
        forms, raws = stored_forms(values)
        if not raws:
            self._items()
            return
        with self._changing() as group:
            self._store(group, forms, raws)

    def _store(self, group: Group, forms: dict[Any, Any], raws: dict[Any, Any]) -> None:
        self._items().update(raws)
        for key, raw in raws.items():
            self._writeback.replace(group, key, (forms[key], held(raw)))

    def _remove(self, group: Group, key: Any) -> None:
        items = self._items()
        if not is_key(key):
            raise KeyError(key)
        key = normal_key(key)
        del items[key]
        self._writeback.replace(group, key, None)

    def _pairs(self) -> Iterator[tuple[Any, Any]]:
        items = self._items()
        pairs = items.items() if self._groups.current is None else list(items.items())
        for key, raw in pairs:
            value = self._handed_out(key, raw)
            if value is not _MISSING:
                yield key, value


@contextlib.contextmanager
def _out_of_block(change: contextlib.AbstractContextManager[Group]) -> Iterator[Group]:
    scope = scope_of_context()
    keep_scope(None)
    try:
        with change as group:
            yield group
    finally:
        keep_scope(scope)


class _Items(ItemsView[Any, Any]):
    _mapping: Safe

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping._pairs()  # noqa: SLF001


class _Values(ValuesView[Any]):
    _mapping: Safe

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping._pairs())  # noqa: SLF001
