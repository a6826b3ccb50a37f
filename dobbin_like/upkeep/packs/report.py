"""What every pack is asked, since when snapshots stay readable, and what it reports."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from operator import sub

from dobbin_like.exc import PackError
from dobbin_like.ids import NO_TID, Tid
from dobbin_like.texts import counted
from dobbin_like.timestamps import tid_of

Keep = int | datetime | timedelta | None
"""The time since which every snapshot stays readable: a tid, a time, how long ago; None: now, or
in PostgreSQL an hour ago."""


@dataclass(frozen=True)
class PackSize:
    """How much a log holds. Failed transactions count.

    ``bytes`` are those of the file; of a log in PostgreSQL, those of states and streams.
    """

    objects: int = 0
    revisions: int = 0
    transactions: int = 0
    bytes: int = 0


NOTHING = PackSize()


@dataclass(frozen=True)
class PackReport:
    """The result of a pack, or of a dry run.

    ``keep`` is the tid of the oldest snapshot that stays readable. ``packed`` is false if
    nothing was changed. ``locked_seconds`` is how long writers had to wait. ``later_bytes`` are
    the bytes of the old file after that snapshot; all of them are kept.
    """

    path: str
    keep: Tid = NO_TID
    before: PackSize = NOTHING
    after: PackSize = NOTHING
    packed: bool = False
    seconds: float = 0.0
    locked_seconds: float = 0.0
    later_bytes: int = 0

    @property
    def dropped(self) -> PackSize:
        """The numbers of what was not needed."""
        return PackSize(*map(sub, astuple(self.before), astuple(self.after)))

    @property
    def garbage(self) -> float:
        """The share of the bytes of the file that was not needed."""
        return max(0.0, 1 - self.after.bytes / self.before.bytes) if self.before.bytes else 0.0

    def __str__(self) -> str:
        before, dropped = self.before, self.dropped
        text = (
            f"{self.path}: {'dropped' if self.packed else 'would drop'} "
            f"{dropped.objects:,} of {counted(before.objects, 'object')}, "
            f"{dropped.revisions:,} of {counted(before.revisions, 'revision')}, "
            f"{dropped.transactions:,} of {counted(before.transactions, 'transaction')}; "
            f"{counted(before.bytes, 'byte')} become {self.after.bytes:,}"
        )
        if not self.packed:
            return text
        wait = self.locked_seconds * 1000
        return f"{text}; {self.seconds:.1f} seconds, writers waited {wait:.0f} ms"


def wanted_tid(keep: Keep, now_microseconds: int) -> Tid | None:
    """Return the tid that *keep* means; None: it is None."""
    if keep is None:
        return None
    if not isinstance(keep, timedelta):
        return tid_of(keep, "keep", ", or a timedelta")
    if keep < timedelta(0):
        text = f"keep={keep!r} is in the future"
        raise ValueError(text)
    return Tid(max(0, now_microseconds - keep // timedelta(microseconds=1)))


def refuse_the_future(path: str, keep: Keep, now_microseconds: int, newest: Tid) -> None:
    """Raise PackError if *keep* is after the last transaction, *newest*, and after now."""
    if keep is None or isinstance(keep, timedelta):
        return
    wanted = tid_of(keep, "keep", ", or a timedelta")
    if isinstance(keep, datetime) and wanted <= now_microseconds:
        return
    if wanted > newest:  # Tids may be ahead of a clock that was set back.
        if isinstance(keep, datetime):
            raise PackError(path, f"{keep} is in the future")
        raise PackError(path, f"tid {keep} is after the last one, {newest}")
