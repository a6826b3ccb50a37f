"""HTML that is escaped because of how it is made: a text is text, and only elements are markup."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

from dobbin_like.cli.text import safe

_VOID: Final = frozenset({"br", "hr", "input", "link", "meta"})


class Html(str):
    """Markup. Made by the functions of this module only."""

    __slots__ = ()


Child = str | int | None | Iterable["Child"]
"""What may be in an element: markup, texts, numbers, nothing, and several of them."""

Value = str | int | bool | None
"""Of an attribute. None and False leave it out, True is one without a value."""


def text(value: object) -> Html:
    """Return a text as markup, with escapes for what no browser would show."""
    return Html(escape(safe(str(value))))


def lines(value: str) -> Html:
    """Return a text of several lines as markup."""
    return Html("\n".join(text(line) for line in value.split("\n")))


def join(*children: Child) -> Html:
    """Return the markup of *children*, one behind the other."""
    return Html("".join(_flat(children)))


def el(name: str, /, *children: Child, **attributes: Value) -> Html:
    """Return an element.

    A ``_`` at the end of the name of an attribute is left out, others become ``-``.
    """
    head = "".join(
        f" {_name(key)}" if value is True else f' {_name(key)}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{head}>")
    return Html(f"<{name}{head}>{join(*children)}</{name}>")


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _flat(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if isinstance(child, Html):
            yield child
        elif isinstance(child, (str, int)):
            yield text(child)
        elif child is not None:
            yield from _flat(child)


def table(
    heads: Iterable[str], rows: Iterable[Iterable[Child]], caption: str, **more: Value
) -> Html:
    """Return a table. The first cell of a row is its head; a caption is read, and not seen."""
    return el(
        "table",
        el("caption", caption, class_="unseen"),
        el("thead", el("tr", [el("th", head, scope="col") for head in heads])),
        el("tbody", [row(cells) for cells in rows], **more),
    )


def row(cells: Iterable[Child], **attributes: Value) -> Html:
    """Return a row of a table."""
    first, *rest = cells
    return el("tr", el("th", first, scope="row"), [el("td", cell) for cell in rest], **attributes)


def facts(pairs: Iterable[tuple[str, Child]]) -> Html:
    """Return names with what they stand for."""
    return el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in pairs])
