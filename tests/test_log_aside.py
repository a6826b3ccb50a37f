"""Saved positions and redo areas: whatever happens to their bytes, no transaction is lost."""

from __future__ import annotations

import errno
import io
import os
import random
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import transaction

from dobbin_like import PersistentDict, checkout
from dobbin_like.check import check_log
from dobbin_like.database import Database
from dobbin_like.exc import Error, IntegrityError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.file.words import Words
from dobbin_like.log.format import header, record
from dobbin_like.log.format.header import ASIDE, ASIDE_END, COMMITTED, PAGE_SIZE, REDO, SAVED
from dobbin_like.log.format.record import LogPlace
from dobbin_like.log.reading import aside
from dobbin_like.log.reading.reader import ReadBuffer
from dobbin_like.repair import repair
from dobbin_like.upkeep.backup import BackupReport, backup
from dobbin_like.upkeep.pack import pack
from tests.helpers.log_commits import commit, data_of, fail
from tests.helpers.log_files import with_words
from tests.helpers.power import wait_for_no_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 512
STREAM = b"stream " * 100


class Frame(NamedTuple):
    """A frame as it lies in the file."""

    letter: str
    start: int
    end: int


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_no_disk(monkeypatch)


def write(path: Path, letters: str) -> list[Frame]:
    """Write a log: transactions, failed ones, streams, positions and redo areas."""
    frames: list[Frame] = []
    with TransactionLog(path) as log:
        log._writing.writer.synced.image_bytes = 600
        log._writing.writer.synced.area_after_syncs = sys.maxsize
        for number, letter in enumerate(letters):
            start = log._reading.applied.tail.end if frames else PAGE_SIZE
            if letter == "T":
                changes = {number: b"new %d" % number, 0: b"root %d" % number}
                commit(log, changes, [(number + 1, "shop", f"Class{number}")])
            elif letter == "B":  # Many objects: saved positions of some blocks.
                commit(log, {oid: b"%d" % oid for oid in range(300)})
            elif letter == "-":  # What follows begins with a block.
                commit(log, {0: bytes(-(start + 88) % BLOCK)})
            elif letter == "F":
                fail(log, "why")
            else:
                log.acquire()
                try:
                    if letter == "S":
                        key, _ = log.write_stream(io.BytesIO(STREAM))
                        end(log, number, b"S%d" % key)
                    elif letter == "P":
                        log._writing.writer.save()
                    else:
                        log._writing.writer._make_redo_area()
                finally:
                    log.release()
            frames.append(Frame(letter, start, log._reading.applied.tail.end))
    return frames


def end(log: TransactionLog, oid: int, data: bytes) -> None:
    """Commit while the lock is held."""
    logged = log.append(Tid(log.tid + 10), [(Oid(oid), 1, data)])
    log.apply([logged])


def content(path: Path, **options: Any) -> Any:
    """Return all that a log tells, forward and backward."""
    with TransactionLog(path, **options) as log:
        return content_of(log)


def content_of(log: TransactionLog) -> Any:
    logged = list(log.transactions())
    assert list(log.transactions(newest_first=True)) == logged[::-1]
    for entry in logged:
        assert list(log.transactions(entry.tid, newest_first=True)) == [
            later for later in logged[::-1] if later.tid > entry.tid
        ]
        for oid, stored in log.entries(entry):
            assert entry.failed or log.load(oid, entry.tid) == stored
            assert entry.failed or log.transaction_of(stored) == entry
            if stored.data.startswith(b"S"):
                assert log.read_stream(int(stored.data[1:]), 0, 999) == STREAM
    newest = [log.load(Oid(oid)) for oid in range(log.next_oid)]
    return logged, newest, log.oid_count, log.names.rows(), log.tid, len(log)


def problems(path: Path) -> list[Any]:
    """Return the places that the check names; the states here are no objects."""
    return [found.offset for found in check_log(path).problems if found.invariant != 8]


def damages(frame: Frame, whole: bytes) -> Iterator[bytes]:
    """Yield the bytes of a log with this frame hit in many ways."""
    _, start, end = frame
    head = min(end, start + 200)
    for at in range(start, head):
        yield whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :]
    for upto in (start + 4, start + 8, start + 32, start + 88, (start + end) // 16 * 8, end):
        yield whole[:start] + bytes(upto - start) + whole[upto:]
        yield whole[:start] + b"\xff" * (upto - start) + whole[upto:]
        yield whole[:start] + random.Random(upto).randbytes(upto - start) + whole[upto:]
    yield whole[: start + 16] + bytes(8) + whole[start + 24 :]
    # Another frame in its place, as if a block had been written to the wrong one.
    other = whole[PAGE_SIZE : PAGE_SIZE + end - start]
    yield whole[:start] + other + whole[start + len(other) :]


LAYOUTS = (
    "TP",
    "TPT",
    "TTPFTPT",
    "TR",
    "TRT",
    "TPRT",
    "TRPT",
    "TPR",
    "TRP",
    "TPPPST",
    "STPS",
    "RT",
)


@pytest.mark.parametrize("letters", LAYOUTS)
def test_wherever_a_frame_aside_is_hit_all_is_seen(path: Path, letters: str) -> None:
    frames = write(path, letters)
    whole = path.read_bytes()
    expected = content(path, read_only=True)
    for frame in frames:
        if frame.letter in "PR":
            for damaged in damages(frame, whole):
                path.write_bytes(damaged)
                assert content(path, read_only=True) == expected


def test_every_single_bit_of_the_newest_saved_positions(path: Path) -> None:
    frames = write(path, "TTP")
    whole = path.read_bytes()
    expected = content(path, read_only=True)
    for at in range(frames[-1].start, frames[-1].end):
        for bit in range(8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            assert content(path, read_only=True) == expected


@pytest.mark.parametrize("letters", LAYOUTS)
def test_with_all_of_them_gone_all_is_seen(path: Path, letters: str) -> None:
    expected = lose_all(path, letters)

    assert content(path, read_only=True) == expected


def lose_all(path: Path, letters: str, lost: str = "PR") -> Any:
    """Write a log, overwrite everything aside, or some of it; return what was in it."""
    frames = write(path, letters)
    data = bytearray(path.read_bytes())
    expected = content(path, read_only=True)
    for letter, start, end in frames:
        if letter in lost:
            data[start:end] = bytes(end - start)
    path.write_bytes(data)
    return expected


@pytest.mark.parametrize("letters", LAYOUTS)
def test_a_writer_goes_on_behind_what_was_lost(path: Path, letters: str) -> None:
    logged, *_ = lose_all(path, letters)
    with TransactionLog(path) as log:
        new = commit(log, {0: b"behind"})
        log.acquire()
        log._writing.writer.save()
        log.release()

    with TransactionLog(path) as log:
        assert list(log.transactions()) == [*logged, new]
        assert list(log.transactions(newest_first=True)) == [new, *logged[::-1]]
        assert data_of(log, 0) == b"behind"


@pytest.mark.parametrize("letters", LAYOUTS)
def test_others_follow_past_what_was_lost(path: Path, letters: str) -> None:
    """Those that had read up to any place before, and those whose writer died."""
    expected = lose_all(path, letters)
    whole = path.read_bytes()
    ends = [PAGE_SIZE, *(entry.end for entry in expected[0])]
    for end in ends:
        path.write_bytes(with_words(whole, COMMITTED=end, DURABLE=PAGE_SIZE, SAVED=0))
        with TransactionLog(path, read_only=True) as log:
            assert log._reading.applied.tail.end == end
            words = Words(os.open(path, os.O_RDWR), writable=True)
            words.put(COMMITTED, len(whole))
            log.apply(log.read_news())
            assert content_of(log) == expected
            words.close()


def test_a_writer_takes_the_lock_while_it_has_not_read_what_was_lost(path: Path) -> None:
    write(path, "T")
    with TransactionLog(path) as log, TransactionLog(path) as other:
        commit(other, {1: b"1"})
        other.acquire()
        other._writing.writer.save()
        other.release()
        start = other._reading.file.words.get(SAVED)  # type: ignore[union-attr]
        assert start
        with path.open("r+b") as file:
            file.seek(start)
            file.write(bytes(path.stat().st_size - start))

        log.acquire()
        failed = log.fail(Tid(log.tid + 1), "news are not applied")
        log.release()

        assert failed is not None
        log.apply(log.read_news())
        assert (len(log), data_of(log, 1), log.tid) == (3, b"1", failed.tid)
    content(path)


# -- what must not be passed over ---------------------------------------------------------


@pytest.mark.parametrize("letters", ["TPT", "TRT", "TPPT", "TPS", "TPF"])
def test_damage_that_reaches_into_a_transaction_is_an_error(path: Path, letters: str) -> None:
    frames = write(path, letters)
    whole = path.read_bytes()
    first, last = frames[1], frames[-1]
    for end in (last.start + 8, last.start + 32, last.start + 50, last.end):
        for fill in (b"\0", b"\xff"):
            path.write_bytes(whole[: first.start] + fill * (end - first.start) + whole[end:])
            with pytest.raises(IntegrityError, match=rf":({first.start}|{last.start}):"):
                TransactionLog(path)
            assert problems(path)


def test_saved_positions_and_the_only_transaction_behind_each_hit_by_a_bit(path: Path) -> None:
    frames = write(path, "TTPT")
    whole = path.read_bytes()
    for first in range(frames[2].start, frames[2].start + 88, 3):
        for second in range(frames[3].start, frames[3].start + 52, 3):
            damaged = bytearray(whole)
            damaged[first] ^= 1
            damaged[second] ^= 1
            path.write_bytes(damaged)
            # Never three of four: the damage is named.
            with pytest.raises(IntegrityError, match=rf":({frames[2].start}|{frames[3].start}):"):
                TransactionLog(path)


@pytest.mark.parametrize("letters", ["TTT", "TST", "TFT", "TT"])
def test_a_transaction_that_was_hit_is_never_taken_for_something_aside(
    path: Path, letters: str
) -> None:
    frames = write(path, letters)
    whole = path.read_bytes()
    victim = frames[1]
    for damaged in damages(victim, whole):
        for words in ({}, {"ASIDE": PAGE_SIZE, "ASIDE_END": victim.start}):
            path.write_bytes(with_words(damaged, **words))
            try:
                with TransactionLog(path, read_only=True) as log:
                    assert len(log) == len(list(log.transactions())) == len(frames)
            except IntegrityError:
                pass  # Or a state of it is damaged, which its reader is told.


def test_a_transaction_in_a_stream_is_none_of_the_log(path: Path) -> None:
    """A copy of the log is stored in it, and both places before it are damaged."""
    frames = write(path, "TPT")
    whole = path.read_bytes()
    with TransactionLog(path) as log:
        log.acquire()
        log.write_stream(io.BytesIO(bytes(8 * 5) + whole))
        end(log, 0, b"")
        log.release()
    data = bytearray(path.read_bytes())
    data[frames[1].start : frames[2].start + 60] = bytes(frames[2].start + 60 - frames[1].start)
    path.write_bytes(data)

    with pytest.raises(IntegrityError, match=f":{frames[1].start}:"):
        TransactionLog(path)


def test_words_of_another_moment_prove_nothing(path: Path) -> None:
    frames = write(path, "TPTTP")
    whole = path.read_bytes()
    first, last = frames[1], frames[4]
    lost = whole[: first.start] + bytes(last.end - first.start) + whole[last.end :]
    for words in (
        {},
        {"ASIDE": first.start, "ASIDE_END": first.end},
        {"ASIDE": last.start, "ASIDE_END": first.end},
        {"ASIDE": first.start, "ASIDE_END": 0},
        {"ASIDE": 0, "ASIDE_END": last.end},
    ):
        path.write_bytes(with_words(lost, **words))
        with pytest.raises(IntegrityError, match=f":{first.start}:"):
            TransactionLog(path, read_only=True)


def test_the_words_tell_of_the_frames_the_log_ends_with(path: Path) -> None:
    def words() -> tuple[int | None, int | None]:
        data = path.read_bytes()
        return tuple(  # type: ignore[return-value]
            header.word_value(
                index, int.from_bytes(data[index * 8 : index * 8 + 8], sys.byteorder)
            )
            for index in (ASIDE, ASIDE_END)
        )

    frames = write(path, "TPRTPR")
    assert words() == (frames[4].start, frames[5].end)
    with TransactionLog(path) as log:
        commit(log, {0: b"0"})
        assert words() == (frames[4].start, frames[5].end)
    # Whoever cuts, as after a power cut, takes back what is said of what is cut.
    path.write_bytes(
        with_words(path.read_bytes()[: frames[4].end], DURABLE=PAGE_SIZE, BOOT=1, REDO=0)
    )
    with TransactionLog(path) as log:
        log.acquire()
        log.release()
    assert words() == (frames[4].start, frames[4].end)
    path.write_bytes(with_words(path.read_bytes()[: frames[3].end], DURABLE=PAGE_SIZE, BOOT=1))
    with TransactionLog(path) as log:
        log.acquire()
        log.release()
    assert words() == (frames[4].start, frames[3].end)


def test_a_place_behind_frames_aside_is_told_by_its_ends_alone() -> None:
    before = LogPlace(5000, 4096, 0x12345678, 7, 99)  # type: ignore[arg-type]

    assert record.aside(record.aside(before, 6000), 9000) == record.aside(before, 9000)
    assert record.aside(before, 5000) == before
    assert len({record.aside(before, end).checksum for end in range(5000, 90_000, 8)}) == 10_625
    assert record.aside(before, 6000)[3:] == (7, 99)


# -- after a power cut --------------------------------------------------------------------


@pytest.mark.parametrize(
    "letters", ["TP", "TPT", "TTPFTPT", "TPPPST", "TRTP", "TRTPT", "TPRT", "TRPPTT"]
)
@pytest.mark.parametrize("durable", [0, 1])
def test_after_a_power_cut_what_is_whole_behind_them_counts(
    path: Path, letters: str, durable: int
) -> None:
    expected = lose_all(path, letters, "P")
    size = path.stat().st_size
    words = {"BOOT": 1, "DURABLE": size if durable else PAGE_SIZE}
    path.write_bytes(with_words(path.read_bytes(), **words))

    assert content(path, read_only=True) == expected
    with TransactionLog(path) as log:
        new = commit(log, {0: b"behind"})
    assert content(path)[0] == [*expected[0], new]


def test_after_a_power_cut_the_log_does_not_end_with_damage(path: Path) -> None:
    """Neither the positions nor the transaction behind them has reached the disk whole."""
    frames = write(path, "TPT")
    whole = path.read_bytes()
    logged = content(path)[0]
    for damaged in damages(frames[1], whole):
        torn = damaged[: frames[2].end - 8] + bytes(8)
        for words in ({}, {"ASIDE": 0, "ASIDE_END": 0}):
            path.write_bytes(with_words(torn, BOOT=1, DURABLE=PAGE_SIZE, **words))
            with TransactionLog(path) as log:
                new = commit(log, {0: b"behind"})
            assert content(path)[0] in ([logged[0], new], [*logged[:2], new])
            # But for bytes that fill a frame, which no checksum covers.
            assert set(problems(path)) <= set(range(frames[1].end - 8, frames[1].end))


def test_after_a_power_cut_a_damaged_redo_area_is_an_error(path: Path) -> None:
    """It may have had the only copy of what was acknowledged."""
    frames = write(path, "TRT")
    data = bytearray(path.read_bytes())
    data[frames[1].start + 40] ^= 1
    path.write_bytes(with_words(bytes(data), BOOT=1))

    with TransactionLog(path) as log:
        assert len(log) == 2
        with pytest.raises(IntegrityError, match="redo area"):
            log.acquire()


def test_a_damaged_redo_area_is_found_to_be_and_another_one_made(path: Path) -> None:
    frames = write(path, "TR")
    data = bytearray(path.read_bytes())
    data[frames[1].start + 40] ^= 1
    path.write_bytes(data)
    with TransactionLog(path) as log:
        log._writing.writer.synced.area_after_syncs = 1
        for number in range(3):
            commit(log, {0: b"%d" % number})
        assert (log._reading.file.words.get(REDO) or 0) > frames[1].end  # type: ignore[union-attr]
    path.write_bytes(with_words(path.read_bytes(), BOOT=1))
    with TransactionLog(path) as log:
        commit(log, {0: b"last"})
        assert (len(log), data_of(log, 0)) == (5, b"last")


# -- a disk that does not give them -------------------------------------------------------


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Let the disk refuse the bytes from one offset to another, of every file."""
    real: Any = os.pread
    bad = [0, 0]

    def pread(fd: int, size: int, offset: int) -> bytes:
        if offset < bad[1] and bad[0] < offset + size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        data: bytes = real(fd, size, offset)
        return data

    monkeypatch.setattr(os, "pread", pread)

    def between(start: int, end: int) -> None:
        bad[:] = start, end

    return between


@pytest.mark.parametrize("letters", ["B-P", "B-PT", "B-P-PTP", "T-R", "B-RT", "B-P-RT"])
def test_what_the_disk_refuses_is_passed_over(
    path: Path, letters: str, refuse: Callable[[int, int], None]
) -> None:
    frames = write(path, letters)
    expected = content(path)
    blocks = 0
    for letter, start, end in frames:
        if letter in "PR" and not start % BLOCK:
            # But for the last one, in which the next frame may begin.
            whole = range(start, end if end == path.stat().st_size else end - BLOCK, BLOCK)
            for first in whole:
                blocks += 1
                for last in {first + BLOCK, max(whole) + BLOCK}:
                    refuse(first, last)
                    assert content(path, read_only=True) == expected
                    found = problems(path)
                    assert all(start <= at < end for at in found)
                    assert found or first > start
                    refuse(0, 0)
    assert blocks > 1


def test_the_search_finds_all_that_the_disk_gives(
    path: Path, refuse: Callable[[int, int], None]
) -> None:
    generator = random.Random(3)
    data = bytearray(generator.randbytes(40_000).replace(b"REDO", b"redo"))
    places = sorted(generator.sample(range(0, len(data) - 48, 8), 300))
    for place in places:
        data[place + 8 : place + 12] = b"REDO"
    path.write_bytes(data)
    with path.open("rb") as file:
        for _ in range(40):
            first = generator.randrange(40) * 512
            last = first + generator.choice([512, 1024, 4096])
            start = generator.randrange(0, 20_000, 8)
            refuse(first, last)
            found = list(
                aside.places_like(
                    ReadBuffer(file.fileno(), str(path)), start, len(data), re.compile(b"REDO")
                )
            )
            wanted = {
                place
                for place in places
                if place >= start and (place + 48 <= first or place >= last)
            }
            assert wanted <= set(found) <= set(places)
            assert found == sorted(set(found))
            refuse(0, 0)


# -- packing, copies, check and repair ----------------------------------------------------


@pytest.fixture
def damaged(path: Path, tmp_path: Path) -> Path:
    """A database, all of whose saved positions are lost; the path of a whole copy."""
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentDict())
        transaction.commit()
        for number in range(6):
            checkout(database.root)
            database.root[number] = PersistentDict(number=number)
            transaction.commit()
            if number % 2:
                storage: Any = database.storage
                storage.acquire()
                storage._writing.writer.save()
                storage.release()
    shutil.copy(path, tmp_path / "whole.log")
    data = path.read_bytes()
    places = [found.start() - 8 for found in re.finditer(b"SAVE", data)]
    assert len(places) == 3
    for start in places:
        (length,) = record.LONG.unpack_from(data, start + 16)
        data = data[:start] + bytes(length) + data[start + length :]
    path.write_bytes(data)
    return tmp_path / "whole.log"


def items(path: Path) -> dict[int, int]:
    with Database(TransactionLog(path, read_only=True)) as database:
        return {key: value["number"] for key, value in database.root.items()}


def backup_of(path: Path, target: Path) -> BackupReport:
    with TransactionLog(path) as log:
        return backup(log, os.fspath(target))


ALL = {number: number for number in range(6)}


def test_a_database_without_them_is_used_packed_and_used(path: Path, damaged: Path) -> None:
    assert items(path) == ALL
    with Database(path) as database, Database(TransactionLog(path, read_only=True)) as other:
        checkout(database.root)
        database.root["new"] = PersistentDict(number=7)
        transaction.commit()
        assert other.pack is not None
        database.pack()
        transaction.begin()
        assert other.root["new"]["number"] == 7
        transaction.abort()
    check_log(path).raise_if_bad()
    assert items(path) == ALL | {"new": 7}


def test_packing_by_a_tid_goes_past_them(path: Path, damaged: Path) -> None:
    with Database(path) as database:
        tids = [entry.tid for entry in database.transactions()]
    for tid in tids:
        shutil.copy(path, path.with_name("packed.log"))
        assert pack(os.fspath(path.with_name("packed.log")), tid, dry_run=True).keep == tid
        assert pack(os.fspath(path.with_name("packed.log")), tid).packed
        assert items(path.with_name("packed.log")) == ALL
        check_log(path.with_name("packed.log")).raise_if_bad()


def test_a_backup_goes_past_them_and_on(path: Path, damaged: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup.log"

    assert backup_of(path, target).transactions == 7
    assert items(target) == ALL
    with Database(path) as database:
        checkout(database.root)
        database.root["new"] = PersistentDict(number=7)
        transaction.commit()
    assert backup_of(path, target).transactions == 1
    assert items(target) == ALL | {"new": 7}
    # A backup from before goes on, though the log has lost since what it has.
    shutil.copy(damaged, tmp_path / "earlier.log")
    assert backup_of(path, tmp_path / "earlier.log").transactions == 1
    assert items(tmp_path / "earlier.log") == ALL | {"new": 7}


def test_a_backup_is_made_though_the_disk_refuses_them(
    path: Path, tmp_path: Path, refuse: Callable[[int, int], None]
) -> None:
    frames = write(path, "B-PT-P")
    expected = content(path)
    for _, start, end in (frames[2], frames[5]):
        for first in range(start, end - BLOCK, BLOCK):
            target = tmp_path / f"{first}.log"
            refuse(first, first + BLOCK)
            assert backup_of(path, target).transactions == 4
            refuse(0, 0)
            assert content(target) == expected


def test_check_names_them_and_goes_on_behind(path: Path, damaged: Path) -> None:
    lost = damaged.read_bytes()
    places = [found.start() - 8 for found in re.finditer(b"SAVE", lost)]

    report = check_log(path)

    assert [problem.offset for problem in report.problems] == places
    assert {problem.invariant for problem in report.problems} == {5}
    assert (report.transactions, report.objects) == (7, 7)


def test_repair_loses_nothing(path: Path, damaged: Path, tmp_path: Path) -> None:
    report = repair(path, to=tmp_path / "mended.log")

    assert report.complete, report
    assert items(tmp_path / "mended.log") == ALL


def test_any_error_is_one_of_ours_whatever_the_bytes(path: Path) -> None:
    """Nothing but a clear error, or all of it, when whole parts of a log are junk."""
    write(path, "TPTRTPT")
    whole = path.read_bytes()
    expected = content(path)[:1]
    generator = random.Random(11)
    for _ in range(60):
        start = generator.randrange(PAGE_SIZE, len(whole))
        size = generator.choice([1, 8, 64, 512, 4096])
        path.write_bytes(
            (whole[:start] + generator.randbytes(size) + whole[start + size :])[: len(whole)]
        )
        try:
            found = content(path, read_only=True)[:1]
        except Error:
            continue
        assert found == expected
