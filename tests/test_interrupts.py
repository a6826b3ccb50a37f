"""Ctrl-C between any two lines: everything is as before, or as after, and nothing is stuck."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import threading

import pytest
import transaction
from portalocker.portalocker import FlockLocker

from dobbin_like import Database, PersistentList, checkout
from dobbin_like.check import check_database, check_log
from dobbin_like.exc import StorageInUseError
from dobbin_like.exchange.new_database import NewDatabase
from dobbin_like.ids import NO_TID, ROOT_OID
from dobbin_like.log.file.disk import named, open_file, sync_directory
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.new_file import NewFile
from dobbin_like.log.writing import flusher
from dobbin_like.log.writing.appended import Appended
from dobbin_like.log.writing.writer import Writer
from dobbin_like.objects.codec.references import references
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.values.value_kinds import KINDS, REFERENCE, REFERENCES, SHAREABLE
from dobbin_like.processes.interrupts import (
    GivenBack,
    finish_despite_interrupts,
    reentrant_lock,
)
from dobbin_like.storage import MemoryLog, TransactionLog
from dobbin_like.storages.as_of import Pin
from dobbin_like.testing.steps import TIMEOUT_SECONDS
from dobbin_like.timestamps import warn_if_ahead
from dobbin_like.transactions.fork import opened
from dobbin_like.upkeep import auto_pack
from tests.helpers.interrupts import (
    ProbedLock,
    each_step,
    handled_at_step,
    interrupted,
    interrupted_at_step,
    interrupting,
)
from tests.helpers.log_files import open_files
from tests.helpers.things import Thing

TRANSACTIONS = "dobbin_like.transactions"
GRAPH = "dobbin_like.objects.graph."


def change(thing):
    checkout(thing)
    thing.x += 1
    thing.l[0] = thing.x


def change_and_add(thing):
    change(thing)
    thing.new = PersistentList([thing.x, [thing]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "act"),
    [
        (change, lambda _thing: transaction.commit()),
        (change_and_add, lambda _thing: transaction.commit()),
        (change, lambda _thing: transaction.abort()),
        (lambda _thing: None, checkout),
        (change, lambda _thing: transaction.begin()),
    ],
    ids=["commit", "commit with a new object", "abort", "checkout", "begin"],
)
def test_an_interrupt_leaves_all_or_nothing(database, again, caplog, prepare, act):
    thing = Thing(x=0, l=[0])
    database.set_root(thing)
    transaction.commit()
    other = again()

    for number in range(1, 3000, 7):
        transaction.begin()
        before = thing.x
        prepare(thing)
        if not interrupted(lambda: act(thing), number):
            break
        transaction.abort()

        other.transaction_manager.begin()
        assert thing.x in (before, before + 1)
        assert thing.l == [thing.x]
        assert (other.root.x, other.root.l) == (thing.x, thing.l)
        assert type(thing) is Thing
        checkout(other.root)
        other.root.number = number
        other.transaction_manager.commit()
        transaction.begin()
        assert thing.number == number
    else:
        raise AssertionError("it never came to its end")


ERRORS = [KeyboardInterrupt, MemoryError, RecursionError, SystemExit]


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_what_commits_is_told_so_wherever_an_interrupt_comes(
    database, again, caplog, error, several
):
    """A hook was told that the commit had failed; the log, that the state may be inconsistent."""
    thing = Thing(x=0, l=[0])
    database.set_root(thing)
    transaction.commit()
    manager = transaction.manager.manager
    second = Database(MemoryLog(), transaction_manager=manager) if several else None
    if second is not None:
        second.set_root(Thing(x=0, l=[0]))
        transaction.commit()
    other, told = again(), []
    caplog.set_level(logging.WARNING)

    for number in each_step(1):
        transaction.begin()
        before = thing.x
        change(thing)
        if second is not None:
            change(second.root)
        told.clear()
        transaction.get().addAfterCommitHook(told.append)
        done = not interrupted(transaction.commit, number, module=TRANSACTIONS, error=error)
        transaction.abort()

        other.transaction_manager.begin()
        assert other.root.x in (before, before + 1)
        assert second is None or second.root.x == other.root.x
        assert told in ([other.root.x == before + 1], [])
        assert not [r for r in caplog.records if "inconsistent" in r.message], number
        assert not database.storage.held
        if done:
            break
    assert number > 40
    if second is not None:
        second.close()


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS[1:3])
def test_a_state_is_read_after_any_error_in_reading_it(database, again, error):
    database.set_root(Thing(x=0, l=[Thing(number=n, when=[{n}]) for n in range(3)]))
    transaction.commit()

    for number in each_step(1):
        root = (other := again()).root

        def read(root=root):
            return [(thing.number, thing.when) for thing in root.l]

        done = not interrupted(read, number, module="dobbin_like.objects", error=error)
        assert read() == [(n, [{n}]) for n in range(3)]
        checkout(root.l[0])
        root.l[0].number = 0
        other.transaction_manager.commit()
        other.close()
        if done:
            break
    assert number > 40


def test_after_an_interrupted_commit_an_abort_is_an_abort(database, again):
    thing = Thing(x=0, l=[0])
    database.set_root(thing)
    transaction.commit()
    other = again()

    for number in each_step(1):
        change(thing)
        done = not interrupted(transaction.commit, number, module=TRANSACTIONS)
        transaction.abort()

        before = thing.x
        change(thing)
        transaction.abort()
        assert (thing.x, thing.l) == (before, [before])
        assert not database.storage.held
        other.transaction_manager.begin()
        change(other.root)
        other.transaction_manager.commit()
        assert thing.x == before
        transaction.begin()
        assert thing.x == before + 1
        if done:
            break
    assert number > 20


def test_after_an_interrupted_commit_and_an_abort_a_checkout_begins_anew(database):
    """If it came when the commit was over, the thread was said to be committing for good."""
    database.set_root(Thing(x=0))
    transaction.commit()

    for end in transaction.commit, transaction.abort:
        for step in each_step():
            change_only(database.root)
            came = interrupted_at_step(step, end)
            transaction.abort()
            checkout(database.root)
            database.root.x = -step
            transaction.commit()
            assert database.root.x == -step
            if not came:
                break
        assert step > 20


class Vetoes:
    """Votes last, and always against."""

    transaction_manager = None

    def sortKey(self):  # noqa: N802
        return "~"

    def tpc_vote(self, _transaction):
        raise ValueError

    def nothing(self, _transaction):
        pass

    tpc_begin = commit = tpc_finish = tpc_abort = abort = nothing


def test_a_vetoed_commit_whose_abort_is_interrupted_never_counts(database, again):
    thing = Thing(x=0, l=[0])
    database.set_root(thing)
    transaction.commit()
    other = again()

    def commit():
        with contextlib.suppress(ValueError):
            transaction.commit()

    for number in each_step(1):
        change(thing)
        transaction.get().join(Vetoes())
        done = not interrupted(commit, number, module=TRANSACTIONS)
        transaction.abort()

        assert (thing.x, thing.l) == (0, [0])
        assert not database.storage.held
        other.transaction_manager.begin()
        assert other.root.x == 0
        if done:
            break
    assert number > 20


class Reading:
    """A thread that begins to read when it is made, and tells at its end what it has seen."""

    def __init__(self, database):
        self._database = database
        self._begun, self._order = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._begun.wait(0.5)  # In vain if it needs another lock, which the thread here holds.

    def _run(self):
        transaction.begin()
        root = self._database.root
        self._begun.set()
        self._order.wait(30)
        self.seen = root.a.x, root.b.x
        transaction.abort()

    def end(self):
        self._order.set()
        self._thread.join(30)
        return self.seen


def test_a_view_that_begins_while_a_commit_is_interrupted_sees_all_of_it_or_nothing(database):
    root = Thing(a=Thing(x=0), b=Thing(x=0))
    database.set_root(root)
    transaction.commit()
    shared, views = database._store.graph.shared, []
    shared.lock = ProbedLock(shared.lock, lambda: views or views.append(Reading(database)))
    begun = 0

    for number in each_step(1):
        checkout(root.a, root.b)
        root.a.x = root.b.x = number
        done = not interrupted(transaction.commit, number, module=GRAPH)
        transaction.abort()

        while views:
            one, other = views.pop().end()
            assert one == other
            begun += 1
        if done:
            break
    assert number > 20
    assert begun > 5


@pytest.mark.parametrize("make", [reentrant_lock, GivenBack])
def test_a_lock_is_given_back_wherever_its_block_is_interrupted(make):
    lock = make()

    def hold():
        with lock:
            assert lock._recursion_count() == 2

    with lock:
        for step in each_step():
            done = not interrupted_at_step(step, hold)

            assert lock._recursion_count() == 1, step
            if done:
                break
    assert not lock._is_owned()


def test_an_interrupt_while_old_files_are_dropped_leaves_no_lock_held(database):
    database.set_root(Thing(a=Thing(x=0), b=Thing(x=0)))
    transaction.commit()
    old = Reading(database)
    checkout(database.root.a)
    database.root.a.x = 1
    transaction.commit()
    database.pack()
    transaction.begin()
    publisher = database._store.publisher
    assert publisher.keeps_past

    for step in each_step():
        done = not interrupted_at_step(step, publisher.drop_generations)

        assert not publisher.lock._is_owned(), step
        assert not publisher.graph.shared.lock._is_owned(), step
        if done:
            break
    assert step > 5
    assert old.end() == (0, 0)


def test_an_interrupt_while_another_file_is_followed_to_leaves_no_lock_held(path):
    with TransactionLog(path, sync=False) as log:
        lock = log._writing.lock
        log.acquire()
        log.release()
        for step in each_step():
            done = not interrupted_at_step(step, lambda: lock.rebind(lambda: None))

            assert not lock.kept_free._is_owned(), step
            if done:
                break
        assert step > 2
        log.acquire()
        log.release()


def test_a_commit_after_an_interrupted_move_to_a_packed_file_appends_to_that_one(database, again):
    """It read on where the old file had ended, and told of damage that there was not."""
    database.set_root(Thing(x=0, l=[0], part=Thing(x=0, big=bytes(100_000))))
    transaction.commit()
    change_only(database.root.part)
    transaction.commit()
    other = again()
    other.pack()

    with interrupting(Appended.__init__), pytest.raises(KeyboardInterrupt):
        transaction.begin()
    transaction.begin()
    change(database.root)
    checkout(other.root.part)
    other.root.part.big = bytes(300_000)
    other.transaction_manager.commit()
    transaction.commit()

    other.transaction_manager.begin()
    assert other.root.x == 1


def test_an_interrupt_while_a_view_is_retired_leaves_no_lock_held_and_the_view_ends(database):
    shared = database._store.graph.shared
    for step in each_step(1):  # 0 is before it begins.
        view, next_one = View({}), View({})
        shared.begin_view(view)
        done = not interrupted_at_step(step, lambda view=view: shared.retire_view(view))

        assert not shared.lock._is_owned(), step
        shared.begin_view(next_one)
        assert not view.active, step
        shared.end_view(next_one)
        if done:
            break
    assert step > 2


def test_an_interrupt_leaves_no_type_out_of_those_that_are_shared():
    module = "dobbin_like.objects.values.value_kinds"
    for number in each_step(1):
        cls = type("Fresh", (Thing,), {})
        done = not interrupted(lambda cls=cls: KINDS[cls], number, module=module)

        assert KINDS[cls] == REFERENCE
        assert cls in SHAREABLE
        assert cls in REFERENCES
        if done:
            break
    assert number > 5


def test_no_interrupt_of_these_tests_is_lost_in_the_finalizer_of_a_pin(storage):
    def pin_and_let_go():
        Pin(storage, NO_TID)  # What is lost in its finalizer fails the test: it is a warning.

    for number in each_step(1):
        if not interrupted(pin_and_let_go, number):
            break
    assert number > 3


def test_an_interrupt_while_a_sync_is_put_off_neither_loses_it_nor_lets_close_fail(monkeypatch):
    monkeypatch.setattr(flusher, "_DELAY_SECONDS", 0)
    for number in each_step(1):
        done = threading.Event()
        syncs = flusher.Flusher("a.log", done.set)
        was = interrupted(syncs.wake, number, "dobbin_like.log.writing.flusher")

        syncs.stop()
        done.clear()
        was_twice = interrupted(syncs.wake, number, "dobbin_like.log.writing.flusher")
        syncs.wake()
        assert done.wait(TIMEOUT_SECONDS), number
        syncs.stop()
        assert was == was_twice
        if not was:
            break
    assert number > 3


@pytest.mark.slow
def test_a_log_whose_closing_was_interrupted_is_free_for_its_own_thread(path):
    with Database(path) as database:
        database.set_root(Thing(x=0))
        transaction.commit()

    for step in each_step():
        database = Database(path)
        transaction.begin()
        change_only(database.root)
        transaction.commit()
        came = interrupted_at_step(step, database.storage.close)
        with contextlib.suppress(KeyboardInterrupt):
            database.close()
        del database
        with Database(TransactionLog(path, lock_timeout=TIMEOUT_SECONDS)) as again:
            transaction.begin()
            change_only(again.root)
            transaction.commit()  # SelfWaitError: this thread is known to hold the lock for ever.
        if not came:
            break
    assert step > 50


@pytest.mark.slow
def test_a_database_whose_closing_was_interrupted_can_be_closed_again(path):
    """It said that it was closed, and kept the file and its lock as long as the process lived."""
    with Database(path) as database:
        database.set_root(Thing(x=0))
        transaction.commit()

    for step in each_step():
        database = Database(path)
        transaction.begin()
        change_only(database.root)
        transaction.commit()
        came = interrupted_at_step(step, database.close)
        database.close()
        assert database not in opened.values(), step
        assert database.storage.closed, step
        assert str(path) not in open_files(), step
        if not came:
            break
    assert step > 50


def test_a_log_whose_opening_is_interrupted_at_its_end_gives_the_file_back(path):
    """It kept the file, and its place among those that write, until it was collected."""
    with Database(path) as database:
        database.set_root(Thing(x=0))
        transaction.commit()

    with interrupting(warn_if_ahead), pytest.raises(KeyboardInterrupt):
        TransactionLog(path)

    assert str(path) not in open_files()


@pytest.mark.parametrize("pack_when", [None, 0.5])
@pytest.mark.parametrize(
    "stride", [7, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "each"]
)
def test_an_opening_that_is_interrupted_leaves_nothing_open_and_no_thread(path, pack_when, stride):
    """A database that nobody had was kept for ever, and its thread went on."""
    with Database(path) as database:
        database.set_root(Thing(x=0))
        transaction.commit()
    before = list(opened)

    for step in each_step(stride=stride):
        held = []
        came = interrupted_at_step(
            step, lambda held=held: held.append(Database(path, pack_when=pack_when))
        )

        for database in held:
            database.close()
        assert str(path) not in open_files(), step
        gc.collect()
        assert list(opened) == before, step
        assert not [each for each in threading.enumerate() if each.name.startswith("pack")], step
        if not came:
            break
    assert step > 100


# A generator that is let go of in the midst can't raise one.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_opening_that_is_interrupted_leaves_the_storage_free():
    """It belonged to the database that never was, and was refused ever after."""
    for step in each_step():
        storage, held = MemoryLog(), []
        came = interrupted_at_step(
            step, lambda storage=storage, held=held: held.append(Database(storage))
        )

        database = held.pop() if held else Database(storage)
        with pytest.raises(StorageInUseError):
            Database(storage)
        database.close()
        if not came:
            break
    assert step > 100


def make_new_file(path, **put):
    with contextlib.suppress(FileExistsError), NewFile(str(path), 0o600) as file:
        os.write(file.fd, b"it is new")
        if put:
            file.put(**put)


@pytest.mark.parametrize(
    "act",
    [
        lambda path: os.close(open_file(str(path), os.O_RDONLY)),
        lambda path: sync_directory(str(path)),
        check_log,
        lambda path: LogFile(str(path), read_only=True).open(),
        lambda path: LogFile(str(path), read_only=False).open_for_writing(),
        lambda path: make_new_file(path.with_name("new")),
        lambda path: make_new_file(path.with_name("new"), replace=False),
        lambda path: make_new_file(path, replace=False),
        lambda path: make_new_file(path, replace=True),
    ],
    ids=["open", "sync_directory", "check", "read", "write", "drop", "put", "refuse", "replace"],
)
def test_an_interrupt_while_a_file_is_opened_or_made_leaves_no_descriptor_and_no_part(path, act):
    with Database(path) as database:
        database.set_root(Thing(x=0))
        transaction.commit()
    gc.collect()  # What a test before this one has left may go in its course.
    before = open_files()

    for step in each_step():
        came = interrupted_at_step(step, lambda: act(path))

        gc.collect()
        assert open_files() == before, step
        assert not list(path.parent.glob("*.part")), step
        path.with_name("new").unlink(missing_ok=True)
        if not came:
            break
    assert step > 1


def test_a_new_file_that_is_interrupted_in_its_place_can_be_opened_while_that_is_handled(path):
    """It was locked until it was collected, and who opened it before waited for ever."""
    for step in each_step():
        file = NewFile(str(path), 0o600)
        with file:
            file.put(replace=True)
            came = interrupted_at_step(step, lambda file=file: file.__exit__(None, None, None))
            if came and step > 0:  # 0 is before it begins.
                assert str(path) not in open_files(), step
        if not came:
            break
    assert step > 5


def test_an_import_that_is_interrupted_at_its_end_leaves_no_part_and_no_lock(path):
    new = NewDatabase(str(path), "an import")
    new.__enter__()

    with interrupting(named.__wrapped__), pytest.raises(KeyboardInterrupt):
        new.__exit__(None, None, None)

    assert not list(path.parent.glob("*.part"))
    assert not [name for name in open_files() if name.startswith(str(path.parent))]


def test_a_close_that_is_interrupted_before_its_last_step_gives_the_file_back(path):
    """It said that it was closed, and kept the file as long as anybody held the database."""
    database = Database(path)
    database.set_root(Thing(x=0))
    transaction.commit()

    with interrupting(finish_despite_interrupts), pytest.raises(KeyboardInterrupt):
        database.storage.close()

    assert database.storage.closed
    assert str(path) not in open_files()
    database.close()


def test_the_thread_that_packs_ends_if_closing_was_interrupted_before_it_was_told(
    path, monkeypatch
):
    monkeypatch.setattr(auto_pack, "_LOOK_SECONDS", 0.001)
    database = Database(path, pack_when=0.5)
    database.set_root(Thing(x=0))
    transaction.commit()
    thread = next(each for each in threading.enumerate() if each.name == f"pack {path}")

    with interrupting(auto_pack.AutoPack.stop), pytest.raises(KeyboardInterrupt):
        database.close()
    database.close()

    thread.join(TIMEOUT_SECONDS)
    assert not thread.is_alive()


def raise_timeout():
    raise TimeoutError


def close(database, _path):
    database.close()


def read(_database, path):
    with Database(path, transaction_manager=transaction.TransactionManager()) as database:
        assert database.root.x == 0


def test_a_timeout_of_a_handler_in_a_lock_or_a_link_is_raised(path, monkeypatch):
    """As when it comes in the system call, before another one could follow."""
    new = path.with_name("new")

    def interrupted(*_args):
        raise TimeoutError

    for owner, name in (FlockLocker, "_locker"), (os, "link"):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, staticmethod(interrupted))
            with pytest.raises(TimeoutError):
                make_new_file(new, replace=False)
        assert not new.exists()


@pytest.mark.parametrize(
    ("act", "stride"),
    [
        (close, 1),
        (lambda _database, path: TransactionLog(path).close(), 1),
        (lambda _database, path: make_new_file(path.with_name("new"), replace=True), 1),
        pytest.param(read, 13, marks=pytest.mark.slow),
        pytest.param(
            lambda database, path: database.backup(path.with_name("backup")),
            13,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["close", "open", "new file", "read", "backup"],
)
def test_a_timeout_that_a_handler_raises_is_not_taken_for_an_error_of_the_system(
    path, act, stride
):
    """It was lost where the program goes on without what the system has refused."""
    with Database(path) as database:
        database.set_root(Thing(x=0))
        transaction.commit()

    for step in each_step(stride=stride):
        database = Database(path, transaction_manager=transaction.TransactionManager())
        came = raised = False
        try:
            came = handled_at_step(step, lambda held=database: act(held, path), raise_timeout)
        except TimeoutError:
            raised = True
        database.close()
        assert raised or not came, came
        if not raised:
            break
    assert step > 50


def test_a_timeout_while_a_state_is_looked_through_for_references_is_raised(path):
    """It was taken for a state that has to be read in another way, and a pack went on."""
    with Database(path) as database:
        database.set_root(PersistentList([PersistentList()]))
        transaction.commit()
        data = database.storage.load(ROOT_OID).data
    assert references(data)

    for step in each_step():
        came = raised = False
        try:
            came = handled_at_step(step, lambda: references(data), raise_timeout)
        except TimeoutError:
            raised = True
        assert raised or not came, step
        if not raised:
            break
    assert step > 3


@pytest.mark.parametrize("in_use", [False, True])
def test_a_file_whose_closing_was_interrupted_can_be_closed_again(path, in_use):
    with Database(path) as database:
        database.set_root(Thing(x=0))
        transaction.commit()

    for step in each_step():
        file = LogFile(str(path), read_only=True)
        file.open()
        file.is_in_use = in_use
        came = interrupted_at_step(step, file.close)
        file.close()
        assert str(path) not in open_files(), step
        if not came:
            break
    assert step > 3


def change_only(thing):
    checkout(thing)
    thing.x += 1


def test_what_is_stored_after_the_making_of_an_index_was_interrupted_is_in_it(path):
    """The index was committed, but this process did not keep it: what came later was missing."""
    with Database(path) as database:
        database.set_root(PersistentList([Thing(x=0)]))
        transaction.commit()
        with interrupting(Writer._tell_end), pytest.raises(KeyboardInterrupt):
            database.index(Thing, "x")
        transaction.abort()
        database.index(Thing, "x")
        with database.transaction() as things:
            checkout(things)
            things.append(Thing(x=1))
    with Database(path) as database:
        assert check_database(database).ok
        assert [thing.x for thing in database.find(Thing, x=1)] == [1]
