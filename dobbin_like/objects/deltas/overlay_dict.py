"""Large dicts and queues in a working copy."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, MutableMapping, ValuesView
from typing import Any, Final

from dobbin_like.objects.deltas.layered import built_in
from dobbin_like.objects.deltas.overlay import (
    NONE_LEFT,
    FirstKey,
    Overlay,
    Turned,
    each_key,
    key_in,
    stands_for,
)
from dobbin_like.objects.values.value_kinds import DICT, PLAIN_TYPES, SHAREABLE
from dobbin_like.objects.values.values import StateComparison

_MISSING: Final = NONE_LEFT


@stands_for(DICT)
class OverlayDict(Overlay, MutableMapping[Any, Any]):
    """A dict that is being changed.

    ``over`` has new values of keys that are at the place where the base has them, ``put``
    the keys behind: new ones, and those that went and came again. What went from its place
    never comes back to it.
    """

    __slots__ = ()
    kind = dict
    _parts = ("gone", "put", "own", "over")

    def __init__(self, working: Any, base: Any) -> None:
        super().__init__(working, base)
        self.over: dict[Any, Any] = {}
        self._first = FirstKey(iter, base)
        self._last = FirstKey(reversed, base)

    def __getitem__(self, key: Any) -> Any:
        value = self.put.get(key, _MISSING)
        if value is not _MISSING:
            return value
        if key in self.gone:
            raise KeyError(key)
        value = self.over.get(key, _MISSING)
        return self._value(key, self.base[key]) if value is _MISSING else value

    def __contains__(self, key: object) -> bool:
        return key in self.put or (key not in self.gone and key in self.base)

    def __setitem__(self, key: Any, value: Any) -> None:
        if key in self.gone or key not in self.base:
            self.put[key] = value
        else:
            self.over[self._named(key)] = value
            self.own.pop(key, None)

    def __delitem__(self, key: Any) -> None:
        if key in self.put:
            del self.put[key]
        elif key in self.gone or key not in self.base:
            raise KeyError(key)
        else:
            # The first step counts: an interrupt leaves nothing half done.
            self.gone[self._named(key)] = None
            self.over.pop(key, None)
            self.own.pop(key, None)

    def _named(self, key: Any) -> Any:
        return key if type(key) in PLAIN_TYPES else key_in(self.base, key)

    # -- iteration ---------------------------------------------------------------------

    def _keys(self, order: Any) -> Iterator[Any]:
        """Yield the keys in order; whoever changes the size meanwhile is told so."""
        gone, put = self.gone, self.put
        more = len(put) - len(gone)
        parts = (put, self.base) if order is reversed else (self.base, put)
        for part in parts:
            for key in order(part):
                if part is not put and key in gone:
                    continue
                yield key
                if len(put) - len(gone) != more or isinstance(self, Turned):
                    text = "dictionary changed size during iteration"
                    raise RuntimeError(text)

    def __iter__(self) -> Iterator[Any]:
        return self._keys(iter)

    def __reversed__(self) -> Iterator[Any]:
        return self._keys(reversed)

    def keys(self) -> KeysView[Any]:
        """Return a view of the keys."""
        return _Keys(self)

    def values(self) -> ValuesView[Any]:
        """Return a view of the values."""
        return _Values(self)

    def items(self) -> ItemsView[Any, Any]:
        """Return a view of the pairs (key, value)."""
        return _Items(self)

    def first(self, default: Any) -> Any:
        """Return the first key. Cost: none, as a rule."""
        key = self._first.find(self.gone)
        return next(iter(self.put), default) if key is _MISSING else key

    def last(self, default: Any) -> Any:
        """Return the last key. Cost: none, as a rule."""
        key = next(reversed(self.put), _MISSING)
        key = self._last.find(self.gone) if key is _MISSING else key
        return default if key is _MISSING else key

    # -- the difference ------------------------------------------------------------------

    def is_changed(self) -> bool:
        return super().is_changed() or bool(self.over)

    def settle(self) -> bool:
        over, own = self.over, self.own
        aliases, base = StateComparison(), self.base
        for key in [*over]:
            if key in self.gone:
                del over[key]
            elif aliases.same(base[key], over[key]):  # It was set to what it was.
                own[key] = over.pop(key)
        for key in self._changed_own():
            over.setdefault(key, own[key])
            del own[key]
        return True

    def came(self) -> Any:
        gone = self.gone
        return {key: value for key, value in self.over.items() if key not in gone} | self.put

    def become(self, now: Any) -> bool:
        aliases, base = StateComparison(), built_in(self.base)
        kept = dict.fromkeys(_at_their_place(base, now))
        self.gone = {key: None for key in base if key not in kept}
        self.put = {key: value for key, value in now.items() if key not in kept}
        self.own = {key: now[key] for key in kept}
        self.over = {
            key: self.own.pop(key)
            for key in kept
            # By itself, too: what was met before is compared no further.
            if not (
                aliases.same(base[key], now[key]) and StateComparison().same(base[key], now[key])
            )
        }
        return True

    def _touches_the_same(self, items: Any) -> bool:
        return all(self._is_same(key, items) for key in (*self.gone, *self.over, *self.put))

    def _is_same(self, key: Any, items: Any) -> bool:
        base = self.base
        if key not in base or key not in items:
            return key not in base and key not in items
        return StateComparison().same(base[key], items[key])

    def move_to(self, items: Any) -> None:
        super().move_to(items)
        self._first = FirstKey(iter, items)
        self._last = FirstKey(reversed, items)

    def plain(self) -> dict[Any, Any]:
        base = built_in(self.base)
        if not SHAREABLE.issuperset(map(type, base.values())):
            return {key: self[key] for key in self}
        whole = {**base}
        for key in self.gone:
            del whole[key]
        whole.update(self.came())
        return whole

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return the pair that was added last."""
        if self.put:
            pair: tuple[Any, Any] = self.put.popitem()
            return pair
        key = self.last(_MISSING)
        if key is _MISSING:
            text = "popitem(): dictionary is empty"
            raise KeyError(text)
        return key, self.pop(key)

    def clear(self) -> None:
        """Remove all items."""
        self._whole().clear()

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self


def _at_their_place(base: dict[Any, Any], now: dict[Any, Any]) -> Iterator[Any]:
    """Yield the first keys of *now*, which was made of *base*: those that have never been away."""
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
    """The keys of a dict that is being changed."""

    __slots__ = ()
    _mapping: OverlayDict

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self._mapping)

    def __repr__(self) -> str:
        return repr(self._mapping.plain().keys())


class _Values(ValuesView[Any]):
    """Its values."""

    __slots__ = ()
    _mapping: OverlayDict

    def __reversed__(self) -> Iterator[Any]:
        return map(self._mapping.__getitem__, reversed(self._mapping))

    def __repr__(self) -> str:
        return repr(self._mapping.plain().values())


class _Items(ItemsView[Any, Any]):
    """Its pairs (key, value)."""

    __slots__ = ()
    _mapping: OverlayDict

    def __contains__(self, item: object) -> bool:
        return isinstance(item, tuple) and len(item) == 2 and super().__contains__(item)

    def __reversed__(self) -> Iterator[Any]:
        return ((key, self._mapping[key]) for key in reversed(self._mapping))

    def __repr__(self) -> str:
        return repr(self._mapping.plain().items())


class OverlayQueue(OverlayDict):
    """The items of a queue, by number: what was put in gets its numbers when it is merged."""

    __slots__ = ()

    def _touches_the_same(self, items: Any) -> bool:
        return all(self._is_same(number, items) for number in (*self.gone, *self.over))

    def follow(self, items: Any) -> None:
        number = next_number(items, self.working.serial)
        self.put = {number + at: item for at, item in enumerate(self.put.values())}


def next_number(items: Any, serial: int) -> int:
    """Return the number for the next item of a queue: one that none before it has had.

    An item of an earlier version would be taken for another one that has its number.

    Args:
        serial: The tid of the version that *items* are, or are made of; 0 if it is new.
    """
    last = last_key(items)
    # Numbers were given out since an earlier version; less than one would have room for.
    return serial << _ROOM if last is None else last + 1


_ROOM: Final = 32


def first_key(items: Any) -> Any:
    """Return the first key of a dict, also of a layered one or an overlay; ``None``: empty.

    Cost: what was changed since the one below was made.
    """
    return (
        items.first(None) if isinstance(items, OverlayDict) else next(each_key(items, iter), None)
    )


def last_key(items: Any) -> Any:
    """Return the last key of a dict, also of a layered one or an overlay; ``None``: empty."""
    if isinstance(items, OverlayDict):
        return items.last(None)
    return next(each_key(items, reversed), None)
