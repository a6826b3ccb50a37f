"""Uses the public interface as a program would. Type-checked only, never run."""

from __future__ import annotations

import io
import math
import shutil
import zipfile
from abc import ABC
from collections.abc import MutableMapping, MutableSequence, MutableSet
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, assert_type

import transaction
from hypothesis.strategies import SearchStrategy, integers, text

import dobbin_like
from dobbin_like import (
    BTree,
    BTreeSet,
    ConflictError,
    Database,
    IntegrityError,
    InvalidObjectReference,
    JobQueue,
    LockTimeout,
    MemoryLog,
    OverlayLog,
    Persistent,
    PersistentABCMeta,
    PersistentCounter,
    PersistentDict,
    PersistentFile,
    PersistentList,
    PersistentMeta,
    PersistentQueue,
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
from dobbin_like.check import Problem, check_database, check_log
from dobbin_like.conformance import StorageTests, run
from dobbin_like.exc import Error, NotStorableError, UsageError
from dobbin_like.fixtures import strategies
from dobbin_like.history import Change, Revision, TransactionRecord
from dobbin_like.ids import Oid, Tid
from dobbin_like.indexes import (
    Found,
    above,
    at_least,
    at_most,
    below,
    between,
    one_of,
    starts_with,
)
from dobbin_like.jobs import Claim, Job
from dobbin_like.repair import Loss, repair
from dobbin_like.search import Census, Referrer
from dobbin_like.storage import Storage
from dobbin_like.testing import Steps, in_thread
from dobbin_like.web.asgi import AsgiTransactions
from dobbin_like.web.root import set_first_root
from dobbin_like.web.wsgi import WsgiTransactions
from dobbin_like.web.wsgi_streams import WsgiStream


class Account(Persistent):
    owner: str
    balance: int = 0

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.bookings: list[tuple[str, int]] = []
        self.recording: PersistentStream

    @staticmethod
    def _p_resolve_conflict(
        old_state: dict[str, Any], saved_state: dict[str, Any], new_state: dict[str, Any]
    ) -> dict[str, Any]:
        change = new_state["balance"] - old_state["balance"]
        return {**saved_state, "balance": saved_state["balance"] + change}


class Shape(Persistent, ABC):
    pass


class Solid(Persistent, metaclass=PersistentABCMeta):
    pass


@dataclass(eq=False)
class Reader(Persistent):
    name: str
    fines: list[int] = field(default_factory=list)


def constructors_make_what_they_say() -> None:
    assert_type(Account("Ada"), Account)
    assert_type(Reader("Ada", fines=[5]), Reader)
    assert_type(PersistentCounter(5), PersistentCounter)
    assert_type(PersistentQueue([5]), PersistentQueue[int])


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


async def tasks_have_blocks_and_functions(db: Database[Account]) -> None:
    async with db.transaction(note="more") as account:
        assert_type(account, Account)
    async with db.reading() as account:
        assert_type(account.balance, int)

    @db.transactional(retry=3)
    async def deposit(amount: int) -> int:
        checkout(db.root)
        db.root.balance += amount
        return db.root.balance

    async def owner() -> str:
        return db.root.owner

    assert_type(await deposit(5), int)
    assert_type(await db.run(owner), str)
    async for change in db.changes(since=db.tid, wait=5):
        assert_type(change, Change)


def jobs_know_what_they_are_about(queue: JobQueue[tuple[str, int]]) -> None:
    job = queue.put(("mail", 1), priority=5, delay=60)
    assert_type(job, Job[tuple[str, int]])
    assert_type(job.item, tuple[str, int])
    assert_type((job.attempts, job.left, job.error), tuple[int, int, str])
    for claim in queue.claims(lease=60, timeout=5):
        with claim as item:
            assert_type(item, tuple[str, int])
    claim = queue.claim()
    assert_type(claim, Claim[tuple[str, int]])
    claim.extend(60)
    claim.nack("it broke", delay=5)
    queue.requeue(job)
    assert_type(list(queue.dead.values()), list[Job[tuple[str, int]]])
    assert_type((len(queue), queue.qsize(), queue.empty()), tuple[int, int, bool])


async def tasks_do_jobs(queue: JobQueue[str]) -> None:
    async for claim in queue.claims():
        async with claim as item:
            assert_type(item, str)


def a_database_is_cared_for(db: Database[Account], path: Path) -> None:
    assert_type(db.backup(path).size, int)
    assert_type(db.pack(keep=None, dry_run=True).after.bytes, int)
    assert_type(db.preload(print), int)
    assert_type(db.migrate(Account, batch=100), int)
    assert_type(db.stats().commits, int)
    db.snapshot(path / "copy.log")
    db.rename_class("bank.Account", Account)
    db.release_snapshot()
    assert_type(check_database(db).ok, bool)
    assert_type(check_log(path, allow=["shop.*"]).problems, list[Problem])
    assert_type(repair(path, to=path).losses, list[Loss])


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
    assert_type(db.find(Account, {"limit": 3}, owner="Ada"), Found[Account])
    assert_type(found.count(), int)
    assert_type(found.first(), Account | None)
    assert_type(next(iter(found)), Account)
    assert_type(found.explain(), str)
    assert_type(db.indexes()[0].names, tuple[str, ...])
    db.discard(account)
    db.drop_index("bank.Account", "owner")
    conditions = above(1), at_least(1), below(9), at_most(9), one_of(1, 2), starts_with("A")
    for condition in conditions:
        assert_type(list(db.find(Account, balance=condition)), list[Account])


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


def queues_and_counters_know_theirs(queue: PersistentQueue[str], hits: PersistentCounter) -> None:
    queue.put("Ada")
    assert_type(queue.get(), str)
    assert_type(queue.peek(), str)
    for item in queue:
        assert_type(item, str)
    hits.increment()
    hits.increment(by=5)
    print(hits.value)


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


def streams_are_files_for_others(stream: PersistentStream) -> None:
    with zipfile.ZipFile(stream.open()) as archive:
        assert_type(archive.namelist(), list[str])
    for line in io.TextIOWrapper(stream.open(), encoding="utf-8"):
        assert_type(line, str)
    shutil.copyfileobj(stream.open(), io.BytesIO())
    assert_type(stream.open().readline(), bytes)
    file: io.BufferedReader = stream.open()
    assert file


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


def storages_live_in_memory() -> None:
    base = MemoryLog()
    storage: Storage = OverlayLog(base)
    with Database[Account](storage) as db:
        assert_type(db.storage, Storage)
    other: Storage = base.another()
    assert other


def is_feed(_method: str, path: str) -> bool:
    return path == "/events"


def requests_are_transactions(wsgi: Any, asgi: Any, db: Database[Account]) -> None:
    set_first_root(db, lambda: Account("Ada"))
    WsgiTransactions(wsgi, db, retry=5, read_methods=("GET", "HEAD"))
    AsgiTransactions(asgi, db, replay_bytes=1 << 20, skip=is_feed)
    WsgiStream(db.root.recording, "audio/ogg", filename="raven.ogg")


def programs_are_tested(database: Database[Account]) -> None:
    steps = Steps("look", "sell")

    @steps.thread
    def seller() -> None:
        with steps["sell"], database.transaction():
            pass

    steps.join()
    assert_type(in_thread(lambda: database.root.balance), int)
    numbers: SearchStrategy[PersistentList[int]] = strategies.lists(integers())
    trees: SearchStrategy[BTree[str, int]] = strategies.btrees(text(), integers())
    assert numbers
    assert trees


class TestMemory(StorageTests):
    def make(self) -> MemoryLog:
        return MemoryLog()


def a_storage_is_tested() -> None:
    for outcome in run(TestMemory):
        assert_type(
            (outcome.test, outcome.error, outcome.skipped), tuple[str, Exception | None, str]
        )
