"""A log in PostgreSQL: append transactions, tell what others appended, read it.

Two threads of one process take turns, by a lock in its memory. Other processes are not kept out
while a thread commits, unless it asks for that (``acquire(settled=True)``): it finds at the append
that another was faster, and nothing is written. So a commit that nobody disturbs costs one round
trip. What the server has acknowledged is visible, and as durable as its ``synchronous_commit``
says. :mod:`.writer` has the steps, and what a kill or a lost connection leaves after each.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any, BinaryIO, Final, Self

from dobbin_like.contract import ClassRow, Entry, ShapeRow, Transaction
from dobbin_like.exc import NotHeldError, ReadOnlyStorageError
from dobbin_like.ids import Tid
from dobbin_like.processes.interrupts import reentrant_lock
from dobbin_like.processes.reopened import itself, new_token, reopened
from dobbin_like.storages.memory_lock import MemoryLock
from dobbin_like.storages.postgres.ahead import Ahead
from dobbin_like.storages.postgres.lines import Lines
from dobbin_like.storages.postgres.reading import ReadablePostgres
from dobbin_like.storages.postgres.tables import PostgresTransaction
from dobbin_like.storages.postgres.writer import Writer

__all__ = ["PostgresLog"]

_logger = logging.getLogger(__name__)

_locks: weakref.WeakValueDictionary[str, MemoryLock] = weakref.WeakValueDictionary()
"""The lock of the threads of this process for each log that is open."""

_locks_lock: Final = reentrant_lock()


class PostgresLog(ReadablePostgres):
    """One instance over one log, which is the tables in one schema of a database.

    Keeps the contract of :class:`dobbin_like.contract.Storage`, where its methods are told.

    Args:
        dsn: As libpq takes it, a URI or ``host=... dbname=...``. With several hosts it needs
            ``target_session_attrs=read-write``.
        schema: Of the tables.
        create: Create both if they are not there.
        lock_timeout: Seconds to wait for others who commit; None: as long as it takes.
        read_only: Never write. The server may then be a standby.
        patience: Seconds to go on trying while the server can't be reached, and to wait for one
            answer.
        prepare: Let the server prepare statements; not behind a PgBouncer that pools transactions.

    Raises:
        ServerUnavailableError: It can't be reached, or refuses.
        NotALogError: There are no tables, and none may be created.
        FormatVersionError: A newer release has made them.

    Cost: Opening reads one transaction, and those with new names. Each object that is read is a
    round trip.
    """

    unseen: Sequence[PostgresTransaction] = ()  # What is appended is visible.

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "dobbin_like",
        lock_timeout: float | None = None,
        read_only: bool = False,
        create: bool = True,
        patience: float = 30.0,
        prepare: bool = True,
    ) -> None:
        self._lock_timeout = lock_timeout
        self._options: dict[str, Any] = {
            "schema": schema,
            "lock_timeout": lock_timeout,
            "read_only": read_only,
            "patience": patience,
            "prepare": prepare,
        }
        self._dsn = dsn
        lines = Lines(dsn, schema, patience, prepare=prepare)
        try:
            super().__init__(lines, schema, create=create and not read_only, read_only=read_only)
        except BaseException:
            lines.close()
            raise
        lines.patience_seconds = patience
        with _locks_lock:
            self._lock = _locks.setdefault(self.sort_key, MemoryLock(self.path))
        self._writer = Writer(
            lines, self._statements, lock_timeout=lock_timeout, answer_seconds=patience
        )
        self._token = new_token(self)
        if not read_only:
            self._warn_if_not_durable()

    def _warn_if_not_durable(self) -> None:
        for name, value in self._all("durability"):
            if value == "off":
                text = "%s: %s is off: the server may lose what it has acknowledged"
                _logger.warning(text, self.path, name)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as *the same log*, opened again in another process with the same options."""
        self._check_open()
        return reopened, (self._token, partial(type(self), **self._options), self._dsn)

    __copy__ = itself
    __deepcopy__ = itself

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # -- the lock ----------------------------------------------------------------

    @property
    def why_read_only(self) -> str:
        return "this instance was made with read_only=True" if self.read_only else ""

    @property
    def held(self) -> bool:
        return self._lock.held(self)

    @property
    def last_tid(self) -> Tid:
        return self._head.tid

    @property
    def behind(self) -> bool:
        # Without a turn, the append finds out.
        return self._writer.in_turn and self.has_news()

    def acquire(self, *, settled: bool = True) -> None:
        self._check_open()
        if self.read_only:
            raise ReadOnlyStorageError(self.path, self.why_read_only)
        timeout, started = self._lock_timeout, time.monotonic()
        self._lock.acquire(self, timeout)
        try:
            self._check_open()
            self._writer.drop()
            if settled:
                self._writer.take_turn(None if timeout is None else started + timeout)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        try:
            if self.held:
                self._writer.drop()
        finally:
            self._lock.release(self)

    # -- writing -----------------------------------------------------------------

    def write_stream(self, source: BinaryIO) -> tuple[int, int]:
        self._check_held("write_stream()")
        return self._writer.write_stream(source)

    def append(
        self,
        tid: Tid,
        entries: Sequence[Entry],
        classes: Sequence[ClassRow] = (),
        shapes: Sequence[ShapeRow] = (),
        *,
        wait: bool = True,
        **annotations: Any,
    ) -> PostgresTransaction:
        self._check_held("append()")
        return self._writer.append(self._head, tid, entries, classes, shapes, **annotations)

    def prepare(
        self,
        tid: Tid,
        entries: Sequence[Entry],
        classes: Sequence[ClassRow] = (),
        shapes: Sequence[ShapeRow] = (),
        **annotations: Any,
    ) -> PostgresTransaction:
        self._check_held("prepare()")
        return self._writer.prepare(self._head, tid, entries, classes, shapes, **annotations)

    def decide(self, *, wait: bool = True) -> None:
        self._check_held("decide()")
        self._writer.decide()

    def settle(self, tid: Tid) -> PostgresTransaction | None:
        self._check_held("settle()")
        return self._writer.settle(tid)

    def fail(self, tid: Tid, reason: str, **annotations: Any) -> None:
        self._check_held("fail()")
        self._writer.fail(tid, reason, **annotations)

    def confirm(self, transaction: Transaction) -> None:
        """Nothing: what is appended is visible."""

    def wait_for(self, transaction: Transaction) -> None:
        """Nothing, for the same reason."""

    # -- the end -----------------------------------------------------------------

    def close(self) -> None:
        if self.closed:
            return
        self.release()
        self.closed = True
        self._lock.wait_until_unused(self)
        self._lines.close()

    def after_fork_in_child(self) -> None:
        self._lock.after_fork_in_child()
        self._ahead = Ahead()
        self._writer.forget()
        self._lines.after_fork_in_child()

    def _check_held(self, step: str) -> None:
        if not self.held:
            self._check_open()
            raise NotHeldError(self.path, step, "the commit lock; call acquire() before")
