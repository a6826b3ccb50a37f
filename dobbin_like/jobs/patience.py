"""How a worker waits for a job: woken by commits of its process, it looks for those of others."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Lock
from typing import Final

from dobbin_like.exc import ClosedError
from dobbin_like.ids import NO_TID, Tid
from dobbin_like.jobs.parts import seconds
from dobbin_like.transactions.publisher import Publisher

_FIRST_PAUSE_SECONDS: Final = 0.0001
_LONGEST_PAUSE_SECONDS: Final = 0.01


class Patience:
    """How long to wait, and for what: something newer than ``seen``, or the moment ``due``.

    Cost: A read of memory now and then, from every 0.1 ms to every 10 ms.
    """

    def __init__(self, publisher: Publisher, wait: float | None) -> None:
        self.seen: Tid = NO_TID
        self.due: float = math.inf
        self._publisher = publisher
        self._pause = _FIRST_PAUSE_SECONDS
        self._end = math.inf if wait is None else time.monotonic() + wait

    def is_over(self) -> bool:
        """Return whether the time to wait is over."""
        return time.monotonic() >= self._end

    def pauses(self) -> Iterator[float]:
        """Yield how long to pause, until there may be a job or the time is over.

        At least once, unless something is known to be newer: there may be news that nobody can
        see yet.
        """
        publisher = self._publisher
        while not (self._is_known() or self.is_over()):
            left = min(self._end - time.monotonic(), self.due - seconds())
            yield max(min(self._pause, left), _FIRST_PAUSE_SECONDS)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
            if publisher.has_news():
                return

    def _is_known(self) -> bool:
        publisher = self._publisher
        if publisher.closed:
            what = f"the database {publisher.storage.path}"
            raise ClosedError(what)
        return publisher.graph.shared.tid > self.seen or seconds() >= self.due

    def sleep(self, pause: float) -> None:
        """Sleep so long, or until something is published in this process."""
        # A lock, not an Event: if it is inherited by a fork, nothing can wait for it.
        woken = Lock()
        woken.acquire()
        wake, waiting = woken.release, self._publisher.waiting
        try:
            waiting.append(wake)
            # What was published before that woke nobody.
            if self._publisher.graph.shared.tid <= self.seen:
                woken.acquire(timeout=pause)
        finally:
            with suppress(ValueError):
                waiting.remove(wake)
