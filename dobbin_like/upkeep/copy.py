"""Copying all transactions of a storage to another one, of whatever kind; and comparing them.

Transactions keep their tids, objects their oids, classes and shapes their numbers. Only the keys
of streams are those that the other storage gives.
"""

from __future__ import annotations

from itertools import zip_longest
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from dobbin_like.contract import Entry, Storage, StoredVersion, Transaction, is_storage
from dobbin_like.exc import CopyError
from dobbin_like.ids import DELTA, NO_TID, Oid, Tid
from dobbin_like.mistaken.arguments import check_callables, wrong_type
from dobbin_like.objects.codec.delta_base import with_base
from dobbin_like.objects.codec.stream_keys import stored_stream, stream_key_of, with_stream_key
from dobbin_like.objects.faces.stream import StoredBytes
from dobbin_like.storages.as_of import Pin
from dobbin_like.store import Progress
from dobbin_like.texts import counted

_PIECE: Final = 1 << 20
"""Bytes of streams that are compared at once."""

_told = attrgetter("tid", "failed", "reason", "user", "description", "extension")


class CopyReport(NamedTuple):
    """The result of a copy: what is in both, and how many transactions were copied this time."""

    path: str
    transactions: int
    copied: int
    versions: int
    streams: int
    tid: Tid

    def __str__(self) -> str:
        transactions = counted(self.transactions, "transaction")
        return (
            f"{self.path}: {transactions} ({self.copied} of them new) "
            f"with {counted(self.versions, 'version')} and {counted(self.streams, 'stream')}, "
            f"compared up to tid {self.tid}"
        )


def copy_transactions(
    source: Storage, target: Storage, progress: Progress | None = None
) -> CopyReport:
    """Copy what *source* has applied and *target* has not, and compare all of it.

    *target* is empty, or has the first transactions of *source*: a copy that was broken off, or an
    earlier one. Nobody else may write to it. Others may commit to *source* meanwhile; a pack drops
    nothing.

    Args:
        progress: Called with the transactions that were copied or compared, and all there are.

    Raises:
        CopyError: *target* is *source*, or has other transactions; or *source* was packed, so
            that its past is not whole; or they differ after the copy. What was copied stays.

    Cost: *source* is read twice, *target* once; one commit for each transaction.
    """
    check_callables(progress=progress)
    for name, given in ("source", source), ("target", target):
        if not is_storage(given):
            raise wrong_type(given, name, "a storage, as db.storage is")
    if _is_same(source, target):
        raise CopyError(target.path, "it is the source itself; give another one")
    if source.complete_since:
        reason = f"{source.path} was packed, its past is not whole; copy it without history"
        raise CopyError(target.path, reason)
    pin = Pin(source, NO_TID)
    try:
        return _Copy(source, target, progress).run()
    finally:
        pin.release()


def _is_same(source: Storage, target: Storage) -> bool:
    """Return whether both are instances over the same data, and not over copies of it."""
    if source.sort_key != target.sort_key:
        return False
    try:
        return Path(source.path).samefile(target.path)
    except (OSError, ValueError):  # They are no files.
        return source.path == target.path


class _Copy:
    """One copy, of what *source* has applied when it is made."""

    def __init__(self, source: Storage, target: Storage, progress: Progress | None) -> None:
        self._source = source
        self._target = target
        self._transfer = Transfer(source, target)
        self._progress = progress
        self._done = 0
        self._until, self._count = source.tid, len(source)

    def run(self) -> CopyReport:
        source, target, transfer = self._source, self._target, self._transfer
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
        counts = self._count, self._count - begin, transfer.versions, transfer.streams
        return CopyReport(target.path, *counts, self._until)

    def _catch_up(self, then: Transaction | None = None) -> None:
        """Apply all that is in the target, and append a transaction."""
        target = self._target
        target.acquire()
        try:
            target.apply(target.read_news())
            if then is not None:
                self._transfer.append(then)
        finally:
            target.release()

    def _compare(self) -> None:
        pairs = zip_longest(
            self._source.transactions(until=self._until), self._target.transactions()
        )
        for pair in pairs:
            if found := self._transfer.difference(*pair):
                self._refuse(found)
            self._tick()

    def _refuse(self, reason: str) -> None:
        raise CopyError(self._target.path, reason)

    def _tick(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, 2 * self._count)


class Transfer:
    """Appends and compares transactions of two storages.

    The target has the first transactions of the source, or a few for all of them.

    ``versions`` counts what was compared. One thread.

    Args:
        ahead: By how much the numbers of transactions in the source are higher.
    """

    def __init__(self, source: Storage, target: Storage, ahead: int = 0) -> None:
        self._source = source
        self._target = target
        self._ahead = ahead
        self._carried: dict[int, int] = {}  # Keys in the target by those in the source.
        self._compared: dict[int, int] = {}
        self.versions: int = 0

    @property
    def streams(self) -> int:
        """How many streams were compared."""
        return len(self._compared)

    # -- appending -----------------------------------------------------------------

    def append(self, logged: Transaction) -> None:
        """Append a transaction of the source to the target, which is held and has all before."""
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
        if stored.number & DELTA and self._target.complete_since:
            return oid, stored.number, self._delta(stored, self._target.load(oid))
        key, names = self._stream(stored)
        if key is None:
            return oid, stored.number, stored.data
        if key not in self._carried:
            self._carried[key] = self._carry(oid, stored, key)
        return oid, stored.number, with_stream_key(stored.data, names, self._carried[key])

    def _carry(self, oid: Oid, stored: StoredVersion, key: int) -> int:
        """Return the key that a stream has in the target, where it is written if need be."""
        # What names the same bytes as the version before was carried with that.
        before, there = self._source.version_before(oid, stored), self._target.load(oid)
        if before is not None and there is not None and self._stream(before)[0] == key:
            carried = self._stream(there)[0]
            if carried is not None:
                return carried
        read = cast("BinaryIO", StoredBytes(self._source, key))
        return self._target.write_stream(read)[0]

    def _delta(self, stored: StoredVersion, before: StoredVersion | None) -> bytes:
        """Return a delta as the target has it, where *before* is what it changes.

        The beginning of a follower has other tids than the versions that are in it.
        """
        if before is None or before.tid > self._target.complete_since:
            return stored.data
        return with_base(stored.data, before.tid)

    def _stream(self, stored: StoredVersion) -> tuple[int | None, tuple[str, ...] | None]:
        """Return the key of the stream of a state, and what is needed to change it."""
        # The numbers are the same in both.
        return stored_stream(self._source.names, stored.number, stored.data)

    # -- comparing -----------------------------------------------------------------

    def difference(
        self, ours: Transaction | None, theirs: Transaction | None, *, streams: bool = True
    ) -> str:
        """Return how a transaction of the target differs from that of the source; empty: not.

        Args:
            streams: Whether the bytes of streams are compared; if not, only their sizes are.
        """
        if ours is None or theirs is None or _told(ours) != _told(theirs):
            return f"it has {theirs}, expected {ours}"
        if ours.sequence != theirs.sequence + self._ahead:
            expected = ours.sequence - self._ahead
            return f"transaction {ours.tid} is number {theirs.sequence}, expected {expected}"
        if (list(ours.oids), ours.names) != (list(theirs.oids), theirs.names):
            return f"transaction {ours.tid} is not the same"
        if ours.failed:
            return ""
        pairs = zip(self._source.entries(ours), self._target.entries(theirs), strict=True)
        found = (self._version_differs(*pair, streams=streams) for pair in pairs)
        return next(filter(None, found), "")

    def _version_differs(
        self,
        ours: tuple[Oid, StoredVersion],
        theirs: tuple[Oid, StoredVersion],
        *,
        streams: bool,
    ) -> str:
        self.versions += 1
        (oid, one), (other_oid, other) = ours, theirs
        data = one.data
        if one.number & DELTA and self._target.complete_since:
            data = self._delta(one, self._target.version_before(other_oid, other))
        key, names = self._stream(one)
        there = None if key is None else stream_key_of(other.data, names)
        if key is not None and there is not None:
            data = with_stream_key(data, names, there)
            if not self._is_same_stream(key, there, streams=streams):
                return f"the stream {key} is not the same"
        if (oid, one.number, data) != (other_oid, other.number, other.data):
            return f"oid {oid} of transaction {one.tid} is not the same"
        return ""

    def _is_same_stream(self, key: int, there: int, *, streams: bool) -> bool:
        if key in self._compared:
            return True
        size = self._source.stream_size(key)
        if size != self._target.stream_size(there):
            return False
        for start in range(0, size if streams else 0, _PIECE):
            read = self._source.read_stream(key, start, _PIECE)
            if read != self._target.read_stream(there, start, _PIECE):
                return False
        self._compared[key] = there
        return True
