"""The persistent classes that are measured, and the plain ones they are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dobbin_like.database import Database
from dobbin_like.persistent import Persistent
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PER_BUCKET = 1000
"""Items of one bucket, and of one transaction where many are stored."""


class Item(Persistent):
    """A small object: five attributes and a way to the next one."""

    def __init__(self, number: int) -> None:
        vars(self).update(item_state(number))

    def double(self) -> int:
        return self.number * 2


class Bucket(Persistent):
    """A thousand items."""

    def __init__(self, items: list[Item]) -> None:
        self.items = items


class Shelf(Persistent):
    """The root: buckets, and an attribute to be changed."""

    def __init__(self) -> None:
        self.name = "shelf"
        self.value = bytes(8)
        self.stamp = 0
        self.buckets: list[Bucket] = []


class Stamp(Persistent):
    """One attribute of eight bytes, which commits change."""

    def __init__(self) -> None:
        self.value = bytes(8)


class PlainItem:
    """What :class:`Item` is without a store."""

    def double(self) -> int:
        return self.number * 2


def item_state(number: int) -> dict[str, Any]:
    """Return five attributes whose values are objects of their own."""
    return {
        "number": number + 1000,
        "name": f"item {number}",
        "weight": number / 7,
        "tag": number.to_bytes(8, "big"),
        "following": None,
    }


def plain_item(state: dict[str, Any]) -> PlainItem:
    """Return a plain object whose attributes are in a dict of its own, as a store's are."""
    item = PlainItem()
    item.__dict__ = state
    return item


def items(shelf: Shelf) -> Iterator[Item]:
    """Yield all items of a shelf, in the order in which they were made."""
    for bucket in shelf.buckets:
        yield from bucket.items


def fill(path: Path, count: int) -> None:
    """Make a log with *count* items, each leading to the one after it."""
    # Transactions of its own: the program's other databases take no part.
    from transaction import TransactionManager

    from dobbin_like.persistent import checkout

    manager = TransactionManager()
    with Database(TransactionLog(path, sync=False), transaction_manager=manager) as database:
        shelf = Shelf()
        database.set_root(shelf)
        manager.commit()
        last: Item | None = None
        for start in range(0, count, PER_BUCKET):
            made = [Item(start + index) for index in range(min(PER_BUCKET, count - start))]
            checkout(shelf, *made)
            for item in made:
                if last is not None:
                    last.following = item
                last = item
            shelf.buckets.append(Bucket(made))
            manager.commit()
            last = None  # A bucket is a chain of its own: what is stored is not touched again.
