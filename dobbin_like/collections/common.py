"""What the persistent containers have in common: their items, checks before changes, ``repr()``.

They are not subclasses of ``dict``, ``list`` and ``set``: much of CPython reads those
directly, not through overridden methods, and publishing in place would break running
iterators. The items are one attribute with the interface of a built-in container. It is
replaced as a whole, so that a running iterator goes on over the items that it began with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import GenericAlias
from typing import Any, ClassVar, Self

from dobbin_like.exc import SharedValueError, ValueNotRebuiltError
from dobbin_like.objects.faces.base import Persistent, is_new, is_open, state_to_copy
from dobbin_like.objects.faces.stored_attribute import taken
from dobbin_like.objects.faces.working_copy import PENDING, WorkingCopy
from dobbin_like.objects.values.guards import refusal_of
from dobbin_like.objects.values.here import here
from dobbin_like.objects.values.refs import ref_of, set_native_dict, swap_class


class Container(Persistent):
    """A persistent object that has its items in one attribute.

    A change without checkout raises SharedValueError. All else is as with the built-in type.
    """

    _p_content = frozenset({"_items"})
    _p_builtin: ClassVar[type[Any]]
    """The built-in type of the items."""

    _items: Any  # No default, or each read of it would take longer.
    _p_deltas = True
    _p_overlay: ClassVar[Any] = None
    """The class of overlays over large items; ``None``: that of the built-in."""
    _p_merge: bool = True
    """Whether transactions that change different items do not conflict."""

    __class_getitem__: Any = classmethod(GenericAlias)
    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __new__(cls, /, *_args: Any, **_kwargs: Any) -> Self:
        # As a built-in container, it has items before a constructor runs. The face is passed
        # by: copies are made of the plain class.
        self = super().__new__(cls)
        set_native_dict(self, {"_items": cls._p_builtin()})
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_items":
            raise taken(self, name)
        super().__setattr__(name, value)
        working = here.memo.get(id(self))
        if type(working) is WorkingCopy:
            working.note().names[name] = None

    def __delattr__(self, name: str) -> None:
        if name == "_items":
            raise taken(self, name, "deleter")
        super().__delattr__(name)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: object, /) -> bool:
        return item in self._items

    def __repr__(self) -> str:
        return shown(self, lambda: f"{type(self).__name__}({_to_show(self)!r})", "(...)")

    def _repr_html_(self) -> str:
        from dobbin_like.objects.values.tables import table_of

        return table_of(self)

    def __getstate__(self) -> Any:
        """Return the state for a copy or a pickle.

        If this thread may change the container, the copy is shallow, as of a built-in type.
        """
        if type(here.memo.get(id(self))) is not WorkingCopy and not is_new(ref_of(self)):
            return super().__getstate__()
        state = state_to_copy(self)
        state["_items"] = self._p_builtin(plain(self))
        return state

    def clear(self) -> None:
        writable(self).clear()

    def copy(self) -> Self:
        """Return a new container of this class with the same items and attributes.

        The items are not copied, but for lists, dicts and sets of an object in shared state,
        which could not be changed.
        """
        import copy

        return copy.copy(self)


def writable(container: Container) -> Any:
    """Return the items of a container to change, if the calling thread may change them.

    A function, as looking up a method of what is checked out takes longer than all of this.
    """
    working = here.memo.get(id(container))
    if type(working) is WorkingCopy:
        items = working.get("_items", PENDING)
        if items is not PENDING:
            return items
    else:
        ref = ref_of(container)
        if not is_open(container) or not is_new(ref):
            name = type(container).__name__
            raise SharedValueError(name, "") if is_new(ref) else refusal_of(name, ref)
    return container._items  # noqa: SLF001


def touching(container: Container, key: Any) -> Any:
    """Return the items to change, as :func:`writable`, to set, add or take out *key*.

    If it is as it was afterwards, a merge has to know.
    """
    working = here.memo.get(id(container))
    if type(working) is not WorkingCopy:
        return writable(container)
    (working.touched or working.note()).keys[key] = None
    items = working.get("_items", PENDING)
    return container._items if items is PENDING else items  # noqa: SLF001


def touching_all(container: Container, keys: Iterable[Any]) -> Any:
    """Do what :func:`touching` does, for many keys."""
    items = writable(container)
    working = here.memo.get(id(container))
    if type(working) is WorkingCopy:
        working.note().keys.update(dict.fromkeys(keys))  # Without a hash, if it has them.
    return items


def going_over(collection: Any, items: Iterable[Any]) -> Iterator[Any]:
    """Yield *items*; if they can't go on, say that *collection* was changed meanwhile."""
    try:
        yield from items
    except RuntimeError as error:
        if "during iteration" not in str(error):
            raise
        text = f"{type(collection).__name__} changed during iteration; go over a list of it"
        raise RuntimeError(text) from None


def plain(other: Any) -> Any:
    """Return the items of a container as a built-in one, and anything else as it is.

    The items may be those of the container itself: do not change them.
    """
    if isinstance(other, Container):
        items = other._items  # noqa: SLF001
        return items if isinstance(items, (dict, list, set)) else items.plain()
    return other


def _to_show(container: Container) -> Any:
    """Return the items as a built-in container; if they can't be rebuilt, what stands for them."""
    try:
        return plain(container)
    except ValueNotRebuiltError:
        return container._items  # noqa: SLF001


def comparison(
    compare: Callable[[Any, Any], Any], fits: Callable[[Any], bool]
) -> Callable[[Any, Any], bool]:
    """Return a method of containers that compares one with everything that *fits*."""

    def method(self: Any, other: Any, /) -> bool:
        return bool(compare(plain(self), plain(other))) if fits(other) else NotImplemented

    return method


@contextmanager
def filling(made: Any) -> Iterator[None]:
    """Allow changes of the new object *made* in a block, as in its constructor."""
    face = type(made)
    # A constructor may return anything, even a stored object.
    if not isinstance(made, Container) or not is_new(ref_of(made)):
        yield
        return
    swap_class(made, face._p_faces.open or face._p_faces.make_open())
    try:
        yield
    finally:
        swap_class(made, face)


def shown(subject: Any, make: Callable[[], str], around: str) -> str:
    """Return what *make* returns; if *subject* contains itself, its class and *around*."""
    # A container may contain itself, also through others.
    running = _running.ids
    if id(subject) in running:
        return f"{type(subject).__name__}{around}"
    outermost = not running
    running.add(id(subject))
    try:
        return make()
    finally:
        # After a stack overflow discard() may have failed too: ids must not be left over.
        if outermost:
            running.clear()
        else:
            running.discard(id(subject))


class _Running(threading.local):
    """The ids of the objects whose representation this thread is making."""

    def __init__(self) -> None:
        self.ids: set[int] = set()


_running = _Running()
