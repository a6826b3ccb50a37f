"""What a commit writes: the changed objects and the newly reachable ones, and no other."""

from __future__ import annotations

import collections

import pytest
import transaction

from dobbin_like import Persistent, PersistentList, checkout
from dobbin_like.exc import NotStorableError, ReadOnlyError
from tests.helpers.things import Thing


class Slotless(Persistent):
    """Without any attribute."""


@pytest.fixture
def thing(database):
    thing = Thing(x=1, l=[1])
    database.set_root(thing)
    transaction.commit()
    return thing


def written(storage):
    return [sorted(logged.oids) for logged in storage.transactions() if not logged.failed]


def test_only_what_was_changed_is_written(storage, thing):
    one, two = Thing(n=1), Thing(n=2)
    checkout(thing)
    thing.one, thing.two = one, two
    transaction.commit()
    checkout(thing, one, two)
    assert (thing.l, one.n) == ([1], 1)
    two.n = 3
    transaction.commit()

    assert written(storage) == [[0], [0, 1, 2], [2]]


def test_new_objects_are_found_wherever_they_hang(database, storage, thing, again):
    deep = Thing(n=4)
    checkout(thing)
    thing.l.append({"k": (Thing(n=1), [Thing(n=2, child=Thing(n=3, deeper=[deep]))])})
    transaction.commit()

    assert len(database) == 5
    assert deep._p_jar is database
    root = again().root
    assert root.l[1]["k"][0].n == 1
    assert root.l[1]["k"][1][0].child.deeper[0].n == 4


def test_oids_are_dense_and_are_given_out_again_after_a_failure(database, thing):
    checkout(thing)
    thing.l = [Thing(), Thing(), lambda: 0]
    with pytest.raises(NotStorableError):
        transaction.commit()
    transaction.abort()

    checkout(thing)
    thing.l = [Thing(), Thing()]
    transaction.commit()

    assert [child._p_oid for child in thing.l] == [1, 2]
    assert len(database) == 3


def test_an_oid_of_a_failed_transaction_names_nothing_that_was_made_for_it(database, thing):
    """A value with a reference to a new object is loaded while it is stored."""
    checkout(thing)
    thing.value = collections.OrderedDict(new=Thing(n=1))
    thing.z = Thing(bad=lambda: 0)
    with pytest.raises(NotStorableError):
        transaction.commit()
    transaction.abort()
    assert database.get(1) is None

    checkout(thing)
    other = PersistentList(["other"])
    thing.other = other
    transaction.commit()

    assert database.get(1) is other
    assert thing.other is other


def test_new_objects_are_read_only_after_the_commit_and_their_values_guarded(thing):
    new = Thing(l=[1], t=([2],))
    checkout(thing, new)
    thing.new = new
    new.l.append(2)
    transaction.commit()

    with pytest.raises(ReadOnlyError):
        new.x = 1
    for change in (lambda: new.l.append(3), lambda: new.t[0].append(3)):
        with pytest.raises(RuntimeError, match="Thing oid 1"):
            change()
    assert new.l == [1, 2]


def test_an_object_without_attributes_is_stored(database, thing, again):
    checkout(thing)
    thing.empty = Slotless()
    transaction.commit()

    assert vars(again().root.empty) == {}
    checkout(thing.empty)
    thing.empty.x = 1
    transaction.commit()
    checkout(thing.empty)
    del thing.empty.x
    transaction.commit()
    assert vars(again().root.empty) == {}


def test_a_root_that_leads_to_itself_is_stored_once(database, again):
    root = PersistentList()
    checkout(root)
    root.append(root)
    database.set_root(root)
    transaction.commit()

    assert len(database) == 1
    assert again().root[0] is not None
    assert root[0] is root


def test_an_object_in_two_transactions_of_two_threads_is_stored_by_the_first(database, thing):
    """A new object that was handed to two threads before it is stored."""
    from tests.helpers.steps import Steps

    new = Thing(n=1)
    one, two = Thing(), Thing()
    checkout(thing)
    thing.one, thing.two = one, two
    transaction.commit()
    steps = Steps()

    @steps.thread
    def other():
        with steps[1]:
            transaction.begin()
            checkout(two)
            two.new = new
        with steps[3]:
            transaction.commit()

    with steps[0]:
        transaction.begin()
        checkout(one)
        one.new = new
    with steps[2]:
        transaction.commit()
    steps.join()
    transaction.begin()

    assert one.new is two.new is new
    assert new._p_oid == 3
    assert len(database) == 4


def test_setting_what_is_there_already_writes_nothing(storage, thing):
    checkout(thing)
    thing.x = 1
    thing.l = [1]
    transaction.commit()

    assert len(storage) == 1


def test_the_order_of_attributes_is_kept(database, thing, again):
    checkout(thing)
    thing.b, thing.a = 1, 2
    transaction.commit()

    assert list(vars(again().root)) == ["x", "l", "b", "a"]
    assert list(vars(thing)) == ["x", "l", "b", "a"]


def test_many_new_objects_in_one_commit(database, thing, again):
    checkout(thing)
    thing.l = [Thing(n=number, up=thing) for number in range(2000)]
    transaction.commit()

    root = again().root
    assert [child.n for child in root.l] == list(range(2000))
    assert all(child.up is root for child in root.l)
