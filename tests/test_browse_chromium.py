"""``dobbin browse`` in a real browser: what scripts add, the keyboard, and the pictures.

The pictures of the documentation are made here:
``DOBBIN_LIKE_SCREENSHOTS=docs/howto/browse pytest -m "" tests/test_browse_chromium.py``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dobbin_like.database import Database
from dobbin_like.demo.model import Library
from dobbin_like.demo.parse import parse
from dobbin_like.demo.workers import store
from dobbin_like.persistent import PersistentDict, checkout
from dobbin_like.storage import TransactionLog
from tests.helpers.browsing import MARKUP, commit, make_shop
from tests.helpers.chromium import Browser, chromium
from tests.helpers.processes import ROOT
from tests.helpers.transactions import change, fail
from tests.test_browse_server import browsing

pytestmark = pytest.mark.slow

PICTURE_BYTES = 100_000


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures are saved: for the documentation, or for nobody."""
    wanted = os.environ.get("DOBBIN_LIKE_SCREENSHOTS")
    place = Path(wanted).absolute() if wanted else tmp_path / "pictures"
    place.mkdir(exist_ok=True)
    return place


def save(browser: Browser, place: Path, name: str) -> None:
    browser.save(place / f"{name}.png")
    if "DOBBIN_LIKE_SCREENSHOTS" in os.environ:
        assert (place / f"{name}.png").stat().st_size < PICTURE_BYTES
    page = (ROOT / "docs/howto/browse.rst").read_text("utf-8")
    assert f"browse/{name}.png" in page


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """What dobbin demo makes of some modules; the pictures tell no path of a machine."""
    path = tmp_path / "library.log"
    source = Path(json.__file__).parents[1]
    places = sorted([*source.glob("json/*.py"), *source.glob("email/*.py")])
    files = {
        ".".join(each.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): str(
            each.relative_to(source)
        )
        for each in places
    }
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(Library("/usr/lib/python3", "3", files))
        commit("", "the list of files")
        for number, (name, place) in enumerate(files.items()):
            facts = parse(source, name, place, files)
            store(database.root, facts, f"worker {number % 3 + 1}")
    return path


def check_names(browser: Browser) -> None:
    """Check that a screen reader has a name for whatever can have the focus."""
    nodes = browser.window.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    focusable = [
        node
        for node in nodes
        if not node["ignored"]
        and node.get("role", {}).get("value") not in ("RootWebArea", "generic", "main")
        and any(
            each["name"] == "focusable" and each["value"].get("value")
            for each in node.get("properties", ())
        )
    ]
    assert len(focusable) > 5
    assert [node for node in focusable if not node.get("name", {}).get("value")] == []


def test_one_finds_the_way_through_the_pages(
    library: Path, tmp_path: Path, pictures: Path
) -> None:
    with browsing(library, "--no-open") as running, chromium(tmp_path / "profile") as browser:
        browser.open(running.address)
        assert "library.log" in browser.text("h1")
        check_names(browser)

        browser.find("#tabs a").click()
        browser.wait("document.querySelector('h1').textContent.startsWith('Library')")
        assert "/usr/lib/python3" in browser.text("main")
        save(browser, pictures, "object")

        browser.open(f"{running.address}tree/0")
        browser.find(".tree summary").send_keys(" ")
        browser.wait("document.querySelectorAll('.tree details details').length > 5")
        browser.js("document.querySelectorAll('.tree details details summary')[2].focus()")
        browser.press("ENTER")
        browser.wait("document.querySelector('.tree details details[open] li')")
        check_names(browser)
        save(browser, pictures, "tree")

        browser.open(f"{running.address}drawing/0")
        browser.wait("document.querySelector('#drawing').dataset.settled >= 5")
        for oid in (1, 4):
            node = f"document.querySelector('.node[data-oid=\"{oid}\"]')"
            browser.js(f"{node}.focus({{preventScroll: true}})")
            before = browser.js("return document.querySelectorAll('.node').length")
            browser.press("ENTER")
            browser.wait(f"document.querySelectorAll('.node').length > {before}")
        assert "objects appeared" in browser.js("return said.textContent")
        names = "[...document.querySelectorAll('#drawing [role], .buttons button')]"
        labels = browser.js(f"return {names}.map(e => e.getAttribute('aria-label'))")
        assert {"Zoom in", "Zoom out"} <= {*labels}
        assert [label for label in labels if " ," in (label or "")] == []
        browser.press("ARROW_UP")
        assert browser.js("return document.activeElement.getAttribute('role')") == "button"
        assert browser.js("return document.querySelectorAll('#drawn tr').length") >= 15
        browser.wait("document.querySelector('#drawing').dataset.settled")
        check_names(browser)
        save(browser, pictures, "drawing")
        browser.js("document.querySelector('.node[data-oid=\"1\"]').focus()")
        browser.press("ARROW_LEFT", "ARROW_RIGHT")
        count = browser.js("return document.querySelectorAll('.node').length")
        fold = (
            "[...document.querySelectorAll('#chosen button')].find(e => e.textContent === 'Fold')"
        )
        if browser.js(f"return Boolean({fold})"):
            browser.js(f"{fold}.click()")
            browser.wait(f"document.querySelectorAll('.node').length < {count}")
        browser.find("button[data-do=anew]").click()
        browser.wait("document.querySelectorAll('.node').length === 5")

        browser.open(f"{running.address}history/1")
        assert "worker " in browser.text("main")
        save(browser, pictures, "history")
        browser.open(f"{running.address}transactions")
        save(browser, pictures, "transactions")
        browser.open(f"{running.address}sizes")
        browser.wait(
            "document.querySelector('main [role=status]')?.textContent.includes('bytes')"
            " || document.querySelector('main').textContent.includes('kB')"
        )
        assert "Function" in browser.text(".treemap")
        check_names(browser)
        save(browser, pictures, "sizes")

        browser.open(f"{running.address}search")
        browser.find("#search-class").send_keys("Function")
        browser.find("#search-value").send_keys("header")
        browser.press("ENTER")
        browser.wait("document.querySelectorAll('tbody[data-results] tr').length >= 20")
        check_names(browser)
        save(browser, pictures, "search")
        browser.find("#jump").send_keys("modules/json.decoder")
        browser.press("ENTER")
        browser.wait("document.querySelector('h1').textContent.startsWith('Module')")

        assert browser.hosts() == {f"127.0.0.1:{running.port}"}
        assert browser.complaints() == []
        assert running.stop() == (0, "")


def test_the_slider_shows_the_database_as_of_then_and_keeps_the_focus(
    path: Path, tmp_path: Path, pictures: Path
) -> None:
    make_shop(path)
    with browsing(path, "--no-open") as running, chromium(tmp_path / "profile") as browser:
        browser.open(f"{running.address}object/1")
        browser.wait("!document.querySelector('#slider').disabled")
        assert "'jam'" not in browser.text("main")
        browser.js("slider.focus()")
        browser.press("ARROW_LEFT", "ARROW_LEFT", "ARROW_LEFT")
        browser.wait("document.querySelector('main').textContent.includes(\"'jam'\")")
        assert browser.js("return document.activeElement.id") == "slider"
        assert "at=" in browser.window.current_url
        assert browser.text("#moment-text").startswith("the past transaction 1 of 4")
        save(browser, pictures, "past")

        # What is drawn is as of then, too.
        browser.find(".tabs a:nth-child(3)").click()
        browser.wait("document.querySelector('#drawing')?.dataset.settled")
        browser.js("slider.focus()")
        browser.press("HOME")
        browser.find("#moment-text a").click()
        browser.wait("!location.search.includes('at=')")

        for page in ("", "object/0", "tree/0", "transactions", "search?value=alert", "sizes"):
            browser.open(running.address + page)
            # Were a name taken for markup, it would be an element, or open a dialog.
            assert (
                browser.js("return document.querySelectorAll('main script, main img').length") == 0
            )
        browser.open(f"{running.address}object/0")
        assert MARKUP in browser.text("main")
        browser.js("document.activeElement.blur()")
        browser.press("TAB")
        assert browser.js("return document.activeElement.className") == "skip"
        browser.press("ENTER")
        assert browser.js("return document.activeElement.id") == "main"
        assert browser.complaints() == []
        assert running.stop() == (0, "")


def test_labels_between_two_objects_do_not_cover_each_other(path: Path, tmp_path: Path) -> None:
    with Database(path) as database:
        both = PersistentDict()
        database.set_root(PersistentDict(one=both, other=both))
        checkout(both)
        both["back"] = database.root
        commit("", "a circle")
    with browsing(path, "--no-open") as running, chromium(tmp_path / "profile") as browser:
        browser.open(f"{running.address}drawing/0")
        browser.wait("document.querySelector('#drawing').dataset.settled")
        browser.js("document.querySelector('.node[data-oid=\"1\"]').focus()")
        browser.press("ENTER")
        browser.wait("document.querySelectorAll('.edge-label').length === 3")
        rows = "[...document.querySelectorAll('.edge-label')].map(e => e.getAttribute('y'))"
        browser.wait(f"new Set({rows}).size === 3")
        assert browser.complaints() == []


def test_a_server_that_has_ended_is_told_and_what_is_drawn_stays(
    path: Path, tmp_path: Path
) -> None:
    make_shop(path)
    with browsing(path, "--no-open") as running, chromium(tmp_path / "profile") as browser:
        browser.open(f"{running.address}tree/0")
        pages = browser.window.current_window_handle
        browser.wait("document.querySelector('#slider').max > 1")
        browser.window.switch_to.new_window("tab")
        browser.open(f"{running.address}drawing/0")
        browser.wait("document.querySelector('#drawing').dataset.settled >= 5")
        count = browser.js("return document.querySelectorAll('.node').length")
        assert running.stop() == (0, "")

        browser.wait("document.querySelector('#news').textContent.startsWith('not connected')")
        browser.find("button[data-do=anew]").click()
        browser.wait("document.querySelector('#chosen').textContent.includes('has dobbin browse')")
        browser.js("document.querySelector('.node[data-oid=\"1\"]').focus()")
        browser.press("ENTER", "ENTER")
        browser.wait("document.querySelector('#said').textContent.includes('has dobbin browse')")
        assert browser.js("return document.querySelectorAll('#chosen [data-told]').length") == 1
        assert browser.js("return document.querySelectorAll('.node').length") == count

        browser.window.switch_to.window(pages)
        browser.wait("document.querySelector('#news').textContent.startsWith('not connected')")
        browser.find(".tree summary").send_keys(" ")
        browser.wait("document.querySelector('.tree details[open][data-load] a')")


def test_commits_and_conflicts_are_seen_as_they_come(
    path: Path, tmp_path: Path, pictures: Path
) -> None:
    with Database(path) as database:
        change(database, tea=3)
        with (
            browsing(path, "--no-open") as running,
            chromium(tmp_path / "profile", (760, 700)) as browser,
        ):
            browser.open(f"{running.address}live")
            browser.wait("document.querySelector('#connection').textContent === 'connected'")
            for number in range(12):
                checkout(database.root)
                database.root[f"tea {number}"] = number
                commit(f"worker {number % 3 + 1}", f"tea number {number}")
            fail(path, database, user="worker 2")
            checkout(database.root)
            database.root["tea"] = 5
            commit("ann", f"the last {MARKUP}")
            browser.wait("document.querySelectorAll('#feed li').length >= 15")
            assert MARKUP in browser.text("#feed")
            assert browser.text("[data-count=failed]") == "1"
            assert "PersistentDict 1" in browser.text("#conflicts")
            browser.wait("document.querySelectorAll('#rates rect').length >= 2")
            browser.js("feed.querySelectorAll('.fresh').forEach(e => e.classList.remove('fresh'))")
            save(browser, pictures, "live")
            check_names(browser)

            browser.find("#pause").click()
            count = browser.js("return feed.children.length")
            change(database, tea=6)
            browser.wait("document.querySelector('[data-count=commits]').textContent !== '0'")
            assert browser.js("return feed.children.length") == count
            browser.find("#pause").click()
            browser.wait(f"feed.children.length > {count}")

            browser.open(f"{running.address}object/0")
            browser.wait("document.querySelector('#slider').max > 1")
            change(database, tea=7)
            browser.find("#news a").click()
            browser.wait("document.querySelector('main').textContent.includes('7')")
            assert browser.complaints() == []
            assert running.stop() == (0, "")
