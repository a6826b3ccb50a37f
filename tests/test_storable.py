"""What can be pickled, and not be loaded, is refused by the commit, with its path."""

from __future__ import annotations

import builtins
import collections.abc
import csv
import dataclasses
import decimal
import enum
import functools
import io
import itertools
import logging
import mmap
import operator
import os
import queue
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import types
import weakref
import zlib
from concurrent.futures import Future
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import attrs
import pytest
import transaction

from dobbin_like import (
    BTree,
    BTreeSet,
    Persistent,
    PersistentDict,
    PersistentList,
    PersistentSet,
    checkout,
    is_changed,
    touch,
)
from dobbin_like.exc import NotPersistentError, NotStorableError
from dobbin_like.objects.codec.refused import culprit
from dobbin_like.objects.values import lost_keys
from tests.helpers.things import Thing

ALLOW = [f"{__name__}.*", "functools.partial", "namedtuple"]


@pytest.fixture
def root(again):
    db = again(allow=ALLOW)
    db.set_root(PersistentDict(n=Thing(x=1)))
    db.transaction_manager.commit()
    return db.root


@pytest.fixture
def refused(root, again):
    """Let the commit refuse a value, in a list; return the path and the reason."""

    def refused(value):
        manager = root._p_jar.transaction_manager
        checkout(root)
        root["v"] = [value]
        with pytest.raises(NotStorableError) as e:
            manager.commit()
        manager.abort()
        assert [*again().root] == ["n"]
        return e.value.path, e.value.reason

    return refused


# -- what would make persistent objects --------------------------------------------------------


class Pretender:
    """A proxy as those of werkzeug and zope are: a value that says to be another."""

    def __init__(self, obj):
        object.__setattr__(self, "obj", obj)

    __class__ = property(lambda self: type(self.obj))

    def __getattr__(self, name):
        return getattr(self.obj, name)

    def _get_current_object(self):
        return self.obj


class OtherPretender:
    def __init__(self, obj):
        object.__setattr__(self, "obj", obj)

    __class__ = property(lambda self: self.obj.__class__)


class Factory:
    """Reduces to a new persistent object."""

    def __init__(self, *how):
        self.how = how

    def __reduce__(self):
        return self.how


@pytest.mark.parametrize("make", [weakref.proxy, Pretender])
def test_a_proxy_of_a_persistent_object_is_refused(refused, root, make):
    path, reason = refused(make(root["n"]))
    assert path == "._items['v'][0]"
    assert "stands for an object and can't be stored; store the object itself" in reason
    assert ("_get_current_object()" in reason) is (make is Pretender)


@pytest.mark.parametrize("make", [weakref.proxy, Pretender, OtherPretender])
def test_a_proxy_is_no_object_to_be_checked_out(root, make):
    db = root._p_jar
    for obj in root["n"], root:
        proxy = make(obj)
        for call in checkout, touch, is_changed, db.history, db.discard, db.set_root:
            with pytest.raises(NotPersistentError, match="expected the object itself") as e:
                call(proxy)
            assert ("_get_current_object()" in str(e.value)) is (make is Pretender)
            assert ("weakref.ref(obj)" in str(e.value)) is (make is weakref.proxy)


def test_so_it_is_with_a_proxy_of_what_is_gone(root):
    with pytest.raises(NotPersistentError, match=r"object itself.*weakref.ref\(obj\)"):
        checkout(weakref.proxy(Thing()))


def test_a_proxy_is_refused_wherever_it_is(refused, root):
    proxy = weakref.proxy(root["n"])
    assert refused(Point(proxy, 1))[0] == "._items['v'][0].x"
    assert refused(Thing(p=proxy))[0] == ".p"
    assert refused(BTree({1: proxy}))[0] == "[1]"
    assert refused(PersistentList([proxy]))[0] == "._items[0]"


def test_a_proxy_of_an_object_with_a_proxy_is_named_itself(refused):
    thing = Thing()
    checkout(thing)
    thing.itself = weakref.proxy(thing)
    assert refused(weakref.proxy(thing))[0] == "._items['v'][0]"


@pytest.mark.parametrize("value", [Factory(Thing, ()), Factory(Thing, (), {"x": 5})])
def test_a_value_that_is_pickled_as_a_new_object_is_refused(refused, value):
    path, reason = refused(value)
    assert path == "._items['v'][0]"
    assert "pickled as a new Thing" in reason
    assert "store the object itself, or its _p_oid" in reason


def test_a_persistent_class_is_a_value_beside_others(root, again):
    checkout(root)
    root["v"] = [Thing, Point(Thing, [1]), functools.partial(Thing, x=3)]
    root._p_jar.transaction_manager.commit()
    for v in root["v"], again(allow=ALLOW).root["v"]:
        assert v[0] is v[1].x is v[2].func is Thing
        assert v[2]().x == 3


class Items(list):
    """A list that could be made as long as one wants by a few bytes."""

    def __reduce__(self):
        return Items, (range(3),)


def test_arguments_that_no_state_may_have_are_refused_when_they_are_stored(refused):
    path, reason = refused(Items([0, 1, 2]))
    assert path == "._items['v'][0]"
    assert "arguments of which no Items is made when it is loaded" in reason


# -- what its class does not take ----------------------------------------------------------


@dataclasses.dataclass
class Point:
    x: object
    y: object = 0


class TwoArgumentsError(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.b = b


class Strict:
    def __init__(self, n):
        self.n = n

    def __setstate__(self, state):
        if state["n"] < 0:
            raise ValueError(state["n"])
        vars(self).update(state)


class Keyed:
    """Has a hash only after its constructor has run."""

    def __init__(self, n):
        self.n = n

    def __getstate__(self):
        return None

    def __eq__(self, other):
        return self.n == other.n

    def __hash__(self):
        return hash(self.n)


@pytest.mark.parametrize(
    ("value", "place", "reason"),
    [
        (TwoArgumentsError(1, 2), "", "TypeError: .* missing 1 required positional argument: 'b'"),
        ({"error": [TwoArgumentsError(1, 2)]}, "['error'][0]", "TypeError"),
        (Point(Strict(-1)), ".x", "ValueError: -1"),
        ({Keyed(1): 2}, "", "AttributeError: .* no attribute 'n'"),
    ],
)
def test_a_value_that_can_not_be_made_again_is_refused_with_its_path(
    refused, value, place, reason
):
    where, why = refused(value)
    assert where == "._items['v'][0]" + place
    assert re.search(f"not be made again of that: {reason}.*__reduce__", why)


@dataclasses.dataclass(slots=True)
class Slots:
    x: object


@dataclasses.dataclass(slots=True, frozen=True)
class FrozenSlots:
    y: object
    x: object


@attrs.define
class Defined:
    x: object


class WithoutLock:
    """Has a lock, which it leaves out of what is pickled."""

    def __init__(self, x):
        self.lock = threading.Lock()
        self.x = x

    def __getstate__(self):
        return {"x": self.x}


@pytest.mark.parametrize(
    ("around", "step"),
    [
        (lambda value: collections.deque([0, value]), "[1]"),
        (lambda value: types.SimpleNamespace(a=0, x=value), ".x"),
        (lambda value: slice(0, value), ".stop"),
        (Slots, ".x"),
        (lambda value: FrozenSlots(0, value), ".x"),
        (Defined, ".x"),
        (WithoutLock, ".x"),
    ],
)
def test_the_path_to_what_is_refused_leads_through_values(refused, around, step):
    lock = threading.Lock()
    for inner, inside in (lock, ""), (around(lock), step):
        where, why = refused(around([inner]))
        assert where == f"._items['v'][0]{step}[0]{inside}"
        assert "type lock" in why


@pytest.mark.skipif(not hasattr(builtins, "frozendict"), reason="Python 3.15 has brought it")
def test_the_path_to_what_is_refused_leads_through_a_frozen_dict(refused):
    where, _ = refused(builtins.frozendict(a=[threading.Lock()]))
    assert where == "._items['v'][0]['a'][0]"


class Delegating:
    """Asks for what it delegates to before it has it, when it is made again."""

    def __init__(self):
        self.to = {}

    def __getattr__(self, name):
        return self.to[name]


class Endless:
    def __getstate__(self):
        return self.__getstate__()


@pytest.mark.parametrize(
    ("cls", "function"),
    [(Delegating, "Delegating.__getattr__"), (Endless, "Endless.__getstate__")],
)
def test_a_method_that_calls_itself_without_end_is_named(refused, cls, function):
    value = cls()
    for around, step in (value, ""), ([value], "[0]"):
        path, reason = refused(around)
        assert path == "._items['v'][0]" + step
        assert f"{function} calls itself without end" in reason


def test_what_can_be_made_again_is_stored_beside_it_later(root, again):
    checkout(root)
    root["v"] = Strict(-1)
    with pytest.raises(NotStorableError):
        root._p_jar.transaction_manager.commit()
    root._p_jar.transaction_manager.abort()
    checkout(root)
    root["v"] = Strict(1), Thing()
    root._p_jar.transaction_manager.commit()
    assert again(allow=ALLOW).root["v"][0].n == 1


def test_an_error_of_this_package_in_a_class_is_passed_on(database):
    class Local(Persistent):
        pass

    database.set_root(PersistentDict(v=[Local]))
    with pytest.raises(NotStorableError, match=r"\['v'\]\[0\]: .* inside a function"):
        transaction.commit()


# -- what belongs to its process -------------------------------------------------------------


def yielding():
    yield 1


async def running():
    pass


@pytest.fixture
def coroutine():
    made = running()
    yield made
    made.close()


class Holding:
    """A class that a program could allow, if it did not hold what can't be stored."""

    def __init__(self, held):
        self.held = held


def opened():
    return Path(os.devnull).open("rb")


DATABASE = sqlite3.connect(":memory:")


def scanned():
    with os.scandir("/") as found:
        return found


def entry():
    with os.scandir("/") as found:
        return next(found)


@pytest.mark.parametrize(
    ("make", "instead"),
    [
        (lambda: weakref.ref(Point), "the object that it refers to"),
        (lambda: weakref.WeakMethod(Strict(1).__setstate__), "the object that it refers to"),
        (lambda: weakref.WeakSet([Point]), "a set of the objects"),
        (lambda: weakref.WeakKeyDictionary({Point: 1}), "a dict by the objects"),
        (lambda: weakref.WeakValueDictionary(a=Point), "a dict of the objects"),
        (lambda: weakref.finalize(Point, print), "_v_"),
        (threading.Lock, "_v_"),
        (threading.Event, "_v_"),
        (threading.Thread, "_v_"),
        (threading.local, "_v_"),
        (queue.Queue, "_v_"),
        (queue.SimpleQueue, "_v_"),
        (Future, "_v_"),
        (socket.socket, "_v_"),
        (lambda: sqlite3.connect(":memory:"), "_v_"),
        (lambda: sqlite3.Row(sqlite3.Cursor(DATABASE), (1,)), r"dict\(\) of it"),
        (lambda: sqlite3.Cursor(DATABASE), "a list of what it yields"),
        (lambda: csv.reader(["a,b"]), "a list of what it yields"),
        (lambda: csv.DictReader(["a,b"]), "a list of what it yields"),
        (lambda: csv.writer(sys.stdout), "_v_"),
        (entry, "its path"),
        (scanned, "a list of what it yields"),
        (lambda: mmap.mmap(-1, 10), "_v_"),
        (zlib.compressobj, "a __reduce__ .* _v_"),
        (opened, "its name or what it holds"),
        (yielding, "a list of what it yields"),
        (lambda: iter([1]), "a list of what it yields"),
        (lambda: map(str, [1]), "a list of what it yields"),
        (itertools.count, "a list of what it yields"),
        ({1: 2}.keys, r"list\(\) of it"),
        (lambda: types.MappingProxyType({}), r"dict\(\) of it"),
        (lambda: memoryview(b"a"), r"bytes\(\) of it"),
        (lambda: re.match("a", "a"), r"its groups\(\)"),
        (lambda: logging.getLogger("shop"), r"getLogger\(__name__\)"),
        (lambda: logging.LoggerAdapter(logging.getLogger()), r"getLogger\(__name__\)"),
        (lambda: os.environ, r"dict\(\) of it"),
        (lambda: types, "its name"),
        (sys._getframe, "traceback.format_stack"),
        (lambda: yielding.__code__, "its source"),
        (lambda: ContextVar("v"), r"\.get\(\)"),
        (lambda: int | str, "type hint"),
        (lambda: list[int], "type hint"),
        (lambda: Literal["a"], "type hint"),
        (lambda: collections.abc.Callable[[int], str], "type hint"),
        (lambda: Any, "type hint"),
        (lambda: Strict(1).__setstate__, "call the method later"),
        (lambda: str.lower, "call the method later"),
        (object, "a member of an enum"),
    ],
)
def test_of_what_belongs_to_its_process_the_error_says_what_to_store_instead(
    refused, make, instead
):
    value = make()
    for around, step in (value, ""), ({"a": value}, "['a']"), (Holding(value), ".held"):
        path, reason = refused(around)
        assert path == "._items['v'][0]" + step
        assert re.search(instead, reason)
        assert "allow" not in reason  # It would not help.
    if hasattr(value, "close"):
        value.close()


def held_by_programs(db):
    tree, plain = BTree({1: 2}), PersistentDict(a=1)
    yield from ((view(), r"list\(\) of it") for view in (tree.keys, tree.values, tree.items))
    yield from ((view(), r"list\(\) of it") for view in (plain.keys, plain.values, plain.items))
    yield collections.abc.KeysView({1: 2}), r"list\(\) of it"
    yield db.find(Thing, x=1), r"list\(\) of it"
    yield db.transaction(), "_v_"
    yield db.changes(), "_v_"


def test_so_it_is_with_what_this_package_gives_a_program_to_use(refused, root):
    # The error named a class of this package for allow, or a lock somewhere in it.
    for value, instead in held_by_programs(root._p_jar):
        path, reason = refused({"a": value})
        assert path == "._items['v'][0]['a']"
        assert re.search(instead, reason)
        assert "allow" not in reason


def test_so_it_is_with_a_coroutine(refused, coroutine):
    assert "store what it is called with" in refused(coroutine)[1]


def test_a_class_that_helps_when_it_is_allowed_is_still_told_so(refused):
    for value in io.BytesIO(b"a"), subprocess.CompletedProcess(["a"], 1), operator.itemgetter(1):
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        assert f"allow=['{name}']" in refused(value)[1]


class Reduced:
    def __reduce__(self):
        return operator.itemgetter, (yielding(),)


def test_a_class_that_does_not_help_when_it_is_allowed_is_not_told(refused):
    reason = refused(Reduced())[1]
    assert "cannot pickle 'generator' object; give its class a __reduce__" in reason


def test_the_singletons_of_the_language_are_stored(root, again):
    checkout(root)
    root["v"] = [..., NotImplemented, None]
    root._p_jar.transaction_manager.commit()
    assert again(allow=ALLOW).root["v"] == [..., NotImplemented, None]


# -- keys and members that equal only themselves ----------------------------------------------


@dataclasses.dataclass(eq=False)
class Token:
    n: int = 1

    def __lt__(self, other):
        return self.n < other.n


class Pair(NamedTuple):
    left: object
    right: object = 0


class Color(enum.Enum):
    RED = 1


class Named:
    """One of a few, which it is again when it is made again."""

    made: ClassVar[dict[str, Named]] = {}

    def __new__(cls, name):
        return cls.made.setdefault(name, super().__new__(cls))

    def __getnewargs__(self):
        return ("a",)

    def __getstate__(self):
        return None


def function():
    pass


IN_A_KEY = [
    lambda key: key,
    lambda key: (1, key),
    lambda key: (1, (key, "a")),
    Pair,
    lambda key: frozenset([key]),
]


@pytest.mark.parametrize("make", IN_A_KEY)
@pytest.mark.parametrize(
    ("around", "place"),
    [
        (lambda key: {key}, " member"),
        (lambda key: {1: 2, key: 3}, " key"),
        (lambda key: frozenset([key]), " member"),
        (lambda key: collections.OrderedDict({key: 1}), " key"),
        (lambda key: collections.defaultdict(int, {key: 1}), " key"),
        (lambda key: [1, {"a": {key: 1}}], "[1]['a'] key"),
        (lambda key: Point({key: 1}, 5), ".x key"),
        (lambda key: Pair(1, {key}), "[1] member"),
    ],
)
def test_a_key_or_member_that_equals_only_itself_is_refused(refused, make, around, place):
    path, reason = refused(around(make(Token())))
    assert path.startswith("._items['v'][0]" + place)
    assert "a key or member of the class Token equals only itself" in reason
    assert "__eq__ and __hash__" in reason


@dataclasses.dataclass(frozen=True)
class Of:
    """A key that equals what has an equal part."""

    part: object
    note: object = dataclasses.field(default=None, compare=False)


class OnlyItself:
    """Says so by an ``__eq__`` of its own."""

    def __eq__(self, other):
        return self is other

    def __hash__(self):
        return 1


class Raising:
    def __eq__(self, other):
        raise ValueError(other)

    def __hash__(self):
        return 1


@pytest.mark.parametrize("make", IN_A_KEY)
@pytest.mark.parametrize("key", [Of(Token()), Of((1, Of(Token()))), OnlyItself()])
def test_a_key_that_does_not_equal_what_is_loaded_of_it_is_refused(refused, make, key):
    path, reason = refused({make(key)})
    assert path.startswith("._items['v'][0] member")
    assert "equals only itself" in reason


@pytest.mark.parametrize("make", IN_A_KEY)
@pytest.mark.parametrize(
    "around",
    [
        lambda key: PersistentDict({key: 1}),
        lambda key: PersistentSet([key]),
        lambda key: Thing(s={key}),
    ],
)
def test_a_key_of_an_object_that_equals_only_itself_is_refused(refused, make, around):
    path, reason = refused(around(make(Token())))
    assert re.match(r"\._items (key|member)|\.s member", path)
    assert "equals only itself" in reason


@pytest.mark.parametrize("size", [0, 1000])
def test_a_key_of_a_tree_that_equals_only_itself_is_refused(refused, size):
    for tree in BTree({Token(): 1}), BTreeSet([Token()]):
        path, reason = refused(tree)
        assert path.startswith(" key Token(")
        assert "equals only itself" in reason


@pytest.mark.parametrize("size", [1, 1000])
def test_a_key_that_equals_only_itself_is_refused_when_it_is_added(root, again, size):
    manager = root._p_jar.transaction_manager
    checkout(root)
    root["d"] = PersistentDict(dict.fromkeys(range(size)))
    manager.commit()
    checkout(root["d"])
    root["d"][Token()] = 1
    with pytest.raises(NotStorableError, match=r"PersistentDict \(oid .*, at \._items key Token"):
        manager.commit()
    manager.abort()
    assert len(again().root["d"]) == size


@pytest.mark.parametrize(
    "key",
    [
        Color.RED,
        Named("a"),
        Thing,
        Point,
        function,
        Thing(),
        Pair(1, "a"),
        Of(1),
        Of((1, Of(Thing()))),
        Of(1, Token()),
        Raising(),
        decimal.Decimal(1),
        (1, Color.RED, Thing()),
    ],
)
def test_a_key_that_is_found_again_is_stored(root, again, key):
    checkout(root)
    root["v"] = [{key: 1}, {key}, Token()]
    root["d"] = PersistentDict({key: Token()})
    root._p_jar.transaction_manager.commit()
    for found in root, again(allow=ALLOW).root:
        checkout(found)
        found["v"][1].remove(next(iter(found["v"][0])))
        assert not found["v"][1]
        found._p_jar.transaction_manager.abort()


def test_who_reads_gets_what_was_stored_before(root, again, monkeypatch):
    monkeypatch.setattr(lost_keys, "check_keys", lambda _keys: None)
    monkeypatch.setattr(culprit, "check_keys", lambda _keys: None)
    checkout(root)
    root["v"] = {Token(7)}
    root._p_jar.transaction_manager.commit()
    monkeypatch.undo()
    found = again(allow=ALLOW).root
    assert [token.n for token in found["v"]] == [7]
    checkout(found)
    found["other"] = 1
    with pytest.raises(NotStorableError, match="equals only itself"):
        found._p_jar.transaction_manager.commit()
    found._p_jar.transaction_manager.abort()
    checkout(found)
    found["v"] = [*found["v"]]
    found._p_jar.transaction_manager.commit()


class Starved:
    """Takes more memory than there is, when it is pickled for the *number*-th time."""

    def __init__(self, number):
        self.left = number

    def __reduce__(self):
        self.left -= 1
        if self.left < 0:
            raise MemoryError
        return Starved, (0,)


@pytest.mark.parametrize("number", [0, 1])
def test_without_memory_no_value_is_blamed(root, number):
    """It names the value that is written when the memory is out, which may be any."""
    checkout(root)
    root["v"] = [Starved(number), threading.Lock()]
    with pytest.raises(MemoryError):
        root._p_jar.transaction_manager.commit()
    root._p_jar.transaction_manager.abort()
    checkout(root)
    root["v"] = 1
    root._p_jar.transaction_manager.commit()
