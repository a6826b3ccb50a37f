"""``PersistentList``: a list that is a persistent object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSequence
from typing import Any

from dobbin_like.collections.common import Container, plain


class PersistentList(Container):
    """A list that is a persistent object. All of ``list``, and attributes beside the items."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = list(items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._writable()[index] = plain(value) if isinstance(index, slice) else value

    def __delitem__(self, index: Any) -> None:
        del self._writable()[index]

    def __reversed__(self) -> Iterator[Any]:
        return iter(reversed(self._items))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (PersistentList, list)):
            return bool(self._items == plain(other))
        return NotImplemented

    def __lt__(self, other: Any) -> bool:
        return bool(self._items < plain(other))

    def __le__(self, other: Any) -> bool:
        return bool(self._items <= plain(other))

    def __gt__(self, other: Any) -> bool:
        return bool(self._items > plain(other))

    def __ge__(self, other: Any) -> bool:
        return bool(self._items >= plain(other))

    def __add__(self, other: Any) -> PersistentList:
        if not isinstance(other, (PersistentList, list)):
            return NotImplemented
        return PersistentList(self._items + plain(other))

    def __radd__(self, other: Any) -> PersistentList:
        if not isinstance(other, list):
            return NotImplemented
        return PersistentList(other + self._items)

    def __iadd__(self, other: Any) -> PersistentList:
        self._writable().extend(plain(other))
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
        self._writable().extend(plain(items))

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


MutableSequence.register(PersistentList)
# The name under which logs know it, wherever the code lies.
type.__setattr__(PersistentList, "__module__", "dobbin_like.persistent")
