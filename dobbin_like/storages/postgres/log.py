"""A log in PostgreSQL: append transactions, tell what others appended, read it.

Two threads of one process take turns, by a lock in its memory; those that wait for the server do
not hold it, and what several append meanwhile is sent together. Other processes are not kept out
while a thread commits, unless it asks for that (``acquire(settled=True)``) or one of them has just
been faster: it finds so at the append, and nothing is written. So a commit that nobody disturbs
costs one round trip. What the server has acknowledged is visible, and as durable as its
``synchronous_commit`` says. :mod:`.writer` has the steps, and what a kill or a lost connection
leaves after each.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Sequence
from functools import partial
from threading import get_ident
from typing import Any, BinaryIO, Final, NamedTuple, Self

from dobbin_like.contract import ClassRow, Entry, ShapeRow, Transaction
from dobbin_like.exc import NotHeldError, OvertakenError, ReadOnlyStorageError, SelfWaitError
from dobbin_like.ids import Oid, Tid
from dobbin_like.mistaken.arguments import (
    check_flags,
    check_lock_timeout,
    check_span,
    check_texts,
)
from dobbin_like.processes.interrupts import finish_despite_interrupts, reentrant_lock
from dobbin_like.processes.reopened import itself, new_token, reopened
from dobbin_like.storages.memory_lock import MemoryLock
from dobbin_like.storages.postgres.ahead import Ahead
from dobbin_like.storages.postgres.lines import DurabilitySettings, Lines, take_any_time
from dobbin_like.storages.postgres.packs.packing import Packing
from dobbin_like.storages.postgres.reading import ReadablePostgres
from dobbin_like.storages.postgres.sending import Sender
from dobbin_like.storages.postgres.tables import PostgresTransaction
from dobbin_like.storages.postgres.writer import Writer
from dobbin_like.timestamps import warn_if_ahead

__all__ = ["PostgresLog"]

_CROWDED: Final = 8
"""Commits that take their turn first, after one that another process has overtaken."""

_LEAST_ANSWER_SECONDS: Final = 1.0

_LONG_SECONDS: Final = 3600.0
"""How long to wait for the answer to a statement that looks through much."""

_NAME_BYTES: Final = 63
"""How much of a name PostgreSQL keeps, unless it was built otherwise (NAMEDATALEN)."""

_locks: weakref.WeakValueDictionary[str, MemoryLock] = weakref.WeakValueDictionary()
"""The lock of the threads of this process for each log that is open."""

_locks_lock: Any = reentrant_lock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_locks_lock._at_fork_reinit)  # noqa: SLF001  as threading does


class _Options(NamedTuple):
    """What a log is opened with, and opened again with in another process."""

    schema: str
    lock_timeout: float | None
    read_only: bool
    patience: float
    freshness: float
    prepare: bool
    cache: str | None

    @property
    def answer_seconds(self) -> float:
        """How long to wait for one answer: a server that is there needs some time for it, too."""
        return max(self.patience, _LEAST_ANSWER_SECONDS)

    def check(self) -> None:
        """Raise TypeError or ValueError for what can't be meant."""
        check_texts(schema=self.schema)
        _check_schema(self.schema)
        check_flags(read_only=self.read_only, prepare=self.prepare)
        check_lock_timeout(lock_timeout=self.lock_timeout)
        check_span(patience=self.patience, freshness=self.freshness)


def _check_schema(schema: str) -> None:
    """Raise ValueError for a name that PostgreSQL would cut: others may have what it becomes."""
    size = len(schema.encode())
    if not 0 < size <= _NAME_BYTES:
        text = f"schema={schema!r} has {size} bytes, expected a name of 1 to {_NAME_BYTES}"
        raise ValueError(text)


def _absolute(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else os.path.abspath(path)  # noqa: PTH100  links stay links


def _threads_lock(key: str, path: str) -> MemoryLock:
    """Return the lock that all instances of this process have over one log."""
    with _locks_lock:
        return _locks.setdefault(key, MemoryLock(path))


class PostgresLog(ReadablePostgres):
    """One instance over one log, which is the tables in one schema of a database.

    Keeps the contract of :class:`dobbin_like.contract.PackedStorage`, where its methods are told.

    Args:
        dsn: As libpq takes it, a URI or ``host=... dbname=...``. With several hosts it needs
            ``target_session_attrs=read-write``.
        schema: Of the tables, up to 63 bytes.
        create: Create both if they are not there.
        lock_timeout: Seconds to wait for others that commit; None: as long as it takes.
        read_only: Never write. The server may then be a standby.
        patience: Seconds to go on trying while the server can't be reached, and to wait for one
            answer; for that, at least one second.
        freshness: Seconds for which the server is not asked again whether others have committed.
            What they commit may be seen that much later; snapshots, conflicts and what this
            process commits are as without.
        prepare: Let the server prepare statements; not behind a PgBouncer that pools transactions.
        cache: A file for copies of the states, so that they need not be asked for. Processes of
            one machine may share it.

    Raises:
        ServerUnavailableError: It can't be reached, or refuses.
        NotALogError: There are no tables, and none may be created.
        FormatVersionError: A newer release has made them.
        ValueError: *dsn* can't be read, or the name of *schema* is empty or too long.
        OSError: *cache* can't be opened.
        NotALogError: *cache* is another file, or in use for another log.

    Cost: Opening reads one transaction, and those with new names; with a cache, all states that it
    lacks. Each object that is read is a round trip, unless it is in the cache.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "dobbin_like",
        lock_timeout: float | None = None,
        read_only: bool = False,
        create: bool = True,
        patience: float = 30.0,
        freshness: float = 0.0,
        prepare: bool = True,
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        check_texts(dsn=dsn)
        check_flags(create=create)
        self._dsn = dsn
        self._options = _Options(
            schema, lock_timeout, read_only, patience, freshness, prepare, _absolute(cache)
        )
        self._options.check()
        super().__init__(
            self._connect(),
            schema,
            create=create and not read_only,
            read_only=read_only,
            freshness=freshness,
            cache=self._options.cache,
        )
        self._lines.patience_seconds = patience
        self._lock = _threads_lock(self.sort_key, self.path)
        self._sender = Sender(self._lines, self._statements)
        self._writers: dict[int, Writer] = {}  # Of the threads between acquire() and release().
        self._crowded = 0  # Commits that are made in turn: another process was faster.
        self._pid = os.getpid()
        self._token = new_token(self)
        warn_if_ahead(self.path, self.tid)

    def _connect(self) -> Lines:
        options = self._options
        lines = Lines(self._dsn, options.schema, options.answer_seconds, prepare=options.prepare)
        if not options.read_only:
            lines.greet = DurabilitySettings(lines.path).check
        return lines

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as *the same log*, opened again in another process with the same options."""
        self._check_open()
        return reopened, (self._token, partial(type(self), **self._options._asdict()), self._dsn)

    __copy__ = itself
    __deepcopy__ = itself

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # -- the lock ----------------------------------------------------------------

    @property
    def held(self) -> bool:
        return get_ident() in self._writers

    @property
    def unseen(self) -> Sequence[PostgresTransaction]:
        writer = self._writers.get(get_ident())
        return () if writer is None else writer.unseen

    @property
    def last_tid(self) -> Tid:
        writer, tid = self._writers.get(get_ident()), self._head.tid
        return tid if writer is None else max(tid, writer.base.tid)

    @property
    def next_oid(self) -> Oid:
        writer, oid = self._writers.get(get_ident()), self._head.next_oid
        return oid if writer is None else max(oid, writer.base.next_oid)

    @property
    def behind(self) -> bool:
        # Without a turn, the append finds out.
        writer = self._writers.get(get_ident())
        return writer is not None and writer.has_turn and self.has_news()

    def acquire(self, *, settled: bool = True) -> None:
        self._check_open()
        if self.read_only:
            raise ReadOnlyStorageError(self.path, self.why_read_only)
        me, timeout, started = get_ident(), self._options.lock_timeout, time.monotonic()
        if me in self._writers:
            raise SelfWaitError(self.path)
        self._lock.acquire(self, timeout)
        try:
            self._check_open()
            self._writers[me] = writer = Writer(
                self._lines,
                self._statements,
                self._sender,
                self._head,
                self._existing,
                lock_timeout=timeout,
                answer_seconds=self._options.answer_seconds,
            )
            if settled or self._crowded:
                writer.take_turn(started)
                self._crowded = _CROWDED if writer.news else max(self._crowded - 1, 0)
            else:
                writer.follow()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        writer = self._writers.get(get_ident())
        try:
            if writer is not None:
                finish_despite_interrupts(writer.drop)
        finally:
            self._writers.pop(get_ident(), None)
            self._lock.release(self)

    def _let_others_on(self) -> None:
        self._writers[get_ident()].let_others_on = True
        self._lock.release(self)

    # -- news --------------------------------------------------------------------

    def has_news(self) -> bool:
        writer = self._writers.get(get_ident())
        if writer is None:
            return super().has_news()
        if not writer.has_turn:
            return self._has_news(0.0)  # A commit has to know.
        self._check_open()
        return bool(writer.news) and self._head.sequence < writer.news[-1].sequence

    def read_news(self) -> list[PostgresTransaction]:
        writer = self._writers.get(get_ident())
        if writer is None or not writer.has_turn:
            return super().read_news()
        self._check_open()
        head = self._head
        return [logged for logged in writer.news if logged.sequence > head.sequence]

    def apply(self, news: Sequence[Transaction]) -> None:
        super().apply(news)
        writer = self._writers.get(get_ident())
        if writer is not None:
            writer.moved_to(self._head)

    # -- writing -----------------------------------------------------------------

    def write_stream(self, source: BinaryIO) -> tuple[int, int]:
        return self._writer("write_stream()").write_stream(source)

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
        writer = self._writer("append()")
        if writer.let_others_on:
            if not self._lock.held(self):  # An interrupt has come before it was given back.
                self._lock.acquire(self, self._options.lock_timeout)
            writer.let_others_on = False
        rows = entries, classes, shapes
        try:
            return writer.append(None if wait else self._let_others_on, tid, *rows, **annotations)
        except OvertakenError:
            self._crowded = _CROWDED
            raise

    def prepare(
        self,
        tid: Tid,
        entries: Sequence[Entry],
        classes: Sequence[ClassRow] = (),
        shapes: Sequence[ShapeRow] = (),
        **annotations: Any,
    ) -> PostgresTransaction:
        return self._writer("prepare()").prepare(tid, entries, classes, shapes, **annotations)

    def decide(self, *, wait: bool = True) -> None:
        self._writer("decide()").decide()

    def settle(self, tid: Tid) -> PostgresTransaction | None:
        return self._writer("settle()").settle(tid)

    def fail(self, tid: Tid, reason: str, **annotations: Any) -> None:
        self._writer("fail()").fail(tid, reason, **annotations)

    def confirm(self, transaction: Transaction) -> None:
        """Nothing: what is appended is visible."""

    def has_made(self, transaction: Transaction) -> bool:
        made: bytes = transaction.id  # type: ignore[attr-defined]  # The log's own.
        return made.startswith(self._sender.mark)

    def wait_for(self, transaction: Transaction) -> None:
        """Send what is appended, if nobody else does."""
        self._sender.send_all()

    # -- packs -------------------------------------------------------------------

    def packing(self) -> Packing:
        """Return what packs the log, to be closed; see :mod:`dobbin_like.upkeep.packs.rows`."""
        self._check_open()
        options = self._options
        lines = Lines(self._dsn, options.schema, _LONG_SECONDS, prepare=options.prepare)
        lines.patience_seconds = options.patience
        if options.prepare:  # A pool would give the setting to others.
            lines.greet = take_any_time
        return Packing(
            lines,
            self._statements,
            self._head,
            self._pins,
            lock_timeout=self._options.lock_timeout,
            answer_seconds=options.answer_seconds,
        )

    # -- the end -----------------------------------------------------------------

    def close(self) -> None:
        if self.closed:
            return
        self._check_open()
        self.release()
        self.closed = True
        self._lock.wait_until_unused(self)
        self._sender.send_all()
        self._pins.close()
        self._close_reading()

    def _check_open(self) -> None:
        if self._pid != os.getpid():
            self.after_fork_in_child()  # No hook has seen the fork.
        super()._check_open()

    def after_fork_in_child(self) -> None:
        self._lock.after_fork_in_child()
        self._ahead = Ahead()
        self._writers.clear()
        self._sender.forget()
        self._pins.forget_row()
        self._lines.after_fork_in_child()
        self._pid = os.getpid()

    def _writer(self, step: str) -> Writer:
        """Return what the calling thread is doing; NotHeldError: it has not called acquire()."""
        writer = self._writers.get(get_ident())
        if writer is None:
            self._check_open()
            raise NotHeldError(self.path, step, "the commit lock; call acquire() before")
        if writer.has_turn:  # All that others have applied since was there before.
            writer.moved_to(self._head)
        return writer
