"""Errors of values that can't be stored, in a user's terms; values that are stored by name."""

from __future__ import annotations

import copy
import importlib
import io
import sys
from typing import TypeVar
from unittest import mock

import pytest
import transaction

from dobbin_like import (
    BTree,
    BTreeSet,
    Persistent,
    PersistentDict,
    PersistentFile,
    PersistentQueue,
    PersistentStream,
    checkout,
)
from dobbin_like.exc import NotStorableError


class Box(Persistent):
    def __init__(self, **attributes):
        vars(self).update(attributes)


class Ordered:
    """A key that can be ordered, and not be stored."""

    def __init__(self, n):
        self.n = n

    def __lt__(self, other):
        return self.n < other.n

    def __reduce__(self):
        text = "never"
        raise TypeError(text)

    def __repr__(self):
        return f"Ordered({self.n})"


def bad():
    return print


# -- places --------------------------------------------------------------------------------


def refused(database, obj):
    database.set_root(Box(obj=obj))
    with pytest.raises(NotStorableError) as e:
        transaction.commit()
    transaction.abort()
    return str(e.value).partition(": ")[0]


@pytest.mark.parametrize("size", [1, 1000])
def test_a_value_in_a_tree_is_named_by_its_key(database, size):
    tree = BTree({n: n for n in range(size)})
    checkout(tree)
    tree[size // 2] = [bad]
    assert refused(database, tree) == f"BTree (a new object), at [{size // 2}][0]"


@pytest.mark.parametrize("size", [1, 1000])
def test_a_value_in_a_stored_tree_is_named_by_its_key(database, size):
    tree = BTree({str(n): n for n in range(size)})
    database.set_root(tree)
    transaction.commit()
    checkout(tree)
    tree["0"] = {"a": bad}
    with pytest.raises(NotStorableError) as e:
        transaction.commit()
    assert (e.value.class_name, e.value.oid, e.value.path) == ("BTree", 0, "['0']['a']")


@pytest.mark.parametrize("make", [BTreeSet, lambda keys: BTree.fromkeys(keys, 1)])
@pytest.mark.parametrize("size", [1, 1000])
def test_a_key_of_a_tree_is_named(database, make, size):
    tree = make([Ordered(n) for n in range(size)])
    name = type(tree).__name__
    assert refused(database, tree).startswith(f"{name} (a new object), at  key Ordered(")


def test_an_item_of_a_queue_is_named_by_its_place(database):
    queue = PersistentQueue(["a", "b"])
    database.set_root(queue)
    transaction.commit()
    checkout(queue)
    queue.get()
    queue.put([bad])
    with pytest.raises(NotStorableError, match=r"^PersistentQueue \(oid 0\), at \[1\]\[0\]: "):
        transaction.commit()


def test_an_attribute_of_a_queue_is_named(database):
    queue = PersistentQueue()
    checkout(queue)
    queue.note = bad
    assert refused(database, queue) == "PersistentQueue (a new object), at .note"


# -- a class that was defined again ------------------------------------------------------


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # A source of the same second.

    def write(text, name="places_of_now"):
        tmp_path.joinpath(f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        known = sys.modules.get(name)
        return importlib.import_module(name) if known is None else importlib.reload(known)

    yield write
    sys.modules.pop("places_of_now", None)


def test_a_class_that_was_defined_again_is_told_as_that_with_the_cure(database, module):
    text = "from dobbin_like import Persistent\nclass Cart(Persistent):\n    pass\n"
    database.set_root(Box())
    transaction.commit()
    checkout(database.root)
    database.root.cart = module(text).Cart()
    now = module(text)

    with pytest.raises(
        NotStorableError, match=r"defined later: .* cell of .* make the object anew"
    ):
        transaction.commit()
    transaction.abort()
    checkout(database.root)
    database.root.cart = now.Cart()
    transaction.commit()


# -- values that are stored by their names --------------------------------------------------

MARKS = """
from typing import TypeVar

class Missing:
    def __reduce__(self):
        return "MISSING"

MISSING = Missing()
ELSEWHERE = Missing()
T = TypeVar("T")

class Holder:
    pass

class Deep:
    def __reduce__(self):
        return "Holder.deep"

Holder.deep = Deep()
"""


@pytest.mark.parametrize("name", ["MISSING", "T", "Holder.deep"])
@pytest.mark.parametrize("allow", ["places_of_now.*", "places_of_now.{}"])
def test_a_value_that_is_pickled_by_its_name_is_stored_by_it(again, module, name, allow):
    marks = module(MARKS)
    value = eval(name, vars(marks))
    allow = allow.format(name)
    db = again(allow=[allow])
    db.set_root(Box(value=value, inside=[(value, value)], beside=[1]))
    db.transaction_manager.commit()
    checkout(db.root)
    db.root.beside.append(2)
    db.root.later = {"a": value}
    db.transaction_manager.commit()

    for root in db.root, again(allow=[allow]).root:
        assert root.value is root.inside[0][0] is root.inside[0][1] is root.later["a"] is value
    assert again().root.beside == [1, 2]  # Where it is not allowed, there is a stand-in.


@pytest.mark.parametrize("name", ["MISSING", "T"])
def test_a_value_whose_name_is_not_allowed_is_refused_with_its_path(database, module, name):
    value = getattr(module(MARKS), name)
    database.set_root(Box(inside=[1, {"a": value}]))

    expected = rf"at \.inside\[1\]\['a'\]: the .* places_of_now\.{name} could not .* allow=\["
    with pytest.raises(NotStorableError, match=expected):
        transaction.commit()


def test_a_value_that_has_another_name_is_refused_with_its_path(again, module):
    db = again(allow=["places_of_now.*"])
    db.set_root(Box(inside=[module(MARKS).ELSEWHERE]))
    with pytest.raises(NotStorableError, match=r"at \.inside\[0\]: .* the name means something"):
        db.transaction_manager.commit()


def test_a_value_that_no_module_has_by_its_name_is_refused_with_its_path(again, module):
    lost = module(MARKS).Missing()
    lost.__module__ = None
    lost.__class__.__reduce__ = lambda _self: "NOWHERE"
    db = again(allow=["places_of_now.*"])
    db.set_root(Box(inside=[lost]))

    with pytest.raises(
        NotStorableError, match=r"at \.inside\[0\]: .* __main__\.NOWHERE could not"
    ):
        db.transaction_manager.commit()


def test_a_sentinel_of_mock_is_stored(again):
    allow = ["unittest.mock.*"]
    db = again(allow=allow)
    db.set_root(PersistentDict(a=mock.sentinel.found))
    db.transaction_manager.commit()
    assert again(allow=allow).root["a"] is mock.sentinel.found


def test_what_a_module_has_imported_is_no_value_of_its_own(again, module):
    """A state can't name a function, or a type, by way of another module."""
    marks = module("import os\nfrom os import system\n" + MARKS)
    resolve = again(allow=["places_of_now.*"])._store.graph.classes.policy.resolve

    assert resolve("places_of_now", "MISSING") == (marks.MISSING, "")
    for name in "system", "os", "os.environ":
        assert resolve("places_of_now", name)[0] is None, name


class Counted:
    reduced = 0

    def __reduce__(self):
        Counted.reduced += 1
        return Counted, ()


def test_a_value_is_asked_once_how_it_is_pickled(again):
    value = Counted()
    db = again(allow=[f"{__name__}.Counted"])
    db.set_root(Box(values=[value] * 5))
    db.transaction_manager.commit()
    assert Counted.reduced == 1
    assert db.root.values[0] is db.root.values[4]


def test_a_type_variable_of_this_module_is_told_by_its_name(database):
    database.set_root(Box(t=TypeVar("Unknown")))
    with pytest.raises(NotStorableError, match=r"at \.t: "):
        transaction.commit()


# -- copies of streams --------------------------------------------------------------------


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_stream_is_a_file_with_the_same_bytes(database, again, make):
    database.set_root(PersistentDict(a=PersistentFile(io.BytesIO(b"raven" * 50_000))))
    transaction.commit()
    root = database.root

    checkout(root)
    root["b"] = make(root["a"])
    assert isinstance(root["b"], PersistentFile)
    transaction.commit()

    for root in database.root, again().root:
        assert isinstance(root["b"], PersistentStream)
        assert b"".join(root["b"]) == b"".join(root["a"]) == b"raven" * 50_000


def test_a_deep_copy_of_an_object_with_a_stream_is_of_its_own(database):
    database.set_root(Box(doc=Box(file=PersistentFile(io.BytesIO(b"abc")), title=["t"])))
    transaction.commit()
    root = database.root

    checkout(root)
    root.twin = copy.deepcopy(root.doc)
    root.twin.title.append("u")
    transaction.commit()
    del root
    checkout(database.root)
    del database.root.doc
    transaction.commit()
    database.pack()

    assert (list(database.root.twin.file), database.root.twin.title) == ([b"abc"], ["t", "u"])


def test_a_copy_of_a_stream_is_stored_after_a_pack(database):
    database.set_root(Box(old=PersistentFile(io.BytesIO(b"abc" * 99))))
    transaction.commit()
    checkout(database.root)
    database.root.new = copy.copy(database.root.old)
    transaction.savepoint()
    database.pack()
    transaction.commit()
    assert b"".join(database.root.new) == b"abc" * 99
