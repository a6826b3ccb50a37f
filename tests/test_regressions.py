"""What once went wrong: each test opens with the story of the fault."""

from __future__ import annotations

import gc
import io
import os
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import transaction

from dobbin_like import (
    Database,
    Persistent,
    PersistentDict,
    PersistentFile,
    PersistentList,
    TransactionLog,
    checkout,
)
from dobbin_like.exc import ClosedError, CommittingError, IntegrityError
from dobbin_like.objects.codec.policy import Policy
from tests.helpers.log_files import open_files
from tests.helpers.processes import exit_code, forked
from tests.helpers.steps import Steps, in_thread
from tests.helpers.tracing import tracing

TIMEOUT_SECONDS = 60


class Thing(Persistent):
    made = 0

    def __init__(self, **attributes: Any) -> None:
        type(self).made += 1
        for name, value in attributes.items():
            setattr(self, name, value)


class Hook:
    """Calls a function while it is pickled."""

    call: Any = staticmethod(lambda: None)

    def __getstate__(self):
        Hook.call()
        return {}


@pytest.fixture
def thing(database):
    thing = Thing(x=1, other=Thing(x=1))
    database.set_root(thing)
    transaction.commit()
    return thing


def test_a_constructor_may_set_attributes_of_its_class(thing):
    # It set them on the generated class that the object wore just then.
    before = Thing.made

    Thing(x=1)
    assert Thing.made == before + 1

    checkout(thing)
    type(thing).made = 100
    assert Thing.made == 100


def test_a_root_is_enough_to_keep_its_database(path):
    # The objects of a database that nobody held turned empty, and commits to
    # them wrote nothing.
    with Database(path) as database:
        database.set_root(Thing(x=1))
        transaction.commit()
    root = Database(path).root
    gc.collect()

    assert root.x == 1
    checkout(root)
    root.x = 2
    transaction.commit()

    root._p_jar.close()
    with Database(path) as database:
        assert database.root.x == 2


def test_a_checkout_inside_a_commit_is_refused(path, thing):
    # It was granted, and its changes were lost without a word.
    with Database(path, allow=["*test_regressions.Hook"]) as database:
        root = database.root
        checkout(root.other)
        root.other.hook = Hook()
        Hook.call = lambda: checkout(root)
        try:
            with pytest.raises(CommittingError):
                transaction.commit()
        finally:
            Hook.call = lambda: None
        transaction.abort()

        assert not hasattr(root.other, "hook")
        checkout(root)  # and afterwards it is granted again
        transaction.abort()


@pytest.mark.parametrize("when", ["tpc_begin", "commit", "tpc_vote"])
@pytest.mark.parametrize("key", ["", "~~~~"])
def test_a_database_closed_beside_a_commit_loses_no_acknowledged_commit(path, when, key):
    # commit() returned, and nothing was in the log; or it failed after the
    # transaction counted.
    database = Database(path)
    thing = Thing(x=1)
    database.set_root(thing)
    transaction.commit()
    closing = threading.Thread(target=database.close)

    def close(step):
        if step == when and not closing.ident:
            closing.start()
            while not database.closed:  # the rest of close() waits for this commit
                closing.join(0.001)

    steps = ("tpc_begin", "commit", "tpc_vote", "tpc_finish", "tpc_abort", "abort")
    participant = SimpleNamespace(sortKey=lambda: key)
    for step in steps:
        setattr(participant, step, lambda _transaction, step=step: close(step))

    checkout(thing)
    thing.x = 2
    transaction.get().join(participant)
    try:
        transaction.commit()
        expected = 2
    except ClosedError:
        transaction.abort()
        expected = 1
    closing.join(TIMEOUT_SECONDS)

    with Database(path) as again:
        assert again.root.x == expected


def test_nothing_that_an_allowed_module_imports_is_allowed_with_it():
    # "shop.*" led to os.system by way of what shop had imported.
    name = __name__

    assert Policy((f"{name}.*",)).resolve(name, "os.system")[0] is None
    assert Policy((f"{name}.*",)).resolve(name, "Hook")[0] is Hook
    assert Policy((f"{name}.*",)).resolve(name, "Thing")[0] is Thing


def test_a_source_that_failed_half_way_is_not_stored_truncated(thing):
    # The next try stored what was left of it.
    class Broken(io.RawIOBase):
        parts: tuple[Any, ...] = (b"first", OSError("gone"), b"second")

        def readable(self):
            return True

        def readinto(self, buffer):
            if not self.parts:
                return 0
            part, *rest = self.parts
            self.parts = tuple(rest)
            if isinstance(part, OSError):
                raise part
            buffer[: len(part)] = part
            return len(part)

    file = PersistentFile(Broken())
    for _ in range(2):
        checkout(thing)
        thing.file = file
        with pytest.raises(OSError, match="gone"):
            transaction.commit()
        transaction.abort()


def test_containers_show_themselves_in_many_threads():
    # One thread's repr took that of another for a cycle.
    container = PersistentDict(a=PersistentList([1]))
    container_text = repr(container)
    found = []

    def show():
        found.extend(repr(container) for _ in range(2000))

    threads = [threading.Thread(target=show) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT_SECONDS)
    finally:
        sys.setswitchinterval(interval)

    assert set(found) == {container_text}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_two_threads_may_fork_at_once(database, thing):
    # The hooks of the two mixed up who held what, and the locks stayed taken.
    statuses = []

    def child():
        transaction.begin()
        os._exit(database.root.x)

    def fork():
        for _ in range(20):
            statuses.append(exit_code(forked(child)))

    threads = [threading.Thread(target=fork, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_SECONDS)

    assert statuses == [1] * 40
    transaction.begin()
    checkout(thing)
    thing.x = 2
    transaction.commit()


def test_an_object_handed_to_a_thread_with_an_older_snapshot_can_be_read(path):
    # It was looked for as of that snapshot, and not found. What it shows is
    # the oldest state that is still known.
    database = Database(path)
    other = Database(path, transaction_manager=transaction.TransactionManager())
    begin, commit = other.transaction_manager.begin, other.transaction_manager.commit
    database.set_root(Thing(x=0))
    transaction.commit()
    steps = Steps()
    handed = []

    @steps.thread
    def old():
        with steps[0]:
            transaction.begin()
            assert database.root.x == 0
        with steps[2]:
            assert handed[0].x in {"a", "b", "c"}

    with steps[1]:
        begin()
        checkout(other.root)
        other.root.child = Thing(x="a")
        commit()
        transaction.begin()
        handed.append(database.root.child)
        assert handed[0].x == "a"
        for letter in "bc":
            begin()
            checkout(other.root.child)
            other.root.child.x = letter
            commit()
            transaction.begin()
    steps.join()
    database.close()
    other.close()


def test_a_relative_path_means_what_it_meant_when_it_was_opened(tmp_path, monkeypatch):
    # After a chdir the file was made elsewhere, or looked for elsewhere.
    monkeypatch.chdir(tmp_path)
    with Database("data.log") as database:
        monkeypatch.chdir("/")
        database.set_root(Thing(x=1))
        transaction.commit()

    assert (tmp_path / "data.log").exists()


def test_a_log_that_was_cut_in_its_first_page_is_not_an_empty_one(path):
    with Database(path) as database:
        database.set_root(Thing(x=1))
        transaction.commit()
    os.truncate(path, 1000)

    with pytest.raises(IntegrityError):
        Database(path)
    with pytest.raises(IntegrityError):  # and not: the storage is in use
        Database(path)
    with pytest.raises(IntegrityError):
        TransactionLog(path)


def test_beginning_a_transaction_in_the_midst_of_publishing_does_not_wait_for_itself(thing):
    # A signal handler that began or aborted a transaction hung for ever.
    names = {"publish", "_publish", "introduce", "_publish_state", "_finish", "append", "apply"}
    calls = []

    def trace(frame, event, _arg):
        inside = "dobbin_like" in frame.f_globals.get("__name__", "")
        return line if inside and frame.f_code.co_name in names else None

    def line(frame, event, _arg):
        if event == "line" and len(calls) < 50:
            calls.append(frame.f_lineno)
            manager = thing._p_jar._store.manager()
            manager.abort(transaction.get())
            manager.thread.newTransaction(None)
        return line

    checkout(thing)
    thing.x = 2
    with tracing(trace):
        transaction.commit()

    assert len(calls) > 5
    transaction.begin()
    assert thing.x == 2


@pytest.mark.parametrize("options", [{"transaction_manager": object()}, {"allow": 5}])
def test_a_database_that_could_not_be_set_up_gives_everything_back(path, options):
    # It kept the log open, and the claim on the storage that it was given.
    with Database(path) as database:
        database.set_root(Thing(x=1))
        transaction.commit()

    with pytest.raises(TypeError):
        Database(path, **options)
    assert not [link for link in open_files() if str(path.parent) in link]

    with TransactionLog(path) as storage:
        with pytest.raises(TypeError):
            Database(storage, **options)
        with Database(storage) as database:
            assert database.root.x == 1


def test_a_version_between_two_older_views_is_not_left_out(path):
    # The older view had its version put right behind the newest; the younger one, whose
    # own version was missing between the two, took that for its own.
    with Database(path) as database, Database(path) as other:
        database.set_root(Thing(x=1))
        transaction.commit()
        reads = {}

        def reader(name, steps):
            transaction.begin()
            root = other.root
            steps.wait()  # has begun
            steps.wait()  # read now
            reads[name] = root.x
            steps.wait()
            transaction.abort()

        def change(x):
            transaction.begin()
            checkout(database.root)
            database.root.x = x
            transaction.commit()

        old, young = threading.Barrier(2), threading.Barrier(2)
        threads = [
            threading.Thread(target=reader, args=args, daemon=True)
            for args in (("old", old), ("young", young))
        ]
        threads[0].start()
        old.wait(30)
        change(2)
        threads[1].start()
        young.wait(30)
        change(3)
        in_thread(lambda: transaction.begin() or other.root)
        for steps in (old, young):
            steps.wait(30)
            steps.wait(30)
        for thread in threads:
            thread.join(30)

        assert reads == {"old": 1, "young": 2}
