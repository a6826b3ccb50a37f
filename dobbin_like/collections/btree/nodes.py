"""The nodes of a sorted tree: each one record of its own.

::

    tree ── root (inner, level 2) ── inner (level 1) ── leaf: keys and values, in order
       └─── length

An inner node has one key between each two children: all that is under a child is at or
above the key before it, and below the key behind it. The root stays the same object as
long as the tree lives, so that a tree of another shape is not another tree.

What two transactions have changed in one leaf is merged key by key as long as neither has
moved items from leaf to leaf: ``moves`` counts that. All other conflicts are settled by the
tree, which applies the changes again (:meth:`.SortedTree._p_replay`). A node that leaves the
tree is emptied, so that a transaction that has changed it is in conflict.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn, cast

from dobbin_like.exc import ConflictError, Error, Sides
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.objects.values.comparison import same
from dobbin_like.objects.values.short import ABSENT, difference, short, short_key

LEAF_MAX: Final = 128
"""The most keys of a leaf; with one more it is split."""

LEAF_MIN: Final = 32
"""With fewer keys, a leaf gets some or all keys of its neighbour."""

INNER_MAX: Final = 256
"""Children of an inner node: 1,000,000 keys have two levels of them."""

INNER_MIN: Final = 64

FILL: Final = 7 / 8
"""How full nodes are that are made from sorted input: there is room for keys between."""

Items = tuple[list[Any], list[Any]]
"""Keys in order, and their values. Replaced, never changed: iterators hold them."""

Written = tuple[list[Any], int, int]
"""Keys, how many of them count, and at how many they are looked through for the same ones.

A savepoint keeps it as it is, so keys are only appended.
"""

_WRITTEN_MIN: Final = 256

Difference = tuple[Any, Any, Any]
"""A key, its value before and after; :data:`MISSING` where it was not there."""

MISSING: Final[Any] = ABSENT


class BTreeLeaf(Persistent):
    """Keys and values. ``moves`` changes when items come from other leaves or go there."""

    __module__ = "dobbin_like.collections"  # The name that logs have for it.
    _p_part_of = "tree"
    is_leaf = True

    _v_written = cast("Written | None", None)
    """The keys that the transaction has set or removed: some may be as they were."""

    def __init__(self, tree: Any, keys: list[Any], values: list[Any]) -> None:
        self.tree = tree
        self.moves = 0
        # One attribute: a reader gets keys and values that belong together.
        self.items: Items = (keys, values)

    @staticmethod
    def _p_keys(state: dict[str, Any]) -> list[Any]:
        """Return what has to be found again, beside the keys of dicts and members of sets."""
        keys: list[Any] = state["items"][0]
        return keys

    @staticmethod
    def _p_told(state: dict[str, Any]) -> tuple[Any, list[tuple[str, Any]]]:
        """Return whose the state is to a user, and its parts, each after the way to it."""
        keys, values = state["items"]
        parts = zip(map("[{!r:.60}]".format, keys), values, strict=False)  # A set has no values.
        return state["tree"], [*_told_keys(keys), *parts]

    @staticmethod
    def _p_resolve_conflict(
        old: dict[str, Any], saved: dict[str, Any], new: dict[str, Any]
    ) -> dict[str, Any]:
        if not old["moves"] == saved["moves"] == new["moves"]:
            _refuse("items were moved to or from it")
        keys, values = map(list, saved["items"])
        written = unchanged(written_in(new), old["items"], new["items"])
        for key, before, after in written + differences(old["items"], new["items"]):
            look = find_any if after is before else find
            index, now = look(keys, values, key)
            if not same(before, now):
                refuse_key(key, before, now, after)
            if after is now:
                continue
            if after is MISSING:
                del keys[index], values[index]
            elif now is MISSING:
                keys.insert(index, key)
                values.insert(index, after)
            else:
                values[index] = after
        if not 0 < len(keys) <= LEAF_MAX:
            _refuse("it has become too small or too large")
        return {**saved, "items": (keys, values)}


class BTreeInner(Persistent):
    """The way to what is below: ``(level, keys, children)``; at level 1 these are leaves."""

    __module__ = "dobbin_like.collections"  # The name that logs have for it.
    _p_part_of = "tree"
    is_leaf = False

    def __init__(self, tree: Any, level: int, keys: list[Any], children: list[Any]) -> None:
        self.tree = tree
        # Replaced, never changed, as the items of a leaf.
        self.links: tuple[int, list[Any], list[Any]] = (level, keys, children)

    @staticmethod
    def _p_told(state: dict[str, Any]) -> tuple[Any, list[tuple[str, Any]]]:
        return state["tree"], _told_keys(state["links"][1])


def _told_keys(keys: list[Any]) -> list[tuple[str, Any]]:
    return [(f" key {short_key(key)}", key) for key in keys]


class BTreeLength(Persistent):
    """The number of keys. Concurrent changes add up."""

    __module__ = "dobbin_like.collections"  # The name that logs have for it.
    _p_part_of = "tree"

    def __init__(self, tree: Any, value: int) -> None:
        self.tree = tree
        self.value = value

    @staticmethod
    def _p_resolve_conflict(
        old: dict[str, Any], saved: dict[str, Any], new: dict[str, Any]
    ) -> dict[str, Any]:
        return {**saved, "value": saved["value"] + new["value"] - old["value"]}


def find(keys: list[Any], values: list[Any], key: Any) -> tuple[int, Any]:
    """Return where *key* is or would be, and its value or :data:`MISSING`."""
    index = bisect_left(keys, key)
    if index < len(keys) and keys[index] == key:
        return index, values[index]
    return index, MISSING


def find_any(keys: list[Any], values: list[Any], key: Any) -> tuple[int, Any]:
    """Do what :func:`find` does; a key that can't be ordered among the others is not there."""
    try:
        return find(keys, values, key)
    except (TypeError, ArithmeticError) as error:  # The latter is of a Decimal.
        if isinstance(error, Error):  # Of a key of the tree, of which the class is missing.
            raise
        return len(keys), MISSING


def noted(written: Written | None, key: Any) -> Written:
    """Return *written* and *key*. Cost: constant; memory: little more than what differs."""
    keys, count, limit = written or ([], 0, _WRITTEN_MIN)
    if count == limit:
        keys = _distinct(keys[:count])
        limit = max(2 * len(keys), _WRITTEN_MIN)
    elif count < len(keys):  # A savepoint was gone back to: the rest is of another state.
        keys = keys[:count]
    keys.append(key)
    return keys, len(keys), limit


def written_in(state: Mapping[str, Any]) -> list[Any]:
    """Return the keys that the transaction has set or removed, by the state of a node."""
    written: Written | None = state.get("_v_written")
    return [] if written is None else _distinct(written[0][: written[1]])


def _distinct(keys: list[Any]) -> list[Any]:
    """Return each key once, if they have hashes."""
    try:
        return list(dict.fromkeys(keys))
    except TypeError:
        return keys


def unchanged(written: Iterable[Any], old: Items, new: Items) -> list[Difference]:
    """Return the changes of *written* keys that have left them as they were."""
    both = [(key, find_any(*old, key)[1], find_any(*new, key)[1]) for key in written]
    return [(key, before, before) for key, before, after in both if same(before, after)]


def differences(old: Items, new: Items) -> list[Difference]:
    """Return the changes of keys and values, in the order of the keys. Both are sorted."""
    found: list[Difference] = []
    old_keys, old_values = old
    new_keys, new_values = new
    i = j = 0
    while i < len(old_keys) and j < len(new_keys):
        before, after = old_keys[i], new_keys[j]
        if before is after or before == after:
            if not same(old_values[i], new_values[j]):
                found.append((before, old_values[i], new_values[j]))
            i += 1
            j += 1
        elif before < after:
            found.append((before, old_values[i], MISSING))
            i += 1
        else:
            found.append((after, MISSING, new_values[j]))
            j += 1
    found.extend((key, value, MISSING) for key, value in zip(old_keys[i:], old_values[i:]))  # noqa: B905
    found.extend((key, MISSING, value) for key, value in zip(new_keys[j:], new_values[j:]))  # noqa: B905
    return found


def joined(parts: list[Items]) -> Items:
    """Return the items of leaves, which come in any order, as those of one."""
    filled = sorted((items for items in parts if items[0]), key=lambda items: items[0][0])
    keys = [key for items in filled for key in items[0]]
    values = [value for items in filled for value in items[1]]
    return keys, values


def refuse_key(key: Any, old: Any, theirs: Any, own: Any) -> NoReturn:
    """Raise the conflict of two transactions that have changed the same key."""
    error = ConflictError(failed=f"the key {short(key)} was changed")
    raise error.tell(lambda: Sides(differences=(difference(f"[{short(key)}]", old, theirs, own),)))


def _refuse(failed: str) -> NoReturn:
    raise ConflictError(failed=failed)
