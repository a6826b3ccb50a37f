"""What all instances over one log in memory share: its transactions, streams and lock.

Below the transactions lies the ground: nothing, or a storage that is only read.
Read :mod:`.memory_reading` next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

from dobbin_like.contract import NO_NAMES, NewNames
from dobbin_like.exc import IntegrityError
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.storages.memory_lock import MemoryLock

__all__ = ["EMPTY", "Ground", "MemoryTransaction", "MemoryVersion", "Shared"]


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


class Ground(Protocol):
    """What lies below the transactions of a log in memory, and never changes."""

    @property
    def head(self) -> MemoryTransaction: ...
    @property
    def names(self) -> NewNames: ...
    @property
    def first_stream(self) -> int: ...
    @property
    def complete_since(self) -> Tid: ...
    def load(self, oid: Oid, at: Tid | None) -> Any: ...
    def read_stream(self, offset: int, start: int, size: int) -> bytes: ...
    def stream_size(self, offset: int) -> int: ...
    def version_before(self, oid: Oid, stored: Any) -> Any: ...
    def transactions(self, since: Tid, until: Tid, *, newest_first: bool) -> Iterator[Any]: ...
    def transaction_of(self, stored: Any) -> Any: ...
    def entries(self, logged: Any) -> Iterator[tuple[Oid, Any]]: ...
    def after_fork_in_child(self) -> None: ...


class _Empty:
    """Nothing below."""

    head = MemoryTransaction(NO_TID, 0, False, "", "", b"", "", (), NO_NAMES, (), 0, Oid(0))
    names = NO_NAMES
    first_stream = 1
    complete_since = NO_TID

    def load(self, oid: Oid, at: Tid | None) -> None:
        return None

    def read_stream(self, offset: int, start: int, size: int) -> bytes:
        raise _no_stream(offset)

    def stream_size(self, offset: int) -> int:
        raise _no_stream(offset)

    def version_before(self, oid: Oid, stored: Any) -> Any:
        text = f"expected a version of a log in memory, got {stored!r}"
        raise TypeError(text)

    def transactions(self, since: Tid, until: Tid, *, newest_first: bool) -> Iterator[Any]:
        return iter(())

    def transaction_of(self, stored: Any) -> Any:
        text = f"expected a version of a log in memory, got {stored!r}"
        raise TypeError(text)

    def entries(self, logged: Any) -> Iterator[tuple[Oid, Any]]:
        text = f"expected a transaction of a log in memory, got {logged!r}"
        raise TypeError(text)

    def after_fork_in_child(self) -> None:
        pass


def _no_stream(offset: int) -> IntegrityError:
    where = "a log in memory"
    return IntegrityError(where, offset, "nothing", "a stream")


EMPTY: Final[Ground] = _Empty()


class Shared:
    """What all instances over one log share. Any thread.

    ``transactions`` begins with what lies below, and is only added to. ``streams`` has the
    bytes of streams by their offsets: also of those whose transaction is still to come.
    Both are changed by the holder of the lock.
    """

    def __init__(self, path: str, ground: Ground) -> None:
        self.path = path
        self.ground = ground
        self.lock = MemoryLock(path)
        self.transactions: list[MemoryTransaction] = [ground.head]
        self.streams: dict[int, bytes] = {}
        self.next_stream = ground.first_stream
