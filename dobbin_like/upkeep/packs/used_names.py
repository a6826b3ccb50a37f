"""Which names of classes and attributes the states have that are kept: the others go.

States have their numbers. A state of an index also has, as a value, that of the class that it is
over: by it, an index finds the class after it was renamed.
"""

from __future__ import annotations

from typing import Any, Final

from dobbin_like.contract import Names
from dobbin_like.ids import DELTA, INDEX_CLASS
from dobbin_like.name_tables import class_and_names
from dobbin_like.objects.codec.references import decode_loosely, references

_CLASS_NUMBER: Final = "class_number"
"""The attribute of an index that has the number of its class."""


def targets_and_numbers(
    names: Names, number: int, state: bytes, used: set[int]
) -> list[tuple[int, int]]:
    """Return the references of a state, and add to *used* the numbers of all names that it has.

    *number* is its own: of a class, a shape or a delta. Raises as decoding.
    """
    used.add(number & ~DELTA)
    note_indexed_class(names, number, state, used)
    return references(state, used)


def note_indexed_class(names: Names, number: int, state: bytes, used: set[int]) -> None:
    """Add to *used* the number of the class that an index is over, if the state is of one.

    Not of a delta: it changes what has that number already.
    """
    if number & DELTA:
        return
    class_number, attributes = class_and_names(names, number)
    if names.class_name(class_number) == INDEX_CLASS:
        values: Any = decode_loosely(state)
        if attributes is not None:
            values = dict(zip(attributes, values, strict=True))
        used.add(values[_CLASS_NUMBER])
