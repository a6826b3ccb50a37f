"""Whoever has a log open goes on in the file that takes its place when it is packed."""

from __future__ import annotations

import fcntl
import gc
import io
import multiprocessing
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import transaction

from dobbin_like import (
    Database,
    Persistent,
    PersistentDict,
    PersistentFile,
    TransactionLog,
    checkout,
)
from dobbin_like.check import check_log
from dobbin_like.conformance.steps import catch_up
from dobbin_like.exc import (
    ConflictError,
    LogMovedError,
    LogPackedError,
    ObjectNotFound,
    WriteConflictError,
)
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.file import range_lock
from dobbin_like.log.file.words import Words
from dobbin_like.log.format.header import REPLACED, STATE, USUAL, WAITING
from dobbin_like.log.writing import flusher, presence
from tests.helpers.log_files import open_files
from tests.helpers.steps import Steps, in_thread

fork = multiprocessing.get_context("fork")
WAIT_SECONDS = 60


class Node(Persistent):
    """An object with a number and others."""

    def __init__(self, n: int = 0) -> None:
        self.n = n
        self.others: list[Node] = []


@pytest.fixture
def root(database: Database) -> Node:
    node = Node()
    database.set_root(node)
    node.others.append(Node(1))
    node.others.append(Node(2))
    transaction.commit()
    return node


def change(database: Database, n: int) -> None:
    manager = database.transaction_manager
    manager.begin()
    checkout(database.root)
    database.root.n = n
    manager.commit()


def test_the_packing_instance_and_another_go_on(database, root, again, path):
    other = again()
    change(database, 1)
    inode = path.stat().st_ino

    database.pack()

    assert path.stat().st_ino != inode
    change(other, 2)
    transaction.begin()
    assert root.n == 2
    change(database, 3)
    other.transaction_manager.begin()
    assert other.root.n == 3
    assert [node.n for node in other.root.others] == [1, 2]
    assert again().root.n == 3
    assert other.root is not root


def test_a_transaction_under_way_is_committed_to_the_new_file(database, root, again):
    other = again()
    checkout(other.root)
    other.root.n = 7

    database.pack()

    other.transaction_manager.commit()
    transaction.begin()
    assert root.n == 7


def test_a_conflict_with_a_transaction_before_the_pack_is_found(database, root):
    steps = Steps()

    @steps.thread
    def late() -> None:
        transaction.begin()
        checkout(root)
        root.n = 7
        with steps[0]:
            pass
        with steps[2], pytest.raises(WriteConflictError):
            transaction.commit()
        transaction.abort()

    with steps[1]:
        change(database, 1)
        database.pack()
    steps.join()
    transaction.begin()
    assert root.n == 1


def test_an_older_snapshot_goes_on_reading_what_was_dropped(database, root, again, path):
    for number in range(10):
        transaction.begin()
        checkout(root.others[0])
        root.others[0].n = number
        transaction.commit()
    other = again()  # Its objects are ghosts yet.
    steps = Steps()
    seen: list[Any] = []

    @steps.thread
    def reader() -> None:
        transaction.begin()
        seen.append(database.root.n)
        with steps[0]:
            pass
        with steps[2]:
            seen.append((database.root.n, database.root.others[0].n))

    with steps[1]:
        before = other.root
        change(database, 5)
        checkout(root.others[0])
        root.others[0].n = 99
        transaction.commit()
        database.pack()
        change(database, 6)
    steps.join()
    assert seen == [0, (0, 9)]
    # An instance that has not begun anew since sees its time, too.
    assert (before.n, [node.n for node in before.others]) == (0, [9, 2])
    other.transaction_manager.begin()
    assert (before.n, [node.n for node in before.others]) == (6, [99, 2])


def test_the_old_file_is_closed_when_no_snapshot_needs_it(database, root, again, path):
    other = again()
    other.root.n  # noqa: B018
    database.pack()
    assert not other.storage.has_past
    other.transaction_manager.begin()  # Follows, and has no older view any more.
    other.transaction_manager.begin()
    transaction.begin()
    transaction.begin()
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("close "):
            thread.join()

    deleted = [link for link in open_files() if str(path) in link and "deleted" in link]
    assert deleted == []
    assert not other.storage.has_past


def test_a_stream_that_is_in_memory_is_read_from_where_it_is_now(database, root, again):
    checkout(root)
    root.junk = PersistentFile(io.BytesIO(b"junk" * 10_000))
    root.stream = stream = PersistentFile(io.BytesIO(b"0123456789" * 10_000))
    transaction.commit()
    checkout(root)
    del root.junk
    transaction.commit()
    stream.open()
    assert stream.read(5) == b"01234"
    other = again()
    begun = iter(other.root.stream)

    database.pack()

    transaction.begin()
    transaction.begin()
    assert stream.read(5) == b"56789"
    assert next(begun)[:4] == b"0123"
    assert b"".join(again().root.stream) == b"0123456789" * 10_000
    database.pack()
    assert b"".join(stream) == b"0123456789" * 10_000


def test_what_was_dropped_is_stored_again_when_it_is_referred_to(database, root, again):
    node = root.others[1]
    inner = Node(33)
    checkout(node)
    node.others.append(inner)
    transaction.commit()
    checkout(root)
    root.others.remove(node)
    transaction.commit()
    oids = node._p_oid, inner._p_oid

    database.pack()

    transaction.begin()
    assert not database.storage.has(oids[0])
    checkout(root)
    root.others.append(node)
    transaction.commit()
    assert (node._p_oid, inner._p_oid) == oids
    there = again().root.others[-1]
    assert (there.n, there.others[0].n) == (2, 33)


def test_what_was_dropped_and_changed_is_stored_once(database, root, again):
    node = root.others[1]
    checkout(root)
    root.others.remove(node)
    transaction.commit()
    database.pack()
    transaction.begin()

    checkout(root, node)
    node.n = 44
    root.others.append(node)
    transaction.commit()

    assert [other.n for other in again().root.others] == [1, 44]


def test_what_was_dropped_and_never_read_is_gone_with_a_word(database, root, again):
    other = again()
    ghost = other.root.others[1]
    checkout(root)
    del root.others[1]
    transaction.commit()
    database.pack()
    manager = other.transaction_manager
    manager.begin()
    manager.begin()

    checkout(other.root)
    other.root.others.append(ghost)
    with pytest.raises(ObjectNotFound):
        manager.commit()
    manager.abort()
    assert [node.n for node in other.root.others] == [1]


def test_oids_of_dropped_objects_are_not_used_again(database, root, again):
    highest = max(node._p_oid for node in root.others)
    checkout(root)
    root.others.clear()
    transaction.commit()
    database.pack()

    other = again()
    checkout(other.root)
    other.root.others.append(Node(5))
    other.transaction_manager.commit()

    assert other.root.others[0]._p_oid > highest


def test_a_switch_that_did_not_come_to_its_end_is_taken_back(database, root, again, storage):
    other = again()
    # As a pack does that is killed before the file is replaced.
    storage._reading.file.words.put(STATE, REPLACED)
    other.transaction_manager.begin()
    transaction.begin()
    assert root.n == 0

    change(other, 3)

    transaction.begin()
    assert root.n == 3
    assert storage._reading.file.words.get(STATE) == USUAL
    assert again().root.n == 3


def test_a_file_that_is_not_of_this_log_is_not_followed(database, root, path, tmp_path, storage):
    with Database(tmp_path / "foreign.log") as foreign:
        foreign.set_root(Node(5))
        in_thread(lambda: None)
        transaction.commit()
    (tmp_path / "foreign.log").replace(path)
    storage._reading.file.words.put(STATE, REPLACED)

    transaction.begin()
    assert root.n == 0
    checkout(root)
    root.n = 1
    with pytest.raises(LogMovedError) as caught:
        transaction.commit()
    assert not isinstance(caught.value, LogPackedError)
    transaction.abort()
    database.close()


def test_a_storage_alone_says_that_the_log_was_packed(database, root, path):
    with TransactionLog(path) as alone:
        database.pack()
        with pytest.raises(LogPackedError):
            alone.acquire()
        assert not alone.held
        alone.apply(alone.read_news())
        alone.acquire()
        alone.release()
        assert alone.generation == 1
        assert alone.complete_since == database.storage.complete_since > 0


def test_a_past_that_was_opened_before_stays_readable(database, root):
    first = database.storage.tid
    change(database, 1)
    with database.at(first) as past:
        database.pack()
        transaction.begin()
        transaction.begin()
        change(database, 2)
        transaction.begin()
        assert past.root.n == 0
        assert [node.n for node in past.root.others] == [1, 2]
    transaction.begin()
    assert not database.storage.has_past


def test_packed_again_and_again_with_an_old_snapshot_open(database, root, again):
    other = again()
    seen = other.root
    for number in range(1, 6):
        change(database, number)
        database.pack()
        change(database, number * 10)
    assert seen.n == 0
    other.transaction_manager.begin()
    assert seen.n == 50
    assert other.storage.generation == database.storage.generation == 5


def test_who_slept_through_two_packs_sees_what_was_committed_between(database, root, again):
    """Its commits must not undo what was: saved positions are ahead of what it has seen."""
    other = again()
    assert (other.root.n, other.root.others[0].n) == (0, 1)
    checkout(other.root)
    other.root.n = 7
    change(database, 1)
    database.pack()
    change(database, 2)
    checkout(root.others[0])
    root.others[0].n = 5
    transaction.commit()
    database.pack()

    with pytest.raises(ConflictError):
        other.transaction_manager.commit()
    other.transaction_manager.abort()

    assert (other.root.n, other.root.others[0].n) == (2, 5)
    change(other, 3)
    transaction.begin()
    assert root.n == 3


def test_letting_go_of_nothing_does_nothing(database, root, storage):
    """Two threads have seen that there is something, and one was faster."""
    change(database, 1)
    database.pack()
    for _ in range(3):
        storage.drop_generations(None)
        storage.drop_generations(storage.tid)
    assert not storage.has_past
    change(database, 2)


def test_a_version_between_two_files_is_that_of_the_newer_one(database, root, path):
    """The old file has all since it was made, but ends before: it has only an older version."""
    with TransactionLog(path) as sleeper:
        old = sleeper.load(0)
        change(database, 1)
        database.pack()
        change(database, 2)
        serial = root._p_serial
        checkout(root.others[0])
        root.others[0].n = 3
        transaction.commit()
        database.pack()

        while sleeper.has_news():
            sleeper.apply(sleeper.read_news())

        assert sleeper.has_past
        assert sleeper.complete_since > serial
        found = sleeper.load(0, serial)
        assert (found.tid, found.data) == (serial, database.storage.load(0).data)
        assert sleeper.load(0, old.tid) == old


def test_a_thread_that_waits_for_the_old_lock_does_not_write_without_the_new_one(
    database, root, path, storage
):
    """Another thread follows meanwhile: what it has then is the lock of the old file."""
    steps = Steps()
    waits = threading.Event()
    real_wait = storage._writing.lock._wait

    def wait(timeout: Any, deadline: Any) -> None:
        waits.set()
        real_wait(timeout, deadline)

    storage._writing.lock._wait = wait
    with path.open("r+b") as old:
        fcntl.flock(old, fcntl.LOCK_EX)  # As a packer has it.

        @steps.thread
        def writer() -> None:
            change(database, 1)

        assert waits.wait(WAIT_SECONDS)
        replace_by_a_copy(path)
        with TransactionLog(path) as new:
            new.acquire()
            in_thread(database._store.publisher.catch_up)  # Follows.
            assert storage.generation == 1
            waits.clear()
            fcntl.flock(old, fcntl.LOCK_UN)
            assert waits.wait(WAIT_SECONDS)  # Now for the other.
            assert not storage.has_news()
            new.release()
            steps.join()
    transaction.begin()
    assert root.n == 1


def replace_by_a_copy(path: Path) -> None:
    """Do what a pack does that nobody has to wait for."""
    copy = path.with_name("copy.log")
    shutil.copy(path, copy)
    with Database(copy, transaction_manager=transaction.TransactionManager()) as packed:
        assert packed.pack().packed
    with path.open("r+b") as file:
        Words(file.fileno(), str(path)).put(STATE, REPLACED)
    copy.replace(path)


def count_up(path: Path, times: int) -> None:
    database = Database(path)
    for _ in range(times):
        for attempt in transaction.attempts(1000):
            with attempt:
                checkout(database.root)
                database.root.n += 1
    database.close()


def test_processes_go_on_while_the_log_is_packed(database, root, path):
    times = 300
    writers = [fork.Process(target=count_up, args=(path, times)) for _ in range(2)]
    for writer in writers:
        writer.start()
    packs = 0
    while any(writer.is_alive() for writer in writers):
        database.pack()
        packs += 1
    for writer in writers:
        writer.join(WAIT_SECONDS)
        assert writer.exitcode == 0
    transaction.begin()
    assert root.n == 2 * times
    assert packs > 1


def test_a_child_that_is_forked_after_a_pack_has_its_own(database, root, path):
    database.pack()
    transaction.begin()

    def child() -> None:
        change(database, 8)

    process = fork.Process(target=child)
    process.start()
    process.join(WAIT_SECONDS)
    assert process.exitcode == 0
    transaction.begin()
    assert root.n == 8


def test_an_older_snapshot_reads_what_was_packed_away_and_not_read_before(database, again):
    database.set_root(PersistentDict(a=PersistentDict(n=1), b=PersistentDict(n=1)))
    transaction.commit()
    older = again()
    root = older.root
    assert list(root) == ["a", "b"]
    middle = again()
    for n in (2, 3):
        checkout(database.root["a"])
        database.root["a"]["n"] = n
        transaction.commit()
        if n == 2:
            middle.transaction_manager.begin()
            assert list(middle.root) == ["a", "b"]
    checkout(database.root)
    del database.root["a"]
    transaction.commit()
    database.pack()

    older._store.publisher.catch_up()
    middle._store.publisher.catch_up()

    assert root["a"]["n"] == 1
    assert middle.root["a"]["n"] == 2
    older.transaction_manager.begin()
    assert list(older.root) == ["b"]


def test_who_let_others_go_first_does_not_write_to_a_file_that_it_has_not_locked(
    database, root, path, monkeypatch
):
    with TransactionLog(path) as alone:
        alone.acquire()
        alone.release()
        lock = alone._writing.lock
        let_others = lock.let_others

        def pack_and_follow() -> bool:
            in_thread(database.pack)
            in_thread(lambda: alone.apply(alone.read_news()))
            return True

        monkeypatch.setattr(lock, "let_others", lambda *_: let_others(pack_and_follow, 60))
        alone._reading.file.words.put(WAITING, os.getpid())
        with pytest.raises(LogPackedError):
            alone.acquire()
        assert not alone.held
        assert alone.generation == 1

        alone.acquire()
        with path.open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone.release()


def test_who_creates_a_log_that_others_begin_and_pack_meanwhile_follows(path, monkeypatch):
    with TransactionLog(path) as late:
        lock = late._writing.lock
        try_lock = lock._try

        def begin_and_pack() -> None:
            with Database(TransactionLog(path)) as database:
                database.set_root(Node(1))
                transaction.commit()
                database.pack()

        def try_after_others() -> bool:
            monkeypatch.undo()
            in_thread(begin_and_pack)
            return try_lock()

        monkeypatch.setattr(lock, "_try", try_after_others)
        with pytest.raises(LogPackedError):
            late.acquire()
        while late.generation < 1:
            catch_up(late)
        assert late.load(Oid(0)) is not None
        late.acquire()
        late.release()


def test_a_log_is_closed_while_another_thread_joins_those_of_the_packed_one(
    database, root, path, monkeypatch
):
    steps, held, comes = Steps(), [], threading.Event()
    log = TransactionLog(path)
    writing = log._writing
    make_durable, is_at_path = writing.durability.make_durable, presence.is_at_path
    enter = presence.alone.__enter__

    def follow() -> None:
        make_durable()
        database.pack()
        while log.generation < 1:
            catch_up(log)
        monkeypatch.setattr(presence, "is_at_path", join_slowly)
        steps.thread(writing._join)
        with steps[1]:
            pass

    def join_slowly(file: Any) -> bool:
        monkeypatch.setattr(presence, "is_at_path", is_at_path)
        with steps[0]:
            pass
        comes.wait(0.2)  # It must not come: the locks of the open file are this thread's.
        return is_at_path(file)

    def enter_and_tell(alone: Any) -> bool:
        found = enter(alone)
        comes.set()
        return found

    def tidy() -> None:
        with path.open("rb") as file:
            held.append(range_lock.holder(file.fileno(), str(path), range_lock.OPENING))

    monkeypatch.setattr(presence.alone, "__enter__", enter_and_tell)
    monkeypatch.setattr(writing.durability, "make_durable", follow)
    monkeypatch.setattr(writing, "_tidy", tidy)
    log.close()
    steps.join()
    assert held == [range_lock.EXCLUSIVE]


def test_who_locks_the_new_file_while_another_thread_follows_to_it_writes_there(
    database, root, path, monkeypatch
):
    with TransactionLog(path) as alone:
        database.pack()
        alone.apply(alone.read_news())
        change(database, 1)
        database.pack()
        switch_to = alone._reading.switch_to

        def fail_one() -> None:
            alone.acquire()
            alone.fail(Tid(alone.last_tid + 1), "while another thread follows")
            alone.release()

        def switch_and_fail(applied: Any) -> None:
            switch_to(applied)
            in_thread(fail_one)

        monkeypatch.setattr(alone._reading, "switch_to", switch_and_fail)
        while alone.generation < 2:
            alone.apply(alone.read_news())
        monkeypatch.undo()
        fail_one()
    assert check_log(path).failed == 2


def test_what_is_not_durable_yet_when_the_log_is_packed_is_so_in_the_new_file(
    database, root, path, again, caplog, monkeypatch
):
    monkeypatch.setattr(flusher, "_DELAY_SECONDS", 0.1)
    with TransactionLog(path, sync=False) as loose:
        tails = Database(loose, transaction_manager=transaction.TransactionManager())
        change(tails, 1)
        due = loose._writing.durability.flusher._timer
        database.pack()
        tails.transaction_manager.begin()
        assert loose.generation == 1
        due.join(WAIT_SECONDS)
        assert caplog.records == []
        tails.transaction_manager.abort()
        tails.close()


def test_a_sync_that_ends_while_others_are_followed_hides_no_pack(
    database, root, again, monkeypatch
):
    """Its thread tells the readers what it has shown, of the file that was replaced meanwhile."""
    other = again()
    assert other.root.n == 0
    reading = other.storage._reading
    applied = reading.applied
    sight = applied.file.words.seen(), applied.tail.end
    change(database, 1)
    database.pack()
    change(database, 2)
    read_news = reading._read_news

    def read_beside_a_sync() -> Any:
        news = read_news()
        applied.look(*sight)
        return news

    monkeypatch.setattr(reading, "_read_news", read_beside_a_sync)
    other.transaction_manager.begin()

    assert other.root.n == 2
