"""What a storage takes and gives back: transactions, versions of objects, tables of names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, runtime_checkable

from dobbin_like.ids import Oid, Tid

Entry = tuple[Oid, int, bytes]
"""What a transaction stores of one object: oid, number of its class or shape, state.

The number is given back as it came. It may have the flag ``ids.DELTA``: the state is a
change of the version before.
"""

ClassRow = tuple[int, str, str]
"""Number, module and qualname of a class."""

ShapeRow = tuple[int, int, tuple[str, ...]]
"""Number of a shape, number of its class, names of the attributes in order."""


class NewNames(NamedTuple):
    """Rows of the tables of names. Of a transaction: new or renamed classes, and new shapes."""

    classes: tuple[ClassRow, ...] = ()
    shapes: tuple[ShapeRow, ...] = ()


NO_NAMES: Final = NewNames()


@runtime_checkable
class Transaction(Protocol):
    """One transaction of a storage, successful or failed. Never changes."""

    @property
    def tid(self) -> Tid: ...

    @property
    def sequence(self) -> int:
        """1 for the first one; failed ones count."""

    @property
    def failed(self) -> bool: ...

    @property
    def oids(self) -> Sequence[Oid]:
        """Of the objects that it has changed, or would have if it failed."""

    @property
    def names(self) -> NewNames: ...

    @property
    def user(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def extension(self) -> bytes: ...

    @property
    def reason(self) -> str:
        """Why it failed; empty for one that did not, and for one whose process died."""


@runtime_checkable
class StoredVersion(Protocol):
    """One version of one object in a storage. Never changes."""

    @property
    def tid(self) -> Tid:
        """Of the transaction that has written it."""

    @property
    def number(self) -> int:
        """Of its class or its shape, with flags: as it was given to append()."""

    @property
    def data(self) -> bytes: ...

    @property
    def position(self) -> int:
        """Where it lies, for the texts of errors."""


@runtime_checkable
class Names(Protocol):
    """The tables of names of a storage: numbers of classes, and of the shapes of states.

    A shape is a class together with the names of the attributes of a state, in order. Classes
    and shapes share one space of numbers. The tables tell what is applied.
    """

    @property
    def next_number(self) -> int:
        """Above every number that was ever given to a class or a shape; at least 1."""

    @property
    def forgotten(self) -> int:
        """How many names a pack has dropped since the storage was opened.

        They are still found by their numbers, for older snapshots. What is stored from then on
        must not have these numbers: code that keeps numbers looks them up again when this changes.
        """

    def class_name(self, number: int) -> tuple[str, str] | None:
        """Return module and qualname of a class, the last that its number was given.

        None: The number was given to no class.
        """

    def class_number(self, module: str, qualname: str) -> int | None:
        """Return the number of the class of that name now, None if there is none."""

    def shape(self, number: int) -> tuple[int, tuple[str, ...]] | None:
        """Return class number and attributes of a shape, None if *number* is of none."""

    def shape_number(self, class_number: int, attributes: tuple[str, ...]) -> int | None:
        """Return the number of the shape of that class and those attributes, if there is one."""

    def shape_count(self, class_number: int) -> int:
        """Return how many shapes of a class there are."""

    def rows(self) -> NewNames:
        """Return all classes, by the names that they have now, and all shapes."""
