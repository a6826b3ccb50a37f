"""The databases that are open in this process, and what becomes of them when it forks."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Final

from dobbin_like.contract import Storage
from dobbin_like.objects.faces.faces import making
from dobbin_like.objects.graph.counts import Counts
from dobbin_like.processes.interrupts import reentrant_lock
from dobbin_like.transactions.publisher import Publisher

opened: dict[Publisher, object] = {}
"""The open databases of this process, by their publishers.

For children that are forked, and to keep the databases: each lives until it is closed, whether the
program holds it or not. Its objects would belong to nothing without it.
"""

claims: Final = reentrant_lock()
claimed: weakref.WeakSet[Storage] = weakref.WeakSet()
"""The storages that belong to a database."""

_forking: list[Publisher] = []
_fork_turn = threading.Lock()
"""Hooks run before the interpreter serializes forks: one thread at a time."""


def _before_fork() -> None:
    _fork_turn.acquire()
    claims.acquire()
    _forking[:] = sorted(opened, key=id)
    for publisher in _forking:
        publisher.lock.acquire()
        publisher.graph.shared.lock.acquire()
    making.acquire()  # Last: who publishes makes faces.


def _after_fork_in_parent() -> None:
    making.release()
    for publisher in _forking:
        publisher.graph.shared.lock.release()
        publisher.lock.release()
    _forking.clear()
    claims.release()
    _fork_turn.release()


def _after_fork_in_child() -> None:
    # The locks were held by the thread that forked, so that nothing was half published; they
    # are made anew because other threads are gone. All of them, and not those of _forking: a
    # server in C may run this hook alone.
    locks: tuple[Any, ...] = claims, making, _fork_turn
    for lock in locks:
        lock._at_fork_reinit()  # noqa: SLF001  as threading does
    _forking.clear()
    for publisher in list(opened):
        publisher.graph.shared.lock = reentrant_lock()
        publisher.lock = reentrant_lock()
        publisher.own = {}
        publisher.graph.shared.counts = Counts()
        for view in publisher.old_snapshots.all_views():
            if view.thread == threading.get_ident():
                view.run_time.follow()
    failure: Exception | None = None
    for publisher in list(opened):
        try:
            publisher.storage.after_fork_in_child()
        except Exception as error:  # noqa: BLE001  raised when all are done; its next use tries again
            failure = error
    if failure is not None:
        raise failure


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
