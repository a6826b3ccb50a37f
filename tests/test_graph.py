"""The objects in memory: ghosts, versions, masks; what a snapshot sees of an object and when."""

from __future__ import annotations

import gc
import weakref

import pytest
import transaction

from dobbin_like import Database, ReadConflictError, checkout
from dobbin_like.check import check_database
from dobbin_like.exc import NotStorableError, ReadOnlyError
from dobbin_like.storage import TransactionLog
from tests.helpers.steps import Steps, in_thread
from tests.helpers.things import Thing


@pytest.fixture
def thing(database):
    thing = Thing(x=1, l=[1])
    database.set_root(thing)
    transaction.commit()
    return thing


def commit(thing, **attributes):
    checkout(thing)
    vars(thing).update(attributes)
    transaction.commit()


def commit_elsewhere(other, **attributes):
    other.transaction_manager.begin()
    checkout(other.root)
    vars(other.root).update(attributes)
    other.transaction_manager.commit()


def is_ghost(obj):
    return type(obj) is type(obj)._p_faces.ghost


def test_an_object_is_a_ghost_until_it_is_touched(thing, again):
    ghost = again().root

    assert is_ghost(ghost)
    assert ghost._p_oid == 0
    assert isinstance(ghost, Thing)
    assert is_ghost(ghost)
    assert ghost.x == 1
    assert type(ghost) is Thing


def test_what_others_have_committed_shows_at_the_next_begin(thing, again):
    commit_elsewhere(again(), x=2, l=[2])

    assert (thing.x, thing.l) == (1, [1])
    transaction.begin()
    assert (thing.x, thing.l) == (2, [2])


def test_an_object_nobody_holds_is_forgotten(database, thing, again):
    commit(thing, child=Thing(x=5))
    other = again()
    child = other.get(1)
    assert child.x == 5
    reference = weakref.ref(child)

    del child
    other.transaction_manager.abort()
    gc.collect()

    assert reference() is None
    assert other.get(1).x == 5
    assert other.root.child is other.get(1)


def test_a_checked_out_object_lives_while_its_transaction_does(database, thing, again):
    commit(thing, child=Thing(x=5))
    other = again()
    checkout(other.get(1))
    other.get(1).x = 6
    gc.collect()
    other.transaction_manager.commit()

    transaction.begin()
    assert thing.child.x == 6


def test_a_ghost_shows_the_version_of_the_snapshot_and_not_the_newest(thing, path):
    """It is touched for the first time while the reader's snapshot is older than its state."""
    with Database(path) as other:
        ghost = other.root
        assert is_ghost(ghost)
        commit_in_thread = [lambda: commit(thing, x=2), lambda: commit(thing, x=3)]
        for change in commit_in_thread:
            in_thread(change)

        def read_the_newest():
            assert other.root.x == 3

        in_thread(read_the_newest)

        assert ghost.x == 1
        transaction.begin()
        assert ghost.x == 3


def test_a_stale_object_in_an_older_snapshot_keeps_its_version(thing, path):
    """Several threads of one instance, each with the version of its own time."""
    with Database(path) as other:
        root = other.root
        assert root.x == 1
        steps = Steps()

        @steps.thread
        def second():
            with steps[1]:
                transaction.begin()
                assert other.root.x == 2
            with steps[3]:
                assert root.x == 2
                transaction.abort()
                assert root.x == 3

        @steps.thread
        def writer():
            with steps[0]:
                transaction.begin()
                commit(thing, x=2)
            with steps[2]:
                transaction.begin()
                commit(thing, x=3)

        with steps[4]:
            assert root.x == 1
            transaction.begin()
            assert root.x == 3
            assert type(root) is Thing
        steps.join()


def test_versions_that_nobody_sees_are_dropped(database, thing):
    steps = Steps()

    @steps.thread
    def reader():
        with steps[0]:
            assert database.root.x == 1
        with steps[2]:
            assert thing.x == 1

    with steps[1]:
        for value in range(2, 50):
            commit(thing, x=value)
        chain = thing._p_jar._store.graph.cache.get(0).mask.chain
        assert len(chain) == 2
    steps.join()
    gc.collect()
    transaction.begin()
    transaction.begin()
    assert thing._p_jar._store.graph.cache.get(0).mask is None


def test_a_checkout_in_an_older_snapshot_is_based_on_its_version(thing, again):
    other = again()
    assert other.root.x == 1
    commit(thing, x=2)

    checkout(other.root)
    assert other.root.x == 1
    other.root.x = 5
    with pytest.raises(ReadConflictError):
        other.transaction_manager.commit()
    other.transaction_manager.abort()
    assert other.root.x == 2


def test_a_checkout_of_a_ghost_in_an_older_snapshot_is_based_on_its_version(thing, again):
    other = again()
    ghost = other.root
    commit(thing, x=2)

    checkout(ghost)

    assert ghost.x == 1
    ghost.x += 10
    with pytest.raises(ReadConflictError):
        other.transaction_manager.commit()
    other.transaction_manager.abort()
    assert ghost.x == 2


def test_an_abort_with_news_goes_back_to_the_newest(thing, again):
    checkout(thing)
    thing.x = 5
    commit_elsewhere(again(), x=2)
    assert thing.x == 5

    transaction.abort()

    assert thing.x == 2
    assert type(thing) is Thing
    with pytest.raises(ReadOnlyError):
        thing.x = 3


def test_values_of_one_snapshot_fit_together(database, thing, again):
    commit(thing, a=Thing(n=0), b=Thing(n=0))
    other = again()
    a = other.root.a
    assert a.n == 0
    checkout(thing.a, thing.b)
    thing.a.n = thing.b.n = 1
    transaction.commit()

    assert (a.n, other.root.b.n) == (0, 0)
    other.transaction_manager.begin()
    assert (a.n, other.root.b.n) == (1, 1)


def test_an_object_handed_to_a_thread_with_an_older_snapshot_can_be_read(database, thing):
    steps = Steps()
    handed = []

    @steps.thread
    def other():
        with steps[0]:
            assert database.root.x == 1
        with steps[2]:
            assert handed[0].x == 7
            assert not hasattr(thing, "child")

    with steps[1]:
        commit(thing, child=Thing(x=7))
        handed.append(thing.child)
    steps.join()


def test_nothing_is_left_after_all_transactions_have_ended(database, thing):
    steps = Steps()

    @steps.thread
    def other():
        with steps[0]:
            checkout(thing)
            thing.x = 5
        with steps[2]:
            transaction.abort()

    with steps[1]:
        assert thing.x == 1
        checkout(thing)
        thing.x = 6
        transaction.commit()
    steps.join()
    transaction.begin()

    assert type(thing) is Thing
    assert vars(thing) == {"x": 6, "l": [1]}


def test_a_local_view_of_two_databases_is_kept_apart(thing, tmp_path):
    with Database(tmp_path / "second.log") as second:
        root = Thing(x=10)
        second.set_root(root)
        transaction.commit()
        checkout(thing)
        thing.x = 2

        assert (thing.x, root.x) == (2, 10)
        checkout(root)
        root.x = 20
        transaction.abort()
        assert (thing.x, root.x) == (1, 10)


def test_what_a_list_of_objects_refers_to_is_found_once(database, again):
    people = [Thing(x=number) for number in range(3)]
    root = Thing(n=0, people=people, pair=[*people[:2]])
    database.set_root(root)
    transaction.commit()

    checkout(root)
    root.n = 1
    transaction.commit()
    known = vars(root)["people"]._p_references
    assert known[0] == tuple(person._p_oid for person in people)
    checkout(root)
    root.n = 2
    transaction.commit()

    assert vars(root)["people"]._p_references is known
    commit(root, people=[people[2], Thing(x=9)])
    assert [person.x for person in again().root.people] == [2, 9]
    assert [person.x for person in again().root.pair] == [0, 1]


def test_what_a_list_refers_to_is_found_again_after_a_failed_commit(database, again):
    root = Thing(n=0)
    database.set_root(root)
    transaction.commit()
    people = [Thing(x=number) for number in range(3)]
    checkout(root)
    root.people, root.wrong = people, lambda: None
    with pytest.raises(NotStorableError):
        transaction.commit()
    transaction.abort()
    commit(root, other=Thing(x=7))  # It has the oid now that one of them was given.

    commit(root, people=people)
    commit(root, n=1)

    assert [person.x for person in again().root.people] == [0, 1, 2]
    assert again().root.other.x == 7


def test_a_list_of_objects_is_right_after_a_pack(path):
    with Database(TransactionLog(path, sync=False)) as database:
        root = Thing(n=0, people=[Thing(x=1), Thing(x=2)])
        database.set_root(root)
        transaction.commit()
        commit(root, n=1)
        database.pack()
        commit(root, n=2)
        commit(root, n=3)
    with Database(TransactionLog(path, sync=False)) as database:
        assert [person.x for person in database.root.people] == [1, 2]
        check_database(database).raise_if_bad()
