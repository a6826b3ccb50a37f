"""A transaction to be appended: its bytes, and its LoggedTransaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dobbin_like.ids import Oid, Tid
from dobbin_like.log.format import record
from dobbin_like.log.format.meta import NO_META
from dobbin_like.log.format.record import TRANSACTION_SIZE, LogPlace, Meta
from dobbin_like.log.reading.positions import Positions
from dobbin_like.log.reading.reader import LoggedTransaction

__all__ = ["check_numbers", "encoded"]

# What calling a named tuple does, at half the cost.
_new: Final = tuple.__new__


def encoded(
    tail: LogPlace,
    tid: Tid,
    entries: Sequence[tuple[Oid, int, bytes]],
    positions: Positions | None,
    meta: Meta,
) -> tuple[bytes, LoggedTransaction]:
    """Return the frame of a transaction at *tail*, and the transaction as readers will see it.

    Args:
        entries: (oid, number of class or shape, state).
        positions: Where the newest entries of the oids are; None: the transaction has failed.

    Raises:
        ValueError: A number does not fit.
    """
    offset, _, _, sequence, newest = tail
    oids: tuple[Oid, ...]
    if positions is None:
        oids = tuple([entry[0] for entry in entries])
        check_numbers(tid, oids, newest)
        data, checksum = record.encode_transaction(
            tail, tid, entries, [0] * len(oids), meta, record.FAILED
        )
    elif len(entries) == 1 and meta is NO_META:
        oid, number, state = entries[0]
        oids = (oid,)
        # check_numbers() without the call: most transactions change one object.
        if not (newest < tid < record.TID_LIMIT and 0 <= oid < record.OID_LIMIT):
            check_numbers(tid, oids, newest)
        data, checksum = record.encode_change(tail, tid, oid, number, state, positions.get(oid))
    else:
        oids = tuple([entry[0] for entry in entries])
        check_numbers(tid, oids, newest)
        data, checksum = record.encode_transaction(
            tail, tid, entries, positions.newest(oids), meta, record.COMMITTED
        )
    names, user, description, extension, reason = meta
    logged = (
        tid,
        offset,
        offset + len(data),
        sequence + 1,
        positions is None,
        user,
        description,
        extension,
        reason,
        oids,
        offset + TRANSACTION_SIZE,
        names,
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
