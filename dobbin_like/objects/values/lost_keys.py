"""Keys and members that equal only themselves: what is loaded of one is another one.

It would be in the dict, and ``del d[key]`` after a checkout would not find it. So the commit
refuses them. Values that are the same object when they are made again, as those that are pickled
by their name, are no such keys, and neither are persistent objects and members of enums.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType
from typing import Any, Final

from dobbin_like.objects.values.declared import declared_parts, declares_parts
from dobbin_like.objects.values.value_kinds import KINDS, OTHER, TUPLE
from dobbin_like.objects.values.values import Freezer, are_shareable, deep_copy

_BY_NAME: Final = (FunctionType, BuiltinFunctionType)


class LostKeyError(TypeError):
    """A key or member would not be found any more."""


def check_keys(keys: Iterable[Any]) -> None:
    """Raise LostKeyError if one of *keys* equals only itself, or a part of it in a tuple.

    Of a class with an ``__eq__``, the first one is looked at.
    """
    met: set[type] = set()
    for key in keys:
        cls = type(key)
        own: Any = cls.__eq__
        kind = KINDS[cls]
        if kind == TUPLE or (kind == OTHER and own is tuple.__eq__):
            check_keys(key)
        elif kind != OTHER or cls in met or not _is_lost(key):
            if own is not _anyone.__eq__:
                met.add(cls)
        else:
            text = (
                f"a key or member of the class {cls.__name__} equals only itself, not what is "
                "loaded of it, which is another one; let the class have an __eq__ and __hash__ of "
                "what is stored, as a frozen dataclass has them, or derive it from Persistent"
            )
            raise LostKeyError(text)


_anyone: Final[Any] = object


def _is_lost(key: Any) -> bool:
    if isinstance(key, _BY_NAME):
        return False
    if type(key).__eq__ is _anyone.__eq__:
        return deep_copy(key) is not key
    if declares_parts(key) and are_shareable([*declared_parts(key)]):
        return False
    try:
        loaded = deep_copy(key)
        return loaded is not key and not (hash(loaded) == hash(key) and bool(loaded == key))
    except Exception:  # noqa: BLE001  of the class, which is raised again where the key is used
        return False


class KeyCheckingFreezer(Freezer):
    """Freezes the values of a state that is just being stored; raises LostKeyError."""

    def _keys(self, values: Iterable[Any]) -> Iterable[Any]:
        values = list(values)
        if are_shareable(values):
            return values
        check_keys(values)
        return [self._part(value) for value in values]
