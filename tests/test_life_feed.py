"""The feed of changes: all that is committed, in order, none missed and none twice."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import transaction

from dobbin_like import (
    ConflictError,
    Database,
    IntegrityError,
    PastDroppedError,
    PersistentDict,
    TransactionNotFound,
    checkout,
)
from dobbin_like.check import check_log
from dobbin_like.history.feed import changes as feed
from dobbin_like.storage import MemoryLog, OverlayLog, TransactionLog
from dobbin_like.upkeep.pack import pack_file
from tests.helpers.processes import ROOT, python_path, start
from tests.helpers.steps import in_thread
from tests.helpers.things import Thing

SHORT_SECONDS = 0.02
LONG_SECONDS = 60


def change(obj: Any, note: str = "", **attributes: Any) -> int:
    checkout(obj)
    for name, value in attributes.items():
        setattr(obj, name, value)
    if note:
        transaction.get().note(note)
    transaction.commit()
    return obj._p_jar.tid


@pytest.fixture
def thing(database) -> Thing:
    thing = Thing(number=0)
    database.set_root(thing)
    transaction.commit()
    return thing


def tids(found) -> list[int]:
    return [each.tid for each in found]


# -- what it tells --------------------------------------------------------------


def test_a_change_says_who_changed_what(database, thing):
    transaction.get().user = "me"
    start = database.tid
    change(thing, "a child", child=Thing(x=1, y=2), number=0)
    checkout(thing, thing.child)
    del thing.number
    thing.child.x = 2
    transaction.commit()

    first, second = database.changes(since=start)

    assert (first.user, first.description, first.oids) == ("me", "a child", (0, 1))
    assert first.classes == dict.fromkeys((0, 1), f"{Thing.__module__}.Thing")
    assert first.attributes == {0: ("child",), 1: ("x", "y")}
    assert second.attributes == {0: ("number",), 1: ("x",)}
    assert first.time <= second.time <= datetime.now(UTC)


def test_failed_transactions_are_left_out(database, thing):
    checkout(thing)
    thing.number = 1
    in_thread(lambda: change(thing, number=2))
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()
    change(thing, number=3)

    assert [each.attributes[0] for each in database.changes()] == [("number",)] * 3
    assert len(database.storage) == 4


def test_a_transaction_without_objects_is_a_change_too(database, thing):
    storage = database.storage
    storage.acquire()
    logged = storage.append(storage.tid + 1, [], [], user="me")
    storage.release()

    *_, last = database.changes()

    assert (last.tid, last.oids, last.user) == (logged.tid, (), "me")


# -- where it begins ---------------------------------------------------------------


def test_a_feed_goes_on_behind_the_tid_that_was_seen_last(database, thing):
    done = [database.tid, *(change(thing, number=number) for number in range(1, 6))]

    assert tids(database.changes()) == done
    for place, tid in enumerate(done):
        assert tids(database.changes(since=tid)) == done[place + 1 :]
        assert tids(database.changes(since=tid - 1)) == done[place:]
    assert tids(database.changes(since=next(database.changes()).time)) == done[1:]
    assert tids(database.changes(since=datetime(1960, 1, 1, tzinfo=UTC))) == done


def test_a_tid_of_the_future_is_refused(database, thing):
    with pytest.raises(TransactionNotFound, match="replaced by an earlier copy"):
        database.changes(since=database.tid + 1)
    with pytest.raises(ValueError, match="time zone"):
        database.changes(since=datetime(2026, 1, 1))


def test_a_tid_that_only_others_have_seen_yet_is_no_tid_of_the_future(database, thing, again):
    other = again()
    checkout(other.root)
    other.root.number = 1
    other.transaction_manager.commit()

    assert list(database.changes(since=other.tid)) == []


def test_the_state_that_was_read_and_the_feed_fit_together(database, thing, again):
    other = again()
    checkout(other.root)
    other.root.number = 1
    other.transaction_manager.commit()

    assert (thing.number, len(list(database.changes(since=database.tid)))) == (0, 1)
    transaction.begin()
    assert (thing.number, len(list(database.changes(since=database.tid)))) == (1, 0)


class Packed:
    """What a storage says that was packed meanwhile."""

    complete_since = 0

    def __init__(self, storage):
        self._storage = storage

    def __getattr__(self, name):
        if name in ("pin", "unpin", "reaches"):
            raise AttributeError(name)
        return getattr(self._storage, name)


class WithStorage:
    """A store and its publisher, as the feed sees them, over another storage."""

    def __init__(self, store, storage):
        self._publisher = store.publisher
        self.check_open = store.check_open
        self.publisher = self
        self.storage = storage

    def __getattr__(self, name):
        return getattr(self._publisher, name)


def test_changes_that_packing_has_dropped_are_missed_with_an_error(database, thing):
    first = database.tid
    second = change(thing, number=1)
    packed = Packed(database.storage)
    packed.complete_since = second
    seen = WithStorage(database._store, packed)

    with pytest.raises(PastDroppedError):
        feed(seen, first, None)
    assert list(feed(seen, second, None)) == []


def test_a_feed_that_is_behind_when_its_changes_are_dropped_says_so(database, thing):
    first = database.tid
    packed = Packed(database.storage)
    found = feed(WithStorage(database._store, packed), first, LONG_SECONDS)
    change(thing, number=1)
    dropped = change(thing, number=2)
    assert next(found).attributes == {0: ("number",)}
    packed.complete_since = dropped + 1

    assert next(found).tid == dropped  # it was reading already
    change(thing, number=3)
    with pytest.raises(PastDroppedError):
        next(found)


def test_a_feed_that_is_open_sees_what_is_committed_before_and_after_a_pack(
    database, thing, again, path
):
    for number in range(1, 4):
        change(thing, number=number)
    behind, waiting = database.changes(), database.changes(wait=SHORT_SECONDS)
    done = tids(database.changes())
    assert tids(islice(waiting, 4)) == done
    assert next(behind).tid == done[0]
    other = again()
    for number in range(4, 7):
        checkout(other.root)
        other.root.number = number
        other.transaction_manager.commit()
        done.append(other.tid)
    pack_file(path)
    other.transaction_manager.begin()
    checkout(other.root)
    other.root.number = 7
    other.transaction_manager.commit()
    done.append(other.tid)

    assert tids(behind) == done[1:4]  # it began before
    assert tids(waiting) == done[4:]
    assert database.storage.complete_since > done[3]
    with pytest.raises(PastDroppedError):
        again().changes(since=done[3])
    assert tids(again().changes(since=done[6])) == done[7:]


# -- waiting ------------------------------------------------------------------------


def test_without_waiting_a_feed_ends_with_what_is_committed_now(database, thing):
    found = database.changes()
    second = change(thing, number=1)

    assert tids(found)[-1] == second


def test_what_is_committed_while_a_feed_is_read_is_part_of_it(database, thing):
    found = database.changes(wait=SHORT_SECONDS)
    done = [next(found).tid]
    for number in range(1, 5):
        tid = change(thing, number=number)
        done.append(next(found).tid)
        assert done[-1] == tid

    assert list(found) == []


def test_a_feed_waits_for_threads_of_this_process(database, thing):
    start = database.tid
    found: list[Any] = []
    reader = threading.Thread(
        target=lambda: found.extend(islice(database.changes(start, wait=LONG_SECONDS), 20))
    )
    reader.start()
    done = [change(thing, number=number) for number in range(1, 21)]
    reader.join(LONG_SECONDS)

    assert tids(found) == done


def test_a_feed_waits_for_other_instances_and_leaves_the_snapshot_alone(database, thing, again):
    other = again()
    transaction.begin()
    assert thing.number == 0
    found = database.changes(since=database.tid, wait=math.inf)
    done = []
    for number in range(1, 6):
        checkout(other.root)
        other.root.number = number
        other.transaction_manager.commit()
        done.append(other.tid)
        assert next(found).tid == done[-1]
        assert thing.number == 0
    found.close()
    transaction.begin()
    assert thing.number == 5


def test_closing_the_database_ends_a_feed_that_waits(database, thing):
    begun = threading.Event()
    ended: list[int] = []

    def read() -> None:
        found = database.changes(wait=math.inf)
        ended.append(next(found).tid)
        begun.set()
        ended.extend(tids(found))

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(LONG_SECONDS)
    database.close()
    reader.join(LONG_SECONDS)

    assert not reader.is_alive()
    assert len(ended) == 1


def test_closing_the_database_ends_a_feed_that_is_behind(database, thing):
    for number in range(1, 4):
        change(thing, number=number)
    found = database.changes()
    next(found)
    database.close()

    assert list(found) == []


def test_an_empty_database_has_a_feed_too(database):
    found = database.changes(wait=LONG_SECONDS)
    database.set_root(Thing())
    transaction.commit()

    assert next(found).attributes == {0: ()}


# -- what is in the way ---------------------------------------------------------------


def test_a_damaged_version_is_told_and_can_be_passed(database, thing, path):
    change(thing, number="a text that is easy to find")
    damaged = database.tid
    last = change(thing, other=1)
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(data.index(b"a text that is easy to find") + 5)
        file.write(b"X")
    try:
        found = database.changes()
        next(found)
        with pytest.raises(IntegrityError) as caught:
            next(found)
        assert f"changes(since={damaged})" in caught.value.__notes__[0]
        with pytest.raises(IntegrityError) as caught:
            next(database.changes(since=damaged))  # what it changed is not known either
        assert list(database.changes(since=last)) == []
    finally:
        path.write_bytes(data)
        database.close()


def test_the_cost_of_a_change_does_not_grow_with_the_versions_that_came_later(
    database, thing, monkeypatch
):
    for number in range(1, 200):
        change(thing, number=number)
    reads = 0
    load = type(database.storage._reading.applied.loader).load

    def counted(*args):
        nonlocal reads
        reads += 1
        return load(*args)

    monkeypatch.setattr(type(database.storage._reading.applied.loader), "load", counted)

    assert len(list(database.changes())) == 200
    assert reads < 2 * 200


@pytest.mark.parametrize("storage_of", [MemoryLog, lambda: OverlayLog(MemoryLog())])
def test_a_log_without_a_file_has_a_feed_and_a_past(storage_of):
    manager = transaction.TransactionManager()
    with Database(storage_of(), transaction_manager=manager) as database:
        root = PersistentDict(a=1)
        database.set_root(root)
        manager.commit()
        first = database.tid
        checkout(root)
        root["a"] = 2
        manager.commit()
        second = database.tid

        assert tids(database.changes()) == [first, second]
        assert tids(database.transactions(newest_first=True)) == [second, first]
        assert tids(database.history(root)) == [second, first]
        with database.at(first) as past:
            assert dict(past.root) == {"a": 1}
            assert len(past) == 1
        database.undo(second)
        manager.commit()
        assert dict(root) == {"a": 1}


# -- real processes -----------------------------------------------------------------------


def run(name: str, *args: object) -> subprocess.Popen[bytes]:
    return start(
        [
            sys.executable,
            "-c",
            f"from tests import test_life_feed as t; t.{name}()",
            *map(str, args),
        ],
        cwd=ROOT,
        env=python_path(),
        stdout=subprocess.PIPE,
    )


def program_write() -> None:
    """Commit changes of one of the counters until told to stop by the file; print them."""
    path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with Database(TransactionLog(path, sync=False)) as database:
        for number in range(count):
            for attempt in transaction.manager.attempts(50):
                with attempt:
                    counter = database.root[name]
                    checkout(counter, *([database.root] if number % 10 == 0 else []))
                    counter.number += 1
            print(counter._p_serial, flush=True)


def program_follow() -> None:
    """Follow the feed, and write every tid down before going on; resume where it was."""
    path, notes, last = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    seen = [int(line) for line in notes.read_text().split()] if notes.exists() else []
    if len(seen) == last:  # It was killed when it had written the last one down.
        return
    with Database(TransactionLog(path, read_only=True)) as database, notes.open("a") as file:
        for change in database.changes(since=seen[-1] if seen else 0, wait=math.inf):
            # One write: there whole, or not at all.
            os.write(file.fileno(), b"%d\n" % change.tid)
            if len(seen := [*seen, change.tid]) == last:
                return


def program_pack() -> None:
    """Pack until the file of the name is gone, keeping the last minutes or nothing.

    If nothing is kept, a follower has to look between two packs.
    """
    path, minutes, going, notes = sys.argv[1], float(sys.argv[2]), *map(Path, sys.argv[3:])
    packs = 0
    while going.exists():
        pack_file(path, timedelta(minutes=minutes) if minutes else None)
        packs += 1
        notes.with_name("packed").touch()
        with TransactionLog(path, read_only=True) as log:
            newest = log.tid
        # What it has seen up to the pack may be from the file before: only a later change
        # tells that it has gone on to this one.
        while not minutes and going.exists() and read_notes(notes)[-1] <= newest:
            time.sleep(0.001)  # only looks again
    print(packs)


def read_notes(notes: Path) -> list[int]:
    return [int(line) for line in notes.read_text().split()] if notes.exists() else []


@pytest.mark.parametrize("between", [0, 1, 2])
def test_what_the_second_of_two_packs_has_dropped_is_told_to_be_missed(
    database, thing, again, between
):
    """It was in a file that the follower has never seen."""
    other = again()
    last = other.storage.tid
    following = other.changes(since=last, wait=LONG_SECONDS)
    if between:
        change(thing, number=1)
    if between > 1:
        assert next(following).attributes == {0: ("number",)}
    database.pack()
    if between:
        change(thing, number=2)
        change(thing, number=3)
    database.pack()
    newest = change(thing, number=4)

    if between:
        with pytest.raises(PastDroppedError):
            next(following)
        with pytest.raises(PastDroppedError):
            other.changes(since=last)
    else:
        assert next(following).tid == newest
    other.transaction_manager.begin()
    assert other.root.number == 4


@pytest.mark.slow
@pytest.mark.parametrize("minutes", [0, 5])
def test_nothing_is_missed_while_others_commit_and_pack(path, tmp_path, minutes):
    """Followers that are killed need what is kept; one that looks in between needs nothing."""
    names, count = ("a", "b"), 150
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentDict({name: Thing(number=0) for name in names}))
        transaction.commit()
    expected = 1 + len(names) * count
    notes, going = tmp_path / "notes", tmp_path / "going"
    going.touch()
    consumer = run("program_follow", path, notes, expected)
    while not read_notes(notes):
        time.sleep(0.002)  # only looks again
        assert consumer.poll() is None
    packer = run("program_pack", path, minutes, going, notes)
    while not (tmp_path / "packed").exists():
        time.sleep(0.002)  # only looks again
        assert packer.poll() is None
    writers = [run("program_write", path, name, count) for name in names]
    kills = 0
    try:
        outputs = []
        while consumer.poll() is None:
            seen = len(read_notes(notes))
            if minutes and kills < 4 and seen > expected * (kills + 1) // 6 and seen < expected:
                consumer.send_signal(signal.SIGKILL)
                consumer.communicate()
                kills += 1
                consumer = run("program_follow", path, notes, expected)
            time.sleep(0.002)  # only looks again
            assert {each.poll() for each in (packer, *writers)} <= {None, 0}
        assert consumer.wait() == 0
        going.unlink()
        outputs = [each.communicate(timeout=LONG_SECONDS)[0] for each in (packer, *writers)]
    finally:
        for process in [consumer, packer, *writers]:
            process.kill()
            process.communicate()

    acknowledged = sorted(int(tid) for output in outputs[1:] for tid in output.split())
    assert read_notes(notes)[1:] == acknowledged
    assert bool(kills) == bool(minutes)
    with TransactionLog(path, read_only=True) as log:
        assert minutes or log.generation
    check_log(path).raise_if_bad()


@pytest.mark.slow
def test_a_consumer_that_is_killed_and_resumed_sees_each_change_once(path, tmp_path):
    names, count = ("a", "b"), 150
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentDict({name: Thing(number=0) for name in names}))
        transaction.commit()
    expected = 1 + len(names) * count
    notes = tmp_path / "notes"
    writers = [run("program_write", path, name, count) for name in names]
    kills = 0
    consumer = run("program_follow", path, notes, expected)
    seen = 0
    try:
        while seen < expected:
            now = len(notes.read_text().split()) if notes.exists() else 0
            if now > seen and now < expected and kills < 8:
                consumer.send_signal(signal.SIGKILL)
                consumer.communicate()
                kills += 1
                consumer = run("program_follow", path, notes, expected)
            seen = now
            time.sleep(0.002)  # only looks again
            assert {each.poll() for each in (consumer, *writers)} <= {None, 0}
        assert consumer.wait(LONG_SECONDS) == 0
        outputs = [writer.communicate(timeout=LONG_SECONDS)[0] for writer in writers]
    finally:
        for process in [consumer, *writers]:
            process.kill()
            process.communicate()

    acknowledged = sorted(int(tid) for output in outputs for tid in output.split())
    followed = [int(tid) for tid in notes.read_text().split()]
    with Database(TransactionLog(path, read_only=True)) as database:
        logged = [each.tid for each in database.transactions() if not each.failed]
    assert followed == logged
    assert followed[1:] == acknowledged
    assert kills
