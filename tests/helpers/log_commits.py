"""What is committed to a log without a database, and read from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dobbin_like.ids import Oid, Tid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dobbin_like.log import LoggedTransaction, TransactionLog


def commit(
    log: TransactionLog,
    changes: dict[int, bytes],
    classes: Sequence[tuple[int, str, str]] = (),
    *,
    user: str = "",
) -> LoggedTransaction:
    log.acquire()
    try:
        log.apply(log.read_news())
        entries = [(Oid(oid), 1, data) for oid, data in changes.items()]
        logged = log.append(Tid(log.tid + 10), entries, classes, user=user)
        log.apply([logged])
        return logged
    finally:
        log.release()


def fail(log: TransactionLog, reason: str) -> LoggedTransaction:
    """Record a failed transaction; return it when it is visible."""
    log.acquire()
    try:
        log.apply(log.read_news())
        log.fail(Tid(log.tid + 10), reason)
    finally:
        log.release()
    return appended(log)


def appended(log: TransactionLog) -> LoggedTransaction:
    """Let all that is appended be visible, and apply it; return the last transaction."""
    log.acquire()
    log.release()
    news = log.read_news()
    log.apply(news)
    return news[-1]


def data_of(log: TransactionLog, oid: int, at: int | None = None) -> bytes | None:
    stored = log.load(Oid(oid), None if at is None else Tid(at))
    return None if stored is None else stored.data
