"""Everyday Python that goes by ``type(obj)`` or sets attributes by ``object``, on every face."""

from __future__ import annotations

import collections
import copy
import copyreg
import dataclasses
import dis
import enum
import functools
import importlib
import inspect
import io
import json
import pickle
import pprint
import reprlib
import sys
import types
import typing
from unittest import mock

import attrs
import pytest
import transaction
from zope.interface import Interface, classImplements, directlyProvides, implementer, providedBy
from zope.interface.adapter import AdapterRegistry
from zope.interface.verify import verifyObject

import dobbin_like
from dobbin_like import Persistent, PersistentDict, checkout
from dobbin_like.exc import ReadOnlyError
from tests.helpers.steps import in_thread

# -- descriptors ---------------------------------------------------------------------


class Weighed:
    """A descriptor that expects to be asked for an object, not for the class."""

    def __get__(self, obj, owner=None):
        return vars(obj)["weight"]

    def __set__(self, obj, value):
        obj.weight = value


class Parcel(Persistent):
    heavy = Weighed()

    def __init__(self):
        self.heavy = 1


def test_a_descriptor_is_not_asked_of_the_class_when_it_can_not_be_set(database):
    parcel = Parcel()
    database.set_root(parcel)
    transaction.commit()
    with pytest.raises(ReadOnlyError, match=r"change \.heavy"):
        parcel.heavy = 2
    with pytest.raises(ReadOnlyError, match=r"change \.heavy"):
        del parcel.heavy
    checkout(parcel)
    parcel.heavy = 2
    assert parcel.heavy == 2
    transaction.abort()
    assert parcel.heavy == 1


# -- object.__setattr__ in a method --------------------------------------------------


class Account(Persistent):
    """Validates what is set, as classes did before super()."""

    def __init__(self, balance):
        object.__setattr__(self, "balance", balance)

    def __setattr__(self, name, value):
        if name == "balance" and value < 0:
            raise ValueError(value)
        object.__setattr__(self, name, value)

    def __delattr__(self, name):
        object.__delattr__(self, name)


class Derived(Account):
    def __setattr__(self, name, value):
        Account.__setattr__(self, name, value)


class Mixin:
    pass


class MixedFirst(Mixin, Account):
    pass


put = object.__setattr__


class ByAlias(Persistent):
    def __init__(self, balance):
        self.balance = balance

    def __setattr__(self, name, value):
        if name == "balance" and value < 0:
            raise ValueError(value)
        put(self, name, value)


class BySlot(Persistent):
    balance = property(
        lambda self: self._balance, lambda self, value: self._set("_balance", value)
    )

    def __init__(self, balance):
        self.balance = balance

    def _set(self, name, value):
        if value < 0:
            raise ValueError(value)
        list(map(lambda name: object.__setattr__(self, name, value), [name]))  # noqa: C417


def logged(function):
    def wrapper(*args):
        return function(*args)

    return wrapper


class Decorated(Persistent):
    def __init__(self, balance):
        self.balance = balance

    @logged
    def __setattr__(self, name, value):
        if value < 0:
            raise ValueError(value)
        object.__setattr__(self, name, value)


class Validated:
    def __setattr__(self, name, value):
        if value < 0:
            raise ValueError(value)
        object.__setattr__(self, name, value)


class MixedIn(Validated, Persistent):
    def __init__(self, balance):
        self.balance = balance


class ByBaseName(Persistent):
    def __init__(self, balance):
        self.balance = balance

    def __setattr__(self, name, value):
        if value < 0:
            raise ValueError(value)
        Persistent.__setattr__(self, name, value)

    def __delattr__(self, name):
        Persistent.__delattr__(self, name)


@dataclasses.dataclass(frozen=True)
class FrozenAccount(Persistent):
    balance: int

    def __post_init__(self):
        self._set(self.balance)

    def _set(self, value):
        object.__setattr__(self, "balance", value)


VALIDATING = [Account, Derived, ByAlias, BySlot, Decorated, MixedIn, ByBaseName]


@pytest.mark.parametrize("cls", VALIDATING)
def test_a_class_that_sets_attributes_by_object_changes_what_its_thread_sees(database, again, cls):
    account = cls(100)
    database.set_root(account)
    transaction.commit()

    checkout(account)
    account.balance = 50
    with pytest.raises(ValueError, match="-1"):
        account.balance = -1

    assert account.balance == 50
    assert in_thread(lambda: account.balance) == 100
    transaction.commit()
    assert account.balance == 50
    assert again().root.balance == 50


@pytest.mark.parametrize("cls", VALIDATING)
def test_a_class_that_sets_attributes_by_object_is_read_only_without_checkout(read_only, cls):
    def check(account):
        with pytest.raises(ReadOnlyError):
            account.balance = 50
        assert account.balance == 100

    read_only(cls(100), check)


def test_a_frozen_class_that_changes_itself_needs_a_checkout_for_it(database, again):
    account = FrozenAccount(100)
    database.set_root(account)
    transaction.commit()

    with pytest.raises(ReadOnlyError):
        account._set(50)
    checkout(account)
    account._set(50)
    assert in_thread(lambda: account.balance) == 100
    transaction.commit()

    assert again().root.balance == 50


@pytest.mark.parametrize("cls", [Account, ByBaseName])
def test_an_attribute_is_deleted_by_object_after_a_checkout_only(database, again, cls):
    account = cls(100)
    database.set_root(account)
    transaction.commit()

    with pytest.raises(ReadOnlyError):
        del account.balance
    checkout(account)
    del account.balance
    assert in_thread(lambda: account.balance) == 100
    transaction.commit()

    assert dict(vars(again().root)) == {}


def test_a_method_that_is_added_later_respects_faces(database):
    class Late(Persistent):
        def __init__(self):
            self.x = 1

    late = Late()
    checkout(late)
    Late.set_x = lambda self, value: object.__setattr__(self, "x", value)
    Late.__setattr__ = object.__setattr__

    late.set_x(2)
    assert late.x == 2
    transaction.abort()
    with pytest.raises(ReadOnlyError):
        late.set_x(3)
    with pytest.raises(ReadOnlyError):
        late.x = 3


def test_a_class_mixed_in_goes_on_to_work_for_ordinary_objects():
    class Ordinary(Validated):
        pass

    ordinary = Ordinary()
    ordinary.x = 1

    assert ordinary.x == 1


def test_what_a_method_does_with_the_same_names_otherwise_stays_as_it_is():
    class Curious(Persistent):
        def look(self, other):
            object.__getattribute__(self, "look")
            made = type("Made", (), {})
            return isinstance(other, type), type(other), object, type, made.__name__

    assert Curious().look(3) == (False, int, object, type, "Made")
    assert Curious().look(Curious)[0]


def test_functions_of_the_standard_library_are_left_alone():
    before = functools.total_ordering.__code__, collections.UserDict.__copy__.__code__

    class Mixed(collections.UserDict):
        pass

    @functools.total_ordering
    class Sorted(Persistent):
        def __lt__(self, other):
            return id(self) < id(other)

    assert vars(Sorted)["__gt__"].__code__.co_names == functools._gt_from_lt.__code__.co_names
    assert "<dobbin_like type>" not in functools._gt_from_lt.__code__.co_names
    assert before == (functools.total_ordering.__code__, collections.UserDict.__copy__.__code__)
    assert Mixed


def test_an_adapted_function_is_the_same_line_for_line():
    def method(self):
        if self is None:
            return None
        return type(self)

    before = list(method.__code__.co_lines())
    type(Persistent)("Lines", (Persistent,), {"method": method})

    assert list(method.__code__.co_lines()) == before
    assert "<dobbin_like type>" in [step.argval for step in dis.get_instructions(method)]


def test_the_dict_of_an_object_is_replaced_after_a_checkout_only(database, again):
    class Borg(Persistent):
        pass

    Borg.__qualname__ = "Borg"
    globals()["Borg"] = Borg
    borg = Borg()
    database.set_root(borg)
    transaction.commit()

    with pytest.raises(ReadOnlyError):
        borg.__dict__ = {"x": 1}
    checkout(borg)
    borg.__dict__ = {"x": 1}
    assert borg.x == 1
    with pytest.raises(ReadOnlyError):
        in_thread(lambda: setattr(borg, "__dict__", {}))
    assert in_thread(lambda: dict(vars(borg))) == {}
    transaction.commit()

    assert again().root.x == 1


def put_elsewhere(obj, name, value):
    object.__setattr__(obj, name, value)


@pytest.mark.parametrize("cls", [Account, FrozenAccount])
def test_what_other_code_sets_past_the_class_after_a_checkout_is_what_its_thread_sees(
    database, again, cls
):
    account = cls(100)
    database.set_root(account)
    transaction.commit()

    checkout(account)
    put_elsewhere(account, "balance", 50)
    assert account.balance == object.__getattribute__(account, "balance") == 50
    with pytest.raises(ReadOnlyError):
        in_thread(put_elsewhere, account, "balance", 40)
    assert in_thread(lambda: account.balance) == 100
    assert in_thread(object.__getattribute__, account, "balance") == 100
    transaction.commit()
    assert again().root.balance == 50

    checkout(account)
    account.__init__(30)
    assert in_thread(lambda: account.balance) == 50
    transaction.commit()
    assert again().root.balance == 30

    checkout(account)
    object.__delattr__(account, "balance")
    assert in_thread(lambda: account.balance) == 30
    transaction.commit()
    assert dict(vars(again().root)) == {}


class Late(Persistent):
    x = 0

    def __init__(self):
        self.x = 1


class LateDerived(Late):
    pass


def test_a_property_that_is_added_for_an_attribute_after_a_checkout_is_used(database, monkeypatch):
    late = LateDerived()
    database.set_root(late)
    transaction.commit()
    checkout(late)
    assert (late.x, type(late).x) == (1, 0)

    hidden = property(lambda self: self.y, lambda self, value: setattr(self, "y", value))
    monkeypatch.setattr(Late, "x", hidden)
    late.x = 2
    assert (late.x, late.y) == (2, 2)
    put_elsewhere(late, "x", 3)
    assert (late.x, late.y) == (3, 3)
    transaction.abort()


# -- type() in a method ----------------------------------------------------------------


class Comparable:
    def __lt__(self, other):
        return type(self) is type(other) and self.n < other.n


class Money(Comparable, Persistent):
    names: typing.ClassVar[dict[type, str]] = {}

    def __init__(self, n):
        assert type(self) is Money
        self.n = n

    def __eq__(self, other):
        return type(other) is type(self) and other.n == self.n

    def __hash__(self):
        return hash((type(self), self.n))

    def __reduce__(self):
        return type(self), (self.n,)

    def name(self):
        return self.names[type(self)]

    @classmethod
    def is_money(cls):
        return cls is Money


Money.names[Money] = "money"


def test_type_in_a_method_is_the_class_on_every_face(on_face):
    def check(money):
        assert money == Money(3)
        assert Money(3) == money
        assert money != Money(4)
        assert hash(money) == hash(Money(3))
        assert money in {Money(3)}
        assert Money(2) < money < Money(4)
        assert money.name() == "money"
        assert type(copy.copy(money)) is Money
        assert pickle.loads(pickle.dumps(money)) == money

    on_face(Money(3), check)


def test_two_objects_on_different_faces_are_of_one_type_in_a_method(database, again):
    pair = [Money(3), Money(3)]
    root = Holder(pair)
    database.set_root(root)
    transaction.commit()
    one, other = again().root.items

    assert one == other
    assert root.items[0] == one
    checkout(root.items[1])
    assert one == root.items[1]
    assert root.items[1] == root.items[0]


class Holder(Persistent):
    def __init__(self, items):
        self.items = items


def test_a_class_method_gets_the_class_of_the_user(database, again):
    money = Money(3)
    database.set_root(money)
    transaction.commit()

    assert money.is_money()
    assert again().root.is_money()
    checkout(money)
    assert money.is_money()
    assert in_thread(money.is_money)


# -- the standard library -----------------------------------------------------------------


class Color(enum.Enum):
    RED = 1


@functools.total_ordering
@dataclasses.dataclass
class Item(Persistent):
    number: int
    color: Color = Color.RED
    tags: list[str] = dataclasses.field(default_factory=list)

    def __lt__(self, other):
        return self.number < other.number

    @functools.singledispatchmethod
    def plus(self, other):
        return NotImplemented

    @plus.register
    def _(self, other: int):
        return self.number + other

    @reprlib.recursive_repr()
    def label(self):
        return f"{self.number}"


@functools.singledispatch
def kind_of(obj):
    return "object"


@kind_of.register
def _(obj: Item):
    return "item"


def as_json(obj):
    return obj.name if isinstance(obj, enum.Enum) else dataclasses.asdict(obj)


def test_functions_that_go_by_the_class_of_an_object(on_face):
    def check(item):
        assert kind_of(item) == "item"
        assert item.plus(2) == 3
        assert item <= Item(2)
        assert sorted([Item(2), item])[0] is item
        assert {Color.RED: "red"}[item.color] == "red"
        assert json.dumps(item, default=as_json) == '{"number": 1, "color": "RED", "tags": []}'

    on_face(Item(1), check)


def test_a_dict_that_is_replaced_past_the_class_is_that_of_the_thread(database):
    """As pydantic does; also where a mixin with a dict of its own stands first."""
    root = PersistentDict(account=Account(1), mixed=MixedFirst(1))
    database.set_root(root)
    transaction.commit()
    for obj in root.values():
        checkout(obj)
        object.__setattr__(obj, "__dict__", {"balance": 9})
        assert obj.balance == 9
        assert in_thread(lambda obj=obj: obj.balance) == 1
        transaction.abort()
        assert obj.balance == 1


def test_the_dict_of_an_object_is_not_deleted(on_face):
    def check(item):
        if on_face.face != "open":  # Such an object belongs to its program.
            with pytest.raises((AttributeError, ReadOnlyError)):
                del item.__dict__
        assert item.number == 1

    on_face(Item(1), check)


def test_functions_for_dataclasses(on_face):
    def check(item):
        assert dataclasses.is_dataclass(item)
        assert dataclasses.is_dataclass(type(item))
        assert dataclasses.asdict(item) == {"number": 1, "color": Color.RED, "tags": []}
        assert dataclasses.astuple(item) == (1, Color.RED, [])
        assert dataclasses.fields(type(item)) == dataclasses.fields(Item)
        assert type(dataclasses.replace(item, number=2)) is Item
        assert pprint.pformat(item) == pprint.pformat(Item(1))

    on_face(Item(1), check)


def test_functions_that_show_an_object(on_face):
    def check(item):
        assert item.label() == "1"
        assert reprlib.repr(item) == reprlib.repr(Item(1))
        assert str(inspect.signature(item.plus)) == str(inspect.signature(Item(1).plus))
        assert dict(inspect.getmembers(item))["number"] == 1
        assert inspect.getmodule(type(item)) is inspect.getmodule(Item)
        assert inspect.getsource(type(item)) == inspect.getsource(Item)
        assert typing.get_type_hints(type(item)) == typing.get_type_hints(Item)

    on_face(Item(1), check)


class Registered(Persistent):
    def __init__(self, x):
        self.x = x


def test_a_function_that_copyreg_knows_is_used(on_face, monkeypatch):
    monkeypatch.setitem(copyreg.dispatch_table, Registered, lambda obj: (Registered, (obj.x + 1,)))

    def check(obj):
        assert pickle.loads(pickle.dumps(obj)).x == 2
        pickled = io.BytesIO()
        pickle._Pickler(pickled).dump(obj)
        assert pickle.loads(pickled.getvalue()).x == 2
        assert copy.copy(obj).x == 2
        assert copy.deepcopy(obj).x == 2

    on_face(Registered(1), check)


def test_the_type_of_an_object_is_pickled_and_copied_as_its_class(on_face):
    def check(obj):
        assert pickle.loads(pickle.dumps(type(obj))) is Registered
        assert issubclass(copy.deepcopy(type(obj)), Registered)

    on_face(Registered(1), check)


def test_the_type_of_an_object_is_stored_as_its_class(database, again):
    root = Holder([Registered(1)])
    database.set_root(root)
    transaction.commit()
    checkout(root, root.items[0])
    root.items.append(type(root.items[0]))
    transaction.commit()

    other = again()
    checkout(other.root)
    other.root.items.append(type(other.root.items[0]))
    assert type(other.root.items[0]) is not Registered
    other.transaction_manager.commit()

    assert again().root.items[1:] == [Registered, Registered]


# -- looking into type(obj), deriving from it ------------------------------------------------


class Named(Persistent):
    def name(self):
        return "named"

    @property
    def size(self):
        return 1


class Renamed(Named):
    def name(self):
        return "renamed"

    @property
    def size(self):
        return 2


def test_the_type_of_an_object_looks_like_its_class(on_face):
    def check(obj):
        cls = type(obj)
        assert vars(cls) == vars(Renamed)
        assert cls.__bases__ == (Named,)
        assert cls.__subclasses__() == Renamed.__subclasses__()
        assert dir(cls) == dir(Renamed)

    on_face(Renamed(), check)


def test_a_method_of_the_type_of_an_object_is_patched_and_put_back(on_face):
    def check(obj):
        with (
            mock.patch.object(type(obj), "name", return_value="mock"),
            mock.patch.object(type(obj), "size", new_callable=mock.PropertyMock, return_value=3),
        ):
            assert (obj.name(), obj.size) == ("mock", 3)
            assert Renamed().name() == "mock"
        assert (obj.name(), obj.size) == ("renamed", 2)
        assert Renamed().name() == "renamed"
        assert Named().name() == "named"

    on_face(Renamed(), check)


def test_a_class_can_be_derived_from_the_type_of_an_object(on_face):
    def check(obj):
        class Sub(type(obj)):  # type: ignore[misc]
            pass

        assert Sub.__mro__[:3] == (Sub, Renamed, Named)
        assert type(Sub) is type(Renamed)
        assert isinstance(Sub(), Renamed)
        assert Sub().name() == "renamed"
        assert types.new_class("Sub", (type(obj),)).__bases__ == (Renamed,)
        checkout(sub := Sub())
        sub.x = 1
        assert sub.x == 1

    on_face(Renamed(), check)


# -- type hints ------------------------------------------------------------------------------


def test_type_hints_of_a_persistent_class_are_those_that_it_was_given():
    assert typing.get_type_hints(Item) == {"number": int, "color": Color, "tags": list[str]}
    assert attrs.resolve_types(AttrsItem) is AttrsItem
    assert attrs.fields(AttrsItem).number.type is int


class Annotated(Persistent):
    number: int
    color: Color


class Bare(Annotated):
    pass


LAZILY = """
class Lazily(Persistent):  # Its annotations are evaluated when they are asked for, since 3.14.
    number: int
"""
WITH_TYPES = """
class WithTypes[T](Persistent):
    number: T
"""
exec(compile(LAZILY, __file__, "exec", dont_inherit=True))
if sys.version_info >= (3, 12):
    exec(compile(WITH_TYPES, __file__, "exec", dont_inherit=True))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Annotated", {"number": "int", "color": "Color"}),
        ("Bare", {}),
        ("Lazily", {"number": int}),
        ("WithTypes", None),
    ],
)
def test_the_annotations_of_a_class_are_its_own(on_face, name, expected):
    cls = globals().get(name)
    if cls is None:
        pytest.skip("Python 3.12 has brought it")
    types_of = getattr(cls, "__type_params__", ())
    expected = {"number": types_of[0]} if expected is None else expected

    def check(obj):
        assert type(obj).__annotations__ == cls.__annotations__ == expected
        assert inspect.get_annotations(type(obj)) == inspect.get_annotations(cls) == expected
        assert getattr(type(obj), "__type_params__", ()) == types_of

    on_face(cls(), check)


PUBLIC = [
    f"{module}.{name}"
    for module in ("dobbin_like", "dobbin_like.persistent", "dobbin_like.collections")
    for name in importlib.import_module(module).__all__
    if isinstance(getattr(importlib.import_module(module), name), type)
]


@pytest.mark.parametrize("name", PUBLIC)
def test_type_hints_of_what_is_public_can_be_resolved(name):
    module, _, attribute = name.rpartition(".")
    cls = getattr(importlib.import_module(module), attribute)

    typing.get_type_hints(cls)
    for member in vars(cls).values():
        if inspect.isfunction(member):
            typing.get_type_hints(member)
    for method in ("pack", "set_root", "at", "wait", "outcome"):
        typing.get_type_hints(getattr(dobbin_like.Database, method))


# -- attrs, pydantic, zope.interface -------------------------------------------------------------


@attrs.define(slots=False)
class AttrsItem(Persistent):
    number: int = 1


def test_functions_of_attrs(on_face):
    def check(item):
        assert attrs.has(type(item))
        assert attrs.fields(type(item)) == attrs.fields(AttrsItem)
        assert attrs.asdict(item) == {"number": 1}
        assert attrs.astuple(item) == (1,)
        assert type(attrs.evolve(item, number=2)) is AttrsItem

    on_face(AttrsItem(), check)


def test_pydantic_takes_persistent_objects(on_face):
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True, from_attributes=True)
        held: AttrsItem

    class Read(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(from_attributes=True)
        number: int

    def check(item):
        assert Model(held=item).held is item
        assert Read.model_validate(item).number == 1

    on_face(AttrsItem(), check)


def test_a_dataclass_of_pydantic_is_persistent(database, again, monkeypatch):
    pydantic = pytest.importorskip("pydantic")

    @pydantic.dataclasses.dataclass
    class Checked(Persistent):
        number: int = 0
        tags: list[str] = dataclasses.field(default_factory=list)

    Checked.__qualname__ = "Checked"
    monkeypatch.setitem(globals(), "Checked", Checked)
    assert list(inspect.signature(Checked).parameters) == ["number", "tags"]
    with pytest.raises(pydantic.ValidationError):
        Checked(number="no")
    database.set_root(Checked(number="3"))
    transaction.commit()
    checkout(database.root)
    database.root.tags.append("a")
    database.root.number += 1
    transaction.commit()
    assert again().root == Checked(number=4, tags=["a"])


class IShape(Interface):
    pass


class IRound(Interface):
    pass


def test_zope_interface_knows_what_a_class_implements(on_face):
    @implementer(IShape)
    class Circle(Persistent):
        pass

    class Disc(Circle):
        pass

    Disc.__qualname__ = "Disc"
    globals()["Disc"] = Disc
    registry = AdapterRegistry()
    registry.register([IShape], IRound, "", "found")

    def check(disc):
        assert list(providedBy(disc)) == [IShape]
        assert IShape.providedBy(disc)
        assert not IRound.providedBy(disc)
        assert IShape.implementedBy(type(disc))
        assert registry.lookup([providedBy(disc)], IRound) == "found"
        assert verifyObject(IShape, disc)
        classImplements(Disc, IRound)
        assert IRound.providedBy(disc)
        assert IRound.providedBy(Disc())
        assert not IRound.providedBy(Circle())

    on_face(Disc(), check)


def test_zope_interface_stores_what_one_object_provides(database):
    thing = Holder([])
    checkout(thing)

    directlyProvides(thing, IShape)

    assert IShape.providedBy(thing)
    assert not IShape.providedBy(Holder([]))
