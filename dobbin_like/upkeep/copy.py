"""Copying all transactions of a storage to another one, of whatever kind; and comparing them.

Transactions keep their tids, objects their oids, classes and shapes their numbers. Only the keys
of streams are those that the other storage gives.
"""

from __future__ import annotations

from itertools import zip_longest
from operator import attrgetter
from typing import BinaryIO, Final, NamedTuple, cast

from dobbin_like.contract import Entry, Storage, StoredVersion, Transaction
from dobbin_like.exc import CopyError
from dobbin_like.ids import Oid, Tid
from dobbin_like.objects.codec.state_reader import STREAM_CLASS
from dobbin_like.objects.faces.stream import StoredBytes
from dobbin_like.store import Progress
from dobbin_like.upkeep.stream_keys import class_and_names, stream_key_of, with_stream_key

_PIECE: Final = 1 << 20
"""Bytes of streams that are compared at once."""

_told = attrgetter("tid", "sequence", "failed", "reason", "user", "description", "extension")


class CopyReport(NamedTuple):
    """The result of a copy: what is in both, and how many transactions were copied this time."""

    path: str
    transactions: int
    copied: int
    versions: int
    streams: int
    tid: Tid

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.transactions} transactions ({self.copied} of them new) with "
            f"{self.versions} versions and {self.streams} streams, compared up to tid {self.tid}"
        )


def copy_transactions(
    source: Storage, target: Storage, progress: Progress | None = None
) -> CopyReport:
    """Copy what *source* has applied and *target* has not, and compare all of it.

    *target* is empty, or has the first transactions of *source*: a copy that was broken off, or an
    earlier one. Nobody else may write to it. Others may commit to *source* meanwhile.

    Args:
        progress: Called with the transactions that were copied or compared, and all there are.

    Raises:
        CopyError: *target* has other transactions; or *source* was packed, so that its past is not
            whole; or they differ after the copy. What was copied stays.

    Cost: *source* is read twice, *target* once; one commit for each transaction.
    """
    if source.complete_since:
        reason = f"{source.path} was packed, its past is not whole; copy it without history"
        raise CopyError(target.path, reason)
    return _Copy(source, target, progress).run()


class _Copy:
    """One copy, of what *source* has applied when it is made."""

    def __init__(self, source: Storage, target: Storage, progress: Progress | None) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._done = 0
        self._until, self._count = source.tid, len(source)
        self._versions = 0
        self._streams: dict[int, int] = {}  # Keys in the target by those in the source.

    def run(self) -> CopyReport:
        source, target = self._source, self._target
        self._catch_up()
        begin = len(target)
        last = next(source.transactions(until=target.tid, newest_first=True), None)
        if ((last.sequence, last.tid) if last else (0, 0)) != (begin, target.tid):
            self._refuse(f"it has other transactions than {source.path}; give an empty storage")
        for logged in source.transactions(target.tid, self._until):
            self._catch_up(logged)
            self._tick()
        self._catch_up()
        self._compare()
        counts = self._count, self._count - begin, self._versions, len(self._streams)
        return CopyReport(target.path, *counts, self._until)

    def _catch_up(self, then: Transaction | None = None) -> None:
        """Apply all that is in the target, and append a transaction."""
        target = self._target
        target.acquire()
        try:
            target.apply(target.read_news())
            if then is not None:
                self._append(then)
        finally:
            target.release()

    def _append(self, logged: Transaction) -> None:
        target = self._target
        user, description, extension = logged.user, logged.description, logged.extension
        if logged.failed:
            target.fail(
                logged.tid,
                logged.reason,
                user=user,
                description=description,
                extension=extension,
                oids=list(logged.oids),
            )
            return
        entries = [self._entry(*entry) for entry in self._source.entries(logged)]
        target.append(
            logged.tid,
            entries,
            *logged.names,
            user=user,
            description=description,
            extension=extension,
        )

    def _entry(self, oid: Oid, stored: StoredVersion) -> Entry:
        key, names = self._stream(stored)
        if key is None:
            return oid, stored.number, stored.data
        if key not in self._streams:
            read = cast("BinaryIO", StoredBytes(self._source, key))
            self._streams[key], _ = self._target.write_stream(read)
        return oid, stored.number, with_stream_key(stored.data, names, self._streams[key])

    def _stream(self, stored: StoredVersion) -> tuple[int | None, tuple[str, ...] | None]:
        """Return the key of the stream of a state, and what is needed to change it."""
        names = self._source.names
        number, attributes = class_and_names(names, stored.number)
        if names.class_name(number) != STREAM_CLASS:
            return None, None
        return stream_key_of(stored.data, attributes), attributes

    # -- comparing -----------------------------------------------------------------

    def _compare(self) -> None:
        pairs = zip_longest(
            self._source.transactions(until=self._until), self._target.transactions()
        )
        compared: dict[int, int] = {}
        for ours, theirs in pairs:
            if ours is None or theirs is None or _told(ours) != _told(theirs):
                self._refuse(f"it has {theirs}, expected {ours}")
            if (list(ours.oids), ours.names) != (list(theirs.oids), theirs.names):
                self._refuse(f"transaction {ours.tid} is not the same")
            if not ours.failed:
                versions = zip(
                    self._source.entries(ours), self._target.entries(theirs), strict=True
                )
                for pair in versions:
                    self._compare_version(*pair, compared)
            self._tick()
        self._streams = compared

    def _compare_version(
        self,
        ours: tuple[Oid, StoredVersion],
        theirs: tuple[Oid, StoredVersion],
        compared: dict[int, int],
    ) -> None:
        self._versions += 1
        (oid, one), (other_oid, other) = ours, theirs
        data = one.data
        key, names = self._stream(one)
        if key is not None:
            there = stream_key_of(other.data, names)
            if there is not None:
                data = with_stream_key(data, names, there)
                if key not in compared:
                    self._compare_stream(key, there)
                    compared[key] = there
        if (oid, one.number, data) != (other_oid, other.number, other.data):
            self._refuse(f"oid {oid} of transaction {one.tid} is not the same")

    def _compare_stream(self, key: int, there: int) -> None:
        size = self._source.stream_size(key)
        same = size == self._target.stream_size(there)
        for start in range(0, size if same else 0, _PIECE):
            read = self._source.read_stream(key, start, _PIECE)
            same = same and read == self._target.read_stream(there, start, _PIECE)
        if not same:
            self._refuse(f"the stream {key} is not the same")

    def _refuse(self, reason: str) -> None:
        raise CopyError(self._target.path, reason)

    def _tick(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, 2 * self._count)
