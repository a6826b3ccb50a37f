"""Locks of single bytes far after the end of a log: SYNC, OPENING and WRITER.

They are locks of the open file, as the commit lock is: two instances in one process exclude
each other, and the kernel releases them when a process dies. Unlike a flock, they can be
queried, and turned from exclusive into shared without a gap. A second ``flock`` on the same file
would be the commit lock again. Always taken in the order OPENING, commit lock, SYNC; WRITER is
taken with OPENING held only.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import struct
from typing import Final

from dobbin_like.log.file.disk import DiskError

_FIRST: Final = 1 << 62
SYNC: Final = _FIRST
"""Who waits for the disk, and tells all that what was appended is durable."""

WRITER: Final = _FIRST + 1
"""Shared by all that have the log open for writing; exclusive while one of them recovers."""

OPENING: Final = _FIRST + 2
"""Who finds out whether it is alone."""

SHARED: Final = fcntl.F_RDLCK
EXCLUSIVE: Final = fcntl.F_WRLCK

_REQUEST: Final = struct.Struct("@hhqqi")
"""What ``struct flock`` of 64-bit systems has: kind, whence, start, length, process."""


def check_system(path: str) -> None:
    """Raise OSError if the system has no such locks, without which a log is not opened."""
    if not hasattr(fcntl, "F_OFD_SETLK"):
        text = "the system has no locks of open files (F_OFD_SETLK), which a log needs: Linux has"
        raise OSError(errno.ENOTSUP, text, path)


@functools.cache
def _request(kind: int, which: int) -> bytes:
    return _REQUEST.pack(kind, 0, which, 1, 0).ljust(32, b"\0")


def lock(fd: int, path: str, which: int, *, shared: bool = False, wait: bool = True) -> bool:
    """Take a lock, or turn it into the other kind; return whether it was free.

    Args:
        wait: As long as it takes.

    Raises:
        DiskError: The file can't be locked. It names *path*, as those of the others do.
    """
    command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
    try:
        _call(fd, path, command, SHARED if shared else EXCLUSIVE, which)
    except DiskError as error:
        if not wait and error.errno in {errno.EAGAIN, errno.EACCES}:
            return False
        raise
    return True


def unlock(fd: int, path: str, which: int) -> None:
    """Give a lock back. Nothing happens if it is not held; nor if the file was closed, below 0."""
    if fd < 0:
        return
    _call(fd, path, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, which)


def holder(fd: int, path: str, which: int) -> int | None:
    """Return how another open file holds a lock: SHARED or EXCLUSIVE; None: it does not.

    A descriptor for reading will do.
    """
    answer = _call(fd, path, fcntl.F_OFD_GETLK, EXCLUSIVE, which)
    kind: int = _REQUEST.unpack_from(answer)[0]
    return None if kind == fcntl.F_UNLCK else kind


def _call(fd: int, path: str, command: int, kind: int, which: int) -> bytes:
    try:
        return fcntl.fcntl(fd, command, _request(kind, which))
    except OSError as error:
        if error.errno is None:
            raise
        raise DiskError(error.errno, error.strerror, path) from error
    except ValueError as error:  # Below 0: a signal handler has closed the file.
        raise DiskError(errno.EBADF, os.strerror(errno.EBADF), path) from error
