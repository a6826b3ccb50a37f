"""A database as lines of JSON and back: nothing is lost, and what is wrong is told."""

from __future__ import annotations

import enum
import io
import json
import math
import re
import struct
import sys
import types
from array import array
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from dobbin_like.check import check_database, check_log
from dobbin_like.collections import BTree
from dobbin_like.database import Database, store_of
from dobbin_like.exc import SourceError
from dobbin_like.exchange.json_lines import export_json, import_json
from dobbin_like.exchange.source import Source
from dobbin_like.ids import Oid
from dobbin_like.objects.values.values import to_plain
from dobbin_like.persistent import (
    Persistent,
    PersistentDict,
    PersistentFile,
    PersistentList,
    checkout,
)
from dobbin_like.search.snapshot_scan import SnapshotScan
from dobbin_like.storage import MemoryLog
from tests.helpers.things import Thing

if TYPE_CHECKING:
    from collections.abc import Iterator


class Colour(enum.Enum):
    RED = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Money:
    amount: int
    of: Any = None
    parts: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Point:
    x: int


class Card(Thing):
    """A class that was renamed."""


class Ticket(Thing):
    """What it is called now."""


class Book(Thing):
    """Of which nothing is stored."""


def exported(database: Database, start: int | None = None) -> str:
    lines: list[str] = []
    with SnapshotScan(store_of(database)) as scan:
        export_json(Source(scan), lines.append, None if start is None else Oid(start))
    return "".join(lines)


def imported(text: str, path: Path) -> Any:
    return import_json("there.jsonl", io.BytesIO(text.encode()), str(path))


def states(database: Database) -> dict[int, Any]:
    """Return class and state of all objects, with references and stand-ins."""
    with SnapshotScan(store_of(database)) as scan:
        return {
            oid: (scan.name_of(stored), scan.state(oid, stored)) for oid, stored in scan.all(None)
        }


def without_tids(text: str) -> list[Any]:
    return [{**json.loads(line), "tid": 0} for line in text.splitlines()]


def round_trip(path: Path, *, is_ordered: bool = True, **values: Any) -> Thing:
    """Store *values*, export them, import that, and return the object that is read of it."""
    with Database(MemoryLog()) as database:
        database.set_root(Thing(**values))
        transaction.commit()
        text = exported(database)
        before = {oid: name for oid, (name, _) in states(database).items()}
    path.unlink(missing_ok=True)
    assert imported(text, path).complete
    check_log(path).raise_if_bad()
    with Database(path) as database:
        # Before anything of the application is read: only what was stored counts.
        assert {oid: name for oid, (name, _) in states(database).items()} == before
        if is_ordered:
            assert without_tids(exported(database)) == without_tids(text)
        root = database.root
        assert type(root).__name__ == "Thing"
        found = {name: getattr(root, name) for name in values}
        assert told(found, {}) == told(values, {})
        return root


KINDS = (OrderedDict, dict, deque, list, tuple, set, frozenset, UserDict, types.SimpleNamespace)


def told(value: Any, seen: dict[int, int]) -> Any:
    """Return all that counts of a value: types, contents, bits, and what is one value.

    What can't be changed, a Decimal for one, may be one value before and two after.
    """
    kind = next((each for each in (*KINDS, Money) if isinstance(value, each)), None)
    if kind is None:
        bits = struct.pack(">d", value).hex() if isinstance(value, float) else ""
        of = next(
            (each for each in (bool, int, bytearray) if isinstance(value, each)), type(value)
        )
        large = type(value) is int and value.bit_length() > 1000
        return of.__name__, bits or (hex(value) if large else repr(value))
    if kind not in (tuple, frozenset):
        if id(value) in seen:
            return "the same", seen[id(value)]
        seen[id(value)] = len(seen)
    if kind in (set, frozenset):
        return kind.__name__, sorted(repr(told(item, seen)) for item in value)
    if kind in (Money, types.SimpleNamespace):
        value = vars(value)
    if isinstance(value, (dict, UserDict)):
        return kind.__name__, [(told(k, seen), told(v, seen)) for k, v in value.items()]
    return kind.__name__, getattr(value, "maxlen", 0), [told(item, seen) for item in value]


# -- values ------------------------------------------------------------------------------

HASHABLE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(min_value=1 << 60),
        st.floats(allow_nan=False),
        st.text(),
        st.text(st.characters(categories=("Cs", "Lu"))),
        st.sampled_from(["$ref", "$", "", "$$x"]),
        st.binary(max_size=20),
        st.decimals(allow_nan=False),
        st.uuids(),
        st.datetimes(
            timezones=st.sampled_from(
                [None, UTC, timezone(timedelta(hours=1)), ZoneInfo("Europe/Rome")]
            )
        ),
        st.dates(),
        st.times(),
        st.timedeltas(),
        st.fractions(),
        st.sampled_from([Colour.RED, Right.READ, Right.READ | Right.WRITE, Point(3), Money, list]),
    ),
    lambda inner: st.one_of(
        st.tuples(inner), st.tuples(inner, inner), st.frozensets(inner, max_size=3)
    ),
    max_leaves=5,
)

VALUES = st.recursive(
    st.one_of(HASHABLE, st.floats(), st.binary(max_size=20).map(bytearray)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(HASHABLE, inner, max_size=4),
        st.dictionaries(st.text(), inner, max_size=4),
        st.sets(HASHABLE, max_size=4),
        st.lists(inner, max_size=3).map(deque),
        st.builds(Money, st.integers(), inner, st.lists(inner, max_size=2)),
        inner.map(lambda value: [value, value]),
        st.dictionaries(st.text(), inner, max_size=3).map(UserDict),
        st.dictionaries(HASHABLE, inner, max_size=3).map(OrderedDict),
        inner.map(lambda value: types.SimpleNamespace(value=value)),
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=40)
@given(value=VALUES, other=VALUES)
def test_whatever_can_be_stored_comes_back(tmp_path: Path, value: Any, other: Any) -> None:
    path = tmp_path / "new.log"
    # Sets have no order: the lines may differ.
    round_trip(path, is_ordered=False, value=value, other=other, again=[value, other])


@pytest.mark.parametrize(
    "value",
    [
        math.inf,
        -math.inf,
        -0.0,
        1 << 53,
        -(1 << 5000),
        10**5000,
        "\ud83d\ude00",
        "\ud83d",
        {"$ref": 1},
        {1: "a", "1": "b", (1, 2): None},
        {2},
        (1, (2,), ()),
        frozenset({(1, frozenset())}),
        b"\x00\xff",
        bytearray(b"a"),
        datetime(2026, 1, 31, 12, fold=1),
        datetime(2026, 1, 31, 12, tzinfo=ZoneInfo("Europe/Rome")),
        datetime(2026, 1, 31, tzinfo=UTC),
        time(1, 2, tzinfo=UTC),
        date(1, 1, 1),
        timedelta(-1, 2, 3),
        Decimal("-0E+5"),
        Decimal("sNaN12"),
        Fraction(1, 3),
        UUID(int=5),
        ip_address("::1"),
        PurePosixPath("a/b"),
        range(0, 10, 3),
        slice(1, None),
        1j,
        array("d", [1.5]),
        re.compile("a+", re.IGNORECASE),
        re.compile(b"a"),
        Ellipsis,
        Colour.RED,
        Right.READ | Right.WRITE,
        Point(1),
        Money(1, of=Point(2)),
        int,
        Money,
        [Money, Money(1)],
        deque([1, 2], 3),
        defaultdict(list, {1: [2]}),
        Counter("abca"),
        ChainMap({1: 2}, {}),
        types.SimpleNamespace(a=[1]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_comes_back_as_it_was(path: Path, value: Any) -> None:
    found = to_plain(round_trip(path, value=value).value, {})

    assert type(found) is type(value)
    if not isinstance(value, int):  # There are too many digits.
        assert repr(found) == repr(value) or found == value


def test_a_nan_keeps_its_bits(path: Path) -> None:
    (odd,) = struct.unpack(">d", bytes.fromhex("fff8000000000123"))
    root = round_trip(path, usual=math.nan, odd=odd)

    assert [struct.pack(">d", each).hex() for each in (root.usual, root.odd)] == [
        struct.pack(">d", math.nan).hex(),
        "fff8000000000123",
    ]


def test_what_is_one_value_stays_one(path: Path) -> None:
    shared = [1]
    root = round_trip(path, a=shared, b={"deep": (shared, shared)}, c=Money(1, of=shared))

    assert root.a is root.b["deep"][0] is root.b["deep"][1] is root.c.of


def test_values_may_hold_themselves(path: Path) -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    pair: tuple[Any, ...] = ([], "x")
    pair[0].append(pair)
    money = Money(1)
    money.of = {"self": money}
    money.parts = [money, (money,)]
    root = round_trip(path, ring=ring, pair=pair, money=money)

    assert root.ring[1] is root.ring
    assert root.pair[0][0] is root.pair
    assert root.money.of["self"] is root.money is root.money.parts[1][0]


def test_values_in_values_come_back_as_deep_as_they_can_be_stored(path: Path) -> None:
    deep: Any = "bottom"
    for _ in range(100):
        deep = {"a": [(deep,)]}
    limit = sys.getrecursionlimit()
    found = round_trip(path, deep=deep).deep
    for _ in range(100):
        found = found["a"][0][0]

    assert found == "bottom"
    assert sys.getrecursionlimit() == limit


@pytest.mark.slow
def test_a_value_of_100_megabytes_comes_back(path: Path) -> None:
    value = bytes(100_000_000)
    with Database(MemoryLog()) as database:
        database.set_root(Thing(value=value))
        transaction.commit()
        text = exported(database)
    imported(text, path)

    with Database(path) as database:
        assert database.root.value == value


# -- objects -----------------------------------------------------------------------------


@pytest.fixture
def graph() -> Iterator[Database]:
    with Database(MemoryLog()) as database:
        cart = Thing(name="cart")
        root = PersistentDict(cart=cart, tree=BTree({n: str(n) for n in range(300)}))
        database.set_root(root)
        checkout(cart)
        cart.shop = root
        cart.lines = PersistentList([1, cart])
        transaction.commit()
        yield database


def test_a_graph_with_cycles_and_trees_comes_back(graph: Database, path: Path) -> None:
    report = imported(exported(graph), path)

    assert (report.complete, report.objects) == (True, len(states(graph)))
    check_log(path).raise_if_bad()
    with Database(path) as database:
        root = database.root
        assert root["cart"].shop is root
        assert root["cart"].lines[1] is root["cart"]
        assert [*root["tree"].items()] == [(n, str(n)) for n in range(300)]
        assert states(database) == states(graph)


def test_changes_that_are_stored_as_deltas_are_whole(path: Path, tmp_path: Path) -> None:
    with Database(path) as database:
        database.set_root(PersistentDict({n: n for n in range(5000)}))
        transaction.commit()
        checkout(database.root)
        database.root[7] = "seven"
        transaction.commit()
        imported(exported(database), tmp_path / "new.log")
    with Database(tmp_path / "new.log") as database:
        assert database.root == {**{n: n for n in range(5000)}, 7: "seven"}


def test_a_part_of_a_graph_becomes_a_database_with_its_own_root(
    graph: Database, path: Path
) -> None:
    tree = graph.root["tree"]
    text = exported(graph, tree._p_oid)

    assert "cart" not in text
    assert imported(text, path).complete
    check_log(path).raise_if_bad()
    with Database(path) as database:
        assert isinstance(database.root, BTree)
        assert len(database.root) == 300


def test_a_part_that_leads_back_to_the_root_has_it_elsewhere(graph: Database, path: Path) -> None:
    cart = graph.root["cart"]
    assert imported(exported(graph, cart._p_oid), path).complete

    check_log(path).raise_if_bad()
    with Database(path) as database:
        assert database.root.name == "cart"
        assert database.root.shop["cart"] is database.root


def test_streams_come_back(path: Path) -> None:
    data = bytes(range(256)) * 8000
    with Database(MemoryLog()) as database:
        database.set_root(
            PersistentDict(big=PersistentFile(io.BytesIO(data)), none=PersistentFile(io.BytesIO()))
        )
        transaction.commit()
        text = exported(database)
    report = imported(text, path)

    assert (report.streams, report.complete) == (2, True)
    check_log(path).raise_if_bad()
    with Database(path) as database:
        assert database.root["big"].open().read() == data
        assert database.root["none"].open().read() == b""


def test_a_damaged_stream_is_left_out_as_a_whole(path: Path, tmp_path: Path) -> None:
    with Database(path) as database:
        file = PersistentFile(io.BytesIO(b"first-marker" * 300_000))
        database.set_root(PersistentDict(bad=file, good=PersistentFile(io.BytesIO(b"good"))))
        transaction.commit()
    data = bytearray(path.read_bytes())
    at = data.rindex(b"first-marker")
    data[at : at + 12] = bytes(12)
    path.write_bytes(data)
    with Database(path, read_only=True) as database:
        text = exported(database)
    report = imported(text, tmp_path / "new.log")

    assert len(text) < 2000
    assert (report.streams, report.problem_count, report.missing) == (1, 1, 1)
    with Database(tmp_path / "new.log") as database:
        assert database.root["good"].open().read() == b"good"


def test_names_of_classes_with_classes_in_them_are_kept(path: Path) -> None:
    class Inner(Persistent):
        __qualname__ = "Outer.Inner"

    Inner.__module__ = "__main__"
    text = (
        '{"dobbin": "export", "version": 1, "tid": 1, "start": null}\n'
        '{"oid": 0, "class": "a.b:Outer.Inner", "tid": 1, "state": {"x": 1}}\n'
        '{"end": true, "objects": 1, "damaged": 0}\n'
    )
    imported(text, path)
    with Database(path) as database:
        assert '"a.b:Outer.Inner"' in exported(database)


def test_a_database_without_objects_can_be_exported(path: Path) -> None:
    with Database(MemoryLog()) as database:
        text = exported(database)
    imported(text, path)

    with Database(path) as database:
        assert database.root is None


def test_an_index_stays_with_its_class_whatever_number_that_has(path: Path) -> None:
    with Database(MemoryLog()) as database:
        database.set_root(PersistentDict(thing=Thing(n=1), card=Card(n=1), list=PersistentList()))
        transaction.commit()
        database.index(Card, "n", unique=True)
        database.index(Book, "n")
        database.rename_class(f"{__name__}.Card", f"{__name__}.Ticket")
        before = {index.class_name: index.entries for index in database.indexes()}
        text = exported(database)
    report = imported(text, path)

    assert report.values == ()
    with Database(path) as database:
        assert {index.class_name: index.entries for index in database.indexes()} == before
        checkout(database.root)
        database.root["more"], database.root["new"] = Thing(n=1), Ticket(n=2)
        transaction.commit()
        assert [*database.find(Ticket, n=1)] == [database.root["card"]]
        assert [*database.find(Ticket, n=2)] == [database.root["new"]]
        check_database(database).raise_if_bad()


# -- bad input ----------------------------------------------------------------------------

HEAD = '{"dobbin": "export", "version": 1, "tid": 1, "start": null}\n'
END = '{"end": true, "objects": 1, "damaged": 0}\n'


def one(state: str, more: str = "") -> str:
    return f'{HEAD}{{"oid": 0, "class": "a:B", "tid": 1, "state": {state}{more}}}\n{END}'


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "cut off"),
        ("PK\x03\x04\n", 1, "an object in JSON"),
        ("[1]\n", 1, "an object in JSON"),
        ('{"dobbin": "export", "version": 2}\n', 1, '"version": 1'),
        (HEAD, 2, "cut off"),
        (HEAD + END, 2, "lines are missing"),
        (HEAD + '{"oid": -1}\n', 2, "a number from 0 on"),
        (HEAD + '{"oid": true}\n', 2, "a number from 0 on"),
        (HEAD + '{"oid": 0, "class": "B", "state": {}}\n', 2, "module:Class"),
        (one("{}").replace(END, one("{}").splitlines()[1] + "\n"), 3, "each object once"),
        (one("[]"), 2, "a key for each attribute"),
        (one('{"a": {"$ref": "x", "class": "a:B"}}'), 2, "the oid of an object"),
        (one('{"a": {"$ref": 1}}'), 2, "module:Class"),
        (one('{"a": {"$what": 1}}'), 2, "a key with $ that has a meaning"),
        (one('{"a": {"$int": "x"}}'), 2, "a value of $int"),
        (one('{"a": {"$int": 5}}'), 2, "a value of $int"),
        (one('{"a": {"$bytes": "?"}}'), 2, "a value of $bytes"),
        (one('{"a": {"$decimal": "x"}}'), 2, "a value of $decimal"),
        (one('{"a": {"$pattern": ["(", 0]}}'), 2, "a value of $pattern"),
        (one('{"a": {"$array": ["d", 1]}}'), 2, "a value of $array"),
        (one('{"a": {"$name": "exit"}}'), 2, "a value of $name"),
        (one('{"a": {"$set": [[]]}}'), 2, "what can be a key"),
        (one('{"a": {"$dict": [[[], 1]]}}'), 2, "what can be a key"),
        (one('{"a": {"$dict": [[1]]}}'), 2, "a key and a value"),
        (one('{"a": {"$tuple": 1}}'), 2, "a list in $tuple"),
        (one('{"a": {"$same": 1}}'), 2, "the $id of a value before it"),
        (one('{"a": {"$id": 1}}'), 2, "a number and $is"),
        (one('{"a": {"$value": "a:B", "how": "exec"}}'), 2, "how it is made"),
        (one('{"_p_jar": 1}'), 2, "names with _p_ are reserved"),
        (one('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"), 2, "an object in JSON"),
        (one("{}", ', "stream": "x"'), 2, "its size in bytes"),
        (one("{}", ', "stream": 3'), 3, "data of the stream"),
        (one("{}") + "\n" + one("{}"), 5, "nothing after {'end': true}"),
        (HEAD + '{"oid": 99999999, "class": "a:B", "state": {}}\n', 2, "number the objects from"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        imported(text, path)

    assert f"there.jsonl: line {line}: " in str(caught.value)
    assert words in str(caught.value)
    assert [*path.parent.iterdir()] == []


def test_an_import_runs_no_code(path: Path) -> None:
    value = '{"$value": "os:system", "how": "call", "args": ["touch /tmp/pwned"]}'
    imported(one(f'{{"a": {value}}}'), path)

    with Database(path) as database:
        assert "os:system" in exported(database)


def test_a_damaged_object_is_a_line_that_says_so(graph: Database, path: Path) -> None:
    text = exported(graph)
    lines = text.splitlines(keepends=True)
    lines[2] = '{"oid": 1, "damaged": "at 5: a hole, expected a state"}\n'
    lines[-1] = f'{{"end": true, "objects": {len(lines) - 3}, "damaged": 1}}\n'
    report = imported("".join(lines), path)

    assert not report.complete
    assert report.problems == ("oid 1: at 5: a hole, expected a state",)
    assert report.missing == 1
    assert "1 object referred to, but not there" in str(report)
