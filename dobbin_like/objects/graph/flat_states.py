"""Flat states: what most objects have, turned into bytes at the speed of C.

A flat state has numbers, texts and the like, references, and lists of these; a list of
references refers to objects of one class. Its lists are guarded with one look at the types in
them, and pickle writes the values without asking for each. All other states go the general
way, value by value: :mod:`.changes`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import chain
from typing import Any, Final
from weakref import getweakrefs

from dobbin_like.ids import Oid
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.serialize import ATOMS, PROTOCOL, FlatEncoder
from dobbin_like.objects.faces.working_copy import PENDING
from dobbin_like.objects.values.guards import SharedList, note_references, shared_list
from dobbin_like.objects.values.refs import Jar, ObjectRef, State
from dobbin_like.objects.values.value_kinds import REFERENCES, Places

_ONLY_OURS: Final = {ObjectRef}

_OTHERS: Final = Places(lambda cls: cls not in ATOMS)
"""Where in a state values are that are no atoms."""

_NO_REFERENCES = ((), 0)
"""How an empty list is written among lists of references."""


class FlatStates:
    """Turns flat states of one graph into bytes. Holder of the commit lock."""

    def __init__(self, jar: Jar, classes: ClassTable, *, guard: bool) -> None:
        self._jar = jar
        self._classes = classes
        self._guard = guard
        self._encoder = FlatEncoder()
        self.written: list[Any] = []  # See changes.py.
        # Ids of the lists of the state that is being turned.
        self._lists: set[int] = set()

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

        *base* has the values, of shared state, that were not read and are PENDING; *packed*: an
        object in memory may have been dropped from the storage.
        """
        values = [*state.values()]
        types = tuple(map(type, values))
        others = _OTHERS[types]
        if not others:
            return state, pickle.dumps(tuple(values), PROTOCOL)
        references = self._encoder.references
        references.clear()
        self._lists.clear()
        shared: State = {}
        copied: list[Any] = []
        has_lists = False
        names = [*state]
        for index in others:
            name, value = names[index], values[index]
            if types[index] in REFERENCES:
                pid: Any = reference(value)
            else:
                before = base[name] if value is PENDING else None
                pid = self._list(
                    ref, name, value, before, shared, copied, reference, packed=packed
                )
                if pid is None:
                    return None
            if type(pid) is list:
                has_lists = True
                values[index] = pid
            else:
                references[mark := object()] = pid
                values[index] = mark
        data = self._with_lists(values) if has_lists else self._encoder.encode(tuple(values))
        if data is None:
            return None
        self.written += copied
        state.update(shared)
        return state, data

    def _with_lists(self, values: list[Any]) -> bytes | None:
        # Pickle would ask for the hash of a list.
        if any(pid is not _NO_REFERENCES for pid in self._encoder.references.values()):
            return None
        values = [[] if type(value) is object else value for value in values]
        return pickle.dumps(tuple(values), PROTOCOL)

    def _list(
        self,
        ref: ObjectRef,
        name: str,
        value: Any,
        before: Any,
        shared: State,
        copied: list[Any],
        reference: Callable[[Any], tuple[Oid, int]],
        *,
        packed: bool,
    ) -> Any:
        """Return what :meth:`_items` does of a list, and add it to *shared* as it is published.

        If the thread has read or set it, it is added to *copied*, too.
        """
        made: list[Any]
        if before is not None:  # It was not read, and stays what it is.
            if type(before) is not SharedList or before._p_together:
                return None
            shared[name] = made = before
            known = getattr(before, "_p_references", None)
            # It can't have changed, nor can who is in it: only the number of their class.
            if known is not None and not packed and known[1] == self._number_of(before[0]):
                return known
        elif type(value) is list and id(value) not in self._lists:
            self._lists.add(id(value))
            made = shared[name] = shared_list(value, ref) if self._guard else [*value]
            copied.append((ref, value, made))
        else:
            return None
        items: Any = self._items(made, reference, packed=packed)
        if type(items) is tuple and items is not _NO_REFERENCES:
            note_references(made, items)
        return items

    def _number_of(self, obj: Any) -> int | None:
        """Return the number of the class of an object, if its name leads to no other class."""
        face, classes = type(obj)._p_faces.plain, self._classes
        return None if face in classes.ambiguous else classes.known_numbers.get(face)

    def _items(
        self, items: list[Any], reference: Callable[[Any], tuple[Oid, int]], *, packed: bool
    ) -> list[Any] | tuple[tuple[Oid, ...], int] | None:
        """Return the items of a list if they are atoms; of objects of one class, oids and number.

        ``None``: the list is not flat.
        """
        types: set[Any] = set(map(type, items))
        if not types:
            return _NO_REFERENCES
        if ATOMS.issuperset(types):
            return [*items]
        if not REFERENCES.issuperset(types):
            return None
        if len(types) == 1 and not packed:
            number = self._number_of(items[0])
            if number:
                # All of them are in this graph, as a rule: a look at each, and no step of ours.
                refs = [*chain.from_iterable(map(getweakrefs, items))]
                if len(refs) != len(items) or {*map(type, refs)} != _ONLY_OURS:
                    refs = [ref for ref in refs if type(ref) is ObjectRef]
                jar = self._jar
                known = tuple([ref.oid for ref in refs if ref.jar is jar])
                if len(known) == len(items):
                    return known, number
        oids, numbers = zip(*map(reference, items), strict=True)
        return (oids, numbers[0]) if len(set(numbers)) == 1 else None
