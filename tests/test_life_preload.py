"""All that the root leads to is read at once, and stays in memory."""

from __future__ import annotations

import dataclasses
import gc
import logging
import signal
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import transaction

from dobbin_like import (
    Database,
    Persistent,
    PersistentDict,
    PersistentList,
    TransactionLog,
    checkout,
)
from dobbin_like.exc import ClosedError, IntegrityError, MigrationError, ValueNotRebuiltError
from dobbin_like.storage import MemoryLog, OverlayLog
from tests.helpers.processes import exit_code, forked, in_child
from tests.helpers.steps import Steps, in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dobbin_like.ids import Oid, Tid


class Node(Persistent):
    """An object with a number that leads to others."""

    def __init__(self, n: int = 0, leads_to: Any = None) -> None:
        self.n = n
        self.leads_to = leads_to

    @cached_property
    def others(self) -> Any:
        return found_by_chance


class Versioned(Persistent):
    """Can't be brought to its version while ``fails``."""

    n = 0
    fails: type[BaseException] | None = None

    @classmethod
    def _p_migrate(cls, state: dict[str, Any], _version: int) -> dict[str, Any]:
        if cls.fails is not None:
            text = "not today"
            raise cls.fails(text)
        return state


@dataclasses.dataclass
class Value:
    """A value of a class of its own."""

    node: Any
    more: Any = None


found_by_chance: Any = None


def is_read(obj: Any) -> bool:
    return type(obj) is not type(obj)._p_faces.ghost


def in_memory(db: Database) -> list[Any]:
    return [obj for obj in (entry() for entry in db._store.graph.cache.all()) if obj is not None]


def oids(db: Database) -> list[int]:
    """The oids of all objects that were read."""
    return sorted(obj._p_oid for obj in in_memory(db) if is_read(obj))


def store(database: Database, root: Any) -> None:
    database.set_root(root)
    transaction.commit()


# -- what is read --------------------------------------------------------------------


def test_all_that_the_root_leads_to_is_read_and_stays(database, again):
    chain = None
    for n in range(3000):
        chain = Node(n, chain)
    store(database, PersistentDict(chain=chain, many=[Node(n) for n in range(2500)]))
    db = again()

    assert db.preload() == 5501

    gc.collect()
    assert oids(db) == list(range(5501))
    db.close()  # From here on, nothing can be read from the log.
    node, count = db._store._root["chain"], 0
    while node is not None:
        count += node.n
        node = node.leads_to
    assert count == sum(range(3000))
    assert [node.n for node in db._store._root["many"]] == list(range(2500))


@pytest.mark.parametrize("guard", [True, False])
def test_references_in_all_kinds_of_values_are_followed(database, again, guard):
    nodes = [Node(n, Node(n) if n == 0 else None) for n in range(16)]
    mine: list[Any] = [nodes[0]]
    mine.append(mine)
    values = [
        mine,
        {"key": nodes[1], nodes[2]: [nodes[3]], 4: {5: (nodes[4],)}},
        {nodes[5], frozenset([nodes[6]])},
        (nodes[7], bytearray(b"nothing"), 1.5, range(3)),
        Value(nodes[8], [Value(nodes[9])]),
        PersistentList([nodes[10], [nodes[11]]]),
        PersistentDict({"a": nodes[12], nodes[13]: None}),
        (Value(nodes[14]), nodes[15]),
    ]
    store(database, Node(leads_to=values))
    db = again(guard=guard)

    assert db.preload() == 20

    assert oids(db) == list(range(20))
    assert db.preload() == 20  # They were in memory by then.


def test_what_the_root_does_not_lead_to_is_not_read(database, again):
    store(database, Node(leads_to=[Node(1), Node(2, Node(3))]))
    checkout(database.root)
    database.root.leads_to = [database.root.leads_to[0]]
    transaction.commit()
    db = again()
    lost = db.get(2)

    assert db.preload() == 2

    assert oids(db) == [0, 1]
    assert len(db) == 4
    assert lost.n == 2


def test_what_others_have_left_in_an_object_is_not_followed(database, again, monkeypatch):
    store(database, Node(leads_to=[Node(1, Value(None)), Node(2)]))
    checkout(database.root)
    database.root.leads_to = database.root.leads_to[0]
    transaction.commit()
    db = again()
    monkeypatch.setitem(globals(), "found_by_chance", db.get(2))
    node = db.root.leads_to
    node.leads_to.more = found_by_chance
    assert node.others is db.root.others is found_by_chance

    assert db.preload() == 2

    assert not is_read(found_by_chance)


def test_without_a_root_there_is_nothing(database, again):
    assert database.preload() == 0
    assert again().preload() == 0
    database.set_root(Node())
    assert in_thread(database.preload) == 0


def test_changes_that_are_not_committed_are_none_of_its_business(database):
    database.set_root(Node())
    assert database.preload() == 0
    transaction.commit()
    checkout(database.root)
    database.root.leads_to = Node(1)

    assert database.preload() == 1

    transaction.commit()
    assert database.preload() == 2


def test_it_may_be_asked_twice(database, again):
    store(database, Node(leads_to=[Node(n) for n in range(5)]))
    db = again()
    assert db.root.leads_to[3].n == 3

    assert [db.preload(), db.preload()] == [6, 6]


def test_the_progress_is_told(database, again):
    store(database, Node(leads_to=[Node(n) for n in range(2500)]))
    told: list[tuple[int, int]] = []

    again().preload(lambda done, total: told.append((done, total)))

    assert told == [(1000, 2501), (2000, 2501), (2501, 2501)]


def test_objects_are_read_in_the_order_of_the_file(path, database):
    class Watched(TransactionLog):
        def load(self, oid: Oid, at: Tid | None = None) -> Any:
            read.append(oid)
            return super().load(oid, at)

    nodes = [Node(n) for n in range(50)]
    store(database, Node(leads_to=nodes))
    for node in reversed(nodes):
        checkout(node)
        node.n += 1
        transaction.commit()
    with Database(Watched(path)) as db:
        read: list[Oid] = []
        assert db.preload() == 51
        transaction.abort()

    assert read[-50:] == [node._p_oid for node in reversed(nodes)]


# -- of a snapshot -------------------------------------------------------------------


def test_the_snapshot_of_the_thread_is_read(database, again):
    store(database, Node(0, Node(1, [Node(2), Node(3)])))
    db = again()
    db.transaction_manager.begin()
    checkout(database.root)
    database.root.leads_to = Node(4)
    transaction.commit()
    in_thread(db._store.publisher.catch_up)

    assert db.preload() == 4

    assert oids(db) == [0, 1, 2, 3]
    assert [node.n for node in db.root.leads_to.leads_to] == [2, 3]
    db.transaction_manager.begin()
    assert db.preload() == 2
    assert db.root.leads_to.n == 4


def test_without_a_snapshot_the_newest_is_read(database, again):
    store(database, Node(0, Node(1)))
    db = again(transaction_manager=transaction.TransactionManager(explicit=True))
    assert db.preload() == 2
    checkout(database.root)
    database.root.leads_to = [database.root.leads_to, Node(2)]
    transaction.commit()

    db._store.publisher.catch_up()

    assert db.preload() == 3
    db.transaction_manager.begin()


def test_later_changes_are_seen(database, again):
    store(database, Node(0, Node(1)))
    db = again()
    db.preload()
    checkout(database.root, database.root.leads_to)
    database.root.leads_to.n = 5
    database.root.leads_to.leads_to = Node(6)
    transaction.commit()

    db.transaction_manager.begin()

    assert db.root.leads_to.n == 5
    assert db.root.leads_to.leads_to.n == 6


def test_the_past_can_be_preloaded(database):
    store(database, Node(0, [Node(1), Node(2)]))
    before = database.tid
    checkout(database.root)
    database.root.leads_to = None
    transaction.commit()

    with database.at(before) as past:
        assert past.preload() == 3
    assert database.preload() == 1


def test_storages_without_a_file_can_be_preloaded(path):
    for storage in (MemoryLog(), TransactionLog(path), OverlayLog(TransactionLog(path))):
        with Database(storage) as db:
            if db.root is None:
                store(db, Node(0, [Node(1), Node(2)]))
            assert db.preload() == 3
            transaction.abort()


def test_a_log_that_was_packed_meanwhile_is_read_to_the_end(database, again):
    store(database, Node(leads_to=[Node(n, Node(n)) for n in range(1500)]))
    checkout(database.root)
    database.root.n = 1
    transaction.commit()
    db = again()
    told: list[int] = []

    def pack(done: int, _total: int) -> None:
        if not told:
            database.pack()
            in_thread(db._store.publisher.catch_up)
        told.append(done)

    assert db.preload(pack) == 3001
    assert told == [1000, 2000, 3000, 3001]


# -- what can't be read --------------------------------------------------------------


def test_damage_hurts_only_those_who_touch_it(database, again, path, caplog):
    store(database, Node(leads_to=[Node(1, "find me"), Node(2), Node(3, "and me")]))
    data = path.read_bytes()
    for text in (b"find me", b"and me"):
        at = data.index(text)
        data = data[:at] + b"F" + data[at + 1 :]
    path.write_bytes(data)
    db = again()

    with caplog.at_level(logging.WARNING):
        assert db.preload() == 2

    first, summary = (record.getMessage() for record in caplog.records)
    assert "oid 1 " in first
    assert "fails its checksum" in first
    assert "2 objects could not be read" in summary
    assert db.root.leads_to[1].n == 2
    with pytest.raises(IntegrityError):
        assert db.root.leads_to[0].n
    path.write_bytes(data.replace(b"Find me", b"find me").replace(b"Fnd me", b"and me"))


def test_a_class_that_fails_hurts_only_those_who_touch_it(database, again, monkeypatch, caplog):
    store(database, Node(leads_to=[Versioned(), Node(1)]))
    monkeypatch.setattr(Versioned, "_p_version", 1)
    monkeypatch.setattr(Versioned, "fails", ValueError)
    db = again()

    assert db.preload() == 2

    assert "not today" in caplog.text
    with pytest.raises(MigrationError):
        assert db.root.leads_to[0].n
    monkeypatch.setattr(Versioned, "fails", None)
    assert db.preload() == 3


@dataclasses.dataclass
class Fragile:
    """A value that fails as it is read."""

    n: int = 1
    fails: ClassVar[bool] = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        if self.fails:
            text = "a mistake"
            raise ValueError(text)
        vars(self).update(state)


def test_a_mistake_in_a_class_of_values_hides_no_object(database, again, monkeypatch):
    store(database, Node(leads_to=[Node(Fragile(), Node(1)), Node(2)]))
    db = again()
    monkeypatch.setattr(Fragile, "fails", True)
    assert db.preload() == 4
    with pytest.raises(ValueNotRebuiltError, match="a mistake"):
        db.root.leads_to[0].n.n  # noqa: B018


def test_objects_without_a_class_are_left_alone(database, again, monkeypatch, caplog):
    lost = type("Lost", (Node,), {"__module__": __name__})
    monkeypatch.setitem(globals(), "Lost", lost)
    store(database, Node(leads_to=[lost(1, Node(2)), Node(3)]))
    monkeypatch.delitem(globals(), "Lost")
    db = again()

    assert db.preload() == 2

    assert not caplog.records
    monkeypatch.setitem(globals(), "Lost", lost)
    assert db.preload() == 4
    assert db.root.leads_to[0].leads_to.n == 2


def test_a_value_without_a_class_is_followed(database, again, monkeypatch):
    lost = dataclasses.make_dataclass("Lost", ["node"])
    lost.__module__ = __name__
    monkeypatch.setitem(globals(), "Lost", lost)
    store(database, Node(leads_to=[lost(Node(1)), {"x": lost([Node(2)])}]))
    monkeypatch.delitem(globals(), "Lost")
    db = again()

    assert db.preload() == 3


def test_a_closed_database_says_so(database, again):
    store(database, Node())
    db = again()
    db.close()
    with pytest.raises(ClosedError):
        db.preload()


def test_a_database_that_is_closed_meanwhile_says_so(database, again):
    store(database, Node(leads_to=[Node(n, Node(n)) for n in range(1000)]))
    db = again()
    with pytest.raises(ClosedError):
        db.preload(lambda *_: db.close())
    assert gc.isenabled()


# -- garbage collection, threads, processes ----------------------------------------


def test_the_collector_is_off_meanwhile_and_as_it_was_afterwards(database, again):
    store(database, Node())
    seen: list[bool] = []

    def look(*_: int) -> None:
        seen.append(gc.isenabled())

    again().preload(look)
    seen.append(gc.isenabled())
    gc.disable()
    try:
        again().preload(look)
        seen.append(gc.isenabled())
    finally:
        gc.enable()
    assert seen == [False, True, False, False]


def test_the_last_of_two_threads_lets_the_collector_on(database, again):
    store(database, Node())
    first, second = again(), again()
    steps = Steps()
    turns = {name: steps[number] for name, number in (("in", 0), ("both", 1), ("out", 2))}

    @steps.thread
    def _other() -> None:
        def hold(*_: int) -> None:
            with turns["in"]:
                pass
            with turns["out"]:
                assert not gc.isenabled()

        second.preload(hold)
        with steps[3]:
            assert gc.isenabled()

    def meanwhile(*_: int) -> None:
        with turns["both"]:
            assert not gc.isenabled()

    first.preload(meanwhile)
    steps.join()
    assert gc.isenabled()


def test_an_exception_of_the_progress_ends_it(database, again):
    store(database, Node(leads_to=[Node(n) for n in range(2500)]))
    db = again()

    def stop(done: int, _total: int) -> None:
        if done == 2000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        db.preload(stop)
    assert gc.isenabled()
    assert len(oids(db)) == 2000
    assert db.preload() == 2501


@pytest.fixture
def alarms() -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


# What is raised in a finalizer, or in a callback of the collector, goes nowhere.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("alarms")
def test_it_may_be_interrupted_anywhere(database, again):
    store(database, Node(leads_to=[Node(n, Node(n)) for n in range(500)]))
    interrupted = 0
    for number in range(40):
        db = again()
        assert db.root.n == 0
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0001 + number * 0.0001)
            db.preload()
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            interrupted += 1
        assert gc.isenabled()
        assert db.preload() == 1001
        db.close()
    assert interrupted


def test_threads_write_beside_it(database, again):
    nodes = [Node(0, [Node(0) for _ in range(20)]) for _ in range(100)]
    store(database, Node(leads_to=nodes))
    steps = Steps()
    stop = threading.Event()

    @steps.thread
    def _writer() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            for manager in transaction.attempts(10):
                with manager:
                    node = database.root.leads_to[n % 100]
                    checkout(node, *node.leads_to)
                    node.n = n
                    for each in node.leads_to:
                        each.n = n

    db = again()
    try:
        for _ in range(5):
            for each in (db, database):
                each.transaction_manager.begin()
                assert each.preload() == 2101
                for node in each.root.leads_to:
                    assert {other.n for other in node.leads_to} == {node.n}
    finally:
        stop.set()
        steps.join()


def test_forked_workers_have_everything(database, again, path):
    store(database, Node(leads_to=[Node(n) for n in range(1000)]))
    db = again()
    db.preload()
    gc.freeze()
    workers = []

    def look() -> None:
        db.storage.close()  # Nothing can be read any more.
        assert sum(node.n for node in db.root.leads_to) == sum(range(1000))
        assert gc.isenabled()

    try:
        for _ in range(2):
            workers.append(forked(look))
    finally:
        gc.unfreeze()
    assert [exit_code(worker) for worker in workers] == [0, 0]


def test_a_child_that_is_forked_meanwhile_collects_garbage(database, again):
    store(database, Node())
    seen: list[bool] = []

    def fork_elsewhere(*_: int) -> None:
        seen.append(in_thread(lambda: in_child(gc.isenabled)))

    def fork_here(*_: int) -> None:
        seen.append(in_child(gc.isenabled))

    again().preload(fork_elsewhere)
    again().preload(fork_here)
    assert seen == [True, False]
