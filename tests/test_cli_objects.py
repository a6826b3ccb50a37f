"""The subcommands that show objects, and what has changed in them: no class is loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import transaction

from dobbin_like import JobQueue, cli, safe
from dobbin_like.cli.common import opened
from dobbin_like.cli.stored import Snapshot, StoredObject
from dobbin_like.database import Database
from dobbin_like.ids import Oid
from dobbin_like.persistent import PersistentDict, checkout
from tests.helpers import processes

SHOP = """
import sys, types, transaction
from dobbin_like import Database
from dobbin_like.collections import BTree, BTreeSet
from dobbin_like.persistent import PersistentDict, PersistentList, checkout

module = sys.modules["shop"] = types.ModuleType("shop")
exec('''
from dataclasses import dataclass
from dobbin_like import Persistent

@dataclass
class Money:
    amount: int

class Shop(Persistent):
    def __init__(self, **state):
        vars(self).update(state)

class Cart(Persistent):
    def __init__(self, owner):
        self.owner = owner
''', vars(module))

def commit(user, note):
    transaction.get().user = user
    transaction.get().note(note)
    transaction.commit()

with Database(sys.argv[1]) as database:
    prices = PersistentDict({"tea": module.Money(3), "a/b": 1, (1, 2): {"deep": [10, 20]}})
    shop = module.Shop(
        name="[red]Corner[/red]\\x1b[31m",
        prices=prices,
        carts=BTree(),
        opened=True,
        tags=BTreeSet(),
    )
    database.set_root(shop)
    commit("ann", "opened")
    checkout(shop.prices)
    prices["tea"] = module.Money(4)
    commit("bob", "dearer")
    cart = module.Cart(shop)
    checkout(shop.carts)
    shop.carts.update({f"c{number:03}": number for number in range(300)}, c150=cart)
    commit("cid", "carts")
"""


@pytest.fixture
def shop(path: Path) -> str:
    processes.run([sys.executable, "-c", SHOP, path], check=True, env=processes.python_path())
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = cli.run(args)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def one(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    code, out, err = run(capsys, *args, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def many(capsys: pytest.CaptureFixture[str], *args: str) -> list[Any]:
    code, out, _ = run(capsys, *args, "--json", "-n", "0")
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


def tids(path: str) -> list[int]:
    with Database(path, read_only=True) as database:
        return [each.tid for each in database.transactions()]


def damage(path: str, text: bytes) -> None:
    data = bytearray(Path(path).read_bytes())
    at = data.index(text)
    data[at : at + len(text)] = bytes(len(text))
    Path(path).write_bytes(data)


# -- show ------------------------------------------------------------------------------


def test_show_tells_what_is_in_an_object(capsys: pytest.CaptureFixture[str], shop: str) -> None:
    code, out, err = run(capsys, "show", shop)

    assert (code, err) == (0, "")
    head, commit, *attributes = out.splitlines()
    assert head.startswith("shop.Shop oid 0, ")
    assert commit.endswith(" by ann: opened")
    assert attributes == [
        "  .name  '[red]Corner[/red]\\x1b[31m'",
        "  .prices  <PersistentDict oid 1>",
        "  .carts  <BTree oid 2>",
        "  .opened  True",
        "  .tags  <BTreeSet oid 3>",
    ]


def test_classes_of_the_package_have_no_module(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = str(tmp_path / "jobs.log")
    with Database(path) as database, database.transaction():
        database.set_root(JobQueue())

    assert cli.run(["show", path]) == 0
    assert capsys.readouterr().out.startswith("JobQueue oid 0, ")
    safe.open(tmp_path / "some.safe").close()
    assert cli.run(["show", str(tmp_path / "some.safe")]) == 0
    assert capsys.readouterr().out.startswith("SafeDict oid 0, ")


def test_show_tells_machines_everything(capsys: pytest.CaptureFixture[str], shop: str) -> None:
    found = one(capsys, "show", shop, "prices")

    assert (found["oid"], found["class"]) == (1, "dobbin_like.persistent.PersistentDict")
    assert (found["user"], found["description"]) == ("bob", "dearer")
    assert (found["tid"], found["references"]) == (tids(shop)[1], [])
    assert found["state"]["_items"]["value"] == [
        ["tea", {"$type": "shop.Money", "attributes": {"amount": 4}}],
        ["a/b", 1],
        [[1, 2], {"deep": [10, 20]}],
    ]


@pytest.mark.parametrize(
    ("way", "found"),
    [
        ("prices/tea/amount", 4),
        ("/prices/tea/amount", 4),
        ("1/tea/amount", 4),
        ("prices/'a/b'", 1),
        ("prices/(1, 2)/deep/1", 20),
        ("carts/c299", 299),
        ("carts/c150/owner/prices/a\\b", None),
    ],
)
def test_show_follows_a_way(
    capsys: pytest.CaptureFixture[str], shop: str, way: str, found: Any
) -> None:
    if found is not None:
        assert one(capsys, "show", shop, way) == found
        return
    code, out, err = run(capsys, "show", shop, way)
    assert (code, out) == (2, "")
    assert err == f"dobbin: {shop}: prices has no 'a\\\\b'; it has tea, a/b, (1, 2)\n"


def test_show_ends_at_the_limit(capsys: pytest.CaptureFixture[str], shop: str) -> None:
    code, out, err = run(capsys, "show", shop, "carts", "--limit", "2")

    assert code == 0
    assert out.splitlines()[-2:] == ["  ['c000']  0", "  ['c001']  1"]
    assert err == "there are more items; use --limit 0 to show all\n"
    assert len(run(capsys, "show", shop, "carts", "-n", "0")[1].splitlines()) == 304


def test_show_tells_of_the_past(capsys: pytest.CaptureFixture[str], shop: str) -> None:
    first = str(tids(shop)[0])

    assert one(capsys, "show", shop, "prices/tea", "--at", first)["attributes"] == {"amount": 3}
    assert one(capsys, "show", shop, "1", "--diff", first, "now")["changed"] == {
        "['tea']": {
            "old": {"$type": "shop.Money", "attributes": {"amount": 3}},
            "new": {"$type": "shop.Money", "attributes": {"amount": 4}},
        }
    }
    assert (
        run(capsys, "show", shop, "prices", "--history")[1] == run(capsys, "history", shop, "1")[1]
    )


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ("show {0} 99", "there is no object with oid 99"),
        (
            "show {0} nothing",
            "the root has no 'nothing'; it has name, prices, carts, opened, tags",
        ),
        ("show {0} name/first", "name has no 'first'; it has nothing"),
        ("show {0} opened --history", "opened is a value in an object, and no object"),
        ("tree {0} opened", "opened is a value in an object, and no object"),
        ("referrers {0} 99", "there is no object with oid 99"),
        ("history {0} 99", "there is no object with oid 99"),
        ("find {0} Crt", "no class 'Crt'; there are "),
        ("find {0} Xyzzy", "no class 'Xyzzy'; there are shop.Cart, shop.Money, shop.Shop, ..."),
        ("show {0} --at 1", "before the first one"),
        ("diff {0} 1 now", "before the first one"),
        ("diff {0} 0 9000000000000000", "it is after the last one"),
    ],
)
def test_what_is_not_there_is_one_line(
    capsys: pytest.CaptureFixture[str], shop: str, args: str, text: str
) -> None:
    code, out, err = run(capsys, *args.format(shop).split())

    assert (code, out) == (2, "")
    assert text in err
    assert err.count("\n") == 1


def test_an_empty_log_has_no_root(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    path.touch()

    assert run(capsys, "show", str(path)) == (2, "", f"dobbin: {path}: there is no root yet\n")


# -- tree, find, referrers ------------------------------------------------------------------


def test_a_tree_shows_every_reference_and_follows_an_object_once(
    capsys: pytest.CaptureFixture[str], shop: str
) -> None:
    code, out, err = run(capsys, "tree", shop, "--depth", "1")

    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "shop.Shop oid 0",
        "|-- .prices  PersistentDict oid 1",
        "|-- .carts  BTree oid 2  (2 more references)",
        "`-- .tags  BTreeSet oid 3  (2 more references)",
    ]
    every = many(capsys, "tree", shop, "--depth", "0")
    followed = [each["oid"] for each in every if each["note"] != "above"]
    assert len(followed) == len(set(followed)) > 10
    [again] = [each for each in every if each["way"] == ".owner"]
    assert (again["oid"], again["note"]) == (0, "above")


def test_a_tree_shows_no_more_than_the_limit(
    capsys: pytest.CaptureFixture[str], shop: str
) -> None:
    assert run(capsys, "tree", shop, "--depth", "1", "-n", "1")[1].splitlines() == [
        "shop.Shop oid 0  (2 more references)",
        "`-- .prices  PersistentDict oid 1",
    ]


@pytest.mark.parametrize("name", ["shop.Cart", "Cart", "shop.C*"])
def test_find_takes_a_name_or_a_part_of_it(
    capsys: pytest.CaptureFixture[str], shop: str, name: str
) -> None:
    [cart] = many(capsys, "find", shop, name)

    assert cart["class"] == "shop.Cart"
    assert cart["state"] == {"owner": {"$ref": 0, "class": "shop.Shop"}}
    line = run(capsys, "find", shop, name)[1]
    assert line == f"{cart['oid']:>7}  Cart  owner <shop.Shop oid 0>\n"


def test_find_of_the_past_finds_what_was_there(
    capsys: pytest.CaptureFixture[str], shop: str
) -> None:
    assert many(capsys, "find", shop, "Cart", "--at", str(tids(shop)[0])) == []


def test_referrers_are_told_with_the_place(capsys: pytest.CaptureFixture[str], shop: str) -> None:
    [cart] = many(capsys, "find", shop, "Cart")
    [leaf] = many(capsys, "referrers", shop, "carts/c150")

    assert leaf["class"] == "dobbin_like.collections.BTreeLeaf"
    assert leaf["way"].startswith(".items[1][")
    assert many(capsys, "referrers", shop) == [
        {"oid": cart["oid"], "class": "shop.Cart", "way": ".owner"}
    ]
    assert run(capsys, "referrers", shop, "prices")[1] == "shop.Shop oid 0  .prices\n"


# -- history, diff ---------------------------------------------------------------------------


def test_history_shows_references_as_references(
    capsys: pytest.CaptureFixture[str], shop: str
) -> None:
    [revision] = many(capsys, "history", shop, "/")

    assert revision["changed"]["prices"] == {
        "new": {"$ref": 1, "class": "dobbin_like.persistent.PersistentDict"}
    }
    out = run(capsys, "history", shop, "0")[1]
    assert "    prices: <absent> -> <PersistentDict oid 1>\n" in out


def test_diff_shows_what_was_made_and_changed(
    capsys: pytest.CaptureFixture[str], shop: str
) -> None:
    first, second, _ = map(str, tids(shop))

    assert run(capsys, "diff", shop, first, second)[1].splitlines() == [
        "PersistentDict oid 1  changed",
        "    ['tea']: Money(amount=3) -> Money(amount=4)",
    ]
    back = run(capsys, "diff", shop, second, first)[1]
    assert "    ['tea']: Money(amount=4) -> Money(amount=3)\n" in back
    code, out, _ = run(capsys, "diff", shop, "0", first, "--json")
    made = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {each["how"] for each in made} == {"made"}
    assert made[0]["changed"]["opened"] == {"new": True}


def test_diff_shows_the_items_of_a_tree(capsys: pytest.CaptureFixture[str], shop: str) -> None:
    before = str(tids(shop)[-1])
    with Database(shop) as database:
        checkout(database.get(2))
        database.get(2)["c001"] = "new"
        transaction.commit()

    out = run(capsys, "diff", shop, before, "now")[1]
    assert out.splitlines()[1:] == ["    ['c001']: 1 -> 'new'"]


def test_a_change_of_many_items_is_cut_for_people_only(
    capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    program = f"""if True:
        import transaction
        from dobbin_like import Database
        from dobbin_like.persistent import PersistentDict, checkout
        with Database({str(path)!r}) as database:
            database.set_root(PersistentDict({{number: 0 for number in range(1000)}}))
            transaction.commit()
            checkout(database.root)
            database.root.update({{number: 1 for number in range(1000)}})
            transaction.commit()
    """
    processes.run([sys.executable, "-c", program], check=True, env=processes.python_path())

    assert run(capsys, "history", str(path), "0", "-n", "1")[1].endswith(
        "\n    [49]: 0 -> 1\n    and 950 more differences\n"
    )
    assert len(many(capsys, "history", str(path), "0")[0]["changed"]) == 1000


# -- damage, and other programs -----------------------------------------------------------------


def test_what_is_damaged_is_told_and_the_rest_is_listed(
    capsys: pytest.CaptureFixture[str], shop: str
) -> None:
    before = run(capsys, "find", shop, "*", "-n", "0")
    assert before[0] == 0
    damage(shop, b"c001")

    code, out, err = run(capsys, "find", shop, "*", "-n", "0")
    assert (code, err) == (1, "")
    assert len(out.splitlines()) == len(before[1].splitlines())
    assert sum("  damaged: at " in line for line in out.splitlines()) == 1

    code, out, _ = run(capsys, "find", shop, "*", "-n", "0", "--json")
    [lost] = [found for found in map(json.loads, out.splitlines()) if "damaged" in found]
    assert code == 1
    assert lost["damaged"].endswith(f"expected a whole entry of oid {lost['oid']}")
    for name in ("tree", "referrers", "history", "show"):
        code, out, err = run(capsys, name, shop, str(lost["oid"]))
        assert code == 1
        assert (out + err).count("\n") == 1 or name == "referrers"
    whole = before[1].count("\n") - 1
    code, out, err = run(capsys, "census", shop)
    assert (code, err, f" {whole} " in out) == (1, "", True)
    assert out.splitlines()[-1].startswith(f"oid {lost['oid']}  damaged: at ")
    code, out, _ = run(capsys, "census", shop, "--json")
    assert (code, json.loads(out)["objects"], json.loads(out)["damaged"]) == (1, whole, [lost])
    assert run(capsys, "tree", shop, "--depth", "0")[0] == 1
    assert run(capsys, "show", shop, "carts", "-n", "0")[0] == 1


def test_an_older_version_that_is_damaged_ends_the_history(
    capsys: pytest.CaptureFixture[str], shop: str
) -> None:
    damage(shop, b"a/b")

    code, out, err = run(capsys, "history", shop, "1")
    assert (code, err) == (1, "")
    assert [line.split("  ")[0] for line in out.splitlines()] == [str(tids(shop)[1]), ""]
    assert out.splitlines()[1].startswith("     damaged: at ")
    code, out, _ = run(capsys, "history", shop, "1", "--json")
    assert json.loads(out)["user"] == "bob"
    assert "damaged" in json.loads(out)

    code, out, _ = run(capsys, "diff", shop, "0", str(tids(shop)[0]))
    assert code == 1


def test_a_log_that_grows_and_is_packed_is_shown_as_it_was(shop: str) -> None:
    with opened(shop) as database, Snapshot(database) as snapshot:
        found = snapshot.all()
        first = next(found)
        expected = database.storage.oid_count
        with Database(shop) as other:
            prices = other.get(1)
            checkout(prices)
            prices["tea"] = 100
            prices["more"] = PersistentDict()
            transaction.commit()
            other.pack()

        every = [first, *found]
        states = [snapshot.state(each) for each in every if isinstance(each, StoredObject)]

        assert len(states) == len(every) == expected
        assert states[1]["_items"].keys() == {"tea", "a/b", (1, 2)}
        assert len(list(snapshot.versions(Oid(1)))) == 2
