"""What has become of a transaction: waiting until it is seen, asking whether it is committed."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from dobbin_like.ids import Tid
from dobbin_like.mistaken.arguments import check_tid, check_timeout
from dobbin_like.store import Store

if TYPE_CHECKING:
    from dobbin_like.transactions.publisher import Publisher

_FIRST_PAUSE_SECONDS: Final = 0.0001
_LONGEST_PAUSE_SECONDS: Final = 0.01


def wait(store: Store, tid: int, timeout: float | None = None) -> bool:
    """Wait until this database sees the transaction *tid*, which somebody else has committed.

    For a program that is told a tid by another thread, process or request (``db.tid`` after a
    commit), and has to read what was written there. If this thread has changed nothing, its
    snapshot has that from then on; else the next one has. Return False if it did not come within
    *timeout* seconds; by default, it takes as long as it takes. Errors are those of reading.

    Cost: A system call now and then, from every 0.1 ms to every 10 ms.
    """
    check_tid(tid)
    check_timeout(timeout=timeout)
    manager = store.manager()
    if not applied_in_time(store.publisher, tid, timeout, _LONGEST_PAUSE_SECONDS):
        return False
    view = manager.view
    if (view.active or view.lapsed is not None) and view.tid < tid and not view.working:
        shared = store.graph.shared
        with shared.lock:
            shared.begin_under_lock(view)
            view.lapsed = None  # Here, as nobody lets it lapse meanwhile.
    return True


def applied_in_time(
    publisher: Publisher, tid: int, timeout: float | None, longest_pause: float
) -> bool:
    """Wait until the transaction *tid*, or a later one, is published; False: in vain."""
    end = math.inf if timeout is None else time.monotonic() + timeout
    pause = _FIRST_PAUSE_SECONDS
    while True:
        publisher.catch_up()
        if publisher.storage.tid >= tid:
            return True
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(2 * pause, longest_pause)


def outcome(store: Store, tid: int) -> bool | None:
    """Return whether the transaction *tid* is committed; None: that is not known yet.

    After an :class:`~dobbin_like.exc.InDoubtError`, which has the tid. It is known when the log
    was repaired, by the next program that opens it or commits to it, and something was committed
    since. After True, what it has written is there; after False, it never will be.

    PastDroppedError: What there was then was dropped by packing. Other errors are those of
    reading. Cost: That of finding a transaction by its tid.
    """
    check_tid(tid)
    store.publisher.catch_up()
    storage = store.storage
    if storage.tid < tid:
        return None
    found = next(storage.transactions(Tid(tid - 1), Tid(tid)), None)
    return found is not None and not found.failed
