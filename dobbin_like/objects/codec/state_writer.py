"""States encoded without a class of the application: for what makes a database of other files.

The counterpart of :mod:`.state_reader`: references and stand-ins take the place of objects and
of values of the application. Knows no file.
"""

from __future__ import annotations

from typing import Any, cast

from dobbin_like.exc import NotStorableError
from dobbin_like.ids import OWN_ATTRIBUTES, Oid
from dobbin_like.name_tables import NameTables
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.policy import VALUE_TYPES
from dobbin_like.objects.codec.stand_in import StandInMeta, make_stand_in, stand_in_member
from dobbin_like.objects.codec.state_reader import NO_OBJECTS, Reference, Rewriter, ValueTypesOnly
from dobbin_like.objects.codec.versions import VERSION

ClassName = tuple[str, str]
"""Module and qualname."""


class _Number:
    """The number of a class that gets one when a state has it: many are only met."""

    def __init__(self, writer: StateWriter, name: ClassName) -> None:
        self._writer, self._name = writer, name

    def __int__(self) -> int:
        return self._writer.number(self._name)


class StateWriter:
    """Encodes states for a new log, and numbers their classes. One thread.

    ``names`` are the tables of names that the log has to get; ``referred`` has the numbers of
    the classes that references are to.
    """

    def __init__(self, path: str) -> None:
        self.names: NameTables = NameTables()
        self.referred: set[int] = set()
        self._table = ClassTable(ValueTypesOnly(()), self.names, path)
        self._encoder = Rewriter(NO_OBJECTS, self._table)
        self._stand_ins: dict[ClassName, StandInMeta] = {}

    def number(self, name: ClassName) -> int:
        """Return the number of a class, a new one if need be."""
        number = self.names.class_number(*name)
        if number is None:
            self._settle()
            number = self.names.next_number
            self.names.update([(number, *name)])
        return number

    def reference(self, oid: int, name: ClassName) -> Reference:
        """Return what stands for a persistent object of this class."""
        number = self.number(name)
        self.referred.add(number)
        return Reference(Oid(oid), number)

    def class_named(self, name: ClassName) -> Any:
        """Return the value type of this name, or what stands for a class of the application."""
        module, qualname = name
        if qualname in VALUE_TYPES.get(module, "").split():
            return self._table.policy.resolve(module, qualname)[0]
        return self.stand_in(name)

    def stand_in(self, name: ClassName) -> StandInMeta:
        """Return what stands for a class: its instances keep what they are made of."""
        made = self._stand_ins.get(name)
        if made is None:
            number = cast("int", _Number(self, name))
            made = self._stand_ins[name] = make_stand_in(name, number, "")
        return made

    def member(self, name: ClassName, *member: Any) -> Any:
        """Return what stands for a member of an enum: by its name, or its value and 0."""
        number = self.number(name)
        return stand_in_member(make_stand_in(name, number, ""), number, *member)

    def encode(self, name: ClassName, state: dict[str, Any]) -> tuple[int, bytes]:
        """Return the number and the bytes of a state.

        Raises:
            NotStorableError: The state has an attribute of a reserved name, or something that
                can't be stored.
        """
        for attribute in state:
            if attribute.startswith("_p_") and attribute not in (VERSION, *OWN_ATTRIBUTES):
                reason = "names with _p_ are reserved"
                raise NotStorableError(".".join(name), None, f".{attribute}", reason)
        number = self.number(name)
        shape = self._table.shape_number(number, tuple(state))
        try:
            data = self._encoder.encode(state if shape == number else tuple(state.values()))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            self._table.discard()
            reason = str(error) or type(error).__name__
            if isinstance(error, RecursionError):
                reason = "a value is nested too deeply"
            raise NotStorableError(".".join(name), None, ".", reason) from error
        self._settle()
        return shape, data

    def _settle(self) -> None:
        """Let what was numbered count: the log gets all names at its end."""
        self.names.update(self._table.new, self._table.new_shapes)
        self._table.confirm()
