"""The tables of names of a log: of classes, and of the shapes of their states.

Any thread may read while one applies. Knows nothing of classes but their names.
"""

from __future__ import annotations

from collections.abc import Iterable

from dobbin_like.log.format.meta import Names

__all__ = ["ClassTable"]


class ClassTable:
    """Numbers from 1 on, and the class (module and qualname) or shape each stands for.

    The number of a class that comes again has been given a new name: the class was moved.
    A shape, a class number and names of attributes, stays what it was. All tables are
    only ever added to in place; single operations of a dict are atomic, and adding the
    same again, after an interrupt, changes nothing.
    """

    __slots__ = ("_names", "_numbers", "_shape_numbers", "_shapes", "next_number")

    def __init__(
        self,
        classes: Iterable[tuple[int, str, str]] = (),
        shapes: Iterable[tuple[int, int, tuple[str, ...]]] = (),
    ) -> None:
        self._names: dict[int, tuple[str, str]] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._shapes: dict[int, tuple[int, tuple[str, ...]]] = {}
        self._shape_numbers: dict[int, dict[tuple[str, ...], int]] = {}
        self.next_number = 1
        self.update(classes, shapes)

    def update(
        self,
        classes: Iterable[tuple[int, str, str]],
        shapes: Iterable[tuple[int, int, tuple[str, ...]]] = (),
    ) -> None:
        """Add classes, or rename those whose numbers are known; add shapes."""
        for number, module, qualname in classes:
            name = (module, qualname)
            old = self._names.get(number)
            self._names[number] = name
            self._numbers[name] = number
            if old is not None and old != name and self._numbers.get(old) == number:
                del self._numbers[old]
            self.next_number = max(self.next_number, number + 1)
        for number, class_number, attributes in shapes:
            self._shapes.setdefault(number, (class_number, attributes))
            self._shape_numbers.setdefault(class_number, {})[attributes] = number
            self.next_number = max(self.next_number, number + 1)

    def name(self, number: int) -> tuple[str, str] | None:
        """Return (module, qualname) of the number of a class, None if it is none's."""
        return self._names.get(number)

    def number(self, module: str, qualname: str) -> int | None:
        """Return the number of a class, None if the log does not know it."""
        return self._numbers.get((module, qualname))

    def shape(self, number: int) -> tuple[int, tuple[str, ...]] | None:
        """Return class number and names of a shape, None if *number* is none's."""
        return self._shapes.get(number)

    def shape_number(self, class_number: int, attributes: tuple[str, ...]) -> int | None:
        """Return the number of a shape, None if the log does not know it."""
        return self._shape_numbers.get(class_number, {}).get(attributes)

    def shape_count(self, class_number: int) -> int:
        """Return how many shapes of a class the log knows."""
        return len(self._shape_numbers.get(class_number, ()))

    def items(self) -> Names:
        """Return both tables as they are saved, by number. Any thread.

        Each shape has its class there, though rows be added meanwhile.
        """
        # Copies: these are atomic. The classes last, because they are added first.
        shapes = [(number, *shape) for number, shape in sorted(self._shapes.copy().items())]
        classes = [(number, *name) for number, name in sorted(self._names.copy().items())]
        return Names(tuple(classes), tuple(shapes))
