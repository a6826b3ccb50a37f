"""The transactions of a log by their numbers and times: for the slider, and for the plot.

A log finds a tid by walking from its end; here it is one step, for 24 bytes a transaction.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from dobbin_like.contract import Transaction
from dobbin_like.exc import Error
from dobbin_like.ids import NO_TID, Tid
from dobbin_like.log import LoggedVersion, TransactionLog


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

    def __init__(self, storage: TransactionLog) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        self._since = self._storage.complete_since
        self._last = max(NO_TID, Tid(self._since - 1))
        self._commits: array[int] = array("Q")
        # Of all, with the failed ones: tids, and where their first entries are.
        self._tids: array[int] = array("Q")
        self._entries: array[int] = array("Q")
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
                self._entries.append(logged.first_entry)
                self._tids.append(logged.tid)
                if not logged.failed:
                    self._commits.append(logged.tid)
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

    def logged(self, tid: Tid) -> Transaction | None:
        """Return the transaction of a tid, None if there is none. IntegrityError: it is damaged.

        Cost: One step; a walk if it is not known here.
        """
        at = bisect_left(self._tids, tid)
        if at < len(self._tids) and self._tids[at] == tid:
            # The log finds who has written a version by its place; if the log was packed
            # meanwhile, it finds that another one is there, and walks.
            return self._storage.transaction_of(LoggedVersion(tid, 0, b"", self._entries[at], 0))
        return next(self._storage.transactions(Tid(tid - 1), tid), None)

    def newest_first(self, until: Tid) -> Iterator[Transaction]:
        """Yield the transactions up to *until*. IntegrityError: one is damaged."""
        known = self._tids if self.ready and self.error is None else self._tids[:0]
        newest = Tid(known[-1]) if known else NO_TID
        # What has come since the last look.
        yield from self._storage.transactions(newest, until, newest_first=True)
        for at in range(bisect_right(known, until) - 1, -1, -1):
            logged = self.logged(Tid(known[at]))
            if logged is not None:
                yield logged
        if known and self._since:  # Packing has left some that changed nothing.
            before = Tid(min(until, known[0] - 1))
            yield from self._storage.transactions(until=before, newest_first=True)

    def after(self, tid: Tid) -> Tid | None:
        """Return the tid of the transaction that follows *tid*, None if there is none yet."""
        at = bisect_right(self._tids, tid)
        if self.ready and at < len(self._tids):
            return Tid(self._tids[at])
        found = next(self._storage.transactions(tid), None)
        return None if found is None else found.tid

    def buckets(self, count: int) -> list[Bucket]:
        """Return the whole time in *count* stretches of the same length."""
        if not self._tids:
            return []
        first, last = self._tids[0], self._tids[-1]
        count = min(count, last - first + 1)
        borders = [first - 1 + (last - first + 1) * step // count for step in range(count + 1)]
        return [
            Bucket(Tid(since), Tid(until), *self._between(since + 1, until + 1))
            for since, until in pairwise(borders)
        ]

    def _between(self, first: int, end: int) -> tuple[int, int]:
        commits, all_of_them = (
            bisect_left(each, end) - bisect_left(each, first)
            for each in (self._commits, self._tids)
        )
        return commits, all_of_them - commits
