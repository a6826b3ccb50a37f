"""``pack_when``: a thread packs by itself, in one process, and never gets in the way."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import Database, MemoryLog, TransactionLog, checkout
from dobbin_like.exc import PackError, ReadOnlyStorageError
from dobbin_like.log.file.new_file import PackFile
from dobbin_like.log.format.header import PAGE_SIZE
from dobbin_like.upkeep import auto_pack
from dobbin_like.upkeep.auto_pack import AutoPack
from dobbin_like.upkeep.pack import pack_file
from tests.helpers.packing import Node, change, leftovers
from tests.helpers.processes import forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAIT_SECONDS = 20
BIG = b"x" * 20_000


class Heard(logging.Handler):
    """Keeps what is logged, and lets one wait for it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self.records.append(record)
            self._changed.notify_all()

    def wait_for(self, level: int, times: int = 1) -> str:
        """Wait until something was said *times* at that level; return the last text."""

        def found() -> list[logging.LogRecord]:
            return [record for record in self.records if record.levelno == level]

        with self._changed:
            heard = self._changed.wait_for(lambda: len(found()) >= times, WAIT_SECONDS)
            assert heard, [record.getMessage() for record in self.records]
            return found()[-1].getMessage()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """What the packing thread says; it looks all the time."""
    monkeypatch.setattr(auto_pack, "_LOOK_SECONDS", 0.001)
    handler = Heard()
    logger = logging.getLogger(auto_pack.__name__)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def packing(path: Path, heard: Heard) -> Iterator[Callable[..., Database]]:
    """Open the path with ``pack_when``; the first makes a root."""
    opened: list[Database] = []

    def open_database(pack_when: float | None = 0.5) -> Database:
        manager = transaction.TransactionManager()
        log = TransactionLog(path, sync=False)
        database = Database(log, transaction_manager=manager, pack_when=pack_when)
        opened.append(database)
        if database.root is None:
            database.set_root(Node())
            manager.commit()
        return database

    yield open_database
    for database in opened:
        database.transaction_manager.abort()
        database.close()


def waste(database: Database, times: int) -> None:
    """Commit new versions of the root, each some 20 KB."""
    manager = database.transaction_manager
    for number in range(times):
        manager.begin()
        checkout(database.root)
        database.root.n += 1
        database.root.text = number.to_bytes(2, "big") + BIG
        manager.commit()


def thread_of(database: Database) -> threading.Thread:
    assert database._auto_pack is not None
    return database._auto_pack._thread


def test_it_packs_when_enough_is_garbage(packing, path, heard):
    database = packing()

    waste(database, 10)

    assert "dropped 0 of 1 object," in heard.wait_for(logging.INFO)
    waste(database, 20)
    heard.wait_for(logging.INFO, times=2)
    database.transaction_manager.begin()
    assert database.root.n == 30
    assert database.storage.generation >= 2
    assert thread_of(database).is_alive()


def test_what_is_needed_is_not_packed_again_and_again(packing, path):
    database = packing(None)
    manager = database.transaction_manager
    looked = AutoPack(str(path), 0.5)
    for number in range(8):
        manager.begin()
        checkout(database.root)
        node = Node(number)
        vars(node)["text"] = BIG
        database.root.others.append(node)
        manager.commit()

    report = looked.look()

    assert report is not None
    assert not report.packed
    # Half of the file can be garbage only when it is twice as long.
    assert looked._look_at > 2 * report.after.bytes
    assert looked.look() is None


def test_a_file_that_another_process_has_packed_is_looked_at_later(path, packing):
    database = packing(None)
    waste(database, 40)
    looked = AutoPack(str(path), 0.5)
    looked._look_at = path.stat().st_size + 1
    assert looked.look() is None

    pack_file(str(path))

    assert looked.look() is None
    assert looked._look_at == auto_pack.LEAST_BYTES


def test_while_one_packs_the_others_leave_it_to_him(path, packing, heard):
    database = packing(None)
    waste(database, 20)
    looked = AutoPack(str(path), 0.5)

    with PackFile(str(path)):
        assert looked.look() is None

    assert [record for record in heard.records if record.levelno >= logging.INFO] == []
    assert database.storage.generation == 0


def test_several_instances_of_which_one_packs_lose_nothing(packing, heard, path):
    databases = [packing() for _ in range(3)]

    for _ in range(5):
        for database in databases:
            waste(database, 4)

    heard.wait_for(logging.INFO)
    for database in databases:
        database.transaction_manager.begin()
        assert database.root.n == 60
    assert [record for record in heard.records if record.levelno > logging.INFO] == []


def test_the_thread_ends_with_the_database(packing):
    database = packing()
    thread = thread_of(database)
    assert thread.daemon

    database.close()

    assert not thread.is_alive()
    database.close()


def test_a_pack_that_is_under_way_is_given_up_when_the_database_is_closed(
    packing, path, heard, monkeypatch
):
    """It waits for the commit lock, which another has for ever."""
    database = packing(None)
    waste(database, 10)
    waits = threading.Event()

    real = auto_pack.pack_file

    def told(*args: Any, **kwargs: Any) -> Any:
        waits.set()
        return real(*args, **kwargs)

    monkeypatch.setattr(auto_pack, "pack_file", told)
    with TransactionLog(path) as holder:
        holder.acquire()
        other = packing(0.1)
        thread = thread_of(other)
        assert waits.wait(WAIT_SECONDS)
        other.close()
        assert not thread.is_alive()
        assert leftovers(path) == []
        holder.release()
    waste(database, 1)


def test_what_goes_wrong_is_logged_and_the_program_goes_on(packing, path, heard):
    database = packing(None)
    waste(database, 10)
    data = bytearray(path.read_bytes())
    at = data.rindex(BIG)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"y")
    looking = AutoPack(str(path), 0.3)
    looking.start()

    text = heard.wait_for(logging.WARNING)

    assert str(path) in text
    assert "could not be packed" in text
    assert looking._thread.is_alive()
    looking.stop()
    assert leftovers(path) == []
    waste(database, 1)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"x")


def test_an_error_that_nobody_thought_of_is_logged_with_its_trace(packing, heard, monkeypatch):
    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(auto_pack, "pack_file", fail)
    database = packing()
    waste(database, 10)

    heard.wait_for(logging.ERROR)

    (record,) = [record for record in heard.records if record.levelno == logging.ERROR][:1]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert thread_of(database).is_alive()


def test_a_forked_child_has_no_such_thread_and_closes_its_database(packing, path):
    database = packing()
    waste(database, 1)

    def child() -> None:
        database.transaction_manager.begin()
        assert not thread_of(database).is_alive()
        database.close()

    assert os.waitpid(forked(child), 0)[1] == 0
    assert thread_of(database).is_alive()


@pytest.mark.parametrize("limit", [0, 1, -0.5, 50, float("nan")])
def test_a_limit_that_is_no_share_is_refused(path, limit):
    with pytest.raises(PackError, match="pack_when"):
        Database(path, pack_when=limit)
    assert not path.exists()


def test_a_storage_that_can_not_be_packed_is_refused_at_once(database, path):
    with pytest.raises(PackError, match="has no file"):
        Database(MemoryLog(), pack_when=0.5)
    database.set_root(Node())
    transaction.commit()
    change(database.root, n=1)
    with TransactionLog(path, read_only=True) as log, pytest.raises(ReadOnlyStorageError):
        Database(log, pack_when=0.5)
    assert path.stat().st_size > PAGE_SIZE
