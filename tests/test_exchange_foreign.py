"""Files that ZODB, Durus and shelve have written become databases."""

from __future__ import annotations

import dbm
import json
import pickle
import shelve
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from dobbin_like import cli
from dobbin_like.check import check_log
from dobbin_like.collections import BTree, BTreeSet
from dobbin_like.database import Database
from dobbin_like.exc import SourceError
from dobbin_like.exchange.foreign.durus import import_durus
from dobbin_like.exchange.foreign.mapping import Mapping, mapping_of
from dobbin_like.exchange.foreign.shelf import import_shelve
from dobbin_like.exchange.foreign.zodb import import_zodb
from dobbin_like.exchange.new_database import ImportReport
from dobbin_like.persistent import (
    Persistent,
    PersistentCounter,
    PersistentDict,
    PersistentList,
    PersistentSet,
    PersistentStream,
)
from tests.helpers import plone_like


def checked(report: ImportReport) -> ImportReport:
    check_log(report.path).raise_if_bad()
    return report


class Money:
    """A value of an application that is stored by a shelf."""

    def __init__(self, amount: int) -> None:
        self.amount = amount


class Words(list):  # type: ignore[type-arg]
    """A list of an application."""


class Prices(dict):  # type: ignore[type-arg]
    """A dict of an application."""


class Cart(Persistent):
    """What a class of ZODB becomes."""


class Folder(PersistentDict[Any, Any]):
    """What a mapping of ZODB becomes."""


# -- shelve ------------------------------------------------------------------------------

VALUES = {
    "none": None,
    "list": [1, "a", b"b", {"deep": (1.5, {2})}],
    "when": datetime(2026, 1, 31, tzinfo=UTC),
    "zone": datetime(2026, 1, 31, tzinfo=ZoneInfo("Europe/Rome")),
    "delta": timedelta(1),
    "decimal": Decimal("1.10"),
    "fraction": Fraction(1, 3),
    "uuid": UUID(int=7),
    "path": Path("a/b"),
    "ordered": OrderedDict(a=1),
    "default": defaultdict(list, {"a": [1]}),
    "counter": Counter("aab"),
    "deque": deque([1], 3),
    "frozen": frozenset({1}),
    "bytearray": bytearray(b"a"),
    "complex": 1j,
    "range": range(3),
}


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_shelf_becomes_a_tree(tmp_path: Path, path: Path, protocol: int) -> None:
    source = str(tmp_path / "shelf")
    with shelve.open(source, protocol=protocol) as shelf:
        shelf.update(VALUES)
    report = checked(import_shelve(source, str(path)))

    assert (report.complete, report.values) == (True, ())
    with Database(path) as database:
        assert isinstance(database.root, BTree)
        assert dict(database.root.items()) == VALUES
        assert database.root["deque"].maxlen == 3


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_values_of_the_application_come_along(tmp_path: Path, path: Path, protocol: int) -> None:
    source = str(tmp_path / "shelf")
    prices = Prices(tea=Money(3))
    prices.currency = "EUR"  # type: ignore[attr-defined]
    with shelve.open(source, protocol=protocol) as shelf:
        shelf["money"], shelf["words"], shelf["prices"] = Money(5), Words(["a"]), prices
    report = checked(import_shelve(source, str(path)))

    names = sorted(f"{__name__}.{name}" for name in ("Money", "Prices", "Words"))
    assert (report.complete, sorted(report.values)) == (True, names)
    with Database(path, allow=[f"{__name__}.*"]) as database:
        assert database.root["money"].amount == 5
        assert (type(database.root["words"]), database.root["words"]) == (Words, ["a"])
        assert database.root["prices"]["tea"].amount == 3
        assert database.root["prices"].currency == "EUR"


@pytest.mark.slow
def test_a_large_shelf_has_all_keys(tmp_path: Path, path: Path) -> None:
    source = str(tmp_path / "shelf")
    with dbm.open(source, "n") as file:
        for n in range(9000):
            file[f"key {n}"] = pickle.dumps(n)
    checked(import_shelve(source, str(path)))

    with Database(path) as database:
        assert len(database.root) == 9000
        assert [database.root[f"key {n}"] for n in (0, 17, 8999)] == [0, 17, 8999]


def test_what_can_not_be_read_in_a_shelf_is_told(tmp_path: Path, path: Path) -> None:
    source = str(tmp_path / "shelf")
    with shelve.open(source) as shelf:
        shelf["good"], shelf["method"] = 1, [].append
    with dbm.open(source, "w") as file:
        file["half"] = pickle.dumps([1] * 100)[:20]
        file["none"] = b""
        file[b"\xff"] = pickle.dumps(1)
        file["reference"] = b"Pname\n."
    report = checked(import_shelve(source, str(path)))

    assert report.problem_count == 5
    assert sorted(text.partition(":")[0] for text in report.problems) == [
        "b'\\xff'",
        "b'half'",
        "b'method'",
        "b'none'",
        "b'reference'",
    ]
    with Database(path) as database:
        assert [*database.root.items()] == [("good", 1)]


def test_an_empty_shelf_becomes_an_empty_tree(tmp_path: Path, path: Path) -> None:
    shelve.open(str(tmp_path / "shelf")).close()
    checked(import_shelve(str(tmp_path / "shelf"), str(path)))

    with Database(path) as database:
        assert len(database.root) == 0


def test_a_shelf_runs_no_code(tmp_path: Path, path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "pwned",)

    with dbm.open(str(tmp_path / "shelf"), "n") as file:
        file["evil"] = pickle.dumps(Evil(), 4)
        file["system"] = b"cos\nsystem\n(Vtrue\ntR."
    report = import_shelve(str(tmp_path / "shelf"), str(path))

    assert not (tmp_path / "pwned").exists()
    assert "os.system" in report.values or "posix.system" in report.values


# -- other names ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.toml", '"shop.Cart" = "store.Basket"\n"old.*" = "new.*"\n"a.B" = "a:B.C"\n'),
        ("names.json", '{"shop.Cart": "store.Basket", "old.*": "new.*", "a.B": "a:B.C"}'),
    ],
)
def test_names_come_from_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    mapping = mapping_of(str(tmp_path / name))

    assert mapping.of(("shop", "Cart")).name == ("store", "Basket")
    assert mapping.of(("old.models", "Cart")).name == ("new.models", "Cart")
    assert mapping.of(("a", "B")).name == ("a", "B.C")
    assert mapping.of(("other", "Cart")) == (("other", "Cart"), None, False)


def renamed(name: str) -> Any:
    """Is a function that gives names."""
    return {"name": "store.Basket", "as": "dict"} if name == "shop.Cart" else None


def test_names_come_from_a_function() -> None:
    mapping = mapping_of(f"{__name__}:renamed")

    assert mapping.of(("shop", "Cart"))[:2] == (("store", "Basket"), "dict")
    assert mapping.of(("shop", "Shop")).name == ("shop", "Shop")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nonsense", "TOML, or JSON"),
        ('"a.*" = "b"', "a package, as 'shop.*'"),
        ('"a.B" = 5', "the new name"),
        ('"a.B" = "C"', "module.Class"),
        ('"a.B" = {as = "queue"}', "one of dict, list"),
        ('"a.B" = {kind = "dict"}', "the new name"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_told(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "names.toml").write_text(content)
    with pytest.raises(SourceError) as caught:
        mapping_of(str(tmp_path / "names.toml")).of(("a", "B"))

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [("nothing.toml", "no file"), ("nothing:f", "ModuleNotFoundError"), ("json:x", "AttributeE")],
)
def test_a_mapping_that_is_not_there_is_told(text: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        mapping_of(text)


# -- ZODB ------------------------------------------------------------------------------------


@pytest.fixture
def zodb(tmp_path: Path) -> Any:
    """Return a function that stores a root by ZODB and returns the path of the file."""
    pytest.importorskip("ZODB", reason="ZODB is not installed: pip install ZODB")
    import ZODB
    from ZODB.FileStorage import FileStorage

    def store(**values: Any) -> str:
        source = str(tmp_path / "Data.fs")
        database = ZODB.DB(FileStorage(source, blob_dir=str(tmp_path / "blobs")))
        with database.transaction() as connection:
            connection.root().update(values)
        database.close()
        return source

    return store


def oldsite(name: str, base: Any, **content: Any) -> Any:
    """Return a class of a module that is not there any more when the file is read."""
    module = sys.modules.setdefault("oldsite", types.ModuleType("oldsite"))
    cls = type(name, (base,), {"__module__": "oldsite", **content})
    setattr(module, name, cls)
    return cls


@pytest.mark.slow
def test_collections_of_zodb_become_ours(zodb: Any, path: Path) -> None:
    from BTrees.fsBTree import fsBTree
    from BTrees.IIBTree import IISet, IITreeSet
    from BTrees.IOBTree import IOBTree
    from BTrees.Length import Length
    from BTrees.LOBTree import LOBTree
    from BTrees.OOBTree import OOBTree, OOBucket, OOTreeSet
    from persistent.list import PersistentList as ZodbList
    from persistent.mapping import PersistentMapping
    from ZODB.blob import Blob

    mapping = PersistentMapping({"a": 1})
    mapping["self"] = mapping
    source = zodb(
        mapping=mapping,
        list=ZodbList([1, mapping]),
        length=Length(7),
        empty=OOBTree(),
        small=OOBTree({"a": mapping, "b": [1]}),
        large=IOBTree(dict.fromkeys(range(5000), mapping)),
        deep=LOBTree({n: (n, mapping) for n in range(30_000)}),
        set=IISet([3, 1]),
        treeset=IITreeSet(range(1000)),
        names=OOTreeSet([("a", 1), ("a", 2)]),
        bucket=OOBucket({"x": 1}),
        fs=fsBTree({b"ab": b"abcdef", b"cd": b"ghijkl"}),
        inside=OOBTree({"tree": OOBTree({"a": OOTreeSet(["b"])})}),
        blob=Blob(b"bytes" * 1000),
    )
    report = checked(import_zodb(source, str(path)))

    assert (report.complete, report.streams, report.problems) == (True, 1, ())
    with Database(path) as database:
        root = database.root
        assert type(root).__name__ == "PersistentDict"
        assert root["mapping"]["self"] is root["mapping"]
        assert isinstance(root["list"], PersistentList)
        assert root["list"][1] is root["mapping"]
        assert isinstance(root["length"], PersistentCounter)
        assert root["length"].value == 7
        assert [*root["empty"]] == []
        assert [*root["small"].items()] == [("a", root["mapping"]), ("b", [1])]
        assert [*root["large"]] == [*range(5000)]
        assert root["large"][4321] is root["mapping"]
        assert root["deep"][29_999] == (29_999, root["mapping"])
        assert len(root["deep"]) == 30_000
        assert isinstance(root["set"], BTreeSet)
        assert [*root["set"]] == [1, 3]
        assert [*root["treeset"]] == [*range(1000)]
        assert [*root["names"]] == [("a", 1), ("a", 2)]
        assert [*root["bucket"].items()] == [("x", 1)]
        assert [*root["fs"].items()] == [(b"ab", b"abcdef"), (b"cd", b"ghijkl")]
        assert [*root["inside"]["tree"]["a"]] == ["b"]
        assert isinstance(root["blob"], PersistentStream)
        assert root["blob"].open().read() == b"bytes" * 1000


def test_a_tree_that_has_lived_is_read_whole(zodb: Any, path: Path) -> None:
    from BTrees.OOBTree import OOBTree

    tree = OOBTree()
    for n in range(3000):
        tree[f"{n * 7919 % 3000:04}"] = n
    for n in range(0, 3000, 3):
        del tree[f"{n:04}"]
    expected = dict(tree)
    checked(import_zodb(zodb(tree=tree), str(path)))

    with Database(path) as database:
        assert dict(database.root["tree"].items()) == expected


def test_objects_of_the_application_keep_their_class(zodb: Any, path: Path) -> None:
    from persistent import Persistent as ZodbPersistent

    cart = oldsite("Cart", ZodbPersistent)()
    cart.owner, cart.when, cart._v_cache = "ann", datetime(2026, 1, 31, tzinfo=UTC), 1
    cart.friend = cart
    cart.date = oldsite("Date", object)()
    cart.date.year = 2026
    source = zodb(cart=cart)
    report = checked(
        import_zodb(source, str(path), Mapping({"oldsite.Cart": f"{__name__}.Cart"}.get))
    )

    assert report.complete
    assert ("oldsite.Cart", f"{__name__}.Cart", 1) in report.classes
    assert report.values == ("oldsite.Date",)
    assert "by allow=['oldsite.Date'] or --allow; leave out" in str(report)
    with Database(path, allow=["oldsite.*"]) as database:
        found = database.root["cart"]
        assert type(found).__name__ == "Cart"
        assert isinstance(found, Cart)
        assert found.friend is found
        assert found.date.year == 2026
        assert not hasattr(found, "_v_cache")


def test_a_class_that_derives_from_a_collection_is_one_if_that_is_told(
    zodb: Any, path: Path, tmp_path: Path
) -> None:
    from BTrees.OOBTree import OOBTree
    from persistent.mapping import PersistentMapping

    folder = oldsite("Folder", PersistentMapping)({"a": 1})
    folder.title = "Folder"
    source = zodb(folder=folder, tree=oldsite("Tree", OOBTree)({"a": 1}))

    report = import_zodb(source, str(tmp_path / "untold.log"))
    assert report.problem_count == 2
    assert "oldsite.Folder: its items may be in .data" in str(report)
    assert "if the class derives from a BTree" in str(report)

    names = {
        "oldsite.Folder": {"name": f"{__name__}.Folder", "as": "dict"},
        "oldsite.Tree": "BTrees.OOBTree.OOBTree",
    }
    report = checked(import_zodb(source, str(path), Mapping(names.get)))
    assert report.complete
    with Database(path) as database:
        assert isinstance(database.root["folder"], Folder)
        assert (database.root["folder"], database.root["folder"].title) == ({"a": 1}, "Folder")
        assert [*database.root["tree"].items()] == [("a", 1)]


def test_what_zodb_has_and_we_have_not_is_told(zodb: Any, path: Path) -> None:
    from BTrees.OOBTree import OOBTree
    from persistent import Persistent as ZodbPersistent
    from persistent.wref import WeakRef

    def state(self: Any) -> Any:
        return "a text"

    odd = oldsite("Odd", ZodbPersistent, __getstate__=state, __setstate__=lambda *_: None)()
    slim = oldsite("Slim", ZodbPersistent, __new__=lambda cls, *_: ZodbPersistent.__new__(cls))()
    type(slim).__getnewargs__ = lambda self: (1,)
    slim.__dict__["a"] = 1
    target = oldsite("Cart", ZodbPersistent)()
    source = zodb(
        odd=odd,
        slim=slim,
        target=target,
        weak=WeakRef(target),
        none=OOBTree({None: 1, "a": 2}),
        bare=ZodbPersistent(),
    )
    report = checked_but_missing(import_zodb(source, str(path)))
    text = "\n".join(report.problems)

    assert "oldsite.Odd: a str as its state, expected a dict" in text
    assert "oldsite.Slim: the arguments of its __new__ are lost" in text
    assert "keys without an order; it is a PersistentDict" in text
    assert "persistent.Persistent: there is no such class here" in text
    assert "weak references are ordinary ones now" in text
    with Database(path) as database:
        assert database.root["none"] == {None: 1, "a": 2}


def checked_but_missing(report: ImportReport) -> ImportReport:
    """Let only those objects be missing of which that was told."""
    problems = check_log(report.path).problems
    assert [each for each in problems if "which is not stored" not in str(each)] == []
    return report


def test_blobs_are_where_one_says(zodb: Any, path: Path, tmp_path: Path) -> None:
    from ZODB.blob import Blob

    source = zodb(blob=Blob(b"x"))
    (tmp_path / "blobs").rename(tmp_path / "elsewhere")

    report = import_zodb(source, str(tmp_path / "without.log"))
    assert "the file of the blob is not there" in str(report)
    report = import_zodb(source, str(path), blobs=str(tmp_path / "elsewhere"))
    assert report.complete


def test_a_damaged_object_of_zodb_is_told(zodb: Any, path: Path) -> None:
    from persistent.mapping import PersistentMapping

    source = zodb(good=PersistentMapping(a=1), bad=PersistentMapping(mark="first-marker"))
    data = Path(source).read_bytes()
    Path(source).write_bytes(data.replace(b"first-marker", b"\xff" * 12))
    report = checked_but_missing(import_zodb(source, str(path)))

    # Bytes that are no text are kept as they are, where a text can be.
    with Database(path) as database:
        assert database.root["good"] == {"a": 1}
    data = data.replace(b"}q\x01X\x04\x00\x00\x00data", b"}q\x01X\x04\x00\x00\xffdata")
    Path(source).write_bytes(data)
    report = import_zodb(source, f"{path}.2")
    assert report.problem_count
    assert "persistent.mapping.PersistentMapping: " in report.problems[0]


def test_a_tree_of_zodb_whose_nodes_go_around_in_a_circle_is_told(zodb: Any, path: Path) -> None:
    from BTrees.OOBTree import OOBTree

    source = zodb(good=1, tree=OOBTree({n: n for n in range(200)}))
    data = Path(source).read_bytes()
    node, above = (b"C\x08" + oid.to_bytes(8, "big") for oid in (2, 1))
    assert node in data
    Path(source).write_bytes(data.replace(node, above))

    report = import_zodb(source, str(path))

    assert "or there twice, oid 0x1" in report.problems[0]
    with Database(path) as database:
        assert database.root["good"] == 1


def test_what_is_no_file_of_zodb_is_told(zodb: Any, path: Path, tmp_path: Path) -> None:
    (tmp_path / "foreign").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(SourceError, match=r"expected a Data\.fs of ZODB"):
        import_zodb(str(tmp_path / "foreign"), str(path))
    assert not path.exists()


def test_a_file_of_zodb_is_left_as_it_is(zodb: Any, path: Path, tmp_path: Path) -> None:
    source = zodb(a=1)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    import_zodb(source, str(path.parent.parent / f"{path.name}.new"))

    assert before == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}


def test_a_file_of_zodb_runs_no_code(zodb: Any, path: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "pwned",)

    source = zodb(a=1)
    Path(f"{source}.index").write_bytes(pickle.dumps(Evil(), 3))
    data = Path(source).read_bytes()
    import_zodb(source, str(path))

    assert not (tmp_path / "pwned").exists()
    assert Path(source).read_bytes() == data


def test_an_interrupt_leaves_no_file(zodb: Any, path: Path, tmp_path: Path) -> None:
    from persistent.mapping import PersistentMapping

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    source = zodb(**{f"n{n}": PersistentMapping() for n in range(600)})
    before = {*tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        import_zodb(source, str(path), progress=stop)

    assert {*tmp_path.iterdir()} == before


@pytest.mark.slow
def test_a_large_site_comes_over_as_a_whole(
    zodb: Any, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(tmp_path / "site.fs")
    count = plone_like.write(source, 50_000, str(tmp_path / "site.blobs"))
    names = tmp_path / "names.toml"
    names.write_text('"oldsite.Annotations" = {as = "dict"}\n')
    call = ["import", "--from", "zodb", source, str(path), "--classes", str(names)]

    assert cli.run([*call, "--blobs", str(tmp_path / "site.blobs"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert sum(row["objects"] for row in facts["classes"]) <= count
    assert {"there": "oldsite.Document", "here": "oldsite.Document", "objects": 10_000} in facts[
        "classes"
    ]
    check_log(path).raise_if_bad()
    with Database(path) as database:
        paths = database.root["Application"]  # Its class is not there; the log has it all.
        assert type(paths).__name__ == "Folder"
    assert cli.run(["show", str(path), "Application/catalog/_tree/paths/9999", "--json"]) == 0
    state = json.loads(capsys.readouterr().out)["state"]
    assert (state["__name__"], state["size"]) == ("document-9999", len(state["text"]))


# -- Durus -----------------------------------------------------------------------------------


@pytest.fixture
def durus(tmp_path: Path) -> Any:
    pytest.importorskip("durus", reason="Durus is not installed: pip install Durus")
    from durus.connection import Connection
    from durus.file_storage import FileStorage
    from durus.serialize import ObjectWriter

    try:
        ObjectWriter(None).close()
    except AttributeError as error:
        pytest.skip(f"Durus does not write on this Python: {error}")

    def store(**values: Any) -> str:
        source = str(tmp_path / "data.durus")
        connection = Connection(FileStorage(source))
        connection.get_root().update(values)
        connection.commit()
        connection.get_storage().close()
        return source

    return store


def test_a_file_of_durus_becomes_a_database(durus: Any, path: Path) -> None:
    from durus.btree import BTree as DurusTree
    from durus.persistent import Persistent as DurusPersistent
    from durus.persistent import PersistentObject
    from durus.persistent_dict import PersistentDict as DurusDict
    from durus.persistent_list import PersistentList as DurusList
    from durus.persistent_set import PersistentSet as DurusSet

    cart = oldsite("Basket", DurusPersistent)()
    cart.owner, cart.friend = "ann", cart
    slim = oldsite("Slot", PersistentObject, __slots__=["x"])()
    slim.x = 5
    large = DurusTree()
    for n in range(3000):
        large[n * 7919 % 3000] = (n, cart)
    source = durus(
        cart=cart,
        slim=slim,
        dict=DurusDict(a=cart),
        list=DurusList([1, cart]),
        set=DurusSet([1, 2]),
        empty=DurusTree(),
        large=large,
    )
    names = {"oldsite.Basket": f"{__name__}.Cart", "oldsite.Slot": f"{__name__}.Cart"}
    report = checked(import_durus(source, str(path), Mapping(names.get)))

    assert report.complete, report
    with Database(path) as database:
        root = database.root
        assert root["cart"].friend is root["cart"]
        assert root["slim"].x == 5
        assert root["dict"]["a"] is root["cart"]
        assert root["list"][1] is root["cart"]
        assert isinstance(root["set"], PersistentSet)
        assert root["set"] == {1, 2}
        assert len(root["empty"]) == 0
        assert [*root["large"]] == [*range(3000)]
        assert root["large"][7919 % 3000] == (1, root["cart"])


def test_what_is_no_file_of_durus_is_told(durus: Any, path: Path, tmp_path: Path) -> None:
    (tmp_path / "foreign").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(SourceError, match="expected a file of Durus"):
        import_durus(str(tmp_path / "foreign"), str(path))
    assert not path.exists()


@pytest.mark.parametrize(
    ("kind", "package", "module"), [("zodb", "ZODB", "ZODB"), ("durus", "Durus", "durus")]
)
def test_a_library_that_is_not_there_is_named(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: str,
    package: str,
    module: str,
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)

    class Missing:
        def find_spec(self, name: str, *_: Any) -> None:
            if name.partition(".")[0] == module:
                raise ModuleNotFoundError(name=module)

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    (tmp_path / "file").write_bytes(b"x")

    assert cli.run(["import", "--from", kind, str(tmp_path / "file"), "new.log"]) == 2
    assert f"pip install {package}" in capsys.readouterr().err
