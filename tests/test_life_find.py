"""Looking through the objects: by class, by who refers to them, from one to the next."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import sys
import threading
from collections import deque
from typing import Any

import pytest
import transaction
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like import (
    BTree,
    Database,
    Persistent,
    PersistentDict,
    PersistentList,
    PersistentSet,
    TransactionLog,
    checkout,
)
from dobbin_like.exc import (
    ClosedError,
    IntegrityError,
    InvalidObjectReference,
    NotPersistentError,
    ObjectNotFound,
)
from dobbin_like.ids import DELTA
from dobbin_like.search import Census, ClassCount, Referrer
from dobbin_like.search import walk as walk_module
from dobbin_like.storage import MemoryLog, OverlayLog
from tests.helpers.interrupts import Interrupt, interrupted
from tests.helpers.steps import Steps, in_thread
from tests.helpers.tracing import tracing

HERE = __name__


class Node(Persistent):
    """An object with a number that leads to others."""

    def __init__(self, n: int = 0, leads_to: Any = None) -> None:
        self.n = n
        self.leads_to = leads_to


class Labelled:
    """A mixin."""


class Leaf(Labelled, Node):
    """A subclass."""


class Other(Persistent):
    """Another class."""


@dataclasses.dataclass
class Value:
    """A value that leads to a node."""

    node: Any


def store(database: Database, root: Any) -> Any:
    database.set_root(root)
    transaction.commit()
    return root


def oids(found: Any) -> list[int]:
    return [obj._p_oid for obj in found]


def in_memory(database: Database) -> list[int]:
    gc.collect()
    return sorted(entry.oid for entry in database._store.graph.cache.all() if entry() is not None)


def is_read(obj: Any) -> bool:
    return type(obj) is not type(obj)._p_faces.ghost


def explicit(storage: Any, **options: Any) -> Database:
    """Open a database with transactions of its own, which begin when they are told to."""
    manager = transaction.TransactionManager(explicit=True)
    return Database(storage, transaction_manager=manager, **options)


# -- instances ------------------------------------------------------------------------


def test_instances_are_those_of_the_class_and_its_subclasses(database):
    store(database, Node(0, [Leaf(1), Other(), Node(2, [Leaf(3)]), PersistentList()]))
    by_oid = [database.get(oid) for oid in range(len(database))]

    for cls in (Node, Leaf, Other, PersistentList, Persistent, Labelled, object):
        expected = [obj for obj in by_oid if isinstance(obj, cls) and isinstance(obj, Persistent)]
        assert list(database.instances(cls)) == expected
    assert [leaf.n for leaf in database.instances(Leaf)] == [1, 3]
    assert list(database.instances(int)) == []
    assert list(database.instances(PersistentDict)) == []


def test_the_others_are_not_loaded_and_those_that_are_found_not_read(database, again):
    store(database, Node(0, [Leaf(1), Other(), Node(2, [Leaf(3)])]))
    db = again()

    leaves = list(db.instances(Leaf))

    assert in_memory(db) == sorted(oids(leaves))
    assert not any(is_read(leaf) for leaf in leaves)
    assert [leaf.n for leaf in leaves] == [1, 3]
    assert db.get(leaves[0]._p_oid) is leaves[0]


def test_nothing_is_kept_of_what_was_given(database, again):
    store(database, Node(0, [Node(n) for n in range(50)]))
    db = again()

    assert sum(node.n for node in db.instances(Node)) == sum(range(50))

    assert in_memory(db) == []


def test_the_class_of_an_object_will_do_whatever_face_it_wears(database, again):
    node = store(database, Node(1, Node(2)))
    ghost = again().get(0)
    checkout(node)

    assert type(node) is not Node
    assert type(ghost) is not Node
    assert oids(database.instances(type(node))) == [0, 1]
    assert oids(database.instances(type(ghost))) == [0, 1]


@pytest.mark.parametrize("wrong", [None, 3, Node(), b"Node"])
def test_what_is_no_class_is_refused(database, wrong):
    with pytest.raises(TypeError, match="expected a class or the name of one"):
        database.instances(wrong)


@pytest.mark.parametrize("name", ["Node", "", "module:Node"])
def test_a_name_without_its_module_is_refused(database, name):
    # It found nothing, without a word.
    with pytest.raises(ValueError, match=f"instances.'{name}'.: a class is named with its module"):
        database.instances(name)


def test_a_name_stands_for_that_class_alone(database):
    store(database, Node(0, [Leaf(1)]))

    assert oids(database.instances(f"{HERE}.Node")) == [0]
    assert oids(database.instances(f"{HERE}.Leaf")) == [1]
    assert list(database.instances("nowhere.Nobody")) == []


def test_what_was_made_or_changed_and_not_committed_is_not_looked_at(database):
    node = store(database, Node(0, Leaf(1)))
    checkout(node)
    node.leads_to = Leaf(2)

    assert oids(database.instances(Node)) == [0, 1]
    assert oids(database.walk()) == [0, 1]
    assert list(database.walk(node.leads_to)) == []
    assert list(database.referrers(node.leads_to)) == []
    assert [way for _, way in database.referrers(1)] == [".leads_to"]

    transaction.commit()
    assert oids(database.instances(Node)) == [0, 1, 2]
    assert oids(database.walk()) == [0, 2]


def test_what_the_root_does_not_lead_to_is_found_until_it_is_packed_away(database):
    node = store(database, Node(0, [Leaf(1, Leaf(2)), Leaf(3)]))
    checkout(node)
    node.leads_to = node.leads_to[1:]
    transaction.commit()

    assert sorted(leaf.n for leaf in database.instances(Leaf)) == [1, 2, 3]
    assert database.census().objects == 4
    assert [node.n for node in database.walk()] == [0, 3]

    database.pack()
    transaction.begin()
    assert [leaf.n for leaf in database.instances(Leaf)] == [3]
    assert database.census().objects == 2


def test_an_empty_database_has_nothing(database):
    assert list(database.instances(Persistent)) == []
    assert list(database.walk()) == []
    assert database.census() == Census(0, ())
    assert (database.census().objects, database.census().bytes) == (0, 0)
    database.set_root(Node())
    assert list(database.walk()) == list(database.walk(database.root)) == []
    assert list(database.instances(Node)) == []
    with pytest.raises(ObjectNotFound):
        database.walk(0)


# -- classes that are renamed or not there -----------------------------------------------

SHOP = """
from dobbin_like import Persistent

class Cart(Persistent):
    def __init__(self, total, leads_to=None):
        self.total = total
        self.leads_to = leads_to

class Big(Cart):
    pass
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """The name of a module that may be imported, and is not."""
    name = f"shop_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SHOP)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def stored(path, shop):
    """A log with objects of the module, which is not imported any more."""
    module = importlib.import_module(shop)
    with Database(TransactionLog(path, sync=False)) as database:
        store(database, Node(0, [module.Cart(1, Leaf(5)), module.Big(2), Leaf(3)]))
    del sys.modules[shop]
    return path


def test_broken_objects_are_found_by_name_and_left_out_by_class(stored, again, shop):
    db = again()

    assert [node.n for node in db.instances(Node)] == [0, 3, 5]
    assert len(list(db.instances(Persistent))) == 3
    assert len(list(db.instances(object))) == 3
    (cart,) = db.instances(f"{shop}.Cart")
    assert repr(cart) == f"<broken {shop}.Cart oid 1>"
    assert cart.total == 1
    assert shop not in sys.modules


def test_broken_objects_are_counted_walked_and_asked(stored, again, shop):
    db = again()

    assert {count.name: count.objects for count in db.census().classes} == {
        f"{HERE}.Node": 1,
        f"{HERE}.Leaf": 2,
        f"{shop}.Cart": 1,
        f"{shop}.Big": 1,
    }
    assert oids(db.walk()) == [0, 1, 2, 3, 4]
    assert [(who._p_oid, way) for who, way in db.referrers(4)] == [(1, ".leads_to")]
    assert [(who._p_oid, way) for who, way in db.referrers(2)] == [(0, ".leads_to[1]")]
    assert shop not in sys.modules


def test_a_class_that_is_allowed_is_imported_to_see_of_what_it_is(stored, again, shop):
    db = again(allow=f"{shop}.*")

    found = list(db.instances(Persistent))

    assert len(found) == 5
    module = sys.modules[shop]
    assert [cart.total for cart in db.instances(module.Cart)] == [1, 2]
    assert [cart.total for cart in db.instances(f"{shop}.Cart")] == [1]


def test_a_class_that_comes_later_is_found_by_the_next_search(stored, again, shop):
    db = again()
    before = list(db.instances(Persistent))

    module = importlib.import_module(shop)

    assert len(before) == 3
    assert [cart.total for cart in db.instances(module.Cart)] == [1, 2]


def test_renamed_objects_are_found_as_what_the_log_calls_them(database, again):
    node = store(database, Node(0, [Leaf(1), Other()]))
    leaf = node.leads_to[0]
    assert leaf.n == 1

    database.rename_class(Leaf, Other)

    for db in (database, again()):
        assert oids(db.instances(Other)) == [1, 2]
        assert list(db.instances(Leaf)) == list(db.instances(f"{HERE}.Leaf")) == []
        assert [count.objects for count in db.census().classes if "Other" in count.name] == [2]


def test_references_in_values_that_are_not_loaded_are_found(database, again, monkeypatch):
    store(database, Node(0, [Value(Node(1))]))
    monkeypatch.delattr(f"{HERE}.Value")
    db = again()

    assert oids(db.walk()) == [0, 1]
    assert [way for _, way in db.referrers(1)] == [".leads_to[0].node"]


# -- census ---------------------------------------------------------------------------


def test_the_census_counts_all_objects_and_bytes(database):
    node = store(database, Node(0, [Leaf(n, "x" * n) for n in range(20)]))
    for n in range(3):
        checkout(node)
        node.n = n
        transaction.commit()

    found = database.census()

    load = database.storage.load
    sizes = [len(load(oid).data) for oid in range(21)]
    assert found.classes == (
        ClassCount(f"{HERE}.Leaf", 20, sum(sizes[1:])),
        ClassCount(f"{HERE}.Node", 1, sizes[0]),
    )
    assert (found.objects, found.bytes, found.tid) == (21, sum(sizes), database.tid)


def test_the_census_is_shown_as_a_table():
    found = Census(5, (ClassCount("a.B", 1, 12345), ClassCount("a.C", 1000, 7)))

    assert str(found).splitlines() == [
        "objects   bytes  class",
        "      1  12,345  a.B",
        "  1,000       7  a.C",
        "  1,001  12,352  in all",
    ]
    assert json.loads(json.dumps(found.as_dict())) == {
        "tid": 5,
        "objects": 1001,
        "bytes": 12352,
        "classes": [
            {"name": "a.B", "objects": 1, "bytes": 12345},
            {"name": "a.C", "objects": 1000, "bytes": 7},
        ],
    }


# -- referrers ------------------------------------------------------------------------


def test_referrers_are_told_with_the_way(database):
    wanted = Node(1)
    ways = {
        ".leads_to": Node(leads_to=wanted),
        ".leads_to[1][0]": Node(leads_to=[0, (wanted, wanted)]),
        ".leads_to['key']": Node(leads_to={"key": wanted}),
        ".leads_to key <>": Node(leads_to={wanted: 1}),
        ".leads_to member": Node(leads_to={wanted}),
        ".leads_to[0].node": Node(leads_to=[Value(wanted)]),
        "._items['a']": PersistentDict(a=wanted),
        "._items[1]": PersistentList([0, wanted]),
        "._items member": PersistentSet([wanted]),
    }
    store(database, Node(0, [*ways.values(), Node(leads_to=[Node()])]))

    found = list(database.referrers(wanted))

    assert oids(who for who, _ in found) == sorted(oids(ways.values()))
    for who, way in found:
        expected = next(expected for expected, obj in ways.items() if obj is who)
        assert way == expected.replace("<>", f"<oid {wanted._p_oid}>")
    assert list(database.referrers(wanted._p_oid)) == found
    assert isinstance(found[0], Referrer)
    assert found[0].obj is found[0][0]


def test_the_node_of_a_tree_refers_to_its_values(database):
    node = Node(1)
    store(database, BTree({n: node if n == 500 else n for n in range(1000)}))

    ((leaf, way),) = database.referrers(node)

    assert way.startswith(".items[1][")
    assert leaf in list(database.walk())


def test_an_object_that_refers_to_itself_is_told(database):
    node = store(database, Node())
    checkout(node)
    node.leads_to = [node]
    transaction.commit()

    assert list(database.referrers(node)) == [(node, ".leads_to[0]")]
    assert list(database.walk()) == [node]


def test_who_is_asked_for_something_else_says_so(database, again):
    store(database, Node())
    foreign = again().root

    for ask in (database.referrers, database.walk):
        with pytest.raises(ObjectNotFound):
            ask(7)
        with pytest.raises(ObjectNotFound):
            ask(-1)
        with pytest.raises(NotPersistentError):
            ask("root")
        with pytest.raises(NotPersistentError):
            ask(True)
        with pytest.raises(InvalidObjectReference, match=ask.__name__):
            ask(foreign)
        assert list(ask(Node())) == []


# -- walk -----------------------------------------------------------------------------


def breadth_first(edges: dict[int, list[int]], start: int) -> list[int]:
    """All nodes from *start* on, the nearest first, then by number."""
    found, generation = [start], [start]
    while generation:
        following = {target for node in generation for target in edges[node]}
        generation = sorted(following.difference(found))
        found += generation
    return found


@given(data=st.data(), limit=st.sampled_from([0, 2, 1000]))
def test_a_walk_gives_each_object_once_the_nearest_first(data, limit):
    count = data.draw(st.integers(1, 12))
    edges = {n: data.draw(st.lists(st.integers(0, count - 1), max_size=5)) for n in range(count)}
    manager = transaction.TransactionManager()
    with (
        Database(MemoryLog(), transaction_manager=manager) as database,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(walk_module, "_LIST_LIMIT", limit)
        database.set_root(PersistentList(Node(n) for n in range(count)))
        manager.commit()
        nodes = list(database.root)
        checkout(*nodes)
        for n, node in enumerate(nodes):
            node.leads_to = [nodes[target] for target in edges[n]]
        manager.commit()
        numbers = {node._p_oid: n for n, node in enumerate(nodes)}
        # The order is that of the oids, which is that of the numbers.
        assert [numbers[oid] for oid in sorted(numbers)] == list(range(count))

        for start in range(count):
            walked = list(database.walk(nodes[start]))
            assert [node.n for node in walked] == breadth_first(edges, start)
        assert len(list(database.walk())) == count + 1


def test_a_long_chain_and_a_wide_object_are_walked(database):
    chain: Any = None
    for n in range(3000):
        chain = Node(n, chain)
    store(database, PersistentDict(chain=chain, many=[Leaf(n) for n in range(20_000)]))

    found = [node.n for node in database.walk() if isinstance(node, Node)]

    assert sorted(found) == sorted([*range(3000), *range(20_000)])
    assert found.index(2999) < 20_001  # The chain begins beside the leaves,
    assert found[-2998:] == list(range(2998))[::-1][-2998:]  # and goes on behind them.


class Counting(MemoryLog):
    """Notes what is read from it."""

    def __init__(self) -> None:
        self.read: list[int] = []
        super().__init__()

    def load(self, oid, at=None):
        self.read.append(oid)
        return super().load(oid, at)


def test_a_walk_reads_an_object_when_it_is_asked_for():
    manager = transaction.TransactionManager()
    storage = Counting()
    with Database(storage, transaction_manager=manager) as database:
        database.set_root(Node(0, [Node(1, Node(3)), Node(2)]))
        manager.commit()
        walk = database.walk()
        storage.read.clear()

        assert next(walk)._p_oid == 0
        assert storage.read == [0]
        assert next(walk)._p_oid == 1
        assert storage.read == [0, 1]
        walk.close()


def test_a_reference_that_leads_nowhere_is_passed_over(database, storage):
    store(database, Node(0, [Node(1), Node(2)]))
    manager = transaction.TransactionManager()
    with Database(MemoryLog(), transaction_manager=manager) as broken:
        # What a repair may leave: an object is lost.
        log = broken.storage
        log.acquire()
        names = storage.names.rows()
        entries = [
            (oid, stored.number, stored.data)
            for oid, stored in ((oid, storage.load(oid)) for oid in (0, 2))
        ]
        logged = log.append(storage.tid, entries, names.classes, names.shapes)
        log.apply([logged])
        log.release()
        broken._store.graph.shared.publish_foreign({}, logged.tid)
        manager.begin()

        assert oids(broken.walk()) == [0, 2]
        assert oids(who for who, _ in broken.referrers(2)) == [0]
        assert oids(broken.instances(Node)) == [0, 2]
        with pytest.raises(ObjectNotFound):
            broken.referrers(1)


# -- snapshots ------------------------------------------------------------------------


def look(database: Database) -> Any:
    """All that there is to be seen of the objects of a database."""
    found = database.census()
    return (
        oids(database.instances(Node)),
        oids(database.walk()),
        [(count.name, count.objects) for count in found.classes],
        found.bytes,
        [(who._p_oid, way) for who, way in database.referrers(0)],
    )


def grow(database: Database, manager: Any = transaction) -> None:
    """Make the root another state, and one more object that leads back to it."""
    root = database.root
    checkout(root)
    root.leads_to = [*root.leads_to, Leaf(len(root.leads_to), root)]
    root.n += 1
    manager.commit()


def test_each_thread_looks_at_its_own_snapshot(database):
    store(database, Node(0, [Node(1)]))
    before = look(database)
    steps = Steps()

    @steps.thread
    def writer():
        with steps[1]:
            grow(database)
            after = look(database)
            assert after != before
            assert after[0] == [0, 1, 2]

    with steps[0]:
        assert look(database) == before
    with steps[2]:
        assert look(database) == before
    steps.join()
    transaction.begin()
    assert look(database)[0] == [0, 1, 2]


def test_many_threads_look_while_another_commits(database):
    store(database, Node(0, []))
    done = threading.Event()
    steps = Steps()

    def reader():
        rounds = 0
        while not done.is_set() or not rounds:
            transaction.begin()
            count = database.root.n
            instances, walked, classes, _, referrers = look(database)
            assert instances == walked == list(range(count + 1))
            assert sum(objects for _, objects in classes) == count + 1
            assert [oid for oid, _ in referrers] == instances[1:]
            rounds += 1

    for _ in range(3):
        steps.thread(reader)
    for _ in range(40):
        grow(database)
    done.set()
    steps.join()


ASKED = {
    "instances": lambda db: db.instances(Node),
    "walk": lambda db: db.walk(),
    "referrers": lambda db: (who for who, _ in db.referrers(0)),
}


@pytest.mark.parametrize("how", ASKED)
@pytest.mark.parametrize("begun", [False, True])
def test_it_goes_on_as_it_began_when_the_transaction_ends_and_the_log_is_packed(
    database, how, begun
):
    store(database, Node(0, []))
    for _ in range(6):
        grow(database)
    expected = oids(ASKED[how](database))

    found = ASKED[how](database)
    first = [next(found)._p_oid] if begun else []
    root = database.root
    for n in range(4):
        checkout(root)
        root.leads_to = root.leads_to[1:] if n else root.leads_to[3:]
        transaction.commit()
        database.pack()
        transaction.begin()

    assert first + oids(found) == expected
    assert len(oids(ASKED[how](database))) < len(expected)
    transaction.begin()
    assert not database.storage.has_past


@pytest.mark.parametrize("how", ASKED)
def test_an_iterator_that_is_dropped_lets_go_of_its_snapshot(database, how):
    store(database, Node(0, []))
    grow(database)

    for begun in (False, True):
        found = ASKED[how](database)
        if begun:
            next(found)
        grow(database)
        database.pack()
        transaction.begin()
        assert database.storage.has_past
        del found
        gc.collect()
        transaction.begin()
        assert not database.storage.has_past


def test_all_objects_are_changed_in_batches(database):
    store(database, Node(0, [Node(n) for n in range(1, 30)]))

    for number, node in enumerate(database.instances(Node), 1):
        checkout(node)
        node.n += 100
        if not number % 7:
            transaction.commit()
    transaction.commit()

    assert sorted(node.n for node in database.instances(Node)) == list(range(100, 130))


def test_between_explicit_transactions_it_is_what_is_committed(path):
    with explicit(path) as db:
        manager = db.transaction_manager
        manager.begin()
        db.set_root(Node(0, [Node(1)]))
        manager.commit()

        before = look(db)
        assert before[0] == [0, 1]
        found = db.walk()
        manager.begin()
        grow(db, manager)
        assert oids(found) == [0, 1]
        assert look(db)[0] == [0, 1, 2]
        assert in_thread(look, db)[0] == [0, 1, 2]  # A thread that has begun nothing.


# -- large collections, of which changes are stored ---------------------------------------


@pytest.mark.parametrize("kind", [PersistentDict, PersistentSet, PersistentList])
def test_changes_of_a_large_collection_count_as_what_they_make_of_it(database, again, kind):
    nodes = [Node(n) for n in range(200)]
    many = store(database, kind(dict.fromkeys(nodes)) if kind is PersistentDict else kind(nodes))
    expected, sizes = set(nodes), [database.census().bytes]
    for n in range(3):
        checkout(many)
        new = Leaf(n)
        expected.add(new)
        if kind is PersistentDict:
            many[new] = None
            expected.discard(many.pop(nodes[n], nodes[n]))
            expected.discard(nodes[n])
        elif kind is PersistentSet:
            many.add(new)
            many.remove(nodes[n])
            expected.discard(nodes[n])
        else:
            many.append(new)
        transaction.commit()
        sizes.append(database.census().bytes)
    assert database.storage.load(0).number & DELTA

    db = again()
    wanted = sorted(node._p_oid for node in expected)
    assert oids(db.walk()) == [0, *wanted]
    for node in (nodes[0], nodes[9], new):
        found = [(who._p_oid, way) for who, way in db.referrers(node._p_oid)]
        assert [oid for oid, _ in found] == ([0] if node in expected else [])
        assert all(way.startswith("._items") for _, way in found)
    assert oids(db.instances(kind)) == [0]
    assert sizes == sorted(set(sizes))
    counts = {count.name: count.objects for count in db.census().classes}
    assert counts[f"{HERE}.Node"] == 200
    assert counts[f"{HERE}.Leaf"] == 3
    with db.at(db.tid) as past:
        assert oids(past.walk()) == [0, *wanted]


def test_a_change_of_a_version_that_is_lost_is_damage(database):
    many = store(database, PersistentDict((n, Node(n)) for n in range(200)))
    checkout(many)
    many[1000] = Node()
    transaction.commit()
    names, log = database.storage.names.rows(), MemoryLog()
    stored = database.storage.load(0)
    log.acquire()
    logged = log.append(stored.tid, [(0, stored.number, stored.data)], *names)
    log.apply([logged])
    log.release()
    assert logged.tid == stored.tid

    with explicit(log) as db:
        for ask in (db.walk, lambda: db.referrers(0)):
            with pytest.raises(IntegrityError, match="which is not there"):
                list(ask())
        assert db.census().objects == 1
        assert oids(db.instances(PersistentDict)) == [0]


# -- storages --------------------------------------------------------------------------


def the_same(kind: str, database: Database, manager: Any, folder: Any) -> Database:
    """A database that shows what *database* shows now, whatever comes later."""
    if kind == "overlay":
        return Database(OverlayLog(database.storage), transaction_manager=manager)
    if kind == "snapshot":
        database.snapshot(folder / "copy.log")
        return Database(folder / "copy.log", transaction_manager=manager)
    return database.at(database.tid)


@pytest.mark.parametrize("kind", ["overlay", "snapshot", "past"])
@pytest.mark.parametrize("base", ["file", "memory"])
def test_it_works_over_every_storage(kind, base, path, tmp_path):
    manager = transaction.TransactionManager()
    storage = MemoryLog() if base == "memory" else TransactionLog(path, sync=False)
    with Database(storage, transaction_manager=manager) as database:
        database.set_root(Node(0, []))
        manager.commit()
        for _ in range(3):
            grow(database, manager)
        expected = look(database)
        assert expected[:2] == ([0, 1, 2, 3], [0, 1, 2, 3])

        with the_same(kind, database, manager, tmp_path) as same:
            assert look(same) == expected
            checkout(database.root)
            database.root.leads_to = []
            manager.commit()
            grow(database, manager)
            if base == "file":
                database.pack()
                manager.begin()
            assert look(same) == expected
            if kind == "overlay":
                grow(same, manager)
                assert look(same)[:2] == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
        assert look(database)[1] == [0, 4]


def test_another_process_has_made_them(database, again):
    store(database, Node(0, [Leaf(1)]))
    db = again()
    grow(database)

    assert oids(db.instances(Leaf)) == [1]
    db.transaction_manager.begin()
    assert oids(db.instances(Leaf)) == [1, 2]


# -- progress, damage, interrupts, the end -------------------------------------------------


def test_progress_is_told(database):
    store(database, Node(0, [Leaf(n) for n in range(2500)]))

    expected = [(1000, 2501), (2000, 2501), (2501, 2501)]
    for ask in (
        lambda told: deque(database.instances(Other, told), 0),
        lambda told: deque(database.walk(progress=told), 0),
        lambda told: deque(database.referrers(5, told), 0),
        database.census,
    ):
        told: list[tuple[int, int]] = []
        ask(lambda done, total, told=told: told.append((done, total)))
        assert told == expected


def test_damage_is_told_where_it_is(database, path, again):
    store(database, Node(0, [Leaf(1), Leaf(2, "Find me"), Leaf(3)]))
    data = path.read_bytes()
    assert b"Find me" in data
    path.write_bytes(data.replace(b"Find me", b"find me"))
    db = again()

    for ask in (lambda: db.instances(Leaf), db.walk, lambda: db.referrers(1)):
        found = ask()
        next(found)
        with pytest.raises(IntegrityError, match=path.name):
            list(found)
    with pytest.raises(IntegrityError, match=path.name):
        db.census()
    assert not db.storage._reading.generations._pins
    path.write_bytes(data)


def test_what_progress_raises_goes_through(database):
    store(database, Node(0, [Leaf(1)]))

    def stop(_done, _total):
        raise KeyboardInterrupt

    for ask in (database.census, lambda told: list(database.walk(progress=told))):
        with pytest.raises(KeyboardInterrupt):
            ask(stop)
    assert not database.storage._reading.generations._pins


# One that comes while an iterator is forgotten is told on stderr, as Python does.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_between_any_two_lines_leaves_nothing_behind(database):
    store(database, Node(0, []))
    for _ in range(3):
        grow(database)
    expected = look(database)
    lines = Interrupt(sys.maxsize, "dobbin_like")
    with tracing(lines):
        look(database)
    count = sys.maxsize - lines.left
    assert count > 500

    told = sum(interrupted(lambda: look(database), number) for number in range(1, count, 13))

    assert told > count / 13 * 0.8
    assert look(database) == expected
    grow(database)
    assert look(database)[0] == [0, 1, 2, 3, 4]


def test_closing_ends_it(database, path, again):
    store(database, Node(0, [Node(n) for n in range(10)]))
    for how in ASKED.values():
        db = again()
        found = how(db)
        if how is not ASKED["referrers"]:
            next(found)
        db.close()
        with pytest.raises(ClosedError):
            list(found)
        for each in (*ASKED.values(), Database.census):
            with pytest.raises(ClosedError):
                each(db)
