"""The result of a check: counts, and problems, each with the invariant that it breaks.

The invariants have the numbers that the docstrings of the package use (I1 to I12).
Knows nothing of logs or objects.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from dobbin_like.exc import LogError
from dobbin_like.texts import counted

INVARIANTS: Final = {
    1: "an acknowledged commit survives",
    2: "a transaction is there completely or not at all",
    3: "no reader waits for a writer",
    4: "a dead process leaves nothing to repair",
    5: "committed bytes never change",
    6: "reading a plain object runs no code of the store",
    7: "the same oid is the same instance",
    8: "what can't be stored fails before anything is written",
    9: "loading imports and calls only what is allowed",
    10: "costs do not grow with the database",
    11: "the nodes of a sorted tree form a tree",
    12: "an index has the keys of its objects, and no others",
}
"""A short text for each invariant, by number."""

_SHOWN: Final = 10
"""How many problems the text of an error has: one damaged place often causes many."""


@dataclass(frozen=True)
class Problem:
    """One violation of an invariant.

    ``place`` is ``path:offset`` for bytes, ``oid n`` for objects in memory;
    ``offset`` is in bytes from the start of the file, None for memory.
    """

    invariant: int
    place: str
    found: str
    expected: str
    offset: int | None = None

    def __str__(self) -> str:
        rule = INVARIANTS[self.invariant]
        return f"{self.place}: {self.found}, expected {self.expected} (I{self.invariant}: {rule})"


@dataclass(frozen=True)
class Dangling:
    """A reference to a missing object, with its owner and its place in the state."""

    oid: int
    class_name: str
    path: str
    target: int
    offset: int

    def __str__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        return f"{self.class_name} oid {self.oid}{where} refers to oid {self.target}"


@dataclass(frozen=True)
class BrokenClass:
    """A class that can't be loaded, how many objects need it, and why it can't."""

    name: str
    objects: int
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({counted(self.objects, 'object')}) can't be loaded: {self.reason}"


@dataclass(frozen=True)
class NotRebuilt:
    """A value that its class does not make of what is stored: its object, its place, and why."""

    oid: int
    class_name: str
    path: str
    name: str
    reason: str

    def __str__(self) -> str:
        where = f"{self.class_name} oid {self.oid} at {self.path}"
        return f"{where}: a {self.name} can't be rebuilt: {self.reason}"


class CheckFailedError(LogError):
    """A check found problems. Nothing was changed."""

    path: str
    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        lines = [f"{self.path}: {counted(len(self.problems), 'problem')}"]
        lines += [f"  {problem}" for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"  and {len(self.problems) - _SHOWN} more")
        return "\n".join(lines)


@dataclass
class Report:
    """The result of a check.

    ``transactions`` counts all, ``failed`` the failed ones; ``versions`` are the states of
    successful ones, ``objects`` the oids among them. ``bytes`` are those up to the committed
    end. ``loaded`` and ``masked`` count objects in memory.

    These are not problems by themselves: ``notes`` on the state in which the file was left;
    ``unreachable`` objects with their bytes and their smallest oids (None: not searched for, or
    damage prevents it); ``broken`` classes and values that are ``not_rebuilt``, if they were
    searched for. ``dangling`` references are also listed as problems.
    """

    path: str
    transactions: int = 0
    failed: int = 0
    objects: int = 0
    versions: int = 0
    bytes: int = 0
    streams: int = 0
    stream_bytes: int = 0
    loaded: int = 0
    masked: int = 0
    unreachable: int | None = None
    unreachable_bytes: int = 0
    unreachable_first: tuple[int, ...] = ()
    notes: list[str] = field(default_factory=list)
    broken: list[BrokenClass] = field(default_factory=list)
    not_rebuilt: list[NotRebuilt] = field(default_factory=list)
    dangling: list[Dangling] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def raise_if_bad(self) -> None:
        """Raise CheckFailedError with all problems, if there are any."""
        if self.problems:
            raise CheckFailedError(self.path, tuple(self.problems))

    def add(self, invariant: int, where: int | str, found: object, expected: object) -> None:
        """Add a problem at an offset of the file, or at another place."""
        offset = where if isinstance(where, int) else None
        place = f"{self.path}:{where}" if isinstance(where, int) else where
        self.problems.append(Problem(invariant, place, str(found), str(expected), offset))

    def as_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON has."""
        return {**asdict(self), "ok": self.ok}

    def __str__(self) -> str:
        text = (
            f"{self.path}: {counted(self.transactions, 'transaction')} ({self.failed} failed), "
            f"{counted(self.objects, 'object')} in {counted(self.versions, 'version')}, "
            f"{counted(self.streams, 'stream')}, {counted(self.bytes, 'byte')}"
        )
        found = counted(len(self.problems), "problem") if self.problems else "no problem"
        lines = [f"{text}: {found}", *map(str, self.problems), *self.notes]
        lines += map(str, [*self.broken, *self.not_rebuilt])
        if self.unreachable:
            first = ", ".join(map(str, self.unreachable_first))
            more = ", ..." if self.unreachable > len(self.unreachable_first) else ""
            lines.append(
                f"{counted(self.unreachable, 'object')} of "
                f"{counted(self.unreachable_bytes, 'byte')} can't be reached from the "
                f"root (oid {first}{more}); a pack drops them"
            )
        return "\n".join(lines)
