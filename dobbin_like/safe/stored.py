"""The objects of a safe, and how values are copied into them and out of them.

The root is a dict. Small values are in it. Each large value, and each value that contains
persistent objects, is in an object of its own, which never changes: to change the value, it is
replaced by another object.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, Final

from dobbin_like.collections import PersistentDict
from dobbin_like.exc import NotStorableError
from dobbin_like.ids import ROOT_OID
from dobbin_like.objects.codec.serialize import PROTOCOL, culprit
from dobbin_like.objects.values.refs import Identity
from dobbin_like.objects.values.value_kinds import IMMUTABLE, KINDS
from dobbin_like.objects.values.values import own_copy
from dobbin_like.persistent import Persistent

LARGE_BYTES: Final = 1024
"""A larger value gets an object of its own."""


class SafeDict(PersistentDict[Any, Any]):
    """The root of a safe: its keys, and the values or the objects that contain them."""

    __module__ = "dobbin_like.safe"  # The name that logs have for it.


class LargeValue(Persistent):
    """A value that is an object of its own. Never changes after it was stored.

    ``deep``: it contains persistent objects, which are copied like everything else.
    """

    __module__ = "dobbin_like.safe"

    def __init__(self, value: Any, *, deep: bool) -> None:
        self.value = value
        self.deep = deep


def _reference(place: int) -> Any:
    """Stand in a pickle for the object at this place of the list beside it."""
    raise NotImplementedError(place)


class _Pickler(pickle.Pickler):
    """Writes classes and immutable shared objects as places in a list, all else by value."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, PROTOCOL)
        self.references: list[Any] = []
        self.met_persistent = False

    def reducer_override(self, obj: Any) -> Any:
        # Not persistent_id(), which would be called for every number in a list.
        if obj is _reference or not (
            isinstance(obj, type) or getattr(type(obj), "_p_immutable", False)
        ):
            self.met_persistent = self.met_persistent or isinstance(obj, Identity)
            return NotImplemented
        self.references.append(obj)
        return _reference, (len(self.references) - 1,)


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, references: list[Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._references = references

    def find_class(self, module: str, name: str) -> Any:
        if name == _reference.__name__ and module == __name__:
            return self._references.__getitem__
        return super().find_class(module, name)


def stored_form(key: Any, value: Any) -> Any:
    """Return what to store in the root for *value*: a copy, or a new object that contains one.

    Raises:
        NotStorableError: It can't be copied, so it can't be stored.

    Cost: Pickling and unpickling it, except for plain values.
    """
    size = len(value) if type(value) in (str, bytes) else 0
    deep = False
    if KINDS[type(value)] != IMMUTABLE:
        value, size, deep = _copied(key, value)
    return LargeValue(value, deep=deep) if deep or size > LARGE_BYTES else value


def _copied(key: Any, value: Any) -> tuple[Any, int, bool]:
    file = io.BytesIO()
    pickler = _Pickler(file)
    try:
        pickler.dump(value)
        data = file.getvalue()
        return _Unpickler(data, pickler.references).load(), len(data), pickler.met_persistent
    except Exception as error:
        dumps: Any = pickler  # Nothing else is called.
        state = {"_items": {key: value}}
        named: Any = culprit(dumps, state, error, SafeDict.__name__, ROOT_OID)
        if named is error:
            reason = f"it can't be copied: {error}"
            named = NotStorableError(SafeDict.__name__, ROOT_OID, f"._items[{key!r:.60}]", reason)
        raise named from error


def handed_out(raw: Any) -> Any:
    """Return a copy of the value that *raw*, from the root, stands for."""
    if not isinstance(raw, LargeValue):
        return own_copy(raw)
    if raw.deep:
        return _copied(None, raw.value)[0]
    return own_copy(raw.value)


def held(raw: Any) -> Any:
    """Return the value itself that *raw* stands for. It must not be changed."""
    return raw.value if isinstance(raw, LargeValue) else raw


def normal_key(key: Any) -> Any:
    """Return *key* as it is stored.

    Raises:
        TypeError: It can't be a key: only strings, integers, bytes and tuples of these.
    """
    cls = type(key)
    if cls is str or cls is int or cls is bytes:
        return key
    if isinstance(key, str):  # a member of a StrEnum, say
        return str.__str__(key)
    if cls is tuple:
        return tuple(map(normal_key, key))
    text = f"a key of a safe is a str, an int, bytes or a tuple of these, not {cls.__name__}"
    raise TypeError(text)


def is_key(key: Any) -> bool:
    """Return whether *key* is valid; see :func:`normal_key`."""
    try:
        normal_key(key)
    except TypeError:
        return False
    return True
