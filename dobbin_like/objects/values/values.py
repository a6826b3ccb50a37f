"""Values inside states: from a thread to shared state and back.

Shared state has guarded values, a working copy ordinary ones. Persistent objects are
references: they are neither copied nor entered.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Collection, Iterable
from itertools import chain, repeat
from typing import Any, Final

from dobbin_like.objects.values.declared import (
    declares_parts,
    frozen_of,
    is_frozen,
    replace_parts,
)
from dobbin_like.objects.values.guards import SHARED_TYPES, SharedList, make_shared, shared_list
from dobbin_like.objects.values.reduced import REDUCERS
from dobbin_like.objects.values.refs import Identity, ObjectRef, State
from dobbin_like.objects.values.value_kinds import (
    BASES,
    BYTEARRAY,
    FRAMED,
    FROZENSET,
    KINDS,
    OTHER,
    REFERENCE,
    SET,
    SHAREABLE,
    TUPLE,
    fill,
    frame,
)


def are_shareable(values: Collection[Any]) -> bool:
    """Return whether *values*, or if all of them are tuples, the parts of these, are never copied.

    That nothing has to be done is so found at the speed of C.
    """
    types = set(map(type, values))
    if types == _TUPLES:  # As the keys of a sorted tree often are.
        types = set(map(type, chain.from_iterable(values)))
    return SHAREABLE.issuperset(types)


_TUPLES: Final = {tuple}


class _Copier:
    """Copies built-in containers, however deep; a value that is reached twice stays one.

    Lists and dicts are made empty and filled later: a container may hold itself, and nesting
    costs no stack. ``found_other``: an arbitrary object was met, which is left as it is.
    """

    def __init__(self, memo: dict[int, Any]) -> None:
        # The copies by id of the original.
        self._memo = memo
        self.found_other: bool = False
        self._todo: list[tuple[Any, Any]] = []

    def copy(self, value: Any) -> Any:
        """Return *value* or a copy of it. Cost: what is inside."""
        result = self._part(value)
        while self._todo:
            made, original = self._todo.pop()
            if made is original:
                replace_parts(made, self._part)
            elif isinstance(made, dict):
                parts = zip(self._keys(original), self._parts(original.values()), strict=True)
                (fill if type(original) in FRAMED else dict.update)(made, parts)
            else:
                extend = fill if type(original) in FRAMED else list.extend
                extend(made, self._parts(original))
        return result

    def _parts(self, values: Iterable[Any]) -> Iterable[Any]:
        values = list(values)
        if are_shareable(values):
            return values
        return [self._part(value) for value in values]

    _keys = _parts  # Of dicts and sets: those of a state that is stored are looked at.

    def _part(self, value: Any) -> Any:
        kind = KINDS[type(value)]
        if kind <= REFERENCE:
            return value
        if kind == OTHER:
            self.found_other = True
            return self._other(value)
        if kind == TUPLE and SHAREABLE.issuperset(map(type, value)):
            return value
        known = self._memo.get(id(value))
        if known is not None:
            return self._again(known)
        if kind == TUPLE or kind == FROZENSET:
            parts = self._parts(value) if kind == TUPLE else self._keys(value)
            same = all(old is new for old, new in zip(value, parts, strict=True))
            made = value if same else (tuple if kind == TUPLE else frozenset)(parts)
            return self._remember(value, made)
        base = FRAMED[type(value)] if type(value) in FRAMED else BASES[kind]
        made = self._remember(value, self._empty(base, value))
        if kind == SET:
            set.update(made, self._keys(value))
        elif kind == BYTEARRAY:
            bytearray.extend(made, value)
        else:
            self._todo.append((made, value))
        return made

    def _remember(self, value: Any, made: Any) -> Any:
        self._memo[id(value)] = made
        return made

    def _empty(self, base: Any, value: Any) -> Any:
        made = base()
        if base in FRAMED:
            frame(made, value)
        return made

    def _again(self, made: Any) -> Any:
        return made

    def _other(self, value: Any) -> Any:
        return value


class Freezer(_Copier):
    """Copies the values of one state, guarded, so that they can be shared.

    An arbitrary object can't be guarded; if ``found_other``, the caller has to get a copy from
    elsewhere. ``found_shared``: a guarded value of another object was met.

    *own*: nobody else has the values. Then the containers in arbitrary objects are guarded, too,
    if their classes declare what is in them.
    """

    def __init__(self, owner: ObjectRef, *, guard: bool, own: bool = False) -> None:
        super().__init__({})
        self._owner = owner
        self._guard = guard
        self._own = own
        self._alive: list[Any] = []
        self._others: dict[int, Any] = {}
        self._found_alias = False
        self.found_shared: bool = False

    def copied(self) -> list[tuple[ObjectRef, Any, Any]]:
        """Return what was copied, tuples too, with the owner and the copy of each.

        Also a list of what was left as it is, with None.
        """
        alive = self._alive
        copied = list(zip(repeat(self._owner), alive, map(self._memo.get, map(id, alive))))
        if self._others:
            copied.append((self._owner, [*self._others.values()], None))
        return copied

    def finish(self) -> None:
        """Mark the copies if a part of them can't be copied without the others."""
        if self.found_together:
            for made in self._memo.values():
                if type(made) in SHARED_TYPES:
                    made._p_together = True

    @property
    def found_together(self) -> bool:
        """Whether two places lead to one container, or an arbitrary object may lead to any."""
        return self._found_alias or self.found_other

    def _remember(self, value: Any, made: Any) -> Any:
        self._alive.append(value)  # so that its id stays its own
        return super()._remember(value, made)

    def _empty(self, base: Any, value: Any) -> Any:
        if type(value) in SHARED_TYPES:
            self.found_shared = True
        return (
            make_shared(base, self._owner, value) if self._guard else super()._empty(base, value)
        )

    def _again(self, made: Any) -> Any:
        self._found_alias = True
        return made

    def _other(self, value: Any) -> Any:
        if not (self._own and self._guard):
            self._others[id(value)] = value
            return value
        known = self._memo.get(id(value))
        if known is not None:
            return known
        if is_frozen(value):
            return self._remember(value, frozen_of(value, self._keys, self._parts))
        if declares_parts(value):
            self._todo.append((value, value))
        return self._remember(value, value)


def guard_lists(state: State, owner: ObjectRef, *, guard: bool) -> bool:
    """Guard the values of *state* that can be changed, in it, if all are flat lists.

    A list is flat if its items are shared as they are: references, texts, numbers. Most objects
    have no other values. False: this one has, or it has the same list twice; nothing was done.
    """
    lists: State = {}
    for name, value in state.items():
        cls = type(value)
        if cls in SHAREABLE:
            continue
        if cls is list and SHAREABLE.issuperset(map(type, value)):
            lists[name] = value
        elif cls is list or KINDS[cls] > REFERENCE:
            return False
    if len(lists) > 1 and len({*map(id, lists.values())}) < len(lists):
        return False
    if guard:
        for name, value in lists.items():
            state[name] = shared_list(value, owner)
    return True


def frozen(added: Any, freeze: Callable[[Any], Any]) -> Any:
    """Return what was added to a collection, a dict or a list, with its parts frozen."""
    if type(added) is dict:
        return {freeze(key): freeze(value) for key, value in added.items()}
    return [freeze(value) for value in added]


def to_plain(value: Any, memo: dict[int, Any]) -> Any:
    """Return *value*, its built-in containers as ordinary copies, however deep.

    *memo* keeps aliases: a value that is reached twice stays one among all that are converted with
    the same memo, as long as the originals live. Arbitrary objects are not copied.
    """
    return _Copier(memo).copy(value)


_LISTS: Final = frozenset({list, SharedList})


def own_copy(value: Any) -> Any:
    """Return a copy of *value* that may be changed; references stay, containers are built-ins."""
    kind = KINDS[type(value)]
    if kind <= REFERENCE:
        return value
    if type(value) in _LISTS and are_shareable(value):  # As most are.
        return [*value]
    copier = _Copier({})
    made = copier.copy(value)
    return deep_copy(value) if copier.found_other else made


def needs_whole_copy(value: Any) -> bool:
    """Return whether *value*, of a shared state, can't be copied without the rest of it."""
    if type(value) in SHARED_TYPES:
        return bool(value._p_together)
    kind = KINDS[type(value)]
    if kind in (TUPLE, FROZENSET):
        return any(map(needs_whole_copy, value))
    return kind > REFERENCE  # A container of a state that is not guarded can't tell.


def reference_at(place: int) -> Any:
    """Stand in a pickle for the object at this place of the list beside it."""
    raise NotImplementedError(place)


class CopyPickler(pickle.Pickler):
    """Writes references as places in a list: copies lead to the same objects."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        super().__init__(self._file, pickle.HIGHEST_PROTOCOL)
        self.references: list[Any] = []
        self.met_guarded: bool = False

    def dumped(self, value: Any) -> bytes:
        self.dump(value)
        return self._file.getvalue()

    def is_reference(self, obj: Any) -> bool:
        return isinstance(obj, (Identity, type)) or getattr(type(obj), "_p_immutable", False)

    def reducer_override(self, obj: Any) -> Any:
        # Not persistent_id(), which would be called for every number in a list.
        if not self.is_reference(obj):
            cls = type(obj)
            self.met_guarded = self.met_guarded or cls in SHARED_TYPES
            reduce = REDUCERS[cls]
            return NotImplemented if reduce is None else reduce(obj, NotImplemented)
        self.references.append(obj)
        return reference_at, (len(self.references) - 1,)


class CopyUnpickler(pickle.Unpickler):
    """Reads what a :class:`CopyPickler` has written."""

    def __init__(self, data: bytes, references: list[Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._references = references

    def find_class(self, module: str, name: str) -> Any:
        if name == reference_at.__name__ and module == __name__:
            return self._references.__getitem__
        return super().find_class(module, name)


def deep_copy(value: Any) -> Any:
    """Return a copy of *value*, as storing and loading it would give; references stay."""
    return copy_with_references(value)[0]


def copy_with_references(value: Any) -> tuple[Any, list[Any]]:
    """Return a deep copy of *value*, and what it refers to: persistent objects and classes."""
    pickler = CopyPickler()
    data = pickler.dumped(value)
    return CopyUnpickler(data, pickler.references).load(), pickler.references
