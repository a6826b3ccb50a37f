"""Restoring a log from a backup: what is there then, who gets to know it, what is refused."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import transaction

from dobbin_like import CopyError, Database, PersistentDict, TransactionLog, checkout
from dobbin_like.check import check_log
from dobbin_like.exc import (
    FormatVersionError,
    IntegrityError,
    LockTimeout,
    LogMovedError,
    NotALogError,
    SelfWaitError,
)
from dobbin_like.log.file import new_file
from dobbin_like.log.file.new_file import NewFile
from dobbin_like.log.format.header import PAGE_SIZE, RESTORED, STATE
from dobbin_like.log.writing import writable
from dobbin_like.upkeep.pack import pack_file
from dobbin_like.upkeep.restore import RestoreReport, restore
from tests.helpers.log_files import tids, with_words, word_in
from tests.helpers.processes import exit_code, forked, run, start
from tests.helpers.steps import in_thread
from tests.helpers.transactions import change

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dobbin_like.log.reading.readable import ReadableLog


@pytest.fixture
def log(path: Path) -> Iterator[Path]:
    """A log of three transactions, with a backup of the first two beside it."""
    with Database(TransactionLog(path, sync=False)) as database:
        change(database, a=1)
        change(database, a=2)
        database.backup(path.with_name("backup.log"))
        change(database, a=3)
    yield path
    assert not path.with_name("data.log.part").exists()


@pytest.fixture
def backup(log: Path) -> Path:
    return log.with_name("backup.log")


def value(path: Path) -> int:
    manager = transaction.TransactionManager()
    with Database(TransactionLog(path, read_only=True), transaction_manager=manager) as database:
        return database.root["a"]


# -- what it does ----------------------------------------------------------------------


def test_the_backup_takes_the_place_of_the_log(log: Path, backup: Path) -> None:
    before = backup.read_bytes()

    report = restore(backup, log)

    assert (value(log), tids(log)) == (2, tids(backup))
    assert (report.transactions, report.tid, report.dropped) == (2, tids(backup)[-1], 1)
    assert str(report).startswith(f"{log}: restored, 2 transactions")
    assert str(report).endswith("; 1 later transaction is gone")
    assert log.read_bytes()[PAGE_SIZE:] == before[PAGE_SIZE:]
    assert backup.read_bytes() == before
    check_log(log).raise_if_bad()
    assert check_log(log).notes == []


def test_a_log_that_is_not_there_is_restored(log: Path, backup: Path) -> None:
    log.unlink()

    assert restore(str(backup), str(log)).dropped == 0
    assert value(log) == 2


@pytest.mark.parametrize("size", [0, PAGE_SIZE])
def test_a_log_that_was_never_begun_is_replaced(log: Path, backup: Path, size: int) -> None:
    log.write_bytes(bytes(size))

    restore(backup, log)

    assert value(log) == 2


@pytest.mark.parametrize("place", [20, PAGE_SIZE + 20])
def test_a_damaged_log_is_replaced(log: Path, backup: Path, place: int) -> None:
    data = bytearray(log.read_bytes())
    data[place : place + 4] = b"\xff\xfe\xfd\xfc"
    log.write_bytes(data)

    report = restore(backup, log)

    assert (value(log), report.dropped) == (2, None)
    assert "an unknown number of later transactions" in str(report)


def test_the_restored_log_goes_on_and_so_does_its_backup(log: Path, backup: Path) -> None:
    restore(backup, log)
    with Database(log) as database:
        change(database, a=7)
        assert not database.backup(backup).full

    assert (value(log), value(backup)) == (7, 7)
    assert tids(log) == tids(backup)


def test_permissions_and_links_stay(log: Path, backup: Path) -> None:
    log.chmod(0o640)
    link = log.with_name("link.log")
    link.symlink_to(log)

    restore(backup, link)

    assert link.is_symlink()
    assert log.stat().st_mode & 0o777 == 0o640
    assert value(link) == 2


def test_progress_rises_to_the_end(log: Path, backup: Path) -> None:
    calls: list[tuple[int, int]] = []

    restore(backup, log, lambda done, total: calls.append((done, total)))

    assert calls == sorted(calls)
    assert calls[-1][0] == calls[-1][1]


# -- programs that have it open --------------------------------------------------------------


def test_who_has_it_open_is_told_when_it_commits(log: Path, backup: Path) -> None:
    with Database(log) as database:
        checkout(database.root)
        database.root["a"] = 9
        in_thread(lambda: restore(backup, log))
        with pytest.raises(LogMovedError, match="another file is there, restored from a backup"):
            transaction.commit()
        for begin in (transaction.abort, transaction.begin):  # The next one begins in abort().
            with pytest.raises(LogMovedError):
                begin()

        assert value(log) == 2
    assert value(log) == 2


def test_who_only_reads_is_told_when_it_begins(log: Path, backup: Path) -> None:
    with TransactionLog(log, read_only=True) as reader:
        restore(backup, log)

        for _ in range(2):
            assert reader.has_news()
            with pytest.raises(LogMovedError, match="restored from a backup"):
                reader.read_news()
        assert len(reader) == 3


def test_a_log_of_a_later_generation_is_not_taken_for_a_pack(log: Path, backup: Path) -> None:
    """Whoever followed it would mix the states of both."""
    old = log.with_name("old.log")
    old.write_bytes(log.read_bytes())
    with Database(log) as database:
        database.pack()
        database.backup(backup)
    with TransactionLog(old) as writer, TransactionLog(old, read_only=True) as reader:
        restore(backup, old)

        with pytest.raises(LogMovedError, match="restored"):
            writer.acquire()
        with pytest.raises(LogMovedError, match="restored"):
            reader.read_news()


def test_what_is_committed_while_it_copies_is_counted(log: Path, backup: Path) -> None:
    manager = transaction.TransactionManager()
    with Database(log, transaction_manager=manager) as database:

        def commit(_done: int, _total: int) -> None:
            checkout(database.root)
            database.root["a"] += 1
            manager.commit()

        report = restore(backup, log, commit)
        assert report.dropped is not None
        assert report.dropped > 1


def test_who_waits_for_the_disk_gets_its_answer_before(log: Path, backup: Path) -> None:
    with TransactionLog(log) as writer:
        writer.acquire()
        logged = writer.append(writer.tid + 1, [(0, 1, b"state")], wait=False)
        writer.release()

        assert restore(backup, log).dropped == 2
        writer.confirm(logged)  # It was in the log when that was replaced.


def test_the_commit_lock_is_waited_for(log: Path, backup: Path) -> None:
    reports: list[RestoreReport] = []
    thread = threading.Thread(target=lambda: reports.append(restore(backup, log)))
    with TransactionLog(log) as writer:
        writer.acquire()
        with pytest.raises(LockTimeout):
            in_thread(lambda: restore(backup, log, lock_timeout=0))
        with pytest.raises(SelfWaitError):
            restore(backup, log)
        thread.start()
        writer.append(writer.tid + 1, [(0, 1, b"state")])
        writer.release()
        thread.join(60)

    assert [report.dropped for report in reports] == [2]
    assert value(log) == 2


def test_a_restore_that_was_killed_before_its_end_is_no_news(log: Path, backup: Path) -> None:
    log.write_bytes(with_words(log.read_bytes(), STATE=RESTORED))
    with TransactionLog(log, read_only=True) as reader:
        assert reader.read_news() == []
        with Database(log) as database:
            change(database, a=4)
        assert len(reader.read_news()) == 1

    assert word_in(log.read_bytes(), STATE) == 0


def test_who_opens_a_log_while_it_is_replaced_writes_to_the_new_one(
    log: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    join = writable.join

    def late(opened: ReadableLog) -> bool:
        monkeypatch.undo()
        restore(backup, log)
        return join(opened)

    monkeypatch.setattr(writable, "join", late)
    with Database(log) as database:
        assert database.root["a"] == 2
        change(database, a=5)
    assert value(log) == 5


@pytest.mark.slow
def test_every_commit_is_in_the_log_or_counted_as_gone(log: Path, backup: Path) -> None:
    with Database(log) as database:
        change(database, **{str(number): PersistentDict() for number in range(2)})
        database.backup(backup)
    known = len(tids(backup))
    program = f"""if True:
        import sys, threading, transaction
        from dobbin_like import Database, TransactionLog, checkout
        from dobbin_like.exc import LogMovedError
        key, count, ends = sys.argv[1], 0, threading.Event()
        threading.Thread(target=lambda: (sys.stdin.read(), ends.set()), daemon=True).start()
        while not ends.is_set():
            try:
                with Database(TransactionLog({str(log)!r}, sync=key == "0")) as database:
                    while not ends.is_set():
                        transaction.begin()
                        checkout(database.root[key])
                        database.root[key]["n"] = count
                        transaction.commit()
                        count += 1
                        if count == 1:
                            print("begun", flush=True)
            except LogMovedError:
                try:
                    transaction.abort()
                except LogMovedError:
                    pass
        print(count)
    """
    command = [sys.executable, "-c", program]
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    started = [start([*command, key], **pipes, bufsize=0) for key in "01"]
    for process in started:
        assert process.stdout.readline() == b"begun\n"
    gone = times = 0
    while times < 20:
        time.sleep(0.05)
        dropped = restore(backup, log).dropped
        assert dropped is not None
        gone += dropped
        times += dropped > 0
    counts = [int(process.communicate()[0]) for process in started]

    assert sum(counts) == gone + len(tids(log)) - known
    check_log(log).raise_if_bad()


# -- what is refused ---------------------------------------------------------------------------


def unchanged(log: Path, backup: Path, error: type[BaseException], **options: bool) -> None:
    before = log.read_bytes()
    with pytest.raises(error):
        restore(backup, log, **options)
    assert log.read_bytes() == before


def damage(path: Path) -> None:
    """Damage the state of the second transaction."""
    with TransactionLog(path, read_only=True) as log:
        second = list(log.transactions())[1]
    data = bytearray(path.read_bytes())
    data[second.end - 12] ^= 0xFF
    data[second.end - 20] ^= 0xFF
    path.write_bytes(data)


def test_a_damaged_backup_is_refused_unless_its_beginning_is_asked_for(
    log: Path, backup: Path
) -> None:
    first = tids(backup)[:1]
    damage(backup)

    unchanged(log, backup, IntegrityError)
    report = restore(backup, log, prefix=True)

    assert (report.transactions, report.dropped) == (1, 2)
    assert tids(log) == first


def test_a_backup_that_was_cut_is_refused_unless_it_is_asked_for(log: Path, backup: Path) -> None:
    data, first = backup.read_bytes(), tids(backup)[:1]
    backup.write_bytes(data[:-8])  # In place.
    unchanged(log, backup, IntegrityError)
    copy = backup.with_name("copy.log")
    copy.write_bytes(data[:-8])

    unchanged(log, copy, CopyError)
    assert restore(copy, log, prefix=True).transactions == 1
    assert tids(log) == first


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"", CopyError), (bytes(PAGE_SIZE), CopyError), (b"text" * 2000, NotALogError)],
)
@pytest.mark.parametrize("prefix", [True, False])
def test_what_has_no_transaction_is_refused(
    log: Path, backup: Path, data: bytes, error: type[BaseException], prefix: bool
) -> None:
    backup.write_bytes(data)

    unchanged(log, backup, error, prefix=prefix)


def test_something_else_is_not_replaced(log: Path, backup: Path) -> None:
    log.write_bytes(b"a letter\n" * 1000)
    unchanged(log, backup, NotALogError)


def test_a_log_of_a_newer_format_is_not_replaced(log: Path, backup: Path) -> None:
    data = bytearray(log.read_bytes())
    data[8:12] = (99).to_bytes(4, "little")
    log.write_bytes(data)
    unchanged(log, backup, FormatVersionError)


def test_the_log_itself_is_refused(log: Path) -> None:
    unchanged(log, log, CopyError)


def test_a_log_with_other_names_is_refused(log: Path, backup: Path) -> None:
    os.link(log, log.with_name("other.log"))
    unchanged(log, backup, CopyError)


def test_a_backup_that_is_not_there_is_an_error_of_the_system(log: Path) -> None:
    unchanged(log, log.with_name("nothing.log"), FileNotFoundError)


def test_a_log_that_somebody_begins_meanwhile_is_not_replaced(log: Path, backup: Path) -> None:
    log.unlink()

    def begin(_done: int, _total: int) -> None:
        if not log.exists():
            with suppress(FileNotFoundError), TransactionLog(log) as other:
                other.acquire()
                other.append(other.tid + 1, [(0, 1, b"state")], [(1, "shop", "Cart")])
                other.release()

    restore(backup, log, begin)
    assert value(log) == 2  # It was there when the lock was taken, and is counted.


def test_if_it_can_not_be_put_there_the_log_goes_on(
    log: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_file: NewFile, *, replace: bool) -> None:
        assert replace
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(log))

    with Database(log) as database, monkeypatch.context() as patch:
        patch.setattr(NewFile, "put", fail)
        with pytest.raises(OSError, match="busy"):
            restore(backup, log)
        change(database, a=4)
    assert value(log) == 4


def test_if_it_was_put_there_and_the_rest_fails_the_old_log_is_told_of(
    log: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who only reads would have gone on in a file that is gone."""

    def fail(_path: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(log))

    with TransactionLog(log, read_only=True) as reader:
        with monkeypatch.context() as patch:
            patch.setattr(new_file, "sync_directory", fail)
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                restore(backup, log)
        assert reader.has_news()
        with pytest.raises(LogMovedError, match="restored from a backup"):
            reader.read_news()
    assert value(log) == 2


@pytest.mark.parametrize("opens", [False, True], ids=["packed at once", "opened before"])
def test_killed_when_the_log_has_its_name_it_can_be_packed(
    log: Path, backup: Path, monkeypatch: pytest.MonkeyPatch, opens: bool
) -> None:
    """It has that under which it was written as well, and a log with two names is not packed."""
    log.unlink()

    def is_killed() -> None:
        monkeypatch.setattr(new_file, "sync_directory", lambda _path: os._exit(9))
        restore(backup, log)

    assert exit_code(forked(is_killed)) == 9
    assert log.samefile(log.with_name("data.log.part"))

    if opens:
        with Database(log) as database:
            change(database, a=4)
        assert not log.with_name("data.log.part").exists()
    assert pack_file(str(log)).before.objects
    assert not log.with_name("data.log.part").exists()


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(0, 60, 4))
def test_killed_at_any_moment_it_leaves_one_log_or_the_other(
    log: Path, backup: Path, moment: int
) -> None:
    program = f"""if True:
        import os, signal
        from dobbin_like.upkeep.restore import restore
        count = 0
        def counted(call):
            def call_or_die(*args, **options):
                global count
                count += 1
                if count > {moment}:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **options)
            return call_or_die
        for name in "pwrite", "replace", "fsync", "fdatasync", "ftruncate", "link", "unlink":
            setattr(os, name, counted(getattr(os, name)))
        restore({str(backup)!r}, {str(log)!r})
    """
    run([sys.executable, "-c", program])

    check_log(log).raise_if_bad()
    before = value(log)
    assert before in {2, 3}
    with Database(log) as database:
        change(database, a=before + 10)
    assert value(log) == before + 10
    log.with_name("data.log.part").unlink(missing_ok=True)
