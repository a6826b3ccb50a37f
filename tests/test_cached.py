"""``functools.cached_property``: what it caches is seen by those for whom it holds."""

from __future__ import annotations

import functools
import threading

import pytest
import transaction

from dobbin_like import Persistent, checkout
from tests.helpers.steps import in_thread
from tests.helpers.things import Thing


class Mixin:
    computed = 0

    @functools.cached_property
    def total(self):
        type(self).computed += 1
        return self.part.x * 10


class Sum(Mixin, Persistent):
    def __init__(self, part):
        self.part = part
        self.n = 0

    @functools.cached_property
    def guard(self):
        return threading.Lock()


@pytest.fixture
def part():
    return Thing(x=1)


@pytest.fixture
def sums(database, part):
    sums = Sum(part)
    database.set_root(sums)
    transaction.commit()
    return sums


def cached(obj):
    """Return the names that all threads find in the object."""
    return {"total", "guard"}.intersection(object.__getattribute__(obj, "__dict__"))


def test_what_is_computed_from_committed_states_is_cached_for_all(sums):
    assert sums.total == 10
    assert in_thread(lambda: (sums.total, Sum.computed)) == (10, Sum.computed)
    assert cached(sums) == {"total"}


def test_what_is_computed_from_an_own_change_is_for_its_thread_and_transaction(
    database, sums, part
):
    checkout(part)
    part.x = 9

    before = Sum.computed
    assert (sums.total, sums.total) == (90, 90)
    assert Sum.computed == before + 1
    assert not cached(sums)
    assert in_thread(lambda: (database.root, sums.total)[1]) == 10
    transaction.abort()
    assert sums.total == 10


@pytest.mark.parametrize("with_snapshot", [True, False])
def test_a_commit_ends_what_was_computed_from_an_own_change(database, sums, part, with_snapshot):
    checkout(part)
    part.x = 9
    assert sums.total == 90
    part.x = 8
    transaction.commit()

    def read():
        return (database.root if with_snapshot else sums).total

    assert sums.total == 80
    assert in_thread(read) == 80


def test_an_older_snapshot_is_not_shown_what_is_computed_from_a_newer_one(database, sums, part):
    assert database.root is sums
    in_thread(lambda: change(database, part, 5))

    assert in_thread(lambda: (database.root, sums.total)[1]) == 50
    assert (part.x, sums.total) == (1, 10)
    assert in_thread(lambda: (database.root, sums.total)[1]) == 50
    transaction.begin()
    assert (part.x, sums.total) == (5, 50)


def test_an_object_that_others_change_keeps_what_a_snapshot_has_computed(database, sums, part):
    checkout(part)
    part.x = 9
    assert sums.total == 90
    before = Sum.computed

    in_thread(lambda: change(database, sums, 1))

    assert (sums.n, sums.total, Sum.computed) == (0, 90, before)


def change(database, thing, value):
    assert database.root is not None
    checkout(thing)
    thing.x = thing.n = value
    transaction.commit()


def test_what_is_computed_while_others_commit_is_not_cached(database, part):
    class Slow(Persistent):
        @functools.cached_property
        def total(self):
            value = part.x
            in_thread(lambda: change(database, part, value + 1))
            return value

    slow = Slow()
    database.set_root(Sum(part))
    checkout(database.root)
    database.root.slow = slow
    Slow.__qualname__ = "Slow"
    globals()["Slow"] = Slow
    transaction.commit()

    seen = in_thread(lambda: (slow.total, slow.total))  # A thread without a snapshot.

    assert seen == (1, 2)
    assert "total" not in vars(slow)


def test_a_rollback_ends_what_was_computed_since_the_savepoint(sums, part):
    checkout(part)
    part.x = 2
    savepoint = transaction.savepoint()
    part.x = 3
    assert sums.total == 30

    savepoint.rollback()

    assert (part.x, sums.total) == (2, 20)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_savepoint_leaves_alone_what_is_cached(database, sums, is_new):
    obj = Sum(Thing(x=1)) if is_new else sums
    checkout(sums, obj)
    assert obj.guard.acquire(blocking=False)
    assert database.root is sums

    savepoint = transaction.savepoint()
    obj.n = 7
    savepoint.rollback()

    assert obj.n == 0


def test_a_mixin_is_an_ordinary_class_elsewhere():
    class Plain(Mixin):
        part = Thing(x=2)

    plain = Plain()
    assert (plain.total, plain.total, vars(plain)) == (20, 20, {"total": 20})
    assert isinstance(Mixin.total, functools.cached_property)


def test_a_cached_property_that_is_added_later_is_one(sums, part):
    Sum.later = functools.cached_property(lambda self: self.part.x)
    Sum.later.__set_name__(Sum, "later")

    checkout(part)
    part.x = 9
    assert sums.later == 9
    assert in_thread(lambda: sums.later) == 1


# -- those of others ------------------------------------------------------------------


class Logged(functools.cached_property):
    """Derived from Python's."""


class Counted(functools.cached_property):
    """Has a __get__ of its own."""

    asked = 0

    def __get__(self, obj, owner=None):
        Counted.asked += 1
        return super().__get__(obj, owner)


def of_django():
    return pytest.importorskip("django.utils.functional").cached_property


def of_werkzeug():
    return pytest.importorskip("werkzeug.utils").cached_property


def of_pyramid():
    return pytest.importorskip("pyramid.decorator").reify


KINDS = {
    "derived": lambda: Logged,
    "own get": lambda: Counted,
    "django": of_django,
    "werkzeug": of_werkzeug,
    "pyramid": of_pyramid,
}


@pytest.mark.parametrize("kind", KINDS)
def test_others_see_nothing_of_what_is_not_committed(database, again, part, kind):
    decorate = KINDS[kind]()

    def tenfold(self):
        """Ten times as much."""
        return self.part.x * 10

    content = {"tenfold": decorate(tenfold), "__module__": __name__}
    cls = globals()["Made"] = type(Sum)("Made", (Sum,), content)
    one = cls(part)
    database.set_root(Thing(one=one, part=part))
    transaction.commit()
    assert cls.tenfold.__doc__ == "Ten times as much."

    checkout(part)
    part.x = 99
    assert one.tenfold == one.tenfold == 990
    assert in_thread(lambda: one.tenfold) == 10
    transaction.abort()

    assert one.tenfold == 10
    assert vars(one)["tenfold"] == 10
    checkout(one)
    one.n = 1
    assert one.tenfold == 10
    transaction.commit()
    data = database.storage.load(one._p_oid, database.storage.tid).data
    assert b"tenfold" not in bytes(data)


def test_the_get_of_a_derived_one_is_run(part):
    class Own(Sum):
        @Counted
        def twice(self):
            return self.n * 2

    one, before = Own(part), Counted.asked
    assert one.twice == 0
    assert Counted.asked == before + 1
    assert isinstance(vars(Own)["twice"], Counted)
