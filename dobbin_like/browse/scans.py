"""Looking through all objects, a part of a second at a time.

A request looks as long as a person waits gladly, and tells where the next one goes on: nothing
is left behind by a browser that is closed, and what was found is there at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice
from time import monotonic
from typing import Any, Final, NamedTuple

from dobbin_like.browse.shown import Sight
from dobbin_like.cli.stored import StoredObject
from dobbin_like.cli.values import content_of
from dobbin_like.exc import Error
from dobbin_like.ids import Oid, Tid
from dobbin_like.objects.codec.shown.preview import Cut
from dobbin_like.objects.codec.state_reader import Reference, way_to
from dobbin_like.objects.deltas.delta import ITEMS

SECONDS: Final = 0.4
"""For one request."""

_HITS: Final = 50

_BYTES: Final = 1 << 24
"""Of the objects that were found, from which on a request is over."""

_DEPTH: Final = 3
"""Values in each other that are compared."""

_COLLECTIONS: Final = (dict, list, tuple, set, frozenset)

_NAMELESS: Final = object()
"""In the place of the name of an item of a collection that is an object itself."""

_SHORT: Final = 1 << 64
"""An integer below has a short text."""


class Hit(NamedTuple):
    """An object that was found, and why; or one that can't be read."""

    oid: Oid
    found: StoredObject | None
    way: str
    value: Any = None
    error: Error | None = None


class Slice(NamedTuple):
    """What was found from an oid on. ``next`` is where it goes on; None: that was all."""

    hits: list[Hit]
    next: int | None
    total: int


Look = Callable[[StoredObject], Hit | None]
"""Returns a hit if the object is one. May raise errors of ours: it is damaged."""


def scan(sight: Sight, start: int, look: Look, seconds: float = SECONDS) -> Slice:
    """Look at the objects from *start* on, for some time, or until there are enough hits."""
    until = monotonic() + seconds
    total = int(sight.storage.next_oid)
    hits: list[Hit] = []
    size = 0
    for oid in range(start, total):
        is_over = len(hits) >= _HITS or size > _BYTES
        if is_over or (oid > start and monotonic() > until):
            return Slice(hits, oid, total)
        hit = _look(sight, Oid(oid), look)
        if hit is not None:
            hits.append(hit)
            size += 0 if hit.found is None else len(hit.found.stored.data)
    return Slice(hits, None, total)


def _look(sight: Sight, oid: Oid, look: Look) -> Hit | None:
    found: StoredObject | None = None
    try:
        found = sight.get(oid)
        return None if found is None else look(found)
    except Error as error:
        return Hit(oid, found, "", error=error)


def referrers_of(sight: Sight, target: int) -> Look:
    """Return what finds the objects that refer to *target*, with the first of their ways."""

    def look(found: StoredObject) -> Hit | None:
        if target not in sight.references(found):
            return None
        return Hit(found.oid, found, way_to(sight.state(found), target))

    return look


def like(sight: Sight, classes: set[str] | None, attribute: str, wanted: str) -> Look:
    """Return what finds objects of some classes (None: of any), by the value of an attribute.

    An empty *attribute* is any, an empty *wanted* is any value. A text is found by a part of it,
    in upper or lower case; another value by what Python would print. For collections, it is a
    key or an item that is found.
    """
    folded = wanted.casefold()

    def look(found: StoredObject) -> Hit | None:
        if classes is not None and found.class_name not in classes:
            return None
        if not attribute and not wanted:
            return Hit(found.oid, found, "")
        for steps, name, value in _values(sight.state(found)):
            if wanted and not _matches(sight, value, folded):
                continue
            if not attribute or attribute == _named(sight, name):
                return Hit(found.oid, found, _way(sight, steps), value)
        return None

    return look


def _matches(sight: Sight, value: Any, folded: str) -> bool:
    if type(value) is int and -_SHORT < value < _SHORT:  # Of most of what there are many.
        return folded == str(value)
    if type(value) is Reference:
        return folded == f"oid {value.oid}"
    if isinstance(value, str):
        return folded in value.casefold()
    if type(value) is Cut:
        return value.has(folded)
    content = content_of(value, sight.name_of)
    if content.items is not None or content.pairs is not None:
        return False
    if folded == content.text.casefold():
        return True
    # As str() has a date or a decimal; of what is long, only the text above is compared.
    is_short = not isinstance(value, (bytes, bytearray)) and not content.text.startswith("<")
    return is_short and folded == str(value).casefold()


_Steps = tuple[tuple[str, Any], ...]
"""How a value is reached: by an attribute, an item of a dict, its key, a place, as a member."""


def _values(state: dict[str, Any]) -> Iterator[tuple[_Steps, Any, Any]]:
    """Yield what is in a state: the way to it, the name of the attribute or the key, the value."""
    for name, value in state.items():
        is_own = name == ITEMS
        above: _Steps = () if is_own else (("attribute", name),)
        if not is_own:
            yield above, name, value
        yield from _inside(above, _NAMELESS if is_own else name, value, _DEPTH)


def _inside(above: _Steps, name: Any, value: Any, depth: int) -> Iterator[tuple[_Steps, Any, Any]]:
    if depth and isinstance(value, dict):
        for key, item in value.items():
            below, label = (*above, ("item", key)), key if name is _NAMELESS else name
            yield below, label, item
            yield (*above, ("key", key)), label, key
            if isinstance(item, _COLLECTIONS):
                yield from _inside(below, label, item, depth - 1)
    elif depth and isinstance(value, _COLLECTIONS):
        kind = "place" if isinstance(value, (list, tuple)) else "member"
        for number, item in enumerate(value):
            below = (*above, (kind, number))
            yield below, name, item
            if isinstance(item, _COLLECTIONS):
                yield from _inside(below, name, item, depth - 1)


def _named(sight: Sight, name: Any) -> str:
    if name is _NAMELESS:
        return ""
    return name if type(name) is str else _key(sight, name)


def _way(sight: Sight, steps: _Steps) -> str:
    """Return the way to a value as in Python. It is made of few of those that are compared."""
    made = ""
    for kind, key in steps:
        if kind == "attribute":
            made += f".{key}"
        elif kind == "place":
            made += f"[{key}]"
        elif kind == "member":
            made += " member"
        else:
            made += f"[{_key(sight, key)}]" + " key" * (kind == "key")
    return made


def _key(sight: Sight, key: Any) -> str:
    return sight.values.short(key, 60)


class Counting:
    """The objects and bytes of each class as of one tid, counted bit by bit. Any thread."""

    def __init__(self, tid: Tid) -> None:
        self.tid = tid
        self.classes: dict[str, list[int]] = {}
        self.damaged: list[tuple[Oid, Error]] = []
        self.next: int = 0
        self.total: int = 0
        self._lock = threading.Lock()

    @property
    def is_done(self) -> bool:
        """Whether all is counted."""
        return 0 < self.total <= self.next or self.total == self.next == -1

    def go_on(self, sight: Sight, seconds: float = SECONDS) -> None:
        """Count for some time, of *sight*, which is as of the same tid."""
        with self._lock:
            self.total = int(sight.storage.next_oid) or -1
            if self.is_done:
                return
            begin, until = self.next, monotonic() + seconds
            for oid in range(begin, self.total):
                if oid > begin and monotonic() > until:
                    self.next = oid
                    return
                self._count(sight, Oid(oid))
            self.next = self.total

    def _count(self, sight: Sight, oid: Oid) -> None:
        try:
            found = sight.get(oid)
            if found is not None:
                size = sight.size(found)
                count = self.classes.setdefault(found.class_name, [0, 0])
                count[0] += 1
                count[1] += size
        except Error as error:
            if len(self.damaged) < _HITS:
                self.damaged.append((oid, error))

    def rows(self) -> list[tuple[str, int, int]]:
        """Return name, objects and bytes of each class, the largest first."""
        with self._lock:
            rows = [(name, count[0], count[1]) for name, count in self.classes.items()]
        return sorted(rows, key=lambda each: (-each[2], each[0]))


class Countings:
    """The last few countings. Any thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Tid, Counting] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, tid: Tid) -> Counting:
        """Return the counting as of *tid*, which may have begun."""
        with self._lock:
            counting = self._kept.pop(tid, None) or Counting(tid)
            self._kept[tid] = counting
            for old in list(islice(self._kept, max(0, len(self._kept) - 4))):
                del self._kept[old]
            return counting
