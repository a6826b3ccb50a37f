"""What a begin, a read and a commit cost, in counts that no machine's mood touches.

Each limit is what it takes now: who needs more has a reason, and puts it here.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import BTree, Database, Persistent, PersistentDict, TransactionLog, checkout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

pytestmark = pytest.mark.usefixtures("program_of_its_own")

WARM = 20
SYSTEM = {"posix", "fcntl", "select"}
"""Built-in modules whose functions are system calls."""


class Thing(Persistent):
    """An object as users have them."""

    def __init__(self, others: list[Thing]) -> None:
        self.number = 0
        self.weight = 1 / 7
        self.text = "this is what is said of it"
        self.others = others


THREADED_DICT = "dobbin_like.processes.threaded_dict"
"""Not counted: on a build without the interpreter lock, it is a dict with methods in Python."""


class Counts:
    """The system calls that Python makes, by name, and the calls of Python functions."""

    def __init__(self) -> None:
        self.system: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            module = frame.f_globals.get("__name__")
            if module != THREADED_DICT:
                self.functions[f"{module}.{frame.f_code.co_name}"] += 1
        elif event == "c_call" and argument.__module__ in SYSTEM:
            self.system[argument.__name__] += 1

    @property
    def python(self) -> int:
        return self.functions.total()

    def told(self) -> str:
        return "\n".join(f"{count} {name}" for name, count in sorted(self.functions.items()))


@pytest.fixture(autouse=True)
def _without_trio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has imported it pays for a look at its tasks; plugins of pytest do."""
    monkeypatch.delitem(sys.modules, "trio.lowlevel", raising=False)


@contextmanager
def counted() -> Iterator[Counts]:
    counts = Counts()
    before = sys.getprofile()
    gc.disable()  # What other tests have left is not collected meanwhile.
    sys.setprofile(counts)
    try:
        yield counts
    finally:
        sys.setprofile(before)
        gc.enable()


def fill(database: Database) -> Thing:
    thing = Thing([Thing([]) for _ in range(5)])
    database.set_root(PersistentDict(thing=thing))
    transaction.commit()
    for _ in range(WARM):
        change(thing)
        transaction.commit()
    return thing


def change(thing: Thing) -> None:
    checkout(thing)
    thing.number += 1


def test_a_begin_without_news_reads_two_words(database: Database) -> None:
    fill(database)
    transaction.begin()

    with counted() as counts:
        transaction.begin()

    assert counts.system == {"pread": 2}  # One ends the transaction before.
    assert counts.python <= 46, counts.told()


def test_a_loaded_attribute_is_read_without_code_of_the_store(database: Database) -> None:
    thing = fill(database)

    with counted() as nothing:
        pass
    with counted() as counts:
        _ = thing.number

    assert counts.system == {}
    assert counts.python == nothing.python


def test_objects_that_are_read_for_the_first_time_are_read_together(path: Path) -> None:
    things: list[Thing] = []
    for _ in range(100):
        things.append(Thing(things[-5:]))
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentDict(things=things))
        transaction.commit()
    with Database(TransactionLog(path, sync=False)) as database:
        things = [*database.root["things"]]
        _ = [thing.number for thing in things[:50]]  # The states of a class are much alike.
        with counted() as counts:
            for thing in things[50:]:
                _ = thing.number

    assert counts.system.total() <= 1  # They were written one after the other.
    assert counts.python <= 50 * 17, counts.told()


def test_a_begin_with_news_reads_what_is_new(database: Database, again: Any) -> None:
    thing = fill(database)
    manager = again().transaction_manager
    for _ in range(3):
        change(thing)
        transaction.commit()
        with counted() as counts:
            manager.begin()

    assert counts.system["pread"] <= 5
    assert set(counts.system) == {"pread"}
    assert counts.python <= 129, counts.told()


def test_a_commit_that_is_not_synced_writes_twice(database: Database, path: Path) -> None:
    thing = fill(database)
    transaction.begin()
    before = path.stat().st_size

    with counted() as counts:
        transaction.begin()
        change(thing)
        transaction.commit()

    assert path.stat().st_size - before <= 168
    assert counts.system == {"pread": 3, "flock": 2, "pwrite": 2, **asks(counts)}
    assert counts.python <= 177, counts.told()


def test_a_durable_commit_is_synced_once(path: Path) -> None:
    with Database(TransactionLog(path)) as database:
        thing = fill(database)
        with counted() as counts:
            transaction.begin()
            change(thing)
            transaction.commit()

    assert counts.system["fdatasync"] == 1
    assert counts.system["pwrite"] <= 4
    assert counts.system["pread"] <= 5
    assert counts.python <= 201, counts.told()


@pytest.mark.parametrize("size", [1_000, 20_000])
def test_one_key_of_a_dict_costs_the_same_in_any_size(
    database: Database, path: Path, size: int
) -> None:
    root = PersistentDict.fromkeys(range(size))
    database.set_root(root)
    transaction.commit()
    for key in range(WARM):
        checkout(root)
        root[key] = key
        transaction.commit()
    before = path.stat().st_size

    with counted() as counts:
        checkout(root)
        root[7] = -1
        transaction.commit()

    assert path.stat().st_size - before <= 128
    assert counts.system == {"pread": 1, "flock": 2, "pwrite": 2, **asks(counts)}
    assert counts.python <= 225, counts.told()  # On Python 3.14; 223 on those before.


def test_a_key_of_a_tree_that_is_checked_out_is_changed_by_few_calls(database: Database) -> None:
    tree = BTree(((number % 10, number), number) for number in range(10_000))
    database.set_root(tree)
    transaction.commit()
    checkout(tree)
    tree[5, 5] = tree[5, 6] = 0

    with counted() as counts:
        tree[5, 5] = 1
        del tree[5, 6]
        tree[5, 6] = 2

    faces = "dobbin_like.objects.faces."
    looks = sum([n for name, n in counts.functions.items() if name.startswith(faces)])
    assert looks <= 12, sorted(counts.functions.items())


@pytest.mark.slow
def test_a_key_of_a_large_tree_is_found_by_few_records(database: Database, path: Path) -> None:
    database.set_root(BTree((number, number) for number in range(100_000)))
    transaction.commit()
    with Database(path, transaction_manager=transaction.TransactionManager()) as other:
        tree = other.root
        assert tree[50_000] == 50_000
        loaded = other.stats().loads
        other.transaction_manager.abort()

    assert loaded <= 4


def asks(counts: Counts) -> dict[str, int]:
    """Return what is asked of the kernel without reading or writing: at most so often."""
    asked = {name: counts.system[name] for name in ("getpid", "makedev")}
    assert asked["getpid"] <= 4
    assert asked["makedev"] <= 1
    return asked


@pytest.mark.parametrize("changed", [True, False], ids=["changed", "new"])
def test_a_commit_of_many_objects_is_gathered_without_collections(
    path: Path, changed: bool
) -> None:
    """Each of them would look at all that is in memory, and what is gathered stays."""
    with Database(TransactionLog(path, sync=False)) as database:
        things = [Thing([]) for _ in range(3000)]
        root: PersistentDict[str, Any] = PersistentDict(things=things if changed else [])
        database.set_root(root)
        transaction.commit()
        if changed:
            for thing in things:
                change(thing)
        else:
            checkout(root)
            root["things"] = things
        collections: list[str] = []
        gc.collect()
        gc.callbacks.append(lambda phase, _: collections.append(phase))
        try:
            transaction.commit()
        finally:
            gc.callbacks.pop()

    assert len(collections) <= 2 * 10
    assert gc.isenabled()
