"""One sync for all threads that wait for the disk: how what was appended becomes durable.

The commit lock is not held meanwhile. A waiting thread becomes the leader when the leader before
it is done: it reads APPENDED, syncs the file and stores DURABLE, and that covers everything that
any thread or process had appended by then. Most waiting threads find themselves covered when it is
their turn.

The system reports a failed sync once, to one process, and the next sync may succeed although pages
were lost. So the failure is noted in FAILURES: all transactions that wait are in doubt, and no
instance commits until what is not durable was written again
(:mod:`dobbin_like.log.writing.recovery`). A leader that died in its sync may have got such an
error: SYNCING tells that a sync was begun, and the next leader writes again, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from threading import get_ident
from typing import Final, NamedTuple, TypeVar

from dobbin_like.exc import IntegrityError
from dobbin_like.log.file import disk, range_lock, range_wait
from dobbin_like.log.file.lock import syncing
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.words import SEEN_SIZE, Words
from dobbin_like.log.format.header import (
    APPENDED,
    DURABLE,
    FAILURES,
    PAGE_SIZE,
    SYNCING,
    USUAL,
    WORD_SIZE,
    WordValues,
    decode_words,
)
from dobbin_like.log.reading.chain import whole_frames
from dobbin_like.log.reading.reader import ReadBuffer
from dobbin_like.log.reading.saved_positions import place_before
from dobbin_like.processes.interrupts import finish_despite_interrupts, reentrant_lock

__all__ = [
    "Promise",
    "SyncFailedError",
    "SyncQueue",
    "mark_failure",
    "may_be_synced_in_time",
    "sync_all",
    "under_sync_lock",
    "write_again",
]

_PIECE = 1 << 20
_DURABLE_AT: Final = DURABLE * WORD_SIZE

Seen = tuple[bytes, int]
"""The words that readers watch, as they are stored, and where what they make visible ends."""

_Result = TypeVar("_Result")


class SyncFailedError(Exception):
    """It is not known whether what was appended is durable. ``args[0]`` says why."""


class Promise(NamedTuple):
    """What has to be durable before a transaction is visible, or soon afterwards."""

    file: LogFile
    end: int
    failures: int


class SyncQueue:
    """The queue for the disk of one instance. Any thread.

    ``syncs`` counts those that it has led; guarded by ``_turn``.
    """

    def __init__(self) -> None:
        # Before the lock of the file, which the threads of one instance share.
        self._turn = reentrant_lock()
        self._closed: BaseException | bool = False  # True: well; or what close() ran into.
        self.syncs: int = 0

    def make_durable(self, file: LogFile, end: int, failures: int) -> Seen | None:
        """Return when all before *end* is durable, and thereby visible. May be repeated.

        Args:
            end: Where a frame ends that was appended.
            failures: FAILURES as it was when that was done.

        Returns:
            What readers see from here on, if this has led the sync.

        Raises:
            SyncFailedError, OSError, IntegrityError: It is not known whether it is.
        """
        with self._turn:
            if not self._closed:
                try:
                    return self._make_durable(file, end, failures)
                except (disk.DiskError, IntegrityError, SyncFailedError):
                    # A signal handler has closed the file meanwhile, and has synced it before.
                    if not self._is_closed_well:
                        raise
            if isinstance(self._closed, BaseException):
                raise SyncFailedError(str(self._closed))
        return None

    def close(self, promises: Iterable[Promise]) -> None:
        """Make durable what was promised: the files are about to be closed."""
        with self._turn:
            closed: BaseException | bool = True
            text = "the log was closed, and that was interrupted"
            self._closed = SyncFailedError(text)
            for promise in list(promises):
                try:
                    self._make_durable(*promise)
                except (disk.DiskError, IntegrityError, SyncFailedError) as error:
                    closed = error
            self._closed = closed

    @property
    def _is_closed_well(self) -> bool:
        return self._closed is True

    def after_fork_in_child(self) -> None:
        """Start anew: a thread of the parent may have been waiting."""
        self._turn = reentrant_lock()
        self.syncs = 0

    def _make_durable(self, file: LogFile, end: int, failures: int) -> Seen | None:
        words = _words_of(file)
        if file.is_given_away:
            text = "the program has closed the descriptor of the log"
            raise SyncFailedError(text)
        durable = decode_words(words.all()).durable
        if durable is not None and durable >= end:
            _check_not_repaired(words.get(FAILURES), failures)
            return None
        return under_sync_lock(file, lambda: self._lead(file, words, end, failures))

    def _lead(self, file: LogFile, words: Words, end: int, failures: int) -> Seen | None:
        known = _Known(words)
        _check_not_repaired(known.failures, failures)
        if known.durable >= end:
            return None
        seen = _sync(file, words, known, end)
        self.syncs += 1
        return seen


def _words_of(file: LogFile) -> Words:
    words = file.words
    if words is None:  # By a signal handler, in the middle of a commit.
        text = "the log was closed"
        raise SyncFailedError(text)
    return words


class _Known:
    """The words as they are when the sync lock was taken; most of them stay so."""

    __slots__ = ("block", "durable", "failures", "said")

    def __init__(self, words: Words) -> None:
        self.block: bytes = words.all()
        self.said: WordValues = (said := decode_words(self.block))
        # It may have been read while it was stored.
        self.durable: int = words.get(DURABLE) if said.durable is None else said.durable
        self.failures: int = words.get(FAILURES) if said.failures is None else said.failures


def _sync(file: LogFile, words: Words, known: _Known, end: int) -> Seen | None:
    """Sync at least up to *end*. Requires: the sync lock."""
    said, durable, failures = known.said, known.durable, known.failures
    if failures & 1:
        text = "a sync has failed"
        raise SyncFailedError(text)
    # Before the sync: what is appended meanwhile may not be covered by it.
    target = words.get(APPENDED) if said.appended is None else said.appended
    if target < end:
        # Repaired before FAILURES was read for it.
        text = f"the log was repaired, and ends at {target} now"
        raise SyncFailedError(text)
    if said.syncing is None or said.syncing > durable:
        write_again(file, durable, target)
        if not _is_whole(file, durable, target):
            words.put(FAILURES, failures | 1)
            text = "a sync has failed, and what was appended is gone"
            raise SyncFailedError(text)
    if target > durable:
        words.put(SYNCING, target)
    try:
        disk.sync(file.fd, file.path)
    except disk.DiskError:
        words.put(FAILURES, failures | 1)
        raise
    return _seen(known, words.put(DURABLE, target), target) if target > durable else None


def _seen(known: _Known, stored: bytes, target: int) -> Seen | None:
    """Return what readers see when DURABLE is *stored* and no other word has changed."""
    block, loose = known.block, known.said.loose
    if loose is None or loose > target or known.said.state != USUAL:
        return None
    return block[:_DURABLE_AT] + stored + block[_DURABLE_AT + WORD_SIZE : SEEN_SIZE], target


def _is_whole(file: LogFile, start: int, end: int) -> bool:
    """Return whether there are whole frames from *start* to *end*; pages may have been lost."""
    assert file.page is not None
    buffer = ReadBuffer(file.fd, file.path)
    try:
        place = place_before(buffer, start, file.page.checksum, end) if start < end else None
        for frame in whole_frames(buffer, place, end) if place else ():
            place = frame.tail
    except IntegrityError:
        return False
    return place is None or place.end == end


def sync_all(file: LogFile) -> None:
    """Sync the file, including what APPENDED does not cover yet. The commit lock is held.

    Raises:
        SyncFailedError, OSError, IntegrityError: It was not synced.
    """
    words = _words_of(file)
    under_sync_lock(file, lambda: _sync(file, words, _Known(words), PAGE_SIZE))


def under_sync_lock(file: LogFile, step: Callable[[], _Result]) -> _Result:
    """Return what *step* does, run with the sync lock, which one thread of one process has.

    No context manager: an interrupt at the end of an __enter__ in Python would keep the lock.

    Raises:
        OSError: It can't be taken. And what *step* raises.
    """

    def unlock() -> None:
        range_lock.unlock(file.fd, file.path, range_lock.SYNC)

    here = file.key, os.getpid(), get_ident()
    with file.sync_turn:
        try:
            file.is_syncing = True
            syncing[here] = file.sync_turn
            range_wait.take(file.fd, file.path, range_lock.SYNC)
            result = step()
            unlock()
        except BaseException:
            finish_despite_interrupts(unlock)
            raise
        finally:
            file.is_syncing = False
            syncing.pop(here, None)
    return result


def may_be_synced_in_time(file: LogFile, end: int, seconds: float) -> bool:
    """Return whether, within some *seconds*, all before *end* is durable or no other thread syncs.

    Then the caller can make it durable. It waits for a sync that begins in between.
    """
    words = file.words
    if words is None:  # Another thread has closed it: what was promised is durable.
        return True

    def is_over() -> bool:
        fd, path = file.fd, file.path
        if not file.is_syncing and range_lock.holder(fd, path, range_lock.SYNC) is None:
            return True
        durable = decode_words(words.all()).durable
        return durable is not None and durable >= end

    return range_wait.in_time(file.fd, file.path, range_lock.SYNC, seconds, is_over)


def _check_not_repaired(found: int, failures: int) -> None:
    """Fail if the log was repaired since the append: another frame may be at the place."""
    if found >> 1 != failures >> 1:
        text = "a sync failed, and the log was repaired since"
        raise SyncFailedError(text)


def write_again(file: LogFile, start: int, end: int) -> None:
    """Write again what is from *start* to *end*, which the system may wrongly take for written."""
    for at in range(start, end, _PIECE):
        size = min(_PIECE, end - at)
        disk.write(file.fd, file.path, disk.read_exactly(file.fd, file.path, at, size), at)


def mark_failure(file: LogFile) -> None:
    """Prevent commits until the log is repaired: something that was appended is gone."""
    words = file.words
    assert words is not None
    under_sync_lock(file, lambda: _mark(words))


def _mark(words: Words) -> None:
    words.put(FAILURES, words.get(FAILURES) | 1)
