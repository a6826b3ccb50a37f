"""One search for the objects that have certain values: by an index that fits, or among all."""

from __future__ import annotations

import copyreg
import heapq
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from types import MethodType
from typing import Any, Final

from dobbin_like.exc import UnknownAttributeWarning
from dobbin_like.ids import DISCARDED
from dobbin_like.indexes.conditions import Condition
from dobbin_like.indexes.kept.catalog import catalog_of, key_of, oid_of
from dobbin_like.indexes.kept.definition import MISSING, Definition, class_names
from dobbin_like.indexes.kept.sortable import sortable
from dobbin_like.indexes.known import wrong_name
from dobbin_like.indexes.plan import plan
from dobbin_like.objects.deltas.overlay import Overlay
from dobbin_like.objects.faces.base import is_new
from dobbin_like.objects.faces.classes.metaclass import PersistentMeta
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.faces.working_copy import PENDING
from dobbin_like.objects.values.refs import native_dict, ref_of
from dobbin_like.objects.values.value_kinds import (
    KINDS,
    OTHER,
    REFERENCE,
    REFERENCES,
    SHAREABLE,
)
from dobbin_like.objects.values.values import CopyPickler
from dobbin_like.search.questions import all_instances, is_kind
from dobbin_like.store import Store
from dobbin_like.warn_outside import warn_outside

__all__ = ["Search"]

_Sorted = tuple[bytes, float, Any]
"""A key, an oid (that of a new object is above all), and the object."""


class Search:
    """One run of a search, in what the calling thread sees now."""

    def __init__(
        self, store: Store, cls: type, conditions: dict[str, Condition], order_by: str | None
    ) -> None:
        manager = store.manager()
        view = manager.view
        self._store = store
        self._graph = store.graph
        self._view: View | None = view if view.active else None
        self._cls = cls
        self._conditions = conditions
        self._order_by = order_by
        self._definitions = self._find_definitions()
        self._plan = plan(self._definitions, conditions, order_by)
        self._others_wanted: dict[type, bool] = {}  # Classes, whether they are of ours by name.
        self._lacking: set[str] = set()  # What an object was asked for, and did not have.

    def _find_definitions(self) -> list[Definition]:
        if not (self._graph.indexed and isinstance(self._cls, PersistentMeta)):
            return []
        catalog = catalog_of(self._graph, self._view)
        if catalog is None:
            return []
        graph = self._graph
        own = {(c.__module__, c.__qualname__) for c in self._cls._p_faces.plain.__mro__}
        return [
            Definition(graph, each)
            for each in catalog.indexes.values()
            if not own.isdisjoint(class_names(graph, each))  # Most are of other classes.
        ]

    def has_function(self, name: str) -> bool:
        """Return whether there is an index over a function of that name."""
        return any(each.function is not None and name in each.names for each in self._definitions)

    def warn_of_names(self) -> None:
        """Warn of attributes that no object has. Nothing was found."""
        if not self._lacking:
            return
        own = [] if self._view is None else self._own(self._view)
        for name in sorted(self._lacking):
            values = [getattr(obj, name, MISSING) for obj in own]
            has_own = any(not (each is MISSING or type(each) is MethodType) for each in values)
            if has_own or self.has_function(name):
                continue
            wrong = wrong_name(self._store, self._cls, name)
            if wrong is not None:
                text = f"{self._store.storage.path}: find({self._cls.__name__}, ...): {wrong}"
                warn_outside(text, UnknownAttributeWarning)

    def text(self) -> str:
        how = self._plan
        rest = [name for name in self._conditions if how is None or name not in how.used]
        if how is None:
            parts = [f"no index fits: looks at all objects for those of {self._cls.__name__}"]
        else:
            used = [
                f"{name} {self._conditions[name]}"
                for name in how.definition.names
                if name in how.used
            ]
            parts = [f"index {how.definition.name}: {', '.join(used) or 'all of it'}"]
        if rest:
            parts.append(f"checks {', '.join(rest)}")
        if self._order_by is not None:
            is_sorted = how is not None and how.sorted_behind is not None
            parts.append(f"{'in the order of' if is_sorted else 'sorts by'} {self._order_by}")
        return "; ".join(parts)

    def run(self, *, reverse: bool) -> Iterator[Any]:
        view, how, order_by = self._view, self._plan, self._order_by
        own = [] if view is None else self._own(view)
        seen = {id(obj) for obj in own}
        mine = [obj for obj in own if self._fits(obj, self._conditions)]
        if order_by is None:
            return chain((obj for _, obj in self._others(seen, reverse=reverse)), mine)
        sorted_mine = sorted(self._keyed(mine), key=_place, reverse=reverse)
        if how is not None and how.sorted_behind is not None:
            at = how.sorted_behind
            others: Any = (
                (key_of(entry)[at:], oid_of(entry), obj)
                for entry, obj in self._others(seen, reverse=reverse)
            )
        else:
            found = (obj for _, obj in self._others(seen, reverse=False))
            others = sorted(self._keyed(found), key=_place, reverse=reverse)
        if sorted_mine:
            others = heapq.merge(others, sorted_mine, key=_place, reverse=reverse)
        return (obj for _, _, obj in others)

    def _others(self, seen: set[int], *, reverse: bool) -> Iterator[tuple[bytes, Any]]:
        """Yield the entries and objects that fit, of those that this thread has not changed."""
        how = self._plan
        if how is None:
            for obj in all_instances(self._store, self._cls):
                if id(obj) not in seen and self._fits(obj, self._conditions):
                    yield b"", obj
            return
        # Without a snapshot, an object may be newer than its entry.
        used = how.used if self._view is not None else frozenset[str]()
        rest = {name: each for name, each in self._conditions.items() if name not in used}
        ghosts, packed, has = self._graph.ghosts, self._graph.packed, self._graph.storage.has
        tid = None if self._view is None else self._view.tid
        for entry in how.entries(backward=reverse):
            oid = oid_of(entry)
            if packed and not has(oid):
                continue  # A pack has dropped it.
            obj = ghosts.get(oid, tid)
            is_other = self._is_wanted(obj) and id(obj) not in seen
            if is_other and (not rest or self._fits(obj, rest)):
                yield entry, obj

    def _is_wanted(self, obj: Any) -> bool:
        if isinstance(obj, self._cls):
            return True
        face = type(obj)
        wanted = self._others_wanted.get(face)
        if wanted is None:
            wanted = self._others_wanted[face] = is_kind(face, self._cls)
        return wanted

    def _fits(self, obj: Any, conditions: dict[str, Condition]) -> bool:
        keys = ((each, self._key(obj, name)) for name, each in conditions.items())
        return not self._is_discarded(obj) and all(
            key is not None and each.has(key) for each, key in keys
        )

    def _is_discarded(self, obj: Any) -> bool:
        return getattr(obj, DISCARDED, False) is True

    def _key(self, obj: Any, name: str) -> bytes | None:
        """Return the value of *obj* as a key; None: it has none, or one without an order."""
        for definition in self._definitions:
            if definition.function is not None and definition.names == (name,):
                value = definition.value(obj, name)
                break
        else:
            value = getattr(obj, name, MISSING)
            if value is MISSING or type(value) is MethodType:
                self._lacking.add(name)
                return None
        try:
            return None if value is MISSING else sortable(value)
        except TypeError:
            return None

    def _keyed(self, objects: Any) -> Iterator[_Sorted]:
        assert self._order_by is not None
        for obj in objects:
            key = self._key(obj, self._order_by)
            if key is not None:
                ref = ref_of(obj)
                yield key, float("inf") if ref is None else ref.oid, obj

    def _own(self, view: View) -> list[Any]:
        """Return the objects of the class that the transaction has checked out or made."""
        copies = list(view.working.values())
        new = [] if view.new_root is None else [view.new_root[0]]
        todo: list[Any] = [value for copy in copies for value in copy.values()]
        seen = {id(obj) for obj in new}
        todo.extend(value for obj in new for value in native_dict(obj).values())
        others: list[Any] = []
        leaves = SHAREABLE - REFERENCES
        while todo or others:
            if not todo:
                todo, others = _references_in(others), []
                continue
            value = todo.pop()
            kind = KINDS[type(value)]
            if value is PENDING or id(value) in seen or (kind < REFERENCE):
                continue
            seen.add(id(value))
            if kind == OTHER and not isinstance(value, Overlay):
                if not _has_only(leaves, value):
                    others.append(value)
            elif kind != REFERENCE:
                todo.extend(_inside(value))
            elif is_new(ref_of(value)):
                new.append(value)
                todo.extend(native_dict(value).values())
        found = [copy.obj for copy in copies] + new
        return [obj for obj in found if self._is_wanted(obj)]


def _has_only(types: set[type], value: Any) -> bool:
    """Return whether a value, as most dataclasses, has nothing but attributes of these types."""
    cls: Any = type(value)
    return _is_its_dict(cls) and types.issuperset(map(type, value.__dict__.values()))


@cache
def _is_its_dict(cls: type) -> bool:
    """Return whether pickle takes the dict of a value of *cls*, and nothing else."""
    own = [name for base in cls.__mro__[:-1] for name in vars(base)]
    return (
        cls.__dictoffset__ != 0
        and _OTHERWISE.isdisjoint(own)
        and not issubclass(cls, (list, dict))
        and cls not in copyreg.dispatch_table
    )


_OTHERWISE: Final = frozenset(
    "__getnewargs__ __getnewargs_ex__ __getstate__ __reduce__ __reduce_ex__ __slots__".split()
)


def _inside(value: Any) -> Iterable[Any]:
    """Return what is in a container and may be new."""
    if isinstance(value, Overlay):
        return value.touched()
    if isinstance(value, dict):
        return [*value, *value.values()]
    return () if isinstance(value, bytearray) else value


def _references_in(values: list[Any]) -> list[Any]:
    """Return what arbitrary *values* lead to; if one can't be stored, what the others do."""
    pickler = CopyPickler()
    try:
        pickler.dump(values)  # At once: it takes less than each alone.
    except Exception:  # noqa: BLE001  of a class: the commit tells
        if len(values) == 1:
            return pickler.references
        return [each for value in values for each in _references_in([value])]
    return pickler.references


def _place(found: _Sorted) -> tuple[bytes, float]:
    return found[:2]
