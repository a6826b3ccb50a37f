"""Large collections and small ones: what is odd in what a program may do to them."""

from __future__ import annotations

import copy
import dataclasses
import decimal
import enum
from queue import Empty
from typing import Any

import pytest
import transaction

from dobbin_like.database import Database
from dobbin_like.exc import ConflictError
from dobbin_like.ids import Oid
from dobbin_like.objects.deltas.layered import DELTA_TYPES
from dobbin_like.objects.values.guards import SharedDict, SharedList, SharedSet
from dobbin_like.persistent import (
    Persistent,
    PersistentDict,
    PersistentList,
    PersistentQueue,
    PersistentSet,
    checkout,
)
from tests.helpers.steps import Steps
from tests.helpers.transactions import commit_elsewhere

LARGE = 200


@pytest.fixture(params=[5, LARGE])
def size(request):
    return request.param


@pytest.fixture
def elected(database):
    """Store an object as the root."""

    def elect(root: Any) -> Any:
        database.set_root(root)
        transaction.commit()
        return root

    return elect


def same_in(read: Any, expected: Any) -> None:
    assert [(type(one), one) for one in read] == [(type(one), one) for one in expected]


# -- changes while iterating ----------------------------------------------------------------


def assign(items: Any) -> None:
    for index, item in enumerate(items):
        items[index] = -item


def remove(items: Any) -> None:
    for item in items:
        if item % 2:
            items.remove(item)


def append(items: Any) -> None:
    for item in items:
        if item < 3:
            items.append(item + 10_000)
        elif item == 10_001:
            items.sort(reverse=True)


def backwards(items: Any) -> None:
    for item in reversed(items):
        items.append(item)
        if item % 3 == 0:
            items.pop(0)
            items.pop()


@pytest.mark.parametrize("work", [assign, remove, append, backwards])
def test_a_list_changes_while_it_is_iterated_as_the_built_in(elected, size, work):
    expected = [*range(size)]
    root = elected(PersistentList(expected))
    checkout(root)
    work(root)
    work(expected)
    same_in(root, expected)
    transaction.commit()
    same_in(root, expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.clear(),
        lambda c: c.pop(3),
        lambda c: c.update({"new": 1}),
        lambda c: c.popitem(),
    ],
)
@pytest.mark.parametrize("look", [iter, reversed, lambda c: iter(c.items())])
def test_a_dict_that_changes_its_size_tells_who_iterates(elected, size, change, look):
    root = elected(PersistentDict.fromkeys(range(size)))
    checkout(root)
    steps = look(root)
    next(steps)
    change(root)
    with pytest.raises(RuntimeError, match="changed size during iteration"):
        next(steps)


@pytest.mark.parametrize(
    "change", [lambda c: c.clear(), lambda c: c.add(-1), lambda c: c.intersection_update([1, 2])]
)
def test_a_set_that_changes_its_size_tells_who_iterates(elected, size, change):
    root = elected(PersistentSet(range(size)))
    checkout(root)
    steps = iter(root)
    next(steps)
    change(root)
    with pytest.raises(RuntimeError, match="changed size during iteration"):
        next(steps)


# -- as the built-in ---------------------------------------------------------------------------


def test_views_of_a_dict_that_is_being_changed(elected, size):
    expected: dict[Any, Any] = {number: [number] for number in range(size)}
    root = elected(PersistentDict(expected))
    checkout(root)
    for target in (root, expected):
        target["new"] = 1
        target[1] = 2
        del target[2]
        target[2] = "again"
        del target[3]
    for name in ("keys", "values", "items"):
        view, plain = getattr(root, name)(), getattr(expected, name)()
        assert list(view) == list(plain)
        assert list(reversed(view)) == list(reversed(plain))
        assert repr(view) == repr(plain)
        assert len(view) == len(plain)
    assert (1, 2) in root.items()
    assert 3 not in root.items()
    assert root.keys() & {1, 3} == {1}


@pytest.mark.parametrize("kind", [PersistentDict, PersistentList, PersistentSet])
def test_items_that_a_program_looks_at_equal_a_built_in(kind, elected, size):
    numbers: dict[int, None] = dict.fromkeys(range(size))
    root = elected(kind(numbers))
    plain = kind._p_builtin(numbers)
    checkout(root)
    for target in (root, plain):
        if kind is PersistentDict:
            target[-1] = None
        else:
            (target.append if kind is PersistentList else target.add)(-1)
    being_changed = vars(root)["_items"]
    assert being_changed == plain
    assert being_changed != kind._p_builtin(numbers)
    transaction.commit()
    shared = vars(root)["_items"]
    assert shared == plain
    assert plain == shared
    assert shared != kind._p_builtin(numbers)


def test_what_equals_a_member_takes_its_place_when_that_has_gone(elected, again, size):
    root = elected(PersistentSet(range(size)))
    checkout(root)
    root.discard(True)
    root.add(True)
    transaction.commit()
    for found in (root, again().root):
        assert [type(member) for member in found if member == 1] == [bool]


def test_what_equals_a_key_takes_its_place_when_that_has_gone(elected, again, size):
    root = elected(PersistentDict.fromkeys(range(size)))
    checkout(root)
    root[True] = "one"
    transaction.commit()
    same_in(root, range(size))
    checkout(root)
    del root[1.0]
    root[True] = "one"
    transaction.commit()
    for found in (root, again().root):
        same_in(found, [0, *range(2, size), True])


def test_a_set_is_looked_for_as_a_frozen_one(elected, size):
    root = elected(PersistentSet([*range(size), frozenset([1])]))
    checkout(root)
    assert {1} in root
    root.discard({1})
    assert {1} not in root
    root.add(frozenset([1]))
    root.remove({1})
    with pytest.raises(KeyError):
        root.remove({1})


def test_what_came_before_an_error_is_there(elected, size):
    root = elected(PersistentList(range(size)))
    checkout(root)

    def some() -> Any:
        yield "first"
        yield len(root)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        root.extend(some())
    assert root[size:] == ["first", size + 1]
    assert len(root) == size + 2
    with pytest.raises(TypeError):
        root.insert(1e9, 1)
    with pytest.raises(IndexError, match="list index out of range"):
        root[size + 2]
    with pytest.raises(TypeError, match="list indices must be integers or slices, not str"):
        root["a"]


class Moody:
    """Changes a collection when it is compared."""

    def __init__(self, change: Any) -> None:
        self.change = change

    def __hash__(self) -> int:
        return hash(1)

    def __eq__(self, other: object) -> bool:
        self.change()
        return False


def test_a_comparison_that_changes_the_collection_breaks_nothing(elected, size):
    root = elected(PersistentSet(range(size)))
    checkout(root)
    root.update([Moody(root.clear), 2])
    assert 3 not in root


@pytest.mark.parametrize("cls", [PersistentDict, PersistentSet])
def test_taking_all_costs_its_number(elected, cls):
    root = elected(cls.fromkeys(range(30_000)) if cls is PersistentDict else cls(range(30_000)))
    checkout(root)
    for number in range(30_000):
        (root.__setitem__(-number, 1) if cls is PersistentDict else root.add(-number))
    while root:
        root.popitem() if cls is PersistentDict else root.pop()


# -- values ----------------------------------------------------------------------------------


def test_a_value_set_to_what_it_was_is_no_change(elected, database, size):
    root = elected(PersistentDict({number: [number] for number in range(size)}))
    tid = database.tid
    checkout(root)
    root[1] = root[1]
    root[2] = [2]
    transaction.commit()
    assert database.tid == tid


def test_attributes_with_one_value_in_two_places_beside_large_items(elected, again, size):
    root = elected(PersistentDict.fromkeys(range(size)))
    checkout(root)
    one: list[int] = []
    root.note = [one, one]
    transaction.commit()
    checkout(root)
    root[1] = "x"
    root.more = 1
    transaction.commit()
    for found in (root, again().root):
        assert (found[1], found.more) == ("x", 1)
        assert found.note[0] is found.note[1]


@pytest.mark.parametrize("grow", [PersistentDict, PersistentList])
def test_a_value_in_two_places_stays_one_when_it_is_merged(elected, size, grow):
    if grow is PersistentDict:
        root = elected(PersistentDict(dict.fromkeys(range(size)) | {"n": [[2]]}))
        checkout(root)
        root["d"] = root["n"][0]
        commit_elsewhere(lambda: (checkout(root), root.update(t=1)))
        transaction.commit()
        assert root["d"] is root["n"][0]
    else:
        root = elected(PersistentList([[[2]], *range(size)]))
        checkout(root)
        root.append(root[0][0])
        commit_elsewhere(lambda: (checkout(root), root.append("theirs")))
        transaction.commit()
        assert root[-1] is root[0][0]
    assert root["t"] == 1 if grow is PersistentDict else root[-2] == "theirs"


def test_the_order_of_keys_is_merged(elected, again, size):
    keys = [*range(size)]
    root = elected(PersistentDict.fromkeys(keys))
    checkout(root)
    root[0] = root.pop(0)
    commit_elsewhere(lambda: (checkout(root), root.update(t=1)))
    transaction.commit()
    same_in(root, [*keys[1:], "t", 0])
    same_in(again().root, root)


class LastWins(PersistentDict):
    @staticmethod
    def _p_resolve_conflict(old, saved, mine):
        assert all(type(state["_items"]) is dict for state in (old, saved, mine))
        return mine


def test_a_class_that_resolves_conflicts_gets_built_ins_and_its_word_counts(elected, size):
    root = elected(LastWins.fromkeys(range(size)))
    checkout(root)
    root["mine"] = 1

    def theirs() -> None:
        checkout(root)
        root["theirs"] = 1
        del root[2]

    commit_elsewhere(theirs)
    transaction.commit()
    assert list(root) == [*range(size), "mine"]


# -- queues ------------------------------------------------------------------------------------


def test_an_item_that_equals_a_taken_one_is_not_taken_for_it(elected, size):
    root = elected(PersistentQueue(["tick"] * size))
    checkout(root)
    root.get()

    def take_all() -> None:
        checkout(root)
        for _ in range(size):
            root.get()

    commit_elsewhere(take_all)
    commit_elsewhere(lambda: (checkout(root), root.put("tick")))
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()
    checkout(root)
    assert root.get() == "tick"
    with pytest.raises(Empty):
        root.get()


def test_many_items_put_and_taken_in_one_transaction(elected):
    root = elected(PersistentQueue(range(LARGE)))
    checkout(root)
    for number in range(LARGE, 20_000):
        root.put(number)
    assert [root.get() for _ in range(20_000)] == [*range(20_000)]
    root.put("last")
    transaction.commit()
    assert list(root) == ["last"]


# -- keys that are objects, or equal others ------------------------------------------------------


class Name(Persistent):
    """Equal and hashed by what it holds, so it is read when it is a key that is read."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Name) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


class Color(enum.StrEnum):
    RED = "0"
    BLUE = "blue"


class Place(enum.IntEnum):
    FIRST = 1


def test_keys_that_have_gone_are_there_when_a_packed_log_is_read(database, again, elected):
    for cls in (PersistentDict, PersistentSet):
        names = [Name(str(number)) for number in range(LARGE)]
        root = elected(PersistentDict(c=1)) if database.root is None else database.root
        checkout(root)
        items = dict.fromkeys([(name, 1) for name in names]) if cls is PersistentDict else names
        root[cls.__name__] = cls(items)
        transaction.commit()
        found = root[cls.__name__]
        checkout(found)
        if cls is PersistentDict:
            del found[names[3], 1]
        else:
            found.remove(names[3])
        transaction.commit()
    database.pack()
    other = again()
    assert len(other.root["PersistentDict"]) == len(other.root["PersistentSet"]) == LARGE - 1
    assert names[3] not in other.root["PersistentSet"]


@pytest.mark.parametrize("cls", [PersistentDict, PersistentSet])
def test_a_key_may_be_named_by_what_equals_it(tmp_path, database, again, elected, cls):
    keys: list[Any] = [*map(str, range(LARGE)), Name("one"), Name("two")]
    root = elected(cls.fromkeys(keys) if cls is PersistentDict else cls(keys))
    count = database.storage.next_oid
    checkout(root)
    for gone in (Color.RED, Name("one")):
        (root.pop if cls is PersistentDict else root.remove)(gone)
    if cls is PersistentDict:
        root[Name("two")] = "new"
    transaction.commit()
    assert database.storage.next_oid == count
    database.snapshot(tmp_path / "snapshot.log")
    with Database(
        tmp_path / "snapshot.log", transaction_manager=transaction.TransactionManager()
    ) as snapshot:
        for found in (root, again().root, snapshot.root):
            assert list(map(type, found)).count(Name) == 1
            assert len(found) == LARGE
            assert "0" not in found
            if cls is PersistentDict:
                assert found[Name("two")] == "new"


@pytest.mark.parametrize(
    ("key", "name"), [(Color.BLUE, "blue"), (Place.FIRST, 1), ("0", Color.RED)]
)
def test_a_member_of_an_enum_is_removed_and_replaced_by_its_value(
    tmp_path, again, database, elected, key, name
):
    # A snapshot is made without the classes: there, it was another key, and came back.
    keys = {str(number): 0 for number in range(LARGE)} | {key: 0}
    root = elected(
        PersistentList([PersistentDict(keys), PersistentDict(keys), PersistentSet(keys)])
    )
    for each in root:
        checkout(each)
    gone, set_again, members = root
    del gone[name]
    set_again[name] = 5
    members.discard(name)
    members.add(name)
    transaction.commit()
    database.snapshot(tmp_path / "snapshot.log")

    manager = transaction.TransactionManager()
    with Database(tmp_path / "snapshot.log", transaction_manager=manager) as snapshot:
        for found in root, again().root, snapshot.root:
            assert key not in found[0]
            assert [(type(one), value) for one, value in found[1].items() if value] == [
                (type(key), 5)
            ]
            assert [type(one) for one in found[2] if one == key] == [type(name)]
            assert list(map(len, found)) == [len(keys) - 1, len(keys), len(keys)]


def test_a_key_that_others_put_in_the_place_of_its_equal_is_removed_and_replaced(
    tmp_path, again, database, elected
):
    keys = {str(number): 0 for number in range(LARGE)} | {"blue": 0}
    root = elected(
        PersistentList([PersistentDict(keys), PersistentDict(keys), PersistentSet(keys)])
    )
    gone, set_again, members = root

    def theirs() -> None:
        for each in gone, set_again:
            checkout(each)
            del each["blue"]
            each[Color.BLUE] = 0
        checkout(members)
        members.remove("blue")
        members.add(Color.BLUE)

    for each in root:
        checkout(each)
    del gone["blue"]
    set_again["blue"] = 5
    members.remove("blue")
    commit_elsewhere(theirs)
    transaction.commit()
    database.snapshot(tmp_path / "snapshot.log")

    manager = transaction.TransactionManager()
    with Database(tmp_path / "snapshot.log", transaction_manager=manager) as snapshot:
        for found in root, again().root, snapshot.root:
            assert "blue" not in found[0]
            assert [(key, value) for key, value in found[1].items() if value] == [("blue", 5)]
            assert "blue" not in found[2]
            assert list(map(len, found)) == [LARGE, LARGE + 1, LARGE]


# -- what lies in layers -----------------------------------------------------------------------


NAN = float("nan")
ODD_KEYS: dict[str, Any] = {
    "nan": NAN,
    "complex": complex(0, NAN),
    "decimal": decimal.Decimal("NaN"),
    "tuple": (1, (NAN, "a")),
    "frozenset": frozenset([NAN]),
}


@pytest.mark.parametrize("key", ODD_KEYS.values(), ids=ODD_KEYS)
def test_a_key_that_equals_only_itself_can_be_removed(elected, again, size, key):
    # The delta named it, and what was loaded of that name removed nothing: it came back.
    numbers = dict.fromkeys(range(size))
    root = elected(PersistentList([PersistentDict({**numbers, key: 1}), PersistentSet(numbers)]))
    items, members = root
    open_before = again()
    assert len(open_before.root[0]) == size + 1

    checkout(items, members)
    members.add(next(other for other in items if other not in numbers))
    transaction.commit()
    assert len(again().root[1]) == size + 1
    checkout(items, members)
    del items[next(reversed(items))]
    members.discard(next(member for member in members if member not in numbers))
    transaction.commit()

    open_before.transaction_manager.begin()
    for database in again(), open_before:
        assert [*database.root[0]] == [*range(size)]
        assert set(database.root[1]) == {*numbers}


@pytest.mark.parametrize("key", ODD_KEYS.values(), ids=ODD_KEYS)
def test_the_value_of_a_key_that_equals_only_itself_can_be_replaced(elected, again, size, key):
    items = elected(PersistentDict({**dict.fromkeys(range(size)), key: 1}))
    open_before = again()
    assert len(open_before.root) == size + 1

    checkout(items)
    items[next(reversed(items))] = 2
    transaction.commit()

    open_before.transaction_manager.begin()
    for database in again(), open_before:
        assert [*database.root.values()] == [None] * size + [2]


@pytest.fixture(params=[PersistentDict, PersistentSet, PersistentList])
def layers(request, elected):
    """A large collection in shared state, of which something was changed."""
    cls = request.param
    root = elected(cls.fromkeys(range(LARGE)) if cls is PersistentDict else cls(range(LARGE)))
    add(root, "new")
    transaction.commit()
    assert type(vars(root)["_items"]) in DELTA_TYPES - {SharedDict, SharedList, SharedSet}
    return root


def add(collection: Any, item: Any) -> None:
    checkout(collection)
    if isinstance(collection, PersistentDict):
        collection[item] = None
    else:
        (collection.add if isinstance(collection, PersistentSet) else collection.append)(item)


def test_an_attribute_is_set_beside_it(layers, again):
    checkout(layers)
    layers.note = [1]
    transaction.commit()
    checkout(layers)
    layers.more = 1
    transaction.commit()
    found = again().root
    assert (found.note, found.more, found == layers) == ([1], 1, True)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda c: c.copy()])
def test_a_copy_of_it_can_be_changed(layers, copied):
    made = copied(layers)
    add(made, "more")
    assert "more" in made
    assert "new" in made
    assert "more" not in layers


def test_it_is_stored_again_when_it_was_dropped_and_is_reached_again(database, again, layers):
    outer = PersistentDict()
    checkout(layers)
    layers.outer = outer
    transaction.commit()
    part = layers.copy()
    checkout(outer)
    outer["part"] = part
    transaction.commit()
    add(part, "new")
    transaction.commit()
    checkout(outer)
    del outer["part"]
    transaction.commit()
    database.pack()
    checkout(outer)
    outer["part"] = part
    transaction.commit()
    assert again().root.outer["part"] == part
    add(part, "more")
    transaction.commit()
    assert again().root.outer["part"] == part


# -- values that can't be guarded, or are in two places ----------------------------------------


@dataclasses.dataclass
class Value:
    number: int


@pytest.mark.parametrize("guard", [True, False])
def test_items_that_cannot_be_guarded_are_merged(path, again, size, guard):
    with Database(path, guard=guard) as database:
        root = PersistentDict({number: Value(number) for number in range(size)})
        database.set_root(root)
        transaction.commit()
        checkout(root)
        root[1].number = root.mine = -1

        def theirs() -> None:
            checkout(root)
            root[2].number = -2
            root["t"] = [root[3]]
            del root[0]

        commit_elsewhere(theirs)
        transaction.commit()
        for found in (root, again().root):
            numbers = [value.number for key, value in found.items() if key != "t"]
            assert numbers == [-1, -2, *range(3, size)]
            assert found["t"][0] is found[3]
            assert found.mine == -1


def test_a_part_of_what_others_may_change_is_not_merged(elected, size):
    root = elected(PersistentDict({number: Value(number) for number in range(size)}))
    checkout(root)
    root["same"] = root[1]
    commit_elsewhere(lambda: (checkout(root), root.update(t=1)))
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()


def test_the_version_before_is_found_in_its_own_file_while_an_older_one_is_in_use(database):
    root = PersistentDict.fromkeys(range(LARGE))
    database.set_root(root)
    transaction.commit()
    steps = Steps()

    @steps.thread
    def reader() -> None:
        with steps[0]:
            transaction.begin()
            assert len(database.root) == LARGE
        with steps[2]:
            transaction.abort()

    with steps[1]:
        for number in range(5):
            checkout(root)
            root[number] = "changed"
            transaction.commit()
        database.pack()
        transaction.begin()
        assert database.storage.has_past
        found = []
        stored = database.storage.load(Oid(0))
        while stored is not None:
            found.append(stored.tid)
            stored = database.storage.version_before(Oid(0), stored)
        assert found == sorted(found, reverse=True)
        assert len(found) > 1
    steps.join()
