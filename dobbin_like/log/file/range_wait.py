"""Waiting for a lock of a single byte, with a warning if it takes long.

The holder may not go on: it was stopped, or its disk does not answer. Then all others wait; a
wait with a limit checks now and then whether the lock is free.
Read :mod:`.range_lock` first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from dobbin_like.log.file import range_lock
from dobbin_like.warn_after import Waits

__all__ = ["in_time", "take"]

_logger = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS: Final = 0.0001
_LONGEST_PAUSE_SECONDS: Final = 0.002

_DOES: Final = {range_lock.SYNC: "syncs", range_lock.OPENING: "opens"}


def take(fd: int, path: str, which: int) -> None:
    """Take SYNC or OPENING, as long as it takes. Raises OSError: the file can't be locked."""
    if not range_lock.lock(fd, path, which, wait=False):
        Waits(partial(_warn, fd, path, which)).during(partial(range_lock.lock, fd, path, which))


def in_time(fd: int, path: str, which: int, seconds: float, is_over: Callable[[], bool]) -> bool:
    """Return whether the lock gets free within some *seconds*. Does not take it.

    Taking it with a limit is not safe: an interrupt right after it was taken would leave it so.
    """
    return is_over() or Waits(partial(_warn, fd, path, which)).during(
        partial(_look_on, is_over, time.monotonic() + seconds)
    )


def _look_on(is_over: Callable[[], bool], deadline: float) -> bool:
    pause = _FIRST_PAUSE_SECONDS
    while not is_over():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
    return True


def _warn(fd: int, path: str, which: int, thread: str, seconds: float) -> None:
    # Late: it is rarely needed.
    from dobbin_like.log.file import lock_table

    process = lock_table.process_with(fd, which)
    _logger.warning(
        "%s: thread %r has waited for the file for %.1f seconds; %s %s it",
        path,
        thread,
        seconds,
        f"process {process}" if process else "another process",
        _DOES[which],
    )
