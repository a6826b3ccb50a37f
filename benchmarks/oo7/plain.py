"""OO7 without a store: a module in memory."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any

from benchmarks.oo7 import build, schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _nothing(*_arguments: Any) -> None:
    pass


class SortedDict:
    """A mapping in the order of its keys, with what the trees of the stores have."""

    def __init__(self) -> None:
        self._keys: list[Any] = []
        self._values: dict[Any, Any] = {}

    def __getitem__(self, key: Any) -> Any:
        return self._values[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        if key not in self._values:
            bisect.insort(self._keys, key)
        self._values[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._values[key]
        del self._keys[bisect.bisect_left(self._keys, key)]

    def keys(self) -> list[Any]:
        return self._keys

    def items(self) -> Iterator[tuple[Any, Any]]:
        return ((key, self._values[key]) for key in self._keys)

    def values(self, min: Any = None, max: Any = None) -> Iterator[Any]:  # noqa: A002
        first = 0 if min is None else bisect.bisect_left(self._keys, min)
        last = len(self._keys) if max is None else bisect.bisect_right(self._keys, max)
        return (self._values[key] for key in self._keys[first:last])


classes = schema(object, SortedDict, __name__, _nothing)


class Store:
    """Makes what others have stored."""

    def __init__(self, path: Path | str) -> None:
        self.begin = self.commit = self.close = self.set_root = _nothing

    def module(self) -> Any:
        return build(classes)
