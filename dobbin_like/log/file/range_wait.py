"""Waiting for a lock of a single byte, which is told if it takes long.

Who has one may stand still: it was stopped, or its disk does not answer. Then everybody waits.
Read :mod:`.range_lock` first.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

from dobbin_like.log.file import range_lock
from dobbin_like.log.file.disk import named
from dobbin_like.warn_after import Waits

__all__ = ["take"]

_logger = logging.getLogger(__name__)

_DOES: Final = {range_lock.SYNC: "syncs", range_lock.OPENING: "opens"}


def take(fd: int, path: str, which: int) -> None:
    """Take SYNC or OPENING, as long as it takes. Raises OSError: the file can't be locked."""
    with named(path):
        if not range_lock.lock(fd, which, wait=False):
            Waits(partial(_warn, fd, path, which)).during(partial(range_lock.lock, fd, which))


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
