"""Objects to pack, and what is there before and after."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import transaction

from dobbin_like import Persistent, PersistentFile, checkout

if TYPE_CHECKING:
    from pathlib import Path


LONG = bytes(range(256)) * 1000


class Node(Persistent):
    """An object with a number, and others that it leads to."""

    def __init__(self, n: int = 0) -> None:
        self.n = n
        self.others: list[Node] = []


def change(obj: Any, **attributes: Any) -> int:
    """Set attributes in a transaction of their own; return its tid."""
    transaction.begin()
    checkout(obj)
    for name, value in attributes.items():
        setattr(obj, name, value)
    transaction.commit()
    return obj._p_serial


def content(root: Any) -> Any:
    """Return all that can be reached, as plain values; the same object once."""
    numbers: dict[int, int] = {}
    found: list[Any] = []
    todo = [root]
    while todo:
        node = todo.pop()
        if node._p_oid not in numbers:
            numbers[node._p_oid] = len(found)
            found.append((node._p_oid, node.n, [other._p_oid for other in node.others]))
            todo += node.others
    return sorted(found)


def leftovers(path: Path) -> list[str]:
    return [name for name in os.listdir(path.parent) if name != path.name]  # noqa: PTH208


def stored(data: bytes) -> PersistentFile:
    return PersistentFile(io.BytesIO(data))
