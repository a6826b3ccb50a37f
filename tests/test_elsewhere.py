"""What those who come from other object databases are told, and what objects say of themselves."""

from __future__ import annotations

import dataclasses
import inspect
import io

import pytest
import transaction

from dobbin_like import (
    BTree,
    BTreeSet,
    Database,
    JobQueue,
    MemoryLog,
    Persistent,
    PersistentCounter,
    PersistentDict,
    PersistentFile,
    PersistentList,
    PersistentQueue,
    PersistentSet,
    checkout,
    is_changed,
    touch,
)
from dobbin_like.exc import (
    ClassNotSupported,
    FixedClassError,
    NoSuchAttributeError,
    NotPersistentError,
    NotStorableError,
    ReadOnlyError,
    SharedValueError,
)
from dobbin_like.objects.faces.elsewhere import (
    IN_COUNTERS,
    IN_DATABASES,
    IN_FOUND,
    IN_JOB_QUEUES,
    IN_LISTS,
    IN_OBJECTS,
    IN_QUEUES,
    IN_SETS,
    IN_TREES,
)
from tests.helpers.steps import in_thread


class Cart(Persistent):
    total = 0


class Shop(Persistent):
    pass


class Named:
    def __repr__(self):
        return "a named one"


class NamedCart(Persistent, Named):
    pass


@pytest.mark.parametrize("name", IN_OBJECTS)
def test_what_an_object_of_another_database_has_is_not_there_on_any_face(on_face, name):
    def check(cart):
        assert not hasattr(cart, name)
        with pytest.raises(NoSuchAttributeError, match=f"Cart has no {name}: "):
            getattr(cart, name)

    on_face(Cart(), check)


def test_what_an_object_of_another_database_has_is_not_set_on_any_face(on_face):
    def check(cart):
        before = dict(vars(cart))
        with pytest.raises(NoSuchAttributeError, match=r"Cart has no _p_changed: .* touch\(obj\)"):
            cart._p_changed = True
        assert vars(cart) == before

    on_face(Cart(), check)


@pytest.mark.parametrize("name", ["_p_other", "_p_resolve_conflict"])
def test_a_reserved_name_is_not_set(database, name):
    cart = Cart()
    with pytest.raises(NoSuchAttributeError, match=f"Cart has no {name}: "):
        setattr(cart, name, True)
    database.set_root(cart)
    transaction.commit()
    checkout(cart)
    with pytest.raises(NoSuchAttributeError, match=f"Cart has no {name}: "):
        setattr(cart, name, True)


@pytest.mark.parametrize("name", ["_p_other", "_p_resolve_conflict", "_p_version"])
def test_a_reserved_name_that_a_new_object_has_is_not_stored(database, name):
    cart = Cart()
    checkout(cart)
    setattr(cart, name, 1)
    database.set_root(cart)

    with pytest.raises(NotStorableError, match=rf"Cart .*, at \.{name}: "):
        transaction.commit()


def test_a_name_of_another_database_shows_nothing_of_a_ghost(database, again):
    database.set_root(Cart())
    transaction.commit()
    ghost = again().root

    assert not hasattr(ghost, "_p_state")
    assert type(ghost) is Cart._p_faces.ghost


@pytest.mark.parametrize("name", IN_DATABASES)
def test_what_another_database_has_is_not_there(database, name):
    assert not hasattr(database, name)
    with pytest.raises(NoSuchAttributeError, match=f"Database has no {name}: "):
        getattr(database, name)


def test_no_attribute_that_is_there_is_said_to_be_missing():
    for names, cls in (IN_OBJECTS, Cart), (IN_DATABASES, Database):
        there = {name for name, _ in inspect.getmembers_static(cls) if name not in IN_OBJECTS}
        assert there.isdisjoint(names)
    for cls, name in TOLD:
        assert not any(callable(vars(base).get(name)) for base in cls.__mro__)


TOLD = [
    (cls, name)
    for cls, names in [
        (PersistentQueue, IN_QUEUES),
        (PersistentCounter, IN_COUNTERS),
        (PersistentSet, IN_SETS),
        (PersistentList, IN_LISTS),
        (BTree, IN_TREES),
        (BTreeSet, IN_TREES),
        (JobQueue, IN_JOB_QUEUES),
    ]
    for name in names
]


@pytest.mark.parametrize(("cls", "name"), TOLD)
def test_what_other_collections_have_is_not_there(cls, name):
    made = cls()
    for each in made, cls:
        assert not hasattr(each, name)
        with pytest.raises(NoSuchAttributeError, match=f"{cls.__name__} has no {name}: "):
            getattr(each, name)
    assert name not in dir(made)
    assert name not in dir(cls)
    assert {"_p_oid", "__len__" if hasattr(cls, "__len__") else "value"} <= {*dir(cls)}


@pytest.mark.parametrize("name", IN_FOUND)
def test_what_others_return_of_a_search_is_not_there(database, name):
    found = database.find(Cart)
    assert not hasattr(found, name)
    with pytest.raises(NoSuchAttributeError, match=f"Found has no {name}: "):
        getattr(found, name)
    with pytest.raises(AttributeError, match="'Found' object has no attribute 'name'"):
        found.name  # noqa: B018


@pytest.mark.parametrize(
    ("cls", "name"), [(PersistentQueue, "pop"), (PersistentCounter, "set"), (BTree, "first")]
)
def test_what_other_collections_have_is_not_there_on_any_face(on_face, cls, name):
    def check(made):
        with pytest.raises(NoSuchAttributeError, match=f"{cls.__name__} has no {name}: "):
            getattr(made, name)
        assert name not in dir(made)
        assert {"_p_oid", *vars(made)} <= {*dir(made)}

    on_face(cls(), check)


class Line(PersistentQueue):
    """One that has what its base says is not there."""

    def __init__(self):
        self.size = 3

    def append(self, item):
        self.put(item)


@dataclasses.dataclass(eq=False)
class Sized(PersistentQueue):
    size: int
    first: int = 1


class Forwarding(PersistentQueue):
    def __getattr__(self, name):
        return f"other {name}"


def test_a_subclass_may_have_what_its_base_says_is_not_there(on_face):
    def check(line):
        assert line.size == 3
        assert line.append.__func__ is Line.append
        assert {"append", "size"} <= {*dir(line)}
        assert "pop" not in dir(line)

    on_face(Line(), check)


def test_a_dataclass_does_not_take_it_for_a_default():
    with pytest.raises(TypeError, match="size"):
        Sized()
    assert (Sized(2).size, Sized(2).first) == (2, 1)


def test_a_subclass_may_answer_itself(on_face):
    def check(made):
        assert (made.append, made.other) == ("other append", "other other")

    on_face(Forwarding(), check)


def test_a_mistyped_method_of_a_database_is_a_plain_error(database):
    with pytest.raises(AttributeError, match="'Database' object has no attribute 'rooot'") as e:
        _ = database.rooot
    assert (e.value.name, e.value.obj) == ("rooot", database)
    assert not isinstance(e.value, NoSuchAttributeError)


def test_a_class_of_another_database_is_refused_with_what_to_do_instead():
    with pytest.raises(ClassNotSupported, match=r"_p_changed: .* touch\(obj\)"):

        class _Changed(Persistent):
            _p_changed = True

    with pytest.raises(ClassNotSupported, match="define _p_resolve_conflict"):

        class _Resolving(Persistent):
            def _p_resolveConflict(self, old, saved, new):  # noqa: N802
                return new


@pytest.mark.parametrize("name", ["__getstate__", "__setstate__"])
def test_a_class_whose_method_no_commit_would_call_is_refused(name):
    body = {name: lambda self, *_state: None, "__module__": "shop"}
    mixin = type("Mixin", (), body)

    with pytest.raises(ClassNotSupported, match=f"it has {name}, which no commit calls"):
        type(Persistent)("Own", (Persistent,), {**body})
    with pytest.raises(ClassNotSupported, match=f"it has {name}, which no commit calls"):
        type(Persistent)("Mixed", (mixin, Persistent), {"__module__": "shop"})


def test_an_error_for_a_change_without_checkout_names_object_and_attribute():
    with pytest.raises(ReadOnlyError, match=r"A new Cart is not .* checkout\(obj\), .* \.total\."):
        Cart().total = 1


def test_the_class_of_an_object_that_is_checked_out_is_said_to_be_fixed(on_face):
    def check(cart):
        with pytest.raises(FixedClassError, match=r"Cart (oid 0 )?can't .* instance of Shop: "):
            cart.__class__ = Shop
        assert cart.__class__ is Cart

    on_face(Cart(), check)


@pytest.mark.parametrize("make", [PersistentList, BTree])
def test_a_new_collection_is_not_said_to_be_shared(make):
    database = MemoryLog()
    with Database(database) as db:
        new = make()
        for _ in range(2):  # As the root of a transaction, it has an oid.
            with pytest.raises(SharedValueError, match=r"this new .* is not checked out") as e:
                new.clear()
            assert "shared state" not in str(e.value)
            db.set_root(new)
        transaction.abort()


def test_a_class_that_is_given_for_an_object_is_told_as_that(database):
    for call in checkout, database.set_root, is_changed, database.referrers:
        with pytest.raises(NotPersistentError, match="the class Cart was given, expected an inst"):
            call(Cart)
    with pytest.raises(NotPersistentError, match="int is not a subclass of Persistent"):
        checkout(3)


def test_a_database_that_is_given_for_an_object_is_told_as_that(database):
    # checkout() asked it for objects, and passed on what the database says to iter().
    for call in checkout, touch, is_changed, database.set_root:
        with pytest.raises(NotPersistentError, match=r"a Database was given, .* db\.root"):
            call(database)


def test_a_value_that_does_not_let_itself_be_iterated_over_is_given_for_an_object():
    class Closed:
        def __iter__(self):
            raise ValueError("closed")

    with pytest.raises(NotPersistentError, match="Closed is not a subclass of Persistent"):
        checkout(Closed())


@pytest.mark.parametrize(
    "collect",
    [list, tuple, iter, lambda carts: (c for c in carts), lambda carts: {1: carts[0]}.values()],
)
def test_a_collection_that_is_given_for_objects_is_to_be_unpacked(collect):
    carts = [Cart(), Cart()]
    with pytest.raises(
        NotPersistentError, match=r"a \w+ was .* one by one: checkout\(\*objects\)"
    ):
        checkout(collect(carts))
    for other in [1, 2], [], {}, "ab":
        with pytest.raises(NotPersistentError, match=r"is not a subclass of Persistent"):
            checkout(other)


# -- what another thread has checked out -----------------------------------------------


def wrong_changes(root):
    """Yield what a thread without checkout may do: what each belongs to, and the call."""
    yield root["cart"], lambda: setattr(root["cart"], "total", 1)
    yield root["cart"], lambda: root["cart"].lines.append(1)
    yield root["large"], lambda: root["large"].lines.append(1)
    yield root["tree"], lambda: root["tree"].update({1: 2})
    yield root, lambda: root.update(new=1)


@pytest.mark.parametrize("place", range(5))
def test_a_thread_is_told_that_a_checkout_is_of_another_one(database, place):
    cart, large = Cart(), Cart()
    checkout(cart, large)
    cart.lines, large.lines = [], [*range(5000)]
    with database.transaction():
        database.set_root(PersistentDict(cart=cart, large=large, tree=BTree()))
    owner, change = [*wrong_changes(database.root)][place]

    def refused():
        with pytest.raises((ReadOnlyError, SharedValueError)) as e:
            change()
        assert e.value.elsewhere == ("another thread or task" in str(e.value))
        return e.value.elsewhere

    assert not refused()
    with database.transaction():
        checkout(owner)
        assert in_thread(refused)
        change()
    assert not in_thread(refused)


@pytest.mark.filterwarnings("ignore:.* has ended with changes")
def test_a_value_read_before_the_checkout_is_not_said_to_be_of_another_thread(database):
    with database.transaction():
        database.set_root(PersistentDict(lines=[]))
    lines = database.root["lines"]
    with database.transaction() as root:
        checkout(root)
        with pytest.raises(SharedValueError, match="read the list from it again") as e:
            lines.append(1)
        assert not e.value.elsewhere
        in_thread(lambda: checkout(database.root))
        with pytest.raises(SharedValueError) as e:
            lines.append(1)
        assert not e.value.elsewhere


# -- repr ------------------------------------------------------------------------------


def test_the_repr_of_an_object_has_its_oid_on_every_face(on_face):
    def check(cart):
        place = f"new at {id(cart):#x}" if cart._p_oid is None else f"oid {cart._p_oid}"
        assert repr(cart) == f"<{__name__}.Cart {place}>"

    on_face(Cart(), check)


def test_the_repr_of_an_object_reads_nothing(database, again):
    database.set_root(Cart())
    transaction.commit()
    ghost = again().root

    assert repr(ghost) == f"<{__name__}.Cart oid 0>"
    assert type(ghost) is Cart._p_faces.ghost


def test_the_repr_of_a_mixin_is_used(on_face):
    def check(cart):
        assert repr(cart) == "a named one"

    on_face(NamedCart(), check)


@pytest.mark.parametrize("name", ["committed", "consumeFile", "truncate", "write", "writelines"])
def test_what_a_blob_of_another_database_has_is_not_there(database, name):
    database.set_root(PersistentDict(a=PersistentFile(io.BytesIO(b"a"))))
    transaction.commit()
    with pytest.raises(NoSuchAttributeError, match=f"PersistentStream has no {name}: "):
        getattr(database.root["a"], name)
