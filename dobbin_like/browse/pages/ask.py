"""What a browser asks for, and what a page answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlencode

from dobbin_like.browse.html import Child, Html, el, text
from dobbin_like.browse.shown import About, Shown, Sight
from dobbin_like.cli.common import reason
from dobbin_like.cli.text import class_text, local_time
from dobbin_like.exc import Error
from dobbin_like.ids import Tid
from dobbin_like.objects.codec.state_reader import Reference

_END: Final = 1 << 62
"""Behind the end of every listing."""


class WrongAskError(Exception):
    """The address has something that is no value of its kind."""


class Ask(NamedTuple):
    """One request: for which page, of which object or transaction, as of when."""

    shown: Shown
    sight: Sight
    prefix: str
    """Of all addresses: the token."""

    path: str
    query: Mapping[str, str]
    number: int = 0
    """An oid or a tid, where the path has one."""

    at: Tid | None = None
    """None: as of now."""

    @property
    def is_part(self) -> bool:
        """Whether a script asks for a part of a page that is there already."""
        return "part" in self.query

    def integer(self, name: str, default: int = 0) -> int:
        """Return a number of the query."""
        return integer(self.query.get(name) or str(default), name)

    @property
    def start(self) -> int:
        """Where the part of a long listing begins that is asked for."""
        return min(self.integer("from"), _END)

    def word(self, name: str) -> str:
        """Return a text of the query, without spaces around it."""
        return self.query.get(name, "").strip()

    def url(self, path: str, **query: int | str | None) -> str:
        """Return the address of a page, as of the same moment unless *query* has another."""
        asked = {"at": self.at, **query}
        pairs = {name: value for name, value in asked.items() if value not in (None, "")}
        return f"{self.prefix}{path}" + (f"?{urlencode(pairs)}" if pairs else "")

    # -- links ----------------------------------------------------------------------

    def link(self, label: Child, path: str, **query: int | str | None) -> Html:
        """Return a link to a page."""
        return el("a", label, href=self.url(path, **query))

    def object_link(self, oid: int, class_name: str, title: str = "") -> Html:
        """Return a link to an object."""
        return el(
            "a",
            el("b", short_class(class_name)),
            f" {oid}",
            el("i", " ", title) if title else None,
            href=self.url(f"/object/{oid}"),
            title=f"{class_text(class_name)} oid {oid}",
            class_="object",
        )

    def reference_link(self, reference: Reference) -> Html:
        """Return a link to what a reference refers to."""
        return self.object_link(reference.oid, self.sight.name_of(reference.class_number))

    def about_link(self, about: About) -> Html:
        """Return a link to an object with what is known of it."""
        link = self.object_link(about.oid, about.class_name or "?", about.title)
        return el("span", link, " ", el("em", about.trouble)) if about.trouble else link

    def tid_link(self, tid: int) -> Html:
        """Return a link to a transaction, by its time."""
        return self.link(el("time", local_time(tid)), f"/transaction/{tid}")


class Page(NamedTuple):
    """An answer: what is in the frame."""

    title: str
    body: Html
    tab: str = ""
    """The part of the navigation it belongs to."""

    status: int = 200


def integer(value: str, name: str) -> int:
    """Return a number that is not negative, or raise WrongAskError."""
    if value.isascii() and value.isdecimal() and len(value) < 20:
        return int(value)
    message = f"{name} is {value[:60]!r}, expected a number that is not negative"
    raise WrongAskError(message)


def short_class(name: str) -> str:
    """Return the name of a class without its module."""
    return name.rpartition(".")[2] or "?"


def damage(error: Error, what: str = "") -> Html:
    """Return the box that stands in the place of what can't be read."""
    head = f"{what}: damaged. " if what else "Damaged. "
    return el("p", el("strong", head), text(reason(error)), class_="damaged", role="note")


def nothing(message: str) -> Html:
    """Return the line that stands in the place of an empty listing."""
    return el("p", message, class_="nothing")
