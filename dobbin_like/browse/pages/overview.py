"""The first page: what file it is, its root, and what was done to it last."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from dobbin_like.browse.html import Child, Html, el, facts, join, table
from dobbin_like.browse.pages import values
from dobbin_like.browse.pages.ask import Ask, Page, damage, nothing
from dobbin_like.browse.pages.past import listed, plot
from dobbin_like.browse.pages.sizes import sized
from dobbin_like.cli.text import local_time
from dobbin_like.exc import Error
from dobbin_like.ids import ROOT_OID
from dobbin_like.texts import counted

_PARTS: Final = 12
_TRANSACTIONS: Final = 6


def overview(ask: Ask) -> Page:
    """Show the file, the root, the last transactions. Cost: no object but the root."""
    name = Path(ask.shown.path).name
    rows, trouble = listed(ask, ask.sight.tid, _TRANSACTIONS)
    lines = [
        el(
            "li",
            ask.tid_link(each.tid),
            f" {each.user}" if each.user else None,
            " ",
            el("strong", "failed ") if each.failed else None,
            el("i", each.description[:200]),
        )
        for each in rows
    ]
    last = join(
        el("h2", "Last transactions"),
        el("ol", lines, class_="plain") if lines else nothing("Nothing was committed yet."),
        trouble,
        el("p", ask.link("All transactions", "/transactions"), class_="pages"),
    )
    body = join(
        el("h1", name),
        facts(_facts(ask)),
        plot(ask),
        el("div", el("section", _root(ask)), el("section", last), class_="columns"),
    )
    return Page("Overview", body)


def _facts(ask: Ask) -> Iterator[tuple[str, Child]]:
    storage = ask.shown.storage
    yield "file", el("code", ask.shown.path)
    yield "size", sized(storage.counts().file_bytes)
    yield "objects", f"{storage.oid_count:,}"
    yield "transactions", f"{len(storage):,}"
    since = storage.complete_since
    if since:
        packed = f"{counted(storage.generation, 'time')}; the past begins {local_time(since)}"
        yield "packed", packed
    if storage.tid:
        yield "last commit", ask.tid_link(storage.tid)


def _root(ask: Ask) -> Html:
    try:
        found = ask.sight.get(ROOT_OID)
        if found is None:
            return join(el("h2", "Root"), nothing("There is no root yet."))
        parts = list(islice(ask.sight.parts(found), _PARTS + 1))
    except Error as error:
        return join(el("h2", "Root"), damage(error, "The root"))
    more = ask.link("All of the root", "/object/0")
    views = [more, ask.link("Tree", "/tree/0"), ask.link("Drawing", "/drawing/0")]
    return join(
        el("h2", "Root ", ask.object_link(ROOT_OID, found.class_name)),
        table(("part", "value"), values.parts_rows(ask, parts[:_PARTS]), "State of the root"),
        el("nav", views, aria_label="The root", class_="pages"),
    )
