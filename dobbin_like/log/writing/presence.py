"""Who opens a log for writing: alone, it recovers; with others, it joins them.

Those that may write are told by the lock WRITER, which they share. Who gets it exclusively
is alone, and nobody can know what happened to the machine since somebody was there: so it
recovers. It does that under OPENING: of two that wait for one that died in recovery, one is
alone. Readers hold nothing: that one is there must not make a writer skip recovery.
"""

from __future__ import annotations

import fcntl
import os

from dobbin_like.log.file import range_lock
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.range_lock import OPENING, WRITER
from dobbin_like.log.format.header import FAILURES
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.writing.recovery import recover
from dobbin_like.log.writing.syncing import sync_lock

__all__ = ["alone", "join", "repair"]


def join(log: ReadableLog) -> bool:
    """Count among those that may write; recover if nobody else does, or a sync has failed.

    Returns:
        False: Another file is at the path since this one was opened. Nothing was done.

    Requires: Not the commit lock, and that no thread of this instance takes it meanwhile: the
        open file is one for all of them.

    Raises:
        IntegrityError, OSError: See recover(). It does not count among them.
    """
    file = log.file
    range_lock.lock(file.fd, OPENING)
    try:
        is_alone = range_lock.lock(file.fd, WRITER, wait=False)
        try:
            if not _is_at_path(file):
                range_lock.unlock(file.fd, WRITER)
                return False
            if is_alone or _has_failed(file):
                fcntl.flock(file.fd, fcntl.LOCK_EX)
                try:
                    # Nobody replaces it now; else another thread might follow meanwhile.
                    if not _is_at_path(file):
                        range_lock.unlock(file.fd, WRITER)
                        return False
                    if is_alone or _has_failed(file):
                        repair(log)
                finally:
                    fcntl.flock(file.fd, fcntl.LOCK_UN)
            range_lock.lock(file.fd, WRITER, shared=True)
            file.joined = True
        except BaseException:
            range_lock.unlock(file.fd, WRITER)
            raise
    finally:
        range_lock.unlock(file.fd, OPENING)
    return True


def repair(log: ReadableLog) -> None:
    """Recover; the commit lock is held. Raises as recover() does."""
    with sync_lock(log.file):
        recover(log)


class alone:  # noqa: N801  a context manager
    """Tells whether nobody else may write, and keeps it so; else false, without waiting."""

    def __init__(self, file: LogFile) -> None:
        self._fd = file.fd

    def __enter__(self) -> bool:
        self._opening = range_lock.lock(self._fd, OPENING, wait=False)
        return self._opening and range_lock.lock(self._fd, WRITER, wait=False)

    def __exit__(self, *error: object) -> None:
        if self._opening:
            range_lock.lock(self._fd, WRITER, shared=True, wait=False)
            range_lock.unlock(self._fd, OPENING)


def _has_failed(file: LogFile) -> bool:
    words = file.words
    assert words is not None
    failures = words.find(FAILURES)
    return failures is None or bool(failures & 1)


def _is_at_path(file: LogFile) -> bool:
    """Return whether no other file has taken the place; that none is there is told later."""
    try:
        found = os.stat(file.path)  # noqa: PTH116  device and inode
    except FileNotFoundError:
        return True
    return (found.st_dev, found.st_ino) == file.key
