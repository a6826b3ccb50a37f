"""What the stores with indexes are asked, of random objects."""

from __future__ import annotations

import random


class Questions:
    """Random keys: numbers from 0 up, and a tenth as many names."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._random = random.Random(1)

    def number(self) -> int:
        return self._random.randrange(self.count)

    def owner(self) -> str:
        return f"owner {self._random.randrange(self.count // 10)}"
