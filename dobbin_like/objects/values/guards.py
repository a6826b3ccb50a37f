"""Lists, dicts, sets and bytearrays in shared state: they read, and refuse to be changed.

Subclasses of the built-in types, so that all that takes those takes them
too. C code that takes a list for its own, as ``heapq`` does, writes past the
methods, and a ``memoryview`` of a bytearray is writable: nothing in Python
can stop these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dobbin_like.exc import SharedValueError
from dobbin_like.ids import NO_TID
from dobbin_like.objects.values.value_kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from dobbin_like.ids import Tid
    from dobbin_like.objects.values.refs import ObjectRef


def _refusal(method: str) -> Callable[..., Any]:
    def refuse(self: Any, *_args: object, **_kwargs: object) -> Any:
        raise SharedValueError(self._p_kind, describe(self._p_owner))

    refuse.__name__ = method
    return refuse


def describe(ref: ObjectRef | None) -> str:
    """Name the object of *entry* without running code of its class."""
    if ref is None:
        return "an object"
    obj = ref()
    name = "an object" if obj is None else type(obj).__name__
    return f"{name} oid {ref.oid}"


def _guard(cls: type, base: type, names: str) -> None:
    for name in [*names.split(), "__init__"]:
        setattr(cls, name, _refusal(name))
    KINDS[cls] = KINDS[base]


class SharedList(list[Any]):
    """A list in shared state: reads like a list, refuses to be changed.

    ``_p_together``: more than one place of the state leads to it, so that its
    copies have to be made together. ``_p_serial`` and ``_p_spare``, of the items of a
    collection: of which version they are, and how many bytes of deltas may follow before the
    whole is stored again. ``_p_appended_since``, of a list: the earliest version that has
    become this one by appending alone.
    """

    __slots__ = ("_p_appended_since", "_p_owner", "_p_serial", "_p_spare", "_p_together")
    _p_kind = "list"
    _p_owner: ObjectRef
    _p_together: bool
    _p_serial: Tid
    _p_spare: int

    def __new__(cls, *args: Any, **kwargs: Any) -> list[Any]:  # type: ignore[misc]
        """Return an ordinary one: ``type(value)(...)`` is how much code makes another."""
        return list(*args, **kwargs)

    def __copy__(self) -> list[Any]:
        return list(self)

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return list, (), None, iter(self)


class SharedDict(dict[Any, Any]):
    """A dict in shared state: reads like a dict, refuses to be changed."""

    __slots__ = ("_p_owner", "_p_serial", "_p_spare", "_p_together")
    _p_kind = "dict"

    def __new__(cls, *args: Any, **kwargs: Any) -> dict[Any, Any]:  # type: ignore[misc]
        """Return an ordinary one: ``type(value)(...)`` is how much code makes another."""
        return dict(*args, **kwargs)

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return dict, (), None, None, iter(self.items())


class SharedSet(set[Any]):
    """A set in shared state: reads like a set, refuses to be changed."""

    __slots__ = ("_p_owner", "_p_serial", "_p_spare", "_p_together")
    _p_kind = "set"

    def __new__(cls, *args: Any, **kwargs: Any) -> set[Any]:  # type: ignore[misc]
        """Return an ordinary one: ``type(value)(...)`` is how much code makes another."""
        return set(*args, **kwargs)

    def __copy__(self) -> set[Any]:
        return set(self)

    copy = __copy__

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return set, (list(self),)

    def __repr__(self) -> str:
        return repr(set(self))


class SharedBytearray(bytearray):
    """A bytearray in shared state: reads like a bytearray, refuses to be changed."""

    __slots__ = ("_p_owner", "_p_serial", "_p_spare", "_p_together")
    _p_kind = "bytearray"

    def __new__(cls, *args: Any, **kwargs: Any) -> bytearray:  # type: ignore[misc]
        """Return an ordinary one: ``type(value)(...)`` is how much code makes another."""
        return bytearray(*args, **kwargs)

    def __copy__(self) -> bytearray:
        return bytearray(self)

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return bytearray, (bytes(self),)

    def __repr__(self) -> str:
        return repr(bytearray(self))


_guard(
    SharedList,
    list,
    "append clear extend insert pop remove reverse sort __delitem__ __iadd__ __imul__ __setitem__",
)
_guard(SharedDict, dict, "clear pop popitem setdefault update __delitem__ __ior__ __setitem__")
_guard(
    SharedSet,
    set,
    "add clear difference_update discard intersection_update pop remove "
    "symmetric_difference_update update __iand__ __ior__ __isub__ __ixor__",
)
_guard(
    SharedBytearray,
    bytearray,
    "append clear extend insert pop remove resize reverse "
    "__delitem__ __iadd__ __imul__ __setitem__",
)

SHARED_TYPES: Final[set[type]] = {SharedList, SharedDict, SharedSet, SharedBytearray}
"""The types of guarded values; those of large collections come to them."""


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
    # The operators of set answer with the type of their operand, and copies
    # of a shared value are ordinary.
    operation = getattr(set, name)

    def operate(self: Any, *others: Any) -> Any:
        return operation(set(self), *others)

    operate.__name__ = name
    return operate


for _name in "difference intersection symmetric_difference union".split():
    setattr(SharedSet, _name, _ordinary(_name))
for _name in "and or sub xor rand ror rsub rxor".split():
    setattr(SharedSet, f"__{_name}__", _ordinary(f"__{_name}__"))
