"""What all instances over one log in memory share: its transactions, streams and lock.

Below the transactions lies the ground: nothing, or a storage as of one moment.
Read :mod:`.memory_reading` next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dobbin_like.contract import NO_NAMES, NewNames
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.storages.as_of import AsOf
from dobbin_like.storages.memory_lock import MemoryLock


class MemoryTransaction(NamedTuple):
    """One transaction in memory."""

    tid: Tid
    sequence: int  # 1 for the first one; failed ones count.
    failed: bool
    user: str
    description: str
    extension: bytes
    reason: str
    oids: Sequence[Oid]
    names: NewNames  # Classes and shapes that are new in this transaction.
    versions: Sequence[MemoryVersion]  # By the side of the oids; none if it failed.
    oid_count: int  # What there is when it is applied.
    next_oid: Oid


class MemoryVersion(NamedTuple):
    """One version of one object in memory."""

    tid: Tid
    number: int  # Of its class, or of its shape.
    data: bytes
    position: int  # The number of its transaction, for the texts of errors.
    before: MemoryVersion | None


class Shared:
    """What all instances over one log share. Any thread.

    ``transactions`` begins with one that stands for what lies below, the *ground*, and is only
    added to. ``streams`` has the bytes of streams by their keys: also of those whose
    transaction is still to come. Both are changed by the holder of the lock.
    """

    def __init__(self, path: str, ground: AsOf | None = None, first_stream: int = 1) -> None:
        self.path = path
        self.ground = ground
        self.names = NO_NAMES if ground is None else ground.names.rows()
        self.lock = MemoryLock(path)
        self.transactions: list[MemoryTransaction] = [_head_of(ground)]
        self.streams: dict[int, bytes] = {}
        self.next_stream = first_stream


def _head_of(ground: AsOf | None) -> MemoryTransaction:
    tid, sequence, count, next_oid = NO_TID, 0, 0, Oid(0)
    if ground is not None:
        tid, sequence = ground.tid, len(ground)
        count, next_oid = ground.oid_count, ground.next_oid
    rest = "", "", b"", "", (), NO_NAMES, ()
    return MemoryTransaction(tid, sequence, False, *rest, count, next_oid)
