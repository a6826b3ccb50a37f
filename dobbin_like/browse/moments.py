"""The transactions of a log by their numbers and times: for the slider, and for the plot.

A log finds a tid by walking from its end; here it is one step, for eight bytes a transaction.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from dobbin_like.contract import Storage
from dobbin_like.exc import Error
from dobbin_like.ids import NO_TID, Tid


class Bucket(NamedTuple):
    """A stretch of time: transactions after ``since``, up to ``until``."""

    since: Tid
    until: Tid
    commits: int
    failed: int


class Moments:
    """All transactions since which the past is whole. Any thread may ask; one reads.

    ``ready`` tells whether all that were there were read once; ``error``, why not.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        self._since = self._storage.complete_since
        self._last = max(NO_TID, Tid(self._since - 1))
        self._commits: array[int] = array("Q")
        self._failed: array[int] = array("Q")
        self.ready = False
        self.error: Error | None = None

    def catch_up(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Read what is not known yet, unless another thread does. Cost: those transactions."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._storage.complete_since != self._since:  # It was packed.
                self._start()
            for logged in self._storage.transactions(self._last):
                (self._failed if logged.failed else self._commits).append(logged.tid)
                self._last = logged.tid
                if stopped():
                    return
            self.ready = True
        except Error as error:  # What was read is right.
            self.error = error
            self.ready = True
        finally:
            self._lock.release()

    def __len__(self) -> int:
        """Return the number of transactions that did not fail."""
        return len(self._commits)

    def tid(self, number: int) -> Tid:
        """Return the tid of a transaction: the first is 1; what is beyond the ends, is the end."""
        return Tid(self._commits[min(max(number, 1), len(self._commits)) - 1])

    def number(self, tid: Tid) -> int:
        """Return the number of the last transaction up to *tid*; 0: there is none."""
        return bisect_right(self._commits, tid)

    def buckets(self, count: int) -> list[Bucket]:
        """Return the whole time in *count* stretches of the same length."""
        ends = [each[end] for each in (self._commits, self._failed) if each for end in (0, -1)]
        if not ends:
            return []
        first, last = min(ends), max(ends)
        count = min(count, last - first + 1)
        borders = [first - 1 + (last - first + 1) * step // count for step in range(count + 1)]
        return [
            Bucket(Tid(since), Tid(until), *self._between(since + 1, until + 1))
            for since, until in pairwise(borders)
        ]

    def _between(self, first: int, end: int) -> tuple[int, int]:
        counts = [
            bisect_left(each, end) - bisect_left(each, first)
            for each in (self._commits, self._failed)
        ]
        return counts[0], counts[1]
