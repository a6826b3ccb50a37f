"""The transactions of a log, and those of one object: who changed what, and when."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from dobbin_like.exc import InvalidObjectReference, NotPersistentError, ObjectNotFound
from dobbin_like.history.states import ABSENT, differing, stored_state
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.objects.faces.faces import PersistentMeta
from dobbin_like.objects.values.refs import ref_of
from dobbin_like.storages.as_of import Pin
from dobbin_like.timestamps import Moment, tid_of, time_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from dobbin_like.contract import Storage, Transaction
    from dobbin_like.objects.graph.graph import Graph

__all__ = ["Revision", "TransactionRecord", "history", "oid_in", "transactions"]


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
    storage: Storage, since: Moment | None, until: Moment | None, *, newest_first: bool
) -> Iterator[TransactionRecord]:
    """Yield the transactions after *since*, up to *until*."""
    after = NO_TID if since is None else tid_of(since)
    last = None if until is None else tid_of(until)
    return map(_record, storage.transactions(after, last, newest_first=newest_first))


def _record(logged: Transaction) -> TransactionRecord:
    extension: Any = logged.extension
    with contextlib.suppress(ValueError):  # Not ours: as it is.
        extension = json.loads(extension) if extension else {}
    return TransactionRecord(
        logged.tid,
        logged.user,
        logged.description,
        extension,
        logged.failed,
        logged.reason,
        tuple(map(Oid, logged.oids)),
    )


def oid_in(graph: Graph, obj: Any, asked: str = "history()") -> Oid | None:
    """Return the oid of *obj*, which is an object or an oid; None: it is not stored yet.

    Args:
        asked: What it is wanted for, for the text of the error.

    Raises:
        NotPersistentError: It is neither.
        InvalidObjectReference: It belongs to another database.
    """
    if isinstance(obj, int) and not isinstance(obj, bool):
        return Oid(obj)
    if not isinstance(type(obj), PersistentMeta):
        raise NotPersistentError(type(obj).__name__)
    ref = ref_of(obj)
    if ref is None:
        return None
    if ref.jar is not graph:
        name = type(obj)._p_faces.plain.__name__
        raise InvalidObjectReference(name, ref.oid, asked)
    return ref.oid


def history(graph: Graph, storage: Storage, obj: Any, at: Tid | None) -> Iterator[Revision]:
    """Yield the revisions of *obj* up to the snapshot *at*, newest first.

    Raises:
        ObjectNotFound: There is no object with this oid.
        NotPersistentError, InvalidObjectReference: See oid_in().
    """
    oid = oid_in(graph, obj)
    stored = None if oid is None else storage.load(oid, at)
    if stored is None:
        if obj is oid:
            raise ObjectNotFound(oid)
        return iter(())
    return _revisions(graph, storage, oid, stored)


def _revisions(graph: Graph, storage: Storage, oid: Any, stored: Any) -> Iterator[Revision]:
    # What is told is there until all of it is told, whoever packs meanwhile.
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
            # What was yielded is the caller's own, to do with as he likes.
            stored, state = before, stored_state(graph, oid, before)
    finally:
        pin.release()
