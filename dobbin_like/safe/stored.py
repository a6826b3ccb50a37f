"""What a safe has in its log, and how values get in and out: by copying, both ways.

The root is one dict. Small values lie in it; large ones, and those that hold persistent
objects, in an object of their own each, which never changes: to change the value is to put
another one in its place.
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
"""Values that need more get an object of their own."""


class SafeDict(PersistentDict[Any, Any]):
    """The root of a safe: its keys, and the values or where they are."""


class LargeValue(Persistent):
    """A value that is an object of its own. Never changed after it was stored.

    ``deep``: it holds persistent objects, which are copied like everything else.
    """

    def __init__(self, value: Any, *, deep: bool) -> None:
        self.value = value
        self.deep = deep


for _cls in (SafeDict, LargeValue):
    # The name under which logs know it, wherever the code lies.
    type.__setattr__(_cls, "__module__", "dobbin_like.safe")


def _reference(place: int) -> Any:
    """Stand in a pickle for what has this place in the list beside it."""
    raise NotImplementedError(place)


class _Pickler(pickle.Pickler):
    """Writes classes, and what is shared as it is, as places in a list; all else by value."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, PROTOCOL)
        self.references: list[Any] = []
        self.met_persistent = False

    def reducer_override(self, obj: Any) -> Any:
        # Not persistent_id(), which would be asked for every number in a list.
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
    """Return what the root is to have for *value*: a copy, or a new object that holds one.

    Raises:
        NotStorableError: It can't be copied, and so not be stored.

    Cost: Pickling and unpickling it, but for plain values.
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
        dumps: Any = pickler  # It is asked to do nothing else.
        state = {"_items": {key: value}}
        named: Any = culprit(dumps, state, error, SafeDict.__name__, ROOT_OID)
        if named is error:
            reason = f"it can't be copied: {error}"
            named = NotStorableError(SafeDict.__name__, ROOT_OID, f"._items[{key!r:.60}]", reason)
        raise named from error


def handed_out(raw: Any) -> Any:
    """Return a copy of the value that *raw*, of the root, stands for."""
    if not isinstance(raw, LargeValue):
        return own_copy(raw)
    if raw.deep:
        return _copied(None, raw.value)[0]
    return own_copy(raw.value)


def held(raw: Any) -> Any:
    """Return the value itself that *raw* stands for: only to be looked at."""
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
    """Tell whether there can be such a key."""
    try:
        normal_key(key)
    except TypeError:
        return False
    return True
