"""Warns of a thread that keeps its snapshot while newer transactions come.

For its sake, old versions stay in memory, and the old file of a packed log stays on the disk.
Usually that is not intended: a thread waits for something with its transaction open.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import Final, NamedTuple

from dobbin_like import warn_after
from dobbin_like.ids import Tid
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.graph.publication import SharedState

__all__ = ["OldSnapshot", "OldSnapshots"]

_logger = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0
_ENDED: Final = "one that has ended"


class OldSnapshot(NamedTuple):
    """The oldest snapshot that a thread of a database reads, which newer transactions follow."""

    tid: int
    """Of the newest transaction in it."""

    thread: str
    """The name of the thread."""

    seconds: float
    """For how long there have been newer ones, to a second or so, while it was the oldest."""


class _Seen(NamedTuple):
    """The oldest snapshot, and since when it has been that."""

    thread: int
    """The number of its thread, or that of a task."""
    tid: Tid
    since: float
    told: threading.Lock
    """Taken for good by the thread that tells of it."""


class OldSnapshots:
    """Looks, now and then, which snapshot of a database is the oldest. Any thread.

    What was seen last is replaced whole: two threads that look at once see the same.
    """

    def __init__(self, path: str, shared: SharedState) -> None:
        self.views: weakref.WeakSet[View] = weakref.WeakSet()
        self._path = path
        self._shared = shared
        self._look_at = 0.0
        self._seen: _Seen | None = None

    def look(self) -> None:
        """Log a warning if it is time: when something was published, with no lock held."""
        now = time.monotonic()
        if now < self._look_at:
            return
        limit = warn_after.snapshot_seconds
        self._look_at = now + (_LOOK_SECONDS if limit is None else min(_LOOK_SECONDS, limit / 2))
        seen = self._see(now)
        if seen is None or limit is None or now - seen.since < limit:
            return
        if seen.told.acquire(blocking=False):
            _logger.warning(
                "%s: thread %r has kept its snapshot, of tid %d, for %.1f seconds while newer "
                "transactions came, and what they have changed stays in memory for it; end its "
                "transaction by commit() or abort()",
                self._path,
                _name_of(seen.thread),
                seen.tid,
                now - seen.since,
            )

    def oldest(self) -> OldSnapshot | None:
        """Return the oldest snapshot; None: all threads have the newest, or none."""
        now = time.monotonic()
        seen = self._see(now)
        if seen is None:
            return None
        return OldSnapshot(seen.tid, _name_of(seen.thread), now - seen.since)

    def all_views(self) -> list[View]:
        """Return the views of all threads."""
        while True:
            try:
                return list(self.views)
            except RuntimeError:  # A thread has come meanwhile.
                continue

    def _see(self, now: float) -> _Seen | None:
        shared = self._shared
        with shared.lock:
            snapshots, newest = shared.horizon.snapshots.copy(), shared.tid
            view = min(snapshots, key=snapshots.__getitem__, default=None)
            tid = newest if view is None else snapshots[view]
        seen = self._seen
        if view is None or tid >= newest:
            self._seen = seen = None
        elif seen is None or (seen.thread, seen.tid) != (view.thread, tid):
            self._seen = seen = _Seen(view.thread, tid, now, threading.Lock())
        return seen


def _name_of(number: int) -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return names.get(number, _ENDED)
