"""Uses the public interface as a program would. Type-checked only, never run."""

from __future__ import annotations

import io
import math
from collections.abc import MutableMapping, MutableSequence, MutableSet
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, assert_type

import transaction

import dobbin_like
from dobbin_like import (
    BTree,
    BTreeSet,
    ConflictError,
    Database,
    IntegrityError,
    InvalidObjectReference,
    LockTimeout,
    Persistent,
    PersistentABCMeta,
    PersistentDict,
    PersistentFile,
    PersistentList,
    PersistentMeta,
    PersistentSet,
    PersistentStream,
    ReadConflictError,
    TransactionLog,
    WriteConflictError,
    checkout,
    is_changed,
    is_checked_out,
    safe,
    touch,
)
from dobbin_like.exc import Error, NotStorableError, UsageError
from dobbin_like.history import Change, Revision, TransactionRecord
from dobbin_like.ids import Oid, Tid
from dobbin_like.indexes import Found, between
from dobbin_like.search import Census, Referrer


class Account(Persistent):
    owner: str
    balance: int = 0

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.bookings: list[tuple[str, int]] = []

    @staticmethod
    def _p_resolve_conflict(
        old_state: dict[str, Any], saved_state: dict[str, Any], new_state: dict[str, Any]
    ) -> dict[str, Any]:
        change = new_state["balance"] - old_state["balance"]
        return {**saved_state, "balance": saved_state["balance"] + change}


class Shape(Persistent, metaclass=PersistentABCMeta):
    pass


def attributes_of_users_classes_keep_their_types(account: Account) -> None:
    checkout(account)
    account.bookings.append(("deposit", 100))
    account.balance += 100
    assert_type(account.balance, int)
    assert_type(account.bookings, list[tuple[str, int]])
    assert_type(account._p_oid, Oid | None)
    assert_type(account._p_serial, Tid | None)
    assert_type(type(account), type[Account])
    metaclass: type[PersistentMeta] = type(Account)
    assert metaclass


def what_was_done_to_an_object_can_be_asked(one: Account, other: Account) -> list[bool]:
    touch(one, other)
    return [is_checked_out(one), is_changed(other)]


def checkout_takes_many(one: Account, other: Account) -> None:
    checkout()
    checkout(one, other)


def storages_and_databases_are_context_managers(path: Path) -> None:
    with TransactionLog(path, sync=False, lock_timeout=1.5, read_only=False) as storage:
        assert_type(storage, TransactionLog)
        assert_type(len(storage), int)
        assert_type(storage.tid, Tid)
        for logged in storage.transactions():
            assert_type(logged.user, str)
            assert_type(logged.failed, bool)
    with Database(
        path,
        transaction_manager=transaction.TransactionManager(),
        allow=["shop.*", "shop.models.Cart"],
        guard=True,
    ) as db:
        assert_type(db, Database)
        assert_type(len(db), int)
        db.set_root(Account("Ada"))
        account: Account = db.root
        same: Account = db.get_root()
        other: Account | None = db.get(7)
        assert account is same is other
    Database(str(path)).close()
    Database(TransactionLog(path)).close()


def a_database_may_say_what_its_root_is(path: Path) -> None:
    db: Database[Account] = Database(path, sync=False, must_exist=True)
    assert_type(db.root, Account)
    assert_type(db.get_root(), Account)
    assert_type(dobbin_like.open("memory:"), Database[Any])
    with db.at(db.tid) as past:
        assert_type(past.root, Account)


def transactions_are_blocks_and_functions(db: Database[Account]) -> None:
    with db.transaction(note="more", user="ada") as account:
        assert_type(account, Account)
        checkout(account)
    with db.reading() as account:
        assert_type(account.balance, int)

    @db.transactional
    def withdraw(amount: int) -> int:
        checkout(db.root)
        db.root.balance -= amount
        return db.root.balance

    @db.transactional(retry=3, on_retry=print)
    def deposit(amount: int, *, note: str = "") -> str:
        return f"{amount} {note}"

    assert_type(withdraw(5), int)
    assert_type(deposit(5, note="five"), str)
    assert_type(db.run(lambda: db.root.owner, retry=1), str)
    assert_type(db.wait(db.tid, timeout=1.5), bool)
    assert_type(db.outcome(db.tid), bool | None)


def the_past_is_asked_for(db: Database, account: Account, moment: datetime) -> None:
    for record in db.transactions(since=moment, until=db.tid, newest_first=True):
        assert_type(record, TransactionRecord)
        assert_type(record.time, datetime)
    for revision in db.history(account):
        assert_type(revision, Revision)
    with db.at(moment) as past:
        assert_type(past, Database)
    for change in db.changes(since=5, wait=math.inf):
        assert_type(change, Change)
        assert_type(change.attributes, dict[Oid, tuple[str, ...]])
        db.undo(change.tid)


def indexes_are_kept(db: Database, account: Account) -> None:
    db.index(Account, "owner", unique=True, progress=print)
    db.index(Account, lambda account: account.balance)
    found = db.find(Account, owner="Ada", balance=between(10, 20), order_by="name", limit=20)
    assert_type(found, Found[Account])
    assert_type(found.first(), Account | None)
    assert_type(next(iter(found)), Account)
    assert_type(found.explain(), str)
    assert_type(db.indexes()[0].names, tuple[str, ...])
    db.discard(account)
    db.drop_index("bank.Account", "owner")


def objects_are_found(db: Database, account: Account) -> None:
    assert_type(next(db.instances(Account)), Account)
    assert_type(next(db.instances("bank.Account", print)), Any)
    assert_type(db.census(print), Census)
    assert_type([count.bytes for count in db.census().classes], list[int])
    for referrer in db.referrers(account):
        assert_type(referrer, Referrer)
        assert_type(referrer.way, str)
    for obj in db.walk(account, progress=print):
        assert_type(obj, Any)


def collections_are_persistent() -> None:
    by_name = PersistentDict({"Ada": Account("Ada")})
    accounts = PersistentList([Account("Ada")])
    names = PersistentSet({"Ada"})
    checkout(by_name, accounts, names)
    by_name["Bob"] = Account("Bob")
    accounts.append(by_name["Bob"])
    names.add("Bob")
    assert_type(len(by_name) + len(accounts) + len(names), int)
    assert_type("Bob" in names, bool)


def dicts_know_their_keys_and_values(by_name: PersistentDict[str, Account], number: int) -> None:
    for name in by_name:
        assert_type(name, str)
    for name, account in by_name.items():
        assert_type((name, account), tuple[str, Account])
    assert_type(by_name["Ada"], Account)
    assert_type(by_name.get("Ada"), Account | None)
    assert_type(by_name.get("Ada", number), Account | int)
    assert_type(by_name.pop("Ada"), Account)
    assert_type(by_name.pop("Ada", None), Account | None)
    assert_type(by_name.popitem(), tuple[str, Account])
    assert_type(by_name.setdefault("Ada", Account("Ada")), Account)
    assert_type(by_name.copy(), PersistentDict[str, Account])
    assert_type(by_name.keys() & {"Ada"}, set[str])
    assert_type(by_name | {5: "five"}, PersistentDict[str | int, Account | str])
    assert_type({5: "five"} | by_name, PersistentDict[str | int, Account | str])
    assert_type(PersistentDict(a=1), PersistentDict[str, int])
    assert_type(PersistentDict([("a", 1)], b=2), PersistentDict[str, int])
    assert_type(PersistentDict.fromkeys(["Ada", str(number)], 0), PersistentDict[str, int])
    by_name |= {"Cy": Account("Cy")}
    by_name.update([("Cy", Account("Cy"))], dan=Account("Dan"))
    mapping: MutableMapping[str, Account] = by_name
    assert mapping


def lists_know_their_items(accounts: PersistentList[Account]) -> None:
    for account in accounts:
        assert_type(account, Account)
    assert_type(accounts[0], Account)
    assert_type(accounts[1:], list[Account])
    assert_type(accounts.pop(), Account)
    assert_type(accounts.copy(), PersistentList[Account])
    numbers = [5]
    assert_type(accounts + numbers, PersistentList[Account | int])
    assert_type(accounts * 2, PersistentList[Account])
    accounts += [Account("Ada")]
    accounts[:1] = (Account("Bob"),)
    accounts.sort(key=lambda account: account.balance)
    PersistentList([2, 1]).sort()
    sequence: MutableSequence[Account] = accounts
    assert sequence


def sets_know_their_members(names: PersistentSet[str]) -> None:
    for name in names:
        assert_type(name, str)
    assert_type(names.pop(), str)
    assert_type(names.copy(), PersistentSet[str])
    assert_type(names | {5}, PersistentSet[str | int])
    assert_type(names & {5}, PersistentSet[str])
    assert_type(names.union([5]), PersistentSet[str | int])
    assert_type(names.difference([5]), PersistentSet[str])
    names |= {"Ada"}
    members: MutableSet[str] = names
    assert members


T = TypeVar("T")


class Ledger(PersistentDict[str, Account]):
    def total(self) -> int:
        return sum(account.balance for account in self.values())


class Ring(PersistentList[T]):
    def first(self) -> T:
        return self[0]


def subclasses_keep_the_types(ledger: Ledger, ring: Ring[Account]) -> None:
    assert_type(ledger["Ada"], Account)
    assert_type(ledger.copy(), Ledger)
    assert_type(ring.first(), Account)


def streams_give_bytes(stream: PersistentStream) -> None:
    file = PersistentFile(io.BytesIO(b"bytes"))
    checkout(file)
    with stream.open() as opened:
        assert_type(opened.read(), bytes)
        assert_type(opened.size, int)
    assert_type(stream.seek(0, 2), int)
    assert_type(stream.tell(), int)
    assert_type(stream.read(), bytes)
    assert_type(stream.read(10), bytes)
    assert_type(stream.closed, bool)
    stream.close()
    for chunk in stream:
        assert_type(chunk, bytes)


def errors_have_their_values_as_attributes() -> None:
    try:
        transaction.commit()
    except (WriteConflictError, ReadConflictError) as error:
        conflict: ConflictError = error
        assert_type(conflict.oid, Oid)
        assert_type(conflict.serial, Tid)
        assert_type(conflict.sides.time, datetime | None)
        for name, old, theirs, own in conflict.sides.differences:
            assert_type((name, old, theirs, own), tuple[str, str, str, str])
    except LockTimeout as error:
        assert_type(error.timeout_seconds, float)
    except IntegrityError as error:
        assert_type(error.path, str)
        assert_type(error.offset, int)
    except InvalidObjectReference as error:
        assert_type(error.place, str)
    except NotStorableError as error:
        usage: UsageError = error
        assert_type(error.path, str)
        assert_type(str(usage), str)
    except Error as error:
        assert_type(error.fields, tuple[str, ...])


def the_package_has_its_version() -> None:
    print(dobbin_like.__version__.split("."))


def a_safe_is_a_mapping(path: Path) -> None:
    with safe.open(path, "c", writeback=True) as kept:
        assert_type(kept, safe.Safe[Any, Any])
        mapping: MutableMapping[Any, Any] = kept
        assert_type(kept.add("a", 1), bool)
        with kept.transaction():
            mapping["a"] = 2
    safe.set_directory(path)
    assert_type(safe.module_safe(), safe.Safe[Any, Any])


def a_safe_may_say_what_is_in_it(path: Path) -> None:
    runs: safe.Safe[str, int] = safe.open(path)
    assert_type(runs["a"], int)
    assert_type(runs.get("a"), int | None)
    assert_type(list(runs.items()), list[tuple[str, int]])
    assert_type(runs.increment("a"), int)
    for name in runs:
        assert_type(name, str)
    runs |= {"b": 1}


def sorted_collections_are_generic(path: Path) -> None:
    tree: BTree[str, Account] = BTree()
    tree["a"] = Account("a")
    tree.update({"b": Account("b")})
    assert_type(tree["a"], Account)
    assert_type(tree.get("a"), Account | None)
    assert_type(tree.pop("a", None), Account | None)
    assert_type(tree.min_item(), tuple[str, Account])
    assert_type(tree.next_item("a"), tuple[str, Account] | None)
    assert_type(list(tree.items_range("a", "b")), list[tuple[str, Account]])
    assert_type(list(tree), list[str])
    assert_type(list(tree.values(max="b")), list[Account])
    assert_type(len(tree["a":"b"]), int)
    assert_type(tree.copy(), BTree[str, Account])
    members: BTreeSet[int] = BTreeSet([1])
    members.add(2)
    assert_type(members.max_item(), int)
    assert_type(list(members.items_from(1)), list[int])
    assert_type(members.union([3]), BTreeSet[Any])
