"""Indexes: what is in them, who keeps them, what they refuse."""

from __future__ import annotations

import asyncio
import copy
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections import UserList
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from pickle import dumps, loads
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

import pytest
import transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from transaction.interfaces import TransientError

from dobbin_like import exc
from dobbin_like.check import check_database
from dobbin_like.database import Database
from dobbin_like.indexes import above, at_least, at_most, below, between, one_of, starts_with
from dobbin_like.indexes.kept import definition
from dobbin_like.indexes.kept.catalog import entry_of, key_of
from dobbin_like.indexes.kept.sortable import sortable
from dobbin_like.persistent import Persistent, PersistentDict, PersistentList, checkout
from dobbin_like.storages.memory import MemoryLog
from dobbin_like.upkeep.pack import pack_file
from tests.helpers.accounts import Account, Kind, Other, Savings, last_name
from tests.helpers.interrupts import interrupted
from tests.helpers.processes import in_child, python_path, start

fork = multiprocessing.get_context("fork")


@pytest.fixture
def bank(database):
    """The root, which has an account for each of some owners."""
    names = enumerate(("Ada Lovelace", "Bob", "Ada King", "Cleo"))
    bank = PersistentDict({n: Account(owner=owner, balance=10 * n) for n, owner in names})
    database.set_root(bank)
    transaction.commit()
    return bank


def add(bank: Any, key: Any, **attributes: Any) -> Account:
    checkout(bank)
    bank[key] = Account(**attributes)
    transaction.commit()
    return bank[key]


def change(obj: Any, **attributes: Any) -> None:
    checkout(obj)
    for name, value in attributes.items():
        setattr(obj, name, value)


def owners(found: Any) -> list[str]:
    return sorted(each.owner for each in found)


# -- finding ----------------------------------------------------------------------


def test_what_is_there_and_what_comes_is_found(database, bank):
    database.index(Account, "owner")
    new = add(bank, "new", owner="Dan", balance=1)

    assert database.find(Account, owner="Dan").first() is new
    assert database.find(Account, owner="Cleo").first() is bank[3]
    assert database.find(Account, owner="Eve").first() is None
    assert "index tests.helpers.accounts.Account(owner): owner 'Dan'" in (
        database.find(Account, owner="Dan").explain()
    )


def test_a_change_moves_an_object_and_a_missing_attribute_takes_it_out(database, bank):
    database.index(Account, "owner")
    change(bank[1], owner="Dan")
    transaction.commit()
    assert not list(database.find(Account, owner="Bob"))
    assert database.find(Account, owner="Dan").first() is bank[1]

    checkout(bank[1])
    del bank[1].owner
    transaction.commit()
    assert not list(database.find(Account, owner="Dan"))
    assert database.indexes()[0].entries == 3


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (20, [20]),
        (between(10, 20), [10, 20]),
        (above(10), [20, 30]),
        (at_least(10), [10, 20, 30]),
        (below(10), [0]),
        (at_most(10), [0, 10]),
        (one_of(30, 0, 5), [0, 30]),
        (one_of(), []),
        (between(20, 10), []),
        (None, [None]),
        ("text", ["text"]),
        (starts_with("te"), ["text"]),
        (starts_with(""), ["\U0010ffffz", "text"]),
        (starts_with("\U0010ffff"), ["\U0010ffffz"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("indexed", [True, False])
def test_a_condition_finds_the_same_with_and_without_an_index(
    database, bank, asked, expected, indexed
):
    for key, value in enumerate((None, "text", "\U0010ffffz")):
        add(bank, -key, balance=value)
    add(bank, "none")
    if indexed:
        database.index(Account, "balance")

    found = [each.balance for each in database.find(Account, balance=asked, order_by="balance")]

    assert sorted(found, key=str) == sorted(expected, key=str)
    ordered = [each for each in found if type(each) is int]
    assert ordered == sorted(ordered)


NOON = datetime(2026, 1, 1, 12)
VALUES = [
    None, True, 0, -1, 1.5, Decimal("0.1"), 10**30, "", "a", "b", b"", b"x",
    date(2026, 1, 1), NOON, NOON.replace(tzinfo=UTC),
    NOON.replace(tzinfo=timezone(timedelta(hours=1))), timedelta(1), UUID(int=7), Kind.SHARED,
    Kind.PRIVATE, (), (1, "a"), ("a", 1), (None,),
]  # fmt: skip


def test_values_of_all_types_are_in_one_order_and_found(database):
    database.set_root(PersistentList([Account(value=value) for value in VALUES]))
    transaction.commit()
    scanned = list(database.find(Account, order_by="value"))
    database.index(Account, "value")

    assert list(database.find(Account, order_by="value")) == scanned
    assert list(database.find(Account, order_by="value", reverse=True)) == scanned[::-1]
    assert len(scanned) == len(VALUES)
    for obj in database.root:
        assert list(database.find(Account, value=obj.value)) == [obj]


def test_equal_values_are_one_key(database):
    database.set_root(PersistentList([Account(value=value) for value in (1, 1.0, True)]))
    transaction.commit()
    database.index(Account, "value")

    assert len(list(database.find(Account, value=Decimal(1)))) == 3


def test_an_object_is_found_by_one_that_it_refers_to(database, bank):
    for number in range(3):
        add(bank, f"n{number}", friend=bank[number % 2])
    database.index(Account, "friend")

    assert len(list(database.find(Account, friend=bank[0]))) == 2
    assert list(database.find(Account, friend=Account())) == []
    change(bank["n0"], friend=bank[1])
    transaction.commit()
    assert list(database.find(Account, friend=bank[0])) == [bank["n2"]]


def test_subclasses_are_in_the_index_of_their_base_class_and_others_are_not(database, bank):
    database.index(Account, "owner")
    checkout(bank)
    bank["s"], bank["o"] = Savings(owner="Bob"), Other("Bob")
    transaction.commit()

    assert len(list(database.find(Account, owner="Bob"))) == 2
    assert list(database.find(Savings, owner="Bob")) == [bank["s"]]
    assert "no index fits" in database.find(Other, owner="Bob").explain()
    assert list(database.find(Other, owner="Bob")) == [bank["o"]]


def test_the_index_that_leads_to_fewest_objects_is_taken(database, bank):
    database.index(Account, "owner")
    database.index(Account, "balance")
    for number in range(50):
        checkout(bank)
        bank[f"x{number}"] = Account(owner="Ada", balance=number)
    transaction.commit()

    found = database.find(Account, owner="Ada", balance=between(7, 8), order_by="owner")

    assert found.explain() == (
        "index tests.helpers.accounts.Account(balance): balance between(7, 8); checks owner; "
        "sorts by owner"
    )
    assert [each.balance for each in found] == [7, 8]
    assert "(owner)" in database.find(Account, owner="Bob", balance=at_least(0)).explain()


def test_an_index_over_several_attributes_serves_those_who_ask_for_all(database, bank):
    database.index(Account, "owner", "balance")
    add(bank, "x", owner="Bob", balance=5)
    add(bank, "no balance", owner="Bob")

    found = database.find(Account, owner="Bob", order_by="balance")
    assert found.explain().endswith("(owner, balance): owner 'Bob'; in the order of balance")
    assert [each.balance for each in found] == [5, 10]
    assert list(database.find(Account, owner="Bob", balance=above(5))) == [bank[1]]
    assert "no index fits" in database.find(Account, owner="Bob").explain()
    assert len(list(database.find(Account, owner="Bob"))) == 3
    many = database.find(Account, owner=one_of("Bob", "Cleo"), balance=at_least(10))
    assert owners(many) == ["Bob", "Cleo"]


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_order_and_limit_with_own_changes(database, bank, indexed, reverse):
    if indexed:
        database.index(Account, "balance")
    change(bank[0], balance=25)
    checkout(bank)
    bank["new"] = Account(owner="New", balance=15)

    found = database.find(Account, order_by="balance", reverse=reverse, limit=3)

    expected = [10, 15, 20, 25, 30]
    assert [each.balance for each in found] == (expected[::-1] if reverse else expected)[:3]
    with pytest.raises(ValueError, match="limit is -1"):
        database.find(Account, limit=-1)


def test_a_property_and_a_default_of_the_class_are_attributes(database, bank):
    database.index(Account, "initial")

    assert owners(database.find(Account, initial="A")) == ["Ada King", "Ada Lovelace"]
    change(bank[0], owner="Zoe")
    transaction.commit()
    assert owners(database.find(Account, initial=one_of("A", "Z"))) == ["Ada King", "Zoe"]


# -- what a thread sees ---------------------------------------------------------------


def test_a_transaction_finds_what_it_has_changed_and_made(database, bank):
    database.index(Account, "owner")
    change(bank[0], owner="Eve")
    checkout(bank)
    bank["deep"] = PersistentList([{"of": Account(owner="Eve")}])

    assert len(list(database.find(Account, owner="Eve"))) == 2
    assert list(database.find(Account, owner="Ada Lovelace")) == []
    transaction.abort()
    assert list(database.find(Account, owner="Eve")) == []
    assert list(database.find(Account, owner="Ada Lovelace")) == [bank[0]]


@dataclass
class Line:
    of: object


@dataclass(slots=True)
class Slots:
    of: object


class Pair(NamedTuple):
    n: int
    of: object


class Picky:
    def __init__(self, of):
        _HIDDEN.append(of)

    def __getstate__(self):
        return {"of": _HIDDEN[-1]}


_HIDDEN: list[object] = []


@dataclass
class Half(Slots):
    n: int = 1


class Shelf(list):
    def __init__(self, of):
        super().__init__([of])
        self.n = 1


class Bad:
    def __init__(self, of):
        self.of, self.bad = of, lambda: None


AROUND = {
    "dataclass": Line,
    "slots": lambda of: [Slots({"deep": Slots(of)})],
    "named tuple": lambda of: Pair(1, [of]),
    "namespace": lambda of: SimpleNamespace(of=of),
    "user list": lambda of: UserList([of]),
    "slice": lambda of: slice(of, None),
    "of a new object": lambda of: PersistentDict(a=Line(Account(owner="Other", of=Line(of)))),
    "collection": lambda of: PersistentList([Line(of)]),
    "beside a dict": lambda of: [Picky(of), Line(1)],
    "slots of a base": Half,
    "list of its own": Shelf,
    "beside what is refused": lambda of: [Bad(1), Line(of), Bad(2)],
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("indexed", [False, True])
def test_a_transaction_finds_what_it_has_made_in_a_value(database, bank, around, indexed):
    if indexed:
        database.index(Account, "owner")
    checkout(bank)
    made = Account(owner="Eve")
    bank["value"] = AROUND[around](made)

    assert list(database.find(Account, owner="Eve")) == [made]
    transaction.abort()
    assert list(database.find(Account, owner="Eve")) == []


def test_a_search_does_not_pickle_values_that_lead_to_nothing(database, bank, monkeypatch):
    checkout(bank)
    bank["lines"] = [Line(1), Line("text"), Line(None), Line(1.5)]
    monkeypatch.setattr("dobbin_like.indexes.search.CopyPickler", None)

    assert list(database.find(Account, owner="Eve")) == []


def test_a_savepoint_takes_back_what_is_found_and_what_is_kept(database, bank):
    database.index(Account, "owner")
    change(bank[0], owner="Eve")
    point = transaction.savepoint()
    change(bank[0], owner="Zoe")
    point.rollback()

    assert list(database.find(Account, owner="Eve")) == [bank[0]]
    transaction.commit()
    assert list(database.find(Account, owner="Eve")) == [bank[0]]
    assert list(database.find(Account, owner="Zoe")) == []


def test_a_snapshot_has_the_entries_of_its_objects(database, bank, again):
    database.index(Account, "owner")
    reader = again(transaction_manager=transaction.TransactionManager())
    reader.transaction_manager.begin()
    before = reader.find(Account, owner="Bob").first()
    change(bank[1], owner="Dan")
    transaction.commit()

    assert reader.find(Account, owner="Bob").first() is before
    assert reader.find(Account, owner="Dan").first() is None
    reader.transaction_manager.begin()
    assert reader.find(Account, owner="Dan").first() is before


def test_the_past_has_the_indexes_of_then(database, bank):
    database.index(Account, "owner")
    then = database.tid
    change(bank[1], owner="Dan")
    transaction.commit()
    database.drop_index(Account, "owner")

    with database.at(then) as past:
        found = past.find(Account, owner="Bob")
        assert "index tests" in found.explain()
        assert found.first()._p_oid == bank[1]._p_oid
    assert "no index" in database.find(Account, owner="Bob").explain()


def test_threads_find_while_others_commit(database, bank):
    database.index(Account, "owner")
    database.index(Account, "balance")
    wrong: list[Any] = []

    def look() -> None:
        for _ in range(60):
            transaction.begin()
            for obj in database.find(Account, balance=at_least(0), order_by="balance"):
                if database.find(Account, owner=obj.owner).first() is not obj:
                    wrong.append(obj)
        transaction.abort()

    in_threads(*(partial(move, bank[number], number, 30) for number in range(3)), look, look)

    transaction.begin()
    assert not wrong
    assert owners(database.find(Account, balance=29)) == ["0 29", "1 29", "2 29"]


def move(obj: Any, number: int, turns: int) -> None:
    for turn in range(turns):
        change(obj, owner=f"{number} {turn}", balance=turn)
        transaction.commit()


def in_threads(*functions: Any) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_whose_commits_are_synced_together_write_the_same_entries(path):
    """What the one before has appended is not visible yet; it is waited for."""
    with Database(path) as db:
        db.set_root(PersistentDict({n: Account(owner=n, balance=0) for n in range(5)}))
        transaction.commit()
        db.index(Account, "owner")
        db.index(Account, "balance")
        accounts = list(db.root.values())
        in_threads(*(partial(move, obj, n, 12) for n, obj in enumerate(accounts)))
        transaction.begin()

        assert len(list(db.find(Account, balance=11))) == 5
        assert check_database(db).ok
        transaction.abort()


@pytest.mark.slow
def test_indexes_come_and_go_while_threads_commit(path):
    with Database(path) as db:
        db.set_root(PersistentDict({n: Account(owner=n, balance=0) for n in range(4)}))
        transaction.commit()

        def make_and_drop() -> None:
            for _ in range(6):
                db.index(Account, "balance")
                db.index(Account, "owner")
                db.drop_index(Account, "balance")
                db.drop_index(Account, "owner")
            db.index(Account, "balance")

        movers = (partial(move, obj, n, 12) for n, obj in enumerate(list(db.root.values())))
        in_threads(make_and_drop, *movers)
        transaction.begin()

        assert len(list(db.find(Account, balance=11))) == 4
        assert check_database(db).ok
        transaction.abort()


# -- who keeps it --------------------------------------------------------------------------


def test_another_process_that_knows_nothing_of_it_keeps_it(database, bank, path):
    database.index(Account, "owner")
    database.index(Account, "balance", unique=True)

    def elsewhere() -> Any:
        with Database(path, transaction_manager=transaction.TransactionManager()) as other:
            with other.transaction() as root:
                change(root[1], owner="Dan", balance=99)
            try:
                with other.transaction() as root:
                    change(root[2], balance=99)
            except exc.UniqueError as error:
                return error.index, error.key

    assert in_child(elsewhere) == ("tests.helpers.accounts.Account(balance)", "99")
    transaction.begin()
    assert list(database.find(Account, owner="Dan", balance=99)) == [bank[1]]


def test_one_that_is_made_elsewhere_is_kept_by_those_who_are_open(database, bank, again):
    other = again()
    assert other.root[1].owner == "Bob"
    other.index(Account, "owner")
    change(bank[1], owner="Dan")  # In a snapshot from before.
    transaction.commit()
    other.drop_index(Account, "owner")
    other.index(Account, "balance")
    change(bank[2], owner="Eve", balance=7)
    transaction.commit()

    assert list(database.find(Account, balance=7)) == [bank[2]]
    check_database(database).raise_if_bad()


def test_merged_and_replayed_changes_are_in_it(database, bank, again):
    database.index(Account, "owner")
    other = again()
    with other.transaction() as root:
        checkout(root)
        root["theirs"] = Account(owner="Eve")
    checkout(bank)
    bank["mine"] = Account(owner="Zoe")
    transaction.commit()

    assert owners(database.find(Account, owner=at_least("E"))) == ["Eve", "Zoe"]


def test_transactions_that_change_other_objects_do_not_conflict(database, bank, again):
    """They write to the same node of the same index."""
    database.index(Account, "owner")
    other = again()
    transaction.begin()
    change(bank[1], owner="Dan")
    with other.transaction() as root:
        change(root[2], owner="Eve")
    transaction.commit()

    assert owners(database.find(Account, owner=starts_with(""))) == [
        "Ada Lovelace", "Cleo", "Dan", "Eve",
    ]  # fmt: skip


def test_an_undo_of_a_change_is_in_it(database, bank):
    database.index(Account, "owner")
    change(bank[1], owner="Dan")
    transaction.commit()
    tid = bank[1]._p_serial
    change(bank[2], owner="Eve")
    transaction.commit()
    database.undo(tid)
    transaction.commit()

    assert list(database.find(Account, owner="Bob")) == [bank[1]]
    assert list(database.find(Account, owner="Dan")) == []


def test_an_index_is_not_undone(database, bank):
    database.index(Account, "owner")
    made = database.tid
    database.index(Account, "balance")
    for tid in (made, database.tid):
        with pytest.raises(exc.UndoError, match="made or dropped an index"):
            database.undo(tid)
    transaction.abort()
    assert len(database.indexes()) == 2


class Forgetful(Persistent):
    """A root that makes something of its own state."""

    @staticmethod
    def _p_resolve_conflict(old, saved, new):
        return {"accounts": saved["accounts"], "count": saved["count"] + 1}


def test_no_code_of_the_root_loses_the_indexes(database, again):
    root = Forgetful()
    checkout(root)
    root.accounts, root.count = [Account(owner="Bob")], 0
    database.set_root(root)
    transaction.commit()
    database.index(Account, "owner")
    other = again()
    change(root, count=1)
    with other.transaction() as theirs:
        change(theirs, count=1)
    transaction.commit()
    checkout(root)
    vars(root).pop("_p_indexes")
    root.count = 7
    transaction.commit()

    assert root.count == 7
    assert "index tests" in database.find(Account, owner="Bob").explain()
    assert "index tests" in again().find(Account, owner="Bob").explain()


def test_a_migration_of_the_root_keeps_the_indexes(database, again, monkeypatch):
    root = Forgetful()
    checkout(root)
    root.accounts = [Account(owner="Bob")]
    database.set_root(root)
    transaction.commit()
    database.index(Account, "owner")
    database.close()
    monkeypatch.setattr(Forgetful, "_p_version", 1)
    migrate = staticmethod(lambda state, _version: {"accounts": state["accounts"]})
    monkeypatch.setattr(Forgetful, "_p_migrate", migrate, raising=False)

    with again() as other:
        assert "index tests" in other.find(Account, owner="Bob").explain()
        assert other.migrate(Forgetful) == 1
    with again() as other:
        assert "index tests" in other.find(Account, owner="Bob").explain()
        assert other.find(Account, owner="Bob").first() is other.root.accounts[0]


# -- unique keys ---------------------------------------------------------------------------


def test_a_key_that_is_taken_is_refused_and_nothing_is_written(database, bank):
    database.index(Account, "balance", unique=True)
    change(bank[1], balance=20, owner="Dan")
    with pytest.raises(exc.UniqueError) as caught:
        transaction.commit()
    transaction.abort()

    assert type(caught.value) is exc.UniqueError
    assert caught.value.args == (
        "Account", bank[1]._p_oid, "tests.helpers.accounts.Account(balance)", "20", bank[2]._p_oid,
    )  # fmt: skip
    assert (bank[1].balance, bank[1].owner) == (10, "Bob")
    assert list(database.find(Account, balance=20)) == [bank[2]]


def test_keys_can_be_swapped_and_two_new_ones_can_not_be_the_same(database, bank):
    database.index(Account, "balance", unique=True)
    change(bank[1], balance=20)
    change(bank[2], balance=10)
    transaction.commit()
    assert list(database.find(Account, balance=10)) == [bank[2]]

    checkout(bank)
    bank["x"], bank["y"] = Account(balance=7), Account(balance=7)
    with pytest.raises(exc.UniqueError):
        transaction.commit()
    transaction.abort()


def test_one_of_two_who_take_a_key_at_once_is_told_to_look_again(database, bank, again):
    database.index(Account, "owner", unique=True)
    other = again()
    transaction.begin()
    assert database.find(Account, owner="Eve").first() is None
    with other.transaction() as root:
        checkout(root)
        root["eve"] = Account(owner="Eve")
    checkout(bank)
    bank["mine"] = Account(owner="Eve")
    with pytest.raises(exc.UniqueConflictError):
        transaction.commit()
    transaction.abort()

    assert database.find(Account, owner="Eve").first() is bank["eve"]


def get_or_make(path: Any, names: list[str]) -> None:
    with Database(path, sync=False) as db:

        def once(name: str) -> None:
            if db.find(Account, owner=name).first() is None:
                checkout(db.root)
                db.root[os.getpid(), name] = Account(owner=name)

        for name in names:
            db.run(lambda name=name: once(name))


@pytest.mark.slow
def test_processes_agree_who_has_a_unique_key(database, bank, path):
    database.index(Account, "owner", unique=True)
    names = [f"name {number}" for number in range(12)]
    children = [fork.Process(target=get_or_make, args=(path, names)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)

    assert [child.exitcode for child in children] == [0, 0, 0]
    transaction.begin()
    assert sorted(each.owner for each in bank.values())[-12:] == sorted(names)


def test_a_unique_index_of_what_is_not_unique_is_not_made(database, bank):
    add(bank, "x", owner="Bob")
    with pytest.raises(exc.UniqueError):
        database.index(Account, "owner", unique=True)
    assert database.indexes() == []


# -- what is gone --------------------------------------------------------------------------


def test_what_is_discarded_is_in_no_index_and_frees_its_key(database, bank):
    database.index(Account, "owner", unique=True)
    bob = bank[1]
    checkout(bank)
    del bank[1]
    database.discard(bob)
    assert list(database.find(Account, owner="Bob")) == []
    transaction.commit()
    assert list(database.find(Account, owner="Bob")) == []
    new = add(bank, "new", owner="Bob")
    change(bob, owner="Dan")
    transaction.commit()

    assert list(database.find(Account, owner="Bob")) == [new]
    assert list(database.find(Account, owner="Dan")) == []
    assert list(database.find(Account, balance=10)) == []
    with pytest.raises(exc.NotPersistentError):
        database.discard("x")


def test_what_is_discarded_and_still_led_to_is_found_again_as_a_copy(database, bank):
    database.index(Account, "owner", unique=True)
    database.discard(bank[1])
    transaction.commit()
    database.pack()
    change(bank[1], balance=7)
    transaction.commit()
    assert bank[1].owner == "Bob"
    assert not database.find(Account, owner="Bob")
    assert not database.find(Account, balance=7)

    checkout(bank)
    bank[1] = copy.copy(bank[1])
    transaction.commit()
    assert database.find(Account, owner="Bob", balance=7).first() is bank[1]


def test_what_a_pack_has_dropped_is_not_found_and_frees_its_key(database, bank):
    database.index(Account, "owner", unique=True)
    checkout(bank)
    del bank[1]
    transaction.commit()
    assert len(list(database.find(Account, owner="Bob"))) == 1  # As by instances().
    database.pack()
    transaction.begin()

    assert list(database.find(Account, owner="Bob")) == []
    assert database.indexes()[0].entries == 3
    new = add(bank, "new", owner="Bob")
    assert list(database.find(Account, owner="Bob")) == [new]


def test_entries_of_what_was_dropped_are_passed_over_until_they_are_taken_out(database, bank):
    """The process that packs may be killed in between."""
    database.index(Account, "owner", unique=True)
    checkout(bank)
    del bank[1]
    transaction.commit()
    transaction.abort()
    pack_file(database.storage.path)
    transaction.begin()

    assert database.indexes()[0].entries == 4
    assert list(database.find(Account, owner="Bob")) == []
    new = add(bank, "new", owner="Bob")
    assert list(database.find(Account, owner="Bob")) == [new]
    assert database.indexes()[0].entries == 4


def test_a_pack_empties_whole_leaves_in_the_middle_of_a_transaction(database):
    database.set_root(PersistentDict({n: Account(number=n) for n in range(2000)}))
    transaction.commit()
    database.index(Account, "number", unique=True)
    root = database.root
    checkout(root)
    for number in range(200, 1800):
        del root[number]
    transaction.commit()
    change(root[0], number=-1)
    database.pack()

    found = database.find(Account, order_by="number")
    assert [each.number for each in found] == [-1, *range(1, 200), *range(1800, 2000)]
    transaction.commit()
    assert database.indexes()[0].entries == 400
    for number in range(200, 1800, 2):
        checkout(root)
        root[number] = Account(number=number)
    transaction.commit()
    backward = [each.number for each in database.find(Account, order_by="number", reverse=True)]
    assert backward == sorted(backward, reverse=True)
    assert len(backward) == 1200


def test_what_is_stored_again_after_a_pack_is_found_again(database, bank):
    database.index(Account, "owner", unique=True)
    bob = bank[1]
    checkout(bank)
    del bank[1]
    transaction.commit()
    database.pack()
    add(bank, "new", owner="Bob")  # Takes the key, and the entry.
    change(bob, owner="Rob")
    checkout(bank)
    bank["old"] = bob
    transaction.commit()

    assert list(database.find(Account, owner="Rob")) == [bob]
    checkout(bank)
    del bank["old"]
    transaction.commit()
    database.pack()
    checkout(bank)
    bank["old"] = bob
    transaction.commit()
    assert list(database.find(Account, owner="Rob")) == [bob]


def test_an_index_outlives_packs_and_copies(database, bank, tmp_path):
    database.index(Account, "owner")
    database.pack()
    database.snapshot(tmp_path / "copy.log")
    manager = transaction.TransactionManager()
    with Database(tmp_path / "copy.log", transaction_manager=manager) as copied:
        assert "index tests" in copied.find(Account, owner="Bob").explain()
        assert copied.find(Account, owner="Bob").first().balance == 10
        manager.abort()
        check_database(copied).raise_if_bad()


# -- functions -----------------------------------------------------------------------------


@pytest.fixture
def _forgotten():
    yield
    definition.given.clear()


@pytest.mark.usefixtures("_forgotten")
def test_a_function_is_asked_by_its_name(database, bank):
    database.index(Account, last_name)
    add(bank, "nameless", balance=3)

    assert database.indexes()[0].function == "tests.helpers.accounts.last_name"
    assert list(database.find(Account, last_name="King")) == [bank[2]]
    change(bank[2], owner="Ada Byron")
    assert list(database.find(Account, last_name="Byron")) == [bank[2]]
    transaction.commit()
    assert list(database.find(Account, last_name=starts_with("B"), order_by="last_name")) == [
        bank[1], bank[2],
    ]  # fmt: skip
    database.drop_index(Account, last_name)
    assert database.indexes() == []


@pytest.mark.usefixtures("_forgotten")
def test_a_program_without_the_function_can_not_commit_such_objects(database, bank, again):
    database.index(Account, last_name)
    definition.given.clear()
    other = again()
    with pytest.raises(exc.IndexFunctionError, match="last_name"), other.transaction() as root:
        change(root[1], owner="Dan")
    with other.transaction() as root:
        checkout(root)
        root["other"] = Other("Dan")
    allowing = again(allow=["tests.helpers.accounts.last_name"])
    with allowing.transaction() as root:
        change(root[1], owner="Dan")
    assert "was not compared" in str(check_database(database))
    database.index(Account, last_name)
    transaction.begin()

    assert list(database.find(Account, last_name="Dan")) == [bank[1]]


@pytest.mark.parametrize("function", [lambda obj: 1, PersistentDict.get, 3])
def test_a_function_has_to_have_a_name(database, bank, function):
    with pytest.raises(exc.IndexDefinitionError, match="function"):
        database.index(Account, function)


# -- making and dropping -----------------------------------------------------------------------


def test_to_make_it_again_does_nothing(database, bank):
    database.index(Account, "owner")
    before = database.tid
    database.index(Account, "owner")
    assert database.tid == before
    with pytest.raises(exc.IndexDefinitionError, match="not unique; drop it first"):
        database.index(Account, "owner", unique=True)


def test_what_is_committed_while_it_is_made_is_in_it(database, bank, again):
    other = again()
    told: list[Any] = []

    def meanwhile(done: int, total: int) -> None:
        told.append((done, total))
        with other.transaction() as root:
            change(root[1], owner="Dan")
            checkout(root)
            root["new"] = Account(owner="Eve")
            del root[2].owner

    with pytest.raises(exc.ReadOnlyError):
        database.index(Account, "owner", progress=meanwhile)

    def right(done: int, total: int) -> None:
        with other.transaction() as root:
            change(root[1], owner="Dan")
            checkout(root, root[2])
            root["new"] = Account(owner="Eve")
            del root[2].owner

    database.index(Account, "owner", progress=right)

    assert told == [(5, 5)]
    assert owners(database.find(Account, order_by="owner")) == [
        "Ada Lovelace", "Cleo", "Dan", "Eve",
    ]  # fmt: skip


def test_it_is_made_in_a_transaction_of_its_own(database, bank):
    change(bank[1], owner="Dan")
    with pytest.raises(exc.UncommittedChangesError):
        database.index(Account, "owner")
    transaction.abort()
    with pytest.raises(exc.BlockError), database.transaction():
        database.index(Account, "owner")
    with pytest.raises(exc.BlockError), database.transaction():
        database.drop_index(Account, "owner")
    assert database.indexes() == []
    database.index(Account, "owner")


NUMBERS = st.one_of(
    st.integers(), st.floats(allow_nan=False), st.decimals(allow_nan=False, places=30),
    st.decimals(allow_nan=False), st.integers(2**53 - 2, 2**53 + 2), st.booleans(),
    st.sampled_from([10**400, -(10**400), 10**5000, Decimal("1.5e4999"), math.inf, -math.inf]),
    st.sampled_from([0.1, Decimal("0.1"), -0.0, 5e-324]),
)  # fmt: skip
TEXTS = st.text(st.sampled_from("\0\1a\xff\ud800\U0010ffff"), max_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("values", [NUMBERS, TEXTS, st.tuples(TEXTS, NUMBERS), st.timedeltas()])
def test_keys_are_in_the_order_of_values(values):
    @given(values, values)
    def check(one, other):
        keys = sortable(one), sortable(other)
        assert (keys[0] < keys[1], keys[0] == keys[1]) == (one < other, one == other)
        assert keys[0] == keys[1] or not keys[1].startswith(keys[0])

    check()


def test_numbers_of_thousands_of_digits_have_an_order():
    # Python makes no text of more than 4300 digits, unless it is told to.
    numbers = [-(10**5000), 3, 10**4999, Decimal("1.5e4999"), 10**5000, 10**5000 + 1]
    assert sorted(set(numbers), key=sortable) == numbers
    assert sortable(Decimal(10**4999)) == sortable(10**4999)


def test_what_can_not_be_made_says_why(database):
    with pytest.raises(exc.IndexDefinitionError, match="no root"):
        database.index(Account, "owner")
    with pytest.raises(exc.IndexDefinitionError, match="expected the names"):
        database.index(Account)
    with pytest.raises(exc.IndexDefinitionError, match="a class of the program"):
        database.index(PersistentDict, "owner")
    with pytest.raises(exc.IndexDefinitionError, match="there is none"):
        database.drop_index(Account, "owner")
    for wrong in (int, "x"):
        with pytest.raises(exc.NotPersistentError):
            database.index(wrong, "owner")
    with pytest.raises(
        exc.NotPersistentError, match=r"'owner' was .*: db\.index\(Class, 'owner'\)"
    ):
        database.index("owner")
    with pytest.raises(
        exc.NotPersistentError, match=r"a Account was given, expected the class of"
    ):
        database.index(Account(), "owner")
    for over in [("owner", "balance")], [["owner", "balance"]], [("owner",), "balance"]:
        with pytest.raises(exc.IndexDefinitionError, match=r"\(Account, 'owner', 'balance'\)"):
            database.index(Account, *over)
    with pytest.raises(exc.IndexDefinitionError, match="there is none"):
        database.drop_index(Account, ("owner", "balance"))
    with pytest.raises(exc.NotPersistentError, match=r"call discard\(\) for each"):
        database.discard([Account()])
    with pytest.raises(TypeError, match="expected a class, got str"):
        database.find("Account", owner="Bob")
    for condition in ((between, 1, "x"), (starts_with, 3), (above, [])):
        with pytest.raises(TypeError):
            condition[0](*condition[1:])


@pytest.mark.parametrize("value", [[], math.nan, Decimal("sNaN"), {}, (1, [])], ids=str)
def test_a_value_without_an_order_is_refused(database, bank, value):
    checkout(bank)
    bank["x"] = Account(owner=value)
    transaction.commit()
    assert list(database.find(Account, owner="x")) == []
    with pytest.raises(exc.NotIndexableError, match=r"at \.owner") as e:
        database.index(Account, "owner")
    assert "Shared" not in str(
        e.value
    )  # The name of what guards a list is no name of the program's.
    checkout(bank)
    del bank["x"]
    transaction.commit()
    database.pack()
    database.index(Account, "owner")
    change(bank[1], owner=value)
    with pytest.raises(exc.NotIndexableError):
        transaction.commit()
    transaction.abort()


class Ratio(Persistent):
    def __init__(self, whole):
        self.whole = whole

    @property
    def part(self):
        if self.whole == "again":
            raise TransientError
        return 1 / self.whole


def part_of(ratio):
    return 1 / ratio.whole


@pytest.mark.parametrize("asked", ["part", part_of])
def test_a_property_or_function_that_raises_is_told_by_object_and_name(database, bank, asked):
    checkout(bank)
    bank["x"] = Ratio(0)
    transaction.commit()
    oid = bank["x"]._p_oid
    name = getattr(asked, "__name__", asked)
    told = rf"Ratio oid {oid}, at \.{name}, which .* raised ZeroDivisionError: division by zero"
    with pytest.raises(exc.NotIndexableError, match=told):
        database.index(Ratio, asked)
    change(bank["x"], whole=2)
    transaction.commit()
    database.index(Ratio, asked)
    checkout(bank)
    bank["y"] = Ratio(0)
    for _ in range(2):
        with pytest.raises(exc.NotIndexableError, match=told.replace(f"{oid}", ".*")) as e:
            transaction.commit()
        assert isinstance(e.value.__cause__, ZeroDivisionError)
        transaction.abort()
        assert "y" not in bank
        assert list(database.find(Ratio, **{name: 0.5})) == [bank["x"]]
        change(bank["x"], whole=0)
    transaction.abort()
    change(bank["x"], whole=4)
    transaction.commit()
    assert list(database.find(Ratio, **{name: 0.25})) == [bank["x"]]


def test_what_may_be_run_again_is_passed_on_by_an_index(database, bank):
    checkout(bank)
    bank["x"] = Ratio(1)
    transaction.commit()
    database.index(Ratio, "part")
    change(bank["x"], whole="again")
    with pytest.raises(TransientError):
        transaction.commit()
    transaction.abort()


@pytest.mark.slow
def test_an_object_of_a_class_that_is_not_loaded_hinders_it(database, bank, path):
    script = (
        "import sys, transaction; sys.path.insert(0, sys.argv[2])\n"
        "import odd\n"
        "from dobbin_like import Database, checkout\n"
        "db = Database(sys.argv[1]); checkout(db.root); db.root['x'] = odd.Odd()\n"
        "transaction.commit()"
    )
    (path.parent / "odd.py").write_text(
        "from dobbin_like import Persistent\nclass Odd(Persistent): pass\n", "utf-8"
    )
    subprocess.run(
        [sys.executable, "-c", script, path, path.parent], env=python_path(), check=True
    )
    transaction.begin()
    with pytest.raises(exc.UnloadedClassError, match=r"odd\.Odd"):
        database.index(Account, "owner")


def test_it_follows_a_class_that_is_renamed(database, bank):
    database.index(Account, "owner")
    database.rename_class(Account, Savings)
    new = Savings(owner="Dan")
    checkout(bank)
    bank["s"] = new
    transaction.commit()

    assert database.find(Savings, owner="Dan").first() is new
    assert "index tests.helpers.accounts.Savings" in database.find(Savings, owner="x").explain()
    database.drop_index("tests.helpers.accounts.Account", "owner")
    assert database.indexes() == []


def test_a_task_finds_what_it_has_changed_and_keeps_the_index(database, bank):
    database.index(Account, "owner")

    async def rename(number: int) -> None:
        async with database.transaction() as root:
            change(root[number], owner=f"task {number}")
            await asyncio.sleep(0)
            assert owners(database.find(Account, owner=starts_with("task"))) == [f"task {number}"]

    async def both() -> None:
        await asyncio.gather(rename(0), rename(1))

    asyncio.run(both())
    transaction.begin()
    assert owners(database.find(Account, owner=starts_with("task"))) == ["task 0", "task 1"]


class Aging(Persistent):
    """Its states have come to look different."""

    _p_version = 0

    def __init__(self, name: str) -> None:
        self.name = name


def test_a_class_of_a_higher_version_has_its_index_made_again(database, monkeypatch):
    database.set_root(PersistentList([Aging("Ada"), Aging("Bob")]))
    transaction.commit()
    database.index(Aging, "name")
    database.close()

    monkeypatch.setattr(Aging, "_p_version", 1)
    migrate = staticmethod(lambda state, _version: {"name": state["name"].lower()})
    monkeypatch.setattr(Aging, "_p_migrate", migrate, raising=False)
    with Database(database.storage.path) as db:
        change(db.root[0], name="Dan")
        with pytest.raises(exc.IndexStaleError):
            transaction.commit()
        transaction.abort()
        assert not check_database(db).ok
        db.index(Aging, "name")
        change(db.root[0], name="Dan")
        transaction.commit()
        assert db.find(Aging, name="bob").first() is db.root[1]
        check_database(db).raise_if_bad()
        assert db.migrate(Aging) == 1
        transaction.begin()
        check_database(db).raise_if_bad()
        transaction.abort()


def test_check_finds_what_is_wrong(database, bank):
    database.index(Account, "owner")
    catalog = vars(bank)["_p_indexes"]
    (index,) = catalog.indexes.values()
    checkout(index.entries)
    entry = index.entries.pop()
    index.entries.add(entry_of(key_of(entry), bank[1]._p_oid))
    transaction.commit()

    problems = check_database(database).problems
    assert [problem.invariant for problem in problems] == [12, 12]
    database.drop_index(Account, "owner")
    database.index(Account, "owner")


# -- interrupts and kills ------------------------------------------------------------------------


@pytest.mark.parametrize("part", [pytest.param(n, marks=pytest.mark.slow) for n in range(4)])
def test_an_interrupt_at_any_line_leaves_all_or_nothing(part):
    db = Database(MemoryLog())
    db.set_root(PersistentDict(a=Account(owner=0), b=Account(owner=-1)))
    transaction.commit()
    db.index(Account, "owner", unique=True)
    number, turn, going_on = part, 0, True
    while going_on:
        number += 4
        turn += 1
        one = db.root["a"]
        before = one.owner
        change(one, owner=turn)
        going_on = interrupted(transaction.commit, number)
        transaction.abort()
        assert one.owner in (before, turn)
        assert list(db.find(Account, owner=one.owner)) == [one]
        assert len(list(db.find(Account, owner=at_least(0)))) == 1
    check_database(db).raise_if_bad()
    assert number > 100
    db.close()


@pytest.mark.slow
@pytest.mark.parametrize("drops", [False, True])
def test_an_interrupt_while_it_is_made_or_dropped_leaves_all_or_nothing(drops):
    number, going_on = 0, True
    while going_on:
        number += 11
        with Database(MemoryLog()) as db:
            db.set_root(PersistentDict(a=Account(owner=0), b=Account(owner=-1)))
            transaction.commit()
            step = partial(db.index, Account, "owner", unique=True)
            if drops:
                step()
                step = partial(db.drop_index, Account, "owner")
            going_on = interrupted(step, number)
            transaction.abort()
            assert len(db.indexes()) in (0, 1)
            change(db.root["a"], owner=number)
            transaction.commit()
            assert db.find(Account, owner=number).first() is db.root["a"]
            db.index(Account, "owner", unique=True)
            check_database(db).raise_if_bad()
            transaction.abort()
    assert number > 1000


KILLED = """
import sys, transaction
from dobbin_like import Database, checkout
from tests.helpers.accounts import Account
db = Database(sys.argv[1], sync=False)
print("open", flush=True)
number = 0
while True:
    number += 1
    checkout(db.root)
    db.root[number % 50] = Account(owner=f"{number}", balance=-number)
    transaction.commit()
"""


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(3))
def test_a_process_that_is_killed_leaves_index_and_objects_the_same(database, bank, path, turn):
    database.index(Account, "owner")
    database.index(Account, "balance", unique=True)
    child = start([sys.executable, "-c", KILLED, path], env=python_path(), stdout=subprocess.PIPE)
    child.stdout.readline()
    for _ in range(50 + 30 * turn):
        transaction.begin()
        for obj in database.find(Account, balance=below(0), order_by="balance", limit=2):
            assert database.find(Account, owner=obj.owner).first() is obj
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    transaction.begin()
    check_database(database).raise_if_bad()


# -- against a look at all objects ---------------------------------------------------------------

SMALL = st.sampled_from([None, 0, 1, 2, 2.5, "a", "ab", "b"])
ASKED = st.one_of(
    SMALL,
    st.builds(at_least, SMALL),
    st.builds(above, SMALL),
    st.builds(below, SMALL),
    st.builds(at_most, SMALL),
    st.builds(one_of, SMALL, SMALL),
    st.builds(starts_with, st.sampled_from(["", "a", "b"])),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 5), st.sampled_from("xy"), SMALL),
        st.tuples(st.just("del"), st.integers(0, 5), st.sampled_from("xy")),
        st.tuples(st.just("new"), st.integers(0, 5), SMALL, SMALL),
        st.tuples(st.sampled_from(["commit", "abort", "pack", "savepoint", "rollback"])),
        st.tuples(st.just("discard"), st.integers(0, 5)),
        st.tuples(
            st.just("find"),
            st.dictionaries(st.sampled_from("xy"), ASKED, max_size=2),
            st.sampled_from(["x", "y", None]),
            st.booleans(),
            st.sampled_from([None, 1, 3]),
        ),
    ),
    max_size=30,
)
OVER = st.lists(st.sampled_from([("x",), ("y",), ("x", "y"), ("y", "x")]), unique=True, max_size=3)


@pytest.mark.slow
@settings(max_examples=60)
@given(over=OVER, steps=STEPS)
@pytest.mark.filterwarnings("ignore::dobbin_like.exc.UnknownAttributeWarning")
def test_what_is_found_is_what_a_look_at_all_objects_finds(over, steps, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "data.log"
    transaction.abort()
    with Database(path, sync=False) as db:
        db.set_root(PersistentDict({number: Account(x=number, n=number) for number in range(3)}))
        transaction.commit()
        for names in over:
            db.index(Account, *names)
        point = None
        for step in steps:
            point = run_step(db, step, point)
        transaction.abort()
        check_database(db).raise_if_bad()


def run_step(db: Database[Any], step: Any, point: Any) -> Any:
    match step:
        case ["savepoint"]:
            return transaction.savepoint()
        case ["commit" | "abort" | "pack" as name]:
            (transaction.abort if name == "abort" else transaction.commit)()
            if name == "pack":
                db.pack()
            return None
        case ["rollback"] if point is not None:
            point.rollback()
        case ["find", *asked]:
            compare(db, *asked)
        case ["discard" | "new", number, *values]:
            replace(db, number, *values)
        case ["set" | "del", number, name, *values] if number in db.root:
            change_one(db.root[number], name, *values)
    return point


def replace(db: Database[Any], number: int, *values: Any) -> None:
    checkout(db.root)
    if number in db.root:
        db.discard(db.root.pop(number))
    if values:
        db.root[number] = Account(x=values[0], y=values[1])


def change_one(obj: Any, name: str, *value: Any) -> None:
    checkout(obj)
    if value:
        setattr(obj, name, value[0])
    elif hasattr(obj, name):
        delattr(obj, name)


def compare(db: Database[Any], conditions: Any, order_by: Any, reverse: bool, limit: Any) -> None:
    found = db.find(Account, order_by=order_by, reverse=reverse, **conditions)
    # Every object is found by a name that no index has.
    expected = [obj for obj in db.root.values() if fits(db, obj, conditions, order_by)]
    assert {id(obj) for obj in found} == {id(obj) for obj in expected}
    if order_by is not None:
        keys = [rank(getattr(obj, order_by)) for obj in found]
        assert keys == sorted(keys, reverse=reverse)
    few = db.find(Account, order_by=order_by, reverse=reverse, limit=limit, **conditions)
    assert list(few) == list(found)[:limit]


def fits(db: Any, obj: Any, conditions: Any, order_by: Any) -> bool:
    names = [*conditions, *([order_by] if order_by else [])]
    return all(hasattr(obj, name) for name in names) and all(
        holds(asked, getattr(obj, name)) for name, asked in conditions.items()
    )


def rank(value: Any) -> Any:
    return (0, 0) if value is None else (1, value) if not isinstance(value, str) else (2, value)


def holds(asked: Any, value: Any) -> bool:
    """Tell by the text of a condition whether it holds: without the code that is tested."""
    text = repr(asked)
    name, _, rest = text.partition("(")
    if name not in ("at_least", "above", "below", "at_most", "one_of", "starts_with"):
        return bool(asked == value)
    values = eval(f"[{rest[:-1]}]")
    one = rank(value)
    if name == "one_of":
        return value in values
    other = rank(values[0])
    if name == "starts_with":
        return isinstance(value, str) and value.startswith(values[0])
    if one[0] != other[0]:
        return False
    return {
        "at_least": one >= other,
        "above": one > other,
        "below": one < other,
        "at_most": one <= other,
    }[name]


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda obj: loads(dumps(obj))])
def test_a_copy_has_nothing_of_what_the_store_keeps(database, bank, make):
    database.index(Account, "owner")
    database.discard(bank[1])
    transaction.commit()
    checkout(bank)
    bank["copy"] = make(bank[1])
    bank["root"] = made = make(bank)
    transaction.commit()

    assert bank["copy"] in list(database.find(Account, owner="Bob"))
    assert bank[1] not in list(database.find(Account, owner="Bob"))
    assert list(vars(made)) == ["_items"]
