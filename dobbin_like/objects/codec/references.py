"""Which objects can be reached: references are read from states, no class is loaded.

:func:`references` says where one state leads to. :class:`Marks` follows them, with one byte for
each oid and a bounded list of what is to be read next, whatever the graph looks like: a chain of
a million objects, or one object that refers to a million. Knows no file.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final, Self

from dobbin_like.objects.codec.instructions import as_file
from dobbin_like.objects.codec.serialize import HELPERS

_BINPERSID: Final = ord("Q")
"""The opcode of a persistent id: a state without this byte refers to nothing."""

_UNKNOWN: Final = 0
_FOUND: Final = 1
_READ: Final = 2

_BATCH: Final = 1 << 14
"""Oids that are read in one go, in the order in which they lie in the file."""

_BETWEEN_TICKS: Final = 64
"""Objects; reading them takes a fraction of a millisecond."""


def references(data: bytes, numbers: set[int] | None = None) -> list[tuple[int, int]]:
    """Return the (oid, class number) of every persistent object that a state refers to.

    With repetitions. *numbers* gets those of all classes in it, of values and functions as well,
    and perhaps 0, which is of none.
    Raises whatever decoding raises: the bytes are no state. Cost: some
    microseconds; next to nothing for a state without references.
    """
    return [] if _BINPERSID not in data else _reader.read(data, numbers)


class _Anything:
    """Stands for every class, function and instance in a state."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = add = __init__


class _Unpickler(pickle.Unpickler):
    found: list[Any]

    def persistent_load(self, pid: Any) -> Any:
        self.found.append(pid)
        # A number alone names a class, which may be called; the others are instances.
        return _Anything if type(pid) is int else _Anything()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in HELPERS:
            return _Anything
        text = f"{module}.{name}, which no state names"
        raise pickle.UnpicklingError(text)


class _Reader(threading.local):
    def __init__(self) -> None:
        self._found: list[Any] = []
        # Without a function of ours for each reference: ids become None. What has to be
        # called, a class, can't be, and then it is done again with stand-ins.
        quick = {"persistent_load": self._found.append, "find_class": _Unpickler.find_class}
        self._quick: Any = type("_Quick", (pickle.Unpickler,), quick)

    def read(self, data: bytes, numbers: set[int] | None) -> list[tuple[int, int]]:
        found = self._found
        found.clear()
        try:
            self._quick(as_file(data)).load()
        except OSError:
            raise  # A handler's TimeoutError: nothing here asks the system.
        except Exception:  # noqa: BLE001  None is called, is no class, has no attributes
            found.clear()
            decode_loosely(data, found)
        # The others are classes, and members of enums: (number, name), (number, value, 0).
        pairs = [pid for pid in found if type(pid) is tuple and len(pid) == 2]
        if numbers is not None:
            numbers.update(map(_class_number, found))
        found.clear()  # There may have been a million.
        references = [pid for pid in pairs if type(pid[0]) is type(pid[1]) is int]
        for oids, number in pairs:
            if type(oids) is tuple:
                references += [(oid, number) for oid in oids]
        return references


def _class_number(pid: Any) -> int:
    """Return the number of the class that a persistent id names, or that is with it."""
    if type(pid) is int:
        return pid
    number: int = pid[1] if len(pid) == 2 and type(pid[1]) is int else pid[0]
    return number


def decode_loosely(data: bytes, found: list[Any] | None = None) -> Any:
    """Return what a state holds, with stand-ins for all but built-in types; raise as decoding.

    *found* gets the references in it.
    """
    unpickler = _Unpickler(as_file(data))
    unpickler.found = [] if found is None else found
    return unpickler.load()


_reader: Final = _Reader()


class Marks:
    """The oids below *count* that were found or can be reached. One thread.

    *load* returns the state of an oid, None if nothing is stored. States are read in the order of
    the key *order*, a batch at a time. *tick* is called now and then with the number of objects
    and of bytes read since. *numbers* gets those of all classes in the states. Memory: One byte
    for each oid, and some megabytes.
    """

    def __init__(
        self,
        count: int,
        load: Callable[[int], bytes | None],
        *,
        order: Callable[[int], int] | None = None,
        tick: Callable[[int, int], object] | None = None,
        numbers: set[int] | None = None,
        ahead: Callable[[list[int]], Iterable[int]] = iter,
    ) -> None:
        self.flags: bytearray = bytearray(count)  # Not 0 for the oids that were found.
        self._load = load
        self._order = order
        self._tick = tick
        self._numbers = numbers
        self._ahead = ahead

    def __contains__(self, oid: int) -> bool:
        return 0 <= oid < len(self.flags) and self.flags[oid] != _UNKNOWN

    def add_all(self) -> None:
        """Let every oid count as found, without reading any."""
        self.flags[:] = bytes([_READ]) * len(self.flags)

    def follow(self, oids: Iterable[int]) -> None:
        """Mark *oids*, and all that they lead to. Cost: the states that were not marked before.

        Raises what *load* and decoding raise; the marks are of no use then.
        """
        batch, left = self._fresh(oids)
        while batch:
            batch, more = self._read(batch)
            left = left or more
            if left and not batch:
                batch, left = self._found_earlier()

    def _fresh(self, oids: Iterable[int]) -> tuple[list[int], bool]:
        """Mark *oids*; return the new ones, and whether there were too many."""
        flags = self.flags
        count = len(flags)
        fresh: list[int] = []
        left = False
        for oid in oids:
            if 0 <= oid < count and not flags[oid]:
                flags[oid] = _FOUND
                if len(fresh) < _BATCH:
                    fresh.append(oid)
                else:
                    left = True
        return fresh, left

    def _found_earlier(self) -> tuple[list[int], bool]:
        """Return oids that were marked and not read, and whether there may be more."""
        batch: list[int] = []
        oid = self.flags.find(_FOUND)
        while oid >= 0 and len(batch) < _BATCH:
            batch.append(oid)
            oid = self.flags.find(_FOUND, oid + 1)
        return batch, oid >= 0

    def _read(self, batch: list[int]) -> tuple[list[int], bool]:
        """Read the states of *batch*; return what they lead to, and whether that is not all."""
        flags, load, tick = self.flags, self._load, self._tick
        batch.sort(key=self._order)
        fresh: list[int] = []
        left = False
        size = 0
        for number, oid in enumerate(self._ahead(batch), 1):
            data = load(oid)
            if data is not None:
                size += len(data)
                if _BINPERSID in data:
                    targets = references(data, self._numbers)
                    found, more = self._fresh([target for target, _ in targets])
                    room = _BATCH - len(fresh)
                    left = left or more or len(found) > room
                    fresh += found[:room]
            flags[oid] = _READ
            if tick is not None and not (number % _BETWEEN_TICKS and number < len(batch)):
                tick((number - 1) % _BETWEEN_TICKS + 1, size)
                size = 0
        return fresh, left
