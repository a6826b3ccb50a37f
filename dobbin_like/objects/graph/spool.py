"""What is slow to read is read before the commit lock is taken, not while it is held."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from dobbin_like.objects.deltas.overlay import Overlay
from dobbin_like.objects.faces.base import is_new
from dobbin_like.objects.faces.stream import PersistentFile
from dobbin_like.objects.faces.working_copy import PENDING, WorkingCopy
from dobbin_like.objects.values.refs import native_dict, ref_of
from dobbin_like.objects.values.value_kinds import FROZENSET, KINDS, LIST, REFERENCE, SET, TUPLE


def spool_slow_files(working: Iterable[WorkingCopy], roots: list[Any], beside: str) -> None:
    """Copy what may be slow to read to temporary files: new files that will be stored.

    They are reachable from *working* and *roots* by new objects and built-in containers.
    """
    # A storage that is no file has no place of its own.
    directory = os.path.dirname(os.path.realpath(beside)) if os.path.isabs(beside) else None
    seen: set[int] = set()
    todo: list[Any] = [*roots]
    for copy in working:
        todo.extend(value for value in copy.values() if value is not PENDING)
    while todo:
        value = todo.pop()
        if id(value) not in seen:
            seen.add(id(value))
            todo.extend(_inside(value))
            if issubclass(type(value), PersistentFile):  # isinstance() would read a state.
                value._p_spool(directory)


def _inside(value: Any) -> Iterable[Any]:
    kind = KINDS[type(value)]
    if kind == REFERENCE:
        return native_dict(value).values() if is_new(ref_of(value)) else ()
    if isinstance(value, Overlay):
        return value.touched()
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if kind in (LIST, SET, TUPLE, FROZENSET) else ()
