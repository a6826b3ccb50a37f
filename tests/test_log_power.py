"""Power cuts at any moment of random work: nothing that was acknowledged is lost, nothing torn."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING

import pytest

from dobbin_like.exc import InDoubtError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import TransactionLog
from tests.helpers.amount import step
from tests.helpers.log_files import tids
from tests.helpers.power import Disk, wait_for_no_disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dobbin_like.log import LoggedTransaction

_CHANCE = 0.06


class Work:
    """Random work on one log by some instances, and what may be left of it at any moment."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch, seed: int) -> None:
        wait_for_no_disk(patch)
        self.path = path
        self.chance = random.Random(seed)
        self.disk = Disk(path, patch)
        self.acknowledged: set[int] = set()
        self.written: set[int] = set()
        self.left: list[tuple[bytes, set[int], set[int]]] = []
        self.logs: list[TransactionLog] = []
        self.waiting: list[tuple[TransactionLog, LoggedTransaction]] = []
        self.disk.at_any_moment = self.note
        self.failing = False

    def note(self) -> None:
        if self.chance.random() < _CHANCE:
            image = self.disk.after_power_cut(self.chance)
            self.left.append((image, set(self.acknowledged), set(self.written)))

    def run(self, steps: int, *, failing: bool) -> None:
        self.failing = failing
        self.logs = [TransactionLog(self.path), TransactionLog(self.path, sync=False)]
        for _ in range(steps):
            if failing and self.chance.random() < 0.1:
                self.disk.fails_next = True
            self.step()
        self.disk.fails_next = False
        for log in self.logs:
            self.close(log)

    def close(self, log: TransactionLog) -> None:
        """Close a log; what it has not synced may be lost, and that is told."""
        try:
            log.close()
        except OSError:
            assert self.failing

    def step(self) -> None:
        log = self.chance.choice(self.logs)
        names = ("commit", "commit", "append", "decide", "fail", "stream", "confirm", "reopen")
        step: Callable[[TransactionLog], None] = getattr(self, self.chance.choice(names))
        try:
            step(log)
        except InDoubtError:
            pass
        except OSError:
            log.release()

    def begin(self, log: TransactionLog) -> tuple[Tid, list[tuple[Oid, int, bytes]]]:
        log.acquire()
        log.apply(log.read_news())
        tid = Tid(max(log.last_tid, *self.written, 0) + 1)
        self.written.add(tid)
        data = self.chance.randbytes(self.chance.choice((10, 400, 3000)))
        return tid, [(Oid(self.chance.randrange(5)), 1, data)]

    def end(self, log: TransactionLog, logged: LoggedTransaction) -> None:
        log.release()
        log.confirm(logged)
        if log is self.logs[0]:
            self.acknowledged.add(logged.tid)

    def commit(self, log: TransactionLog) -> None:
        self.end(log, log.append(*self.begin(log), wait=False))

    def append(self, log: TransactionLog) -> None:
        self.waiting.append((log, log.append(*self.begin(log), wait=False)))
        log.release()

    def decide(self, log: TransactionLog) -> None:
        logged = log.prepare(*self.begin(log))
        log.decide(wait=False)
        self.end(log, logged)

    def fail(self, log: TransactionLog) -> None:
        tid, entries = self.begin(log)
        if self.chance.random() < 0.5:
            log.prepare(tid, entries)
        log.fail(tid, "a veto")
        log.release()

    def stream(self, log: TransactionLog) -> None:
        tid, entries = self.begin(log)
        log.write_stream(io.BytesIO(self.chance.randbytes(self.chance.choice((10, 9000)))))
        if self.chance.random() < 0.7:
            self.end(log, log.append(tid, entries, wait=False))
        else:
            log.release()

    def confirm(self, _log: TransactionLog) -> None:
        if self.waiting:
            log, logged = self.waiting.pop()
            if not log.closed:
                log.confirm(logged)
                if log is self.logs[0]:
                    self.acknowledged.add(logged.tid)

    def reopen(self, log: TransactionLog) -> None:
        number = self.logs.index(log)
        self.close(log)
        self.disk.fails_next = False
        self.logs[number] = TransactionLog(self.path, sync=number == 0)


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize(
    "seeds",
    [range(6), pytest.param(range(6, 1000 // step(12)), marks=pytest.mark.slow)],
    ids=["some", "more"],
)
def test_a_power_cut_loses_nothing_that_was_acknowledged_and_leaves_nothing_torn(
    path: Path, monkeypatch: pytest.MonkeyPatch, seeds: range, *, failing: bool
) -> None:
    """With *failing*, syncs fail now and then, and what was written before may be lost."""
    left = 0
    for seed in seeds:
        path.unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            work = Work(path, patch, seed)
            work.run(25, failing=failing)
        for image, acknowledged, written in work.left:
            is_right(path, image, acknowledged, written)
        left += len(work.left)
    assert left > 3 * len(seeds)


def is_right(path: Path, image: bytes, acknowledged: set[int], written: set[int]) -> None:
    path.write_bytes(image)  # The same file, as its number tells.
    seen = tids(path) if image.strip(b"\0") else []
    assert acknowledged <= set(seen)
    assert set(seen) <= written
    assert seen == sorted(seen)
    with TransactionLog(path) as log:
        assert [logged.tid for logged in log.transactions()] == seen
        log.acquire()
        log.append(Tid(1 << 40), [(Oid(0), 1, b"goes on")])
        log.release()
    assert tids(path) == [*seen, 1 << 40]
