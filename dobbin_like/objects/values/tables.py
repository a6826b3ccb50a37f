"""Collections as tables of a notebook. Imported when one is shown, and loads no object for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from html import escape
from itertools import islice
from typing import Any, Final

from dobbin_like.objects.values.short import short
from dobbin_like.texts import counted

_ROWS: Final = 20


def table_of(collection: Any) -> str:
    """Return the beginning of a collection as HTML. Cost: what is shown."""
    heads: tuple[str, ...] = ("item",)
    rows: Iterable[tuple[Any, ...]] = ((item,) for item in collection)
    if isinstance(collection, Mapping):
        heads, rows = ("key", "value"), collection.items()
    elif isinstance(collection, Sequence):
        heads, rows = ("", "item"), enumerate(collection)
    elif isinstance(collection, Set):
        heads = ("member",)
    title = f"{type(collection).__name__}, {counted(len(collection), heads[-1])}"
    shown = [[short(value) for value in row] for row in islice(rows, _ROWS)]
    if len(collection) > len(shown):
        shown.append(["..."] * len(heads))
    return table(title, heads, shown)


def table(title: str, heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return texts as a table in HTML; nothing in them is taken for markup."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    lines = [f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows]
    top = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f"<table><caption>{escape(title)}</caption>{top}<tbody>{''.join(lines)}</tbody></table>"
