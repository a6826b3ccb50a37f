"""Packing that is killed or interrupted at any moment, and power cuts in the midst of it."""

from __future__ import annotations

import itertools
import os
import random
import signal
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import Database, TransactionLog, checkout
from dobbin_like.check import check_log
from dobbin_like.log.file import disk, new_file, range_lock
from dobbin_like.log.file.words import Words
from dobbin_like.log.format.header import REPLACED, STATE
from dobbin_like.upkeep.pack import pack_file
from tests.helpers.amount import step
from tests.helpers.interrupts import interrupted
from tests.helpers.packing import LONG, Node, change, content, leftovers, stored
from tests.helpers.power import crash
from tests.helpers.processes import exit_code, forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def root(database: Database) -> Node:
    """Some objects, some garbage, a stream, and older versions."""
    root = Node()
    database.set_root(root)
    transaction.commit()
    change(root, others=[Node(n) for n in range(10)], stream=stored(LONG), junk=stored(LONG))
    for n in range(3):
        change(root.others[n], n=n + 50)
    change(root, others=root.others[:5], junk=None)
    return root


CALLS = ("open", "close", "pwrite", "pread", "ftruncate", "fsync", "replace", "unlink", "fchmod")


def patch_calls(before: Callable[[str], None]) -> Iterator[tuple[Any, str, Any]]:
    """Let *before* be called before every system call that counts; yield what was there."""

    def wrapped(name: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            before(name)
            return function(*args, **kwargs)

        return call

    places: list[tuple[Any, str]] = [(os, name) for name in CALLS]
    places += [
        (disk, "_datasync"),
        (new_file, "try_lock"),
        (new_file, "unlock"),
        (Words, "put"),
        (range_lock, "lock"),
    ]
    for owner, name in places:
        original = getattr(owner, name)
        setattr(owner, name, wrapped(name, original))
        yield owner, name, original


def killed_before(number: int, path: Path) -> bool:
    """Pack in a child that is killed before its *number*-th call; tell whether it was."""

    def packs() -> None:
        count = itertools.count(1)

        def die(_name: str) -> None:
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        list(patch_calls(die))
        pack_file(str(path))

    status = os.waitpid(forked(packs), 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


def test_killed_between_any_two_calls_a_pack_leaves_one_whole_log(database, root, path, again):
    """Those who have it open go on, and the next pack finds nothing in its way."""
    other = again()
    expected = content(root)
    packed = 0
    for number in range(1, 1000, step(3)):
        inode = path.stat().st_ino
        was_killed = killed_before(number, path)
        packed += path.stat().st_ino != inode
        check_log(path).raise_if_bad()

        transaction.begin()
        assert content(root) == expected
        change(root, count=number)
        other.transaction_manager.begin()
        assert other.root.count == number
        checkout(other.root)
        other.root.count += 1
        other.transaction_manager.commit()
        transaction.begin()
        assert root.count == number + 1
        assert b"".join(root.stream) == LONG
        if not was_killed:
            break
    assert not was_killed
    assert number > 30
    assert packed > 1
    assert leftovers(path) == []
    assert database.pack().packed
    with Database(path, transaction_manager=transaction.TransactionManager()) as fresh:
        assert content(fresh.root) == expected


def test_what_a_pack_leaves_that_is_killed_while_it_looks_is_removed(database, root, path):
    def end(_done, _total):
        os._exit(0)

    assert exit_code(forked(lambda: pack_file(str(path), progress=end))) == 0
    assert leftovers(path) == ["data.log.pack"]

    with Database(path, transaction_manager=transaction.TransactionManager()):
        assert leftovers(path) == []


def test_what_a_killed_pack_has_left_is_removed_when_the_log_is_opened(database, root, path):
    beside = path.with_name(path.name + ".pack")
    for number in itertools.count(30, 5):
        assert killed_before(number, path)
        if beside.exists() and beside.stat().st_size:
            break
    copy = beside.read_bytes()
    with Database(path, transaction_manager=transaction.TransactionManager()):
        assert leftovers(path) == []
    # A file of that name which is none of ours stays.
    for other in (path.read_bytes(), copy[:20], b"mine"):
        beside.write_bytes(other)
        with Database(path, transaction_manager=transaction.TransactionManager()):
            assert beside.read_bytes() == other


def test_what_is_being_packed_is_not_removed_by_those_who_open_the_log(database, root, path):
    opened = 0

    def progress(_done: int, _total: int) -> None:
        nonlocal opened
        with Database(path, transaction_manager=transaction.TransactionManager()):
            opened += leftovers(path) == ["data.log.pack"]

    assert database.pack(progress=progress).packed
    assert opened > 3


@pytest.mark.slow
def test_an_interrupt_at_any_line_leaves_one_whole_log(database, root, path, again):
    other = again()
    expected = content(root)
    threads = set(threading.enumerate())
    number = 0
    chance = random.Random(5)
    packed = 0
    while True:
        number += chance.randrange(1, 10 * step(60))
        inode = path.stat().st_ino
        was_interrupted = interrupted(database.pack, number)
        packed += path.stat().st_ino != inode
        assert leftovers(path) == []

        transaction.begin()
        assert content(root) == expected
        change(root, count=number)
        other.transaction_manager.begin()
        assert other.root.count == number
        if not was_interrupted:
            break
    check_log(path).raise_if_bad()
    assert packed > 1
    left = set(threading.enumerate()) - threads
    assert all(thread.name.startswith(("close ", "sync ")) for thread in left)  # soon gone


# -- power cuts ---------------------------------------------------------------------------


class Recorder:
    """What a disk holds of the new file since its last sync, and what happens to its name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.beside = path.with_name(path.name + ".pack")
        self.images: list[bytes] = [b""]
        self.when_replaced: list[bytes] = []
        self.events: list[str] = []
        self._calls = os.fsync, os.pwrite, os.replace, new_file.unlock

    def is_new(self, fd: int) -> bool:
        there = self.beside.exists()
        return there and os.path.samestat(os.fstat(fd), self.beside.stat())

    def fsync(self, fd: int) -> None:
        self._calls[0](fd)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            self.events.append("directory")
        elif self.is_new(fd):
            self.images = [self.beside.read_bytes()]

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        written = self._calls[1](fd, data, offset)
        if self.is_new(fd):
            self.images.append(self.beside.read_bytes())
        return written

    def replace(self, source: str, target: str) -> None:
        self.when_replaced = self.images
        self._calls[2](source, target)
        self.events.append("replaced")

    def unlock(self, fd: int) -> None:
        if os.path.samestat(os.fstat(fd), self.path.stat()):
            self.events.append("unlocked")
        self._calls[3](fd)


def test_a_power_cut_leaves_the_old_name_or_the_whole_new_file(
    database, root, path, tmp_path, monkeypatch
):
    """The new file is wholly durable before it is renamed, and its name before others use it.

    A sync makes durable what was written; a directory has the name since its own sync.
    """
    expected = content(root)
    recorder = Recorder(path)
    for name in ("fsync", "pwrite", "replace"):
        monkeypatch.setattr(os, name, getattr(recorder, name))
    monkeypatch.setattr(new_file, "unlock", recorder.unlock)
    assert database.pack().packed
    monkeypatch.undo()

    events = recorder.events
    assert events[events.index("replaced") :][:3] == ["replaced", "directory", "unlocked"]
    copy = tmp_path / "copy.log"
    generator = random.Random(1)
    for _ in range(20):
        copy.write_bytes(crash(recorder.when_replaced, generator))
        check_log(copy).raise_if_bad()
        with Database(copy, transaction_manager=transaction.TransactionManager()) as there:
            assert content(there.root) == expected
            assert b"".join(there.root.stream) == LONG


def test_who_finds_a_new_file_whose_name_may_not_be_safe_makes_it_safe(
    database, root, path, monkeypatch
):
    """The packer was killed after the replacement, before it synced the directory."""

    def packs() -> None:
        disk.sync_directory = lambda _path: os.kill(os.getpid(), signal.SIGKILL)
        pack_file(str(path))

    inode = path.stat().st_ino
    assert os.waitpid(forked(packs), 0)[1] == signal.SIGKILL
    assert path.stat().st_ino != inode
    events: list[str] = []
    put, sync_directory = Words.put, disk.sync_directory

    def noted(words: Words, index: int, *values: int) -> bytes:
        events.append("word")
        return put(words, index, *values)

    def synced(place: str) -> None:
        events.append("directory")
        sync_directory(place)

    monkeypatch.setattr(Words, "put", noted)
    monkeypatch.setattr(disk, "sync_directory", synced)
    change(root, n=1)
    assert events.count("directory") == 1
    assert "word" in events[events.index("directory") :]
    change(root, n=2)
    assert events.count("directory") == 1


def test_an_old_file_that_comes_back_after_a_power_cut_is_written_on(path):
    """The replacement did not reach the disk, and the word in the old header did."""
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(Node())
        transaction.commit()
        database.storage._reading.file.words.put(STATE, REPLACED)
        before = path.read_bytes()
    transaction.manager.clearSynchs()
    path.write_bytes(before)
    with Database(path) as database:
        assert database.root.n == 0
        change(database.root, n=1)
        assert database.pack().packed
        assert not database.storage.retired
    transaction.manager.clearSynchs()
    check_log(path).raise_if_bad()
