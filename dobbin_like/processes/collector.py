"""The garbage collector of the process, kept off while much is made that stays.

What is made and stays only brings collections nearer, and each of the large ones looks at every
object in memory, to find nothing: half the time of a commit of 10,000 objects.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

from dobbin_like.processes.children import in_children
from dobbin_like.processes.interrupts import finish_despite_interrupts, reentrant_lock

_lock = reentrant_lock()
_inside: set[tuple[int, object]] = set()
_was_enabled = False
"""Before the first thread entered. Guarded by the lock, like ``_inside``."""


def without_collections(run: Callable[[], object]) -> None:
    """Call *run* without garbage collections in the whole process, until the last has left."""
    me = threading.get_ident(), object()
    try:
        try:
            _enter(me)
            run()
        finally:
            finish_despite_interrupts(lambda: _leave(me))
    finally:
        # Once more: an interrupt may come just when the first one begins.
        finish_despite_interrupts(lambda: _leave(me))


def _enter(me: tuple[int, object]) -> None:
    global _was_enabled  # noqa: PLW0603  the collector is one for the process, too
    with _lock:
        if not _inside:
            _was_enabled = gc.isenabled()
        _inside.add(me)
        gc.disable()


def _leave(me: tuple[int, object]) -> None:
    with _lock:
        if me in _inside and len(_inside) == 1 and _was_enabled:
            gc.enable()
        _inside.discard(me)


def _after_fork_in_child() -> None:
    """Other threads are gone, and never leave."""
    global _lock  # noqa: PLW0603
    _lock = reentrant_lock()
    me = threading.get_ident()
    stay = {one for one in _inside if one[0] == me}
    if _inside and not stay and _was_enabled:
        gc.enable()
    _inside.intersection_update(stay)


in_children(_after_fork_in_child)
