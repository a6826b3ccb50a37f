"""What a pack drops and keeps, what it tells, and what makes it refuse or give up."""

from __future__ import annotations

import contextlib
import fcntl
import io
import itertools
import json
import os
import random
import shutil
import tempfile
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import (
    Database,
    MemoryLog,
    PersistentDict,
    PersistentFile,
    TransactionLog,
    checkout,
)
from dobbin_like.check import check_log
from dobbin_like.exc import (
    ClosedError,
    ConflictError,
    IntegrityError,
    ObjectNotFound,
    PackError,
    PackRunningError,
    PastDroppedError,
    ReadOnlyStorageError,
    SelfWaitError,
    StreamMovedError,
)
from dobbin_like.ids import DELTA
from dobbin_like.log.copies import new_log, packed_log
from dobbin_like.log.format.header import PAGE_SIZE
from dobbin_like.testing.steps import Steps
from dobbin_like.upkeep import pack_copy
from dobbin_like.upkeep.pack import pack_file
from dobbin_like.upkeep.packs.report import PackReport
from tests.helpers.interrupts import interrupted
from tests.helpers.limits import at_most
from tests.helpers.packing import LONG, Node, change, content, leftovers, stored
from tests.helpers.processes import exit_code, forked

if TYPE_CHECKING:
    pass

QUICK = os.environ.get("HYPOTHESIS_PROFILE") == "quick"


@pytest.fixture
def root(database: Database) -> Node:
    node = Node()
    database.set_root(node)
    transaction.commit()
    return node


def tids(storage: Any) -> list[int]:
    return [logged.tid for logged in storage.transactions()]


def as_of(database: Database, tid: int) -> Any:
    with database.at(tid) as past:
        return content(past.root)


# -- what is dropped, what is kept --------------------------------------------------------


def test_only_the_newest_of_what_can_be_reached_is_kept(database, root, storage, path):
    change(root, others=[Node(1), Node(2)])
    kept, dropped = root.others
    for n in range(5):
        change(dropped, n=n)
    change(root, others=[kept])
    size = path.stat().st_size

    report = database.pack()

    assert (report.before.objects, report.after.objects) == (3, 2)
    assert (report.before.revisions, report.after.revisions) == (10, 2)
    assert (report.before.transactions, report.after.transactions) == (8, 2)
    assert (report.before.bytes, report.after.bytes) == (size, path.stat().st_size)
    assert report.packed
    assert report.garbage > 0
    transaction.begin()
    assert len(database) == 2
    assert not storage.has(dropped._p_oid)
    assert content(root) == [(0, 0, [kept._p_oid]), (kept._p_oid, 1, [])]
    assert [
        entry[0] for logged in storage.transactions() for entry in storage.entries(logged)
    ] == [
        kept._p_oid,
        0,
    ]
    assert leftovers(path) == []


def test_garbage_that_refers_to_itself_and_to_what_is_kept_is_dropped(database, root, storage):
    one, other = Node(1), Node(2)
    one.others.extend([other, root])
    other.others.append(one)
    change(root, others=[one])
    change(root, others=[])

    database.pack()

    transaction.begin()
    assert [storage.has(oid) for oid in range(3)] == [True, False, False]


def test_from_the_kept_moment_on_every_snapshot_is_there(database, root):
    known = {}
    change(root, others=[Node(1), Node(2)])
    for n in range(6):
        tid = change(root.others[0], n=n)
        known[tid] = content(root)
    tid = change(root, others=root.others[:1])
    known[tid] = content(root)
    keep = sorted(known)[3]

    report = database.pack(keep)

    assert report.keep == keep
    transaction.begin()
    for tid, seen in known.items():
        if tid >= keep:
            assert as_of(database, tid) == seen
        else:
            with pytest.raises(PastDroppedError):
                database.at(tid)
    history = [revision.tid for revision in database.history(root.others[0])]
    assert sorted(history) == [tid for tid in sorted(known) if tid >= keep][:-1]


def test_a_time_span_keeps_what_is_younger(database, root, storage):
    for n in range(3):
        change(root, n=n)
    before = tids(storage)

    assert not database.pack(timedelta(days=1)).packed
    assert tids(storage) == before
    assert database.pack(timedelta(0)).packed
    transaction.begin()
    assert tids(storage) == before[-1:]


def test_a_moment_keeps_what_was_seen_then(database, root, storage):
    tid = change(root, n=1)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=tid)
    later = change(root, n=2)

    assert database.pack(moment).keep == tid

    transaction.begin()
    assert tids(storage) == [tid, later]


def test_what_was_out_of_reach_then_and_is_referred_to_later_is_kept(database, root, again):
    lost = Node(1)
    lost.others.append(Node(2))
    change(root, others=[lost])
    keep = change(root, others=[])
    change(root, others=[lost])

    report = database.pack(keep)

    assert report.after.objects == 3
    assert [(node.n, node.others[0].n) for node in again().root.others] == [(1, 2)]


def test_a_keep_before_the_log_keeps_all(database, root, storage, path):
    change(root, n=1)
    before = path.read_bytes()
    for keep in (0, 1, -5, timedelta(days=10**6), datetime.min.replace(tzinfo=UTC)):
        report = database.pack(keep)
        assert not report.packed
        assert report.dropped == replace(report.dropped, objects=0, revisions=0, bytes=0)
    assert path.read_bytes()[PAGE_SIZE:] == before[PAGE_SIZE:]


def test_a_keep_before_the_last_pack_drops_nothing_more(database, root):
    tid = change(root, others=[Node(1)])
    change(root, n=2)
    database.pack()
    change(root, n=3)
    before = content(root)

    report = database.pack(tid)

    assert report.dropped.revisions == report.dropped.objects == 0
    transaction.begin()
    assert content(root) == before


@pytest.mark.parametrize(
    ("keep", "error"),
    [
        (1 << 62, PackError),
        (datetime(2999, 1, 1, tzinfo=UTC), PackError),
        (timedelta(days=-1), ValueError),
        (datetime(2020, 1, 1), ValueError),
        ("yesterday", TypeError),
        (True, TypeError),
    ],
)
def test_a_keep_that_means_nothing_is_refused(database, root, path, keep, error):
    before = path.read_bytes()

    with pytest.raises(error):
        database.pack(keep)

    assert path.read_bytes()[PAGE_SIZE:] == before[PAGE_SIZE:]
    assert leftovers(path) == []


def test_the_newest_transaction_stays_even_if_nothing_of_it_does(database, root, storage, again):
    """Else tids would go back, below those that programs and feeds have seen."""
    lost = Node(1)
    change(root, others=[lost])
    change(root, others=[])
    last = change(lost, n=9)

    database.pack()

    transaction.begin()
    assert storage.tid == again().storage.tid == last
    assert tids(storage)[-1] == last
    assert as_of(database, last) == [(0, 0, [])]
    assert list(database.changes(since=last)) == []
    assert change(root, n=1) > last


def test_a_log_without_a_root_keeps_its_place_and_gives_no_number_again(path):
    with TransactionLog(path, sync=False) as log:
        for tid in (5, 6):
            log.acquire()
            classes = [(1, "a", "B")] if tid == 5 else ()
            log.apply([log.append(tid, [(3, 1, b"\x80\x05}.")], classes)])
            log.release()
        log.acquire()
        log.fail(7, "no")
        log.release()

    report = pack_file(str(path))

    assert report.dropped.objects == 1
    with TransactionLog(path) as log:
        assert (log.tid, log.next_oid, log.names.next_number) == (7, 4, 2)
        assert log.names.class_name(1) is None
    check_log(path).raise_if_bad()


def test_what_transactions_say_stays(database, root, storage):
    current = transaction.begin()
    current.setUser("ann")
    current.note("why")
    current.setExtendedInfo("build", 7)
    checkout(root)
    root.n = 1
    transaction.commit()
    (before,) = list(storage.transactions())[-1:]

    database.pack()

    transaction.begin()
    (after,) = storage.transactions()
    assert (after.tid, after.user, after.description) == (before.tid, "/ ann", "why")
    assert json.loads(after.extension) == {"build": 7}


def test_failed_transactions_go_with_their_time(database, root, storage):
    def fail() -> None:
        first, second = transaction.TransactionManager(), transaction.TransactionManager()
        with (
            Database(storage.path, transaction_manager=first) as one,
            Database(storage.path, transaction_manager=second) as two,
        ):
            for opened in (one, two):
                checkout(opened.root)
                opened.root.n += 1
            first.commit()
            with pytest.raises(ConflictError):
                second.commit()

    fail()
    transaction.begin()
    keep = change(root, n=5)
    fail()
    change(root, m=1)  # Both are seen with what follows.
    assert sum(logged.failed for logged in storage.transactions()) == 2

    report = database.pack(keep)

    transaction.begin()
    (failed,) = [logged for logged in storage.transactions() if logged.failed]
    assert failed.tid > keep
    assert "conflict" in failed.reason
    assert report.dropped.transactions == 3


@pytest.mark.parametrize("piece", [50, 3000, 1 << 20])
def test_a_long_transaction_is_carried_in_pieces(database, root, again, path, monkeypatch, piece):
    change(root, others=[Node(n) for n in range(300)])
    change(root, others=root.others[::2])
    monkeypatch.setattr(new_log, "_LONG", 1000)
    monkeypatch.setattr(new_log, "_WRITE", piece)

    report = database.pack()

    assert report.after.bytes == path.stat().st_size
    check_log(path).raise_if_bad()
    assert [node.n for node in again().root.others] == list(range(0, 300, 2))


def large() -> PersistentDict:
    """Of which a small change is stored as a delta."""
    return PersistentDict(dict.fromkeys(range(500), "x" * 20))


def put(collection: PersistentDict, key: object, *others: Node) -> None:
    """Change a collection, and other objects in the same transaction."""
    transaction.begin()
    checkout(collection, *others)
    collection[key] = "new"
    for other in others:
        other.n += 1
    transaction.commit()


def is_delta(database: Database, obj: Any) -> bool:
    return bool(database.storage.load(obj._p_oid).number & DELTA)


def test_what_a_delta_changes_is_kept_from_a_transaction_of_several_objects(
    database, root, again, path
):
    change(root, others=[large(), Node(1)])
    collection, node = root.others
    for key in "abc":
        put(collection, key, node)
    assert is_delta(database, collection)
    expected = dict(collection)

    database.pack()

    assert dict(again().root.others[0]) == expected
    check_log(path).raise_if_bad()


@pytest.mark.parametrize("when", ["after keep", "while it is packed"])
def test_what_a_later_delta_changes_out_of_reach_is_kept(
    database, root, again, path, monkeypatch, when
):
    collection = large()
    change(root, others=[collection])
    keep = change(root, others=[])
    if when == "after keep":
        put(collection, "late")
        assert is_delta(database, collection)
        database.pack(keep)
    else:
        catch_up = pack_copy.PackCopy.catch_up

        def change_first(self: Any) -> None:
            if "late" not in collection:
                put(collection, "late")
                assert is_delta(database, collection)
            catch_up(self)

        monkeypatch.setattr(pack_copy.PackCopy, "catch_up", change_first)
        database.pack()
    check_log(path).raise_if_bad()

    change(root, others=[collection])

    assert again().root.others[0]["late"] == "new"
    assert len(again().root.others[0]) == 501
    check_log(path).raise_if_bad()


def test_a_log_that_nothing_was_committed_to_is_left_alone(database, path):
    assert database.pack() == PackReport(str(path))
    path.touch()
    assert not pack_file(str(path)).packed
    assert path.stat().st_size == 0
    assert leftovers(path) == []


@pytest.mark.parametrize("seed", range(6 if QUICK else 40))
def test_whatever_is_done_and_kept_all_later_snapshots_read_the_same(database, root, seed, path):
    chance = random.Random(seed)
    nodes = [root]
    known = {root._p_serial: content(root)}

    def step() -> None:
        node = chance.choice(nodes)
        others = [other for other in node.others if chance.random() < 0.7]
        if chance.random() < 0.5:
            others.append(Node(chance.randrange(100)))
        if chance.random() < 0.5:  # what may be out of reach by now
            others.append(chance.choice(nodes))
        with contextlib.suppress(ClosedError):
            tid = change(node, others=others, n=chance.randrange(100))
            nodes.extend(other for other in others if other not in nodes)
            known[tid] = content(root)

    first = 0
    for _ in range(3):
        for _ in range(chance.randrange(1, 15)):
            step()
        keep = chance.choice([None, None, *known])
        would = database.pack(keep, dry_run=True)
        report = database.pack(keep)
        assert would.before == report.before
        assert would.after == report.after or not report.packed
        assert report.after.bytes == path.stat().st_size
        check_log(path).raise_if_bad()
        first = max(first, report.keep)
        transaction.begin()
        for tid, seen in known.items():
            if tid >= first:
                assert as_of(database, tid) == seen
        with Database(path, transaction_manager=transaction.TransactionManager()) as fresh:
            assert content(fresh.root) == content(root)


# -- what is told -------------------------------------------------------------------------


def test_a_dry_run_changes_nothing_and_tells_the_same(database, root, path):
    stream = b"bytes" * 30_000
    change(root, others=[Node(1)], stream=PersistentFile(io.BytesIO(stream)))
    change(root, junk=PersistentFile(io.BytesIO(stream)))
    change(root, junk=None, others=[])
    before = path.read_bytes()

    would = database.pack(dry_run=True)

    assert path.read_bytes() == before
    assert leftovers(path) == []
    report = database.pack()
    assert not would.packed
    assert (would.before, would.after, would.keep) == (report.before, report.after, report.keep)
    assert would.dropped.objects == 2
    assert would.dropped.bytes > len(stream)
    assert "would drop 2 of 4 objects" in str(would)
    assert "dropped 2 of 4 objects" in str(report)


def test_progress_goes_on_to_the_end(database, root):
    for n in range(200):
        change(root, n=n, others=[Node(n)])
    told: list[tuple[int, int]] = []

    database.pack(progress=lambda done, total: told.append((done, total)))

    assert len({total for _, total in told}) == 1
    assert sorted(told) == told
    assert told[-1][0] == told[-1][1] > 0


def test_what_progress_raises_ends_the_pack_before_anything_has_changed(database, root, path):
    change(root, others=[Node(1)])
    calls = 0
    left = -1

    def progress(_done: int, _total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == left:
            raise ZeroDivisionError

    inode = path.stat().st_ino
    for left in range(1, 100):  # noqa: B007
        calls = 0
        try:
            report = database.pack(progress=progress)
        except ZeroDivisionError:
            assert path.stat().st_ino == inode
            assert leftovers(path) == []
        else:
            break
    assert report.packed
    assert left > 3
    change(root, n=1)


def test_a_log_that_was_packed_very_often_is_packed_again(database, root, path, again):
    """Beyond the generations that keys of streams tell apart, up to those that the page has."""
    change(root, stream=stored(LONG), junk=stored(LONG))
    change(root, junk=None)
    database.close()
    for generation in ((1 << 15) - 2, (1 << 28) - 3):
        write_generation(path, generation)
        for number in range(1, 3):
            assert pack_file(str(path)).packed
            there = again()
            assert there.storage.generation == generation + number
            assert b"".join(there.root.stream) == LONG
            checkout(there.root)
            there.root.stream = stored(LONG)
            there.transaction_manager.commit()
            assert b"".join(again().root.stream) == LONG
    check_log(path).raise_if_bad()

    with pytest.raises(PackError, match="generation"):
        pack_file(str(path))
    assert leftovers(path) == []


def write_generation(path: Path, generation: int) -> None:
    """Pack the log, as the one that *generation* follows."""
    encode_page = packed_log.encode_page

    def encode(store_id: bytes, created: int, _old: int, *rest: int) -> Any:
        return encode_page(store_id, created, generation, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_log, "encode_page", encode)
        assert pack_file(str(path)).packed


# -- streams ------------------------------------------------------------------------------


def test_streams_are_carried_along_and_those_of_nobody_are_not(database, root, again, path):
    change(root, kept=stored(LONG), empty=stored(b""), dropped=stored(LONG[::-1]))
    change(root, dropped=None)

    for _ in range(2):
        report = database.pack()
        assert report.after.bytes < len(LONG) * 3 // 2
        assert b"".join(again().root.kept) == LONG
        assert b"".join(again().root.empty) == b""
    check_log(path).raise_if_bad()


def test_a_stream_that_revisions_share_is_carried_once(database, root, again):
    change(root, stream=stored(LONG))
    keep = change(root.stream, title="a")
    change(root.stream, title="b")

    report = database.pack(keep)

    assert report.after.bytes < len(LONG) * 3 // 2
    there = again()
    assert b"".join(there.root.stream) == LONG
    with there.at(keep) as past:
        assert (past.root.stream.title, b"".join(past.root.stream)) == ("a", LONG)


def test_a_stream_is_stored_in_a_packed_log(database, root, again):
    database.pack()
    change(root, stream=stored(LONG))

    assert b"".join(root.stream) == LONG
    assert b"".join(again().root.stream) == LONG
    database.pack()
    assert b"".join(again().root.stream) == LONG


def test_a_stream_that_is_changed_meanwhile_says_where_it_is_now(database, root, again):
    change(root, junk=stored(LONG), stream=stored(LONG))
    change(root, junk=None)
    transaction.begin()
    checkout(root.stream)
    root.stream.title = "x"
    again().pack()
    transaction.commit()

    there = again().root.stream
    assert (there.title, b"".join(there)) == ("x", LONG)
    assert b"".join(root.stream) == LONG


def test_a_stream_that_was_dropped_is_stored_again_with_its_object(database, root, again):
    change(root, stream=stored(LONG))
    stream = root.stream
    assert b"".join(stream) == LONG
    change(root, stream=None)
    transaction.begin()
    checkout(root)
    root.stream = stream

    again().pack()

    transaction.commit()
    assert b"".join(again().root.stream) == LONG
    again().pack()
    assert b"".join(again().root.stream) == LONG


def test_a_stream_of_which_nobody_has_the_bytes_is_not_stored_again(database, root, again):
    change(root, stream=stored(LONG))
    stream = root.stream
    assert stream._size == len(LONG)
    change(root, stream=None)
    database.pack()
    transaction.begin()
    transaction.begin()
    checkout(root)
    root.stream = stream

    with pytest.raises(StreamMovedError):
        transaction.commit()

    transaction.abort()
    assert again().root.stream is None
    change(root, n=5)


# -- what refuses -------------------------------------------------------------------------


def test_a_storage_without_a_file_is_not_packed():
    with Database(MemoryLog()) as database, pytest.raises(PackError, match="has no file"):
        database.pack()


def test_a_read_only_database_only_tells(database, root, path):
    change(root, n=1)
    manager = transaction.TransactionManager()
    log = TransactionLog(path, read_only=True)
    with Database(log, transaction_manager=manager) as reader:
        with pytest.raises(ReadOnlyStorageError):
            reader.pack()
        assert reader.pack(dry_run=True).dropped.revisions == 1


def test_a_closed_database_is_not_packed(path):
    database = Database(path)
    database.close()
    with pytest.raises(ClosedError):
        database.pack()


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_may_not_be_written_is_not_packed(what):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "data.log"
        with Database(path) as database:
            database.set_root(Node())
            transaction.commit()
        os.chmod(directory, 0o555 if what == "directory" else 0o777)  # noqa: PTH101
        path.chmod(0o444 if what == "file" else 0o666)
        before = path.read_bytes()
        expected = ReadOnlyStorageError if what == "file" else PackError

        def packs() -> None:
            os.setgid(65534)
            os.setuid(65534)
            with pytest.raises(expected) as caught:
                pack_file(str(path))
            assert str(path) in str(caught.value)

        assert exit_code(forked(packs)) == 0
        assert path.read_bytes() == before
        assert leftovers(path) == []


class Missing:
    """Another instance, which drops an object that this one holds, packs, and so on."""

    def __init__(self, again: Any) -> None:
        self.database = again()
        self.root = self.database.root
        self.node = self.root.others[0]

    def put(self, n: int, *others: Node) -> None:
        with self.database.transaction_manager:
            checkout(self.root, self.node)
            self.node.n = n
            self.root.others = list(others)

    def drop(self) -> None:
        self.put(self.node.n)
        self.database.pack()


@pytest.fixture
def held(database: Database, root: Node) -> Node:
    change(root, others=[Node(1)])
    return root.others[0]


def test_an_object_that_was_dropped_by_the_second_of_two_packs_is_not_stored_as_it_was(
    database, root, held, again
):
    """Another process has changed it in between, and that is nowhere any more."""
    other = Missing(again)
    other.drop()
    other.put(2, other.node)
    other.drop()

    transaction.begin()
    with pytest.raises(ObjectNotFound):
        _ = held.n
    checkout(root)
    root.others = [held]
    with pytest.raises(ObjectNotFound):
        transaction.commit()
    transaction.abort()
    assert again().root.others == []


def test_a_transaction_is_aborted_that_refers_to_what_was_dropped_by_the_second_of_two_packs(
    database, root, held, again, caplog
):
    """An older snapshot has it, so that each thread has to ask what it sees of it."""
    steps = Steps()

    @steps.thread
    def older():
        with steps[0]:
            transaction.begin()
            assert database.root.others[0].n == 1
        with steps[2]:
            assert held.n == 1

    with steps[1]:
        other = Missing(again)
        other.drop()
        other.put(2, other.node)
        other.drop()
        transaction.begin()
        checkout(root)
        root.n, root.value = 5, held
        with pytest.raises(ObjectNotFound):
            transaction.commit()
        transaction.abort()
        assert caplog.messages == []
        assert (root.n, database._store.pending()) == (0, 0)
    steps.join()


def test_an_older_snapshot_has_what_was_dropped_by_the_second_of_two_packs(
    database, root, held, again
):
    steps = Steps()

    @steps.thread
    def older():
        with steps[0]:
            transaction.begin()
            assert database.root.others[0].n == 1
        with steps[2]:
            assert (held.n, database.root.others) == (1, [held])

    with steps[1]:
        other = Missing(again)
        other.drop()
        other.put(2, other.node)
        other.drop()
        transaction.begin()
        with pytest.raises(ObjectNotFound):
            _ = held.n
    steps.join()


def test_an_object_that_was_dropped_by_one_pack_is_stored_as_it_was(database, root, held, again):
    other = again()
    with other.transaction_manager:
        checkout(other.root)
        other.root.others = []
    other.pack()

    transaction.begin()
    assert held.n == 1
    change(root, others=[held])

    assert again().root.others[0].n == 1


def test_what_is_reached_is_read_after_two_packs(database, root, held, again):
    other = Missing(again)
    other.drop()
    other.put(2, other.node)
    other.database.pack()

    transaction.begin()

    assert (root.others, held.n) == ([held], 2)
    assert change(held, n=3) == held._p_serial


@pytest.mark.slow
def test_an_interrupt_while_two_packs_are_followed_leaves_nothing_stale(root, again, path):
    for number in itertools.count(1, 3):
        with Database(path, transaction_manager=transaction.TransactionManager()) as database:
            begin = database.transaction_manager.begin
            begin()
            top = database.root
            checkout(top)
            top.others = [Node(1)]
            database.transaction_manager.commit()
            held, other = top.others[0], Missing(again)
            other.drop()
            other.put(2, other.node)
            other.drop()

            was = interrupted(begin, number, "dobbin_like.transactions.publisher")

            begin()
            with pytest.raises(ObjectNotFound):
                _ = held.n
            other.database.close()
        if not was:
            break
    assert number > 20


def test_a_file_with_two_names_is_not_packed(database, root, path, tmp_path):
    """Those who have the other name would go on in the old file."""
    os.link(path, tmp_path / "other.log")

    with pytest.raises(PackError, match="2 names"):
        database.pack()
    assert database.pack(dry_run=True).before.objects == 1


def test_a_file_that_gets_a_second_name_meanwhile_is_not_packed(database, root, path, tmp_path):
    def link(_done, _total):
        if not (tmp_path / "other.log").exists():
            os.link(path, tmp_path / "other.log")

    with pytest.raises(PackError, match="2 names"):
        database.pack(progress=link)
    assert path.samefile(tmp_path / "other.log")
    transaction.begin()
    checkout(root)
    root.n += 1
    transaction.commit()


def test_a_log_that_has_the_name_of_the_packed_one_stays(database, root, path):
    beside = path.with_name(f"{path.name}.pack")
    manager = transaction.TransactionManager()
    with Database(beside, transaction_manager=manager) as other:
        other.set_root(type(root)())
        manager.commit()

        with pytest.raises(PackError, match="is a log; move it"):
            database.pack()
        manager.begin()
        assert other.root is not None
        beside.rename(path.with_name("moved.log"))
    assert database.pack().packed


def test_who_opened_a_link_packs_what_it_leads_to(database, root, path, tmp_path):
    link = tmp_path / "link.log"
    link.symlink_to(path.name)
    manager = transaction.TransactionManager()
    with Database(link, transaction_manager=manager) as other:
        assert other.root.n == 0
        assert other.pack().packed
        assert link.is_symlink()
        change(root, n=1)
        manager.begin()
        checkout(other.root)
        other.root.n += 1
        manager.commit()
    transaction.begin()
    assert root.n == 2


def test_in_the_midst_of_a_commit_the_log_is_not_packed(database, root):
    caught: list[BaseException] = []

    class Packer:
        transaction_manager = None

        def sortKey(self) -> str:  # noqa: N802
            return "~"

        def tpc_vote(self, _transaction: Any) -> None:
            try:
                database.pack()
            except SelfWaitError as error:
                caught.append(error)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("tpc_") or name in {"abort", "commit"}:
                return lambda _transaction: None
            raise AttributeError(name)

    checkout(root)
    root.n = 4
    transaction.get().join(Packer())
    transaction.commit()

    assert len(caught) == 1
    assert database.pack().packed
    transaction.begin()
    assert root.n == 4


def test_a_transaction_with_changes_goes_on_over_a_pack_of_its_own(database, root, again):
    change(root, n=1)
    checkout(root)
    root.n = 2
    root.others.append(Node(3))

    assert database.pack().packed

    assert root.n == 2
    transaction.commit()
    assert [node.n for node in again().root.others] == [3]


def test_a_damaged_state_that_is_kept_stops_the_pack(database, root, path, tmp_path):
    change(root, others=[Node(1)], text="here it is, kept")
    database.close()
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"here it is, kept")] ^= 1
    path.write_bytes(damaged)

    with pytest.raises(IntegrityError):
        pack_file(str(path))

    assert path.read_bytes()[PAGE_SIZE:] == damaged[PAGE_SIZE:]
    assert leftovers(path) == []


def test_a_damaged_state_that_is_dropped_goes(database, root, path):
    change(root, text="here it is, dropped")
    change(root, text="")
    database.close()
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"here it is, dropped")] ^= 1
    path.write_bytes(damaged)

    assert pack_file(str(path)).packed

    check_log(path).raise_if_bad()


def test_on_a_full_disk_the_log_stays_as_it_is(database, root, path):
    change(root, others=[Node(n) for n in range(100)], stream=stored(LONG))
    for node in root.others[:20]:
        change(node, n=7)
    size = database.pack(dry_run=True).after.bytes
    inode, before = path.stat().st_ino, path.read_bytes()

    for room in [0, 10, PAGE_SIZE, PAGE_SIZE + 1, *range(5000, size, size // 10), size - 1]:
        with at_most(room), pytest.raises(OSError, match="large") as caught:
            database.pack()
        assert caught.value.filename == f"{path}.pack"
        assert path.stat().st_ino == inode
        assert path.read_bytes()[PAGE_SIZE:] == before[PAGE_SIZE:]
        assert leftovers(path) == []
    with at_most(size):
        assert database.pack().packed
    change(root, n=1)


def test_mode_and_owner_stay(database, root, path):
    path.chmod(0o640)
    if os.geteuid() == 0:
        shutil.chown(path, 12, 34)
    before = path.stat()

    database.pack()

    after = path.stat()
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


# -- while others go on -------------------------------------------------------------------


def test_who_looks_for_a_stale_pack_does_not_keep_another_from_packing(database, path):
    """Who opens the log locks such a file for a moment; it passed for a pack that is running."""
    database.set_root(Node())
    transaction.commit()
    with Path(f"{path}.pack").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        looking = threading.Timer(0.03, lambda: fcntl.flock(file, fcntl.LOCK_UN))
        looking.start()
        database.pack()
        looking.join()


def test_two_processes_do_not_pack_at_once(database, root, path):
    change(root, n=1)
    began, switch_file = os.pipe(), os.pipe()

    def packs() -> None:
        os.close(switch_file[1])

        def progress(_done: int, _total: int) -> None:
            os.write(began[1], b".")
            os.read(switch_file[0], 1)

        database.pack(progress=progress)

    child = forked(packs)
    os.close(switch_file[0])
    os.read(began[0], 1)

    with pytest.raises(PackRunningError) as caught:
        database.pack()
    assert str(path) in str(caught.value)
    assert database.pack(dry_run=True).dropped.revisions == 1

    change(root, n=2)
    os.close(switch_file[1])
    assert os.waitpid(child, 0)[1] == 0
    change(root, n=3)
    assert database.pack().packed
    transaction.begin()
    assert root.n == 3
    for end in began:
        os.close(end)


def test_commits_at_every_step_of_a_pack_are_there(database, root, again):
    change(root, others=[Node(n) for n in range(300)])
    other = again()
    count = 0

    def progress(_done: int, _total: int) -> None:
        nonlocal count
        count += 1
        other.transaction_manager.begin()
        checkout(other.root, other.root.others[count % 300])
        other.root.n = count
        other.root.others[count % 300].n = -count
        other.transaction_manager.commit()

    database.pack(progress=progress)

    transaction.begin()
    assert root.n == count > 3
    assert {node.n for node in root.others} >= {-number for number in range(1, count + 1)}


def test_what_is_taken_up_from_out_of_reach_meanwhile_is_kept(database, root, again, monkeypatch):
    lost = [Node(n) for n in range(10)]
    for node in lost:
        node.others.append(Node(node.n + 100))
    change(root, others=list(lost))
    change(root, others=[])
    attempts = 0
    catch_up = pack_copy.PackCopy.catch_up

    def taken_up(self: Any) -> None:
        nonlocal attempts
        transaction.begin()
        checkout(root)
        root.others.append(lost[attempts])
        transaction.commit()
        attempts += 1
        catch_up(self)

    monkeypatch.setattr(pack_copy.PackCopy, "catch_up", taken_up)

    assert database.pack().packed

    # Then nothing was left out any more.
    assert attempts == 5
    there = again().root
    assert [(node.n, node.others[0].n) for node in there.others] == [
        (n, n + 100) for n in range(attempts)
    ]
    monkeypatch.undo()
    assert database.pack().dropped.objects == 10


@pytest.mark.parametrize("killed", [False, True])
def test_a_child_that_was_forked_meanwhile_holds_no_lock(path, *, killed):
    """The locks of the packer are those of open files, which a child inherits."""
    with Database(path) as database:
        database.set_root(Node())
        transaction.commit()
        children, end, ready = os.pipe(), os.pipe(), os.pipe()

        def packs() -> None:
            def progress(_done: int, _total: int) -> None:
                def stay() -> None:
                    os.write(ready[1], b".")
                    os.close(end[1])
                    os.read(end[0], 1)

                forked(stay)
                os.read(ready[0], 1)
                if killed:
                    os.kill(os.getpid(), 9)

            database.pack(progress=progress)

        packer = forked(packs)
        assert os.waitpid(packer, 0)[1] == (9 if killed else 0)
        os.close(children[1])

        # The children are still there.
        transaction.begin()
        checkout(database.root)
        database.root.n = 1
        transaction.commit()
        assert database.pack().packed

        os.close(end[1])
        os.read(children[0], 1)  # Until all of them have ended.
        for descriptor in (children[0], end[0], *ready):
            os.close(descriptor)
    transaction.manager.clearSynchs()
