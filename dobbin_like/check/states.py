"""Whether states can be read and lead somewhere, without loading a class of the application.

Classes are taken by name only: everything but the value types of the standard library
is a stand-in here, so that a check needs none of the modules that wrote the log and runs
none of their code (I9). Knows no file.
"""

from __future__ import annotations

from typing import Any, Final

from dobbin_like.ids import Oid
from dobbin_like.log.class_table import ClassTable as LoggedClasses
from dobbin_like.persistent.classes import VALUE_TYPES, ClassTable, Policy
from dobbin_like.persistent.serialize import Decoder

__all__ = ["STREAM_CLASS", "Reference", "StateReader", "UnknownClassError"]

STREAM_CLASS: Final = ("dobbin_like.persistent", "PersistentStream")
"""The name under which a log knows the class of stored streams."""


class UnknownClassError(Exception):
    """A state names a class number that the log does not know."""


class Reference:
    """Stands for a persistent object that a state refers to."""

    __slots__ = ("class_number", "oid")

    def __init__(self, oid: Oid, class_number: int) -> None:
        self.oid = oid
        self.class_number = class_number


class _ValueTypesOnly(Policy):
    """Gives nothing that an application has defined, though it may be imported."""

    def resolve(self, module: str, qualname: str) -> tuple[Any, str]:
        if qualname in VALUE_TYPES.get(module, "").split():
            return super().resolve(module, qualname)
        return None, "a check loads no class"


class _Names:
    """The class table of the log as far as it was scanned."""

    next_class_number = 0

    def __init__(self, classes: LoggedClasses) -> None:
        self._classes = classes

    def class_name(self, number: int) -> tuple[str, str]:
        name = self._classes.name(number)
        if name is None:
            text = f"class number {number}"
            raise UnknownClassError(text)
        return name

    def class_number(self, module: str, qualname: str) -> int | None:
        return self._classes.number(module, qualname)


class StateReader:
    """Decodes states of one log."""

    def __init__(self, classes: LoggedClasses) -> None:
        self._table = ClassTable(_ValueTypesOnly(()), _Names(classes))
        self._references: list[Reference] = []

    def read(self, data: bytes) -> tuple[dict[str, Any], list[Reference]]:
        """Return the state, references in place of objects, and the references.

        Raises:
            Exception: Whatever decoding raises: the data are damaged.
        """
        references = self._references = []
        state = Decoder(data, self._reference, self._table).load()
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
            text = f"the state is a {type(state).__name__}, expected a dict of attributes"
            raise TypeError(text)
        return state, references

    def _reference(self, oid: Oid, class_number: int) -> Reference:
        reference = Reference(oid, class_number)
        self._references.append(reference)
        return reference
