"""What the pages start with: the same as the narratives."""

from doctests.conftest import _clean_transactions, names

__all__ = ["_clean_transactions", "names"]
