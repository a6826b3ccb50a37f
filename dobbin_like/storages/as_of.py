"""A storage as of one transaction: reads another one, up to a tid.

What was then is found by the chains of versions. Nothing can be written, and there is never
any news. Knows no objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NoReturn

from dobbin_like.contract import (
    Names,
    PackedStorage,
    Storage,
    StoredVersion,
    Transaction,
    is_distant,
    is_packed,
)
from dobbin_like.exc import (
    ClosedError,
    PastDroppedError,
    ReadOnlyStorageError,
    TransactionNotFound,
)
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.name_tables import NameTables
from dobbin_like.processes.reopened import itself
from dobbin_like.timestamps import Moment, is_ahead, tid_of, time_of

_ATTEMPTS: Final = 100
"""How often to look for a moment when the base is not applying anything."""


def check_complete(storage: Storage, tid: Tid) -> None:
    """Raise PastDroppedError if the state as of *tid* may not be there any more."""
    since = storage.complete_since
    if max(tid, NO_TID) < since:
        raise PastDroppedError(storage.path, tid, since)


def _check_clock(storage: Storage, tid: Tid) -> None:
    """Raise TransactionNotFound if what follows *tid* was committed by a clock that was ahead.

    It may have been committed before the moment, too; its time does not tell.
    """
    if not is_ahead(storage.tid):
        return
    following = next(iter(storage.transactions(since=Tid(tid + 1))), None)
    if following is not None and is_ahead(following.tid):
        reason = (
            f"the one that follows says it is from {time_of(following.tid):%Y-%m-%d}, which is in "
            "the future: a clock was wrong; ask for a tid"
        )
        raise TransactionNotFound(storage.path, tid, reason)


class Pin:
    """Keeps a storage from dropping what there is from *tid* on, until it is released."""

    # Of one whose constructor was interrupted.
    _pinned: tuple[PackedStorage, object] | None = None

    def __init__(self, storage: Storage, tid: Tid) -> None:
        if is_packed(storage):
            self._pinned = storage, storage.pin(tid)

    def release(self) -> None:
        """Idempotent; after an interrupt, it is completed when the pin is garbage."""
        if self._pinned is not None:
            storage, token = self._pinned
            storage.unpin(token)
            self._pinned = None

    def __del__(self) -> None:
        self.release()


class AsOf:
    """What a storage held right after the last transaction up to *moment*. Any thread.

    Closing it leaves the storage below open. When that one is closed, nothing more can
    be read here. Errors are those of :meth:`dobbin_like.database.Database.at`.

    Args:
        moment: None: what the storage has applied now, even if that is nothing, and its tables of
            names. Other threads may apply more to it at any time.
        applied: The newest tid of the storage below, and the number of objects as of it, if the
            caller knows them.

    Cost: A small read for each transaction after *moment*; if it is None, the tables of names,
    and all objects while the storage has news that it has not applied.
    """

    read_only = True
    held = behind = False
    # Asked for what a pack has dropped, by a storage that goes on from here.
    _load_dropped: Callable[[Oid, Tid], StoredVersion | None] | None = None
    unseen: Sequence[Transaction] = ()
    tid: Tid

    def __init__(
        self, base: Storage, moment: Moment | None, applied: tuple[Tid, int] | None = None
    ) -> None:
        self._base = base
        self._closed = False
        self._count: int | None = None
        self._names: Names | None = None
        self.path: str = base.path
        self.sort_key: str = base.sort_key
        self.next_oid: Oid = base.next_oid
        self._base_tid, self._base_count = applied or (base.tid, base.oid_count)
        if moment is None:
            # A storage that goes on from here may take up again what was deleted: a pack drops
            # what nothing leads to. All of that, where it keeps a file open; on a server, where it
            # would let no pack of anybody drop anything, what was deleted last.
            self._pin = Pin(base, Tid(max(base.tid - 1, 0)) if is_distant(base) else NO_TID)
            self._take_present(base)
            return
        tid = tid_of(moment)
        if isinstance(moment, datetime):
            # What a user asks for is checked; nothing that is stored depends on the clock.
            if moment > datetime.now(UTC):
                raise TransactionNotFound(base.path, tid, "the moment is in the future")
            _check_clock(base, tid)
        elif tid > self._base_tid:
            reason = f"it is after the last one, which is {self._base_tid}"
            raise TransactionNotFound(base.path, tid, reason)
        # Before it is looked at: what is there now stays.
        self._pin = Pin(base, tid)
        check_complete(base, tid)
        last = next(base.transactions(until=tid, newest_first=True), None)
        if last is None:
            first = next(base.transactions(), None)
            reason = "the log is empty"
            if first is not None:
                when = f"{time_of(first.tid):%Y-%m-%d %H:%M:%S} UTC"
                reason = f"it is before the first one, which is {first.tid}, of {when}"
            raise TransactionNotFound(base.path, tid, reason)
        self.tid, self._sequence = last.tid, last.sequence

    def __reduce__(self) -> NoReturn:
        text = (
            f"{self.path} as of {self.tid} can't be pickled; open the log in the other process, "
            f"and call at({self.tid}) there"
        )
        raise TypeError(text)

    __copy__ = itself
    __deepcopy__ = itself

    def _take_present(self, base: Storage) -> None:
        """Take what the base has now; again, if it was just changing."""
        if is_packed(base):
            self._load_dropped = base.load_dropped
        for _ in range(_ATTEMPTS):
            # What is being applied counts as news until all of it is.
            still = not base.has_news()
            tid = None
            while tid != base.tid:  # The two belong together.
                tid = base.tid
                self._sequence = len(base)
            self.tid = tid
            self._count, self.next_oid = base.oid_count, base.next_oid
            self._names = NameTables(*base.names.rows())
            if still and not base.has_news() and base.tid == tid:
                return
        self._count = sum(self.has(Oid(oid)) for oid in range(self.next_oid))

    def __len__(self) -> int:
        return self._sequence

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{self._base!r} as of {self.tid}>"

    @property
    def why_read_only(self) -> str:
        return f"this is the past, as of tid {self.tid}; change the database itself"

    @property
    def closed(self) -> bool:
        return self._closed or self._base.closed

    def close(self) -> None:
        self._closed = True
        self._pin.release()

    @property
    def complete_since(self) -> Tid:
        # What was then is pinned: it stays here when a pack drops it below.
        return min(self._base.complete_since, self.tid)

    @property
    def oid_count(self) -> int:
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
    def names(self) -> Names:
        return self._names or self._base.names

    def has(self, oid: Oid) -> bool:
        return self.load(oid) is not None

    def load(self, oid: Oid, at: Tid | None = None) -> StoredVersion | None:
        at = self.tid if at is None else min(at, self.tid)
        found = self._check_open().load(oid, at)
        return self._load_dropped(oid, at) if found is None and self._load_dropped else found

    def version_before(self, oid: Oid, stored: StoredVersion) -> StoredVersion | None:
        return self._check_open().version_before(oid, stored)

    def transactions(
        self, since: Tid = NO_TID, until: Tid | None = None, *, newest_first: bool = False
    ) -> Iterator[Transaction]:
        last = self.tid if until is None else min(until, self.tid)
        return self._check_open().transactions(since, last, newest_first=newest_first)

    def transaction_of(self, stored: StoredVersion) -> Transaction:
        return self._check_open().transaction_of(stored)

    def entries(self, transaction: Transaction) -> Iterator[tuple[Oid, StoredVersion]]:
        return self._check_open().entries(transaction)

    def stream_size(self, key: int) -> int:
        return self._check_open().stream_size(key)

    def read_stream(self, key: int, start: int, size: int) -> bytes:
        return self._check_open().read_stream(key, start, size)

    def after_fork_in_child(self) -> None:
        self._base.after_fork_in_child()

    def has_news(self) -> bool:
        self._check_open()
        return False

    def read_news(self) -> list[Transaction]:
        self._check_open()
        return []

    def apply(self, news: Sequence[Transaction]) -> None:
        if news:
            self._refuse()

    def release(self) -> None:
        pass  # Nothing is held.

    def _refuse(self, *_args: object, **_options: object) -> NoReturn:
        self._check_open()
        raise ReadOnlyStorageError(self.path, self.why_read_only)

    acquire = _refuse
    write_stream = _refuse
    append = _refuse
    prepare = _refuse
    decide = _refuse
    settle = _refuse
    fail = _refuse
    confirm = _refuse
    wait_for = _refuse

    @property
    def last_tid(self) -> Tid:
        return self.tid

    def _check_open(self) -> Storage:
        """Return the storage below, unless this one is closed."""
        if self._closed or self._base.closed:
            text = f"{self.path} as of tid {self.tid}"
            raise ClosedError(text)
        return self._base
