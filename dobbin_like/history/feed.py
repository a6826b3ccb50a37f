"""The feed of committed changes: in order, none missed and none twice.

The position is the tid that was seen last, and nothing else: it can be written down, and
another process goes on from there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

from dobbin_like.contract import is_packed
from dobbin_like.exc import ClosedError, PastDroppedError, TransactionNotFound
from dobbin_like.history.outcome import applied_in_time
from dobbin_like.history.states import differing, stored_state
from dobbin_like.ids import DELTA, NO_TID, Oid, Tid
from dobbin_like.mistaken.arguments import check_timeout
from dobbin_like.objects.deltas.delta import ITEMS
from dobbin_like.storages.as_of import Pin
from dobbin_like.store import Store
from dobbin_like.timestamps import Moment, tid_of, time_of
from dobbin_like.transactions.publisher import Publisher

_LONGEST_PAUSE_SECONDS: Final = 0.05


class Change(NamedTuple):
    """One committed transaction, with the objects that it changed or made.

    ``classes`` has the names of their classes, as the log knows them now, by oid;
    ``attributes`` the names of those that it changed; of a new object, all that it has.
    """

    tid: Tid
    user: str
    description: str
    oids: tuple[Oid, ...]
    classes: dict[Oid, str]
    attributes: dict[Oid, tuple[str, ...]]

    @property
    def time(self) -> datetime:
        """When it was committed, in UTC, by the clock of the machine."""
        return time_of(self.tid)


class Feed(Iterator[Change]):
    """Changes, one after the other; for ``async for``, too, which does not block the loop."""

    def __init__(self, publisher: Publisher, last: Tid, wait: float | None) -> None:
        self._publisher, self._last, self._wait = publisher, last, wait
        self._changes = _changes(publisher, last, wait)

    def __next__(self) -> Change:
        return next(self._changes)

    def close(self) -> None:
        """End the feed."""
        self._changes.close()

    async def __aiter__(self) -> AsyncIterator[Change]:
        import asyncio
        from time import monotonic

        publisher, last = self._publisher, self._last
        end = monotonic() + (self._wait or 0)
        while True:
            committed = _changes(publisher, last, None)
            try:
                while (change := await asyncio.to_thread(next, committed, None)) is not None:
                    last = change.tid
                    yield change
                    end = monotonic() + (self._wait or 0)
            finally:
                committed.close()
            while not (publisher.closed or publisher.has_news() or publisher.storage.tid > last):
                if monotonic() >= end:
                    return
                await asyncio.sleep(_LONGEST_PAUSE_SECONDS)
            if publisher.closed:
                return
            await asyncio.to_thread(publisher.catch_up)


def changes(store: Store, since: Moment = NO_TID, wait: float | None = None) -> Feed:
    """Yield what was committed after *since*: a feed, oldest first.

    Nothing is missed and nothing comes twice, no matter which thread or process commits. Keep
    the tid of the last change that was dealt with: ``changes(since=tid)`` goes on behind it, in
    any process. Failed transactions are left out. The snapshot of this thread does not move. A
    feed is for one thread, or one task that uses ``async for``; it ends when the database is
    closed.

    Args:
        since: A tid or a datetime; by default, from the start of the log.
        wait: Seconds to wait for the next change; ``None``: the feed ends with what is
            committed now.

    Raises:
        TransactionNotFound: The tid is above that of the last transaction: the log was replaced
            by an earlier copy, or the tid is of another one.
        PastDroppedError: Changes after *since* were dropped by packing, before the feed began or
            while it was behind. Read the whole state, and go on from ``tid``.
        ValueError: A datetime without a time zone.
        IntegrityError: A version is damaged; a note has the tid from which to go on.

    Cost: The states that were changed, before and after.
    """
    check_timeout(wait=wait)
    store.check_open()
    publisher = store.publisher
    last = max(tid_of(since, "since"), NO_TID)
    publisher.catch_up()
    newest = publisher.storage.tid
    if last > newest and isinstance(since, int):
        reason = f"it is after the last one, {newest}; was the log replaced by an earlier copy?"
        raise TransactionNotFound(publisher.storage.path, last, reason)
    _check_dropped(publisher, last)
    return Feed(publisher, last, wait)


def _changes(publisher: Publisher, last: Tid, wait: float | None) -> Generator[Change, None, None]:
    pin = Pin(publisher.storage, last)
    try:
        while True:
            _check_dropped(publisher, last)
            for logged in publisher.storage.transactions(last):
                change = None if logged.failed else _change(publisher, logged)
                last = logged.tid
                if change is not None:
                    yield change
            older, pin = pin, Pin(publisher.storage, last)
            older.release()
            if publisher.closed or wait is None:
                return
            if not applied_in_time(publisher, last + 1, wait, _LONGEST_PAUSE_SECONDS):
                return
    except ClosedError:
        if not publisher.closed:
            raise
    finally:
        pin.release()


def _change(publisher: Publisher, logged: Any) -> Change:
    graph, storage = publisher.graph, publisher.storage
    classes: dict[Oid, str] = {}
    attributes: dict[Oid, tuple[str, ...]] = {}
    try:
        for oid, stored in storage.entries(logged):
            classes[oid] = graph.classes.name_of(graph.ghosts.class_of(stored))
            if stored.number & DELTA:  # Nothing else has changed; the whole may be large.
                attributes[oid] = (ITEMS,)
                continue
            before = storage.version_before(oid, stored)
            states = stored_state(graph, oid, before), stored_state(graph, oid, stored)
            attributes[oid] = tuple(differing(*states))
    except Exception as error:
        error.add_note(
            f"in transaction {logged.tid}; changes(since={logged.tid}) goes on behind it"
        )
        raise
    user, description = logged.user, logged.description
    return Change(logged.tid, user, description, tuple(classes), classes, attributes)


def _check_dropped(publisher: Publisher, since: Tid) -> None:
    storage = publisher.storage
    complete = storage.complete_since
    if since >= complete:
        return
    # The files that were packed are kept while a feed is behind.
    if not (is_packed(storage) and storage.reaches(since)):
        raise PastDroppedError(storage.path, since, complete)
