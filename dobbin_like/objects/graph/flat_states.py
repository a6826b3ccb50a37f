"""Flat states: what most objects have, turned into bytes at the speed of C.

A flat state has numbers, texts and the like, references, and lists of these; a list of
references refers to objects of one class. Its lists are guarded with one look at the types in
them, and pickle writes the values without asking for each. All other states go the general
way, value by value: :mod:`.changes`.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, Protocol, cast
from weakref import getweakrefs

from dobbin_like.ids import Oid
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.serialize import ATOMS, PROTOCOL, FlatEncoder
from dobbin_like.objects.faces.working_copy import PENDING, Written
from dobbin_like.objects.values.guards import SharedList, shared_list
from dobbin_like.objects.values.refs import Jar, ObjectRef, State
from dobbin_like.objects.values.value_kinds import REFERENCES, Places

_ONLY_OURS: Final = {ObjectRef}

_OTHERS: Final = Places(lambda cls: cls not in ATOMS)
"""Where in a state values are that are no atoms."""

_NO_REFERENCES = ((), 0)
"""How an empty list is written among lists of references."""


class Gathered(Protocol):
    """What a commit has gathered so far, as far as states refer to it."""

    packed: bool
    """Whether an object in memory may have been dropped from the storage."""
    new_oids: dict[int, Oid]
    """The oids of the new objects by their ids; the objects are kept."""
    written: list[Written]
    """The containers of the working copies, and what is published of each."""

    def reference(self, obj: Any) -> tuple[Oid, int]:
        """Return the oid of a persistent object, new or not, and the number of its class."""


class FlatStates:
    """Turns flat states of one graph into bytes. Holder of the commit lock."""

    def __init__(self, jar: Jar, classes: ClassTable, *, guard: bool) -> None:
        self._jar = jar
        self._classes = classes
        self._guard = guard
        self._encoder = FlatEncoder()

    def turn(
        self, gathered: Gathered, ref: ObjectRef, state: State, base: State
    ) -> tuple[State, bytes] | None:
        """Return a state as it is published, and its bytes; ``None`` if it is not flat.

        *base* has the values, of shared state, that were not read and are PENDING.
        """
        values = [*state.values()]
        types = tuple(map(type, values))
        others = _OTHERS[types]
        if not others:
            return state, pickle.dumps(tuple(values), PROTOCOL)
        references = self._encoder.references
        references.clear()
        names = [*state]
        shared: State = {}
        copied: list[Written] = []
        has_lists = False
        for index in others:
            name, value = names[index], values[index]
            if types[index] in REFERENCES:
                pid: Any = gathered.reference(value)
            elif value is PENDING:
                shared[name], pid = self._unread(gathered, base[name])
            else:
                shared[name], pid = self._list(gathered, ref, value, copied)
            if pid is None:
                return None
            if type(pid) is list:
                has_lists = True
            else:
                references[mark := object()] = pid
                pid = mark
            values[index] = pid
        data = self._with_lists(values) if has_lists else self._encoder.encode(tuple(values))
        if data is None:
            return None
        gathered.written += copied
        state.update(shared)
        return state, data

    def _with_lists(self, values: list[Any]) -> bytes | None:
        # Pickle would ask for the hash of a list.
        if any(pid is not _NO_REFERENCES for pid in self._encoder.references.values()):
            return None
        values = [[] if type(value) is object else value for value in values]
        return pickle.dumps(tuple(values), PROTOCOL)

    def _list(
        self, gathered: Gathered, ref: ObjectRef, value: Any, copied: list[Written]
    ) -> tuple[Any, Any]:
        """Return a list of a thread as it is published, and what :meth:`_items` does of it.

        It is added to *copied*, in which no list may stand twice.
        """
        for _, met, _ in copied:
            if value is met:
                return None, None
        if type(value) is not list:
            return None, None
        made: list[Any] = shared_list(value, ref) if self._guard else [*value]
        copied.append((ref, value, made))
        return made, self._items(gathered, made)

    def _unread(self, gathered: Gathered, stored: Any) -> tuple[Any, Any]:
        """Do the same for a value that was not read, and stays as it is in shared state."""
        if type(stored) is not SharedList or stored._p_together:
            return None, None
        known = getattr(stored, "_p_references", None)
        # It can't have changed, nor what is in it: only the number of the class.
        if known and not gathered.packed and known[1] == self._number_of(stored[0]):
            return stored, known
        return stored, self._items(gathered, stored)

    def _number_of(self, obj: Any) -> int | None:
        """Return the number of the class of an object, if its name leads to no other class."""
        face, classes = type(obj)._p_faces.plain, self._classes
        return None if face in classes.ambiguous else classes.known_numbers.get(face)

    def _items(self, gathered: Gathered, items: Any) -> Any:
        """Return the items of a list if they are atoms; of objects of one class, oids and number.

        ``None``: the list is not flat. A guarded list keeps what it refers to: it can't change.
        """
        types: set[Any] = set(map(type, items))
        if not types:
            return _NO_REFERENCES
        if ATOMS.issuperset(types):
            return [*items]
        if not REFERENCES.issuperset(types):
            return None
        found = self._known(gathered, items) if len(types) == 1 and not gathered.packed else None
        if found is None:
            oids, numbers = zip(*map(gathered.reference, items), strict=True)
            if len(set(numbers)) > 1:
                return None
            found = oids, numbers[0]
        if self._guard:
            items._p_references = found
        return found

    def _known(
        self, gathered: Gathered, items: Sequence[Any]
    ) -> tuple[tuple[Oid, ...], int] | None:
        """Return the oids of objects of one class, and its number, if all have an oid by now.

        At a look at each, and no step of ours.
        """
        number = self._number_of(items[0])
        if not number:
            return None
        oids = [*map(gathered.new_oids.get, map(id, items))]
        if None in oids:
            refs = [*chain.from_iterable(map(getweakrefs, items))]
            if len(refs) != len(items) or {*map(type, refs)} != _ONLY_OURS:
                refs = [ref for ref in refs if type(ref) is ObjectRef]
            jar = self._jar
            oids = [ref.oid for ref in refs if ref.jar is jar]
            if len(oids) != len(items):
                return None
        return cast("tuple[Oid, ...]", tuple(oids)), number
