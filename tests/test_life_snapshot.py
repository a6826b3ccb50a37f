"""Snapshots: one state as a database of its own, in a file or in another storage."""

from __future__ import annotations

import errno
import io
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
import transaction
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like import (
    CopyError,
    Database,
    IntegrityError,
    MemoryLog,
    Persistent,
    PersistentDict,
    PersistentFile,
    PersistentList,
    TransactionLog,
    checkout,
)
from dobbin_like.check import check_log
from dobbin_like.exc import ObjectNotFound, PastDroppedError, SelfWaitError, TransactionNotFound
from dobbin_like.storages.as_of import AsOf
from dobbin_like.upkeep.snapshot import write_snapshot
from tests.helpers.amount import step
from tests.helpers.copying import interrupted, killed
from tests.helpers.limits import at_most
from tests.helpers.log_commits import fail
from tests.helpers.transactions import change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Node(Persistent):
    def __init__(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)


@pytest.fixture
def target(path: Path) -> Iterator[Path]:
    """Where a snapshot may be made; what is there at the end is a whole log."""
    target = path.with_name("snapshot.log")
    yield target
    if target.exists() and target.stat().st_size:
        check_log(target).raise_if_bad()
    assert not target.with_name("snapshot.log.part").exists()


def opened(where: Any) -> Database:
    return Database(where, transaction_manager=transaction.TransactionManager())


def plain(database: Database) -> dict[Any, Any]:
    """Return what is in the root and the collections below it."""
    return {
        key: dict(item) if isinstance(item, PersistentDict) else item
        for key, item in database.root.items()
    }


# -- what it holds ---------------------------------------------------------------------


def test_a_snapshot_holds_the_state_in_one_transaction(database: Database, target: Path) -> None:
    change(database, a=1, inner=PersistentDict(x=1))
    change(database, a=2)
    checkout(database.root["inner"])
    database.root["inner"]["x"] = 2
    transaction.commit()

    report = database.snapshot(target)

    assert (report.objects, report.streams, report.tid) == (2, 0, database.storage.tid)
    assert str(report).startswith(f"{target}: 2 objects of {report.size} bytes")
    with opened(target) as copy:
        assert plain(copy) == {"a": 2, "inner": {"x": 2}}
        assert (len(copy), len(copy.storage)) == (2, 1)
        assert copy.storage.tid == database.storage.tid
        assert copy.root._p_serial == database.storage.tid
        assert copy.root["inner"]._p_oid == database.root["inner"]._p_oid


def test_what_is_out_of_reach_is_left_out_and_its_oid_not_used_again(
    database: Database, target: Path
) -> None:
    change(database, a=Node(), b=Node())
    oid = database.root["b"]._p_oid
    checkout(database.root)
    del database.root["b"]
    transaction.commit()

    assert database.snapshot(target).objects == 2

    with opened(target) as copy:
        assert copy.get(oid) is None
        checkout(copy.root)
        copy.root["c"] = Node()
        copy.transaction_manager.commit()
        assert copy.root["c"]._p_oid == oid + 1


def test_an_object_that_refers_to_itself_and_a_long_chain_are_carried(
    database: Database, target: Path
) -> None:
    node = last = Node(number=2999)
    for number in range(2998, -1, -1):
        node = Node(number=number, next=node)
    change(database, first=node)
    checkout(last)
    last.next = database.root
    transaction.commit()

    assert database.snapshot(target).objects == 3001

    with opened(target) as copy:
        node = copy.root["first"]
        for number in range(3000):
            assert node.number == number
            node = node.next
        assert node is copy.root


def test_streams_are_carried_once(database: Database, target: Path) -> None:
    data = os.urandom(200_000)
    change(database, big=PersistentFile(io.BytesIO(data)), empty=PersistentFile(io.BytesIO()))
    change(database, again=database.root["big"], gone=PersistentFile(io.BytesIO(b"gone" * 99_999)))
    checkout(database.root)
    del database.root["gone"]
    transaction.commit()

    report = database.snapshot(target)

    assert report.streams == 2
    assert target.stat().st_size < 300_000
    with opened(target) as copy:
        assert b"".join(copy.root["big"]) == data
        assert b"".join(copy.root["empty"]) == b""
        assert copy.root["again"] is copy.root["big"]


def test_a_snapshot_goes_on_as_a_database(database: Database, target: Path) -> None:
    change(database, a=Node(x=1))
    database.snapshot(target)

    with opened(target) as copy:
        checkout(copy.root["a"], copy.root)
        copy.root["a"].x = 2
        copy.root["b"] = PersistentList([1])
        copy.transaction_manager.commit()
    with opened(target) as copy:
        assert (copy.root["a"].x, list(copy.root["b"])) == (2, [1])
        assert len(copy.storage) == 2
    assert database.root["a"].x == 1


def test_a_snapshot_of_a_past_state(database: Database, target: Path) -> None:
    change(database, a=1)
    tid = database.storage.tid
    change(database, a=2, b=Node())

    report = database.snapshot(target, at=tid)

    assert (report.objects, report.tid) == (1, tid)
    with opened(target) as copy:
        assert plain(copy) == {"a": 1}


def test_a_snapshot_of_a_database_of_the_past(database: Database, target: Path) -> None:
    change(database, a=1)
    tid = database.storage.tid
    change(database, a=2)
    with database.at(tid) as past:
        assert past.snapshot(target).tid == tid

    with opened(target) as copy:
        assert plain(copy) == {"a": 1}


def test_the_past_is_not_there(database: Database, target: Path) -> None:
    change(database, a=1)
    tid = database.storage.tid
    change(database, a=2)
    database.snapshot(target)

    with opened(target) as copy, pytest.raises(PastDroppedError):
        copy.at(tid)


def test_it_is_what_is_committed_whatever_this_thread_has_seen_or_changed(
    database: Database, target: Path, again: Callable[..., Database]
) -> None:
    change(database, a=1)
    checkout(database.root)
    database.root["a"] = 9
    other = again()
    checkout(other.root)
    other.root["a"] = 2
    other.transaction_manager.commit()

    database.snapshot(target)
    transaction.abort()

    with opened(target) as copy:
        assert plain(copy) == {"a": 2}


def test_commits_meanwhile_are_not_in_it(database: Database, target: Path) -> None:
    change(database, inner=PersistentDict(x=1), a=1)
    before = plain(database)
    count = 0

    def commit(_done: int, _total: int) -> None:
        nonlocal count
        count += 1
        checkout(database.root, database.root["inner"])
        database.root["a"] = database.root["inner"]["x"] = count + 1
        database.root[count] = Node()
        transaction.commit()

    database.snapshot(target, progress=commit)

    assert count > 1
    with opened(target) as copy:
        assert plain(copy) == before


def test_a_class_that_is_not_there_is_carried(
    storage: TransactionLog, target: Path, path: Path
) -> None:
    with Database(storage) as database:
        change(database, a=Node(x=1))
    with TransactionLog(path, sync=False) as log:
        number = log.names.class_number(Node.__module__, "Node")
        log.acquire()
        log.append(log.tid + 1, [], [(number, "no.such.module", "Gone")])
        log.release()

    with opened(path) as database:
        assert database.snapshot(target).objects == 2

    with TransactionLog(target, read_only=True) as log:
        assert log.names.class_name(number) == ("no.such.module", "Gone")
    with opened(target) as copy:
        assert vars(copy.root["a"])["x"] == 1


def test_many_objects_are_opened_by_saved_positions(database: Database, target: Path) -> None:
    change(database, many=[Node(number=number) for number in range(10_500)])

    database.snapshot(target)

    with opened(target) as copy:
        assert copy.storage._reading.applied.unsaved == 0
        assert [node.number for node in copy.root["many"]] == list(range(10_500))


def test_what_does_not_fit_one_transaction_becomes_some(database: Database, target: Path) -> None:
    change(database, many=[Node(number=number, text="x" * 100) for number in range(100)])
    source: Any = AsOf(database.storage, database.storage.tid)

    report = write_snapshot(source, str(target), part_bytes=2000)

    assert report.objects == 101
    with TransactionLog(target, read_only=True) as log:
        logged = list(log.transactions())
        assert 5 < len(logged) < 20
        assert logged[-1].tid == database.storage.tid
        assert sum(len(entry.oids) for entry in logged) == 101
    with opened(target) as copy:
        assert [node.number for node in copy.root["many"]] == list(range(100))


def test_the_progress_ends_with_all(database: Database, target: Path) -> None:
    calls: list[tuple[int, int]] = []
    change(database, many=[Node() for _ in range(3000)])

    database.snapshot(target, progress=lambda done, total: calls.append((done, total)))

    assert len(calls) > 10
    assert calls == sorted(calls)
    assert len({total for _, total in calls}) == 1
    assert calls[-1][0] == calls[-1][1]


@given(edges=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_what_can_be_reached_is_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, edges: list[tuple[int, int]]
) -> None:
    reached, todo = {0}, [0]
    while todo:
        start = todo.pop()
        new = {end for begin, end in edges if begin == start} - reached
        reached |= new
        todo += new
    with opened(MemoryLog()) as database:
        nodes = [Node(number=number, to=[]) for number in range(10)]
        database.set_root(PersistentDict(nodes=nodes))
        database.transaction_manager.commit()
        checkout(database.root, *nodes)
        for begin, end in edges:
            nodes[begin].to.append(nodes[end])
        database.root["nodes"] = nodes[:1]
        database.transaction_manager.commit()
        target = MemoryLog()
        assert database.snapshot(target).objects == 1 + len(reached)

        with opened(target) as copy:
            found: set[int] = set()
            todo_nodes = list(copy.root["nodes"])
            while todo_nodes:
                node = todo_nodes.pop()
                if node.number not in found:
                    found.add(node.number)
                    todo_nodes += node.to
            assert found == reached


# -- into another storage ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_snapshot_into_a_storage(database: Database, target: Path, kind: str) -> None:
    change(database, a=Node(x=1), s=PersistentFile(io.BytesIO(b"bytes")))
    storage: Any = MemoryLog() if kind == "memory" else TransactionLog(target, sync=False)

    assert database.snapshot(storage).objects == 3

    with opened(storage) as copy:
        assert copy.root["a"].x == 1
        assert b"".join(copy.root["s"]) == b"bytes"
        assert copy.storage.tid == database.storage.tid


def test_a_database_that_is_open_on_the_storage_sees_it(database: Database) -> None:
    change(database, a=1)
    storage = MemoryLog()
    with opened(storage) as copy:
        assert copy.root is None
        database.snapshot(storage)
        copy.transaction_manager.begin()
        assert plain(copy) == {"a": 1}


def test_a_storage_that_is_not_empty_is_refused(
    database: Database, path: Path, target: Path
) -> None:
    change(database, a=1)
    database.snapshot(target)

    for where in (target, path):
        with TransactionLog(where, sync=False) as storage:
            size = where.stat().st_size
            with pytest.raises(CopyError, match="not empty"):
                database.snapshot(storage)
            assert not storage.held
            assert where.stat().st_size == size
    with pytest.raises(CopyError, match="not empty"):
        database.snapshot(database.storage)


def test_a_storage_that_this_thread_holds_stays_held(database: Database) -> None:
    change(database, a=1)
    storage = MemoryLog()
    storage.acquire()

    with pytest.raises(SelfWaitError):
        database.snapshot(storage)

    assert storage.held
    storage.release()
    assert database.snapshot(storage).objects == 1


# -- what it refuses -----------------------------------------------------------------------


def test_a_file_with_something_in_it_is_refused(
    database: Database, path: Path, target: Path
) -> None:
    change(database, a=1)
    target.write_bytes(b"x")

    for where in (target, path, str(path), path.parent):
        with pytest.raises(FileExistsError) as caught:
            database.snapshot(where)
        assert caught.value.filename == str(where)
    assert target.read_bytes() == b"x"
    target.write_bytes(b"")
    assert database.snapshot(target).objects == 1


def test_a_file_that_comes_meanwhile_is_not_overwritten(database: Database, target: Path) -> None:
    change(database, a=1)

    with pytest.raises(FileExistsError):
        database.snapshot(target, progress=lambda _done, _total: target.write_bytes(b"x"))

    assert target.read_bytes() == b"x"
    target.unlink()


def test_without_a_root_there_is_nothing_to_write(
    storage: TransactionLog, database: Database, target: Path
) -> None:
    with pytest.raises(ObjectNotFound, match="no object with oid 0: the database has no root"):
        database.snapshot(target)
    failed = fail(storage, "no")
    with pytest.raises(ObjectNotFound):
        database.snapshot(target)
    change(database, a=1)
    with pytest.raises(ObjectNotFound):
        database.snapshot(target, at=failed.tid)
    assert not target.exists()


def test_a_moment_that_is_not_there_is_refused(database: Database, target: Path) -> None:
    change(database, a=1)

    for moment in (database.storage.tid + 1, 1):
        with pytest.raises(TransactionNotFound):
            database.snapshot(target, at=moment)
    assert not target.exists()


def test_a_damaged_state_leaves_nothing(database: Database, path: Path, target: Path) -> None:
    change(database, a=Node(text="damaged"))
    data = path.read_bytes()
    at = data.rindex(b"damaged")
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"D")
    with opened(path) as other, pytest.raises(IntegrityError):
        other.snapshot(target)
    with path.open("r+b") as file:
        file.write(data)
    assert sorted(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_nothing(database: Database, path: Path, target: Path) -> None:
    change(database, a="x" * 20_000)

    with at_most(10_000), pytest.raises(OSError, match="snapshot") as caught:
        database.snapshot(target)

    assert caught.value.errno == errno.EFBIG
    assert sorted(path.parent.iterdir()) == [path]


def test_two_snapshots_at_once_to_one_path_do_not_mix(database: Database, target: Path) -> None:
    change(database, a=1)

    def second(_done: int, _total: int) -> None:
        if not target.exists():
            with pytest.raises(CopyError, match="another is writing"):
                database.snapshot(target)

    database.snapshot(target, progress=second)


# -- kills and interrupts ----------------------------------------------------------------


@pytest.fixture
def full(path: Path) -> Path:
    with opened(path) as database:
        database.set_root(PersistentDict(a=Node(x=1), s=PersistentFile(io.BytesIO(b"s" * 70_000))))
        database.transaction_manager.commit()
    return path


def is_whole(target: Path) -> None:
    check_log(target).raise_if_bad()
    with opened(target) as copy:
        assert copy.root["a"].x == 1
        assert b"".join(copy.root["s"]) == b"s" * 70_000


@pytest.mark.parametrize(
    "step", [37, pytest.param(step(7), marks=pytest.mark.slow)], ids=["some", "more"]
)
def test_killed_at_any_line_it_leaves_nothing_or_a_whole_snapshot(
    full: Path, target: Path, step: int
) -> None:
    def run() -> None:
        with opened(full) as database:
            database.snapshot(target)

    number = 1
    while killed(run, number):
        if target.exists():
            is_whole(target)
            target.unlink()
        run()
        is_whole(target)
        target.unlink()
        number += step

    assert number > 100
    is_whole(target)
    target.with_name("snapshot.log.part").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "step", [37, pytest.param(step(7), marks=pytest.mark.slow)], ids=["some", "more"]
)
def test_interrupted_at_any_line_it_leaves_nothing_or_a_whole_snapshot(
    full: Path, target: Path, step: int
) -> None:
    with opened(full) as database:
        number = 1
        while interrupted(lambda: database.snapshot(target), number):
            if target.exists():
                is_whole(target)
                target.unlink()
            database.snapshot(target)
            is_whole(target)
            target.unlink()
            number += step

    assert number > 100
    target.with_name("snapshot.log.part").unlink(missing_ok=True)


def test_a_snapshot_is_made_while_the_clock_is_before_1970(
    database: Database, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(database, a=1)
    monkeypatch.setattr(time, "time_ns", lambda: -5 * 10**9)

    assert database.snapshot(target).tid == 1

    with opened(target) as copy:
        assert (copy.root["a"], copy.storage.tid) == (1, 1)
