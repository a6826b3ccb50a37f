"""``PersistentSet``: a set that is a persistent object."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, MutableSet
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, TypeVar

from dobbin_like.collections.common import (
    Container,
    comparison,
    plain,
    touching,
    touching_all,
    writable,
)
from dobbin_like.in_place import in_place
from dobbin_like.objects.faces.classes.metaclass import PersistentABCMeta
from dobbin_like.objects.faces.elsewhere import IN_SETS, telling

T = TypeVar("T")
S = TypeVar("S")

if TYPE_CHECKING:
    # It is one by registration; an abstract base class would make isinstance() slow.
    class _MutableSet(Container, MutableSet[T], metaclass=PersistentABCMeta): ...

else:
    _MutableSet = Container


def _is_set(other: object) -> bool:
    return isinstance(other, (PersistentSet, AbstractSet))


def _in_place(update: str) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any, /) -> Any:
        writable(self)
        if not _is_set(other):
            return NotImplemented
        getattr(self, update)(other)
        return self

    return method


@telling(IN_SETS)
class PersistentSet(_MutableSet[T]):
    """A set that is a persistent object. All of ``set``, and attributes beside the items.

    Transactions that add or remove different members do not conflict; see
    ``checkout(exclusive=True)``.
    """

    __module__ = "dobbin_like.persistent"  # The name that logs have for it.
    _p_builtin = set
    if TYPE_CHECKING:  # Else type hints would be looked for in the module of that name.
        _items: set[T]

    def __init__(self, items: Iterable[T] = (), /) -> None:
        own = writable(self)
        if own:  # called again
            own.clear()
        own.update(plain(items))

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __contains__(self, item: object, /) -> bool:
        try:
            return item in self._items
        except TypeError:
            return _hashable(item) in self._items

    def __repr__(self) -> str:
        return f"{type(self).__name__}()" if self._items == set() else super().__repr__()

    def __eq__(self, other: object, /) -> bool:
        return bool(plain(self) == plain(other)) if _is_set(other) else NotImplemented

    if not TYPE_CHECKING:  # The types are those of MutableSet.
        __lt__ = comparison(operator.lt, _is_set)
        __le__ = comparison(operator.le, _is_set)
        __gt__ = comparison(operator.gt, _is_set)
        __ge__ = comparison(operator.ge, _is_set)

    def isdisjoint(self, other: Iterable[Any], /) -> bool:
        return bool(plain(self).isdisjoint(plain(other)))

    def issubset(self, other: Iterable[Any], /) -> bool:
        return bool(plain(self).issubset(plain(other)))

    def issuperset(self, other: Iterable[Any], /) -> bool:
        return bool(plain(self).issuperset(plain(other)))

    def __and__(self, other: AbstractSet[Any], /) -> PersistentSet[T]:
        return PersistentSet(plain(self) & plain(other)) if _is_set(other) else NotImplemented

    @in_place(set.intersection_update)
    def __rand__(self, other: AbstractSet[S], /) -> PersistentSet[S]:  # type: ignore[misc]
        return PersistentSet(plain(other) & plain(self)) if _is_set(other) else NotImplemented

    def __or__(self, other: AbstractSet[S], /) -> PersistentSet[T | S]:
        return PersistentSet(plain(self) | plain(other)) if _is_set(other) else NotImplemented

    @in_place(set.update)
    def __ror__(self, other: AbstractSet[S], /) -> PersistentSet[T | S]:  # type: ignore[misc]
        return PersistentSet(plain(other) | plain(self)) if _is_set(other) else NotImplemented

    def __sub__(self, other: AbstractSet[Any], /) -> PersistentSet[T]:
        return PersistentSet(plain(self) - plain(other)) if _is_set(other) else NotImplemented

    @in_place(set.difference_update)
    def __rsub__(self, other: AbstractSet[S], /) -> PersistentSet[S]:  # type: ignore[misc]
        return PersistentSet(plain(other) - plain(self)) if _is_set(other) else NotImplemented

    def __xor__(self, other: AbstractSet[S], /) -> PersistentSet[T | S]:
        return PersistentSet(plain(self) ^ plain(other)) if _is_set(other) else NotImplemented

    @in_place(set.symmetric_difference_update)
    def __rxor__(self, other: AbstractSet[S], /) -> PersistentSet[T | S]:  # type: ignore[misc]
        return PersistentSet(plain(other) ^ plain(self)) if _is_set(other) else NotImplemented

    def difference(self, *others: Iterable[Any]) -> PersistentSet[T]:
        return PersistentSet(plain(self).difference(*map(plain, others)))

    def intersection(self, *others: Iterable[Any]) -> PersistentSet[T]:
        return PersistentSet(plain(self).intersection(*map(plain, others)))

    def symmetric_difference(self, other: Iterable[S], /) -> PersistentSet[T | S]:
        return PersistentSet(plain(self).symmetric_difference(plain(other)))

    def union(self, *others: Iterable[S]) -> PersistentSet[T | S]:
        return PersistentSet(plain(self).union(*map(plain, others)))

    if not TYPE_CHECKING:
        __iand__ = _in_place("intersection_update")
        __ior__ = _in_place("update")
        __isub__ = _in_place("difference_update")
        __ixor__ = _in_place("symmetric_difference_update")

    def add(self, item: T, /) -> None:
        touching(self, item).add(item)

    def discard(self, item: T, /) -> None:
        try:
            touching(self, item).discard(item)
        except TypeError:
            key = _hashable(item)
            touching(self, key).discard(key)

    def remove(self, item: T, /) -> None:
        items = writable(self)
        try:
            items.remove(item)
        except TypeError:
            key = _hashable(item)
            if key not in items:
                raise KeyError(item) from None
            items.remove(key)

    def pop(self) -> T:
        item: T = writable(self).pop()
        return item

    def difference_update(self, *others: Iterable[Any]) -> None:
        writable(self)
        members = set[Any]().union(*map(plain, others))
        touching_all(self, members).difference_update(members)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        writable(self).intersection_update(*map(plain, others))

    def symmetric_difference_update(self, other: Iterable[T], /) -> None:
        writable(self)
        members = set(plain(other))
        touching_all(self, members).symmetric_difference_update(members)

    def update(self, *others: Iterable[T]) -> None:
        writable(self)
        members = set[Any]().union(*map(plain, others))
        touching_all(self, members).update(members)


def _hashable(item: object) -> object:
    """Return what a set looks for when it is asked for a set; the caller handles ``TypeError``."""
    if isinstance(item, (PersistentSet, set)):
        return frozenset(plain(item))
    raise  # noqa: PLE0704  of the caller


MutableSet.register(PersistentSet)
