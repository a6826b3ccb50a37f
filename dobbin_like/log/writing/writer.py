"""What the holder of the commit lock does: put the end right, append, decide.

One thread at a time, between start() and stop(); the lock is somebody else's business.
The argument about crashes is at the head of :mod:`dobbin_like.log.transaction_log`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import BinaryIO, Final

from dobbin_like.contract import NO_NAMES, Entry
from dobbin_like.exc import Error, NotHeldError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.file import disk
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.words import Words
from dobbin_like.log.format import record
from dobbin_like.log.format.header import BOOT, COMMITTED, SAVED, is_retired, raw_word
from dobbin_like.log.format.record import LogPlace, Meta
from dobbin_like.log.reading.aside import note_aside
from dobbin_like.log.reading.log_index import Applied
from dobbin_like.log.reading.reader import LoggedTransaction, ReadBuffer
from dobbin_like.log.reading.saved_positions import append_saved
from dobbin_like.log.reading.streams import copy_stream, stream_key
from dobbin_like.log.reading.trusted_end import committed_frames
from dobbin_like.log.writing.durability import Synced
from dobbin_like.log.writing.encode import encoded
from dobbin_like.log.writing.recovery import recover

__all__ = ["Writer"]

_logger = logging.getLogger(__name__)

SAVE_AFTER_ENTRIES: Final = 50_000
"""Entries that opening may have to read one by one: some 50 ms."""


class Writer:
    """Appends to one log. Used by the thread that holds the commit lock, and no other.

    ``_tail`` is the place behind what this holder has appended, None until it is needed.
    ``dirty``: something lies behind COMMITTED. ``_whole``: among it a transaction that
    recovery would adopt.
    """

    def __init__(self, file: LogFile, applied: Applied, boot: int, *, sync: bool) -> None:
        self.unsynced = False  # Since the instance was opened: close() has to sync.
        self.save_after_entries = SAVE_AFTER_ENTRIES
        self.applied = applied
        self.synced = Synced(file, tells_power_cuts=bool(boot))
        self._file = file
        self._boot = boot
        self._raw_boot = raw_word(BOOT, boot)
        self._sync = sync
        self._tail: LogPlace | None = None
        self._pending: LoggedTransaction | None = None
        self._decided = True
        self._finishing = False
        self.dirty = False
        self._whole = False

    def switch_file(self, file: LogFile, applied: Applied) -> None:
        """Append to another file from now on: the log was packed. Nothing is under way."""
        self._file, self.applied = file, applied
        self.synced.switch_file(file)

    def start(self, size: int) -> None:
        """Begin: recover if the end of the file is not where COMMITTED says.

        Args:
            size: Of the file, in bytes, under the lock.

        Raises:
            IntegrityError, OSError: See recover().
        """
        if self.dirty or self._tail is not None:
            self._reset()
        applied = self.applied
        words = self._words
        view = words.view
        committed: int | None
        if view[COMMITTED] == applied.seen:
            committed = applied.tail.end
        else:
            committed = words.get(COMMITTED)
            if committed is not None and is_retired(view[COMMITTED]):
                # The path leads here: who wanted to replace this file has died.
                words.put(COMMITTED, committed)
        as_left = committed == size and size >= applied.tail.end
        if not as_left or view[BOOT] != self._raw_boot:
            buffer = ReadBuffer(self._file.fd, self._file.path)
            recover(buffer, applied.tail, words, self._boot, sync=self._sync)

    def stop(self) -> None:
        """End: cut off what was neither finished nor failed; now and then, save the positions.

        Does not raise OSError.
        """
        if self._finishing:
            # Interrupted after the decision: it counts (I1).
            self._finish()
        if self.dirty:
            self._cut_back()
        applied = self.applied
        if applied.unsaved > max(self.save_after_entries, applied.positions.stored):
            # Opening would have to read many entries one by one.
            try:
                self.save()
            except (OSError, Error) as error:
                _logger.warning("%s: positions are not saved: %s", self._file.path, error)
                self._cut_back()
        if self._sync and self.synced.area_is_due(self._words):
            self._make_redo_area()

    def after_fork_in_child(self) -> None:
        """Forget what the parent was writing."""
        self._reset()
        self.unsynced = False

    def write_stream(self, source: BinaryIO) -> tuple[int, int]:
        """Append a stream; return the key by which it is read, and its size in bytes."""
        tail = self._place()
        self.dirty = True
        try:
            after, size = copy_stream(self._file.fd, self._file.path, tail, source)
        except BaseException:
            with contextlib.suppress(OSError):
                self.synced.forget(self._words)
                disk.cut(self._file.fd, self._file.path, tail.end)
            raise
        self._tail = after
        return stream_key(self.applied.generation, tail.end), size

    def append(self, tid: Tid, entries: Sequence[Entry], meta: Meta) -> LoggedTransaction:
        """Append a transaction that is decided by this, sync it, and let it be visible."""
        logged = self._write(tid, entries, meta, "append()", decided=True)
        self._finish()
        return logged

    def prepare(self, tid: Tid, entries: Sequence[Entry], meta: Meta) -> LoggedTransaction:
        """Append a transaction behind COMMITTED, and sync it."""
        return self._write(tid, entries, meta, "prepare()", decided=False)

    def _write(
        self, tid: Tid, entries: Sequence[Entry], meta: Meta, step: str, *, decided: bool
    ) -> LoggedTransaction:
        file, applied = self._file, self.applied
        words = self._words
        if self._pending is not None:
            raise NotHeldError(file.path, step, "the end of the one before")
        if words.view[COMMITTED] != applied.seen:
            raise NotHeldError(file.path, step, "all news applied")
        tail = self._tail or applied.tail
        status = record.COMMITTED if decided else record.PREPARED
        data, logged = encoded(tail, tid, entries, applied.positions.get, meta, status)
        # Before writing: an interrupt must not hide from fail() and stop() what is there.
        self.dirty = True
        self._whole = self._decided = decided
        try:
            if not self._sync:
                disk.write(file.fd, file.path, data, tail.end)
            else:
                self.synced.write(words, data, tail.end, decided=decided)
        except OSError:
            self._cut_back()
            raise
        self._pending = logged
        return logged

    def decide(self) -> None:
        """Let the prepared transaction count. Can be repeated when interrupted.

        From when its status is written, recovery adopts it.
        """
        logged = self._pending
        if logged is None:
            raise NotHeldError(self._file.path, "decide()", "a prepared transaction")
        if self._decided:  # Interrupted after that.
            self._finish()
            return
        self._whole = True
        file = self._file
        status = record.WORD.pack(record.COMMITTED)
        disk.write(file.fd, file.path, status, logged.offset + record.STATUS_OFFSET)
        if self._sync:
            disk.sync(file.fd, file.path)
        self._decided = True
        self._finish()

    def settle(self) -> None:
        """Bring append() or decide() to an end after an interrupt: carried out, or not at all.

        From when a whole frame is written that says committed, the next holder of the lock
        would adopt it, should this one die. So it is not left like that.
        """
        if not self._whole:
            return
        if self._pending is None:  # Interrupted in writing: nobody knows how much is there.
            self._cut_back()
        else:
            self.decide()

    def _finish(self) -> None:
        """Let the pending transaction count. Can be repeated when interrupted."""
        logged = self._pending
        assert logged is not None
        self._finishing = True
        words = self._words
        words.view[COMMITTED] = raw_word(COMMITTED, logged.end)  # I2: visible from here on.
        if self._sync:
            self.synced.finish(words, logged.end)
        else:
            self.unsynced = True
        self._reset()

    def fail(self, tid: Tid, oids: Sequence[Oid], meta: Meta) -> LoggedTransaction | None:
        """Record a failed transaction in place of the prepared one, if there is one."""
        try:
            pending = self._pending
            if pending is not None:
                tid, oids = pending.tid, [Oid(oid) for oid in pending.oids]
                meta = Meta(
                    NO_NAMES, pending.user, pending.description, pending.extension, meta.reason
                )
            was_whole = self._whole
            if self.dirty:
                self._cut_back()
            tail = self._place()
            logged = self._append_failed(tail, tid, oids, meta)
            if was_whole or (pending is not None and self._sync):
                disk.sync(self._file.fd, self._file.path)
        except (OSError, Error, ValueError) as error:
            _logger.warning("%s: a failed transaction is not recorded: %s", self._file.path, error)
            if self.dirty:
                self._cut_back()
            return None
        self._words.put(COMMITTED, logged.end)
        self.unsynced = True
        self._reset()
        return logged

    def save(self) -> None:
        """Append the positions as they are applied now. Raises OSError, LogError."""
        tail = self._place()
        self._append_saved(tail)

    @property
    def _words(self) -> Words:
        words = self._file.words
        if words is None:
            raise NotHeldError(self._file.path, "writing", "an open log")
        return words

    def _reset(self) -> None:
        if self._sync:
            self.synced.reset()  # First: what counts must not be overwritten in the image.
        self._finishing = False  # Then: stop() must not repeat what has no transaction.
        self._pending = None
        self._tail = None
        self.dirty = self._whole = False

    def _place(self) -> LogPlace:
        """Return where the next frame goes."""
        if self._tail is not None:
            return self._tail
        tail = self.applied.tail
        if self._words.view[COMMITTED] != self.applied.seen:
            buffer = ReadBuffer(self._file.fd, self._file.path)
            for frame in committed_frames(buffer, tail, self._words, self._boot):
                tail = frame.tail
        self._tail = tail
        return tail

    def _append_failed(
        self, tail: LogPlace, tid: Tid, oids: Sequence[Oid], meta: Meta
    ) -> LoggedTransaction:
        tid = Tid(max(tid, tail.tid + 1))
        entries = [(oid, 0, b"") for oid in oids]
        data, logged = encoded(tail, tid, entries, lambda _oid: 0, meta, record.FAILED)
        self.dirty = True
        disk.write(self._file.fd, self._file.path, data, tail.end)
        return logged

    def _cut_back(self) -> None:
        """Let the file end at COMMITTED again; best effort, recovery would do it too."""
        end = self._words.get(COMMITTED)
        if end is not None:  # Else the next holder of the lock finds out where the log ends.
            self._cut_at(end)
        # Last: interrupted before, stop() does it again.
        self._reset()

    def _cut_at(self, end: int) -> None:
        file = self._file
        try:
            self.synced.forget(self._words)
            if self._whole:
                # What counts as committed must not come back by a power cut. Not by a sync
                # of the cut: an interrupt between the two would let it be there or not.
                disk.write_synced(file.fd, file.path, bytes(record.CHECKED_FROM), end)
        except OSError as error:
            _logger.critical("%s: can't overwrite what was not committed: %s", file.path, error)
        try:
            disk.cut(file.fd, file.path, end)
        except OSError as error:
            _logger.critical("%s: can't cut off what was not committed: %s", file.path, error)

    def _make_redo_area(self) -> None:
        """Append a redo area. A shortcut: it may fail."""
        try:
            tail = self._place()
            self.dirty = True
            after = self.synced.make_area(self._words, tail)
            self.applied.pass_over(tail.end, after)
            self._reset()
        except (OSError, Error) as error:
            _logger.warning("%s: no redo area is made: %s", self._file.path, error)
            self._cut_back()

    def _append_saved(self, tail: LogPlace) -> None:
        file, applied = self._file, self.applied
        self.dirty = True
        after = append_saved(
            file.fd, file.path, tail, applied.positions, applied.names, applied.tail
        )
        self._words.put(COMMITTED, after.end)
        note_aside(self._words, tail.end, after.end)
        self._words.put(SAVED, tail.end)
        self.unsynced = True
        applied.unsaved = 0
        applied.pass_over(tail.end, after)
        self._reset()
