"""Waiting until what an instance has appended is durable, and thereby visible. Any thread.

Most callers do not hold the commit lock. For how they share one sync, see :mod:`.syncing`.
"""

from __future__ import annotations

import errno
import threading
import time

from dobbin_like.contract import Transaction
from dobbin_like.exc import InDoubtError, IntegrityError, LockTimeout
from dobbin_like.log.file.disk import DiskError
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.writing.flusher import Flusher
from dobbin_like.log.writing.presence import has_failed
from dobbin_like.log.writing.syncing import SyncFailedError, SyncQueue, may_be_synced_in_time
from dobbin_like.log.writing.writer import Writer

__all__ = ["Durability"]


class _Patience(threading.local):
    """How many of the seconds that it may wait for others are left to the calling thread.

    ``limit`` is how many it had; None: it waits as long as it takes.
    """

    def __init__(self, limit: float | None) -> None:
        self.limit: float | None = limit
        self.left: float = limit or 0.0


class Durability:
    """The queue for the disk of one instance, and the promises that its threads wait for.

    Args:
        writer: Knows what this instance has appended.
        lock_timeout: Seconds to wait for those that sync before anything is appended, with what
            the commit lock has left of them in ``patience``; None: as long as it takes.
    """

    def __init__(self, log: ReadableLog, writer: Writer, *, lock_timeout: float | None) -> None:
        self._log = log
        self._writer = writer
        self.patience: _Patience = _Patience(lock_timeout)
        self.queue: SyncQueue = SyncQueue()
        self.flusher: Flusher = Flusher(log.path, self.make_durable)

    def confirm(self, transaction: Transaction) -> None:
        """Return when a transaction that this instance has appended is visible.

        Raises:
            InDoubtError: It is not known whether it is durable.
        """
        promises = self._writer.promises
        if not promises:
            return
        key = transaction.tid, transaction.checksum  # type: ignore[attr-defined]  # The log's own.
        promise = promises.get(key)
        if promise is not None:
            try:
                seen = self.queue.make_durable(*promise)
            except (DiskError, IntegrityError, SyncFailedError) as error:
                # The promise stays: asking again gives the same answer.
                raise InDoubtError(self._log.path, transaction.tid, str(error)) from error
            promises.pop(key, None)
            applied = self._log.applied
            if seen is not None and applied.file is promise.file:
                applied.look(*seen)  # Once it is applied, there is no other news.

    def wait_for(self, transaction: Transaction) -> None:
        """Return when one of ``unseen`` is visible.

        Raises LockTimeout, OSError, IntegrityError.
        """
        end: int = transaction.end  # type: ignore[attr-defined]  # The log has made it.
        if end <= self._writer.appended.shown:
            return
        try:
            self.wait_for_syncs(end)
            self.queue.make_durable(self._log.file, end, self._writer.appended.failures)
        except SyncFailedError:
            pass  # The next holder of the lock finds out what has become of it.
        except DiskError:
            # Otherwise nothing would be repaired, and this would fail forever.
            if not has_failed(self._log.file):
                raise

    def wait_for_syncs(self, end: int) -> None:
        """Wait until what is before *end* is synced, for what the lock has left of the limit.

        Before anything is appended. After that there is no limit: the transaction would be in
        doubt. Raises LockTimeout, OSError.
        """
        patience = self.patience
        if patience.limit is not None:
            since = time.monotonic()
            if not may_be_synced_in_time(self._log.file, end, patience.left):
                raise LockTimeout(self._log.path, patience.limit)
            patience.left -= time.monotonic() - since

    def make_durable(self) -> None:
        """Return when all that this instance has shown is durable. Any thread. Raises OSError."""
        writer = self._writer
        end = writer.loose_end
        if end is None or end is writer.synced_end:
            return
        try:
            self.queue.make_durable(*end)
        except SyncFailedError as error:
            writer.synced_end = end  # Nor would it be by another sync.
            raise OSError(errno.EIO, str(error), self._log.path) from error
        writer.synced_end = end  # More may have been shown meanwhile.

    def close(self) -> None:
        """Make durable what was promised: the files are about to be closed."""
        self.queue.close(self._writer.promises.values())

    def after_fork_in_child(self) -> None:
        """Forget what threads of the parent were waiting for."""
        self.queue.after_fork_in_child()
        self.flusher.after_fork_in_child()
