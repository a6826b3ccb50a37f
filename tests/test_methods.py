"""The many ways in which methods reach ``type()`` and what ``object`` does, and their code."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import pickle
import sys
import types
from types import SimpleNamespace
from typing import Any

import pytest
import transaction

from dobbin_like import Persistent, checkout
from dobbin_like.exc import ClassNotSupported, ReadOnlyError
from tests.helpers.processes import python_path, run
from tests.helpers.steps import in_thread


class Descriptor:
    """A decorator that is a class, and binds its function itself."""

    def __init__(self, function):
        self.function = function

    def __get__(self, obj, owner=None):
        return self if obj is None else types.MethodType(self.function, obj)


def made_in_a_function():
    put, base, kind = object.__setattr__, object, type

    class Closed(Persistent):
        def __init__(self):
            self.x = 1

        def by_function(self, value):
            put(self, "x", value)

        def by_class(self, value):
            base.__setattr__(self, "x", value)

        def nested(self, value):
            def inner():
                put(self, "x", value)

            inner()

        def kinds(self, other):
            return kind(self), [kind(each) for each in (self, other)]

    return Closed


Closed = made_in_a_function()
Closed.__qualname__ = "Closed"


class Mixed:
    """Gets a method when it is mixed in already."""


class Account(Mixed, Persistent):
    """Sets an attribute past its class in many ways."""

    def __init__(self):
        self.x = 1

    def default(self, value, put=object.__setattr__):
        put(self, "x", value)

    def default_by_name(self, value, *, put=object.__setattr__):
        put(self, "x", value)

    @Descriptor
    def decorated(self, value):
        object.__setattr__(self, "x", value)

    @functools.singledispatchmethod
    def dispatched(self, value):
        raise NotImplementedError

    @dispatched.register
    def _(self, value: int):
        object.__setattr__(self, "x", value)

    @dispatched.register
    def _(self, value: str):
        raise NotImplementedError

    def global_of_later(self, value):
        put_later(self, "x", value)

    def other_class(self, value):
        Mixed.__setattr__(self, "x", value)

    def _set(self, name, value):
        object.__setattr__(self, name, value)

    partial = functools.partialmethod(_set, "x")

    def generator(self, value):
        def steps():
            object.__setattr__(self, "x", value)
            yield

        list(steps())

    def coroutine(self, value):
        async def step():
            object.__setattr__(self, "x", value)

        with pytest.raises(StopIteration):
            step().send(None)


put_later = object.__setattr__
Mixed.mixed_in_later = lambda self, value: object.__setattr__(self, "x", value)


@dataclasses.dataclass(frozen=True)
class Frozen(Persistent):
    x: int = 1

    def again(self, value):
        self.__init__(value)


WAYS = [
    *("default", "default_by_name", "decorated", "dispatched", "global_of_later", "other_class"),
    *("partial", "generator", "coroutine", "mixed_in_later"),
]
SETTERS = [
    *((Account, way) for way in WAYS),
    *((Closed, way) for way in ("by_function", "by_class", "nested")),
    (Frozen, "again"),
]


@pytest.mark.parametrize(("cls", "way"), SETTERS)
def test_a_method_sets_attributes_by_object_after_a_checkout_only(database, again, cls, way):
    obj = cls()
    database.set_root(obj)
    transaction.commit()

    with pytest.raises(ReadOnlyError):
        getattr(obj, way)(2)
    assert obj.x == 1
    checkout(obj)
    getattr(obj, way)(2)
    assert (obj.x, in_thread(lambda: obj.x)) == (2, 1)
    transaction.commit()

    assert again().root.x == 2


class Reader(Persistent):
    """Reads its attributes by object."""

    def __init__(self):
        self.x = 1

    def by_object(self):
        return object.__getattribute__(self, "x")

    def by_base(self):
        return Persistent.__getattribute__(self, "x")

    def of_other(self, other):
        return object.__getattribute__(other, "x")


class Hooked(Persistent):
    def __init__(self):
        self.x = 1

    def __getattribute__(self, name):
        return object.__getattribute__(self, name)


READS = [
    (Reader, Reader.by_object),
    (Reader, Reader.by_base),
    (Hooked, lambda obj: obj.x),
]


@pytest.mark.parametrize(("cls", "read"), READS)
def test_what_a_method_reads_by_object_is_of_the_snapshot_of_its_thread(
    database, again, cls, read
):
    obj = cls()
    database.set_root(obj)
    transaction.commit()
    transaction.begin()
    assert read(obj) == 1
    other = again()
    with other.transaction_manager:
        checkout(other.root)
        other.root.x = 2

    assert in_thread(lambda: (database.root, read(obj))[1]) == 2
    assert read(obj) == 1
    transaction.begin()
    assert read(obj) == 2
    checkout(obj)
    obj.x = 3
    assert (read(obj), in_thread(read, obj)) == (3, 2)
    transaction.abort()


def test_what_a_method_reads_by_object_may_have_to_be_loaded(database, again):
    pair = Reader()
    checkout(pair)
    pair.other = Reader()
    database.set_root(pair)
    transaction.commit()

    root = again().root

    assert root.of_other(root.other) == 1
    assert root.of_other(SimpleNamespace(x=2)) == 2


def test_type_as_a_variable_or_an_argument_of_map_is_the_class(database, again):
    class Asking(Persistent):
        def kinds(self, *others):
            return [*map(type, (self, *others))]

    Asking.__qualname__ = "Asking"
    globals()["Asking"] = Asking
    database.set_root(Asking())
    transaction.commit()

    obj = again().root

    assert obj.kinds(obj, 3) == [Asking, Asking, int]
    checkout(database.root)
    assert database.root.kinds() == [Asking]
    closed = Closed()
    checkout(closed)
    assert closed.kinds(Closed()) == (Closed, [Closed, Closed])
    transaction.abort()


def long_function(first: str, last: str = "") -> str:
    names = "\n".join(f"        if other is None: self.a{number}" for number in range(200))
    return f"    def method(self, other):\n        {first}\n{names}\n{last}"


def made(body: str, module: str = __name__) -> Any:
    namespace: dict[str, Any] = {"__name__": module, "Persistent": Persistent}
    exec(f"class Long(Persistent):\n{body}", namespace)
    return namespace["Long"]


@pytest.mark.parametrize(
    ("first", "last"),
    [("kind = type(other)", ""), ("kind = None", "        kind = type(other)\n")],
)
def test_a_method_with_many_names_is_adapted(first, last):
    obj = made(long_function(first, f"{last}        return kind"))()

    checkout(obj)

    assert obj.method(obj) is obj.__class__
    transaction.abort()


def test_a_method_with_many_names_of_which_one_means_two_things_is_refused():
    with pytest.raises(ClassNotSupported, match=r"method\(\) calls type\(\)"):
        made(long_function("kind = type(other), self.type"))


def test_a_module_of_the_program_may_have_the_name_of_one_of_the_standard_library():
    obj = made("    def kind(self):\n        return type(self)\n", "profile")()

    checkout(obj)

    assert obj.kind() is obj.__class__
    transaction.abort()


def test_classes_that_methods_make_are_of_the_module_of_the_method():
    class Making(Persistent):
        def make(self):
            return type("Made", (int,), {"x": 1}), type("Own", (), {"__module__": "own"})

    cls, own = Making().make()

    assert (cls.__module__, cls.__name__, cls(3) + cls.x) == (__name__, "Made", 4)
    assert own.__module__ == "own"


def test_a_persistent_class_that_is_made_by_a_call_is_of_the_calling_module():
    body = {"x": 1}

    cls = type(Persistent)("Called", (Persistent,), body)

    assert cls.__module__ == __name__
    assert body == {"x": 1}


def test_what_is_done_to_methods_of_a_class_stays_done_to_them():
    class Other:
        pass

    class Patching(Persistent):
        def patch(self, function):
            Other.__setattr__ = function

        def put(self, obj):
            Other.__setattr__(obj, "x", 1)

        def has(self):
            return hasattr(Other, "__setattr__")

    Patching().put(other := Other())
    Patching().patch(lambda self, name, value: self.__dict__.update({name: (value,)}))
    changed = Other()
    changed.y = 2

    assert (vars(other), vars(changed)) == ({"x": 1}, {"y": (2,)})
    assert Patching().has()


def test_a_lazy_object_that_a_method_knows_is_not_made_for_its_class():
    class Lazy:
        @property
        def __class__(self):
            raise AssertionError

    lazy = Lazy()

    class Knowing(Persistent):
        attribute = lazy

        def method(self):
            return type(lazy), type(self)

    assert Knowing().method() == (Lazy, Knowing)


def test_tools_find_adapted_methods_as_they_were_written():
    lines = []

    def trace(frame, event, _arg):
        if frame.f_code.co_name == "by_object":
            lines.append((event, frame.f_lineno - frame.f_code.co_firstlineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        Reader().by_object()
    finally:
        sys.settrace(before)

    assert lines == [("call", 0), ("line", 1), ("return", 1)]
    assert inspect.getsource(Reader.by_object).strip().startswith("def by_object")
    assert pickle.loads(pickle.dumps(Reader.by_object)) is Reader.by_object


def test_classes_are_made_where_a_comparison_of_text_and_bytes_is_an_error():
    # What is looked for among the constants of a method is a text, and they may be bytes.
    program = """
from dobbin_like import Persistent, checkout

class Page(Persistent):
    def body(self):
        return self.head + b"\\n"

    def __setattr__(self, name, value):
        assert value != b"" or name != "head"
        object.__setattr__(self, name, value)

page = Page()
checkout(page)
page.head = b"x"
print(page.body().decode())
"""
    command = [sys.executable, "-bb", "-c", program]
    ended = run(command, check=True, env=python_path(), capture_output=True, text=True)
    assert ended.stdout == "x\n\n"
