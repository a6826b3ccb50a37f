"""Who has checked out a new object, which has no copies: one thread or task, for itself alone."""

from __future__ import annotations

import weakref
from threading import get_ident
from typing import Any, Final

from dobbin_like.objects.values.here import OpenedObjects, current_scope, scope_of_context
from dobbin_like.processes.threaded_dict import ThreadedDict


class _Owner(weakref.ref[Any]):
    """A weak reference to a new object, with the thread or scope that has checked it out.

    ``opened``: the transaction that ends it, weakly; None: none does.
    """

    __slots__ = ("key", "opened", "who")

    key: int
    opened: weakref.ref[OpenedObjects] | None
    who: object


_owners: Final[dict[int, _Owner]] = ThreadedDict()  # By the ids of the objects.


def _who() -> object:
    scope = None if scope_of_context() is None else current_scope()
    return scope or get_ident()


def _forget(owner: _Owner) -> None:
    if _owners.get(owner.key) is owner:
        _owners.pop(owner.key, None)


def own(obj: Any, opened: OpenedObjects | None) -> bool:
    """Let *obj* be that of the calling thread or task, until disown().

    Returns:
        False: Another one has it, in a transaction that has not ended.
    """
    owner = _Owner(obj, _forget)
    owner.key, owner.who = id(obj), _who()
    owner.opened = None if opened is None else weakref.ref(opened)
    # In one step: another thread may check it out at the same time.
    while (found := _owners.setdefault(owner.key, owner)).who != owner.who:
        if _is_running(found):
            return False
        _forget(found)
    _owners[owner.key] = owner  # Of this transaction, if it was of one before.
    return True


def disown(obj: Any) -> None:
    """Let *obj* be nobody's."""
    _owners.pop(id(obj), None)


def is_own(obj: Any) -> bool:
    """Return whether the calling thread or task has checked out the new object *obj*."""
    owner = _owners.get(id(obj))
    return owner is not None and owner.who == _who()


def _is_running(owner: _Owner) -> bool:
    """Return whether the transaction that ends the checkout of an owner has not ended."""
    opened = None if owner.opened is None else owner.opened()
    return opened is not None and opened.is_running()
