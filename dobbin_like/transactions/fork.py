"""The databases that are open in this process, and what becomes of them when it forks."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from dobbin_like.objects.faces.faces import making

if TYPE_CHECKING:
    from dobbin_like.database import Database

opened: set[Database] = set()
"""The open databases of this process: for those who fork, and to keep them.

A database lives until it is closed, whether anybody holds it or not: its
objects would be nobody's without it.
"""

claims = threading.Lock()
claimed: weakref.WeakSet[Any] = weakref.WeakSet()
"""The storages that belong to a database."""

_forking: list[Database] = []
_fork_turn = threading.Lock()
"""Hooks run before the interpreter serializes forks: one thread at a time."""


# ruff: noqa: SLF001
def _before_fork() -> None:
    _fork_turn.acquire()
    making.acquire()
    claims.acquire()
    _forking[:] = sorted(opened, key=id)
    for database in _forking:
        database._news_lock.acquire()
        database.graph.lock.acquire()


def _after_fork_in_parent() -> None:
    for database in _forking:
        database.graph.lock.release()
        database._news_lock.release()
    _after_fork()


def _after_fork_in_child() -> None:
    # The locks were held by the thread that forked, so that nothing was half
    # published; they are made anew because other threads are gone.
    for database in _forking:
        database.graph.lock = threading.RLock()
        database._news_lock = threading.RLock()
        database.storage.after_fork_in_child()
    _after_fork()


def _after_fork() -> None:
    _forking.clear()
    claims.release()
    making.release()
    _fork_turn.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
