"""What the persistent containers have in common: the items, who may change them, how they show.

Not subclasses of ``dict``, ``list`` and ``set``: too much of CPython reads
those past overridden methods, and publishing in place would break iterators
that are running. The items are one attribute, with the interface of a built-in
container; it is replaced as a whole, so a running iterator goes on over what it
began with.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import GenericAlias
from typing import Any, ClassVar, TypeVar

from dobbin_like.exc import SharedValueError
from dobbin_like.objects.faces.base import Persistent, is_new
from dobbin_like.objects.faces.working_copy import PENDING, WorkingCopy
from dobbin_like.objects.values.guards import describe
from dobbin_like.objects.values.refs import here, ref_of, set_native_dict, swap_class

C = TypeVar("C", bound="Container")


class Container(Persistent):
    """What has its items in one attribute."""

    _p_builtin: ClassVar[type[Any]]
    """The built-in type of the items."""

    _items: Any
    _p_deltas = True
    _p_overlay: ClassVar[Any] = None
    """The class of what stands for large items in a working copy, if it is one of its own."""
    _p_merge: bool = True
    """Whether transactions that change different items do not conflict."""

    __class_getitem__: Any = classmethod(GenericAlias)
    __hash__ = None  # type: ignore[assignment]

    def __new__(cls, /, *_args: Any, **_kwargs: Any) -> Any:
        # There are items before any constructor runs, and without one, as in a built-in
        # container. Past the face: copies are made of the plain class.
        self = super().__new__(cls)
        set_native_dict(self, {"_items": cls._p_builtin()})
        return self

    def _writable(self) -> Any:
        """Return the items to change, if the calling thread may change them."""
        working = here.memo.get(id(self))
        if type(working) is WorkingCopy:
            items = working.get("_items", PENDING)
            if items is not PENDING:
                return items
        else:
            ref = ref_of(self)
            if type(self) is not type(self)._p_faces.open or not is_new(ref):
                name = type(self).__name__
                who = f"a new {name}" if ref is None else describe(ref)
                raise SharedValueError(name, who)
        return self._items

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: object, /) -> bool:
        return item in self._items

    def __repr__(self) -> str:
        return shown(self, lambda: f"{type(self).__name__}({plain(self)!r})", "(...)")

    def __getstate__(self) -> Any:
        """Return the state for a copy or a pickle.

        What this thread may change is copied as the built-in types do: one level
        deep. In shared state the values are guarded, and become ordinary ones.
        """
        if type(here.memo.get(id(self))) is not WorkingCopy and not is_new(ref_of(self)):
            return super().__getstate__()
        state = type(self)._p_faces.state_of(self.__dict__)
        state["_items"] = self._p_builtin(plain(self))
        return state

    def clear(self) -> None:
        """Remove all items."""
        self._writable().clear()

    def copy(self: C) -> C:
        """Return a new container of this class with the same items and attributes.

        It is not stored yet, and read-only as every new object. Its items are those of this one.
        Of an object in shared state, the lists, dicts and sets among them are copied too,
        for those that are shared can't be changed.
        """
        return copy.copy(self)


def plain(other: Any) -> Any:
    """Return the items of a container as a built-in one, and anything else as it is.

    They may be those of the container itself: not to be changed.
    """
    if isinstance(other, Container):
        items = other._items  # noqa: SLF001
        return items if isinstance(items, (dict, list, set)) else items.plain()
    return other


@contextmanager
def filling(made: Any) -> Iterator[None]:
    """Let the new object *made* be changed in a block, as in its constructor."""
    face = type(made)
    # A constructor may return anything, also what is stored.
    if not isinstance(made, Container) or not is_new(ref_of(made)):
        yield
        return
    swap_class(made, face._p_faces.open or face._p_faces.make_open())
    try:
        yield
    finally:
        swap_class(made, face)


def shown(subject: Any, make: Callable[[], str], around: str) -> str:
    """Return what *make* makes of *subject*; where it is inside itself, its class and *around*."""
    # A container may hold itself, also by way of others.
    running = _running.ids
    if id(subject) in running:
        return f"{type(subject).__name__}{around}"
    outermost = not running
    running.add(id(subject))
    try:
        return make()
    finally:
        # Where the stack is at its end, there is no room for a call: some may be left over,
        # and their ids are used again.
        if outermost:
            running.clear()
        else:
            running.discard(id(subject))


class _Running(threading.local):
    """Of which this thread is making the representation."""

    def __init__(self) -> None:
        self.ids: set[int] = set()


_running = _Running()
