"""``x.a += y`` and ``x[k] += y`` of a persistent collection: it is changed, its place is not."""

from __future__ import annotations

from collections import OrderedDict, UserDict, defaultdict, deque

import pytest
import transaction

from dobbin_like import (
    BTree,
    BTreeSet,
    PersistentDict,
    PersistentList,
    PersistentSet,
    checkout,
    is_changed,
)
from dobbin_like.exc import ReadOnlyError, SharedValueError
from tests.helpers.steps import in_thread
from tests.helpers.things import Thing

STATEMENTS = [
    (lambda: PersistentList([1, 2]), "{place} += [3]", PersistentList([1, 2, 3])),
    (lambda: PersistentList([1, 2]), "{place} *= 2", PersistentList([1, 2, 1, 2])),
    (lambda: PersistentDict(a=1), "{place} |= dict(b=2)", PersistentDict(a=1, b=2)),
    (lambda: PersistentSet({1, 2}), "{place} |= {{3}}", PersistentSet({1, 2, 3})),
    (lambda: PersistentSet({1, 2}), "{place} &= {{2}}", PersistentSet({2})),
    (lambda: PersistentSet({1, 2}), "{place} -= {{2}}", PersistentSet({1})),
    (lambda: PersistentSet({1, 2}), "{place} ^= {{2, 3}}", PersistentSet({1, 3})),
    (lambda: BTree({1: 1}), "{place} |= {{2: 2}}", BTree({1: 1, 2: 2})),
    (lambda: BTreeSet([1]), "{place} |= {{2}}", BTreeSet([1, 2])),
]
HOLDERS = [
    (lambda value: Thing(part=value), "root.part"),
    (lambda value: PersistentDict(a=value), "root['a']"),
    (lambda value: PersistentList([0, value]), "root[-1]"),
    (lambda value: BTree({1: value}), "root[1]"),
    (lambda value: Thing(part=[[value]]), "root.part[0][0]"),
    (lambda value: Thing(part={"a": {"b": value}}), "root.part['a']['b']"),
    (lambda value: Thing(part=deque([value])), "root.part[0]"),
    (lambda value: Thing(part=OrderedDict(a=value)), "root.part['a']"),
    (lambda value: Thing(part=defaultdict(list, a=value)), "root.part['a']"),
    (lambda value: Thing(part=UserDict(a=value)), "root.part['a']"),
    (lambda value: PersistentDict(a=[value]), "root['a'][0]"),
]


@pytest.mark.parametrize(("make", "statement", "expected"), STATEMENTS)
@pytest.mark.parametrize(("holder", "place"), HOLDERS)
def test_a_collection_is_changed_in_place_without_a_checkout_of_what_it_is_in(
    database, again, make, statement, expected, holder, place
):
    root = holder(make())
    database.set_root(root)
    transaction.commit()
    collection = eval(place)
    checkout(collection)

    exec(statement.format(place=place), {"root": root})

    assert eval(place) is collection
    assert not is_changed(root)
    transaction.commit()
    assert eval(place, {"root": again().root}) == expected


def test_the_object_that_an_attribute_has_is_set_again_on_every_face(read_only):
    def check(thing):
        thing.part = thing.part
        with pytest.raises(ReadOnlyError, match=r"change \.part"):
            thing.part = PersistentList()
        with pytest.raises(ReadOnlyError, match=r"change \.other"):
            thing.other = thing.part
        with pytest.raises(ReadOnlyError, match=r"change \.number"):
            thing.number = thing.number

    read_only(Thing(part=PersistentList(), number=1), check)


@pytest.mark.parametrize(
    "statement",
    [
        "root['list'] = PersistentList()",
        "root['other'] = root['list']",
        "root[[]] = root['list']",
        "root['plain'][0] = PersistentList()",
        "root['plain'][1] = root['list']",
        "root['plain']['a'] = root['list']",
        "root['plain'][:] = root['list']",
        "root['made']['b'] += [1]",
        "root['nested'][0] = PersistentList()",
        "root['nested'][1] = root['list']",
        "root['nested'][:1] = root['list']",
        "root['tree'][1] = PersistentList()",
        "root['tree'][2] = root['list']",
        "root['tree']['a'] = root['list']",
    ],
)
def test_what_a_place_does_not_have_is_refused_without_a_checkout(database, statement):
    made = PersistentList()
    database.set_root(
        PersistentDict(
            list=made,
            plain=[made],
            made=defaultdict(PersistentList),
            nested=PersistentList([made]),
            tree=BTree({1: made}),
        )
    )
    transaction.commit()
    with pytest.raises(SharedValueError):
        exec(statement, globals() | {"root": database.root})


def test_what_another_thread_has_put_there_is_not_overwritten(database, again):
    root = Thing(part=PersistentList())
    database.set_root(root)
    transaction.commit()

    def replace():
        checkout(root)
        root.part = PersistentList(["theirs"])
        transaction.commit()

    checkout(root.part)
    in_thread(replace)
    root.part += ["ours"]
    transaction.commit()
    assert root.part == again().root.part == ["theirs"]


class Defaults(Thing):
    part = PersistentList()
    shown = property(lambda self: self.kept, lambda self, value: setattr(self, "kept", value))

    def __getattr__(self, name):
        if name == "found":
            return self.kept
        raise AttributeError(name)


@pytest.mark.parametrize("name", ["part", "found", "shown"])
def test_what_is_no_attribute_of_the_object_itself_needs_a_checkout_to_be_set(database, name):
    """A default of the class, what ``__getattr__`` has found, and a property, which has code."""
    thing = Defaults(kept=PersistentList())
    database.set_root(thing)
    transaction.commit()
    with pytest.raises(ReadOnlyError, match=rf"change \.{name}"):
        setattr(thing, name, getattr(thing, name))
    checkout(thing)
    setattr(thing, name, getattr(thing, name))


def test_a_new_object_that_another_thread_has_checked_out_needs_none_either():
    thing = Thing(part=PersistentList())
    thing.part = thing.part
    checkout(thing)

    def check():
        thing.part = thing.part
        with pytest.raises(ReadOnlyError, match="by another thread"):
            thing.part = PersistentList()

    in_thread(check)


class Settings(BTree):
    def get(self, key, default=None):
        """Return what others are shown for a secret."""
        return "***" if key == "secret" else super().get(key, default)


def test_a_tree_is_asked_for_what_it_has_not_for_what_its_class_shows(database, again):
    root = Settings({"secret": PersistentList([1]), "open": PersistentList([2])})
    database.set_root(root)
    transaction.commit()
    checkout(*root.values())

    root["secret"] += [3]
    root["open"] += [4]
    with pytest.raises(SharedValueError):
        root["secret"] = root["open"]

    transaction.commit()
    assert [*again().root.values()] == [[2, 4], [1, 3]]
