"""What is pickled as *the same one, in the process where it arrives*.

A database, a log and a safe share a file with other processes, and their memory with nobody. So
a pickled one stands for the one that is open in the process where it is unpickled: itself, or
what a forked child has inherited; else it is opened there, once, however often it arrives.
"""

from __future__ import annotations

import os
import pickle
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from dobbin_like.processes.interrupts import reentrant_lock

_T = TypeVar("_T")

_known: weakref.WeakValueDictionary[bytes, Any] = weakref.WeakValueDictionary()
"""What is open here, by what stands for it in a pickle."""

_lock: Any = reentrant_lock()
"""One thread at a time looks for what is not open, and opens it."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_lock._at_fork_reinit)  # noqa: SLF001  as threading does


def new_token(opened: object) -> bytes:
    """Return what stands for *opened* in a pickle, here and in the children to be forked."""
    token = os.urandom(16)
    _known[token] = opened
    return token


def reopened(token: bytes, reopen: Callable[..., _T], *args: object) -> _T:
    """Return what *token* stands for; what *reopen* returns if it is not open in this process."""
    with _lock:
        found: _T | None = _known.get(token)
        if found is None or found.closed:  # type: ignore[attr-defined]  # All of them have it.
            found = _known[token] = reopen(*args)
        return found


def from_parts(cls: Callable[..., _T], parts: bytes, **options: object) -> _T:
    """Return a database of that class over a pickled storage, with a pickled manager."""
    storage, manager = pickle.loads(parts)
    return cls(storage, transaction_manager=manager, **options)


def itself(opened: _T, _memo: object = None) -> _T:
    """For ``__copy__`` and ``__deepcopy__``: there is one for all who use it."""
    return opened
