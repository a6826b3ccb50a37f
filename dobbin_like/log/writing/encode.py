"""A transaction as it is to be appended: its bytes, and what readers will be told of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dobbin_like.ids import Oid, Tid
from dobbin_like.log.format import record
from dobbin_like.log.format.record import LogPlace, Meta
from dobbin_like.log.reading.reader import LoggedTransaction

__all__ = ["check_numbers", "encoded"]

# What a named tuple does when it is called, at half the cost.
_new: Final = tuple.__new__


def encoded(
    tail: LogPlace,
    tid: Tid,
    entries: Sequence[tuple[Oid, int, bytes]],
    previous: Callable[[int], int],
    meta: Meta,
    status: int,
) -> tuple[bytes, LoggedTransaction]:
    """Return the frame of a transaction at *tail*, and the transaction that it is.

    Args:
        entries: (oid, number of class or shape, state).
        previous: Position of the newest entry of an oid, 0 if there is none.

    Raises:
        ValueError: A number does not fit.
    """
    oids: tuple[Oid, ...]
    if len(entries) == 1:
        oids = (entries[0][0],)
        # What check_numbers() does, without a call: most transactions change one object.
        if not (tail.tid < tid < record.TID_LIMIT and 0 <= oids[0] < record.OID_LIMIT):
            check_numbers(tid, oids, tail.tid)
    else:
        oids = tuple([entry[0] for entry in entries])
        check_numbers(tid, oids, tail.tid)
    data, checksum = record.encode_transaction(tail, tid, entries, previous, meta, status)
    logged = (
        tid,
        tail.end,
        tail.end + len(data),
        tail.sequence + 1,
        status == record.FAILED,
        meta.user,
        meta.description,
        meta.extension,
        meta.reason,
        oids,
        tail.end + record.TRANSACTION_SIZE,
        meta.names,
        checksum,
    )
    return data, _new(LoggedTransaction, logged)


def check_numbers(tid: Tid, oids: Sequence[int], newest: Tid) -> None:
    """Raise ValueError if *tid* is not above *newest*, or the *oids* are no different oids."""
    if not newest < tid < record.TID_LIMIT:
        text = f"tid {tid} is not above {newest}, that of the transaction before"
        raise ValueError(text)
    if len(oids) == 1 and 0 <= oids[0] < record.OID_LIMIT:
        return
    if len(set(oids)) < len(oids):
        text = "an oid stands twice in one transaction"
        raise ValueError(text)
    if oids and not 0 <= min(oids) <= max(oids) < record.OID_LIMIT:
        text = f"oids from {min(oids)} to {max(oids)}, below {record.OID_LIMIT} are allowed"
        raise ValueError(text)
