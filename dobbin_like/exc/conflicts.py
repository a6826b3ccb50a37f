"""Another transaction was faster: run the transaction again.

These are the transient errors, for which the retry loops of the ``transaction`` package look.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple, Self

from dobbin_like.exc.base import HOME, Error, TransientError
from dobbin_like.ids import NO_TID, ROOT_OID, Oid, Tid

__all__ = [
    "ConflictError",
    "Difference",
    "LockTimeout",
    "OvertakenError",
    "ReadConflictError",
    "Sides",
    "SnapshotDroppedError",
    "UndoConflictError",
    "WriteConflictError",
]

_UNKNOWN: Final[Any] = None  # In a conflict that a program raises: the store knows all values.


class Difference(NamedTuple):
    """One attribute, key, item or member, and its values as short texts.

    ``name`` follows the object as in Python: ``.open``, ``['tea']``, ``.prices['tea']``; a member
    of a set is ``{'tea'}``. ``old`` is what both transactions began with, ``theirs`` what the
    other has committed, ``own`` what this one was to commit. ``<absent>``: it is not there.
    """

    name: str
    old: str
    theirs: str
    own: str

    def __str__(self) -> str:
        return f"{self.name}: old {self.old}, theirs {self.theirs}, own {self.own}"


class Sides(NamedTuple):
    """The two sides of a conflict: who committed what, when, and what both have changed.

    ``user`` and ``description`` are those of the other transaction, ``time`` is when it was
    committed, in UTC; ``None``: all three are not known. ``more`` is how many differences were
    found beside those that are told. ``hint`` says what would have merged the two, if a collection
    of this package in the place of a plain one would.
    """

    user: str = ""
    description: str = ""
    time: datetime | None = None
    differences: tuple[Difference, ...] = ()
    more: int = 0
    hint: str = ""

    def __str__(self) -> str:
        lines = [str(difference) for difference in self.differences]
        if self.time is not None:
            by = f" by {self.user!r:.80}" if self.user else ""
            note = f": {self.description!r:.120}" if self.description else ""
            lines.insert(0, f"theirs was committed at {self.time:%Y-%m-%d %H:%M:%S} UTC{by}{note}")
        if self.more:
            lines.append(f"and {self.more} more")
        if self.hint:
            lines.append(self.hint)
        return "".join(f"\n  {line}" for line in lines)


Difference.__module__ = Sides.__module__ = HOME

_UNKNOWN_SIDES: Final = Sides()


class ConflictError(Error, TransientError):
    """This transaction and a committed one changed, or relied on, the same object.

    The transaction has failed; the objects show the latest committed state. ``serial`` is the
    tid that changed the object, ``base_serial`` the one that this transaction had read;
    ``failed`` says why the two changes could not be merged, if that was tried. ``sides`` tells
    who has committed the other one, when and with what note, and the values of both.
    """

    class_name: str = "object"
    oid: Oid = _UNKNOWN
    serial: Tid = _UNKNOWN
    base_serial: Tid = _UNKNOWN
    by_whom: str = "another transaction"
    failed: str = ""

    @property
    def sides(self) -> Sides:
        """Both sides, as they were at the conflict.

        Found out once, with the lock given back: when ``commit()`` of the ``transaction`` package
        fails, which formats the error, or when it is asked for, printed, copied or pickled.
        """
        values = self.__dict__
        find = values.get("_find")
        if find is not None:
            values["_sides"] = find()
            values["_find"] = None  # It keeps states in memory.
        sides: Sides = values.get("_sides", _UNKNOWN_SIDES)
        return sides

    def tell(self, find: Callable[[], Sides]) -> Self:
        """Let *find*, which raises nothing, find out about both sides; return the error."""
        self.__dict__["_find"] = find
        return self

    def __reduce__(self) -> Any:
        self.__dict__["_sides"] = self.sides  # What finds them out can't be pickled.
        return super().__reduce__()

    def __str__(self) -> str:
        return f"{self._summary()}{self.sides}"

    def _summary(self) -> str:
        failed = f", and {self.failed}" if self.failed else ""
        if (self.oid, self.base_serial) == (ROOT_OID, NO_TID):
            return (
                f"the root was set by {self.by_whom} (tid {self.serial}) after this transaction "
                f"saw that there was none; run the transaction again"
            )
        return (
            f"{self.class_name} oid {self.oid} was changed by {self.by_whom} (tid {self.serial}) "
            f"after this transaction read it (tid {self.base_serial}){failed}; run the "
            f"transaction again"
        )


class WriteConflictError(ConflictError):
    """Another thread of this database instance has committed the other transaction."""


class ReadConflictError(ConflictError):
    """Another process or database instance has committed the other transaction."""


class UndoConflictError(ConflictError):
    """A change can't be undone because a later transaction changed the same. Nothing changed.

    ``base_serial`` is the tid that was to be undone, ``attribute`` what was changed again,
    ``serial`` the tid that last changed the object. In ``sides``, old is what was to be undone,
    theirs what is there now, own what undoing would make of it. Unlike the other conflicts, this
    one does not go away when the transaction is run again: undo the later ones first, newest
    first.
    """

    by_whom: str = "a later transaction"
    attribute: str = ""

    def _summary(self) -> str:
        failed = f", and {self.failed}" if self.failed else ""
        return (
            f"transaction {self.base_serial} can't be undone: .{self.attribute} of "
            f"{self.class_name} oid {self.oid}, which it changed, was changed again by "
            f"{self.by_whom} (the last was tid {self.serial}){failed}; undo the later ones first"
        )


class LockTimeout(Error, TransientError):
    """The commit lock was not free in time, or a commit before not synced. Nothing was written."""

    path: str
    timeout_seconds: float
    text = (
        "{path}: the commit lock was not free, or a commit before not synced, after "
        "{timeout_seconds} seconds; run the transaction again"
    )


class OvertakenError(Error, TransientError):
    """Another process has appended since the storage was read. Nothing was written.

    A storage that keeps nobody out raises it. A database reads what came between, looks for
    conflicts and appends again, by itself.
    """

    path: str
    sequence: int
    text = (
        "{path}: another process has committed after transaction {sequence}; run the transaction "
        "again"
    )


class SnapshotDroppedError(Error, TransientError):
    """A thread reads, or goes on after a pause, in a snapshot that a pack has dropped.

    Nothing changed. ``begin()`` or ``abort()`` gives it the newest one.
    """

    path: str
    tid: Tid
    text = (
        "{path}: the snapshot of tid {tid}, which this thread still had, was dropped by a pack; "
        "begin a transaction"
    )
