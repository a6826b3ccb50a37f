"""The views of a persistent dict: its current keys, values and pairs.

A view of the built-in dict below would go on showing the state in which it was made, after a
checkout or a new snapshot. These views ask the persistent dict for its items each time, and
then call the view of the built-in dict.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from types import MappingProxyType
from typing import Any, TypeVar

from dobbin_like.collections.common import plain, shown

K = TypeVar("K")
V = TypeVar("V")


class _View:
    """What the three have in common."""

    __slots__ = ()

    _mapping: Mapping[Any, Any]
    _name: str

    def _now(self) -> Any:
        """Return the view of the items as they are now."""
        mapping: Any = self._mapping
        return getattr(mapping._items, self._name)()  # noqa: SLF001

    @property
    def mapping(self) -> MappingProxyType[Any, Any]:
        """The dict that this is a view of, for reading."""
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
        return shown(self, lambda: repr(self._now()), "(...)")


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
