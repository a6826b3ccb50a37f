"""The parts of ``dobbin browse`` that know no page: markup, scans, counts, moments, plots."""

from __future__ import annotations

import asyncio
import configparser
import tracemalloc
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like.database import Database
from dobbin_like.ids import DELTA, Tid
from dobbin_like.persistent import PersistentDict, PersistentList, checkout
from dobbin_like.storage import TransactionLog
from tests.helpers.browsing import make_shop
from tests.helpers.processes import ROOT
from tests.helpers.transactions import change, fail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("rich")

from dobbin_like.browse.html import Html, el, join, text
from dobbin_like.browse.moments import Moments
from dobbin_like.browse.news import News
from dobbin_like.browse.plots import Rectangle, squarified
from dobbin_like.browse.scans import Counting, Countings, like, referrers_of, scan
from dobbin_like.browse.shown import Shown
from dobbin_like.cli.stored import StoredObject


@pytest.fixture
def shown(path: Path) -> Iterator[Shown]:
    make_shop(path)
    found = Shown(str(path))
    yield found
    found.close()


def test_a_wheel_has_the_files_that_are_served() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")

    assert setup["options.package_data"]["dobbin_like.browse"] == "static/*"
    assert "dobbin_like/browse/static" in (ROOT / "MANIFEST.in").read_text("utf-8")
    assert (ROOT / "dobbin_like/browse/static/page.css").is_file()


def test_a_text_is_escaped_and_an_element_is_not() -> None:
    assert el("p", "<b>", el("b", 1), None, ["&", ("x",)]) == "<p>&lt;b&gt;<b>1</b>&amp;x</p>"
    assert el("a", href='"x"', class_="y", hidden=True, title=None) == (
        '<a href="&quot;x&quot;" class="y" hidden></a>'
    )
    assert el("input", data_x=False, aria_label="y") == '<input aria-label="y">'
    assert join("<", Html("<br>")) == "&lt;<br>"


@given(st.text())
def test_no_text_becomes_markup(given_text: str) -> None:
    made = text(given_text)

    assert "<" not in made
    assert '"' not in made
    assert made.isprintable()


def test_a_search_in_pieces_finds_what_one_finds(shown: Shown) -> None:
    with shown.sight() as sight:
        for look in (like(sight, None, "owner", "9"), referrers_of(sight, 0)):
            whole: list[int] = []
            start: int | None = 0
            pieces = 0
            while start is not None:
                found = scan(sight, start, look, seconds=0)
                assert found.next is None or found.next > start
                whole += [hit.oid for hit in found.hits]
                start = found.next
                pieces += 1
            at_once = [oid for oid in range(found.total) if look(sight.get(oid))]
            assert whole == at_once
            assert pieces > 2


def test_who_refers_to_an_object_is_found_beside_a_state_of_many(path: Path) -> None:
    """The ways to all its references were made first: three times what the state takes."""
    with Database(TransactionLog(path, sync=False)) as database, database.transaction():
        first, last = PersistentDict(), PersistentDict()
        database.set_root(PersistentList([first] * 20_000 + [last]))
    shown = Shown(str(path))
    with shown.sight() as sight:
        root = sight.get(0)
        assert root is not None
        oid = sight.references(root)[-1]
        peaks = []
        for look in (sight.state, referrers_of(sight, oid)):
            tracemalloc.start()
            try:
                hit = look(root)
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
        assert hit.way.endswith("[20000]")
        del hit
    shown.close()
    assert peaks[1] < 1.2 * peaks[0]


def test_a_state_with_deltas_takes_no_more_memory_and_goes_after_a_look(path: Path) -> None:
    """It was written, and read again; and its references stayed until the next one was read."""
    with Database(TransactionLog(path, sync=False)) as database:
        with database.transaction():
            leaf = PersistentDict()
            database.set_root(PersistentList([leaf] * 20_000))
        with database.transaction() as root:
            checkout(root)
            root.append(leaf)
    shown = Shown(str(path))
    with shown.sight() as sight:
        found = sight.get(0)
        assert found is not None
        assert found.stored.number & DELTA
        *_, first = sight.versions(found.oid)
        assert isinstance(first, StoredObject)
        peaks = []
        for version in (first, found):
            sight.state(version)  # What stays for good.
            tracemalloc.start()
            try:
                state = sight.state(version)
                peaks.append(tracemalloc.get_traced_memory()[1])
                assert len(state["_items"]) == 20_000 + len(peaks) - 1
                del state
                assert tracemalloc.get_traced_memory()[0] < peaks[-1] / 10
            finally:
                tracemalloc.stop()
    shown.close()
    assert peaks[1] < 1.1 * peaks[0]


def test_a_search_looks_at_the_clock_after_every_object(shown: Shown) -> None:
    with shown.sight() as sight:
        assert scan(sight, 5, like(sight, None, "", "no such"), seconds=0).next == 6


def test_a_search_keeps_few_large_objects(path: Path) -> None:
    with Database(TransactionLog(path, sync=False)) as database, database.transaction():
        database.set_root(PersistentList(PersistentDict(v="x" * 9_000_000) for _ in range(4)))
    shown = Shown(str(path))
    with shown.sight() as sight:
        found = scan(sight, 0, like(sight, None, "v", ""), seconds=1000)
        assert [hit.oid for hit in found.hits] == [1, 2]
        assert found.next == 3
    shown.close()


@pytest.mark.parametrize("oid", range(4))
def test_parts_from_a_place_on_are_those_that_are_left(shown: Shown, oid: int) -> None:
    with shown.sight() as sight:
        found = sight.get(oid)
        assert found is not None
        whole = list(sight.parts(found))
        for start in (0, 1, 2, 5, 100, len(whole), len(whole) + 1):
            assert list(sight.parts(found, start)) == whole[start:]


def test_a_count_in_pieces_is_the_census(shown: Shown) -> None:
    expected = {each.name: (each.objects, each.bytes) for each in shown.database.census().classes}
    with shown.sight() as sight:
        counting = Counting(sight.tid)
        pieces = 0
        while not counting.is_done:
            counting.go_on(sight, seconds=0)
            pieces += 1
    assert pieces > 2
    assert {name: (count, size) for name, count, size in counting.rows()} == expected


def test_a_count_goes_on_where_it_was_unless_it_is_long_ago(shown: Shown) -> None:
    countings = Countings()
    first = countings.of(1)

    assert countings.of(1) is first
    for tid in range(2, 7):
        countings.of(tid)
    assert countings.of(1) is not first


def test_moments_know_every_transaction_by_its_number(path: Path) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        tids = []
        for number in range(5):
            change(database, number=number)
            tids.append(database.tid)
        fail(path, database)
        shown = Shown(str(path))
        moments: Moments = shown.moments
        assert (len(moments), moments.ready, moments.buckets(7)) == (0, False, [])

        moments.catch_up()
        assert moments.ready
        committed = [each.tid for each in shown.storage.transactions() if not each.failed]
        assert [moments.tid(n) for n in range(1, len(moments) + 1)] == committed
        assert [moments.number(tid) for tid in tids] == [1, 2, 3, 4, 5]
        assert moments.number(tids[0] - 1) == 0
        assert moments.tid(0) == tids[0]
        assert moments.tid(999) == committed[-1]
        change(database, number=9)
        shown.catch_up()
        moments.catch_up()
        assert len(moments) == len(committed) + 1
        shown.close()


def test_buckets_have_every_transaction_once(path: Path) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        for number in range(20):
            change(database, number=number)
        fail(path, database)
    shown = Shown(str(path))
    shown.moments.catch_up()
    for count in (1, 3, 120):
        buckets = shown.moments.buckets(count)
        assert len(buckets) == count
        assert sum(each.commits for each in buckets) == len(shown.moments)
        assert sum(each.failed for each in buckets) == 1
        assert all(a.until == b.since for a, b in pairwise(buckets))
    shown.close()


def test_moments_of_a_packed_log_begin_with_its_past(path: Path) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        for number in range(5):
            change(database, number=number)
        shown = Shown(str(path))
        shown.moments.catch_up()
        database.pack()
        change(database, number=9)
        shown.catch_up()
        shown.moments.catch_up()

        first = shown.moments.tid(1)
        with shown.sight(first) as sight:
            assert sight.get(0) is not None
        assert len(shown.moments) <= 2
        shown.close()


@given(st.lists(st.integers(1, 10**12), max_size=60))
def test_areas_are_as_the_sizes_and_fill_the_plot(sizes: list[int]) -> None:
    sizes.sort(reverse=True)
    found = squarified(sizes, Rectangle(0, 0, 960, 380))

    assert len(found) == len(sizes)
    total = sum(sizes)
    for size, place in zip(sizes, found, strict=True):
        assert place.width * place.height == pytest.approx(
            960 * 380 * size / total, rel=1e-3, abs=1e-3
        )
        assert place.x >= -1e-6
        assert place.x + place.width <= 960.01
        assert place.y + place.height <= 380.01


def test_transactions_are_found_at_once_and_as_the_log_has_them(path: Path) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        for number in range(5):
            change(database, number=number)
        fail(path, database)
        shown = Shown(str(path))
        moments: Moments = shown.moments
        for is_known in (False, True):
            if is_known:
                moments.catch_up()
            everything = list(shown.storage.transactions(newest_first=True))
            assert list(moments.newest_first(shown.storage.tid)) == everything
            assert list(moments.newest_first(everything[2].tid)) == everything[2:]
            assert list(moments.newest_first(everything[-1].tid - 1)) == []
            assert [moments.logged(each.tid) for each in everything] == everything
            assert moments.logged(everything[0].tid - 1) is None
            tids = [each.tid for each in everything]
            assert [moments.after(tid) for tid in tids] == [None, *tids[:-1]]
        change(database, number=9)
        shown.catch_up()
        newest = next(moments.newest_first(shown.storage.tid))
        assert newest.tid == shown.storage.tid == moments.after(everything[0].tid)
        database.pack()
        shown.catch_up()
        # What is known is of the file before.
        left = list(shown.storage.transactions(newest_first=True))
        assert moments.logged(newest.tid).tid == newest.tid
        moments.catch_up()
        assert list(moments.newest_first(shown.storage.tid)) == left
        shown.close()


def told(news: News, last: int, count: int) -> list[str]:
    """Return the first *count* parts of a stream that begins behind *last*."""

    async def read() -> list[str]:
        parts: list[str] = []
        async for part in news.stream(Tid(last)):
            parts.append(part)
            if len(parts) == count:
                break
        return parts

    return asyncio.run(read())


def test_who_is_far_behind_is_told_that_some_are_left_out(path: Path) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        for number in range(210):
            change(database, number=number)
    shown = Shown(str(path))
    parts = told(News(shown, lambda: False), 0, 202)

    assert parts[0] == "retry: 1000\n\n"
    assert all("event: transaction\n" in part for part in parts[1:200])
    assert parts[-1].startswith(f"id: {shown.storage.tid}\nevent: skipped\n")
    tids = [each.tid for each in shown.storage.transactions()]
    assert f"id: {tids[-1]}\n" in told(News(shown, lambda: False), tids[-2], 2)[1]
    shown.close()


def test_a_stream_ends_with_the_server_and_with_the_log(path: Path) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        change(database, number=1)
    shown = Shown(str(path))
    closing = []

    async def run() -> list[str]:
        news = News(shown, lambda: bool(closing))
        watching = asyncio.create_task(news.watch())
        parts = []
        async for part in news.stream(Tid(0)):
            parts.append(part)
            if len(parts) == 2:  # Nothing more is there: it waits for the end.
                asyncio.get_running_loop().call_later(0.01, closing.append, True)
        await watching
        return parts

    assert len(asyncio.run(run())) == 2
    assert shown.moments.ready
    shown.close()
    assert "closed" in told(News(shown, lambda: False), 0, 2)[1]
