"""The data manager: what the ``transaction`` package may ask of it, in any order."""

from __future__ import annotations

import copy
import gc
import json
import threading
from typing import Any

import pytest
import transaction
from transaction.interfaces import (
    DoomedTransaction,
    IDataManagerSavepoint,
    ISavepointDataManager,
    ISynchronizer,
    NoTransaction,
    TransactionFailedError,
)
from zope.interface.verify import verifyObject

from dobbin_like import (
    ConflictError,
    Database,
    Persistent,
    PersistentList,
    ReadConflictError,
    TransactionLog,
    WriteConflictError,
    checkout,
)
from dobbin_like.check import check_database
from dobbin_like.exc import LockTimeout, NotStorableError, ReadOnlyError, SelfWaitError
from dobbin_like.log.reading.reader import LoggedTransaction
from dobbin_like.objects.codec.policy import Policy
from tests.helpers.steps import Steps, in_thread
from tests.helpers.things import Thing


class Counter(Persistent):
    def __init__(self) -> None:
        self.count = 0

    @staticmethod
    def _p_resolve_conflict(old, saved, new):
        new["count"] = saved["count"] + new["count"] - old["count"]
        return new


class Interrupting(Persistent):
    """Its resolution is interrupted as long as ``armed`` is set."""

    armed = False

    def __init__(self) -> None:
        self.x = 0

    @classmethod
    def _p_resolve_conflict(cls, old, saved, new):
        if cls.armed:
            raise KeyboardInterrupt
        return new


class Value:
    """A value that runs code while it is stored."""

    on_reduce = None

    def __reduce__(self):
        if Value.on_reduce is not None:
            Value.on_reduce()
        return (Value, ())


class Getstate:
    error: Any = None

    def __getstate__(self):
        if Getstate.error is not None:
            raise Getstate.error
        return {}


class Merging(Persistent):
    """Its resolution does all it may, and keeps what it was given."""

    given: Any = None

    def __init__(self) -> None:
        self.l = [1]

    @classmethod
    def _p_resolve_conflict(cls, old, saved, new):
        cls.given = copy.deepcopy((old, saved, new))
        old["l"].append("old")
        saved["l"].append("saved")
        new["l"] = [*saved["l"], *new["l"]]
        new["made"] = Thing(x=7)
        return new


class Refusing(Persistent):
    answer: Any = None

    def __init__(self) -> None:
        self.x = 0

    @classmethod
    def _p_resolve_conflict(cls, old, saved, new):
        if isinstance(cls.answer, BaseException):
            raise cls.answer
        return cls.answer


@pytest.fixture(autouse=True)
def _disarmed():
    yield
    Value.on_reduce = Getstate.error = None
    Interrupting.armed = False


class Participant:
    """Another data manager, which says no at one step."""

    def __init__(self, key: str, no_at: str = "") -> None:
        self.transaction_manager = transaction.manager
        self.key = key
        self.no_at = no_at
        self.calls: list[str] = []

    def sortKey(self):  # noqa: N802
        return self.key

    def _step(self, name):
        self.calls.append(name)
        if name == self.no_at:
            raise ValueError(f"no at {name}")

    def abort(self, _transaction):
        self._step("abort")

    def tpc_begin(self, _transaction):
        self._step("tpc_begin")

    def commit(self, _transaction):
        self._step("commit")

    def tpc_vote(self, _transaction):
        self._step("tpc_vote")

    def tpc_finish(self, _transaction):
        self._step("tpc_finish")

    def tpc_abort(self, _transaction):
        self._step("tpc_abort")


BEFORE, AFTER = "\0 before us", "~~~ after us"


@pytest.fixture
def thing(database):
    thing = Thing(x=1, l=[1])
    database.set_root(thing)
    transaction.commit()
    return thing


def commit_elsewhere(thing, **attributes):
    """Change and commit in another thread."""

    def change():
        transaction.begin()
        checkout(thing)
        vars(thing).update(attributes)
        transaction.commit()

    in_thread(change)


# -- interfaces ---------------------------------------------------------------


def test_the_data_manager_keeps_its_interfaces(database, thing):
    checkout(thing)
    (manager,) = transaction.get()._resources

    assert verifyObject(ISavepointDataManager, manager)
    assert verifyObject(ISynchronizer, manager.thread)
    assert verifyObject(IDataManagerSavepoint, manager.savepoint())


def test_the_sort_key_is_a_text_and_names_the_file(database, thing, path):
    checkout(thing)
    (manager,) = transaction.get()._resources

    assert isinstance(manager.sortKey(), str)
    assert manager.sortKey() == manager.sortKey()


def test_reading_does_not_join_the_transaction(database, thing):
    transaction.begin()

    assert thing.x == 1
    assert database.root is thing
    assert transaction.get()._resources == []


def test_one_transaction_is_joined_once(database, thing):
    other = Thing()
    checkout(thing)
    thing.other = other
    checkout(thing, thing)
    checkout(other)

    assert len(transaction.get()._resources) == 1


def test_checking_out_a_new_object_joins_nothing(database):
    new = Thing()

    checkout(new)
    new.x = 1

    assert transaction.get()._resources == []
    transaction.commit()
    with pytest.raises(ReadOnlyError):
        new.x = 2


def test_a_transaction_that_changed_nothing_writes_nothing(database, storage, thing):
    checkout(thing)
    transaction.commit()

    assert len(storage) == 1


# -- what is recorded -----------------------------------------------------------


def test_user_description_and_extension_are_recorded(database, storage, thing):
    current = transaction.get()
    current.setUser("ann")
    current.note("first")
    current.note("second")
    current.setExtendedInfo("request", 7)
    checkout(thing)
    thing.x = 2
    transaction.commit()

    logged = list(storage.transactions())[-1]
    assert logged.user.strip("/ ").endswith("ann")
    assert logged.description == "first\nsecond"
    assert json.loads(logged.extension) == {"request": 7}
    assert not logged.failed
    assert logged.tid == thing._p_serial


def test_an_extension_that_is_not_json_is_refused_and_nothing_is_written(database, storage, thing):
    transaction.get().setExtendedInfo("bad", object())
    checkout(thing)
    thing.x = 2

    with pytest.raises(NotStorableError, match=r"transaction.extension.*not JSON"):
        transaction.commit()
    transaction.abort()

    assert thing.x == 1


def test_a_failed_transaction_is_recorded_with_its_user(database, storage, thing):
    checkout(thing)
    thing.x = 2
    commit_elsewhere(thing, x=3)
    transaction.get().note("mine")

    with pytest.raises(WriteConflictError):
        transaction.commit()
    transaction.abort()

    logged = list(storage.transactions())[-1]
    assert logged.failed
    assert logged.description == "mine"
    assert len(storage) == 3


# -- savepoints -------------------------------------------------------------------


def test_a_savepoint_can_be_rolled_back_twice(database, thing, again):
    checkout(thing)
    thing.x = 2
    thing.l.append(2)
    savepoint = transaction.savepoint()

    for value in (3, 4):
        thing.x = value
        thing.l.append(value)
        thing.new = value
        savepoint.rollback()
        assert (thing.x, thing.l) == (2, [1, 2])
        assert not hasattr(thing, "new")
    transaction.commit()

    assert (thing.x, thing.l) == (2, [1, 2])
    assert again().root.l == [1, 2]


def test_savepoints_are_nested(database, thing):
    checkout(thing)
    savepoints = []
    for value in (2, 3, 4):
        thing.x = value
        thing.l.append(value)
        savepoints.append(transaction.savepoint())
    thing.x = 5

    savepoints[1].rollback()

    assert (thing.x, thing.l) == (3, [1, 2, 3])
    assert not savepoints[2].valid
    savepoints[0].rollback()
    assert (thing.x, thing.l) == (2, [1, 2])
    transaction.commit()
    assert thing.x == 2


def test_an_object_checked_out_after_a_savepoint_is_read_only_after_its_rollback(
    database, thing, storage
):
    other = Thing(x=1)
    checkout(thing)
    thing.other = other
    transaction.commit()
    checkout(thing)
    savepoint = transaction.savepoint()
    checkout(other)
    other.x = 2

    savepoint.rollback()

    assert other.x == 1
    with pytest.raises(ReadOnlyError):
        other.x = 3
    thing.x = 5
    transaction.commit()
    assert (thing.x, other.x) == (5, 1)
    assert type(other) is Thing
    assert type(thing) is Thing


def test_an_object_can_be_checked_out_again_after_a_rollback(database, thing):
    savepoint = transaction.savepoint()
    checkout(thing)
    thing.x = 2
    savepoint.rollback()

    checkout(thing)
    thing.l.append(2)
    transaction.commit()

    assert (thing.x, thing.l) == (1, [1, 2])
    assert len(thing._p_jar) == 1


def test_a_manager_that_joined_after_a_savepoint_is_rolled_back_to_nothing(
    database, storage, thing
):
    transaction.begin()
    savepoint = transaction.savepoint()
    checkout(thing)
    thing.x = 2

    savepoint.rollback()

    assert thing.x == 1
    assert type(thing) is Thing
    transaction.commit()
    assert len(storage) == 1


def test_a_rolled_back_change_is_not_written(database, storage, thing):
    checkout(thing)
    savepoint = transaction.savepoint()
    thing.x = 2
    thing.l.append(2)
    savepoint.rollback()
    transaction.commit()

    assert len(storage) == 1


def test_a_new_object_hung_up_before_a_savepoint_is_stored_as_it_was_there(database, thing, again):
    new = Thing(x=1)
    checkout(new)
    new.x = 2
    checkout(thing)
    thing.new = new
    savepoint = transaction.savepoint()
    new.x = 3

    savepoint.rollback()
    assert new.x == 2
    transaction.commit()

    assert again().root.new.x == 2


def test_a_new_object_checked_out_after_a_savepoint_is_rolled_back(database, thing, again):
    new = Thing(x=1)
    checkout(thing)
    thing.new = new
    savepoint = transaction.savepoint()
    checkout(new)
    new.x = 2

    savepoint.rollback()
    assert new.x == 1
    transaction.commit()

    assert again().root.new.x == 1


def test_a_new_object_hung_up_after_a_savepoint_is_not_stored(database, thing):
    checkout(thing)
    savepoint = transaction.savepoint()
    thing.new = Thing()
    thing.l.append(Thing())

    savepoint.rollback()
    transaction.commit()

    assert len(database) == 1
    assert not hasattr(thing, "new")


def test_a_root_elected_after_a_savepoint_is_rolled_back(database):
    root = Thing()
    other = Thing()
    transaction.begin()
    savepoint = transaction.savepoint()
    database.set_root(root)
    savepoint.rollback()

    assert database.root is None
    assert root._p_oid is None
    database.set_root(other)
    transaction.commit()
    assert database.root is other


def test_a_root_elected_before_a_savepoint_stays_after_its_rollback(database):
    root = Thing(x=1)
    database.set_root(root)
    savepoint = transaction.savepoint()
    checkout(root)
    root.x = 2
    savepoint.rollback()

    assert database.root is root
    assert root._p_oid == 0
    transaction.commit()
    assert len(database) == 1
    assert root.x == 1


def test_aliases_survive_a_rollback(database):
    inner = [1]
    thing = Thing(a=[inner], b=[inner])
    database.set_root(thing)
    transaction.commit()
    checkout(thing)
    assert thing.a == [[1]]
    savepoint = transaction.savepoint()

    savepoint.rollback()
    thing.a[0].append(2)

    assert thing.b == [[1, 2]]


def test_a_savepoint_copies_no_persistent_object(database, thing):
    other = Thing()
    checkout(thing)
    thing.other = other
    thing.l.append(other)
    savepoint = transaction.savepoint()
    del thing.other
    savepoint.rollback()

    assert thing.other is other
    assert thing.l[1] is other


def test_a_savepoint_leaves_volatile_attributes_alone(database, thing):
    lock = threading.Lock()
    checkout(thing)
    thing._v_lock = lock
    thing.x = 2
    savepoint = transaction.savepoint()
    thing.x = 3

    savepoint.rollback()

    assert thing.x == 2
    assert thing._v_lock is lock


def test_a_savepoint_of_a_container_is_rolled_back(database):
    items = PersistentList([1])
    database.set_root(items)
    transaction.commit()
    checkout(items)
    items.append(2)
    savepoint = transaction.savepoint()
    items.append(3)

    savepoint.rollback()
    items.append(4)
    transaction.commit()

    assert items == [1, 2, 4]


def test_an_optimistic_savepoint_with_a_manager_that_has_none(database, thing):
    other = Participant(AFTER)
    transaction.get().join(other)
    checkout(thing)
    thing.x = 2

    savepoint = transaction.savepoint(optimistic=True)

    with pytest.raises(TypeError, match="Savepoints unsupported"):
        savepoint.rollback()
    with pytest.raises(TransactionFailedError):
        transaction.commit()
    transaction.abort()
    assert thing.x == 1


# -- doom, explicit managers, attempts ----------------------------------------------


def test_a_doomed_transaction_is_not_committed(database, storage, thing):
    checkout(thing)
    thing.x = 2
    transaction.doom()

    with pytest.raises(DoomedTransaction):
        transaction.commit()
    assert thing.x == 2
    transaction.abort()

    assert thing.x == 1
    assert len(storage) == 1


def test_an_explicit_manager_begins_views_at_begin_only(path, database, thing):
    manager = transaction.TransactionManager(explicit=True)
    with Database(path, transaction_manager=manager) as other:
        with pytest.raises(NoTransaction):
            checkout(other.root)
        manager.begin()
        mine = other.root
        assert mine.x == 1
        checkout(thing)
        thing.x = 2
        transaction.commit()
        assert mine.x == 1
        manager.abort()
        manager.begin()
        assert mine.x == 2
        checkout(mine)
        mine.x = 3
        manager.commit()
        with pytest.raises(NoTransaction):
            checkout(mine)
        assert mine.x == 3
        assert type(mine) is Thing
    transaction.begin()
    assert thing.x == 3


def test_two_managers_of_one_thread_have_their_own_snapshots(path, database, thing):
    manager = transaction.TransactionManager()
    with Database(path, transaction_manager=manager) as other:
        mine = other.root
        assert mine.x == 1
        checkout(thing)
        thing.x = 2
        transaction.commit()

        assert mine.x == 1
        manager.begin()
        assert mine.x == 2


def test_attempts_run_a_transaction_again_after_a_conflict(database, storage, thing):
    runs = []
    for attempt in transaction.manager.attempts():
        with attempt:
            checkout(thing)
            if not runs:
                commit_elsewhere(thing, x=10)
            runs.append(thing.x)
            thing.x += 1

    assert runs == [1, 10]
    assert thing.x == 11
    assert len(storage) == 4


def test_attempts_run_a_transaction_again_after_a_conflict_with_another_instance(
    database, thing, again
):
    other = again()
    runs = []
    for attempt in transaction.manager.attempts():
        with attempt:
            checkout(thing)
            if not runs:
                checkout(other.root)
                other.root.x = 10
                other.transaction_manager.commit()
            runs.append(thing.x)
            thing.x += 1

    assert runs == [1, 10]
    assert thing.x == 11


def test_run_of_the_transaction_package_retries(database, thing):
    runs = []

    def add():
        checkout(thing)
        if not runs:
            commit_elsewhere(thing, x=10)
        runs.append(thing.x)
        thing.x += 1

    transaction.manager.run(add)

    assert thing.x == 11


def test_other_errors_are_not_retried(database, thing):
    runs = []

    def add():
        checkout(thing)
        runs.append(1)
        thing.bad = lambda: 0

    with pytest.raises(NotStorableError):
        transaction.manager.run(add)
    transaction.abort()

    assert runs == [1]


# -- conflicts -------------------------------------------------------------------


def test_the_first_committer_wins_among_threads(database, storage, thing):
    checkout(thing)
    thing.x = 2
    commit_elsewhere(thing, x=3)

    assert thing.x == 2
    with pytest.raises(WriteConflictError) as e:
        transaction.commit()

    assert (e.value.class_name, e.value.oid) == ("Thing", 0)
    assert e.value.serial > e.value.base_serial
    assert thing.x == 3
    with pytest.raises(ReadOnlyError):
        thing.x = 4
    with pytest.raises(TransactionFailedError):
        transaction.commit()
    with pytest.raises(TransactionFailedError):
        checkout(thing)
    transaction.abort()
    assert thing.x == 3
    assert len(storage) == 3


def test_the_first_committer_wins_among_instances(database, thing, again):
    other = again()
    theirs = other.root
    checkout(theirs)
    checkout(thing)
    theirs.x = 2
    thing.x = 3
    other.transaction_manager.commit()

    with pytest.raises(ReadConflictError):
        transaction.commit()

    assert thing.x == 2
    transaction.abort()
    assert thing.x == 2


def test_a_checkout_without_a_change_takes_part_in_the_conflict_check(database, thing):
    other = Thing(y=1)
    checkout(thing)
    thing.other = other
    transaction.commit()

    checkout(thing, other)
    assert thing.x == 1
    other.y = 2
    commit_elsewhere(thing, x=2)

    with pytest.raises(WriteConflictError):
        transaction.commit()
    transaction.abort()
    assert other.y == 1


def test_a_conflict_is_resolved_by_the_class(database, storage, again):
    counter = Counter()
    database.set_root(counter)
    transaction.commit()
    checkout(counter)
    counter.count += 5
    commit_elsewhere(counter, count=7)

    transaction.commit()

    assert counter.count == 12
    assert again().root.count == 12
    assert all(not logged.failed for logged in storage.transactions())


def test_a_conflict_with_another_instance_is_resolved_by_the_class(database, again):
    counter = Counter()
    database.set_root(counter)
    transaction.commit()
    other = again()
    checkout(counter, other.root)
    counter.count += 5
    other.root.count += 7
    other.transaction_manager.commit()

    transaction.commit()

    assert counter.count == 12
    other.transaction_manager.begin()
    assert other.root.count == 12


def test_a_resolution_gets_copies_and_may_return_anything_that_can_be_stored(database, again):
    merging = Merging()
    database.set_root(merging)
    transaction.commit()
    checkout(merging)
    merging.l.append(2)
    commit_elsewhere(merging, l=[1, 3])

    transaction.commit()

    assert Merging.given == ({"l": [1]}, {"l": [1, 3]}, {"l": [1, 2]})
    root = again().root
    assert merging.l == root.l == [1, 3, "saved", 1, 2]
    assert merging.made.x == root.made.x == 7
    assert type(merging.made) is Thing


@pytest.mark.parametrize("answer", [ConflictError(), ZeroDivisionError("inside"), None, 5])
def test_a_resolution_that_fails_fails_the_commit(database, answer):
    refusing = Refusing()
    database.set_root(refusing)
    transaction.commit()
    Refusing.answer = answer
    checkout(refusing)
    refusing.x = 2
    commit_elsewhere(refusing, x=3)

    with pytest.raises(Exception) as e:  # noqa: PT011
        transaction.commit()
    transaction.abort()

    assert isinstance(answer, ZeroDivisionError) or isinstance(e.value, (ConflictError, TypeError))
    assert refusing.x == 3
    checkout(refusing)
    refusing.x = 4
    transaction.commit()
    assert refusing.x == 4


def test_two_threads_that_elect_a_root_conflict(database, storage):
    steps = Steps()
    first, second = Thing(x=1), Thing(x=2)

    @steps.thread
    def other():
        with steps[1]:
            transaction.begin()
            database.set_root(first)
        with steps[3]:
            transaction.commit()

    with steps[0]:
        transaction.begin()
    with steps[2]:
        database.set_root(second)
        assert database.root is second
    with steps[4]:
        with pytest.raises(WriteConflictError):
            transaction.commit()
        transaction.abort()
        assert database.root is first
        assert second._p_oid is None
    steps.join()


def test_two_instances_that_elect_a_root_conflict(database, again):
    other = again()
    other.set_root(Thing(x=1))
    mine = Thing(x=2)
    database.set_root(mine)
    other.transaction_manager.commit()

    with pytest.raises(ReadConflictError):
        transaction.commit()
    transaction.abort()

    assert database.root.x == 1
    assert mine._p_oid is None


# -- other data managers -----------------------------------------------------------


@pytest.mark.parametrize("key", [BEFORE, AFTER])
@pytest.mark.parametrize("step", ["tpc_begin", "commit", "tpc_vote"])
def test_a_no_of_another_leaves_nothing_applied(database, storage, thing, again, key, step):
    other = Thing()
    checkout(thing)
    thing.x = 2
    thing.l.append(2)
    thing.other = other
    transaction.get().join(Participant(key, no_at=step))

    with pytest.raises(ValueError, match=f"no at {step}"):
        transaction.commit()

    assert (thing.x, thing.l) == (1, [1])
    assert not hasattr(thing, "other")
    transaction.abort()
    assert (thing.x, thing.l) == (1, [1])
    assert other._p_oid is None
    assert type(thing) is Thing
    assert len(database) == 1
    fresh = again()
    assert (fresh.root.x, fresh.root.l, len(fresh)) == (1, [1], 1)
    assert fresh.get(1) is None
    assert all(
        logged.failed == (number > 0) for number, logged in enumerate(storage.transactions())
    )

    checkout(thing)
    thing.other = other
    transaction.commit()
    assert other._p_oid == 1
    fresh.transaction_manager.begin()
    assert fresh.root.other._p_oid == 1


@pytest.mark.parametrize("key", [BEFORE, AFTER])
def test_a_no_vote_of_another_is_counted_as_a_failed_transaction(database, storage, thing, key):
    checkout(thing)
    thing.x = 2
    transaction.get().join(Participant(key, no_at="tpc_vote"))

    with pytest.raises(ValueError, match="no at tpc_vote"):
        transaction.commit()
    transaction.abort()

    assert len(storage) == 2
    assert [logged.failed for logged in storage.transactions()] == [False, True]


@pytest.mark.parametrize("key", [BEFORE, AFTER])
def test_a_yes_of_another_lets_both_finish(database, thing, again, key):
    other = Participant(key)
    checkout(thing)
    thing.x = 2
    transaction.get().join(other)

    transaction.commit()

    assert other.calls == ["tpc_begin", "commit", "tpc_vote", "tpc_finish"]
    assert thing.x == 2
    assert again().root.x == 2


def test_the_commit_lock_is_free_after_every_failure(database, thing, again):
    other = again()
    for key in (BEFORE, AFTER):
        for step in ("tpc_begin", "commit", "tpc_vote"):
            transaction.begin()
            checkout(thing)
            thing.x = 2
            transaction.get().join(Participant(key, no_at=step))
            with pytest.raises(ValueError, match="no at"):
                transaction.commit()
            transaction.abort()
            in_thread(_commit, other)
    transaction.begin()

    assert thing.y == 6


def _commit(database):
    database.transaction_manager.begin()
    root = database.root
    checkout(root)
    root.y = getattr(root, "y", 0) + 1
    database.transaction_manager.commit()


def test_an_error_while_another_finishes_does_not_take_ours_back(database, thing, again, caplog):
    checkout(thing)
    thing.x = 2
    transaction.get().join(Participant(AFTER, no_at="tpc_finish"))

    with pytest.raises(ValueError, match="no at tpc_finish"):
        transaction.commit()
    transaction.abort()

    assert thing.x == 2
    assert again().root.x == 2


def test_a_hook_after_the_commit_may_abort(database, thing):
    seen = []

    def hook(success):
        seen.append((success, thing.x))
        transaction.abort()

    transaction.get().addAfterCommitHook(hook)
    checkout(thing)
    thing.x = 2
    transaction.commit()

    assert seen == [(True, 2)]
    assert thing.x == 2
    assert type(thing) is Thing


def test_a_hook_after_the_commit_may_commit_a_transaction_of_its_own(database, thing, storage):
    def hook(_success):
        transaction.begin()
        checkout(thing)
        thing.x = 3
        transaction.commit()

    transaction.get().addAfterCommitHook(hook)
    checkout(thing)
    thing.x = 2
    transaction.commit()

    assert thing.x == 3
    assert len(storage) == 3


def test_a_transaction_begun_by_a_hook_can_be_used_after_it(database, thing):
    def hook(_success):
        transaction.begin()
        checkout(thing)
        thing.x = 3

    transaction.get().addAfterCommitHook(hook)
    checkout(thing)
    thing.x = 2
    transaction.commit()

    checkout(thing)
    thing.y = 4
    transaction.commit()
    assert thing.y == 4


def test_a_hook_before_the_commit_may_check_out_more(database, thing, again):
    def hook():
        checkout(thing)
        thing.x = 2

    transaction.get().addBeforeCommitHook(hook)
    transaction.commit()

    assert again().root.x == 2


def test_hooks_around_an_abort_see_no_change_left(database, thing):
    seen = []
    transaction.get().addBeforeAbortHook(lambda: seen.append(thing.x))
    transaction.get().addAfterAbortHook(lambda: seen.append(thing.x))
    checkout(thing)
    thing.x = 2
    transaction.abort()

    assert seen == [2, 1]


def test_abort_may_come_at_any_time_and_any_number_of_times(database, thing):
    checkout(thing)
    thing.x = 2
    current = transaction.get()
    (manager,) = current._resources

    for _ in range(2):
        manager.abort(current)
        manager.tpc_abort(current)
    assert thing.x == 1
    checkout(thing)
    transaction.abort()
    checkout(thing)
    thing.x = 3
    current = transaction.get()
    transaction.commit()
    manager.abort(current)
    manager.tpc_abort(current)
    manager.abort(current)

    assert thing.x == 3
    checkout(thing)
    thing.x = 4
    transaction.commit()
    assert thing.x == 4


def test_a_snapshot_lasts_while_another_manager_votes(database, thing):
    """What others commit does not show in a thread that is in the middle of a commit."""
    seen = []

    class Looking(Participant):
        def tpc_vote(self, _transaction):
            seen.append(thing.x)

    transaction.get().join(Looking(AFTER))
    checkout(thing)
    thing.x = 2
    assert in_thread(lambda: thing.x) == 1
    transaction.commit()

    assert seen == [2]


# -- two databases --------------------------------------------------------------


@pytest.fixture
def second(tmp_path):
    with Database(TransactionLog(tmp_path / "second.log", sync=False)) as second:
        yield second


def test_two_databases_commit_in_one_transaction(database, second, tmp_path, again):
    one, two = Thing(x=1), Thing(x=1)
    database.set_root(one)
    second.set_root(two)
    transaction.commit()
    checkout(one, two)
    one.x = two.x = 2
    transaction.commit()

    assert (one.x, two.x) == (2, 2)
    assert (len(database.storage), len(second.storage)) == (2, 2)
    assert again().root.x == 2


def test_a_conflict_in_one_database_leaves_nothing_applied_in_the_other(database, second, again):
    one, two = Thing(x=1), Thing(x=1)
    database.set_root(one)
    second.set_root(two)
    transaction.commit()

    for contested in (one, two):
        checkout(one, two)
        one.x = two.x = 2
        commit_elsewhere(contested, x=3)
        with pytest.raises(WriteConflictError):
            transaction.commit()
        assert contested.x == 3
        transaction.abort()
        assert {one.x, two.x} <= {1, 3}
    assert (one.x, two.x) == (3, 3)
    assert again().root.x == 3


def test_two_instances_over_one_file_in_one_transaction_are_an_error_and_no_hang(
    database, thing, path
):
    with Database(path) as other:
        mine = other.root
        checkout(thing, mine)
        thing.x = 2
        mine.y = 3

        with pytest.raises(SelfWaitError) as e:
            transaction.commit()
        transaction.abort()

        assert str(path) in str(e.value)
        assert (thing.x, hasattr(thing, "y"), hasattr(mine, "y")) == (1, False, False)
        checkout(thing)
        thing.x = 5
        transaction.commit()
        transaction.begin()
        assert mine.x == 5


def test_a_transaction_inside_the_commit_of_another_is_an_error_and_no_hang(
    database, thing, again
):
    other = again(allow=(f"{__name__}.*",))
    errors = []

    def commit_inside():
        checkout(other.root)
        other.root.y = 1
        try:
            other.transaction_manager.commit()
        except Exception as error:
            errors.append(error)
            other.transaction_manager.abort()

    Value.on_reduce = commit_inside
    database._store.graph.classes.policy = Policy((f"{__name__}.*",))
    checkout(thing)
    thing.value = Value()
    transaction.commit()
    Value.on_reduce = None

    assert errors
    assert {type(error) for error in errors} == {SelfWaitError}
    other.transaction_manager.begin()
    assert type(other.root.value) is Value


def test_a_commit_lock_held_by_another_instance_is_waited_for_in_vain(path, database, thing):
    with Database(TransactionLog(path, sync=False, lock_timeout=0.01)) as impatient:
        mine = impatient.root
        checkout(mine)
        mine.x = 2

        def hold_and_commit():
            database.storage.acquire()
            return database.storage

        # Held by another thread for the whole of this commit.
        steps = Steps()

        @steps.thread
        def holder():
            with steps[0]:
                hold_and_commit()
            with steps[2]:
                database.storage.release()

        with steps[1]:
            with pytest.raises(LockTimeout) as e:
                transaction.commit()
            transaction.abort()
        steps.join()

        assert e.value.timeout_seconds == 0.01
        checkout(mine)
        mine.x = 3
        transaction.commit()
        assert mine.x == 3


# -- interrupts ----------------------------------------------------------------------


def test_an_interrupt_while_a_value_is_pickled_leaves_nothing_behind(
    database, storage, thing, again
):
    database._store.graph.classes.policy = Policy((f"{__name__}.*",))
    checkout(thing)
    thing.x = 2
    thing.value = [Getstate()]
    thing.other = Thing()
    Getstate.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        transaction.commit()
    transaction.abort()
    Getstate.error = None

    assert thing.x == 1
    assert not hasattr(thing, "value")
    assert len(database) == 1
    checkout(thing)
    thing.value = [Getstate()]
    transaction.commit()
    assert type(again(allow=(f"{__name__}.*",)).root.value[0]) is Getstate


def test_an_interrupt_while_a_value_is_reduced_leaves_nothing_behind(database, thing, again):
    database._store.graph.classes.policy = Policy((f"{__name__}.*",))
    checkout(thing)
    thing.value = Value()

    def interrupt():
        raise KeyboardInterrupt

    Value.on_reduce = interrupt
    with pytest.raises(KeyboardInterrupt):
        transaction.commit()
    transaction.abort()

    assert not hasattr(thing, "value")
    in_thread(_commit, again())


def test_an_interrupt_while_a_conflict_is_resolved_leaves_nothing_behind(database, again):
    thing = Interrupting()
    database.set_root(thing)
    transaction.commit()
    for elsewhere in (commit_elsewhere, _commit_in_another_instance(again())):
        checkout(thing)
        thing.x = 2
        elsewhere(thing, x=thing.x + 5)
        Interrupting.armed = True
        with pytest.raises(KeyboardInterrupt):
            transaction.commit()
        transaction.abort()
        Interrupting.armed = False

        assert thing.x == 7
        checkout(thing)
        thing.x = 9
        transaction.commit()
        assert thing.x == 9


def _commit_in_another_instance(other):
    def commit(_thing, **attributes):
        other.transaction_manager.begin()
        checkout(other.root)
        vars(other.root).update(attributes)
        other.transaction_manager.commit()

    return commit


def test_an_error_while_a_value_is_pickled_names_the_place(database, storage, thing):
    database._store.graph.classes.policy = Policy((f"{__name__}.*",))
    checkout(thing)
    thing.l.append({"k": (Getstate(),)})
    Getstate.error = ZeroDivisionError("inside")

    with pytest.raises(NotStorableError) as e:
        transaction.commit()
    transaction.abort()

    assert e.value.path == ".l[1]['k'][0]"
    assert e.value.reason == "inside"
    assert thing.l == [1]
    assert len(storage) == 1


def test_a_transaction_that_took_the_lock_early_meets_no_conflict(path):
    manager, others = (
        transaction.TransactionManager(explicit=True),
        transaction.TransactionManager(),
    )
    with (
        Database(path, transaction_manager=manager) as database,
        Database(TransactionLog(path, lock_timeout=0), transaction_manager=others) as other,
    ):
        other.set_root(Thing(x=0))
        others.commit()
        database._store.manager().acquire_early()
        manager.begin()
        assert database.root.x == 0

        def change() -> None:
            others.begin()
            checkout(other.root)
            other.root.x = 5
            others.commit()

        with pytest.raises(LockTimeout):
            in_thread(change)
        checkout(database.root)
        database.root.x += 1
        manager.commit()
        assert not database.storage.held
        database._store.release_early()
        in_thread(change)

        # One that changes nothing, and one that is aborted, give it back as well.
        for end in (manager.commit, manager.abort):
            database._store.manager().acquire_early()
            manager.begin()
            assert database.root.x == 5
            end()
            database._store.release_early()
            database._store.release_early()
            assert not database.storage.held
            in_thread(change)


def test_who_holds_the_lock_early_can_not_take_it_by_another_instance(path, again):
    with Database(path, transaction_manager=transaction.TransactionManager()) as database:
        database.set_root(Thing(x=0))
        database.transaction_manager.commit()
        other = again()
        checkout(other.root)
        database._store.manager().acquire_early()
        with pytest.raises(SelfWaitError):
            other.transaction_manager.commit()
        with pytest.raises(SelfWaitError):
            database._store.manager().acquire_early()
        database._store.release_early()
        other.transaction_manager.abort()
        assert not database.storage.held


def test_a_commit_that_is_not_published_yet_is_published_by_who_reads_it(path):
    """Another thread that begins just then does not make its new objects a second time."""

    class Watched(TransactionLog):
        def append(self, *args, **options):
            made = super().append(*args, **options)
            in_thread(look)
            return made

    def look():
        transaction.begin()
        root = database.root
        seen.append(None if root is None else list(root.l))
        transaction.abort()

    seen = []
    with Database(Watched(path, sync=False)) as database:
        database.set_root(Thing(l=[]))
        transaction.commit()
        root, new = database.root, Thing(x=1)
        checkout(root)
        root.l.append(new)
        transaction.commit()

        assert seen == [[], [new]]
        assert seen[1][0] is new
        transaction.begin()
        assert database.root.l[0] is new
        assert database.get(new._p_oid) is new
        check_database(database).raise_if_bad()


def test_a_commit_leaves_nothing_in_the_memory_of_the_log(database):
    # What was appended was known to the log for ever, as nobody had to read it: a kilobyte each.
    thing = Thing(x=0)
    database.set_root(thing)
    transaction.commit()

    def left() -> int:
        gc.collect()
        return sum(type(each) is LoggedTransaction for each in gc.get_objects())

    before = left()
    for _ in range(5):
        checkout(thing)
        thing.x += 1
        transaction.commit()
    assert left() <= before
