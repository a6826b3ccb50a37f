"""Giving way: long work in the background leaves committing threads most of their speed.

A commit needs the lock of the interpreter several times. So, while others commit, the work rests
after each slice for a little longer than the slice took.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

_SLICE_SECONDS: Final = 0.002
_REST: Final = 1.3
"""The rest while others commit, relative to the work before it."""

_LONGEST_REST_SECONDS: Final = 0.01
_BUSY_SECONDS: Final = 0.1
"""How long after a commit the next one is expected."""

_yield: Final[Callable[[], object]] = getattr(os, "sched_yield", lambda: time.sleep(0))


class Throttle:
    """One thread that gives way. *sign* returns a value that changes with each commit.

    *stopping* is called when it is time to give way; if it returns true, the work ends.
    """

    def __init__(
        self, sign: Callable[[], object], stopping: Callable[[], bool] | None = None
    ) -> None:
        self._stopping = stopping
        self._sign = sign
        self._seen = sign()
        self._busy_until = 0.0
        self._began = time.monotonic()
        self.patient = True

    def rest(self) -> None:
        """Give way if it is time; InterruptedError ends the work. Call it often: it is cheap."""
        now = time.monotonic()
        worked = now - self._began
        if worked < _SLICE_SECONDS:
            return
        if self._stopping is not None and self._stopping():
            text = "it was stopped"
            raise InterruptedError(text)
        seen = self._sign()
        if seen != self._seen:
            self._seen = seen
            self._busy_until = now + _BUSY_SECONDS
        if self.patient and now < self._busy_until:
            time.sleep(min(worked * _REST, _LONGEST_REST_SECONDS))
        else:
            _yield()
        self._began = time.monotonic()
