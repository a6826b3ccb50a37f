"""Classes derived from collections: constructors of their own, dataclasses, several bases."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle

import pytest
import transaction

from dobbin_like import (
    BTree,
    BTreeSet,
    JobQueue,
    Persistent,
    PersistentCounter,
    PersistentDict,
    PersistentList,
    PersistentQueue,
    PersistentSet,
    PersistentStream,
    checkout,
)
from dobbin_like.exc import ClassNotSupported, NoSuchAttributeError

CHANGES = {
    BTree: lambda tree: tree.update({1: "a", 2: "b"}),
    BTreeSet: lambda tree: tree.update([1, 2]),
    JobQueue: lambda queue: [queue.put(item) for item in "ab"],
    PersistentCounter: lambda counter: counter.increment(2),
    PersistentDict: lambda items: items.update({1: "a", 2: "b"}),
    PersistentList: lambda items: items.extend("ab"),
    PersistentQueue: lambda queue: [queue.put(item) for item in "ab"],
    PersistentSet: lambda items: items.update("ab"),
}


def named(base):
    """Return a class with a constructor that does not call that of its base."""

    class Named(base):
        def __init__(self, name):
            self.name = name

    return Named


def dataclass_of(base):
    @dataclasses.dataclass(eq=False, repr=False)
    class Data(base):
        name: str

    return Data


CLASSES = {
    f"{make.__name__}({base.__name__})": (make(base), base)
    for make in (named, dataclass_of)
    for base in CHANGES
}
globals().update({cls.__name__ + base.__name__: cls for cls, base in CLASSES.values()})
for made, based_on in CLASSES.values():  # Where they can be found again.
    made.__qualname__ = made.__name__ + based_on.__name__


def number_in(collection):
    return int(collection) if isinstance(collection, PersistentCounter) else len(collection)


@pytest.mark.parametrize("which", CLASSES)
def test_a_constructor_need_not_call_that_of_the_collection(database, again, which):
    cls, base = CLASSES[which]
    one = cls("one")
    assert number_in(one) == 0
    assert base.__name__ in repr(one) or "Named" in repr(one) or "Data" in repr(one)

    with database.transaction():
        checkout(one)
        CHANGES[base](one)
        database.set_root(PersistentDict(one=one, other=cls("other")))
    with database.transaction():
        other = database.root["other"]
        checkout(other)
        CHANGES[base](other)

    found = again().root
    for name in "one", "other":
        assert found[name].name == name
        assert number_in(found[name]) == 2


@pytest.mark.parametrize("which", CLASSES)
def test_a_copy_of_it_has_what_it_has(which):
    cls, base = CLASSES[which]
    one = cls("one")
    checkout(one)
    CHANGES[base](one)
    transaction.abort()
    one = cls("one")
    made = copy.deepcopy(one), pickle.loads(pickle.dumps(one))
    for copied in made:
        assert copied is not one
        assert (copied.name, number_in(copied)) == ("one", 0)
    transaction.abort()


@pytest.mark.parametrize("base", CHANGES)
def test_a_constructor_may_fill_it_before_or_after_that_of_the_collection(base):
    class Filled(base):
        def __init__(self):
            CHANGES[base](self)
            super().__init__()

    class Later(base):
        def __init__(self):
            super().__init__()
            CHANGES[base](self)

    assert number_in(Later()) == 2
    # The constructor of list and that of set begin anew, that of dict does not.
    anew = base in (PersistentCounter, PersistentList, PersistentSet, BTreeSet)
    assert number_in(Filled()) == (0 if anew else 2)


@pytest.mark.parametrize("bases", [*itertools.permutations([*CHANGES, PersistentStream], 2)])
def test_two_collections_are_no_bases_of_one_class(bases):
    names = rf"{bases[0].__name__} and {bases[1].__name__} are bases of it, .* in an attribute"
    with pytest.raises(ClassNotSupported, match=names):
        type("Both", bases, {})


def test_collections_far_above_are_no_bases_of_one_class():
    class Shelf(PersistentDict):
        pass

    class Queue(PersistentList):
        pass

    with pytest.raises(ClassNotSupported, match="PersistentDict and PersistentList are bases"):

        class Both(Shelf, Queue):
            pass


def test_a_collection_may_be_mixed_with_other_persistent_classes(database, again):
    database.set_root(Labelled({1: "a"}))
    database.root.label = "x" if checkout(database.root) is None else ""
    transaction.commit()
    assert (again().root[1], again().root.label) == ("a", "x")


class WithLabel(Persistent):
    label = ""


class Labelled(WithLabel, PersistentDict):
    pass


CONTENT = [
    (PersistentDict, "_items"),
    (PersistentList, "_items"),
    (PersistentSet, "_items"),
    (PersistentQueue, "_items"),
    (BTree, "_root"),
    (BTree, "_length"),
    (BTreeSet, "_root"),
]


@pytest.mark.parametrize(("base", "name"), CONTENT)
def test_a_constructor_does_not_put_something_else_in_the_place_of_the_items(base, name):
    class Basket(base):
        def __init__(self):
            super().__init__()
            setattr(self, name, [])

    class Later(base):
        pass

    expected = f" has no setter of {name}: a {base.__name__} has its content there; give your attr"
    with pytest.raises(NoSuchAttributeError, match="Basket" + expected):
        Basket()
    made = Later()
    checkout(made)
    with pytest.raises(NoSuchAttributeError, match="Later" + expected):
        setattr(made, name, [])
    with pytest.raises(NoSuchAttributeError, match="Later has no deleter of"):
        delattr(made, name)
    CHANGES[base](made)
    assert len(made) == 2


PRIVATE = [
    *((BTree, name) for name in ("_make", "_fill", "_chunks", "_stream")),
    (BTreeSet, "_chunks"),
    (PersistentCounter, "_value"),
    (PersistentCounter, "_changes"),
    (PersistentDict, "_items"),
]


@pytest.mark.parametrize(("base", "name"), PRIVATE)
def test_a_private_name_of_a_collection_is_not_taken_by_a_class_or_its_mixin(base, name):
    mixin = type("Mixin", (), {name: lambda _self: None})

    with pytest.raises(ClassNotSupported, match=f"it defines {name}, "):
        type(base)("Basket", (base,), {name: lambda _self: None, "__module__": __name__})
    with pytest.raises(ClassNotSupported, match=f"it defines {name}, "):
        type(base)("Basket", (mixin, base), {"__module__": __name__})
    type(base)("Basket", (base, mixin), {"__module__": __name__})


def test_a_derived_set_may_define_how_the_results_of_its_operators_are_made():
    class Basket(BTreeSet):
        @classmethod
        def _from_iterable(cls, items):
            return sorted(items)

    assert Basket([1, 2]) & {2} == [2]


def test_the_root_of_a_tree_is_not_put_in_the_place_of_its_length():
    tree = BTree()
    checkout(tree)

    with pytest.raises(NoSuchAttributeError):
        tree._length = tree._root
    with pytest.raises(NoSuchAttributeError):
        tree._root = tree._length

    tree[1] = "a"
    assert dict(tree) == {1: "a"}


def test_an_attribute_of_a_collection_can_be_deleted():
    box = Labelled()
    checkout(box)
    box.note = "x"

    del box.note

    assert not hasattr(box, "note")


@pytest.mark.parametrize(("base", "name"), CONTENT)
def test_the_body_of_a_class_does_not_hide_the_items(base, name):
    for value in [], property(lambda _self: 1), dataclasses.field(default=None):
        with pytest.raises(
            ClassNotSupported, match=f"it defines {name}, where a {base.__name__} "
        ):
            type("Basket", (base,), {name: value})
    basket = type("Basket", (base,), {"name": None, "__annotations__": {name: list}})
    made = basket()
    checkout(made)
    assert len(made) == 0


@pytest.mark.parametrize("name", ["max_attempts", "backoff"])
def test_an_option_of_a_job_queue_is_not_set_in_the_body_of_a_class(name):
    with pytest.raises(ClassNotSupported, match=f"it defines {name}, which .* in the constructor"):
        type("Mails", (JobQueue,), {name: 3})

    class Mails(JobQueue):
        def __init__(self):
            super().__init__(max_attempts=3)
            self.backoff = 7

    assert (Mails().max_attempts, Mails().backoff) == (3, 7)


def test_an_option_of_a_job_queue_may_be_a_property():
    class Mails(JobQueue):
        @property
        def backoff(self):
            return 5

        @backoff.setter
        def backoff(self, value):
            pass

    assert Mails().backoff == 5
