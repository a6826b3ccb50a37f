"""The redo area and what is around it: failing disks, copies, packing, backups, repair."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import checkout
from dobbin_like.check import check_log
from dobbin_like.database import Database
from dobbin_like.exc import IntegrityError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.file import disk
from dobbin_like.log.file.status import status_of, status_reader
from dobbin_like.log.format.header import PAGE_SIZE, REDO, REDO_BASE
from dobbin_like.repair import repair
from tests.helpers.interrupts import interrupted
from tests.helpers.log_files import tids, with_words, word_in
from tests.helpers.power import Disk, wait_for_no_disk
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
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_no_disk(monkeypatch)


def fail_syncs(patch: pytest.MonkeyPatch, *numbers: int) -> list[int]:
    """Let these syncs of the whole file fail, counted from 1; return how many there were."""
    count = [0]

    def sync(_fd: int) -> None:
        count[0] += 1
        if count[0] in numbers:
            raise OSError(5, "Input/output error")

    patch.setattr(disk, "_datasync", sync)
    return count


def image_of(path: Path, log: TransactionLog) -> bytes:
    area = area_of(log)
    return path.read_bytes()[area.start : area.start + area.size]


# -- what goes through it -------------------------------------------------------------------


def test_what_others_may_veto_never_goes_into_the_image(path: Path) -> None:
    with with_area(path) as log:
        commit(log, b"in the image")
        before = image_of(path, log)
        for veto in (True, False):
            log.acquire()
            log.apply(log.read_news())
            logged = log.prepare(Tid(log.tid + 1), [(Oid(0), 1, b"maybe")])
            assert image_of(path, log) == before
            if veto:
                failed = log.fail(logged.tid, "a veto")
                assert failed is not None
                log.apply([failed])
            else:
                log.decide()
                log.apply([logged])
            log.release()
        assert image_of(path, log) == before
        assert words_of(log)["REDO_BASE"] == path.stat().st_size


def test_where_nothing_tells_a_power_cut_an_area_that_is_there_is_not_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with with_area(path) as log:
        commit(log, b"in the image")
        area, before = area_of(log), image_of(path, log)
    monkeypatch.setattr("dobbin_like.log.reading.readable.boot_number", lambda: 0)
    with open_log(path) as log:
        for number in range(5):
            commit(log, b"%d" % number)
    assert path.read_bytes()[area.start : area.start + area.size] == before
    assert tids(path) == [1, 2, 3, 4, 5, 6, 7]


# -- a failing disk -------------------------------------------------------------------------


def test_after_a_failed_sync_the_log_is_written_anew_before_the_image_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that could not write takes the pages for written: the next sync is for nothing."""
    with with_area(path, image=1000) as log:
        start = words_of(log)["REDO_BASE"]
        assert start is not None
        for _ in range(8):
            commit(log, b"x" * 20)
        on_disk = bytearray(path.read_bytes())
        on_disk[start:] = bytes(len(on_disk) - start)

        def note(data: Any, offset: int) -> None:
            on_disk.extend(bytes(max(0, offset + len(data) - len(on_disk))))
            on_disk[offset : offset + len(data)] = data

        pwrite, pwritev, truncate = os.pwrite, os.pwritev, os.ftruncate

        def sync(_fd: int) -> None:
            monkeypatch.setattr(disk, "_datasync", lambda _fd: None)
            monkeypatch.setattr(os, "pwrite", written)
            monkeypatch.setattr(os, "pwritev", written_in_parts)
            monkeypatch.setattr(os, "ftruncate", cut)
            raise OSError(5, "Input/output error")

        def written(fd: int, data: Any, offset: int) -> int:
            note(data, offset)
            return pwrite(fd, data, offset)

        def written_in_parts(fd: int, parts: Any, offset: int, flags: int = 0) -> int:
            note(b"".join(parts), offset)
            return pwritev(fd, parts, offset, flags)

        def cut(fd: int, size: int) -> None:
            del on_disk[size:]
            truncate(fd, size)

        monkeypatch.setattr(disk, "_datasync", sync)
        with pytest.raises(OSError, match="Input/output"):
            commit(log, b"x" * 20)
        for _ in range(3):
            commit(log, b"y" * 20)
        assert words_of(log)["REDO_BASE"] != start
        on_disk[:PAGE_SIZE] = path.read_bytes()[:PAGE_SIZE]
    path.write_bytes(with_words(bytes(on_disk), BOOT=1))
    assert tids(path, read_only=False) == list(range(1, 13))


@pytest.mark.parametrize("what", ["the frame", "the image", "the log"])
def test_nothing_is_cut_or_forgotten_for_the_disk_does_not_give_it_now(
    path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with with_area(path, image=2000) as log:
        start = path.stat().st_size
        for _ in range(5):
            commit(log, b"x" * 50)
        area, whole = area_of(log), path.read_bytes()
    before = with_words(whole, BOOT=1, COMMITTED=start, DURABLE=start)
    if what != "the log":
        before = before[:start]
    path.write_bytes(before)
    bad = {"the frame": area.offset, "the image": area.start, "the log": start + 200}[what]
    pread = os.pread

    def refuse(fd: int, size: int, offset: int) -> bytes:
        if offset <= bad < offset + size:
            raise OSError(5, "Input/output error")
        return pread(fd, size, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", refuse)
        with pytest.raises(IntegrityError, match="does not give"), TransactionLog(path) as log:
            log.acquire()
    assert path.read_bytes()[start:] == before[start:]
    assert word_in(path.read_bytes(), REDO) == area.offset
    assert tids(path, read_only=False) == [1, 2, 3, 4, 5, 6]


def test_when_the_area_is_lost_the_next_writer_syncs_what_the_image_had(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with with_area(path) as log:
        machine = Disk(path, monkeypatch)
        commit(log, b"in the image")
        end = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(area_of(log).offset + 32)
            file.write(b"\xff" * 16)
            file.seek(end)
            file.write(b"torn")
        assert machine.syncs == 0
        log.acquire()
        log.release()
        assert machine.syncs == 1
        assert words_of(log) == {"REDO": 0, "REDO_BASE": 0, "DURABLE": end}


def test_when_the_area_is_damaged_nothing_that_it_may_have_is_given_up_in_silence(
    path: Path,
) -> None:
    with with_area(path) as log:
        start = path.stat().st_size
        commit(log, b"in the image")
        at = area_of(log).offset
        data = bytearray(lose_log_from(path.read_bytes(), start))
    data[at + 32 : at + 48] = b"\xff" * 16
    data = with_words(data, DURABLE=start, COMMITTED=start)  # type: ignore[assignment, arg-type]
    path.write_bytes(data)
    for _ in range(2):
        with TransactionLog(path) as log, pytest.raises(IntegrityError, match="redo area"):
            log.acquire()
        assert path.read_bytes()[PAGE_SIZE:] == data[PAGE_SIZE:]


@pytest.mark.parametrize("number", [1, 2])
def test_an_area_that_can_not_be_synced_is_not_used(
    path: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with open_log(path, after=3) as log:
        for _ in range(2):
            commit(log, b"x")
        with monkeypatch.context() as patch:
            count = fail_syncs(patch, number)
            commit(log, b"x")
            assert count == [number]
        assert "no redo area" in caplog.text
        assert words_of(log)["REDO"] == 0
        for _ in range(3):
            commit(log, b"x")
        assert words_of(log)["REDO"]
        assert words_of(log)["REDO_BASE"] == path.stat().st_size
        problems = check_log(path).problems
        assert {problem.invariant for problem in problems} == {8}  # These states are no pickles.
    assert tids(path) == [1, 2, 3, 4, 5, 6]


def test_a_sync_that_fails_at_close_is_an_end_of_the_image(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with with_area(path) as log:
        commit(log, b"in the image")
        other = open_log(path, sync=False)
        commit(other, b"not synced")
        with monkeypatch.context() as patch:
            fail_syncs(patch, 1)
            with pytest.raises(OSError, match="Input/output"):
                other.close()
        assert words_of(log)["REDO_BASE"] == 0
        commit(log, b"synced")
        assert words_of(log)["REDO_BASE"] == words_of(log)["DURABLE"] == path.stat().st_size


def test_an_interrupt_at_any_line_of_making_an_area_leaves_a_log_that_goes_on(
    path: Path,
) -> None:
    for number in range(1, 2000):
        path.unlink(missing_ok=True)
        with open_log(path, after=2) as log:
            commit(log, b"before")
            if not interrupted(lambda log=log: commit(log, b"x"), number):  # type: ignore[misc]
                break
            log.release()
            before = tids(path)
            assert before in ([1], [1, 2])
            with open_log(path, after=1) as other:
                for _ in range(3):
                    commit(other, b"after")
                assert words_of(other)["REDO"]
                assert words_of(other)["DURABLE"] == path.stat().st_size
                data, base = path.read_bytes(), words_of(other)["REDO_BASE"]
            adopted = tids(path)
            assert len(adopted) in (len(before) + 3, len(before) + 4)
        path.write_bytes(lose_log_from(data, base or 0))
        assert tids(path, read_only=False) == adopted
    else:
        raise AssertionError("it never came to its end")
    assert number > 50


# -- copies ---------------------------------------------------------------------------------


def test_a_copy_whose_image_is_newer_than_its_end_is_a_log(path: Path) -> None:
    """As a tool makes it that asks for the size, and then reads that many bytes."""
    with with_area(path, image=1000) as log:
        commit(log, b"x" * 20)
        area = area_of(log)
        page = path.read_bytes()[:PAGE_SIZE]
        commit(log, b"x" * 20)
        size = path.stat().st_size
        for _ in range(15):
            commit(log, b"x" * 20)
        newer = path.read_bytes()
    base = word_in(newer, REDO_BASE)
    assert base is not None
    assert base > size
    assert area.start < size
    for end, whole in ((size, 3), (size - 10, 2)):
        for boot in ({}, {"BOOT": 1}):
            path.write_bytes(with_words(page, **boot) + newer[PAGE_SIZE:end])
            assert tids(path) == [1, 2]
            with open_log(path) as copy:
                copy.acquire()
                copy.apply(copy.read_news())
                copy.release()
                assert len(copy) == whole
                assert commit(copy, b"goes on") == whole + 1
            assert len(tids(path)) == whole + 1


def moments_of(
    path: Path, generator: random.Random, monkeypatch: pytest.MonkeyPatch
) -> list[bytes]:
    """Return a log with an area at every moment of some commits; the last one is the whole."""
    moments: list[bytes] = []
    with monkeypatch.context() as patch:
        logs = [open_log(path, image=600, after=2, sync=sync) for sync in (True, True, False)]
        for _ in range(3):
            commit(logs[0], b"begun")
        assert words_of(logs[0])["REDO"]
        machine = Disk(path, patch)
        machine.at_any_moment = lambda: moments.append(path.read_bytes())
        for _ in range(20):
            commit(generator.choice(logs), generator.randbytes(generator.choice((9, 100, 700))))
        moments.append(path.read_bytes())
        for log in logs:
            log.close()
    return moments


@pytest.mark.parametrize("seed", range(12))
def test_a_copy_of_parts_of_any_moments_is_a_prefix_and_goes_on(
    path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page, the part with the image and the rest: each later than the one before."""
    generator = random.Random(seed)
    moments = moments_of(path, generator, monkeypatch)
    written = history(path, read_only=True)
    start = word_in(moments[0], REDO)
    assert start
    place = path.with_name("copy")
    for _ in range(25):
        page, first, rest = sorted(generator.choices(range(len(moments)), k=3))
        middle = start + PAGE_SIZE + generator.choice((0, 16, 300, 616))
        copy = (
            moments[page][:PAGE_SIZE] + moments[first][PAGE_SIZE:middle] + moments[rest][middle:]
        )
        if generator.random() < 0.3:  # By its size as of the beginning.
            copy = copy[: len(moments[page])]
        place.write_bytes(with_words(copy, **generator.choice(({}, {"BOOT": 1}))))
        found = history(place, read_only=True)
        assert found == written[: len(found)]
        with open_log(place) as log:
            log.acquire()
            log.apply(log.read_news())
            log.release()
            again = history(place, read_only=True)
            assert again == written[: len(again)]
            assert len(again) >= len(found)
            for _ in range(3):
                commit(log, b"goes on")
        assert len(tids(place)) == len(again) + 3


def test_a_copy_that_is_brought_up_to_date_by_its_end_only_is_whole(path: Path) -> None:
    """``rsync --append`` leaves header and image as they were."""
    with with_area(path, image=600) as log:
        for _ in range(3):
            commit(log, b"x" * 50)
        copy = path.read_bytes()
        for _ in range(20):
            commit(log, b"y" * 50)
        newer = path.read_bytes()
    written = history(path)
    for boot in ({}, {"BOOT": 1}):
        path.write_bytes(with_words(copy + newer[len(copy) :], **boot))
        with open_log(path) as log:
            log.acquire()
            log.apply(log.read_news())
            log.release()
            assert history(path, read_only=True) == written
            for _ in range(5):
                commit(log, b"goes on")
            data, base = path.read_bytes(), words_of(log)["REDO_BASE"]
        path.write_bytes(lose_log_from(data, base or 0))
        assert len(tids(path, read_only=False)) == len(written) + 5


# -- a log that is packed, saved, repaired ----------------------------------------------------


def change(database: Database, times: int) -> None:
    for _ in range(times):
        database.transaction_manager.begin()
        if database.root is None:
            database.set_root(Thing(number=0))
        else:
            checkout(database.root)
            database.root.number += 1
        database.transaction_manager.commit()


@pytest.fixture
def manager() -> transaction.TransactionManager:
    return transaction.TransactionManager()


def test_a_packed_log_has_no_area_until_it_makes_one(
    path: Path, manager: transaction.TransactionManager
) -> None:
    others = transaction.TransactionManager()
    with (
        Database(open_log(path, image=2000), transaction_manager=manager) as database,
        Database(open_log(path, image=2000), transaction_manager=others) as other,
    ):
        change(database, 10)
        assert word_in(path.read_bytes(), REDO)
        database.pack()
        assert word_in(path.read_bytes(), REDO) == 0
        assert b"REDO" not in path.read_bytes()
        change(other, 5)
        change(database, 5)
        data = path.read_bytes()
        assert word_in(data, REDO)
        base = word_in(data, REDO_BASE)
        assert base
        report = check_log(path)
        assert report.ok, report
    path.write_bytes(lose_log_from(data, base))
    with Database(path, transaction_manager=manager) as database:
        manager.begin()
        assert database.root.number == 19


def test_a_backup_has_an_area_that_nobody_uses_and_is_brought_up_to_date(
    path: Path, tmp_path: Path, manager: transaction.TransactionManager
) -> None:
    target = tmp_path / "copy"
    with Database(open_log(path, image=2000), transaction_manager=manager) as database:
        change(database, 10)
        database.backup(target)
        assert not word_in(target.read_bytes(), REDO)
        change(database, 20)
        database.backup(target)
        assert history(target) == history(path, read_only=True)
    target.write_bytes(with_words(target.read_bytes(), BOOT=1))
    with Database(open_log(target, image=2000), transaction_manager=manager) as database:
        change(database, 10)
        assert word_in(target.read_bytes(), REDO)
        report = check_log(target)
        assert report.ok, report
        manager.begin()
        assert database.root.number == 39


def test_a_file_that_was_copied_with_its_area_is_brought_up_to_date(
    path: Path, tmp_path: Path, manager: transaction.TransactionManager
) -> None:
    target = tmp_path / "copy"
    with Database(open_log(path, image=2000), transaction_manager=manager) as database:
        change(database, 10)
        target.write_bytes(path.read_bytes())
        change(database, 20)
        database.backup(target)
        assert history(target) == history(path, read_only=True)
        assert word_in(target.read_bytes(), REDO_BASE) == 0


@pytest.mark.parametrize("place", [None, 0, 4, 8, 12, 16, 24, 32, 40, 44, 100, 4100])
def test_repair_goes_round_an_area(
    path: Path, tmp_path: Path, manager: transaction.TransactionManager, place: int | None
) -> None:
    with Database(open_log(path, image=2000), transaction_manager=manager) as database:
        change(database, 30)
        at = word_in(path.read_bytes(), REDO)
    assert at
    data = bytearray(path.read_bytes())
    if place is not None:
        data[at + place] ^= 1
    path.write_bytes(data)
    report = repair(path, tmp_path / "saved")
    assert report.complete, report
    with Database(tmp_path / "saved", transaction_manager=manager) as database:
        manager.begin()
        assert database.root.number == 29


def test_repair_saves_what_is_behind_a_damaged_area(
    path: Path, tmp_path: Path, manager: transaction.TransactionManager
) -> None:
    with Database(open_log(path, image=2000), transaction_manager=manager) as database:
        change(database, 30)
        at = word_in(path.read_bytes(), REDO)
    assert at
    data = bytearray(path.read_bytes())
    data[at : at + 48] = bytes(48)
    path.write_bytes(data)
    repair(path, tmp_path / "saved")
    with Database(tmp_path / "saved", transaction_manager=manager) as database:
        manager.begin()
        assert database.root.number == 29


@pytest.mark.parametrize("word", ["COMMITTED", "DURABLE", None])
def test_repair_finds_what_only_the_image_has(
    path: Path, tmp_path: Path, manager: transaction.TransactionManager, word: str | None
) -> None:
    """After a power cut, of a log that can't be opened for it is damaged before."""
    with Database(open_log(path, image=3000), transaction_manager=manager) as database:
        change(database, 40)
        base = words_of(database.storage)["REDO_BASE"]  # type: ignore[arg-type]
        whole = path.read_bytes()
    assert base
    assert len(whole) > base + 300
    lost = lose_log_from(whole, base)
    if word == "COMMITTED":  # It reached the disk; what is before it did not.
        lost += bytes(len(whole) - base)
    elif word == "DURABLE":
        lost = with_words(lost, COMMITTED=base)
    path.write_bytes(lost)
    report = repair(path, tmp_path / "saved")
    assert tids(tmp_path / "saved") != []
    with Database(tmp_path / "saved", transaction_manager=manager) as database:
        manager.begin()
        assert database.root.number == 39
    assert report.transactions == 40


# -- the file at a path -----------------------------------------------------------------------


def test_the_status_of_a_file_is_the_same_with_and_without_its_times(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"12345")
    read = status_reader(str(path))
    found = path.stat()
    assert read() == status_of(str(path)) == (found.st_dev, found.st_ino, 5)
    path.write_bytes(b"123456")
    assert read()[2] == 6
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read()

    def no_library(_name: object) -> object:
        raise OSError("no library")

    monkeypatch.setattr("ctypes.CDLL", no_library)
    path.write_bytes(b"1")
    assert status_reader(str(path))()[2] == 1


def test_a_path_is_followed_by_name(path: Path, tmp_path: Path) -> None:
    """What is asked is the path, with its links, not the open file."""
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"22")
    path.symlink_to(tmp_path / "one")
    read = status_reader(str(path))
    one = read()
    path.unlink()
    path.symlink_to(tmp_path / "two")
    assert (one[2], read()[2]) == (1, 2)
