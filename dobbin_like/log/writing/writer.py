"""What the holder of the commit lock does: find where the log ends, and append there.

One thread at a time, between start() and stop(); the caller has the lock. A frame that may be
whole in the file is never taken back, because the next holder would adopt it. So everything that
can refuse a transaction comes before it is written. For crashes, see the head of
:mod:`dobbin_like.log.transaction_log`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Sequence
from typing import BinaryIO, Final

from dobbin_like.contract import NO_NAMES, Entry
from dobbin_like.exc import Error, InDoubtError, IntegrityError, NotHeldError
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.log.file import disk
from dobbin_like.log.file.words import SEEN_SIZE, Words
from dobbin_like.log.format import record
from dobbin_like.log.format.header import (
    APPENDED,
    DURABLE,
    LOOSE,
    SAVED,
    WAITING,
    WORD_SIZE,
    WORDS_OFFSET,
    encode_word,
)
from dobbin_like.log.format.record import Meta
from dobbin_like.log.reading.chain import whole_frames
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.reading.reader import LoggedTransaction
from dobbin_like.log.reading.saved_positions import encode_saved
from dobbin_like.log.reading.streams import copy_stream, stream_key
from dobbin_like.log.writing.appended import APPENDED_AT, LOOSE_AT, WAITING_AT, Appended
from dobbin_like.log.writing.encode import encoded
from dobbin_like.log.writing.syncing import Promise, SyncFailedError, sync_all
from dobbin_like.processes.threaded_dict import ThreadedDict

__all__ = ["Writer"]

_logger = logging.getLogger(__name__)

SAVE_AFTER_ENTRIES: Final = 50_000
"""Entries that opening may have to read one by one: some 50 ms."""

_FIRST_ZEROS: Final = 1 << 16
_MOST_ZEROS: Final = 1 << 20
"""Bytes that are written ahead of a synced log: a sync of what overwrites them need not wait
until the file system has noted that the file grew. Few for a short program."""

_NOBODY: Final = encode_word(WAITING, 0)

# What calling a named tuple does, at half the cost.
_new: Final = tuple.__new__

_ENDS_OFFSET: Final = WORDS_OFFSET + LOOSE_AT


class AppendCounts:
    """What a writer has appended: transactions, failed ones, bytes; and its syncs before that."""

    __slots__ = ("bytes", "failed", "syncs", "transactions")

    def __init__(self) -> None:
        self.transactions: int = 0
        self.failed: int = 0
        self.bytes: int = 0
        self.syncs: int = 0


class Writer:
    """Appends to one log. Used by the thread that holds the commit lock, and no other.

    ``unseen`` are the transactions that were appended and not applied when the lock was taken;
    ``due`` is how many have to be applied before one is appended. ``promises`` has the
    transactions of this instance that have to be synced, by tid and checksum: a tid is used again
    if its transaction is lost with a failed sync. ``appended`` is the end of the log as this knows
    it. ``loose_end`` is the end of what this has made visible without a sync; it is durable if
    ``synced_end`` is the same. ``counts`` is what this has appended. ``gone_tid``: tids up to this
    one may belong to transactions that a repair found to be lost.
    """

    def __init__(self, log: ReadableLog, *, sync: bool) -> None:
        self.save_after_entries = SAVE_AFTER_ENTRIES
        self.unseen: list[LoggedTransaction] = []
        self.promises: dict[tuple[Tid, int], Promise] = ThreadedDict()
        self._log = log
        self._sync = sync
        self._zeros = _FIRST_ZEROS
        self.counts: AppendCounts = AppendCounts()
        self.gone_tid: Tid = NO_TID
        self.forget()

    def forget(self) -> None:
        """Forget the file: another one is used from now on, or this is a forked child.

        What was visible in a file that was replaced is durable in the one that replaced it.
        """
        self.loose_end: Promise | None = None
        self.synced_end: Promise | None = None
        self.appended: Appended = Appended(self._log)
        self.due: int = 0
        self._size = 0
        self._writing = False
        self._prepared: tuple[bytes, LoggedTransaction] | None = None
        self.unseen = []
        self._file = self._log.file  # Last: if this is interrupted before, start() does it again.

    def after_fork_in_child(self) -> None:
        """Forget what the parent was writing."""
        self.forget()
        self.promises = ThreadedDict()
        self.counts = AppendCounts()

    # -- the beginning and the end -----------------------------------------------

    def start(self, size: int) -> bool:
        """Begin: know all that is appended, and repair what a dead holder has left.

        Args:
            size: Of the file, in bytes, under the lock.

        Returns:
            Whether another process waits for the lock, and this instance had it last.

        Raises:
            IntegrityError, OSError: See recover().
        """
        if self._file is not self._log.file:
            self.forget()
        self._size = size
        words, appended = self._words_of_file, self.appended
        block = words.all()
        undisturbed = block[:WAITING_AT] == appended.words
        if not undisturbed:
            appended.catch_up(words, block)
        if size != appended.place.end or self._writing:
            if size < appended.place.end:
                text = "the end of the file, which was cut"
                expected = f"at least {appended.place.end} bytes"
                raise IntegrityError(self._file.path, size, text, expected)
            self._adopt()
        if self._file.gone:
            # If the clock is behind the log, each had the tid after that of the one before.
            self.gone_tid = Tid(appended.place.tid + self._file.gone)
            self._file.gone = 0
        if appended.transactions:
            applied, known = self._log.applied.tail.end, appended.transactions
            appended.transactions = [logged for logged in known if logged.end > applied]
            self.unseen = appended.transactions[:]
        elif self.unseen:
            self.unseen = []
        self.due = appended.place.sequence - len(self.unseen)
        return undisturbed and block[WAITING_AT:] != _NOBODY

    @property
    def hidden(self) -> list[LoggedTransaction]:
        """Those of ``unseen`` that are not visible yet, because they have to be synced."""
        visible = self.appended.shown
        return [logged for logged in self.unseen if logged.end > visible]

    def known_news(self) -> list[LoggedTransaction]:
        """Return what is visible and not applied, from ``appended``: it need not be read again.

        Some of it may be this holder's own. Nothing if more may be visible by now.
        """
        file, appended, applied = self._file, self.appended, self._log.applied
        if file is not self._log.file or file.words is None or file.words.seen() != appended.seen:
            return []
        end, visible = applied.tail.end, appended.shown
        news = [logged for logged in appended.transactions if end < logged.end <= visible]
        if not news or news[0].sequence != applied.tail.sequence + 1:
            return []
        applied.look(appended.seen, visible)
        return news

    def is_disturbed(self) -> bool:
        """Return whether another instance has written to the log since this one did."""
        return self._words_of_file.all()[:WAITING_AT] != self.appended.words

    def _adopt(self) -> None:
        """Take over whole frames behind the end; cut off anything else. Can be repeated.

        There is something only if a holder has died, or this one was interrupted.
        """
        appended = self.appended
        end = appended.place.end
        if self._size > end and self._log.rest(end, end + record.MARK_SIZE):
            for frame in whole_frames(self._log.buffer, appended.place, self._size):
                appended.know([] if frame.logged is None else [frame.logged], frame.tail)
            self._cut()
        if appended.place.end != appended.told:
            self._tell_end()
        self._writing = False

    def stop(self) -> None:
        """End: keep what is whole, drop the rest; now and then, save the positions.

        Raises no DiskError, nor another error of its own.
        """
        try:
            if self._writing:
                self.settle()
            if self.appended.shown == self.appended.told:
                self.appended.transactions = []
            applied = self._log.applied
            if applied.unsaved > max(self.save_after_entries, applied.positions.next_oid):
                # Opening would have to read many entries one by one.
                self.save()
        except (disk.DiskError, Error) as error:
            _logger.warning("%s: not put in order: %s", self._file.path, error)
        self._prepared = None

    @property
    def _words_of_file(self) -> Words:
        words = self._file.words
        if words is None:
            raise NotHeldError(self._file.path, "writing", "an open log")
        return words

    # -- appending -----------------------------------------------------------------

    def write_stream(self, source: BinaryIO) -> tuple[int, int]:
        """Append a stream; return the key by which it is read, and its size in bytes.

        It stays there, as garbage until a pack if no transaction follows.
        """
        file, place = self._file, self.appended.place
        self._writing = True
        try:
            after, size = copy_stream(file.fd, file.path, place, source)
        except BaseException:
            self._cut()
            raise
        self._size = max(self._size, after.end)
        streams = self._log.applied.streams
        if streams is not None:  # An earlier stream at this place may be gone with a failed sync.
            streams.forget()
        self.appended.know((), after)
        self._tell_end()
        return stream_key(self._log.applied.generation, place.end), size

    def append(self, tid: Tid, entries: Sequence[Entry], meta: Meta) -> LoggedTransaction:
        """Append a transaction, which decides it; it is visible at once if it may be."""
        data, logged = self._encoded(tid, entries, meta, "append()")
        self._put(data, logged)
        return logged

    def prepare(self, tid: Tid, entries: Sequence[Entry], meta: Meta) -> LoggedTransaction:
        """Do everything that can fail, except the write, for which there is room afterwards."""
        data, logged = self._encoded(tid, entries, meta, "prepare()")
        if logged.end > self._size:
            self._write_zeros(logged.end - self._size)
        if self._sync:
            self._sync_room()
        self._prepared = data, logged
        return logged

    def _sync_room(self) -> None:
        try:
            sync_all(self._file)
            self.counts.syncs += 1
        except SyncFailedError as error:
            raise disk.DiskError(errno.EIO, str(error), self._file.path) from error

    def decide(self) -> LoggedTransaction:
        """Append the prepared transaction."""
        if self._prepared is None:
            raise NotHeldError(self._file.path, "decide()", "a prepared transaction")
        data, logged = self._prepared
        self._put(data, logged)
        self._prepared = None
        return logged

    def settle(self) -> None:
        """Finish an append that was interrupted: it is carried out, or not done at all."""
        file = self._file
        self._size = disk.status(file.fd, file.path).st_size
        self._adopt()

    def settled(self, tid: Tid) -> LoggedTransaction | None:
        """Return the transaction *tid* of this holder if it is appended, otherwise None."""
        self.settle()
        for logged in reversed(self.appended.transactions):
            if logged.tid == tid and not logged.failed:
                return logged
        for key, promise in list(self.promises.items()):
            if key[0] == tid and promise.failures == self.appended.failures:
                self.promises.pop(key, None)
        return None

    @property
    def next_oid(self) -> int:
        """Above every oid of what was committed and not applied when the lock was taken."""
        oids = [max(each.oids, default=-1) for each in self.unseen if not each.failed]
        return max(oids, default=-1) + 1

    def fail(self, tid: Tid, oids: Sequence[Oid], meta: Meta) -> None:
        """Append a failed transaction, instead of the prepared one if there is one."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            _, logged = prepared
            tid, oids = logged.tid, [*logged.oids]
            meta = Meta(NO_NAMES, logged.user, logged.description, logged.extension, meta.reason)
        try:
            place = self.appended.place
            tid = Tid(max(tid, place.tid + 1))
            entries = [(oid, 0, b"") for oid in oids]
            data, logged = encoded(place, tid, entries, None, meta)
            self._put(data, logged)
        except (disk.DiskError, Error, ValueError) as error:
            _logger.warning("%s: a failed transaction is not recorded: %s", self._file.path, error)

    def save(self) -> None:
        """Append the positions as they are applied now, if they are those of one place.

        Raises OSError, LogError.
        """
        applied, place = self._log.applied, self.appended.place
        with applied.turn:  # Threads that don't write apply what is visible at any time.
            if not applied.is_at_place:
                return
            data, after = encode_saved(place, applied.positions, applied.names, applied.tail)
        self._write(data)
        self.appended.know((), after)
        self._tell_end()
        self._words_of_file.put(SAVED, place.end)
        self.appended.words = b""
        applied.unsaved = 0

    def cut_zeros(self) -> None:
        """Let the file end where the log does. Raises OSError."""
        end = self.appended.place.end
        if self._size > end and self._words_of_file.get(DURABLE) == end:
            self._cut()

    def _encoded(
        self, tid: Tid, entries: Sequence[Entry], meta: Meta, step: str
    ) -> tuple[bytes, LoggedTransaction]:
        applied = self._log.applied
        if self._prepared is not None:
            raise NotHeldError(self._file.path, step, "the end of the one before")
        if applied.tail.sequence < self.due or (self.unseen and self._are_changed(entries)):
            raise NotHeldError(self._file.path, step, "all news applied")
        return encoded(self.appended.place, tid, entries, applied.positions, meta)

    def _are_changed(self, entries: Sequence[Entry]) -> bool:
        """Tell whether *entries* change objects that unapplied ones of ``unseen`` have changed."""
        applied, oids = self._log.applied.tail.end, {entry[0] for entry in entries}
        return any(
            logged.end > applied and not (logged.failed or oids.isdisjoint(logged.oids))
            for logged in self.unseen
        )

    def _put(self, data: bytes, logged: LoggedTransaction) -> None:
        """Append a transaction. Once the frame is whole, it stays.

        Raises:
            OSError: It was not written.
            InDoubtError: It was written, but the words could not be stored.
        """
        appended = self.appended
        waits = self._sync or appended.shown < appended.told
        if waits and not logged.failed:
            promise = _new(Promise, (self._file, logged.end, appended.failures))
            self.promises[logged.tid, logged.checksum] = promise
        try:
            self._write(data)
        except disk.DiskError:  # After an interrupt, it may be in the file: settled() finds out.
            self.promises.pop((logged.tid, logged.checksum), None)
            raise
        try:
            appended.know((logged,), logged.tail)
            self._tell_end()
        except disk.DiskError as error:
            raise InDoubtError(self._file.path, logged.tid, str(error)) from error
        if not waits:
            self.due = logged.sequence
        if logged.failed:
            self.counts.failed += 1
        else:
            self.counts.transactions += 1

    def _write(self, data: bytes) -> None:
        """Write a frame. Raises OSError: nothing of it is left."""
        file, start = self._file, self.appended.place.end
        end = start + len(data)
        if self._sync and end + record.MARK_SIZE > self._size and len(data) < _MOST_ZEROS:
            # Without zeros ahead, a sync takes longer; if the disk is full, the frame fails.
            with contextlib.suppress(disk.DiskError):
                self._write_zeros(max(self._zeros, end + record.MARK_SIZE - self._size))
            self._zeros = min(2 * self._zeros, _MOST_ZEROS)
        self._writing = True
        try:
            disk.write(file.fd, file.path, data, start)
        except disk.DiskError:
            self._cut()
            raise
        self._size = max(self._size, end)

    def _write_zeros(self, count: int) -> None:
        file = self._file
        disk.write(file.fd, file.path, bytes(count), self._size)
        self._size += count

    def _tell_end(self) -> None:
        """Store the end of what is appended, and make it visible if it need not be synced."""
        file, appended = self._file, self.appended
        end = appended.place.end
        if not self._sync and appended.shown >= appended.told:
            data = encode_word(LOOSE, end) + encode_word(APPENDED, end)
            disk.write(file.fd, file.path, data, _ENDS_OFFSET)
            appended.words = words = appended.before_ends + data + appended.behind_ends
            appended.shown = end
            self.loose_end = _new(Promise, (file, end, appended.failures))
            # An instance that applies it without reading news knows that there is no other news.
            appended.seen = words[:SEEN_SIZE]
            self._log.applied.look(appended.seen, end)
        else:
            data = encode_word(APPENDED, end)
            disk.write(file.fd, file.path, data, _ENDS_OFFSET + WORD_SIZE)
            appended.words = appended.words[:APPENDED_AT] + data + appended.behind_ends
        self.counts.bytes += end - appended.told
        appended.told = end
        self._writing = False

    def _cut(self) -> None:
        """Cut the file at the place; if that fails, the next holder does it."""
        file, end = self._file, self.appended.place.end
        try:
            disk.cut(file.fd, file.path, end)
        except disk.DiskError as error:
            _logger.critical("%s: can't cut off what was not committed: %s", file.path, error)
        self._size = end
