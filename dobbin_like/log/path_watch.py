"""Warns a program that only reads a log if the path does not lead to it any more.

A program that writes gets an error from its commit. One that only reads would go on with the old
file.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from dobbin_like.exc import LogMovedError
from dobbin_like.log.file.at_path import check_path
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.processes.refusals import if_possible

__all__ = ["PathWatch"]

_logger = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0


class PathWatch:
    """Looks now and then, when a log is asked for news. Any thread.

    What was read stays right, and the file may have been deleted on purpose: so it is a warning,
    logged once. A restored backup is noticed when the news are read, and a packed log is
    followed.
    """

    def __init__(self, log: ReadableLog) -> None:
        self._log = log
        self._look_at = time.monotonic() + _LOOK_SECONDS
        self._told = threading.Lock()  # Taken for good by the thread that tells it.

    def has_news(self) -> bool:
        """Return what the log says. Cost: that, and the time; now and then, a system call."""
        found = self._log.has_news()
        if not found and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_SECONDS
            with if_possible():
                self._look()
        return found

    def _look(self) -> None:
        try:
            check_path(self._log.file)
        except LogMovedError as error:
            if self._told.acquire(blocking=False):
                _logger.warning("%s; until then, what is read is what was in it", error)
        else:
            self._told = threading.Lock()
