"""Sorted maps and sets: what they answer, what they refuse, what their nodes look like."""

from __future__ import annotations

import collections.abc
import copy
import math
import operator
import pickle
import random
from decimal import Decimal
from functools import partialmethod
from typing import Any

import pytest
import transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sortedcontainers import SortedDict

from dobbin_like import (
    BTree,
    BTreeSet,
    Database,
    MemoryLog,
    Persistent,
    TransactionLog,
    checkout,
)
from dobbin_like.check import check_log
from dobbin_like.collections import check_btree
from dobbin_like.exc import (
    InvalidObjectReference,
    LostChangeWarning,
    SharedValueError,
    UnloadedClassError,
)
from tests.helpers.steps import in_thread
from tests.helpers.trees import make_small, sound


@pytest.fixture
def small(monkeypatch):
    """Let nodes be so small that few keys make a deep tree."""
    make_small(monkeypatch)


def levels(tree) -> int:
    return tree._root.links[0] + 1


def opened(tree):
    """Check out a new tree, and return it."""
    checkout(tree)
    return tree


class Item(Persistent):
    pass


class Index(BTree[str, Any]):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


# -- made, and read -----------------------------------------------------------------


def test_a_tree_is_made_from_what_a_dict_is_made_from():
    expected = {"a": 1, "b": 2}
    for tree in (
        BTree({"b": 2, "a": 1}),
        BTree([("b", 2), ("a", 1)]),
        BTree(iter([("b", 2), ("a", 0), ("a", 1)])),
        BTree(b=2, a=1),
        BTree({"b": 0}, a=1, b=2),
        BTree(BTree(expected)),
    ):
        assert tree == expected
        assert list(tree.items()) == [("a", 1), ("b", 2)]
    assert BTree() == {}
    assert BTree.fromkeys("ba", 5) == {"a": 5, "b": 5}
    with pytest.raises(ValueError, match="length 3; 2 is required"):
        BTree([(1, 2, 3)])


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 40, 300, 1000])
def test_a_tree_from_sorted_input_has_full_leaves_and_the_right_shape(small, count):
    tree = BTree((n, str(n)) for n in range(count))
    assert sound(tree)
    assert len(tree) == count
    assert list(tree.items()) == [(n, str(n)) for n in range(count)]
    # Seven to a leaf, five to an inner node.
    leaves = -(-count // 7)
    expected = 2
    while leaves > 5:
        leaves, expected = -(-leaves // 5), expected + 1
    assert levels(tree) == expected


def test_keys_in_any_order_make_the_same_tree(small):
    keys = list(range(500))
    random.Random(1).shuffle(keys)
    tree = opened(BTree())
    for key in keys:
        tree[key] = -key
    assert sound(tree)
    assert list(tree) == sorted(keys)
    assert tree == BTree((key, -key) for key in keys)


def test_what_grows_at_its_end_has_full_leaves():
    tree = opened(BTree())
    for key in range(1000):
        tree[key] = None
    leaves = tree._root.links[2]
    assert len(leaves) <= 1000 / 110 + 1
    assert sound(tree)


def test_a_tree_behaves_as_a_mapping():
    tree = BTree({1: "one", 2: "two", 3: None})
    assert isinstance(tree, collections.abc.MutableMapping)
    assert tree[1] == "one"
    assert tree.get(3) is None
    assert tree.get(4) is None
    assert tree.get(4, 5) == 5
    assert 2 in tree
    assert 4 not in tree
    assert len(tree) == 3
    assert bool(tree)
    assert not BTree()
    with pytest.raises(KeyError, match="4"):
        tree[4]
    assert tree == {3: None, 1: "one", 2: "two"}
    assert tree != {1: "one", 2: "two", 3: 3}
    assert tree != {1: "one", 2: "two"}
    assert tree != {"a": 1, "b": 2, "c": 3}
    assert tree != [1, 2, 3]
    assert repr(tree) == "BTree({1: 'one', 2: 'two', 3: None})"
    assert tree | {4: 4} == {1: "one", 2: "two", 3: None, 4: 4}
    assert {0: 0, 1: 1} | tree == {0: 0, 1: "one", 2: "two", 3: None}
    with pytest.raises(TypeError):
        hash(tree)
    with pytest.raises(TypeError):
        tree | [1]


def test_views_are_in_order_and_show_the_tree_as_it_is():
    tree = opened(BTree({2: "b", 1: "a"}))
    keys, values, items = tree.keys(), tree.values(), tree.items()
    tree[0] = "z"
    assert list(keys) == [0, 1, 2]
    assert list(values) == ["z", "a", "b"]
    assert list(items) == [(0, "z"), (1, "a"), (2, "b")]
    assert list(reversed(keys)) == [2, 1, 0]
    assert list(reversed(values)) == ["b", "a", "z"]
    assert list(reversed(items)) == [(2, "b"), (1, "a"), (0, "z")]
    assert (len(keys), len(values), len(items)) == (3, 3, 3)
    assert 1 in keys
    assert "a" in values
    assert "x" not in values
    assert (1, "a") in items
    assert (1, "b") not in items
    assert keys & {1, 5} == {1}
    assert keys == {0, 1, 2}
    assert isinstance(keys, collections.abc.KeysView)


def test_ranges_go_either_way_with_open_and_closed_ends(small):
    tree = BTree((n, n) for n in range(0, 100, 2))

    def keys(pairs):
        return [key for key, _ in pairs]

    assert keys(tree.items_range(10, 16)) == [10, 12, 14]
    assert keys(tree.items_range(10, 16, closed_start=False, closed_end=True)) == [12, 14, 16]
    assert keys(tree.items_range(16, 10)) == [16, 14, 12]
    assert keys(tree.items_range(16, 10, closed_start=False, closed_end=True)) == [14, 12, 10]
    assert keys(tree.items_range(9, 15)) == [10, 12, 14]
    assert keys(tree.items_range(15, 9)) == [14, 12, 10]
    assert keys(tree.items_range(10, 10)) == []
    assert keys(tree.items_range(10, 10, closed_end=True)) == [10]
    assert keys(tree.items_range(-5, 500)) == list(range(0, 100, 2))
    assert keys(tree.items_range(500, -5)) == list(range(98, -1, -2))
    assert keys(tree.items_from(95)) == [96, 98]
    assert keys(tree.items_from(96)) == [96, 98]
    assert keys(tree.items_from(96, closed=False)) == [98]
    assert keys(tree.items_from(99)) == []
    assert keys(tree.items_backward()) == list(range(98, -1, -2))
    assert keys(tree.items_backward_from(3)) == [2, 0]
    assert keys(tree.items_backward_from(2)) == [2, 0]
    assert keys(tree.items_backward_from(2, closed=False)) == [0]
    assert keys(tree.items_backward_from(-1)) == []
    assert list(tree.keys(10, 14)) == [10, 12, 14]
    assert list(tree.keys(min=95)) == [96, 98]
    assert list(tree.values(max=3)) == [0, 2]
    assert len(tree.items(min=10, max=14)) == 3


def test_every_range_is_that_of_a_sorted_list(small):
    keys = list(range(1, 90, 3))
    tree = BTree.fromkeys(keys)
    for low in range(-1, 92):
        for high in (low - 7, low, low + 1, low + 30):
            for first in (True, False):
                for last in (True, False):
                    found = tree.items_range(low, high, closed_start=first, closed_end=last)
                    open_ends = {low} if not first else set()
                    open_ends |= {high} if not last else set()
                    inside = [k for k in keys if min(low, high) <= k <= max(low, high)]
                    inside = [k for k in inside if k not in open_ends]
                    assert [k for k, _ in found] == (inside[::-1] if high < low else inside)


def test_neighbours_are_found_from_keys_that_are_not_there(small):
    tree = BTree((n, str(n)) for n in range(0, 60, 2))
    assert tree.min_item() == (0, "0")
    assert tree.max_item() == (58, "58")
    for key in range(-3, 63):
        above = [k for k in range(0, 60, 2) if k > key]
        below = [k for k in range(0, 60, 2) if k < key]
        assert tree.next_item(key) == ((above[0], str(above[0])) if above else None)
        assert tree.prev_item(key) == ((below[-1], str(below[-1])) if below else None)
    empty = BTree()
    assert empty.next_item(1) is None
    assert empty.prev_item(1) is None
    with pytest.raises(ValueError, match="the BTree is empty"):
        empty.min_item()
    with pytest.raises(ValueError, match="the BTree is empty"):
        empty.max_item()


def test_a_slice_is_a_range_that_can_be_read_and_deleted(small):
    tree = opened(BTree((n, str(n)) for n in range(50)))
    part = tree[10:20]
    assert list(part) == list(range(10, 20))
    assert len(part) == 10
    assert part[10] == "10"
    assert 20 not in part
    assert 9 not in part
    assert list(reversed(part)) == list(range(19, 9, -1))
    assert next(iter(part.items())) == (10, "10")
    assert next(reversed(part.values())) == "19"
    assert dict(tree[:2]) == {0: "0", 1: "1"} == tree[:2]
    assert repr(tree[48:]) == "BTreeRange({48: '48', 49: '49'})"
    with pytest.raises(KeyError):
        part[20]
    with pytest.raises(ValueError, match="no step"):
        tree[1:2:3]
    del tree[10:40]
    assert not part
    assert list(tree) == [*range(10), *range(40, 50)]
    with pytest.raises(TypeError, match="a slice is a range of keys"):
        tree[1:2] = 3
    assert sound(tree)


# -- changed ------------------------------------------------------------------------


def test_changes_are_those_of_a_dict():
    tree = opened(BTree({"a": 1}))
    assert tree.setdefault("a", 5) == 1
    assert tree.setdefault("b", 2) == 2
    assert tree.setdefault("n") is None
    assert tree.pop("n") is None
    assert tree.pop("n", 7) == 7
    with pytest.raises(KeyError):
        tree.pop("n")
    with pytest.raises(KeyError):
        del tree["n"]
    tree.add("c")
    tree.add("d", 4)
    assert tree == {"a": 1, "b": 2, "c": True, "d": 4}
    assert tree.popitem() == ("d", 4)
    tree |= {"e": 5}
    tree.update([("f", 6)], g=7)
    assert list(tree) == ["a", "b", "c", "e", "f", "g"]
    tree.clear()
    assert tree == {}
    assert sound(tree)
    with pytest.raises(KeyError, match="is empty"):
        tree.popitem()
    tree.update({2: 2, 1: 1})
    assert list(tree) == [1, 2]
    assert sound(tree)


def test_nothing_can_be_changed_before_the_checkout(database):
    tree = BTree({1: 1})
    changes = [
        lambda: tree.__setitem__(1, 2),
        lambda: tree.__delitem__(1),
        lambda: tree.add(2),
        lambda: tree.pop(1),
        tree.popitem,
        lambda: tree.setdefault(2),
        lambda: tree.setdefault(1),
        lambda: tree.update({2: 2}),
        tree.clear,
        lambda: tree.__delitem__(slice(None)),
    ]
    for _ in range(2):
        for change in changes:
            with pytest.raises(SharedValueError, match="BTree"):
                change()
        assert tree == {1: 1}
        if database.root is None:
            database.set_root(tree)
            transaction.commit()


def test_a_value_of_a_tree_that_is_not_read_by_its_key_tells_what_to_do(again):
    values = {1: [1], 2: {"a": 1}, 3: [[{1}]]}
    db = again()
    db.set_root(BTree(values))
    db.transaction_manager.commit()
    tell = r"this \w+ belongs to BTree oid 0, .* then read the \w+ by its key, tree\[key\], and"
    for root in db.root, again().root:
        for _ in range(2):
            shared = [*root.values(), *(value for _, value in root.items()), *root[:].values()]
            for value in shared:
                change = value.append if isinstance(value, list) else value.update
                with pytest.raises(SharedValueError, match=tell):
                    change(())
            with pytest.raises(SharedValueError, match=tell):
                shared[2][0][0].add(2)
            checkout(root)
        root[1].append(2)
        assert root[1] == [1, 2]
        root._p_jar.transaction_manager.abort()


def test_a_value_of_a_tree_that_is_changed_too_late_is_told_as_one_of_the_tree(database):
    tree = BTree({1: [1]})
    database.set_root(tree)
    transaction.commit()
    checkout(tree)
    kept = tree[1]
    transaction.commit()
    kept.append(2)
    checkout(tree)
    tree[2] = 1
    with pytest.warns(LostChangeWarning, match="a list of BTree oid 0 was changed"):
        transaction.commit()


def test_leaves_that_run_empty_leave_the_tree(small):
    tree = opened(BTree.fromkeys(range(400)))
    assert levels(tree) == 4
    order = list(range(400))
    random.Random(2).shuffle(order)
    for count, key in enumerate(order, 1):
        del tree[key]
        if count % 20 == 0:
            assert sound(tree)
            assert len(tree) == 400 - count
    assert levels(tree) == 2
    tree["a"] = 1
    assert tree == {"a": 1}


@pytest.mark.parametrize("keys", [range(200), range(199, -1, -1)])
def test_a_tree_can_be_emptied_from_either_end(small, keys):
    tree = opened(BTree.fromkeys(range(200)))
    for key in keys:
        del tree[key]
        assert sound(tree)


# -- keys that have no order ------------------------------------------------------------


class Unordered:
    pass


class Priced:
    def __init__(self, price):
        self.price = price

    def __lt__(self, other):
        return self.price < other.price

    def __eq__(self, other):
        return self.price == other.price

    __hash__ = None


class Failing:
    def __lt__(self, other):
        raise RuntimeError("no order today")


@pytest.mark.parametrize(
    "key",
    [None, float("nan"), Unordered(), slice(1, 2), object, {}, 1j],
    ids=lambda key: type(key).__name__,
)
def test_the_first_key_has_to_have_an_order(key):
    tree = opened(BTree())
    for change in (tree.add, tree.setdefault, lambda key: tree.update([(1, 1), (key, 2)])):
        with pytest.raises(TypeError):
            change(key)
        assert tree == {}
        assert sound(tree)
    with pytest.raises(TypeError):
        BTree([(key, 1)])


@pytest.mark.parametrize("key", [None, "a", float("nan"), Unordered(), (1,)])
def test_a_key_that_has_no_order_among_the_others_is_refused(small, key):
    tree = opened(BTree.fromkeys(range(100)))
    with pytest.raises(TypeError):
        tree[key] = 1
    with pytest.raises(TypeError):
        tree.setdefault(key, 1)
    with pytest.raises(TypeError):
        BTree([(1, 1), (key, 1)])
    assert list(tree) == list(range(100))
    assert sound(tree)


def test_tuples_with_no_number_in_them_are_refused_when_they_meet():
    tree = opened(BTree())
    tree[(float("nan"),)] = 1
    with pytest.raises(TypeError, match="can't be ordered"):
        tree[(float("nan"),)] = 2
    with pytest.raises(TypeError, match="can't be ordered"):
        BTree([((float("nan"),), 1), ((float("nan"),), 1)])


def test_sets_have_no_order_among_themselves():
    tree = opened(BTree({frozenset({1}): 1}))
    with pytest.raises(TypeError, match="can't be ordered"):
        tree[frozenset({2})] = 2
    assert sound(tree)


class Tired:
    """A key that can be compared so often, and no more."""

    def __init__(self, number, comparisons):
        self.number = number
        self.left = comparisons

    def _compare(self, operation, other):
        if not self.left:
            raise RuntimeError
        self.left -= 1
        return operation(self.number, other)

    __lt__ = partialmethod(_compare, operator.lt)
    __gt__ = partialmethod(_compare, operator.gt)
    __eq__ = partialmethod(_compare, operator.eq)
    __hash__ = None


@pytest.mark.parametrize("change", [lambda t, key: t.remove(key), lambda t, key: t.add(key)])
@pytest.mark.parametrize("number", [2.5, 7, 11])
def test_a_comparison_that_fails_at_any_moment_leaves_a_tree_as_it_was(
    small, database, change, number
):
    tree = BTreeSet(range(40))
    database.set_root(tree)
    transaction.commit()
    for comparisons in range(100):
        checkout(tree)
        # Between them, what it was before has other places than what it is.
        tree.update({-1, -2, 2.25, 6.5})
        tree.remove(13)
        before = list(tree)
        try:
            change(tree, Tired(number, comparisons))
        except RuntimeError:
            assert (list(tree), len(tree)) == (before, len(before))
        except KeyError:
            assert number == 2.5
            break
        else:
            break
        finally:
            transaction.abort()
    assert 5 < comparisons < 99


def test_what_a_comparison_raises_is_raised(small):
    tree = opened(BTree.fromkeys(range(30)))
    with pytest.raises(RuntimeError, match="no order today"):
        tree[Failing()] = 1
    with pytest.raises(RuntimeError, match="no order today"):
        assert Failing() in tree
    assert sound(tree)


UNORDERED = [None, "a", math.nan, Decimal("nan"), Unordered(), (1,)]


@pytest.mark.parametrize("key", UNORDERED, ids=lambda key: type(key).__name__)
@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_key_that_has_no_order_among_the_others_is_not_there(small, size, key):
    # An empty tree said so, and any other raised TypeError.
    tree = opened(BTree.fromkeys(range(size), 1))
    members = opened(BTreeSet(range(size)))

    assert key not in tree
    assert key not in members
    assert key not in tree.keys()  # noqa: SIM118
    assert (key, 1) not in tree.items()
    assert key not in tree[0:50]
    assert tree.get(key, "none") == tree[0:50].get(key, "none") == "none"
    assert tree.pop(key, "none") == "none"
    for ask in (tree.__getitem__, tree.__delitem__, tree.pop, tree[0:50].__getitem__):
        with pytest.raises(KeyError):
            ask(key)
    members.discard(key)
    with pytest.raises(KeyError):
        members.remove(key)
    assert len(tree) == len(members) == size


def test_sets_of_other_types_can_be_compared_with_a_sorted_set():
    members = opened(BTreeSet([1, 2]))
    other = {"a", None, 1}

    assert list(members & other) == list(members.intersection(other)) == [1]
    assert list(members - other) == list(members.difference(other)) == [2]
    assert not members.isdisjoint(other)
    assert members.isdisjoint({"a"})
    assert not members.issubset(["a", 1])
    assert members.issubset(["a", 2, 1])
    assert not members.issuperset(other)
    members.difference_update(other)
    assert list(members) == [2]
    members.intersection_update([2, "a"])
    assert list(members) == [2]


def test_what_is_removed_in_vain_need_not_have_an_order(database, again):
    """Two keys of which one could not be compared with the other raised TypeError."""
    members = BTreeSet([1])
    database.set_root(members)
    transaction.commit()
    checkout(members)
    members.remove(1)
    for member in ("a", object(), 2, "a", "b"):
        members.discard(member)
    transaction.commit()
    checkout(members)
    for member in ("a", 2, None):
        members.discard(member)
    members.add(4)

    other = again()
    checkout(other.root)
    other.root.update([5, 6])
    other.transaction_manager.commit()
    transaction.commit()

    assert [*members] == [4, 5, 6]


def test_a_key_of_a_missing_class_is_not_taken_for_one_without_order(path):
    with Database(path, allow=["*test_btree.Priced"]) as database:
        database.set_root(BTree([(Priced(2), "two")]))
        transaction.commit()
    with Database(path) as database, pytest.raises(UnloadedClassError, match="Priced"):
        assert Priced(2) in database.root


RANGES = {
    "from": lambda tree, bound: tree[bound:],
    "to": lambda tree, bound: tree[:bound],
    "keys": lambda tree, bound: tree.keys(min=bound),
    "values": lambda tree, bound: tree.values(max=bound),
    "up": lambda tree, bound: tree.items_from(bound),
    "down": lambda tree, bound: tree.items_backward_from(bound),
    "range": lambda tree, bound: tree.items_range(0, bound),
    "back": lambda tree, bound: tree.items_range(bound, 0),
    "next": lambda tree, bound: tree.next_item(bound),
    "prev": lambda tree, bound: tree.prev_item(bound),
    "del from": lambda tree, bound: tree.__delitem__(slice(bound, None)),
    "del to": lambda tree, bound: tree.__delitem__(slice(None, bound)),
}


@pytest.mark.parametrize("make", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("size", [0, 10, 100])
def test_a_bound_that_is_not_a_number_is_refused(small, size, make):
    # `del tree[nan:]` removed what lay behind the place where the search ended.
    tree = opened(BTree.fromkeys(range(size)))
    with pytest.raises(TypeError, match="can't be ordered"):
        make(tree, math.nan)
    assert list(tree) == list(range(size))


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (None, r"=None, expected a key; a range without an end is tree\[start:\], "),
        (1j, r"=1j can't be ordered: '<' not supported between"),
        (math.nan, "=nan can't be ordered: neither nan < nan nor == holds"),
    ],
    ids=["None", "complex", "nan"],
)
@pytest.mark.parametrize("size", [0, 10])
def test_a_bound_without_order_is_told_by_its_name(size, bound, text):
    tree = opened(BTree.fromkeys(range(size)))
    for name, make in [
        ("start", lambda: tree.items_range(bound, 5)),
        ("end", lambda: tree.items_range(5, bound)),
        ("key", lambda: tree.items_from(bound)),
        ("key", lambda: tree.items_backward_from(bound)),
        ("key", lambda: tree.next_item(bound)),
        ("key", lambda: tree.prev_item(bound)),
    ]:
        with pytest.raises(TypeError, match=f"^{name}{text}"):
            make()
    if bound is not None:
        for name, make in [
            ("min", lambda: tree.keys(bound, 5)),
            ("max", lambda: tree.values(min=5, max=bound)),
            ("start", lambda: tree[bound:]),
            ("stop", lambda: BTreeSet()[:bound]),
        ]:
            with pytest.raises(TypeError, match=f"^{name}{text}"):
                make()


def test_the_ends_of_a_range_that_have_no_order_are_both_told():
    with pytest.raises(TypeError, match=r"^end='x' can't be ordered: start=1 has"):
        BTree().items_range(1, "x")


@pytest.mark.parametrize("make", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("bound", [{0}, {0, 99}, {-1}], ids=repr)
def test_a_bound_that_has_no_order_among_the_keys_is_refused(small, bound, make):
    keys = [frozenset(range(1, stop)) for stop in range(2, 60)]
    tree = opened(BTree.fromkeys(keys))
    with pytest.raises(TypeError, match=r"can't be ordered|not supported"):
        list(make(tree, frozenset(bound)))
    assert list(tree) == keys


def test_keys_of_types_that_have_an_order_may_be_mixed():
    tree = opened(BTree({1: "a", 2.5: "b"}))
    tree[True] = "c"  # 1 == True: the key stays, as in a dict.
    assert list(tree.items()) == [(1, "c"), (2.5, "b")]
    assert type(next(iter(tree))) is int


def test_keys_need_no_hash():
    tree = opened(BTree([([2], "b"), ([1], "a")]))
    assert tree[[1]] == "a"
    assert tree != {1: "a", 2: "b"}


# -- iterators ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "iterate",
    [iter, reversed, BTree.items_backward, lambda t: iter(t.items()), lambda t: t.items_from(0)],
)
@pytest.mark.parametrize("change", [lambda t: t.pop(7), lambda t: t.add(1000)])
def test_an_iterator_of_a_tree_that_is_changed_raises_at_its_next_item(small, iterate, change):
    tree = opened(BTree.fromkeys(range(50)))
    iterator = iterate(tree)
    next(iterator)
    change(tree)
    with pytest.raises(RuntimeError, match="BTree changed during iteration"):
        next(iterator)


def test_an_iterator_that_began_before_the_checkout_raises_at_its_next_leaf(small, database):
    database.set_root(BTree.fromkeys(range(50)))
    transaction.commit()
    tree = database.root
    iterator = iter(tree)
    assert next(iterator) == 0
    checkout(tree)
    del tree[30]
    with pytest.raises(RuntimeError, match="BTree changed during iteration"):
        list(iterator)


def test_values_may_be_replaced_while_one_iterates(small):
    tree = opened(BTree.fromkeys(range(50), 0))
    for key in tree:
        tree[key] = key
    assert list(tree.values()) == list(range(50))


def test_an_iterator_outlives_its_transaction_and_goes_on_by_the_keys(small, database, again):
    database.set_root(BTree.fromkeys(range(0, 200, 2)))
    transaction.commit()
    other = again()
    for backward in (False, True):
        tree = database.root
        before = list(tree)
        iterator = reversed(tree) if backward else iter(tree)
        seen = [next(iterator) for _ in range(10)]
        their = other.root
        checkout(their)
        for key in range(1, 200, 4 if backward else 2):
            their[key] = 1
        for key in range(40, 60, 2):
            their.pop(key, None)
        other.transaction_manager.commit()
        transaction.begin()
        seen += iterator
        assert seen == sorted(set(seen), reverse=backward)
        kept = [key for key in before if key in tree]
        assert [key for key in seen if key in kept] == (kept[::-1] if backward else kept)


# -- stored -----------------------------------------------------------------------------


def test_a_tree_is_stored_in_many_records_and_loaded_by_parts(small, database, again):
    database.set_root(BTree((n, str(n)) for n in range(500)))
    transaction.commit()
    fresh = again()
    tree = fresh.root
    assert tree[250] == "250"
    # The tree, and a node of each level.
    assert read_so_far(fresh) == 1 + levels(tree)
    assert len(tree) == 500
    assert sound(tree)


def read_so_far(database):
    entries = [entry for entry in database._store.graph.cache.all() if entry() is not None]
    return sum(type(entry()) is not type(entry())._p_faces.ghost for entry in entries)


def test_a_change_writes_one_leaf_and_the_length(small, database):
    database.set_root(BTree((n * 2, n) for n in range(300)))
    transaction.commit()
    tree = database.root
    checkout(tree)
    tree[101] = 1
    transaction.commit()
    assert len(list(database.transactions())[-1].oids) == 2
    checkout(tree)
    tree[101] = 2
    transaction.commit()
    assert len(list(database.transactions())[-1].oids) == 1


def test_a_subclass_has_attributes_beside_its_items(database, again):
    index = Index("by name")
    checkout(index)
    index["a"] = Item()
    database.set_root(index)
    transaction.commit()
    read = again().root
    assert read.__class__ is Index
    assert read.name == "by name"
    assert read["a"].__class__ is Item
    copied = read.copy()
    assert (copied.__class__, copied.name, dict(copied)) == (Index, "by name", dict(read))
    assert copied._root is not read._root


def test_fromkeys_makes_trees_of_the_class():
    class Own(BTree):
        pass

    assert Own.fromkeys("ab").__class__ is Own
    assert Own({"x": 1}).fromkeys("ab", 1) == {"a": 1, "b": 1}


def test_what_fails_to_be_stored_leaves_the_tree_as_it_was(small, database):
    database.set_root(BTree.fromkeys(range(20)))
    transaction.commit()
    other = Database(MemoryLog(), transaction_manager=transaction.TransactionManager())
    with other:
        other.set_root(Item())
        other.transaction_manager.commit()
        tree = database.root
        checkout(tree)
        for key in range(20, 60):
            tree[key] = None
        tree[5] = other.root
        with pytest.raises(InvalidObjectReference):
            transaction.commit()
        transaction.abort()
    assert list(tree) == list(range(20))
    assert sound(tree)


def test_an_aborted_change_is_gone_and_a_savepoint_is_gone_back_to(small, database):
    database.set_root(BTree.fromkeys(range(100)))
    transaction.commit()
    tree = database.root
    checkout(tree)
    tree[50] = "kept"
    savepoint = transaction.savepoint()
    for key in range(100, 200):
        tree[key] = None
    del tree[:50]
    assert sound(tree)
    savepoint.rollback()
    assert list(tree) == list(range(100))
    assert tree[50] == "kept"
    assert sound(tree)
    tree[1000] = None
    transaction.commit()
    assert list(tree) == [*range(100), 1000]
    checkout(tree)
    tree.clear()
    transaction.abort()
    assert len(tree) == 101
    assert sound(tree)


def test_a_value_can_be_changed_in_place_after_the_checkout(small, database, again):
    database.set_root(BTree((n, []) for n in range(50)))
    transaction.commit()
    tree = database.root
    with pytest.raises(SharedValueError):
        tree[7].append(1)
    checkout(tree)
    tree[7].append(1)
    tree.setdefault(8).append(2)
    assert tree[7] == [1]
    assert in_thread(lambda: tree[7]) == []
    transaction.commit()
    assert again().root[7] == [1]
    assert again().root[8] == [2]


def test_a_tree_may_hold_itself(database, again):
    tree = opened(BTree())
    tree["self"] = tree
    assert repr(tree) == "BTree({'self': BTree(...)})"
    database.set_root(tree)
    transaction.commit()
    read = again().root
    assert read["self"] is read


def test_large_and_nested_values_are_kept(database, again):
    nested: list[Any] = []
    for _ in range(200):
        nested = [nested]
    tree = BTree({"large": b"x" * 1_000_000, "nested": nested, "none": None})
    database.set_root(tree)
    transaction.commit()
    assert again().root == {"large": b"x" * 1_000_000, "nested": nested, "none": None}


def test_copies_share_nothing(small):
    tree = BTree((n, [n]) for n in range(50))
    for copied in (tree.copy(), copy.copy(tree), copy.deepcopy(tree), pickle_copy(tree)):
        assert copied == tree
        assert sound(copied)
        checkout(copied)
        copied[1].append(2)
        del copied[:40]
        assert tree[1] == [1]
        assert len(tree) == 50
        transaction.abort()


def pickle_copy(tree):
    return pickle.loads(pickle.dumps(tree))


def test_persistent_objects_with_an_order_can_be_keys(database, again):
    keys = [Version(n) for n in (3, 1, 2)]
    database.set_root(BTree((key, key.number) for key in keys))
    transaction.commit()
    assert list(again().root.values()) == [1, 2, 3]


class Version(Persistent):
    def __init__(self, number: int) -> None:
        self.number = number

    def __lt__(self, other: Version) -> bool:
        return self.number < other.number


# -- sets -----------------------------------------------------------------------------------


def test_a_set_behaves_as_a_set(small):
    members = opened(BTreeSet("hello"))
    assert isinstance(members, collections.abc.MutableSet)
    assert list(members) == ["e", "h", "l", "o"]
    assert repr(members) == "BTreeSet(['e', 'h', 'l', 'o'])"
    assert members == set("hello") == members
    assert members != set("help")
    assert members != {1, 2, 3, 4}
    assert members != "ehlo"
    assert members <= set("hello!")
    assert members < set("hello!")
    assert set("hello!") >= members
    assert members.issubset("hello!")
    assert members.issuperset("eh")
    assert members.isdisjoint("xyz")
    for name in "union intersection difference symmetric_difference".split():
        result = getattr(members, name)("help")
        assert type(result) is BTreeSet
        assert result == getattr(set("hello"), name)("help")
    assert members & {"e"} == {"e"}
    assert {"x"} | members == set("xhello")
    assert members - {"e"} == set("hlo")
    assert set("he!") - members == {"!"}
    assert members ^ set("he!") == set("lo!")
    members.add("e")
    members.add("a")
    members.discard("zz")
    with pytest.raises(KeyError):
        members.remove("zz")
    members.remove("h")
    assert members.pop() == "o"
    assert list(members) == ["a", "e", "l"]
    members |= {"b"}
    members &= {"a", "b", "e"}
    members -= {"e"}
    members ^= {"b", "c"}
    assert list(members) == ["a", "c"]
    members.update("xyz", "w")
    members.intersection_update("acxy")
    members.difference_update("x")
    members.symmetric_difference_update("yz")
    assert list(members) == ["a", "c", "z"]
    members.clear()
    assert not members
    with pytest.raises(KeyError, match="is empty"):
        members.pop()
    with pytest.raises(TypeError):
        members.add(None)
    assert sound(members)


def test_the_order_of_a_set_can_be_asked_for(small):
    members = opened(BTreeSet(range(0, 100, 2)))
    assert (members.min_item(), members.max_item()) == (0, 98)
    assert (members.next_item(50), members.prev_item(50)) == (52, 48)
    assert (members.next_item(98), members.prev_item(0)) == (None, None)
    assert list(members.items_from(95)) == [96, 98]
    assert list(members.items_backward_from(3)) == [2, 0]
    assert list(members.items_backward()) == list(reversed(members))
    assert list(members.items_range(10, 5)) == [10, 8, 6]
    assert list(members.items_range(5, 10)) == [6, 8]
    assert list(members[10:15]) == [10, 12, 14]
    assert 10 in members[10:15]
    assert members[:3] == {0, 2}
    assert members[:3] | {9} == {0, 2, 9}
    assert repr(members[:3]) == "BTreeSetRange([0, 2])"
    del members[4:]
    assert list(members) == [0, 2]
    for wrong in (lambda: members[0], lambda: members.__delitem__(0)):
        with pytest.raises(TypeError, match="ranges"):
            wrong()
    with pytest.raises(ValueError, match="the BTreeSet is empty"):
        BTreeSet().min_item()


def test_a_set_is_stored(small, database, again):
    database.set_root(BTreeSet(range(100)))
    transaction.commit()
    members = database.root
    checkout(members)
    members.add(1000)
    members.discard(1)
    transaction.commit()
    assert again().root == {0, *range(2, 100), 1000}
    assert sound(again().root)


# -- against a model ------------------------------------------------------------------------

KEYS = st.integers(0, 120)


class TreeMachine(RuleBasedStateMachine):
    """A stored tree beside a sorted dict, through commits, aborts and savepoints."""

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        make_small(self.patch)
        self.manager = transaction.TransactionManager()
        self.log = MemoryLog()
        self.database = Database(self.log, transaction_manager=self.manager)
        self.model = SortedDict()
        self.committed = SortedDict()
        self.saved = None

    @initialize(keys=st.sets(KEYS))
    def begin(self, keys):
        self.model = SortedDict.fromkeys(keys, 0)
        self.database.set_root(BTree(self.model))
        self.commit()

    @property
    def tree(self):
        return self.database.root

    def open(self):
        checkout(self.tree)
        return self.tree

    @rule(keys=st.lists(KEYS, max_size=40), value=st.integers())
    def insert(self, keys, value):
        tree = self.open()
        for key in keys:
            tree[key] = self.model[key] = value

    @rule(keys=st.lists(KEYS, max_size=60))
    def delete(self, keys):
        tree = self.open()
        for key in keys:
            assert tree.pop(key, None) == self.model.pop(key, None)

    @rule(low=KEYS, width=st.integers(0, 60))
    def delete_range(self, low, width):
        del self.open()[low : low + width]
        for key in list(self.model.irange(low, low + width, (True, False))):
            del self.model[key]

    @rule()
    def clear(self):
        self.open().clear()
        self.model.clear()

    @rule(low=KEYS, width=st.integers(0, 60), first=st.booleans(), last=st.booleans())
    def compare_range(self, low, width, first, last):
        high = low + width + 1
        found = self.tree.items_range(low, high, closed_start=first, closed_end=last)
        expected = list(self.model.irange(low, high, (first, last)))
        assert [key for key, _ in found] == expected
        found = self.tree.items_range(high, low, closed_start=last, closed_end=first)
        assert [key for key, _ in found] == expected[::-1]

    @rule(key=KEYS)
    def compare_key(self, key):
        assert self.tree.get(key, "missing") == self.model.get(key, "missing")
        above = next(self.model.irange(key, None, (False, True)), None)
        assert (self.tree.next_item(key) or (None,))[0] == above

    @rule()
    def commit(self):
        self.manager.commit()
        self.committed, self.saved = self.model.copy(), None

    @rule()
    def abort(self):
        self.manager.abort()
        self.model, self.saved = self.committed.copy(), None

    @rule()
    def save(self):
        self.open()
        self.saved = self.manager.savepoint(), self.model.copy()

    @rule()
    def roll_back(self):
        if self.saved is not None:
            savepoint, model = self.saved
            savepoint.rollback()
            self.model = model.copy()

    @rule()
    def reopen(self):
        self.abort()
        log = self.log.another()
        self.database.close()
        self.log = log
        self.database = Database(self.log, transaction_manager=self.manager)

    @invariant()
    def is_the_model(self):
        tree = self.tree
        if tree is not None:
            assert list(tree.items()) == list(self.model.items())
            assert len(tree) == len(self.model)
            assert sound(tree)

    def teardown(self):
        self.manager.abort()
        self.database.close()
        self.patch.undo()


TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=15, stateful_step_count=30)


# -- the structural check -----------------------------------------------------------------


def break_order(tree):
    leaf = tree._root.links[2][0]
    return leaf, "items", (leaf.items[0][::-1], leaf.items[1])


def break_bounds(tree):
    leaf = tree._root.links[2][0]
    return leaf, "items", ([*leaf.items[0][:-1], 10_000], leaf.items[1])


def break_values(tree):
    leaf = tree._root.links[2][0]
    return leaf, "items", (leaf.items[0], leaf.items[1][1:])


def break_length(tree):
    return tree._length, "value", 3


def break_depth(tree):
    level, keys, children = tree._root.links
    return tree._root, "links", (level + 1, keys, children)


def break_links(tree):
    level, keys, children = tree._root.links
    return tree._root, "links", (level, keys[:-1], children)


def break_twice(tree):
    level, keys, children = tree._root.links
    return tree._root, "links", (level, keys, [*children[:-1], children[0]])


def break_owner(tree):
    return tree._root.links[2][1], "tree", BTree()


BREAKS = {
    break_order: "behind",
    break_bounds: "which is not below",
    break_values: "values",
    break_length: "but a length of 3",
    break_depth: "is on level 0, expected 1",
    break_links: "children and",
    break_twice: "in the tree twice",
    break_owner: "belongs to another tree",
}


@pytest.mark.parametrize("damage", BREAKS, ids=lambda damage: damage.__name__)
def test_the_structural_check_names_what_is_wrong(small, damage):
    tree = opened(BTree.fromkeys(range(30)))
    assert check_btree(tree) == []
    node, name, value = damage(tree)
    checkout(node)
    setattr(node, name, value)
    assert any(BREAKS[damage] in problem for problem in check_btree(tree))


@pytest.mark.slow
def test_a_million_keys_are_on_three_levels(database, again):
    database.set_root(BTree((n, n) for n in range(1_000_000)))
    transaction.commit()
    fresh = again()
    tree = fresh.root
    assert tree[765_432] == 765_432
    assert read_so_far(fresh) == 4
    assert len(tree) == 1_000_000
    assert sum(tree.values()) == sum(range(1_000_000))
    assert sound(tree)


@pytest.mark.parametrize("damage", BREAKS, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("kind", [TransactionLog, MemoryLog])
def test_a_check_of_the_log_names_it_too(small, path, damage, kind):
    log = TransactionLog(path, sync=False) if kind is TransactionLog else MemoryLog()
    with Database(log) as database:
        database.set_root(Index("by name"))
        checkout(database.root)
        database.root.update((f"{n:04}", n) for n in range(30))
        transaction.commit()
        assert check_log(log).problems == []
        node, name, value = damage(database.root)
        if damage is break_bounds:
            value = ([*value[0][:-1], "zz"], value[1])
        checkout(node)
        setattr(node, name, value)
        transaction.commit()
        problems = check_log(log).problems
        assert any(BREAKS[damage] in problem.found for problem in problems)
        assert {problem.invariant for problem in problems} == {11}
        transaction.abort()


def test_a_log_with_keys_of_classes_that_a_check_does_not_load_is_checked(database):
    database.set_root(BTree((Version(n), n) for n in range(300)))
    transaction.commit()
    assert check_log(database.storage).problems == []
