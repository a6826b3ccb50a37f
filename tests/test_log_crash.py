"""Deaths, power cuts, damage and full disks: what is left is always a prefix."""

from __future__ import annotations

import contextlib
import errno
import io
import multiprocessing
import os
import random
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dobbin_like.conformance.steps import catch_up
from dobbin_like.exc import (
    FormatVersionError,
    IntegrityError,
    NotALogError,
)
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.file import range_lock
from dobbin_like.log.format import header
from dobbin_like.log.format.header import DURABLE, PAGE_SIZE, WORD_COUNT, WORD_SIZE, WORDS_OFFSET
from dobbin_like.log.reading import chain
from dobbin_like.log.reading.chain import whole_frames
from tests.data import small_log
from tests.helpers.interrupts import interrupted
from tests.helpers.limits import at_most
from tests.helpers.log_files import NOTHING_DURABLE, tids, with_words, without_word, word_in
from tests.helpers.processes import forked, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dobbin_like.log import LoggedTransaction
    from dobbin_like.log.reading.reader import Frame

fork = multiprocessing.get_context("fork")
WAIT_SECONDS = 30
DATA = Path(__file__).parent / "data"


def commit(log: TransactionLog, oid: int, data: bytes, *, decided: bool = True) -> int:
    log.acquire()
    try:
        log.apply(log.read_news())
        entries = [(Oid(oid), 1, data)]
        if decided:
            logged = log.append(Tid(log.tid + 1), entries)
        else:
            logged = log.prepare(Tid(log.tid + 1), entries)
            log.decide()
        log.apply([logged])
        return logged.tid
    finally:
        log.release()


def writes_on(path: Path) -> None:
    """The next writer continues, and what it commits is there."""
    before = tids(path)
    with TransactionLog(path, sync=False) as log:
        tid = commit(log, 7, b"goes on")
        end = log._reading.applied.tail.end
    assert path.stat().st_size == end
    after = tids(path)
    assert after[: len(before)] == before
    assert after[-1] == tid


@pytest.fixture
def small(path: Path) -> bytes:
    """The bytes of a log in which everything occurs."""
    small_log.write(str(path), b"stream", sync=False)
    return path.read_bytes()


def ends_of(path: Path) -> list[int]:
    with TransactionLog(path, read_only=True) as log:
        return [entry.end for entry in log.transactions()]


# -- cut at every byte ----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("rest", [b"", bytes(100)], ids=["", "zeros"])
def test_a_power_cut_leaves_a_prefix_wherever_the_file_ends(
    path: Path, small: bytes, rest: bytes
) -> None:
    """With zeros behind it, too, as they are written ahead."""
    ends, whole = ends_of(path), tids(path)
    for cut in range(PAGE_SIZE, len(small)):
        path.write_bytes(with_words(small[:cut], **NOTHING_DURABLE) + rest)

        # The last bytes of a frame only fill it up.
        expected = whole[
            : sum(end <= cut or bool(rest and not any(small[cut:end])) for end in ends)
        ]
        assert tids(path) == expected, cut
        writes_on(path)
        assert tids(path)[:-1] == expected, cut


@pytest.mark.slow
def test_a_committed_file_that_was_cut_is_an_error_and_stays_as_it_is(
    path: Path, small: bytes
) -> None:
    for cut in range(PAGE_SIZE, len(small), 5):
        path.write_bytes(small[:cut])

        with pytest.raises(IntegrityError):
            tids(path)
        with pytest.raises(IntegrityError), TransactionLog(path, sync=False) as log:
            commit(log, 0, b"x")
        assert path.stat().st_size == cut


def test_a_file_cut_under_an_open_log_is_an_error_for_writers(path: Path, small: bytes) -> None:
    with TransactionLog(path, sync=False) as log:
        os.truncate(path, len(small) - 10)
        with pytest.raises(IntegrityError):
            log.acquire()
        assert not log.held
        assert path.stat().st_size == len(small) - 10


def test_a_header_cut_at_any_byte_is_an_error_and_not_an_empty_log(
    path: Path, small: bytes
) -> None:
    for cut in range(1, PAGE_SIZE, 7):
        path.write_bytes(small[:cut])

        with pytest.raises(IntegrityError):
            TransactionLog(path)
        assert path.read_bytes() == small[:cut]


@pytest.mark.parametrize("size", [0, 30, WORDS_OFFSET, WORDS_OFFSET + 12])
@pytest.mark.parametrize("read_only", [True, False])
def test_who_has_a_log_open_that_is_cut_is_told_each_time(
    path: Path, small: bytes, size: int, *, read_only: bool
) -> None:
    """A log without any bytes was taken for one without news."""
    path.write_bytes(small)
    with TransactionLog(path, read_only=read_only) as log:
        applied = len(log)
        os.truncate(path, size)

        for _ in range(2):
            assert log.has_news()
            with pytest.raises(IntegrityError, match="the end of the file"):
                log.read_news()
        assert len(log) == applied


# -- flipped bits ---------------------------------------------------------------------


@pytest.mark.slow
def test_a_flipped_bit_is_an_error_or_has_no_effect(path: Path, small: bytes) -> None:
    with TransactionLog(path, read_only=True) as log:
        whole = small_log.content(log)
    bits = [
        bit
        for bit in range(len(small) * 8)
        # Of the zeros of the header page, a part will do.
        if bit >= PAGE_SIZE * 8 or small[bit // 8] or bit < 600 or bit % 61 == 0
    ]
    errors = 0
    with path.open("r+b", buffering=0) as file:
        for bit in bits:
            at = bit // 8
            os.pwrite(file.fileno(), bytes([small[at] ^ 1 << bit % 8]), at)
            try:
                with TransactionLog(path, read_only=True) as log:
                    found = small_log.content(log)
            except (IntegrityError, NotALogError, FormatVersionError):
                errors += 1
            else:
                assert found == whole, bit
            os.pwrite(file.fileno(), small[at : at + 1], at)
    # What has no effect are words, hints and filling bytes, and the slots of saved positions.
    assert errors > 0.9 * (len(small) - PAGE_SIZE) * 8


@pytest.mark.slow
def test_a_writer_never_cuts_on_account_of_a_flipped_bit(path: Path, small: bytes) -> None:
    places = list(range(WORDS_OFFSET, WORDS_OFFSET + WORD_COUNT * WORD_SIZE))
    places += list(range(PAGE_SIZE, len(small), 11))
    whole = tids(path)
    for at in places:
        for bit in range(8):
            damaged = bytearray(small)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            with contextlib.suppress(IntegrityError):
                with TransactionLog(path, sync=False) as log:
                    commit(log, 7, b"goes on")
                if at < PAGE_SIZE:
                    assert tids(path)[:-1] == whole
            assert path.stat().st_size >= len(small)
            left = bytearray(path.read_bytes()[: len(small)])
            assert left[PAGE_SIZE:] == damaged[PAGE_SIZE:]


@pytest.mark.parametrize("index", range(WORD_COUNT))
def test_a_word_that_is_not_believed_is_put_right(path: Path, small: bytes, index: int) -> None:
    whole = tids(path)
    path.write_bytes(without_word(small, index))

    assert tids(path) == whole
    writes_on(path)

    assert tids(path)[:-1] == whole
    if index != header.WAITING:  # A hint, which is written by whoever waits.
        assert word_in(path.read_bytes(), index) is not None


@pytest.mark.parametrize("index", range(WORD_COUNT))
def test_a_word_that_is_damaged_under_open_logs_is_put_right_by_the_next_holder(
    path: Path, small: bytes, index: int
) -> None:
    whole = tids(path)
    with TransactionLog(path) as log, TransactionLog(path, read_only=True) as reader:
        with path.open("r+b") as file:
            file.write(without_word(small, index)[:PAGE_SIZE])
        tid = commit(log, 0, b"goes on")
        catch_up(reader)
        assert [entry.tid for entry in reader.transactions()] == [*whole, tid]


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("torn", [b"torn" * 100, bytes(4000) + b"torn"])
def test_where_nothing_says_what_is_durable_nothing_is_cut(
    path: Path, small: bytes, torn: bytes, *, read_only: bool
) -> None:
    path.write_bytes(without_word(small, DURABLE) + torn)
    before = path.read_bytes()

    with pytest.raises(IntegrityError):
        TransactionLog(path, read_only=read_only)

    assert path.read_bytes() == before


@pytest.mark.parametrize("read_only", [False, True])
def test_all_words_and_any_frame_damaged_are_an_error_and_never_a_shorter_log(
    path: Path, small: bytes, *, read_only: bool
) -> None:
    with TransactionLog(path, read_only=True) as log:
        *offsets, _last = [entry.offset for entry in log.transactions()]
    for offset in offsets:  # That of the last one looks like one that was not written whole.
        damaged = bytearray(small)
        damaged[WORDS_OFFSET : WORDS_OFFSET + WORD_COUNT * WORD_SIZE] = bytes(8 * WORD_COUNT)
        damaged[offset + 40] ^= 1
        path.write_bytes(damaged)

        with pytest.raises(IntegrityError):
            TransactionLog(path, read_only=read_only)

        assert path.read_bytes() == damaged


def test_a_damaged_state_hurts_only_who_reads_it(path: Path, small: bytes) -> None:
    at = small.rindex(b"three" * 20)
    path.write_bytes(small[:at] + b"T" + small[at + 1 :])

    with TransactionLog(path, sync=False) as log:
        assert log.load(Oid(0)) is not None
        assert log.load(Oid(3)) is not None
        with pytest.raises(IntegrityError):
            log.load(Oid(3), Tid(1003))
        commit(log, 0, b"goes on")


def test_damage_between_committed_transactions_stops_the_reader_there(
    path: Path, small: bytes
) -> None:
    with TransactionLog(path, read_only=True) as log:
        third = list(log.transactions())[2]
    damaged = bytearray(small)
    damaged[third.offset + 40] ^= 1
    path.write_bytes(small[: third.offset])
    ends = dict.fromkeys(NOTHING_DURABLE, third.offset)
    path.write_bytes(with_words(small[: third.offset], SAVED=0, **ends))
    with TransactionLog(path) as writer, TransactionLog(path, read_only=True) as log:
        path.write_bytes(damaged)
        for _ in range(2):
            with pytest.raises(IntegrityError) as caught:
                log.read_news()
        assert len(log) == 2
        assert log.load(Oid(0)) is not None
        with pytest.raises(IntegrityError):
            writer.acquire()
        assert not writer.held
        assert path.read_bytes() == damaged
    assert (caught.value.path, caught.value.offset) == (str(path), third.offset)


def test_a_log_that_went_back_is_an_error(path: Path) -> None:
    log = TransactionLog(path, sync=False)
    commit(log, 0, b"1")
    earlier = path.read_bytes()
    commit(log, 0, b"2")
    with path.open("r+b") as file:
        file.write(earlier)
        file.truncate()

    with pytest.raises(IntegrityError, match="as read before"):
        log.read_news()
    with pytest.raises(IntegrityError, match="or after"):
        log.acquire()
    with pytest.raises(OSError, match="ends at"):  # What was committed is not durable.
        log.close()
    assert log.closed
    assert path.read_bytes()[PAGE_SIZE:] == earlier[PAGE_SIZE:]


# -- recovery ---------------------------------------------------------------------------


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_whole_transaction_behind_the_end_is_adopted(
    path: Path, *, failed: bool, read_only: bool
) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"before")
        end = path.stat().st_size
        if failed:
            log.acquire()
            log.fail(Tid(log.tid + 1), "why")
            log.release()
        else:
            commit(log, 0, b"whole")
    data = with_words(path.read_bytes(), **dict.fromkeys(NOTHING_DURABLE, end))
    path.write_bytes(data)

    with TransactionLog(path, read_only=read_only) as log:
        *_, logged = log.transactions()
        assert len(log) == 2
        assert logged.failed is failed
        stored = log.load(Oid(0))
        assert stored is not None
        assert stored.data == (b"before" if failed else b"whole")
    if not read_only:
        assert word_in(path.read_bytes(), DURABLE) == path.stat().st_size == len(data)


def test_the_remains_of_a_longer_tail_never_follow_a_new_transaction(path: Path) -> None:
    """A truncation that did not reach the disk shows old frames behind new ones."""
    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"before")
        end = path.stat().st_size
        for number in range(3):
            commit(log, 0, b"old %d" % number)
        old = path.read_bytes()
    os.truncate(path, end)
    path.write_bytes(with_words(path.read_bytes(), **dict.fromkeys(NOTHING_DURABLE, end)))
    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"new 0")
        new_end = path.stat().st_size
    mixed = path.read_bytes()[:new_end] + old[new_end:]
    path.write_bytes(with_words(mixed, **dict.fromkeys(NOTHING_DURABLE, end)))

    assert len(tids(path)) == 2
    writes_on(path)
    assert len(tids(path)) == 3


def test_after_a_power_cut_what_was_durable_must_be_there(path: Path, small: bytes) -> None:
    damaged = bytearray(small)
    damaged[ends_of(path)[1] + 40] ^= 1
    path.write_bytes(with_words(bytes(damaged), SAVED=0))

    for read_only in (False, True):
        with pytest.raises(IntegrityError):
            TransactionLog(path, read_only=read_only)
    assert path.stat().st_size == len(small)


def test_where_frames_are_lost_in_the_midst_the_log_ends_before_them(
    path: Path, small: bytes
) -> None:
    """The disk writes in any order what was not synced; whole frames behind a gap are none."""
    whole, (*_, fourth, _fifth) = tids(path), ends_of(path)
    with TransactionLog(path, read_only=True) as log:
        offsets = [entry.offset for entry in log.transactions()]
    lost = small[: offsets[3]] + bytes(fourth - offsets[3]) + small[fourth:]
    path.write_bytes(with_words(lost, **NOTHING_DURABLE))

    assert tids(path) == whole[:3]
    writes_on(path)
    assert tids(path)[:-1] == whole[:3]


def test_after_a_power_cut_what_is_cut_off_is_told(
    path: Path, small: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(with_words(small[:-8], **NOTHING_DURABLE))

    tids(path)
    assert caplog.records == []
    TransactionLog(path, sync=False).close()

    assert [entry.levelname for entry in caplog.records] == ["WARNING"]
    assert str(path) in caplog.text


def test_a_reader_that_came_before_the_recovery_goes_on_behind_it(
    path: Path, small: bytes
) -> None:
    path.write_bytes(with_words(small[:-8], **NOTHING_DURABLE))
    with TransactionLog(path, read_only=True) as reader:
        assert len(reader) == 4
        assert reader.read_news() == []
        writes_on(path)
        assert reader.has_news()
        reader.apply(reader.read_news())
        assert not reader.has_news()
        assert reader.load(Oid(7)).data == b"goes on"  # type: ignore[union-attr]


def test_a_reader_that_opens_while_a_writer_comes_sees_what_is_durable(
    path: Path, small: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(small)
    logs: list[TransactionLog] = []

    def nobody_yet(fd: int, path: str, which: int) -> int | None:
        monkeypatch.undo()
        found = range_lock.holder(fd, path, which)
        writer = TransactionLog(path)
        writer.acquire()
        logs.append(writer)
        made.append(writer.append(Tid(writer.last_tid + 1), [(Oid(7), 1, b"late")], wait=False))
        writer.release()
        return found

    made: list[LoggedTransaction] = []
    before = tids(path)
    monkeypatch.setattr(range_lock, "holder", nobody_yet)
    with TransactionLog(path, read_only=True) as reader, logs[0] as writer:
        assert [logged.tid for logged in reader.transactions()] == before
        writer.confirm(made[0])
        catch_up(reader)
        assert [logged.tid for logged in reader.transactions()] == [*before, made[0].tid]


def test_a_writer_that_comes_while_a_reader_looks_for_the_end_leaves_no_damage(
    path: Path, small: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(small + bytes(2000))  # Of a writer that was killed.

    def found_before(*where: Any) -> Iterator[Frame]:
        yield from whole_frames(*where)
        monkeypatch.undo()
        with TransactionLog(path) as writer:
            commit(writer, 7, b"late")

    monkeypatch.setattr(chain, "whole_frames", found_before)
    with TransactionLog(path, read_only=True) as reader:
        assert reader.load(Oid(7)).data == b"late"  # type: ignore[union-attr]


@pytest.mark.parametrize("prepared", [False, True])
def test_what_is_told_after_an_interrupt_is_what_the_next_holder_finds(
    path: Path, tmp_path: Path, *, prepared: bool
) -> None:
    told = set()
    for number in range(1, 1000):
        path.unlink(missing_ok=True)
        with TransactionLog(path) as log:
            commit(log, 0, b"first")
            tid = Tid(100)
            log.acquire()
            if prepared:
                log.prepare(tid, [(Oid(0), 1, b"second")])
                hit = interrupted(log.decide, number)
            else:
                append = partial(log.append, tid, [(Oid(0), 1, b"second")])
                hit = interrupted(append, number)
            found = log.settle(tid)
            told.add(found is None)
            left = tmp_path / "left by one that was killed"
            left.write_bytes(path.read_bytes())
            log.release()
            if found is not None:
                log.confirm(found)
            assert [entry.tid for entry in log.read_news()] == [tid] * (found is not None)
        with TransactionLog(left) as log:
            commit(log, 1, b"third")
            counts = [entry.tid for entry in log.transactions() if not entry.failed]
        assert (tid in counts) == (found is not None)
        if not hit:
            assert told == {True, False}
            return
    pytest.fail("it never came to its end")


# -- kill -9 ------------------------------------------------------------------------------


def write_until_killed(path: Path, oid: int, tell: int, *, sync: bool) -> None:
    log = TransactionLog(path, sync=sync)
    count = 0
    while True:
        count += 1
        commit(log, oid, b"%d" % count + bytes(count * 37 % 5000), decided=count % 3 > 0)
        os.write(tell, count.to_bytes(8, "little"))


def last_told(reader: int) -> int:
    last = 0
    while data := os.read(reader, 8):
        last = int.from_bytes(data, "little")
    return last


@pytest.mark.slow
@pytest.mark.parametrize("sync", [True, False])
def test_a_killed_writer_loses_no_acknowledged_commit(path: Path, *, sync: bool) -> None:
    generator = random.Random(1)
    for _ in range(10):
        path.unlink(missing_ok=True)
        workers = []
        for oid in range(2):
            reader, tell = os.pipe()

            def write(oid: int = oid, reader: int = reader, tell: int = tell) -> None:
                os.close(reader)
                write_until_killed(path, oid, tell, sync=sync)

            worker = forked(write)
            os.close(tell)
            workers.append((worker, reader))
        first, others = workers[0], workers[1:]
        wanted = generator.randrange(1, 60)
        told = [0]
        while told[0] < wanted:
            data = os.read(first[1], 8)
            assert data, "the writer has ended by itself"
            told[0] = int.from_bytes(data, "little")
        for worker, _reader in workers:
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
        told[0] = max(told[0], last_told(first[1]))
        told += [last_told(reader) for _, reader in others]
        for _, reader in workers:
            os.close(reader)

        writes_on(path)
        with TransactionLog(path, read_only=True) as log:
            for oid, count in enumerate(told):
                stored = log.load(Oid(oid))
                found = 0 if stored is None else int(stored.data.split(b"\0")[0])
                assert found in (count, count + 1)
            assert len(tids(path)) == len(log)


def test_two_processes_that_create_the_log_at_once_share_it(path: Path) -> None:
    for _ in range(10):
        path.unlink(missing_ok=True)
        barrier = fork.Barrier(2)

        def create(oid: int, barrier: Any = barrier) -> None:
            with TransactionLog(path, sync=False) as log:
                barrier.wait(WAIT_SECONDS)
                commit(log, oid, b"%d" % oid)

        workers = [fork.Process(target=create, args=(oid,)) for oid in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(WAIT_SECONDS)
            assert worker.exitcode == 0
        with TransactionLog(path, read_only=True) as log:
            assert [log.load(Oid(oid)).data for oid in range(2)] == [b"0", b"1"]  # type: ignore[union-attr]


# -- full disks ---------------------------------------------------------------------------


def test_a_commit_that_does_not_fit_leaves_the_log_as_it_was(path: Path) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"fits")
        size = path.stat().st_size
        for room in (0, 1, 50, 100, 4000):
            with at_most(size + room), pytest.raises(OSError, match=str(path)) as caught:
                commit(log, 0, b"x" * 5000)
            assert caught.value.errno == errno.EFBIG
            assert caught.value.filename == str(path)
            assert not log.held
            assert path.stat().st_size == size
            assert tids(path) == [1]
        commit(log, 0, b"x" * 5000)
    assert tids(path) == [1, 2]


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_synced_commit_that_does_not_fit_leaves_the_log_as_it_was(path: Path, size: int) -> None:
    """Nor does it matter that there is no room for the zeros that are written ahead."""
    with TransactionLog(path) as log:
        commit(log, 0, b"fits")
        end = log._reading.applied.tail.end
        os.truncate(path, end)
        for decided in (True, False):
            with at_most(end + size // 2), pytest.raises(OSError, match=str(path)):
                commit(log, 0, b"x" * size, decided=decided)
            assert not log.held
            assert tids(path) == [1]
        with at_most(end + size + 200):
            assert commit(log, 0, b"x" * size) == 2
        assert commit(log, 0, b"x") == 3
    assert tids(path) == [1, 2, 3]
    assert path.stat().st_size < end + size + 1000


def test_a_stream_that_does_not_fit_leaves_the_log_as_it_was(path: Path) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"fits")
        size = path.stat().st_size
        log.acquire()
        source = io.BytesIO(bytes(100_000))
        with at_most(size + 80_000), pytest.raises(OSError, match=str(path)):
            log.write_stream(source)
        log.release()
        assert path.stat().st_size == size
        commit(log, 0, b"goes on")
    assert tids(path) == [1, 2]


def test_a_failure_that_does_not_fit_is_not_recorded(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"fits")
        size = path.stat().st_size
        log.acquire()
        with at_most(size + 10):
            log.fail(Tid(9), "why")
        log.release()
        assert log.read_news() == []
        assert path.stat().st_size == size
        assert "not recorded" in caplog.text


def test_a_log_that_does_not_fit_at_all_is_not_begun(path: Path) -> None:
    with TransactionLog(path, sync=False) as log:
        with at_most(1000), pytest.raises(OSError, match=str(path)):
            log.acquire()
        assert path.stat().st_size == 0
        commit(log, 0, b"x")
    assert tids(path) == [1]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="can't mount")
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=104k", "tmpfs", str(place)]
    if run(options, capture_output=True).returncode:
        pytest.skip("can't mount")
    try:
        path = place / "log"
        with TransactionLog(path) as log:
            with pytest.raises(OSError, match=str(path)) as caught:  # noqa: PT012
                for _ in range(100):
                    commit(log, 0, bytes(3000))
            assert caught.value.errno == errno.ENOSPC
            assert 10 < len(tids(path)) == len(log) < 35
            log.acquire()
            log.release()
    finally:
        run(["umount", str(place)], check=True)


# -- golden files -------------------------------------------------------------------------


def test_a_log_of_format_version_1_is_read(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(DATA / "v1-small.log", path)
    with TransactionLog(path, read_only=True) as log:
        content = small_log.content(log)

    assert caplog.messages == []  # Its saved positions serve.
    assert [entry[:8] for entry in content["transactions"]] == [
        (1000, 1, False, "/ ann", "begin", b"", "", [0]),
        (1001, 2, False, "", "", b'{"a": 1}', "", [1, 2]),
        (1002, 3, True, "ben", "", b"", "a conflict", [1]),
        (1003, 4, False, "", "", b"", "", [0, 3]),
        (1004, 5, False, "", "", b"", "", [3]),
    ]
    assert content["classes"] == [(1, "shop.models", "Cart"), (2, "shop.models", "Größe")]
    assert content["shapes"] == [(3, 1, ("items", "größe")), (4, 2, ())]
    assert content["stream"] == small_log.STREAM
    assert [found for oid, at, found in content["objects"] if at is None] == [
        (1003, 3, b"root again"),
        (1001, 2, content["objects"][6][2][2]),
        (1001, 1, b""),
        (1004, 1, b"3"),
    ]
    writes_on(path)


def test_the_bytes_of_a_log_of_version_1_are_written_as_they_were(path: Path) -> None:
    small_log.write(str(path))

    golden, new = (DATA / "v1-small.log").read_bytes(), path.read_bytes()

    # The first frame is chained to the identity of the store; lengths are the same.
    assert len(golden) == len(new)
    assert golden[PAGE_SIZE + 8 : PAGE_SIZE + 184] == new[PAGE_SIZE + 8 : PAGE_SIZE + 184]
    assert word_in(golden, DURABLE) == word_in(new, DURABLE) == len(new)
