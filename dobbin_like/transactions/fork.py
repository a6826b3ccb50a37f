"""The databases that are open in this process, and what becomes of them when it forks."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Final

from dobbin_like.contract import Storage
from dobbin_like.objects.faces.classes.faces import making
from dobbin_like.objects.graph.counts import ObjectCounts
from dobbin_like.processes.children import in_children
from dobbin_like.processes.interrupts import finish_despite_interrupts, reentrant_lock
from dobbin_like.transactions.publisher import Publisher

opened: dict[Publisher, object] = {}
"""The open databases of this process, by their publishers.

For children that are forked, and to keep the databases: each lives until it is closed, whether the
program holds it or not. Its objects would belong to nothing without it.
"""

claims: Final = reentrant_lock()
claimed: weakref.WeakKeyDictionary[Storage, object] = weakref.WeakKeyDictionary()
"""The storages that belong to a database, and what stands for that one."""

_fork_turn: Final = reentrant_lock()
"""Hooks run before the interpreter serializes forks: one thread at a time."""

_forks: list[_Fork] = []
"""What is under way. A signal handler may fork in the middle of a fork of its thread."""


class _Fork:
    """The locks that a thread takes to fork: those that it does not hold already."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self._locks: list[Any] = []

    def take(self) -> None:
        """Take them all. May be run again."""
        if self not in _forks:
            _forks.append(self)
        self._take(_fork_turn)
        self._take(claims)
        for publisher in sorted(opened, key=id):
            self._take(publisher.lock)
            self._take(publisher.graph.shared.lock)
        self._take(making)  # Last: who publishes makes faces.

    def _take(self, lock: Any) -> None:
        if not lock._is_owned():  # noqa: SLF001  there is no public name
            # Before it is taken: an interrupt right after that must not hide it.
            self._locks.append(lock)
            lock.acquire()

    def give_back(self) -> None:
        """Give them back. May be run again."""
        for lock in reversed(self._locks):
            # Else it was given back before, and may be another thread's: nobody would be asked.
            if lock._is_owned():  # noqa: SLF001  there is no public name
                lock._release_save()  # noqa: SLF001  as often as it was taken, in one step


def _before_fork() -> None:
    # What a signal handler raises here is lost, and the process forks all the same.
    finish_despite_interrupts(_Fork().take)


def _last_of_thread() -> _Fork | None:
    me = threading.get_ident()
    found = [fork for fork in _forks if fork.thread == me]
    return found[-1] if found else None


def _give_back() -> None:
    fork = _last_of_thread()
    if fork is not None:
        finish_despite_interrupts(fork.give_back)


def _after_fork_in_parent() -> None:
    _give_back()
    fork = _last_of_thread()
    if fork is not None:
        _forks.remove(fork)


def _start_anew(publisher: Publisher, me: int) -> None:
    publisher.graph.shared.lock = reentrant_lock()
    publisher.lock = reentrant_lock()
    publisher.own = {}
    publisher.graph.shared.counts = ObjectCounts()
    for view in publisher.old_snapshots.all_views():
        if view.thread == me:
            view.run_time.follow()


def _after_fork_in_child() -> None:
    # The locks were held by the thread that forked, so that nothing was half published; they
    # are made anew because other threads are gone. All of them, and not those it took: a server
    # in C may run this hook alone.
    _after_fork_in_parent()
    me = threading.get_ident()
    _forks[:] = [fork for fork in _forks if fork.thread == me]
    if not _forks:  # Else a signal handler has forked in the middle of a fork.
        locks: tuple[Any, ...] = claims, making, _fork_turn
        for lock in locks:
            lock._at_fork_reinit()  # noqa: SLF001  as threading does
    for publisher in list(opened):
        _start_anew(publisher, me)
    failure: Exception | None = None
    for publisher in list(opened):
        try:
            publisher.storage.after_fork_in_child()
        except Exception as error:  # noqa: BLE001  raised when all are done; its next use tries again
            failure = error
    if failure is not None:
        raise failure


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_give_back)
    # A signal that comes while the process is copied is handled at the beginning of the first one,
    # which does nothing if that raises.
    os.register_at_fork(after_in_parent=_after_fork_in_parent)
in_children(_after_fork_in_child)
