"""What ``writeback`` keeps: values that were handed out, to be stored when they were changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dobbin_like.objects.values.values import StateComparison

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dobbin_like.safe.groups import Group


class Kept:
    """By key, the value that the program has, and what is stored for it.

    Any thread may use it: each step is one of a dict.
    """

    def __init__(self) -> None:
        self._pairs: dict[Any, tuple[Any, Any]] = {}

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._pairs))

    def value(self, key: Any, default: Any) -> Any:
        """Return the value that the program has, *default* if it has none."""
        return self._pairs.get(key, (default,))[0]

    def hand_out(self, key: Any, value: Any, stored: Any) -> Any:
        """Return *value*, or what another thread was handed out for *key* meanwhile."""
        return self._pairs.setdefault(key, (value, stored))[0]

    def assigned(self, group: Group, key: Any, value: Any, stored: Any) -> None:
        """Note what *group* assigns; it is as before if that is taken back."""
        self._replace(group, key, (value, stored))

    def removed(self, group: Group, key: Any) -> None:
        """Note that *group* removes a key; it is as before if that is taken back."""
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
        """Return the values that are not any more what is stored. Cost: looking at all."""
        return {
            key: value
            for key, (value, stored) in list(self._pairs.items())
            if not StateComparison().same(stored, value)
        }

    def clear(self) -> None:
        """Forget all of it."""
        self._pairs = {}
