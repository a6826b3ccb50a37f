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
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from dobbin_like.contract import Storage
from dobbin_like.exc import PackError, ReadOnlyStorageError
from dobbin_like.ids import Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.copies.new_log import NewLog
from dobbin_like.log.copies.packed_log import PackedLog, check_names
from dobbin_like.log.file.at_path import check_opened
from dobbin_like.log.file.new_file import PackFile, remove_left
from dobbin_like.mistaken.arguments import check_callables, check_flags
from dobbin_like.processes.refusals import if_possible
from dobbin_like.store import Progress, Store
from dobbin_like.timestamps import is_ahead, now, time_of
from dobbin_like.upkeep.pack_copy import PackCopy
from dobbin_like.upkeep.pack_plan import MissedError, Survivors
from dobbin_like.upkeep.packs.report import (
    Keep,
    PackReport,
    PackSize,
    refuse_the_future,
    wanted_tid,
)
from dobbin_like.upkeep.throttle import Throttle

_ATTEMPTS: Final = 4
"""Copies that are begun before no object is left out any more."""

_logger = logging.getLogger(__name__)

_OCTAL: Final = re.compile(rb"\\([0-7]{3})")
"""How mountinfo writes blanks and the like."""


def pack(
    store: Store, keep: Keep = None, *, dry_run: bool = False, progress: Progress | None = None
) -> PackReport:
    """Drop objects and versions that are no longer needed, and free their space on the disk.

    Drops objects that can't be reached from the root, and versions older than *keep*. A new
    file with the rest replaces the log in one step; store id, oids, tids, users and descriptions
    stay. Others may read and commit meanwhile, except for a short wait at the end. They switch
    to the new file by themselves; older snapshots still read the old one. If it is killed,
    interrupted or fails, the log is unchanged or packed, and intact either way. At last, one more
    transaction takes what was dropped out of the indexes, if there are any.

    From a log in PostgreSQL, rows are deleted; the server frees their space by its VACUUM. What is
    kept is kept for the snapshots of this process, for the pins of all (``at()``, ``changes()``,
    a follower), and for whatever *keep* says: older snapshots of other processes raise
    SnapshotDroppedError. If it is killed, interrupted or fails, the log is right, and the next
    pack drops the rest.

    Args:
        keep: The time since which every snapshot stays readable, and every version and
            transaction is kept: a tid, a datetime with a time zone, or a timedelta for how
            long ago. None: only the newest versions are kept; in PostgreSQL, those of the last
            hour as well.
        dry_run: Only report what would be dropped.
        progress: Called with the bytes done so far, and all there are to do; in PostgreSQL, with
            objects.

    Raises:
        PackError: *keep* is in the future, or a tid after the last one; or the storage has
            no file and is not in PostgreSQL, or its file has more than one name (a hard link).
        PackRunningError: The log is already being packed.
        ReadOnlyStorageError: It may not be written.
        LogMovedError: The log that is open is not at its path any more.
        IntegrityError: Something that is kept is damaged; ``dobbin repair`` helps.
        OSError: Reading or writing failed.
        SelfWaitError: This thread is in the middle of a commit.
        ServerUnavailableError: The server can't be reached, or refuses.
        LockTimeout: In PostgreSQL, others have committed for so long.
        In all these cases, the log is unchanged, or in PostgreSQL packed in part. What the commit
        at the end raises leaves it packed.

    Cost: The kept bytes, read twice and written once; some 20 bytes of memory for each object. In
    PostgreSQL, the states that can be reached are read, and 10 bytes of memory are taken for each.
    """
    check_flags(dry_run=dry_run)
    check_callables(progress=progress)
    store.check_open()
    storage = store.storage
    if storage.read_only and not dry_run:
        raise ReadOnlyStorageError(storage.path, storage.why_read_only)
    if isinstance(keep, (datetime, timedelta)) and is_ahead(storage.tid):
        _logger.warning(
            "%s: keep=%s keeps what was committed since a clock was ahead, until %s; give a tid",
            storage.path,
            keep,
            time_of(storage.tid),
        )
    if isinstance(storage, TransactionLog):
        report = pack_file(
            storage.path, keep, dry_run=dry_run, progress=progress, opened_as=storage
        )
    elif _is_in_postgres(storage):
        from dobbin_like.upkeep.packs.rows import pack_rows

        report = pack_rows(store, keep, dry_run=dry_run, progress=progress)
    else:
        raise PackError(storage.path, f"{type(storage).__name__} has no file")
    if report.packed:
        # Else the next pack takes out what is left in the indexes.
        store.publisher.if_open(store.publisher.catch_up)
        store.publisher.if_open(sweep_after_pack, store)
    return report


def _is_in_postgres(storage: Storage) -> bool:
    # Whoever has one has imported it; others need not have psycopg.
    module = sys.modules.get("dobbin_like.storages.postgres.log")
    return module is not None and isinstance(storage, module.PostgresLog)


def sweep_after_pack(store: Store) -> None:
    """Let the indexes know what a pack has dropped. Raises what a commit raises."""
    if store.graph.indexed:
        from dobbin_like.indexes.sweep import sweep

        sweep(store)


def pack_file(
    path: str,
    keep: Keep = None,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    least_garbage: float = 0.0,
    stopping: Callable[[], bool] | None = None,
    opened_as: TransactionLog | None = None,
) -> PackReport:
    """Pack the log at *path*, as pack() does.

    Args:
        opened_as: What has it open: the past of another log at the path is not to be dropped.
        least_garbage: Pack only if at least this share of the file is not needed.
        stopping: Called now and then; when it returns true, InterruptedError is raised.
    """
    began = time.monotonic()
    began_at = now()  # What "an hour ago" means.
    wanted = wanted_tid(keep, began_at)
    mine = None if opened_as is None else opened_as.file
    is_there = os.path.exists(path)  # noqa: PTH110
    if opened_as is not None:
        opened_as.check_path()
    if not is_there:  # Nothing was committed yet.
        return PackReport(path)
    with contextlib.ExitStack() as stack:
        file = None
        if not dry_run:
            _check_replaceable(path)
            # First: only one process packs a log at a time.
            try:
                file = stack.enter_context(PackFile(path))
            except PermissionError as error:
                reason = f"no file can be made beside it ({error}); give rights to its directory"
                raise PackError(path, reason) from error
        old = PackedLog(path, wanted, read_only=dry_run, stopping=stopping)
        stack.enter_context(contextlib.closing(old))
        if mine is not None:
            check_opened(mine, old.file)  # It may have been moved since.
        if wanted is not None and not isinstance(keep, timedelta):
            refuse_the_future(path, keep, began_at, _newest(old, wanted))
        report = _pack(old, file, progress, least_garbage, stopping)
    return replace(report, seconds=time.monotonic() - began)


def _check_replaceable(path: str) -> None:
    """Refuse a file that another can't take the place of, before anything is done."""
    remove_left(path, os.stat(path))  # noqa: PTH116
    check_names(path, os.stat(path).st_nlink)  # noqa: PTH116
    place = os.path.realpath(path)
    if place in _mount_points():
        reason = (
            "it is a mount point by itself, so that no file can take its place; mount its "
            "directory instead"
        )
        raise PackError(path, reason)


def _mount_points() -> set[str]:
    """Return where something is mounted, as far as the system tells."""
    with if_possible():
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
        return {os.fsdecode(_OCTAL.sub(_byte, line.split()[4])) for line in lines}
    return set()


def _byte(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8)])


def _newest(old: PackedLog, wanted: Tid) -> Tid:
    """Return the tid of the last transaction, or of one that is not before *wanted*."""
    newest = old.place.tid
    if wanted > newest:
        for frame in old.frames(old.place, old.end):
            newest = frame.tail.tid
    return newest


def _pack(
    old: PackedLog,
    file: PackFile | None,
    progress: Progress | None,
    least_garbage: float,
    stopping: Callable[[], bool] | None,
) -> PackReport:
    report = PackReport(old.path, old.place.tid)
    throttle = Throttle(old.seen_words, stopping)
    if not old.place.sequence:  # There are no earlier transactions: all is kept.
        size, _ = Survivors(old, throttle, lambda _size: None).estimate()
        return replace(report, before=size, after=size)
    told = _Told(progress, old.place.end)
    survivors = Survivors(old, throttle, told.marked)
    survivors.mark()
    if file is None or least_garbage:
        before, after = survivors.estimate()
        later = before.bytes - old.place.end
        report = replace(report, before=before, after=after, later_bytes=later)
        if file is None or report.garbage < least_garbage:
            told.copied(old.place.end)
            return report
    new = NewLog(file, old.next_page(), old.positions.next_oid)
    before, after, locked_seconds = _copy(old, new, survivors, throttle, told)
    report = replace(report, before=before, after=after, packed=True)
    later = before.bytes - old.place.end
    return replace(report, locked_seconds=locked_seconds, later_bytes=later)


def _copy(
    old: PackedLog, new: NewLog, survivors: Survivors, throttle: Throttle, told: _Told
) -> tuple[PackSize, PackSize, float]:
    """Write the new file and switch to it; return both sizes, and the longest wait."""
    locked_seconds = 0.0
    attempt = 0
    while True:
        attempt += 1
        copy = PackCopy(old, new, survivors, throttle)
        try:
            copy.up_to_the_moment(told.copied)
            copy.catch_up()
            told.copied(old.place.end)  # The callback may still prevent it.
            before, after = copy.switch()
        except MissedError:
            if attempt == _ATTEMPTS:
                # Programs go on taking up what was out of reach. It must come to an end.
                survivors.keep_all_objects()
            survivors.mark_later()
            new.restart(old.positions.next_oid)
            throttle.patient = True
            locked_seconds = max(locked_seconds, copy.locked_seconds)
        else:
            return before, after, max(locked_seconds, copy.locked_seconds)


class _Told:
    """Reports progress: the bytes up to the kept tid count twice, as marked and as copied."""

    def __init__(self, progress: Progress | None, end: int) -> None:
        self._progress = progress
        self._end = end
        self._marked = 0

    def marked(self, size: int) -> None:
        self._marked = min(self._marked + size, self._end)
        self._tell(self._marked)

    def copied(self, end: int) -> None:
        self._tell(self._end + end)

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, 2 * self._end)
