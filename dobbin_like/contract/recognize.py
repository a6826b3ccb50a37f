"""Whether an object keeps one of the protocols, as far as its names tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeGuard

from dobbin_like.contract.packed import PackedStorage
from dobbin_like.contract.storage import Storage


def _names_of(protocol: type) -> frozenset[str]:
    names = (*vars(protocol), *protocol.__annotations__)
    return frozenset(name for name in names if not name.startswith("_"))


_OF_STORAGE: Final = _names_of(Storage)
_OF_PACKED: Final = _OF_STORAGE | _names_of(PackedStorage)


def is_storage(given: object) -> TypeGuard[Storage]:
    """Return whether *given* has all that a storage has; nothing of it is asked for.

    ``isinstance()`` asks for properties, which may read objects, before Python 3.12; since then,
    it imports inspect, which takes five times as long as opening a log.
    """
    return _has_all(given, _OF_STORAGE)


def is_packed(given: object) -> TypeGuard[PackedStorage]:
    """Return whether *given* has all that a storage has whose data may be packed."""
    return _has_all(given, _OF_PACKED)


def _has_all(given: object, names: Iterable[str]) -> bool:
    own = getattr(given, "__dict__", {})
    return all(name in own or hasattr(type(given), name) for name in names)
