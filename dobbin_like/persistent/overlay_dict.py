"""Large dicts and queues in a working copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from itertools import chain
from typing import Any, Final

from dobbin_like.persistent.kinds import DICT, SHAREABLE
from dobbin_like.persistent.layered import LayeredDict, built_in
from dobbin_like.persistent.overlay import Overlay, stands_for
from dobbin_like.persistent.values import Aliases

_MISSING: Final = object()


@stands_for(DICT)
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
