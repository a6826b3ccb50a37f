"""What a database asks of a storage, and the storage there is: :class:`TransactionLog`.

The protocol is the whole of what stands between the two towers; another
engine that keeps it can carry a database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from dobbin_like.ids import NO_TID
from dobbin_like.log import TransactionLog
from dobbin_like.memory_log import MemoryLog, OverlayLog
from dobbin_like.persistent.stream import PersistentStream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dobbin_like.ids import Oid, Tid

__all__ = [
    "LoggedTransaction",
    "MemoryLog",
    "OverlayLog",
    "PersistentStream",
    "Storage",
    "StoredVersion",
    "TransactionLog",
]


class LoggedTransaction(Protocol):
    """One transaction as a storage has it."""

    tid: Tid
    sequence: int
    failed: bool
    oids: Sequence[Oid]
    user: str
    description: str
    extension: bytes
    reason: str


class StoredVersion(Protocol):
    """One version of one object as a storage has it."""

    tid: Tid
    class_number: int
    data: bytes


class Storage(Protocol):
    """Appends transactions, gives their states back, tells what others appended.

    Reading needs no lock and may come from any thread. Calls of
    ``read_news`` and ``apply`` are serialized by the caller; writing happens
    between ``acquire`` and ``release``, by one thread.
    """

    path: str
    sort_key: str
    read_only: bool

    @property
    def tid(self) -> Tid: ...
    @property
    def oid_count(self) -> int: ...
    @property
    def next_oid(self) -> Oid: ...
    @property
    def next_class_number(self) -> int: ...
    @property
    def held(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    def __len__(self) -> int: ...
    def close(self) -> None: ...
    def has_news(self) -> bool: ...
    def read_news(self) -> list[Any]: ...
    def apply(self, news: list[Any]) -> None: ...
    def has(self, oid: Oid) -> bool: ...
    def load(self, oid: Oid, at: Tid | None = None) -> Any: ...
    def class_name(self, number: int) -> tuple[str, str]: ...
    def class_number(self, module: str, qualname: str) -> int | None: ...
    def stream_size(self, offset: int) -> int: ...
    def read_stream(self, offset: int, start: int, size: int) -> bytes: ...
    def version_before(self, oid: Oid, stored: Any) -> Any:
        """Return the version of an object that *stored* has replaced, None if it was the first.

        Cost: That of one version, however many there are.
        """

    def transactions(
        self, since: Tid = NO_TID, until: Tid | None = None, *, newest_first: bool = False
    ) -> Iterator[Any]:
        """Yield the applied transactions with ``since < tid <= until``, failed ones too.

        Nothing that was applied after the call is among them.
        """

    def transaction_of(self, stored: Any) -> Any:
        """Return the transaction that has written a version: what load() has returned."""

    def entries(self, logged: Any) -> Iterator[tuple[Oid, Any]]:
        """Yield the objects of a transaction with the versions that it has written."""

    def acquire(self) -> None: ...
    def release(self) -> None: ...
    def write_stream(self, source: BinaryIO) -> tuple[int, int]: ...
    def prepare(
        self,
        tid: Tid,
        entries: Sequence[tuple[Oid, int, bytes]],
        classes: Sequence[tuple[int, str, str]],
        *,
        user: str = "",
        description: str = "",
        extension: bytes = b"",
        decided: bool = True,
    ) -> Any: ...
    def decide(self) -> None: ...
    def finish(self) -> None: ...
    def fail(
        self,
        tid: Tid,
        reason: str,
        *,
        user: str = "",
        description: str = "",
        extension: bytes = b"",
        oids: Sequence[Oid] = (),
    ) -> Any: ...
    def after_fork_in_child(self) -> None: ...
