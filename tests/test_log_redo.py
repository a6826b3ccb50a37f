"""The redo area: commits that are durable before the log itself has them."""

from __future__ import annotations

import gc
import io
import os
import random
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import transaction

from dobbin_like import checkout
from dobbin_like.check import check_log
from dobbin_like.database import Database
from dobbin_like.exc import IntegrityError, ReadOnlyStorageError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.file import disk
from dobbin_like.log.format import header, record
from dobbin_like.log.format.header import COMMITTED, DURABLE, PAGE_SIZE, REDO, REDO_BASE
from dobbin_like.log.writing.writer import Writer
from tests.helpers.amount import step
from tests.helpers.interrupts import interrupted
from tests.helpers.limits import at_most
from tests.helpers.log_files import tids, with_words, word_in
from tests.helpers.power import Disk, wait_for_no_disk
from tests.helpers.processes import exit_code, forked
from tests.helpers.redo import (
    area_of,
    commit,
    history,
    lose_log_from,
    open_log,
    with_area,
    words_of,
)
from tests.helpers.things import Thing

if TYPE_CHECKING:
    pass

History = list[tuple[int, bool]]
"""(tid, failed) of the transactions in a log, oldest first."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_no_disk(monkeypatch)


# -- making and using it ------------------------------------------------------------------


def test_an_area_is_made_after_some_synced_commits_and_only_once(path: Path) -> None:
    with open_log(path, after=8) as log:
        for number in range(7):
            commit(log, b"%d" % number)
        assert words_of(log)["REDO"] == 0
        commit(log, b"7")
        made = words_of(log)["REDO"]
        assert made
        with open_log(path, image=200) as other:
            for _ in range(30):
                commit(other, bytes(500))
        assert words_of(log)["REDO"] == made


def test_a_log_that_is_not_synced_gets_no_area(path: Path) -> None:
    with open_log(path, sync=False) as log:
        for _ in range(20):
            commit(log, b"x")
        assert words_of(log)["REDO"] == 0


def test_where_nothing_tells_a_power_cut_there_is_no_area(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dobbin_like.log.reading.readable.boot_number", lambda: 0)
    with open_log(path) as log:
        for _ in range(20):
            commit(log, b"x")
        assert words_of(log)["REDO"] == 0


def test_a_commit_into_the_area_syncs_a_range_and_not_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with with_area(path) as log:
        counted = Disk(path, monkeypatch)
        for number in range(10):
            commit(log, b"%d" % number)
        assert (counted.synced_ranges, counted.syncs) == (10, 0)
        start = path.stat().st_size
        assert words_of(log)["DURABLE"] == start


def test_a_full_image_costs_one_sync_of_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with with_area(path, image=1000) as log:
        counted = Disk(path, monkeypatch)
        for _ in range(27):
            commit(log, b"x" * 20)
        # 8 transactions of 112 bytes go into an image, the next one syncs the file.
        assert (counted.synced_ranges, counted.syncs) == (24, 3)
        assert words_of(log)["REDO_BASE"] == words_of(log)["DURABLE"] == path.stat().st_size


def test_what_does_not_fit_an_image_goes_to_the_log_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with with_area(path, image=1000) as log:
        counted = Disk(path, monkeypatch)
        commit(log, bytes(3000))
        assert (counted.synced_ranges, counted.syncs) == (1, 0)
        commit(log, b"small")
        commit(log, bytes(3000))
        # The image alone had the small one durable.
        assert (counted.synced_ranges, counted.syncs) == (2, 1)


def test_two_instances_share_one_image(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with with_area(path) as one, open_log(path) as other:
        counted = Disk(path, monkeypatch)
        for number in range(10):
            commit((one, other)[number % 2], b"%d" % number)
        assert counted.syncs == 0
        start = words_of(one)["REDO_BASE"]
        assert start is not None
        data = lose_log_from(path.read_bytes(), start)
    path.write_bytes(data)
    assert tids(path) == [1]
    assert tids(path, read_only=False) == list(range(1, 12))


def test_an_area_that_does_not_fit_the_disk_is_told_and_does_no_harm(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_log(path) as log:
        with at_most(6000):
            commit(log, b"first")
        assert "no redo area" in caplog.text
        assert path.stat().st_size == log._reading.applied.tail.end
        assert words_of(log)["REDO"] == 0
        commit(log, b"second")
        assert words_of(log)["REDO"]
    assert tids(path) == [1, 2]


def test_a_log_of_an_earlier_release_gets_an_area(path: Path) -> None:
    with open_log(path, sync=False) as log:
        commit(log, b"first")
    data = path.read_bytes()
    # Where the words of the area are, there were zeros.
    earlier = bytearray(data)
    for word in (REDO, REDO_BASE):
        earlier[word * 8 : word * 8 + 8] = bytes(8)
    path.write_bytes(earlier)
    assert check_log(path).ok or "REDO" not in str(check_log(path))
    with open_log(path) as log:
        commit(log, b"second")
        assert words_of(log)["REDO"]
        commit(log, b"third")
    assert tids(path) == [1, 2, 3]


def test_a_database_with_an_area_is_found_in_order(path: Path) -> None:
    manager = transaction.TransactionManager()
    with Database(open_log(path, image=3000), transaction_manager=manager) as database:
        database.set_root(Thing(number=0))
        for _ in range(30):
            manager.commit()
            checkout(database.root)
            database.root.number += 1
        manager.commit()
        report = check_log(path)
        assert report.ok, report
        assert words_of(database.storage)["REDO"]  # type: ignore[arg-type]
    with Database(path, transaction_manager=manager) as database:
        assert database.root.number == 30


# -- after a power cut --------------------------------------------------------------------


def test_what_the_log_lost_is_put_back_when_it_is_opened_for_writing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with with_area(path) as log:
        start = path.stat().st_size
        for number in range(5):
            commit(log, b"%d" % number)
        whole = path.read_bytes()
    path.write_bytes(lose_log_from(whole, start))
    caplog.set_level("INFO")

    with TransactionLog(path, read_only=True) as reader:
        assert len(reader) == 1
        with TransactionLog(path) as log:
            assert len(log) == 6
            assert log.load(Oid(0)).data == b"4"  # type: ignore[union-attr]
        assert path.read_bytes()[start:] == whole[start:]
        assert "5 transactions were put back" in caplog.text
        reader.apply(reader.read_news())
        assert len(reader) == 6
    assert check_log(path).bytes == len(whole)


@pytest.mark.parametrize("lost", [0, 1, 2, 3, 4])
def test_a_gap_in_the_log_is_filled_from_the_image(path: Path, lost: int) -> None:
    with with_area(path) as log:
        ends = [path.stat().st_size]
        for _ in range(5):
            commit(log, b"x" * 600)
            ends.append(path.stat().st_size)
        whole = path.read_bytes()
    gap = whole[: ends[lost]] + bytes(ends[lost + 1] - ends[lost]) + whole[ends[lost + 1] :]
    path.write_bytes(with_words(gap, BOOT=1))

    assert tids(path) == list(range(1, lost + 2))
    assert tids(path, read_only=False) == list(range(1, 7))
    assert path.read_bytes()[PAGE_SIZE:] == whole[PAGE_SIZE:]


def test_a_log_that_another_holds_is_opened_all_the_same(path: Path) -> None:
    with with_area(path) as log:
        start = path.stat().st_size
        commit(log, b"x")
        whole = path.read_bytes()
    path.write_bytes(lose_log_from(whole, start))
    with TransactionLog(path) as log:
        log.acquire()
        path_now = path.read_bytes()
        path.write_bytes(with_words(path_now, BOOT=1))
        with TransactionLog(path, read_only=True) as other:
            assert len(other) == 2
        opened: list[int] = []

        def open_it() -> None:
            with TransactionLog(path) as another:
                opened.append(len(another))

        thread = threading.Thread(target=open_it)
        thread.start()
        thread.join(30)
        assert opened == [2]
        log.release()


def test_a_reader_does_not_write_what_is_put_back(path: Path) -> None:
    with with_area(path) as log:
        start = path.stat().st_size
        commit(log, b"x")
        lost = lose_log_from(path.read_bytes(), start)
    path.write_bytes(lost)
    with TransactionLog(path, read_only=True) as log, pytest.raises(ReadOnlyStorageError):
        log.acquire()
    assert path.read_bytes() == lost
    report = check_log(path)
    assert "REDO" not in str(report)


def test_a_copy_made_while_others_commit_is_a_prefix_and_goes_on(path: Path) -> None:
    with with_area(path) as log:
        for number in range(5):
            commit(log, b"%d" % number)
        header_page = path.read_bytes()[:PAGE_SIZE]
        for number in range(5):
            commit(log, b"%d" % number)
        copy = header_page + path.read_bytes()[PAGE_SIZE:-50]
    for boot in ({}, {"BOOT": 1}):
        path.write_bytes(with_words(copy, **boot))
        assert len(tids(path)) >= 6
        with open_log(path) as log:
            commit(log, b"goes on")
        # With the image, what was cut off the copy is there after a start of the machine.
        assert len(tids(path)) == (12 if boot else 11)


def test_damage_in_the_image_does_no_harm_to_what_the_log_has(path: Path) -> None:
    with with_area(path) as log:
        ends = [path.stat().st_size]
        for _ in range(4):
            commit(log, b"x" * 50)
            ends.append(path.stat().st_size)
        area = area_of(log)
        whole = path.read_bytes()
    generator = random.Random(1)
    for at in [*range(area.start, area.start + 16), *range(area.start + 16, area.start + 600, 7)]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << generator.randrange(8)
        path.write_bytes(with_words(bytes(damaged), BOOT=1))
        assert tids(path) == [1, 2, 3, 4, 5]
        assert tids(path, read_only=False) == [1, 2, 3, 4, 5]
        assert path.read_bytes()[ends[0] :] == whole[ends[0] :]


@pytest.mark.parametrize("status", [record.PREPARED, record.FAILED])
def test_of_an_image_nothing_is_believed_that_is_not_committed(path: Path, status: int) -> None:
    with with_area(path) as log:
        start = path.stat().st_size
        commit(log, b"x")
        area = area_of(log)
        data = bytearray(lose_log_from(path.read_bytes(), start))
    at = area.start + record.IMAGE_SIZE + record.STATUS_OFFSET
    assert data[at : at + 4] == record.WORD.pack(record.COMMITTED)
    data[at : at + 4] = record.WORD.pack(status)
    path.write_bytes(with_words(bytes(data), DURABLE=start, COMMITTED=start))
    assert tids(path, read_only=False) == [1]


def test_acknowledged_transactions_that_are_nowhere_whole_are_an_error(path: Path) -> None:
    with with_area(path) as log:
        start = path.stat().st_size
        for _ in range(3):
            commit(log, b"x" * 50)
        area = area_of(log)
        damaged = bytearray(lose_log_from(path.read_bytes(), start))
    damaged[area.start + 16 + 160 + 60] ^= 1  # In the second transaction of the image.
    path.write_bytes(damaged)

    with TransactionLog(path) as log:
        assert len(log) >= 1
        with pytest.raises(IntegrityError):
            log.acquire()
    assert bytes(path.read_bytes()[area.start : start]) == bytes(damaged[area.start : start])


@pytest.mark.parametrize("word", ["REDO", "REDO_BASE", "DURABLE", "COMMITTED", "SAVED"])
@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_word_loses_nothing(path: Path, word: str, *, cut: bool) -> None:
    """With *cut*, the machine started anew and the end of the log is in the image only."""
    with with_area(path, image=3000) as log:
        start = path.stat().st_size
        for number in range(5):
            commit(log, b"%d" % number)
        whole = path.read_bytes()
    data = lose_log_from(whole, start) if cut else whole
    at = getattr(header, word) * 8
    path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])

    assert tids(path)[:1] == [1]
    with open_log(path, image=3000) as log:
        assert log.tid >= 1
        log.acquire()
        log.apply(log.read_news())
        log.release()
        assert len(log) == 6
        for number in range(60):
            commit(log, b"%d" % number)
        # The image is in use again, and in order.
        assert words_of(log)["REDO"]
        assert words_of(log)["REDO_BASE"]
        data = path.read_bytes()
        base = words_of(log)["REDO_BASE"]
    path.write_bytes(lose_log_from(data, base or 0))
    assert tids(path, read_only=False) == list(range(1, 67))


def test_a_damaged_redo_word_makes_commits_wait_for_the_log(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only the image has must not stay behind when nobody finds the image any more."""
    with with_area(path) as log:
        commit(log, b"in the image")
        words = log._reading.file.words
        assert words is not None
        words.view[REDO] ^= 4
        counted = Disk(path, monkeypatch)
        commit(log, b"in the log")
        assert counted.syncs >= 1
        assert counted.after_power_cut(random.Random(1))
        assert words_of(log)["REDO"]


# -- what is given up does not come back ---------------------------------------------------


def append_interrupted(log: TransactionLog, tid: int) -> None:
    """Append under the lock; the interrupt comes when all is written, before it is visible."""

    def interrupt(_writer: Writer) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Writer, "_finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            log.append(Tid(tid), [(Oid(0), 1, b"given up")])


def test_a_transaction_that_is_cut_off_is_overwritten_in_the_image(path: Path) -> None:
    with with_area(path) as log:
        commit(log, b"before")
        log.acquire()
        append_interrupted(log, 99)
        at = log._writing.writer.synced.at
        assert b"given up" in path.read_bytes()[at : at + 200]
        log.release()
        data = path.read_bytes()
        assert data[at : at + 8] == bytes(8)
        assert word_in(data, REDO_BASE) == 0
    path.write_bytes(with_words(data, BOOT=1))
    assert tids(path, read_only=False) == [1, 2]


def test_a_failing_disk_does_not_hide_what_is_committed_later(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The image keeps a transaction that was given up; what took its place is in the log."""
    with with_area(path) as log:
        log.acquire()
        append_interrupted(log, 50)
        with monkeypatch.context() as patch:

            def fails(*_args: object) -> None:
                raise OSError(5, "Input/output error")

            patch.setattr(disk, "write_synced", fails)
            log.release()
        assert "can't overwrite" in caplog.text
        commit(log, b"stays")
        data = path.read_bytes()
        assert b"given up" in data
    path.write_bytes(with_words(data, BOOT=1))
    assert tids(path, read_only=False) == [1, 2]
    with TransactionLog(path) as log:
        assert log.load(Oid(0)).data == b"stays"  # type: ignore[union-attr]


def test_a_stream_that_was_cut_off_never_hides_what_the_image_has(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole frame that had reached the disk before it was cut off is still on it."""
    with with_area(path, image=4080) as log:
        machine = Disk(path, monkeypatch)
        log.acquire()
        log.write_stream(io.BytesIO(b"x" * 100))
        stream = path.read_bytes()
        log.release()
        end = path.stat().st_size
        commit(log, b"stays")
        assert machine.syncs == 1  # Else the stream could be there in its place.
        assert len(stream) > end
        for seed in range(100):
            copy = machine.after_power_cut(random.Random(seed))
            path.with_name("copy").write_bytes(copy)
            assert tids(path.with_name("copy"), read_only=False) == [1, 2]


def test_a_stream_of_a_dead_writer_never_hides_what_the_image_has(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with with_area(path, image=4080) as log:
        machine = Disk(path, monkeypatch)

        def child() -> None:
            log.acquire()
            log.write_stream(io.BytesIO(b"x" * 100))
            os.kill(os.getpid(), signal.SIGKILL)

        assert exit_code(forked(child)) == -signal.SIGKILL
        machine.at_any_moment = lambda: None
        machine._note()
        commit(log, b"stays")
        for seed in range(100):
            copy = machine.after_power_cut(random.Random(seed))
            path.with_name("copy").write_bytes(copy)
            assert tids(path.with_name("copy"), read_only=False) == [1, 2]


def test_an_image_that_was_never_begun_is_not_gone_on_with(path: Path) -> None:
    """Others commit unsynced, and sync when they close: DURABLE is ahead of the base."""
    with with_area(path) as log:
        base = words_of(log)["REDO_BASE"]
        with open_log(path, sync=False) as other:
            commit(other, b"second")
        end = path.stat().st_size
        assert (words_of(log)["REDO_BASE"], words_of(log)["DURABLE"]) == (base, end)
        commit(log, b"third")
        commit(log, b"fourth")
        base = words_of(log)["REDO_BASE"]
        assert base is not None
        assert base > end
        data = path.read_bytes()
    path.write_bytes(lose_log_from(data, base))
    assert tids(path, read_only=False) == [1, 2, 3, 4]


# -- power cuts between any two system calls -----------------------------------------------


class Story:
    """Random work on one log, and what may be left of it at any moment."""

    def __init__(self, path: Path, seed: int, patch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.generator = random.Random(seed)
        self.disk = Disk(path, patch)
        self.written: History = []
        self.durable = 0  # How many of them were acknowledged with sync.
        self.doing = 0  # The tid that is on its way, 0: none.
        self.copies: list[tuple[bytes, History, int, int]] = []
        self.undecided: set[int] = set()
        self.share = 0.0
        self.disk.at_any_moment = self._moment
        self._tid = 0

    def _moment(self) -> None:
        if self.generator.random() < self.share:
            self.keep()

    def keep(self) -> None:
        copy = self.disk.after_power_cut(self.generator)
        self.copies.append((copy, list(self.written), self.durable, self.doing))

    def step(self, log: TransactionLog, *, sync: bool) -> None:
        generator = self.generator
        log.acquire()
        try:
            log.apply(log.read_news())
            self._tid += 1
            tid = self.doing = Tid(self._tid)
            data = generator.randbytes(generator.choice((10, 10, 300, 700, 3000)))
            if generator.random() < 0.15:
                size = generator.choice((100, 2000))
                data = b"stream %d %d" % log.write_stream(io.BytesIO(b"x" * size))
                if generator.random() < 0.3:
                    return
            decided = generator.random() < 0.7
            if not decided:
                self.undecided.add(tid)
            oid = Oid(generator.randrange(5))
            if decided:
                log.apply([log.append(tid, [(oid, 1, data)])])
                self._is_written(tid, sync=sync)
                return
            logged = log.prepare(tid, [(oid, 1, data)])
            what = generator.random()
            if what < 0.1:
                return
            if what < 0.25:
                failed = log.fail(tid, "a veto")
                assert failed is not None
                log.apply([failed])
                self.written.append((tid, True))
                return
            log.decide()
            log.apply([logged])
            self._is_written(tid, sync=sync)
        finally:
            log.release()
            self.doing = 0

    def _is_written(self, tid: Tid, *, sync: bool) -> None:
        self.written.append((tid, False))
        if sync:
            self.durable = len(self.written)

    def check(self, copy: bytes, written: History, durable: int, doing: int) -> None:
        """A prefix for readers; all that was acknowledged once a writer has opened it."""
        place = self.path.with_name("copy")
        place.write_bytes(copy)
        self._check_prefix(history(place, read_only=True), written, doing)
        self._check_prefix(history(place), written, doing)
        with TransactionLog(place) as log:
            log.acquire()
            log.apply(log.read_news())
            log.release()
        left = history(place, read_only=True)
        assert self._check_prefix(left, written, doing) >= durable, (left, written, durable)
        assert word_in(place.read_bytes(), COMMITTED) == place.stat().st_size

    def _check_prefix(self, left: History, written: History, doing: int) -> int:
        """Return how many of what was written is left; nothing else may be there."""
        same = 0
        while same < min(len(left), len(written)) and left[same] == written[same]:
            same += 1
        assert len(left) <= same + 1, (left, written, doing)
        for tid, failed in left[same:]:
            # A prepared one whose end did not reach the disk counts as failed.
            assert tid == doing or (failed and tid in self.undecided), (left, written, doing)
        return same


@pytest.mark.parametrize(
    "seed",
    [
        *range(25),
        *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(25, 400, step(5))),
    ],
)
def test_no_power_cut_loses_what_was_acknowledged_or_brings_back_what_was_given_up(
    path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        story = Story(path, seed, patch)
        generator = story.generator
        image = generator.choice((300, 1500, 5000))
        logs = [
            open_log(path, image=image, after=generator.choice((1, 3)), sync=sync)
            for sync in (True, True, False)
        ]
        chances = generator.choice(((5, 1, 1), (5, 0, 0), (2, 2, 0), (2, 1, 2)))
        for log in logs:
            log._writing.writer.save_after_entries = generator.choice((3, 1000))
        story.share = 0.15
        for _ in range(generator.randint(3, 25)):
            log = generator.choices(logs, chances)[0]
            story.step(log, sync=log is not logs[2])
        story.share = 0
        for _ in range(3):
            story.keep()
        story.disk.at_any_moment = lambda: None
        for log in logs:
            log.close()
    for copy in story.copies:
        story.check(*copy)


@pytest.mark.parametrize("seed", range(20))
def test_a_power_cut_during_the_recovery_from_one_loses_nothing(
    path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with with_area(path, image=3000) as log, monkeypatch.context() as patch:
        story = Story(path, seed, patch)
        story._tid = 1
        story.written = [(1, False)]
        story.durable = 1
        for _ in range(6):
            story.step(log, sync=True)
        for _ in range(5):
            story.keep()
    first, story.copies = story.copies, []
    for copy, written, durable, doing in first:
        path.write_bytes(copy)
        with monkeypatch.context() as patch:
            again = Story(path, seed, patch)
            again.written, again.durable, again.share = written, durable, 0.5
            again.doing, again.undecided = doing, story.undecided
            with TransactionLog(path) as log:
                log.acquire()
                log.release()
            again.share = 0
        for each in again.copies:
            again.check(*each)


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("veto", [True, False])
def test_an_interrupt_at_any_line_leaves_a_log_that_no_power_cut_harms(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    *,
    begun: bool,
    veto: bool,
) -> None:
    """With *begun*, the image has a transaction already; with *veto*, the new one fails."""

    def work(log: TransactionLog) -> None:
        try:
            log.acquire()
            log.apply(log.read_news())
            entries = [(Oid(0), 1, b"interrupted")]
            if veto:
                log.prepare(Tid(10), entries)
                log.fail(Tid(10), "a veto")
            else:
                log.apply([log.append(Tid(10), entries)])
        finally:
            log.release()

    generator = random.Random(1)
    gc.disable()  # What is freed by chance must not be where the interrupt hits.
    request.addfinalizer(gc.enable)
    for number in range(1, 1000):
        path.unlink(missing_ok=True)
        with with_area(path) as log, monkeypatch.context() as patch:
            if begun:
                commit(log, b"second")
            story = Story(path, number, patch)
            story.written = history(path, read_only=True)
            story.durable = len(story.written)
            story.doing, story.share = 10, 0.05
            story.undecided = {10}  # It may be found as failed, when it was cut off unsynced.
            if not interrupted(lambda log=log: work(log), number):  # type: ignore[misc]
                break
            story.keep()
            log.release()
            log.acquire()
            log.apply(log.read_news())
            log.release()
            before = history(path, read_only=True)
            assert before[: len(story.written)] == story.written
            assert [tid for tid, _ in before[len(story.written) :]] in ([], [10])
            story.written, story.doing = before, log.tid + 1
            tid = commit(log, b"after %d" % generator.randrange(10**6))
            story.written = [*before, (tid, False)]
            story.durable = len(story.written)
            story.keep()
            story.keep()
        for copy in story.copies[-5:]:
            story.check(*copy)
    else:
        raise AssertionError("it never came to its end")
    assert number > 50


# -- the file ----------------------------------------------------------------------------


def test_damage_to_the_frame_of_the_area_is_found_by_a_check(path: Path) -> None:
    with with_area(path) as log:
        commit(log, b"x")
        at = words_of(log)["REDO"]
    assert at is not None
    data = path.read_bytes()
    for offset, found in ((at + 40, True), (at + 48, True), (at + 4096, False)):
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
        problems = [problem for problem in check_log(path).problems if problem.invariant != 8]
        assert bool(problems) is found


def test_a_word_that_leads_nowhere_is_found_by_a_check(path: Path) -> None:
    with with_area(path) as log:
        commit(log, b"x")
    path.write_bytes(with_words(path.read_bytes(), REDO=4096))
    assert REDO * 8 in [problem.offset for problem in check_log(path).problems]


def test_a_writer_does_not_follow_a_redo_word_that_leads_nowhere(path: Path) -> None:
    with with_area(path) as log:
        commit(log, b"second")
        for number, wrong in enumerate((4096, 8, 1 << 40)):
            words = log._reading.file.words
            assert words is not None
            words.put(REDO, wrong)
            commit(log, b"%d" % number)
            commit(log, b"%d" % number)
            assert words.get(REDO) not in (wrong, 0)
        assert words.get(DURABLE) == path.stat().st_size
    assert tids(path) == list(range(1, 9))
    assert path.stat().st_size < 60_000
