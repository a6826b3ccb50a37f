"""What a program meets on a system: mounts, groups, limits, names, others that stand still."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import unicodedata
import weakref
from functools import partial
from pathlib import Path
from struct import pack
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import Database, PersistentList, safe
from dobbin_like.check import check_log
from dobbin_like.exc import (
    CopyError,
    InDoubtError,
    LockTimeout,
    LogMovedError,
    NotALogError,
    PackError,
)
from dobbin_like.exchange.sqlite import mirror
from dobbin_like.log import path_watch
from dobbin_like.log.copies.new_log import NewLog
from dobbin_like.log.file import lock, log_file, range_lock, words
from dobbin_like.log.file.disk import DiskError
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.new_file import NewFile
from dobbin_like.repair import repair
from dobbin_like.repair.listing import readable
from dobbin_like.safe.growth import Growth
from dobbin_like.storage import MemoryLog, TransactionLog
from dobbin_like.upkeep.auto_pack import auto_pack
from dobbin_like.upkeep.pack import pack_file
from dobbin_like.upkeep.restore import restore
from tests.helpers.log_files import open_files
from tests.helpers.processes import exit_code, forked, in_child, python_path, run, start
from tests.helpers.transactions import change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ACCESS = "system.posix_acl_access"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")


@pytest.fixture
def kept(path: Path) -> Iterator[safe.Safe]:
    with safe.open(path, pack_when=None) as kept:
        yield kept
    check_log(path).raise_if_bad()


# -- where a file lies ---------------------------------------------------------------------

MOUNTED = """
import subprocess, sys
from dobbin_like import safe
from dobbin_like.exc import PackError

subprocess.run(["mount", "--bind", *sys.argv[1:]], check=True)
with safe.open(sys.argv[2], pack_when=None) as kept:
    kept["n"] = 1
    try:
        kept.pack()
    except PackError as error:
        print(error)
    kept["n"] += 1
"""


@needs_root
@pytest.mark.slow
def test_a_file_that_is_mounted_by_itself_is_not_packed_and_says_why(kept, path, tmp_path):
    mounted = tmp_path / "inside" / "app.safe"
    mounted.parent.mkdir()
    mounted.touch()
    command = ["unshare", "--mount", sys.executable, "-c", MOUNTED, path, mounted]

    ended = run(command, capture_output=True, text=True, env=python_path())

    if ended.stderr.startswith("unshare: "):  # It may not, or the root is not a mount: a chroot.
        pytest.skip("nothing can be mounted here: " + ended.stderr.strip())
    assert "mount its directory instead" in ended.stdout, ended.stderr
    assert kept["n"] == 2
    assert os.listdir(mounted.parent) == ["app.safe"]  # noqa: PTH208


@pytest.mark.parametrize("what", ["gone", "another"])
def test_a_log_that_is_not_at_its_path_is_neither_packed_nor_backed_up(
    path: Path, tmp_path: Path, what: str
) -> None:
    with Database(tmp_path / "other.log") as other:
        change(other, n=1)
        change(other, n=2)
    with Database(path) as database:
        change(database, n=1)
        looking = auto_pack(database._store, 0.1)
        path.rename(tmp_path / "moved.log")
        if what == "another":
            (tmp_path / "other.log").rename(path)

        with pytest.raises(LogMovedError):
            database.pack()
        with pytest.raises(LogMovedError):
            database.pack(dry_run=True)
        with pytest.raises(LogMovedError):
            looking._pack()
        with pytest.raises(LogMovedError):
            database.backup(tmp_path / "backup.log")

        assert database.snapshot(tmp_path / "saved.log").objects == 1
    if what == "another":
        with Database(path) as other:
            assert len(list(other.history(other.root))) == 2
    assert not (tmp_path / "backup.log").exists()


@pytest.mark.parametrize("what", ["pack", "dry run", "pack by itself", "safe", "backup"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_log_that_is_moved_when_its_path_was_checked_is_neither_packed_nor_backed_up(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, is_there: bool
) -> None:
    with Database(tmp_path / "other.log") as other:
        change(other, n=1)
        change(other, n=2)
    check_path = TransactionLog.check_path

    def check_and_move(log: TransactionLog) -> None:
        check_path(log)
        if not (tmp_path / "moved.log").exists():
            path.rename(tmp_path / "moved.log")
            if is_there:
                (tmp_path / "other.log").rename(path)

    with Database(path) as database:
        change(database, n=1)
        log: Any = database.storage
        looking = auto_pack(database._store, 0.1)
        steps: dict[str, Callable[[], object]] = {
            "pack": database.pack,
            "dry run": partial(database.pack, dry_run=True),
            "pack by itself": looking._pack,
            "safe": Growth(log, 0.1)._packing._pack,
            "backup": partial(database.backup, tmp_path / "backup.log"),
        }
        with monkeypatch.context() as patch:
            patch.setattr(TransactionLog, "check_path", check_and_move)
            with pytest.raises((LogMovedError, FileNotFoundError)):
                steps[what]()

    with Database(path if is_there else tmp_path / "other.log") as other:
        assert len(list(other.history(other.root))) == 2
    assert not (tmp_path / "backup.log").exists()


@pytest.mark.parametrize("what", ["gone", "another"])
def test_who_only_reads_a_log_that_is_not_at_its_path_is_warned_once(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    monkeypatch.setattr(path_watch, "_LOOK_SECONDS", 0)
    with Database(path) as database, Database(tmp_path / "other.log") as other:
        change(database, n=1)
        change(other, n=2)
    with Database(path, read_only=True) as reader:
        assert reader.root["n"] == 1
        path.rename(tmp_path / "moved.log")
        if what == "another":
            (tmp_path / "other.log").rename(path)
        for _ in range(3):
            transaction.begin()
            assert reader.root["n"] == 1  # A program may have deleted it on purpose.

    found = "the file is gone" if what == "gone" else "another file is there"
    told = [each.getMessage() for each in caplog.records if each.name.endswith("path_watch")]
    assert [found in each for each in told] == [True]


def test_who_only_reads_a_log_that_is_packed_or_restored_is_not_warned(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(path_watch, "_LOOK_SECONDS", 0)
    with Database(path) as database:
        change(database, n=1)
        change(database, n=2)
        database.backup(tmp_path / "backup.log")
    with TransactionLog(path, read_only=True) as reader:
        for _ in range(2):
            pack_file(str(path))
            while reader.has_news():
                reader.apply(reader.read_news())
            assert not reader.has_news()
        restore(tmp_path / "backup.log", path)
        assert reader.has_news()
        with pytest.raises(LogMovedError):
            reader.read_news()
    assert not [each for each in caplog.records if each.name.endswith("path_watch")]


def test_a_log_that_is_moved_while_it_is_packed_does_not_replace_another(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = NewLog.complete

    def complete_and_move(new: NewLog) -> None:
        complete(new)
        path.rename(tmp_path / "moved.log")
        path.write_text("of somebody else")

    with Database(path) as database:
        change(database, n=1)
        monkeypatch.setattr(NewLog, "complete", complete_and_move)
        with pytest.raises(LogMovedError, match="another file is there"):
            database.pack()

    assert path.read_text() == "of somebody else"
    with Database(tmp_path / "moved.log") as moved:
        assert moved.root["n"] == 1
        transaction.abort()


def test_who_has_a_log_open_that_was_restored_does_not_pack_the_restored_one(
    path: Path, tmp_path: Path
) -> None:
    with Database(path) as database:
        change(database, n=1)
        change(database, n=2)
        database.backup(tmp_path / "backup.log")
        restore(tmp_path / "backup.log", path)

        with pytest.raises(LogMovedError, match="restored from a backup"):
            database.pack()

    with Database(path) as restored:
        assert len(list(restored.history(restored.root))) == 2


def test_a_log_that_another_has_packed_is_packed_and_backed_up(path: Path, tmp_path: Path) -> None:
    with Database(path) as database, Database(path) as another:
        change(database, n=1)
        change(database, n=2)
        pack_file(str(path))
        assert database.pack().packed

        assert another.backup(tmp_path / "backup.log").transactions == 1


@needs_root
@pytest.mark.parametrize("mask", [0o002, 0o077])
def test_whoever_of_a_group_packs_a_file_leaves_it_to_the_group(mask: int) -> None:
    group, owner, other = 61234, 61001, 61002
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, 0, group)
        os.chmod(directory, 0o2775)  # noqa: PTH101
        path = Path(directory) / "shared.safe"
        with safe.open(path, pack_when=None) as kept:
            kept["n"] = 1
            kept["n"] = 2
            kept.pack()  # All that is imported late.
        os.chown(path, owner, group)
        path.chmod(0o664)

        def as_user(user: int, work: Any) -> None:
            def works() -> None:
                os.setgroups([group])
                os.setgid(user)
                os.setuid(user)
                os.umask(mask)
                work()

            assert exit_code(forked(works)) == 0

        def writes() -> None:
            with safe.open(path, pack_when=None) as kept:
                kept.increment("n")

        as_user(other, writes)
        as_user(other, lambda: pack_file(str(path)))
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (other, group)
        assert stat.S_IMODE(found.st_mode) == 0o664
        as_user(owner, writes)
        with safe.open(path, "r") as kept:
            assert kept["n"] == 4


def access_list(user: int) -> bytes:
    """Return a list by which *user* and the owner may read and write, and the group may not."""
    everybody = 0xFFFF_FFFF
    rows = [(1, 6, everybody), (2, 6, user), (4, 0, everybody), (16, 6, everybody)]
    return pack("<I", 2) + b"".join(pack("<HHI", *row) for row in [*rows, (32, 0, everybody)])


@pytest.fixture
def listed(path: Path) -> bytes:
    """The access control list of a log, of which there is a backup."""
    with Database(path) as database:
        change(database, n=1)
        database.backup(path.with_name("backup.log"))
    try:
        os.setxattr(path, ACCESS, access_list(61002))
    except OSError:
        pytest.skip("this file system has no access control lists")
    return os.getxattr(path, ACCESS)


def test_a_pack_and_a_restore_keep_an_access_control_list(path: Path, listed: bytes) -> None:
    pack_file(str(path))
    assert os.getxattr(path, ACCESS) == listed

    restore(path.with_name("backup.log"), path)
    assert os.getxattr(path, ACCESS) == listed
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


@pytest.mark.usefixtures("listed")
def test_a_copy_gives_the_group_no_more_than_an_access_control_list(
    path: Path, tmp_path: Path
) -> None:
    with Database(path, read_only=True) as database:
        database.backup(tmp_path / "new")
        database.snapshot(tmp_path / "snapshot.log")
    repair(path, tmp_path / "repaired.log")

    for name in ("new", "snapshot.log", "repaired.log"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


@pytest.mark.usefixtures("listed")
def test_where_no_list_can_be_the_group_gets_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    pack_file(str(path))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "its access control list can't be kept" in caplog.text


@needs_root
@pytest.mark.parametrize("member", [True, False])
def test_whoever_restores_a_log_leaves_it_to_its_group_alone(*, member: bool) -> None:
    group, owner, other = 61234, 61001, 61002
    with tempfile.TemporaryDirectory() as directory:
        path, backup = Path(directory) / "data.log", Path(directory) / "backup.log"
        with Database(path) as database:
            change(database, n=1)
            database.backup(backup)
        os.chown(path, owner, group)
        path.chmod(0o666)
        backup.chmod(0o644)
        Path(directory).chmod(0o777)
        with tempfile.TemporaryDirectory() as elsewhere:  # All that is imported late.
            restore(backup, Path(elsewhere) / "data.log")

        def restores() -> None:
            os.setgroups([group] if member else [])
            os.setgid(other)
            os.setuid(other)
            restore(backup, path)

        assert exit_code(forked(restores)) == 0
        found = path.stat()

    assert (found.st_uid, found.st_gid) == (other, group if member else other)
    assert stat.S_IMODE(found.st_mode) == (0o666 if member else 0o606)


@needs_root
def test_a_backup_that_is_written_anew_keeps_its_owner_and_permissions(
    path: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.log"
    with Database(path) as database:
        change(database, n=1)
        path.chmod(0o644)
        database.backup(backup)
        os.chown(backup, 61001, 61234)
        backup.chmod(0o600)
        database.pack()

        assert database.backup(backup).full

    found = backup.stat()
    assert (found.st_uid, found.st_gid) == (61001, 61234)
    assert stat.S_IMODE(found.st_mode) == 0o600


def test_no_new_file_takes_the_place_of_a_pipe_or_is_waited_for_there(
    path: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with Database(path) as database:
        change(database, n=1)
        database.backup(tmp_path / "backup.log")
        with pytest.raises(CopyError, match="no regular file"):
            database.backup(pipe)
        with pytest.raises(CopyError, match="no regular file"):
            mirror.make(database.storage, str(pipe))
        with pytest.raises(FileExistsError):
            database.snapshot(pipe)
    with pytest.raises(CopyError, match="no regular file"):
        restore(tmp_path / "backup.log", pipe)

    assert pipe.is_fifo()


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_is_no_file_stays_where_a_new_file_would_be_written_at_first(
    path: Path, tmp_path: Path, kind: str
) -> None:
    # It was written to and removed; a link came to the place.
    target, copy, empty = (tmp_path / name for name in ("new.log", "copy.log", "empty"))
    empty.touch()

    def lies_beside(path: Path, suffix: str) -> Path:
        place = path.with_name(f"{path.name}{suffix}")
        if kind == "pipe":
            os.mkfifo(place)
        else:
            place.symlink_to(empty)
        return place

    with Database(path) as database:
        change(database, n=1)
        database.backup(copy)
        part = lies_beside(target, ".part")
        writes: list[Callable[[], object]] = [
            partial(database.backup, target),
            partial(database.snapshot, target),
            partial(restore, copy, target),
            partial(mirror.make, database.storage, str(target)),
        ]
        for write in writes:
            with pytest.raises(CopyError, match=r"new\.log\.part, .* is no regular file; move it"):
                write()
    packed = lies_beside(copy, ".pack")
    refused = pytest.raises(PackError, match=r"copy\.log\.pack, .* is no regular file; move it")
    with Database(copy) as database, refused:
        database.pack()

    assert not target.exists()
    for place in part, packed:
        assert place.is_fifo() if kind == "pipe" else place.is_symlink()
    assert not empty.stat().st_size


def test_a_pipe_beside_a_log_with_two_names_is_not_waited_for(path: Path) -> None:
    with Database(path) as database:
        change(database, n=1)
    os.link(path, path.with_name("another name"))
    pipe = path.with_name(f"{path.name}.part")
    os.mkfifo(pipe)

    with Database(path) as database:
        assert database.root["n"] == 1

    assert pipe.is_fifo()


def test_a_pipe_is_neither_checked_nor_repaired(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(NotALogError, match="no regular file"):
        check_log(pipe)
    with pytest.raises(NotALogError, match="no regular file"):
        repair(pipe, tmp_path / "repaired.log")
    with pytest.raises(NotALogError, match="no regular file"):
        list(readable(str(pipe)))


def test_a_file_whose_place_is_busy_says_what_to_do(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is mounted by itself is."""

    def refuse(*_paths: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    with Database(path) as database:
        change(database, n=1)
        database.backup(tmp_path / "backup.log")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(CopyError, match="mount its directory instead"):
        restore(tmp_path / "backup.log", path)

    with Database(path) as database:
        change(database, n=2)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o177])
def test_new_files_are_their_owners_only(tmp_path: Path, mask: int) -> None:
    """Whatever others may read elsewhere: who wants to share a file says so, by its mode."""
    before = os.umask(mask)
    try:
        with safe.open(tmp_path / "kept.safe") as kept:
            kept["password"] = "secret"
        with Database(tmp_path / "data.log", sync=False) as database:
            database.set_root(PersistentList([1]))
            transaction.commit()
            database.backup(tmp_path / "backup.log")
            database.snapshot(tmp_path / "snapshot.log")
            database.pack()
        restore(tmp_path / "backup.log", tmp_path / "restored.log")
        repair(tmp_path / "data.log", tmp_path / "repaired.log")
        with Database(MemoryLog()) as database:
            database.set_root(PersistentList([1]))
            transaction.commit()
            database.snapshot(tmp_path / "memory.log")
    finally:
        os.umask(before)

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(modes, 0o600)
    assert len(modes) == 7


def test_files_made_of_a_shared_one_are_shared(tmp_path: Path) -> None:
    path = tmp_path / "data.log"
    with Database(path, sync=False) as database:
        database.set_root(PersistentList([1]))
        transaction.commit()
        path.chmod(0o660)
        database.backup(tmp_path / "backup.log")
        database.snapshot(tmp_path / "snapshot.log")
        database.pack()

    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o660}


def test_a_name_that_is_no_utf_8_is_a_key_a_value_and_a_path(tmp_path: Path) -> None:
    """As ``os.listdir()`` returns it."""
    name = os.fsdecode(b"caf\xe9")
    composed, decomposed = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    path = os.fsencode(tmp_path) + b"/caf\xe9.safe"
    with safe.open(path) as kept:
        kept[name] = [name]
        kept[composed] = 1
        kept[decomposed] = 2
    with safe.open(os.fsdecode(path), "r") as kept:
        assert dict(kept) == {name: [name], composed: 1, decomposed: 2}
    check_log(os.fsdecode(path)).raise_if_bad()


# -- descriptors ---------------------------------------------------------------------------


CLOSED = """
import os, sys
from dobbin_like import Database, PersistentDict, checkout
from dobbin_like.upkeep.restore import restore

path, copy = sys.argv[1:]
for number in range(3):
    os.close(number)
with Database(path) as database:
    with database.transaction():
        database.set_root(PersistentDict())
    for number in range(3):
        try:
            os.write(number, b"?" * 100)
        except OSError:
            pass
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    for number in range(3):
        os.close(number)
    with database.transaction() as root:
        checkout(root)
        root["n"] = 1

    def write(*_progress):
        for number in range(3):
            try:
                os.write(number, b"?" * 100)
            except OSError:
                pass

    database.backup(copy, write)
    database.pack(progress=write)
restore(copy, copy + ".restored", write)
"""


def test_no_file_has_the_number_of_a_standard_stream(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.log"
    ended = run([sys.executable, "-c", CLOSED, path, copy], env=python_path())

    assert ended.returncode == 0
    for file in (path, copy, tmp_path / "copy.log.restored"):
        check_log(file).raise_if_bad()
        with Database(file, read_only=True) as database:
            assert dict(database.root) == {"n": 1}


def test_who_has_closed_all_descriptors_is_told_and_loses_no_other_file(
    path: Path, tmp_path: Path
) -> None:
    """As one that goes to the background does, after it has opened a database."""

    def goes() -> list[str]:
        database = Database(path)
        change(database, n=1)
        log = database.storage._reading.file.fd
        os.close(log)
        told = []
        for _ in range(2):
            with pytest.raises(LogMovedError) as raised:
                transaction.begin()
            told.append(str(raised.value))
            os.dup2(os.open(tmp_path / "mine", os.O_RDWR | os.O_CREAT), log)
        database.close()
        os.fstat(log)  # It is that of another file by now.
        with Database(path) as again:
            change(again, n=3)
        return told

    told = in_child(goes)

    assert isinstance(told, list), told
    for text in told:
        assert "the program has closed its descriptor" in text
    with Database(path) as database:
        assert database.root["n"] == 3


def test_who_gets_the_descriptor_of_another_instance_has_the_log_for_itself(path: Path) -> None:
    """The program has closed it, and opened the log again: the locks of both are the same ones."""

    def goes() -> str:
        before = TransactionLog(path)
        os.close(before.file.fd)
        others = [TransactionLog(path)]
        while others[-1].file.fd != before.file.fd:
            others.append(TransactionLog(path))
        log = others.pop()
        log.acquire()
        with pytest.raises(LogMovedError) as raised:
            before.acquire()
        before.close()
        del before
        with path.open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        log.release()
        with Database(log) as database:
            change(database, n=3)
        return str(raised.value)

    with Database(path) as database:
        change(database, n=1)

    assert "the program has closed its descriptor" in str(in_child(goes))

    with Database(path) as database:
        assert database.root["n"] == 3


def status_refused(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(_fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fstat", fail)


def test_a_file_whose_status_the_system_refuses_is_closed_with_its_locks(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a server which has come back. It was taken for one that is closed already."""
    with Database(path) as database:
        change(database, n=1)
    log = TransactionLog(path)

    with monkeypatch.context() as patch:
        status_refused(patch, errno.ESTALE)
        log.file.check_descriptor()
        log.close()

    assert str(path) not in open_files()


@pytest.mark.parametrize("is_new", [False, True])
def test_a_file_whose_status_the_system_refuses_is_not_opened_and_the_error_names_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    file = LogFile(str(path), read_only=False)
    if not is_new:
        path.write_bytes(b"not empty")
    with monkeypatch.context() as patch:
        status_refused(patch, errno.EIO)
        with pytest.raises(OSError, match="Input/output") as raised:
            file.open_for_writing()

    assert raised.value.filename == str(path)
    assert str(path) not in open_files()


@pytest.mark.parametrize(
    ("place", "call", "number", "read_only"),
    [
        (words, "_pread", errno.EIO, False),
        (words, "_pread", errno.EIO, True),
        (fcntl, "flock", errno.ENOLCK, False),
        (fcntl, "fcntl", errno.ENOLCK, False),
        (fcntl, "fcntl", errno.ENOLCK, True),
    ],
)
def test_what_the_system_says_of_a_descriptor_names_the_file(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: Any,
    call: str,
    number: int,
    read_only: bool,
) -> None:
    """A disk that is gone, a file system without locks."""
    with Database(path) as database:
        change(database, n=1)

    def fail(*_arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(place, call, fail)
    with pytest.raises(OSError, match=os.strerror(number)) as raised:
        TransactionLog(path, read_only=read_only)

    assert (raised.value.errno, raised.value.filename) == (number, str(path))


def test_a_disk_that_is_gone_is_told_with_the_file_when_news_are_asked_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Database(path) as database:
        change(database, n=1)

        def fail(*_arguments: Any) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr(words, "_pread", fail)
            for step in (transaction.begin, database.storage.acquire):
                with pytest.raises(OSError, match=os.strerror(errno.EIO)) as raised:
                    step()
                assert raised.value.filename == str(path)
        transaction.abort()


@pytest.mark.parametrize("step", ["open", "pack", "backup", "stats"])
def test_each_status_that_the_system_refuses_is_told_with_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with Database(path) as database:
        change(database, n=1)
    steps: dict[str, Callable[[Database, Path], object]] = {
        "open": lambda _database, _target: None,
        "pack": lambda database, _target: database.pack(),
        "backup": Database.backup,
        "stats": lambda database, _target: database.stats(),
    }
    real, names = os.fstat, list[str | None]()
    for at in range(1, 100):
        calls = iter(range(1, 1000))

        def fail(fd: int, at: int = at, calls: Iterator[int] = calls) -> os.stat_result:
            if next(calls) == at:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(fd)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fstat", fail)
            try:
                with Database(path) as database:
                    steps[step](database, path.with_suffix(f".{at}"))
            except OSError as error:
                names.append(error.filename)
        if next(calls) <= at:
            break
    assert names
    assert all(name and name.startswith(str(path.with_suffix(""))) for name in names), names


def test_a_lock_that_can_not_be_asked_for_is_told_with_the_file() -> None:
    for ask in (range_lock.lock, range_lock.holder):
        with pytest.raises(DiskError) as raised:
            ask(-1, "data.log", range_lock.SYNC)
        assert raised.value.filename == "data.log"


@pytest.mark.parametrize("sync", [True, False])
def test_a_disk_that_goes_behind_an_append_leaves_the_commit_in_doubt(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, sync: bool
) -> None:
    """The error of reading news afterwards stood for it, and the transaction was there."""
    real = lock._flock

    def fail(*_arguments: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Database(path, sync=sync) as database, monkeypatch.context() as patch:
        change(database, n=1)

        def goes(fd: int, operation: int) -> None:
            if operation == fcntl.LOCK_UN:
                patch.setattr(lock, "_flock", fail)
                patch.setattr(words, "_pread", fail)
                fail()
            real(fd, operation)

        patch.setattr(lock, "_flock", goes)
        with pytest.raises(InDoubtError, match=os.strerror(errno.EIO)) as raised:
            change(database, n=2)
        with pytest.raises(DiskError):
            transaction.begin()
        patch.undo()

        transaction.abort()
        change(database, other=3)
        assert database.outcome(raised.value.tid)
        assert dict(database.root) == {"n": 2, "other": 3}


def test_a_signal_handlers_error_behind_a_failing_commit_is_raised(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TimeoutError is an OSError: it was taken for one of the disk, and dropped."""
    real = lock._flock

    def handler(*_arguments: Any) -> None:
        raise TimeoutError("the time is over")

    with Database(path) as database, monkeypatch.context() as patch:
        change(database, n=1)

        def goes(fd: int, operation: int) -> None:
            if operation == fcntl.LOCK_UN:
                patch.setattr(words.Words, "seen", handler)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(fd, operation)

        patch.setattr(lock, "_flock", goes)
        with pytest.raises(TimeoutError, match="the time is over") as raised:
            change(database, n=2)
        assert isinstance(raised.value.__context__, InDoubtError)
        patch.undo()

        transaction.abort()
        change(database, other=3)
        assert database.root["other"] == 3


def test_what_is_opened_again_is_not_taken_for_what_was_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two lines of another that has got the number, the file is opened again."""
    first = LogFile(str(tmp_path / "a.log"), read_only=False)
    second = LogFile(str(tmp_path / "b.log"), read_only=False)
    steps: list[Callable[[], object]] = []

    class Owners(weakref.WeakValueDictionary[int, LogFile]):
        def get(self, key: int, default: Any = None) -> Any:
            found = super().get(key, default)
            if steps:
                steps.pop()()
            return found

    monkeypatch.setattr(log_file, "_owners", Owners())
    number = first.open_for_writing()
    first.forget()
    steps.append(first.open_for_writing)
    assert second.open_for_writing() == number
    assert not first.is_given_away
    assert first.fd != number
    first.close()
    second.close()


@needs_root
def test_a_directory_need_not_be_readable() -> None:
    def works(place: Path) -> None:
        with Database(place / "data.log") as database:
            change(database, n=1)
            database.backup(place / "backup.log")
            database.pack()
            database.snapshot(place / "snapshot.log")
        restore(place / "backup.log", place / "data.log")

    def works_as_another(place: Path) -> None:
        os.setgroups([])
        os.setgid(61001)
        os.setuid(61001)
        works(place)

    with tempfile.TemporaryDirectory() as elsewhere:  # All that is imported late.
        works(Path(elsewhere))
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, 61001, 61001)
        Path(directory).chmod(0o311)

        assert exit_code(forked(lambda: works_as_another(Path(directory)))) == 0
        with Database(Path(directory) / "data.log", read_only=True) as database:
            assert database.root["n"] == 1


def test_a_new_file_that_can_not_be_told_its_place_is_no_error_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    with pytest.raises(FileNotFoundError):
        NewFile("data.log", 0o600)
    gc.collect()  # Or __del__() makes a warning, which is an error here.


def test_what_an_interrupt_leaves_of_a_new_file_goes_with_it(path: Path) -> None:
    """It may come before the first line of the end of the block."""
    file = NewFile(str(path), 0o600)
    file.__enter__()
    part = Path(file.path)
    assert part.exists()

    assert exit_code(forked(file.__del__)) == 0  # Its parent goes on.
    assert part.exists()

    del file
    gc.collect()
    assert not part.exists()


def hog() -> list[int]:
    """Take all descriptors that there are."""
    held = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return held


def test_without_a_free_descriptor_nothing_is_stale_and_later_all_goes_on(kept, path):
    """A reader that could not follow to a packed log showed the state of before."""
    kept.update(n=1, page="x" * 9000)
    kept["page"] = "x" * 9000

    def other() -> None:
        with safe.open(path, pack_when=None) as theirs:
            theirs.pack()
            theirs["n"] = 2

    def limited() -> Any:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        used = max(int(fd.name) for fd in Path("/proc/self/fd").iterdir())  # By other tests.
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 70, hard))
        told = []
        with safe.open(path, pack_when=None) as ours:
            packs = forked(other)
            held = hog()
            assert exit_code(packs) == 0
            for use in (lambda: ours["n"], lambda: ours.increment("n")):
                try:
                    told.append(use())
                except OSError as error:
                    told.append(error.errno)
            for fd in held:
                os.close(fd)
            return told, ours["n"], ours.increment("n")

    told, read, written = in_child(limited)
    # EMFILE, unless it had the descriptor that it needs.
    assert told[0] in (24, 2)
    assert told[1] in (24, 3)
    assert (read, written) == ((3, 4) if told[1] == 3 else (2, 3)), told
    assert kept["n"] == written


# -- processes that stand still, or end -----------------------------------------------------

STANDS_STILL = """
import sys, time
from dobbin_like import safe
kept = safe.open(sys.argv[1], pack_when=None)
with kept.transaction():
    kept["n"] = 100
    print("inside", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_holder_that_is_stopped_is_waited_for_read_past_and_survived(kept, path):
    kept["n"] = 1
    with start(
        [sys.executable, "-c", STANDS_STILL, path], stdout=subprocess.PIPE, env=python_path()
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"inside\n"
        os.kill(holder.pid, signal.SIGSTOP)

        with safe.open(path, timeout=0.1, pack_when=None) as other:
            assert other["n"] == 1
            with pytest.raises(LockTimeout, match=r"after 0\.1 seconds"):
                other.increment("n")
            holder.kill()
            holder.wait()
            assert other.increment("n") == 2


DAEMONS = """
import os, sys, threading
from dobbin_like import safe
kept = safe.open(sys.argv[1])
ready = threading.Barrier(4)

def work(key):
    for number in range(1, 1_000_000):
        kept[key] = number
        os.write(1, f"{key} {number}\\n".encode())
        if number == 5:
            ready.wait()

for key in "abc":
    threading.Thread(target=work, args=(key,), daemon=True).start()
ready.wait()
"""


@pytest.mark.slow
def test_what_threads_store_while_the_program_ends_is_there_if_they_were_told(path: Path) -> None:
    ended = run(
        [sys.executable, "-c", DAEMONS, path], capture_output=True, text=True, env=python_path()
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    told = {key: int(number) for key, number in map(str.split, ended.stdout.splitlines())}
    with safe.open(path, "r") as kept:
        for key in "abc":
            assert kept[key] >= told[key] >= 5
    check_log(path).raise_if_bad()


INTERPRETERS = """
import os, sys
try:
    import _interpreters as interpreters
    other = interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as interpreters
    other = interpreters.create(isolated=False)
from dobbin_like import safe

LOOP = "for _ in range(50): kept.increment('n')"
kept = safe.open(sys.argv[1], pack_when=None)
exec(LOOP)
failed = interpreters.run_string(other, f'''
import sys
sys.path[:] = {sys.path!r}
from dobbin_like import safe
kept = safe.open({sys.argv[1]!r}, pack_when=None)
{LOOP}
''')
exec(LOOP)
print(failed, kept["n"], flush=True)
os._exit(0)  # Interpreters that are left are the system's business.
"""


@pytest.mark.slow
def test_two_interpreters_of_one_process_write_to_one_file(path: Path) -> None:
    ended = run(
        [sys.executable, "-c", INTERPRETERS, path],
        capture_output=True,
        text=True,
        env=python_path(),
    )

    assert (ended.stdout, ended.stderr) == ("None 150\n", "")
