"""What a value caches, and the mark of a generic alias, are no parts of it."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Generic, NamedTuple, TypeVar

import attrs
import pytest

from dobbin_like import Database, PersistentDict, checkout, is_changed
from dobbin_like.exc import NotStorableError

T = TypeVar("T")
ALLOW = [f"{__name__}.*", "tests.helpers.pydantic_models.*"]


class Cached:
    @functools.cached_property
    def area(self):
        return lambda: "what can't be stored"


@dataclasses.dataclass
class Rect(Cached):
    w: int = 2


@dataclasses.dataclass(frozen=True)
class Frozen(Cached):
    w: int = 2


@dataclasses.dataclass(slots=True)
class Slots(Cached):
    w: int = 2


@dataclasses.dataclass
class WithSet(Cached):
    marks: set = dataclasses.field(default_factory=lambda: {"a", "b", "c"})


class Plain(Cached):
    def __init__(self):
        self.w = 2


class Empty(Cached):
    pass


class Items(Cached, list):
    pass


class Table(Cached, dict):
    pass


class Members(Cached, set):
    pass


class BadValueError(Cached, ValueError):
    pass


class PairBase(NamedTuple):
    x: int = 1
    y: int = 2


class Pair(Cached, PairBase):
    pass


@attrs.define
class Attrs:
    w: int = 2

    @functools.cached_property
    def area(self):
        return lambda: None


@attrs.define(slots=False)
class AttrsDict(Cached):
    w: int = 2


class Chosen(Cached):
    """Says itself what is stored of it, and of what it has cached."""

    def __getstate__(self):
        return {**vars(self), "area": "chosen"}


@dataclasses.dataclass
class Box(Generic[T]):
    v: T


@dataclasses.dataclass
class CachedBox(Cached, Generic[T]):
    v: T


def model() -> Any:
    return pytest.importorskip("tests.helpers.pydantic_models").Model()


VALUES = [
    *(Rect, Frozen, Slots, WithSet, Plain, Empty, Items, Table, Members, BadValueError, Pair),
    *(Attrs, AttrsDict, model),
]


def has_cached(value: Any) -> bool:
    return "area" in getattr(value, "__dict__", {})


@pytest.mark.parametrize("make", VALUES)
def test_what_a_value_has_cached_is_not_stored(again, make):
    value = make()
    assert value.area
    db = again(allow=ALLOW)
    db.set_root(PersistentDict(v=value, inside=[{"a": value}]))
    db.transaction_manager.commit()
    for root in db.root, again(allow=ALLOW).root:
        assert not has_cached(root["v"])
        assert type(root["v"]) is type(value)
        assert root["v"].area
        assert root["inside"][0]["a"] is root["v"]


@pytest.mark.parametrize("make", VALUES)
def test_asking_for_what_is_cached_is_no_change(again, make):
    db = again(allow=ALLOW, guard="check")
    db.set_root(PersistentDict(v=make(), n=1))
    db.transaction_manager.commit()
    tid = db.tid
    assert db.root["v"].area
    checkout(db.root)
    assert db.root["v"].area
    assert not is_changed(db.root)
    db.transaction_manager.commit()
    assert db.tid == tid

    other = again(allow=ALLOW)
    checkout(db.root, other.root)
    assert db.root["v"].area
    db.root["n"] = 2
    other.root["v"] = 3
    other.transaction_manager.commit()
    db.transaction_manager.commit()
    assert again(allow=ALLOW).root == {"v": 3, "n": 2}


def test_what_else_is_changed_of_it_is_stored(again):
    db = again()
    db.set_root(PersistentDict(v=Rect()))
    db.transaction_manager.commit()
    checkout(db.root)
    assert db.root["v"].area
    db.root["v"].w = 5
    db.transaction_manager.commit()
    assert vars(again().root["v"]) == {"w": 5}


def test_what_a_class_chooses_to_store_is_stored(again):
    value = Chosen()
    db = again(allow=ALLOW)
    db.set_root(PersistentDict(v=value))
    db.transaction_manager.commit()
    assert again(allow=ALLOW).root["v"].area == "chosen"


@pytest.mark.parametrize("make", [Box[int], CachedBox[int]])
def test_a_value_made_by_a_generic_alias_is_stored(again, make):
    db = again(guard="check")
    db.set_root(PersistentDict(v=make(3), u=[make([1])]))
    db.transaction_manager.commit()
    for root in db.root, again().root:
        assert vars(root["v"]) == {"v": 3}
        assert root["v"].v == 3
    checkout(db.root)
    db.root["v"] = make(3)
    assert not is_changed(db.root)
    db.transaction_manager.commit()


def test_the_path_to_a_culprit_does_not_lead_to_what_is_left_out(database: Database):
    box = CachedBox[int](0)
    assert box.area
    box.v = [print]
    database.set_root(PersistentDict(v=box))
    with pytest.raises(NotStorableError, match=r"at \._items\['v'\]\.v\[0\]: "):
        database.transaction_manager.commit()
    database.transaction_manager.abort()


@attrs.frozen(slots=False, cache_hash=True)
class Hashed:
    name: str


@attrs.frozen(cache_hash=True)
class HashedSlots:
    name: str


@attrs.define(slots=False, unsafe_hash=True, cache_hash=True)
class HashedLine:
    name: str
    items: list = attrs.field(factory=list, eq=False)


class HashedFurther(Hashed):
    def __hash__(self):
        return super().__hash__() ^ 1


@pytest.mark.parametrize("cls", [Hashed, HashedSlots, HashedLine, HashedFurther])
def test_a_hash_that_attrs_keeps_is_not_stored(again, cls):
    # A commit was refused, as the hash pickles as a call of type(None).
    value = cls("a")
    assert hash(value)
    db = again(allow=ALLOW, guard="check")
    db.set_root(PersistentDict(v=value, keys={value: 1}, n=1))
    db.transaction_manager.commit()
    for root in db.root, again(allow=ALLOW).root:
        assert root["keys"][cls("a")] == 1
        assert root["keys"][root["v"]] == 1
    tid = db.tid
    checkout(db.root)
    assert hash(db.root["v"]) == hash(cls("a"))
    db.transaction_manager.commit()
    assert db.tid == tid
    checkout(db.root)
    db.root["n"] = 2
    db.transaction_manager.commit()
