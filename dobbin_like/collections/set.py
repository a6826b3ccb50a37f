"""``PersistentSet``: a set that is a persistent object."""

from __future__ import annotations

from collections.abc import Iterable, MutableSet, Set
from typing import Any

from dobbin_like.collections.common import Container, plain


class PersistentSet(Container):
    """A set that is a persistent object. All of ``set``, and attributes beside the items."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = set(items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (PersistentSet, Set)):
            return bool(self._items == plain(other))
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
        result = getattr(self._items, name)(*map(plain, others))
        return PersistentSet(result) if wrap and result is not NotImplemented else result

    read.__name__ = name.strip("_")
    read.__doc__ = getattr(set, name).__doc__
    return read


def _writer(name: str) -> Any:
    def write(self: Any, *others: Any) -> Any:
        items = self._writable()
        if not name.startswith("__"):
            return getattr(items, name)(*map(plain, others))
        if getattr(items, name)(*map(plain, others)) is NotImplemented:
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

MutableSet.register(PersistentSet)
# The name under which logs know it, wherever the code lies.
type.__setattr__(PersistentSet, "__module__", "dobbin_like.persistent")
