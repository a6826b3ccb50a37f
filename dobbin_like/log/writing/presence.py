"""Opening a log for writing: an instance that is alone recovers it; otherwise it joins the others.

Instances that may write share the lock WRITER. One that gets it exclusively is alone. Then the
machine may have crashed since the last writer, so it recovers the log. It does so under OPENING:
if a process dies in recovery and two others wait for it, only one of them is alone. Readers hold
no lock: a reader must not make a writer skip recovery.
"""

from __future__ import annotations

import fcntl

from dobbin_like.log.file import range_lock, range_wait
from dobbin_like.log.file.at_path import is_at_path
from dobbin_like.log.file.disk import named
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.range_lock import OPENING, WRITER
from dobbin_like.log.format.header import FAILURES
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.writing.recovery import recover
from dobbin_like.log.writing.syncing import under_sync_lock
from dobbin_like.processes.interrupts import finish_despite_interrupts

__all__ = ["alone", "has_failed", "join", "repair"]


def join(log: ReadableLog) -> bool:
    """Join the instances that may write; recover if there is no other, or a sync has failed.

    Returns:
        False: Another file is at the path since this one was opened. Nothing was done.

    Requires: No thread of this instance holds the commit lock, or takes it meanwhile: all of
        them share the open file.

    Raises:
        IntegrityError, OSError: See recover(). It has not joined.
    """
    file = log.file
    with named(file.path):
        try:
            range_wait.take(file.fd, file.path, OPENING)
            file.joined = _join(log, file)
            return file.joined
        finally:
            finish_despite_interrupts(lambda: range_lock.unlock(file.fd, file.path, OPENING))


def _join(log: ReadableLog, file: LogFile) -> bool:
    joined = False
    try:
        is_alone = range_lock.lock(file.fd, file.path, WRITER, wait=False)
        if not is_at_path(file):
            return False
        if (is_alone or has_failed(file)) and not _repaired(log, file, is_alone=is_alone):
            return False
        range_lock.lock(file.fd, file.path, WRITER, shared=True)
        joined = True
    finally:
        if not joined:
            finish_despite_interrupts(lambda: range_lock.unlock(file.fd, file.path, WRITER))
    return True


def _repaired(log: ReadableLog, file: LogFile, *, is_alone: bool) -> bool:
    """Recover under the commit lock if it is still necessary; see join()."""
    try:
        fcntl.flock(file.fd, fcntl.LOCK_EX)
        # Under the commit lock, which keeps other processes from replacing the file.
        if not is_at_path(file):
            return False
        if is_alone or has_failed(file):
            repair(log)
    finally:
        finish_despite_interrupts(lambda: fcntl.flock(file.fd, fcntl.LOCK_UN))
    return True


def repair(log: ReadableLog) -> None:
    """Recover; the commit lock is held. Raises as recover() does."""
    under_sync_lock(log.file, lambda: recover(log))


class alone:  # noqa: N801  a context manager
    """Tell whether no other instance may write, and keep it so; if false, without waiting."""

    def __init__(self, file: LogFile) -> None:
        self._fd, self._path = file.fd, file.path

    def __enter__(self) -> bool:
        self._opening = range_lock.lock(self._fd, self._path, OPENING, wait=False)
        return self._opening and range_lock.lock(self._fd, self._path, WRITER, wait=False)

    def __exit__(self, *error: object) -> None:
        if self._opening:
            range_lock.lock(self._fd, self._path, WRITER, shared=True, wait=False)
            range_lock.unlock(self._fd, self._path, OPENING)


def has_failed(file: LogFile) -> bool:
    """Return whether a sync has failed, and the log was not repaired since."""
    words = file.words
    assert words is not None
    failures = words.find(FAILURES)
    return failures is None or bool(failures & 1)
