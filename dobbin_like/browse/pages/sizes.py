"""The page of sizes: how many objects and bytes there are of each class."""

from __future__ import annotations

from typing import Final

from dobbin_like.browse.html import Html, el, join, table
from dobbin_like.browse.pages.ask import Ask, Page, damage, nothing
from dobbin_like.browse.plots import Item, treemap
from dobbin_like.browse.scans import Counting, Countings
from dobbin_like.cli.text import class_text
from dobbin_like.texts import counted

_BOXES: Final = 60
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


def sizes(ask: Ask, countings: Countings) -> Page | Html:
    """Show the classes as areas and as a table; a part of it for a script."""
    counting = countings.of(ask.sight.tid)
    counting.go_on(ask.sight)
    if ask.is_part:
        return _shown(ask, counting)
    return Page("Sizes", join(el("h1", "Sizes by class"), _shown(ask, counting)), "sizes")


def _shown(ask: Ask, counting: Counting) -> Html:
    rows = counting.rows()
    objects, size = sum(count for _, count, _ in rows), sum(taken for _, _, taken in rows)
    if counting.is_done:
        told = f"{counted(objects, 'object')}, {sized(size)}, in {counted(len(rows), 'class')}."
        state = el("p", told, role="status")
    else:
        done = el("progress", value=counting.next, max=counting.total, aria_label="Counted")
        share = f" {counting.next:,} of {counting.total:,} counted "
        part = ask.url("/sizes", part=1)
        state = el("p", done, share, el("a", "Go on", href=ask.url("/sizes"), data_again=part))
    plotted = [
        Item(
            class_text(name),
            float(taken),
            f"{sized(taken)}, {counted(count, 'object')}",
            ask.url("/search", **{"class": name}),
        )
        for name, count, taken in rows[:_BOXES]
    ]
    damaged = [damage(error, f"oid {oid}") for oid, error in counting.damaged]
    if not rows:
        return el("section", state, damaged, nothing("There are no objects."))
    return el("section", state, damaged, treemap(plotted), _table(ask, rows, size))


def _table(ask: Ask, rows: list[tuple[str, int, int]], size: int) -> Html:
    cells = [
        (
            ask.link(class_text(name), "/search", **{"class": name}),
            f"{count:,}",
            f"{taken:,}",
            f"{taken / max(count, 1):,.0f}",
            el("meter", f"{taken / max(size, 1):.1%}", value=taken, max=max(size, 1)),
        )
        for name, count, taken in rows
    ]
    heads = ("class", "objects", "bytes", "bytes each", "share")
    return el("div", table(heads, cells, "Sizes by class"), class_="figures")


def sized(size: int) -> str:
    """Return a number of bytes as people say it."""
    number, unit = float(size), 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return counted(size, "byte") if not unit else f"{number:.3g} {_UNITS[unit]}"
