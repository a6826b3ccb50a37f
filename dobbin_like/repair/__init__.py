"""Repairing a damaged log: everything that can be read is written to a new file.

::

    report = repair("data.log", to="mended.log")
    print(report)

Read :mod:`.frames` (the walk over the damaged file), :mod:`.places` (where it goes on),
:mod:`.parts` (one frame of it), :mod:`.bits` (which bit was flipped), then :mod:`.salvage`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from dobbin_like.check import Progress, check_log
from dobbin_like.exc import NotALogError
from dobbin_like.log.copies.new_log import NewLog
from dobbin_like.log.file.disk import open_file
from dobbin_like.log.file.log_file import check_regular
from dobbin_like.log.file.new_file import NewFile
from dobbin_like.log.file.rights import mode_of
from dobbin_like.log.format.header import new_page
from dobbin_like.log.format.record import OID_LIMIT
from dobbin_like.mistaken.arguments import check_callables, checked_path
from dobbin_like.objects.codec.references import references
from dobbin_like.repair.frames import Frames
from dobbin_like.repair.parts import Kept
from dobbin_like.repair.report import Loss, RepairReport
from dobbin_like.repair.salvage import KnownOrNot, Salvage
from dobbin_like.repair.source import Source

__all__ = ["Loss", "Progress", "RepairReport", "repair"]

_STEPS: Final = 3
"""Two walks over the old file, one over the new."""


def repair(
    path: str | os.PathLike[str], to: str | os.PathLike[str], progress: Progress | None = None
) -> RepairReport:
    """Write everything that can be read in the log at *path* to a new log at *to*.

    Transactions keep their tids, users and descriptions, objects their oids. A single flipped
    bit is corrected if a checksum shows which it is. If a transaction is damaged further, its
    intact objects are kept; the others show an older version, if there is one. If anything was
    lost, the new log has no past: ``complete_since`` is the tid of its newest transaction. It has
    its own identity: a backup of the old log must not be updated from it.

    The damaged file is only read; what is committed to it meanwhile is not in the new file. That
    one appears when it is complete and on stable storage, or not at all. *progress* is called
    with bytes: the file is read three times.

    Raises:
        FileExistsError: There is a file at *to*.
        NotALogError: The file contains nothing that belongs to a log.
        FormatVersionError: A newer release wrote it.
        CopyError: Another program is writing to *to*.
        OSError: Reading or writing failed.
        In all cases, both paths are unchanged.

    Cost: The bytes of the log; memory for the largest transaction.
    """
    check_callables(progress=progress)
    report = RepairReport(checked_path("path", path), checked_path("to", to))
    path, to = report.path, report.to
    if Path(to).exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), report.to)
    check_regular(path)
    fd = open_file(path, os.O_RDONLY)
    try:
        work = _Repair(Source(fd, report.path), report, progress)
        work.look()
        with NewFile(report.to, mode_of(fd)) as file:
            work.write(file)
            work.check(file.path)
            file.put(replace=False)
    finally:
        os.close(fd)
    return report


class _Repair:
    def __init__(self, source: Source, report: RepairReport, progress: Progress | None) -> None:
        self._source = source
        self._report = report
        self._progress = progress
        self._page = source.page()
        self._committed = source.committed()
        # Above every oid that is referred to: no new object may get that of a lost one.
        self._next_oid = 0 if self._page is None else self._page.next_oid
        self._frames = self._again()
        self._referred: dict[int, int] = {}

    def look(self) -> None:
        """Walk once, to find out what is lost before anything is written."""
        frames, report = self._frames, self._report
        for part in frames.walk(self._step(0)):
            if isinstance(part, Kept):
                for oid, stored in part.entries:
                    self._next_oid = max(self._next_oid, oid + 1)
                    with contextlib.suppress(Exception):  # The check names what is no state.
                        self._note(references(stored.data))
        if not frames.found and self._page is None:
            raise NotALogError(report.path, "it contains nothing that belongs to a log")
        report.losses = frames.losses
        report.mended = sorted(self._source.flips)
        report.refused = sorted(self._source.refused)
        if self._page is None:
            report.notes.append("the header can't be read; its values were reconstructed")
        if self._committed is None:
            report.notes.append("the header has no committed end; the whole file was searched")

    def _note(self, found: Iterable[tuple[int, int]]) -> None:
        for oid, class_number in found:
            if oid < OID_LIMIT:
                self._next_oid = max(self._next_oid, oid + 1)
                self._referred[oid] = class_number

    def write(self, file: NewFile) -> None:
        """Walk again, and write what can be read."""
        intact = self._page if self._report.complete else None
        since = self._frames.tid if intact is None else intact.complete_since
        log = NewLog(file, new_page(since, self._next_oid), self._next_oid)
        known = KnownOrNot(*self._frames.names(), self._referred)
        salvage = Salvage(self._source, log, known, self._report)
        for part in self._again().walk(self._step(1)):
            salvage.add(part)
        salvage.end()
        self._report.notes += [
            f"the name of a class is lost, it is {name} now; rename it with dobbin rename-class"
            for name in salvage.made_up
        ]
        if log.positions.stored:
            log.save_positions(known.written.rows())
        log.complete()

    def check(self, path: str) -> None:
        """Check the new file, which is at *path* for now."""
        checked = check_log(path, self._step(2))
        checked.path = self._report.to
        checked.problems = [
            replace(problem, place=problem.place.replace(path, checked.path))
            for problem in checked.problems
        ]
        self._report.check = checked

    def _again(self) -> Frames:
        checksum = None if self._page is None else self._page.checksum
        return Frames(self._source, checksum, self._committed)

    def _step(self, number: int) -> Progress | None:
        """Return a progress callback for one of three steps of the same length."""
        progress, size = self._progress, self._source.size
        if progress is None:
            return None
        return lambda done, total: progress(
            number * size + (size * done // total if total else size), _STEPS * size
        )
