"""The tables of names that a storage keeps: of classes, and of the shapes of their states.

Any thread may read while one applies. Knows nothing of classes but their names.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Final

from dobbin_like.contract import ClassRow, Names, NewNames, ShapeRow
from dobbin_like.ids import DELTA
from dobbin_like.processes.threaded_dict import ThreadedDict

NO_CLASS: Final = 0
"""In place of the number of a class, in the row of a number that was dropped."""


class NameTables(Names):
    """Numbers from 1 on, and the class or shape that each stands for; see :class:`Names`.

    The number of a class that comes again has been given a new name: the class was moved.
    A shape stays what it was. All tables are changed in place; single operations
    of a dict are atomic, and adding the same again, after an interrupt, changes nothing.

    What :meth:`leave_only` has dropped is still found by its number, and by nothing else: an older
    snapshot may have it. No number is given twice, so that the rows tell of the last one even
    if it is dropped: as of a shape of class 0, which is none.
    """

    __slots__ = (
        "_class_names",
        "_class_numbers",
        "_former_classes",
        "_former_shapes",
        "_shape_numbers",
        "_shapes",
        "forgotten",
        "next_number",
    )
    next_number: int
    forgotten: int

    def __init__(self, classes: Iterable[ClassRow] = (), shapes: Iterable[ShapeRow] = ()) -> None:
        self._class_names: dict[int, tuple[str, str]] = ThreadedDict()
        self._class_numbers: dict[tuple[str, str], int] = ThreadedDict()
        self._shapes: dict[int, tuple[int, tuple[str, ...]]] = ThreadedDict()
        self._shape_numbers: dict[int, dict[tuple[str, ...], int]] = ThreadedDict()
        self._former_classes: dict[int, tuple[str, str]] = ThreadedDict()
        self._former_shapes: dict[int, tuple[int, tuple[str, ...]]] = ThreadedDict()
        self.next_number = 1
        self.forgotten = 0
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
            if class_number != NO_CLASS:
                self._shapes.setdefault(number, (class_number, attributes))
                self._shape_numbers.setdefault(class_number, ThreadedDict())[attributes] = number
            self.next_number = max(self.next_number, number + 1)

    def leave_only(self, numbers: Container[int]) -> None:
        """Drop all but *numbers*. May be repeated after an interrupt."""
        classes = [row for row in self._class_names.copy().items() if row[0] not in numbers]
        shapes = [row for row in self._shapes.copy().items() if row[0] not in numbers]
        self.forgotten += len(classes) + len(shapes)  # First: too much does no harm.
        # Then where it is looked for next: whoever knows a number finds it at any moment.
        for number, name in classes:
            self._former_classes[number] = name
            if self._class_numbers.get(name) == number:
                del self._class_numbers[name]
            del self._class_names[number]
        for number, shape in shapes:
            self._former_shapes[number] = shape
            self._shape_numbers[shape[0]].pop(shape[1], None)
            del self._shapes[number]

    def leave_used(self, used: set[int]) -> None:
        """Drop the names that nothing has; *used* are the numbers that states have.

        Those of our own classes stay.
        """
        classes, shapes = self.rows()
        used = used.union([row[1] for row in shapes if row[0] in used])
        used.update([row[0] for row in classes if row[1].startswith("dobbin_like.")])
        self.leave_only(used)

    def numbers(self) -> set[int]:
        """Return the numbers of all classes and shapes, without those that were dropped."""
        return {*self._class_names.copy(), *self._shapes.copy()}

    def class_name(self, number: int) -> tuple[str, str] | None:
        return self._class_names.get(number) or self._former_classes.get(number)

    def class_number(self, module: str, qualname: str) -> int | None:
        return self._class_numbers.get((module, qualname))

    def shape(self, number: int) -> tuple[int, tuple[str, ...]] | None:
        return self._shapes.get(number) or self._former_shapes.get(number)

    def shape_number(self, class_number: int, attributes: tuple[str, ...]) -> int | None:
        return self._shape_numbers.get(class_number, {}).get(attributes)

    def shape_count(self, class_number: int) -> int:
        return len(self._shape_numbers.get(class_number, ()))

    def rows(self) -> NewNames:
        """Return both tables, by number; each shape has its class there."""
        # Copies: these are atomic. The classes last, because they are added first.
        shapes = [(number, *shape) for number, shape in sorted(self._shapes.copy().items())]
        classes = [(number, *name) for number, name in sorted(self._class_names.copy().items())]
        last = self.next_number - 1
        if last and last not in self._class_names and last not in self._shapes:
            shapes.append((last, NO_CLASS, ()))
        return NewNames(tuple(classes), tuple(shapes))


def class_and_names(names: Names, number: int) -> tuple[int, tuple[str, ...] | None]:
    """Return the class number of a state, and the names of its attributes if it lacks them.

    *number* is that of the state: of a class, a shape or a delta.
    """
    if number & DELTA:
        return number - DELTA, None
    return names.shape(number) or (number, None)
