"""A log in figures: what one instance has done to it, and its current state.

Each step counts itself under the lock that it holds anyway; the rest is computed on request.
Changes nothing, and waits for no lock.
"""

from __future__ import annotations

from typing import NamedTuple

from dobbin_like.log.file import disk
from dobbin_like.log.format.header import PAGE_SIZE, decode_words
from dobbin_like.log.reading.chain import certain_transactions
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.reading.reader import ReadBuffer
from dobbin_like.log.writing.writable import WritableLog

__all__ = ["LogCounts", "counted"]


class LogCounts(NamedTuple):
    """What one instance has done to a log since it was opened, and how the log is now.

    A figure is right, but not all are of the same moment. A forked child counts from zero.
    """

    transactions: int
    """Appended by this instance, without failed ones."""

    failed: int
    """Failed transactions that it has recorded."""

    bytes: int
    """Appended by it: transactions, streams, saved positions."""

    syncs: int
    """Of the file, by it. One that another process does may be for its transactions, too."""

    lock_waits: int
    """How often the commit lock was waited for: another thread had it, or another process.

    Not those times when it was free within some 50 microseconds."""

    lock_wait_seconds: float
    longest_lock_wait_seconds: float

    lock_holds: int
    """How often it had the commit lock."""

    lock_hold_seconds: float
    longest_lock_hold_seconds: float

    file_bytes: int
    """The size of the file. It is a little longer than the log, for speed."""

    end: int
    """Where the log ends, by whomever it was written, in bytes."""

    unsynced_bytes: int
    """What is before that, and not on stable storage yet."""

    behind_transactions: int
    """Those, of others mostly, that can be seen and were not read yet: the next begin() does."""

    behind_bytes: int

    @property
    def transactions_per_sync(self) -> float | None:
        """How many transactions share a sync; None: there was none."""
        return self.transactions / self.syncs if self.syncs else None


def counted(reading: ReadableLog, writing: WritableLog) -> LogCounts:
    """Return the figures of one instance. Raises OSError, IntegrityError: it can't be read.

    Cost: The transactions that it has not read yet, but for their states.
    """
    reading.check_open()
    # A reference of its own: another thread may follow to a packed log meanwhile.
    applied = reading.applied
    file, tail, words = applied.file, applied.tail, applied.file.words
    size = durable = appended = behind = visible = 0
    if words is not None:
        size, block = disk.status(file.fd, file.path).st_size, words.all()
        values = decode_words(block)
        durable, appended = values.durable or PAGE_SIZE, values.appended or PAGE_SIZE
        # In a copy that was cut, what was visible and is missing does not count as news.
        visible = max(words.visible(), tail.end) if reading.has_news() else tail.end
        runs = certain_transactions(ReadBuffer(file.fd, reading.path), tail, visible)
        behind = sum(len(run) for run, _ in runs)
    counts, lock, waits = writing.writer.counts, writing.lock, writing.lock.waits
    return LogCounts(
        transactions=counts.transactions,
        failed=counts.failed,
        bytes=counts.bytes,
        syncs=counts.syncs + writing.durability.queue.syncs,
        lock_waits=waits.count,
        lock_wait_seconds=waits.seconds,
        longest_lock_wait_seconds=waits.longest_seconds,
        lock_holds=lock.holds,
        lock_hold_seconds=lock.held_seconds,
        longest_lock_hold_seconds=lock.longest_hold_seconds,
        file_bytes=size,
        end=max(appended, durable, tail.end if words else 0),
        unsynced_bytes=max(appended - durable, 0),
        behind_transactions=behind,
        behind_bytes=max(visible - tail.end, 0),
    )
