"""Large collections in a working copy: what the transaction has touched, above what is shared.

An overlay reads and changes like the built-in that it stands for, and remembers the keys
that went and the items that came. So checking a collection out and changing one item costs
nothing that grows with its size. What touches all of it, as sorting a list does, turns the
overlay into an ordinary built-in. Mutable values get copies of the thread's own when they
are asked for; whether these were changed is found out at commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping, MutableSequence, MutableSet
from itertools import chain
from typing import Any, ClassVar, Final

from dobbin_like.persistent.delta import ITEMS
from dobbin_like.persistent.kinds import DICT, FROZENSET, KINDS, LIST, REFERENCE, SET, SHAREABLE
from dobbin_like.persistent.layered import DELTA_TYPES, OPERATORS, LayeredDict, built_in
from dobbin_like.persistent.values import Aliases, thaw

__all__ = ["Overlay", "OverlayDict", "OverlayList", "OverlaySet", "overlay_of"]

_MISSING: Final = object()

SMALL: Final = 64
"""Items up to which a collection is copied when it is checked out."""


class _Base:
    """Holds the shared items for a copy of an overlay: passed on, never copied."""

    __slots__ = ("items",)
    _p_immutable = True

    def __init__(self, items: Any) -> None:
        self.items = items


class Overlay:
    """What the three have in common.

    ``gone`` and ``put`` are the difference from ``base``, the items in shared state;
    ``own`` has the thread's copies of mutable values of the base, by key or index;
    ``working`` is the working copy that it is part of.
    """

    __slots__ = ("base", "gone", "own", "put", "size", "working")
    kind: ClassVar[type]
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, working: Any, base: Any) -> None:
        self.working = working
        self.base = base
        self.gone: dict[Any, None] = {}
        self.own: dict[Any, Any] = {}
        self.put: Any = {}
        self.size = len(base)

    def is_changed(self) -> bool:
        """Tell whether anything differs from the base. Cost: what was touched."""
        return bool(self.gone or self.put or self._changed_own())

    def _changed_own(self) -> list[Any]:
        """Return the keys whose own values differ from those of the base."""
        aliases = Aliases()
        base = self.base
        return [key for key, value in self.own.items() if not aliases.same(base[key], value)]

    def settle(self) -> bool:
        """Make own values that were changed part of the difference; tell if that can be."""
        for key in self._changed_own():
            self.put[key] = self.own.pop(key)
        return True

    def is_most(self) -> bool:
        """Tell whether the difference is no less than half of the whole."""
        return 2 * (len(self.gone) + len(self.put)) > self.size

    def came(self) -> Any:
        """Return what came: a dict of items, or a list."""
        return self.put

    def fits(self, items: Any) -> bool:
        """Tell whether *items*, a later state, have what this touches as the base has it.

        Cost: what was touched; of a list, the whole of it.
        """
        if type(items) not in DELTA_TYPES or items._p_together:
            return False
        return self.settle() and self._touches_the_same(items)

    def move_to(self, items: Any) -> None:
        """Become the same difference from *items*, which fit."""
        self.base = items
        self.own.clear()
        self.size = len(items) - len(self.gone) + self._came()

    def _touches_the_same(self, items: Any) -> bool:
        raise NotImplementedError

    def become(self, now: Any) -> bool:
        """Take on the difference between the base and *now*; tell if it has such a form."""
        raise NotImplementedError

    def _came(self) -> int:
        """Return how many of what came are not at a place that the base has."""
        base, gone = self.base, self.gone
        return sum(key in gone or key not in base for key in self.put)

    def plain(self) -> Any:
        """Return all of it as an ordinary built-in with values of the thread's own.

        Cost: the size.
        """
        raise NotImplementedError

    def _whole(self) -> Any:
        """Turn into an ordinary built-in, which takes the place of the overlay; return it.

        Whoever holds the overlay still gets at the built-in by it.
        """
        whole = self.plain()
        self.working[ITEMS] = self.base = whole
        self.__class__ = Turned
        return whole

    def _value(self, key: Any, value: Any) -> Any:
        """Return a value of the base as this thread may have it."""
        if KINDS[type(value)] <= REFERENCE:
            return value
        if key in self.own:
            return self.own[key]
        self.own[key] = value = thaw(value, self.working.memo)
        return value

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return repr(self.plain())

    def copy(self) -> Any:
        return self.plain()

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        # For savepoints alone; restore() gives it to its working copy.
        state = (_Base(self.base), self.gone, self.own, self.put, self.size)
        return _copied, (type(self), *state)


def _copied(cls: Any, base: _Base, gone: Any, own: Any, put: Any, size: int) -> Any:
    made = cls.__new__(cls)
    made.base, made.gone, made.own, made.put, made.size = base.items, gone, own, put, size
    return made


class OverlayDict(Overlay, MutableMapping[Any, Any]):
    """A dict that is being changed."""

    __slots__ = ()
    kind = dict

    def __getitem__(self, key: Any) -> Any:
        value = self.put.get(key, _MISSING)
        if value is not _MISSING:
            return value
        if key in self.gone:
            raise KeyError(key)
        return self._value(key, self.base[key])

    def __contains__(self, key: object) -> bool:
        return key in self.put or (key not in self.gone and key in self.base)

    def __setitem__(self, key: Any, value: Any) -> None:
        if key not in self:
            self.size += 1
        self.put[key] = value
        self.own.pop(key, None)

    def __delitem__(self, key: Any) -> None:
        if key not in self:
            raise KeyError(key)
        self.put.pop(key, None)
        if key in self.base:
            self.gone[key] = None
        self.own.pop(key, None)
        self.size -= 1

    def _keys(self, *, backwards: bool = False) -> Iterator[Any]:
        """Yield the keys in order; whoever changes the size meanwhile is told so."""
        size = self.size
        parts = (
            (self._new_keys, self._base_keys) if backwards else (self._base_keys, self._new_keys)
        )
        for part in parts:
            for key in part(reversed if backwards else iter):
                yield key
                if self.size != size:
                    text = "dictionary changed size during iteration"
                    raise RuntimeError(text)

    def _base_keys(self, order: Any) -> Iterable[Any]:
        gone = self.gone
        return (key for key in order(self.base) if key not in gone)

    def _new_keys(self, order: Any) -> Iterable[Any]:
        # What the base has keeps its place there. A list: values may be set meanwhile.
        base, gone = self.base, self.gone
        return [key for key in order(self.put) if key not in base or key in gone]

    def __iter__(self) -> Iterator[Any]:
        return self._keys()

    def __reversed__(self) -> Iterator[Any]:
        return self._keys(backwards=True)

    def become(self, now: Any) -> bool:
        aliases, base = Aliases(), self.base
        self.gone = dict.fromkeys(key for key in base if key not in now)
        self.put = {
            key: value
            for key, value in now.items()
            if key not in base or not aliases.same(base[key], value)
        }
        self.size = len(now)
        return True

    def _touches_the_same(self, items: Any) -> bool:
        aliases, base = Aliases(), self.base
        for key in (*self.gone, *self.put):
            if (key in base) != (key in items):
                return False
            if key in base and not aliases.same(base[key], items[key]):
                return False
        return True

    def plain(self) -> dict[Any, Any]:
        base = built_in(self.base)
        if not SHAREABLE.issuperset(map(type, base.values())):
            return {key: self[key] for key in self}
        whole = {**base}
        for key in self.gone:
            del whole[key]
        whole.update(self.put)
        return whole

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return the pair that was added last."""
        for key in reversed(self):
            return key, self.pop(key)
        text = "popitem(): dictionary is empty"
        raise KeyError(text)

    def clear(self) -> None:
        """Remove all items."""
        self._whole().clear()

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self


class OverlayQueue(OverlayDict):
    """The items of a queue, by number: what was put in gets its numbers when it is merged."""

    __slots__ = ()

    def _touches_the_same(self, items: Any) -> bool:
        aliases, base = Aliases(), self.base
        for number in self.gone:
            if number not in items or not aliases.same(base[number], items[number]):
                return False
        # What was there before is changed in no other way.
        return not any(number in base and number not in self.gone for number in self.put)

    def move_to(self, items: Any) -> None:
        number = last_key(items, -1)
        self.put = {number + at: item for at, item in enumerate(self.put.values(), 1)}
        super().move_to(items)


class OverlaySet(Overlay, MutableSet[Any]):
    """A set that is being changed. ``put`` is a dict, its values are ``None``."""

    __slots__ = ()
    kind = set

    def __contains__(self, item: object) -> bool:
        return item in self.put or (item not in self.gone and item in self.base)

    def __iter__(self) -> Iterator[Any]:
        size, gone = self.size, self.gone
        for part in ((member for member in self.base if member not in gone), [*self.put]):
            for member in part:
                yield member
                if self.size != size:
                    text = "Set changed size during iteration"
                    raise RuntimeError(text)

    def add(self, value: Any) -> None:
        """Add a member."""
        if value not in self:
            if value in self.gone:
                del self.gone[value]
            else:
                self.put[value] = None
            self.size += 1

    def discard(self, value: Any) -> None:
        """Remove a member if it is there."""
        if value in self.put:
            del self.put[value]
        elif value in self.base and value not in self.gone:
            self.gone[value] = None
        else:
            return
        self.size -= 1

    def came(self) -> Any:
        return [*self.put]

    def become(self, now: Any) -> bool:
        base = self.base
        self.gone = dict.fromkeys(member for member in base if member not in now)
        self.put = dict.fromkeys(member for member in now if member not in base)
        self.size = len(now)
        return True

    def _touches_the_same(self, items: Any) -> bool:
        base = self.base
        return all((member in base) == (member in items) for member in (*self.gone, *self.put))

    def plain(self) -> set[Any]:
        whole = set(built_in(self.base))
        whole.difference_update(self.gone)
        whole.update(self.put)
        return whole

    def clear(self) -> None:
        """Remove all members."""
        self._whole().clear()

    def update(self, *others: Iterable[Any]) -> None:
        """Add the members of all *others*."""
        for other in others:
            for member in list(other) if other is self else other:
                self.add(member)

    def difference_update(self, *others: Iterable[Any]) -> None:
        """Remove the members of all *others*."""
        for other in others:
            for member in list(other) if other is self else other:
                self.discard(member)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        """Keep what is in all *others*."""
        self._whole().intersection_update(*others)

    def symmetric_difference_update(self, other: Iterable[Any]) -> None:
        """Keep what is in one of the two alone."""
        self._whole().symmetric_difference_update(other)


class OverlayList(Overlay, MutableSequence[Any]):
    """A list that is being added to; every other change makes it an ordinary list."""

    __slots__ = ()
    kind = list

    def __init__(self, working: Any, base: Any) -> None:
        super().__init__(working, base)
        self.put: list[Any] = []

    def settle(self) -> bool:
        return not self._changed_own()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self.size))]
        at = range(self.size)[index]  # Raises what a list raises, but for the words.
        below = len(self.base)
        return self._value(at, self.base[at]) if at < below else self.put[at - below]

    def __iter__(self) -> Iterator[Any]:
        for at, value in enumerate(self.base):
            yield self._value(at, value)
        at = 0
        while at < len(self.put):  # What is added meanwhile comes too, as in a list.
            yield self.put[at]
            at += 1

    def append(self, value: Any) -> None:
        """Add *value* at the end."""
        self.put.append(value)
        self.size += 1

    def extend(self, values: Iterable[Any]) -> None:
        """Add all *values* at the end."""
        before = len(self.put)
        self.put.extend(list(self) if values is self else values)
        self.size += len(self.put) - before

    def __radd__(self, other: Any) -> Any:
        return other + self.plain()

    def __iadd__(self, values: Iterable[Any]) -> Any:
        self.extend(values)
        return self

    def insert(self, index: int, value: Any) -> None:
        """Put *value* before *index*."""
        if index >= self.size:
            self.append(value)
        else:
            self._whole().insert(index, value)

    def pop(self, index: int = -1) -> Any:
        """Remove and return the item at *index*."""
        if index == -1 and self.put:
            self.size -= 1
            return self.put.pop()
        return self._whole().pop(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._whole()[index] = value

    def __delitem__(self, index: Any) -> None:
        del self._whole()[index]

    def __imul__(self, count: int) -> Any:
        whole = self._whole()
        whole *= count
        return whole

    def remove(self, value: Any) -> None:
        """Remove the first item that equals *value*."""
        self._whole().remove(value)

    def reverse(self) -> None:
        """Turn the order round."""
        self._whole().reverse()

    def sort(self, *, key: Any = None, reverse: bool = False) -> None:
        """Sort in place."""
        self._whole().sort(key=key, reverse=reverse)

    def clear(self) -> None:
        """Remove all items."""
        self._whole().clear()

    def become(self, now: Any) -> bool:
        size = len(self.base)
        self.put = now[size:]
        self.size = len(now)
        return self.size >= size and Aliases().same(built_in(self.base), now[:size])

    def _touches_the_same(self, items: Any) -> bool:
        size = len(self.base)
        start = built_in(items)[:size]
        return len(start) == size and Aliases().same(built_in(self.base), start)

    def _came(self) -> int:
        return len(self.put)

    def plain(self) -> list[Any]:
        base = built_in(self.base)
        if not SHAREABLE.issuperset(map(type, base)):
            return list(self)
        return [*base, *self.put]


class Turned(Overlay):
    """What an overlay becomes that was turned into a built-in, its ``base``: does as that does."""

    __slots__ = ()

    def plain(self) -> Any:
        return self.base

    def __getattribute__(self, name: str) -> Any:
        if name in ("base", "plain", "__class__"):
            return object.__getattribute__(self, name)
        return getattr(object.__getattribute__(self, "base"), name)


def _by_base(name: str) -> Any:
    def operate(self: Turned, *others: Any) -> Any:
        result = getattr(self.base, name)(*others)
        return self if result is self.base else result

    return operate


for _name in (
    "contains delitem getitem setitem len iter reversed repr eq ne lt le gt ge add radd mul rmul "
    "iadd imul and or sub xor rand ror rsub rxor iand ior isub ixor"
).split():
    setattr(Turned, f"__{_name}__", _by_base(f"__{_name}__"))


def _by_plain(name: str) -> Any:
    def operate(self: Overlay, *others: Any) -> Any:
        others = tuple(o.plain() if isinstance(o, Overlay) else built_in(o) for o in others)
        return getattr(self.plain(), name)(*others)

    operate.__name__ = name
    return operate


def _in_place(name: str) -> Any:
    def operate(self: OverlaySet, other: Any) -> Any:
        if not isinstance(other, OverlaySet) and KINDS[type(other)] not in (SET, FROZENSET):
            return NotImplemented
        getattr(self, name)(other)
        return self

    return operate


for _sign, _name in (
    ("or", "update"),
    ("sub", "difference_update"),
    ("and", "intersection_update"),
    ("xor", "symmetric_difference_update"),
):
    setattr(OverlaySet, f"__i{_sign}__", _in_place(_name))

_OVERLAYS: Final[dict[int, Any]] = {DICT: OverlayDict, SET: OverlaySet, LIST: OverlayList}

_QUERIES: Final[dict[type, str]] = {
    dict: "",
    set: "isdisjoint issubset issuperset union intersection difference symmetric_difference",
    list: "count index",
}

for _kind, _cls in _OVERLAYS.items():
    KINDS[_cls] = _kind
    for _name in OPERATORS[_cls.kind].split():
        if _name not in ("contains", "reversed"):
            setattr(_cls, f"__{_name}__", _by_plain(f"__{_name}__"))
    for _name in _QUERIES[_cls.kind].split():
        setattr(_cls, _name, _by_plain(_name))


def first_key(items: Any, default: Any = None) -> Any:
    """Return the first key of a dict, also of a layered one or an overlay.

    Cost: what was changed since the one below was made.
    """
    return next(_each_key(items, iter), default)


def last_key(items: Any, default: Any = None) -> Any:
    """Return the last key of a dict, also of a layered one or an overlay."""
    return next(_each_key(items, reversed), default)


def _each_key(items: Any, order: Any) -> Iterator[Any]:
    """Yield the keys of a dict, and fold nothing for it."""
    if not isinstance(items, (OverlayDict, LayeredDict)):
        return iter(order(items))
    below: Any = items.base if isinstance(items, OverlayDict) else items.below
    gone, put = items.gone, items.put
    old = (key for key in _each_key(below, order) if key not in gone)
    new = [key for key in order(put) if key in gone or key not in below]
    return chain(new, old) if order is reversed else chain(old, new)


def overlay_of(working: Any, items: Any) -> Overlay | None:
    """Return an overlay over *items* of shared state; ``None`` if there can be none."""
    if len(items) <= SMALL:
        return None
    return _overlay_of(working, items)


def _overlay_of(working: Any, items: Any) -> Overlay | None:
    if type(items) not in DELTA_TYPES or items._p_together:
        return None
    cls: Any = type(working.obj)._p_faces.plain
    made: Overlay = (cls._p_overlay or _OVERLAYS[KINDS[type(items)]])(working, items)
    return made


def difference(working: Any, items: Any, now: Any) -> Overlay | None:
    """Return an overlay that makes *now*, a built-in, of *items*; ``None`` if there can be none.

    Cost: the size.
    """
    made = _overlay_of(working, items)
    if made is None or KINDS[type(items)] != KINDS[type(now)] or not made.become(now):
        return None
    return made
