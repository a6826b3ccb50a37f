"""Persistent containers beside the built-in ones: the same operations, the same answers."""

from __future__ import annotations

import builtins
import collections.abc
import copy
import operator
import pickle
from typing import Any

import pytest
import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from dobbin_like import (
    BTree,
    BTreeSet,
    Database,
    Persistent,
    PersistentDict,
    PersistentList,
    PersistentSet,
    TransactionLog,
    checkout,
)
from dobbin_like.exc import SharedValueError
from tests.helpers.steps import in_thread

KINDS = {dict: PersistentDict, list: PersistentList, set: PersistentSet}


class Item(Persistent):
    pass


class Basket(PersistentDict):
    def __init__(self, owner: str) -> None:
        super().__init__()
        self.owner = owner

    def total(self):
        return sum(self.values())


class Default(PersistentDict):
    def __missing__(self, key):
        return f"no {key}"


class Stack(PersistentList):
    def push(self, item):
        self.append(item)


class Tags(PersistentSet):
    color = "red"


def outcome(operation, subject):
    """Return what an operation gives, or the class of what it raises."""
    try:
        result = operation(subject)
    except Exception as error:
        return type(error)
    return plain(result)


def plain(value):
    """Turn results into what can be compared, iterators and views into lists."""
    if isinstance(value, (PersistentDict, PersistentList, PersistentSet)):
        kind = next(kind for kind, cls in KINDS.items() if isinstance(value, cls))
        return kind(value)
    if isinstance(value, (collections.abc.Iterator, collections.abc.KeysView)):
        return list(value)
    if isinstance(value, (collections.abc.ValuesView, collections.abc.ItemsView)):
        return list(value)
    return value


def setitem(key, value):
    def operation(subject):
        subject[key] = value

    return operation


def delitem(key):
    def operation(subject):
        del subject[key]

    return operation


def inplace(function, other):
    def operation(subject):
        argument = plain(other) if isinstance(subject, (dict, list, set)) else other
        result = function(subject, argument)
        assert result is subject
        return result

    return operation


FROZEN: Any = getattr(builtins, "frozendict", dict)  # Python 3.15 has brought it.
READS: dict[type, dict[str, Any]] = {
    dict: {
        "[]": lambda d: d["a"],
        "[missing]": lambda d: d["zz"],
        "[unhashable]": lambda d: d[[]],
        "get": lambda d: (d.get("a"), d.get("zz"), d.get("zz", 5)),
        "in": lambda d: ("a" in d, "zz" in d),
        "len": len,
        "bool": bool,
        "iter": list,
        "reversed": lambda d: list(reversed(d)),
        "keys": lambda d: d.keys(),
        "values": lambda d: d.values(),
        "items": lambda d: d.items(),
        "keys &": lambda d: sorted(d.keys() & {"a", "zz"}),
        "==": lambda d: (d == {"a": 1, "b": 2}, d == {}, d == [("a", 1)], d != {}),
        "== swapped": lambda d: (operator.eq({"a": 1, "b": 2}, d), operator.eq({}, d)),
        "| dict": lambda d: d | {"c": 3},
        "dict |": lambda d: {"c": 3} | d,
        "| list": lambda d: d | [("c", 3)],
        "| frozendict": lambda d: d | FROZEN(c=3),
        "frozendict |": lambda d: FROZEN(c=3) | d,
        "copy": lambda d: d.copy(),
        "dict()": dict,
        "**": lambda d: dict(**d),
        "hash": hash,
        "<": lambda d: d < {},
        "+": lambda d: d + {},
    },
    list: {
        "[]": lambda x: (x[0], x[-1]),
        "[slice]": lambda x: (x[1:], x[::2]),
        "[missing]": lambda x: x[99],
        "[text]": lambda x: x["a"],
        "in": lambda x: (1 in x, 99 in x),
        "len": len,
        "bool": bool,
        "iter": list,
        "reversed": lambda x: list(reversed(x)),
        "==": lambda x: (x == [3, 1, 2], x == [], x == (3, 1, 2), x != []),
        "== swapped": lambda x: (operator.eq([3, 1, 2], x), operator.eq([], x)),
        "<": lambda x: (x < [4], x <= [3, 1, 2], x > [3], x >= [4]),
        "< swapped": lambda x: (
            operator.lt([4], x),
            operator.gt([4], x),
            operator.le([3, 1, 2], x),
            operator.ge([3], x),
        ),
        "< tuple": lambda x: x < (1,),
        "+": lambda x: operator.add(x, [4]),
        "+ swapped": lambda x: operator.add([4], x),
        "+ tuple": lambda x: operator.add(x, (4,)),
        "*": lambda x: x * 2,
        "* swapped": lambda x: 2 * x,
        "* list": lambda x: x * [1],
        "count": lambda x: (x.count(1), x.count(99)),
        "index": lambda x: (x.index(1), x.index(2, 1), x.index(2, 1, 3)),
        "index missing": lambda x: x.index(99),
        "copy": lambda x: x.copy(),
        "sorted": sorted,
        "sum": sum,
        "unpack": lambda x: [*x],
        "hash": hash,
        "join": lambda x: ",".join(map(str, x)),
    },
    set: {
        "in": lambda s: (1 in s, 99 in s),
        "in unhashable": lambda s: [] in s,
        "len": len,
        "bool": bool,
        "iter": sorted,
        "==": lambda s: (s == {1, 2, 3}, s == set(), s == [1, 2, 3], s == frozenset({1, 2, 3})),
        "== swapped": lambda s: (
            operator.eq({1, 2, 3}, s),
            operator.eq(frozenset({1, 2, 3}), s),
        ),
        "<": lambda s: (s < {1, 2, 3, 4}, s <= {1, 2, 3}, s > {1}, s >= {4}),
        "< swapped": lambda s: (
            operator.lt({1}, s),
            operator.le({1, 2, 3}, s),
            operator.gt({1, 2, 3, 4}, s),
            operator.ge({4}, s),
        ),
        "< list": lambda s: s < [1],
        "&": lambda s: s & {1, 9},
        "|": lambda s: s | {9},
        "-": lambda s: s - {1},
        "^": lambda s: s ^ {1, 9},
        "& swapped": lambda s: {1, 9} & s,
        "| swapped": lambda s: {9} | s,
        "- swapped": lambda s: {1, 9} - s,
        "^ swapped": lambda s: {1, 9} ^ s,
        "& list": lambda s: s & [1],
        "difference": lambda s: s.difference([1], [2]),
        "intersection": lambda s: s.intersection([1, 2], [2]),
        "symmetric_difference": lambda s: s.symmetric_difference([1, 9]),
        "union": lambda s: s.union([8], [9]),
        "isdisjoint": lambda s: (s.isdisjoint([9]), s.isdisjoint([1])),
        "issubset": lambda s: (s.issubset([1, 2, 3, 4]), s.issubset([1])),
        "issuperset": lambda s: (s.issuperset([1]), s.issuperset([9])),
        "copy": lambda s: s.copy(),
        "set()": set,
        "hash": hash,
    },
}

WRITES: dict[type, dict[str, Any]] = {
    dict: {
        "[]=": setitem("a", 5),
        "[]= new": setitem("c", 5),
        "[]= unhashable": setitem([], 5),
        "del": delitem("a"),
        "del missing": delitem("zz"),
        "pop": lambda d: d.pop("a"),
        "pop missing": lambda d: d.pop("zz"),
        "pop default": lambda d: d.pop("zz", None),
        "popitem": lambda d: d.popitem(),
        "setdefault": lambda d: (d.setdefault("a", 9), d.setdefault("c", 9), d.setdefault("d")),
        "update": lambda d: d.update({"a": 5}, c=6),
        "update pairs": lambda d: d.update([("a", 5)]),
        "update bad": lambda d: d.update(5),
        "update self": lambda d: d.update(d),
        "update persistent": lambda d: d.update(PersistentDict(a=5)),
        "|=": inplace(operator.ior, {"a": 5}),
        "|= pairs": inplace(operator.ior, [("a", 5)]),
        "|= persistent": inplace(operator.ior, PersistentDict(a=5)),
        "clear": lambda d: d.clear(),
    },
    list: {
        "[]=": setitem(0, 5),
        "[]= missing": setitem(99, 5),
        "[slice]=": setitem(slice(1, 2), [7, 8, 9]),
        "[slice]= persistent": setitem(slice(1, 2), PersistentList([7])),
        "[slice]= iterator": setitem(slice(0, 0), (0,)),
        "[step]= wrong": setitem(slice(None, None, 2), [1]),
        "del": delitem(0),
        "del slice": delitem(slice(0, 2)),
        "append": lambda x: x.append(9),
        "append self": lambda x: x.append(len(x)),
        "extend": lambda x: x.extend((8, 9)),
        "extend self": lambda x: x.extend(x),
        "extend bad": lambda x: x.extend(5),
        "+=": inplace(operator.iadd, [9]),
        "+= text": inplace(operator.iadd, "ab"),
        "+= persistent": inplace(operator.iadd, PersistentList([9])),
        "*=": inplace(operator.imul, 2),
        "*= 0": inplace(operator.imul, 0),
        "insert": lambda x: x.insert(1, 9),
        "pop": lambda x: x.pop(),
        "pop first": lambda x: x.pop(0),
        "pop missing": lambda x: x.pop(99),
        "remove": lambda x: x.remove(1),
        "remove missing": lambda x: x.remove(99),
        "reverse": lambda x: x.reverse(),
        "sort": lambda x: x.sort(),
        "sort key": lambda x: x.sort(key=lambda item: -item, reverse=False),
        "sort reverse": lambda x: x.sort(reverse=True),
        "clear": lambda x: x.clear(),
    },
    set: {
        "add": lambda s: s.add(9),
        "add unhashable": lambda s: s.add([]),
        "discard": lambda s: s.discard(1),
        "discard missing": lambda s: s.discard(99),
        "remove": lambda s: s.remove(1),
        "remove missing": lambda s: s.remove(99),
        "pop": lambda s: s.pop() in (1, 2, 3),
        "clear": lambda s: s.clear(),
        "update": lambda s: s.update([8], [9]),
        "update persistent": lambda s: s.update(PersistentSet([8])),
        "difference_update": lambda s: s.difference_update([1]),
        "intersection_update": lambda s: s.intersection_update([1]),
        "symmetric_difference_update": lambda s: s.symmetric_difference_update([1, 9]),
        "|=": inplace(operator.ior, {9}),
        "&=": inplace(operator.iand, {1}),
        "-=": inplace(operator.isub, {1}),
        "^=": inplace(operator.ixor, {1, 9}),
        "|= persistent": inplace(operator.ior, PersistentSet([9])),
        "|= list": inplace(operator.ior, [9]),
    },
}

CONTENT = {dict: {"a": 1, "b": 2}, list: [3, 1, 2], set: {1, 2, 3}}


def cases(table):
    return [
        pytest.param(kind, operation, id=f"{kind.__name__} {name}")
        for kind, operations in table.items()
        for name, operation in operations.items()
    ]


def made(kind):
    return KINDS[kind](CONTENT[kind])


@pytest.fixture(params=["new", "shared", "mine", "theirs", "ghost"])
def container_for_reading(request, database, again):
    def make(kind):
        container = made(kind)
        if request.param != "new":
            database.set_root(container)
            transaction.commit()
        if request.param == "mine":
            checkout(container)
        if request.param == "theirs":
            in_thread(lambda: (checkout(container), container.clear(), transaction.commit()))
        return again().root if request.param == "ghost" else container

    return make


@pytest.mark.parametrize(("kind", "operation"), cases(READS))
def test_reading_answers_as_the_built_in_type(container_for_reading, kind, operation):
    expected = outcome(operation, copy.copy(CONTENT[kind]))

    found = outcome(operation, container_for_reading(kind))

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(("kind", "operation"), cases(WRITES))
def test_writing_after_checkout_does_what_the_built_in_type_does(
    database, again, new, kind, operation
):
    expected = copy.copy(CONTENT[kind])
    container = made(kind)
    if not new:
        database.set_root(container)
        transaction.commit()
    checkout(container)

    assert outcome(operation, container) == outcome(operation, expected)

    assert container == expected or len(expected) == len(container) == 2  # pop of a set
    seen = kind(container)
    if new:
        database.set_root(container)
    transaction.commit()
    assert container == seen
    assert again().root == seen
    if kind is dict:
        assert list(again().root) == list(expected)


CHANGED_BY_OURS = [
    ("x += y", [1, 2], PersistentList([3])),
    ("x |= y", {1, 2}, PersistentSet([2, 3])),
    ("x &= y", {1, 2}, PersistentSet([2, 3])),
    ("x -= y", {1, 2}, PersistentSet([2, 3])),
    ("x ^= y", {1, 2}, PersistentSet([2, 3])),
    ("x |= y", {1, 2}, BTreeSet([2, 3])),
    ("x &= y", {1, 2}, BTreeSet([2, 3])),
    ("x -= y", {1, 2}, BTreeSet([2, 3])),
    ("x ^= y", {1, 2}, BTreeSet([2, 3])),
    ("x |= y", {1: 2}, PersistentDict({3: 4})),
    ("x |= y", {1: 2}, BTree({3: 4})),
]


@pytest.mark.parametrize(("statement", "value", "ours"), CHANGED_BY_OURS)
def test_a_built_in_container_is_changed_by_one_of_ours_in_place(statement, value, ours):
    """Whoever else has it sees the change: it is not replaced by a container of ours."""
    kept, expected = copy.copy(value), copy.copy(value)
    variables = {"x": kept, "y": ours}
    for _ in range(20):  # Python changes code that it runs often.
        exec(statement, {}, variables)
        exec(statement, {}, {"x": expected, "y": type(value)(ours)})

    assert variables["x"] is kept
    assert kept == expected
    made = eval(statement.replace("=", ""), {}, variables)
    assert (type(made), kept) == (type(ours), expected)


def test_a_list_of_an_object_is_extended_by_a_list_of_ours(database, again):
    database.set_root(PersistentDict(names=["a"], more=PersistentList(["b"]), seen={1}))
    transaction.commit()
    root = database.root
    checkout(root)
    names = root["names"]
    names += root["more"]
    root["seen"] |= PersistentSet([2])
    transaction.commit()

    found = again().root
    assert (found["names"], found["seen"]) == (["a", "b"], {1, 2})
    assert isinstance(found["seen"], set)


def test_a_frozen_set_is_not_changed():
    before = value = frozenset([1])
    value |= PersistentSet([2])

    assert (before, value) == ({1}, {1, 2})


def test_a_list_in_shared_state_is_not_extended_by_a_list_of_ours(database):
    database.set_root(PersistentDict(names=["a"], seen={1}))
    transaction.commit()
    names, seen = database.root["names"], database.root["seen"]

    with pytest.raises(SharedValueError):
        names += PersistentList(["b"])
    with pytest.raises(SharedValueError):
        seen |= PersistentSet([2])
    assert (names, seen) == (["a"], {1})


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(("kind", "operation"), cases(WRITES))
def test_writing_without_checkout_is_refused(database, new, kind, operation):
    container = made(kind)
    if not new:
        database.set_root(container)
        transaction.commit()

    with pytest.raises(SharedValueError) as e:
        operation(container)

    assert isinstance(e.value, RuntimeError)
    assert e.value.kind == KINDS[kind].__name__
    assert container == CONTENT[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_another_thread_may_not_write_what_this_one_has_checked_out(database, kind):
    container = made(kind)
    database.set_root(container)
    transaction.commit()
    checkout(container)
    container.clear()

    def other():
        assert container == CONTENT[kind]
        with pytest.raises(SharedValueError):
            container.clear()

    in_thread(other)
    assert len(container) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_changes_are_dropped_by_abort(database, kind):
    container = made(kind)
    database.set_root(container)
    transaction.commit()
    checkout(container)
    container.clear()

    transaction.abort()

    assert container == CONTENT[kind]


def test_a_running_iteration_goes_on_over_what_it_began_with(database):
    items = PersistentList(range(5))
    table = PersistentDict(dict.fromkeys(range(5)))
    tags = PersistentSet(range(5))
    items_and_more = PersistentList([items, table, tags])
    database.set_root(items_and_more)
    transaction.commit()
    running = [iter(container) for container in (items, table, tags, table.items())]
    for iterator in running:
        next(iterator)

    def change():
        for container in (items, table, tags):
            checkout(container)
            container.clear()
        transaction.commit()

    in_thread(change)
    transaction.begin()

    assert [len(list(iterator)) for iterator in running] == [4, 4, 4, 4]
    assert not items
    assert not table
    assert not tags


def test_attributes_stand_beside_the_items(database, again):
    basket = Basket("ann")
    checkout(basket)
    basket["apple"] = 2
    basket["_items"] = 3
    basket.color = "red"
    database.set_root(basket)
    transaction.commit()

    for found in (basket, again().root):
        assert dict(found) == {"apple": 2, "_items": 3}
        assert (found.owner, found.color, found.total()) == ("ann", "red", 5)
        assert type(found).__name__ == "Basket"
    with pytest.raises(RuntimeError, match="read-only"):
        basket.owner = "bob"
    checkout(basket)
    basket.owner = "bob"
    transaction.commit()
    assert basket == {"apple": 2, "_items": 3}


def test_subclasses_work(database):
    root = PersistentDict(d=Default(a=1), s=Stack([1]), t=Tags([1]))
    database.set_root(root)
    transaction.commit()

    assert root["d"]["zz"] == "no zz"
    assert root["d"].get("zz") is None
    checkout(root["s"], root["t"])
    root["s"].push(2)
    root["t"].add(2)
    transaction.commit()
    assert (root["s"], root["t"], root["t"].color) == ([1, 2], {1, 2}, "red")
    assert isinstance(root["s"], PersistentList)
    # As a subclass of list does; its constructor may take anything.
    assert type(root["s"] + [1]) is PersistentList
    assert type(root["t"] | {1}) is PersistentSet


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "make", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_copies_and_pickles_keep_items_and_attributes(database, kind, make):
    container = made(kind)
    checkout(container)
    container.note = "kept"
    database.set_root(container)
    transaction.commit()

    copied = make(container)

    assert type(copied) is KINDS[kind]
    assert copied == container
    assert copied.note == "kept"
    assert copied._p_oid is None
    checkout(copied)
    copied.clear()
    assert container == CONTENT[kind]


@pytest.mark.parametrize(
    "make", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
@pytest.mark.parametrize("stored", [True, False])
def test_a_copy_of_a_subclass_does_not_call_its_constructor(database, make, stored):
    basket = Basket("ann")
    checkout(basket)
    basket["a"] = 1
    if stored:
        database.set_root(basket)
        transaction.commit()

    copied = make(basket)

    assert (copied.owner, dict(copied)) == ("ann", {"a": 1})
    checkout(copied)
    copied["a"] = 2
    assert basket["a"] == 1


def test_containers_have_the_abstract_base_classes_of_the_built_in_ones():
    assert isinstance(PersistentDict(), collections.abc.MutableMapping)
    assert isinstance(PersistentList(), collections.abc.MutableSequence)
    assert isinstance(PersistentSet(), collections.abc.MutableSet)
    assert not isinstance(PersistentDict(), dict)


def test_containers_can_be_made_in_all_the_ways_of_the_built_in_ones():
    assert PersistentDict({"a": 1}, b=2) == {"a": 1, "b": 2}
    assert PersistentDict([("a", 1)]) == PersistentDict(a=1)
    assert PersistentDict(PersistentDict(a=1)) == {"a": 1}
    assert PersistentDict.fromkeys("ab", 0) == {"a": 0, "b": 0}
    assert type(Default.fromkeys("ab")) is Default
    assert PersistentList("ab") == ["a", "b"]
    assert PersistentList(PersistentList([1])) == PersistentList([1])
    assert PersistentList() == []
    assert PersistentSet("aab") == {"a", "b"}
    with pytest.raises(TypeError):
        PersistentDict(5)
    with pytest.raises(TypeError):
        PersistentList(5)
    assert PersistentDict[str, int]({"a": 1}) == {"a": 1}
    assert PersistentList[int]([1]) == [1]


def test_keys_may_be_called_self_and_cls():
    table = PersistentDict(self=1, cls=2, args=3)
    checkout(table)
    table.update(self=4)

    assert table == {"self": 4, "cls": 2, "args": 3}


def test_a_representation_shows_the_items_and_ends_where_it_began():
    items = PersistentList([1])
    checkout(items)
    items.append(items)
    table = PersistentDict(a=items)

    assert repr(PersistentSet({1})) == "PersistentSet({1})"
    assert repr(table) == "PersistentDict({'a': PersistentList([1, PersistentList(...)])})"


def test_patterns_match_containers(database):
    root = PersistentDict(a=PersistentList([1, 2]))
    database.set_root(root)
    transaction.commit()

    for _ in range(2):
        match root:
            case {"a": [first, *rest]}:
                assert (first, rest) == (1, [2])
            case _:
                raise AssertionError
        checkout(root, root["a"])


def test_mutable_values_inside_a_container_are_saved_and_guarded(database, again):
    root = PersistentDict(a=[1, {"b": 2}])
    database.set_root(root)
    transaction.commit()

    with pytest.raises(SharedValueError, match="PersistentDict oid 0"):
        root["a"].append(1)
    checkout(root)
    root["a"][1]["b"] = 3
    transaction.commit()

    assert root["a"] == again().root["a"] == [1, {"b": 3}]


def test_persistent_objects_inside_keep_their_identity(database, again):
    item = Item()
    root = PersistentDict(a=PersistentList([item]), b=PersistentSet([item]), c=item)
    database.set_root(root)
    transaction.commit()
    checkout(root, root["a"], root["b"])

    assert root["a"][0] is root["c"] is next(iter(root["b"])) is item
    found = again().root
    assert found["a"][0] is found["c"] is next(iter(found["b"]))
    assert found["c"] in found["b"]


def test_a_container_that_was_only_read_after_checkout_is_not_written(database, storage):
    root = PersistentDict(a=[1])
    database.set_root(root)
    transaction.commit()

    checkout(root)
    assert root["a"] == [1]
    assert list(root.items()) == [("a", [1])]
    transaction.commit()

    assert len(storage) == 1


def test_containers_that_hold_each_other_compare_and_are_stored(database, again):
    one, two = PersistentList(), PersistentDict()
    checkout(one, two)
    one.append(two)
    two["one"] = one
    database.set_root(one)
    transaction.commit()

    root = again().root
    assert root[0]["one"] is root


# -- a sequence of random operations against the built-in type ----------------------

list_steps = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 9)),
    st.tuples(st.just("insert"), st.integers(-5, 5), st.integers(0, 9)),
    st.tuples(st.just("pop"), st.integers(-3, 3)),
    st.tuples(st.just("remove"), st.integers(0, 9)),
    st.tuples(st.just("extend"), st.lists(st.integers(0, 9), max_size=3)),
    st.tuples(st.sampled_from(["sort", "reverse", "clear"])),
)
dict_steps = st.one_of(
    st.tuples(st.sampled_from(["__setitem__", "setdefault"]), st.integers(0, 5), st.integers()),
    st.tuples(st.sampled_from(["pop", "__delitem__", "get"]), st.integers(0, 5)),
    st.tuples(st.just("update"), st.dictionaries(st.integers(0, 5), st.integers(), max_size=3)),
    st.tuples(st.sampled_from(["popitem", "clear"])),
)
set_steps = st.one_of(
    st.tuples(st.sampled_from(["add", "discard", "remove"]), st.integers(0, 5)),
    st.tuples(
        st.sampled_from(["update", "difference_update", "symmetric_difference_update"]),
        st.lists(st.integers(0, 5), max_size=3),
    ),
    st.tuples(st.just("clear")),
)
ends = st.sampled_from([("commit",), ("abort",)])


@pytest.mark.parametrize(
    ("kind", "steps"), [(list, list_steps), (dict, dict_steps), (set, set_steps)]
)
@given(data=st.data())
@settings(max_examples=40)
def test_random_steps_lead_to_what_the_built_in_type_would_be(tmp_path_factory, kind, steps, data):
    path = tmp_path_factory.mktemp("steps") / "data.log"
    transaction.abort()
    with Database(TransactionLog(path, sync=False)) as database:
        container = KINDS[kind]()
        database.set_root(container)
        transaction.commit()
        committed, expected = kind(), kind()
        checkout(container)
        for name, *arguments in data.draw(st.lists(st.one_of(steps, ends), max_size=20)):
            if name == "commit":
                transaction.commit()
                committed = copy.copy(expected)
                checkout(container)
            elif name == "abort":
                transaction.abort()
                expected = copy.copy(committed)
                checkout(container)
            else:
                step = operator.methodcaller(name, *arguments)
                assert outcome(step, container) == outcome(step, expected)
            assert container == expected
            assert list(container) == list(expected) or kind is set
        transaction.abort()
        assert container == committed
    with Database(path) as database:
        assert database.root == committed
