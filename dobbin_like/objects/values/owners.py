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


def own(obj: Any, opened: OpenedObjects | None) -> None:
    """Let *obj* be that of the calling thread or task, until disown()."""
    owner = _Owner(obj, _forget)
    owner.key, owner.who = id(obj), _who()
    owner.opened = None if opened is None else weakref.ref(opened)
    _owners[id(obj)] = owner


def disown(obj: Any) -> None:
    """Let *obj* be nobody's."""
    _owners.pop(id(obj), None)


def is_own(obj: Any) -> bool:
    """Return whether the calling thread or task has checked out the new object *obj*."""
    owner = _owners.get(id(obj))
    return owner is not None and owner.who == _who()


def is_kept(obj: Any) -> bool:
    """Return whether another thread or task has it, in a transaction that has not ended."""
    owner = _owners.get(id(obj))
    if owner is None or owner.who == _who() or owner.opened is None:
        return False
    opened = owner.opened()
    return opened is not None and opened.is_running()
