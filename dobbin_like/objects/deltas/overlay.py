"""Large collections in a working copy: what a transaction has changed, over the shared items.

An overlay has the methods of a built-in that a collection calls on its items, and records the
keys that were removed and the items that were added. So the cost of a checkout and of changing
one item does not grow with the collection. An operation that touches all items, such as sorting
a list, replaces the overlay by an ordinary built-in. A mutable value is copied for the thread
when it is read; the commit finds out whether the copy was changed.

This module has what all overlays have in common; :mod:`.overlays` makes one for given items.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Final

from dobbin_like.objects.deltas.delta import ITEMS
from dobbin_like.objects.deltas.layered import built_in, each_key
from dobbin_like.objects.values.comparison import StateComparison, same
from dobbin_like.objects.values.value_kinds import (
    FROZENSET,
    KINDS,
    OTHER,
    PLAIN_TYPES,
    REFERENCE,
    TUPLE,
)
from dobbin_like.objects.values.values import deep_copy, own_copy

NONE_LEFT: Final = object()
"""What a :class:`FirstKey` finds when all keys were removed."""


class _Base:
    """Holds the shared items while an overlay is copied, so that they are not copied."""

    __slots__ = ("items",)
    _p_immutable = True

    def __init__(self, items: Any) -> None:
        self.items = items


class Overlay:
    """What overlays of dicts, sets and lists have in common.

    ``removed`` and ``added`` are the difference from ``base``, the items in shared state:
    keys that were removed or have left their old place, and what was added at the end.
    ``own`` has the thread's copies of mutable values of the base, by key or index;
    ``working`` is the working copy that it belongs to.
    """

    # Those of all subclasses: Overlay._materialize() changes the class.
    __slots__ = ("_ends", "added", "base", "own", "removed", "replaced", "working")
    _parts: ClassVar[tuple[str, ...]] = ("removed", "added", "own")
    """The attributes that a copy for a savepoint has, beside the base."""
    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __init__(self, working: Any, base: Any) -> None:
        self.working: Any = working
        self.base: Any = base
        self.removed: dict[Any, None] = {}
        self.own: dict[Any, Any] = {}
        self.added: Any = {}
        self._ends: Any = None

    def is_changed(self) -> bool:
        """Return whether anything differs from the base. Cost: what was touched."""
        return not self.settle() or bool(self.removed or self.added)

    def settle(self) -> bool:
        """Move own values that were changed to the difference; return whether that is possible."""
        return not self._changed_own()

    def _changed_own(self) -> list[Any]:
        if not self.own:
            return []
        aliases, base = StateComparison(), self.base
        return [key for key, value in self.own.items() if not aliases.same(base[key], value)]

    def all_added(self) -> Any:
        """Return the added items as a delta has them: a dict, or a list."""
        return self.added

    def names_are_found_again(self) -> bool:
        """Return whether a delta can name the keys of the base that it changes.

        It is a NaN that can't be, or an object that equals only itself: what is loaded of the
        delta is another one than what is loaded of the base.
        """
        return are_found_again(self.removed)

    def touched(self) -> list[Any]:
        """Return all that may lead to new objects: what was added, and copies of the thread."""
        added = self.all_added()
        values = added.values() if isinstance(added, dict) else ()
        return [*self.own.values(), *added, *values]

    def fits(self, items: Any, touched: Iterable[Any] = ()) -> bool:
        """Return whether *items*, a later state, have what this changes as the base has it.

        Also *touched* keys: those that were written, though they may be as they were.
        """
        if KINDS[type(items)] != KINDS[type(self.base)]:
            return False
        return self.settle() and self._touches_the_same(items, touched)

    def renumber(self, items: Any) -> None:
        """Give added items new keys behind those of *items*, a later state that fits."""

    def rebase(self, items: Any) -> None:
        """Become the same difference from *items*, which fit."""
        self.renumber(items)
        # Others may have put what equals a key in the place of it.
        self.removed = {key_in(items, key): None for key in self.removed}
        # Own values that were not changed may be part of added items.
        before, self.base = self.base, items
        self._ends = None
        own = self.own.items()
        self.own = {key: value for key, value in own if self._has_same(key, before[key])}

    def _has_same(self, key: Any, value: Any) -> bool:
        base = self.base
        return key in base and same(base[key], value)

    def _end(self, end: int) -> Any:
        """Return the first (0) or last (1) key of the base that was not removed, or NONE_LEFT."""
        if self._ends is None:
            self._ends = FirstKey(iter, self.base), FirstKey(reversed, self.base)
        return self._ends[end].find(self.removed)

    def _touches_the_same(self, items: Any, touched: Iterable[Any]) -> bool:
        raise NotImplementedError  # Each kind of collection has its own.

    def take_difference(self, now: Any) -> bool:
        """Record the difference between the base and *now*; return whether that is possible."""
        raise NotImplementedError  # Each kind of collection has its own.

    def plain(self) -> Any:
        """Return all items as an ordinary built-in, values as the thread's own. Cost: the size."""
        raise NotImplementedError  # Each kind of collection has its own.

    def _materialize(self) -> Any:
        """Return an ordinary built-in, which replaces the overlay and to which it forwards now."""
        whole = self.plain()
        self.working[ITEMS] = self.base = whole
        self.__class__ = Materialized
        return whole

    def clear(self) -> None:
        self._materialize().clear()

    def _value(self, key: Any, value: Any) -> Any:
        """Return a value of the base, or the thread's copy of it."""
        if KINDS[type(value)] <= REFERENCE:
            return value
        if key in self.own:
            return self.own[key]
        self.own[key] = value = own_copy(value)
        return value

    def __len__(self) -> int:
        return len(self.base) - len(self.removed) + len(self.added)

    def __eq__(self, other: object) -> bool:
        return bool(self.plain() == (other.plain() if isinstance(other, Overlay) else other))

    def __repr__(self) -> str:
        return repr(self.plain())

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        # Only for savepoints; WorkingCopy.restore() sets the working copy.
        parts = [getattr(self, name) for name in self._parts]
        return _copied, (type(self), _Base(self.base), *parts)


def _copied(cls: Any, base: _Base, *parts: Any) -> Any:
    made = cls(None, base.items)
    for name, part in zip(cls._parts, parts, strict=True):
        setattr(made, name, part)
    return made


def are_found_again(keys: Iterable[Any]) -> bool:
    """Return whether *keys* are found in a dict by what is loaded of them."""
    return PLAIN_TYPES.issuperset(map(type, keys)) or all(map(_is_found_again, keys))


def _is_found_again(key: Any) -> bool:
    """Return whether what is loaded of *key* finds it in a dict: not so of NaN, for one."""
    kind = KINDS[type(key)]
    if kind in (TUPLE, FROZENSET):
        return all(map(_is_found_again, key))
    if kind == REFERENCE:
        return True
    try:
        loaded = deep_copy(key) if kind == OTHER else key
        return hash(loaded) == hash(key) and bool(loaded == key)
    except Exception:  # noqa: BLE001  of the class: it is told when the key is stored
        return False


class _Probe:
    """Equals what a key equals, and remembers what that was."""

    __slots__ = ("found", "key")

    def __init__(self, key: Any) -> None:
        self.key = key
        self.found: Any = NONE_LEFT

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        if self.key is not other and self.key != other:
            return False
        self.found = other
        return True


def key_in(items: Any, key: Any) -> Any:
    """Return the key or member of shared *items* that equals *key*, which has one.

    A delta names that one: a program without the classes does not know which keys are equal.
    Cost: one look-up; the size, if ``__eq__`` of the key knows only its own class.
    """
    probe = _Probe(key)
    if probe in items and probe.found is not NONE_LEFT:
        return probe.found
    members = set(built_in(items))
    others = members - {key}
    return next(iter(members - others), key)


class FirstKey:
    """Remembers the first key, from one end, that was not removed: it is searched for once."""

    __slots__ = ("_base", "_key", "_order", "_steps")

    def __init__(self, order: Any, base: Any) -> None:
        self._order = order
        self._base = base
        self._steps: Iterator[Any] | None = None
        self._key: Any = NONE_LEFT

    def find(self, removed: dict[Any, None]) -> Any:
        """Return the key, or NONE_LEFT. A key that was removed never comes back to its place."""
        # After an interrupt the search starts again.
        steps, self._steps = self._steps, None
        key = self._key
        if steps is None:
            steps = each_key(self._base, self._order)
            key = next(steps, NONE_LEFT)
        while key is not NONE_LEFT and key in removed:
            key = next(steps, NONE_LEFT)
        self._key = key
        self._steps = steps
        return key


class Materialized(Overlay):
    """An overlay that was replaced by a built-in, its ``base``: passes everything on to it."""

    __slots__ = ()

    def plain(self) -> Any:
        return self.base

    def __getattribute__(self, name: str) -> Any:
        if name not in ("base", "plain", "__class__"):
            with contextlib.suppress(AttributeError):
                return getattr(object.__getattribute__(self, "base"), name)
        # A method of the overlay was running when a comparison of the user's replaced it.
        return object.__getattribute__(self, name)


def _by_base(name: str) -> Any:
    def operate(self: Materialized, *others: Any) -> Any:
        return getattr(self.base, name)(*others)

    return operate


for _name in "contains delitem getitem setitem len iter reversed repr".split():
    setattr(Materialized, f"__{_name}__", _by_base(f"__{_name}__"))
