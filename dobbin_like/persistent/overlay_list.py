"""Large lists in a working copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSequence
from typing import Any

from dobbin_like.persistent.kinds import LIST, SHAREABLE
from dobbin_like.persistent.layered import built_in
from dobbin_like.persistent.overlay import Overlay, stands_for
from dobbin_like.persistent.values import Aliases


@stands_for(LIST, "count", "index")
class OverlayList(Overlay, MutableSequence[Any]):
    """A list that is being added to; every other change makes it an ordinary list."""

    __slots__ = ()
    kind = list

    def __init__(self, working: Any, base: Any) -> None:
        super().__init__(working, base)
        self.put: list[Any] = []

    def settle(self) -> bool:
        return not self._changed_own()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self.size))]
        at = range(self.size)[index]  # Raises what a list raises, but for the words.
        below = len(self.base)
        return self._value(at, self.base[at]) if at < below else self.put[at - below]

    def __iter__(self) -> Iterator[Any]:
        for at, value in enumerate(self.base):
            yield self._value(at, value)
        at = 0
        while at < len(self.put):  # What is added meanwhile comes too, as in a list.
            yield self.put[at]
            at += 1

    def append(self, value: Any) -> None:
        """Add *value* at the end."""
        self.put.append(value)
        self.size += 1

    def extend(self, values: Iterable[Any]) -> None:
        """Add all *values* at the end."""
        before = len(self.put)
        self.put.extend(list(self) if values is self else values)
        self.size += len(self.put) - before

    def __radd__(self, other: Any) -> Any:
        return other + self.plain()

    def __iadd__(self, values: Iterable[Any]) -> Any:
        self.extend(values)
        return self

    def insert(self, index: int, value: Any) -> None:
        """Put *value* before *index*."""
        if index >= self.size:
            self.append(value)
        else:
            self._whole().insert(index, value)

    def pop(self, index: int = -1) -> Any:
        """Remove and return the item at *index*."""
        if index == -1 and self.put:
            self.size -= 1
            return self.put.pop()
        return self._whole().pop(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._whole()[index] = value

    def __delitem__(self, index: Any) -> None:
        del self._whole()[index]

    def __imul__(self, count: int) -> Any:
        whole = self._whole()
        whole *= count
        return whole

    def remove(self, value: Any) -> None:
        """Remove the first item that equals *value*."""
        self._whole().remove(value)

    def reverse(self) -> None:
        """Turn the order round."""
        self._whole().reverse()

    def sort(self, *, key: Any = None, reverse: bool = False) -> None:
        """Sort in place."""
        self._whole().sort(key=key, reverse=reverse)

    def clear(self) -> None:
        """Remove all items."""
        self._whole().clear()

    def become(self, now: Any) -> bool:
        size = len(self.base)
        self.put = now[size:]
        self.size = len(now)
        return self.size >= size and Aliases().same(built_in(self.base), now[:size])

    def _touches_the_same(self, items: Any) -> bool:
        size = len(self.base)
        start = built_in(items)[:size]
        return len(start) == size and Aliases().same(built_in(self.base), start)

    def _came(self) -> int:
        return len(self.put)

    def plain(self) -> list[Any]:
        base = built_in(self.base)
        if not SHAREABLE.issuperset(map(type, base)):
            return list(self)
        return [*base, *self.put]
