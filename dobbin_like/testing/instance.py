"""An open log of a simulated process: all that it shows is held against the model.

Read :mod:`dobbin_like.testing.program` next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import cast

from dobbin_like.contract import Transaction
from dobbin_like.exc import LogPackedError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import LoggedTransaction, TransactionLog
from dobbin_like.log.format.header import APPENDED, FAILURES, WORD_SIZE, decode_word, word_offset
from dobbin_like.testing.disk import Disk
from dobbin_like.testing.faults import FoundFault
from dobbin_like.testing.model import Model, shown
from dobbin_like.testing.standins import SimulatedLock
from dobbin_like.testing.system import Process

__all__ = ["PATH", "Instance", "RunState", "stored_word"]

PATH = "/simulated/d.log"


@dataclass
class RunState:
    """What the programs of one run share.

    ``again`` has the numbers of commits that were lost, and may be tried again.
    """

    model: Model
    random: Random
    kinds: frozenset[str]
    number: int = 0
    again: list[int] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1

    def next_number(self) -> int:
        if self.again and self.random.random() < 0.7:
            return self.again.pop()
        self.number += 1
        return self.number


class Instance:
    """A log that is open in a process, shared by its threads."""

    def __init__(self, process: Process, shared: RunState, *, sync: bool, read_only: bool) -> None:
        self.process = process
        self.shared = shared
        self.sync = sync
        self.read_only = read_only
        self._lock = SimulatedLock(again=True)
        must = shared.model.newest_acked
        failed = self._failures()
        self.log: TransactionLog = TransactionLog(PATH, sync=sync, read_only=read_only)
        if failed[1] & 1 and not read_only and self._failures() == failed:
            text = "BROKEN opened: a sync had failed, and nothing was repaired"
            raise FoundFault(text)
        self._look_whole("opened" if not read_only else "opened to read", must)

    def _failures(self) -> tuple[int, int]:
        """Return the number of the file, and its word FAILURES."""
        disk = self.process.machine.disk
        if PATH not in disk.names:
            return 0, 0
        return disk.at(PATH).number, stored_word(disk, FAILURES)

    def look_behind(self) -> None:
        """Whoever holds the lock has nothing but zeros behind what it has appended."""
        disk = self.process.machine.disk
        if disk.at(PATH).data[stored_word(disk, APPENDED) :].strip(b"\0"):
            text = "REST own: there is something behind the last frame"
            raise FoundFault(text)

    def _look_whole(self, who: str, must: Tid) -> None:
        model, log = self.shared.model, self.log
        transactions = list(log.transactions())
        seen = [shown(one) for one in transactions]
        self._durable(transactions, who)
        model.look(seen, who, must)
        model.look_at_states(log, transactions, who)
        model.look_at_newest(log, who)

    def _durable(self, transactions: Sequence[Transaction], who: str) -> None:
        """Whatever an instance that syncs has made is durable when it is seen."""
        if self.shared.model.lossy and "loose" in self.shared.kinds:
            return
        for one in transactions:
            commit = self.shared.model.commits.get(shown(one).number)
            if one.failed or commit is None or not commit.synced:
                continue
            logged = cast("LoggedTransaction", one)
            start = logged.checksum.to_bytes(4, "little")
            for file in self.process.files():
                at, end = logged.offset, logged.end
                if file.data[at : at + 4] == start and file.is_certain(at, end):
                    break
            else:
                text = f"EARLY {who}: {shown(one)} is seen before it is durable"
                raise FoundFault(text)

    def catch_up(self, who: str = "news") -> None:
        """See what is new."""
        log, model = self.log, self.shared.model
        with self._lock:
            must = model.newest_acked
            while True:
                since = log.tid
                news = log.read_news() if log.has_news() else []
                if not news and not log.retired:
                    break
                self._durable(news, who)
                log.apply(news)
                model.look([shown(one) for one in news], who, Tid(0), since=since)
                model.look_at_states(log, news, who)
                if not news:
                    if log.generation == self._generation:
                        break
                    self._generation = log.generation
            log.drop_generations(None)
            if log.tid < must:
                text = f"LOST {who}: ends at {log.tid}, acknowledged up to {must}"
                raise FoundFault(text)

    _generation = 0

    def versions(self, oids: Sequence[int]) -> dict[int, int]:
        """Return the tids of the newest versions of objects."""
        with self._lock:
            stored = {oid: self.log.load(Oid(oid)) for oid in oids}
            return {oid: found.tid if found else 0 for oid, found in stored.items()}

    def acquire(self, *, settled: bool = False) -> None:
        """Take the commit lock, in whichever file the log goes on."""
        while True:
            try:
                self.log.acquire(settled=settled)
            except LogPackedError:
                self.catch_up("packed")
            else:
                self.look_behind()
                return


def stored_word(disk: Disk, index: int) -> int:
    """Return the value of a word of the log, 0 if it is damaged."""
    at = word_offset(index)
    return decode_word(index, bytes(disk.at(PATH).data[at : at + WORD_SIZE])) or 0
