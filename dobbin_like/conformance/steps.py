"""What the tests do with a storage, in one call each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from dobbin_like.conformance.assertions import equal
from dobbin_like.contract import ClassRow, ShapeRow, Storage, StoredVersion, Transaction
from dobbin_like.ids import Oid, Tid


@contextlib.contextmanager
def locked(storage: Storage) -> Iterator[None]:
    """Hold the commit lock."""
    storage.acquire()
    try:
        yield
    finally:
        storage.release()


def catch_up(storage: Storage) -> list[Transaction]:
    """Apply the news; return them."""
    news = list(storage.read_news())
    storage.apply(news)
    return news


def commit(storage: Storage, changes: dict[int, bytes], *names: Any, **about: Any) -> Transaction:
    """Commit states by oid, with what :func:`append` takes; return the transaction."""
    with locked(storage):
        catch_up(storage)
        return append(storage, changes, *names, **about)


def append(
    storage: Storage,
    changes: dict[int, bytes],
    classes: Sequence[ClassRow] = (),
    shapes: Sequence[ShapeRow] = (),
    *,
    number: int = 1,
    **about: Any,
) -> Transaction:
    """Append states of the class *number* by oid under the lock, and apply them."""
    entries = [(Oid(oid), number, data) for oid, data in changes.items()]
    logged = storage.append(Tid(storage.tid + 10), entries, classes, shapes, **about)
    storage.apply([logged])
    return logged


def fail(storage: Storage, reason: str, oids: Sequence[int] = (), **about: Any) -> Transaction:
    """Record a failed transaction; return it."""
    with locked(storage):
        catch_up(storage)
        return record_failure(storage, reason, oids, **about)


def record_failure(
    storage: Storage, reason: str, oids: Sequence[int] = (), tid: int | None = None, **about: Any
) -> Transaction:
    """Record a failed transaction under the lock, and apply it; return it."""
    named = [Oid(oid) for oid in oids]
    tid = storage.tid + 10 if tid is None else tid
    storage.fail(Tid(tid), reason, oids=named, **about)
    storage.release()
    storage.acquire()  # Whoever has the lock next sees it.
    news = storage.read_news()
    if not news or not news[-1].failed:
        text = "a failed transaction was not recorded"
        raise AssertionError(text)
    storage.apply(news)
    return news[-1]


def stored(storage: Storage, oid: int, at: int | None = None) -> StoredVersion:
    """Return a version of an object that exists."""
    found = storage.load(Oid(oid), None if at is None else Tid(at))
    if found is None:
        text = f"oid {oid} does not exist"
        raise AssertionError(text)
    return found


def nothing_is_applied(storage: Storage) -> None:
    """Fail unless the storage has applied no transaction."""
    equal((len(storage), storage.tid, storage.oid_count), (0, 0, 0))
    equal(storage.load(Oid(0)), None)


def data_of(storage: Storage, oid: int, at: int | None = None) -> bytes | None:
    """Return the state of an object, ``None`` if there is no such object."""
    found = storage.load(Oid(oid), None if at is None else Tid(at))
    return None if found is None else found.data
