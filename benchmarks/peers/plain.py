"""A limit: plain objects in the memory of one process, and no store."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from benchmarks.peers import make
from benchmarks.peers.keyed import Thing

if TYPE_CHECKING:
    from pathlib import Path


class Store:
    """See the package. All is gone when the process ends."""

    things: list[Thing]

    def __init__(self, path: Path | str, *, sync: bool = False) -> None:
        self.things = []

    def fill(self, count: int) -> None:
        for made in make(Thing, count):
            self.things += made

    def everything(self) -> list[Thing]:
        return self.things

    def read(self) -> int:
        total = 0
        for thing in self.things:
            total += thing.number
        return total

    def pick(self, index: int) -> None:
        self.thing = self.things[index]

    def get(self) -> int:
        return self.thing.number

    def another(self) -> Store:
        return copy.copy(self)

    def close(self) -> None:
        pass
