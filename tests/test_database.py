"""``Database``: roots, objects, the end of things, and what is put in wrongly."""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import os
import re
import sys
import threading
import time
import weakref

import pytest
import transaction

from dobbin_like import (
    ConflictError,
    Database,
    IntegrityError,
    InvalidObjectReference,
    Persistent,
    PersistentDict,
    TransactionLog,
    checkout,
)
from dobbin_like.check import check_database
from dobbin_like.database import store_of
from dobbin_like.exc import (
    ChangesLostError,
    ClosedError,
    FormatVersionError,
    NotALogError,
    NotPersistentError,
    NotStorableError,
    ReadOnlyError,
    ReadOnlyStorageError,
    RootError,
    StorageInUseError,
    UncommittedChangesWarning,
)
from dobbin_like.transactions import fork
from tests.helpers.interrupts import each_step, handled_at_step
from tests.helpers.processes import in_child, python_path, run
from tests.helpers.steps import TIMEOUT_SECONDS, Steps, in_thread
from tests.helpers.things import Thing


class Unequal(Persistent):
    """Hostile to whoever compares it."""

    def __init__(self) -> None:
        self.x = 1

    def __eq__(self, other: object) -> bool:
        raise AssertionError("nobody shall compare")

    def __hash__(self) -> int:
        raise AssertionError("nobody shall hash")

    def __bool__(self) -> bool:
        raise AssertionError("nobody shall ask")

    def __len__(self) -> int:
        raise AssertionError("nobody shall count")

    def __repr__(self) -> str:
        raise AssertionError("nobody shall show")


@pytest.fixture
def thing(database):
    thing = Thing(x=1)
    database.set_root(thing)
    transaction.commit()
    return thing


# -- beginnings -------------------------------------------------------------------


def test_an_empty_database_has_no_root_and_no_file(path):
    with Database(path) as database:
        assert len(database) == 0
        assert database
        assert database.root is None
        assert database.get_root() is None
        assert database.get(0) is None
        assert database.get(7) is None
        assert not path.exists()
        transaction.commit()
    assert not path.exists()
    assert list(path.parent.iterdir()) == []


def test_nothing_is_created_by_a_root_that_is_not_committed(path):
    with Database(path) as database:
        database.set_root(Thing())
        transaction.abort()
        assert database.root is None
    assert list(path.parent.iterdir()) == []


def test_a_database_is_made_of_a_path_a_text_or_a_storage(path):
    for source in (path, str(path), TransactionLog(path, sync=False)):
        with Database(source) as database:
            if database.root is None:
                database.set_root(Thing(x=1))
                transaction.commit()
            assert database.root.x == 1
            assert str(path) in repr(database)


def test_the_root_has_its_oid_at_once_and_shows_after_the_commit(database, storage):
    root = Thing(x=1)
    assert (root._p_oid, root._p_jar, root._p_serial) == (None, None, None)

    database.set_root(root)

    assert root._p_oid == 0
    assert root._p_jar is database
    assert root._p_serial is None
    assert database.root is root
    assert database.get(0) is root
    assert len(database) == 0
    assert in_thread(lambda: database.root) is None
    transaction.commit()
    assert len(database) == 1
    assert len(storage) == 1
    assert root._p_serial == storage.tid
    assert in_thread(lambda: database.root) is root


def test_a_root_that_was_dropped_can_be_elected_again(database):
    root = Thing(x=1)
    database.set_root(root)
    transaction.abort()
    assert database.root is None
    assert root._p_oid is None

    database.set_root(root)
    transaction.commit()

    assert database.root is root


def test_the_root_and_what_hangs_on_it_keep_their_identity(database, thing):
    other = Thing()
    checkout(thing)
    thing.other = other
    transaction.commit()

    for _ in range(2):
        assert database.root is thing
        assert database.get(0) is thing
        assert database.get(1) is other
        assert thing.other is other
        checkout(thing, other)
    transaction.abort()
    assert in_thread(lambda: database.get(1)) is other


def test_objects_of_another_instance_are_other_objects(database, thing, again):
    other = again()

    assert other.root is not thing
    assert other.root is other.root
    assert other.get(0) is other.root
    assert other.root._p_jar is other
    assert other.root._p_oid == thing._p_oid == 0
    assert other.root._p_serial == thing._p_serial


def test_an_object_is_loaded_again_after_nobody_held_it(database, thing, again):
    checkout(thing)
    thing.children = PersistentDict(a=Thing(x=5))
    transaction.commit()
    other = again()
    child = other.root.children["a"]
    assert child.x == 5
    reference = weakref.ref(child)
    del child
    other.transaction_manager.begin()
    # The container holds it; only what nothing holds may go.
    assert reference() is other.root.children["a"]


def test_circular_references_are_stored(database, again):
    one, two = Thing(), Thing()
    checkout(one, two)
    one.other, two.other, one.me = two, one, one
    database.set_root(one)
    transaction.commit()

    root = again().root
    assert root.other.other is root
    assert root.me is root
    assert len(database) == 2


def test_a_long_chain_of_new_objects_is_stored(database, again):
    first = last = Thing(n=0)
    for number in range(1, 5000):
        thing = Thing(n=number)
        checkout(last)
        last.next = thing
        last = thing
    database.set_root(first)
    transaction.commit()

    found = again().root
    while hasattr(found, "next"):
        found = found.next
    assert found.n == 4999
    assert len(database) == 5000


def test_what_is_not_reachable_is_not_stored(database, thing):
    alone = Thing()
    checkout(alone)
    alone.x = 5
    transaction.commit()

    assert len(database) == 1
    assert alone._p_oid is None
    assert alone.x == 5
    with pytest.raises(ReadOnlyError):
        alone.x = 6


def test_an_object_that_hates_to_be_compared_is_stored_and_changed(database, again):
    root = Thing(a=Unequal(), l=[Unequal()])
    database.set_root(root)
    transaction.commit()
    checkout(root, root.a, root.l[0])
    root.a.x = 2
    root.l[0].x = 3
    transaction.savepoint().rollback()
    transaction.commit()

    assert (root.a.x, root.l[0].x) == (2, 3)
    assert again().root.a.x == 2


def test_get_does_not_see_what_is_younger_than_the_snapshot(database, thing):
    transaction.begin()

    def add():
        checkout(thing)
        thing.other = Thing(x=2)
        transaction.commit()

    in_thread(add)

    assert database.get(1) is None
    assert not hasattr(thing, "other")
    transaction.begin()
    assert database.get(1) is thing.other


# -- roots that can't be ------------------------------------------------------------


def test_a_second_root_is_refused(database, thing):
    with pytest.raises(RootError, match=r"there is one already.* only if db\.root is None"):
        database.set_root(Thing())

    database.set_root(thing)
    assert database.root is thing


def test_a_second_root_is_refused_before_the_first_is_committed(database):
    first = Thing()
    database.set_root(first)

    with pytest.raises(RootError, match="there is one already"):
        database.set_root(Thing())

    assert database.root is first


@pytest.mark.parametrize("value", [None, 1, "text", [], {}, object(), Thing, Persistent])
def test_a_root_that_is_not_persistent_is_refused(database, value):
    with pytest.raises(NotPersistentError) as e:
        database.set_root(value)

    assert isinstance(e.value, TypeError)
    assert database.root is None


def test_an_object_of_another_database_is_refused_as_root(database, thing, tmp_path, again):
    with Database(tmp_path / "other.log") as other:
        for foreign in (thing, again().root):
            with pytest.raises(RootError, match="belongs to another database"):
                other.set_root(foreign)
        assert other.root is None


def test_an_object_elected_elsewhere_but_not_committed_is_refused_as_root(database, tmp_path):
    root = Thing()
    database.set_root(root)
    other_path = tmp_path / "other.log"
    with Database(other_path) as other, pytest.raises(RootError, match="to another database"):
        other.set_root(root)


def test_what_is_not_persistent_cannot_be_checked_out():
    with pytest.raises(NotPersistentError, match="list"):
        checkout([])
    with pytest.raises(NotPersistentError):
        checkout(Thing)


# -- objects of another database --------------------------------------------------------


def test_a_reference_to_an_object_of_another_database_is_refused(
    database, thing, tmp_path, storage
):
    with Database(tmp_path / "other.log") as other:
        foreign = Thing(x=1)
        other.set_root(foreign)
        transaction.commit()
        for put in (
            lambda: setattr(thing, "foreign", foreign),
            lambda: setattr(thing, "foreign", [{"k": (foreign,)}]),
            lambda: setattr(thing, "foreign", Thing(foreign=foreign)),
        ):
            checkout(thing)
            put()

            with pytest.raises(InvalidObjectReference) as e:
                transaction.commit()
            transaction.abort()

            assert (e.value.class_name, e.value.oid) == ("Thing", 0)
            assert not hasattr(thing, "foreign")
        assert len(database) == 1
        assert [logged.failed for logged in storage.transactions()][:1] == [False]


def test_a_reference_to_an_object_of_another_instance_over_the_same_file_is_refused(
    database, thing, again
):
    checkout(thing)
    thing.other = again().root

    with pytest.raises(InvalidObjectReference):
        transaction.commit()


def test_a_new_object_that_two_databases_claim_goes_to_one(database, thing, tmp_path):
    with Database(tmp_path / "other.log") as other:
        root = Thing()
        other.set_root(root)
        transaction.commit()
        new = Thing(x=5)
        checkout(thing, root)
        thing.new = new
        root.new = new

        with pytest.raises(InvalidObjectReference):
            transaction.commit()
        transaction.abort()

        assert new._p_oid is None
        assert not hasattr(thing, "new")
        assert not hasattr(root, "new")
        checkout(thing)
        thing.new = new
        transaction.commit()
        assert new._p_jar is database


# -- values that can't be stored ------------------------------------------------------


def test_the_error_for_a_value_that_cannot_be_pickled_names_the_place(
    database, storage, thing, path
):
    size = path.stat().st_size
    for value, place in [
        (lambda: 0, ".bad"),
        ([1, {"k": (threading.Lock(),)}], ".bad[1]['k'][0]"),
        (Thing(inner=[open]), ".inner[0]"),
        ({"a": (i for i in ())}, ".bad['a']"),
        (os, ".bad"),
    ]:
        checkout(thing)
        thing.x = 2
        thing.good = Thing()
        thing.bad = value

        with pytest.raises(NotStorableError) as e:
            transaction.commit()
        transaction.abort()

        assert e.value.class_name == "Thing"
        assert e.value.path == place
        assert place in str(e.value)
        assert thing.x == 1
        assert not hasattr(thing, "bad")
        assert len(database) == 1
    assert [logged.failed for logged in storage.transactions()] == [False]
    assert path.stat().st_size == size


def test_a_class_inside_a_function_is_refused_when_it_is_stored(database, thing):
    class Local(Persistent):
        pass

    checkout(thing)
    thing.local = Local()

    with pytest.raises(NotStorableError, match="defined inside a function"):
        transaction.commit()
    transaction.abort()
    assert len(database) == 1


def test_a_failed_commit_leaves_new_objects_new(database, thing, again):
    good = Thing(x=1, child=Thing(x=2))
    checkout(thing)
    thing.good = good
    thing.bad = lambda: 0
    with pytest.raises(NotStorableError):
        transaction.commit()
    transaction.abort()
    assert good._p_oid is None
    assert good.child._p_jar is None

    checkout(thing, good)
    good.x = 5
    thing.good = good
    transaction.commit()

    assert (good._p_oid, good.child._p_oid) == (1, 2)
    assert again().root.good.x == 5
    assert again().root.good.child.x == 2


# -- paths that can't be -----------------------------------------------------------------


def test_a_directory_is_no_log(tmp_path):
    with pytest.raises((NotALogError, IsADirectoryError)) as e:
        Database(tmp_path)

    assert str(tmp_path) in str(e.value)


@pytest.mark.parametrize(
    "content", [b"hello world", b"\0" * 5000, b"SQLite format 3\0" * 500, os.urandom(10_000), b"x"]
)
def test_a_file_of_another_kind_is_no_log_and_is_left_alone(path, content):
    path.write_bytes(content)

    with pytest.raises(NotALogError, match="not a dobbin_like log"):
        Database(path)

    assert path.read_bytes() == content


def test_a_directory_that_has_gone_is_an_error_and_nothing_is_lost(tmp_path):
    path = tmp_path / "missing" / "data.log"
    path.parent.mkdir()
    with Database(path) as database:
        path.parent.rmdir()
        root = Thing(x=1)
        database.set_root(root)
        with pytest.raises(OSError, match="missing"):
            transaction.commit()
        transaction.abort()

        path.parent.mkdir()
        database.set_root(root)
        transaction.commit()
    with Database(path) as database:
        assert database.root.x == 1


def test_a_log_of_a_newer_format_is_refused_with_both_versions(path):
    with Database(path) as database:
        database.set_root(Thing(x=1))
        transaction.commit()
    content = bytearray(path.read_bytes())
    content[8:12] = (99).to_bytes(4, "little")  # doctests/format.rst has the map.
    path.write_bytes(content)

    with pytest.raises(FormatVersionError, match="upgrade") as e:
        Database(path)

    assert (e.value.found, e.value.expected) == (99, 1)
    assert path.read_bytes() == content


def test_an_empty_file_is_an_empty_database_or_refused_but_never_lost(path):
    path.touch()
    try:
        database = Database(path)
    except NotALogError:
        assert path.read_bytes() == b""
        return
    with database:
        assert database.root is None
        database.set_root(Thing(x=1))
        transaction.commit()
    with Database(path) as database:
        assert database.root.x == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
@pytest.mark.parametrize("mode", [0o000, 0o200])
def test_an_unreadable_log_is_a_permission_error(path, mode):
    with Database(path) as database:
        database.set_root(Thing(x=1))
        transaction.commit()
    path.chmod(mode)

    with pytest.raises(PermissionError, match=r"data\.log"):
        Database(path)


def test_a_storage_opened_read_only_is_read_and_not_written(path):
    with Database(path) as database:
        database.set_root(Thing(x=1))
        transaction.commit()
    content = path.read_bytes()
    with Database(TransactionLog(path, read_only=True)) as database:
        root = database.root
        assert root.x == 1
        with pytest.raises(ReadOnlyStorageError) as e:
            checkout(root)
        assert isinstance(e.value, PermissionError)
        transaction.abort()
        assert root.x == 1
    assert path.read_bytes() == content


def test_an_empty_storage_opened_read_only_takes_no_root(path):
    try:
        database = Database(TransactionLog(path, read_only=True))
    except FileNotFoundError:
        return
    with database:
        assert database.root is None
        with pytest.raises(ReadOnlyStorageError):
            database.set_root(Thing())
        assert database.root is None
        transaction.abort()
    assert not path.exists()


def test_a_storage_belongs_to_one_database(database, storage, path):
    with pytest.raises(StorageInUseError, match="belongs to a database"):
        Database(storage)

    database.set_root(Thing(x=1))
    transaction.commit()


FULL = """
import resource, signal, sys
import transaction
from dobbin_like import Database, PersistentDict, TransactionLog, checkout

path = sys.argv[1]
# A file that must not grow: what a full disk does to whoever writes.
with Database(TransactionLog(path, sync=False)) as database:
    root = PersistentDict(a=1)
    database.set_root(root)
    transaction.commit()
    import os
    limit = os.path.getsize(path) + 50_000
    sys.dont_write_bytecode = True  # It would be cut, and fail others.
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    failures = 0
    for number in range(20):
        checkout(root)
        root["blob", number] = bytes([number]) * 9_000
        try:
            transaction.commit()
        except OSError as error:
            failures += 1
            transaction.abort()
            assert ("blob", number) not in root
    assert 0 < failures < 20, failures
    kept = dict(root)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    checkout(root)
    root["after"] = 1
    transaction.commit()
    kept["after"] = 1
    assert dict(root) == kept
with Database(path) as database:
    assert dict(database.root) == kept
print("fine", failures)
"""


def test_a_full_disk_is_an_error_and_loses_nothing(path):
    command = [sys.executable, "-W", "error", "-c", FULL, str(path)]
    result = run(command, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("fine")


FORK = """
import os, sys
import transaction
from dobbin_like import Database, PersistentDict, TransactionLog, checkout

with Database(TransactionLog(sys.argv[1], sync=False)) as database:
    root = PersistentDict(a=1)
    database.set_root(root)
    transaction.commit()
    child = os.fork()
    if not child:
        transaction.begin()
        checkout(root)
        root["child"] = 1
        transaction.commit()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    transaction.begin()
    assert root["child"] == 1
    checkout(root)
    root["parent"] = 1
    transaction.commit()
    print(sorted(root))
"""


def test_fork_with_the_database_open_just_works(path):
    command = [sys.executable, "-c", FORK, str(path)]
    result = run(command, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    assert result.stdout == "['a', 'child', 'parent']\n"


def test_a_fork_waits_for_who_publishes_and_that_one_not_for_it(database, thing):
    """It held the lock under which whoever publishes makes a class of ghosts."""

    def forks():
        fork._before_fork()
        fork._after_fork_in_parent()

    steps = Steps()
    with store_of(database).publisher.lock:
        steps.thread(forks)
        while fork.claims.acquire(blocking=False):  # Until it has begun.
            fork.claims.release()
            time.sleep(0)
        is_free = fork.making.acquire(timeout=5)
        if is_free:
            fork.making.release()
    steps.join()

    assert is_free


def forks():
    for hook in (fork._before_fork, fork._give_back, fork._after_fork_in_parent):
        with contextlib.suppress(KeyboardInterrupt):  # The interpreter reports it, and goes on.
            hook()


def test_a_fork_gives_back_no_lock_that_another_thread_has_taken_meanwhile(database):
    """Two hooks give back what it took: the second one took it from who had it by then."""
    lock = store_of(database).publisher.lock
    steps = Steps()

    @steps.thread
    def publishes():
        with steps[1]:
            lock.acquire()
        with steps[3]:
            lock.release()

    with steps[0]:
        fork._before_fork()
        fork._give_back()
    with steps[2]:
        fork._after_fork_in_parent()
        assert not lock.acquire(blocking=False)
    steps.join()


def raises():
    raise KeyboardInterrupt


@pytest.mark.parametrize("handler", [forks, raises])
def test_whatever_a_signal_handler_does_in_a_fork_keeps_no_other_thread_from_anything(
    database, thing, handler
):
    """They waited for ever for locks of a fork that had come to its end, or for that fork."""

    def commits():
        transaction.begin()
        checkout(thing)
        thing.x = len(came)
        transaction.commit()
        forks()

    came = [True]
    while came[-1]:
        for work in (lambda: came.append(handled_at_step(len(came) - 1, forks, handler)), commits):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            thread.join(TIMEOUT_SECONDS)
            assert not thread.is_alive(), len(came)
    assert len(came) > 20
    transaction.begin()
    assert thing.x == len(came)


@pytest.mark.slow
def test_a_child_that_is_interrupted_when_it_starts_commits_all_the_same(database, thing):
    """It had the locks of its parent for good, and was told that it is committing already."""
    parent = os.getpid()
    for step in each_step():
        steps, came = itertools.count(), []

        def interrupt(frame, event, _argument, steps=steps, step=step, came=came):
            is_ours = frame.f_globals.get("__name__", "").startswith("dobbin_like.")
            may = os.getpid() != parent and is_ours and event in ("call", "c_return")
            if may and next(steps) >= step:
                sys.setprofile(None)
                came.append(True)
                raise KeyboardInterrupt

        def commits(came=came):
            sys.setprofile(None)
            transaction.begin()
            checkout(thing)
            thing.x += 1
            transaction.commit()
            return bool(came)

        transaction.begin()
        before = thing.x
        sys.setprofile(interrupt)
        try:
            told = in_child(commits)
        finally:
            sys.setprofile(None)
        transaction.begin()
        assert isinstance(told, bool), (step, told)
        assert thing.x == before + 1
        if not told:
            break
    assert step > 20


def test_a_storage_that_can_not_start_anew_in_a_child_keeps_no_other_from_it(
    path, database, monkeypatch
):
    """The locks of the others were held for good, and their news were read no more."""

    def fails():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(database.storage._writing, "after_fork_in_child", fails)
    with Database(path.with_name("other.log")) as other:
        fork._before_fork()
        with pytest.raises(OSError, match="open files"):
            fork._after_fork_in_child()

        for each in (database, other):
            publisher = store_of(each).publisher
            assert not publisher.publishing
            assert not publisher.graph.shared.lock._is_owned()


def test_a_damaged_log_is_an_integrity_error_that_says_where(path):
    with Database(path) as database:
        database.set_root(Thing(x="find me"))
        transaction.commit()
    content = bytearray(path.read_bytes())
    content[content.index(b"find me")] ^= 1
    path.write_bytes(content)

    with pytest.raises(IntegrityError) as e, Database(path) as database:
        _ = database.root.x

    assert e.value.path == str(path)
    assert 0 < e.value.offset < len(content)


# -- the end -----------------------------------------------------------------------------


def test_every_use_after_close_is_a_clear_error(path):
    database = Database(path)
    thing = Thing(x=1, other=Thing(x=2))
    database.set_root(thing)
    transaction.commit()
    database.close()

    for use in (
        lambda: database.root,
        lambda: database.get(0),
        database.get_root,
        lambda: database.set_root(Thing()),
        lambda: len(database),
        lambda: checkout(thing),
        database.__enter__,
    ):
        with pytest.raises(ClosedError, match="closed"):
            use()
        with pytest.raises(ClosedError, match="closed"):
            in_thread(use)
    database.close()
    assert "closed" in repr(database)
    assert thing.x == 1
    with pytest.raises(ReadOnlyError):
        thing.x = 2
    transaction.commit()
    transaction.begin()


def test_a_ghost_that_is_touched_after_close_is_a_clear_error(database, thing, again):
    checkout(thing)
    thing.other = Thing(x=2)
    transaction.commit()
    other = again()
    ghost = other.root.other
    other.close()

    with pytest.raises(ClosedError):
        _ = ghost.x


def test_close_drops_changes_under_way(path):
    database = Database(path)
    thing = Thing(x=1)
    database.set_root(thing)
    transaction.commit()
    checkout(thing)
    thing.x = 2
    with pytest.warns(
        UncommittedChangesWarning, match=r"neither committed nor aborted \(1 object checked"
    ):
        database.close()

    assert thing.x == 1
    assert type(thing) is Thing
    with pytest.raises(ChangesLostError):
        transaction.commit()
    transaction.abort()
    with Database(path) as database:
        assert database.root.x == 1


def test_a_root_that_was_not_committed_is_warned_of_at_close(path):
    with pytest.warns(UncommittedChangesWarning) as caught, Database(path) as database:
        database.set_root(Thing())

    assert caught[0].filename == __file__
    assert not path.exists()


def test_an_error_that_ends_a_block_is_the_only_word_on_changes(path):
    def fail():
        with Database(path) as database:
            database.set_root(Thing())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()


PROGRAM = """
import sys, transaction, os
from dobbin_like import Database, PersistentDict, checkout
db = Database(sys.argv[1])
db.set_root(PersistentDict())
transaction.commit()
checkout(db.root)
db.root["n"] = 1
{end}
"""


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("", True),
        ("sys.exit(0)", True),
        ("os.fork() or sys.exit()\nos.wait()\ntransaction.commit()", False),
        ("transaction.commit()", False),
        ("transaction.abort()", False),
        ("raise RuntimeError", False),
        ("import atexit; atexit.register(transaction.commit)", False),
    ],
)
def test_a_program_that_ends_with_changes_is_told_what_is_lost(path, end, told):
    command = [sys.executable, "-c", PROGRAM.format(end=end), str(path)]
    done = run(command, capture_output=True, text=True, env=python_path())

    text = "the program ends with changes that were neither committed nor aborted (1 object"
    assert (f"UncommittedChangesWarning: {path}: {text}" in done.stderr) is told
    assert done.stderr.count("Warning") == told
    with Database(path) as database:
        assert ("n" in database.root) is ("commit" in end)


THREADS = """
import _thread, os, sys, threading, time, transaction
from dobbin_like import Database, PersistentDict, checkout
import gc; gc.disable()
def change(then=None):
    checkout(db.root)
    db.root["n"] = 1
    if then: then()
def in_thread(*args):
    thread = threading.Thread(target=change, args=args, name="worker")
    thread.start()
    thread.join()
db = Database(sys.argv[1])
db.set_root(PersistentDict())
transaction.commit()
{end}
"""


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("in_thread()", True),
        ("in_thread()\ngc.collect()", True),
        ("in_thread()\ngc.collect()\ntransaction.begin()\nos._exit(0)", True),
        ("in_thread()\ngc.collect()\nwith db.transaction(): os._exit(0)", True),
        ("in_thread()\ndb.close()\nos._exit(0)", True),
        ("in_thread()\ngc.collect()\ndb.close()\nos._exit(0)", True),
        ("in_thread()\nin_thread(transaction.commit)", True),
        ("in_thread(sys.exit)", True),
        (
            "in_thread()\ngc.collect()\n"
            "if not os.fork(): transaction.begin(); db.close(); os._exit(0)\nos.wait()",
            True,
        ),
        ("in_thread()\nif not os.fork(): db.close(); os._exit(0)\nos.wait()", True),
        ("in_thread(transaction.commit)\ngc.collect()\ntransaction.begin()", False),
        ("in_thread(transaction.abort)\ngc.collect()\ntransaction.begin()", False),
        (
            "seen = threading.Event()\ndef stay(): seen.set(); threading.Event().wait()\n"
            "threading.Thread(target=change, args=[stay], daemon=True).start()\n"
            "seen.wait()\ntransaction.begin()\n",
            False,
        ),
        ("in_thread()\nraise RuntimeError", False),
    ],
)
def test_what_a_thread_has_not_committed_is_told_once_when_it_is_gone(path, end, told):
    command = [sys.executable, "-c", THREADS.format(end=end), str(path)]
    done = run(command, capture_output=True, text=True, env=python_path())

    text = f"UncommittedChangesWarning: {path}: the thread 'worker' has ended with changes"
    assert done.stderr.count(text) == told
    assert done.stderr.count("(PersistentDict oid 0 checked out)") == told
    of_forks = done.stderr.count("DeprecationWarning")  # Of processes with threads.
    assert done.stderr.count("Warning") - of_forks == told


@pytest.mark.parametrize("collected", [True, False])
def test_a_root_that_a_thread_has_set_and_not_committed_is_told(path, collected):
    database = Database(path)
    in_thread(lambda: database.set_root(PersistentDict(n=1)))
    if collected:
        gc.collect()
    text = r"has ended with changes .*\(PersistentDict oid 0 set as the root\); they are lost; "
    with pytest.warns(UncommittedChangesWarning, match=text) as told:
        database.close()
    assert len(told) == 1


def test_a_root_that_a_thread_has_set_and_aborted_is_not_told(path):
    def leave():
        database.set_root(PersistentDict(n=1))
        transaction.abort()

    with Database(path) as database:
        in_thread(leave)
        gc.collect()


def test_the_first_object_and_how_many_more_a_thread_had_are_told(database):
    database.set_root(PersistentDict(a=Thing(x=1), b=Thing(x=2)))
    transaction.commit()

    def leave():
        root = database.root
        checkout(root["b"])
        checkout(root["a"])

    for _ in range(3):
        in_thread(leave)
    gc.collect()

    text = r"\(Thing oid \d+ and 1 more checked out\); they are lost; so have 2 others"
    with pytest.warns(UncommittedChangesWarning, match=text) as told:
        transaction.begin()
    assert len(told) == 1


def test_thread_after_thread_that_ends_with_changes_is_told_together(path):
    def leave():
        in_thread(lambda: checkout(database.root))
        gc.collect()

    with Database(path) as database:
        database.set_root(PersistentDict())
        transaction.commit()
        leave()
        with pytest.warns(UncommittedChangesWarning):
            transaction.begin()
        for _ in range(3):
            leave()
            transaction.begin()
        transaction.abort()
        with pytest.warns(UncommittedChangesWarning, match="so have 2 others") as told:
            database.close()
    assert len(told) == 1


def test_an_abort_does_not_tell_of_others(database):
    """The warning may be raised as an error."""
    database.set_root(PersistentDict())
    transaction.commit()
    in_thread(lambda: checkout(database.root))
    gc.collect()
    transaction.abort()
    transaction.commit()
    with pytest.warns(UncommittedChangesWarning):
        transaction.begin()


def test_close_after_a_commit_or_abort_says_nothing(path):
    with Database(path) as database:
        database.set_root(Thing(x=1))
        transaction.commit()
        checkout(database.root)
        transaction.abort()


def test_a_commit_to_another_database_names_the_one_that_was_closed(path, tmp_path):
    """Part of the transaction is lost, so none of it is committed."""
    with Database(tmp_path / "other.log") as other:
        with pytest.warns(UncommittedChangesWarning), Database(path) as database:
            database.set_root(Thing(x=1))
        other.set_root(Thing(x=2))

        with pytest.raises(ChangesLostError, match=re.escape(f"{path} was closed with changes")):
            transaction.commit()
        transaction.abort()

        assert other.root is None
        other.set_root(Thing(x=3))
        transaction.commit()


def test_close_while_another_thread_is_in_a_transaction(path):
    database = Database(path)
    thing = Thing(x=1)
    database.set_root(thing)
    transaction.commit()
    steps = Steps()

    @steps.thread
    def other():
        with steps[0]:
            checkout(thing)
            thing.x = 2
        with steps[2]:
            assert thing.x == 1
            with pytest.raises(ChangesLostError):
                transaction.commit()
            transaction.abort()
            transaction.begin()
            transaction.commit()

    with steps[1]:
        database.close()
    steps.join()
    assert type(thing) is Thing


def test_a_storage_closed_under_the_database_spoils_no_other_transaction(path):
    storage = TransactionLog(path)
    database = Database(storage)
    storage.close()

    with pytest.raises(ClosedError):
        database.set_root(Thing())
    transaction.abort()
    transaction.begin()
    transaction.commit()
    database.close()


def test_a_database_that_nobody_holds_lives_until_it_is_closed(path):
    with Database(path) as database:
        database.set_root(Thing(x=1, other=Thing(x=2)))
        transaction.commit()
    root = Database(path).root

    gc.collect()
    checkout(root.other)
    root.other.x = 3
    transaction.commit()

    assert root._p_jar.get(root.other._p_oid) is root.other
    root._p_jar.close()
    with Database(path) as database:
        assert database.root.other.x == 3


def test_threads_that_have_ended_leave_nothing_behind(database, thing):
    def use():
        transaction.begin()
        checkout(thing)
        thing.x = 99

    for _ in range(5):
        in_thread(use)
    gc.collect()
    with pytest.warns(UncommittedChangesWarning, match="has ended with changes"):
        transaction.begin()
    transaction.begin()

    assert thing.x == 1
    assert type(thing) is Thing
    check_database(database).raise_if_bad()


def test_two_threads_use_one_database(database, thing):
    steps = Steps()

    @steps.thread
    def other():
        with steps[1]:
            assert database.root is thing
            assert thing.x == 1
        with steps[3]:
            assert thing.x == 1
            transaction.begin()
            assert thing.x == 2

    with steps[0]:
        checkout(thing)
        thing.x = 2
    with steps[2]:
        transaction.commit()
    steps.join()


def test_a_snapshot_begins_at_the_first_use_by_a_thread(database, thing):
    def change(value):
        checkout(thing)
        thing.x = value
        transaction.commit()

    steps = Steps()

    @steps.thread
    def other():
        with steps[0]:
            assert database.root.x == 1
        with steps[2]:
            assert thing.x == 1
            transaction.abort()
            assert thing.x == 2

    with steps[1]:
        change(2)
    steps.join()


@pytest.mark.parametrize("uses", [False, True])
def test_a_thread_that_was_given_an_object_has_a_snapshot_from_its_first_use(
    database, thing, uses
):
    """Reading a plain object runs no code, so nobody knows that the thread has begun to read."""
    steps = Steps()

    @steps.thread
    def given():
        with steps[0]:
            transaction.begin()
            if uses:
                assert database.root is thing
            seen = thing.x
        with steps[2]:
            checkout(thing)
            thing.x = seen + 1
            with pytest.raises(ConflictError) if uses else contextlib.nullcontext():
                transaction.commit()
            transaction.abort()

    with steps[1]:
        checkout(thing)
        thing.x += 10
        transaction.commit()
    steps.join()

    transaction.begin()
    assert thing.x == (11 if uses else 2)


def test_a_commit_catches_up_its_own_snapshot_only(database, thing, again, tmp_path):
    """``commit()`` of one database does not move another database of the thread forward."""
    with Database(TransactionLog(tmp_path / "own.log", sync=False)) as own:
        mine = Thing(x=1)
        own.set_root(mine)
        transaction.commit()
        other = again()
        assert thing.x == 1
        checkout(other.root)
        other.root.x = 2
        other.transaction_manager.commit()

        checkout(mine)
        mine.x = 2
        transaction.commit()

        assert thing.x == 1
        transaction.begin()
        assert thing.x == 2


def test_states_are_stored_by_the_values_that_were_seen(database, thing, again):
    """Concurrent use of many objects by many threads ends in what was committed."""
    checkout(thing)
    thing.items = [Thing(n=0) for _ in range(5)]
    transaction.commit()
    items = list(thing.items)
    steps = Steps()
    barrier = threading.Barrier(4, timeout=30)
    for _ in range(4):

        @steps.thread
        def add():
            barrier.wait()
            for number in range(20):
                item = items[number % 5]
                for attempt in transaction.manager.attempts(1000):
                    with attempt:
                        checkout(item)
                        item.n += 1

    steps.join()
    transaction.begin()

    assert [item.n for item in items] == [16] * 5
    assert [item.n for item in again().root.items] == [16] * 5


@pytest.mark.parametrize("oid", ["1", 1.0, None, b"1"])
def test_what_is_no_oid_is_refused(database, oid):
    with pytest.raises(TypeError, match="expected an oid, which is an int"):
        database.get(oid)
