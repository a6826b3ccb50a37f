"""Large dicts and queues in a working copy."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, MutableMapping, ValuesView
from itertools import filterfalse
from typing import Any, Final

from dobbin_like.objects.deltas.layered import built_in, each_key
from dobbin_like.objects.deltas.overlay import (
    NONE_LEFT,
    Overlay,
    are_found_again,
    key_in,
)
from dobbin_like.objects.values.comparison import StateComparison, same
from dobbin_like.objects.values.value_kinds import SHAREABLE

_MISSING: Final = NONE_LEFT


class OverlayDict(Overlay, MutableMapping[Any, Any]):
    """A dict that is being changed.

    ``replaced`` has new values of keys at the place where the base has them, ``added`` the
    keys behind: new ones, and those that were removed and added again. A key that was removed
    never comes back to its old place.
    """

    __slots__ = ()
    _parts = ("removed", "added", "own", "replaced")

    def __init__(self, working: Any, base: Any) -> None:
        super().__init__(working, base)
        self.replaced: dict[Any, Any] = {}

    def __getitem__(self, key: Any) -> Any:
        value = self.added.get(key, _MISSING)
        if value is not _MISSING:
            return value
        if key in self.removed:
            raise KeyError(key)
        value = self.replaced.get(key, _MISSING)
        return self._value(key, self.base[key]) if value is _MISSING else value

    def __contains__(self, key: object) -> bool:
        return key in self.added or (key not in self.removed and key in self.base)

    def __setitem__(self, key: Any, value: Any) -> None:
        if key in self.removed or key not in self.base:
            self.added[key] = value
        else:
            self.replaced[key_in(self.base, key)] = value
            self.own.pop(key, None)

    def __delitem__(self, key: Any) -> None:
        if key in self.added:
            del self.added[key]
        elif key in self.removed or key not in self.base:
            raise KeyError(key)
        else:
            # This step decides: an interrupt after it leaves nothing half done.
            self.removed[key_in(self.base, key)] = None
            self.replaced.pop(key, None)
            self.own.pop(key, None)

    def _keys(self, order: Any) -> Iterator[Any]:
        """Yield the keys in order; raise ``RuntimeError`` if the size changes meanwhile."""
        removed, added, cls = self.removed, self.added, type(self)
        more = len(added) - len(removed)
        parts = (added, self.base) if order is reversed else (self.base, added)
        for part in parts:
            keys = order(part)
            for key in keys if part is added else filterfalse(removed.__contains__, keys):
                yield key
                if len(added) - len(removed) != more or type(self) is not cls:
                    text = "dictionary changed size during iteration"
                    raise RuntimeError(text)

    def __iter__(self) -> Iterator[Any]:
        return self._keys(iter)

    def __reversed__(self) -> Iterator[Any]:
        return self._keys(reversed)

    def keys(self) -> KeysView[Any]:
        return _Keys(self)

    def values(self) -> ValuesView[Any]:
        return _Values(self)

    def items(self) -> ItemsView[Any, Any]:
        return _Items(self)

    def first(self, default: Any) -> Any:
        """Return the first key. Cost: constant, on average."""
        key = self._end(0)
        return next(iter(self.added), default) if key is _MISSING else key

    def last(self, default: Any) -> Any:
        """Return the last key. Cost: constant, on average."""
        key = next(reversed(self.added), _MISSING)
        key = self._end(1) if key is _MISSING else key
        return default if key is _MISSING else key

    def is_changed(self) -> bool:
        return super().is_changed() or bool(self.replaced)

    def settle(self) -> bool:
        replaced, own = self.replaced, self.own
        if not (replaced or own):
            return True
        aliases, base = StateComparison(), self.base
        for key in [*replaced]:
            if key in self.removed:
                del replaced[key]
            elif aliases.same(base[key], replaced[key]):  # It was set to what it was.
                own[key] = replaced.pop(key)
        for key in self._changed_own():
            replaced.setdefault(key, own[key])
            del own[key]
        return True

    def names_are_found_again(self) -> bool:
        return super().names_are_found_again() and are_found_again(self.replaced)

    def all_added(self) -> Any:
        if not self.replaced:
            return self.added
        removed = self.removed
        return {
            key: value for key, value in self.replaced.items() if key not in removed
        } | self.added

    def take_difference(self, now: Any) -> bool:
        aliases, base = StateComparison(), built_in(self.base)
        kept = dict.fromkeys(_at_their_place(base, now))
        self.removed: dict[Any, None] = {key: None for key in base if key not in kept}
        self.added: dict[Any, Any] = {key: value for key, value in now.items() if key not in kept}
        self.own: dict[Any, Any] = {key: now[key] for key in kept}
        self.replaced = {
            key: self.own.pop(key)
            for key in kept
            # Also on its own: a comparison does not enter what it has met before.
            if not (aliases.same(base[key], now[key]) and same(base[key], now[key]))
        }
        return True

    def rebase(self, items: Any) -> None:
        super().rebase(items)
        self.replaced = {key_in(items, key): value for key, value in self.replaced.items()}

    def _touches_the_same(self, items: Any, touched: Iterable[Any]) -> bool:
        changed = (*self.removed, *self.replaced, *self.added)
        return all(self._is_same(key, items) for key in (*changed, *touched))

    def _is_same(self, key: Any, items: Any) -> bool:
        was_there, is_there = key in self.base, key in items
        if not (was_there and is_there):
            return was_there == is_there
        return same(self.base[key], items[key])

    def plain(self) -> dict[Any, Any]:
        base = built_in(self.base)
        if not SHAREABLE.issuperset(map(type, base.values())):
            return {key: self[key] for key in self}
        whole = {**base}
        for key in self.removed:
            del whole[key]
        whole.update(self.all_added())
        return whole

    def popitem(self) -> tuple[Any, Any]:
        if self.added:
            pair: tuple[Any, Any] = self.added.popitem()
            return pair
        key = self.last(_MISSING)
        if key is _MISSING:
            text = "popitem(): dictionary is empty"
            raise KeyError(text)
        return key, self.pop(key)


def _at_their_place(base: dict[Any, Any], now: dict[Any, Any]) -> Iterator[Any]:
    """Yield the first keys of *now*, made from *base*, that have kept their place."""
    aliases = StateComparison()
    places = {key: (at, key) for at, key in enumerate(base)}
    last = -1
    for key in now:
        at, before = places.get(key, (-1, None))
        if at <= last or not aliases.same(before, key):  # 1 may have become True.
            return
        last = at
        yield key


class _Keys(KeysView[Any]):
    __slots__ = ()
    _mapping: Any

    def __reversed__(self) -> Iterator[Any]:
        yield from reversed(self._mapping)


class _Values(ValuesView[Any]):
    __slots__ = ()
    _mapping: Any

    def __reversed__(self) -> Iterator[Any]:
        return map(self._mapping.__getitem__, reversed(self._mapping))


class _Items(ItemsView[Any, Any]):
    __slots__ = ()
    _mapping: Any

    def __contains__(self, item: object) -> bool:
        return isinstance(item, tuple) and len(item) == 2 and super().__contains__(item)

    def __reversed__(self) -> Iterator[Any]:
        return ((key, self._mapping[key]) for key in reversed(self._mapping))


class OverlayQueue(OverlayDict):
    """The items of a queue by number: a merge gives added items new numbers."""

    __slots__ = ()

    def _touches_the_same(self, items: Any, touched: Iterable[Any]) -> bool:
        return all(self._is_same(number, items) for number in (*self.removed, *self.replaced))

    def renumber(self, items: Any) -> None:
        number = next_number(items, self.working.serial)
        self.added: dict[Any, Any] = {
            number + at: item for at, item in enumerate(self.added.values())
        }


def next_number(items: Any, serial: int) -> int:
    """Return the number for the next item of a queue: one that no earlier item has had.

    If numbers were reused, merging would take two items for the same one. *serial* is the tid of
    the version that *items* were made of; 0 if there is none.
    """
    last = last_key(items)
    # The queue is empty: above all numbers that earlier versions have used.
    return serial << _ROOM if last is None else last + 1


_ROOM: Final = 32


def first_key(items: Any) -> Any:
    """Return the first key of a dict, also of a layered one or an overlay; ``None``: empty."""
    if isinstance(items, OverlayDict):
        return items.first(None)
    return next(each_key(items, iter), None)


def last_key(items: Any) -> Any:
    """Return the last key of a dict, also of a layered one or an overlay; ``None``: empty."""
    if isinstance(items, OverlayDict):
        return items.last(None)
    return next(each_key(items, reversed), None)
