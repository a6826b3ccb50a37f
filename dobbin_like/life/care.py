"""``Care``: what looks after the log of a database over the years."""

from __future__ import annotations


class Care:
    """The part of a database that looks after its log. Mixed into ``Database``."""
