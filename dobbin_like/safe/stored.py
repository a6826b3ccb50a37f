"""The objects of a safe, and how values are copied into them and out of them.

The root is a dict. Small values are in it. Each large value, and each value that contains
persistent objects, is in an object of its own, which never changes: to change the value, it is
replaced by another object.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

from dobbin_like.collections import PersistentDict
from dobbin_like.exc import NotStorableError
from dobbin_like.ids import ROOT_OID
from dobbin_like.objects.codec.refused.culprit import culprit
from dobbin_like.objects.values.comparison import same
from dobbin_like.objects.values.refs import Identity
from dobbin_like.objects.values.short import short_key
from dobbin_like.objects.values.value_kinds import IMMUTABLE, KINDS
from dobbin_like.objects.values.values import CopyPickler, CopyUnpickler, own_copy
from dobbin_like.persistent import Persistent
from dobbin_like.processes.threaded_dict import ThreadedDict
from dobbin_like.safe.groups import Group

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


class _DeepPickler(CopyPickler):
    """Writes persistent objects by value, like everything else."""

    met_persistent = False

    def is_reference(self, obj: Any) -> bool:
        if isinstance(obj, Identity):
            self.met_persistent = True
            return False
        return super().is_reference(obj)


def stored_form(key: Any, value: Any) -> Any:
    """Return what to store in the root for *value*: a copy, or a new object that contains one."""
    size = len(value) if type(value) in (str, bytes) else 0
    deep = False
    if KINDS[type(value)] != IMMUTABLE:
        value, size, deep = _copied(key, value)
    return LargeValue(value, deep=deep) if deep or size > LARGE_BYTES else value


def stored_forms(values: Mapping[Any, Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Return *values* by normal keys, and what to store for them."""
    forms = {normal_key(key): value for key, value in values.items()}
    return forms, {key: stored_form(key, value) for key, value in forms.items()}


def _copied(key: Any, value: Any) -> tuple[Any, int, bool]:
    try:
        return _copy(value)
    except Exception as error:
        state = {"_items": {key: value}}
        named: Any = culprit(_copy, state, error, SafeDict.__name__, ROOT_OID)
        if named is error:
            reason = f"it can't be copied: {error}"
            named = NotStorableError(
                SafeDict.__name__, ROOT_OID, f"._items[{short_key(key)}]", reason
            )
        raise named from error


def _copy(value: Any) -> tuple[Any, int, bool]:
    pickler = _DeepPickler()
    data = pickler.dumped(value)
    return CopyUnpickler(data, pickler.references).load(), len(data), pickler.met_persistent


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
    """Return *key* as it is stored; ``TypeError`` if it can't be a key of a safe."""
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


class Writeback:
    """By key, the value that the program has got, and the stored one. Each step is atomic.

    Without *writeback*, nothing is kept.
    """

    def __init__(self, *, writeback: bool) -> None:
        self._is_on = writeback
        self._pairs: dict[Any, tuple[Any, Any]] = ThreadedDict()

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._pairs))

    def value(self, key: Any, default: Any) -> Any:
        return self._pairs.get(key, (default,))[0]

    def hand_out(self, key: Any, value: Any, stored: Any) -> Any:
        """Return *value*, or the one that another thread has got for *key* meanwhile."""
        return self._pairs.setdefault(key, (value, stored))[0] if self._is_on else value

    def replace(self, group: Group, key: Any, pair: tuple[Any, Any] | None) -> None:
        """Keep a new pair for *key*, none if it was removed; a rollback of *group* undoes it."""
        if not self._is_on:
            return
        before = self._pairs.get(key)
        self._put(key, pair)
        group.undone.append(lambda: self._put(key, before))

    @contextlib.contextmanager
    def taken_back(self, block: AbstractContextManager[Group]) -> Iterator[Group]:
        """Run *block*; if it raises, forget the values that the program has changed in it.

        Cost: as of changed().
        """
        before = self.changed() if self._is_on else {}
        try:
            with block as group:
                yield group
        except BaseException:
            for key in self.changed():
                if key not in before:
                    self._put(key, None)
            raise

    def _put(self, key: Any, pair: tuple[Any, Any] | None) -> None:
        if pair is None:
            self._pairs.pop(key, None)
        else:
            self._pairs[key] = pair

    def changed(self) -> dict[Any, Any]:
        """Return the values that differ from the stored ones. Cost: comparing all."""
        return {
            key: value
            for key, (value, stored) in list(self._pairs.items())
            if not same(stored, value)
        }

    def clear(self) -> None:
        self._pairs = ThreadedDict()
