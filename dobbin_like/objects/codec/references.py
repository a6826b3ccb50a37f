"""Which objects can be reached: references are read from states, no class is loaded.

:func:`references` says where one state leads to. :class:`Marks` follows them, with one byte for
each oid and a bounded list of what is to be read next, whatever the graph looks like: a chain of
a million objects, or one object that refers to a million. Knows no file.
"""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final, Self

from dobbin_like.objects.codec.serialize import HELPERS

_BINPERSID: Final = b"Q"
"""The opcode of a persistent id: a state without this byte refers to nothing."""

_UNKNOWN: Final = 0
_FOUND: Final = 1
_READ: Final = 2

_BATCH: Final = 1 << 14
"""Oids that are read in one go, in the order in which they lie in the file."""

_BETWEEN_TICKS: Final = 64
"""Objects; reading them takes a fraction of a millisecond."""


def references(data: bytes) -> list[tuple[int, int]]:
    """Return the (oid, class number) of every persistent object that a state refers to.

    With repetitions. Raises whatever decoding raises: the bytes are no state. Cost: some
    microseconds; next to nothing for a state without references.
    """
    return [] if _BINPERSID not in data else _here.reader.read(data)


class _Anything:
    """Stands for every class, function and instance in a state."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass

    def __setitem__(self, _key: Any, _value: Any) -> None:
        pass

    def _take(self, _items: Any) -> None:
        pass

    append = extend = add = _take


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


class _Reader:
    def __init__(self) -> None:
        self._found: list[Any] = []
        # Without a function of ours for each reference: ids become None. What has to be
        # called, a class, can't be, and then it is done again with stand-ins.
        quick = {"persistent_load": self._found.append, "find_class": _Unpickler.find_class}
        self._quick: Any = type("_Quick", (pickle.Unpickler,), quick)

    def read(self, data: bytes) -> list[tuple[int, int]]:
        found = self._found
        found.clear()
        try:
            self._quick(io.BytesIO(data)).load()
        except Exception:  # noqa: BLE001  None is called, is no class, has no attributes
            found.clear()
            _load(data, found)
        # The others are classes, and members of enums: (number, name), (number, value, 0).
        pairs = [pid for pid in found if type(pid) is tuple and len(pid) == 2]
        references = [pid for pid in pairs if type(pid[0]) is type(pid[1]) is int]
        for oids, number in pairs:
            if type(oids) is tuple:
                references += [(oid, number) for oid in oids]
        return references


def _load(data: bytes, found: list[Any]) -> Any:
    unpickler = _Unpickler(io.BytesIO(data))
    unpickler.found = found
    return unpickler.load()


def decode_loosely(data: bytes) -> Any:
    """Return what a state holds, with stand-ins for all but built-in types; raise as decoding."""
    return _load(data, [])


class _Here(threading.local):
    def __init__(self) -> None:
        self.reader = _Reader()


_here: Final = _Here()


class Marks:
    """The oids that were found, and those that can be reached from them. One thread.

    Args:
        count: The oids are below this; others are ignored.
        load: Returns the state of an oid, None if nothing is stored.
        order: States are read in the order of this key, a batch at a time; by oid if not given.
        tick: Called now and then with the number of objects and of bytes read since.

    Memory: One byte for each oid, and some megabytes.
    """

    def __init__(
        self,
        count: int,
        load: Callable[[int], bytes | None],
        *,
        order: Callable[[int], int] | None = None,
        tick: Callable[[int, int], object] | None = None,
    ) -> None:
        self._flags = bytearray(count)
        self._load = load
        self._order = order
        self._tick = tick

    def __contains__(self, oid: int) -> bool:
        return 0 <= oid < len(self._flags) and self._flags[oid] != _UNKNOWN

    @property
    def flags(self) -> bytearray:
        """One byte for each oid, not 0 for those that were found."""
        return self._flags

    def add_all(self) -> None:
        """Let every oid count as found, without reading any."""
        self._flags[:] = bytes([_READ]) * len(self._flags)

    def follow(self, oids: Iterable[int]) -> None:
        """Mark *oids*, and all that they lead to.

        Raises what *load* and decoding raise; the marks are of no use then. Cost: the bytes of
        the states that were not marked before.
        """
        batch, left = self._fresh(oids)
        while batch:
            batch, more = self._read(batch)
            left = left or more
            if left and not batch:
                batch, left = self._found_earlier()

    def _fresh(self, oids: Iterable[int]) -> tuple[list[int], bool]:
        """Mark *oids*; return the new ones, and whether there were too many."""
        flags = self._flags
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
        oid = self._flags.find(_FOUND)
        while oid >= 0 and len(batch) < _BATCH:
            batch.append(oid)
            oid = self._flags.find(_FOUND, oid + 1)
        return batch, oid >= 0

    def _read(self, batch: list[int]) -> tuple[list[int], bool]:
        """Read the states of *batch*; return what they lead to, and whether that is not all."""
        flags, load, tick = self._flags, self._load, self._tick
        batch.sort(key=self._order)
        fresh: list[int] = []
        left = False
        size = 0
        for number, oid in enumerate(batch, 1):
            data = load(oid)
            if data is not None:
                size += len(data)
                if _BINPERSID in data:
                    found, more = self._fresh([target for target, _ in references(data)])
                    room = _BATCH - len(fresh)
                    left = left or more or len(found) > room
                    fresh += found[:room]
            flags[oid] = _READ
            if tick is not None and not (number % _BETWEEN_TICKS and number < len(batch)):
                tick((number - 1) % _BETWEEN_TICKS + 1, size)
                size = 0
        return fresh, left
