"""The log of one file: append transactions, tail what others append, load from it.

Promises I1 to I5 to the memory tower: what ``finish()`` returned from is there after any
crash; readers see a transaction whole or not at all and never wait; a dead process
leaves nothing to repair by hand. Knows no objects: states are bytes, classes are
numbers and names, and so are their shapes.

The life of a commit, and what a kill after each step leaves:

1. ``acquire()``   the kernel gives the lock to the next; nothing was written.
2. ``write_stream()``, ``prepare()``  frames behind COMMITTED. No reader looks there. The
   next holder adopts a transaction that is whole and whose status says committed
   (nobody could veto it any more), makes one failed that is whole and only prepared,
   and cuts off everything else. So it is there whole or not at all (I2).
3. ``prepare()`` has synced, in the log or in the redo area
   (:mod:`dobbin_like.log.reading.redo`): the same, after a power cut too (I1).
4. ``decide()`` of an undecided one: the status is overwritten, 4 aligned bytes in one
   sector, and synced: from here on it is adopted.
5. ``finish()`` stores COMMITTED: readers see it. Then DURABLE: it is not looked at again.
6. ``fail()`` instead: what is decided is overwritten at its start, synced; the prepared bytes
   are cut off and a failed transaction without states takes their place. Between, the file
   ends at COMMITTED or has a torn tail.
7. ``release()``   cuts what was written and not finished, saves the positions and makes a
   redo area if it is time, and unlocks.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import BinaryIO, Final

from dobbin_like.contract import NO_NAMES, ClassRow, Entry, NewNames, ShapeRow
from dobbin_like.exc import Error, LockTimeout, LogError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.file import disk
from dobbin_like.log.file.new_file import PACKED, remove_stale
from dobbin_like.log.format.header import BOOT, COMMITTED, DURABLE, PAGE_SIZE, Words, decode_page
from dobbin_like.log.format.meta import NO_META, Meta
from dobbin_like.log.reading.reader import LoggedTransaction
from dobbin_like.log.reading.redo import area_offset
from dobbin_like.log.writing.writable import LockedLog

__all__ = ["TransactionLog"]

_logger = logging.getLogger(__name__)

_SAVE_AT_CLOSE_ENTRIES: Final = 10_000
"""Entries for which close() saves the positions: some 10 ms of opening."""


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


class TransactionLog(LockedLog):
    """One instance over one log file; others, here and in other processes, share the file.

    Any thread may read. Calls of read_news() and apply() are serialized by the caller.
    Writing belongs to the thread that is between acquire() and release().

    Args:
        path: Of the file; it need not exist, and nothing is created before acquire().
        sync: Whether prepare() returns only when the bytes are on stable storage.
        lock_timeout: Seconds to wait for the commit lock; None: as long as it takes.
        read_only: Never write, not even by chance: the file is opened for reading. After
            a power cut, the newest commits may be in the redo area only: they are seen
            when somebody has opened the log for writing.

    Raises:
        OSError: It can't be opened; the path is in the error.
        NotALogError, FormatVersionError, IntegrityError: It is no log that can be read.
        ReadOnlyStorageError: It may not be written, and *read_only* is false.

    Cost: Opening reads the saved positions as one block and what follows them.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: bool = True,
        lock_timeout: float | None = None,
        read_only: bool = False,
    ) -> None:
        super().__init__(path, sync=sync, lock_timeout=lock_timeout, read_only=read_only)
        try:
            self._open()
            self._recover_at_once()
        except BaseException:
            self._close_file()
            raise
        if not read_only and self._file.page is not None:
            remove_stale(os.path.realpath(self.path) + PACKED, self._is_stale_pack)

    @property
    def why_read_only(self) -> str:
        return "it was opened with read_only=True; open it without" if self.read_only else ""

    def close(self) -> None:
        """Give files and lock back. Idempotent; waits for a commit of another thread.

        Without *sync*, what was written is brought to stable storage. Positions are
        saved if many transactions came since and nobody holds the lock.

        Raises:
            OSError: That failed. The log is closed all the same.
        """
        if self.closed:
            return
        if os.getpid() != self._pid:
            self.after_fork_in_child()
        words = self._file.words
        try:
            if words is not None and not self.read_only:
                self.release()
                self._save_at_close()
                self._sync_at_close(words)
        finally:
            self.closed = True
            self._close_file()

    def write_stream(self, source: BinaryIO) -> tuple[int, int]:
        """Store what *source* yields from its position to its end.

        Returns:
            The key by which it is read, and its size in bytes. It stays if a transaction
            is finished before the lock is given back.

        Raises:
            OSError: The disk is full, or the like. The stream is cut off again.
        """
        self._check_held("write_stream()")
        return self._writer.write_stream(source)

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
    ) -> LoggedTransaction:
        """Commit a transaction; see :meth:`dobbin_like.contract.Storage.append`.

        Cost: The bytes of the states.
        """
        self._check_held("append()")
        meta = _meta(classes, shapes, user, description, extension)
        return self._writer.append(tid, entries, meta)

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
        self._check_held("prepare()")
        meta = _meta(classes, shapes, user, description, extension)
        return self._writer.prepare(tid, entries, meta)

    def decide(self) -> None:
        self._check_held("decide()")
        self._writer.decide()

    def settle(self, tid: Tid) -> LoggedTransaction | None:
        self._check_held("settle()")
        self._writer.settle()
        news = self.read_news() if self.has_news() else []
        return next((logged for logged in news if logged.tid == tid and not logged.failed), None)

    def fail(
        self,
        tid: Tid,
        reason: str,
        *,
        user: str = "",
        description: str = "",
        extension: bytes = b"",
        oids: Sequence[Oid] = (),
    ) -> LoggedTransaction | None:
        """Record a failed transaction, in place of the prepared one if there is one.

        Args:
            oids: Of the objects that it would have changed, for the record.

        Returns:
            None if it could not be written: that is logged, and otherwise ignored.
        """
        self._check_held("fail()")
        meta = Meta(NO_NAMES, user, description, extension, reason)
        return self._writer.fail(tid, oids, meta)

    def replace_by(self, path: str) -> None:
        """Let the log go on in the file at *path*: a packed one, complete and synced.

        One step for everybody: whoever opens the log finds the one file or the other.
        Instances that are open follow. Does not follow itself: this one is to be closed.

        Raises:
            OSError: The file could not be moved; the log is as it was.
        """
        self._check_held("replace_by()")
        words = self._file.words
        assert words is not None
        # Where links lead to: to replace a link would leave the file to all its other names.
        place = os.path.realpath(self.path)
        try:
            # First: should we die in between, the next holder of the lock takes it back.
            words.retire()
            os.replace(path, place)  # noqa: PTH105
        except BaseException:
            if not self._file.is_replaced():
                words.put(COMMITTED, words.get(COMMITTED) or 0)
            raise
        disk.sync_directory(place)

    # -- inside ----------------------------------------------------------------

    def _is_stale_pack(self, fd: int) -> bool:
        """Return whether it is a log that was to take the place of this one."""
        page, start = self._file.page, os.pread(fd, PAGE_SIZE, 0)
        try:
            found = decode_page(self.path, start)
        except LogError:  # Not begun, or somebody else's.
            return False
        return (
            page is not None
            and found.store_id == page.store_id
            and found.generation > page.generation
        )

    def _recover_at_once(self) -> None:
        """Recover after a power cut, if what was acknowledged may be in the redo area only.

        Readers of the log itself would miss it. A failure here is told: it is the same
        that acquire() will raise.
        """
        words = self._file.words
        if self.read_only or words is None or words.get(BOOT) == self._boot:
            return
        if area_offset(words) == 0:
            return
        try:
            self._lock.acquire(0)
            try:
                self._start_writing()
            finally:
                self.release()
            self.apply(self.read_news())
        except LockTimeout:
            # Whoever has it has recovered, or is about to: then it comes as news.
            pass
        except (OSError, Error) as error:
            _logger.warning("%s: not recovered from a power cut: %s", self.path, error)

    def _save_at_close(self) -> None:
        """Save the positions for the next opening. A shortcut: it may fail."""
        if self._applied.unsaved <= _SAVE_AT_CLOSE_ENTRIES:
            return
        try:
            self._lock.acquire(0)
            try:
                self._start_writing()
                self._writer.save()
            finally:
                self.release()
        except (OSError, Error) as error:
            _logger.info("%s: positions are not saved: %s", self.path, error)

    def _sync_at_close(self, words: Words) -> None:
        if not self._writer.unsynced:
            return
        committed = words.get(COMMITTED)
        try:
            disk.sync(self._file.fd, self.path)
        except OSError:
            self._writer.synced.distrust(words)
            raise
        durable = words.get(DURABLE)
        if committed is not None and (durable is None or durable < committed):
            # What was committed before the sync is durable, whoever wrote it. Should
            # another process store a later end in between, it is only looked at again.
            words.put(DURABLE, committed)
