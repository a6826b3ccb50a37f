"""Large collections in shared state: an earlier value, and what was changed since.

Shared values never change. To publish one new key of a million, a commit makes a new value
that has the old one below it and the difference above::

    large     a built-in        100,000 items
    middle    the difference     up to 3,500, copied every 32 changes
    top       the difference     up to 32, copied by each change

When a difference has grown too large for its place, it is merged into what is below; what is
read often is flattened into one built-in. So neither a commit nor an older snapshot costs the
size of the collection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import chain, filterfalse
from typing import Any, ClassVar, Final

from dobbin_like.ids import NO_TID, Tid
from dobbin_like.objects.deltas.delta import ITEMS
from dobbin_like.objects.values.guards import (
    SHARED_TYPES,
    SharedDict,
    SharedList,
    SharedSet,
    make_shared,
    refusal_of,
)
from dobbin_like.objects.values.refs import ObjectRef, State, native_dict
from dobbin_like.objects.values.value_kinds import DICT, KINDS, LIST, SET

_MISSING: Final = object()

_SMALL: Final = 64
"""Up to this size a collection is copied instead of layered."""

_TOP: Final = 32
"""So large a difference gets another one on top."""

_READS_TO_FLATTEN: Final = 8
"""A layered collection is flattened after size / 8 reads, older versions included."""


class Layered:
    """What layered dicts, sets and lists have in common.

    ``below`` is a guarded built-in, or layered itself, over a built-in. ``removed`` has keys
    of it that were removed, or that have left their old place; ``flat`` is the same as one
    built-in, once it was made.
    """

    __slots__ = (
        "_p_appended_since",
        "_p_owner",
        "_p_serial",
        "_p_spare",
        "added",
        "below",
        "flat",
        "reads",
        "removed",
        "size",
    )
    _p_together: ClassVar[bool] = False
    base: ClassVar[type]
    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __init__(self, owner: ObjectRef, below: Any, removed: Any, added: Any, size: int) -> None:
        self._p_owner = owner
        self._p_spare = 0
        self._p_serial = self._p_appended_since = NO_TID
        self.below: Any = below
        self.removed: Any = removed
        self.added: Any = added
        self.size: int = size
        self.flat: Any = None
        self.reads: int = 0

    def flatten(self) -> Any:
        """Return the same as one guarded built-in, made once, which readers find from now on."""
        flat = self.flat
        if flat is None:
            flat = make_shared(self.base, self._p_owner)
            flat._p_spare = self._p_spare
            flat._p_serial = self._p_serial
            self.fill(flat)
            self.flat = flat
            obj = self._p_owner()
            # A state that has the same in another form is the same state.
            if obj is not None:
                state = native_dict(obj)
                if state.get(ITEMS) is self:
                    state[ITEMS] = flat
        return flat

    def fill(self, flat: Any) -> None:
        """Put all items into *flat*, which is empty."""
        below, update = self.below, self.base.update  # type: ignore[attr-defined]
        if type(below) is type(self):
            below.fill(flat)
        else:
            update(flat, below)
        self._take_removed(flat)
        update(flat, self.added)

    def _take_removed(self, flat: Any) -> None:
        raise NotImplementedError  # Dicts and sets have their own.

    def has(self, item: Any) -> bool:
        """Return whether a key or member is there; this does not count as a read."""
        raise NotImplementedError  # Lists have none.

    def with_more(self, removed: Collection[Any], added: Any) -> Layered:
        """Return the same with one more change. Cost: the difference, and the change."""
        size = self.size - len(removed)
        all_removed = self.removed
        if removed:
            all_removed = all_removed.union(filter(_has(self.below), removed))
        for key in added:
            size += key in removed or not self.has(key)
        more = self._more(removed, added)
        return type(self)(self._p_owner, self.below, all_removed, more, size)

    def _more(self, removed: Collection[Any], added: Any) -> Any:
        raise NotImplementedError  # Dicts and sets have their own.

    def with_room(self) -> Layered:
        """Return the same with a small difference on top, or none. Cost: now and then the size."""
        if len(self.removed) + len(self.added) < _TOP:
            return self
        below = self.below
        middle = below.with_more(self.removed, self.added) if type(below) is type(self) else self
        made = layer(middle.flatten() if middle.is_deep() else middle)
        made.reads = self.reads
        return made

    def is_deep(self) -> bool:
        """Return whether copying the difference now and then costs more than flattening once."""
        size = len(self.below)
        # A search for the first or last key has to pass those that were removed.
        return len(self.removed) ** 2 > 2 * size or len(self.added) ** 2 > 4 * _TOP * size

    def _read(self) -> None:
        # Threads that run in parallel may lose a count; it does not matter.
        self.reads += 1
        if self.reads * _READS_TO_FLATTEN > self.size:
            self.flatten()

    plain = flatten

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Any]:
        return iter(self.flatten())

    def __reversed__(self) -> Iterator[Any]:
        backward: Iterator[Any] = reversed(self.flatten())
        return backward

    def __eq__(self, other: object) -> bool:
        return bool(self.flatten() == built_in(other))

    def __repr__(self) -> str:
        return repr(self.flatten())

    def __getattr__(self, name: str) -> Any:
        # The built-in does the rest; it refuses changes.
        if name[:1] == "_":
            raise AttributeError(name)
        return getattr(self.flatten(), name)

    def _refuse(self, *_args: object) -> Any:
        raise refusal_of(self.base.__name__, self._p_owner)

    __setitem__ = _refuse
    __delitem__ = _refuse
    __ior__ = _refuse
    __iand__ = _refuse
    __isub__ = _refuse
    __ixor__ = _refuse
    __iadd__ = _refuse
    __imul__ = _refuse

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        reduced: tuple[Any, ...] = self.flatten().__reduce_ex__(protocol)
        return reduced


class LayeredDict(Layered):
    """A dict with changes above it."""

    __slots__ = ()
    base = dict

    def _take_removed(self, flat: Any) -> None:
        for key in self.removed:
            dict.pop(flat, key, None)

    def _more(self, removed: Collection[Any], added: Any) -> Any:
        more = self.added.copy()
        for key in removed:
            more.pop(key, None)
        more.update(added)
        return more

    def __getitem__(self, key: Any) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def get(self, key: Any, default: Any = None) -> Any:
        self._read()
        value = self._find(key)
        return default if value is _MISSING else value

    def __contains__(self, key: object) -> bool:
        self._read()
        return self._find(key) is not _MISSING

    def has(self, key: Any) -> bool:
        return self._find(key) is not _MISSING

    def _find(self, key: Any) -> Any:
        items: Any = self
        while type(items) is LayeredDict:
            if key in items.added:  # Not get(): see processes/threaded_dict.py.
                return items.added[key]
            if key in items.removed:
                return _MISSING
            items = items.below
        return items.get(key, _MISSING)


class LayeredSet(Layered):
    """A set with changes above it."""

    __slots__ = ()
    base = set

    def _take_removed(self, flat: Any) -> None:
        set.difference_update(flat, self.removed)

    def _more(self, removed: Collection[Any], added: Any) -> Any:
        kept = self.added.difference(removed) if removed else self.added
        return kept.union(added)

    def __contains__(self, item: object) -> bool:
        self._read()
        return self.has(item)

    def has(self, item: Any) -> bool:
        items: Any = self
        while type(items) is LayeredSet:
            if item in items.added:
                return True
            if item in items.removed:
                return False
            items = items.below
        return item in items


class LayeredList(Layered):
    """A list with items appended to it."""

    __slots__ = ()
    base = list

    def fill(self, flat: Any) -> None:
        list.extend(flat, self.below)
        list.extend(flat, self.added)
        flat._p_appended_since = self._p_appended_since

    def with_more(self, removed: Collection[Any], added: Any) -> Layered:
        more = [*self.added, *added]
        made = LayeredList(self._p_owner, self.below, (), more, len(self.below) + len(more))
        made._p_appended_since = self._p_appended_since
        return made

    def with_room(self) -> Layered:
        # A place in the list is found at once, without asking more than one layer.
        difference, size = len(self.added), len(self.below)
        return layer(self.flatten()) if difference * difference > 2 * size else self

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


def _has(items: Any) -> Callable[[Any], bool]:
    has: Any = items.has if isinstance(items, Layered) else items.__contains__
    return has  # type: ignore[no-any-return]


def each_key(items: Any, order: Any) -> Iterator[Any]:
    """Yield the keys or members of shared items by *order*, ``iter`` or ``reversed``."""
    if not isinstance(items, Layered):
        return iter(order(items))
    below, removed, added = items.below, items.removed, items.added
    has = _has(below)
    old = filterfalse(removed.__contains__, each_key(below, order))
    new = (key for key in order(added) if key in removed or not has(key))
    return chain(new, old) if order is reversed else chain(old, new)


def built_in(value: Any) -> Any:
    """Return *value*; if it is layered, as a built-in."""
    return value.flatten() if isinstance(value, Layered) else value


_LAYERED: Final[dict[type, Any]] = {
    SharedDict: LayeredDict,
    SharedSet: LayeredSet,
    SharedList: LayeredList,
    LayeredDict: LayeredDict,
    LayeredSet: LayeredSet,
}

DELTA_TYPES: Final = frozenset(_LAYERED) | frozenset(_LAYERED.values())
"""The types of shared collections that can be changed by deltas."""

SHARED_TYPES.update(_LAYERED.values())
KINDS.update({LayeredDict: DICT, LayeredSet: SET, LayeredList: LIST})


def mark_stored(state: State, serial: Tid, spare: int) -> None:
    """Note in the items of a collection their version, and the bytes of deltas that may follow."""
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
    since: Tid = getattr(items, "_p_appended_since", NO_TID)
    return since


def layer(items: Any) -> Layered:
    """Return a layered collection that has shared *items* below, and no difference yet."""
    kind = _LAYERED[type(items)]
    made: Layered = kind(items._p_owner, items, frozenset(), kind.base(), len(items))
    made._p_appended_since = _appended_since(items)
    return made


def changed_items(items: Any, removed: Collection[Any], added: Any) -> Any:
    """Return what shared *items* are after a change; *items* themselves do not change.

    *removed* are keys or members of *items*; *added* is a dict, or a list of members or items,
    frozen. Cost: the change, and now and then the size: on average its square root, or less.
    """
    if isinstance(items, Layered):
        items = items.with_room() if items.flat is None else layer(items.flat)
    else:
        items = layer(items)
    layered = items.with_more(frozenset(removed), added)
    layered.reads = items.reads
    return layered.flatten() if len(layered) <= _SMALL else layered
