"""New objects that are checked out: whose they are, and which transaction ends that."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
import transaction

from dobbin_like import (
    Database,
    PersistentDict,
    PersistentList,
    TransactionLog,
    checkout,
    is_checked_out,
    safe,
)
from dobbin_like.exc import CheckedOutElsewhereError, ReadOnlyError, SharedValueError
from tests.helpers.steps import Steps, in_thread
from tests.helpers.things import Thing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def root(database: Database) -> PersistentDict:
    root = PersistentDict(first=PersistentDict())
    database.set_root(root)
    transaction.commit()
    return root


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[Database]:
    """Another database, with a transaction manager of its own."""
    manager = transaction.TransactionManager()
    storage = TransactionLog(tmp_path / "audit.log", sync=False)
    with Database(storage, transaction_manager=manager) as audit:
        audit.set_root(PersistentDict())
        manager.commit()
        yield audit
        manager.abort()


@pytest.fixture
def new() -> Thing:
    """A new object that is checked out, and changed."""
    new = Thing(x=0)
    checkout(new)
    new.x = 1
    return new


def test_the_end_of_a_transaction_of_another_manager_changes_nothing(root, audit, new):
    for end in (audit.transaction_manager.commit, audit.transaction_manager.abort):
        checkout(audit.root)
        audit.root["n"] = 1
        end()
        new.x += 1

    assert new.x == 3


def test_the_end_of_its_own_transaction_ends_the_checkout(root, audit, new):
    transaction.abort()

    with pytest.raises(ReadOnlyError):
        new.x = 2


def test_a_rollback_of_another_manager_changes_nothing(root, audit, new):
    checkout(audit.root)
    savepoint = audit.transaction_manager.savepoint()
    new.x = 2
    other = Thing(y=1)
    checkout(other)
    other.y = 2

    savepoint.rollback()

    assert (new.x, other.y) == (2, 2)
    new.x = 3
    other.y = 3


def test_a_safe_changes_nothing(root, tmp_path, new):
    with safe.open(tmp_path / "kept.safe") as kept:
        new.x = 2
        kept["a"] = 1
        new.x = 3
        with kept.transaction():
            kept["b"] = 1
            new.x = 4
            with suppress(KeyError), kept.transaction():
                new.x = 5
                del kept["missing"]

    assert new.x == 5
    new.x = 6


def test_an_explicit_transaction_that_was_not_begun_ends_nothing(tmp_path):
    """The thread uses no other database: the object belongs to no transaction."""

    def work():
        with safe.open(tmp_path / "kept.safe") as kept:
            new = Thing(x=0)
            checkout(new)
            kept["a"] = 1
            new.x = 1
            return new.x

    assert in_thread(work) == 1


def test_a_new_object_may_be_stored_by_another_manager(root, audit, new):
    checkout(audit.root)
    audit.root["new"] = new
    audit.transaction_manager.commit()

    with pytest.raises(ReadOnlyError):
        new.x = 2
    transaction.abort()
    assert new.x == 1
    assert audit.root["new"] is new


def test_two_databases_of_one_manager_end_the_checkout_together(root, tmp_path, new):
    with Database(TransactionLog(tmp_path / "second.log", sync=False)) as second:
        assert second.root is None
        other = Thing(y=0)
        checkout(other)

        transaction.abort()

        for obj in (new, other):
            with pytest.raises(ReadOnlyError):
                obj.x = 2


def test_a_rollback_leaves_alone_what_another_thread_has_stored(database, root, again):
    new = Thing(x="new")
    steps = Steps()

    @steps.thread
    def other():
        with steps[0]:
            checkout(database.root["first"])
            early = transaction.savepoint()
            checkout(new)
            new.x = "changed"
            late = transaction.savepoint()
        with steps[2]:
            late.rollback()
            assert new.x == "changed"
            early.rollback()
            assert new.x == "changed"
            transaction.abort()

    with steps[1]:
        checkout(root)
        root["new"] = new
        transaction.commit()
    steps.join()

    assert new.x == "changed"
    assert type(new) is Thing
    assert again().root["new"].x == "changed"


@pytest.mark.parametrize("make", [lambda: Thing(x=1), lambda: PersistentDict(x=1)])
def test_a_new_object_that_is_checked_out_is_that_of_its_thread(database, make):
    new = make()
    refused = (ReadOnlyError, SharedValueError)
    is_dict = isinstance(new, PersistentDict)
    change = partial(new.__setitem__, "x") if is_dict else partial(setattr, new, "x")
    database.root  # noqa: B018  The thread has a transaction.
    transaction.begin()
    checkout(new)
    change(2)

    def other():
        assert not is_checked_out(new)
        with pytest.raises(refused):
            change(3)
        with pytest.raises(CheckedOutElsewhereError, match="another thread or task"):
            checkout(new)
        return new["x"] if is_dict else new.x

    assert in_thread(other) == 2
    assert is_checked_out(new)
    change(4)
    transaction.abort()

    def later():
        checkout(new)
        change(5)
        assert is_checked_out(new)

    in_thread(later)
    assert not is_checked_out(new)
    with pytest.raises(refused):
        change(6)


def test_of_those_that_check_out_a_new_object_at_once_one_has_it(database):
    """Each has a transaction, which goes on until all have tried."""
    for _ in range(50):
        new, outcomes = Thing(x=0), []
        begun, tried = threading.Barrier(4), threading.Barrier(4)

        def work(new=new, outcomes=outcomes, begun=begun, tried=tried):
            database.root  # noqa: B018
            transaction.begin()
            begun.wait(30)
            try:
                checkout(new)
                outcomes.append("has it")
                tried.wait(30)
                new.x += 1
            except CheckedOutElsewhereError:
                outcomes.append("refused")
                tried.wait(30)
            transaction.abort()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["has it", "refused", "refused", "refused"]
        assert new.x == 1


def test_who_has_no_transaction_hands_a_new_object_on(database):
    """Nothing would end the checkout. The other thread has to check it out."""
    made = []

    def make():
        new = Thing(x=1)
        checkout(new)
        new.x = 2
        made.append(new)

    in_thread(make)
    with pytest.raises(ReadOnlyError, match="checked out by another"):
        made[0].x = 3
    checkout(made[0])
    made[0].x = 3
    assert made[0].x == 3


def test_a_constructor_may_check_out_its_object(database):
    class Made(Thing):
        def __init__(self):
            checkout(self)
            self.x = 1

    made = Made()
    with pytest.raises(ReadOnlyError):
        made.x = 2


def test_a_new_object_has_its_own_copies_of_the_values_of_another_one(root):
    checkout(root)
    root["tags"] = ["a"]
    transaction.commit()

    tags, kept = root["tags"], ["mine"]
    new = Thing(tags=tags, inside=[{0: tags}], kept=kept)
    checkout(new)
    new.tags.append("b")
    new.inside[0][0].append("c")
    kept.append("too")
    items, by_name = PersistentList([tags]), PersistentDict(tags=tags)
    checkout(root, items, by_name)
    items[0].append("d")
    by_name["tags"].append("e")
    root.update(new=new, items=items, by_name=by_name)
    transaction.commit()
    assert root["tags"] == ["a"]
    assert new.tags == ["a", "b", "c"]
    assert new.inside[0][0] is new.tags
    assert new.kept == ["mine", "too"]
    assert (items[0], by_name["tags"]) == (["a", "d"], ["a", "e"])


# -- savepoints of transactions in which no database takes part yet --------------------------


@pytest.fixture(params=["begun", "not begun"])
def under_way(request, root):
    """A transaction, or none: the first use makes one."""
    if request.param == "begun":
        transaction.begin()


def test_a_savepoint_takes_back_what_is_done_to_new_objects(under_way, root, again):
    new, items = Thing(x=1), PersistentList([1])
    savepoint = transaction.savepoint()
    checkout(new, items)
    new.x = 2
    items.append(2)
    later = transaction.savepoint()
    new.x = 3
    items.append(3)

    later.rollback()
    assert (new.x, items) == (2, [1, 2])
    savepoint.rollback()
    assert (new.x, items) == (1, [1])
    with pytest.raises(ReadOnlyError):
        new.x = 4

    checkout(new, root)
    new.x = 5
    root["new"] = new
    transaction.commit()
    assert again().root["new"].x == 5


def test_a_new_object_checked_out_before_a_savepoint_stays_so(under_way, root, again):
    new = Thing(x=1)
    checkout(new)
    new.x = 2
    savepoint = transaction.savepoint()
    for _ in range(2):
        new.x = 3
        savepoint.rollback()
        assert new.x == 2
    new.x = 4
    checkout(root)
    root["new"] = new
    savepoint.rollback()
    assert (new.x, "new" in root) == (2, False)
    checkout(root)
    root["new"] = new
    transaction.commit()
    assert again().root["new"].x == 2


def test_a_database_that_joins_after_the_savepoint_is_rolled_back_with_new_objects(
    under_way, root, again
):
    new = Thing(x=1)
    savepoint = transaction.savepoint()
    checkout(root, new)
    root["new"] = new
    new.x = 2
    savepoint.rollback()

    assert (new.x, "new" in root) == (1, False)
    transaction.commit()
    assert "new" not in again().root


def test_a_savepoint_of_a_thread_whose_databases_are_closed_is_an_ordinary_one(path):
    manager = transaction.TransactionManager()
    with Database(path, transaction_manager=manager) as database:
        database.set_root(Thing(x=1))
        manager.commit()
    del database

    new = Thing(x=1)
    savepoint = manager.savepoint()
    checkout(new)
    new.x = 2
    savepoint.rollback()
    assert new.x == 2


def test_a_savepoint_of_another_manager_leaves_new_objects_alone(root, audit, new):
    savepoint = audit.transaction_manager.savepoint()
    new.x = 2
    savepoint.rollback()
    assert new.x == 2


def test_a_task_takes_back_its_own_new_objects(root, new):
    database = root._p_jar
    made = Thing(x=1)

    async def work():
        async with database.transaction():
            savepoint = database.transaction_manager.savepoint()
            assert savepoint is not None
            checkout(made)
            made.x = 2
            with suppress(KeyError):
                async with database.transaction():
                    made.x = 3
                    raise KeyError
            return made.x

    assert asyncio.run(work()) == 2
    assert new.x == 1
