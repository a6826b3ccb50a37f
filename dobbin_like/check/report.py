"""What a check found: counts, and the problems, each with the invariant it breaks.

The numbers of invariants are those that the docstrings of the package use (I1 to I10).
Knows nothing of logs or objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from dobbin_like.exc import LogError

__all__ = ["INVARIANTS", "CheckFailedError", "Problem", "Report"]

INVARIANTS: Final = {
    1: "an acknowledged commit is there",
    2: "a transaction is there whole or not at all",
    3: "no reader waits for a writer",
    4: "a dead process leaves nothing to repair",
    5: "committed bytes never change",
    6: "reading a plain object runs no code of ours",
    7: "the same oid is the same instance",
    8: "what cannot be stored fails before anything is written",
    9: "loading imports and calls only what is allowed",
    10: "costs do not grow with the database",
}
"""The invariants in a few words, by number."""

_SHOWN: Final = 10
"""Problems in the text of an error: one damaged place often shows in many."""


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be.

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


class CheckFailedError(LogError):
    """A check found problems; nothing was changed."""

    fields = ("path", "problems")
    path: str
    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        lines = [f"{self.path}: {len(self.problems)} problems"]
        lines += [f"  {problem}" for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"  and {len(self.problems) - _SHOWN} more")
        return "\n".join(lines)


@dataclass
class Report:
    """The outcome of a check.

    ``transactions`` counts all, ``failed`` those of them that failed; ``versions`` are the
    states of successful ones, ``objects`` the oids among them. ``bytes`` are those up to
    the end of what is committed. ``loaded`` and ``masked`` count objects in memory.
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
        """Note a problem at an offset of the file, or at another place."""
        offset = where if isinstance(where, int) else None
        place = f"{self.path}:{where}" if isinstance(where, int) else where
        self.problems.append(Problem(invariant, place, str(found), str(expected), offset))

    def __str__(self) -> str:
        text = (
            f"{self.path}: {self.transactions} transactions ({self.failed} failed), "
            f"{self.objects} objects in {self.versions} versions, {self.streams} streams, "
            f"{self.bytes} bytes"
        )
        if self.ok:
            return text + ": no problem"
        return "\n".join([text + f": {len(self.problems)} problems", *map(str, self.problems)])
