"""Containers of the ``collections`` module, and those inside of values, in shared state."""

from __future__ import annotations

import builtins
import copy
import gc
import json
import pickle
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import attrs
import pytest
import transaction

from dobbin_like import Persistent, PersistentDict, checkout
from dobbin_like.exc import LostChangeWarning, SharedValueError
from tests.helpers.steps import in_thread


class Box(Persistent):
    def __init__(self, value):
        self.value = value


@dataclass
class Line:
    items: list = field(default_factory=list)
    inner: object = None


@dataclass(frozen=True)
class Frozen:
    items: list


@dataclass(slots=True)
class Slotted:
    items: list
    never: list = field(init=False)


@attrs.define
class Defined:
    items: list


class Pair(NamedTuple):
    items: list
    name: str


class Titled(Pair):
    """A subclass as most are, without slots: its instances have a dict."""

    def title(self):
        return self.name.title()


def titled():
    pair = Titled([1], "x")
    pair.note = "kept"
    return pair


class Custom:
    def __init__(self, items):
        self.items = items


@pytest.fixture
def shared(database):
    def store(value):
        box = Box(value)
        database.set_root(box)
        transaction.commit()
        return box

    return store


CONTAINERS = {
    "deque": lambda: deque([1, [2]], maxlen=5),
    "OrderedDict": lambda: OrderedDict(a=1, b=[2]),
    "Counter": lambda: Counter("aab"),
    "defaultdict": lambda: defaultdict(list, a=[1]),
}
CHANGES = {
    "deque": "append appendleft extend extendleft insert remove rotate __iadd__ __imul__",
    "OrderedDict": "move_to_end pop popitem setdefault update __ior__",
    "Counter": "subtract update pop popitem setdefault __iadd__ __isub__ __iand__ __ior__",
    "defaultdict": "pop popitem setdefault update __ior__",
}
EVERY = [
    (kind, name)
    for kind, names in CHANGES.items()
    for name in [*names.split(), "clear", "__setitem__", "__delitem__", "__init__"]
]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_container_in_shared_state_refuses_to_be_changed(shared, kind, name):
    box = shared(CONTAINERS[kind]())
    arguments = (0, "new") if name == "__setitem__" else ()

    with pytest.raises(SharedValueError, match=f"this {kind} belongs to Box oid 0"):
        getattr(box.value, name)(*arguments)

    assert box.value == CONTAINERS[kind]()


@pytest.mark.parametrize("kind", CONTAINERS)
def test_every_method_that_changes_a_container_is_refused(shared, kind):
    """A Python that comes with another one adds it to the class, and not to the guard."""
    shared_type, own = type(shared(CONTAINERS[kind]()).value), type(CONTAINERS[kind]())
    reading = """
        copy count index __add__ __contains__ __eq__ __ge__ __getitem__ __gt__ __iter__ __le__
        __len__ __lt__ __mul__ __ne__ __repr__ __reversed__ __rmul__ __or__ __ror__ __and__ __sub__
        __xor__ __rxor__
        get items keys values fromkeys elements most_common total __missing__ __pos__ __neg__
        __class_getitem__ __hash__ __sizeof__ __copy__ __reduce__ __doc__ __new__ __module__
        __dict__ __weakref__ __getattribute__ __static_attributes__ __firstlineno__ maxlen
        default_factory
    """.split()
    changing = {name for base in own.__mro__[:-1] for name in vars(base)} - {*reading}

    assert changing <= {*CHANGES[kind].split(), *dir(shared_type)}
    for name in changing:
        assert name in vars(shared_type), name


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_container_in_shared_state_is_one_for_all_who_read(shared, again, kind):
    value, expected = shared(CONTAINERS[kind]()).value, CONTAINERS[kind]()

    for found in value, again().root.value:
        assert found == expected
        assert repr(found) == repr(expected)
        assert isinstance(found, type(expected))
        assert getattr(found, "maxlen", None) == getattr(expected, "maxlen", None)
        assert getattr(found, "default_factory", 0) == getattr(expected, "default_factory", 0)


@pytest.mark.parametrize(
    "value", [[1], {1: 2}, {1}, set(), bytearray(b"a"), *(make() for make in CONTAINERS.values())]
)
def test_a_value_in_shared_state_is_shown_as_it_is(shared, value):
    found = shared(value).value
    assert (repr(found), str(found), f"{found}") == (repr(value), str(value), f"{value}")


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize(
    "make",
    [
        copy.copy,
        copy.deepcopy,
        lambda value: value.copy(),
        lambda value: pickle.loads(pickle.dumps(value)),
        lambda value: value | value.copy() if isinstance(value, dict) else value + deque(),
    ],
)
def test_a_copy_of_a_container_is_ordinary(shared, kind, make):
    made, expected = make(shared(CONTAINERS[kind]()).value), CONTAINERS[kind]()

    assert type(made) is type(expected)
    assert made == expected
    assert repr(made) == repr(expected)


def test_the_error_for_what_is_in_a_copy_says_what_copies_that_too(shared):
    box = shared({"colours": ["red"]})
    with pytest.raises(SharedValueError, match=r"; to change only a copy, .* copy\.deepcopy\(\)$"):
        dict(box.value)["colours"].append("blue")

    copied = copy.deepcopy(box.value)
    copied["colours"].append("blue")

    assert (copied, box.value) == ({"colours": ["red", "blue"]}, {"colours": ["red"]})


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_container_can_be_changed_after_a_checkout(shared, again, kind):
    box = shared(CONTAINERS[kind]())
    expected = CONTAINERS[kind]()

    checkout(box)
    assert type(box.value) is type(expected)
    for value in box.value, expected:
        value.append(3) if isinstance(value, deque) else value.update(z=7)
    assert in_thread(lambda: box.value) == CONTAINERS[kind]()
    transaction.commit()

    assert box.value == again().root.value == expected
    assert again().root.value.__class__.__mro__[1] is type(expected)


def test_reading_a_defaultdict_changes_nothing(shared, storage):
    box = shared(defaultdict(list, a=[1]))

    assert box.value["b"] == []
    assert box.value == {"a": [1]}
    with pytest.raises(SharedValueError, match="this list belongs to Box oid 0"):
        box.value["b"].append(1)
    with pytest.raises(SharedValueError):
        box.value.default_factory = None
    assert len(storage) == 1


@pytest.mark.parametrize(("factory", "expected"), [(int, 0), (dict, {}), (str, "")])
def test_a_defaultdict_answers_with_what_its_factory_makes(shared, factory, expected):
    assert shared(defaultdict(factory)).value["missing"] == expected


def test_a_defaultdict_without_a_factory_is_a_dict(shared):
    with pytest.raises(KeyError):
        shared(defaultdict(None, a=1)).value["missing"]


def test_the_factory_of_a_defaultdict_is_changed_after_a_checkout_only(shared, again):
    box = shared(defaultdict(list))
    with pytest.raises(SharedValueError, match="this defaultdict belongs to Box oid"):
        box.value.default_factory = dict
    with pytest.raises(SharedValueError, match="this defaultdict belongs to Box oid"):
        del box.value.default_factory
    checkout(box)
    box.value.default_factory = dict
    transaction.commit()
    assert again().root.value["missing"] == {}


def test_a_defaultdict_that_is_checked_out_adds_what_is_missing(shared, again):
    box = shared(defaultdict(list))
    checkout(box)
    box.value["a"].append(1)
    transaction.commit()
    assert again().root.value == {"a": [1]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (deque([1]), deque([1], maxlen=5)),
        (defaultdict(list), defaultdict(int)),
        (defaultdict(list), {}),
        (Counter(a=1), {"a": 1}),
        (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
        (deque([1]), [1]),
    ],
    ids=repr,
)
def test_another_container_with_the_same_parts_is_another_value(shared, again, one, other):
    box = shared(one)
    checkout(box)
    box.value = other
    transaction.commit()

    found = again().root.value
    assert repr(found) == repr(other)
    assert isinstance(found, type(other))


def test_attributes_of_an_ordered_dict_are_stored_with_it(shared, again):
    value = OrderedDict(a=1)
    value.note = "x"
    box = shared(value)
    assert (box.value.note, again().root.value.note) == ("x", "x")

    checkout(box)
    assert box.value.note == "x"
    box.value["b"] = 2
    transaction.commit()
    assert vars(again().root.value) == {"note": "x"}


def test_a_container_that_holds_itself_is_guarded(shared):
    value = deque()
    value.append(value)
    box = shared(value)
    assert box.value[0] is box.value
    checkout(box)
    assert box.value[0] is box.value


def test_without_guards_containers_are_those_of_the_module(database, again):
    database.set_root(PersistentDict(a=deque([1]), b=Line([1])))
    transaction.commit()
    root = again(guard=False).root
    assert type(root["a"]) is deque
    assert type(root["b"].items) is list


# -- inside of values ------------------------------------------------------------------


class Stack(UserList[Any]):
    pass


class Bag(UserDict[str, Any]):
    def __setitem__(self, key, item):
        super().__setitem__(key.lower(), item)


@dataclass
class Priced(UserDict[str, Any]):
    data: dict[str, Any]
    prices: list[int]


VALUES = {
    "dataclass": lambda: Line([1]),
    "nested": lambda: Line(inner=[Line([1])]),
    "frozen": lambda: Frozen([1]),
    "slots": lambda: Slotted([1]),
    "attrs": lambda: Defined([1]),
    "namespace": lambda: SimpleNamespace(items=[1]),
    "named tuple": lambda: Pair([1], "x"),
    "named tuple with a dict": titled,
    "user list": lambda: UserList([1]),
    "user dict": lambda: UserDict(items=[1]),
    "chain map": lambda: ChainMap({"items": [1]}, {}),
    "derived user list": lambda: Stack([1]),
    "derived user dict": lambda: Bag(items=[1]),
    "user dict that is a dataclass": lambda: Priced({"items": [1]}, [2]),
}
FROZEN_DICT: Any = getattr(builtins, "frozendict", None)  # Python 3.15 has brought it.
if FROZEN_DICT is not None:
    VALUES["frozen dict"] = lambda: FROZEN_DICT(items=[1])
    VALUES["frozen dict in a value"] = lambda: Line(inner=[FROZEN_DICT(items=[1])])
HERE = [
    f"{__name__}.{cls.__name__}" for cls in (Pair, Titled, Defined, Custom, Stack, Bag, Priced)
]


@pytest.fixture
def storing(again):
    def store(value):
        db = again(allow=HERE)
        db.set_root(PersistentDict(value=value))
        db.transaction_manager.commit()
        return db, db.root

    return store


def inner(value):
    value = value.inner[0] if getattr(value, "inner", None) else value
    if isinstance(value, (UserDict, ChainMap)) or type(value) is FROZEN_DICT:
        return value["items"]
    return value.data if isinstance(value, UserList) else value.items


@pytest.mark.parametrize("kind", VALUES)
def test_a_list_in_a_value_refuses_to_be_changed(storing, again, kind):
    _, root = storing(VALUES[kind]())

    for found in root["value"], again(allow=HERE).root["value"]:
        with pytest.raises(SharedValueError, match="this list belongs to PersistentDict oid 0"):
            inner(found).append(2)
        assert inner(found) == [1]
        assert type(found) is type(VALUES[kind]())


@pytest.mark.parametrize(
    ("value", "change"),
    [
        (UserDict(a=1), lambda value: value.update(b=2)),
        (UserDict(a=1), lambda value: value.pop("a")),
        (UserList([1]), lambda value: value.append(2)),
        (UserList([1]), lambda value: value.__iadd__([2])),
        (Bag(A=1), lambda value: value.update(B=2)),
        (Priced({"a": 1}, [2]), lambda value: value.prices.append(2)),
        (Stack([1]), lambda value: value.__iadd__([2])),
        (ChainMap({"a": 1}, {"b": 2}), lambda value: value.update(b=3)),
        (ChainMap({"a": 1}, {"b": 2}), lambda value: value.maps.append({})),
    ],
)
def test_what_wraps_a_container_refuses_as_that_does(storing, again, value, change):
    db, root = storing(copy.deepcopy(value))

    with pytest.raises(SharedValueError, match="belongs to PersistentDict oid 0"):
        change(root["value"])
    assert root["value"] == value
    checkout(root)
    change(root["value"])
    change(value)
    db.transaction_manager.commit()
    assert root["value"] == again(allow=HERE).root["value"] == value
    assert type(root["value"].copy()) is type(value)


@pytest.mark.parametrize("kind", VALUES)
def test_a_list_in_a_value_can_be_changed_after_a_checkout(storing, again, kind):
    db, root = storing(VALUES[kind]())

    checkout(root)
    inner(root["value"]).append(2)
    db.transaction_manager.commit()

    assert inner(root["value"]) == [1, 2]
    assert inner(again(allow=HERE).root["value"]) == [1, 2]


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_that_was_only_looked_at_is_not_written(storing, kind):
    db, root = storing(VALUES[kind]())
    for _ in range(2):
        checkout(root)
        assert inner(root["value"]) == [1]
        db.transaction_manager.commit()
    assert len(db.storage) == 1


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_of_another_object_can_be_stored_once_more(storing, again, kind):
    db, root = storing(VALUES[kind]())
    checkout(root)
    root["other"] = PersistentDict(value=root["value"])
    root["third"] = PersistentDict(value=copy.deepcopy(root["value"]))
    db.transaction_manager.commit()

    for key in "other", "third":
        for found in root[key]["value"], again(allow=HERE).root[key]["value"]:
            assert inner(found) == [1]
            with pytest.raises(SharedValueError):
                inner(found).append(2)


def test_a_named_tuple_keeps_what_it_has_beside_its_items(storing, again):
    db, root = storing([titled(), Line([titled()])])
    for found in root["value"], again(allow=HERE).root["value"]:
        for pair in found[0], found[1].items[0]:
            assert (pair, pair.note, pair.title()) == (([1], "x"), "kept", "X")
            with pytest.raises(SharedValueError):
                pair.items.append(2)
    checkout(root)
    root["value"][0].items.append(2)
    root["value"][0].note = "other"
    db.transaction_manager.commit()
    assert again(allow=HERE).root["value"][0] == ([1, 2], "x")
    assert again(allow=HERE).root["value"][0].note == "other"


def test_what_the_constructor_of_a_value_was_given_is_left_alone(storing):
    items = [1]
    db, root = storing(Line(items))
    items.append(2)
    assert type(items) is list
    assert root["value"].items == [1]
    with pytest.warns(LostChangeWarning):
        db.close()


def test_a_value_that_says_nothing_of_its_parts_may_keep_a_cache(storing):
    _, root = storing(Custom([1]))
    root["value"].items.append(2)
    assert root["value"].items == [1, 2]


def test_values_that_hold_each_other_are_guarded(storing):
    line = Line([1])
    line.inner = pair = Pair([line], "x")
    line.items.append(pair)
    _, root = storing(line)

    found = root["value"]
    assert found.inner.items[0] is found
    assert found.items[1] is found.inner
    with pytest.raises(SharedValueError):
        found.inner.items.append(1)


def test_a_deep_chain_of_values_is_guarded(storing):
    line = Line([1])
    for _ in range(150):
        line = Line([], inner=line)
    _, root = storing(line)
    found = root["value"]
    while found.inner is not None:
        found = found.inner
    with pytest.raises(SharedValueError):
        found.items.append(1)


def test_containers_in_shared_state_are_json(shared):
    box = shared({"a": OrderedDict(b=1), "c": Counter("x"), "d": defaultdict(list, e=[1])})
    assert json.loads(json.dumps(box.value)) == {"a": {"b": 1}, "c": {"x": 1}, "d": {"e": [1]}}


def test_of_an_object_that_has_left_memory_the_error_says_how_to_have_it_again(database, again):
    """It told of "an object oid 1", of which the program knows nothing."""
    database.set_root(PersistentDict(box=Box([1])))
    transaction.commit()
    other = again()
    kept = other.root["box"].value
    with other.transaction() as root:
        checkout(root)
        del root["box"]
    gc.collect()
    with pytest.raises(
        SharedValueError, match=r"has left memory, db\.get\(1\), which is in shared"
    ):
        kept.append(2)
    assert kept == [1]
