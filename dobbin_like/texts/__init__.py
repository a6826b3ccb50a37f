"""Numbers with what they count, for texts: 1 object, 2 objects."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return *number* and *noun*, in the plural unless there is one of it."""
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"
