"""``PersistentDict``: a dict that is a persistent object."""

from __future__ import annotations

from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from typing import Any, Final

from dobbin_like.collections.common import Container, plain

_MISSING: Final = object()


class PersistentDict(Container):
    """A dict that is a persistent object. All of ``dict``, and attributes beside the items.

    Raises what ``dict`` raises, and
    :class:`~dobbin_like.exc.SharedValueError` (a ``RuntimeError``) for a
    change without checkout.
    """

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        self._items = dict(*map(plain, args), **kwargs)

    @classmethod
    def fromkeys(cls, keys: Iterable[Any], value: Any = None) -> PersistentDict:
        """Return a new one with *keys*, all with *value*."""
        return cls(dict.fromkeys(keys, value))

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._items[key]
        except KeyError:
            missing = getattr(type(self), "__missing__", None)
            if missing is None:
                raise
        return missing(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._writable()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._writable()[key]

    def __reversed__(self) -> Iterator[Any]:
        return iter(reversed(self._items))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (PersistentDict, Mapping)):
            return bool(self._items == dict(plain(other)))
        return NotImplemented

    def __or__(self, other: Any) -> PersistentDict:
        if not isinstance(other, (PersistentDict, dict)):
            return NotImplemented
        return PersistentDict(self._items | plain(other))

    def __ror__(self, other: Any) -> PersistentDict:
        if not isinstance(other, dict):
            return NotImplemented
        return PersistentDict(other | self._items)

    def __ior__(self, other: Any) -> PersistentDict:
        self.update(other)
        return self

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of *key*, or *default*."""
        return self._items.get(key, default)

    def keys(self) -> KeysView[Any]:
        """Return a view of the keys."""
        return self._items.keys()  # type: ignore[no-any-return]

    def values(self) -> ValuesView[Any]:
        """Return a view of the values."""
        return self._items.values()  # type: ignore[no-any-return]

    def items(self) -> ItemsView[Any, Any]:
        """Return a view of the pairs (key, value)."""
        return self._items.items()  # type: ignore[no-any-return]

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Remove *key* and return its value, or *default*; ``KeyError`` without one."""
        items = self._writable()
        return items.pop(key) if default is _MISSING else items.pop(key, default)

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return the pair that was added last."""
        return self._writable().popitem()  # type: ignore[no-any-return]

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of *key*, set to *default* before if it was not there."""
        return self._writable().setdefault(key, default)

    def update(self, /, *args: Any, **kwargs: Any) -> None:
        """Set items as ``dict.update`` does."""
        self._writable().update(*map(plain, args), **kwargs)


MutableMapping.register(PersistentDict)
# The name under which logs know it, wherever the code lies.
type.__setattr__(PersistentDict, "__module__", "dobbin_like.persistent")
