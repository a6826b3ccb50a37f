"""What the calling thread has done to an object: checked it out, changed it; and ``touch``."""

from __future__ import annotations

from collections.abc import Iterator

from dobbin_like.exc import NotPersistentError
from dobbin_like.objects.deltas.delta import ITEMS
from dobbin_like.objects.faces.base import Persistent, checkout, is_new, is_open
from dobbin_like.objects.faces.classes.metaclass import PersistentMeta
from dobbin_like.objects.faces.working_copy import PENDING, WorkingCopy
from dobbin_like.objects.values.here import here, states_here
from dobbin_like.objects.values.refs import ref_of


def touch(*objects: Persistent) -> None:
    """Check out *objects*, and let them be stored at commit, also if they are as they were.

    For decisions that rest on an object and change others: two transactions that touch the same
    object are in conflict, and so is one that touches it with one that changes it. Raises what
    :func:`checkout` raises.
    """
    checkout(*objects, exclusive=True)
    for obj in objects:
        working = here.memo.get(id(obj))
        if type(working) is WorkingCopy:
            working.note().whole = True
            if working.get(ITEMS) is PENDING:
                working.own_value(ITEMS)  # If there are many, a delta is stored.


def is_checked_out(obj: Persistent) -> bool:
    """Return whether the calling thread may change *obj*: until its transaction ends."""
    _check_persistent(obj)
    return type(here.memo.get(id(obj))) is WorkingCopy or is_open(obj)


def is_changed(obj: Persistent) -> bool:
    """Return whether a commit of the calling thread would store *obj*, if it can be reached.

    So it is if it was touched, differs from what is stored, is new, or is a sorted collection of
    which a node does. Cost: what was read of it since the checkout.
    """
    _check_persistent(obj)
    if is_new(ref_of(obj)):
        return True
    return any(copy.changed() is not None for copy in _copies_of(obj))


def _copies_of(obj: Persistent) -> Iterator[WorkingCopy]:
    """Yield the working copies of *obj*, and of its parts."""
    for working in states_here():
        if type(working) is WorkingCopy:
            attribute = getattr(type(working.obj), "_p_part_of", "")
            if working.obj is obj or (attribute and getattr(working.obj, attribute, None) is obj):
                yield working


def _check_persistent(obj: Persistent) -> None:
    if not isinstance(type(obj), PersistentMeta):
        raise NotPersistentError.of(obj)
