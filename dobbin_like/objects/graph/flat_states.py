"""Flat states: what most objects have, turned into bytes at the speed of C.

A flat state has numbers, texts and the like, references, and lists of these; a list of
references refers to objects of one class. Its lists are guarded with one look at the types in
them, and pickle writes the values without asking for each. All other states go the general
way, value by value: :mod:`.changes`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from operator import attrgetter, itemgetter
from typing import Any
from weakref import getweakrefs

from dobbin_like.ids import Oid
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.serialize import ATOMS, PROTOCOL, FlatEncoder
from dobbin_like.objects.faces.working_copy import PENDING
from dobbin_like.objects.values.guards import SharedList, shared_list
from dobbin_like.objects.values.refs import Jar, ObjectRef, State
from dobbin_like.objects.values.value_kinds import REFERENCES

_first, _jar, _oid = itemgetter(0), attrgetter("jar"), attrgetter("oid")
_OBJECT_REF = {ObjectRef}

_NO_REFERENCES = ((), 0)
"""How an empty list is written among lists of references."""


class FlatStates:
    """Turns flat states of one graph into bytes. Holder of the commit lock."""

    def __init__(self, jar: Jar, classes: ClassTable, *, guard: bool) -> None:
        self._jar = jar
        self._classes = classes
        self._guard = guard
        self._encoder = FlatEncoder()
        # Of the state that is being turned: ids of its lists, whether some have no references.
        self._lists: set[int] = set()
        self._has_plain_lists = False

    def turn(
        self,
        ref: ObjectRef,
        state: State,
        base: State,
        reference: Callable[[Any], tuple[Oid, int]],
        *,
        packed: bool,
    ) -> tuple[State, bytes] | None:
        """Return a state as it is published, and its bytes; ``None`` if it is not flat.

        Args:
            base: Has the values, of shared state, that were not read and are PENDING.
            reference: Returns oid and class number of an object, a new one included.
            packed: Whether an object in memory may have been dropped from the storage.
        """
        if ATOMS.issuperset(map(type, state.values())):
            return state, pickle.dumps(tuple(state.values()), PROTOCOL)
        references = self._encoder.references
        references.clear()
        self._lists.clear()
        self._has_plain_lists = False
        shared: State = {}
        written: list[Any] = []
        for name, value in state.items():
            cls = type(value)
            if cls in ATOMS:
                shared[name] = value
                written.append(value)
            elif cls in REFERENCES:
                pid = reference(value)
                references[mark := object()] = pid
                shared[name] = value
                written.append(mark)
            else:
                pair = self._list(ref, value, base.get(name), reference, packed=packed)
                if pair is None:
                    return None
                shared[name] = pair[0]
                written.append(pair[1])
        if not self._has_plain_lists:
            return shared, self._encoder.encode(tuple(written))
        # Pickle would ask for the hash of a list.
        if any(pid is not _NO_REFERENCES for pid in references.values()):
            return None
        values = [[] if type(value) is object else value for value in written]
        return shared, pickle.dumps(tuple(values), PROTOCOL)

    def _list(
        self,
        ref: ObjectRef,
        value: Any,
        before: Any,
        reference: Callable[[Any], tuple[Oid, int]],
        *,
        packed: bool,
    ) -> tuple[Any, Any] | None:
        """Return a list as it is published and as it is written; ``None`` if it is not flat."""
        if value is PENDING:  # It was not read, and stays what it is.
            value = guarded = before
            if type(value) is not SharedList or value._p_together:
                return None
        elif type(value) is list and id(value) not in self._lists:
            self._lists.add(id(value))
            guarded = shared_list(value, ref) if self._guard else [*value]
        else:
            return None
        inside = set(map(type, value))
        if inside and ATOMS.issuperset(inside):
            self._has_plain_lists = True
            return guarded, [*value]
        pid: Any = _NO_REFERENCES
        if inside:
            if not REFERENCES.issuperset(inside):
                return None
            pid = self._references(value, inside, reference, packed=packed)
            if pid is None:
                return None
        self._encoder.references[mark := object()] = pid
        return guarded, mark

    def _references(
        self,
        objects: list[Any],
        types: set[Any],
        reference: Callable[[Any], tuple[Oid, int]],
        *,
        packed: bool,
    ) -> tuple[tuple[Oid, ...], int] | None:
        """Return oids and class number of a list of objects; ``None`` if the classes differ."""
        known, ambiguous = self._classes.known_numbers.get, self._classes.ambiguous
        face = next(iter(types))._p_faces.plain if len(types) == 1 and not packed else None
        number = known(face)
        if number and face not in ambiguous:
            # All of them are in this graph, as a rule: a look at each, and no step of ours.
            refs = [*map(_first, filter(None, map(getweakrefs, objects)))]
            if (
                len(refs) == len(objects)
                and set(map(type, refs)) == _OBJECT_REF
                and set(map(_jar, refs)) == {self._jar}
            ):
                return tuple(map(_oid, refs)), number
        class_number = 0
        oids: list[Oid] = []
        for obj in objects:
            oid, number = reference(obj)
            class_number = class_number or number
            if number != class_number:
                return None
            oids.append(oid)
        return tuple(oids), class_number
