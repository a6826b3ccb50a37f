"""Bytes that somebody has made to do harm: refused, or read as what is harmless in them."""

from __future__ import annotations

import builtins
import collections
import copyreg
import dataclasses
import datetime
import fractions
import os
import pickle
import pickletools
import struct
import sys
import tracemalloc
import uuid
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import transaction
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like import Database, Persistent, PersistentDict, checkout
from dobbin_like.check import check_log
from dobbin_like.exc import Error, IntegrityError, NotStorableError, UnloadedClassError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import TransactionLog
from dobbin_like.objects.codec.instructions import as_file, may_put
from dobbin_like.objects.codec.references import references
from tests.helpers.things import Thing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = (
    "array.array builtins.bytearray builtins.bytes builtins.float builtins.frozenset "
    "builtins.int builtins.list builtins.range builtins.set builtins.str builtins.tuple "
    "collections.Counter collections.UserList collections.deque decimal.Decimal "
    "fractions.Fraction os.system uuid.UUID "
    "tests.test_safe_to_open.Loud tests.test_safe_to_open.Money tests.test_safe_to_open.User"
).split()
NUMBERS = {name: 100 + place for place, name in enumerate(NAMES)}
called: list[Any] = []


@dataclasses.dataclass
class Money:
    amount: int = 0


@dataclasses.dataclass
class Loud:
    def __setstate__(self, state: Any) -> None:
        called.append(state)


class User(Persistent):
    is_admin = False

    def __init__(self, *arguments: Any) -> None:
        called.append(arguments)


Point = collections.namedtuple("Point", "x y")


# -- the instructions of pickle, written by hand -----------------------------------------------


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def cls(name: str) -> bytes:
    """A class, or a function, as a state names it."""
    short = {key.rpartition(".")[2]: value for key, value in NUMBERS.items()}
    return number(short[name]) + b"Q"


def call(name: str, *arguments: bytes) -> bytes:
    return cls(name) + b"(" + b"".join(arguments) + b"tR"


def new(name: str, *arguments: bytes) -> bytes:
    return cls(name) + b"(" + b"".join(arguments) + b"t\x81"


def build(target: bytes, **attributes: int) -> bytes:
    """Set attributes of what *target* makes, past its __dict__."""
    pairs = b"".join(text(name) + number(value) for name, value in attributes.items())
    return target + b"N}(" + pairs + b"u\x86b"


def state(value: bytes) -> bytes:
    return b"\x80\x05}" + text("x") + value + b"s."


MUCH = call("range", number(2**31 - 1))
OTHER = number(1) + number(NUMBERS["tests.test_safe_to_open.User"]) + b"\x86Q"
EVIL = text("touch /tmp/was-run")

REFUSED = {
    # A global name, however it is written.
    "GLOBAL": b"cos\nsystem\n" + EVIL + b"\x85R",
    "STACK_GLOBAL": text("os") + text("system") + b"\x93" + EVIL + b"\x85R",
    "INST": b"(" + EVIL + b"ios\nsystem\n",
    "builtins.eval": b"cbuiltins\neval\n" + text("1+1") + b"\x85R",
    "getattr": b"cbuiltins\ngetattr\n" + cls("Money") + text("x") + b"\x86R",
    "a helper by another way": b"carray\n_array_reconstructor.__self__\n",
    "__reduce__ of copyreg": b"ccopyreg\n_reconstructor\n" + cls("Money") + b"\x85R",
    "in what is an argument": call("Fraction", call("Decimal", b"cos\nsystem\nEVIL\x85R")),
    # A class is changed for the whole program.
    "BUILD on a dataclass": build(cls("Money"), amount=5),
    "BUILD on a persistent class": build(cls("User"), is_admin=1),
    "BUILD on a class of the standard library": build(cls("UUID"), int=5),
    "BUILD on a function": build(cls("system"), x=5)[:-1] + b"b0" + build(cls("Money"), a=1),
    "BUILD on a class that was memoized": cls("Money") + b"\x940" + build(b"h\x00", amount=5),
    "__setstate__ of a class": cls("Loud") + b"}b",
    "the __dict__ of a class": cls("Money") + b"}" + text("amount") + number(5) + b"sb",
    "an item of a class": cls("Money") + number(1) + number(2) + b"s",
    # Numbers and persistent ids that nobody has given out.
    "extension code": b"\x82\x01",
    "extension code 0": b"\x84\x00\x00\x00\x00",
    "text as a persistent id": b"P5\n",
    "a class number of text": text("abc") + b"Q",
    "a frozenset as a persistent id": b"(K\x01K\x02K\x03\x91Q",
    "an empty persistent id": b")Q",
    "a list as a persistent id": b"]Q",
    "no persistent id": b"NQ",
    "negative numbers": number(-5) + number(-5) + b"\x86Q",
    "numbers of another log": number(5) + number(777_777) + b"\x86Q",
    "a class of another log": number(777_777) + b"Q",
    "a large number": b"\x8a\x09" + b"\xff" * 8 + b"\x00Q",
    # Lengths and places that are not true.
    "a length of bytes": b"\x8e" + struct.pack("<Q", 2**62),
    "a length of a text": b"\x8d" + struct.pack("<Q", 2**62),
    "a length of a bytearray": b"\x96" + struct.pack("<Q", 2**62),
    "a length of a number": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "a negative length": b"\x8b" + struct.pack("<i", -1),
    "a length of a frame": b"\x95" + struct.pack("<Q", 3) + text("abc"),
    "a place in the memo": b"h\x63",
    "a place in the memo, as text": b"g-1\n",
    "a place in the memo that is not there yet": b"]j" + struct.pack("<I", 2**32 - 1),
    "a buffer from outside": b"\x97",
    "nothing on the stack": b"000000",
    "no mark": b"t",
    "not an instruction": b"\xff",
    "another protocol": b"\x80\x63",
}

FAR = b"r" + struct.pack("<I", 2**32 - 1)
MEMO = {
    "a place of 64 GiB": b"]" + FAR,
    "the same as text": b"]p4294967295\n",
    "the same in other ways": b"]p 42_94967295 \n",
    "after a text": text("number") + FAR,
    "after what looks like a text": b"K\x8c]" + FAR,
    "after a long text": b"X\x00\x01\x00\x00" + b"pr" * 128 + FAR,
    "after a text of other letters": b"\x8c\x64" + b"pr" * 50 + FAR,
    "after bytes": b"C\x03abc" + FAR,
    "after an instruction of the first protocol": b"I5\n" + FAR,
    "after what is thrown away": b"]0" * 99 + b"]" + FAR,
}

STANDS_IN = {
    "a function that is not allowed": call("system", EVIL),
    "an object of it": b"(" + cls("system") + EVIL + b"o",
    "a persistent object": call("User", EVIL),
    "a persistent object by __new__": new("User"),
    "two GiB of zeros": call("bytearray", number(2**31 - 1)),
    "two GiB of bytes": call("bytes", number(2**31 - 1)),
    "a list of a range": call("list", MUCH),
    "a tuple of a range": new("tuple", MUCH),
    "a deque of a range": call("deque", MUCH),
    "a Counter of a range": call("Counter", MUCH),
    "a UserList of a range": call("UserList", MUCH),
    "an array of a range": call("array", text("Q"), MUCH),
    "10 ** 999999999": call("Fraction", text("1e999999999")),
    "the same of a Decimal": call("Fraction", call("Decimal", text("1E999999999"))),
    "the same as an int": call("int", call("Decimal", text("1e999999999"))),
    "the text of something": call("str", b"]"),
    "the attributes of a dict": b"}}" + text("n") + number(5) + b"sb",
}


@pytest.fixture
def forged(path: Path) -> Callable[[bytes], Path]:
    """Write bytes as the state of the root to a log, in which it also refers to a user."""

    def write(data: bytes) -> Path:
        with Database(path, sync=False) as database:
            database.set_root(Thing(x=User()))
            transaction.commit()
            names = database.storage.names
            root = names.class_number("tests.helpers.things", "Thing")
        with TransactionLog(path, sync=False) as log:
            log.acquire()
            log.apply(log.read_news())
            classes = [(NUMBERS[name], *name.rsplit(".", 1)) for name in NAMES]
            log.apply([log.append(Tid(log.tid + 1), [(Oid(0), root, data)], classes)])
            log.release()
        called.clear()
        return path

    return write


def contents() -> list[dict[str, Any]]:
    """What is in the classes, but for what pickle notes there."""
    classes = Loud, Money, User, uuid.UUID
    return [{k: v for k, v in vars(c).items() if k != "__slotnames__"} for c in classes]


@pytest.fixture(autouse=True)
def _nothing_is_changed_or_run():
    before = contents()
    yield
    assert contents() == before
    assert not called
    assert not os.path.exists("/tmp/was-run")  # noqa: PTH110


@pytest.mark.parametrize("name", REFUSED)
def test_a_state_that_was_forged_is_refused_with_a_documented_error(forged, name):
    with Database(forged(state(REFUSED[name]))) as database:
        with pytest.raises(Error) as e:
            database.root.x  # noqa: B018
        assert isinstance(e.value, (IntegrityError, UnloadedClassError))
        transaction.abort()


@pytest.mark.parametrize("name", MEMO)
def test_a_state_does_not_take_memory_for_places_that_it_does_not_need(forged, name):
    with Database(forged(state(MEMO[name]))) as database:
        # As code is compiled and modules are imported where that is needed first.
        database.root  # noqa: B018
        check_log(database.storage.path)
        tracemalloc.start()
        try:
            if sys.version_info < (3, 15):  # Later ones take no memory for it.
                with pytest.raises(IntegrityError, match="memo"):
                    database.root.x  # noqa: B018
            else:
                with suppress(Error):
                    database.root.x  # noqa: B018
            assert tracemalloc.get_traced_memory()[1] < 1 << 24
        finally:
            tracemalloc.stop()
        transaction.abort()


def test_no_instruction_hides_another():
    """A look at the bytes finds the end of each instruction where pickle finds it."""
    samples = {
        "uint1": b"p", "uint2": b"pr", "int4": b"prpr", "uint4": b"prpr", "uint8": b"\0" * 8,
        "long1": b"\x01p", "long4": b"\x01\0\0\0r", "float8": b"prprprpr",
        "string1": b"\x02pr", "string4": b"\x02\0\0\0pr", "bytes1": b"\x02pr",
        "bytes4": b"\x02\0\0\0pr", "bytes8": b"\x02" + b"\0" * 7 + b"pr",
        "bytearray8": b"\x02" + b"\0" * 7 + b"pr", "unicodestring1": b"\x02pr",
        "unicodestring4": b"\x02\0\0\0pr", "unicodestring8": b"\x02" + b"\0" * 7 + b"pr",
    }  # fmt: skip
    harmless = 0
    for opcode in pickletools.opcodes:
        argument = samples.get(opcode.arg.name) if opcode.arg is not None else b""
        if argument is None or opcode.name in ("PUT", "LONG_BINPUT", "STOP"):
            continue  # A line of text: looked at one by one.
        one = opcode.code.encode("latin-1") + argument
        assert may_put(one * 3) == opcode.name.startswith("EXT"), opcode.name
        assert may_put(one + b"]" + FAR), opcode.name
        harmless += 1
    assert harmless > 50


@given(
    st.recursive(st.text() | st.binary() | st.integers() | st.floats(), st.lists),
    st.integers(0, 5),
)
def test_what_pickle_writes_is_taken(value, protocol):
    data = pickle.dumps(value, protocol)

    assert as_file(data).read() == data


@pytest.mark.parametrize("name", STANDS_IN)
def test_a_value_that_no_state_makes_is_not_made(forged, name):
    with Database(forged(state(STANDS_IN[name]))) as database:
        assert "stand-in for" in repr(database.root.x)
        with pytest.raises(UnloadedClassError):
            len(database.root.x)


@pytest.mark.parametrize("name", [*REFUSED, *MEMO, *STANDS_IN])
def test_tools_read_a_forged_state_without_harm(forged, name):
    report = check_log(forged(state({**REFUSED, **MEMO, **STANDS_IN}[name])))

    assert report is not None
    with suppress(Exception):  # Its caller tells that the bytes are no state.
        references(state({**REFUSED, **MEMO, **STANDS_IN}[name]))


@pytest.mark.parametrize(
    "change", [build(OTHER, name=5), OTHER + b"}" + text("name") + number(5) + b"sb"]
)
def test_another_object_is_not_changed_by_the_state_of_one(forged, change):
    with Database(forged(state(b"0" + change + OTHER)[:-2] + b"\x860" + b"N.")) as database:
        with pytest.raises(Error):
            database.root.x  # noqa: B018
        [user] = database.instances(User)
        assert not hasattr(user, "name")
        transaction.abort()


def test_a_registered_extension_code_is_refused_though_others_have_used_it(forged):
    copyreg.add_extension("os", "system", 77)
    try:
        assert pickle.loads(b"\x80\x02\x82\x4d.") is os.system  # It is cached from now on.
        with Database(forged(state(b"\x82\x4d" + EVIL + b"\x85R"))) as database:
            with pytest.raises(IntegrityError, match="extension code"):
                database.root.x  # noqa: B018
            transaction.abort()
    finally:
        copyreg.remove_extension("os", "system", 77)
        copyreg.clear_extension_cache()


# -- what honest programs store ------------------------------------------------------------------


def test_classes_that_are_values_come_back_as_themselves(database, again):
    values = [
        *(list, Money, User, uuid.UUID, collections.deque),
        collections.defaultdict(list, a=[1]),
        {Money: [Money(1), Money]},
        Money(amount=fractions.Fraction),  # type: ignore[arg-type]
    ]
    database.set_root(Thing(x=values, array=array("d", [1.5])))
    transaction.commit()

    root = again().root
    assert root.x == values
    assert root.x[5].default_factory is list
    assert root.array == array("d", [1.5])
    checkout(root)
    root.x[5]["b"].append(1)


def test_values_of_the_standard_library_are_made_of_what_they_are_written_as(database, again):
    values = [
        *(collections.Counter("abca"), collections.deque([1, 2], 5), fractions.Fraction(-1, 3)),
        *(collections.OrderedDict(b=1, a=2), collections.UserList([1]), uuid.UUID(int=5)),
        *(collections.UserString("a"), range(10**9), bytearray(5), datetime.timedelta(5)),
        *(frozenset([1]), array("i", range(3)), collections.ChainMap({1: 2}), complex(1, 2)),
    ]
    database.set_root(PersistentDict(x=values))
    transaction.commit()

    found = again().root["x"]
    assert found == values
    assert all(map(isinstance, found[:8], map(type, values)))  # Some are guarded.


def test_named_tuples_are_stored_if_they_are_allowed_by_kind(database, again):
    database.set_root(PersistentDict(x=Point(1, 2)))
    with pytest.raises(NotStorableError, match=r"allow=\['namedtuple'\]"):
        transaction.commit()
    transaction.abort()

    other = again(allow=["namedtuple"])
    other.set_root(PersistentDict(x=Point(1, 2)))
    other.transaction_manager.commit()

    assert again(allow=["namedtuple"]).root["x"] == Point(1, 2)
    assert type(again(allow=["namedtuple"]).root["x"]) is Point
    assert "stand-in" in repr(again().root["x"])


def test_arrays_of_numpy_are_stored_if_it_is_allowed(again):
    numpy = pytest.importorskip("numpy")
    values = [
        *(numpy.arange(6).reshape(2, 3), numpy.ones(4)[::2], numpy.asfortranarray(numpy.eye(3))),
        *(numpy.array(["a", None], dtype=object), numpy.float64(1.5), numpy.dtype("f8")),
        *(numpy.datetime64("2020-01-01"), numpy.ma.array([1, 2], mask=[0, 1])),
        numpy.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    ]
    database = again(allow=["numpy"])
    database.set_root(PersistentDict(x=values))
    database.transaction_manager.commit()

    for value, found in zip(values, again(allow=["numpy"]).root["x"], strict=True):
        assert type(found) is type(value)
        assert numpy.array_equal(found, value)
    assert "stand-in" in repr(again().root["x"][0])


def test_models_of_pydantic_are_stored_if_they_are_allowed(again, monkeypatch):
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        name: str
        tags: tuple[str, ...] = ()

    Model.__qualname__ = "Model"
    monkeypatch.setitem(globals(), "Model", Model)
    database = again(allow=["pydantic"])
    database.set_root(PersistentDict(x=Model(name="a", tags=("b",))))
    database.transaction_manager.commit()

    assert again(allow=["pydantic"]).root["x"] == Model(name="a", tags=("b",))
    assert "stand-in" in repr(again().root["x"])


@pytest.mark.skipif(not hasattr(builtins, "sentinel"), reason="Python 3.15 has brought them")
def test_frozen_dicts_and_sentinels_are_values(database, again, monkeypatch):
    missing = builtins.sentinel("MISSING")
    monkeypatch.setitem(globals(), "MISSING", missing)
    frozen = builtins.frozendict(a=[1], b=missing)
    database.set_root(PersistentDict(x=frozen, y=[missing], z={frozen["b"]: 1}))
    transaction.commit()

    root = again().root
    assert root["x"] == frozen
    assert type(root["x"]) is builtins.frozendict
    assert root["y"][0] is missing
    assert root["z"] == {missing: 1}
