"""The reading half of a log in memory: what is applied, what is new, one version of one object.

Knows no lock but to ask it. Read :mod:`.memory` next.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import attrgetter
from types import TracebackType
from typing import Any, Self

from dobbin_like.contract import NO_NAMES
from dobbin_like.exc import ClosedError, NotHeldError
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.name_tables import NameTables
from dobbin_like.storages.memory_data import MemoryTransaction, MemoryVersion, Shared

__all__ = ["ReadableMemory"]

_tid_of = attrgetter("tid")


class ReadableMemory:
    """A log in memory as its readers see it. Any thread; for news see read_news() and apply()."""

    def __init__(self, shared: Shared) -> None:
        self.path = shared.path
        self.sort_key = f"dobbin_like:{shared.path}"
        self.closed = False
        self._shared = shared
        # What is applied: the newest transaction, the newest version by oid, the classes.
        self._head = shared.ground.head
        self._newest: dict[Oid, MemoryVersion] = {}
        self.names = NameTables(*shared.ground.names)
        self.apply(self.read_news())

    def __len__(self) -> int:
        """Return the number of transactions applied, successful and failed."""
        return self._head.sequence

    def __bool__(self) -> bool:
        """Return True: an empty log is a log."""
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self)} transactions"
        return f"<{type(self).__name__} {self.path}, {state}>"

    def close(self) -> None:
        """End this instance; others go on. Idempotent."""
        self.closed = True

    # -- what is applied -------------------------------------------------------

    @property
    def tid(self) -> Tid:
        """Of the newest applied transaction, successful or failed; 0: there is none."""
        return self._head.tid

    @property
    def complete_since(self) -> Tid:
        """The tid from which on the past is whole; 0: nothing was ever dropped."""
        return self._shared.ground.complete_since

    @property
    def oid_count(self) -> int:
        """Number of objects stored."""
        return self._head.oid_count

    @property
    def next_oid(self) -> Oid:
        """The first oid that was never used."""
        return self._head.next_oid

    # -- news ------------------------------------------------------------------

    def has_news(self) -> bool:
        """Return whether others have committed what is not applied yet. Cost: two reads."""
        if self.closed:
            self._check_open()
        return self._shared.transactions[-1] is not self._head

    def read_news(self) -> list[MemoryTransaction]:
        """Return the committed transactions that are not applied, oldest first.

        Applies nothing. Failed transactions are among them. Cost: their number.
        """
        self._check_open()
        first = self._shared.transactions[0].sequence
        return self._shared.transactions[self._head.sequence - first + 1 :]

    def apply(self, news: Iterable[MemoryTransaction]) -> None:
        """Let *news* be applied: what read_news() or prepare() returned, in order.

        Raises:
            NotHeldError: One is missing between. Those before it are applied.

        Cost: The oids in them.
        """
        for logged in news:
            if logged.sequence != self._head.sequence + 1:
                found = f"transaction {self._head.sequence + 1}, not {logged.sequence}"
                raise NotHeldError(self.path, "apply()", found)
            if logged.names is not NO_NAMES:
                self.names.update(*logged.names)
            self._newest.update(zip(logged.oids, logged.versions))  # noqa: B905  failed: none
            # Last: whoever sees the new tid finds the new versions.
            self._head = logged

    # -- reading ---------------------------------------------------------------

    def has(self, oid: Oid) -> bool:
        """Return whether there is an object with this oid."""
        return self.load(oid) is not None

    def load(self, oid: Oid, at: Tid | None = None) -> Any:
        """Return the newest applied version of an object, or the newest up to *at*.

        Returns:
            None if there is no such object, or was none then.

        Cost: The versions newer than *at*.
        """
        if self.closed:
            self._check_open()
        version = self._newest.get(oid)
        if at is not None:
            while version is not None and version.tid > at:
                version = version.before
        if version is None:
            return self._shared.ground.load(oid, at)
        return version

    def stream_size(self, offset: int) -> int:
        """Return the size of a stored stream in bytes. Raises IntegrityError: there is none."""
        self._check_open()
        data = self._shared.streams.get(offset)
        return self._shared.ground.stream_size(offset) if data is None else len(data)

    def read_stream(self, offset: int, start: int, size: int) -> bytes:
        """Return up to *size* bytes of a stored stream; fewer at its end.

        Raises:
            IntegrityError: There is none.
        """
        self._check_open()
        data = self._shared.streams.get(offset)
        if data is None:
            return self._shared.ground.read_stream(offset, start, size)
        start = max(start, 0)
        return data[start : start + max(size, 0)]

    def version_before(self, oid: Oid, stored: Any) -> Any:
        """Return the version of an object that *stored* has replaced, None if it was the first."""
        self._check_open()
        ground = self._shared.ground
        if not self._is_here(stored):
            return ground.version_before(oid, stored)
        return ground.load(oid, None) if stored.before is None else stored.before

    def transactions(
        self, since: Tid = NO_TID, until: Tid | None = None, *, newest_first: bool = False
    ) -> Iterator[Any]:
        """Yield the applied transactions after *since*, up to *until*, with the failed ones.

        Oldest first, or newest first. Those that are applied later are not among them.
        """
        self._check_open()
        return self._transactions(since, until, self._head, newest_first=newest_first)

    def _transactions(
        self, since: Tid, until: Tid | None, head: MemoryTransaction, *, newest_first: bool
    ) -> Iterator[Any]:
        until = head.tid if until is None else min(until, head.tid)
        below = self._shared.ground.transactions(since, until, newest_first=newest_first)
        here = self._shared.transactions
        end = bisect_right(here, until, key=_tid_of)
        # The first one stands for what lies below.
        begin = min(max(1, bisect_right(here, since, key=_tid_of)), end)
        if newest_first:
            yield from reversed(here[begin:end])
            yield from below
        else:
            yield from below
            yield from here[begin:end]

    def transaction_of(self, stored: Any) -> Any:
        """Return the transaction that has written a version."""
        self._check_open()
        if not self._is_here(stored):
            return self._shared.ground.transaction_of(stored)
        here = self._shared.transactions
        return here[stored.position - here[0].sequence]

    def entries(self, logged: Any) -> Iterator[tuple[Oid, Any]]:
        """Yield the objects of a transaction with their states."""
        self._check_open()
        if self._is_here(logged):
            yield from zip(logged.oids, logged.versions)  # noqa: B905  failed: none
        else:
            yield from self._shared.ground.entries(logged)

    # -- inside ----------------------------------------------------------------

    def _is_here(self, what: Any) -> bool:
        """Tell whether a version or transaction is of this log, and not of what lies below."""
        return bool(what.tid > self._shared.ground.head.tid)

    def _check_open(self) -> None:
        if self.closed:
            text = f"the log {self.path}"
            raise ClosedError(text)
