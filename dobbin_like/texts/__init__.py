"""Parts of texts: numbers with what they count (1 object, 2 objects), paths and URIs."""

from __future__ import annotations

import re


def counted(number: int, noun: str) -> str:
    """Return *number* and *noun*, in the plural unless there is one of it."""
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"


def scheme_of(where: str) -> str:
    """Return the scheme of a URI; empty: it is a path."""
    scheme, colon, _ = where.partition(":")
    return scheme if colon and scheme.isalnum() and scheme.islower() else ""


def is_uri(where: str) -> bool:
    """Return whether it is a URI, and no path."""
    return "://" in where or bool(scheme_of(where))


_PASSWORD = re.compile(
    r"(//[^:@/?]*:)(?!\d*(?:[,/?]|$))(?:[^?]*|.*)(?=@)|(password=)[^&]*"  # If not quoted, too.
)


def shown(where: str) -> str:
    """Return a path, or a URI without its password, as it may be printed."""
    if not is_uri(where):
        return where
    return _PASSWORD.sub(r"\1\2...", where)
