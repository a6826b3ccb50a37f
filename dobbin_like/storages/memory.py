"""A log without a file: transactions in the memory of one process.

Keeps the promises of :class:`~dobbin_like.log.TransactionLog` to the memory tower, but for those
about what is left when the process ends. Two instances over one log behave as two processes on
one file do. Knows no objects: states are bytes, classes are numbers and names.

A commit counts by one step: the transaction is put at the end of a list. Everything else is
either made before, where nobody looks, or belongs to one instance. So an interrupt or a fork
between any two lines leaves the transaction there whole, or not at all (I2).
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from typing import Any, BinaryIO, Final, Self

from dobbin_like.contract import NO_NAMES, ClassRow, Entry, NewNames, ShapeRow
from dobbin_like.exc import NotHeldError, ReadOnlyStorageError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.writing.encode import check_numbers
from dobbin_like.storages.memory_reading import (
    MemoryTransaction,
    MemoryVersion,
    ReadableMemory,
    Shared,
)

_logger = logging.getLogger(__name__)

_COPY_SIZE: Final = 1 << 20

_numbers = itertools.count(1)


class MemoryLog(ReadableMemory):
    """One instance over a log in memory; :meth:`another` gives further ones.

    Any thread may read. Calls of read_news() and apply() are serialized by the caller.
    Writing belongs to the thread that is between acquire() and release(). The log is gone
    when its last instance is. A forked child has a copy of its own: what one of the two
    commits from then on, the other never sees.

    Args:
        lock_timeout: Seconds to wait for the commit lock; None: as long as it takes.

    Cost: All versions stay in memory, beside their states some 200 bytes each, and as
    much for each oid in each instance.
    """

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
        super().__init__(shared)
        self.read_only = read_only
        self._lock_timeout = lock_timeout
        # Of the thread that holds the lock: what it has prepared, the streams it wrote.
        self._pending: MemoryTransaction | None = None
        self._written: list[int] = []

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
    def why_read_only(self) -> str:
        return "this instance was made with read_only=True" if self.read_only else ""

    @property
    def held(self) -> bool:
        return self._shared.lock.held(self)

    def acquire(self) -> None:
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
        parts = []
        while part := source.read(_COPY_SIZE):
            parts.append(part)
        data = b"".join(parts)
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
        self._pending = MemoryTransaction(
            tid,
            sequence,
            False,
            user,
            description,
            extension,
            "",
            oids,
            names,
            tuple(versions),
            oid_count,
            next_oid,
        )
        return self._pending

    def decide(self) -> None:
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

    def fail(
        self,
        tid: Tid,
        reason: str,
        *,
        user: str = "",
        description: str = "",
        extension: bytes = b"",
        oids: Sequence[Oid] = (),
    ) -> MemoryTransaction | None:
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
            return None
        logged = head._replace(
            tid=tid,
            sequence=head.sequence + 1,
            failed=True,
            user=user,
            description=description,
            extension=extension,
            reason=reason,
            oids=oids,
            names=NO_NAMES,
            versions=(),
        )
        self._shared.transactions.append(logged)
        return logged

    # -- inside ----------------------------------------------------------------

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
