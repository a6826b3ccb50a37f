"""The class table of a log: number to name and back.

Any thread may read while one applies. Knows nothing of classes but their names.
"""

from __future__ import annotations

from collections.abc import Iterable

from dobbin_like.log.record import Classes

__all__ = ["ClassTable"]


class ClassTable:
    """Class numbers, from 1 on, and the module and qualname each stands for.

    A number that comes again has been given a new name: its class was moved. Both
    tables are only ever added to in place; single operations of a dict are atomic.
    """

    __slots__ = ("_names", "_numbers", "next_number")

    def __init__(self, classes: Iterable[tuple[int, str, str]] = ()) -> None:
        self._names: dict[int, tuple[str, str]] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self.next_number = 1
        self.update(classes)

    def update(self, classes: Iterable[tuple[int, str, str]]) -> None:
        """Add classes, or rename those whose numbers are known."""
        for number, module, qualname in classes:
            name = (module, qualname)
            old = self._names.get(number)
            self._names[number] = name
            self._numbers[name] = number
            if old is not None and old != name and self._numbers.get(old) == number:
                del self._numbers[old]
            self.next_number = max(self.next_number, number + 1)

    def name(self, number: int) -> tuple[str, str] | None:
        """Return (module, qualname) of a number, None if it is unknown."""
        return self._names.get(number)

    def number(self, module: str, qualname: str) -> int | None:
        """Return the number of a class, None if the log does not know it."""
        return self._numbers.get((module, qualname))

    def items(self) -> Classes:
        """Return the whole table as it is saved."""
        return tuple([(number, *name) for number, name in sorted(self._names.items())])
