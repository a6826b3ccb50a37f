"""What a database asks of a storage, and the storages there are.

:class:`TransactionLog` in a file, :class:`MemoryLog` in memory, :class:`OverlayLog` in
memory over another one. The protocol :class:`Storage` is the whole of what stands between
the two towers; another engine that keeps it can carry a database, and needs no base class
for it. Whether it keeps it is told by the tests of :mod:`dobbin_like.conformance`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from dobbin_like.ids import NO_TID
from dobbin_like.log import TransactionLog
from dobbin_like.log.format.meta import Names
from dobbin_like.objects.faces.stream import PersistentStream
from dobbin_like.storages import MemoryLog, OverlayLog

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dobbin_like.ids import Oid, Tid

__all__ = [
    "MemoryLog",
    "OverlayLog",
    "PersistentStream",
    "Storage",
    "StoredVersion",
    "Transaction",
    "TransactionLog",
]


class Transaction(Protocol):
    """One transaction as a storage has it. Never changes."""

    tid: Tid
    sequence: int  # 1 for the first one; failed ones count.
    failed: bool
    oids: Sequence[Oid]  # Of what it has changed, or would have if it failed.
    names: Names  # Classes and shapes, as they were given to prepare().
    user: str
    description: str
    extension: bytes
    reason: str  # Why it failed; empty for one that did not.


class StoredVersion(Protocol):
    """One version of one object as a storage has it. Never changes."""

    tid: Tid  # Of the transaction that has written it.
    number: int  # Of its class, or of its shape.
    data: bytes
    position: int  # Where it lies, for the texts of errors.


class Storage(Protocol):
    """Appends transactions, gives their states back, tells what others appended.

    An instance has *applied* the transactions up to one of them; what it tells, it tells
    of those. ``read_news()`` gives what was committed since, by this instance or others,
    and ``apply()`` makes it count. Each instance is used by one database.

    Transactions have tids and sequence numbers that strictly increase; failed ones have
    both as well. A transaction is there whole or not at all, for every reader, and what
    ``finish()`` has returned from stays there. Objects are bytes with an oid and the
    number of a class, whose name stands in a table that is part of the log, or the number
    of a shape: of a class together with the names that its state has, in order. Classes
    and shapes share one space of numbers.

    Reading needs no lock, waits for nobody and may come from any thread, also while
    another one applies. Calls of ``read_news`` and ``apply`` are serialized by the caller.
    Writing is done by one thread at a time, between ``acquire`` and ``release``::

        storage.acquire()
        try:
            storage.apply(storage.read_news())
            logged = storage.prepare(tid, [(oid, number, data)], [])
            storage.finish()
            storage.apply([logged])
        finally:
            storage.release()

    After ``close()`` every use raises ClosedError, but for ``close``, ``closed`` and
    ``release``. Any method may be interrupted between any two lines by an exception from
    a signal handler: ``release()`` then leaves nothing locked and nothing half.

    A storage whose data are packed has some methods more: see
    :class:`~dobbin_like.log.TransactionLog`.
    """

    path: str
    """Names the data, in the texts of errors; of a file, where it is."""

    sort_key: str
    """Orders storages in the same way in every process that uses them: all take their
    locks in this order. Two instances over the same data have the same."""

    read_only: bool
    """Whether acquire() is refused."""

    # -- what is applied ---------------------------------------------------------

    @property
    def tid(self) -> Tid:
        """Of the newest applied transaction, successful or failed; 0: there is none."""

    @property
    def complete_since(self) -> Tid:
        """The tid since which the past is whole; 0: nothing was ever dropped."""

    @property
    def oid_count(self) -> int:
        """Number of objects stored."""

    @property
    def next_oid(self) -> Oid:
        """Above every oid that was ever stored: new objects get theirs from here on."""

    @property
    def next_class_number(self) -> int:
        """Above every number that was ever given to a class or a shape; at least 1."""

    def __len__(self) -> int:
        """Return the number of applied transactions, failed ones too.

        Define ``__bool__`` as well: an empty storage is a storage.
        """

    def class_name(self, number: int) -> tuple[str, str]:
        """Return module and qualname of a class, the last that its number was given.

        Raises:
            IntegrityError: The number was given to no class.
        """

    def class_number(self, module: str, qualname: str) -> int | None:
        """Return the number of the class of that name now, None if there is none."""

    def shape(self, number: int) -> tuple[int, tuple[str, ...]] | None:
        """Return class number and names of a shape, None if *number* is none's."""

    def shape_number(self, class_number: int, attributes: tuple[str, ...]) -> int | None:
        """Return the number of the shape of that class and those names, None if none is."""

    def shape_count(self, class_number: int) -> int:
        """Return how many shapes of a class there are."""

    def names(self) -> Names:
        """Return all classes, by the names that they have now, and all shapes."""

    # -- news ----------------------------------------------------------------------

    def has_news(self) -> bool:
        """Return whether there may be news. Never misses any; asked at every begin().

        True for nothing is allowed, until read_news() has looked.
        """

    def read_news(self) -> list[Any]:
        """Return the committed transactions that are not applied, oldest first.

        Each a :class:`Transaction`, failed ones too. Applies nothing, and returns
        the same again until they are applied.
        """

    def apply(self, news: list[Any]) -> None:
        """Apply transactions: what read_news() or prepare() and fail() have returned.

        A thread that reads meanwhile sees each object before or after; ``tid`` moves on
        last. When an interrupt comes between, those that ``len()`` does not count yet are
        given again.

        Raises:
            NotHeldError: One is missing between. Those before it are applied.
        """

    # -- reading -------------------------------------------------------------------

    def has(self, oid: Oid) -> bool:
        """Return whether there is an object with this oid."""

    def load(self, oid: Oid, at: Tid | None = None) -> Any:
        """Return the newest applied version of an object, or the newest up to tid *at*.

        Returns:
            A :class:`StoredVersion`; None if there is no such object, or was none then.
        """

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

    def stream_size(self, offset: int) -> int:
        """Return the size of a stream in bytes, by what write_stream() has returned."""

    def read_stream(self, offset: int, start: int, size: int) -> bytes:
        """Return up to *size* bytes of a stream from *start* on; fewer at its end.

        Raises:
            IntegrityError: There is no such stream, or it is damaged.
        """

    # -- writing -------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """Whether the calling thread holds the commit lock through this instance."""

    def acquire(self) -> None:
        """Take the commit lock, which all instances over the data share.

        A holder that has died is no obstacle, and nothing that it left is seen.

        Raises:
            LockTimeout: It was not free in time. Nothing is held.
            SelfWaitError: This thread holds it, by this instance or another.
            ReadOnlyStorageError: The storage is for reading.
        """

    def release(self) -> None:
        """Give the lock back; drop what was neither finished nor failed.

        Idempotent; nothing happens if this thread does not hold it through this instance.
        """

    def write_stream(self, source: BinaryIO) -> tuple[int, int]:
        """Store the bytes that *source* yields from its position to its end.

        Returns:
            A number from 0 to 2**63 - 1 by which they are read, and their size. They stay
            if the next transaction is finished.

        Raises:
            NotHeldError: Without the lock.

        What *source* raises goes through, and leaves nothing.
        """

    def prepare(
        self,
        tid: Tid,
        entries: Sequence[tuple[Oid, int, bytes]],
        classes: Sequence[tuple[int, str, str]],
        shapes: Sequence[tuple[int, int, tuple[str, ...]]] = (),
        *,
        user: str = "",
        description: str = "",
        extension: bytes = b"",
        decided: bool = True,
    ) -> Any:
        """Do all of a transaction that can fail; nobody sees it yet.

        Args:
            tid: Above that of every transaction before, successful or failed.
            entries: (oid, number of class or shape, state), each oid once. The number is given
                back as it came; it may have the flag DELTA, for a change of the version before.
            classes: (number, module, qualname) of classes that are new, or renamed.
            shapes: (number, class number, names of attributes) of shapes that are new.
            decided: Nobody else can veto any more: if this process dies from here on, the
                transaction may be there.

        Returns:
            The transaction, a :class:`Transaction`, to be applied after finish().

        Raises:
            ValueError: A number does not fit. Nothing was written.
            NotHeldError: Without the lock, or with news that are not applied, or before
                the end of the transaction before.
        """

    def decide(self) -> None:
        """Let a transaction that was prepared with ``decided=False`` be decided now.

        Nothing happens if it is decided already.
        """

    def finish(self) -> None:
        """Let the prepared and decided transaction count: all readers see it from now on.

        Does not fail, but for one thing.

        Raises:
            NotHeldError: There is none. Nothing was changed.
        """

    def fail(
        self,
        tid: Tid,
        reason: str,
        *,
        user: str = "",
        description: str = "",
        extension: bytes = b"",
        oids: Sequence[Oid] = (),
    ) -> Any:
        """Record a failed transaction, in place of the prepared one if there is one.

        It counts at once, and changes nothing but ``tid`` and ``len()``. News need not be
        applied; a tid that is not above the last one is replaced by one that is.

        Returns:
            The transaction, to be applied; None if it could not be recorded.
        """

    # -- the end -------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether close() was called."""

    def close(self) -> None:
        """Give everything back, the lock of this thread too. Idempotent.

        Waits for a commit of another thread through this instance. Other instances go on.
        """

    def after_fork_in_child(self) -> None:
        """Start anew in a forked child: what a thread of the parent holds is not held here.

        May be called more than once. The parent must not be harmed by what the child does.
        """
