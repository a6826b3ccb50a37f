"""What the persistent containers have in common: the items, who may change them, how they show.

Not subclasses of ``dict``, ``list`` and ``set``: too much of CPython reads
those past overridden methods, and publishing in place would break iterators
that are running. The items are one attribute, a built-in container; it is
replaced as a whole, so a running iterator goes on over what it began with.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from types import GenericAlias
from typing import Any, TypeVar

from dobbin_like.exc import SharedValueError
from dobbin_like.persistent.base import Persistent, is_new
from dobbin_like.persistent.entry import entry_of, here
from dobbin_like.persistent.guards import describe
from dobbin_like.persistent.view import WorkingCopy

C = TypeVar("C", bound="Container")


class Container(Persistent):
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


def plain(other: Any) -> Any:
    """Return the items of a container, and anything else as it is."""
    return other._items if isinstance(other, Container) else other  # noqa: SLF001
