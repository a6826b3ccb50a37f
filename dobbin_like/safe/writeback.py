"""For ``writeback``: the returned values, which are stored again if they were changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dobbin_like.objects.values.values import StateComparison
from dobbin_like.safe.groups import Group


class Kept:
    """By key, the value that the program has, and the stored one. Each step is atomic."""

    def __init__(self) -> None:
        self._pairs: dict[Any, tuple[Any, Any]] = {}

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._pairs))

    def value(self, key: Any, default: Any) -> Any:
        return self._pairs.get(key, (default,))[0]

    def hand_out(self, key: Any, value: Any, stored: Any) -> Any:
        """Return *value*, or the one that another thread has got for *key* meanwhile."""
        return self._pairs.setdefault(key, (value, stored))[0]

    def assigned(self, group: Group, key: Any, value: Any, stored: Any) -> None:
        """Note an assignment in *group*; it is undone if the group is rolled back."""
        self._replace(group, key, (value, stored))

    def removed(self, group: Group, key: Any) -> None:
        """Note the removal of a key in *group*; undone like an assignment."""
        self._replace(group, key, None)

    def _replace(self, group: Group, key: Any, pair: tuple[Any, Any] | None) -> None:
        before = self._pairs.get(key)
        self._put(key, pair)
        group.undone.append(lambda: self._put(key, before))

    def _put(self, key: Any, pair: tuple[Any, Any] | None) -> None:
        if pair is None:
            self._pairs.pop(key, None)
        else:
            self._pairs[key] = pair

    def changed(self) -> dict[Any, Any]:
        """Return the values that differ from the stored ones. Cost: comparing all."""
        return {
            key: value
            for key, (value, stored) in list(self._pairs.items())
            if not StateComparison().same(stored, value)
        }

    def clear(self) -> None:
        self._pairs = {}
