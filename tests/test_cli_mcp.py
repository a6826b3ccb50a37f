"""``dobbin mcp``: an assistant asks about a log, by the client of the protocol's own package."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import cli
from dobbin_like.cli.outside.answers import MOST, TEXT_LIMIT, Answers, complaint_of
from dobbin_like.collections import BTree
from dobbin_like.database import Database
from dobbin_like.exc import IntegrityError
from dobbin_like.persistent import Persistent, PersistentDict, PersistentList, checkout
from tests.helpers import processes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Cart(Persistent):
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


@pytest.fixture
def shop(path: Path) -> str:
    with Database(path) as database:
        carts = BTree({f"c{n:03}": n for n in range(300)})
        database.set_root(PersistentDict(cart=Cart(owner="ann"), carts=carts, long="x" * 9999))
        transaction.get().note("opened")
        transaction.commit()
        checkout(database.root["cart"])
        database.root["cart"].owner = "bob"
        transaction.get().user = "carol"
        transaction.commit()
    return str(path)


def tids(path: str) -> list[int]:
    with Database(path, read_only=True) as database:
        return sorted(each.tid for each in database.transactions())


# -- the answers ---------------------------------------------------------------------------


def test_census_counts(shop: str) -> None:
    facts = Answers(shop).census()

    assert facts["objects"] == sum(row["objects"] for row in facts["classes"])
    assert {row["name"] for row in facts["classes"]} >= {f"{__name__}.Cart"}


def test_show_has_the_state_as_of_a_time(shop: str) -> None:
    answers = Answers(shop)

    assert answers.show("cart")["state"] == {"owner": "bob"}
    assert answers.show("cart", at=tids(shop)[0])["state"] == {"owner": "ann"}
    assert answers.show("cart/owner") == {"value": "bob"}
    root = answers.show()
    assert (root["oid"], root["description"]) == (0, "opened")
    assert root["state"]["_items"]["cart"] == {"$ref": 1, "class": f"{__name__}.Cart"}


def test_show_cuts_what_is_long(shop: str) -> None:
    answers = Answers(shop)

    assert answers.show()["state"]["_items"]["long"] == "x" * TEXT_LIMIT + "... (9,999 characters)"
    tree = answers.show("carts", limit=3)["items"]
    assert tree[:2] == [["c000", 0], ["c001", 1]]
    assert len(tree) <= 4
    assert answers.show("", limit=1)["state"]["_items"]["$more"] == 2


def test_find_goes_on_where_it_was(shop: str) -> None:
    with Database(shop) as database:
        checkout(database.root)
        database.root["more"] = PersistentList([Cart(owner=n) for n in range(4)])
        transaction.commit()
    answers = Answers(shop)
    first = answers.find("Cart", limit=3)

    assert first["more"]
    rest = answers.find("Cart", after=first["objects"][-1]["oid"])
    assert not rest["more"]
    owners = [each["state"]["owner"] for each in first["objects"] + rest["objects"]]
    assert owners == ["bob", 0, 1, 2, 3]


def test_history_tells_who_has_changed_what(shop: str) -> None:
    facts = Answers(shop).history("cart")

    assert [each["changed"] for each in facts["changes"]] == [
        {"owner": {"old": "ann", "new": "bob"}},
        {"owner": {"new": "ann"}},
    ]
    assert [each["user"] for each in facts["changes"]] == ["carol", ""]
    assert Answers(shop).history("cart", limit=1)["more"]


def test_diff_compares_two_moments(shop: str) -> None:
    first, last = tids(shop)
    facts = Answers(shop).diff(first)

    assert (facts["from"], facts["to"], facts["more"]) == (first, last, False)
    assert facts["objects"] == [
        {
            "oid": 1,
            "class": f"{__name__}.Cart",
            "how": "changed",
            "changed": {"owner": {"old": "ann", "new": "bob"}},
        }
    ]
    assert {each["how"] for each in Answers(shop).diff("0", str(first))["objects"]} == {"made"}


def test_what_is_damaged_is_told_and_the_rest_is_there(shop: str) -> None:
    data = Path(shop).read_bytes()
    Path(shop).write_bytes(data.replace(b"bob", bytes(3)))
    answers = Answers(shop)

    assert "damaged" in answers.find("Cart")["objects"][0]
    assert "damaged" in answers.diff(0)["objects"][1]
    [lost] = answers.census()["damaged"]
    assert (lost["oid"], "damaged" in lost) == (1, True)
    with pytest.raises(IntegrityError):
        answers.history("cart")
    assert answers.show()["state"]["_items"]["cart"]["$ref"] == 1


@pytest.mark.parametrize(
    ("tool", "arguments", "text"),
    [
        ("show", {"way": "nowhere"}, "the root has no 'nowhere'"),
        ("show", {"way": "99"}, "no object with oid 99"),
        ("show", {"at": "yesterday"}, "'yesterday' is not a tid"),
        ("find", {"class_name": "Basket"}, "no class 'Basket'; there are"),
        ("history", {"way": "cart/owner"}, "is a value in an object"),
        ("diff", {"since": 5}, "no transaction 5"),
    ],
)
def test_what_is_asked_wrongly_is_told(
    shop: str, tool: str, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  the text is what counts
        getattr(Answers(shop), tool)(**arguments)

    assert text in complaint_of(caught.value)


def test_no_more_is_given_than_an_assistant_can_read(path: Path) -> None:
    with Database(path) as database:
        database.set_root(PersistentList(range(MOST + 5)))
        transaction.commit()

    items = Answers(str(path)).show(limit=10**9)["state"]["_items"]
    assert (len(items), items[-1]) == (MOST + 1, {"$more": 5})


# -- the server ----------------------------------------------------------------------------


@pytest.fixture
def ask(shop: str, tmp_path: Path) -> Callable[[Callable[[Any], Awaitable[None]]], None]:
    """Return a function that runs another one with a client of a server for the shop."""
    mcp = pytest.importorskip("mcp", reason="mcp is not installed: pip install mcp")
    server = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "dobbin_like", "mcp", shop],
        env=processes.python_path(),
    )

    def run(questions: Callable[[Any], Awaitable[None]]) -> None:
        async def main() -> None:
            with (tmp_path / "errors").open("w+") as errors:
                async with mcp.Client(mcp.stdio_client(server, errors)) as client:
                    await questions(client)

        asyncio.run(main())

    return run


@pytest.mark.slow
def test_an_assistant_finds_the_tools_and_asks_them(ask: Any, shop: str) -> None:
    first, _ = tids(shop)

    async def questions(client: Any) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert sorted(tools) == ["census", "diff", "find", "history", "show"]
        assert all(tool.annotations.read_only_hint for tool in tools.values())
        assert "the way from the root" in tools["show"].description
        assert tools["diff"].input_schema["required"] == ["since"]

        async def answer(name: str, **arguments: Any) -> Any:
            result = await client.call_tool(name, arguments)
            assert not result.is_error, result.content
            return result.structured_content

        assert (await answer("census"))["objects"] > 5
        assert (await answer("show", way="cart", at=first))["state"] == {"owner": "ann"}
        assert (await answer("find", class_name="Cart"))["objects"][0]["oid"] == 1
        assert len((await answer("history", way="cart"))["changes"]) == 2
        assert (await answer("diff", since=first))["objects"][0]["how"] == "changed"

        with Database(shop) as database:
            checkout(database.root["cart"])
            database.root["cart"].owner = "dan"
            transaction.commit()
        assert (await answer("show", way="cart"))["state"] == {"owner": "dan"}

        result = await client.call_tool("show", {"way": "nowhere"})
        assert result.is_error
        assert "the root has no 'nowhere'; it has cart, carts, long" in result.content[0].text
        assert not (await client.call_tool("show", {})).is_error

    ask(questions)


@pytest.mark.slow
def test_an_argument_that_a_tool_does_not_have_is_refused(ask: Any) -> None:
    async def questions(client: Any) -> None:
        for tool in (await client.list_tools()).tools:
            assert tool.input_schema["additionalProperties"] is False
        for tool, arguments, text in [
            ("show", {"way": "", "limt": 3}, "show has no argument limt; it has way, at, limit"),
            ("census", {"limit": 3}, "census has no argument limit; it has at"),
            ("history", {"at": 3, "way": "cart"}, "history has no argument at; it has way, limit"),
        ]:
            refused = await client.call_tool(tool, arguments)
            assert refused.is_error
            assert text in refused.content[0].text
        missing = await client.call_tool("find", {})
        assert "class_name" in missing.content[0].text

    ask(questions)


@pytest.mark.slow
def test_half_a_character_does_not_end_the_server(ask: Any, shop: str) -> None:
    with Database(shop) as database:
        checkout(database.root)
        database.root["half \ud800"] = "\udfff"
        transaction.commit()

    async def questions(client: Any) -> None:
        state = (await client.call_tool("show", {})).structured_content["state"]
        assert state["_items"]["half \\ud800"] == "\\udfff"
        refused = await client.call_tool("show", {"way": "nowhere"})
        assert "half \\ud800" in refused.content[0].text
        assert not (await client.call_tool("census", {})).is_error

    ask(questions)


@pytest.mark.slow
def test_what_is_no_log_is_told_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("mcp", reason="mcp is not installed: pip install mcp")
    (tmp_path / "foreign").write_bytes(b"no log at all" * 1000)

    assert cli.run(["mcp", str(tmp_path / "foreign")]) == 2
    assert "not a dobbin_like log" in capsys.readouterr().err


def test_a_package_that_is_not_there_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shop: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mcp"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcp", None)

    assert cli.run(["mcp", shop]) == 2
    assert "pip install 'dobbin_like[mcp]'" in capsys.readouterr().err
