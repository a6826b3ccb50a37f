"""Every feature of classes, on every face."""

from __future__ import annotations

import abc
import collections.abc
import copy
import dataclasses
import enum
import functools
import gc
import io
import pickle
import threading
import weakref
from typing import Any, Generic, TypeVar

import attrs
import pytest
import transaction

from dobbin_like import (
    Database,
    Persistent,
    PersistentABCMeta,
    PersistentDict,
    PersistentFile,
    PersistentList,
    PersistentMeta,
    checkout,
)
from dobbin_like.check import check_database
from dobbin_like.database import store_of
from dobbin_like.exc import ClassNotSupported, ClosedError, NotStorableError, ReadOnlyError
from tests.helpers.steps import Steps, in_thread

T = TypeVar("T")

# -- plain attributes -------------------------------------------------------


class Thing(Persistent):
    label = "none"

    def __init__(self, **attributes):
        for name, value in attributes.items():
            setattr(self, name, value)

    def twice(self):
        return self.x * 2


def test_attributes_are_read(on_face):
    def check(thing):
        assert (thing.x, thing.l, thing.twice()) == (1, [2], 2)

    on_face(Thing(x=1, l=[2]), check)


def test_a_class_attribute_is_the_default(on_face):
    def check(thing):
        assert thing.label == "none"
        assert "label" not in vars(thing)

    on_face(Thing(x=1), check)


def test_an_attribute_hides_the_class_attribute(on_face):
    def check(thing):
        assert thing.label == "red"

    on_face(Thing(label="red"), check)


def test_an_attribute_hides_a_method(on_face):
    def check(thing):
        assert thing.twice == "taken"

    on_face(Thing(twice="taken"), check)


def test_a_missing_attribute_raises_attribute_error_that_names_class_and_attribute(on_face):
    def check(thing):
        with pytest.raises(AttributeError, match="'Thing' object has no attribute 'nothing'") as e:
            _ = thing.nothing
        assert e.value.name == "nothing"
        assert e.value.obj is thing
        assert not hasattr(thing, "nothing")
        assert getattr(thing, "nothing", 5) == 5

    on_face(Thing(x=1), check)


def test_vars_and_dir_show_the_attributes(on_face):
    def check(thing):
        assert dict(vars(thing)) == {"x": 1, "l": [2]}
        assert {"x", "l", "twice", "label", "_p_oid"} <= set(dir(thing))

    on_face(Thing(x=1, l=[2]), check)


def test_class_and_isinstance_are_those_of_the_user(on_face):
    def check(thing):
        assert thing.__class__ is Thing
        assert isinstance(thing, Thing)
        assert isinstance(thing, Persistent)
        assert issubclass(type(thing), Thing)
        assert not isinstance(thing, Refusing)
        assert type(thing).__name__ == "Thing"
        assert type(thing).__qualname__ == "Thing"
        assert type(thing).__module__ == __name__
        assert isinstance(type(thing), PersistentMeta)

    on_face(Thing(x=1), check)


def test_a_class_pattern_matches(on_face):
    def check(thing):
        match thing:
            case Thing(x=found):
                assert found == 1
            case _:
                raise AssertionError

    on_face(Thing(x=1), check)


def test_isinstance_of_the_own_type_holds_for_an_object_on_another_face(on_face):
    def check(thing):
        other = Thing(x=1)
        assert isinstance(other, type(thing))
        assert issubclass(type(other), type(thing))
        assert not isinstance(Refusing(), type(thing))
        assert not isinstance(3, type(thing))

    on_face(Thing(x=1), check)


def test_an_attribute_is_set_and_deleted_after_checkout(stored_after):
    def change(thing):
        thing.x = 5
        thing.y = 6
        del thing.z
        assert (thing.x, thing.y) == (5, 6)
        assert not hasattr(thing, "z")
        with pytest.raises(AttributeError, match="'Thing' object has no attribute 'z'"):
            del thing.z

    stored = stored_after(Thing(x=1, z=2), change)

    assert dict(vars(stored)) == {"x": 5, "y": 6}


def test_a_deleted_attribute_shows_the_class_attribute_again(stored_after):
    def change(thing):
        del thing.label
        assert thing.label == "none"

    assert stored_after(Thing(label="red"), change).label == "none"


def test_attributes_can_be_set_through_vars_after_checkout(stored_after):
    def change(thing):
        vars(thing).update(x=5, y=[6])
        assert (thing.x, thing.y) == (5, [6])

    stored = stored_after(Thing(x=1), change)

    assert (stored.x, stored.y) == (5, [6])


def test_setting_and_deleting_are_refused_without_checkout(read_only):
    def check(thing):
        for change in (
            lambda: setattr(thing, "x", 2),
            lambda: setattr(thing, "new", 2),
            lambda: delattr(thing, "x"),
            lambda: delattr(thing, "nothing"),
        ):
            with pytest.raises(ReadOnlyError) as e:
                change()
            assert str(e.value).startswith("Can't set attribute in read-only mode. Thing oid 0 ")
            assert "checkout(obj)" in str(e.value)
            assert f".{e.value.name}." in str(e.value)
            assert isinstance(e.value, RuntimeError)
            assert (e.value.class_name, e.value.oid) == ("Thing", 0)
        assert dict(vars(thing)) == {"x": 1}

    read_only(Thing(x=1), check)


def test_the_class_of_an_object_cannot_be_set(on_face):
    def check(thing):
        with pytest.raises((RuntimeError, TypeError)):
            thing.__class__ = Refusing
        assert thing.__class__ is Thing

    on_face(Thing(x=1), check)


def test_a_new_object_is_read_only_once_its_constructor_has_returned():
    thing = Thing(x=1)

    with pytest.raises(ReadOnlyError):
        thing.x = 2
    assert thing._p_oid is None
    assert thing._p_jar is None
    assert thing._p_serial is None


def test_an_object_made_without_its_constructor_is_read_only():
    thing = object.__new__(Thing)

    with pytest.raises(ReadOnlyError):
        thing.x = 2


# -- properties -------------------------------------------------------------


class Celsius(Persistent):
    def __init__(self, degrees):
        self.degrees = degrees

    @property
    def fahrenheit(self):
        return self.degrees * 9 / 5 + 32

    @fahrenheit.setter
    def fahrenheit(self, value):
        self.degrees = (value - 32) * 5 / 9

    @fahrenheit.deleter
    def fahrenheit(self):
        self.degrees = None

    @property
    def fixed(self):
        return 3

    @property
    def broken(self):
        return self.nothing_of_this_name


def test_a_property_is_computed_from_the_state(on_face):
    def check(celsius):
        assert celsius.fahrenheit == 212.0

    on_face(Celsius(100), check)


def test_the_setter_and_the_deleter_of_a_property_run_after_checkout(stored_after):
    def change(celsius):
        celsius.fahrenheit = 32
        assert celsius.degrees == 0
        with pytest.raises(AttributeError):
            celsius.fixed = 4
        with pytest.raises(AttributeError):
            del celsius.fixed

    stored = stored_after(Celsius(100), change)

    assert dict(vars(stored)) == {"degrees": 0}


def test_the_deleter_of_a_property_runs_after_checkout(stored_after):
    stored = stored_after(Celsius(100), lambda celsius: delattr(celsius, "fahrenheit"))

    assert stored.degrees is None


def test_the_setter_of_a_property_is_refused_without_checkout(read_only):
    def check(celsius):
        with pytest.raises(ReadOnlyError):
            celsius.fahrenheit = 0
        with pytest.raises(ReadOnlyError):
            del celsius.fahrenheit
        assert celsius.degrees == 100

    read_only(Celsius(100), check)


def test_an_attribute_error_inside_a_property_names_what_is_missing(on_face):
    def check(celsius):
        with pytest.raises(AttributeError, match="nothing_of_this_name"):
            _ = celsius.broken

    on_face(Celsius(100), check)


def test_a_property_comes_before_an_attribute_of_the_same_name(on_face):
    celsius = Celsius(100)
    checkout(celsius)
    vars(celsius)["fixed"] = "hidden"
    transaction.abort()

    def check(celsius):
        assert celsius.fixed == 3

    on_face(celsius, check)


class Circle(Persistent):
    computed = 0

    def __init__(self, radius):
        self.radius = radius

    @functools.cached_property
    def area(self):
        Circle.computed += 1
        return 3 * self.radius**2


def test_a_cached_property_is_computed_from_the_state(on_face):
    def check(circle):
        before = Circle.computed
        assert circle.area == 12
        assert circle.area == 12
        assert Circle.computed == before + 1

    on_face(Circle(2), check)


def test_a_cached_property_is_not_stored_and_not_kept_beyond_a_change(database, again):
    circle = Circle(1)
    database.set_root(circle)
    assert circle.area == 3
    transaction.commit()
    assert circle.area == 3

    checkout(circle)
    circle.radius = 2
    assert circle.area == 12
    assert in_thread(lambda: circle.area) == 3
    transaction.commit()

    assert circle.area == 12
    assert dict(vars(again().root)) == {"radius": 2}


def test_a_cached_property_that_was_only_computed_is_not_written(database, storage):
    circle = Circle(1)
    database.set_root(circle)
    transaction.commit()

    checkout(circle)
    assert circle.area == 3
    transaction.commit()

    assert len(storage) == 1


def test_a_volatile_attribute_is_not_stored_and_does_not_make_a_transaction(database, storage):
    thing = Thing(x=1)
    database.set_root(thing)
    transaction.commit()

    checkout(thing)
    thing._v_note = threading.Lock()
    transaction.commit()

    assert len(storage) == 1
    assert not hasattr(thing, "_v_note")


# -- descriptors and hooks of the user's class ------------------------------


class Percent:
    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, obj, owner=None):
        return self if obj is None else getattr(obj, self.name, 0)

    def __set__(self, obj, value):
        if not 0 <= value <= 100:
            raise ValueError(value)
        setattr(obj, self.name, value)


class Progress(Persistent):
    done = Percent()

    def __init__(self, done):
        self.done = done


def test_a_descriptor_of_the_user_checks_what_is_set(stored_after):
    def change(progress):
        progress.done = 50
        with pytest.raises(ValueError, match="101"):
            progress.done = 101

    assert stored_after(Progress(10), change).done == 50


class Proxy(Persistent):
    def __init__(self, **known):
        self.known = known

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return f"no {name}"


def test_getattr_of_the_user_answers_for_what_is_missing_only(on_face):
    def check(proxy):
        assert proxy.unknown == "no unknown"
        assert proxy.known == {"a": 1}
        with pytest.raises(AttributeError):
            _ = proxy.__nothing__

    on_face(Proxy(a=1), check)


class Shouting(Persistent):
    def __init__(self, word):
        self.word = word

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        return value.upper() if name == "word" else value


def test_getattribute_of_the_user_runs_first_and_its_super_reads_the_state(on_face):
    def check(shouting):
        assert shouting.word == "HI"

    on_face(Shouting("hi"), check)


def test_getattribute_of_the_user_reads_what_was_changed_after_checkout(stored_after):
    def change(shouting):
        shouting.word = "ho"
        assert shouting.word == "HO"

    assert stored_after(Shouting("hi"), change).word == "HO"


class Upper(Persistent):
    def __init__(self, word):
        self.word = word

    def __setattr__(self, name, value):
        super().__setattr__(name, value.upper())

    def __delattr__(self, name):
        super().__delattr__(name.lower())


def test_setattr_and_delattr_of_the_user_run_first_and_their_super_changes_the_state(stored_after):
    def change(upper):
        assert upper.word == "HI"
        upper.word = "ho"
        upper.other = "x"
        del upper.OTHER

    assert dict(vars(stored_after(Upper("hi"), change))) == {"word": "HO"}


def test_super_of_the_setattr_of_the_user_refuses_without_checkout(read_only):
    def check(upper):
        with pytest.raises(ReadOnlyError):
            upper.word = "ho"
        with pytest.raises(ReadOnlyError):
            del upper.word
        assert upper.word == "HI"

    read_only(Upper("hi"), check)


class Base(Persistent):
    def __init__(self, x):
        self.x = x

    def name(self):
        return f"base {self.x}"

    @classmethod
    def kind(cls):
        return cls.__name__

    @staticmethod
    def fixed():
        return 1

    @property
    def value(self):
        return self.x


class Derived(Base):
    def name(self):
        return "derived of " + super().name()

    @property
    def value(self):
        return super().value + 1


def test_super_arrives_at_the_methods_of_the_base(on_face):
    def check(derived):
        assert derived.name() == "derived of base 1"
        assert derived.value == 2
        assert derived.kind() == "Derived"
        assert derived.fixed() == 1

    on_face(Derived(1), check)


class Mixin:
    mixed = "in"

    def greet(self):
        return f"{self.mixed} {self.x}"

    @property
    def half(self):
        return self.x / 2


class MixedFirst(Mixin, Base):
    pass


class MixedLast(Base, Mixin):
    pass


@pytest.mark.parametrize("cls", [MixedFirst, MixedLast])
def test_an_ordinary_class_can_be_mixed_in(on_face, cls):
    def check(mixed):
        assert (mixed.greet(), mixed.half) == ("in 4", 2)
        assert dict(vars(mixed)) == {"x": 4}
        assert mixed.__dict__["x"] == 4

    on_face(cls(4), check)


@pytest.mark.parametrize("name", [1, b"x", None, ("x",)])
def test_an_attribute_whose_name_is_no_text_is_refused_by_the_commit(stored_after, name):
    def change(thing):
        vars(thing)[name] = 1

    with pytest.raises(NotStorableError, match="name of an attribute has to be a text") as caught:
        stored_after(Thing(x=1), change)
    assert caught.value.oid in (0, None)  # None: it was new.
    transaction.abort()


class Field(enum.StrEnum):
    WEIGHT = "weight"


class Tag(str):
    """A name of an attribute that no log could have as a value."""

    __slots__ = ()


@pytest.mark.parametrize("name", [Field.WEIGHT, Tag("weight")], ids=["enum", "other"])
@pytest.mark.parametrize("make", [lambda: Thing(x=1), PersistentDict], ids=["thing", "dict"])
def test_a_name_of_an_attribute_is_stored_as_a_text(stored_after, make, name):
    # A member of an enum was written as one: a check took the state for damaged.
    found = stored_after(make(), lambda obj: setattr(obj, name, [1]))
    assert found.weight == [1]
    assert {type(each) for each in vars(found)} == {str}
    check_database(found._p_jar).raise_if_bad()


@pytest.mark.parametrize("cls", [MixedFirst, MixedLast])
def test_vars_of_an_object_with_a_mixin_is_the_own_state_after_checkout(stored_after, cls):
    def change(mixed):
        mixed.x = 5
        assert vars(mixed) == {"x": 5}
        assert copy.copy(mixed).x == 5
        vars(mixed)["y"] = 6
        assert mixed.y == 6

    assert dict(vars(stored_after(cls(4), change))) == {"x": 5, "y": 6}


class Refusing(Persistent):
    pass


# -- __init_subclass__, __new__, constructors -------------------------------

announced: list[str] = []


class Plugin(Persistent):
    def __init_subclass__(cls, *, topic="none", **kwargs):
        super().__init_subclass__(**kwargs)
        announced.append(f"{cls.__name__} {topic}")
        cls.topic = topic


class Ping(Plugin, topic="net"):
    def __init__(self):
        self.x = 1


def test_init_subclass_runs_once_for_each_class_that_somebody_wrote(on_face):
    def check(ping):
        assert (ping.x, ping.topic) == (1, "net")
        assert announced == ["Ping net"]
        assert Plugin.__subclasses__() == [Ping]
        assert Ping.__subclasses__() == []

    on_face(Ping(), check)


class WithNew(Persistent):
    def __new__(cls, *args):
        self = super().__new__(cls)
        self.made = args
        return self

    def __init__(self, *args):
        self.x = len(args)


def test_new_of_the_user_may_set_attributes(on_face):
    def check(obj):
        assert (obj.made, obj.x) == ((1, 2), 2)

    on_face(WithNew(1, 2), check)


class ElsewhereNew(Persistent):
    def __new__(cls):
        return 5


def test_new_of_the_user_may_return_something_else():
    assert ElsewhereNew() == 5


class Failing(Persistent):
    last: Any = None

    def __init__(self):
        Failing.last = self
        self.x = 1
        raise ValueError("no")


def test_what_a_failed_constructor_leaves_can_be_stored_all_the_same(database):
    with pytest.raises(ValueError, match="no"):
        Failing()

    database.set_root(Failing.last)
    transaction.commit()

    assert database.root.x == 1
    with pytest.raises(ReadOnlyError):
        Failing.last.x = 2


def test_wrong_arguments_are_refused_in_the_words_of_python():
    with pytest.raises(TypeError, match=r"Base.__init__\(\) missing 1 required"):
        Base()
    with pytest.raises(TypeError, match=r"Refusing\(\) takes no arguments"):
        Refusing(1)


class Node(Persistent):
    def __init__(self, value, child=None):
        self.value = value
        self.child = child

    def sibling(self):
        return type(self)(self.value + 1)

    def other_sibling(self):
        return self.__class__(self.value + 2)


def test_an_object_can_make_others_of_its_type(on_face):
    def check(node):
        assert node.sibling().__class__ is Node
        assert type(node.sibling()) is Node
        assert node.sibling().value == 2
        assert type(node.other_sibling()) is Node
        with pytest.raises(ReadOnlyError):
            node.sibling().value = 3

    on_face(Node(1), check)


def test_an_open_object_under_construction_can_make_others():
    class Chain(Persistent):
        def __init__(self, depth):
            self.depth = depth
            self.next = type(self)(depth - 1) if depth else None

    chain = Chain(3)

    assert [chain.depth, chain.next.depth, chain.next.next.next.next] == [3, 2, None]
    for link in (chain, chain.next):
        with pytest.raises(ReadOnlyError):
            link.depth = 0


class Box(Persistent, Generic[T]):
    def __init__(self, content: T) -> None:
        self.content = content


def test_a_generic_class_is_made_by_its_alias(on_face):
    def check(box):
        assert box.content == 1
        assert dict(vars(box)) == {"content": 1}

    on_face(Box[int](1), check)


# -- dataclasses, attrs, abstract base classes ------------------------------


@dataclasses.dataclass
class Point(Persistent):
    x: int
    y: int = 2
    tags: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self):
        self.sum = self.x + self.y


@dataclasses.dataclass(frozen=True, order=True)
class Frozen(Persistent):
    x: int
    y: int = 2


@dataclasses.dataclass(eq=False, kw_only=True)
class ByIdentity(Persistent):
    x: int = 1


def test_a_dataclass_compares_and_shows_and_unpacks(on_face):
    def check(point):
        assert point == Point(1)
        assert Point(1) == point
        assert point != Point(2)
        assert repr(point) == "Point(x=1, y=2, tags=[])"
        assert dataclasses.asdict(point) == {"x": 1, "y": 2, "tags": []}
        assert dataclasses.replace(point, x=5) == Point(5)
        assert point.sum == 3
        with pytest.raises(TypeError, match="unhashable"):
            hash(point)

    on_face(Point(1), check)


def test_a_dataclass_matches_by_position(on_face):
    def check(point):
        match point:
            case Point(x, y):
                assert (x, y) == (1, 2)

    on_face(Point(1), check)


def test_a_frozen_dataclass_is_hashable_and_ordered_and_refuses_for_ever(on_face):
    def check(frozen):
        assert frozen == Frozen(1)
        assert hash(frozen) == hash(Frozen(1))
        assert frozen < Frozen(2)
        assert Frozen(0) < frozen
        with pytest.raises(dataclasses.FrozenInstanceError):
            frozen.x = 5
        with pytest.raises(dataclasses.FrozenInstanceError):
            del frozen.x

    on_face(Frozen(1), check)


def test_a_dataclass_without_eq_is_equal_to_itself_only(on_face):
    def check(obj):
        same = obj
        assert obj == same
        assert obj != ByIdentity(x=1)
        assert {obj: 1}[obj] == 1

    on_face(ByIdentity(), check)


def test_a_dataclass_field_is_set_after_checkout(stored_after):
    def change(point):
        point.x = 7
        point.tags.append("a")

    assert stored_after(Point(1), change) == Point(7, 2, ["a"])


def is_positive(_obj, _attribute, value):
    if value <= 0:
        raise ValueError(value)


@attrs.define(slots=False)
class Order(Persistent):
    number: int
    note: str = attrs.field(default="", converter=str)
    count: int = attrs.field(default=1, validator=is_positive)
    tags: list[str] = attrs.Factory(list)


@attrs.define(slots=False)
class SpecialOrder(Order):
    urgent: bool = False

    __hash__ = object.__hash__


@attrs.define(slots=False)
class Loose(Persistent):
    count: int = attrs.field(default=1, validator=is_positive)


@attrs.define(slots=False)
class Looser(Loose):
    count: int = 1


@attrs.frozen(slots=False)
class FrozenOrder(Persistent):
    number: int = 1


def test_an_attrs_class_compares_and_shows_and_evolves(on_face):
    def check(order):
        assert order == Order(1, "2")
        assert Order(1, "2") == order
        assert repr(order) == "Order(number=1, note='2', count=1, tags=[])"
        assert attrs.evolve(order, number=3) == Order(3, "2")
        assert attrs.asdict(order)["note"] == "2"

    on_face(Order(1, 2), check)


def test_attrs_fields_with_hooks_are_set_after_checkout(stored_after):
    def change(order):
        order.number = 7
        order.note = 8
        with pytest.raises(ValueError, match="-1"):
            order.count = -1
        order.tags.append("a")
        assert (order.number, order.note, order.count) == (7, "8", 1)

    assert stored_after(Order(1), change) == Order(7, "8", 1, ["a"])


def test_fields_of_an_attrs_class_derived_from_one_with_hooks_are_set(stored_after):
    def change(order):
        order.number = 7
        order.urgent = True
        with pytest.raises(ValueError, match="-1"):
            order.count = -1

    stored = stored_after(SpecialOrder(1), change)

    assert (stored.number, stored.urgent, stored.count) == (7, True, 1)


def test_an_attrs_class_that_drops_the_hooks_of_its_base_is_sealed_all_the_same(stored_after):
    def change(looser):
        looser.count = -5

    looser = Looser()
    with pytest.raises(ReadOnlyError):
        looser.count = -4

    assert stored_after(looser, change).count == -5


def test_attrs_fields_with_hooks_are_not_set_without_checkout(read_only):
    def check(order):
        for name in ("number", "count", "note", "other"):
            with pytest.raises(ReadOnlyError):
                setattr(order, name, 5)
        assert order == Order(1)

    read_only(Order(1), check)


def test_a_frozen_attrs_class_refuses_for_ever(on_face):
    def check(order):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            order.number = 2
        assert order == FrozenOrder(1)
        assert hash(order) == hash(FrozenOrder(1))

    on_face(FrozenOrder(1), check)


class Shape(Persistent, abc.ABC):
    @abc.abstractmethod
    def area(self): ...


class Square(Shape):
    def __init__(self, side):
        self.side = side

    def area(self):
        return self.side**2


class Registry(Persistent, collections.abc.MutableMapping):
    def __init__(self, **items):
        self.items_ = items

    def __getitem__(self, key):
        return self.items_[key]

    def __setitem__(self, key, value):
        self.items_[key] = value

    def __delitem__(self, key):
        del self.items_[key]

    def __iter__(self):
        return iter(self.items_)

    def __len__(self):
        return len(self.items_)


def test_an_abstract_class_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        Shape()


def test_an_abstract_method_is_implemented_on_every_face(on_face):
    def check(square):
        assert square.area() == 9
        assert isinstance(square, Shape)
        assert issubclass(type(square), Shape)
        assert not isinstance(square, Registry)
        assert isinstance(Square(1), type(square))

    on_face(Square(3), check)


def test_a_class_can_be_registered_with_an_abstract_class(on_face):
    Shape.register(Thing)

    def check(thing):
        assert isinstance(thing, Shape)

    on_face(Thing(x=1), check)


def test_the_metaclass_for_abstract_classes_can_be_named(on_face):
    class Named(Persistent, metaclass=PersistentABCMeta):
        @abc.abstractmethod
        def name(self): ...

    class Derived(Named):
        def name(self):
            return "a name"

    assert type(Shape) is type(Named) is type(Derived)
    assert type(Thing) is PersistentMeta
    with pytest.raises(TypeError, match="abstract"):
        Named()
    Named.register(Thing)

    def check(thing):
        assert isinstance(thing, Named)

    on_face(Thing(x=1), check)
    assert Derived().name() == "a name"


def test_a_class_without_abstract_bases_refuses_to_register_others():
    with pytest.raises(
        TypeError, match=r"^<class 'int'> can't be .* with Thing, .* from abc\.ABC"
    ):
        Thing.register(int)
    assert not isinstance(1, Thing)


def test_a_class_with_a_metaclass_of_its_own_is_told_how_to_register_others():
    class Plain(PersistentMeta):
        pass

    class Abstract(PersistentABCMeta):
        pass

    class Refusing(Persistent, abc.ABC, metaclass=Plain):
        pass

    class Registering(Persistent, abc.ABC, metaclass=Abstract):
        pass

    with pytest.raises(TypeError, match=r"or its metaclass, .*, from PersistentABCMeta$"):
        Refusing.register(int)
    Registering.register(int)
    assert isinstance(1, Registering)


def test_without_an_abstract_base_nothing_is_abstract():
    class Anything:
        def __getattr__(self, name):
            return True  # So does what builds queries; __isabstractmethod__ is asked for, too.

    class Picture(Persistent):
        query = Anything()

        @abc.abstractmethod
        def show(self):
            return "shown"

    assert Picture().show() == "shown"
    with pytest.raises(TypeError, match=r"abstract class Photo with.* '?show'?"):
        type("Photo", (Persistent, abc.ABC), {"show": Picture.show})()


def test_a_mapping_of_collections_abc_works_on_every_face(on_face):
    def check(registry):
        assert dict(registry) == {"a": 1}
        assert list(registry.items()) == [("a", 1)]
        assert "a" in registry
        assert registry == {"a": 1}
        assert isinstance(registry, collections.abc.Mapping)

    on_face(Registry(a=1), check)


def test_a_mapping_of_collections_abc_is_changed_after_checkout(stored_after):
    def change(registry):
        registry.update(b=2)
        del registry["a"]
        assert registry.setdefault("c", 3) == 3

    assert stored_after(Registry(a=1), change) == {"b": 2, "c": 3}


# -- copies, pickles, references, hashes ------------------------------------


def test_a_copy_is_a_new_object_with_the_same_attributes(on_face):
    child = Node(2)

    def check(node):
        made = copy.copy(node)
        assert type(made) is Node
        assert made is not node
        assert made.value == 1
        assert made.child is node.child
        assert made._p_oid is None
        with pytest.raises(ReadOnlyError):
            made.value = 2

    on_face(Node(1, child), check)


def test_a_deep_copy_copies_what_hangs_on_it(on_face):
    def check(node):
        made = copy.deepcopy(node)
        assert type(made) is Node
        assert made.child is not node.child
        assert made.child.value == 2
        assert made.value == [1, {"a": [2]}]
        made.value[1]["a"].append(3)
        assert node.value == [1, {"a": [2]}]

    on_face(Node([1, {"a": [2]}], Node(2)), check)


def test_a_pickle_holds_the_state_that_the_thread_sees(on_face):
    def check(node):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            made = pickle.loads(pickle.dumps(node, protocol))
            assert type(made) is Node
            assert (made.value, type(made.value), made.child.value) == ([1], list, 2)

    on_face(Node([1], Node(2)), check)


def test_a_pickle_of_a_checked_out_object_holds_its_changes(stored_after):
    def change(node):
        node.value = 5
        node.child.append(2)
        made = pickle.loads(pickle.dumps(node))
        assert (made.value, made.child) == (5, [1, 2])
        assert copy.copy(node).child == [1, 2]
        assert copy.deepcopy(node).child == [1, 2]

    stored_after(Node(1, [1]), change)


class WithArguments(Persistent):
    def __new__(cls, x):
        self = super().__new__(cls)
        vars(self)["x"] = x
        return self

    def __getnewargs__(self):
        return (self.x,)


class WithKeywords(WithArguments):
    def __new__(cls, *, x):
        return super().__new__(cls, x)

    def __getnewargs_ex__(self):
        return (), {"x": self.x}


class Reduced(Persistent):
    def __init__(self, x):
        self.x = x

    def __reduce__(self):
        return Reduced, (self.x + 1,)


class ReducedEx(Persistent):
    def __init__(self, x):
        self.x = x

    def __reduce_ex__(self, protocol):
        return ReducedEx, (self.x + 1,)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: WithArguments(1), 1),
        (lambda: WithKeywords(x=1), 1),
        (lambda: Reduced(1), 2),
        (lambda: ReducedEx(1), 2),
    ],
    ids=["newargs", "newargs_ex", "reduce", "reduce_ex"],
)
def test_the_pickle_hooks_of_the_user_are_asked(on_face, make, expected):
    def check(obj):
        assert pickle.loads(pickle.dumps(obj)).x == expected
        assert copy.copy(obj).x == expected
        assert type(copy.copy(obj)) is obj.__class__

    on_face(make(), check)


def test_a_weak_reference_stays_valid_from_face_to_face(on_face):
    def check(thing):
        reference = weakref.ref(thing)
        assert reference() is thing
        assert weakref.ref(thing) is reference
        assert weakref.WeakKeyDictionary({thing: 1})[thing] == 1

    on_face(Thing(x=1), check)


class Valued(Persistent):
    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, type(self)) and self.value == other.value

    def __hash__(self):
        return hash(self.value)

    def __len__(self):
        return 0

    def __bool__(self):
        return False


def test_equality_and_hash_of_the_user_work_on_every_face(on_face):
    def check(valued):
        assert valued == Valued(3)
        assert Valued(3) == valued
        assert hash(valued) == hash(Valued(3))
        assert {valued} == {Valued(3)}
        assert not valued
        assert len(valued) == 0

    on_face(Valued(3), check)


def test_a_hash_by_identity_does_not_change_from_face_to_face(database):
    thing = Thing(x=1)
    before = hash(thing)
    database.set_root(thing)
    transaction.commit()
    checkout(thing)

    assert hash(thing) == before
    assert {thing: 1}[thing] == 1


finalized: list[Any] = []


class Finalized(Persistent):
    def __init__(self):
        self.me = self
        self.x = 1

    def __del__(self):
        finalized.append(self.x)


def test_a_finalizer_reads_the_state_of_a_stale_object_in_a_cycle(database, again):
    finalized.clear()
    root = Thing(held=Finalized())
    database.set_root(root)
    transaction.commit()
    other = again()
    held = other.root.held
    checkout(held)
    held.x = 2
    other.transaction_manager.commit()
    other.close()
    transaction.begin()
    assert type(root.held) is Finalized._p_faces.ghost

    checkout(root)
    del root.held
    transaction.commit()
    gc.collect()

    assert finalized[:1] == [1]


class Left(Persistent):
    size = 1

    def __init__(self, size):
        self.size = size

    def doubled(self):
        return 2 * self.size

    def name(self):
        return "left"

    def __eq__(self, other):
        return self.size == other.size

    def __hash__(self):
        return hash(self.size)


@pytest.fixture
def left(path):
    """Return objects that were not read before their database was closed and collected."""
    path = path.with_name("left.log")
    with Database(path) as database:
        stream = PersistentFile(io.BytesIO(b"bytes"))
        database.set_root(
            PersistentDict(left=Left(5), items=PersistentList([1]), stream=stream, read=Left(6))
        )
        transaction.commit()
    found, database = _leave(path)
    gc.collect()
    if database() is not None:
        pytest.skip("something of the interpreter keeps the database")
    return found


def _leave(path):
    # A function of its own: its frame has the database, too.
    with Database(path) as database:
        left = dict(database.root)
        assert left["read"].size == 6
        with left["stream"].open() as file:
            assert file.read(1) == b"b"
    return left, weakref.ref(store_of(database).graph)


@pytest.mark.parametrize(
    "use",
    [
        lambda left: left["left"].size,
        lambda left: left["left"].doubled(),
        lambda left: left["left"].missing,
        lambda left: vars(left["left"]),
        lambda left: setattr(left["left"], "size", 3),
        lambda left: delattr(left["left"], "size"),
        lambda left: hash(left["left"]),
        lambda left: left["left"] == left["read"],
        lambda left: checkout(left["left"]),
        lambda left: copy.copy(left["left"]),
        lambda left: copy.deepcopy(left["left"]),
        lambda left: pickle.dumps(left["left"]),
        lambda left: len(left["items"]),
        lambda left: checkout(left["items"]),
        lambda left: left["stream"].open().read(),
        lambda left: [*left["stream"]],
    ],
)
def test_what_was_not_read_before_its_database_is_gone_says_so(left, use):
    # It had no attributes, and was a new object.
    for _ in range(2):
        with pytest.raises(ClosedError, match=r"the database of this .* is closed"):
            use(left)
    assert left["left"].name() == "left"  # A finalizer may call it.
    assert left["read"].doubled() == 12


@pytest.mark.parametrize("name", ["left", "items", "stream"])
def test_what_was_not_read_before_its_database_is_gone_is_not_stored_in_another(
    left, name, database, storage
):
    # It was stored without what it had.
    database.set_root(Thing(held=[left[name]]))
    with pytest.raises(ClosedError, match=r"the database of this .* is closed"):
        transaction.commit()
    transaction.abort()
    assert len(storage) == 0
    database.set_root(Thing(held=left["read"]))
    transaction.commit()
    assert database.root.held.size == 6


def test_a_finalizer_runs_on_every_face(on_face):
    def check(thing):
        assert thing.x == 1

    on_face(Finalized(), check)


# -- classes that change ----------------------------------------------------


class Patched(Persistent):
    def __init__(self, x):
        self.x = x


def test_a_method_or_property_can_be_added_after_first_use(on_face):
    def check(obj):
        try:
            assert obj.x == 1
            Patched.method = lambda self: self.x + 1
            Patched.computed = property(lambda self: self.x + 2)
            Patched.value = 5
            assert (obj.method(), obj.computed, obj.value) == (2, 3, 5)
            Patched.x = property(lambda self: "from the class")
            assert obj.x == "from the class"
        finally:
            for name in ("method", "computed", "value", "x"):
                if name in vars(Patched):
                    delattr(Patched, name)
        assert obj.x == 1
        assert not hasattr(obj, "computed")

    on_face(Patched(1), check)


def test_a_property_added_to_a_base_after_first_use_is_seen_by_the_derived_class(on_face):
    def check(obj):
        assert obj.x == 1
        Base.added = property(lambda self: self.x + 10)
        try:
            assert obj.added == 11
        finally:
            del Base.added

    on_face(Derived(1), check)


def test_a_class_can_be_derived_after_first_use_of_its_base(database):
    base = Base(1)
    database.set_root(base)
    transaction.commit()
    checkout(base)
    assert base.name() == "base 1"

    late = Late(2)
    base.late = late
    transaction.commit()
    checkout(late)
    late.x = 3

    assert late.name() == "late base 3"
    assert late.__class__ is Late
    assert isinstance(late, Base)


class Late(Base):
    def name(self):
        return "late " + super().name()


# -- what is refused when a class is made -----------------------------------


def make_slots():
    class WithSlots(Persistent):
        __slots__ = ("x",)


def make_slots_of_dataclass():
    @dataclasses.dataclass(slots=True)
    class WithSlots(Persistent):
        x: int


def make_slots_of_attrs():
    @attrs.define
    class WithSlots(Persistent):
        x: int


def make_dict():
    class ADict(Persistent, dict):
        pass


def make_list():
    class AList(list, Persistent):
        pass


def make_int():
    class AnInt(Persistent, int):
        pass


def make_tuple():
    class ATuple(Persistent, tuple):
        pass


def make_exception():
    class AnError(Persistent, ValueError):
        pass


class HasSlots:
    __slots__ = ("x",)


def make_slots_in_a_base():
    class Mixed(HasSlots, Persistent):
        pass


def make_reserved_name():
    class Reserved(Persistent):
        _p_oid = 5


def make_reserved_method():
    class Reserved(Persistent):
        def _p_anything(self):
            pass


def make_dict_property():
    class Redefined(Persistent):
        @property
        def __dict__(self):
            return {}


def make_class_property():
    class Redefined(Persistent):
        @property
        def __class__(self):
            return dict


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_slots, "__slots__"),
        (make_slots_of_dataclass, "__slots__"),
        (make_slots_of_attrs, "__slots__"),
        (make_dict, "layout"),
        (make_list, "layout"),
        (make_int, "layout"),
        (make_tuple, "layout"),
        (make_exception, "layout"),
        (make_slots_in_a_base, "layout"),
        (make_reserved_name, "_p_oid: names with _p_ are reserved"),
        (make_reserved_method, "_p_anything: names with _p_ are reserved"),
        (make_dict_property, "redefines __dict__"),
        (make_class_property, "redefines __class__"),
    ],
)
def test_what_cannot_be_supported_is_refused_when_the_class_is_made(make, reason):
    with pytest.raises(ClassNotSupported, match=reason) as e:
        make()

    assert isinstance(e.value, TypeError)
    assert e.value.class_name in str(e.value)


def test_empty_slots_are_harmless():
    class Empty(Persistent):
        __slots__ = ()

        def __init__(self):
            self.x = 1

    assert Empty().x == 1


# -- the faces come and go --------------------------------------------------


def test_an_object_is_masked_only_while_somebody_has_checked_it_out(database):
    thing = Thing(x=1)
    database.set_root(thing)
    transaction.commit()
    steps = Steps()

    @steps.thread
    def other():
        with steps[1]:
            checkout(thing)
        with steps[3]:
            transaction.abort()

    with steps[0]:
        checkout(thing)
    with steps[2]:
        transaction.abort()
        assert type(thing) is Thing._p_faces.mask
    with steps[4]:
        assert type(thing) is Thing
    steps.join()


def test_a_reader_keeps_an_object_masked_until_its_transaction_ends(database):
    thing = Thing(x=1)
    database.set_root(thing)
    transaction.commit()

    def change():
        checkout(thing)
        thing.x = 2
        transaction.commit()

    assert thing.x == 1
    in_thread(change)

    assert thing.x == 1
    assert type(thing) is not Thing
    transaction.begin()
    assert thing.x == 2
    assert type(thing) is Thing


def test_reading_a_plain_object_runs_no_code_of_the_package(database):
    thing = Thing(x=1)
    database.set_root(thing)
    transaction.commit()

    assert type(thing) is Thing
    assert Thing.__getattribute__ is object.__getattribute__
    assert not hasattr(Thing, "__getattr__")
