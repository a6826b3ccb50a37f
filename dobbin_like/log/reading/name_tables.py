"""What a log knows of the names of classes and shapes, for whoever has a table of them."""

from __future__ import annotations

from dobbin_like.exc import IntegrityError
from dobbin_like.log.format.meta import Names
from dobbin_like.log.reading.class_table import ClassTable

__all__ = ["KnownNames"]


class KnownNames:
    """The part of a log that answers for its tables of names, as far as they are applied."""

    path: str

    def _classes_known(self) -> ClassTable:
        """Return the tables."""
        raise NotImplementedError  # Each log has its own.

    def _end_known(self) -> int:
        """Return where what is applied ends, for errors."""
        raise NotImplementedError  # Each log has its own.

    @property
    def next_class_number(self) -> int:
        """The first number that was never used for a class or a shape."""
        return self._classes_known().next_number

    def class_name(self, number: int) -> tuple[str, str]:
        """Return module and qualname of a class.

        Raises:
            IntegrityError: The log refers to it and does not know it.
        """
        name = self._classes_known().name(number)
        if name is None:
            at = self._end_known()
            raise IntegrityError(self.path, at, f"class number {number}", "one that was logged")
        return name

    def class_number(self, module: str, qualname: str) -> int | None:
        """Return the number of a class, None if it is new to the log."""
        return self._classes_known().number(module, qualname)

    def shape(self, number: int) -> tuple[int, tuple[str, ...]] | None:
        """Return class number and names of a shape, None if *number* is none's."""
        return self._classes_known().shape(number)

    def shape_number(self, class_number: int, attributes: tuple[str, ...]) -> int | None:
        """Return the number of a shape, None if it is new to the log."""
        return self._classes_known().shape_number(class_number, attributes)

    def shape_count(self, class_number: int) -> int:
        """Return how many shapes of a class the log knows."""
        return self._classes_known().shape_count(class_number)

    def names(self) -> Names:
        """Return all classes and shapes that the log knows."""
        return self._classes_known().items()
