"""Packing: a new file without what is no longer needed replaces the log.

The packed log has the *same* transactions with fewer entries: tids, oids, class numbers, users
and descriptions stay, so that serials, histories and conflict checks work as before. What is kept
is in :mod:`.pack_plan`. The steps, while others commit:

1. **Mark** what can be reached as of the tid that is kept. A program that has unreachable
   objects in memory may refer to them again: so later transactions are read, too.
2. **Copy** the transactions up to that tid, then the later ones, round after round, until
   little is left. If a new one refers to an object that was left out, the object is marked and
   the copy begins again; after some attempts, no object is left out.
3. **Switch**: under the commit lock, copy the last transactions and replace the old file, in one
   step of the file system. Open instances follow.

If it is killed before the switch, the log is unchanged, and a file beside it is removed by the
next pack or the next opening. Knows no objects: states are bytes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from dobbin_like.exc import PackError
from dobbin_like.ids import NO_TID, Tid
from dobbin_like.log.copies.new_log import NewLog
from dobbin_like.log.copies.packed_log import PackedLog
from dobbin_like.log.file.new_file import PackFile
from dobbin_like.timestamps import tid_of
from dobbin_like.upkeep.pack_copy import Carry, MissedError
from dobbin_like.upkeep.pack_plan import NOTHING, PackSize, Survivors
from dobbin_like.upkeep.throttle import Throttle

Keep = int | datetime | timedelta | None
"""The time since which every snapshot stays readable: a tid, a time, how long ago; None: now."""

Progress = Callable[[int, int], object]
"""Called with the bytes done and all to be done; those of the log count twice."""

_ATTEMPTS: Final = 4
"""Copies that are begun before no object is left out any more."""

_MICROSECOND: Final = timedelta(microseconds=1)


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
        before, after = self.before, self.after
        return PackSize(
            before.objects - after.objects,
            before.revisions - after.revisions,
            before.transactions - after.transactions,
            before.bytes - after.bytes,
        )

    @property
    def garbage(self) -> float:
        """The share of the bytes of the file that was not needed."""
        return max(0.0, 1 - self.after.bytes / self.before.bytes) if self.before.bytes else 0.0

    def __str__(self) -> str:
        before, dropped = self.before, self.dropped
        text = (
            f"{self.path}: {'dropped' if self.packed else 'would drop'} "
            f"{dropped.objects:,} of {before.objects:,} objects, "
            f"{dropped.revisions:,} of {before.revisions:,} revisions, "
            f"{dropped.transactions:,} of {before.transactions:,} transactions; "
            f"{before.bytes:,} bytes become {self.after.bytes:,}"
        )
        if not self.packed:
            return text
        wait = self.locked_seconds * 1000
        return f"{text}; {self.seconds:.1f} seconds, writers waited {wait:.0f} ms"


def pack(
    path: str,
    keep: Keep = None,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    least_garbage: float = 0.0,
    stopping: Callable[[], bool] | None = None,
) -> PackReport:
    """Pack the log at *path*; see :func:`.operations.pack`.

    Args:
        least_garbage: Pack only if at least this share of the file is not needed.
        stopping: Called now and then; when it returns true, InterruptedError is raised.
    """
    began = time.monotonic()
    now = time.time_ns() // 1000  # noqa: TID251  what "an hour ago" means
    wanted = _wanted(keep, now)
    if not os.path.exists(path):  # noqa: PTH110  nothing was committed yet
        return PackReport(path)
    with contextlib.ExitStack() as stack:
        file = None
        if not dry_run:
            status = os.stat(path)  # noqa: PTH116
            if status.st_nlink > 1:
                reason = f"it has {status.st_nlink} names, and the others would keep the old file"
                raise PackError(path, reason)
            # First: only one process packs a log at a time.
            file = stack.enter_context(PackFile(path, status.st_mode & 0o777))
        old = PackedLog(path, wanted, read_only=dry_run, stopping=stopping)
        stack.enter_context(contextlib.closing(old))
        _refuse_the_future(path, keep, now, old)
        report = _pack(old, file, progress, least_garbage, stopping)
    return replace(report, seconds=time.monotonic() - began)


def _wanted(keep: Keep, now_microseconds: int) -> Tid | None:
    if keep is None:
        return None
    if not isinstance(keep, timedelta):
        return tid_of(keep)
    if keep < timedelta(0):
        text = f"keep={keep!r} is in the future"
        raise ValueError(text)
    return Tid(max(0, now_microseconds - keep // _MICROSECOND))


def _refuse_the_future(path: str, keep: Keep, now_microseconds: int, old: PackedLog) -> None:
    if keep is None or isinstance(keep, timedelta):
        return
    wanted, newest = tid_of(keep), old.place.tid
    if isinstance(keep, datetime) and wanted <= now_microseconds:
        return
    if wanted > newest:
        for frame in old.frames(old.place, old.end):
            newest = frame.tail.tid
    if wanted > newest:  # Tids may be ahead of a clock that was set back.
        if isinstance(keep, datetime):
            raise PackError(path, f"{keep} is in the future")
        raise PackError(path, f"tid {keep} is after the last one, {newest}")


def _pack(
    old: PackedLog,
    file: PackFile | None,
    progress: Progress | None,
    least_garbage: float,
    stopping: Callable[[], bool] | None,
) -> PackReport:
    report = PackReport(old.path, old.place.tid)
    pace = Throttle(old.committed_word, stopping)
    if not old.place.sequence:  # There are no earlier transactions: all is kept.
        size, _ = Survivors(old, pace, lambda _size: None).estimate()
        return replace(report, before=size, after=size)
    told = _Told(progress, old.place.end)
    survivors = Survivors(old, pace, told.marked)
    survivors.mark()
    if file is None or least_garbage:
        before, after = survivors.estimate()
        later = before.bytes - old.place.end
        report = replace(report, before=before, after=after, later_bytes=later)
        if file is None or report.garbage < least_garbage:
            told.all()
            return report
    with contextlib.suppress(OSError):  # Not ours to give away.
        os.fchown(file.fd, old.status.st_uid, old.status.st_gid)
    new = NewLog(file, old.next_page(), old.positions.next_oid)
    before, after, locked_seconds = _carry(old, new, survivors, pace, told)
    report = replace(report, before=before, after=after, packed=True)
    later = before.bytes - old.place.end
    return replace(report, locked_seconds=locked_seconds, later_bytes=later)


def _carry(
    old: PackedLog, new: NewLog, survivors: Survivors, pace: Throttle, told: _Told
) -> tuple[PackSize, PackSize, float]:
    """Write the new file and switch to it; return both sizes, and the longest wait."""
    locked_seconds = 0.0
    attempt = 0
    while True:
        attempt += 1
        carry = Carry(old, new, survivors, pace)
        try:
            carry.up_to_the_moment(told.carried)
            carry.catch_up()
            told.all()  # The callback may still prevent it.
            before, after = carry.switch()
        except MissedError:
            if attempt == _ATTEMPTS:
                # Programs go on taking up what was out of reach. It must come to an end.
                survivors.keep_all_objects()
            survivors.mark_later()
            new.restart(old.positions.next_oid)
            pace.patient = True
            locked_seconds = max(locked_seconds, carry.locked_seconds)
        else:
            return before, after, max(locked_seconds, carry.locked_seconds)


class _Told:
    """Reports progress: the bytes up to the kept tid count twice, as marked and as copied."""

    def __init__(self, progress: Progress | None, end: int) -> None:
        self._progress = progress
        self._end = end
        self._marked = 0

    def marked(self, size: int) -> None:
        self._marked = min(self._marked + size, self._end)
        self._tell(self._marked)

    def carried(self, end: int) -> None:
        self._tell(self._end + end)

    def all(self) -> None:
        self._tell(2 * self._end)

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, 2 * self._end)
