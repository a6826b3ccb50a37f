"""``Safe``: a mapping in a file, in which each access is a transaction of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from numbers import Number
from typing import Any, Final, Self

from dobbin_like.database import Database, store_of
from dobbin_like.exc import ClosedError, ObjectNotFound
from dobbin_like.safe.ends import note_open
from dobbin_like.safe.groups import Group, Groups, Managers
from dobbin_like.safe.growth import Growth
from dobbin_like.safe.stored import handed_out, held, is_key, normal_key, stored_form
from dobbin_like.safe.writeback import Kept
from dobbin_like.upkeep.pack import PackReport

_MISSING: Final[Any] = object()
_TRIES: Final = 100
"""How often to look for a value that others replace and a pack drops."""


class Safe(MutableMapping[Any, Any]):
    """A dict in a file. Made by :func:`dobbin_like.safe.open`.

    Each access is a transaction of its own. When a method that changes something has returned,
    the change is on stable storage. Reading returns what any thread or process has stored last,
    and never waits. Changes wait for each other; none is lost, and none fails because of another.
    Keys are strings, integers, bytes and tuples of these, in insertion order. Values are what a
    :class:`~dobbin_like.Database` stores. They are copied when they are stored and when they are
    read.

    Any thread may call any method. After :meth:`close`, all raise
    :class:`~dobbin_like.exc.ClosedError` (a ``ValueError``). Methods that change something raise
    :class:`~dobbin_like.exc.NotStorableError` for a value that can't be stored, and
    :class:`~dobbin_like.exc.ReadOnlyStorageError` if the safe was opened with the flag ``"r"``.
    In all cases, nothing was stored.
    """

    def __init__(
        self, database: Database, managers: Managers, *, writeback: bool, pack_when: float | None
    ) -> None:
        self._database = database
        self._publisher = store_of(database).publisher
        self._groups = Groups(database, managers)
        self._root: Any = None
        path = database.storage.path
        self._growth = None if pack_when is None else Growth(path, pack_when)
        self._kept = Kept() if writeback else None
        note_open(self)

    # -- reading -------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        """Return a copy of the value. Cost: that of the value."""
        found = self._value(key)
        if found is _MISSING:
            raise KeyError(key)
        return found

    def get(self, key: Any, default: Any = None) -> Any:
        """Return a copy of the value of *key*, or *default*."""
        found = self._value(key)
        return default if found is _MISSING else found

    def __contains__(self, key: object) -> bool:
        return is_key(key) and normal_key(key) in self._items()

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the current keys; later changes do not matter."""
        items = self._items()
        return iter(items if self._groups.current is None else list(items))

    def __reversed__(self) -> Iterator[Any]:
        items: Any = self._items()
        return iter(reversed(items if self._groups.current is None else list(items)))

    def items(self) -> ItemsView[Any, Any]:
        """Return a view of the pairs; an iteration yields those that are there when it begins."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """Return a view of the values; an iteration yields those that are there when it begins."""
        return _Values(self)

    def __or__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        if not isinstance(other, Mapping):
            return NotImplemented
        return {**self, **other}

    def __ror__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        if not isinstance(other, Mapping):
            return NotImplemented
        return {**other, **self}

    def __repr__(self) -> str:
        database = self._database
        state = "closed" if database.closed else f"{len(self)} keys"
        return f"<Safe {database.storage.path!r}: {state}>"

    # -- changing ------------------------------------------------------------------

    def __setitem__(self, key: Any, value: Any) -> None:
        """Store the current state of *value*. Cost: a commit, and the value."""
        self._put({key: value})

    def __delitem__(self, key: Any) -> None:
        with self._changing() as group:
            self._remove(group, key)

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Remove *key* and return its value, or *default*; ``KeyError`` without one.

        If several pop a key at the same time, one of them gets the value.
        """
        with self._changing() as group:
            found = self._value(key)
            if found is not _MISSING:
                self._remove(group, key)
                return found
        if default is _MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return the pair that was added last; ``KeyError`` if there is none."""
        with self._changing() as group:
            key = next(reversed(self._items()), _MISSING)
            if key is not _MISSING:
                found = self._value(key)
                self._remove(group, key)
                return key, found
        text = "popitem(): the safe is empty"
        raise KeyError(text)

    def clear(self) -> None:
        """Remove all keys."""
        with self._changing() as group:
            self._items().clear()
            if self._kept is not None:
                for key in self._kept:
                    self._kept.removed(group, key)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return a copy of the value of *key*; if there is none, set it to *default* first."""
        found = self._value(key)
        if found is not _MISSING:
            return found
        with self._changing():
            found = self._value(key)
            if found is _MISSING:
                self._put({key: default})
                found = self._value(key)
        return found

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Set items as ``dict.update`` does, all of them in one transaction."""
        self._put({**dict(other), **more})

    def __ior__(self, other: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> Self:
        self.update(other)
        return self

    def add(self, key: Any, value: Any) -> bool:
        """Set *key* if it does not exist; return whether it was set.

        If several add a key at the same time, one of them gets ``True``.
        """
        if key in self:
            return False
        with self._changing():
            if key in self:
                return False
            self._put({key: value})
        return True

    def increment(self, key: Any, by: Any = 1) -> Any:
        """Add *by* to the number at *key*, 0 if it does not exist; return the sum.

        Raises:
            TypeError: The value, or *by*, is not a number.
        """
        with self._changing():
            value = self.get(key, 0)
            for number in (value, by):
                if not isinstance(number, Number):
                    text = f"increment({key!r}): {type(number).__name__} is not a number"
                    raise TypeError(text)
            value = value + by
            self._put({key: value})
        return value

    def transaction(self) -> contextlib.AbstractContextManager[object]:
        """Run a block as one transaction: all its changes are stored, or none if it raises.

        From its first line to its last, no other thread or process changes the safe: what is
        read in the block stays true. The others wait, so keep it short, and do not use ``await``
        in it. They see the changes when the block has ended. Only the thread of the block takes
        part. A block inside another one is part of it; if the inner one raises, its changes are
        discarded, and the outer one may continue.

        Raises:
            NotStorableError: At the end, if the class of a value must not be loaded.
            SelfWaitError: The thread is in a transaction of another safe on the same file.
        """
        group = self._groups.current
        return self._changing() if group is None else self._groups.inner(group)

    # -- the life of a safe --------------------------------------------------------

    def sync(self) -> None:
        """With ``writeback``, store the returned values that were changed.

        Unchanged values are not written. Without ``writeback``, there is nothing to do.
        """
        self._items()
        if self._kept is not None:
            self._put(self._kept.changed())
            self._kept.clear()

    def pack(self) -> PackReport:
        """Free the space of replaced and removed values; return a report.

        This is optional: a safe packs itself when half of the file is no longer needed.

        Raises:
            As :meth:`dobbin_like.Database.pack`.
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
            if not self._database.storage.read_only:
                self.sync()
        finally:
            try:
                if self._growth is not None:
                    self._growth.join()
            finally:
                self._database.close()

    @property
    def path(self) -> str:
        """The path of the file."""
        return self._database.storage.path

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._database.closed

    def leave_to_parent(self) -> None:
        """In a forked child: leave changed values to the parent, which stores them."""
        if self._kept is not None:
            self._kept.clear()

    def __enter__(self) -> Self:
        self._items()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __del__(self) -> None:
        # As shelve does. Not if the constructor has failed.
        if hasattr(self, "_kept") and not self._database.closed:
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
            self._root = database.root
            if self._root is None:
                return {}
        return self._root

    def _value(self, key: Any) -> Any:
        if not is_key(key):
            hash(key)
            self._items()
            return _MISSING
        key = normal_key(key)
        raw = self._items().get(key, _MISSING)
        return _MISSING if raw is _MISSING else self._handed_out(key, raw)

    def _handed_out(self, key: Any, raw: Any) -> Any:
        found = _MISSING if self._kept is None else self._kept.value(key, _MISSING)
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
                return value if self._kept is None else self._kept.hand_out(key, value, held(raw))
        return handed_out(raw)

    def _changing(self) -> contextlib.AbstractContextManager[Group]:
        """Return a block for one change: part of the transaction of the thread, or its own."""
        group = self._groups.current
        return self._alone() if group is None else contextlib.nullcontext(group)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[Group]:
        with self._groups.outer() as group:
            yield group
        if self._growth is not None:
            self._growth.written()

    def _put(self, values: Mapping[Any, Any]) -> None:
        # All that can fail comes before the first change: the thread may be in a transaction.
        forms = {normal_key(key): value for key, value in values.items()}
        raws = {key: stored_form(key, value) for key, value in forms.items()}
        if not raws:
            self._items()
            return
        with self._changing() as group:
            self._items().update(raws)
            if self._kept is not None:
                for key, raw in raws.items():
                    self._kept.assigned(group, key, forms[key], held(raw))

    def _remove(self, group: Group, key: Any) -> None:
        items = self._items()
        if not is_key(key):
            raise KeyError(key)
        key = normal_key(key)
        del items[key]
        if self._kept is not None:
            self._kept.removed(group, key)

    def _pairs(self) -> Iterator[tuple[Any, Any]]:
        items = self._items()
        pairs = items.items() if self._groups.current is None else list(items.items())
        for key, raw in pairs:
            value = self._handed_out(key, raw)
            if value is not _MISSING:
                yield key, value


class _Items(ItemsView[Any, Any]):
    _mapping: Safe

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping._pairs()  # noqa: SLF001


class _Values(ValuesView[Any]):
    _mapping: Safe

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping._pairs())  # noqa: SLF001


def path_of(filename: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """Return the absolute path, which stays valid when the working directory changes."""
    return os.path.abspath(os.fsdecode(filename))  # noqa: PTH100  of bytes, too
