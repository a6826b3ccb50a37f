"""What a storage has promised: which transactions must be there, which may, and which must not.

Each commit has a number, which stands in ``user`` and in each state. The model is told when one
begins, and how it ends; it is shown what each instance reads, and tells what is wrong with it:

* *ghost*: a transaction that has failed, or that nobody has made;
* *order*: instances do not see the same transactions in the same order, or one is missing between;
* *lost*: one is not there that was acknowledged, or was shown to somebody;
* *early*: one is shown that a power cut could still take away, by an instance that syncs;
* *torn*: a state is not what was stored;
* *conflict*: a commit has changed an object of which it had read an older version.

Knows only the contract of storages. Read :mod:`dobbin_like.testing.instance` next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import NamedTuple

from dobbin_like.contract import Storage, Transaction
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.testing.faults import FoundFault

__all__ = ["Commit", "Model", "ShownTransaction", "body", "shown"]


class ShownTransaction(NamedTuple):
    """A transaction as an instance has shown it."""

    tid: Tid
    number: int
    failed: bool
    oids: tuple[int, ...]


class Commit:
    """A commit as it was asked for. ``outcome`` is flying, acked, failed, or doubt."""

    def __init__(self, *, synced: bool, read: dict[int, int], is_gone: Callable[[], bool]) -> None:
        self._synced = synced
        self._is_gone = is_gone
        self.read = read
        self.outcome = "flying"

    @property
    def synced(self) -> bool:
        """Whether it has to be durable before it is seen.

        Of one that died before it was told, another makes of it what it likes.
        """
        return self._synced and (self.outcome == "acked" or not self._is_gone())


def body(number: int, oid: int) -> bytes:
    """Return the state that the commit of a number stores of an object."""
    size = (number * 7919 + oid * 31) % 97 if number % 5 else 900
    return b"%d %d " % (number, oid) + Random(number * 64 + oid).randbytes(size)


def shown(transaction: Transaction) -> ShownTransaction:
    """Return what counts of a transaction."""
    number = int(transaction.user or -1)
    oids = tuple(transaction.oids)
    return ShownTransaction(transaction.tid, number, transaction.failed, oids)


class Model:
    """What is known of one log. ``dropped`` is the tid up to which a pack may have dropped some.

    ``lossy`` says that the disk may lose what was not synced though nothing was restarted.
    """

    def __init__(self) -> None:
        self.commits: dict[int, Commit] = {}
        self.known: dict[Tid, ShownTransaction] = {}  # Acknowledged, or shown to somebody.
        self.newest_shown: Tid = Tid(0)
        self.dropped: Tid = Tid(0)
        self.lossy = False
        self._acked: list[Tid] = []
        self._durable = Tid(0)

    # -- what programs do ----------------------------------------------------------

    def begin(
        self,
        number: int,
        *,
        synced: bool,
        read: dict[int, int],
        is_gone: Callable[[], bool] = lambda: False,
    ) -> None:
        """Note that a commit is about to be appended.

        Args:
            read: The tids that it has read, by oid.
            is_gone: Tells whether its process was killed.
        """
        self.commits[number] = Commit(synced=synced, read=read, is_gone=is_gone)

    def ack(self, number: int, transaction: Transaction) -> None:
        """Note that a commit was acknowledged."""
        commit = self.commits[number]
        commit.outcome = "acked"
        tid = transaction.tid
        self.known[tid] = ShownTransaction(tid, number, failed=False, oids=tuple(transaction.oids))
        if commit.synced or not self.lossy:
            self._acked.append(tid)
        if commit.synced:
            self._durable = max(self._durable, tid)

    def end(self, number: int, outcome: str) -> None:
        """Note that a commit has failed, or is in doubt."""
        self.commits[number].outcome = outcome

    def packed(self, tid: Tid) -> None:
        """Note that a pack may have dropped transactions up to *tid*."""
        self.dropped = max(self.dropped, tid)

    @property
    def newest_acked(self) -> Tid:
        """Up to here, whoever looks from now on has to see all."""
        return max(self._acked, default=Tid(0))

    @property
    def newest_durable(self) -> Tid:
        """Up to here, all is there after a power cut as well."""
        return self._durable

    # -- what instances show -------------------------------------------------------

    def look(
        self,
        seen: Sequence[ShownTransaction],
        who: str,
        must: Tid,
        *,
        since: Tid = NO_TID,
        live: bool = True,
    ) -> None:
        """Compare what an instance shows with what it may show.

        Args:
            seen: All its transactions above *since*, oldest first.
            must: The tid up to which all has to be there.
            live: It is no image: what it shows was shown.
        """
        tid = since
        for one in seen:
            if one.tid <= tid:
                self._broken("ORDER", who, f"tid {one.tid} after {tid}")
            tid = one.tid
            self._look_at(one, who)
        if tid < must:
            lost = [one for t, one in sorted(self.known.items()) if tid < t <= must]
            self._broken("LOST", who, f"ends at {tid}; not there: {lost[:3]}")
        there = {one.tid for one in seen}
        floor = max(since, self.dropped)
        missing = [t for t in self.known if floor < t <= tid and t not in there]
        if missing:
            self._broken("ORDER", who, f"{missing[:3]} not there, and {tid} is")
        self._look_for_conflicts(seen, who)
        if live:
            for one in seen:
                self.known.setdefault(one.tid, one)
                if not one.failed and self.commits[one.number].synced:
                    self._durable = max(self._durable, one.tid)
            self.newest_shown = max(self.newest_shown, tid)

    def _look_at(self, one: ShownTransaction, who: str) -> None:
        known = self.known.get(one.tid)
        if known is not None:
            if known != one and not (self._may_be_dropped(one, known)):
                self._broken("ORDER", who, f"{one}, and {known} was shown before")
            return
        if one.tid <= self.newest_shown:
            self._broken("ORDER", who, f"{one} is new, and {self.newest_shown} was shown before")
        if one.failed:
            return
        commit = self.commits.get(one.number)
        if commit is None or commit.outcome == "failed":
            outcome = "unknown" if commit is None else commit.outcome
            self._broken("GHOST", who, f"{one} is {outcome}")
        elif commit.outcome == "acked":
            self._broken("TWICE", who, f"{one} was acknowledged with another tid")

    def _may_be_dropped(self, one: ShownTransaction, known: ShownTransaction) -> bool:
        """Return whether they differ by objects alone that a pack has dropped from one."""
        oids, others = set(one.oids), set(known.oids)
        part = oids <= others or others <= oids
        return part and one.tid <= self.dropped and one[:3] == known[:3]

    def _look_for_conflicts(self, seen: Sequence[ShownTransaction], who: str) -> None:
        fresh = [one for one in seen if one.tid not in self.known and not one.failed]
        if not fresh:
            return
        # As they were shown before: a pack may have dropped objects of them since.
        history = {one.tid: one for one in (*seen, *self.known.values())}
        newest: dict[int, int] = {}
        first = fresh[0].tid
        for tid, one in sorted(history.items()):
            if one.failed:
                continue
            if tid >= first:
                read = self.commits[one.number].read
                old = {oid: newest.get(oid, 0) for oid in one.oids if oid in read}
                if old != {oid: read[oid] for oid in old}:
                    self._broken("CONFLICT", who, f"{one} read {read}, was {old}")
            newest.update(dict.fromkeys(one.oids, tid))

    def look_at_states(self, storage: Storage, seen: Iterable[Transaction], who: str) -> None:
        """Compare the states that transactions have stored with what was asked for."""
        for transaction in seen:
            if transaction.failed:
                continue
            number = shown(transaction).number
            for oid, stored in storage.entries(transaction):
                if stored.data != body(number, oid):
                    self._broken("TORN", who, f"oid {oid} of commit {number}")

    def look_at_newest(self, storage: Storage, who: str) -> None:
        """Compare the newest version of each object with the history that is known."""
        newest: dict[int, ShownTransaction] = {}
        for tid, one in sorted(self.known.items()):
            if tid <= storage.tid and not one.failed:
                newest.update(dict.fromkeys(one.oids, one))
        for oid, one in newest.items():
            stored = storage.load(Oid(oid))
            if stored is None or stored.tid < one.tid:
                self._broken("LOST", who, f"oid {oid} of {one}: {stored}")
            elif stored.tid == one.tid and stored.data != body(one.number, oid):
                self._broken("TORN", who, f"oid {oid} of {one}")

    # -- from one life to the next ----------------------------------------------------

    def restart(self, seen: Sequence[ShownTransaction]) -> list[int]:
        """Go on after a power cut, with what is there; return the numbers that may be tried again.

        What is not there will never be.
        """
        there = {one.tid: one for one in seen}
        kept = {t: one for t, one in self.known.items() if t in there or t <= self.dropped}
        self.known = kept | there
        numbers = {one.number for one in self.known.values() if not one.failed}
        again = []
        for number, commit in self.commits.items():
            if number not in numbers:
                if commit.outcome in ("flying", "doubt"):
                    again.append(number)
                commit.outcome = "failed"
        last = max(self.known, default=Tid(0))
        self._acked = [tid for tid in self._acked if tid in self.known]
        self._durable = self.newest_shown = last
        return again

    @staticmethod
    def _broken(what: str, who: str, text: str) -> None:
        message = f"{what} {who}: {text}"
        raise FoundFault(message)
