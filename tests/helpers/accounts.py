"""Classes of which tests have indexes, and functions over them."""

from __future__ import annotations

import enum
from typing import Any

from dobbin_like import Persistent


class Account(Persistent):
    """Has the attributes that it is made with."""

    def __init__(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)

    @property
    def initial(self) -> str:
        """Of the owner."""
        return str(self.owner[0])  # type: ignore[attr-defined]


class Savings(Account):
    """A subclass."""


class Other(Persistent):
    """Has nothing to do with it, but has an owner."""

    def __init__(self, owner: str) -> None:
        self.owner = owner


class Kind(enum.Enum):
    """A value that has no order of its own."""

    PRIVATE = "p"
    SHARED = "s"


def last_name(account: Any) -> Any:
    """Return the end of the name of the owner."""
    return account.owner.split()[-1]
