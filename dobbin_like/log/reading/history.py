"""The past of a log: its transactions, their entries, versions, and the transactions of these.

A log that was packed goes on in another file; the older files are kept as long as an older
snapshot needs them. What was read from one of them is looked up there again: a place is
believed only in a file that has the same record at it. Knows no lock and no words.
Read :mod:`dobbin_like.log.writing.writable` next.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple, cast

from dobbin_like.contract import StoredVersion, Transaction
from dobbin_like.exc import IntegrityError, PastDroppedError
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.log.format import record
from dobbin_like.log.format.record import TID_LIMIT, DamagedError, LogPlace
from dobbin_like.log.reading.loader import Loader
from dobbin_like.log.reading.log_index import Applied
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.reading.reader import (
    LoggedTransaction,
    LoggedVersion,
    ReadBuffer,
    stored_entries,
)
from dobbin_like.log.reading.walk import BackwardBuffer, transaction_at, walk, walk_back


class _Part(NamedTuple):
    """The requested transactions of one file, which this keeps open."""

    applied: Applied
    tail: LogPlace
    since: Tid
    until: Tid


class History:
    """The past of one log, as a Storage promises it. Any thread.

    PastDroppedError: A pack has dropped what was asked for. Cost: Finding where transactions()
    begins is a small read for each one after *since*, or after *until* if newest first.
    """

    def __init__(self, log: ReadableLog) -> None:
        self._log = log
        self._generations = log.generations
        self._path = log.path

    def transactions(
        self, since: Tid = NO_TID, until: Tid | None = None, *, newest_first: bool = False
    ) -> Iterator[LoggedTransaction]:
        self._log.check_open()
        parts = self._parts(since, Tid(TID_LIMIT) if until is None else until)
        if newest_first:
            return self._told(parts, newest_first=True)
        return self._told(parts[::-1], newest_first=False)

    def _parts(self, since: Tid, until: Tid) -> list[_Part]:
        """Return where the transactions are, newest first."""
        parts = []
        files = self._generations.files()
        for applied in files:
            # What packing has dropped from this file may be in the one before it.
            last = applied.complete_since <= since or applied is files[-1]
            begin = since if last else applied.complete_since
            if begin < until and applied.file.page is not None:
                parts.append(_Part(applied, applied.tail, begin, until))
            if last:
                break
            until = min(until, applied.complete_since)
        return parts

    def _told(self, parts: list[_Part], *, newest_first: bool) -> Iterator[LoggedTransaction]:
        steps = walk_back if newest_first else walk
        for applied, tail, since, until in parts:
            buffer, checksum = self._buffer(applied)
            with self._log.or_closed():
                for logged in steps(buffer, tail, checksum, since, until):
                    yield logged
                    self._log.check_open()

    def entries(self, transaction: Transaction) -> Iterator[tuple[Oid, LoggedVersion]]:
        self._log.check_open()
        with self._log.or_closed():
            applied, found = self._find(cast("LoggedTransaction", transaction))
            for entry in stored_entries(ReadBuffer(applied.file.fd, self._path), found):
                yield entry
                self._log.check_open()

    def version_before(self, oid: Oid, stored: StoredVersion) -> LoggedVersion | None:
        self._log.check_open()
        for applied in self._generations.files(Tid(stored.tid - 1)):
            with self._log.or_closed():
                loader = applied.loader
                if loader is not None and self._has(applied, loader, oid, stored):
                    previous = cast("LoggedVersion", stored).previous
                    return loader.load(oid, previous, applied.limit) if previous else None
        # The file that it was read from is gone: find it by its tid.
        return self._log.load(oid, Tid(stored.tid - 1))

    def transaction_of(self, stored: StoredVersion) -> LoggedTransaction:
        self._log.check_open()
        error: IntegrityError | None = None
        for applied in self._generations.files(Tid(stored.tid - 1)):
            try:
                with self._log.or_closed():
                    buffer, checksum = self._buffer(applied)
                    logged = transaction_at(buffer, stored.position, checksum, applied.limit)
            except IntegrityError as damage:
                error = error or damage
            else:
                if logged.tid == stored.tid:
                    return logged
        found = next(self.transactions(Tid(stored.tid - 1), stored.tid), None)
        return self._must_be(found, stored.tid, error)

    def _buffer(self, applied: Applied) -> tuple[BackwardBuffer, int]:
        page = applied.file.page
        return BackwardBuffer(applied.file.fd, self._path), 0 if page is None else page.checksum

    def _has(self, applied: Applied, loader: Loader, oid: Oid, stored: StoredVersion) -> bool:
        """Tell whether *stored* was read from this file, or could have been."""
        if applied is self._generations.present and not applied.generation:
            return True  # There is no other.
        try:
            return loader.load(oid, stored.position, applied.limit) == stored
        except IntegrityError:
            return False

    def _find(self, logged: LoggedTransaction) -> tuple[Applied, LoggedTransaction]:
        """Return the file that a transaction is in, and the transaction as it stands there."""
        applied = self._generations.present
        if not applied.generation:
            return applied, logged
        for applied in self._generations.files(Tid(logged.tid - 1)):
            start = os.pread(applied.file.fd, record.TRANSACTION_SIZE, logged.offset)
            with contextlib.suppress(DamagedError):
                head = record.transaction_head(start)
                if (head.checksum, head.tid) == (logged.checksum, logged.tid):
                    return applied, logged
        for part in self._parts(Tid(logged.tid - 1), logged.tid):
            for found in self._told([part], newest_first=False):
                return part.applied, found
        return applied, self._must_be(None, logged.tid, None)

    def _must_be(
        self, found: LoggedTransaction | None, tid: Tid, error: IntegrityError | None
    ) -> LoggedTransaction:
        if found is not None:
            return found
        if error is not None and self._generations.reaches(tid):
            raise error
        raise PastDroppedError(self._path, tid, self._generations.present.complete_since)
