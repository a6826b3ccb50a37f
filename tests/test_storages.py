"""Every storage keeps the protocol; and a storage that does not is found out."""

from __future__ import annotations

import gc
import io
import os
import tempfile
import threading
import weakref

import pytest
import transaction

from dobbin_like import Database, Persistent, PersistentDict, PersistentFile, checkout
from dobbin_like.check import CheckFailedError, check_database, check_log
from dobbin_like.conformance import ReadingTests, StorageTests, run
from dobbin_like.conformance.steps import catch_up, commit, data_of, fail
from dobbin_like.exc import ClosedError, IntegrityError, LockTimeout, ReadConflictError
from dobbin_like.ids import Oid, Tid
from dobbin_like.storage import MemoryLog, OverlayLog, TransactionLog
from dobbin_like.storages.as_of import AsOf
from dobbin_like.storages.memory_lock import MemoryLock
from dobbin_like.upkeep.pack import pack_file
from tests.helpers.interrupts import interrupted
from tests.helpers.processes import in_child
from tests.helpers.steps import Steps, in_thread

# -- the suite ------------------------------------------------------------------------


class TestTransactionLog(StorageTests):
    def make(self):
        return TransactionLog(self.directory() / "data.log", sync=False)

    def again(self, storage, **options):
        return TransactionLog(storage.path, sync=False, **options)

    def pack(self, storage):
        pack_file(storage.path)


class TestMemoryLog(StorageTests):
    def make(self):
        return MemoryLog()

    def again(self, storage, **options):
        return storage.another(**options)


class TestOverlayOfALog(StorageTests):
    """Over an empty base; a history has its first half in the base."""

    def base(self):
        return TransactionLog(self.directory() / "data.log", sync=False)

    def make(self):
        return OverlayLog(self.opened(self.base()))

    def again(self, storage, **options):
        return storage.another(**options)

    def middle(self, storage):
        return OverlayLog(storage)

    def reader(self, storage):
        return OverlayLog(storage)


class TestOverlayOfMemory(TestOverlayOfALog):
    def base(self):
        return MemoryLog()


class TestOverlayOfAnOverlay(TestOverlayOfALog):
    def base(self):
        return OverlayLog(self.opened(MemoryLog()))


class TestThePastOfALog(ReadingTests):
    """What ``db.at()`` reads from; the log below goes on."""

    def make(self):
        return TransactionLog(self.directory() / "data.log", sync=False)

    def reader(self, storage):
        past = AsOf(storage, storage.tid)
        commit(storage, {0: b"later", 9: b"later"}, [(3, "much", "Later")])
        return past

    test_the_counts_are_those_of_what_is_applied = None  # Numbers go on to be given.


class TestThePastOfMemory(TestThePastOfALog):
    def make(self):
        return MemoryLog()


class TestThePastOfAnOverlay(TestThePastOfALog):
    def make(self):
        return OverlayLog(self.opened(MemoryLog()))

    def middle(self, storage):
        return OverlayLog(storage)


# -- the suite bites ------------------------------------------------------------------


class TwoStorages(StorageTests):
    storage = MemoryLog

    def make(self):
        return self.storage()

    def again(self, storage, **options):
        return storage.another(**options)


def failed(storage_class):
    """Run the suite over a storage; return the names of the tests that fail."""
    tests = type("Tests", (TwoStorages,), {"storage": storage_class})
    return {outcome.test for outcome in run(tests) if outcome.error}


class TornStructure(MemoryLog):
    """Shows a transaction before it is decided."""

    def prepare(self, *args, **options):
        logged = super().prepare(*args, **options)
        self._shared.transactions.append(logged)
        return logged


class Forgetful(MemoryLog):
    """Has only the newest versions."""

    def load(self, oid, at=None):
        return super().load(oid)


class Deaf(MemoryLog):
    """Never hears of the commits of others."""

    def has_news(self):
        return super().has_news() and self.held


class Unlocked(MemoryLog):
    """Lets two instances write at once."""

    def _set_up(self, shared, **options):
        super()._set_up(shared, **options)
        self._own = MemoryLock(self.path)

    @property
    def held(self):
        return self._own.held(self)

    def acquire(self):
        self._check_open()
        self._own.acquire(self, self._lock_timeout)

    def release(self):
        if self.held:
            self._drop()
        self._own.release(self)


class Silent(MemoryLog):
    """Does not record what failed."""

    def fail(self, *args, **options):
        self._drop()


class Mixed(MemoryLog):
    """Applies news in whatever order."""

    def apply(self, news):
        for logged in news:
            self._newest.update(zip(logged.oids, logged.versions, strict=False))
            self.names.update(*logged.names)
            self._head = logged


class Leaking(MemoryLog):
    """Keeps what was prepared and not decided."""

    def _drop(self):
        pass


class Shortened(MemoryLog):
    """Reads streams only up to 64 KiB."""

    def read_stream(self, offset, start, size):
        return super().read_stream(offset, start, min(size, 1 << 16))


class Amnesic(MemoryLog):
    """Does not know after an interrupt what it has committed."""

    def settle(self, tid):
        super().settle(tid)


class Hasty(MemoryLog):
    """Applies what it appends."""

    def append(self, *args, **options):
        logged = super().append(*args, **options)
        self.apply([logged])
        return logged


@pytest.mark.parametrize(
    ("storage", "test"),
    [
        (Amnesic, "test_an_interrupted_holder_is_told_what_it_has_committed"),
        (Hasty, "test_nothing_is_applied_before_it_is_told_so"),
        (TornStructure, "test_a_prepared_transaction_is_not_seen_by_others"),
        (Forgetful, "test_every_version_is_read_as_of_every_tid"),
        (Forgetful, "test_what_was_not_read_yet_is_read_as_of_the_snapshot"),
        (Deaf, "test_a_commit_is_news_to_others_until_they_apply_it"),
        (Unlocked, "test_nobody_waits_for_himself"),
        (Unlocked, "test_who_waits_too_long_is_told_so"),
        (Silent, "test_a_failed_transaction_counts_and_changes_nothing"),
        (Silent, "test_a_conflict_is_counted_and_recorded"),
        (Mixed, "test_news_are_applied_in_order"),
        (Leaking, "test_what_is_neither_decided_nor_failed_leaves_nothing"),
        (Shortened, "test_streams_are_read_in_ranges"),
    ],
)
def test_the_suite_finds_a_storage_that_is_broken(storage, test):
    assert test in failed(storage)


def test_the_suite_finds_nothing_in_a_whole_storage():
    assert failed(MemoryLog) == set()


def test_what_a_storage_lacks_is_skipped_with_the_reason():
    tests = type("Tests", (TwoStorages,), {"lacks_streams": "there is no room for them"})
    outcomes = {outcome.test: outcome for outcome in run(tests)}
    skipped = outcomes["test_streams_are_read_in_ranges"]

    assert (skipped.skipped, skipped.error) == ("there is no room for them", None)
    assert outcomes["test_what_was_committed_is_read"].skipped == ""


def test_an_error_of_a_test_is_told_by_the_run():
    class Tests(TwoStorages):
        def make(self):
            raise ZeroDivisionError

    outcomes = [o for o in run(Tests) if not o.skipped]

    assert {type(outcome.error) for outcome in outcomes} == {ZeroDivisionError}


# -- a log in memory --------------------------------------------------------------------


class Thing(Persistent):
    def __init__(self, **attributes):
        for name, value in attributes.items():
            setattr(self, name, value)


@pytest.fixture
def log():
    with MemoryLog() as log:
        yield log


def test_two_logs_in_memory_have_nothing_to_do_with_each_other(log):
    other = MemoryLog()
    commit(log, {0: b"root"})

    assert (len(other), other.has_news()) == (0, False)
    assert other.path != log.path
    assert other.sort_key != log.sort_key


def test_the_log_goes_on_when_its_first_instance_is_closed(log):
    other = log.another()
    commit(log, {0: b"root"})
    log.close()
    with pytest.raises(ClosedError):
        log.another()
    catch_up(other)
    commit(other, {1: b"one"})

    assert data_of(other, 0) == b"root"
    assert len(other.another()) == 2


def test_a_log_in_memory_is_gone_when_nobody_holds_it():
    log = MemoryLog()
    shared = weakref.ref(log._shared.lock)
    other = log.another()
    commit(log, {0: b"root"})
    del log
    gc.collect()
    assert shared() is not None
    del other
    gc.collect()

    assert shared() is None


def test_a_lock_timeout_is_that_of_the_instance(log):
    hasty = log.another(lock_timeout=0)
    log.acquire()

    def try_it():
        with pytest.raises(LockTimeout) as caught:
            hasty.acquire()
        return caught.value

    error = in_thread(try_it)
    log.release()

    assert (error.path, error.timeout_seconds) == (log.path, 0)


def test_a_writer_that_never_rests_lets_others_write(log):
    commit(log, {0: b"root"})
    other = log.another()
    done = threading.Event()
    steps = Steps()
    counts = []

    @steps.thread
    def greedy():
        count = 0
        while not done.is_set():
            commit(log, {0: b"greedy"})
            count += 1
        counts.append(count)

    @steps.thread
    def modest():
        try:
            for _ in range(20):
                commit(other, {1: b"modest"})
        finally:
            done.set()

    steps.join()
    catch_up(other)

    assert len(other) == 21 + counts[0]


def test_a_child_has_a_log_of_its_own(log):
    with Database(log) as database:
        database.set_root(Thing(x=1))
        transaction.commit()

        def child():
            checkout(database.root)
            database.root.x = 2
            transaction.commit()
            return database.root.x, len(database.storage)

        assert in_child(child) == (2, 2)
        transaction.begin()
        assert (database.root.x, len(log), log.has_news()) == (1, 1, False)


def test_a_child_may_write_while_its_parent_does(log):
    commit(log, {0: b"root"})
    other = log.another()
    log.acquire()
    log.write_stream(io.BytesIO(b"text"))
    log.prepare(Tid(log.tid + 1), [(Oid(0), 1, b"parent")])

    def child():
        commit(other, {0: b"child"})
        commit(log.another(), {0: b"child"})
        return data_of(other, 0)

    told = in_child(child)
    log.decide()
    log.release()
    catch_up(other)

    assert told == b"child"
    assert data_of(other, 0) == b"parent"


def test_an_interrupt_between_any_two_lines_of_a_commit_leaves_nothing_half(log):
    with Database(log) as database:
        database.set_root(Thing(x=0, file=None))
        transaction.commit()
        other = log.another(lock_timeout=0)

        def change():
            transaction.begin()
            checkout(database.root)
            database.root.x += 1
            database.root.file = PersistentFile(io.BytesIO(b"text"))
            transaction.commit()

        number = 1
        while interrupted(change, number):
            transaction.abort()
            before = len(other)
            news = catch_up(other)
            assert len(news) <= 2
            assert len(other) == before + len(news)
            in_thread(lambda: (other.acquire(), other.release()))  # Nobody holds the lock.
            assert (log.has_news(), log._pending, log._written) == (False, None, [])
            committed = [one for one in log.transactions() if not one.failed]
            assert len(log._shared.streams) == len(committed) - 1
            assert database.root.x == len(committed) - 1
            number += 7  # Each of seven runs by others would take long; some lines each time.
        assert number > 500


@pytest.mark.parametrize("first", range(1, 8))
def test_an_interrupt_in_a_step_of_the_log_can_be_mended_by_the_next(log, first):
    commit(log, {0: b"root"})
    other = log.another(lock_timeout=0)

    def write():
        log.acquire()
        try:
            catch_up(log)
            log.write_stream(io.BytesIO(b"text"))
            log.append(Tid(log.tid + 1), [(Oid(0), 1, b"%d" % log.tid)])
        finally:
            log.release()

    number = first
    while interrupted(write, number):
        log.release()
        in_thread(lambda: (other.acquire(), other.release()))
        catch_up(log)
        catch_up(other)
        assert len(log._shared.streams) == len(log) - 1
        assert data_of(log, 0) == data_of(other, 0)
        assert len(log) == len(other)
        number += 7


def test_a_slow_file_is_copied_to_where_the_system_has_temporary_files(log, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    places = []
    make = tempfile.TemporaryFile
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda **o: places.append(o["dir"]) or make(**o)
    )
    reader, writer = os.pipe()
    os.write(writer, b"text")
    os.close(writer)
    with Database(log) as database, os.fdopen(reader, "rb") as pipe:
        database.set_root(Thing(file=PersistentFile(pipe)))
        transaction.commit()

        assert b"".join(database.root.file) == b"text"
    assert places == [None]


# -- an overlay --------------------------------------------------------------------------


@pytest.fixture(params=["file", "memory", "overlay"])
def base(request, path):
    """A storage with something in it, that an overlay can be laid over."""
    ground = MemoryLog()
    with {
        "file": lambda: TransactionLog(path, sync=False),
        "memory": MemoryLog,
        "overlay": lambda: OverlayLog(ground),
    }[request.param]() as base:
        yield base


def test_an_overlay_goes_on_from_its_base_and_leaves_it_alone(base):
    with Database(base) as database:
        file = PersistentFile(io.BytesIO(b"text"))
        database.set_root(PersistentDict(a=Thing(x=1), file=file))
        transaction.commit()
        fail(base.another() if hasattr(base, "another") else TransactionLog(base.path), "why")
        transaction.begin()
        overlay = OverlayLog(base)
        with Database(overlay, transaction_manager=transaction.TransactionManager()) as preview:
            assert (len(preview), len(overlay), overlay.tid) == (3, 2, base.tid)
            assert overlay.names.next_number == base.names.next_number
            checkout(preview.root, preview.root["a"])
            preview.root["a"].x = 2
            preview.root["b"] = Thing(x=3)
            preview.root["more"] = PersistentFile(io.BytesIO(b"more"))
            preview.transaction_manager.commit()

            assert b"".join(preview.root["file"]) == b"text"
            assert b"".join(preview.root["more"]) == b"more"
            assert (len(preview), len(overlay), preview.root["b"]._p_oid) == (5, 3, 3)
            assert [one.failed for one in overlay.transactions()] == [False, True, False]
            with preview.at(base.tid) as before:
                assert before.root["a"].x == 1
                assert list(before.root) == ["a", "file"]
        assert (database.root["a"].x, len(database), len(base)) == (1, 3, 2)


def test_a_base_that_grows_is_not_seen(base):
    commit(base, {0: b"root", 1: b"one"}, [(1, "shop", "Cart")])
    overlay = OverlayLog(base)
    commit(base, {0: b"changed", 2: b"new"}, [(1, "store", "Basket"), (2, "shop", "Item")])
    commit(overlay, {1: b"mine"})
    fail(base, "why")
    again = overlay.another()

    for each in (overlay, again):
        assert [data_of(each, oid) for oid in range(4)] == [b"root", b"mine", None, None]
        assert (len(each), each.oid_count, each.next_oid) == (2, 2, 2)
        assert (each.names.class_name(1), each.names.next_number) == (("shop", "Cart"), 2)
        assert each.names.class_number("shop", "Item") is None
        assert not each.has(Oid(2))
        assert not each.has_news()
    assert len(OverlayLog(base)) == 3
    assert [data_of(base, oid) for oid in range(3)] == [b"changed", b"one", b"new"]


def test_a_base_that_is_empty_may_grow(base):
    overlay = OverlayLog(base)
    commit(base, {0: b"theirs"})
    commit(overlay, {0: b"mine"})

    assert (data_of(base, 0), data_of(overlay, 0)) == (b"theirs", b"mine")
    assert (overlay.oid_count, len(overlay)) == (1, 1)


def test_a_base_with_news_is_taken_as_of_what_it_has_applied(base):
    commit(base, {0: b"root", 4: b"four"})
    other = base.another() if hasattr(base, "another") else TransactionLog(base.path)
    commit(other, {0: b"changed", 1: b"one"})
    overlay = OverlayLog(base)
    catch_up(base)

    assert (overlay.oid_count, overlay.next_oid, len(overlay)) == (2, 5, 1)
    assert (data_of(overlay, 0), data_of(overlay, 1)) == (b"root", None)
    other.close()


def test_overlays_can_be_made_while_the_base_is_written(base):
    commit(base, {0: b"0"})
    steps = Steps()
    done = threading.Event()

    @steps.thread
    def writer():
        try:
            for number in range(1, 200):
                commit(base, {number: b"%d" % number})
        finally:
            done.set()

    while not done.is_set():
        overlay = OverlayLog(base)
        assert overlay.oid_count == overlay.next_oid == len(overlay)
        assert data_of(overlay, overlay.next_oid - 1) == b"%d" % (overlay.next_oid - 1)
        assert data_of(overlay, overlay.next_oid) is None
    steps.join()


def test_a_base_for_reading_is_enough(path):
    with TransactionLog(path, sync=False) as log:
        commit(log, {0: b"root"})
    before = path.read_bytes()
    with TransactionLog(path, read_only=True) as base:
        overlay = OverlayLog(base)
        commit(overlay, {0: b"mine"})
        assert data_of(overlay, 0) == b"mine"
        overlay.close()
        assert not base.closed

    assert path.read_bytes() == before


def test_a_closed_base_is_told_so(log):
    commit(log, {0: b"root"})
    overlay = OverlayLog(log)
    log.close()

    with pytest.raises(ClosedError):
        overlay.load(Oid(0))
    with pytest.raises(ClosedError):
        OverlayLog(log)


def test_streams_of_overlays_over_overlays_do_not_mix():
    levels = [MemoryLog()]
    offsets = []
    for number in range(4):
        top = levels[-1]
        top.acquire()
        offset, _ = top.write_stream(io.BytesIO(b"%d" % number))
        logged = top.append(Tid(top.tid + 1), [(Oid(0), 1, b"")])
        top.apply([logged])
        top.release()
        offsets.append(offset)
        levels.append(OverlayLog(top))

    assert [levels[-1].read_stream(offset, 0, 9) for offset in offsets] == [b"0", b"1", b"2", b"3"]
    with pytest.raises(IntegrityError):
        levels[0].read_stream(offsets[1], 0, 9)


def test_a_what_if_over_a_database_in_use(log):
    with Database(log) as database:
        database.set_root(Thing(x=1))
        transaction.commit()
        overlay = OverlayLog(log)
        manager = transaction.TransactionManager()
        with (
            Database(overlay, transaction_manager=manager) as one,
            Database(
                overlay.another(), transaction_manager=transaction.TransactionManager()
            ) as two,
        ):
            for preview in (one, two):
                checkout(preview.root)
            one.root.x, two.root.x = 2, 3
            one.transaction_manager.commit()
            with pytest.raises(ReadConflictError):
                two.transaction_manager.commit()
            two.transaction_manager.abort()
            checkout(database.root)
            database.root.x = 4
            transaction.commit()
            two.transaction_manager.begin()

            assert (one.root.x, two.root.x, database.root.x) == (2, 2, 4)


def test_a_pack_of_the_base_leaves_the_past_of_an_overlay(path):
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentDict(n=0))
        transaction.commit()
        manager = transaction.TransactionManager()
        with Database(OverlayLog(database.storage), transaction_manager=manager) as preview:
            begun = preview.tid
            checkout(preview.root)
            preview.root["n"] = 1
            manager.commit()
            for n in (10, 20):
                checkout(database.root)
                database.root["n"] = n
                transaction.commit()
            assert database.pack().packed

            assert [change.tid for change in preview.changes(since=begun)] == [preview.tid]
            with preview.at(begun) as before, preview.at(preview.tid) as now:
                assert (before.root["n"], now.root["n"]) == (0, 1)
            preview.undo(preview.tid)
            assert preview.root["n"] == 0
            manager.abort()


def test_a_pack_leaves_the_past_of_a_past_that_is_open(path):
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentDict(n=0))
        transaction.commit()
        begun = database.tid
        with database.at(begun) as past:
            checkout(database.root)
            database.root["n"] = 1
            transaction.commit()
            assert database.pack().packed

            with past.at(begun) as same:
                assert same.root["n"] == 0


# -- checking them -----------------------------------------------------------------------


def test_a_database_over_memory_and_one_over_an_overlay_are_checked(base):
    with Database(base) as database:
        database.set_root(PersistentDict(a=Thing(x=1), file=PersistentFile(io.BytesIO(b"text"))))
        transaction.commit()
        manager = transaction.TransactionManager()
        with Database(OverlayLog(base), transaction_manager=manager) as preview:
            checkout(preview.root)
            preview.root["b"] = Thing(x=2)
            manager.commit()
            report = check_database(preview)
            report.raise_if_bad()

            assert (report.transactions, report.objects, report.versions) == (2, 4, 5)
        check_database(database).raise_if_bad()


class Wrong(MemoryLog):
    """Has lost a version."""

    def load(self, oid, at=None):
        return None if oid == 1 else super().load(oid, at)


def test_a_log_in_memory_that_tells_two_stories_is_found_out():
    with Wrong() as log, Database(log) as database:
        database.set_root(PersistentDict(a=Thing(x=1)))
        transaction.commit()

        with pytest.raises(CheckFailedError, match="oid 1"):
            check_log(log).raise_if_bad()


def test_what_is_no_state_is_found(log):
    commit(log, {0: b"not a pickle"}, [(1, "shop", "Cart")])

    with pytest.raises(CheckFailedError, match="can be decoded"):
        check_log(log).raise_if_bad()


@pytest.mark.parametrize("keep", ["as of now", "as of the overlay", "as of before"])
@pytest.mark.parametrize("packs", [1, 2])
def test_what_an_overlay_takes_up_again_outlives_packs_of_the_base(path, keep, packs):
    with Database(path) as base:
        box = PersistentDict(full=True, file=PersistentFile(io.BytesIO(b"bytes")))
        base.run(lambda: base.set_root(PersistentDict(box=box)))
        deleted = after(base, lambda root: root.pop("box"))
        if keep == "as of before":
            after(base, lambda root: root.update(n=1))
        overlay = OverlayLog(base.storage)
        with another_database(overlay) as preview, preview.transaction():
            preview.undo(deleted)
            again = overlay.another()

        for number in range(packs):
            if keep == "as of now":
                after(base, lambda root, n=number: root.update(after=n))
            assert base.pack(deleted if keep == "as of before" else None).packed

        with another_database(again) as preview:
            box = preview.root["box"]
            assert box["full"]
            assert b"".join(box["file"]) == b"bytes"
            assert [revision.tid < deleted for revision in preview.history(box)] == [True]
            preview.transaction_manager.abort()


def after(database, change):
    """Commit a change of the root; return the tid."""
    with database.transaction() as root:
        checkout(root)
        change(root)
    return database.storage.tid


def another_database(storage):
    return Database(storage, transaction_manager=transaction.TransactionManager())
