"""The transactions of a log, and those of one object: who changed what, and when."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from dobbin_like.contract import Storage, Transaction
from dobbin_like.exc import ObjectNotFound
from dobbin_like.history.states import differing, stored_state
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.mistaken.arguments import check_flags
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.values.short import ABSENT
from dobbin_like.storages.as_of import Pin
from dobbin_like.store import Store, oid_in
from dobbin_like.timestamps import Moment, tid_of, time_of


class TransactionRecord(NamedTuple):
    """One transaction of the log, successful or failed.

    ``extension`` is the dict that the transaction had; what another program has written
    there in its own way is given as bytes. ``reason`` says why it failed; it is empty
    for one whose process died. ``oids`` are the objects that it changed, or would have.
    """

    tid: Tid
    user: str
    description: str
    extension: Any
    failed: bool
    reason: str
    oids: tuple[Oid, ...]

    @property
    def time(self) -> datetime:
        """When it was committed, in UTC, by the clock of the machine."""
        return time_of(self.tid)


class Revision(NamedTuple):
    """One transaction that changed an object.

    ``changed`` has the old and the new value of every attribute that it changed, by
    name; ``ABSENT`` stands for the value of an attribute that was not there.
    """

    tid: Tid
    user: str
    description: str
    changed: dict[str, tuple[Any, Any]]

    @property
    def time(self) -> datetime:
        """When it was committed, in UTC, by the clock of the machine."""
        return time_of(self.tid)


def transactions(
    store: Store,
    since: Moment | None = None,
    until: Moment | None = None,
    *,
    newest_first: bool = False,
) -> Iterator[TransactionRecord]:
    """Yield the transactions after *since*, up to *until*, with the failed ones.

    They are those of the log as of now, whatever the snapshot of this thread is; those that are
    committed later are not among them. A moment may lie before the log, or in the future. In a
    log that was packed, what is left of the older transactions is told.

    Raises:
        IntegrityError: A transaction is damaged. What was yielded before is right.

    Cost: What is yielded. To find where to begin, a small read for each transaction after
    *since*, or after *until* if newest first.
    """
    check_flags(newest_first=newest_first)
    store.check_open()
    store.publisher.catch_up()
    return transactions_of(store.storage, since, until, newest_first=newest_first)


def transactions_of(
    storage: Storage, since: Moment | None, until: Moment | None, *, newest_first: bool
) -> Iterator[TransactionRecord]:
    """Do what transactions() does, for a storage without a database."""
    after = NO_TID if since is None else tid_of(since, "since")
    last = None if until is None else tid_of(until, "until")
    return map(record_of, storage.transactions(after, last, newest_first=newest_first))


def record_of(logged: Transaction) -> TransactionRecord:
    """Return what users are told of a transaction."""
    extension: Any = logged.extension
    with contextlib.suppress(ValueError):  # Not ours: as it is.
        extension = json.loads(extension) if extension else {}
    about = logged.user, logged.description, extension, logged.failed, logged.reason
    return TransactionRecord(logged.tid, *about, tuple(logged.oids))


def history(store: Store, obj: Persistent | int) -> Iterator[Revision]:
    """Yield the transactions that changed *obj*, newest first.

    *obj* is an object or an oid. Begins with the version that this thread sees, and leaves out
    what it has changed and not committed. Values are as they were stored: those of classes that
    are not loaded are stand-ins. The object need not be loaded, nor its class be there. One that
    is not stored yet has no revision. In a log that was packed, the oldest one has all
    attributes, as if it had made the object.

    Errors are those of ``walk()``. Cost: The two states, for each that is yielded.
    """
    at, graph, storage = store.snapshot(), store.graph, store.storage
    oid = oid_in(graph, obj)
    stored = None if oid is None else storage.load(oid, at)
    if stored is None:
        if obj is oid:
            raise ObjectNotFound(oid)
        return iter(())
    return _revisions(graph, storage, oid, stored)


def _revisions(graph: Graph, storage: Storage, oid: Any, stored: Any) -> Iterator[Revision]:
    # A pack must not drop what is still to be yielded.
    pin = Pin(storage, NO_TID)
    try:
        state = stored_state(graph, oid, stored)
        while stored is not None:
            logged = storage.transaction_of(stored)
            before = storage.version_before(oid, stored)
            state_before = stored_state(graph, oid, before)
            changed = {
                name: (state_before.get(name, ABSENT), state.get(name, ABSENT))
                for name in differing(state_before, state)
            }
            yield Revision(stored.tid, logged.user, logged.description, changed)
            # What was yielded is the caller's own, which may change it.
            stored, state = before, stored_state(graph, oid, before)
    finally:
        pin.release()
