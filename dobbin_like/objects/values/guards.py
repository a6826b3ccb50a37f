"""Lists, dicts, sets and bytearrays in shared state: they can be read, and refuse changes.

C code that writes into a list past its methods, as ``heapq`` does, and a ``memoryview`` of a
bytearray can't be stopped in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from dobbin_like.exc import SharedValueError
from dobbin_like.ids import NO_TID, Tid
from dobbin_like.objects.values.refs import ObjectRef
from dobbin_like.objects.values.value_kinds import BASES, KINDS

_Class = TypeVar("_Class", bound=type)


def _refusal(method: str) -> Callable[..., Any]:
    def refuse(self: Any, *_args: object, **_kwargs: object) -> Any:
        raise SharedValueError(self._p_kind, describe(self._p_owner))

    refuse.__name__ = method
    return refuse


def describe(ref: ObjectRef | None) -> str:
    """Name the object of a reference without running code of its class."""
    if ref is None:
        return "an object"
    obj = ref()
    name = "an object" if obj is None else type(obj).__name__
    return f"{name} oid {ref.oid}"


def _ordinary_copy(self: Any) -> Any:
    return BASES[KINDS[type(self)]](self)


def _guarding(base: type, names: str) -> Callable[[_Class], _Class]:
    """Return a class decorator that makes a guarded *base*, which refuses the methods *names*."""

    def complete(cls: Any) -> Any:
        for name in [*names.split(), "__init__"]:
            setattr(cls, name, _refusal(name))
        # Much code makes another one by type(value)(...): that one is ordinary, as a copy is.
        cls.__new__ = lambda _cls, *args, **kwargs: base(*args, **kwargs)
        cls.__copy__ = _ordinary_copy
        cls._p_kind = base.__name__
        KINDS[cls] = KINDS[base]
        return cls

    return complete


@_guarding(
    list,
    "append clear extend insert pop remove reverse sort __delitem__ __iadd__ __imul__ __setitem__",
)
class SharedList(list[Any]):
    """A list in shared state.

    ``_p_together``: more than one place of the state leads to it, so its copies have to be made
    together. ``_p_serial`` and ``_p_spare``, of the items of a collection: their version, and how
    many bytes of deltas may follow before the whole is stored again. ``_p_appended_since``, of a
    list: the earliest version from which this one was made by appending alone.
    """

    __slots__ = ("_p_appended_since", "_p_owner", "_p_serial", "_p_spare", "_p_together")
    _p_owner: ObjectRef
    _p_together: bool
    _p_serial: Tid
    _p_spare: int

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return list, (), None, iter(self)


@_guarding(dict, "clear pop popitem setdefault update __delitem__ __ior__ __setitem__")
class SharedDict(dict[Any, Any]):
    """A dict in shared state."""

    __slots__ = ("_p_owner", "_p_serial", "_p_spare", "_p_together")

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return dict, (), None, None, iter(self.items())


@_guarding(
    set,
    "add clear difference_update discard intersection_update pop remove "
    "symmetric_difference_update update __iand__ __ior__ __isub__ __ixor__",
)
class SharedSet(set[Any]):
    """A set in shared state."""

    __slots__ = ("_p_owner", "_p_serial", "_p_spare", "_p_together")

    copy = _ordinary_copy

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return set, (list(self),)

    def __repr__(self) -> str:
        return repr(set(self))


@_guarding(
    bytearray,
    "append clear extend insert pop remove resize reverse take_bytes "
    "__delitem__ __iadd__ __imul__ __setitem__",
)
class SharedBytearray(bytearray):
    """A bytearray in shared state."""

    __slots__ = ("_p_owner", "_p_serial", "_p_spare", "_p_together")

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return bytearray, (bytes(self),)

    def __repr__(self) -> str:
        return repr(bytearray(self))


SHARED_TYPES: Final[set[type]] = {SharedList, SharedDict, SharedSet, SharedBytearray}
"""The types of guarded values; :mod:`~dobbin_like.objects.deltas.layered` adds its own."""


def make_shared(base: Any, owner: ObjectRef) -> Any:
    """Return an empty guarded value of the built-in type *base*, for *owner*."""
    made = base.__new__(_SHARED[base])
    made._p_owner = owner
    made._p_together = False
    made._p_serial = NO_TID
    made._p_spare = 0
    return made


def shared_list(items: list[Any], owner: ObjectRef) -> SharedList:
    """Return a guarded copy of a list, for *owner*. The items are taken as they are."""
    made: SharedList = list.__new__(SharedList)
    list.extend(made, items)
    made._p_owner = owner
    made._p_together = False
    made._p_serial = NO_TID
    made._p_spare = 0
    return made


_SHARED: Final[dict[type, type]] = {
    list: SharedList,
    dict: SharedDict,
    set: SharedSet,
    bytearray: SharedBytearray,
}


def _ordinary(name: str) -> Callable[..., Any]:
    # The operators of set return the type of their operand; copies of a shared value are ordinary.
    operation = getattr(set, name)

    def operate(self: Any, *others: Any) -> Any:
        return operation(set(self), *others)

    operate.__name__ = name
    return operate


for _name in "difference intersection symmetric_difference union".split():
    setattr(SharedSet, _name, _ordinary(_name))
for _name in "and or sub xor rand ror rsub rxor".split():
    setattr(SharedSet, f"__{_name}__", _ordinary(f"__{_name}__"))
