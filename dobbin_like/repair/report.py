"""The result of a repair: what was saved, and what was lost. Knows nothing of logs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from dobbin_like.check.report import Report
from dobbin_like.texts import counted

_SHOWN: Final = 20
"""How many oids, or blocks, a text lists."""


@dataclass(frozen=True)
class Loss:
    """Something that could not be saved.

    ``offset`` and ``end`` are in bytes from the start of the damaged file; ``tid`` and
    ``oids`` are None and empty if they are unknown. ``certain`` says whether they are from
    bytes whose checksum is right.
    """

    offset: int
    end: int
    what: str
    tid: int | None = None
    oids: tuple[int, ...] = ()
    certain: bool = False

    def __str__(self) -> str:
        text = f"{self.offset} to {self.end}: {self.what}"
        if self.tid is not None:
            text += f", tid {self.tid}"
        if self.oids:
            shown = ", ".join(map(str, self.oids[:_SHOWN]))
            rest = len(self.oids) - _SHOWN
            text += f", oids {shown}" + (f" and {rest} more" if rest > 0 else "")
        if (self.tid is not None or self.oids) and not self.certain:
            text += " (according to damaged bytes)"
        return text


@dataclass
class RepairReport:
    """The result of a repair.

    ``transactions`` and ``failed`` count those in the new file, ``versions`` their states;
    ``mended`` has the offsets of bytes in which one bit was corrected; ``refused`` the offsets of
    blocks that the disk could not read; ``notes`` describes other substitutions. ``check`` is the
    check of the new file: it reports references to lost objects as dangling.
    """

    path: str
    to: str
    transactions: int = 0
    failed: int = 0
    versions: int = 0
    streams: int = 0
    mended: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    check: Report | None = None

    @property
    def complete(self) -> bool:
        """Whether everything that was committed was saved."""
        return not self.losses

    def as_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON has."""
        check = None if self.check is None else self.check.as_dict()
        return {**asdict(self), "complete": self.complete, "check": check}

    def __str__(self) -> str:
        lines = [
            f"{self.to}: {counted(self.transactions, 'transaction')} ({self.failed} failed), "
            f"{counted(self.versions, 'version')}, {counted(self.streams, 'stream')} "
            f"saved from {self.path}"
        ]
        if self.mended:
            places = ", ".join(map(str, self.mended))
            lines.append(f"flipped bits corrected, in the bytes at {places}")
        if self.refused:
            places = ", ".join(map(str, self.refused[:_SHOWN]))
            more = " ..." if len(self.refused) > _SHOWN else ""
            lines.append(f"blocks of 512 bytes that the disk could not read, at {places}{more}")
        lines += self.notes
        lines.append(counted(len(self.losses), "loss") if self.losses else "nothing was lost")
        lines += [f"  {loss}" for loss in self.losses]
        if self.check is not None and not self.check.ok:
            lines.append("problems of the new file:")
            lines += [f"  {problem}" for problem in self.check.problems]
        return "\n".join(lines)
