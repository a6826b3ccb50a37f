"""``PersistentDict``: a dict that is a persistent object, and the views of its items.

A view of the built-in dict below would go on showing the state in which it was made, after a
checkout or a new snapshot. These views ask the persistent dict for its items each time, and
then call the view of the built-in dict.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar, overload

from dobbin_like.collections.common import (
    Container,
    filling,
    plain,
    shown,
    touching,
    touching_all,
    writable,
)
from dobbin_like.exc import SharedValueError
from dobbin_like.objects.faces.classes.metaclass import PersistentABCMeta
from dobbin_like.objects.values.guards import holds
from dobbin_like.objects.values.value_kinds import FROZEN_DICT

K = TypeVar("K")
V = TypeVar("V")
K2 = TypeVar("K2")
V2 = TypeVar("V2")
V_co = TypeVar("V_co", covariant=True)

_MISSING: Final[Any] = object()


class _Keyed(Protocol[K, V_co]):
    """What ``dict()`` takes for a mapping."""

    def keys(self) -> Iterable[K]: ...
    def __getitem__(self, key: K, /) -> V_co: ...


if TYPE_CHECKING:
    # It is one by registration; an abstract base class would make isinstance() slow.
    class _Mapping(Container, MutableMapping[K, V], metaclass=PersistentABCMeta): ...

else:
    _Mapping = Container


class PersistentDict(_Mapping[K, V]):
    """A dict that is a persistent object. All of ``dict``, and attributes beside the items.

    Transactions that change different keys do not conflict; see ``checkout(exclusive=True)``.
    """

    __module__ = "dobbin_like.persistent"  # The name that logs have for it.
    _p_builtin = dict
    if TYPE_CHECKING:  # Else type hints would be looked for in the module of that name.
        _items: dict[K, V]

    @overload
    def __init__(self, /) -> None: ...
    @overload
    def __init__(self: PersistentDict[str, V], /, **items: V) -> None: ...
    @overload
    def __init__(self, items: _Keyed[K, V], /) -> None: ...
    @overload
    def __init__(self: PersistentDict[str, V], items: _Keyed[str, V], /, **more: V) -> None: ...
    @overload
    def __init__(self, items: Iterable[tuple[K, V]], /) -> None: ...
    @overload
    def __init__(
        self: PersistentDict[str, V], items: Iterable[tuple[str, V]], /, **more: V
    ) -> None: ...
    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        if args or kwargs:
            writable(self).update(*map(plain, args), **kwargs)

    @overload
    @classmethod
    def fromkeys(cls, keys: Iterable[K2], value: None = None, /) -> PersistentDict[K2, Any]: ...
    @overload
    @classmethod
    def fromkeys(cls, keys: Iterable[K2], value: V2, /) -> PersistentDict[K2, V2]: ...
    @classmethod
    def fromkeys(cls, keys: Iterable[Any], value: Any = None, /) -> Any:
        made: Any = cls()
        with filling(made):
            for key in keys:
                made[key] = value
        return made

    def __getitem__(self, key: K, /) -> V:
        try:
            return self._items[key]
        except KeyError:
            missing = getattr(type(self), "__missing__", None)
            if missing is None:
                raise
        found: V = missing(self, key)
        return found

    def __setitem__(self, key: K, value: V, /) -> None:
        try:
            items = touching(self, key)
        except SharedValueError:
            if not holds(self._items, key, value):
                raise
        else:
            items[key] = value

    def __delitem__(self, key: K, /) -> None:
        del writable(self)[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __reversed__(self) -> Iterator[K]:
        return reversed(self._items)

    def __eq__(self, other: object, /) -> bool:
        if isinstance(other, (PersistentDict, dict)):
            return bool(plain(self) == plain(other))
        if isinstance(other, Mapping):
            return bool(plain(self) == dict(other.items()))
        return NotImplemented

    def __or__(
        self, other: PersistentDict[K2, V2] | dict[K2, V2], /
    ) -> PersistentDict[K | K2, V | V2]:
        if type(other) is not FROZEN_DICT and not isinstance(other, (PersistentDict, dict)):
            return NotImplemented
        return PersistentDict(plain(self) | plain(other))

    def __ror__(self, other: dict[K2, V2], /) -> PersistentDict[K | K2, V | V2]:
        if type(other) is FROZEN_DICT:
            return other | plain(self)  # type: ignore[no-any-return]  # As one beside a dict does.
        if not isinstance(other, dict):
            return NotImplemented
        return PersistentDict(other | plain(self))

    def __ior__(self, other: _Keyed[K, V] | Iterable[tuple[K, V]], /) -> Self:  # type: ignore[misc]
        self.update(other)
        return self

    def keys(self) -> KeysView[K]:
        len(self._items)  # dict() would hide the TypeError of what has other attributes.
        return DictKeys(self)

    def values(self) -> ValuesView[V]:
        return DictValues(self)

    def items(self) -> ItemsView[K, V]:
        return DictItems(self)

    def popitem(self) -> tuple[K, V]:
        pair: tuple[K, V] = writable(self).popitem()
        return pair

    if not TYPE_CHECKING:  # The types are those of MutableMapping.

        def get(self, key: Any, default: Any = None, /) -> Any:
            return self._items.get(key, default)

        def pop(self, key: Any, default: Any = _MISSING, /) -> Any:
            if default is _MISSING:
                return writable(self).pop(key)
            return touching(self, key).pop(key, default)

        def setdefault(self, key: Any, default: Any = None, /) -> Any:
            return touching(self, key).setdefault(key, default)

        def update(self, /, *args: Any, **kwargs: Any) -> None:
            writable(self)
            items: dict[Any, Any] = {}
            try:
                items.update(*map(plain, args), **kwargs)
            finally:  # What comes before an error is set, as in a dict.
                touching_all(self, items).update(items)


MutableMapping.register(PersistentDict)


class _View:
    __slots__ = ()

    _mapping: Mapping[Any, Any]
    _name: str

    def _now(self) -> Any:
        mapping: Any = self._mapping
        return getattr(mapping._items, self._name)()  # noqa: SLF001

    @property
    def mapping(self) -> MappingProxyType[Any, Any]:
        return MappingProxyType(self._mapping)

    def __len__(self) -> int:
        return len(self._mapping)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._now())

    def __reversed__(self) -> Iterator[Any]:
        backward: Iterator[Any] = reversed(self._now())
        return backward

    def __contains__(self, item: object, /) -> bool:
        return item in self._now()

    def __repr__(self) -> str:
        return shown(self, lambda: repr(_plain_view(self)), "(...)")


class DictKeys(_View, KeysView[K]):
    """The keys of a persistent dict."""

    __slots__ = ()
    _name = "keys"


class DictItems(_View, ItemsView[K, V]):
    """The pairs ``(key, value)`` of a persistent dict."""

    __slots__ = ()
    _name = "items"


class DictValues(_View, ValuesView[V]):
    """The values of a persistent dict."""

    __slots__ = ()
    _name = "values"


def _plain_view(other: Any) -> Any:
    if isinstance(other, _View):
        return getattr(plain(other._mapping), other._name)()  # noqa: SLF001
    return plain(other)


def _operator(name: str) -> Callable[[Any, Any], Any]:
    def operate(self: Any, other: Any) -> Any:
        return getattr(_plain_view(self), name)(_plain_view(other))

    operate.__name__ = name
    return operate


for _name in "and rand or ror sub rsub xor rxor eq ne lt le gt ge".split():
    for _cls in (DictKeys, DictItems):
        setattr(_cls, f"__{_name}__", _operator(f"__{_name}__"))
for _cls in (DictKeys, DictItems):
    _cls.isdisjoint = _operator("isdisjoint")  # type: ignore[method-assign]
