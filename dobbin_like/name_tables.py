"""The tables of names that a storage keeps: of classes, and of the shapes of their states.

Any thread may read while one applies. Knows nothing of classes but their names.
"""

from __future__ import annotations

from collections.abc import Iterable

from dobbin_like.contract import ClassRow, Names, NewNames, ShapeRow
from dobbin_like.processes.threaded_dict import ThreadedDict


class NameTables(Names):
    """Numbers from 1 on, and the class or shape that each stands for; see :class:`Names`.

    The number of a class that comes again has been given a new name: the class was moved.
    A shape stays what it was. All tables are only ever added to in place; single operations
    of a dict are atomic, and adding the same again, after an interrupt, changes nothing.
    """

    __slots__ = ("_class_names", "_class_numbers", "_shape_numbers", "_shapes", "next_number")
    next_number: int

    def __init__(self, classes: Iterable[ClassRow] = (), shapes: Iterable[ShapeRow] = ()) -> None:
        self._class_names: dict[int, tuple[str, str]] = ThreadedDict()
        self._class_numbers: dict[tuple[str, str], int] = ThreadedDict()
        self._shapes: dict[int, tuple[int, tuple[str, ...]]] = ThreadedDict()
        self._shape_numbers: dict[int, dict[tuple[str, ...], int]] = ThreadedDict()
        self.next_number = 1
        self.update(classes, shapes)

    def update(self, classes: Iterable[ClassRow], shapes: Iterable[ShapeRow] = ()) -> None:
        """Add classes, or rename those whose numbers are known; add shapes."""
        for number, module, qualname in classes:
            name = (module, qualname)
            old = self._class_names.get(number)
            self._class_names[number] = name
            self._class_numbers[name] = number
            if old is not None and old != name and self._class_numbers.get(old) == number:
                del self._class_numbers[old]
            self.next_number = max(self.next_number, number + 1)
        for number, class_number, attributes in shapes:
            self._shapes.setdefault(number, (class_number, attributes))
            self._shape_numbers.setdefault(class_number, ThreadedDict())[attributes] = number
            self.next_number = max(self.next_number, number + 1)

    def class_name(self, number: int) -> tuple[str, str] | None:
        return self._class_names.get(number)

    def class_number(self, module: str, qualname: str) -> int | None:
        return self._class_numbers.get((module, qualname))

    def shape(self, number: int) -> tuple[int, tuple[str, ...]] | None:
        return self._shapes.get(number)

    def shape_number(self, class_number: int, attributes: tuple[str, ...]) -> int | None:
        return self._shape_numbers.get(class_number, {}).get(attributes)

    def shape_count(self, class_number: int) -> int:
        return len(self._shape_numbers.get(class_number, ()))

    def rows(self) -> NewNames:
        """Return both tables, by number; each shape has its class there."""
        # Copies: these are atomic. The classes last, because they are added first.
        shapes = [(number, *shape) for number, shape in sorted(self._shapes.copy().items())]
        classes = [(number, *name) for number, name in sorted(self._class_names.copy().items())]
        return NewNames(tuple(classes), tuple(shapes))
