"""Packs of the log in PostgreSQL: what is dropped, and what others see who use it meanwhile."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import transaction

from dobbin_like import (
    Database,
    MemoryLog,
    OverlayLog,
    PersistentDict,
    PersistentFile,
    checkout,
    cli,
)
from dobbin_like.check import check_database, check_log
from dobbin_like.conformance.steps import catch_up, commit, data_of, fail, locked
from dobbin_like.exc import (
    CopyError,
    HistoryLostError,
    NotALogError,
    ObjectNotFound,
    PackError,
    PackRunningError,
    PastDroppedError,
    ReadOnlyStorageError,
    SelfWaitError,
    ServerUnavailableError,
    SnapshotDroppedError,
    StreamMovedError,
)
from dobbin_like.ids import DELTA, Oid, Tid
from dobbin_like.storages.as_of import AsOf
from dobbin_like.upkeep import snapshot as snapshot_module
from dobbin_like.upkeep.copy import copy_transactions
from dobbin_like.upkeep.follow import Follower
from tests.helpers import processes
from tests.helpers.counting import counted, counting
from tests.helpers.cutting_proxy import BEFORE, LOST, WAIT_SECONDS
from tests.helpers.packing import Node, content
from tests.helpers.postgres_logs import pack_as_another, take_back
from tests.helpers.postgres_server import Server, missing

if missing():
    pytest.skip(missing(), allow_module_level=True)

import psycopg

from dobbin_like.storage.postgres import PostgresLog
from dobbin_like.storages.postgres.packs import packing, pins
from dobbin_like.storages.postgres.packs.statements import TEXTS
from dobbin_like.upkeep.packs import rows

NOW = timedelta(0)
MANAGER = transaction.ThreadTransactionManager


@pytest.fixture
def opened(server, schema):
    """Return a function that opens the database, as other processes do."""
    with contextlib.ExitStack() as ends:

        def open_it(**options):
            log = PostgresLog(server.dsn(), schema=schema, **options)
            manager = MANAGER()
            return ends.enter_context(Database(log, transaction_manager=manager))

        yield open_it


@pytest.fixture
def database(opened, check_after):
    """Return a database with a root of three objects, one of which was changed."""
    database = opened()

    database.run(lambda: database.set_root(node(0, Node(1), Node(2))))
    set_n(database, 5)
    return database


@pytest.fixture
def ask(server, schema):
    """Return a function that asks the tables; ``{s}`` stands for the schema."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        yield lambda text, *values: connection.execute(text.replace("{s}", schema), values or None)


@pytest.fixture
def check_after(server, schema, ask):
    """See to it that the tables fit together after the test."""
    yield
    assert_whole(server, schema, ask)


def edit(obj):
    """Check an object out, and return it."""
    checkout(obj)
    return obj


def node(n, *others):
    made = edit(Node(n))
    made.others = [*others]
    return made


def set_n(database, n, find=lambda root: root):
    def change():
        edit(find(database.root)).n = n

    database.run(change)
    return database.storage.tid


def take_off(database):
    """Take the last object off the root."""

    def change():
        root = edit(database.root)
        root.others = root.others[:-1]

    database.run(change)


def number(ask, text, *values):
    return ask(text, *values).fetchone()[0]


def assert_whole(server, schema, ask):
    """Check everything: the tables by themselves, and all that they hold by the package."""
    since = number(ask, "select since from {s}.log order by pos desc limit 1")
    stored = "select count(distinct oid) from {s}.version"
    newest = "select oid_count from {s}.log order by pos desc limit 1"
    due = number(ask, "select count(*) from {s}.log where due")
    assert due or number(ask, stored) == number(ask, newest)
    rows = ask("select oid, tid from {s}.version").fetchall()
    named = "select o, tid from {s}.log cross join unnest(oids) o where not failed and not packed"
    told = ask(named).fetchall()
    assert set(rows) <= set(told)
    # A pack that was ended has left rows that tell of more than there is, before the cut.
    assert all(tid <= since for _, tid in set(told) - set(rows))
    broken = (
        "select count(*) from {s}.log l join {s}.log before on before.pos = l.pos - 1 "
        "where l.prev <> before.id or l.tid <= before.tid or l.since < before.since "
        "or l.generation not in (before.generation, before.generation + 1)"
    )
    assert number(ask, broken) == 0
    manager = MANAGER()
    with Database(
        PostgresLog(server.dsn(), schema=schema), transaction_manager=manager
    ) as database:
        check_database(database).raise_if_bad()
        for obj in database.walk():
            if isinstance(obj, PersistentFile):
                assert sum(map(len, obj)) == obj.size


# -- what is dropped -----------------------------------------------------------------------


def test_what_can_not_be_reached_and_what_is_old_is_dropped(database, ask):
    take_off(database)
    before = content(database.root)
    assert number(ask, "select count(*) from {s}.version") == 5

    report = database.pack(NOW)
    assert (report.dropped.objects, report.dropped.revisions) == (1, 3)
    assert report.packed
    assert report.keep == database.storage.complete_since
    assert number(ask, "select count(*) from {s}.version") == 2
    assert content(database.root) == before
    assert database.storage.oid_count == 2
    set_n(database, 6)
    assert database.storage.oid_count == 2


def test_a_dry_run_tells_what_a_pack_does(database, ask):
    def stored(data):
        edit(database.root).others = [PersistentFile(io.BytesIO(data))]

    database.run(lambda: stored(b"x" * 3_000_000))
    database.run(lambda: stored(b"y"))
    with pytest.raises(ZeroDivisionError):
        database.run(lambda: 1 // 0)
    planned = database.pack(NOW, dry_run=True)
    assert not planned.packed
    assert number(ask, "select count(*) from {s}.version") == 8
    done = database.pack(NOW)
    assert (done.before, done.after) == (planned.before, planned.after)
    assert done.dropped.bytes > 3_000_000
    left = "select sum(octet_length(data)) from {s}."
    assert done.after.bytes == number(ask, f"{left}version") + number(ask, f"{left}stream")
    assert done.after.objects == number(ask, "select count(distinct oid) from {s}.version")
    assert done.after.revisions == number(ask, "select count(*) from {s}.version")
    rest = [each for each in database.transactions() if each.description != "pack"]
    assert done.after.transactions == len(rest)


def test_nothing_is_written_if_there_is_nothing_to_drop(database):
    database.pack(NOW)
    count = len(database.storage)
    for _ in range(2):
        report = database.pack(NOW)
        assert (report.packed, report.before) == (False, report.after)
    assert len(database.storage) == count
    assert database.storage.generation == 1


def test_an_empty_log_is_packed(opened):
    told = []
    assert not opened().pack(NOW, progress=lambda *each: told.append(each)).packed
    assert told[-1] == (0, 0)


def test_progress_comes_to_an_end(database):
    for options in ({"dry_run": True}, {}, {}):
        told = []
        database.pack(NOW, progress=lambda *each: told.append(each), **options)  # noqa: B023
        assert told == sorted(told)
        assert told[-1] == (9, 9)


def test_without_keep_the_last_hour_is_kept(database, monkeypatch):
    assert not database.pack().packed
    monkeypatch.setattr(rows, "GRACE", NOW)
    assert database.pack().packed


def test_what_is_kept_since_a_tid_stays_readable(database):
    first = database.storage.tid
    take_off(database)
    set_n(database, 7)
    report = database.pack(first)
    assert (report.keep, report.dropped.objects, report.dropped.revisions) == (first, 0, 1)
    with database.at(first) as then:
        assert [then.root.n, len(then.root.others)] == [5, 2]
    with pytest.raises(PastDroppedError):
        database.at(first - 1)


def test_a_moment_in_the_future_is_refused(database):
    with pytest.raises(PackError, match="is after the last one"):
        database.pack(database.storage.tid + 1)
    with pytest.raises(PackError, match="future"):
        database.pack(datetime.now(UTC) + timedelta(days=1))


def test_deltas_keep_what_they_change(database, ask):
    def begin():
        edit(database.root).others = [PersistentDict({n: Node(n) for n in range(100)})]

    database.run(begin)

    def change(n):
        items = edit(database.root.others[0])
        del items[n]
        items[n + 1000] = Node(n)

    for n in range(5):
        database.run(lambda: change(n))  # noqa: B023
    deltas = number(ask, "select count(*) from {s}.version where number & (1 << 24) <> 0")
    assert deltas > 3
    before = sorted(database.root.others[0])
    assert database.pack(NOW).dropped.objects == 2 + 5
    assert sorted(database.root.others[0]) == before
    database.run(lambda: change(7))
    database.pack(NOW)


def test_streams_go_with_their_objects(database, ask):
    def stored():
        edit(database.root).others = [
            PersistentFile(io.BytesIO(bytes([n]) * 2_000_000)) for n in range(2)
        ]

    def forget():
        edit(database.root).others = database.root.others[:1]

    database.run(stored)
    kept, lost = database.root.others
    database.run(forget)
    database.pack(NOW)
    assert number(ask, "select count(distinct key) from {s}.stream") == 1
    assert b"".join(kept) == bytes(2_000_000)
    with pytest.raises(StreamMovedError):
        b"".join(lost)

    def take_up():
        edit(database.root).others = [kept, lost]

    with pytest.raises(StreamMovedError):
        database.run(take_up)
    database.transaction_manager.abort()


def test_a_check_reads_the_streams(database, ask):
    def stored():
        edit(database.root).others = [PersistentFile(io.BytesIO(bytes(2_000_000)))]

    database.run(stored)
    report = check_log(database.storage)
    assert report.ok, report
    assert (report.streams, report.stream_bytes) == (1, 2_000_000)

    ask("delete from {s}.stream where n = (select max(n) from {s}.stream)")
    (problem,) = check_log(database.storage).problems
    assert problem.expected == "2000000 bytes"

    ask("delete from {s}.stream")
    (problem,) = check_log(database.storage).problems
    assert problem.found == "0 bytes, then nothing"
    database.run(lambda: setattr(edit(database.root), "others", []))
    database.pack(NOW)


def test_a_stream_of_a_transaction_that_is_not_committed_yet_stays(database, ask):
    storage = database.storage
    with locked(storage):
        key, _ = storage.write_stream(io.BytesIO(b"text"))
        pack_in_another_process(storage)
        assert storage.read_stream(key, 0, 9) == b"text"
    insert = "insert into {s}.stream values (7, 0, 'left behind', now() - interval '2 days')"
    ask(insert)
    set_n(database, 8)
    database.pack(NOW)
    assert number(ask, "select count(*) from {s}.stream where key = 7") == 0


def test_names_of_dropped_transactions_stay(database, opened):
    def replace():
        edit(database.root).others = [PersistentDict(a=1)]

    database.run(replace)
    database.run(replace)
    database.pack(NOW)
    other = opened()
    assert other.storage.names.rows() == database.storage.names.rows()
    assert other.root.others[0]["a"] == 1


def test_indexes_forget_what_was_dropped(opened, check_after):
    database = opened()
    database.run(lambda: database.set_root(Node(0)))
    database.index(Node, "n")

    def grow():
        edit(database.root).others = [Node(1), Node(2)]

    database.run(grow)
    database.run(lambda: setattr(edit(database.root), "others", []))
    database.pack(NOW)
    assert [each.n for each in database.find(Node)] == [0]


# -- those who have it open ----------------------------------------------------------------


def pack_in_another_process(storage, keep=NOW):
    return processes.in_child(lambda: pack_as_another(storage, keep))


def test_who_slept_over_packs_goes_on(database, opened):
    sleeper = opened()
    assert (sleeper.root.n, sleeper.root.others[1].n) == (5, 2)
    lost = sleeper.root.others[1]
    sleeper.transaction_manager.abort()
    set_n(database, 3, lambda root: root.others[1])
    for n in range(3):
        set_n(database, 10 + n)
        take_off(database)
        assert database.pack(NOW).packed
    sleeper.transaction_manager.begin()
    assert content(sleeper.root) == content(database.root) == [(0, 12, [])]
    # It has never seen the last state of that.
    with pytest.raises(ObjectNotFound):
        _ = lost.n
    with pytest.raises(ObjectNotFound):
        sleeper.run(lambda: setattr(edit(sleeper.root), "others", [lost]))
    sleeper.transaction_manager.abort()
    set_n(sleeper, 20)
    assert len(sleeper.storage) == len(database.storage) + 1


def test_who_has_slept_for_too_long_has_to_open_it_again(database, opened, ask, monkeypatch):
    sleeper = opened()
    set_n(database, 6)
    set_n(database, 7)
    monkeypatch.setattr(packing, "_KEPT_MICROSECONDS", 0)
    database.pack(NOW)
    set_n(database, 8)
    database.pack(NOW)
    assert number(ask, "select count(*) from {s}.log where packed") <= 2
    with pytest.raises(HistoryLostError):
        sleeper.transaction_manager.begin()
    assert opened().root.n == 8


def test_an_older_snapshot_is_told(database, opened):
    reader = opened()
    assert reader.root.n == 5
    set_n(database, 6)
    set_n(database, 1000, lambda root: root.others[0])
    take_off(database)
    pack_in_another_process(database.storage)
    assert reader.root.n == 5  # It is in memory.
    for at in (0, 1):
        with pytest.raises(SnapshotDroppedError, match="begin a transaction"):
            _ = reader.root.others[at].n
    reader.transaction_manager.begin()
    assert [each.n for each in reader.root.others] == [1000]


def test_a_log_that_was_opened_before_a_pack_can_be_used(database, server, schema):
    # It raised SnapshotDroppedError, as nothing is left of the root of then.
    with PostgresLog(server.dsn(), schema=schema) as log:
        set_n(database, 6)
        pack_in_another_process(database.storage)
        with Database(log, transaction_manager=MANAGER()) as late:
            assert late.root.n == 6


def test_who_asks_rarely_for_news_learns_of_a_pack_at_once(database, opened):
    reader = opened(freshness=600)
    assert reader.root.n == 5
    set_n(database, 1000, lambda root: root.others[0])
    pack_in_another_process(database.storage)
    with pytest.raises(SnapshotDroppedError):
        _ = reader.root.others[0].n
    reader.transaction_manager.begin()
    assert reader.root.others[0].n == 1000


def test_what_an_older_snapshot_still_finds_is_right(database, opened):
    def begin():
        edit(database.root).others = [PersistentDict(dict.fromkeys(range(100), "x" * 50))]

    def change(n):
        del edit(database.root.others[0])[n]

    database.run(begin)
    database.run(lambda: change(0))
    reader = opened()
    reader.transaction_manager.begin()
    database.run(lambda: change(1))
    pack_in_another_process(database.storage)
    assert len(reader.root.others[0]) == 99  # The next version is a change of this one.


def test_snapshots_of_the_same_process_are_kept(database, opened):
    fresh = opened()
    begun, go_on = threading.Event(), threading.Event()
    found = []

    def read():
        with fresh.reading() as root:
            begun.set()
            go_on.wait(WAIT_SECONDS)
            found.extend([root.n, root.others[1].n])

    thread = threading.Thread(target=read)
    thread.start()
    assert begun.wait(WAIT_SECONDS)
    set_n(database, 6)
    take_off(database)
    fresh.transaction_manager.begin()
    fresh.pack(NOW)
    go_on.set()
    thread.join()
    assert found == [5, 2]
    fresh.transaction_manager.begin()
    fresh.pack(NOW)
    assert fresh.storage.oid_count == 2


def test_a_past_that_is_read_stays_until_it_is_not(database, opened, ask):
    reader = opened()
    first = database.storage.tid
    past = reader.at(first)
    take_off(database)
    set_n(database, 6)
    pack_in_another_process(database.storage)
    assert [past.root.n, len(past.root.others)] == [5, 2]
    past.close()
    assert number(ask, "select count(*) from {s}.pin") == 0
    pack_in_another_process(database.storage)
    reader.transaction_manager.begin()
    with pytest.raises(PastDroppedError):
        reader.at(first)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_an_overlay_takes_up_again_is_kept(database, elsewhere):
    """The last transaction of the base has deleted it."""
    take_off(database)
    deleted = database.storage.tid
    overlay = OverlayLog(database.storage)
    with Database(overlay, transaction_manager=MANAGER()) as preview, preview.transaction():
        preview.undo(deleted)
        again = overlay.another()
    if elsewhere:
        pack_in_another_process(database.storage)
    else:
        database.pack(NOW)
    set_n(database, 7)

    with Database(again, transaction_manager=MANAGER()) as preview:
        assert preview.root.others[-1].n == 2


def test_a_feed_misses_nothing(database, opened):
    reader = opened()
    feed = reader.changes(reader.storage.tid, wait=1)
    set_n(database, 6)
    assert len(next(feed).oids) == 1
    for n in range(7, 10):
        set_n(database, n)
    pack_in_another_process(database.storage)
    set_n(database, 10)
    pack_in_another_process(database.storage)
    told = [change for change in feed if change.oids]
    assert len(told) == 4
    with pytest.raises(PastDroppedError):
        opened().changes(0)


def test_a_moment_that_a_pack_keeps_is_found_by_who_has_not_seen_it(database, opened):
    reader = opened()
    first = reader.storage.tid
    with contextlib.closing(AsOf(reader.storage, first)):
        pack_in_another_process(database.storage)
        assert reader.storage.complete_since < first
        with contextlib.closing(AsOf(reader.storage, first)) as found:
            assert found.tid == first
        told = reader.storage.transactions(newest_first=True)
        assert next(told).tid == first
        with pytest.raises(PastDroppedError):
            next(told)


def test_who_has_not_seen_a_pack_is_not_told_half_of_the_past(database, opened):
    reader = opened()
    first = reader.storage.tid
    set_n(database, 6)
    set_n(database, 7)
    reader.storage.apply(reader.storage.read_news())
    behind = opened().storage
    pack_in_another_process(database.storage)
    for storage in (reader.storage, behind):
        with pytest.raises(PastDroppedError):
            list(storage.transactions(Tid(first - 1)))
        with pytest.raises(PastDroppedError):
            list(storage.transactions(newest_first=True))
        catch_up(storage)
        assert [each.description for each in storage.transactions()][-1] == "pack"


# -- those who commit ----------------------------------------------------------------------


def test_what_was_dropped_can_be_taken_up_again(database, opened):
    holder = opened()
    held = holder.root.others[1]
    assert held.n == 2
    held_file = held.others
    take_off(database)
    holder.transaction_manager.begin()
    assert pack_in_another_process(database.storage).dropped.objects == 1
    assert held.n == 2  # Its state is in memory.
    holder.run(lambda: setattr(edit(holder.root), "others", [held]))
    assert held_file == []
    database.transaction_manager.begin()
    assert [each.n for each in database.root.others] == [2]
    assert database.storage.oid_count == 3


def test_who_has_changed_what_was_dropped_stores_it_whole(database, opened, ask):
    def begin():
        edit(database.root).others = [PersistentDict(dict.fromkeys(range(100), "x" * 50))]

    database.run(begin)
    holder = opened()
    held = holder.root.others[0]
    assert len(held) == 100
    take_off(database)
    holder.transaction_manager.begin()
    pack_in_another_process(database.storage)
    holder.run(lambda: edit(held).update({1: 2}))  # Alone: this has a statement of its own.
    holder.run(lambda: setattr(edit(holder.root), "others", [held]))
    database.transaction_manager.begin()
    assert len(database.root.others[0]) == 100
    stored = number(ask, "select count(distinct oid) from {s}.version")
    assert database.storage.oid_count == stored
    assert number(ask, "select count(*) from {s}.version where number & (1 << 24) <> 0") == 0


def overtaking(monkeypatch, act):
    """Let *act* come between what the next commit has gathered and its append."""
    append = PostgresLog.append

    def late(self, *args, **options):
        if todo:
            todo.pop()()
        return append(self, *args, **options)

    todo = [act]
    monkeypatch.setattr(PostgresLog, "append", late)


def test_a_commit_that_a_pack_overtakes_takes_up_what_was_dropped(database, opened, monkeypatch):
    holder = opened()
    held = holder.root.others[1]
    assert held.n == 2
    take_off(database)
    holder.transaction_manager.begin()
    edit(holder.root).others = [held]
    storage = database.storage
    overtaking(monkeypatch, lambda: pack_in_another_process(storage))
    holder.transaction_manager.commit()
    database.transaction_manager.begin()
    assert storage.generation == 1
    assert [each.n for each in database.root.others] == [2]


def holding_what_is_taken_off(database, opened):
    """Return another process's database, and an object that it holds, out of reach by now."""
    holder = opened()
    held = holder.root.others[1]
    edit(held).others = [Node(3)]
    holder.transaction_manager.commit()
    take_off(database)
    holder.transaction_manager.begin()
    return holder, held


def test_what_is_taken_up_between_mark_and_drop_is_kept(database, opened, monkeypatch):
    holder, held = holding_what_is_taken_off(database, opened)
    announce_it = rows._Pack._announce

    def late(self):
        assert len(self._garbage) == 2
        edit(holder.root).others = [held]
        holder.transaction_manager.commit()
        return announce_it(self)

    monkeypatch.setattr(rows._Pack, "_announce", late)
    assert database.pack(NOW).dropped.objects == 0
    database.transaction_manager.begin()
    assert [each.n for each in database.root.others[0].others] == [3]


def test_a_stream_that_is_taken_up_while_it_is_marked_is_kept(database, opened, monkeypatch):
    file = PersistentFile(io.BytesIO(b"text"))
    database.run(lambda: setattr(edit(database.root), "others", [file]))
    holder = opened()
    held = holder.root.others[0]
    take_off(database)
    holder.transaction_manager.begin()
    announce_it = rows._Pack._announce

    def late(self):
        edit(holder.root).others = [held]
        holder.transaction_manager.commit()
        return announce_it(self)

    monkeypatch.setattr(rows._Pack, "_announce", late)
    assert database.pack(NOW).packed
    database.transaction_manager.begin()
    assert b"".join(database.root.others[0]) == b"text"


def test_what_is_pinned_while_it_is_marked_is_kept(database, opened, monkeypatch):
    reader = opened()
    first = reader.storage.tid
    set_n(database, 6)
    announce_it = rows._Pack._announce
    pasts = []

    def late(self):
        if not pasts:
            pasts.append(reader.at(first))
        return announce_it(self)

    monkeypatch.setattr(rows._Pack, "_announce", late)
    assert database.pack(NOW).keep == first
    assert pasts[0].root.n == 5


def test_a_pin_that_was_taken_back_keeps_nothing(database, opened, ask, monkeypatch):
    reader = opened()
    first = reader.storage.tid
    older = reader.at(first)
    set_n(database, 6)
    monkeypatch.setattr(pins, "_FRESH_MICROSECONDS", 0)
    reader.transaction_manager.begin()
    with reader.at(reader.storage.tid):
        older.close()
        assert number(ask, "select min(tid) from {s}.pin") == reader.storage.tid
    assert number(ask, "select count(*) from {s}.pin") == 0


@pytest.mark.parametrize("attempts", [1, 2])
def test_what_is_taken_up_just_before_the_turn_is_kept(database, opened, monkeypatch, attempts):
    holder, held = holding_what_is_taken_off(database, opened)
    turn = packing.Packing.turn

    def late(self):
        with contextlib.suppress(IndexError):
            todo.pop()()
        return turn(self)

    def take_up():
        edit(holder.root).others = [held]
        holder.transaction_manager.commit()

    todo = [take_up]
    monkeypatch.setattr(rows, "_ATTEMPTS", attempts)
    monkeypatch.setattr(packing.Packing, "turn", late)
    assert database.pack(NOW).dropped.objects == 0
    database.transaction_manager.begin()
    assert [each.n for each in database.root.others[0].others] == [3]


TAKING = """
import random, sys
import dobbin_like
from dobbin_like import checkout
from dobbin_like.exc import ObjectNotFound, SnapshotDroppedError
from tests.helpers.packing import Node

uri, seed, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
choose = random.Random(seed)
held = []
with dobbin_like.open(uri) as database:
    def step():
        root = database.root
        slot = choose.randrange(len(root.others))
        place = root.others[slot]
        checkout(place)
        what = choose.random()
        if what < 0.4 or not held:
            place.others = [Node(choose.randrange(1000)) for _ in range(3)]
        elif what < 0.7:
            place.others = [choose.choice(held)]
        else:
            place.others = []
        held.extend(place.others)
        del held[:-30]
    for number in range(times):
        try:
            database.run(step)
        except ObjectNotFound:
            database.transaction_manager.abort()
            held.clear()
        print(number, flush=True)
"""


@pytest.mark.slow
def test_packs_under_writers_lose_nothing(server, schema, opened, check_after):
    """Writers take up what they have dropped before, and count, while it is packed."""
    database = opened()

    def begin():
        root = node(0, *(Node(n) for n in range(8)))
        database.set_root(PersistentDict(all=0, a=0, b=0, tree=root))

    database.run(begin)
    uri = server.uri(schema)
    counters = [counting(uri, name, 150) for name in "ab"]
    script = TAKING.replace("root = database.root", 'root = database.root["tree"]')
    takers = [
        processes.start(
            [sys.executable, "-c", script, uri, str(seed), "150"],
            env=processes.python_path(),
            stdout=-1,
            stderr=-1,
            text=True,
        )
        for seed in range(2)
    ]
    dropped = 0
    while any(process.poll() is None for process in (*counters, *takers)):
        dropped += database.pack(NOW).dropped.objects
        database.transaction_manager.begin()
    assert counted(counters) == [150, 150]
    for process in takers:
        with process:
            _, err = process.communicate()
        assert process.returncode == 0, err
    database.transaction_manager.begin()
    assert database.root["all"] == 300
    assert dropped > 10


# -- what ends a pack ----------------------------------------------------------------------

DELETING = ["drop_objects", "drop_versions", "thin_out"]
STEPS = [name for name in packing.TEXTS if name not in ("state", "before", "stream_sizes")]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_pack_that_is_killed_leaves_a_log_that_is_right(database, opened, step, when):
    """Whatever it was about to do, or has done. The next pack drops the rest."""
    fill(database)
    before = content(database.root)

    def child():
        execute = packing.Line.execute
        packing.OBJECTS_AT_ONCE = 1

        def killing(self, query, *args, **options):
            hit = query == packed.text or query == packed.text.replace("%%", "%")
            if hit and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = execute(self, query, *args, **options)
            if hit:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        packed = SimpleNamespace(text="")
        begin = packing.Packing.__init__

        def noted(self, *args, **options):
            begin(self, *args, **options)
            packed.text = self._texts[step]

        packing.Packing.__init__ = noted
        packing.Line.execute = killing
        pack_as_another(database.storage)

    code = processes.exit_code(processes.forked(child))
    assert code in (-signal.SIGKILL, 0)
    assert content(opened().root) == before
    set_n(database, 77)
    other = opened()
    other.pack(NOW)
    assert other.storage.oid_count == len(content(other.root)) == 2
    assert number_of_versions(other) == 2


def test_what_a_pack_that_was_ended_has_still_to_delete_is_not_there(
    database, opened, monkeypatch, ask
):
    """Nobody may take it up: what it refers to may be deleted already."""
    holder = opened()
    held = holder.root.others[1]
    edit(held).others = [Node(3), Node(4)]
    holder.transaction_manager.commit()
    take_off(database)
    holder.transaction_manager.begin()
    gone = [2, 3, 4]

    def ended(self):
        if self.newest.generation:
            raise KeyboardInterrupt
        return iter(())

    monkeypatch.setattr(packing.Packing, "drop_objects", ended)
    with pytest.raises(KeyboardInterrupt):
        database.pack(NOW)
    monkeypatch.undo()
    assert number(ask, "select count(*) from {s}.version where oid > 1") == 4
    holder.transaction_manager.begin()
    assert held.n == 2
    edit(held).others = []
    held.n = 9
    holder.transaction_manager.commit()
    for each in (database, holder, opened()):
        each.transaction_manager.begin()
        assert each.storage.oid_count == 3
        assert [each.storage.has(Oid(oid)) for oid in gone] == [True, False, False]
        assert [data_of(each.storage, oid) is None for oid in gone] == [False, True, True]
        assert sorted(node.n for node in each.instances(Node)) == [1, 5, 9]
    check_database(opened()).raise_if_bad()
    database.pack(NOW)
    assert number(ask, "select count(*) from {s}.version where oid > 1") == 0
    assert number(ask, "select count(*) from {s}.log where due") == 0


def number_of_versions(database):
    return database.pack(NOW, dry_run=True).before.revisions


def fill(database):
    set_n(database, 6)
    with contextlib.suppress(ZeroDivisionError):
        database.run(lambda: 1 // 0)

    def stored():
        edit(database.root).others = [*database.root.others, PersistentFile(io.BytesIO(b"x"))]

    database.run(stored)
    take_off(database)
    take_off(database)


@pytest.mark.parametrize("step", ["announce", "drop_objects", "drop_versions", "thin_out"])
def test_a_pack_that_is_interrupted_can_be_run_again(database, monkeypatch, step):
    fill(database)
    done = getattr(packing.Packing, step)

    def interrupted(self, *args):
        done(self, *args)
        if self.newest.generation:
            raise KeyboardInterrupt
        return iter(())

    monkeypatch.setattr(packing.Packing, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        database.pack(NOW)
    monkeypatch.undo()
    set_n(database, 9)
    database.pack(NOW)
    assert number_of_versions(database) == 2


def test_one_pack_at_a_time(database, opened, monkeypatch):
    other = opened()
    fill(database)
    run = packing.Packing.look

    def beside(self, *args):
        monkeypatch.undo()
        with pytest.raises(PackRunningError):
            other.pack(NOW)
        return run(self, *args)

    monkeypatch.setattr(packing.Packing, "look", beside)
    assert database.pack(NOW).packed


def test_two_packs_that_know_nothing_of_each_other_drop_nothing_that_is_needed(
    database, opened, monkeypatch
):
    other = opened()
    fill(database)
    monkeypatch.setattr(packing.Packing, "alone", lambda _self: contextlib.nullcontext())
    announce_it = rows._Pack._announce

    def late(self):
        monkeypatch.setattr(rows._Pack, "_announce", announce_it)
        set_n(other, 8)
        assert other.pack(NOW).packed
        return announce_it(self)

    monkeypatch.setattr(rows._Pack, "_announce", late)
    with pytest.raises(PackRunningError):
        database.pack(NOW)
    assert database.pack(NOW).dropped.revisions == 0


def test_who_may_not_write_may_not_pack(database, opened):
    reader = opened(read_only=True)
    with pytest.raises(ReadOnlyStorageError):
        reader.pack(NOW)
    assert reader.pack(NOW, dry_run=True).dropped.revisions == 1


def test_a_pack_in_the_middle_of_a_commit_is_refused(database):
    database.storage.acquire()
    try:
        with pytest.raises(SelfWaitError):
            database.pack(NOW)
    finally:
        database.storage.release()


@pytest.mark.parametrize("when", [BEFORE, LOST])
@pytest.mark.parametrize(
    "step", ["announce", "commit", "drop_objects", "drop_versions", "thin_out"]
)
def test_a_pack_whose_connection_is_lost_leaves_a_log_that_is_right(
    database, server, schema, proxy, monkeypatch, when, step
):
    fill(database)
    before = content(database.root)
    log = PostgresLog(server.dsn(proxy.port), schema=schema, patience=1, prepare=False)
    text = log._statements.of(TEXTS.get(step, step))
    execute = packing.Line.execute

    def cut(self, query, *args, **options):
        if query == text and not proxy.was_cut.is_set():
            proxy.cut_at(1, when)
        return execute(self, query, *args, **options)

    with (
        Database(log, transaction_manager=MANAGER()) as other,
        monkeypatch.context() as patch,
    ):
        patch.setattr(packing.Line, "execute", cut)
        with contextlib.suppress(ServerUnavailableError):
            other.pack(NOW)
        assert proxy.was_cut.is_set()
    database.transaction_manager.begin()
    assert content(database.root) == before
    set_n(database, 9)
    database.pack(NOW)
    assert number_of_versions(database) == 2


# -- copies --------------------------------------------------------------------------------


def test_a_cache_knows_of_packs(database, opened, tmp_path, server, schema, ask):
    def look(other):
        root = other.root
        return [root.n, *(each.n for each in root.others)]

    cache = str(tmp_path / "cache")
    early = opened(cache=cache)
    assert look(early) == [5, 1, 2]
    set_n(database, 6)
    set_n(database, 60, lambda root: root.others[0])
    take_off(database)
    pack_in_another_process(database.storage)
    early.transaction_manager.begin()
    for other in (early, opened(cache=cache), opened(cache=cache, read_only=True)):
        assert look(other) == [6, 60]
        assert [data_of(other.storage, oid) is None for oid in range(3)] == [False, False, True]
        assert not other.storage.has(Oid(2))
    commit(database.storage, {2: pickle.dumps({"n": 1, "others": []}, 4)})
    for other in (early, opened(cache=cache)):
        catch_up(other.storage)
        assert data_of(other.storage, 2)


def test_a_cache_that_is_older_than_what_is_known_of_packs_is_discarded(
    database, opened, tmp_path, monkeypatch
):
    # What was dropped long ago was still read from it.
    cache = tmp_path / "cache"
    set_n(database, 7, lambda root: root.others[0])
    opened(cache=cache).close()
    gone = database.root.others[-1]._p_oid
    take_off(database)
    monkeypatch.setattr(packing, "_KEPT_MICROSECONDS", 0)
    for n in range(3):
        set_n(database, n)
        database.pack(NOW)
    for late in opened(), opened(cache=cache):
        assert late.storage.load(gone) is None
        assert late.root.n == 2


def test_a_cache_that_is_made_while_a_pack_is_not_done_lacks_what_is_gone(
    database, opened, tmp_path, monkeypatch
):
    take_off(database)

    def ended(self):
        if self.newest.generation:
            raise KeyboardInterrupt
        return iter(())

    with monkeypatch.context() as patch:
        patch.setattr(packing.Packing, "drop_objects", ended)
        with pytest.raises(KeyboardInterrupt):
            database.pack(NOW)
    cache = str(tmp_path / "cache")
    opened(cache=cache)
    database.pack(NOW)
    assert data_of(opened(cache=cache).storage, 2) is None


def test_who_follows_goes_on_over_packs(database, opened, tmp_path):
    replica = tmp_path / "replica"
    with (
        PostgresLog(database.storage._dsn, schema=database.storage._options.schema) as source,
        Follower(source, replica) as follower,
    ):
        follower.catch_up()
        for n in range(3):
            set_n(database, 10 + n)
            take_off(database)
            pack_in_another_process(database.storage)  # What was not copied is kept.
            assert follower.catch_up().copied
            pack_in_another_process(database.storage)
            set_n(database, 20 + n)
            follower.catch_up()
            follower.compare()
    with (
        PostgresLog(database.storage._dsn, schema=database.storage._options.schema) as source,
        Follower(source, replica) as follower,
    ):
        assert follower.catch_up().copied == 0
    with Database(replica, read_only=True) as copy:
        database.transaction_manager.begin()
        assert content(copy.root) == content(database.root)
        check_database(copy).raise_if_bad()
    pack_in_another_process(database.storage)
    follow_from_now(database, opened().storage, tmp_path / "new")


def follow_from_now(database, source, replica):
    """Follow a log that was packed: what comes afterwards may need what nothing refers to."""
    told = []
    with Follower(source, replica, lambda *step: told.append(step)) as follower:
        assert told[-1][0] == told[-1][1]
        assert follower.catch_up().transactions == 1
        for n in range(3):
            set_n(database, 40 + n)
            take_off(database)
            assert follower.catch_up().copied
            follower.compare()
            pack_in_another_process(database.storage)
    with Follower(source, replica) as follower:
        assert follower.catch_up().copied == 0
        follower.compare()
    with Database(replica, read_only=True) as copy:
        database.transaction_manager.begin()
        assert content(copy.root) == content(database.root)
        check_database(copy).raise_if_bad()
    check_log(replica).raise_if_bad()


def test_who_follows_from_now_reads_what_is_changed_of_large_collections(
    database, opened, tmp_path
):
    # A change names the version before, which had another tid in the file: it could not be read.
    def begin():
        edit(database.root).others = [PersistentDict(dict.fromkeys(range(1000), "old"))]

    def change(n):
        edit(database.root.others[0])[n] = "new"

    replica = tmp_path / "replica"
    database.run(begin)
    pack_in_another_process(database.storage)
    set_n(database, 6)
    source = opened().storage
    for n in range(3):
        with Follower(source, replica) as follower:
            assert follower.catch_up().transactions == n + 1
            follower.compare()
        check_log(replica).raise_if_bad()
        with Database(replica, read_only=True) as copy:
            assert list(copy.root.others[0].values()).count("new") == n
        database.run(lambda n=n: change(n))
    numbers = {stored.number & DELTA for _, stored in versions_of(source, database.root.others[0])}
    assert numbers == {0, DELTA}


@pytest.mark.parametrize("when", [0, 1, 2])
def test_a_pack_while_a_file_begins_is_waited_for(database, opened, tmp_path, monkeypatch, when):
    """*when*: before what is there is pinned, while it is looked at, while it is written."""
    # It failed with an AssertionError: a pack drops what nothing refers to.
    replica = tmp_path / "replica"
    database.run(
        lambda: setattr(
            edit(database.root.others[1]), "others", [PersistentFile(io.BytesIO(b"x"))]
        )
    )
    pack_in_another_process(database.storage)
    take_off(database)
    source = opened().storage
    set_n(database, 6)
    packs = []

    def pack():
        if not packs:
            packs.append(pack_in_another_process(database.storage))

    if when == 0:
        pack()
    elif when == 1:
        read = snapshot_module._State._read_all
        monkeypatch.setattr(snapshot_module._State, "_read_all", lambda self: pack() or read(self))
    else:
        carry = snapshot_module._State.carry_streams
        monkeypatch.setattr(
            snapshot_module._State, "carry_streams", lambda *args: pack() or carry(*args)
        )
    with Follower(source, replica) as follower:
        follower.catch_up()
        follower.compare()
    assert packs[0].packed
    check_log(replica).raise_if_bad()
    with Database(replica, read_only=True) as copy:
        assert copy.root.n == 6


def test_a_comparison_that_a_pack_meets_goes_on(database, opened, tmp_path):
    # What it had not read yet was dropped.
    packs = []

    def pack(_done, _total):
        if not packs:
            packs.append(pack_in_another_process(database.storage))

    for n in range(3):
        set_n(database, n)
    with Follower(opened().storage, tmp_path / "replica") as follower:
        follower.catch_up()
        follower.compare(pack)
    assert packs


def versions_of(storage, obj):
    """Yield the versions of an object, each after its transaction."""
    catch_up(storage)
    for logged in storage.transactions():
        for oid, stored in storage.entries(logged):
            if oid == obj._p_oid:
                yield logged, stored


def test_a_copy_that_a_pack_meets_is_whole(database):
    copy = MemoryLog()
    storage = database.storage
    met = []

    def progress(_done, _total):
        if not met:
            take_off(database)
            met.append(pack_in_another_process(storage))

    database.transaction_manager.begin()
    report = copy_transactions(storage, copy, progress)
    assert report.copied == 2
    assert not met[0].packed
    assert pack_in_another_process(storage).packed
    catch_up(storage)
    with pytest.raises(CopyError, match="without history"):
        copy_transactions(storage, copy)


# -- history that is lost --------------------------------------------------------------------


def test_a_history_that_was_lost_is_noticed_over_packs(database, opened, server, schema):
    sleeper = opened()
    set_n(sleeper, 6)
    take_back(server, schema, len(database.storage))
    set_n(database, 7)
    set_n(database, 8)
    pack_in_another_process(database.storage)
    set_n(database, 9)
    pack_in_another_process(database.storage)
    with pytest.raises(HistoryLostError):
        sleeper.transaction_manager.begin()


def test_who_may_not_write_a_pin_is_told(database, server, schema, ask, caplog):
    role = f"reader_{schema}"
    ask(f"create role {role} login")
    ask(f"grant usage on schema {schema} to {role}")
    ask(f"grant select on all tables in schema {schema} to {role}")
    dsn = server.dsn().replace("user=postgres", f"user={role}")
    reader = Database(PostgresLog(dsn, schema=schema), transaction_manager=MANAGER())
    with reader, reader.at(reader.storage.tid) as past:
        assert past.root.n == 5
    assert "packs of other processes may drop what this one reads" in caplog.text


def test_a_database_in_postgres_does_not_pack_itself(server, schema):
    log = PostgresLog(server.dsn(), schema=schema)
    with pytest.raises(PackError, match="let a timer call"):
        Database(log, pack_when=0.5)


@pytest.mark.slow
def test_a_standby_follows_packs(schema):
    with contextlib.ExitStack() as ends:
        primary = Server()
        ends.callback(primary.remove)
        primary.start()
        database = ends.enter_context(
            Database(PostgresLog(primary.dsn(), schema=schema), transaction_manager=MANAGER())
        )
        database.run(lambda: database.set_root(node(0, Node(1), Node(2))))
        standby = Server(primary)
        ends.callback(standby.remove)
        standby.start()
        log = PostgresLog(standby.dsn(), schema=schema, read_only=True)
        reader = ends.enter_context(Database(log, transaction_manager=MANAGER()))
        past = reader.at(reader.storage.tid)
        assert [reader.root.n, past.root.n] == [0, 0]
        set_n(database, 5)
        set_n(database, 50, lambda root: root.others[0])
        take_off(database)
        database.pack(NOW)
        with psycopg.connect(primary.dsn(), autocommit=True) as connection:
            written = connection.execute("select pg_current_wal_lsn()").fetchone()
        with psycopg.connect(standby.dsn(), autocommit=True) as connection:
            replayed = "select pg_last_wal_replay_lsn() >= %s::pg_lsn"
            while connection.execute(replayed, written).fetchone() != (True,):
                time.sleep(0.02)
        for each in (reader, past):  # Nothing can be pinned there.
            with pytest.raises(SnapshotDroppedError):
                _ = each.root.others[0].n
        assert reader.pack(NOW, dry_run=True).dropped.revisions == 0
        reader.transaction_manager.begin()
        assert [each.n for each in reader.root.others] == [50]
        check_database(reader).raise_if_bad()


# -- tables ----------------------------------------------------------------------------------


def test_tables_of_an_older_format_are_refused(database, ask, opened):
    ask("update {s}.meta set format = 1")
    with pytest.raises(NotALogError, match="format 1"):
        opened()
    ask("update {s}.meta set format = 2")


def test_failed_transactions_before_the_cut_go(server, schema):
    with PostgresLog(server.dsn(), schema=schema) as log:
        root = pickle.dumps({}, 4)
        commit(log, {0: root}, [(1, "shop", "Cart")])
        fail(log, "a reason", [0])
        commit(log, {0: root})
        pack_as_another(log)
        catch_up(log)
        assert [each.failed for each in log.transactions()] == [False, False]
        assert data_of(log, 0) == root


def test_the_command_packs(database, server, schema, capsys):
    uri = server.uri(schema)
    assert cli.run(["pack", uri, "--dry-run", "--keep", "0s"]) == 0
    assert "would drop 0 of 3 objects, 1 of 4 revisions" in capsys.readouterr().out
    assert cli.run(["pack", uri]) == 0
    assert "would drop 0 of" in capsys.readouterr().out
    assert cli.run(["pack", uri, "--keep", "0s"]) == 0
    assert "dropped 0 of 3 objects, 1 of 4 revisions" in capsys.readouterr().out
    assert cli.run(["check", uri]) == 0
    assert cli.run(["log", uri]) == 0
    assert cli.run(["info", uri]) == 0
