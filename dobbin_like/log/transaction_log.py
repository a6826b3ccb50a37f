"""The log in one file: append transactions, tail what others append, load objects from it.

Promises I1 to I5 to the memory tower: a transaction for which ``confirm()`` has returned survives
any crash; readers see a transaction whole or not at all and never wait; a dead process leaves
nothing to repair by hand. Knows no objects: states are bytes, classes and shapes are numbers and
names.

The life of a commit, and what a kill or a power cut after each step leaves:

1. ``acquire()`` takes the lock. Afterwards, the kernel gives it to the next process; nothing was
   written.
2. ``append()`` writes the frame after APPENDED, in one piece; this is the decision. A part of it
   is no frame: the next holder of the lock cuts it off. A whole frame is adopted, by the next
   holder as by a recovery (I2): a thread that is interrupted here has to :meth:`settle` it.
3. It stores APPENDED: the next frame goes after this one, which nothing removes any more.
   ``release()``: others append, and find in the log what they may be in conflict with.
4. ``confirm()`` waits until one of the waiting threads has synced the file and stored DURABLE:
   readers see the transaction (I1). An instance without sync has stored LOOSE with APPENDED
   instead. If the sync fails, the transaction is in doubt until the log is repaired.
5. ``prepare()`` does everything in ``append()`` that may fail, except the write; ``decide()`` does
   the write.

Streams, saved positions and failed transactions are frames of the same chain, and stay.

The parts of a log: what reads it (:mod:`dobbin_like.log.reading.readable`, with the files that it
is read from), its past (:mod:`dobbin_like.log.reading.history`), and what writes it
(:mod:`dobbin_like.log.writing.writable`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO, Self

from dobbin_like.contract import (
    NO_NAMES,
    ClassRow,
    Entry,
    Names,
    NewNames,
    ShapeRow,
    StoredVersion,
    Transaction,
)
from dobbin_like.exc import LogError
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.log.counts import LogCounts, counted
from dobbin_like.log.file import at_path
from dobbin_like.log.file.disk import status
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.new_file import PACKED, remove_left, remove_stale
from dobbin_like.log.format.header import PAGE_SIZE, decode_page
from dobbin_like.log.format.meta import NO_META, Meta
from dobbin_like.log.path_watch import PathWatch
from dobbin_like.log.reading.history import History
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.reading.reader import LoggedTransaction, LoggedVersion
from dobbin_like.log.reading.streams import is_of
from dobbin_like.log.writing.writable import WritableLog
from dobbin_like.mistaken.arguments import check_flags, check_lock_timeout
from dobbin_like.mistaken.attributes import fixed
from dobbin_like.mistaken.paths import check_no_uri
from dobbin_like.processes.reopened import itself, new_token, reopened
from dobbin_like.timestamps import warn_if_ahead

__all__ = ["TransactionLog"]


@fixed(
    given="it is given when the log is opened: TransactionLog(path, {name}=...)",
    options="sync lock_timeout read_only",
    otherwise="a log has no attributes to be set",
)
class TransactionLog:
    """One instance over one log file; others, here and in other processes, share the file.

    Keeps the contract of :class:`dobbin_like.contract.PackedStorage`, where its methods are told.

    Args:
        path: Of the file; it need not exist, and nothing is created before acquire().
        sync: Whether a transaction is visible, and confirmed, only when it is on stable storage.
            Without it, it is a second later, or at close().
        lock_timeout: Seconds to wait for others, together: for the commit lock, and for another
            commit that is being synced if this one depends on it; None: as long as it takes.
            Opening the log has no limit, nor has the sync of what is appended: a transaction whose
            sync was given up would be in doubt.
        read_only: Never write, not even by chance: the file is opened for reading.

    Raises:
        ValueError: *path* is a URI, or ``":memory:"``; it says what to call.
        OSError: It can't be opened; the path is in the error.
        NotALogError, FormatVersionError, IntegrityError: It is no log that can be read.
        ReadOnlyStorageError: It may not be written, or follows another log, and *read_only* is
            false.

    Cost: Opening reads what follows the saved positions, and these a block at a time when they
    are needed. What is not known to be durable is read whole and synced.
    """

    path: str
    read_only: bool
    _follows = False  # Whether it may write to a log that follows another.

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: bool = True,
        lock_timeout: float | None = None,
        read_only: bool = False,
    ) -> None:
        check_no_uri(path)
        check_flags(sync=sync, read_only=read_only)
        check_lock_timeout(lock_timeout=lock_timeout)
        follows = self._follows
        self._reading = reading = ReadableLog(path, read_only=read_only, follows=follows)
        self._writing = WritableLog(reading, sync=sync, lock_timeout=lock_timeout)
        self._history = History(reading)
        vars(self).update(path=reading.path, read_only=read_only)
        self._has_news = PathWatch(reading).has_news if read_only else reading.has_news
        if type(self) is TransactionLog:  # A class below it may have methods of its own.
            # Called for every object, begin() and commit: bound directly.
            self.load = reading.load  # type: ignore[method-assign]
            self.has_news = self._has_news  # type: ignore[method-assign]
            self.apply = reading.apply  # type: ignore[method-assign]
            self.acquire = self._writing.acquire  # type: ignore[method-assign]
            self.release = self._writing.release  # type: ignore[method-assign]
            self.confirm = self._writing.durability.confirm  # type: ignore[method-assign]
        try:
            self._writing.open()
            self._token = new_token(self)
            warn_if_ahead(self.path, self.tid)
            if not read_only and reading.file.page is not None:
                remove_stale(os.path.realpath(self.path) + PACKED, self._is_stale_pack)
                remove_left(self.path, status(reading.file.fd, self.path))
        except BaseException:
            self._writing.close_file()
            raise

    def __len__(self) -> int:
        return self._reading.applied.tail.sequence

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self)} transactions"
        return f"<TransactionLog {self.path!r}, {state}>"

    @property
    def sort_key(self) -> str:
        return self._reading.sort_key

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as *the same log*, opened again in another process with the same options."""
        self._reading.check_open()
        reopen = partial(
            type(self),
            sync=self._writing.sync,
            lock_timeout=self._writing.lock_timeout,
            read_only=self.read_only,
        )
        return reopened, (self._token, reopen, self.path)

    __copy__ = itself
    __deepcopy__ = itself

    # -- what is applied -------------------------------------------------------

    @property
    def tid(self) -> Tid:
        return self._reading.applied.tail.tid

    @property
    def complete_since(self) -> Tid:
        return self._reading.applied.complete_since

    @property
    def oid_count(self) -> int:
        return self._reading.applied.positions.stored

    @property
    def next_oid(self) -> Oid:
        return Oid(max(self._reading.applied.positions.next_oid, self._writing.writer.next_oid))

    @property
    def names(self) -> Names:
        return self._reading.applied.names

    def check_path(self) -> None:
        """Raise LogMovedError if another log is at the path, or none: for uses of the path."""
        self._reading.check_open()
        at_path.check_path(self._reading.file)

    @property
    def file(self) -> LogFile:
        """The current file: to check a file that is opened by the path later."""
        return self._reading.file

    @property
    def is_follower(self) -> bool:
        """Whether it follows another log, so that only what follows writes to it."""
        page = self._reading.file.page
        return page is not None and page.follows

    # -- news ------------------------------------------------------------------

    def has_news(self) -> bool:
        return self._has_news()

    def read_news(self) -> list[LoggedTransaction]:
        known = self._writing.writer.known_news() if self._writing.lock.owned else []
        return known or self._reading.read_news()

    def apply(self, news: Sequence[Transaction]) -> None:
        self._reading.apply(news)

    # -- reading ---------------------------------------------------------------

    def has(self, oid: Oid) -> bool:
        return bool(self._reading.position(oid))

    def load(self, oid: Oid, at: Tid | None = None) -> LoggedVersion | None:
        return self._reading.load(oid, at)

    def load_dropped(self, oid: Oid, at: Tid) -> LoggedVersion | None:
        """Return a version that a pack has dropped and a pin keeps; None: there is none."""
        return self._reading.load_dropped(oid, at)

    def version_before(self, oid: Oid, stored: StoredVersion) -> LoggedVersion | None:
        return self._history.version_before(oid, stored)

    def transactions(
        self, since: Tid = NO_TID, until: Tid | None = None, *, newest_first: bool = False
    ) -> Iterator[LoggedTransaction]:
        return self._history.transactions(since, until, newest_first=newest_first)

    def transaction_of(self, stored: StoredVersion) -> LoggedTransaction:
        return self._history.transaction_of(stored)

    def entries(self, transaction: Transaction) -> Iterator[tuple[Oid, LoggedVersion]]:
        return self._history.entries(transaction)

    def stream_size(self, key: int) -> int:
        streams, offset = self._reading.stream(key)
        with self._reading.or_closed():
            return streams.size(offset)

    def read_stream(self, key: int, start: int, size: int) -> bytes:
        streams, offset = self._reading.stream(key)
        with self._reading.or_closed():
            return streams.read(offset, start, size)

    # -- writing ---------------------------------------------------------------

    @property
    def why_read_only(self) -> str:
        return self._writing.why_read_only

    @property
    def held(self) -> bool:
        return self._writing.lock.owned

    @property
    def unseen(self) -> Sequence[LoggedTransaction]:
        unseen = self._writing.writer.unseen
        if unseen:
            applied = self._reading.applied.tail.end
            if unseen[0].end <= applied:
                return [logged for logged in unseen if logged.end > applied]
        return unseen

    @property
    def last_tid(self) -> Tid:
        writer = self._writing.writer
        # A program in doubt asks by the tid: no other transaction may get it.
        return max(writer.appended.place.tid, writer.gone_tid)

    @property
    def behind(self) -> bool:
        writer, applied = self._writing.writer, self._reading.applied
        if writer.appended.seen == applied.seen:
            return False
        return not writer.unseen or applied.tail.sequence < writer.due

    def acquire(self, *, settled: bool = True) -> None:
        self._writing.acquire(settled=settled)

    def release(self) -> None:
        self._writing.release()

    def write_stream(self, source: BinaryIO) -> tuple[int, int]:
        return self._writing.held_by_caller("write_stream()").write_stream(source)

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
    ) -> LoggedTransaction:
        writer = self._writing.held_by_caller("append()")
        meta = _meta(classes, shapes, user, description, extension)
        logged = writer.append(tid, entries, meta)
        if wait:
            self.confirm(logged)
        return logged

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
    ) -> LoggedTransaction:
        writer = self._writing.held_by_caller("prepare()")
        if self._writing.sync:  # It syncs the room that it has made.
            self._writing.durability.wait_for_syncs(writer.appended.place.end)
        meta = _meta(classes, shapes, user, description, extension)
        return writer.prepare(tid, entries, meta)

    def decide(self, *, wait: bool = True) -> None:
        logged = self._writing.held_by_caller("decide()").decide()
        if wait:
            self.confirm(logged)

    def settle(self, tid: Tid) -> LoggedTransaction | None:
        return self._writing.held_by_caller("settle()").settled(tid)

    def confirm(self, transaction: Transaction) -> None:
        self._writing.durability.confirm(transaction)

    def wait_for(self, transaction: Transaction) -> None:
        self._writing.durability.wait_for(transaction)

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
        writer = self._writing.held_by_caller("fail()")
        writer.fail(tid, oids, Meta(NO_NAMES, user, description, extension, reason))

    # -- figures ---------------------------------------------------------------

    def counts(self) -> LogCounts:
        """Return what this instance has done to the log, and how the log is; see LogCounts."""
        return counted(self._reading, self._writing)

    # -- packing ---------------------------------------------------------------

    @property
    def generation(self) -> int:
        return self._reading.applied.generation

    @property
    def retired(self) -> bool:
        return self._reading.retired

    @property
    def has_past(self) -> bool:
        return bool(self._reading.generations.past)

    def drop_generations(self, oldest: Tid | None) -> None:
        self._reading.generations.drop(oldest)

    def pin(self, tid: Tid) -> object:
        return self._reading.generations.pin(tid)

    def unpin(self, token: object) -> None:
        self._reading.generations.unpin(token)

    def reaches(self, tid: Tid) -> bool:
        return self._reading.generations.reaches(tid)

    def is_dropped(self, oid: Oid) -> bool:
        return not self.has(oid)

    def place_of(self, oid: Oid) -> int:
        return self._reading.position(oid)

    def stream_is_moved(self, key: int) -> bool:
        return not is_of(key, self._reading.applied.generation)

    # -- the end ---------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._reading.closed

    def close(self) -> None:
        """Give files and lock back; see :meth:`.WritableLog.close` for what it may write.

        Raises:
            OSError: What was written without sync is not on stable storage. The log is closed
                all the same.
        """
        self._writing.close()

    def after_fork_in_child(self) -> None:
        self._writing.after_fork_in_child()

    def _is_stale_pack(self, fd: int) -> bool:
        """Return whether it is a log that was to take the place of this one."""
        page, start = self._reading.file.page, os.pread(fd, PAGE_SIZE, 0)
        if not start:  # Its writer was killed before it wrote, perhaps after long reading.
            return True
        try:
            found = decode_page(self.path, start)
        except LogError:  # The file of another program.
            return False
        return (
            page is not None
            and found.store_id == page.store_id
            and found.generation > page.generation
        )


def _meta(
    classes: Sequence[ClassRow],
    shapes: Sequence[ShapeRow],
    user: str,
    description: str,
    extension: bytes,
) -> Meta:
    if not (classes or shapes or user or description or extension):
        return NO_META
    names = NewNames(tuple(classes), tuple(shapes)) if classes or shapes else NO_NAMES
    return Meta(names, user, description, extension)
