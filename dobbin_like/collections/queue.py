"""``PersistentQueue``: a queue for producers and consumers in many processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from queue import Empty
from typing import Any, Generic, TypeVar

from dobbin_like.collections.common import Container, going_over, plain, shown, writable
from dobbin_like.objects.deltas.overlay_dict import OverlayQueue, first_key, next_number
from dobbin_like.objects.faces.elsewhere import IN_QUEUES, telling
from dobbin_like.objects.values.short import short

T = TypeVar("T")


@telling(IN_QUEUES)
class PersistentQueue(Container, Generic[T]):
    """A queue, first in, first out, for producers and consumers in many processes.

    Transactions that put items never conflict, nor with those that take some. Each item is handed
    to exactly one consumer: if two transactions take the same item, the second fails with a
    conflict error, and takes the next one when it runs again.

    Cost: a change costs what it changes, however long the queue is.
    """

    __module__ = "dobbin_like.persistent"  # The name that logs have for it.

    # Items by number, the oldest first; a new item gets a higher number than all before it.
    _p_builtin = dict
    _p_overlay = OverlayQueue

    def __init__(self, items: Iterable[T] = (), /) -> None:
        for item in items:
            self.put(item)

    @staticmethod
    def _p_told(state: dict[str, Any]) -> tuple[None, list[tuple[str, Any]]]:
        """Return the parts of a state, items by their places, to name one of them in an error."""
        parts = [(f"[{place}]", item) for place, item in enumerate(state["_items"].values())]
        return None, [*parts, *((f".{name}", value) for name, value in state.items())]

    def put(self, item: T) -> None:
        """Add *item* at the end."""
        items = writable(self)
        items[next_number(items, self._p_serial or 0)] = item

    def get(self) -> T:
        """Remove and return the oldest item; raise ``queue.Empty`` if there is none.

        That there is none depends on the whole queue: the transaction is in conflict with one
        that puts an item in meanwhile.
        """
        items = writable(self)
        item: T = items.pop(_oldest(items))
        return item

    def peek(self) -> T:
        """Return the oldest item without removing it; raise ``queue.Empty`` if there is none."""
        items = self._items
        item: T = items[_oldest(items)]
        return item

    def remove(self, item: T) -> None:
        """Remove the oldest item that is equal to *item*; raise ``ValueError`` if there is none.

        If another transaction takes the same item first, this one has a conflict.

        Cost: The items that come before it.
        """
        items = writable(self)
        for number, each in items.items():
            if each is item or each == item:
                del items[number]
                return
        text = f"{short(item)} is not in this {type(self).__name__}"
        raise ValueError(text)

    def __iter__(self) -> Iterator[T]:
        return going_over(self, plain(self).values())

    def __contains__(self, item: object, /) -> bool:
        return item in plain(self).values()

    def __repr__(self) -> str:
        return shown(self, lambda: f"{type(self).__name__}({list(self)!r})", "(...)")


def _oldest(items: Any) -> int:
    number = first_key(items)
    if number is None:
        raise Empty
    return int(number)
