"""``Past``: what a database tells of its past."""

from __future__ import annotations


class Past:
    """The part of a database that asks about what was. Mixed into ``Database``."""
