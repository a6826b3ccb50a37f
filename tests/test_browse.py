"""``dobbin browse``: the pages, who may ask for them, and bad input of every kind."""

from __future__ import annotations

import gc
import re
import sys
import tracemalloc
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like.database import Database
from dobbin_like.persistent import PersistentDict, checkout
from dobbin_like.storage import TransactionLog
from dobbin_like.upkeep.restore import restore
from tests.helpers.browsing import MARKUP, QUOTED, make_shop
from tests.helpers.things import Thing
from tests.helpers.transactions import change, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest.importorskip("rich")
pytest.importorskip("starlette", reason="the extra browse is not installed")
testclient = pytest.importorskip("starlette.testclient", exc_type=Exception, reason="no httpx")

from dobbin_like.browse import scans  # noqa: E402  they need what was asked for above
from dobbin_like.browse.app import _STATIC, Browser  # noqa: E402
from dobbin_like.browse.guard import HEADERS, Guard  # noqa: E402
from dobbin_like.browse.shown import Shown  # noqa: E402

TOKEN = "a-token"
ORIGIN = "http://127.0.0.1:8000"
STATIC = Path(scans.__file__).parent / "static"

PAGES = [
    "/",
    "/object/0",
    "/object/1",
    "/object/2",
    "/object/2?from=100",
    "/tree/0",
    "/tree/0?part=1",
    "/drawing/0",
    "/history/0",
    "/history/1",
    "/referrers/0",
    "/referrers/0?part=1",
    "/transactions",
    "/sizes",
    "/sizes?part=1",
    "/search",
    "/search?class=shop.Cart",
    "/search?value=alert",
    "/search?part=1&value=alert",
    "/live",
    "/live?part=1",
]


class Site:
    """The pages of a log, asked for as a browser does, by their paths without the token."""

    def __init__(self, path: Path) -> None:
        self.shown = Shown(str(path))
        browser = Browser(self.shown, f"/{TOKEN}")
        self.guard = Guard(browser.app(), TOKEN, ["127.0.0.1:8000", "localhost:8000"])
        self.client = testclient.TestClient(self.guard, base_url=ORIGIN, follow_redirects=False)

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(f"/{TOKEN}{path}", **options)

    def text(self, path: str, status: int = 200) -> str:
        """Return what a person reads of a page, without its head."""
        answer = self.get(path)
        assert answer.status_code == status, answer.text
        body = answer.text.partition("<main")[2] or answer.text
        body = re.sub(r"</?code[^>]*>", "", f"<main{body}")
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())

    def tids(self) -> list[int]:
        return [each.tid for each in self.shown.storage.transactions()]


@pytest.fixture
def open_site() -> Iterator[Callable[[Path], Site]]:
    sites: list[Site] = []

    def opened(path: Path) -> Site:
        sites.append(Site(path))
        return sites[-1]

    yield opened
    for site in sites:
        site.shown.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("shop") / "shop.log"
    make_shop(path)
    return path.read_bytes()


@pytest.fixture
def shop(path: Path, made: bytes) -> Path:
    path.write_bytes(made)
    return path


@pytest.fixture
def site(shop: Path, open_site: Callable[[Path], Site]) -> Site:
    found = open_site(shop)
    found.shown.moments.catch_up()
    return found


def damage(path: Path, text: bytes) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(text)
    data[at : at + len(text)] = bytes(len(text))
    path.write_bytes(data)


def add_honey(database: Database) -> None:
    prices = database.get(1)
    checkout(prices)
    prices["honey"] = 12
    transaction.commit()


# -- every page ------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole_escaped_and_guarded(site: Site, page: str) -> None:
    answer = site.get(page)

    assert answer.status_code == 200
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert MARKUP not in answer.text
    assert "<img" not in answer.text
    # The policy forbids scripts and styles in a page: there are none that it would keep away.
    assert (
        re.findall(r"<style|\sstyle=|\son\w+=\"|<script(?! src=)|javascript:", answer.text) == []
    )
    assert re.findall(r"(?:href|src|action)=\"(?!/a-token/|#)[^\"]*", answer.text) == []
    if "part=" not in page:
        fields = re.findall(r"<input(?![^>]*hidden)[^>]* id=\"([\w-]+)\"", answer.text)
        assert answer.text.count("<h1>") == 1
        assert "slider" in fields
        assert [name for name in fields if f'for="{name}"' not in answer.text] == []


@pytest.mark.parametrize("page", ["/", "/object/0", "/transactions", "/history/0", "/tree/0"])
def test_markup_in_names_and_values_is_shown_as_it_is(site: Site, page: str) -> None:
    assert MARKUP in site.text(page)


def test_quotes_do_not_leave_an_attribute(site: Site) -> None:
    answer = site.get("/search", params={"value": QUOTED, "class": MARKUP})

    assert QUOTED not in answer.text
    assert QUOTED in unescape(answer.text)
    assert "There is no class" in answer.text


@pytest.mark.parametrize("name", _STATIC)
def test_what_does_not_change_is_there_and_asks_no_other_host(site: Site, name: str) -> None:
    answer = site.get(f"/static/{name}")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(_STATIC[name])
    addresses = re.findall(r"\w+://[^\"']+", answer.text)
    assert [each for each in addresses if each != "http://www.w3.org/2000/svg"] == []
    assert "innerHTML" not in answer.text


def test_all_that_is_there_is_served() -> None:
    assert {each.name for each in STATIC.iterdir()} == set(_STATIC)


# -- what the pages show ---------------------------------------------------------------


def test_the_overview_tells_of_the_file_the_root_and_the_last_transactions(site: Site) -> None:
    text = site.text("/")

    assert site.shown.path in text
    assert "Root Shop 0" in text
    assert "dan a circle" in text
    assert "Transactions along the time" in site.get("/").text


def test_an_object_is_shown_with_links(site: Site) -> None:
    answer = site.get("/object/0")

    assert f'href="/{TOKEN}/object/1"' in answer.text
    text = site.text("/object/0")
    assert "class shop.Shop" in text
    assert ".prices PersistentDict 1" in text
    assert "last changed" in text
    assert "by dan description a circle" in text


def test_values_of_unknown_classes_are_shown(site: Site) -> None:
    assert "['tea'] Money(amount=4)" in site.text("/object/1")


def test_a_long_text_unfolds_with_its_lines(site: Site) -> None:
    assert "<pre>needle in a text\nof many lines\n" in site.get("/object/0").text


def test_a_tree_shows_its_items_a_page_at_a_time(site: Site) -> None:
    first = site.text("/object/2")
    assert "['c000'] Cart" in first
    assert "1 to 100 Next 100" in first

    last = site.text("/object/2?from=202")
    assert "['c299'] Cart" in last
    assert "Next 100" not in last


def test_the_tree_goes_around_a_circle_and_shows_the_rest_behind_a_link(site: Site) -> None:
    assert ".friend PersistentList" in site.text("/tree/0")
    friend = re.search(r"\.friend</code> .*?/object/(\d+)", site.get("/tree/0").text)
    assert friend is not None
    assert "[0] Shop 0" in site.text(f"/tree/{friend[1]}?part=1")
    assert "More references" in site.text("/tree/2")
    assert "['c299']" in site.text("/tree/2?part=1&from=290")


def test_the_drawing_is_given_some_references_and_how_many_there_are(site: Site) -> None:
    found = site.get("/neighbours/2").json()

    assert (found["oid"], found["short"], found["trouble"]) == (2, "BTree", "")
    assert found["references"][0]["way"] == "['c000']"
    assert found["references"][0]["title"] == "owner 0"
    assert len(found["references"]) == found["next"] == 12
    assert found["more"] == 100
    assert site.get("/neighbours/2?from=295").json()["more"] == 0


def test_the_history_has_the_values_before_and_after(site: Site) -> None:
    text = site.text("/history/1")

    assert "['tea'] Money(amount=3) Items part value .amount 3 Money(amount=4)" in text
    assert "['jam'] 7 absent" in text
    assert f"bob{QUOTED}: dearer" in text


def test_a_long_history_goes_on_behind_a_link(path: Path, open_site: Callable[..., Site]) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentDict(n=0))
        transaction.commit()
        for number in range(1, 30):
            change(database, n=number)
    site = open_site(path)

    first = site.get("/history/0").text
    older = re.search(r'href="/a-token(/history/0\?until=\d+)"', first)
    assert older is not None
    assert "['n'] 28 29" in site.text("/history/0")
    assert "['n'] 0 1" in site.text(older[1])


def test_the_transactions_are_listed_with_the_failed_ones(
    path: Path, open_site: Callable[[Path], Site]
) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        change(database, tea=1)
        fail(path, database, user="eve")
    site = open_site(path)

    assert "eve failed: conflict: " in site.text("/transactions")
    failed = next(each.tid for each in site.shown.storage.transactions() if each.failed)
    assert "It failed: it has changed nothing" in site.text(f"/transaction/{failed}")


def test_the_transactions_are_listed_a_page_at_a_time(
    path: Path, open_site: Callable[[Path], Site]
) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        for number in range(60):
            change(database, number=number)
    site = open_site(path)

    older = re.search(r'href="/a-token(/transactions\?until=\d+)"', site.get("/transactions").text)
    assert older is not None
    assert site.get("/transactions").text.count("/transaction/") == 50
    assert site.get(older[1]).text.count("/transaction/") == 10
    assert "The newest" in site.text(older[1])


def test_a_transaction_tells_what_it_has_changed(site: Site) -> None:
    made, dearer, *_ = site.tids()

    text = site.text(f"/transaction/{dearer}")
    assert "PersistentDict 1 changed" in text
    assert "['jam'] 7 absent" in text
    assert "Shop 0 made" in site.text(f"/transaction/{made}")
    assert f"/transaction/{made}" in site.get(f"/transaction/{dearer}").text
    carts = site.tids()[2]
    assert "more objects" in site.text(f"/transaction/{carts}")


def test_sizes_are_a_plot_and_a_table(site: Site) -> None:
    answer = site.get("/sizes")

    assert 'class="treemap"' in answer.text
    assert "shop.Cart 300" in site.text("/sizes")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("class=shop.Cart&value=owner+17", ["owner 17", "owner 170", "owner 179"]),
        ("class=Cart&attribute=owner&value=OWNER+299", [".owner 'owner 299'"]),
        ("class=sh*p", ["Shop 0"]),
        ("value=needle", [".notes"]),
        ("value=oid+1", ["Shop 0", ".prices"]),
        ("class=PersistentDict&attribute=tea", ["['tea'] Money(amount=4)"]),
        ("attribute=owner&value=no+such", ["That is all, of "]),
        ("value=1&class=PersistentDict", [f"{QUOTED}"]),
    ],
)
def test_the_search_finds(site: Site, query: str, expected: list[str]) -> None:
    text = site.text(f"/search?{query}")

    assert [each for each in expected if each not in text] == []


def test_the_search_stops_when_there_is_enough_to_look_at(site: Site) -> None:
    answer = site.get("/search?class=Cart")

    assert len(re.findall(r'<tr><th scope="row"><span|<tr><th scope="row"><a', answer.text)) == 50
    part = re.search(r'data-next="/a-token([^"]*)" data-full="50"', answer.text)
    assert part is not None
    assert "owner 50" in site.text(unescape(part[1]))


def test_referrers_are_found_with_their_ways(site: Site) -> None:
    text = site.text("/referrers/0")

    assert "PersistentList" in text
    assert "._items[0]" in text


def test_an_object_is_found_by_its_oid_and_by_a_way(site: Site) -> None:
    for to in ("1", "prices", "/prices"):
        answer = site.get("/go", params={"to": to})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/{TOKEN}/object/1")
    answer = site.get("/go", params={"to": "prices/nothing"})
    assert answer.status_code == 404
    assert "has no &#x27;nothing&#x27;" in answer.text


# -- as of then ------------------------------------------------------------------------


def test_a_page_shows_the_database_as_of_then(site: Site) -> None:
    opened = site.tids()[0]

    text = site.text(f"/object/1?at={opened}")
    assert "Money(amount=3)" in text
    assert "['jam'] 7" in text
    assert f'href="/{TOKEN}/history/1?at={opened}"' in site.get(f"/object/1?at={opened}").text
    assert "the past transaction 1 of 4 " in re.sub(
        r"\s*<[^>]*>\s*", " ", site.get(f"/object/1?at={opened}").text
    )
    assert site.get(f"/object/20?at={opened}").status_code == 404
    assert "Cart" not in site.text(f"/sizes?at={opened}")


def test_the_slider_leads_to_the_n_th_transaction_and_its_end_to_now(site: Site) -> None:
    second = site.get("/object/1?n=2&from=0")
    last = site.get("/object/1?n=4")

    assert second.status_code == last.status_code == 303
    assert second.headers["location"] == f"/{TOKEN}/object/1?from=0&at={site.tids()[1]}"
    assert last.headers["location"] == f"/{TOKEN}/object/1"
    slider = re.search(r'<input type="range"[^>]*>', site.get("/object/1").text)
    assert slider is not None
    assert 'min="1" max="4" value="4"' in slider[0]
    assert "disabled" not in slider[0]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("at=1", 200),  # Before the first one there is no root.
        ("at=9999999999999999999", 404),
        ("at=99999999999999999999", 400),
        ("at=-1", 400),
        ("at=yesterday", 400),
        ("at=\u0661", 400),
        ("n=x", 400),
        ("from=x", 400),
    ],
)
def test_a_moment_that_is_none_is_told(site: Site, query: str, status: int) -> None:
    answer = site.get(f"/object/0?{query}")

    assert answer.status_code == status
    assert "<h1>" in answer.text


def test_what_is_committed_meanwhile_is_on_the_next_page(site: Site, path: Path) -> None:
    with Database(path) as database:
        add_honey(database)

    assert "['honey'] 12" in site.text("/object/1")
    site.shown.moments.catch_up()
    assert len(site.shown.moments) == 5


# -- bad input -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked", ["/", "/object/0", "/a-toke/", "/a-token2/", "/static/page.js", "//", "/\u00e4/"]
)
def test_without_the_token_nothing_is_told(site: Site, asked: str) -> None:
    answer = site.client.get(asked)

    assert answer.status_code == 404
    assert site.shown.path not in answer.text
    assert "Shop" not in answer.text
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize(
    "host", ["", "example.com", "127.0.0.1", "127.0.0.1:8001", "example.com:8000", "a-token"]
)
def test_by_another_name_nothing_is_told(site: Site, host: str) -> None:
    answer = site.get("/", headers={"host": host})

    assert answer.status_code == 403
    assert "Shop" not in answer.text


def test_localhost_is_this_machine(site: Site) -> None:
    assert site.get("/", headers={"host": "LOCALHOST:8000"}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_the_pages_are_for_reading(site: Site, method: str) -> None:
    answer = site.client.request(method, f"/{TOKEN}/object/0")

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_the_token_alone_leads_to_the_first_page(site: Site) -> None:
    answer = site.client.get(f"/{TOKEN}")

    assert (answer.status_code, answer.headers["location"]) == (307, f"/{TOKEN}/")


def test_the_address_for_the_command_line_works_once(site: Site) -> None:
    once = site.guard.once

    first, second = site.client.get(f"/{once}"), site.client.get(f"/{once}")
    assert (first.status_code, first.headers["location"]) == (303, f"/{TOKEN}/")
    assert second.status_code == 404
    assert site.get("/").status_code == 200


@pytest.mark.parametrize(
    "asked",
    [
        "/../other.log",
        "/%2e%2e/other.log",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/%2Fetc%2Fpasswd",
        "/static/app.py",
        "//etc/passwd",
        "/object/0/../../other.log",
        "/other.log",
    ],
)
def test_a_path_of_another_file_is_no_page(site: Site, path: Path, asked: str) -> None:
    path.with_name("other.log").write_bytes(path.read_bytes())

    answer = site.get(asked)
    assert answer.status_code == 404
    assert "root:" not in answer.text
    assert "Guard" not in answer.text


def test_a_query_does_not_lead_to_another_database(site: Site, path: Path) -> None:
    other = path.with_name("other.log")
    with Database(TransactionLog(other, sync=False)) as database:
        database.set_root(PersistentDict(secret="hush"))
        transaction.commit()

    answer = site.get("/object/0", params={"path": str(other), "to": str(other)})
    assert "hush" not in answer.text
    assert "Shop" in answer.text


@pytest.mark.parametrize(
    ("oid", "status"),
    [
        ("999999", 404),
        ("9999999999999999999", 404),
        ("-1", 400),
        ("x", 400),
        ("1.5", 400),
        ("\u0662", 400),
        ("99999999999999999999999", 400),
    ],
)
@pytest.mark.parametrize("page", ["object", "tree", "drawing", "history", "referrers"])
def test_an_object_that_is_not_there_is_told(site: Site, page: str, oid: str, status: int) -> None:
    answer = site.get(f"/{page}/{oid}")

    assert answer.status_code == status
    assert 'role="alert"' in answer.text
    assert "To the overview" in answer.text


@pytest.mark.parametrize("start", [sys.maxsize, 10**19 - 1])
def test_a_listing_that_begins_behind_its_end_is_empty(site: Site, start: int) -> None:
    assert "no attributes and no items" in site.text(f"/object/1?from={start}")
    assert "refers to no object" in site.text(f"/tree/1?from={start}")
    assert "That is all" in site.text(f"/search?value=x&from={start}")
    assert site.get(f"/neighbours/1?from={start}").json()["references"] == []
    assert site.get(f"/transaction/{site.tids()[0]}?from={start}").status_code == 200


def test_a_number_with_too_many_digits_is_no_oid(site: Site) -> None:
    assert "is no oid" in site.text(f"/go?to={'9' * 5000}", 404)


def test_parts_and_transactions_that_are_not_there_are_told(site: Site) -> None:
    assert "there is no object with oid 999999" in site.text("/tree/999999?part=1")
    assert site.get("/neighbours/999999").json()["trouble"] == "not stored"
    assert "no transaction of this tid" in site.text("/transaction/5", 404)
    assert site.get("/events?since=x").status_code == 400


def test_no_root_yet(path: Path, open_site: Callable[..., Site]) -> None:
    with Database(path) as database:
        database.set_root(PersistentDict())
        transaction.commit()
    site = open_site(path)

    for page in ("/", "/object/0", "/tree/0", "/drawing/0", "/history/0", "/sizes"):
        assert site.get(f"{page}?at=1").status_code == 200
    assert "There is no root yet" in site.text("/object/0?at=1")
    assert "There are no objects" in site.text("/sizes?at=1")


def test_what_is_damaged_is_shown_as_damaged_and_the_rest_goes_on(
    shop: Path, open_site: Callable[..., Site]
) -> None:
    damage(shop, b"owner 17")
    site = open_site(shop)
    found = site.text("/search?class=Cart")
    broken = re.search(r"owner 16 .* \? (\d+) damaged: .* owner 18", found)
    assert broken is not None
    oid = broken[1]

    assert f"oid {oid}: damaged. " in site.text(f"/object/{oid}")
    assert site.get(f"/neighbours/{oid}").json()["trouble"].startswith("damaged: ")
    assert "damaged: " in site.text("/tree/2")
    assert "owner 18" in site.text("/tree/2")
    for page in ("tree", "drawing", "history", "referrers"):
        assert site.get(f"/{page}/{oid}").status_code == 200
    assert "shop.Cart" in site.text("/sizes")
    for tid in site.tids():
        assert site.get(f"/transaction/{tid}").status_code == 200


def test_a_damaged_root_leaves_the_rest(shop: Path, open_site: Callable[..., Site]) -> None:
    for text in (b"needle in a text", b"needle in a text"):
        damage(shop, text)
    site = open_site(shop)

    assert "damaged" in site.text("/")
    assert "damaged" in site.text("/object/0")
    assert "dan a circle" in site.text("/")
    assert "['tea']" in site.text("/object/1")


def test_damaged_transactions_leave_those_before_and_behind_them(
    path: Path, open_site: Callable[[Path], Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else a log as small as that is read whole when it is opened, and refused.
    monkeypatch.setattr("dobbin_like.log.writing.writable._SAVE_AT_CLOSE_ENTRIES", 1)
    with Database(TransactionLog(path, sync=False)) as database:
        for number in range(30):
            transaction.get().note(f"note {number:02}")
            change(database, n=number)
    damage(path, b"note 10")
    damage(path, b"note 20")
    site = open_site(path)
    site.shown.moments.catch_up()

    assert len(site.shown.moments) == 10 + 9
    assert "transaction 19 of 19; some are damaged" in site.get("/").text
    text = site.text("/transactions")
    assert "The time line: damaged. " in text
    assert "note 29" in text
    assert "note 21" in text
    assert "What is before: damaged. " in text
    first = site.get("/object/0?n=3").headers["location"].removeprefix(f"/{TOKEN}")
    assert "['n'] 2" in site.text(first)
    assert "['n'] 29" in site.text("/object/0")


@pytest.mark.slow
def test_a_file_that_is_packed_while_it_is_shown(site: Site, path: Path) -> None:
    opened = site.tids()[0]
    assert site.get(f"/object/1?at={opened}").status_code == 200
    with Database(path) as database:
        database.pack()
        add_honey(database)

    assert "['honey'] 12" in site.text("/object/1")
    answer = site.get(f"/object/1?at={opened}")
    assert answer.status_code == 410
    assert "To the overview" in answer.text
    assert "packed 1 time" in site.text("/")
    site.shown.moments.catch_up()
    assert site.get("/object/1?n=1").status_code == 303
    assert site.get(site.get("/object/1?n=1").headers["location"].removeprefix(f"/{TOKEN}"))
    assert "['honey'] absent 12" in site.text("/history/1")


@pytest.mark.slow
def test_a_large_value_is_cut(path: Path, open_site: Callable[..., Site]) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(
            PersistentDict(
                text="x" * 300_000,
                data=bytes(300_000),
                number=10**5000,
                keys={10**5000: 1, (10**5000, "x"): 2, frozenset([1]): {10**5000}},
                many=list(range(10_000)),
                deep=[[[[[["deep"]]]]]],
            )
        )
        transaction.commit()
    site = open_site(path)

    answer = site.get("/object/0")
    assert len(answer.text) < 100_000
    assert "300,000 characters in all" in answer.text
    assert "300,000 bytes" in answer.text
    assert "10,000 in all" in answer.text
    for page in ("/", "/history/0", "/search?value=x", "/search?value=9999"):
        assert len(site.get(page).text) < 100_000
    assert "[9999]" in site.text("/search?value=9999")


def cart_with(value: Any) -> PersistentDict:
    return PersistentDict(value=value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "times", "expected"),
    [
        ("/", 0.1, "Root"),
        ("/object/1", 1.2, "12,000,000 characters in all"),
        ("/object/2", 1.2, "12,000,000 bytes"),
        ("/object/3", 1.2, "4,000,000 characters in all"),
        ("/tree/0", 1.2, "PersistentDict"),
        ("/history/1", 4.4, "12,000,000 characters"),
        ("/search?value=x-at-the-end&from=1", 2.6, "12,000,000 characters in all"),
        ("/search?value=not-there&from=3", 1.3, "That is all, of 4 objects"),
    ],
)
def test_a_large_value_is_read_and_not_built(
    path: Path, open_site: Callable[..., Site], page: str, times: float, expected: str
) -> None:
    size = 12_000_000
    with Database(TransactionLog(path, sync=False)) as database:
        text = "x" * (size - 11) + "-At-The-End"
        large = [text, b"x" * size, "\u20ac" * (size // 3)]
        database.set_root(PersistentDict(enumerate(map(cart_with, large))))
        transaction.commit()
        checkout(database.root[0])
        database.root[0]["value"] = text[::-1]
        transaction.commit()
        checkout(database.root[0])
        database.root[0]["value"] = text
        transaction.commit()
    del large, text
    site = open_site(path)
    site.shown.moments.catch_up()
    site.get("/live")

    gc.collect()
    tracemalloc.start()
    try:
        found = site.text(page)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert expected in found
    assert peak < times * size + 3_000_000


def test_characters_that_nobody_sees_are_shown_as_escapes(
    path: Path, open_site: Callable[..., Site]
) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentDict(name="evil\u202etxt.exe\x00\x1b[31m\ud800"))
        transaction.commit()
    site = open_site(path)

    for page in ("/", "/object/0", "/search?value=evil", "/tree/0", "/history/0"):
        assert re.findall("[\u202e\x00\x1b]", site.get(page).text) == []
    assert "\\u202e" in site.get("/object/0").text


def test_references_as_keys_and_members_are_links(
    path: Path, open_site: Callable[..., Site]
) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        one = Thing()
        database.set_root(PersistentDict({one: 1, "set": frozenset([one])}))
        transaction.commit()
    site = open_site(path)

    assert site.get("/object/0").text.count(f'href="/{TOKEN}/object/1"') >= 2
    ways = [each["way"] for each in site.get("/neighbours/0").json()["references"]]
    assert len(ways) == 2


def test_a_file_that_is_replaced_while_it_is_shown_is_told(
    shop: Path, open_site: Callable[[Path], Site]
) -> None:
    backup = shop.with_name("backup.log")
    with Database(shop) as database:
        database.backup(backup)
        add_honey(database)
    site = open_site(shop)
    restore(backup, shop)

    for page in ("/", "/object/0", "/transactions"):
        text = site.text(page, 500)
        assert "restored from a backup" in text
        assert "start dobbin browse again" in text


def test_a_file_that_can_not_be_followed_is_told(site: Site, path: Path) -> None:
    with Database(path) as database:
        database.pack()
    path.unlink()
    path.symlink_to(path)

    for page in ("/", "/object/0", "/transactions"):
        assert "symbolic links" in site.text(page, 500)


def test_a_log_that_is_closed_is_told(site: Site) -> None:
    site.shown.close()

    answer = site.get("/object/0")
    assert answer.status_code == 500
    assert "closed" in answer.text
