"""Deaths, power cuts, damage and full disks: what is left is always a prefix."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import random
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dobbin_like.conformance.harness import catch_up
from dobbin_like.exc import (
    FormatVersionError,
    IntegrityError,
    NotALogError,
)
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.format import header, record
from dobbin_like.log.format.header import BOOT, COMMITTED, DURABLE, PAGE_SIZE
from dobbin_like.log.writing.writer import Writer
from tests.data import small_log
from tests.helpers.interrupts import interrupted
from tests.helpers.limits import at_most
from tests.helpers.log_files import tids, with_words, word_in
from tests.helpers.power import crash
from tests.helpers.processes import forked, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dobbin_like.contract import Entry

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
        assert path.stat().st_size == log._reading.applied.tail.end
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
def test_a_torn_tail_leaves_a_prefix_wherever_it_is_cut(path: Path, small: bytes) -> None:
    ends, whole = ends_of(path), tids(path)
    for cut in range(PAGE_SIZE, len(small)):
        path.write_bytes(with_words(small[:cut], COMMITTED=PAGE_SIZE, DURABLE=PAGE_SIZE, SAVED=0))

        assert tids(path) == []
        writes_on(path)

        expected = whole[: sum(end <= cut for end in ends)]
        assert tids(path)[:-1] == expected, cut


@pytest.mark.slow
def test_a_power_cut_leaves_a_prefix_wherever_the_file_ends(path: Path, small: bytes) -> None:
    ends, whole = ends_of(path), tids(path)
    for cut in range(PAGE_SIZE, len(small)):
        path.write_bytes(with_words(small[:cut], BOOT=1, DURABLE=PAGE_SIZE))

        expected = whole[: sum(end <= cut for end in ends)]
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
    # What has no effect are words, hints and filling bytes, and all that lies aside.
    start = small.index(b"SAVE") - 8
    aside = int.from_bytes(small[start + 16 : start + 24], "little")
    assert errors > 0.9 * (len(small) - PAGE_SIZE - aside) * 8


@pytest.mark.slow
def test_a_writer_never_cuts_on_account_of_a_flipped_bit(path: Path, small: bytes) -> None:
    indexes = (COMMITTED, DURABLE, header.SAVED, BOOT, header.REDO, header.REDO_BASE)
    words = [word * 8 for word in indexes]
    places = [at + byte for at in words for byte in range(8)]
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


def test_without_the_committed_word_the_log_is_read_to_its_end(path: Path, small: bytes) -> None:
    whole = tids(path)
    path.write_bytes(small[: COMMITTED * 8] + bytes(8) + small[COMMITTED * 8 + 8 :])

    assert tids(path) == whole
    writes_on(path)


@pytest.mark.parametrize("index", [DURABLE, header.SAVED, BOOT, header.REDO, header.REDO_BASE])
def test_another_word_that_is_not_believed_is_put_right(
    path: Path, small: bytes, index: int
) -> None:
    whole = tids(path)
    path.write_bytes(small[: index * 8] + bytes(8) + small[index * 8 + 8 :] + b"torn")

    assert tids(path) == whole
    writes_on(path)

    assert tids(path)[:-1] == whole
    assert word_in(path.read_bytes(), index) is not None


def test_without_the_committed_word_nothing_is_cut(path: Path, small: bytes) -> None:
    torn = small[: COMMITTED * 8] + bytes(8) + small[COMMITTED * 8 + 8 :] + b"torn"
    path.write_bytes(torn)

    assert len(tids(path)) == 5
    with TransactionLog(path, sync=False) as log, pytest.raises(IntegrityError):
        log.acquire()
    assert path.read_bytes()[PAGE_SIZE:] == torn[PAGE_SIZE:]


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
    path.write_bytes(with_words(bytes(damaged), COMMITTED=third.offset))
    with TransactionLog(path, read_only=True) as log:
        path.write_bytes(with_words(bytes(damaged), SAVED=0))
        for _ in range(2):
            with pytest.raises(IntegrityError) as caught:
                log.read_news()
        assert len(log) == 2
        assert log.load(Oid(0)) is not None
    assert (caught.value.path, caught.value.offset) == (str(path), third.offset)


def test_a_log_that_went_back_is_an_error(path: Path) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"1")
        earlier = path.read_bytes()
        commit(log, 0, b"2")
        with path.open("r+b") as file:
            file.write(earlier)
            file.truncate()

        with pytest.raises(IntegrityError, match="as read before"):
            log.read_news()
        with pytest.raises(IntegrityError, match="as read before"):
            log.acquire()
    assert path.read_bytes()[PAGE_SIZE:] == earlier[PAGE_SIZE:]


# -- recovery ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "failed"),
    [(record.COMMITTED, False), (record.PREPARED, True), (record.FAILED, True)],
)
def test_a_whole_transaction_behind_the_end_is_adopted(
    path: Path, status: int, *, failed: bool
) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"before")
        end = path.stat().st_size
        commit(log, 0, b"whole")
    data = bytearray(with_words(path.read_bytes(), COMMITTED=end))
    data[end + 4 : end + 8] = record.WORD.pack(status)
    path.write_bytes(data)

    with TransactionLog(path) as log:
        assert len(log) == 1
        log.acquire()
        (logged,) = log.read_news()
        log.apply([logged])
        log.release()
        assert logged.failed is failed
        stored = log.load(Oid(0))
        assert stored is not None
        assert stored.data == (b"before" if failed else b"whole")
        assert log._reading.file.words.get(DURABLE) == path.stat().st_size  # type: ignore[union-attr]


def test_the_remains_of_a_longer_tail_never_follow_a_new_transaction(path: Path) -> None:
    """A truncation that did not reach the disk shows old frames behind new ones."""
    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"before")
        end = path.stat().st_size
        for number in range(3):
            commit(log, 0, b"old %d" % number)
        old = path.read_bytes()
        log.acquire()
        log._writing.writer._words.put(COMMITTED, end)
        os.truncate(path, end)
        log.release()
    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"new 0")
        new_end = path.stat().st_size
    mixed = path.read_bytes()[:new_end] + old[new_end:]
    path.write_bytes(with_words(mixed, BOOT=1, DURABLE=end, COMMITTED=new_end))

    assert len(tids(path)) == 2
    writes_on(path)
    assert len(tids(path)) == 3


def test_after_a_power_cut_what_was_durable_must_be_there(path: Path, small: bytes) -> None:
    damaged = bytearray(with_words(small, BOOT=1))
    damaged[ends_of(path)[1] + 40] ^= 1
    path.write_bytes(with_words(bytes(damaged), DURABLE=len(small), SAVED=0))

    with pytest.raises(IntegrityError):
        TransactionLog(path)
    path.write_bytes(with_words(small[:-8], BOOT=1, DURABLE=len(small)))
    with pytest.raises(IntegrityError), TransactionLog(path, sync=False) as log:
        log.acquire()
    assert path.stat().st_size == len(small) - 8


def test_after_a_power_cut_what_is_cut_off_is_told(
    path: Path, small: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(with_words(small[:-8], BOOT=1, DURABLE=PAGE_SIZE))

    with TransactionLog(path, sync=False) as log:
        assert caplog.records == []
        commit(log, 0, b"x")

    assert [entry.levelname for entry in caplog.records] == ["WARNING"]
    assert str(path) in caplog.text


def test_a_reader_that_came_before_the_recovery_goes_on_behind_it(
    path: Path, small: bytes
) -> None:
    path.write_bytes(with_words(small[:-8], BOOT=1, DURABLE=PAGE_SIZE))
    with TransactionLog(path, read_only=True) as reader:
        assert len(reader) == 4
        assert reader.read_news() == []
        writes_on(path)
        assert reader.has_news()
        reader.apply(reader.read_news())
        assert not reader.has_news()
        assert reader.load(Oid(7)).data == b"goes on"  # type: ignore[union-attr]


# -- power cuts ---------------------------------------------------------------------------


def write(
    choice: str,
    log: TransactionLog,
    tid: Tid,
    entries: Sequence[Entry],
    between: Callable[[], None],
) -> None:
    """Append a transaction, or prepare it; then decide it or let it fail after *between*."""
    if choice == "append":
        log.apply([log.append(tid, entries)])
        return
    logged = log.prepare(tid, entries)
    between()
    if choice == "decide":
        log.decide()
        log.apply([logged])
    else:
        assert log.fail(tid, "a veto")
        catch_up(log)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_a_power_cut_loses_no_synced_commit_and_leaves_a_prefix(
    path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = random.Random(seed)
    images: list[bytes] = []
    durable: list[int] = []  # Tids that were acknowledged with sync.
    written: list[int] = []

    def moment(*, synced: bool) -> None:
        if synced:
            images.clear()
        images.append(with_words_of_boot(path.read_bytes()))

    def with_words_of_boot(data: bytes) -> bytes:
        return with_words(data, BOOT=1)

    def before_finishing(writer: Writer) -> None:
        # What was written is synced, the words are not.
        moment(synced=writer is synced._writing.writer)
        finish(writer)

    finish = Writer._finish
    monkeypatch.setattr(Writer, "_finish", before_finishing)
    with TransactionLog(path) as synced, TransactionLog(path, sync=False) as unsynced:
        synced._writing.writer.save_after_entries = unsynced._writing.writer.save_after_entries = 3
        commit(synced, 0, b"first")
        written += [synced.tid]
        moment(synced=True)
        for _ in range(generator.randint(1, 12)):
            log = generator.choice((synced, unsynced))
            choice = generator.choice(("append", "append", "decide", "decide", "fail"))
            log.acquire()
            catch_up(log)
            tid = Tid(log.tid + 1)
            data = generator.randbytes(generator.choice((10, 400, 3000)))
            entries = [(Oid(generator.randrange(5)), 1, data)]
            write(choice, log, tid, entries, partial(moment, synced=log is synced))
            moment(synced=choice == "fail" and log is synced)
            if log is synced and choice != "fail":
                durable = [*written, tid]
            written.append(tid)
            log.release()
        copies = [crash(images, generator) for _ in range(20)]

    for copy in copies:
        path.write_bytes(copy)
        left = tids(path)
        assert left == written[: len(left)]
        writes_on(path)
        left = tids(path)[:-1]
        assert left == written[: len(left)]
        assert left[: len(durable)] == durable


def test_what_another_transaction_follows_was_decided(path: Path) -> None:
    with TransactionLog(path) as log:
        commit(log, 0, b"first")
        log.acquire()
        logged = log.prepare(Tid(log.tid + 1), [(Oid(1), 1, b"second")])
        before = path.read_bytes()
        log.decide()
        log.apply([logged])
        log.release()
        commit(log, 2, b"third")
        written = [entry.tid for entry in log.transactions()]
    behind = path.read_bytes()[len(before) :]

    path.write_bytes(before + behind)  # A copy that was made in two reads.
    writes_on(path)
    assert tids(path)[:-1] == written

    path.write_bytes(before + behind[:-1])  # The third was being written.
    writes_on(path)
    assert tids(path)[:-1] == written[:1]


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
            assert log.has_news() == (found is not None)
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


def test_a_stream_that_does_not_fit_leaves_the_log_as_it_was(path: Path) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"fits")
        size = path.stat().st_size
        log.acquire()
        with at_most(size + 10_000), path.with_name("source").open("w+b") as source:
            os.truncate(source.fileno(), 9000)
            log.write_stream(source)
            source.seek(0)
            with pytest.raises(OSError, match=str(path)):
                log.write_stream(source)
        log.release()
        assert path.stat().st_size == size


def test_a_failure_that_does_not_fit_is_not_recorded(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"fits")
        size = path.stat().st_size
        log.acquire()
        with at_most(size + 10):
            assert log.fail(Tid(9), "why") is None
        log.release()
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
            assert 10 < len(tids(path)) == len(log) < 25
            log.acquire()
            log.release()
            assert path.stat().st_size == log._reading.applied.tail.end
    finally:
        run(["umount", str(place)], check=True)


# -- golden files -------------------------------------------------------------------------


def test_a_log_of_format_version_1_is_read(path: Path) -> None:
    shutil.copy(DATA / "v1-small.log", path)
    with TransactionLog(path, read_only=True) as log:
        content = small_log.content(log)

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
    assert word_in(golden, COMMITTED) == word_in(new, COMMITTED) == len(new)
