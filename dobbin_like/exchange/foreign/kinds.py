"""The collections of other libraries, and the states of ours that they become."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

from dobbin_like.objects.codec.state_reader import Reference
from dobbin_like.objects.codec.state_writer import ClassName

DICT: Final = ("dobbin_like.persistent", "PersistentDict")
LIST: Final = ("dobbin_like.persistent", "PersistentList")
SET: Final = ("dobbin_like.persistent", "PersistentSet")
COUNTER: Final = ("dobbin_like.persistent", "PersistentCounter")
TREE: Final = ("dobbin_like.collections", "BTree")
TREE_SET: Final = ("dobbin_like.collections", "BTreeSet")

OURS: Final[dict[str, ClassName]] = {
    "dict": DICT,
    "list": LIST,
    "set": SET,
    "counter": COUNTER,
    "tree": TREE,
    "treeset": TREE_SET,
}
"""What becomes of the objects of a kind, if the application has no class for them."""

_NAMED: Final[dict[ClassName, str]] = {
    ("persistent.mapping", "PersistentMapping"): "dict",
    ("persistent.dict", "PersistentDict"): "dict",
    ("persistent.list", "PersistentList"): "list",
    ("BTrees.Length", "Length"): "counter",
    ("ZODB.blob", "Blob"): "blob",
    ("durus.persistent_dict", "PersistentDict"): "dict",
    ("durus.persistent_list", "PersistentList"): "list",
    ("durus.persistent_set", "PersistentSet"): "set",
    ("durus.btree", "BTree"): "tree",
}

_BTREES: Final = re.compile(r"BTrees\._?([A-Za-z]{2})BTree")
_NODES: Final = {"BTree": "tree", "TreeSet": "treeset", "Bucket": "tree", "Set": "treeset"}

LIBRARIES: Final = ("BTrees", "ZODB", "durus", "persistent", "zodbpickle")
"""Packages whose own classes have no counterpart unless it is told here."""


def kind_of(name: ClassName) -> str | None:
    """Return what the objects of a class of a library are; None: it has no counterpart."""
    module, qualname = name
    family = _BTREES.fullmatch(module)
    if family is not None and qualname[:2] == family[1]:
        return _NODES.get(qualname[2:].removesuffix("Py"))
    return _NAMED.get(name)


def with_items(state: Any, kind: str) -> dict[str, Any]:
    """Return the state of a dict, a list or a set. ValueError: It has no items."""
    empty: Any = {"dict": dict, "list": list, "set": set}[kind]
    state = dict(state or {})
    names = ("s",) if kind == "set" else ("data", "_container")
    items = next((state.pop(name) for name in names if name in state), empty())
    if type(items) is not empty:
        text = f"{type(items).__name__} as its items, expected a {kind}"
        raise ValueError(text)
    return {"_items": items, **state}


# -- sorted trees -------------------------------------------------------------------------


Leaves = Iterator[tuple[list[Any], list[Any]]]


def is_bucket(name: ClassName) -> bool:
    """Return whether a class of BTrees is that of a leaf."""
    return name[1][2:].removesuffix("Py") in ("Bucket", "Set")


def leaves_of(
    name: ClassName,
    state: Any,
    read: Callable[[Reference], tuple[ClassName, Any]],
    drop: Callable[[Any], object],
) -> Leaves:
    """Yield keys and values of the leaves of a tree, or a leaf, of BTrees, in order.

    *read* returns class and state of a node; *drop* gets references that are of no use.
    """
    waiting: list[Any] = [(name, state)]
    while waiting:
        found = waiting.pop()
        name, state = read(found) if type(found) is Reference else found
        if state is None:
            continue
        nodes = state[0]
        if len(state) == 2:
            drop(state[1])  # The first leaf, or the next one.
        if not is_bucket(name):
            if len(state) == 1:  # The only bucket is inside.
                waiting.append((_bucket_of(name), nodes[0]))
            else:
                waiting += nodes[::-2]  # Children, with keys between.
        elif type(nodes) is bytes:  # Keys of two bytes, then values of six.
            end = len(nodes) // 4
            keys = [nodes[at : at + 2] for at in range(0, end, 2)]
            yield keys, [nodes[at : at + 6] for at in range(end, len(nodes), 6)]
        elif name[1][2:].startswith("Set"):
            yield list(nodes), [None] * len(nodes)
        else:
            yield list(nodes[::2]), list(nodes[1::2])


def _bucket_of(name: ClassName) -> ClassName:
    module, qualname = name
    kind = "Set" if qualname[2:].startswith("TreeSet") else "Bucket"
    return module, qualname[:2] + kind


def durus_leaves(state: Any, read: Callable[[Reference], tuple[ClassName, Any]]) -> Leaves:
    """Yield keys and values of a BTree of Durus, in order: the items of a node at once."""
    waiting: list[Any] = [state["root"]]
    while waiting:
        found = waiting.pop()
        if type(found) is not Reference:
            yield [found[0]], [found[1]]
            continue
        _, node = read(found)
        items, nodes = node["items"], node.get("nodes")
        if not nodes:
            yield [key for key, _ in items], [value for _, value in items]
            continue
        parts = [nodes[0]]
        for item, below in zip(items, nodes[1:], strict=True):
            parts += [item, below]
        waiting += parts[::-1]


def is_sorted(keys: list[Any]) -> bool:
    """Return whether a tree of ours can have these keys, as far as that can be known here."""
    try:
        return all(one < other for one, other in pairwise(keys))
    except Exception:  # noqa: BLE001  what stands for a class of the application refuses
        # The tree had them in this order.
        return not any(key is None for key in keys)
