"""A log in a file that follows another storage: it gets the same transactions, again and again.

What is in the file tells how far it is; nothing else is kept. So it may be killed at any moment.
That it follows stands in its header page, from the beginning: nobody else can write to it.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, Self

from dobbin_like.contract import Storage, Transaction, is_packed, is_storage
from dobbin_like.exc import (
    CopyError,
    DivergedError,
    PastDroppedError,
    SnapshotDroppedError,
    StreamMovedError,
)
from dobbin_like.ids import NO_TID, Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.mistaken.arguments import check_callables, checked_path, wrong_type
from dobbin_like.storages.as_of import AsOf, Pin
from dobbin_like.store import Progress
from dobbin_like.texts import counted
from dobbin_like.upkeep.copy import Transfer
from dobbin_like.upkeep.snapshot import sequence_of, write_beginning

_LOCK_SECONDS: Final = 10.0
"""How long to wait for another process that follows to the same file, before it is told."""


_OWN: Final = (
    "it is a log of its own, and does not follow another; give a path where nothing is, or the "
    "file of an earlier call"
)


class FollowReport(NamedTuple):
    """What a follower has: its transactions, up to ``tid``; ``copied``: how many came now."""

    path: str
    transactions: int
    copied: int
    tid: Tid

    def __str__(self) -> str:
        return (
            f"{self.path}: {counted(self.transactions, 'transaction')} "
            f"({self.copied:,} of them new); as of tid {self.tid}"
        )


class _FollowingLog(TransactionLog):
    """A log that follows another, as the one that writes to it has it open."""

    _follows = True


class Follower:
    """A file that has the first transactions of *source*, and gets those that are missing.

    The same tids, oids, annotations, failed transactions and streams. If a pack has dropped some
    of the first ones, and the source is no file, the new file begins with all that is there now,
    as one transaction (above 4 GiB, several). A context manager; one thread. Others may read the
    file meanwhile, with ``read_only=True``, and see what comes. Only one process may follow to it.

    Packs of a log in PostgreSQL keep what is not in the file yet, as long as the follower is not
    closed; if it is killed, for a day.

    When ``close()`` returns, what was copied is on stable storage. If the process is killed,
    everything copied before is there; if the machine is, nearly everything, and the next call goes
    on from there. Streams that it has written of one more transaction stay in the file, and are
    written once more.

    Args:
        source: Any storage; it is only read.
        path: Of a file that is not there, is empty, or follows the same source.
        progress: Called with objects that were read or written, and all there are to be, if the
            file begins with more than the first transaction.

    Raises:
        CopyError: The file is a log of its own, or that of *source*; or *source* is a file that
            was packed, or a pack has dropped something that is not in the file.
        DivergedError: It has transactions that *source* does not have.
        It may raise what opening a log raises, and what *source* raises.
    """

    def __init__(
        self, source: Storage, path: str | os.PathLike[str], progress: Progress | None = None
    ) -> None:
        check_callables(progress=progress)
        if not is_storage(source):
            raise wrong_type(source, "source", "a storage, as db.storage is")
        path = checked_path("path", path)
        self._source = source
        is_new = _check_path(source, path)
        # How many transactions are in the file, and the last tid; None: it is to be found out.
        self._copied: tuple[int, Tid] | None
        self._pin: Pin | None = None
        if is_new and source.complete_since and not isinstance(source, TransactionLog):
            self._pin = _write_all(source, path, progress)
        self._target = _FollowingLog(path, sync=False, lock_timeout=_LOCK_SECONDS)
        try:
            self._beginning = self._find_beginning()
            self._check_source()
            self._copied = self._begin()
            self._move_pin()
            self._check_source()  # It may have been packed before that.
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Bring what was copied to stable storage, and close the file; not the source."""
        self._target.close()
        if self._pin is not None:
            self._pin.release()

    def _move_pin(self) -> None:
        """Let packs drop what is in the file."""
        source, older = self._source, self._pin
        self._pin = Pin(source, self._target.tid)
        if older is not None:
            older.release()
        if is_packed(source):
            source.drop_generations(self._target.tid)

    def catch_up(self, progress: Progress | None = None) -> FollowReport:
        """Copy what was committed to the source up to now.

        Args:
            progress: Called with the transactions that were copied, and all there are to copy.

        Raises:
            CopyError: The source was packed, as above; or another process follows to the file,
                too.
            LogMovedError: The source is not at its path any more. What was in it is copied.
            HistoryLostError: The source has lost transactions. Open it again, and make a new
                follower: that finds out whether they are in the file.
            OSError: They could not be written. Those before are there.

        It may raise what the source raises. It may be called again after ServerUnavailableError,
        and after KeyboardInterrupt.
        Cost: What is new, read and written once.
        """
        check_callables(progress=progress)
        source, target = self._source, self._target
        if source.has_news():
            source.apply(source.read_news())
        self._check_source()
        if self._copied is None:
            self._copied = self._begin()
        begin, total = len(target), len(source) - len(target) - self._ahead
        transfer = Transfer(source, target, self._ahead)
        for logged in source.transactions(target.tid, source.tid):
            self._append(transfer, logged)
            if progress is not None:
                progress(len(target) - begin, total)
        self._move_pin()
        if isinstance(source, TransactionLog):  # One for reading goes on with a file that is gone.
            source.check_path()
        return FollowReport(target.path, len(target), len(target) - begin, target.tid)

    def compare(self, progress: Progress | None = None) -> None:
        """Compare everything in the file with the source, every byte, but what a pack dropped.

        Args:
            progress: Called with the transactions that were compared, and all there are.

        Raises:
            DivergedError: There is a difference; it says which. The file is not changed.

        Cost: Both are read.
        """
        source, target = self._source, self._target
        transfer, until = Transfer(source, target, self._ahead), target.tid
        since = max(source.complete_since, target.complete_since)
        pin = Pin(source, since)
        try:
            self._compare(transfer, since, until, progress)
        finally:
            pin.release()

    def _compare(
        self, transfer: Transfer, since: Tid, until: Tid, progress: Progress | None
    ) -> None:
        source, target = self._source, self._target
        each = (storage.transactions(since, until) for storage in (source, target))
        pairs = zip_longest(*each)
        same = since
        for done, pair in enumerate(pairs, 1):
            if found := transfer.difference(*pair):
                self._refuse(same, found)
            same = (pair[0] or pair[1]).tid
            if progress is not None:
                progress(done, len(target))

    # -- copying -------------------------------------------------------------------

    def _begin(self) -> tuple[int, Tid]:
        """Make the file if it is not there; return what is in it, which the source has, too."""
        with self._held():
            if not self._target.is_follower:  # Somebody else has made it meanwhile.
                raise CopyError(self._target.path, _OWN)
            there = len(self._target), self._target.tid
        self._check_last()
        return there

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        target = self._target
        if target.held:  # Since a call that was interrupted.
            target.release()
        target.acquire()
        try:
            target.apply(target.read_news())
            yield
        finally:
            target.release()

    def _append(self, transfer: Transfer, logged: Transaction) -> None:
        target = self._target
        with self._held():
            if (len(target), target.tid) != self._copied:
                reason = "another process follows to it, too; let one of them do it"
                raise CopyError(target.path, reason)
            self._copied = None  # If this is interrupted, it may be there or not.
            transfer.append(logged)
            target.apply(target.read_news())
            if (len(target) + self._ahead, target.tid) != (logged.sequence, logged.tid):
                reason = f"transaction {logged.tid} could not be recorded; see the messages before"
                raise CopyError(target.path, reason)
            self._copied = len(target), logged.tid

    def _find_beginning(self) -> Transaction | None:
        """Return the transaction that has all that was in the source when the file was made."""
        target = self._target
        since = target.complete_since
        return next(target.transactions(until=since, newest_first=True), None) if since else None

    @property
    def _ahead(self) -> int:
        """By how much the numbers of transactions in the source are higher."""
        beginning = self._beginning
        return sequence_of(beginning) - beginning.sequence if beginning is not None else 0

    # -- checking ------------------------------------------------------------------

    def _check_source(self) -> None:
        source = self._source
        # The pack of a file gives transactions other numbers.
        is_file = isinstance(source, TransactionLog)
        if source.complete_since > (NO_TID if is_file else self._target.tid):
            instead = "use dobbin backup with" if is_file else "follow to"
            reason = (
                f"{source.path} was packed, so that its past is not the past of a follower; what "
                f"is in this file stays; to go on, {instead} another path"
            )
            raise CopyError(self._target.path, reason)

    def _check_last(self) -> None:
        """Raise DivergedError if the last transaction is not in the source, and so all before."""
        last = next(self._target.transactions(newest_first=True), None)
        if last is None or self._is_in_source(last):
            return
        later, common = self._later()
        are = "transaction is" if later == 1 else f"{later} transactions are"
        self._refuse(common, f"its last {are} not in the source")

    def _refuse(self, common: Tid, found: str) -> NoReturn:
        raise DivergedError(self._target.path, self._source.path, common, found)

    def _is_in_source(self, logged: Transaction) -> bool:
        source = self._source
        while True:
            try:
                return self._is_there(logged)
            except PastDroppedError:
                news = source.read_news()
                if not news:
                    raise
                source.apply(news)  # A pack was faster.

    def _is_there(self, logged: Transaction) -> bool:
        source, ahead, beginning = self._source, self._ahead, self._beginning
        if beginning is not None and logged.tid <= beginning.tid:  # Or a part of it.
            logged = beginning
        tid = logged.tid
        found = next(source.transactions(Tid(tid - 1), tid), None)
        if tid <= source.complete_since:  # A pack has left a part of it, or nothing.
            return found is None or found.sequence == logged.sequence + ahead
        if logged is beginning:
            return found is not None and found.sequence == logged.sequence + ahead
        transfer = Transfer(source, self._target, ahead)
        return not transfer.difference(found, logged, streams=False)

    def _later(self) -> tuple[int, Tid]:
        """Return how many of the last transactions are not in the source, and the tid before."""
        newest = self._target.transactions(newest_first=True)
        known: list[Transaction] = []
        # As few questions as possible: the server may be far away.
        step = 1
        while True:
            more = [*islice(newest, step)]
            known += more
            if len(more) < step or self._is_in_source(known[-1]):
                break
            step *= 2
        later = bisect_left(known, True, key=self._is_in_source)
        return later, known[later].tid if later < len(known) else NO_TID


def _write_all(source: Storage, path: str, progress: Progress | None) -> Pin:
    """Write all that is in *source* to a new file; return what keeps the rest from packs."""
    while True:
        pin = Pin(source, source.tid)
        try:
            # Another process that follows to the path may be faster: then its file serves.
            with (
                contextlib.closing(AsOf(source, source.tid)) as now,
                contextlib.suppress(FileExistsError),
            ):
                write_beginning(now, path, progress)
        except (PastDroppedError, SnapshotDroppedError, StreamMovedError):
            # A pack was faster than the pin, or has dropped what nothing refers to.
            pin.release()
            source.apply(source.read_news())
        except BaseException:
            pin.release()
            raise
        else:
            return pin


def _check_path(source: Storage, path: str) -> bool:
    """Return whether nothing is at a path; before it is opened for writing.

    CopyError: A file is there that may be needed.
    """
    is_source = os.path.realpath(path) == os.path.realpath(source.path)
    with contextlib.closing(LogFile(path, read_only=True)) as file:
        with contextlib.suppress(FileNotFoundError):
            file.open()
            is_source = is_source or Path(path).samefile(source.path)
        if is_source:
            raise CopyError(path, "this is the source itself")
        if file.page is not None and not file.page.follows:
            raise CopyError(path, _OWN)
        return file.page is None
