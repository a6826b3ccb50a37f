"""A persistent class of which nothing is special."""

from __future__ import annotations

from typing import Any

from dobbin_like import Persistent


class Thing(Persistent):
    """Has the attributes that it is made with."""

    def __init__(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)
