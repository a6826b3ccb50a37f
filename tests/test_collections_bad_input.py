"""What goes wrong in a container goes wrong as in a built-in one; nothing is stored half."""

from __future__ import annotations

import copy
import math
import pickle
import sys

import pytest
import transaction

from dobbin_like import (
    Database,
    MemoryLog,
    Persistent,
    PersistentDict,
    PersistentList,
    PersistentSet,
    checkout,
)
from dobbin_like.collections import common
from dobbin_like.exc import InvalidObjectReference, NotStorableError, SharedValueError

KINDS = {dict: PersistentDict, list: PersistentList, set: PersistentSet}


class Thing(Persistent):
    pass


class Bag(PersistentDict):
    """One that does without the constructor of its base."""

    def __init__(self):
        self.color = "red"


def stored(database, container):
    database.set_root(container)
    transaction.commit()
    checkout(container)
    return container


def outcome(operation, subject):
    try:
        return operation(subject)
    except Exception as error:
        return type(error)


# -- keys -------------------------------------------------------------------------


@pytest.mark.parametrize("key", [[], {}, set(), bytearray(), PersistentList(), ([],)])
def test_a_key_without_a_hash_is_refused(database, key):
    table = stored(database, PersistentDict(a=1))
    members = PersistentSet({1})
    checkout(members)

    for refuse in (
        lambda: table.__setitem__(key, 1),
        lambda: table[key],
        lambda: table.get(key),
        lambda: table.pop(key, None),
        lambda: table.setdefault(key),
        lambda: key in table,
        lambda: PersistentDict([(key, 1)]),
        lambda: members.add(key),
        lambda: PersistentSet([key]),
    ):
        with pytest.raises(TypeError, match="unhashable type"):
            refuse()

    transaction.commit()
    assert (table, members) == ({"a": 1}, {1})


@pytest.mark.parametrize("item", [[], {}, bytearray(), PersistentList()])
def test_a_set_is_not_asked_for_what_has_no_hash(item):
    members = PersistentSet({1})
    checkout(members)

    for refuse in (members.__contains__, members.discard, members.remove):
        with pytest.raises(TypeError, match="unhashable type"):
            refuse(item)


def test_a_set_is_asked_for_a_set():
    members = PersistentSet({frozenset("ab"), frozenset("cd")})
    checkout(members)

    assert set("ab") in members
    assert PersistentSet("ab") in members
    assert PersistentSet("xy") not in members
    assert "ab" not in members
    members.remove(PersistentSet("ab"))
    members.discard(PersistentSet("cd"))
    members.discard(PersistentSet("cd"))
    assert members == set()
    gone = PersistentSet("ab")
    with pytest.raises(KeyError) as e:
        members.remove(gone)
    assert e.value.args[0] is gone


def test_an_update_that_fails_in_the_middle_leaves_what_the_built_in_one_leaves(database, again):
    table, expected = stored(database, PersistentDict(a=1)), {"a": 1}
    pairs = [("b", 2), ([], 3), ("c", 4)]

    for subject in (table, expected):
        with pytest.raises(TypeError):
            subject.update(pairs)
    transaction.commit()

    assert table == again().root == expected == {"a": 1, "b": 2}


def test_keys_of_any_kind_stand_side_by_side(database, again):
    keys = [None, 1, 1.5, "1", b"1", (1, None), frozenset({1}), True, math.inf, ..., int, 2**100]
    table = stored(database, PersistentDict())
    for number, key in enumerate(keys):
        table[key] = number
    expected = {key: number for number, key in enumerate(keys)}
    members = PersistentSet(keys)
    checkout(table)
    table["members"] = members
    expected["members"] = members
    transaction.commit()

    found = again().root
    assert table == expected
    assert list(found)[:-1] == list(expected)[:-1]
    assert [type(key) for key in found] == [type(key) for key in expected]
    assert found["members"] == set(keys)
    assert found[None] == 0
    assert found[True] == found[1] == 7


def test_what_can_not_be_ordered_is_not_sorted(database, again):
    items = [3, "a", None, 1]
    row, expected = stored(database, PersistentList(items)), list(items)

    for subject in (row, expected):
        with pytest.raises(TypeError, match="not supported between"):
            subject.sort()
    transaction.commit()

    assert row == again().root == expected


def test_a_list_that_is_changed_while_it_is_sorted_says_so(database):
    row = stored(database, PersistentList([3, 1, 2]))

    with pytest.raises(ValueError, match="modified during sort"):
        row.sort(key=lambda item: row.append(item) or item)


# -- mutation during iteration -----------------------------------------------------------


def grow(subject):
    add = {
        dict: lambda: subject.__setitem__(len(subject), None),
        list: lambda: len(subject) < 10 and subject.append(5),
        set: lambda: subject.add(len(subject)),
    }[kind_of(subject)]
    seen = []
    for item in subject:
        seen.append(item)
        add()
    return seen


def kind_of(subject):
    return next(kind for kind in KINDS if isinstance(subject, (kind, KINDS[kind])))


@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_growing_while_iterating_ends_as_in_the_built_in_type(database, kind, is_stored):
    content = {dict: {0: None, 1: None}, list: [0, 1], set: {0, 1}}[kind]
    container = KINDS[kind](content)
    if is_stored:
        stored(database, container)
    checkout(container)

    assert outcome(grow, container) == outcome(grow, content)

    assert container == content


def test_a_view_that_is_iterated_says_that_the_dict_has_grown(database):
    table = stored(database, PersistentDict(a=1, b=2))

    for number, view in enumerate((table.keys(), table.values(), table.items())):
        running = iter(view)
        next(running)
        table[number] = 1
        with pytest.raises(RuntimeError, match="changed size during iteration"):
            next(running)


# -- containers in themselves, and in each other ---------------------------------------------


def test_a_container_may_hold_itself(database, again):
    row, table = PersistentList(), PersistentDict()
    checkout(row, table)
    row.append(row)
    table["me"] = table
    table["row"] = row
    database.set_root(table)
    transaction.commit()

    for found in (table, again().root):
        assert found["me"] is found
        assert found["row"][0] is found["row"]
        assert found == found["me"]
        assert found["row"] == found["row"][0]
        assert repr(found["row"]) == "PersistentList([PersistentList(...)])"
        assert repr(found).count("(...)") == 2
        assert repr(found.values()).startswith("dict_values([PersistentDict(")


def test_a_view_of_itself_in_a_dict_is_shown():
    table = PersistentDict()
    checkout(table)
    table["values"] = table.values()

    assert "..." in repr(table)
    assert "..." in repr(table.values())


def test_comparing_two_that_hold_themselves_ends_as_for_lists():
    def selfish(row):
        row.append(row)
        return row

    ours = [PersistentList(), PersistentList()]
    checkout(*ours)

    for one, other in (map(selfish, ours), map(selfish, ([], []))):
        with pytest.raises(RecursionError):
            _ = one == other


def test_a_set_can_not_hold_itself():
    members = PersistentSet()
    checkout(members)

    with pytest.raises(TypeError, match="unhashable type: 'PersistentSet'"):
        members.add(members)


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_is_given_itself(database, kind):
    content = {dict: {"a": 1}, list: [1, 2], set: {1, 2}}[kind]
    container = stored(database, KINDS[kind](content))

    if kind is dict:
        container.update(container)
        container |= container
    elif kind is list:
        container.extend(container)
        container += container
        container[1:2] = container
        content.extend(content)
        content += content
        content[1:2] = content
    else:
        container |= container
        container &= container
        container ^= container
        content.clear()
    transaction.commit()

    assert container == content


def test_a_container_of_another_database_is_refused_and_nothing_is_stored(database, again):
    table = stored(database, PersistentDict(a=1))
    manager = transaction.TransactionManager()
    with Database(MemoryLog(), transaction_manager=manager) as other:
        other.set_root(PersistentList([1]))
        manager.commit()
        table["theirs"] = other.root
        table["b"] = 2

        with pytest.raises(InvalidObjectReference):
            transaction.commit()
        transaction.abort()

    assert table == again().root == {"a": 1}


# -- huge and deep ---------------------------------------------------------------------------


def test_containers_in_containers_are_stored_however_deep(database, again):
    depth = sys.getrecursionlimit() + 500
    row = PersistentList(["end"])
    for _ in range(depth):
        row = PersistentList([row])
    database.set_root(row)
    transaction.commit()

    found, steps = again().root, 0
    while isinstance(found[0], PersistentList):
        found, steps = found[0], steps + 1
    assert (found, steps) == (["end"], depth)
    with pytest.raises(RecursionError):
        repr(row)
    while isinstance(row[0], PersistentList):  # it would be taken apart by recursion
        row = row[0]


def test_a_value_that_is_nested_too_deeply_is_refused_and_nothing_is_stored(database, again):
    table = stored(database, PersistentDict(a=1))
    value = []
    for _ in range(100_000):
        value = [value]
    table["b"] = 2
    table["deep"] = value

    with pytest.raises(NotStorableError, match="nested too deeply") as e:
        transaction.commit()
    assert len(str(e.value)) < 400  # The path was written out, step by step.
    assert e.value.path.startswith("._items['deep'][0]")
    transaction.abort()

    assert table == again().root == {"a": 1}


def test_large_containers_are_stored(database, again):
    count = 30_000
    table = stored(database, PersistentDict())
    table.update((number, str(number)) for number in range(count))
    table["row"] = PersistentList(range(count))
    table["members"] = PersistentSet(range(count))
    table["text"] = "x" * 1_000_000
    transaction.commit()

    found = again().root
    assert (len(found), found[count - 1], len(found["text"])) == (count + 3, "29999", 1_000_000)
    assert found["row"] == list(range(count))
    assert found["members"] == set(range(count))


# -- constructors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (PersistentDict, (1, 2)),
        (PersistentDict, (None,)),
        (PersistentDict, ([1],)),
        (PersistentList, (1, 2)),
        (PersistentList, (None,)),
        (PersistentSet, (1, 2)),
        (PersistentSet, (5,)),
    ],
)
def test_what_can_not_be_made_is_refused(cls, arguments):
    with pytest.raises(TypeError):
        cls(*arguments)
    for unknown in ({"unknown": 1},):
        if cls is not PersistentDict:
            with pytest.raises(TypeError):
                cls(**unknown)


def test_a_constructor_that_is_called_again_does_what_the_built_in_one_does(database):
    table, row = stored(database, PersistentDict(a=1)), PersistentList([1])
    members = PersistentSet([1])
    checkout(row, members)
    row.__init__([2])
    members.__init__([2])
    table.__init__(b=2)

    assert (table, row, members) == ({"a": 1, "b": 2}, [2], {2})
    transaction.commit()
    for again in (table.__init__, lambda **_: row.__init__([3]), lambda **_: members.__init__()):
        with pytest.raises(SharedValueError):
            again(c=3)
    assert (table, row, members) == ({"a": 1, "b": 2}, [2], {2})


def test_a_container_has_items_without_its_constructor(database, again):
    bag = Bag()
    assert (bag, bag.color, len(bag)) == ({}, "red", 0)

    stored(database, bag)["a"] = 1
    transaction.commit()

    assert again().root == {"a": 1}
    assert copy.copy(bag).color == "red"


# -- copies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_copy_of_what_may_be_changed_is_one_level_deep(database, is_stored):
    inner = [1]
    row = PersistentList([inner])
    table = PersistentDict(a=inner)
    if is_stored:
        database.set_root(PersistentList([row, table]))
        transaction.commit()
        checkout(row, table)
    inner = row[0]

    assert row.copy()[0] is copy.copy(row)[0] is inner
    assert table.copy()["a"] is table["a"]
    assert copy.deepcopy(row)[0] is not inner
    assert pickle.loads(pickle.dumps(row)) == row
    copied = row.copy()
    checkout(copied)
    copied.append(2)
    assert row == [[1]]


def test_a_copy_of_what_is_shared_can_be_changed_inside(database):
    row = PersistentList([[1]])
    database.set_root(row)
    transaction.commit()

    row.copy()[0].append(2)

    assert row == [[1]]


def test_what_is_too_deep_to_be_shown_leaves_no_trace():
    for _ in range(3):
        deep = PersistentList()
        for _ in range(sys.getrecursionlimit() + 100):
            deep = PersistentList([deep])
        with pytest.raises(RecursionError):
            repr(deep)
        assert not common._running.ids
    assert repr(PersistentList([PersistentList()])) == "PersistentList([PersistentList([])])"
