"""The lock of a new file while it is written, by portalocker.

The commit lock of a log is :mod:`.lock`.
"""

from __future__ import annotations

import errno
import fcntl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portalocker.portalocker import FlockLocker


def _locker() -> FlockLocker:
    # Not portalocker.lock(): that one follows a switch of the process which may be set to lockf,
    # and lockf belongs to the process: two instances would both get the lock.
    # Late: it takes some 20 ms to import, and most programs never ask for such a lock.
    from portalocker.portalocker import FlockLocker

    return FlockLocker()


def try_lock(fd: int, path: str) -> bool:
    """Lock a file if it is free; return whether it was. Raises OSError: it can't be locked."""
    try:
        from portalocker import AlreadyLocked, LockException, LockFlags
    except OSError as error:  # Importing it has failed: there is no descriptor left.
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, path) from error
    try:
        _locker().lock(fd, LockFlags.EXCLUSIVE | LockFlags.NON_BLOCKING)
    except AlreadyLocked:
        return False
    except LockException as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno is None:  # That of a signal handler.
            raise cause from None
        raise OSError(errno.ENOLCK, f"it can't be locked: {error}", path) from error
    return True


def unlock(fd: int) -> None:
    """Let others lock a file that try_lock() has locked."""
    # What portalocker does, without it: its import may be what has failed.
    fcntl.flock(fd, fcntl.LOCK_UN)
