"""How one key of a sorted tree is set or removed, in a tree that may be changed.

Functions, not methods: an attribute of a tree that is checked out is looked for at some cost.
"""

from __future__ import annotations

from typing import Any

from dobbin_like.collections.btree.build import check_order
from dobbin_like.collections.btree.nodes import MISSING, find
from dobbin_like.collections.btree.plan import Plan
from dobbin_like.collections.btree.walk import find_key, path_to
from dobbin_like.exc import SharedValueError
from dobbin_like.objects.faces.base import checkout, is_new, is_open
from dobbin_like.objects.faces.working_copy import WorkingCopy
from dobbin_like.objects.values.guards import refusal_of
from dobbin_like.objects.values.here import here
from dobbin_like.objects.values.refs import ref_of


def is_writable(tree: Any) -> bool:
    """Return whether the calling thread may change *tree*."""
    if type(here.memo.get(id(tree))) is WorkingCopy:
        return True
    return is_open(tree) and is_new(ref_of(tree))


def check_writable(tree: Any) -> None:
    """Raise SharedValueError if the calling thread may not change *tree*."""
    if type(here.memo.get(id(tree))) is WorkingCopy:
        checkout(tree)  # A task might have met that of another one.
    elif not is_writable(tree):
        ref = ref_of(tree)
        name = type(tree).__name__
        raise SharedValueError(name, "") if is_new(ref) else refusal_of(name, ref)


def set_key(tree: Any, key: Any, value: Any, *, replace: bool = True) -> bool:
    """Set the value of *key*, if it is there only with *replace*. Return whether it is new."""
    check_writable(tree)
    if isinstance(key, slice):  # Slices can be ordered, but tree[slice] is a range.
        text = "a slice is a range of keys, not a key"
        raise TypeError(text)
    path, leaf = path_to(tree._root, key)  # noqa: SLF001
    keys, values = leaf.items
    index, now = find(keys, values, key)
    there = now is not MISSING
    plan = Plan(tree)
    if not there:
        check_order(keys, index, key)
        keys, values = map(list, plan.get(leaf, "items"))
        keys.insert(index, key)
        values.insert(index, value)
        plan.fill(path, leaf, keys, values)
        plan.count(1)
    elif replace:
        keys, values = plan.get(leaf, "items")
        values = [*values]
        values[index] = value
        plan.set(leaf, "items", (keys, values))
    plan.note(leaf, key)
    plan.apply()
    return not there


def remove_key(tree: Any, key: Any) -> Any:
    """Remove *key*; return its value, or MISSING."""
    check_writable(tree)
    leaf, index, value = find_key(tree, key)
    if leaf is None:
        return MISSING
    plan = Plan(tree)
    if value is not MISSING:
        keys, values = map(list, plan.get(leaf, "items"))
        del keys[index]
        value = values.pop(index)
        path, _ = path_to(tree._root, key)  # noqa: SLF001
        plan.drain(path, leaf, keys, values)
        plan.count(-1)
    plan.note(leaf, key)
    plan.apply()
    return value
