"""OO7 without a store: a module in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.oo7 import build, schema

if TYPE_CHECKING:
    from pathlib import Path


def _nothing(*_arguments: Any) -> None:
    pass


classes = schema(object, __name__, _nothing)


class Store:
    """Makes what others have stored."""

    def __init__(self, path: Path | str) -> None:
        self.begin = self.commit = self.close = self.set_root = _nothing

    def module(self) -> Any:
        return build(classes)
