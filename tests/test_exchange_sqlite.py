"""A database as tables of SQLite: what is in them, and that they follow what is committed."""

from __future__ import annotations

import enum
import fcntl
import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from dobbin_like import cli
from dobbin_like.collections import BTree, BTreeSet
from dobbin_like.database import Database
from dobbin_like.exc import CopyError
from dobbin_like.exchange.source import Versions
from dobbin_like.exchange.sqlite import mirror, tables
from dobbin_like.persistent import (
    Persistent,
    PersistentDict,
    PersistentList,
    PersistentSet,
    checkout,
)
from dobbin_like.storage import TransactionLog
from dobbin_like.upkeep.restore import restore
from tests.helpers import processes
from tests.helpers.things import Thing


class Colour(enum.Enum):
    RED = 1


@dataclass
class Money:
    amount: int
    of: Any = None


class Cart(Persistent):
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Basket(Cart):
    pass


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with Database(path) as database:
        database.set_root(PersistentDict())
        transaction.commit()
        yield database


def put(database: Database, **values: Any) -> None:
    checkout(database.root)
    database.root.update(values)
    transaction.commit()


def export(database: Database, file: Path) -> mirror.MirrorReport:
    """Make the file, or bring it up to date."""
    with TransactionLog(database.storage.path, read_only=True) as storage:
        if not file.exists():
            return mirror.make(storage, str(file))
        with mirror.opened(storage, str(file)) as there:
            there.catch_up()
            return there.report()


def rows(file: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()


def content(file: Path) -> dict[str, Any]:
    """Return all that is in a file, but for the order of rows, columns and tables."""
    found: dict[str, Any] = {}
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.row_factory = sqlite3.Row
        names = dict(connection.execute("SELECT id, name FROM dobbin_classes"))
        objects = connection.execute("SELECT * FROM dobbin_objects")
        found["objects"] = sorted((row["oid"], names[row["class"]], row["tid"]) for row in objects)
        for table in ("dobbin_items", "dobbin_links", "dobbin_damaged"):
            parts = map(tuple, connection.execute(f"SELECT * FROM {table}"))
            found[table] = sorted(parts, key=repr)
        for name, table in connection.execute('SELECT name, "table" FROM dobbin_classes'):
            parts = connection.execute(f"SELECT * FROM {tables.quoted(table)}")
            found[name] = sorted(
                (
                    sorted((key, row[key]) for key in row.keys() if row[key] is not None)  # noqa: SIM118
                    for row in parts
                ),
                key=repr,
            )
        found["tid"] = connection.execute(
            "SELECT value FROM dobbin_state WHERE name = 'tid'"
        ).fetchone()[0]
    return found


def assert_as_made_anew(database: Database, file: Path) -> None:
    anew = file.with_name("anew.sqlite")
    anew.unlink(missing_ok=True)
    export(database, anew)
    assert content(file) == {**content(anew), **_empty(file, anew)}


def _empty(file: Path, anew: Path) -> dict[str, Any]:
    """Classes of which there is no object any more."""
    return {name: [] for name in content(file).keys() - content(anew).keys()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shop.sqlite"


# -- what is in the tables ---------------------------------------------------------------


def test_each_class_is_a_table_and_each_attribute_a_column(database: Database, file: Path) -> None:
    friend = Cart(name="friend", size=1)
    put(
        database,
        a=Cart(
            name="a",
            size=5,
            price=1.5,
            paid=True,
            data=b"x",
            none=None,
            when=datetime(2026, 1, 31, tzinfo=UTC),
            cost=Decimal("1.10"),
            colour=Colour.RED,
            friend=friend,
            tags=("a", 1),
            money=Money(3),
        ),
    )
    report = export(database, file)

    assert (report.objects, report.damaged) == (3, 0)
    columns = 'name, size, price, paid, data, "when", cost, colour, tags'
    assert rows(file, f"SELECT {columns} FROM Cart WHERE name = 'a'") == [
        ("a", 5, 1.5, 1, b"x", "2026-01-31T00:00:00+00:00", "1.10", "RED", '{"$tuple": ["a", 1]}')
    ]
    (money,) = rows(file, "SELECT money FROM Cart WHERE name = 'a'")
    assert json.loads(money[0])["state"] == {"amount": 3, "of": None}
    assert rows(
        file, "SELECT f.name FROM Cart c JOIN Cart f ON f.oid = c.friend WHERE c.name = 'a'"
    ) == [("friend",)]
    declared = {row[1]: row[2] for row in rows(file, "PRAGMA table_info(Cart)")}
    assert (declared["name"], declared["size"], declared["price"]) == ("TEXT", "INTEGER", "REAL")
    assert [row[2:5] for row in rows(file, "PRAGMA foreign_key_list(Cart)")] == [
        ("Cart", "friend", "oid"),
        ("dobbin_objects", "oid", "oid"),
    ]
    assert content(file)["objects"]


def test_items_of_collections_are_rows(database: Database, file: Path) -> None:
    cart = Cart(name="x")
    put(
        database,
        numbers={1: 2},
        list=PersistentList(["a", cart]),
        set=PersistentSet(["m"]),
        tree=BTree(dict.fromkeys(range(300), cart)),
        sorted=BTreeSet(["s"]),
        dict=PersistentDict({1: "int", "1": "text", None: "none", (1,): "tuple", cart: "cart"}),
    )
    export(database, file)
    oid = {name: getattr(value, "_p_oid", None) for name, value in database.root.items()}
    query = (
        "SELECT place, key, value, target FROM dobbin_items WHERE owner = {} ORDER BY place, key"
    )

    assert rows(file, query.format(oid["list"])) == [
        (0, None, "a", None),
        (1, None, None, cart._p_oid),
    ]
    assert rows(file, query.format(oid["set"])) == [(None, None, "m", None)]
    assert rows(file, query.format(oid["sorted"])) == [(None, "s", None, None)]
    assert rows(file, query.format(oid["tree"])) == [
        (None, n, None, cart._p_oid) for n in range(300)
    ]
    found = {key: value for _, key, value, _ in rows(file, query.format(oid["dict"]))}
    reference = f'{{"$ref": {cart._p_oid}, "class": "{__name__}:Cart"}}'
    assert found == {
        1: "int",
        "1": "text",
        "null": "none",
        '{"$tuple": [1]}': "tuple",
        reference: "cart",
    }
    root = "SELECT c.name FROM dobbin_items i JOIN Cart c ON c.oid = i.target WHERE owner = {}"
    assert len(rows(file, root.format(oid["tree"]))) == 300


def test_references_inside_values_are_links(database: Database, file: Path) -> None:
    other = Cart(name="other")
    put(database, a=Cart(lines=[{"of": other}], money=Money(1, of=other)))
    export(database, file)
    oid = database.root["a"]._p_oid

    assert sorted(rows(file, "SELECT * FROM dobbin_links")) == [
        (oid, ".lines[0]['of']", other._p_oid),
        (oid, ".money.of", other._p_oid),
    ]


@pytest.mark.parametrize(
    "values",
    [
        [1, 2.5, 1 << 60, True],
        [1, "1", b"1", 2.0],
        ["5", 5],
        [2.5, "2.5"],
        [1 << 70, 1, -(1 << 63), (1 << 63) - 1],
        ["\ud83d", "ü", "\0", ""],
        [float("inf"), 1.0],
    ],
    ids=str,
)
def test_a_column_keeps_values_of_all_types(
    database: Database, file: Path, values: list[Any]
) -> None:
    put(database, carts=PersistentList([Cart(value=value) for value in values]))
    export(database, file)
    expected = []
    for value in values:
        large = isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
        text = value.encode("utf-8", "backslashreplace").decode() if value == "\ud83d" else value
        expected.append(f'{{"$int": "{value}"}}' if large else text)

    found = [value for (value,) in rows(file, "SELECT value FROM Cart ORDER BY oid")]
    assert found == expected
    # SQLite has no truth values; whole numbers beside others may have either type.
    assert [type(value) is str for value in found] == [type(each) is str for each in expected]


def test_not_a_number_is_null(database: Database, file: Path) -> None:
    put(database, a=Cart(value=float("nan")))
    export(database, file)

    assert rows(file, "SELECT value FROM Cart") == [(None,)]


def test_references_to_several_classes_and_numbers_can_be_told_apart(
    database: Database, file: Path
) -> None:
    cart, basket = Cart(n=1), Basket(n=1)
    put(database, a=Thing(to=cart), b=Thing(to=basket))
    export(database, file)
    assert rows(file, 'SELECT "to" FROM Thing ORDER BY oid') == [(cart._p_oid,), (basket._p_oid,)]
    assert [row[2] for row in rows(file, "PRAGMA foreign_key_list(Thing)")] == [
        "dobbin_objects",
        "dobbin_objects",
    ]

    put(database, c=Thing(to=7))
    export(database, file)

    assert rows(file, 'SELECT "to" FROM Thing ORDER BY oid') == [
        (f'{{"$ref": {cart._p_oid}}}',),
        (f'{{"$ref": {basket._p_oid}}}',),
        (7,),
    ]
    assert [target for _, _, target in rows(file, "SELECT * FROM dobbin_links")] == [
        cart._p_oid,
        basket._p_oid,
    ]
    assert_as_made_anew(database, file)


def test_names_that_sqlite_takes_for_one_are_told_apart(database: Database, file: Path) -> None:
    put(
        database,
        a=Cart(Name=1, name=2, oid=3, **{"select": 4, 'quo"te': 5, "ün\0i": 6, "": 7}),
    )
    export(database, file)

    assert rows(
        file, 'SELECT Name, name_2, oid_2, "select", "quo""te", "ün_i", "_" FROM Cart'
    ) == [(1, 2, 3, 4, 5, 6, 7)]
    assert ("oid", "oid_2") in rows(file, 'SELECT attribute, "column" FROM dobbin_columns')


def test_classes_of_one_name_have_tables_of_their_own(database: Database, file: Path) -> None:
    twin = type("cart", (Persistent,), {"__module__": "tests.twins"})
    module = sys.modules.setdefault("tests.twins", type(sys)("tests.twins"))
    module.cart = twin  # type: ignore[attr-defined]
    put(database, a=Cart(n=1), b=twin())
    export(database, file)

    assert dict(rows(file, 'SELECT name, "table" FROM dobbin_classes')) == {
        "dobbin_like.persistent:PersistentDict": "PersistentDict",
        f"{__name__}:Cart": "Cart",
        "tests.twins:cart": "tests.twins.cart",
    }


def test_attributes_beyond_what_a_table_has_are_items(
    database: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_MOST", 2)
    put(database, a=Cart(a=1, b=2, c=3))
    export(database, file)

    assert rows(file, "SELECT a, b FROM Cart") == [(1, 2)]
    oid = database.root["a"]._p_oid
    assert rows(file, f"SELECT key, value FROM dobbin_items WHERE oid = {oid}") == [(".c", 3)]


# -- what is new ---------------------------------------------------------------------------


def test_changes_are_applied(database: Database, file: Path) -> None:
    big = PersistentDict({n: n for n in range(3000)})
    put(database, big=big, list=PersistentList(range(3000)), set=PersistentSet(range(3000)))
    put(database, a=Cart(n=1), b=Cart(n=2))
    export(database, file)

    checkout(big)
    big[7] = database.root["a"]
    del big[8]
    big["new"] = {"deep": database.root["a"]}
    for name in ("list", "set", "a"):
        checkout(database.root[name])
    database.root["list"].append("x")
    database.root["set"].add("x")
    database.root["set"].discard(5)
    database.root["a"].n = "one"
    transaction.commit()
    checkout(big)
    big[9] = "nine"
    transaction.commit()
    report = export(database, file)

    assert report.transactions == 2
    assert report.tid == database.tid
    assert_as_made_anew(database, file)


def test_a_failed_transaction_changes_nothing_but_the_tid(database: Database, file: Path) -> None:
    export(database, file)
    with database.storage as storage:
        storage.acquire()
        storage.fail(storage.tid + 1, "no", oids=[0])
        storage.apply(storage.read_news())
        storage.release()
        with (
            TransactionLog(storage.path, read_only=True) as other,
            mirror.opened(other, str(file)) as there,
        ):
            there.catch_up()
            assert there.tid == other.tid


def test_what_a_pack_has_dropped_goes(database: Database, file: Path) -> None:
    put(database, a=Cart(n=1), b=Cart(n=2))
    export(database, file)
    checkout(database.root)
    del database.root["a"]
    transaction.commit()
    export(database, file)
    assert len(rows(file, "SELECT * FROM Cart")) == 2
    database.pack()
    put(database, c=1)
    export(database, file)

    assert rows(file, "SELECT n FROM Cart") == [(2,)]
    assert_as_made_anew(database, file)


def test_what_was_packed_before_it_was_seen_is_made_anew(database: Database, file: Path) -> None:
    put(database, a=Cart(n=1))
    export(database, file)
    for n in range(3):
        put(database, a=Cart(n=n))
    database.pack()
    put(database, b=1)
    export(database, file)

    assert rows(file, "SELECT n FROM Cart") == [(2,)]
    assert_as_made_anew(database, file)


def test_a_class_that_is_renamed_is_another_table(database: Database, file: Path) -> None:
    put(database, a=Cart(n=1))
    export(database, file)
    database.rename_class(Cart, Basket)
    export(database, file)

    assert rows(file, "SELECT n FROM Basket") == [(1,)]
    assert_as_made_anew(database, file)


def test_a_log_that_was_restored_is_made_anew(
    path: Path, database: Database, file: Path, tmp_path: Path
) -> None:
    put(database, a=1)
    database.backup(tmp_path / "backup")
    put(database, a=2)
    export(database, file)
    database.close()
    restore(str(tmp_path / "backup"), str(path))
    with Database(path) as again:
        export(again, file)
        assert rows(file, "SELECT value FROM dobbin_items") == [(1,)]
        assert_as_made_anew(again, file)


def test_the_file_of_another_database_is_refused(
    database: Database, file: Path, tmp_path: Path
) -> None:
    export(database, file)
    with Database(tmp_path / "other.log") as other:
        other.set_root(PersistentDict())
        transaction.commit()
        before = file.read_bytes()
        with pytest.raises(CopyError, match=r"of another database than .*other\.log"):
            export(other, file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("content", [b"mine", b"SQLite format 3\0", None])
def test_a_foreign_file_is_refused(
    capsys: pytest.CaptureFixture[str], database: Database, file: Path, content: bytes | None
) -> None:
    if content is None:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE mine (a)")
    else:
        file.write_bytes(content)
    before = file.read_bytes()
    code = cli.run(["export", database.storage.path, "--to", "sqlite", str(file)])

    assert code == 2
    assert "no file that dobbin export has written" in capsys.readouterr().err
    assert file.read_bytes() == before


VALUES = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=3),
    st.floats(allow_nan=False),
    st.lists(st.integers(), max_size=2),
)
# A column that had a number once tells references from numbers for ever, and one anew does not.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["A", "B", "C"]),
        st.one_of(
            st.tuples(st.sampled_from(["x", "X", "y", "_items"]), VALUES),
            st.tuples(st.just("to"), st.sampled_from(["A", "B", None])),
        ),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.slow
@settings(max_examples=12)
@given(steps=STEPS, every=st.integers(1, 4))
def test_to_follow_is_the_same_as_to_make_anew(
    path: Path, tmp_path: Path, steps: list[tuple[str, tuple[str, Any]]], every: int
) -> None:
    path.unlink(missing_ok=True)
    file = tmp_path / "follows.sqlite"
    file.unlink(missing_ok=True)
    with Database(path) as database:
        carts: dict[str, Any] = {"A": Cart(), "B": Basket(), "C": PersistentDict()}
        database.set_root(PersistentDict(carts))
        transaction.commit()
        export(database, file)
        for number, (name, (attribute, value)) in enumerate(steps):
            if attribute == "to":
                value = value and carts[value]  # noqa: PLW2901
            checkout(carts[name])
            if name == "C":
                carts[name][attribute] = value
            else:
                setattr(carts[name], attribute, value)
            transaction.commit()
            if not number % every:
                export(database, file)
        export(database, file)
        assert_as_made_anew(database, file)


# -- damage, kills, and other processes ------------------------------------------------------


def test_what_is_damaged_is_told_and_the_rest_is_there(path: Path, file: Path) -> None:
    with Database(path) as database:
        database.set_root(PersistentDict(a=Cart(name="first-marker"), b=Cart(name="second")))
        transaction.commit()
    data = path.read_bytes()
    path.write_bytes(data.replace(b"first-marker", bytes(12)))

    assert cli.run(["export", str(path), "--to", "sqlite", str(file)]) == 1
    assert rows(file, "SELECT name FROM Cart") == [("second",)]
    ((oid, reason),) = rows(file, "SELECT oid, reason FROM dobbin_damaged")
    assert (oid, "expected" in reason) == (1, True)


def test_what_is_damaged_does_not_hinder_an_export_of_the_past(path: Path, file: Path) -> None:
    with Database(path) as database:
        database.set_root(PersistentDict(a=Cart(name="first-marker"), b=Cart(name="second")))
        transaction.commit()
        tid = database.tid
        put(database, c=1)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"first-marker", bytes(12)))

    assert cli.run(["export", str(path), "--to", "sqlite", str(file), "--at", str(tid)]) == 1
    assert rows(file, "SELECT name FROM Cart") == [("second",)]
    assert cli.run(["export", str(path), "--to", "sqlite", str(file)]) == 1
    assert rows(file, "SELECT value FROM dobbin_items WHERE key = 'c'") == [(1,)]


def test_what_is_damaged_later_keeps_its_rows(path: Path, file: Path) -> None:
    with Database(path) as database:
        cart = Cart(name="before")
        database.set_root(PersistentDict(a=cart))
        transaction.commit()
        export(database, file)
        checkout(cart)
        cart.name = "second-marker"
        transaction.commit()
    data = path.read_bytes()
    path.write_bytes(data.replace(b"second-marker", bytes(13)))
    assert cli.run(["export", str(path), "--to", "sqlite", str(file)]) == 1
    assert rows(file, "SELECT name FROM Cart") == [("before",)]
    assert len(rows(file, "SELECT * FROM dobbin_damaged")) == 1

    path.write_bytes(data)
    with Database(path) as database:
        checkout(database.root["a"])
        database.root["a"].name = "after"
        transaction.commit()
        export(database, file)
        assert rows(file, "SELECT name FROM Cart") == [("after",)]
        assert_as_made_anew(database, file)


def test_the_state_of_the_past_can_be_exported_and_then_go_on(
    database: Database, file: Path
) -> None:
    put(database, a=1)
    tid = database.tid
    put(database, a=2)
    path = database.storage.path

    assert cli.run(["export", path, "--to", "sqlite", str(file), "--at", str(tid)]) == 0
    assert rows(file, "SELECT value FROM dobbin_items") == [(1,)]
    assert cli.run(["export", path, "--to", "sqlite", str(file)]) == 0
    assert rows(file, "SELECT value FROM dobbin_items") == [(2,)]
    assert_as_made_anew(database, file)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--follow",), "--follow is for sqlite"),
        (("0", "--to", "sqlite", "FILE"), "sqlite has all objects"),
        (("--to", "sqlite", "FILE", "--follow", "--at", "now"), "--follow no end"),
    ],
)
def test_what_can_not_go_together_is_told(
    capsys: pytest.CaptureFixture[str],
    database: Database,
    file: Path,
    args: tuple[str, ...],
    text: str,
) -> None:
    call = [str(file) if arg == "FILE" else arg for arg in args]

    assert cli.run(["export", database.storage.path, *call]) == 2
    assert text in capsys.readouterr().err
    assert not file.exists()


def test_names_with_halves_of_characters_are_taken(database: Database, file: Path) -> None:
    odd = "a\ud800"
    put(database, box=Cart(**{odd: 1, "b": [Cart()], f"{odd}b": Cart()}))

    assert mirror.make(database.storage, str(file)).damaged == 0
    put(database, more=Cart(**{odd: 2, f"{odd}b": Cart()}))
    with mirror.opened(database.storage, str(file)) as there:
        there.catch_up()
        assert there.report().damaged == 0

    ((name,),) = rows(file, "SELECT \"column\" FROM dobbin_columns WHERE attribute = 'a\\ud800'")
    query = f'SELECT "{name}" FROM Cart WHERE "{name}" IS NOT NULL ORDER BY 1'
    assert rows(file, query) == [(1,), (2,)]


def test_a_link_in_the_place_of_the_part_is_not_followed(database: Database, file: Path) -> None:
    other = file.with_name("other")
    other.write_text("mine")
    Path(f"{file}.part").symlink_to(other)

    with pytest.raises(CopyError, match=r"\.part, .* is no regular file"):
        mirror.make(database.storage, str(file))

    assert other.read_text() == "mine"
    assert not file.exists()


def test_a_file_that_another_has_locked_is_not_taken_for_one_of_another_kind(
    database: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.make(database.storage, str(file))
    monkeypatch.setattr(mirror, "_WAIT_SECONDS", 0)
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(sqlite3.OperationalError, match="locked"),
            mirror.opened(database.storage, str(file)),
        ):
            pass


def test_a_file_that_another_recovers_is_not_taken_for_one_of_another_kind(
    database: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.make(database.storage, str(file))
    with mirror.opened(database.storage, str(file)):
        pass
    monkeypatch.setattr(mirror, "_WAIT_SECONDS", 0)
    with Path(f"{file}-shm").open("w+b") as index:
        index.write(bytes(32768))
        index.flush()
        # What SQLite locks while it reads the WAL of a process that was killed.
        for kind, first, count in ((fcntl.F_WRLCK, 120, 3), (fcntl.F_RDLCK, 128, 1)):
            held = struct.pack("hhqqi", kind, os.SEEK_SET, first, count, 0).ljust(32, b"\0")
            fcntl.fcntl(index, fcntl.F_OFD_SETLK, held)
        with (
            pytest.raises(sqlite3.OperationalError, match="locked"),
            mirror.opened(database.storage, str(file)),
        ):
            pass


@contextmanager
def follower(database: Database, file: Path) -> Iterator[subprocess.Popen[str]]:
    call = ["export", database.storage.path, "--to", "sqlite", str(file), "--follow"]
    with processes.dobbin(*call, stdout=subprocess.PIPE) as process:
        yield process


def wait_for(database: Database, file: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the file is as of the newest transaction."""
    query = "SELECT value FROM dobbin_state WHERE name = 'tid'"
    while rows(file, query) != [(database.tid,)]:
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.01)


@pytest.mark.slow
def test_what_others_commit_is_there_soon(database: Database, file: Path) -> None:
    with follower(database, file) as process:
        assert process.stdout is not None
        assert f"{file}: 1 object" in process.stdout.readline()
        for n in range(3):
            put(database, **{f"n{n}": Cart(n=n)})
            wait_for(database, file, process)
            assert rows(file, "SELECT count(*) FROM Cart") == [(n + 1,)]
        database.pack()
        put(database, last=1)
        wait_for(database, file, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()

    assert (process.returncode, err) == (0, "")
    assert_as_made_anew(database, file)


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_nothing(database: Database, file: Path) -> None:
    for number in range(6):
        with follower(database, file) as process:
            assert process.stdout is not None
            process.stdout.readline()
            for n in range(number * 5):
                put(database, **{f"{number} {n}": Cart(n=n, text="x" * 1000)})
            process.kill()
        if file.exists():
            content(file)  # Whole, whatever it is as of.
    export(database, file)

    assert_as_made_anew(database, file)


@pytest.mark.slow
def test_a_kill_while_it_is_made_leaves_nothing_that_hinders(path: Path, file: Path) -> None:
    with Database(path) as database:
        database.set_root(PersistentDict(a=Cart(long=bytes(2_000_000)), b=Cart(n=1)))
        transaction.commit()
        part = Path(f"{file}.part")
        with follower(database, file) as process:
            while not part.exists():
                assert process.poll() is None
            process.kill()
        assert not file.exists()
        export(database, file)

        assert not part.exists()
        assert_as_made_anew(database, file)


def stop(_done: int, _total: int) -> None:
    raise KeyboardInterrupt


def test_an_interrupt_leaves_no_file(database: Database, file: Path) -> None:
    before = {*file.parent.iterdir()}
    storage = TransactionLog(database.storage.path, read_only=True)
    with storage, pytest.raises(KeyboardInterrupt):
        mirror.make(storage, str(file), stop)

    assert {*file.parent.iterdir()} == before


@pytest.mark.parametrize("number", range(6))
def test_an_interrupt_leaves_the_file_as_it_was(
    database: Database, file: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    put(database, **{f"a{n}": Cart(n=n) for n in range(3)})
    export(database, file)
    before = content(file)
    put(database, **{f"b{n}": Thing(n=n, of=database.root["a0"]) for n in range(3)})
    read = Versions.read
    left = number

    def read_some(versions: Versions, *args: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            left = 1000
            raise KeyboardInterrupt
        return read(versions, *args)

    monkeypatch.setattr(Versions, "read", read_some)
    path = database.storage.path
    with TransactionLog(path, read_only=True) as storage, mirror.opened(storage, str(file)) as one:
        if number < 4:
            with pytest.raises(KeyboardInterrupt):
                one.catch_up()
            assert content(file) == before
        one.catch_up()
    left = 1000

    assert_as_made_anew(database, file)


def test_two_do_not_make_one_file_at_once(database: Database, file: Path) -> None:
    with mirror._new_file(str(file)), pytest.raises(CopyError, match="another is writing"):
        export(database, file)
