"""Large collections in shared state: an earlier value, and what was changed since.

Shared values never change. To publish one new key of a million, a commit makes a new value
that has the old one below it and the difference above. When the difference has grown to
about the square root of what is below, or is read often, the two are flattened into one
built-in. So neither a commit nor an older snapshot costs the size of the collection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, ClassVar, Final

from dobbin_like.exc import SharedValueError
from dobbin_like.ids import NO_TID, Tid
from dobbin_like.objects.deltas.delta import ITEMS
from dobbin_like.objects.values.guards import (
    SHARED_TYPES,
    SharedDict,
    SharedList,
    SharedSet,
    describe,
    make_shared,
)
from dobbin_like.objects.values.refs import ObjectRef, State, native_dict
from dobbin_like.objects.values.value_kinds import DICT, KINDS, LIST, SET

__all__ = [
    "DELTA_TYPES",
    "OPERATORS",
    "LayeredDict",
    "LayeredList",
    "LayeredSet",
    "built_in",
    "changed_items",
    "mark_stored",
]

_MISSING: Final = object()

_SMALL: Final = 64
"""Up to this size a collection is copied instead of layered."""

_READS_TO_FLATTEN: Final = 8
"""A layered collection is flattened after size / 8 reads."""


class Layered:
    """What layered dicts, sets and lists have in common.

    ``removed`` has keys of ``below`` that were removed, or that have left their old place;
    ``flat`` is the same as one built-in, once it was made.
    """

    __slots__ = (
        "_p_appended_since",
        "_p_owner",
        "_p_serial",
        "_p_spare",
        "_reads",
        "added",
        "below",
        "flat",
        "removed",
        "size",
    )
    _p_together: ClassVar[bool] = False
    base: ClassVar[type]
    __hash__ = None  # type: ignore[assignment]
    _p_kind: ClassVar[str]

    def __init__(self, owner: ObjectRef, below: Any, removed: Any, added: Any, size: int) -> None:
        self._p_owner = owner
        self._p_spare = 0
        self._p_serial = self._p_appended_since = NO_TID
        self.below = below
        self.removed = removed
        self.added = added
        self.size = size
        self.flat: Any = None
        self._reads = 0

    def flatten(self) -> Any:
        """Return the same as one guarded built-in, which readers find from now on.

        Cost: the size, the first time.
        """
        flat = self.flat
        if flat is None:
            flat = make_shared(self.base, self._p_owner)
            flat._p_spare = self._p_spare
            flat._p_serial = self._p_serial
            self._fill(flat)
            self.flat = flat
            obj = self._p_owner()
            # A state that has the same in another form is the same state.
            if obj is not None:
                state = native_dict(obj)
                if state.get(ITEMS) is self:
                    state[ITEMS] = flat
        return flat

    def plain(self) -> Any:
        """Return the same as a built-in."""
        return self.flatten()

    def _fill(self, flat: Any) -> None:
        """Fill *flat*, which is empty, with all items."""
        raise NotImplementedError  # Each kind has its own.

    def with_more(self, removed: Collection[Any], added: Any) -> Layered:
        """Return the same with one more change."""
        raise NotImplementedError  # Each kind has its own.

    def _read(self) -> None:
        # Threads that run in parallel may lose a count; it does not matter.
        self._reads += 1
        if self._reads * _READS_TO_FLATTEN > self.size:
            self.flatten()

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Any]:
        return iter(self.flatten())

    def __repr__(self) -> str:
        return repr(self.flatten())

    def __getattr__(self, name: str) -> Any:
        # The built-in does the rest; it refuses changes.
        if name[:1] == "_":
            raise AttributeError(name)
        return getattr(self.flatten(), name)

    def _refuse(self, *_args: object) -> Any:
        raise SharedValueError(self._p_kind, describe(self._p_owner))

    __setitem__ = __delitem__ = __ior__ = __iand__ = __isub__ = __ixor__ = _refuse
    __iadd__ = __imul__ = _refuse

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        reduced: tuple[Any, ...] = self.flatten().__reduce_ex__(protocol)
        return reduced


class LayeredDict(Layered):
    """A dict with changes above it."""

    __slots__ = ()
    base = dict
    _p_kind = "dict"

    def _fill(self, flat: Any) -> None:
        dict.update(flat, self.below)
        for key in self.removed:
            dict.pop(flat, key, None)
        dict.update(flat, self.added)

    def with_more(self, removed: Collection[Any], added: Any) -> Layered:
        below = self.below
        more = {**self.added}
        for key in removed:
            more.pop(key, None)
        new = sum(key in removed or key not in self for key in added)
        more.update(added)
        all_removed = self.removed.union(key for key in removed if key in below)
        return LayeredDict(self._p_owner, below, all_removed, more, self.size - len(removed) + new)

    def __getitem__(self, key: Any) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def get(self, key: Any, default: Any = None) -> Any:
        self._read()
        value = self.added.get(key, _MISSING)
        if value is not _MISSING:
            return value
        return default if key in self.removed else self.below.get(key, default)

    def __contains__(self, key: object) -> bool:
        return self.get(key, _MISSING) is not _MISSING


class LayeredSet(Layered):
    """A set with changes above it."""

    __slots__ = ()
    base = set
    _p_kind = "set"

    def _fill(self, flat: Any) -> None:
        set.update(flat, self.below)
        set.difference_update(flat, self.removed)
        set.update(flat, self.added)

    def with_more(self, removed: Collection[Any], added: Any) -> Layered:
        below = self.below
        new = sum(member in removed or member not in self for member in added)
        more = self.added.difference(removed).union(added)
        all_removed = self.removed.union(member for member in removed if member in below)
        return LayeredSet(self._p_owner, below, all_removed, more, self.size - len(removed) + new)

    def __contains__(self, item: object) -> bool:
        self._read()
        return item in self.added or (item in self.below and item not in self.removed)


class LayeredList(Layered):
    """A list with items appended to it."""

    __slots__ = ()
    base = list
    _p_kind = "list"

    def _fill(self, flat: Any) -> None:
        list.extend(flat, self.below)
        list.extend(flat, self.added)
        flat._p_appended_since = self._p_appended_since

    def __radd__(self, other: Any) -> Any:
        return other + self.flatten()

    def with_more(self, removed: Collection[Any], added: Any) -> Layered:
        more = [*self.added, *added]
        made = LayeredList(self._p_owner, self.below, (), more, len(self.below) + len(more))
        made._p_appended_since = self._p_appended_since
        return made

    def __getitem__(self, index: Any) -> Any:
        below = len(self.below)
        if type(index) is int:
            self._read()
            at = index + self.size if index < 0 else index
            if 0 <= at < below:
                return self.below[at]
            if at < self.size and at >= 0:
                return self.added[at - below]
        elif type(index) is slice and self.flat is None:
            start, stop, step = index.indices(self.size)
            if step == 1:
                self._read()
                behind = self.added[max(start - below, 0) : max(stop - below, 0)]
                return self.below[start:stop] + behind
        return self.flatten()[index]


def built_in(value: Any) -> Any:
    """Return *value*; if it is layered, as a built-in."""
    return value.flatten() if isinstance(value, Layered) else value


def _by_flattening(name: str) -> Any:
    def operate(self: Layered, *others: Any) -> Any:
        return getattr(self.flatten(), name)(*map(built_in, others))

    operate.__name__ = name
    return operate


OPERATORS: Final[dict[type, str]] = {
    dict: "eq ne or ror reversed",
    set: "eq ne lt le gt ge and or sub xor rand ror rsub rxor",
    list: "eq ne lt le gt ge add mul rmul contains reversed",
}
"""The operators of the built-in types that change nothing, without their underscores."""

for _cls in (LayeredDict, LayeredSet, LayeredList):
    for _name in OPERATORS[_cls.base].split():
        setattr(_cls, f"__{_name}__", _by_flattening(f"__{_name}__"))


_LAYERED: Final[dict[type, Any]] = {
    SharedDict: LayeredDict,
    SharedSet: LayeredSet,
    SharedList: LayeredList,
}

DELTA_TYPES: Final = frozenset(_LAYERED) | frozenset(_LAYERED.values())
"""The types of shared collections that can be changed by deltas."""

SHARED_TYPES.update(_LAYERED.values())
KINDS.update({LayeredDict: DICT, LayeredSet: SET, LayeredList: LIST})


def mark_stored(state: State, serial: Tid, spare: int) -> None:
    """Note in the items of a collection which version they belong to.

    Args:
        spare: How many bytes of deltas may follow before a whole state is stored again.
    """
    items: Any = state.get(ITEMS)
    if type(items) in DELTA_TYPES:
        items._p_spare = max(spare, 0)
        items._p_serial = serial
        if KINDS[type(items)] == LIST and not _appended_since(items):
            items._p_appended_since = serial


def starts_with(items: Any, base: Any) -> bool:
    """Return whether shared *items* are known to be the list *base*, or that and more.

    Versions of one object follow each other in one order, so their tids tell. Cost: none.
    """
    if items is base:
        return True
    since = _appended_since(items)
    return bool(NO_TID != since <= base._p_serial <= items._p_serial)


def _appended_since(items: Any) -> Tid:
    """Return the earliest version that *items*, of a list, were made of by appending alone."""
    since: Tid = getattr(items, "_p_appended_since", NO_TID)
    return since


def changed_items(items: Any, removed: Collection[Any], added: Any) -> Any:
    """Return what shared *items* are after a change; *items* themselves do not change.

    Args:
        removed: Keys or members of *items*.
        added: A dict, or a list of members or items; frozen.

    Cost: what was changed, and now and then the size: on average its square root.
    """
    items = built_in(items) if isinstance(items, Layered) and items.flat else items
    if isinstance(items, Layered):
        layered = items.with_more(removed, added)
    else:
        kind = _LAYERED[type(items)]
        nothing = kind(items._p_owner, items, frozenset(), kind.base(), len(items))
        nothing._p_appended_since = _appended_since(items)
        layered = nothing.with_more(removed, added)
    depth = len(layered.removed) + len(layered.added)
    if len(layered) <= _SMALL or depth * depth > 2 * len(layered.below):
        return layered.flatten()
    return layered
