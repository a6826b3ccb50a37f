"""Finding objects: by class and by the values of their attributes; and who refers to one."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import islice
from typing import Final

from dobbin_like.browse.html import Child, Html, el, join, row
from dobbin_like.browse.pages import values
from dobbin_like.browse.pages.ask import Ask, Page, nothing
from dobbin_like.browse.pages.objects import head, title_of
from dobbin_like.browse.scans import Hit, Slice, like, referrers_of, scan
from dobbin_like.cli.common import reason
from dobbin_like.cli.text import class_text
from dobbin_like.exc import Error
from dobbin_like.objects.codec.policy import VALUE_TYPES
from dobbin_like.texts import counted

_PREVIEW: Final = 6
"""Attributes of an object."""


def search(ask: Ask) -> Page | Html:
    """Show a form, and what it finds; a part of it for a script."""
    asked = [ask.word(name) for name in ("class", "attribute", "value")]
    if ask.is_part:
        return _found(ask, *asked)
    known = known_classes(ask)
    found = _found(ask, *asked) if any(asked) else None
    names = [el("option", value=name) for name in sorted(known)[:2000]]
    form = el(
        "form",
        _field("class", "Class", asked[0], "shop.models.Cart, Cart or shop.*", "classes"),
        _field("attribute", "Attribute", asked[1], "owner; empty: any"),
        _field("value", "Value", asked[2], "Ada; empty: any"),
        el("input", type="hidden", name="at", value=ask.at) if ask.at is not None else None,
        el("button", "Search"),
        el("datalist", names, id="classes"),
        action=f"{ask.prefix}/search",
        class_="search",
        aria_label="Search objects",
    )
    hint = el(
        "p",
        "A text is found by a part of it, another value by what Python prints: 3, None, "
        "2026-01-31. Keys and items of collections are found, too; a reference by ",
        el("code", "oid 17"),
        ". An object by its oid, or by the way to it: the field at the top.",
        class_="hint",
    )
    body = join(el("h1", "Search"), form, found or hint)
    return Page("Search", body, "search")


def _field(name: str, label: str, given: str, hint: str, options: str | None = None) -> Html:
    field = el(
        "input",
        name=name,
        id=f"search-{name}",
        value=given,
        placeholder=hint,
        list=options,
        autocomplete="off",
        spellcheck="false",
    )
    return el("div", el("label", label, for_=f"search-{name}"), field)


def known_classes(ask: Ask) -> set[str]:
    """Return the names of all classes that the log knows."""
    rows = ask.sight.storage.names.rows().classes
    return {f"{module}.{name}" for _, module, name in rows if module not in VALUE_TYPES}


def _classes_like(ask: Ask, name: str) -> set[str]:
    known = known_classes(ask)
    return {each for each in known if each == name} or {
        each
        for each in known
        if each.endswith(f".{name}") or class_text(each) == name or fnmatchcase(each, name)
    }


def _found(ask: Ask, name: str, attribute: str, wanted: str) -> Html:
    classes = _classes_like(ask, name) if name else None
    if classes is not None and not classes:
        return nothing(f"There is no class {name!r}.")
    look = like(ask.sight, classes, attribute, wanted)
    found = scan(ask.sight, ask.start, look)
    query = {"class": name, "attribute": attribute, "value": wanted}
    return results(ask, found, "/search", query)


def results(ask: Ask, found: Slice, path: str, query: dict[str, str]) -> Html:
    """Return the rows of a slice, with how far it is, and the way to go on."""
    rows = [_row(ask, hit) for hit in found.hits]
    start = ask.start
    if ask.is_part:
        return join(el("table", el("tbody", rows)), _state(ask, found, path, query))
    shown = el(
        "table",
        el("caption", "Objects that were found", class_="unseen"),
        el(
            "thead",
            el("tr", [el("th", head, scope="col") for head in ("object", "what was found")]),
        ),
        el("tbody", rows, data_results=True),
    )
    first = f"from oid {start:,} on" if start else ""
    return el("section", first, shown, _state(ask, found, path, query), aria_label="Results")


def _row(ask: Ask, hit: Hit) -> Html:
    if hit.error is not None:
        name = hit.found.class_name if hit.found else "?"
        trouble = el("span", f"damaged: {reason(hit.error)}", class_="trouble")
        return row((ask.object_link(hit.oid, name), trouble), class_="damaged")
    cells: list[Child] = [ask.about_link(ask.sight.about(hit.oid))]
    what: list[Child] = [el("code", hit.way, class_="way")] if hit.way else []
    if hit.value is not None:
        what += [" ", values.value(ask, hit.value)]
    return row((*cells, what or _preview(ask, hit)))


def _preview(ask: Ask, hit: Hit) -> Child:
    """Return the first attributes of an object: what dobbin find shows of it."""
    try:
        state = {} if hit.found is None else ask.sight.state(hit.found)
    except Error as error:
        return el("span", f"damaged: {reason(error)}", class_="trouble")
    shown = islice(state.items(), _PREVIEW)
    return [
        [el("span", f"{name} ", class_="way"), values.short(ask, each), "  "]
        for name, each in shown
    ]


def _state(ask: Ask, found: Slice, path: str, query: dict[str, str]) -> Html:
    """Return how far the search is. A script replaces it by that of the next slice."""
    if found.next is None:
        text = f"That is all, of {counted(found.total, 'object')}."
        return el("p", text, data_state="done", class_="nothing", role="status")
    done = el("progress", value=found.next, max=found.total, aria_label="Looked at")
    where = ask.url(path, **query, **{"from": found.next})
    part = ask.url(path, **query, **{"from": found.next, "part": 1})
    # A script goes on by itself, until there is enough to look at.
    go_on = el("a", "Go on", href=where, data_next=part, data_full=len(found.hits) or None)
    share = f" {found.next:,} of {found.total:,} "
    return el("p", done, share, go_on, data_state="more", class_="state")


def referrers(ask: Ask) -> Page | Html:
    """Show which objects refer to one."""
    look = referrers_of(ask.sight, ask.number)
    path = f"/referrers/{ask.number}"
    if ask.is_part:
        return results(ask, scan(ask.sight, ask.start, look), path, {})
    top, found = head(ask, "referrers")
    shown = results(ask, scan(ask.sight, ask.start, look), path, {})
    hint = el("p", "All objects are looked through, with those that nothing leads to.")
    return Page(title_of(ask, found, "referrers"), join(top, hint, shown), "objects")
