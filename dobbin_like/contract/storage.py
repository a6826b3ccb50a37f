"""What every storage does: ``Storage``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol, runtime_checkable

from dobbin_like.contract.stored import (
    ClassRow,
    Entry,
    Names,
    ShapeRow,
    StoredVersion,
    Transaction,
)
from dobbin_like.ids import NO_TID, Oid, Tid


@runtime_checkable
class Storage(Protocol):
    """Appends transactions, gives their states back, tells what others appended.

    An instance has *applied* the transactions up to one of them; what it tells, it tells of
    those. ``read_news()`` gives what was committed since, by this instance or others, and
    ``apply()`` makes it count. Each instance is used by one database.

    Transactions have tids and sequence numbers that strictly increase; failed ones have both
    as well. A transaction is there whole or not at all, for every reader, and what
    ``append()`` has returned from stays there.

    Reading needs no lock, waits for nobody and may come from any thread, also while another
    one applies. Calls of ``read_news`` and ``apply`` are serialized by the caller. Writing is
    done by one thread at a time, between ``acquire`` and ``release``::

        storage.acquire()
        try:
            storage.apply(storage.read_news())
            storage.append(tid, [(oid, number, data)])
            storage.apply(storage.read_news())
        finally:
            storage.release()

    If other resources take part in the same transaction and may still refuse it, ``prepare``
    and ``decide`` take the place of ``append``. A caller that lets others append while the
    disk works asks what they have appended and it has not seen; it applies that first, and waits
    for what is not visible yet, if that matters::

        storage.acquire(settled=False)
        try:
            if storage.behind:
                storage.apply(storage.read_news())
            ...  # storage.unseen changes none of the objects
            made = storage.append(tid, [(oid, number, data)], wait=False)
        finally:
            storage.release()
        storage.confirm(made)
        storage.apply(storage.read_news())

    After ``close()`` every use raises ClosedError, but for ``close``, ``closed`` and
    ``release``. Any method may be interrupted between any two lines by an exception from a
    signal handler: ``release()`` then leaves nothing locked and nothing half.
    """

    path: str
    """Names the data in the texts of errors; of a file, where it is."""

    @property
    def sort_key(self) -> str:
        """Orders storages in the same way in every process that uses them.

        All take their locks in this order. Two instances over the same data have the same.
        """

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
        """Above every oid that was ever stored: new objects get theirs from here on.

        The holder of the commit lock is told what ``unseen`` has stored, too.
        """

    @property
    def names(self) -> Names:
        """The tables of names."""

    def __len__(self) -> int:
        """Return the number of applied transactions, failed ones too.

        Define ``__bool__`` as well: an empty storage is a storage.
        """

    # -- news ----------------------------------------------------------------------

    def has_news(self) -> bool:
        """Return whether there may be news. Never misses any; asked at every begin().

        May return True without news, until read_news() has looked.
        """

    def read_news(self) -> Sequence[Transaction]:
        """Return the committed transactions that are not applied, oldest first, failed ones too.

        Applies nothing, and returns the same again until they are applied.
        """

    def apply(self, news: Sequence[Transaction]) -> None:
        """Apply transactions: what read_news(), append(), prepare() or fail() have returned.

        One thread at a time reads news and applies them; the caller sees to that.
        A thread that reads meanwhile sees each object before or after; ``tid`` moves on last.
        When an interrupt comes between, those that ``len()`` does not count yet are given again.

        Raises:
            NotHeldError: One is missing between. Those before it are applied.
        """

    # -- reading -------------------------------------------------------------------

    def has(self, oid: Oid) -> bool:
        """Return whether there is an object with this oid."""

    def load(self, oid: Oid, at: Tid | None = None) -> StoredVersion | None:
        """Return the newest applied version of an object, or the newest up to tid *at*.

        None: There is no such object, or was none then.
        """

    def version_before(self, oid: Oid, stored: StoredVersion) -> StoredVersion | None:
        """Return the version of an object that *stored* has replaced, None if it was the first.

        Cost: That of one version, however many there are.
        """

    def transactions(
        self, since: Tid = NO_TID, until: Tid | None = None, *, newest_first: bool = False
    ) -> Iterator[Transaction]:
        """Yield the applied transactions with ``since < tid <= until``, failed ones too.

        Oldest first, or newest first. Nothing that was applied after the call is among them.

        Raises:
            IntegrityError: A transaction is damaged. What was yielded before is right.
        """

    def transaction_of(self, stored: StoredVersion) -> Transaction:
        """Return the transaction that has written a version: what load() has returned."""

    def entries(self, transaction: Transaction) -> Iterator[tuple[Oid, StoredVersion]]:
        """Yield the objects of a transaction with the versions that it has written."""

    def stream_size(self, key: int) -> int:
        """Return the size of a stream in bytes, by the key that write_stream() has returned."""

    def read_stream(self, key: int, start: int, size: int) -> bytes:
        """Return up to *size* bytes of a stream from *start* on; fewer at its end.

        Raises:
            IntegrityError: There is no such stream, or it is damaged.
        """

    # -- writing -------------------------------------------------------------------

    @property
    def read_only(self) -> bool:
        """Whether acquire() is refused."""

    @property
    def why_read_only(self) -> str:
        """Why acquire() is refused and what to do, for the texts of errors; else empty."""

    @property
    def held(self) -> bool:
        """Whether the calling thread is between acquire() and release() of this instance."""

    @property
    def unseen(self) -> Sequence[Transaction]:
        """What was appended before this holder took the lock, and is not applied; oldest first.

        What this holder appends follows them. read_news() has those that are visible, and not
        those that have to wait for the disk; a storage need not tell of what read_news() has.
        """

    @property
    def behind(self) -> bool:
        """Whether the holder of the commit lock has to apply news before it appends.

        Those that ``unseen`` tells of may be applied later, if they changed nothing of what it
        stores.
        """

    @property
    def last_tid(self) -> Tid:
        """Of the newest transaction that is appended, for the holder of the commit lock.

        Above it, if what was appended behind it may be lost: such tids are not given again.
        """

    def acquire(self, *, settled: bool = True) -> None:
        """Begin to write: take the commit lock, which all instances over the data share.

        A holder that has died is no obstacle, and nothing that it left is seen.

        Args:
            settled: Wait until all that is appended is visible.

        Raises:
            LockTimeout: It was not free in time. Nothing is held.
            SelfWaitError: This thread holds it, by this instance or another.
            ReadOnlyStorageError: The storage is for reading.
            LogPackedError: The data go on in another place; read_news() follows.
        """

    def release(self) -> None:
        """End writing: give the lock back; drop what was neither decided nor failed.

        Idempotent; nothing happens if this thread does not hold it through this instance.
        """

    def write_stream(self, source: BinaryIO) -> tuple[int, int]:
        """Store the bytes that *source* yields from its position to its end.

        Returns:
            The key by which they are read, from 0 to 2**63 - 1, and their size. They stay if
            the next transaction is committed.

        Raises:
            NotHeldError: Not between acquire() and release().

        What *source* raises goes through, and leaves nothing.
        """

    def append(
        self,
        tid: Tid,
        entries: Sequence[Entry],
        classes: Sequence[ClassRow] = (),
        shapes: Sequence[ShapeRow] = (),
        *,
        user: str = "",
        description: str = "",
        extension: bytes = b"",
        wait: bool = True,
    ) -> Transaction:
        """Commit a transaction: it follows all that are appended, and is decided by this.

        Args:
            tid: Above ``last_tid``.
            entries: Each oid once.
            classes: Those that are new, or get another name.
            shapes: Those that are new.
            wait: Do what confirm() does. If false, others may append before this returns.

        Returns:
            The transaction. It is news, like those of others, when it is visible.

        Raises:
            ValueError: A number does not fit. Nothing was written.
            OSError: The disk is full, or the like. Nothing was written.
            NotHeldError: Not between acquire() and release(), or with news that are not
                applied. Nothing was written.
            OvertakenError: Another instance has appended since ``acquire(settled=False)``, which
                has not kept it out. Nothing was written; release and begin again.
            InDoubtError: It was written, and the disk is gone.

        An interrupt leaves it open whether it is committed: :meth:`settle` tells.
        """

    def prepare(
        self,
        tid: Tid,
        entries: Sequence[Entry],
        classes: Sequence[ClassRow] = (),
        shapes: Sequence[ShapeRow] = (),
        *,
        user: str = "",
        description: str = "",
        extension: bytes = b"",
    ) -> Transaction:
        """Do all of append() that can fail. Nobody sees the transaction before decide().

        If the process dies before decide(), it is not there. Arguments, result and errors are
        those of append(). LockTimeout: Others sync for too long.
        """

    def decide(self, *, wait: bool = True) -> None:
        """Commit the prepared transaction.

        Args:
            wait: Do what confirm() does.

        Raises:
            NotHeldError: There is none. Nothing was changed.
            OSError: It could not be written. It is not committed.
            InDoubtError: It was written, and the disk is gone.
        """

    def settle(self, tid: Tid) -> Transaction | None:
        """Return the transaction *tid* of this holder if it is committed, else None.

        For a caller that was interrupted in append() or decide(). Between acquire() and
        release(). After None it will not be committed, but by decide().
        """

    def confirm(self, transaction: Transaction) -> None:
        """Return when every reader sees a transaction that this instance has appended.

        If the storage syncs, it is durable then. Any thread, with the lock or better without.
        May be repeated.

        Raises:
            InDoubtError: The sync has failed. It may be committed or not.
        """

    def wait_for(self, transaction: Transaction) -> None:
        """Return when one of ``unseen`` is visible, or will never be. Any thread.

        Raises LockTimeout: It takes too long.
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
    ) -> None:
        """Record a failed transaction, in place of the prepared one if there is one.

        It is news, at once or with what is committed next, and changes nothing but ``tid`` and
        ``len()``. A tid that is not above the last one is replaced by one that is. What can't
        be recorded is logged as a warning.

        Args:
            oids: Of the objects that it would have changed.
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
