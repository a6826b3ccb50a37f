"""The values of a state as HTML: short, with links, and more of them where one unfolds."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from dobbin_like.browse.html import Child, Html, el, lines, table
from dobbin_like.browse.pages.ask import Ask
from dobbin_like.cli.stored import Part
from dobbin_like.cli.text import LIMIT
from dobbin_like.cli.values import Content, brackets, content_of
from dobbin_like.objects.codec.shown.preview import Cut
from dobbin_like.objects.codec.state_reader import Reference
from dobbin_like.objects.values.short import ABSENT

_ITEMS: Final = 5
"""Of a collection, inside a line."""

_UNFOLDED: Final = 100
"""Of a collection, below the line."""

_LONG_TEXT: Final = 20_000
"""Characters of a text that are shown when one unfolds it."""

_DEPTH: Final = 3


def value(ask: Ask, given: Any) -> Html:
    """Return a value on a line; what is longer unfolds. Cost: what is shown."""
    if given is ABSENT:
        return el("i", "absent", class_="absent")
    content = content_of(given, ask.sight.name_of)
    if content.items is None and content.pairs is None:
        return _atom(ask, given)
    line = _line(ask, given, _DEPTH)
    count = len(content.items or ()) + len(content.pairs or ())
    if not count:
        return line
    parts = islice(ask.sight.parts(given), _UNFOLDED)
    shown = parts_table(ask, parts, "Items")
    more = count - _UNFOLDED
    rest = el("p", f"and {more:,} more; see dobbin show", class_="nothing") if more > 0 else None
    return el("details", el("summary", line), shown, rest)


def parts_table(ask: Ask, parts: Iterable[Part], caption: str) -> Html:
    """Return what is in an object or a value, one part on a line."""
    rows = [(_label(ask, part), short(ask, part.value)) for part in parts]
    return table(("part", "value"), rows, caption)


def parts_rows(ask: Ask, parts: Iterable[Part]) -> list[tuple[Child, Child]]:
    """Return the rows of a table, whose values unfold."""
    return [(_label(ask, part), value(ask, part.value)) for part in parts]


def _label(ask: Ask, part: Part) -> Child:
    if type(part.key) is Reference:
        return el("span", "[", ask.reference_link(part.key), "]")
    return el("code", part.label or "-")


def short(ask: Ask, given: Any) -> Html:
    """Return a value on a line, and no more of it."""
    return _line(ask, given, _DEPTH)


def _atom(ask: Ask, given: Any) -> Html:
    text, size = given, 0
    if type(given) is Cut:
        text, size = given.head, given.size
    if type(text) is not str or not (len(text) > LIMIT or "\n" in text):
        return _line(ask, given, 1)
    size = size or len(text)
    more = f"\n... {size:,} characters in all" if size > _LONG_TEXT else ""
    unfolded = el("pre", lines(text[:_LONG_TEXT]), more)
    return el("details", el("summary", _line(ask, given, 1)), unfolded)


def _line(ask: Ask, given: Any, depth: int) -> Html:
    """Return a value as one would write it in Python; references are links."""
    if type(given) is Reference:
        return ask.reference_link(given)
    content = content_of(given, ask.sight.name_of)
    if content.items is None and content.pairs is None:
        return el("code", content.text, class_=_kind(given))
    return el("code", _collection(ask, content, depth))


def _kind(given: Any) -> str:
    if isinstance(given, (str, bytes, Cut)):
        return "text"
    return "number" if isinstance(given, (int, float)) else "other"


def _collection(ask: Ask, content: Content, depth: int) -> list[Child]:
    shown: list[Child] = []
    count = 0
    for items in (content.items, content.pairs):
        if items is None:
            continue
        count += len(items)
        for item in islice(items, max(0, _ITEMS - len(shown)) if depth > 0 else 0):
            shown.append(_item(ask, content, item, depth - 1, in_pairs=items is content.pairs))
    if count > len(shown):
        shown.append(f"... {count:,} in all" if shown else "...")
    inside: list[Child] = []
    for number, each in enumerate(shown):
        inside += [", "] * bool(number) + [each]
    head, tail = brackets(content.name, count)
    return [head, inside, tail]


def _item(ask: Ask, content: Content, item: Any, depth: int, *, in_pairs: bool) -> Child:
    if not in_pairs:
        return _line(ask, item, depth)
    key, inner = item
    if content.kind == "array":  # The attributes of a value of the application.
        return [f"{key}=", _line(ask, inner, depth)]
    return [_line(ask, key, depth), ": ", _line(ask, inner, depth)]
