"""``PersistentList``: a list that is a persistent object."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from typing import TYPE_CHECKING, Any, Protocol, Self, SupportsIndex, TypeVar, overload

from dobbin_like.collections.common import Container, comparison, plain, touching, writable
from dobbin_like.exc import SharedValueError
from dobbin_like.in_place import in_place
from dobbin_like.objects.faces.classes.metaclass import PersistentABCMeta
from dobbin_like.objects.faces.elsewhere import IN_LISTS, telling
from dobbin_like.objects.values.guards import holds

T = TypeVar("T")
S = TypeVar("S")


class _Ordered(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


Less = TypeVar("Less", bound=_Ordered)

if TYPE_CHECKING:
    # It is one by registration; an abstract base class would make isinstance() slow.
    class _Sequence(Container, MutableSequence[T], metaclass=PersistentABCMeta): ...

else:
    _Sequence = Container


def _note(items: PersistentList[Any]) -> None:
    """Note that *items* were changed otherwise than by appending: a merge has to know.

    They may begin as before all the same, as if something had been appended.
    """
    touching(items, None)


def _is_list(other: object) -> bool:
    return isinstance(other, (PersistentList, list))


@telling(IN_LISTS)
class PersistentList(_Sequence[T]):
    """A list that is a persistent object. All of ``list``, and attributes beside the items.

    Transactions that add at the end do not conflict: all of it is there, in the order of the
    commits. Every other change is in conflict with any; see ``checkout(exclusive=True)``. A
    slice is an ordinary list.
    """

    __module__ = "dobbin_like.persistent"  # The name that logs have for it.
    _p_builtin = list
    if TYPE_CHECKING:  # Else type hints would be looked for in the module of that name.
        _items: list[T]

    def __init__(self, items: Iterable[T] = (), /) -> None:
        own = writable(self)
        _note(self)
        if own:  # called again
            own.clear()
        own.extend(plain(items))

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> T: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[T]: ...
    def __getitem__(self, index: Any, /) -> Any:
        return self._items[index]

    @overload
    def __setitem__(self, index: SupportsIndex, value: T, /) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[T], /) -> None: ...
    def __setitem__(self, index: Any, value: Any, /) -> None:
        try:
            items = writable(self)
        except SharedValueError:
            if not holds(self._items, index, value):
                raise
        else:
            items[index] = plain(value) if isinstance(index, slice) else value
            _note(self)

    def __delitem__(self, index: SupportsIndex | slice, /) -> None:
        del writable(self)[index]
        _note(self)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __reversed__(self) -> Iterator[T]:
        return reversed(self._items)

    def __eq__(self, other: object, /) -> bool:
        return bool(plain(self) == plain(other)) if _is_list(other) else NotImplemented

    if TYPE_CHECKING:

        def __lt__(self, other: PersistentList[T] | list[T], /) -> bool: ...
        def __le__(self, other: PersistentList[T] | list[T], /) -> bool: ...
        def __gt__(self, other: PersistentList[T] | list[T], /) -> bool: ...
        def __ge__(self, other: PersistentList[T] | list[T], /) -> bool: ...
    else:
        __lt__ = comparison(operator.lt, _is_list)
        __le__ = comparison(operator.le, _is_list)
        __gt__ = comparison(operator.gt, _is_list)
        __ge__ = comparison(operator.ge, _is_list)

    def __add__(self, other: PersistentList[S] | list[S], /) -> PersistentList[T | S]:
        return PersistentList(plain(self) + plain(other)) if _is_list(other) else NotImplemented

    @in_place(list.extend)
    def __radd__(self, other: list[S], /) -> PersistentList[T | S]:
        return PersistentList(plain(other) + plain(self)) if _is_list(other) else NotImplemented

    def __iadd__(self, other: Iterable[T], /) -> Self:  # type: ignore[misc]
        writable(self).extend(plain(other))
        return self

    def __mul__(self, count: SupportsIndex, /) -> PersistentList[T]:
        if not hasattr(count, "__index__"):
            return NotImplemented
        return PersistentList(plain(self) * count)

    __rmul__ = __mul__

    def __imul__(self, count: SupportsIndex, /) -> Self:
        items = writable(self)
        items *= count
        _note(self)
        return self

    def clear(self) -> None:
        """Remove all items."""
        writable(self).clear()
        _note(self)

    def append(self, item: T, /) -> None:
        writable(self).append(item)

    def extend(self, items: Iterable[T], /) -> None:
        writable(self).extend(plain(items))

    def insert(self, index: SupportsIndex, item: T, /) -> None:
        writable(self).insert(index, item)
        _note(self)

    def pop(self, index: SupportsIndex = -1, /) -> T:
        item: T = writable(self).pop(index)
        _note(self)
        return item

    def remove(self, item: T, /) -> None:
        writable(self).remove(item)
        _note(self)

    def reverse(self) -> None:
        writable(self).reverse()
        _note(self)

    @overload
    def sort(self: PersistentList[Less], *, key: None = None, reverse: bool = False) -> None: ...
    @overload
    def sort(self, *, key: Callable[[T], _Ordered], reverse: bool = False) -> None: ...
    def sort(self, *, key: Any = None, reverse: bool = False) -> None:
        _note(self)  # Before: it may have changed something when it raises.
        writable(self).sort(key=key, reverse=reverse)

    def count(self, item: T, /) -> int:
        return self._items.count(item)

    def index(self, item: T, /, *limits: SupportsIndex) -> int:
        return self._items.index(item, *limits)


MutableSequence.register(PersistentList)
