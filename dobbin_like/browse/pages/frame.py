"""What is around every page: the head with its navigation, and the slider through the time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Final

from dobbin_like.browse.html import Html, el, join
from dobbin_like.browse.pages.ask import Ask, Page
from dobbin_like.cli.text import local_time
from dobbin_like.exc import Error

_TABS: Final = {
    "objects": ("Objects", "/object/0"),
    "transactions": ("Transactions", "/transactions"),
    "sizes": ("Sizes", "/sizes"),
    "search": ("Search", "/search"),
    "live": ("Live", "/live"),
}

_SCRIPTS: Final = ("page.js", "graph.js", "live.js")


def framed(ask: Ask, page: Page) -> Html:
    """Return the whole page."""
    name = PurePath(ask.shown.path).name
    scripts = [
        el("script", src=f"{ask.prefix}/static/{script}", defer=True) for script in _SCRIPTS
    ]
    head = _head(ask.prefix, f"{page.title} - {name}", scripts)
    main = el("main", page.body, id="main", tabindex="-1")
    skip = el("a", "Skip to the content", href="#main", class_="skip")
    body = el("body", skip, _header(ask, page, name), main, data_prefix=ask.prefix)
    return join(Html("<!doctype html>\n"), el("html", head, body, lang="en"), Html("\n"))


def bare(prefix: str, page: Page) -> Html:
    """Return a page of a file of which nothing can be shown any more."""
    body = el("body", el("main", page.body))
    return join(Html("<!doctype html>\n"), el("html", _head(prefix, page.title), body, lang="en"))


def _head(prefix: str, title: str, scripts: Iterable[Html] = ()) -> Html:
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", title),
        el("link", rel="stylesheet", href=f"{prefix}/static/page.css"),
        el("link", rel="icon", href=f"{prefix}/static/icon.svg", type="image/svg+xml"),
        scripts,
    )


def _header(ask: Ask, page: Page, name: str) -> Html:
    tabs = [
        el("a", label, href=ask.url(path), aria_current="page" if tab == page.tab else None)
        for tab, (label, path) in _TABS.items()
    ]
    home = el("a", name, href=ask.url("/"), class_="home", title=ask.shown.path)
    return el(
        "header",
        el("div", home, el("nav", tabs, aria_label="Pages", id="tabs"), _jump(ask), class_="bar"),
        _moment(ask),
    )


def _jump(ask: Ask) -> Html:
    return el(
        "form",
        el("label", "Go to an object", for_="jump", class_="unseen"),
        el(
            "input",
            type="search",
            name="to",
            id="jump",
            placeholder="oid, or carts/ann",
            autocomplete="off",
            required=True,
        ),
        _at(ask),
        el("button", "Go"),
        action=f"{ask.prefix}/go",
        role="search",
        class_="jump",
    )


def _at(ask: Ask) -> Html | None:
    return None if ask.at is None else el("input", type="hidden", name="at", value=ask.at)


def _moment(ask: Ask) -> Html:
    """Return the slider: a form, which a script submits while one drags."""
    moments = ask.shown.moments
    count = len(moments)
    number = count if ask.at is None else moments.number(ask.at)
    kept = [
        el("input", type="hidden", name=name, value=value)
        for name, value in ask.query.items()
        if name not in ("at", "n", "part")
    ]
    slider = el(
        "input",
        type="range",
        name="n",
        id="slider",
        min=1,
        max=max(count, 1),
        value=max(number, 1),
        disabled=not (moments.ready and count > 1),
        aria_describedby="moment-text",
    )
    form = el(
        "form",
        el("label", "As of", for_="slider"),
        slider,
        kept,
        el("button", "Show", class_="scriptless"),
        action=f"{ask.prefix}{ask.path}",
        id="time-form",
    )
    state = "past" if ask.at is not None else "now"
    return el("div", form, _moment_text(ask, number, count), class_="moment", data_state=state)


def _moment_text(ask: Ask, number: int, count: int) -> Html:
    query = {name: v for name, v in ask.query.items() if name not in ("at", "n", "part")}
    if ask.at is None:
        what = "now" if ask.shown.moments.ready else "now; reading the time line"
        some = "" if ask.shown.moments.error is None else "; some are damaged"
        told = f" transaction {count:,} of {count:,}{some}" if count else " empty"
        parts = [el("strong", what), told]
    else:
        back = el("a", "Back to now", href=ask.url(ask.path, **{**query, "at": None}))
        parts = [
            el("strong", "the past"),
            f" transaction {number:,} of {count:,} ",
            back,
            f" {local_time(ask.at)}{_who(ask)}",
        ]
    news = el("span", id="news", data_tid=ask.sight.storage.tid, role="status")
    return el("p", parts, " ", news, id="moment-text")


def _who(ask: Ask) -> str:
    """Return who made the transaction that the past ends with, and why."""
    moments = ask.shown.moments
    number = moments.number(ask.sight.tid)
    if not number:
        return ""
    try:
        logged = moments.logged(moments.tid(number))
    except Error:
        return ""
    if logged is None:
        return ""
    user = f" by {logged.user}" if logged.user else ""
    return user + (f": {logged.description[:80]}" if logged.description else "")
