"""The transactions of a log by their numbers and times: for the slider, and for the plot.

A log finds a tid by walking from its end; here it is one step, for 24 bytes a transaction.
"""

from __future__ import annotations

import contextlib
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


class _Known(NamedTuple):
    """What was read so far; replaced as one."""

    commits: array[int]
    """The tids of those that did not fail."""

    tids: array[int]
    """Of all."""

    entries: array[int]
    """Where their first entries are."""


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
        self._known = _Known(array("Q"), array("Q"), array("Q"))
        self.ready: bool = False
        self.error: Error | None = None

    def catch_up(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Read what is not known yet, unless another thread does. Cost: those transactions."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._storage.complete_since != self._since:  # It was packed.
                self._start()
            for logged in self._storage.transactions(self._last):
                self._add(logged.tid, logged.first_entry, failed=logged.failed)
                if stopped():
                    return
            self.ready = True
        except Error as error:  # What was read is right.
            self.error = error
            self._read_behind()
            self.ready = True
        finally:
            self._lock.release()

    def _read_behind(self) -> None:
        """Read what is behind the damage, from the end of the log."""
        found: list[tuple[Tid, int, bool]] = []
        with contextlib.suppress(Error):
            for logged in self._storage.transactions(self._last, newest_first=True):
                found.append((logged.tid, logged.first_entry, logged.failed))
        for tid, entry, failed in reversed(found):
            self._add(tid, entry, failed=failed)

    def _add(self, tid: Tid, entry: int, *, failed: bool) -> None:
        self._known.entries.append(entry)
        self._known.tids.append(tid)  # From now on, it is known.
        if not failed:
            self._known.commits.append(tid)
        self._last = tid

    def __len__(self) -> int:
        """Return the number of transactions that did not fail."""
        return len(self._known.commits)

    def tid(self, number: int) -> Tid:
        """Return the tid of a transaction: the first is 1; what is beyond the ends, is the end.

        NO_TID: None is known, because a pack has just been noticed.
        """
        commits = self._known.commits
        if not commits:
            return NO_TID
        return Tid(commits[min(max(number, 1), len(commits)) - 1])

    def number(self, tid: Tid) -> int:
        """Return the number of the last transaction up to *tid*; 0: there is none."""
        return bisect_right(self._known.commits, tid)

    def logged(self, tid: Tid) -> Transaction | None:
        """Return the transaction of a tid, None if there is none. IntegrityError: it is damaged.

        Cost: One step; a walk if it is not known here.
        """
        _, tids, entries = self._known
        at = bisect_left(tids, tid)
        if at < len(tids) and tids[at] == tid:
            # The log finds who has written a version by its place; if the log was packed
            # meanwhile, it finds that another one is there, and walks.
            return self._storage.transaction_of(LoggedVersion(tid, 0, b"", entries[at], 0))
        return next(self._storage.transactions(Tid(tid - 1), tid), None)

    def newest_first(self, until: Tid) -> Iterator[Transaction]:
        """Yield the transactions up to *until*. IntegrityError: one is damaged."""
        known = self._known.tids if self.ready and self.error is None else array("Q")
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
        tids = self._known.tids
        at = bisect_right(tids, tid)
        if self.ready and at < len(tids):
            return Tid(tids[at])
        found = next(self._storage.transactions(tid), None)
        return None if found is None else found.tid

    def buckets(self, count: int) -> list[Bucket]:
        """Return the whole time in *count* stretches of the same length."""
        known = self._known
        if not known.tids:
            return []
        first, last = known.tids[0], known.tids[-1]
        count = min(count, last - first + 1)
        borders = [first - 1 + (last - first + 1) * step // count for step in range(count + 1)]
        return [
            Bucket(Tid(since), Tid(until), *_between(known, since + 1, until + 1))
            for since, until in pairwise(borders)
        ]


def _between(known: _Known, first: int, end: int) -> tuple[int, int]:
    """Return how many have committed, and how many have failed, from a tid to another."""
    commits, every = (
        bisect_left(tids, end) - bisect_left(tids, first) for tids in (known.commits, known.tids)
    )
    return commits, every - commits
