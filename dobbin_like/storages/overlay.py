"""``OverlayLog``: commits go to memory, over a storage that is only read.

What lies below is the base as of the moment when the overlay was made: the base may go
on growing, nobody sees that through the overlay.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from dobbin_like.contract import NO_NAMES
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.storages.memory import MemoryLog
from dobbin_like.storages.memory_data import MemoryTransaction, Shared

if TYPE_CHECKING:
    from dobbin_like.contract import Storage

__all__ = ["OverlayLog"]

_ATTEMPTS: Final = 100
"""How often to look for a moment when the base is not just applying something."""

_FIRST_STREAM: Final = 1 << 62
"""Behind every offset in a file that can be."""

_numbers = itertools.count(1)


class OverlayLog(MemoryLog):
    """A log in memory that goes on from where *base* is now; the base is only read.

    A database over it shows what the base has, and takes commits that the base never sees:
    for tests, previews, what-if. Oids, class numbers, tids, history, streams and the
    number of transactions go on from those of the base. :meth:`another` gives further
    instances over the same overlay; each ``OverlayLog(base)`` begins anew.

    Args:
        base: Any storage that is open; it stays the caller's, who closes it after the
            overlay. It may belong to a database, whose threads go on using it.
        lock_timeout: Seconds to wait for the commit lock; None: as long as it takes.

    Raises:
        ClosedError: The base is closed.

    Cost: Making one, the classes and shapes of the base; while the base has news that it has not
    applied, all its objects. Reading what the overlay has not changed, a read of the
    base, and of the versions that the base was given since.
    """

    def __init__(self, base: Storage, *, lock_timeout: float | None = None) -> None:
        shared = Shared(f"<overlay {next(_numbers)} over {base.path}>", _Snapshot(base))
        self._set_up(shared, lock_timeout=lock_timeout, read_only=False)


class _Snapshot:
    """A storage as of one moment. Any thread.

    Whoever uses the storage may apply more to it at any time: what is taken from it
    without a tid is taken when it is made, and taken again if it was just changing.
    """

    def __init__(self, base: Storage) -> None:
        self._base = base
        # Before it is looked at: what is there now stays, also when the base is packed.
        self._pins: Any = base
        self._pin = self._pins.pin(base.tid) if hasattr(self._pins, "pin") else None
        self.first_stream = _FIRST_STREAM | int.from_bytes(os.urandom(4), "little") << 32
        for _ in range(_ATTEMPTS):
            # What is being applied counts as news until all of it is.
            still = not base.has_news()
            tid, count = self._take()
            still = still and not base.has_news()
            if still and base.tid == tid:
                break
        else:
            count = sum(self.load(Oid(oid), None) is not None for oid in range(self._next_oid))
        self.head = self._make_head(count)

    def __del__(self) -> None:
        if getattr(self, "_pin", None) is not None:
            self._pins.unpin(self._pin)

    @property
    def complete_since(self) -> Tid:
        since: Tid = getattr(self._base, "complete_since", NO_TID)
        return since

    def _take(self) -> tuple[Tid, int]:
        base = self._base
        tid = None
        while tid != base.tid:  # The two belong together.
            tid = base.tid
            sequence = len(base)
        self._tid, self._sequence = tid, sequence
        count = base.oid_count
        self._next_oid = base.next_oid
        self.names = base.names.rows()
        return tid, count

    def _make_head(self, count: int) -> MemoryTransaction:
        return MemoryTransaction(
            self._tid,
            self._sequence,
            False,
            "",
            "",
            b"",
            "",
            (),
            NO_NAMES,
            (),
            count,
            self._next_oid,
        )

    def load(self, oid: Oid, at: Tid | None) -> Any:
        return self._base.load(oid, self._tid if at is None else min(at, self._tid))

    def read_stream(self, offset: int, start: int, size: int) -> bytes:
        return self._base.read_stream(offset, start, size)

    def stream_size(self, offset: int) -> int:
        return self._base.stream_size(offset)

    def version_before(self, oid: Oid, stored: Any) -> Any:
        return self._base.version_before(oid, stored)

    def transactions(self, since: Tid, until: Tid, *, newest_first: bool) -> Iterator[Any]:
        if since >= self._tid:
            return iter(())
        until = min(until, self._tid)
        return self._base.transactions(since, until, newest_first=newest_first)

    def transaction_of(self, stored: Any) -> Any:
        return self._base.transaction_of(stored)

    def entries(self, logged: Any) -> Iterator[tuple[Oid, Any]]:
        return self._base.entries(logged)

    def after_fork_in_child(self) -> None:
        self._base.after_fork_in_child()
