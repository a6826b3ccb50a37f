"""``PersistentCounter``: what concurrent transactions add always adds up."""

from __future__ import annotations

import subprocess
import sys
import threading
from decimal import Decimal
from fractions import Fraction

import pytest
import transaction
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like import (
    Database,
    MemoryLog,
    PersistentCounter,
    PersistentDict,
    TransactionLog,
    WriteConflictError,
    checkout,
)
from dobbin_like.exc import NoSuchAttributeError, ReadOnlyError
from tests.helpers.processes import ROOT, python_path, start
from tests.helpers.steps import in_thread


class Named(PersistentCounter):
    def __init__(self, name):
        super().__init__()
        self.name = name


def opened(value=0):
    counter = PersistentCounter(value)
    checkout(counter)
    return counter


def stored(database, counter):
    database.set_root(counter)
    transaction.commit()
    return counter


def in_other_transaction(change):
    in_thread(lambda: (change(), transaction.commit()))


def test_a_counter_counts_up_and_down():
    counter = opened(5)

    counter.increment()
    counter.increment(10)
    counter.decrement()
    counter.decrement(3)

    assert counter.value == 12
    assert repr(counter) == "PersistentCounter(12)"


@pytest.mark.parametrize("value", [0, 5, -3, 1.5, Fraction(1, 3), Decimal("2.50")])
def test_a_counter_compares_and_converts_as_its_number(on_face, value):
    def check(counter):
        assert counter == value == counter
        assert counter == PersistentCounter(value)
        assert counter != value + 1
        assert counter != str(value)
        assert counter not in (None, [], "")
        assert value - 1 < counter <= value < value + 1
        assert value + 1 > counter >= value > value - 1
        assert PersistentCounter(value) <= counter < PersistentCounter(value + 1)
        assert sorted([value + 1, counter, value - 1])[1] is counter
        assert bool(counter) is bool(value)
        assert (int(counter), float(counter)) == (int(value), float(value))
        assert str(counter) == f"{counter}" == str(value)
        with pytest.raises(TypeError):
            _ = counter < "6"

    on_face(PersistentCounter(value), check)


def test_a_counter_of_integers_is_an_index_and_formatted_as_one(on_face):
    def check(counter):
        assert f"{counter:04d}" == "0002"
        assert "abc"[counter] == "c"
        assert list(range(counter)) == [0, 1]

    on_face(PersistentCounter(2), check)
    with pytest.raises(TypeError):
        range(PersistentCounter(2.0))


def test_a_counter_has_no_hash(on_face):
    def check(counter):
        with pytest.raises(TypeError, match="unhashable"):
            hash(counter)

    on_face(PersistentCounter(2), check)


def test_a_number_does_not_take_the_place_of_a_counter(on_face):
    def check(counter):
        root = {"hits": counter}
        with pytest.raises(TypeError, match=r"checkout\(counter\), then counter\.increment"):
            root["hits"] += 1
        with pytest.raises(TypeError, match=r"counter\.decrement"):
            root["hits"] -= 1
        with pytest.raises(NoSuchAttributeError, match=r"no setter of value: .*\.increment"):
            counter.value = 3
        assert root["hits"] is counter
        assert counter.value == 2

    on_face(PersistentCounter(2), check)


def test_two_counters_of_one_number_are_two_objects_to_the_database(database, again):
    one, other = PersistentCounter(5), PersistentCounter(5)
    database.set_root(PersistentDict(hits=one, pair=[one, one]))
    transaction.commit()
    root = database.root
    checkout(root)
    root["hits"] = other
    root["pair"][1] = other
    transaction.commit()

    checkout(root["hits"])
    root["hits"].increment()
    transaction.commit()

    stored = again().root
    assert stored["hits"] is stored["pair"][1]
    assert [counter.value for counter in stored["pair"]] == [5, 6]


def test_a_counter_is_stored(database, again):
    counter = stored(database, PersistentCounter(5))
    checkout(counter)
    counter.increment()
    transaction.commit()

    assert again().root.value == 6


@pytest.mark.parametrize("change", [PersistentCounter.increment, PersistentCounter.decrement])
@pytest.mark.parametrize("is_stored", [True, False])
def test_a_counter_is_read_only_until_it_is_checked_out(database, change, is_stored):
    counter = PersistentCounter(5)
    if is_stored:
        stored(database, counter)

    with pytest.raises(ReadOnlyError):
        change(counter)

    assert counter.value == 5


@pytest.mark.parametrize("value", ["1", None, [1], 1j, object()])
def test_what_is_no_number_is_refused(value):
    counter = opened(5)

    for refuse in (PersistentCounter, counter.increment, counter.decrement):
        with pytest.raises(TypeError):
            refuse(value)
    assert counter.value == 5


@pytest.mark.parametrize(
    "value", [float("inf"), float("nan"), Decimal("Infinity"), Decimal("NaN")]
)
def test_what_is_not_finite_is_refused(value):
    counter = opened(Decimal(5) if isinstance(value, Decimal) else 5)

    for refuse in (PersistentCounter, counter.increment, counter.decrement):
        with pytest.raises(ValueError, match="can't hold"):
            refuse(value)
    assert counter.value == 5


def test_a_sum_that_is_not_finite_is_refused():
    counter = opened(1.7e308)

    with pytest.raises(ValueError, match="can't hold"):
        counter.increment(1.7e308)

    assert counter.value == 1.7e308


def test_a_counter_counts_in_what_it_was_made_with():
    money, other = opened(Decimal("1.10")), opened(1)
    money.increment(Decimal("2.20"))
    money.increment(1)
    other.increment(0.5)
    other.increment(Fraction(1, 2))

    with pytest.raises(TypeError):
        money.increment(0.5)
    with pytest.raises(TypeError):
        other.increment(Decimal(1))

    assert money.value == Decimal("4.30")
    assert other.value == 2.0


def test_integers_of_any_size_are_counted_and_booleans_are_integers():
    counter = opened(10**400)
    counter.increment(10**400 > 1)

    assert counter.value == 10**400 + 1
    assert type(PersistentCounter(True).value) is int


def test_what_two_threads_add_adds_up(database, again):
    counter = stored(database, PersistentCounter(100))
    checkout(counter)
    counter.increment(5)

    in_other_transaction(lambda: (checkout(counter), counter.decrement(20)))
    assert counter.value == 105
    transaction.commit()

    assert counter.value == again().root.value == 85


def test_what_two_instances_add_adds_up(database, again):
    counter = stored(database, PersistentCounter(100))
    other = again()
    checkout(counter)
    counter.increment(5)

    other.transaction_manager.begin()
    checkout(other.root)
    other.root.increment(20)
    other.transaction_manager.commit()
    transaction.commit()

    assert counter.value == 125


def test_a_change_that_adds_up_to_nothing_conflicts_with_none(database):
    counter = stored(database, PersistentCounter())
    checkout(counter)
    counter.increment(3)
    counter.decrement(3)

    in_other_transaction(lambda: (checkout(counter), counter.increment()))
    transaction.commit()

    assert counter.value == 1


def test_a_transaction_that_has_only_read_what_it_has_checked_out_conflicts(database):
    counter = stored(database, PersistentCounter())
    checkout(counter)
    assert counter.value == 0

    in_other_transaction(lambda: (checkout(counter), counter.increment()))

    with pytest.raises(WriteConflictError):
        transaction.commit()
    transaction.abort()
    assert counter.value == 1


def test_an_attribute_beside_the_value_may_be_changed_by_one_of_two(database):
    counter = stored(database, Named("hits"))
    checkout(counter)
    counter.increment()
    counter.note = "mine"

    in_other_transaction(
        lambda: (checkout(counter), counter.increment(), setattr(counter, "name", "visits"))
    )
    transaction.commit()

    assert (counter.value, counter.name, counter.note) == (2, "visits", "mine")


def test_an_attribute_beside_the_value_that_both_change_is_a_conflict(database):
    counter = stored(database, Named("hits"))
    checkout(counter)
    counter.name = "mine"

    in_other_transaction(
        lambda: (checkout(counter), counter.increment(), setattr(counter, "name", "theirs"))
    )

    with pytest.raises(WriteConflictError):
        transaction.commit()
    transaction.abort()
    assert (counter.value, counter.name) == (1, "theirs")


def test_a_deleted_attribute_stays_deleted(database):
    counter = stored(database, Named("hits"))
    checkout(counter)
    del counter.name

    in_other_transaction(lambda: (checkout(counter), counter.increment()))
    transaction.commit()

    assert counter.value == 1
    assert not hasattr(counter, "name")


def test_an_increment_can_be_undone_after_others(database):
    counter = stored(database, PersistentCounter())
    for by in (1, 10, 100):
        checkout(counter)
        counter.increment(by)
        transaction.commit()
    middle = [record.tid for record in database.transactions()][2]

    database.undo(middle)
    transaction.commit()

    assert counter.value == 101


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-5, 5) | st.just("commit")), max_size=20))
def test_the_value_is_the_sum_of_what_was_committed(steps):
    managers = [transaction.TransactionManager() for _ in range(3)]
    base = MemoryLog()
    first = Database(base, transaction_manager=managers[0])
    first.set_root(PersistentCounter())
    managers[0].commit()
    databases = [first, *(Database(base.another(), transaction_manager=m) for m in managers[1:])]
    expected, pending = 0, [0, 0, 0]
    for who, step in steps:
        if step == "commit":
            managers[who].commit()
            expected += pending[who]
            pending[who] = 0
        else:
            checkout(databases[who].root)
            databases[who].root.increment(step)
            pending[who] += step
    for who in range(3):
        managers[who].commit()
        expected += pending[who]
    managers[0].begin()
    assert first.root.value == expected
    for database in databases:
        database.close()


# -- threads and processes -----------------------------------------------------------------


THREADS, TIMES = 4, 20


def count(path):
    """Increment in some threads: what a process of the test below does."""

    def run():
        for _ in range(TIMES):
            transaction.begin()
            hits = database.root["hits"]
            checkout(hits)
            hits.increment()
            transaction.commit()

    with Database(TransactionLog(path, sync=False)) as database:
        print("ready", flush=True)
        sys.stdin.readline()
        threads = [threading.Thread(target=run) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_eight_threads_in_two_processes_increment_one_counter_and_none_fails(database, path):
    database.set_root(PersistentDict(hits=PersistentCounter()))
    transaction.commit()
    program = "import sys; from tests import test_counter; test_counter.count(sys.argv[1])"
    processes = [
        start(
            [sys.executable, "-c", program, str(path)],
            cwd=ROOT,
            env=python_path(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate(timeout=60)[1] == b""
        assert process.returncode == 0

    transaction.begin()
    logged = list(database.transactions())
    assert database.root["hits"].value == 2 * THREADS * TIMES
    assert len(logged) == 1 + 2 * THREADS * TIMES
    assert not any(record.failed for record in logged)


def test_an_exclusive_checkout_is_in_conflict_with_what_would_add_up(database):
    counter = stored(database, PersistentCounter(99))
    checkout(counter, exclusive=True)
    if counter.value < 100:
        counter.increment()

    def other():
        checkout(counter)
        counter.increment()

    in_other_transaction(other)

    with pytest.raises(WriteConflictError):
        transaction.commit()

    transaction.abort()
    assert counter.value == 100
