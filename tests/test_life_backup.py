"""Backups: full, brought up to date, refused; killed and interrupted anywhere."""

from __future__ import annotations

import errno
import io
import os
import random
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import (
    CopyError,
    Database,
    IntegrityError,
    PersistentDict,
    PersistentFile,
    TransactionLog,
    checkout,
)
from dobbin_like.check import check_log
from dobbin_like.exc import ClosedError, FormatVersionError, NotALogError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.file import disk, range_lock
from dobbin_like.log.format.header import APPENDED, DURABLE, PAGE_SIZE, SAVED, WORDS_OFFSET
from tests.helpers.amount import step
from tests.helpers.copying import copies_log, interrupted, killed
from tests.helpers.limits import at_most
from tests.helpers.log_files import tids, word_in
from tests.helpers.power import crash
from tests.helpers.processes import exit_code, forked, outlive_parent
from tests.helpers.tracing import tracing
from tests.helpers.transactions import change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def content(path: Path) -> bytes:
    """Return the bytes of a log, without the words of its header."""
    data = path.read_bytes()
    return data[:WORDS_OFFSET] + data[PAGE_SIZE:]


def frames(path: Path) -> bytes:
    """Return the frames of a log, without the zeros that are written ahead."""
    data = path.read_bytes()
    return data[PAGE_SIZE : word_in(data, APPENDED)]


@pytest.fixture
def target(path: Path) -> Iterator[Path]:
    """Where a backup may be made; what is there at the end is a whole log."""
    target = path.with_name("backup.log")
    yield target
    if target.exists():
        check_log(target).raise_if_bad()
    assert not target.with_name("backup.log.part").exists()


# -- what it does ----------------------------------------------------------------------


def test_the_first_backup_is_a_copy_of_the_log(
    database: Database, path: Path, target: Path
) -> None:
    change(database, a=1)
    change(database, b=2)

    report = database.backup(target)

    assert (report.full, report.transactions, report.tid) == (True, 2, database.storage.tid)
    assert report.size == len(frames(path))
    assert str(report).startswith(f"{target}: copied in full, 2 transactions")
    assert frames(target) == frames(path)
    assert word_in(target.read_bytes(), APPENDED) == path.stat().st_size
    assert word_in(target.read_bytes(), DURABLE) == path.stat().st_size


def test_a_later_backup_appends_what_is_new(database: Database, path: Path, target: Path) -> None:
    change(database, a=1)
    database.backup(str(target))
    size, inode = target.stat().st_size, target.stat().st_ino
    change(database, b=2)
    change(database, c=3)

    report = database.backup(target)

    assert (report.full, report.transactions) == (False, 2)
    assert report.size == target.stat().st_size - size
    assert frames(target) == frames(path)
    assert target.stat().st_ino == inode


def test_with_nothing_new_nothing_is_written(database: Database, target: Path) -> None:
    change(database, a=1)
    database.backup(target)
    before = content(target)

    report = database.backup(target)

    assert (report.full, report.transactions, report.size) == (False, 0, 0)
    assert content(target) == before


def test_restoring_is_copying_the_file_back(
    database: Database, path: Path, target: Path, again: Callable[..., Database]
) -> None:
    change(database, a=1)
    checkout(database.root)
    database.root["stream"] = PersistentFile(io.BytesIO(b"bytes" * 30_000))
    transaction.commit()
    database.backup(target)
    change(database, a=2)
    database.close()
    shutil.copy(target, path)

    restored = again()

    assert restored.root["a"] == 1
    assert b"".join(restored.root["stream"]) == b"bytes" * 30_000
    checkout(restored.root)
    restored.root["a"] = 3
    restored.transaction_manager.commit()
    # The earlier backup is one of the restored database too.
    assert restored.backup(target).full is False
    assert frames(target) == frames(path)


def test_what_others_have_committed_is_in_it(
    database: Database, path: Path, target: Path, again: Callable[..., Database]
) -> None:
    change(database, a=1)
    other = again()
    checkout(other.root)
    other.root["a"] = 2
    other.transaction_manager.commit()

    database.backup(target)

    assert frames(target) == frames(path)


def test_what_is_not_committed_is_not_in_it(database: Database, target: Path) -> None:
    change(database, a=1)
    checkout(database.root)
    database.root["a"] = 2

    database.backup(target)
    transaction.abort()

    assert len(tids(target)) == 1


def test_failed_transactions_and_saved_positions_are_copied(
    storage: TransactionLog, path: Path, target: Path
) -> None:
    with Database(storage) as database:
        change(database, a=1)
        storage.acquire()
        storage.fail(Tid(storage.tid + 1), "a reason")
        storage.apply(storage.read_news())
        storage._writing.writer.save()
        storage.release()
        database.backup(target)
        change(database, b=1)

        report = database.backup(target)

    assert report.transactions == 1
    assert frames(target) == frames(path)
    saved = word_in(target.read_bytes(), SAVED)
    assert saved == word_in(path.read_bytes(), SAVED) != 0


def test_an_empty_file_is_filled(database: Database, path: Path, target: Path) -> None:
    change(database, a=1)
    target.touch()

    assert database.backup(target).full

    assert frames(target) == frames(path)


def test_the_backup_may_be_read_and_looked_at_in_between(
    database: Database, path: Path, target: Path
) -> None:
    change(database, a=1)
    database.backup(target)
    # What looks at it may save positions there, when it has many objects.
    with TransactionLog(target) as log:
        log.acquire()
        log._writing.writer.save()
        log.release()
    assert frames(target) != frames(path)
    change(database, b=2)

    report = database.backup(target)

    assert not report.full
    assert frames(target) == frames(path)


def test_a_backup_has_no_positions_of_its_own(
    storage: TransactionLog, path: Path, target: Path
) -> None:
    """Opened for a backup, a log with much behind its saved positions would save them."""
    storage._writing.writer.save_after_entries = sys.maxsize
    with Database(storage) as database:
        storage.acquire()
        entries = [(Oid(oid), 1, b"}.") for oid in range(60_000)]
        storage.apply([storage.append(Tid(1000), entries, [(1, "shop", "Cart")])])
        storage.release()
        database.backup(target)
        storage._reading.applied.unsaved = 0  # close() would save them in the log too

        database.backup(target)

    assert frames(target) == frames(path)


def test_the_progress_ends_with_all_bytes(database: Database, target: Path) -> None:
    calls: list[tuple[int, int]] = []
    change(database, text="x" * 3_000_000)

    report = database.backup(target, progress=lambda done, total: calls.append((done, total)))

    assert len(calls) > 2
    assert calls == sorted(calls)
    assert {total for _, total in calls} == {report.size}
    assert calls[-1] == (report.size, report.size)
    database.backup(target, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (0, 0)


def test_the_permissions_are_those_of_the_log(
    database: Database, path: Path, target: Path
) -> None:
    change(database, a=1)
    path.chmod(0o600)

    database.backup(target)

    assert target.stat().st_mode & 0o777 == 0o600


def test_a_link_stays_a_link(database: Database, path: Path, target: Path) -> None:
    change(database, a=1)
    link = target.with_name("link.log")
    link.symlink_to(target)

    database.backup(link)

    assert link.is_symlink()
    assert frames(target) == frames(path)


# -- what it refuses -------------------------------------------------------------------


def test_a_backup_of_another_database_is_refused(database: Database, target: Path) -> None:
    change(database, a=1)
    with Database(target, transaction_manager=transaction.TransactionManager()) as other:
        other.set_root(PersistentDict())
        other.transaction_manager.commit()
    before = content(target)

    with pytest.raises(CopyError, match="not a backup of") as caught:
        database.backup(target)

    assert caught.value.path == str(target)
    assert content(target) == before


def test_the_database_itself_is_refused(database: Database, path: Path, tmp_path: Path) -> None:
    change(database, a=1)
    os.link(path, tmp_path / "hard.log")
    (tmp_path / "soft.log").symlink_to(path)

    for name in ("data.log", "hard.log", "soft.log"):
        with pytest.raises(CopyError, match="the database itself"):
            database.backup(tmp_path / name)


def test_a_backup_that_went_on_by_itself_is_refused(database: Database, target: Path) -> None:
    change(database, a=1)
    database.backup(target)
    with Database(target, transaction_manager=transaction.TransactionManager()) as other:
        checkout(other.root)
        other.root["a"] = 2
        other.transaction_manager.commit()
    change(database, b=2)
    before = content(target)

    with pytest.raises(CopyError, match="does not have"):
        database.backup(target)

    assert content(target) == before


def test_a_newer_backup_is_refused(path: Path, target: Path) -> None:
    with Database(path) as database:
        change(database, a=1)
        earlier = path.read_bytes()
        change(database, a=2)
        database.backup(target)
    path.write_bytes(earlier)
    before = content(target)

    for _ in range(2):
        with Database(path) as database, pytest.raises(CopyError, match="does not have"):
            database.backup(target)
        with Database(path) as database:
            change(database, a=3)  # Now both have gone on from what they had in common.

    assert content(target) == before


def test_something_else_is_refused(database: Database, path: Path, target: Path) -> None:
    change(database, a=1)
    page = bytearray(path.read_bytes()[:PAGE_SIZE])
    page[8] = 9
    contents = {
        b"a text": NotALogError,
        bytes(5000): NotALogError,
        path.read_bytes()[:3000]: IntegrityError,
        bytes(page): FormatVersionError,
    }
    for content, error in contents.items():
        target.write_bytes(content)
        with pytest.raises(error):
            database.backup(target)
        assert target.read_bytes() == content
    target.unlink()
    with pytest.raises(IsADirectoryError):
        database.backup(target.parent)
    with pytest.raises(FileNotFoundError):
        database.backup(target.parent / "nowhere" / "x.log")


def test_a_damaged_end_of_the_backup_is_an_error(database: Database, target: Path) -> None:
    change(database, a=1)
    change(database, a="x" * 500)
    database.backup(target)
    change(database, a=3)
    whole = target.read_bytes()
    with TransactionLog(target, read_only=True) as log:
        last = list(log.transactions())[-1]

    for at in range(last.offset, last.end - 8, 7):
        damaged = bytearray(whole)
        damaged[at] ^= 4
        target.write_bytes(damaged)
        with pytest.raises(IntegrityError) as caught:
            database.backup(target)
        assert caught.value.path == str(target)
        assert target.read_bytes()[PAGE_SIZE:] == damaged[PAGE_SIZE:]
    for size in (len(whole) - 8, last.offset, PAGE_SIZE):
        target.write_bytes(whole[:size])
        with pytest.raises(IntegrityError):
            database.backup(target)
        assert target.read_bytes() == whole[:size]
    target.write_bytes(whole)
    assert database.backup(target).transactions == 1


def test_a_damaged_log_leaves_the_backup_as_it_was(path: Path, target: Path) -> None:
    with Database(path) as database:
        change(database, a=1)
        database.backup(target)
        change(database, a="two" * 100)
        change(database, a=3)
    before = content(target)
    damaged = path.read_bytes().replace(b"twotwo", b"twoTwo", 1)
    path.write_bytes(damaged)

    with Database(path) as database:
        with pytest.raises(IntegrityError) as caught:
            database.backup(target)
        with pytest.raises(IntegrityError):
            database.backup(target.with_name("other.log"))

    assert caught.value.path == str(path)
    assert content(target) == before
    assert sorted(path.parent.iterdir()) == [target, path]


def test_a_database_without_a_transaction_or_a_file_has_no_backup(
    path: Path, target: Path
) -> None:
    with Database(path) as database:
        with pytest.raises(CopyError, match="no transaction yet"):
            database.backup(target)
        path.touch()
        with pytest.raises(CopyError, match="no transaction yet"):
            database.backup(target)
    with pytest.raises(ClosedError):
        database.backup(target)
    assert not target.exists()


def test_two_backups_at_once_to_one_path_do_not_mix(database: Database, target: Path) -> None:
    change(database, a=1)
    errors: list[CopyError] = []

    def second(_done: int, _total: int) -> None:
        with pytest.raises(CopyError) as caught:
            database.backup(target)
        errors.append(caught.value)

    database.backup(target, progress=second)
    change(database, b=1)
    database.backup(target, progress=second)

    assert ["another" in str(error) for error in errors] == [True, True]


def test_a_full_disk_leaves_the_backup_as_it_was(
    database: Database, path: Path, target: Path
) -> None:
    change(database, a="x" * 10_000)
    with at_most(9000), pytest.raises(OSError, match="part") as caught:
        database.backup(target)
    assert caught.value.errno == errno.EFBIG
    assert sorted(path.parent.iterdir()) == [path]
    database.backup(target)
    change(database, b="y" * 10_000)
    before = frames(target)

    with (
        at_most(target.stat().st_size + 5000),
        pytest.raises(OSError, match=str(target)),
    ):
        database.backup(target)

    assert frames(target) == before
    assert tids(target) == tids(path)[:-1]
    database.backup(target)
    assert frames(target) == frames(path)


# -- kills, interrupts, power cuts -------------------------------------------------------


def three_transactions_later(
    path: Path, target: Path, *, first: bool, size: int = 3_000_000
) -> tuple[bytes, list[int]]:
    """Make a log and a backup that is older, if it is not the *first*; return the latter.

    The *size* of a stream is that of several pieces, if not all shall be copied at once.
    """
    with Database(path) as database:
        change(database, a=1)
        change(database, a=2)
        if not first:
            database.backup(target)
        old = tids(path)
        change(database, a=3)
        checkout(database.root)
        database.root["s"] = PersistentFile(io.BytesIO(b"x" * size))
        transaction.commit()
        change(database, a=4)
    return (b"" if first else target.read_bytes()), old


def is_old_or_new(path: Path, target: Path, old: list[int]) -> None:
    """The backup is as of the old or the new state, for a reader and the next writer."""
    new = tids(path)
    assert tids(target) in (old, new)
    with TransactionLog(target) as log:
        log.acquire()
        log.release()
    assert tids(target) in (old, new)
    check_log(target).raise_if_bad()


def run(path: Path, target: Path) -> None:
    with Database(path, transaction_manager=transaction.TransactionManager()) as database:
        database.backup(target)


@pytest.mark.parametrize(
    "step", [37, pytest.param(step(7), marks=pytest.mark.slow)], ids=["some", "more"]
)
@pytest.mark.parametrize("first", [False, True])
def test_killed_at_any_line_it_leaves_the_old_or_the_new_backup(
    path: Path, target: Path, *, first: bool, step: int
) -> None:
    before, old = three_transactions_later(path, target, first=first)
    number = 1
    while killed(lambda: run(path, target), number):
        if target.exists():
            is_old_or_new(path, target, old)
        else:
            assert first
        run(path, target)
        assert frames(target) == frames(path)
        if first:
            target.unlink()
        else:
            target.write_bytes(before)
        number += step

    assert number > 200
    assert frames(target) == frames(path)
    target.with_name("backup.log.part").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "step", [61, pytest.param(step(7), marks=pytest.mark.slow)], ids=["some", "more"]
)
@pytest.mark.parametrize("first", [False, True])
def test_interrupted_at_any_line_it_leaves_the_old_or_the_new_backup(
    path: Path, target: Path, *, first: bool, step: int
) -> None:
    before, old = three_transactions_later(path, target, first=first)
    with Database(path, transaction_manager=transaction.TransactionManager()) as database:
        number = 1
        while interrupted(lambda: database.backup(target), number):
            if target.exists():
                is_old_or_new(path, target, old)
            database.backup(target)
            assert frames(target) == frames(path)
            if first:
                target.unlink()
            else:
                target.write_bytes(before)
            number += step

    assert number > 200
    target.with_name("backup.log.part").unlink(missing_ok=True)


class Images:
    """Takes an image of a file whenever a line has changed it; forgets those before a sync."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.images = [path.read_bytes()]
        self.moments: list[list[bytes]] = []

    def __call__(self, frame: Any, event: str, _arg: Any) -> Any:
        return self.line if copies_log(frame) else None

    def line(self, frame: Any, event: str, _arg: Any) -> Any:
        data = self.path.read_bytes()
        if data != self.images[-1]:
            self.images.append(data)
            self.moments.append(list(self.images))
        if event == "return" and frame.f_code.co_name == "sync":
            self.images = [data]
        return self.line


@pytest.mark.parametrize("seeds", [60, pytest.param(1000 // step(6), marks=pytest.mark.slow)])
def test_a_power_cut_leaves_the_old_or_the_new_backup(
    path: Path, target: Path, seeds: int
) -> None:
    _, old = three_transactions_later(path, target, first=False, size=20_000)
    images = Images(target)
    manager = transaction.TransactionManager()
    with Database(path, transaction_manager=manager) as database, tracing(images):
        database.backup(target)
    assert len(images.moments) > 3
    generator = random.Random(1)

    for moment in images.moments:
        for _ in range(seeds):
            copy = crash(moment, generator)
            target.write_bytes(copy)
            is_old_or_new(path, target, old)
    run(path, target)
    assert frames(target) == frames(path)
    # What was acknowledged is there.
    assert len(images.images) == 1
    target.write_bytes(images.images[0])
    assert tids(target) == tids(path)


def test_what_a_killed_backup_has_left_beside_is_removed_by_the_next(
    database: Database, target: Path
) -> None:
    change(database, a=1)
    part = target.with_name("backup.log.part")
    part.write_bytes(b"left")
    kept = target.with_name("kept.log")
    os.link(part, kept)  # The name may be that of a file which is needed.

    database.backup(target)

    assert not part.exists()
    assert kept.read_bytes() == b"left"


def test_a_log_that_has_the_name_of_what_is_written_first_stays(
    database: Database, target: Path
) -> None:
    change(database, a=1)
    part = target.with_name("backup.log.part")
    with TransactionLog(part) as log:
        log.acquire()
        log.release()
    there = part.read_bytes()

    with pytest.raises(
        CopyError, match=r"backup\.log\.part, .* is a log; move it, or give another path"
    ):
        database.backup(target)

    assert part.read_bytes() == there
    part.unlink()


def test_a_backup_that_is_deleted_while_it_is_written_is_not_taken_for_one(
    database: Database, target: Path
) -> None:
    change(database, a=1)
    database.backup(target)
    change(database, a=2)

    with pytest.raises(CopyError, match="deleted or replaced while it was written"):
        database.backup(target, progress=lambda _done, _total: target.unlink(missing_ok=True))

    assert database.backup(target).full


def test_a_backup_that_may_not_be_written_says_so(
    database: Database, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that the system has made read-only; not what to do with a log."""
    change(database, a=1)
    database.backup(target)

    def refuse(path: str, flags: int, mode: int = 0o600) -> int:
        if flags & os.O_RDWR:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return open_file(path, flags, mode)

    open_file = disk.open_file
    monkeypatch.setattr(disk, "open_file", refuse)
    with pytest.raises(CopyError, match=r"read and not written \(Read-only file system\)$"):
        database.backup(target)


# -- packed logs ------------------------------------------------------------------------


def test_after_a_pack_the_whole_log_is_copied_and_replaces_the_backup(
    path: Path, target: Path
) -> None:
    with Database(path) as database:
        change(database, a=1)
        change(database, a=2, s=PersistentFile(io.BytesIO(b"s" * 1000)))
        database.backup(target)
        inode = target.stat().st_ino
        database.pack()
        change(database, b=3)

        report = database.backup(target)

        assert report.full
        assert frames(target) == frames(path)
        assert target.stat().st_ino != inode
        change(database, b=4)
        assert not database.backup(target).full
    with Database(target) as copy:
        assert (copy.root["a"], copy.root["b"]) == (2, 4)
        assert b"".join(copy.root["s"]) == b"s" * 1000


def test_an_earlier_copy_is_no_backup_of_a_packed_one_that_is_newer(
    path: Path, target: Path
) -> None:
    with Database(path) as database:
        change(database, a=1)
        earlier = path.read_bytes()
        change(database, a=2)
        database.pack()
        database.backup(target)
    path.write_bytes(earlier)
    before = content(target)

    with Database(path) as database, pytest.raises(CopyError, match="does not have"):
        database.backup(target)

    assert content(target) == before


def test_a_pack_in_the_midst_of_a_backup_does_not_matter(
    database: Database, path: Path, target: Path
) -> None:
    for number in range(3):
        change(database, a=number, b="x" * 3_000_000)
    before = frames(path)
    packed = []

    def pack(_done: int, _total: int) -> None:
        if not packed:
            packed.append(database.pack())

    database.backup(target, progress=pack)

    assert packed[0].dropped.transactions
    assert frames(target) == before
    assert database.backup(target).full
    assert frames(target) == frames(path)


@pytest.mark.parametrize("killed", [False, True])
def test_a_child_that_was_forked_meanwhile_has_no_lock_of_the_backup(
    database: Database, path: Path, target: Path, *, killed: bool
) -> None:
    """It counted among those that write; and as its parent was killed, nobody could go on."""
    change(database, a=1)
    database.backup(target)
    change(database, a=2)
    ends, ready = os.pipe(), os.pipe()

    def stay() -> None:
        outlive_parent()
        os.write(ready[1], b".")
        os.close(ends[1])
        os.read(ends[0], 1)

    def progress(done: int, total: int) -> None:
        if done < total:
            return
        forked(stay)
        os.read(ready[0], 1)
        if killed:
            os.kill(os.getpid(), signal.SIGKILL)

    backs_up = forked(lambda: database.backup(target, progress=progress))
    assert exit_code(backs_up) == (-signal.SIGKILL if killed else 0)

    with target.open("r+b") as file:  # The child is still there.
        assert range_lock.holder(file.fileno(), str(target), range_lock.WRITER) is None
    database.backup(target)
    assert frames(target) == frames(path)
    for descriptor in (*ends[::-1], *ready):
        os.close(descriptor)
