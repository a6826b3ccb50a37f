"""``find()``: the objects that have certain values, by an index if there is one."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, SupportsIndex, TypeVar

from dobbin_like.exc import SearchError, UnknownAttributeWarning
from dobbin_like.ids import DISCARDED
from dobbin_like.indexes.conditions import Condition, condition
from dobbin_like.indexes.kept.catalog import catalog_of, key_of, oid_of
from dobbin_like.indexes.kept.definition import MISSING, Definition
from dobbin_like.indexes.kept.sortable import sortable
from dobbin_like.indexes.known import is_foreign, refuse_foreign, wrong_name
from dobbin_like.indexes.plan import plan
from dobbin_like.objects.deltas.overlay import Overlay
from dobbin_like.objects.faces.base import is_new
from dobbin_like.objects.faces.faces import PersistentMeta
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.faces.working_copy import PENDING
from dobbin_like.objects.values.refs import native_dict, ref_of
from dobbin_like.objects.values.short import short
from dobbin_like.objects.values.value_kinds import (
    DICT,
    FROZENSET,
    KINDS,
    LIST,
    REFERENCE,
    SET,
    TUPLE,
)
from dobbin_like.search.questions import all_instances, is_kind
from dobbin_like.store import Store, warn_if_redefined
from dobbin_like.warn_outside import warn_outside

T = TypeVar("T")

_Sorted = tuple[bytes, float, Any]
"""A key, an oid (that of a new object is above all), and the object."""


_OPTIONS: Final[dict[str, tuple[Any, str]]] = {
    "order_by": (str, "the name of one attribute (or sort what is found: sorted(..., key=...))"),
    "reverse": (int, "True or False"),
    "limit": ((int, SupportsIndex), "how many objects there may be"),
}


class Found(Generic[T]):
    """What ``find()`` returns: the objects, looked for anew each time it is iterated over.

    It is true if there is one; to find out takes as long as :meth:`first`. It has no length and
    no positions: use :meth:`count`, or ``list()``. It is for the thread, and the database, of
    which it was asked.
    """

    def __init__(
        self,
        store: Store,
        cls: type[T],
        conditions: dict[str, Condition],
        order_by: str | None,
        limit: int | None,
        *,
        reverse: bool,
    ) -> None:
        self._store = store
        self._cls = cls
        self._conditions = conditions
        self._order_by = order_by
        self._limit = limit
        self._reverse = reverse

    def __iter__(self) -> Iterator[T]:
        return self._look()

    def _look(self) -> Iterator[T]:
        """Look for the objects; warn if none is found because none has such an attribute."""
        if self._limit == 0:
            return iter(())
        search = _Search(self._store, self._cls, self._conditions, self._order_by)
        found = search.run(reverse=self._reverse)
        for first in found:
            return islice(chain((first,), found), self._limit)
        search.warn_of_names()
        return iter(())

    def first(self) -> T | None:
        """Return the first object, or None."""
        return next(self._look(), None)

    def count(self) -> int:
        """Return how many there are. Cost: as much as ``list()``, but for the memory."""
        return sum(1 for _ in self._look())

    def __bool__(self) -> bool:
        """Return whether there is an object."""
        return next(self._look(), None) is not None

    if not TYPE_CHECKING:  # Else type checkers would take it for a sequence.

        def __len__(self) -> NoReturn:
            text = (
                "what find() returns has no length, each look is a search: take count(), or "
                "list() if you need the objects, too"
            )
            raise TypeError(text)

        def __getitem__(self, _key: object) -> NoReturn:
            text = (
                "what find() returns has no positions: take first(), ask for the first few by "
                "limit=..., or make a list() of it"
            )
            raise TypeError(text)

        def __reversed__(self) -> NoReturn:
            text = "what find() returns can't be reversed: ask with order_by=..., reverse=True"
            raise TypeError(text)

    def explain(self) -> str:
        """Return how the objects are found: by which index, what is looked at, what is sorted."""
        return _Search(self._store, self._cls, self._conditions, self._order_by).text()

    def __repr__(self) -> str:
        asked = [f"{name}={value!r}" for name, value in self._conditions.items()]
        return f"<find({', '.join([self._cls.__name__, *asked])})>"


def find(
    store: Store,
    cls: type[T],
    where: Mapping[str, Any] | None = None,
    /,
    *,
    order_by: str | None = None,
    reverse: bool = False,
    limit: int | None = None,
    **conditions: Any,
) -> Found[T]:
    """Find the objects of *cls* and its subclasses whose attributes have certain values.

    ``find(Account, owner="Ada", balance=between(10, 20))``: a value, which it has to equal, or a
    condition of :mod:`dobbin_like.indexes`. The name of a function that has an index is asked as
    an attribute is. What is found is what the calling thread sees: its snapshot, with what it
    has changed and not committed, and the new objects that this leads to.

    Objects that the root does not lead to are among them until the database is packed, unless
    they were given to ``discard()``. What has no such attribute, or a value without an order, is
    not found; if no object of the class has it, a search that finds nothing gives an
    :class:`~dobbin_like.exc.UnknownAttributeWarning`. Without an index that fits, all objects are
    looked at, as by ``instances()``; :meth:`Found.explain` tells.

    Args:
        where: Conditions by the names of attributes, for those that can't be given as keywords:
            ``find(Card, {"limit": above(5)}, limit=10)``.
        order_by: An attribute by whose values they come, equal ones by their oids. Without, the
            order is not defined.
        reverse: The greatest first.
        limit: At most so many.

    Raises:
        TypeError: *cls* is no persistent class, or a value has no order.
        SearchError: The question is one of another library: ``age__gt=1``, ``order_by="-age"``. Or
            an option has a value that can only be meant for an attribute of its name.

    Cost: The entries of the index that fits best, the objects that have to be looked at, and all
    that the transaction has changed by now.
    """
    given: Any = cls
    if not isinstance(given, type):
        text = f"expected a class, got {type(given).__name__}"
        raise TypeError(text)
    if order_by is not None or limit is not None or reverse is not False:
        _check_options(store, cls, order_by=order_by, reverse=reverse, limit=limit)
    if limit is not None and limit < 0:
        text = f"limit is {limit}, expected 0 or more"
        raise ValueError(text)
    store.check_open()
    warn_if_redefined(store, cls)
    if where is not None:
        conditions = _joined(store, cls, where, conditions)
    asked = {name: condition(value) for name, value in conditions.items()}
    for name in asked:
        if is_foreign(name):
            _refuse(store, cls, name, f"{name}=...")
    if order_by is not None and is_foreign(order_by):
        _refuse(store, cls, order_by, f"order_by={order_by!r}")
    return Found(store, cls, asked, order_by, limit, reverse=reverse)


def _check_options(store: Store, cls: type, **options: Any) -> None:
    """Refuse values that can only be meant for attributes of these names."""
    for name, (fits, expected) in _OPTIONS.items():
        value = options[name]
        if not (value is None or isinstance(value, fits)):
            told = repr(value) if isinstance(value, Condition) else short(value)
            instead = (
                f"{name} is {expected}; for an attribute of that name, call "
                f"find({cls.__name__}, {{{name!r}: {told}}})"
            )
            raise SearchError(store.storage.path, cls.__name__, f"{name}={told}", instead)


def _joined(store: Store, cls: type, where: Any, conditions: dict[str, Any]) -> dict[str, Any]:
    """Return all conditions. SearchError: *where* is no mapping of names, or repeats one."""
    asked, instead = short(where), "expected conditions by names, {'name': value}"
    if isinstance(where, Mapping) and all(isinstance(name, str) for name in where):
        both = [name for name in where if name in conditions]
        if not both:
            return {**where, **conditions}
        asked, instead = f"..., {both[0]}=...", "it is asked twice, ask one condition"
    raise SearchError(store.storage.path, cls.__name__, asked, instead)


def _refuse(store: Store, cls: type, name: str, asked: str) -> None:
    """Raise SearchError unless there is an attribute of that name, or a function."""
    search = _Search(store, cls, {}, None)
    if not search.has_function(name):
        refuse_foreign(store, cls, name, asked, search.run(reverse=False))


class _Search:
    """One run of a search, in what the calling thread sees now."""

    def __init__(
        self, store: Store, cls: type, conditions: dict[str, Condition], order_by: str | None
    ) -> None:
        manager = store.manager()
        view = manager.view
        self._store = store
        self._graph = store.graph
        self._new_root = manager.new_root
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
        found = [Definition(self._graph, each) for each in catalog.indexes.values()]
        return [each for each in found if each.is_of(self._cls._p_faces.plain)]

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
        new = [] if self._new_root is None else [self._new_root[0]]
        todo: list[Any] = [value for copy in copies for value in copy.values()]
        seen = {id(obj) for obj in new}
        todo.extend(value for obj in new for value in native_dict(obj).values())
        while todo:
            value = todo.pop()
            kind = KINDS[type(value)]
            if value is PENDING or id(value) in seen or (kind < REFERENCE):
                continue
            seen.add(id(value))
            if kind == REFERENCE:
                if is_new(ref_of(value)):
                    new.append(value)
                    todo.extend(native_dict(value).values())
            elif isinstance(value, Overlay):
                todo.extend(value.touched())
            elif kind == DICT:
                todo.extend([*value, *value.values()])
            elif kind in (LIST, SET, TUPLE, FROZENSET):
                todo.extend(value)
        found = [copy.obj for copy in copies] + new
        return [obj for obj in found if self._is_wanted(obj)]


def _place(found: _Sorted) -> tuple[bytes, float]:
    return found[:2]
