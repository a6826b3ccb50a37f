"""What may stay in memory, or on the disk, for a thread that has a snapshot and does nothing."""

from __future__ import annotations

import gc
import itertools
import threading
import time
import weakref
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import ConflictError, PersistentDict, checkout
from dobbin_like.exc import SnapshotDroppedError, UncommittedChangesError
from dobbin_like.objects.values.refs import ref_of
from dobbin_like.processes.threads import RunTime
from dobbin_like.testing.steps import TIMEOUT_SECONDS
from tests.helpers.interrupts import interrupted
from tests.helpers.processes import exit_code, forked
from tests.helpers.steps import in_thread
from tests.helpers.things import Thing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dobbin_like import Database


class Waiting:
    """A thread that does one thing, waits, and then does what it is told."""

    def __init__(self) -> None:
        self._told: list[Callable[[], Any]] = []
        self._turn, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._results: list[tuple[Any, BaseException | None]] = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while self._turn.acquire() and self._told:
            try:
                self._results.append((self._told.pop()(), None))
            except BaseException as error:
                self._results.append((None, error))
            self._done.release()

    def do(self, function: Callable[[], Any]) -> Any:
        self._told.append(function)
        self._turn.release()
        assert self._done.acquire(timeout=TIMEOUT_SECONDS)
        self._come_to_rest()
        result, error = self._results.pop()
        if error is not None:
            raise error
        return result

    def _come_to_rest(self) -> None:
        """Return when the thread has stopped to run: it waits for what it is told next."""
        status = Path(f"/proc/self/task/{self.thread.native_id}/stat")
        end = time.monotonic() + TIMEOUT_SECONDS
        while status.read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < end

    def end(self) -> None:
        self._turn.release()
        self.thread.join(TIMEOUT_SECONDS)


@pytest.fixture
def idle() -> Iterator[Waiting]:
    waiting = Waiting()
    yield waiting
    waiting.end()


@pytest.fixture
def later() -> Iterator[Waiting]:
    """Another such thread."""
    waiting = Waiting()
    yield waiting
    waiting.end()


@pytest.fixture
def thing(database: Database) -> Thing:
    thing = Thing(x=0, y=0, child=None)
    database.set_root(thing)
    transaction.commit()
    return thing


@contextmanager
def changing(obj: Any) -> Iterator[None]:
    checkout(obj)
    yield
    transaction.commit()


def change(thing: Thing, times: int = 1) -> None:
    for _ in range(times):
        with changing(thing):
            thing.x += 1


@pytest.mark.parametrize("begun", [True, False])
def test_one_old_version_of_an_object_stays_for_a_snapshot(database, thing, idle, begun):
    idle.do(transaction.begin if begun else transaction.abort)
    idle.do(lambda: database.root.x)

    change(thing, 20)

    assert len(ref_of(thing).mask.chain) == 2
    assert len(database._store.graph.shared.masked) == 1
    assert idle.do(lambda: thing.x) == 0


def test_what_was_made_and_dropped_since_a_snapshot_is_freed(database, thing, idle):
    idle.do(transaction.begin)
    idle.do(lambda: database.root)
    dropped = []
    for _ in range(5):
        with changing(thing):
            thing.child = PersistentDict(inner=Thing(x=0))
        dropped.append(weakref.ref(thing.child["inner"]))
        change(thing.child["inner"])

    gc.collect()
    change(thing, 2)
    gc.collect()

    assert [ref() is None for ref in dropped] == [True] * 4 + [False]
    assert len(database._store.graph.cache.all()) == 3
    assert idle.do(lambda: thing.child) is None


def test_what_a_snapshot_has_read_stays_though_it_was_dropped(database, thing, idle):
    with changing(thing):
        thing.child = Thing(x="before")
    idle.do(transaction.begin)
    idle.do(lambda: database.root)
    with changing(thing):
        thing.child = None

    gc.collect()
    change(thing, 2)

    assert idle.do(lambda: thing.child.x) == "before"


def test_masks_are_taken_off_when_the_snapshot_ends(database, thing, idle):
    idle.do(transaction.begin)
    idle.do(lambda: database.root)
    change(thing, 3)

    idle.do(transaction.begin)

    assert type(thing) is Thing
    assert len(database._store.graph.shared.masked) == 0


# -- threads that wait between two transactions ------------------------------


@pytest.fixture
def lapsing(database: Database) -> Database:
    """Look for idle threads at each commit, not once in a while."""
    database._store.graph.shared.idle_seconds = 0
    return database


def finish(database: Database) -> None:
    """End a transaction of a thread that has used the database."""
    _ = database.root.x
    transaction.commit()


def test_a_thread_that_waits_between_transactions_costs_no_mask(lapsing, thing, idle):
    idle.do(lambda: finish(lapsing))

    change(thing, 3)

    assert type(thing) is Thing
    assert lapsing._store.graph.shared.horizon.oldest() == lapsing.tid


def test_a_thread_that_has_used_the_database_once_and_waits_costs_no_mask(lapsing, thing, idle):
    idle.do(lambda: lapsing.root.x)

    change(thing, 3)

    assert type(thing) is Thing


def test_a_thread_that_has_begun_a_transaction_keeps_its_snapshot(lapsing, thing, idle):
    idle.do(transaction.begin)
    idle.do(lambda: lapsing.root.x)

    change(thing, 5)

    assert idle.do(lambda: thing.x) == 0


def test_a_thread_that_has_checked_something_out_keeps_its_snapshot(lapsing, thing, idle):
    other = Thing(x=0)
    with changing(thing):
        thing.child = other
    idle.do(lambda: checkout(lapsing.root.child))

    change(thing, 5)

    assert idle.do(lambda: thing.x) == 0
    idle.do(transaction.abort)


def test_a_thread_that_reads_what_is_changed_is_not_idle(lapsing, thing, idle):
    idle.do(lambda: finish(lapsing))
    with changing(thing):
        thing.y = "changed"

    assert idle.do(lambda: thing.x) == 0
    change(thing)
    assert idle.do(lambda: thing.x) == 0


def test_a_thread_that_reads_what_is_unchanged_is_not_idle(lapsing, thing, idle):
    """Reading such an object runs no code that could notice it."""
    with changing(thing):
        thing.child = Thing(x="unchanged")
    child = thing.child
    idle.do(lambda: finish(lapsing))

    for _ in range(3):
        change(thing)
        assert idle.do(lambda: child.x) == "unchanged"

    assert idle.do(lambda: thing.x) == 0


def test_a_thread_of_a_forked_child_that_waits_costs_no_mask(lapsing, thing):
    finish(lapsing)

    def child():
        def change_until_plain():
            end = time.monotonic() + TIMEOUT_SECONDS
            change(thing)
            while type(thing) is not Thing:
                assert time.monotonic() < end
                change(thing)

        in_thread(change_until_plain)

    assert exit_code(forked(child)) == 0


def test_whether_a_thread_has_run_is_known_as_long_as_it_is_there(idle):
    run_time = idle.do(RunTime)
    idle.do(lambda: None)
    seen = [run_time.has_run(), run_time.has_run()]
    idle.do(lambda: None)
    seen += [run_time.has_run(), run_time.has_run()]
    idle.end()

    assert seen == [True, False, True, False]
    assert run_time.has_run()


def test_a_thread_that_goes_on_reads_on_in_its_snapshot(lapsing, thing, idle, again):
    with changing(thing):
        thing.child = Thing(x=0)
    child = thing.child
    idle.do(lambda: finish(lapsing))
    change(thing, 3)
    change(child)

    assert idle.do(lambda: lapsing.root.x) == 0
    assert idle.do(lambda: child.x) == 0
    assert idle.do(lambda: lapsing.tid) < lapsing.tid
    assert (thing.x, child.x) == (3, 1)
    idle.do(transaction.begin)
    assert idle.do(lambda: (thing.x, child.x)) == (3, 1)


def test_threads_that_go_on_read_on_each_in_its_own_snapshot(lapsing, thing, idle, later):
    idle.do(lambda: finish(lapsing))
    change(thing)
    later.do(lambda: finish(lapsing))
    change(thing, 4)
    assert type(thing) is Thing

    seen = [each.do(lambda: lapsing.root.x) for each in (idle, later)]

    assert seen == [0, 1]
    assert [each.do(lambda: thing.x) for each in (later, idle)] == [1, 0]
    assert thing.x == 5


def test_a_thread_that_goes_on_reads_nothing_but_what_it_asks_for(lapsing, thing, idle, again):
    """Among the objects in memory are collections that were not read, and so may be empty."""
    with changing(thing):
        thing.child = PersistentDict(a=1)
    child = thing.child
    idle.do(lambda: finish(lapsing))
    change(thing, 3)
    other = again()
    with other.transaction_manager:
        checkout(other.root.child)
        other.root.child["a"] = 2
    transaction.begin()
    assert type(child) is type(child)._p_faces.ghost

    assert idle.do(lambda: lapsing.root.x) == 0

    assert type(child) is type(child)._p_faces.ghost
    assert idle.do(lambda: child["a"]) == 1


def test_a_thread_reads_what_others_have_changed_until_it_goes_on_with_the_database(
    lapsing, thing, idle
):
    idle.do(lambda: finish(lapsing))
    change(thing, 3)

    assert idle.do(lambda: thing.x) == 3  # As the guide says: it is not marked as changed.
    assert idle.do(lambda: (lapsing.root.x, thing.x)) == (0, 0)


def test_a_thread_that_goes_on_sees_its_snapshot_of_what_is_read_for_the_first_time(
    lapsing, thing, idle
):
    with changing(thing):
        thing.child = Thing(x="before")
    oid = thing.child._p_oid
    idle.do(lambda: finish(lapsing))
    with changing(thing.child):
        thing.child.x = "after"
    change(thing, 3)

    assert idle.do(lambda: lapsing.get(oid).x) == "before"


def test_a_thread_that_goes_on_overwrites_nothing(lapsing, thing, idle):
    """What it has read before it waited is what its next transaction is checked against."""
    idle.do(lambda: finish(lapsing))
    seen = idle.do(lambda: thing.x)
    change(thing, 3)
    idle.do(lambda: checkout(thing))
    idle.do(lambda: setattr(thing, "x", seen + 1))

    with pytest.raises(ConflictError):
        idle.do(transaction.commit)

    idle.do(transaction.abort)
    assert thing.x == 3


def test_a_thread_that_goes_on_merges_what_can_be_merged(lapsing, idle):
    root = PersistentDict(a=0)
    lapsing.set_root(root)
    transaction.commit()
    idle.do(lambda: lapsing.root["a"])
    for number in range(3):
        with changing(root):
            root["a"] = number

    idle.do(lambda: checkout(root))
    idle.do(lambda: root.update(b=1))
    idle.do(transaction.commit)

    transaction.begin()
    assert root == {"a": 2, "b": 1}


def test_a_file_of_before_a_pack_is_not_kept_for_a_thread_that_waits(lapsing, thing, idle):
    idle.do(lambda: finish(lapsing))
    change(thing, 3)
    lapsing.pack()
    change(thing, 3)
    transaction.begin()

    assert not lapsing.storage.has_past


def test_a_thread_whose_snapshot_was_packed_away_has_to_begin(lapsing, thing, idle):
    idle.do(lambda: finish(lapsing))
    change(thing, 3)
    lapsing.pack()
    change(thing, 3)
    transaction.begin()

    assert idle.do(lambda: lapsing.root.x) == 6
    with pytest.raises(SnapshotDroppedError) as caught:
        idle.do(lambda: checkout(thing))
    assert isinstance(caught.value, transaction.interfaces.TransientError)
    idle.do(transaction.begin)
    idle.do(lambda: change(thing))
    transaction.begin()
    assert thing.x == 7


def test_a_thread_that_ends_while_it_waits_leaves_nothing_behind(lapsing, thing, idle):
    idle.do(lambda: finish(lapsing))
    change(thing, 3)
    idle.end()

    gc.collect()
    change(thing)

    assert len(lapsing._store.graph.shared.horizon) == 1


def test_waiting_for_a_transaction_ends_a_snapshot_that_has_lapsed(lapsing, thing, idle):
    idle.do(lambda: finish(lapsing))
    change(thing, 3)
    tid = lapsing.tid

    assert idle.do(lambda: lapsing.wait(tid, timeout=TIMEOUT_SECONDS))

    assert idle.do(lambda: thing.x) == 3
    assert idle.do(lambda: lapsing.tid) == tid


class Doubled(Thing):
    @cached_property
    def double(self):
        return 2 * self.of.x


def test_a_thread_that_goes_on_in_its_snapshot_finds_no_cached_value_of_a_newer_one(
    lapsing, thing, idle
):
    with changing(thing):
        thing.child = doubled = Doubled(of=thing)
    idle.do(lambda: finish(lapsing))
    change(thing, 3)

    assert doubled.double == 6
    assert idle.do(lambda: (lapsing.root.x, doubled.double)) == (0, 0)
    assert doubled.double == 6


def test_a_class_that_has_changed_meanwhile_still_has_cached_values(
    lapsing, thing, idle, monkeypatch
):
    with changing(thing):
        thing.child = doubled = Doubled(of=thing)
    idle.do(lambda: finish(lapsing))
    change(thing, 3)
    monkeypatch.setattr(Doubled, "added", 1, raising=False)

    assert doubled.double == 6
    assert idle.do(lambda: (lapsing.root.x, doubled.double)) == (0, 0)


class Empty(Doubled):
    def __len__(self):
        return 0


def test_a_thread_that_goes_on_finds_no_cached_value_of_an_empty_object(lapsing, thing, idle):
    with changing(thing):
        thing.child = doubled = Empty(of=thing)
    idle.do(lambda: finish(lapsing))
    change(thing, 3)

    assert doubled.double == 6
    assert idle.do(lambda: (lapsing.root.x, doubled.double)) == (0, 0)


def test_a_thread_that_goes_on_asks_no_collection_for_its_length(lapsing, thing, idle):
    with changing(thing):
        thing.child = items = PersistentDict(a=1)
    other = Waiting()
    other.do(lambda: (transaction.begin(), lapsing.root.x))
    idle.do(lambda: finish(lapsing))
    change(thing, 3)
    with changing(items):  # Masked, for the other thread has a snapshot of it.
        items["b"] = 2

    assert idle.do(lambda: (lapsing.root.x, len(items))) == (0, 1)

    assert other.do(lambda: len(items)) == 1
    other.end()


def test_an_interrupt_of_a_thread_that_goes_on_leaves_its_snapshot(lapsing, thing, idle):
    for number in itertools.count(1):
        idle.do(transaction.abort)
        idle.do(lambda: finish(lapsing))
        before = thing.x
        change(thing, 3)

        was = idle.do(partial(interrupted, lambda: lapsing.root.x, number))

        assert idle.do(lambda: lapsing.root.x) == before, number
        if not was:
            break
    assert number > 20


def test_an_interrupt_of_what_ends_idle_views_leaves_them_their_snapshots(lapsing, thing, idle):
    shared = lapsing._store.graph.shared

    def lapse():
        with shared.lock:
            shared.let_idle_lapse()

    for number in itertools.count(1):
        idle.do(transaction.abort)
        idle.do(lambda: finish(lapsing))
        before = thing.x
        change(thing)

        was = interrupted(lapse, number)

        assert idle.do(lambda: lapsing.root.x) == before, number
        change(thing, 3)
        assert idle.do(lambda: lapsing.root.x) == before, number
        if not was:
            break
    assert number > 10


# -- letting go ---------------------------------------------------------------


def test_a_thread_gives_its_snapshot_back(database, thing, idle):
    idle.do(transaction.begin)
    idle.do(lambda: database.root.x)
    idle.do(database.release_snapshot)

    change(thing, 2)

    assert type(thing) is Thing
    assert idle.do(lambda: thing.x) == 2
    idle.do(transaction.begin)
    change(thing)
    assert idle.do(lambda: thing.x) == 2


def test_a_checkout_begins_a_snapshot_after_one_was_given_back(database, thing, idle):
    idle.do(lambda: finish(database))
    idle.do(database.release_snapshot)
    change(thing)

    idle.do(lambda: change(thing))

    transaction.begin()
    assert thing.x == 2


def test_a_snapshot_that_has_lapsed_can_be_given_back(lapsing, thing, idle):
    idle.do(lambda: finish(lapsing))
    change(thing, 3)

    idle.do(lapsing.release_snapshot)

    assert idle.do(lambda: lapsing.root.x) == 3


def test_a_snapshot_is_not_given_back_with_changes_under_way(database, thing, idle):
    checkout(thing)
    thing.x = 7

    with pytest.raises(UncommittedChangesError, match="neither committed nor"):
        database.release_snapshot()

    assert thing.x == 7
    transaction.commit()
    database.release_snapshot()
    assert thing.x == 7
