"""Logs without a file: transactions in the memory of one process, also over another storage.

Two instances over one log behave as two processes on one file do. Knows no objects.

A commit counts by one step: the transaction is put at the end of a list. Everything else is
either made before, where nobody looks, or belongs to one instance. So an interrupt or a fork
between any two lines leaves the transaction there whole, or not at all (I2).
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Sequence
from typing import Any, BinaryIO, Final, Self

from dobbin_like.contract import (
    NO_NAMES,
    ClassRow,
    Entry,
    NewNames,
    ShapeRow,
    Storage,
    Transaction,
    is_storage,
)
from dobbin_like.exc import NotHeldError, ReadOnlyStorageError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.writing.encode import check_numbers
from dobbin_like.mistaken.arguments import check_flags, check_lock_timeout, wrong_type
from dobbin_like.processes.reopened import itself
from dobbin_like.storages.as_of import AsOf
from dobbin_like.storages.memory_reading import (
    MemoryTransaction,
    MemoryVersion,
    ReadableMemory,
    Shared,
)

_logger = logging.getLogger(__name__)

_COPY_SIZE: Final = 1 << 20

_FIRST_STREAM: Final = 1 << 62
"""Of an overlay: above every key of a stream in a file."""

_numbers = itertools.count(1)


class MemoryLog(ReadableMemory):
    """One instance over a log in memory; :meth:`another` gives further ones.

    The log is gone when its last instance is. A forked child has a copy of its own: what one of
    the two commits from then on, the other never sees. *lock_timeout* is in seconds.

    Cost: All versions stay in memory, beside their states some 200 bytes each, and as
    much for each oid in each instance.
    """

    unseen: Sequence[MemoryTransaction] = ()  # What is appended is visible.

    def __init__(self, *, lock_timeout: float | None = None) -> None:
        shared = Shared(f"<memory {next(_numbers)}>")
        self._set_up(shared, lock_timeout=lock_timeout, read_only=False)

    def another(self, *, lock_timeout: float | None = None, read_only: bool = False) -> Self:
        """Return another instance over the same log, as another process would open it."""
        self._check_open()
        made = object.__new__(type(self))
        made._set_up(self._shared, lock_timeout=lock_timeout, read_only=read_only)
        return made

    def _set_up(self, shared: Shared, *, lock_timeout: float | None, read_only: bool) -> None:
        check_flags(read_only=read_only)
        check_lock_timeout(lock_timeout=lock_timeout)
        super().__init__(shared)
        self.read_only = read_only
        self._lock_timeout = lock_timeout
        # Of the thread that holds the lock: what it has prepared, the streams it wrote.
        self._pending: MemoryTransaction | None = None
        self._written: list[int] = []

    def __reduce__(self) -> tuple[Any, ...]:
        text = (
            f"{self.path} is in the memory of this process, and no other can open it; use a "
            "TransactionLog, or fork"
        )
        raise TypeError(text)

    __copy__ = itself
    __deepcopy__ = itself

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        if self.closed:
            return
        self.release()
        self.closed = True
        self._shared.lock.wait_until_unused(self)

    def after_fork_in_child(self) -> None:
        self._shared.lock.after_fork_in_child()
        self._drop()
        if self._shared.ground is not None:
            self._shared.ground.after_fork_in_child()

    @property
    def held(self) -> bool:
        return self._shared.lock.held(self)

    @property
    def last_tid(self) -> Tid:
        return self._shared.transactions[-1].tid

    @property
    def behind(self) -> bool:
        return self.has_news()

    def acquire(self, *, settled: bool = True) -> None:
        self._check_open()
        if self.read_only:
            raise ReadOnlyStorageError(self.path, self.why_read_only)
        self._shared.lock.acquire(self, self._lock_timeout)
        try:
            self._check_open()
            self._drop()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        try:
            if self.held:
                self._drop()
        finally:
            self._shared.lock.release(self)

    def write_stream(self, source: BinaryIO) -> tuple[int, int]:
        self._check_held("write_stream()")
        data = b"".join(iter(lambda: source.read(_COPY_SIZE), b""))
        shared = self._shared
        key = shared.next_stream
        shared.next_stream = key + 1
        self._written.append(key)
        shared.streams[key] = data
        return key, len(data)

    def append(
        self,
        tid: Tid,
        entries: Sequence[Entry],
        classes: Sequence[ClassRow] = (),
        shapes: Sequence[ShapeRow] = (),
        *,
        wait: bool = True,
        **annotations: Any,
    ) -> MemoryTransaction:
        return self._decide(self.prepare(tid, entries, classes, shapes, **annotations))

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
    ) -> MemoryTransaction:
        self._check_held("prepare()")
        self._settle()
        if self._pending is not None:
            raise NotHeldError(self.path, "prepare()", "the end of the one before")
        if self.has_news():
            raise NotHeldError(self.path, "prepare()", "all news applied")
        head = self._head
        oids = tuple([entry[0] for entry in entries])
        check_numbers(tid, oids, head.tid)
        is_new = (oid >= head.next_oid or self.load(oid) is None for oid in oids)
        oid_count = head.oid_count + sum(is_new)
        names = NewNames(tuple(classes), tuple(shapes)) if classes or shapes else NO_NAMES
        sequence, before = head.sequence + 1, self._newest.get
        versions = [
            MemoryVersion(tid, number, bytes(data), sequence, before(oid))
            for oid, number, data in entries
        ]
        next_oid = Oid(max(head.next_oid, max(oids, default=-1) + 1))
        # Before it counts: an interrupt right after that must not hide whose the streams are.
        about = user, description, extension, "", oids, names, tuple(versions)
        self._pending = MemoryTransaction(tid, sequence, False, *about, oid_count, next_oid)
        return self._pending

    def decide(self, *, wait: bool = True) -> None:
        self._check_held("decide()")
        if self._pending is None:
            raise NotHeldError(self.path, "decide()", "a prepared transaction")
        self._decide(self._pending)

    def _decide(self, logged: MemoryTransaction) -> MemoryTransaction:
        if self._shared.transactions[-1] is not logged:
            self._shared.transactions.append(logged)  # I2: all of it is visible from here on.
        self._settle()
        return logged

    def settle(self, tid: Tid) -> MemoryTransaction | None:
        self._check_held("settle()")
        self._settle()
        newest = self._shared.transactions[-1]
        return newest if newest.tid == tid and not newest.failed else None

    def confirm(self, transaction: Transaction) -> None:
        """Nothing: what is appended is visible."""

    def wait_for(self, transaction: Transaction) -> None:
        """Nothing, for the same reason."""

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
        self._check_held("fail()")
        self._settle()
        pending = self._pending
        self._drop()
        head = self._shared.transactions[-1]
        if pending is None:
            tid = Tid(max(tid, head.tid + 1))
            oids = tuple(oids)
        else:
            tid, oids = pending.tid, pending.oids
            user, description, extension = pending.user, pending.description, pending.extension
        try:
            check_numbers(tid, oids, head.tid)
        except ValueError as error:
            _logger.warning("%s: a failed transaction is not recorded: %s", self.path, error)
            return
        about = user, description, extension, reason, oids, NO_NAMES, ()
        counts = head.oid_count, head.next_oid
        logged = MemoryTransaction(tid, head.sequence + 1, True, *about, *counts)
        self._shared.transactions.append(logged)

    def _settle(self) -> None:
        """Forget the prepared transaction if it counts: decide() may have been interrupted."""
        if self._pending is not None and self._shared.transactions[-1] is self._pending:
            self._written = []
            self._pending = None

    def _drop(self) -> None:
        """Forget what was prepared and written and is not committed."""
        self._settle()
        self._pending = None
        while self._written:
            self._shared.streams.pop(self._written[-1], None)
            self._written.pop()

    def _check_held(self, step: str) -> None:
        if not self.held:
            self._check_open()
            raise NotHeldError(self.path, step, "the commit lock; call acquire() before")


class OverlayLog(MemoryLog):
    """A log in memory that goes on from where *base* is now; the base is only read.

    A database over it shows what the base has, and takes commits that the base never sees: for
    tests, previews, what-if. Oids, tids, names, history and streams go on from those of the base.
    The base may be any open storage, also that of a database in use. It stays the caller's, to
    be closed after the overlay. Each ``OverlayLog(base)`` begins anew.

    What was deleted in the base, an undo in the overlay finds though the base is packed: its file
    of before stays open as long as the overlay is there. A log in PostgreSQL keeps what its last
    transaction has deleted.

    Cost: Making one, that of :class:`.AsOf` without a moment. Reading what the overlay has not
    changed, a read of the base, and of the versions that the base was given since.
    """

    def __init__(self, base: Storage, *, lock_timeout: float | None = None) -> None:
        if not is_storage(base):
            raise wrong_type(base, "base", "a storage, as db.storage is")
        path = f"<overlay {next(_numbers)} over {base.path}>"
        # Another for each overlay: a key of one is none of another.
        first_stream = _FIRST_STREAM | int.from_bytes(os.urandom(4), "little") << 32
        shared = Shared(path, AsOf(base, None), first_stream)
        self._set_up(shared, lock_timeout=lock_timeout, read_only=False)
