"""Lists, dicts and the like in shared state: they can be read, and refuse changes.

C code that writes into a list past its methods, as ``heapq`` does, and a ``memoryview`` of a
bytearray can't be stopped in Python.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from dobbin_like.exc import SharedValueError
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.objects.values.here import here
from dobbin_like.objects.values.refs import Identity, ObjectRef, native_dict, ref_of
from dobbin_like.objects.values.value_kinds import (
    FRAMED,
    add_guarded,
    base_of,
    fill,
    frame,
)
from dobbin_like.processes.threaded_dict import GET_WAITS, get_unchanged

_Class = TypeVar("_Class", bound=type)


def _refusal(method: str) -> Callable[..., Any]:
    def refuse(self: Any, *_args: object, **_kwargs: object) -> Any:
        raise refusal_of(self._p_kind, self._p_owner)

    refuse.__name__ = method
    return refuse


def _refuse_item(self: Any, key: Any, value: Any) -> None:
    if not holds(self, key, value):
        raise refusal_of(self._p_kind, self._p_owner)


_refuse_item.__name__ = "__setitem__"


def holds(items: Any, key: Any, value: Any) -> bool:
    """Return whether *value* is a persistent object, and what *items* have at *key*.

    ``items[key] += more`` sets what it has read: such an object has changed itself, the items stay
    as they are, and need no checkout.
    """
    get = getattr(items, "get", items.__getitem__)  # The first adds nothing and makes nothing.
    return finds(get, key, value)


def finds(get: Callable[[Any], Any], key: Any, value: Any) -> bool:
    """Return whether *value* is a persistent object, and what *get* finds at *key*."""
    if not issubclass(type(value), Identity):
        return False
    try:
        now = get(key)
    except (LookupError, TypeError):
        return False
    return now is value


def refusal_of(kind: str, ref: ObjectRef | None) -> SharedValueError:
    """Return the error for changing a *kind* that belongs to an object in shared state."""
    owner = owner_of(ref)
    return SharedValueError(kind, describe(owner), is_elsewhere(ref), owner is not ref)


def owner_of(ref: ObjectRef | None) -> ObjectRef | None:
    """Return whose a value is to a user: that of a tree for one in a node, whom nobody knows."""
    obj = None if ref is None else ref()
    if getattr(type(obj), "_p_keys", None) is None:
        return ref
    tree = native_dict(obj).get("tree")
    return ref if tree is None else ref_of(tree) or ref


def describe(ref: ObjectRef | None) -> str:
    """Name the object of a reference without running code of its class."""
    if ref is None:
        return "an object"
    obj = ref()
    if obj is None:
        return f"an object that has left memory, db.get({ref.oid})"
    return f"{type(obj).__name__} oid {ref.oid}"


def is_elsewhere(ref: ObjectRef | None) -> bool:
    """Return whether others of this process have the object checked out, and the caller not."""
    if ref is None or ref.mask is None or not ref.mask.holders:
        return False
    state = here.memo.get(id(ref()))
    return state is None or type(state) is dict  # A working copy is of a class of its own.


def _ordinary_copy(self: Any) -> Any:
    made = base_of(type(self))()
    frame(made, self)
    fill(made, self.items() if isinstance(self, dict) else self)
    return made


def _guarding(base: type, names: str) -> Callable[[_Class], _Class]:
    """Return a class decorator that makes a guarded *base*, which refuses the methods *names*."""

    def complete(cls: Any) -> Any:
        for name in [*names.split(), "__init__"]:
            setattr(cls, name, _refuse_item if name == "__setitem__" else _refusal(name))
        # Much code makes another one by type(value)(...): that one is ordinary, as a copy is.
        cls.__new__ = lambda _cls, *args, **kwargs: base(*args, **kwargs)
        cls.__copy__ = _ordinary_copy
        if base not in (list, dict):  # Theirs do not tell the class.
            cls.__repr__ = cls.__str__ = lambda self: repr(_ordinary_copy(self))
        if GET_WAITS and issubclass(base, dict):
            cls.get = get_unchanged
        cls._p_kind = base.__name__
        add_guarded(cls, base)
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
    list: the earliest version from which this one was made by appending alone. ``_p_references``,
    of a list of objects that was stored: their oids and the number of their class.
    """

    __slots__ = (
        "_p_appended_since",
        "_p_owner",
        "_p_references",
        "_p_serial",
        "_p_spare",
        "_p_together",
    )
    _p_owner: ObjectRef
    _p_references: tuple[tuple[Oid, ...], int]
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


@_guarding(
    deque,
    "append appendleft clear extend extendleft insert pop popleft remove reverse rotate "
    "__delitem__ __iadd__ __imul__ __setitem__",
)
class SharedDeque(deque[Any]):
    """A deque in shared state."""

    __slots__ = ("_p_owner", "_p_serial", "_p_spare", "_p_together")

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return deque, ((), self.maxlen), None, iter(self)


_CHANGE_A_DICT: Final = "clear pop popitem setdefault update __delitem__ __ior__ __setitem__ "


@_guarding(OrderedDict, _CHANGE_A_DICT + "move_to_end")
class SharedOrderedDict(OrderedDict[Any, Any]):
    """An ordered dict in shared state."""

    __slots__ = ("_p_owner", "_p_serial", "_p_spare", "_p_together")

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return OrderedDict, (), vars(self) or None, None, iter(self.items())


@_guarding(Counter, _CHANGE_A_DICT + "subtract _keep_positive __iadd__ __iand__ __isub__ __ixor__")
class SharedCounter(Counter[Any]):
    """A counter in shared state."""

    __slots__ = ("_p_owner", "_p_serial", "_p_spare", "_p_together")

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return Counter, (dict(self),)


@_guarding(defaultdict, _CHANGE_A_DICT)
class SharedDefaultdict(defaultdict[Any, Any]):
    """A defaultdict in shared state. What is missing is made, guarded, and not added."""

    __slots__ = ("_p_owner", "_p_serial", "_p_spare", "_p_together")
    _p_owner: ObjectRef

    default_factory: Any = property(
        vars(defaultdict)["default_factory"].__get__,
        _refusal("default_factory"),
        _refusal("default_factory"),
    )

    def __missing__(self, key: Any) -> Any:
        factory = self.default_factory
        if factory is None:
            raise KeyError(key)
        made = factory()
        if type(made) not in _SHARED:
            return made
        shared = make_shared(type(made), self._p_owner, made)
        fill(shared, made.items() if isinstance(made, dict) else made)
        return shared

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return defaultdict, (self.default_factory,), None, None, iter(self.items())


_SHARED: Final[dict[type, type]] = {
    list: SharedList,
    dict: SharedDict,
    set: SharedSet,
    bytearray: SharedBytearray,
    deque: SharedDeque,
    OrderedDict: SharedOrderedDict,
    Counter: SharedCounter,
    defaultdict: SharedDefaultdict,
}

SHARED_TYPES: Final[set[type]] = {*_SHARED.values()}
"""The types of guarded values; :mod:`~dobbin_like.objects.deltas.layered` adds its own."""


def make_shared(base: Any, owner: ObjectRef, like: Any = None) -> Any:
    """Return an empty guarded container of type *base*, for *owner*, framed as *like*."""
    made = base.__new__(_SHARED[base])
    if base in FRAMED:
        frame(made, like)
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
