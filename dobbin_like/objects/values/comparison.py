"""Comparing values of a state with those that it had before, to the type of each part.

What equals what it was is not written, and conflicts with nobody.
"""

from __future__ import annotations

import copyreg
import pickle
from operator import is_
from typing import Any, Final

from dobbin_like.objects.values.reduced import REDUCERS
from dobbin_like.objects.values.value_kinds import (
    BYTEARRAY,
    DICT,
    FRAMED,
    FROZENSET,
    IMMUTABLE,
    KINDS,
    LIST,
    OTHER,
    PLAIN_TYPES,
    REFERENCE,
    SET,
    TUPLE,
    frame_of,
)
from dobbin_like.objects.values.values import CopyPickler, deep_copy, reference_at


def _content(value: Any) -> tuple[bytes, tuple[int, ...]]:
    """Return what is the same for two values that have the same pickles and references."""
    return _content_and_form(value)[0]


def _content_and_form(value: Any) -> tuple[tuple[bytes, tuple[int, ...]], bool]:
    pickler = CopyPickler()
    data = pickler.dumped(value)
    return (data, tuple(map(id, pickler.references))), pickler.met_guarded


_SETS: Final = (pickle.EMPTY_SET, pickle.FROZENSET, b"\x8c\x03set")
"""What a pickle has that has a set: two equal ones may have their members in another order."""


def _has_set(data: bytes) -> bool:
    return any(opcode in data for opcode in _SETS)


def _parts_when_pickled(value: Any) -> Any:
    """Return what *value* is made of anew: a tuple, as ``__reduce_ex__`` returns."""
    registered: Any = copyreg.dispatch_table.get(type(value))
    made = registered(value) if registered else value.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    reduce = REDUCERS[type(value)]
    return made if reduce is None else reduce(value, made)


class StateComparison:
    """Compares values of a state with those of its base: one value in one is one in the other."""

    def __init__(self) -> None:
        self._values: dict[int, int] = {}
        self._bases: dict[int, int] = {}
        self._alive: list[Any] = []  # So that an id stays that of one value.
        self._by_parts = False

    def same(self, base: Any, value: Any) -> bool:
        """Return whether *value* is the same as *base*, to the type of each part.

        Stricter than ``==``: 1 is not ``True``, and the order of keys counts. Arbitrary objects
        are compared by their pickles. Cost: the smaller value.
        """
        if base is value:
            return True
        kind = KINDS[type(base)]
        if kind != KINDS[type(value)] or kind == REFERENCE:
            return False
        if kind == IMMUTABLE or kind == OTHER:
            return self._same_leaf(base, value)
        if kind not in (TUPLE, FROZENSET):
            framed = type(base) in FRAMED or type(value) in FRAMED
            if framed and frame_of(base) != frame_of(value):
                return False
            known = self._known(base, value)
            if known is not None:
                return known
        try:
            return len(base) == len(value) and self._same_items(base, value, kind)
        except RecursionError:  # too deep to be compared, or in a set and in itself: write it
            return False

    def _known(self, base: Any, value: Any) -> bool | None:
        """Return whether the two were met as a pair; None, and note it, if none of them was."""
        if id(base) in self._values or id(value) in self._bases:
            both = self._values.get(id(base)) == id(value)
            return both and self._bases.get(id(value)) == id(base)
        self._values[id(base)] = id(value)
        self._bases[id(value)] = id(base)
        return None

    def _same_leaf(self, base: Any, value: Any) -> bool:
        cls = type(base)
        if cls in PLAIN_TYPES:
            return cls is type(value) and bool(base == value)
        # A class that is not loaded is another one in each state.
        if isinstance(base, type) and isinstance(value, type):
            return base is value or getattr(base, "_p_number", -1) == getattr(
                value, "_p_number", 0
            )
        if hasattr(cls, "_p_parts") and hasattr(type(value), "_p_parts"):
            return self.same(base._p_parts(), value._p_parts())
        return cls is type(value) and self._same_content(base, value)

    def _same_content(self, base: Any, value: Any) -> bool:
        is_other = KINDS[type(base)] == OTHER
        if is_other and self._by_parts:  # The pickles of the whole differ.
            return self._same_parts(base, value)
        (one, guarded), (other, also) = _content_and_form(base), _content_and_form(value)
        if guarded != also:  # Guarded containers have another pickle than ordinary ones.
            base, value = deep_copy(base), deep_copy(value)
            one, other = _content(base), _content(value)
        if one == other:
            return True
        if not (is_other and _has_set(one[0])):
            return False
        self._by_parts = True
        try:
            return self._same_parts(base, value)
        finally:
            self._by_parts = False

    def _same_parts(self, base: Any, value: Any) -> bool:
        """Compare what two values are made of, when there are sets in them."""
        known = self._known(base, value)
        if known is not None:
            return known
        try:
            both = _parts_when_pickled(base), _parts_when_pickled(value)
        except Exception:  # noqa: BLE001  of the class; or it is pickled by its name
            return _content(base) == _content(value)
        try:
            # Of lists and dicts there are iterators.
            one, other = ([*part[:3], *map(_listed, part[3:])] for part in both)
            self._alive += (base, value, both, one, other)
            return self.same(one, other)
        except Exception:  # noqa: BLE001  of the class: write it
            return False

    def _same_items(self, base: Any, value: Any, kind: int) -> bool:
        if kind == BYTEARRAY:
            return bool(base == value)
        if kind == SET or kind == FROZENSET:
            like = _Likes().of
            return set(map(like, base)) == set(map(like, value))
        if kind == DICT:
            if not all(map(self.same, base, value)):
                return False
            base, value = base.values(), value.values()
        # That all are the same objects is found at the speed of C.
        return all(map(is_, base, value)) or all(map(self.same, base, value))


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same to the type of each part, see StateComparison.

    What stands for a value that is not there is the same as itself only.
    """
    if one is other:
        return True
    if type(one) in PLAIN_TYPES:
        return type(one) is type(other) and bool(one == other)
    return StateComparison().same(one, other)


def _listed(parts: Any) -> Any:
    return list(parts) if hasattr(parts, "__next__") else parts


def share_parts(some: list[Any], others: list[Any]) -> bool:
    """Return whether both lead to a value that can be changed. Cost: what is inside."""
    return not _parts_of(some).keys().isdisjoint(_parts_of(others))


def _parts_of(values: list[Any]) -> dict[int, Any]:
    pickler: Any = CopyPickler()
    pickler.dump(values)
    met = pickler.memo.copy()  # What pickle has to know again: (place, object) by id.
    met.pop(id(reference_at), None)
    return {id(part): part for _, part in met.values() if KINDS[type(part)] in _CHANGEABLE}


_CHANGEABLE: Final = frozenset({LIST, DICT, SET, BYTEARRAY, OTHER})


class _Likes:
    """What equals only its like, of members of sets, where 1 and True are equal.

    Cost: what is inside, once, however many lead to it.
    """

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._met: dict[int, tuple[Any, int]] = {}  # By id, with the value: it has to stay alive.

    def of(self, item: Any) -> Any:
        kind = KINDS[type(item)]
        if type(item) in PLAIN_TYPES:
            return type(item), item
        if kind == REFERENCE:
            return id(item)
        if kind in (SET, FROZENSET):
            return kind, frozenset(map(self.of, item))
        if kind == DICT and type(item) not in FRAMED:
            item = item.items()
        elif kind not in (LIST, TUPLE) or type(item) in FRAMED:
            if id(item) in self._met:
                return kind, self._met[id(item)][1]
            content = _content(item)
            if kind != OTHER or not _has_set(content[0]):
                return content
            return kind, self._number(item)
        return kind, tuple(map(self.of, item))

    def _number(self, item: Any) -> int:
        """Return the same number for all that are made of what is alike."""
        parts = tuple(map(self.of, map(_listed, _parts_when_pickled(item))))
        number = self._numbers.setdefault(parts, len(self._numbers))
        self._met[id(item)] = item, number
        return number
