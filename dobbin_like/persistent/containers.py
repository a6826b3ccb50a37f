"""Containers that are persistent objects: read like built-in ones, checked out to change.

Not subclasses of ``dict``, ``list`` and ``set``: too much of CPython reads
those past overridden methods, and publishing in place would break iterators
that are running. The items are one attribute, a built-in container; it is
replaced as a whole, so a running iterator goes on over what it began with.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    MutableSequence,
    MutableSet,
    Set,
    ValuesView,
)
from types import GenericAlias
from typing import Any, Final, TypeVar

from dobbin_like.exc import SharedValueError
from dobbin_like.persistent.base import Persistent, is_new
from dobbin_like.persistent.entry import entry_of, here
from dobbin_like.persistent.guards import describe
from dobbin_like.persistent.view import WorkingCopy

_MISSING: Final = object()

C = TypeVar("C", bound="_Container")


class _Container(Persistent):
    """What the three have in common: the items, who may change them, how they show."""

    _items: Any

    __class_getitem__: Any = classmethod(GenericAlias)
    __hash__ = None  # type: ignore[assignment]

    def _writable(self) -> Any:
        """Return the items to change, if the calling thread may change them."""
        entry = entry_of(self)
        if type(here.memo.get(id(self))) is not WorkingCopy:
            open_face = type(self)._p_faces.open
            if not is_new(entry) or type(self) is not open_face:
                name = type(self).__name__
                who = f"a new {name}" if entry is None else describe(entry)
                raise SharedValueError(name, who)
        return self._items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __repr__(self) -> str:
        # A container may hold itself, also by way of others.
        running = _running.ids
        if id(self) in running:
            return f"{type(self).__name__}(...)"
        running.add(id(self))
        try:
            return f"{type(self).__name__}({self._items!r})"
        finally:
            running.discard(id(self))

    def clear(self) -> None:
        """Remove all items."""
        self._writable().clear()

    def copy(self: C) -> C:
        """Return a new container of this class with the same items, not stored yet."""
        return copy.copy(self)


class _Running(threading.local):
    """The containers of which this thread is making the representation."""

    def __init__(self) -> None:
        self.ids: set[int] = set()


_running = _Running()


def _plain(other: Any) -> Any:
    return other._items if isinstance(other, _Container) else other  # noqa: SLF001


class PersistentDict(_Container):
    """A dict that is a persistent object. All of ``dict``, and attributes beside the items.

    Raises what ``dict`` raises, and
    :class:`~dobbin_like.exc.SharedValueError` (a ``RuntimeError``) for a
    change without checkout.
    """

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        self._items = dict(*map(_plain, args), **kwargs)

    @classmethod
    def fromkeys(cls, keys: Iterable[Any], value: Any = None) -> PersistentDict:
        """Return a new one with *keys*, all with *value*."""
        return cls(dict.fromkeys(keys, value))

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._items[key]
        except KeyError:
            missing = getattr(type(self), "__missing__", None)
            if missing is None:
                raise
        return missing(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._writable()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._writable()[key]

    def __reversed__(self) -> Iterator[Any]:
        return iter(reversed(self._items))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (PersistentDict, Mapping)):
            return bool(self._items == dict(_plain(other)))
        return NotImplemented

    def __or__(self, other: Any) -> PersistentDict:
        if not isinstance(other, (PersistentDict, dict)):
            return NotImplemented
        return PersistentDict(self._items | _plain(other))

    def __ror__(self, other: Any) -> PersistentDict:
        if not isinstance(other, dict):
            return NotImplemented
        return PersistentDict(other | self._items)

    def __ior__(self, other: Any) -> PersistentDict:
        self.update(other)
        return self

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of *key*, or *default*."""
        return self._items.get(key, default)

    def keys(self) -> KeysView[Any]:
        """Return a view of the keys."""
        return self._items.keys()  # type: ignore[no-any-return]

    def values(self) -> ValuesView[Any]:
        """Return a view of the values."""
        return self._items.values()  # type: ignore[no-any-return]

    def items(self) -> ItemsView[Any, Any]:
        """Return a view of the pairs (key, value)."""
        return self._items.items()  # type: ignore[no-any-return]

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Remove *key* and return its value, or *default*; ``KeyError`` without one."""
        items = self._writable()
        return items.pop(key) if default is _MISSING else items.pop(key, default)

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return the pair that was added last."""
        return self._writable().popitem()  # type: ignore[no-any-return]

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of *key*, set to *default* before if it was not there."""
        return self._writable().setdefault(key, default)

    def update(self, /, *args: Any, **kwargs: Any) -> None:
        """Set items as ``dict.update`` does."""
        self._writable().update(*map(_plain, args), **kwargs)


class PersistentList(_Container):
    """A list that is a persistent object. All of ``list``, and attributes beside the items."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = list(items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._writable()[index] = _plain(value) if isinstance(index, slice) else value

    def __delitem__(self, index: Any) -> None:
        del self._writable()[index]

    def __reversed__(self) -> Iterator[Any]:
        return iter(reversed(self._items))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (PersistentList, list)):
            return bool(self._items == _plain(other))
        return NotImplemented

    def __lt__(self, other: Any) -> bool:
        return bool(self._items < _plain(other))

    def __le__(self, other: Any) -> bool:
        return bool(self._items <= _plain(other))

    def __gt__(self, other: Any) -> bool:
        return bool(self._items > _plain(other))

    def __ge__(self, other: Any) -> bool:
        return bool(self._items >= _plain(other))

    def __add__(self, other: Any) -> PersistentList:
        if not isinstance(other, (PersistentList, list)):
            return NotImplemented
        return PersistentList(self._items + _plain(other))

    def __radd__(self, other: Any) -> PersistentList:
        if not isinstance(other, list):
            return NotImplemented
        return PersistentList(other + self._items)

    def __iadd__(self, other: Any) -> PersistentList:
        self._writable().extend(_plain(other))
        return self

    def __mul__(self, count: int) -> PersistentList:
        return PersistentList(self._items * count)

    __rmul__ = __mul__

    def __imul__(self, count: int) -> PersistentList:
        items = self._writable()
        items *= count
        return self

    def append(self, item: Any) -> None:
        """Add *item* at the end."""
        self._writable().append(item)

    def extend(self, items: Iterable[Any]) -> None:
        """Add all of *items* at the end."""
        self._writable().extend(_plain(items))

    def insert(self, index: int, item: Any) -> None:
        """Put *item* before *index*."""
        self._writable().insert(index, item)

    def pop(self, index: int = -1) -> Any:
        """Remove and return the item at *index*."""
        return self._writable().pop(index)

    def remove(self, item: Any) -> None:
        """Remove the first item that equals *item*; ``ValueError`` if there is none."""
        self._writable().remove(item)

    def reverse(self) -> None:
        """Turn the order round."""
        self._writable().reverse()

    def sort(self, *, key: Any = None, reverse: bool = False) -> None:
        """Sort in place, as ``list.sort`` does."""
        self._writable().sort(key=key, reverse=reverse)

    def count(self, item: Any) -> int:
        """Return how many items equal *item*."""
        return self._items.count(item)  # type: ignore[no-any-return]

    def index(self, item: Any, *limits: int) -> int:
        """Return the first index of *item*; ``ValueError`` if there is none."""
        return self._items.index(item, *limits)  # type: ignore[no-any-return]


class PersistentSet(_Container):
    """A set that is a persistent object. All of ``set``, and attributes beside the items."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = set(items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (PersistentSet, Set)):
            return bool(self._items == _plain(other))
        return NotImplemented

    def add(self, item: Any) -> None:
        """Add *item*."""
        self._writable().add(item)

    def discard(self, item: Any) -> None:
        """Remove *item* if it is there."""
        self._writable().discard(item)

    def remove(self, item: Any) -> None:
        """Remove *item*; ``KeyError`` if it is not there."""
        self._writable().remove(item)

    def pop(self) -> Any:
        """Remove and return some item."""
        return self._writable().pop()


def _reader(name: str, *, wrap: bool) -> Any:
    def read(self: Any, *others: Any) -> Any:
        result = getattr(self._items, name)(*map(_plain, others))
        return PersistentSet(result) if wrap and result is not NotImplemented else result

    read.__name__ = name.strip("_")
    read.__doc__ = getattr(set, name).__doc__
    return read


def _writer(name: str) -> Any:
    def write(self: Any, *others: Any) -> Any:
        items = self._writable()
        if not name.startswith("__"):
            return getattr(items, name)(*map(_plain, others))
        if getattr(items, name)(*map(_plain, others)) is NotImplemented:
            return NotImplemented
        return self

    write.__name__ = name.strip("_")
    write.__doc__ = getattr(set, name).__doc__
    return write


for _name in "__and__ __or__ __sub__ __xor__ __rand__ __ror__ __rsub__ __rxor__".split():
    setattr(PersistentSet, _name, _reader(_name, wrap=True))
for _name in "difference intersection symmetric_difference union".split():
    setattr(PersistentSet, _name, _reader(_name, wrap=True))
for _name in "isdisjoint issubset issuperset __lt__ __le__ __gt__ __ge__".split():
    setattr(PersistentSet, _name, _reader(_name, wrap=False))
for _name in "difference_update intersection_update symmetric_difference_update update".split():
    setattr(PersistentSet, _name, _writer(_name))
for _name in "__iand__ __ior__ __isub__ __ixor__".split():
    setattr(PersistentSet, _name, _writer(_name))

MutableMapping.register(PersistentDict)
MutableSequence.register(PersistentList)
MutableSet.register(PersistentSet)

for _cls in (PersistentDict, PersistentList, PersistentSet):
    # The name under which logs know them, wherever the code lies.
    type.__setattr__(_cls, "__module__", "dobbin_like.persistent")
