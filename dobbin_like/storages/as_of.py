"""A storage as of an earlier transaction: reads another one, up to a tid.

File, positions and class table are those of the storage below, which goes on growing;
what was then is found by the chains of versions. Nothing can be written, and there is
never any news. Knows no objects.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from dobbin_like.exc import (
    ClosedError,
    PastDroppedError,
    ReadOnlyStorageError,
    TransactionNotFound,
)
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.timestamps import Moment, tid_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dobbin_like.contract import Names, Storage

__all__ = ["AsOf", "Pin", "check_complete", "complete_since"]


def complete_since(storage: Storage) -> Tid:
    """Return the tid from which on nothing was dropped by packing; 0: from the start."""
    return getattr(storage, "complete_since", NO_TID)


def check_complete(storage: Storage, tid: Tid) -> None:
    """Raise PastDroppedError if the state as of *tid* may not be there any more."""
    since = complete_since(storage)
    if max(tid, NO_TID) < since:
        raise PastDroppedError(storage.path, tid, since)


class Pin:
    """Keeps a storage from letting go of what there is from *tid* on, until released.

    A storage that is packed may have to keep a file open for it.
    """

    # Of one whose making was interrupted.
    _token: object | None = None

    def __init__(self, storage: Storage, tid: Tid) -> None:
        self._storage: Any = storage
        if hasattr(storage, "pin"):
            self._token = storage.pin(tid)

    def release(self) -> None:
        """Let go. Idempotent; what an interrupt cuts short is done when it is forgotten."""
        if self._token is not None:
            self._storage.unpin(self._token)
            self._token = None

    __del__ = release


class AsOf:
    """What a storage held right after the last transaction up to *moment*. Any thread.

    Closing it leaves the storage below open. When that one is closed, nothing more can
    be read here.

    Args:
        applied: The newest tid of the storage below, and how many objects there are as of
            it: for those who have it while another thread may apply more.

    Raises:
        TransactionNotFound: The moment is before the first transaction, or a tid above
            the last that is applied, or a datetime in the future.
        PastDroppedError: What there was then was dropped by packing.
        ValueError, TypeError: It is no moment. See tid_of().

    Cost: A small read for each transaction after *moment*.
    """

    read_only = True
    held = False

    def __init__(
        self, base: Storage, moment: Moment, applied: tuple[Tid, int] | None = None
    ) -> None:
        self._base = base
        self._closed = False
        self.path = base.path
        self.sort_key = base.sort_key
        self._base_tid, self._base_count = applied or (base.tid, base.oid_count)
        tid = tid_of(moment)
        self._check_future(moment, tid)
        # Before it is looked at: what is there now stays.
        self._pin = Pin(base, tid)
        check_complete(base, tid)
        last = next(base.transactions(until=tid, newest_first=True), None)
        if last is None:
            first = next(base.transactions(), None)
            reason = "the log is empty"
            if first is not None:
                reason = f"it is before the first one, which is {first.tid}"
            raise TransactionNotFound(base.path, tid, reason)
        self.tid: Tid = last.tid
        self._sequence: int = last.sequence
        self._count: int | None = None

    def _check_future(self, moment: Moment, tid: Tid) -> None:
        reason = ""
        if isinstance(moment, datetime):
            # What a user asks for is checked; nothing that is stored depends on the clock.
            if moment > datetime.now(UTC):
                reason = "the moment is in the future"
        elif tid > self._base_tid:
            reason = f"it is after the last one, which is {self._base_tid}"
        if reason:
            raise TransactionNotFound(self.path, tid, reason)

    def __len__(self) -> int:
        """Return the number of transactions that there were, successful and failed."""
        return self._sequence

    def __bool__(self) -> bool:
        """Return True: an empty storage is a storage."""
        return True

    def __repr__(self) -> str:
        return f"<{self._base!r} as of {self.tid}>"

    @property
    def why_read_only(self) -> str:
        """Why nothing can be changed, for the texts of errors."""
        return f"this is the past, as of tid {self.tid}; change the database itself"

    @property
    def closed(self) -> bool:
        """Whether this one was closed, or the one below."""
        return self._closed or self._base.closed

    def close(self) -> None:
        """Read nothing more; the storage below stays open. Idempotent."""
        self._closed = True
        self._pin.release()

    # -- what there was --------------------------------------------------------

    @property
    def complete_since(self) -> Tid:
        """The tid from which on nothing was dropped by packing."""
        return complete_since(self._base)

    @property
    def oid_count(self) -> int:
        """Number of objects that were stored then. Cost, once: what was changed since."""
        if self._count is None:
            made = {
                oid
                for logged in self._base.transactions(self.tid, self._base_tid)
                if not logged.failed
                for oid in logged.oids
                if not self.has(Oid(oid))
            }
            self._count = self._base_count - len(made)
        return self._count

    @property
    def next_oid(self) -> Oid:
        """The first oid that was never used up to now."""
        return self._base.next_oid

    @property
    def names(self) -> Names:
        """The tables of names, as they are now."""
        return self._base.names

    def has(self, oid: Oid) -> bool:
        """Return whether there was an object with this oid."""
        return self.load(oid) is not None

    def load(self, oid: Oid, at: Tid | None = None) -> Any:
        """Return the version that there was. Cost: the versions that are newer."""
        self._check_open()
        return self._base.load(oid, self.tid if at is None else min(at, self.tid))

    def version_before(self, oid: Oid, stored: Any) -> Any:
        """Return the version of an object that *stored* has replaced."""
        self._check_open()
        return self._base.version_before(oid, stored)

    def transactions(
        self, since: Tid = NO_TID, until: Tid | None = None, *, newest_first: bool = False
    ) -> Iterator[Any]:
        """Yield the transactions that there were after *since*, up to *until*."""
        self._check_open()
        last = self.tid if until is None else min(until, self.tid)
        return self._base.transactions(since, last, newest_first=newest_first)

    def transaction_of(self, stored: Any) -> Any:
        """Return the transaction that has written a version."""
        self._check_open()
        return self._base.transaction_of(stored)

    def entries(self, logged: Any) -> Iterable[tuple[Oid, Any]]:
        """Yield the objects that a transaction has changed, with what it has stored."""
        self._check_open()
        return self._base.entries(logged)

    def stream_size(self, offset: int) -> int:
        """Return the size of a stored stream in bytes."""
        self._check_open()
        return self._base.stream_size(offset)

    def read_stream(self, offset: int, start: int, size: int) -> bytes:
        """Return up to *size* bytes of a stored stream; fewer at its end."""
        self._check_open()
        return self._base.read_stream(offset, start, size)

    # -- what does not happen here -----------------------------------------------

    def has_news(self) -> bool:
        """Return False: the past does not change."""
        self._check_open()
        return False

    def read_news(self) -> list[Any]:
        """Return nothing."""
        self._check_open()
        return []

    def apply(self, news: Iterable[Any]) -> None:
        """Refuse, unless there is nothing to apply."""
        if list(news):
            self._refuse()

    def acquire(self) -> NoReturn:
        """Refuse. Raises ReadOnlyStorageError."""
        self._refuse()

    def release(self) -> None:
        """Nothing is held."""

    def write_stream(self, source: BinaryIO) -> NoReturn:
        """Refuse. Raises ReadOnlyStorageError."""
        self._refuse()

    def prepare(self, *_args: object, **_options: object) -> NoReturn:
        """Refuse. Raises ReadOnlyStorageError."""
        self._refuse()

    def decide(self) -> NoReturn:
        """Refuse. Raises ReadOnlyStorageError."""
        self._refuse()

    def append(self, *_args: object, **_options: object) -> NoReturn:
        """Refuse. Raises ReadOnlyStorageError."""
        self._refuse()

    def settle(self, tid: Tid) -> NoReturn:
        """Refuse. Raises ReadOnlyStorageError."""
        self._refuse()

    def fail(self, *_args: object, **_options: object) -> NoReturn:
        """Refuse. Raises ReadOnlyStorageError."""
        self._refuse()

    def after_fork_in_child(self) -> None:
        """Nothing: the storage below is told by the database that it belongs to."""

    def _refuse(self) -> NoReturn:
        self._check_open()
        raise ReadOnlyStorageError(self.path, self.why_read_only)

    def _check_open(self) -> None:
        if self.closed:
            text = f"{self.path} as of tid {self.tid}"
            raise ClosedError(text)
