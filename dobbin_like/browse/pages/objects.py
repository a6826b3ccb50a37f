"""The pages of an object: its state, and what it leads to, as a tree and as a drawing."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from dobbin_like.browse.html import Html, el, facts, join, table
from dobbin_like.browse.pages import values
from dobbin_like.browse.pages.ask import Ask, Page, damage, nothing, short_class
from dobbin_like.browse.shown import About
from dobbin_like.cli.stored import StoredObject
from dobbin_like.cli.text import class_text, safe
from dobbin_like.exc import Error, IntegrityError, ObjectNotFound
from dobbin_like.ids import ROOT_OID, Oid
from dobbin_like.texts import counted

_PARTS: Final = 100
_BRANCHES: Final = 40
_NEIGHBOURS: Final = 12

_COUNTED: Final = 100
"""References that the drawing could still show; more are not counted."""

_TABS: Final = {
    "object": "State",
    "tree": "Tree",
    "drawing": "Drawing",
    "history": "History",
    "referrers": "Referrers",
}


def head(ask: Ask, tab: str) -> tuple[Html, StoredObject | None]:
    """Return the head of the pages of an object, and the object if it can be read.

    Raises:
        ObjectNotFound: There is no such object; of a root, nothing is raised.
    """
    oid = Oid(ask.number)
    found, trouble = None, None
    try:
        found = ask.sight.get(oid)
        if found is None and oid != ROOT_OID:
            raise ObjectNotFound(oid)
    except IntegrityError as error:
        trouble = damage(error, f"oid {oid}")
    name = short_class(found.class_name) if found else "?"
    tabs = [
        el(
            "a",
            label,
            href=ask.url(f"/{each}/{oid}"),
            aria_current="page" if each == tab else None,
        )
        for each, label in _TABS.items()
    ]
    root = el("span", "root", class_="badge") if oid == ROOT_OID else None
    line = join(
        el("h1", name, " ", el("span", f"oid {oid}", class_="oid"), " ", root),
        el("nav", tabs, aria_label="Views of this object", class_="tabs"),
        trouble,
    )
    if found is None and trouble is None:
        line = join(line, nothing("There is no root yet."))
    return line, found


def title_of(ask: Ask, found: StoredObject | None, what: str) -> str:
    """Return the title of a page of an object."""
    name = short_class(found.class_name) if found else "oid"
    return f"{name} {ask.number}, {what}" if what else f"{name} {ask.number}"


# -- state ---------------------------------------------------------------------------


def state(ask: Ask) -> Page:
    """Show an object: its state, with links."""
    top, found = head(ask, "object")
    body: list[Html] = [top]
    if found is not None:
        body.append(facts(_facts(ask, found)))
        try:
            body.append(_state(ask, found))
        except Error as error:
            body.append(damage(error, "Its state"))
    return Page(title_of(ask, found, ""), join(body), "objects")


def _facts(ask: Ask, found: StoredObject) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [("class", el("code", class_text(found.class_name)))]
    try:
        rows.append(("size", counted(ask.sight.size(found), "byte")))
        logged = ask.sight.storage.transaction_of(found.stored)
        rows.append(("last changed", ask.tid_link(logged.tid)))
        rows += [("by", logged.user)] if logged.user else []
        rows += [("description", logged.description)] if logged.description else []
    except Error as error:
        rows.append(("last changed", damage(error)))
    return rows


def _state(ask: Ask, found: StoredObject) -> Html:
    start = ask.start
    parts = list(islice(ask.sight.parts(found, start), _PARTS + 1))
    if not parts:
        return nothing("It has no attributes and no items.")
    shown = table(("part", "value"), values.parts_rows(ask, parts[:_PARTS]), "State of the object")
    path = f"/object/{ask.number}"
    pages = []
    if start:
        pages.append(ask.link("First", path))
        pages.append(ask.link("Before", path, **{"from": max(0, start - _PARTS)}))
    if len(parts) > _PARTS:
        pages.append(ask.link(f"Next {_PARTS}", path, **{"from": start + _PARTS}))
    if not pages:
        return shown
    count = min(len(parts), _PARTS)
    where = el("span", f"{start + 1:,} to {start + count:,}")
    return join(shown, el("nav", where, pages, aria_label="Parts", class_="pages"))


# -- tree ----------------------------------------------------------------------------


def tree(ask: Ask) -> Page | Html:
    """Show what an object leads to, as a tree; a part of it for a script."""
    if ask.is_part:
        return _branches(ask, ask.number)
    top, found = head(ask, "tree")
    hint = el("p", "What it refers to, and what that refers to. Unfold what you want to see.")
    body = join(top, hint, el("div", _branches(ask, ask.number), class_="tree")) if found else top
    return Page(title_of(ask, found, "tree"), body, "objects")


def _branches(ask: Ask, oid: int) -> Html:
    start = ask.start
    try:
        found = ask.sight.get(oid)
        if found is None:
            raise ObjectNotFound(Oid(oid))
        ways = list(islice(ask.sight.ways(found), start, start + _BRANCHES + 1))
    except Error as error:
        return damage(error) if isinstance(error, IntegrityError) else nothing(str(error))
    if not ways:
        return nothing("It refers to no object.")
    items = [_branch(ask, way, reference.oid) for way, reference in ways[:_BRANCHES]]
    more = None
    if len(ways) > _BRANCHES:
        query = {"from": start + _BRANCHES}
        more = el(
            "li",
            el(
                "a",
                "More references",
                href=ask.url(f"/tree/{oid}", **query),
                data_more=ask.url(f"/tree/{oid}", part=1, **query),
            ),
        )
    return el("ul", items, more)


def _branch(ask: Ask, way: str, oid: int) -> Html:
    about = ask.sight.about(oid)
    label = join(el("code", way, class_="way"), " ", ask.about_link(about))
    if about.trouble:
        return el("li", label, class_="damaged")
    address = ask.url(f"/tree/{oid}", part=1)
    below = el("p", ask.link("Show what it leads to", f"/tree/{oid}"))
    return el("li", el("details", el("summary", label), below, data_load=address, data_oid=oid))


# -- drawing -------------------------------------------------------------------------


def drawing(ask: Ask) -> Page:
    """Show a drawing that grows where one clicks. A script draws it."""
    top, found = head(ask, "drawing")
    if found is None:
        return Page(title_of(ask, found, "drawing"), top, "objects")
    buttons = [
        el("button", label, type="button", data_do=what, title=title, aria_label=spoken)
        for label, what, title, spoken in (
            ("+", "in", "Zoom in", "Zoom in"),
            ("\u2212", "out", "Zoom out", "Zoom out"),
            ("Fit", "fit", "Show all of it", None),
            ("Start anew", "anew", "Show the first object only", None),
        )
    ]
    without = el("noscript", el("p", "The drawing needs scripts. The tree shows the same."))
    body = join(
        top,
        el(
            "p",
            "Click an object, or press Enter on it, and what it refers to appears. Drag to move; "
            "arrow keys go from object to object.",
            id="drawing-help",
        ),
        without,
        el(
            "div",
            el("div", buttons, class_="buttons", role="toolbar", aria_label="Drawing"),
            el("div", id="drawing", aria_describedby="drawing-help"),
            el("div", id="chosen", class_="chosen"),
            class_="drawing",
            data_start=ask.number,
            data_neighbours=ask.url("/neighbours/0"),
            data_object=ask.url("/object/0"),
        ),
        el("p", id="said", role="status", class_="unseen"),
        el(
            "details",
            el("summary", "The drawing as a table"),
            table(("from", "way", "to"), (), "References in the drawing", id="drawn"),
        ),
    )
    return Page(title_of(ask, found, "drawing"), body, "objects")


def neighbours(ask: Ask) -> dict[str, Any]:
    """Return an object, and some that it refers to, for the drawing."""
    start = ask.start
    about = ask.sight.about(ask.number)
    facts_of: dict[str, Any] = _node(about)
    if about.trouble:
        return facts_of
    found = ask.sight.get(ask.number)
    end = start + _NEIGHBOURS + _COUNTED
    ways = [] if found is None else list(islice(ask.sight.ways(found), start, end))
    facts_of["references"] = [
        {"way": safe(way), **_node(ask.sight.about(reference.oid))}
        for way, reference in ways[:_NEIGHBOURS]
    ]
    facts_of["more"] = max(0, len(ways) - _NEIGHBOURS)
    facts_of["next"] = start + _NEIGHBOURS
    return facts_of


def _node(about: About) -> dict[str, Any]:
    name = about.class_name or "?"
    return {
        "oid": about.oid,
        "class": safe(class_text(name)),
        "short": safe(short_class(name)),
        "title": safe(about.title),
        "trouble": safe(about.trouble),
    }
