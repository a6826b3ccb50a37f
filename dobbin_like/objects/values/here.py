"""What the calling thread knows of the objects it uses; or the task, if it has its own.

A thread has one snapshot and one set of working copies for each database. A task of asyncio that
is in an ``async with`` block has some of its own, a :class:`Scope`: it is found by a context
variable. The tasks that it starts and the threads that it asks inherit that, but not the scope,
unless it is a shared one.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from threading import get_ident
from typing import Any, Final, ParamSpec, TypeVar

from dobbin_like.objects.values.refs import State

_P = ParamSpec("_P")
_R = TypeVar("_R")


class OpenedObjects:
    """New objects that a thread has checked out, in the transactions of one manager.

    ``pairs`` has them with their states before. *is_running* tells whether the manager has a
    transaction; *is_default*: whether it comes before the others.
    """

    def __init__(
        self, manager: object, is_running: Callable[[], bool], *, is_default: bool
    ) -> None:
        self.manager: weakref.ref[object] = weakref.ref(manager)
        self.is_running = is_running
        self.is_default = is_default
        self.pairs: list[tuple[object, State]] = []


class Own:
    """What a thread, or a task in its scope, knows over all databases.

    ``memo``: states that reading a masked object has found, by ``id(obj)``. Code that adds one
    also keeps the object alive, because ids are reused. ``opened``: for each transaction manager,
    the new objects that were checked out, weakly. A new object belongs to no database yet; it is
    checked out under the first of them that has a transaction.
    """

    memo: Any
    opened: list[weakref.ref[OpenedObjects]]

    def opened_under(
        self, manager: object, is_running: Callable[[], bool], *, is_default: bool
    ) -> OpenedObjects:
        """Return what was checked out under *manager*; the latest one comes first."""
        known = [opened for ref in self.opened if (opened := ref()) is not None]
        for opened in known:
            if opened.manager() is manager:
                return opened
        made = OpenedObjects(manager, is_running, is_default=is_default)
        known = sorted([made, *known], key=lambda opened: not opened.is_default)
        self.opened = [weakref.ref(opened) for opened in known]
        return made

    def running(self) -> OpenedObjects | None:
        """Return what is checked out in the transaction that new objects belong to."""
        for ref in self.opened:
            opened = ref()
            if opened is not None and opened.is_running():
                return opened
        return None


class Here(threading.local, Own):
    """What the calling thread knows. ``memo`` is asked at every read of a masked object.

    ``own_memo`` is the memo of the thread itself; ``memo`` the same one, until a task of the
    thread has a scope. ``reading``: the objects whose states the thread is decoding, by the id of
    their reference, and what can be had of them meanwhile.
    """

    everywhere = False  # Whether threads that come later may be asked by tasks with scopes.

    def __init__(self) -> None:
        self.own_memo: dict[int, State] = {}
        self.memo: Any = _MemoByTask(self.own_memo) if Here.everywhere else self.own_memo
        self.opened: list[weakref.ref[OpenedObjects]] = []
        self.reading: dict[int, Any] = {}

    def let_tasks_have_scopes(self) -> None:
        """Let the reads of this thread ask for the scope of its task."""
        if type(self.memo) is dict:
            self.memo = _MemoByTask(self.own_memo)


class Scope(Own):
    """What a task knows while it is in a block. ``managers``: its data managers, by database.

    ``carrier``: the thread and the task that it belongs to now. While the task waits for a
    commit, that is the thread that commits. A scope that ``is_shared`` belongs to all that have
    its context, one at a time: a request, with the tasks and threads that it asks. ``executor``
    has the thread that keeps the commit lock for it, if one does. ``beside``: transactions of
    threads that the task has asked, in which they have checked something out; of a scope that was
    shared, also those of tasks and threads that outlive it. *tell* warns of them.
    """

    def __init__(
        self,
        new_manager: Callable[[], Any],
        tell: Callable[[Scope, Any], None],
        *,
        is_shared: bool = False,
    ) -> None:
        self.memo: dict[int, State] = {}
        self.opened: list[weakref.ref[OpenedObjects]] = []
        self._new_manager = new_manager
        self._stand_ins: dict[int, tuple[Any, Any]] = {}
        self.managers: dict[object, Any] = {}
        self.entered: list[Any] = []
        self.carrier: Any = (get_ident(), current_task())
        self.is_shared: bool = is_shared
        self.was_shared: bool = is_shared
        self.executor: Any = None
        self.beside: list[weakref.ref[Any]] = []
        self._tell = tell

    def transaction_manager(self, given: Any) -> Any:
        """Return what stands for the manager of a database: databases that share one, share it."""
        pair = self._stand_ins.get(id(given))
        if pair is None:
            pair = self._stand_ins[id(given)] = (given, self._new_manager())
        return pair[1]

    def note_beside(self, current: Any) -> None:
        """Note a transaction in which something is changed that is no part of the block.

        If a task of the calling thread does that, the end of the task is when it has to be
        committed.
        """
        beside = weakref.ref(current)
        self.beside.append(beside)
        task = current_task() if has_loop() else None
        if task is not None:
            task.add_done_callback(lambda _: self._tell(self, [beside]))


class _MemoByTask:
    def __init__(self, own: dict[int, State]) -> None:
        self._own = own

    def get(self, key: int) -> State | None:
        return self._memo().get(key)

    def values(self) -> Iterable[State]:
        return self._memo().values()

    def _memo(self) -> dict[int, State]:
        scope = current_scope()
        return self._own if scope is None else scope.memo


here: Final = Here()

_scope: ContextVar[Scope | None] = ContextVar("scope", default=None)

keep_scope: Final = _scope.set
"""Let the context have a scope; the task that it is for is its ``carrier``."""

scope_of_context: Final = _scope.get
"""Return the scope that the context has, perhaps of another task; None: the task has none."""


def current_scope() -> Scope | None:
    """Return the scope of the calling task, ``None`` if it has none."""
    scope = scope_of_context()
    if scope is None:
        return None
    if scope.is_shared:
        here.let_tasks_have_scopes()
    elif scope.carrier != (get_ident(), current_task()):
        return None
    return scope


def scope_around() -> Scope | None:
    """Return the scope of the task that has started what is running, while it is in its block.

    That of a request stays the one of what goes on after it.
    """
    scope = scope_of_context()
    if scope is None or current_scope() is scope:
        return None
    return None if scope.carrier is None and not scope.was_shared else scope


HOW_TO_TELL_APART: Final = (
    "use async with db.transaction(), or in tasks of trio call a function in a thread that has "
    "with db.transaction(): in it"
)
"""What a program has to do whose tasks would share the transaction of their thread."""


def has_loop() -> bool:
    """Tell whether a loop of asyncio runs in the calling thread: it is a task or a callback."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001


def out_of_block(step: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let *step* use what the thread has, also in the block of a task."""

    @functools.wraps(step)
    def out(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if scope_of_context() is None:
            return step(*args, **kwargs)
        token = _scope.set(None)
        try:
            return step(*args, **kwargs)
        finally:
            _scope.reset(token)

    return out


def states_here() -> list[Any]:
    """Return the states that the calling task, or thread, has in its memo."""
    scope = current_scope()
    return [*(here.own_memo if scope is None else scope.memo).values()]


def current_task() -> Any:
    """Return the task of asyncio or trio that is running, ``None`` if none is."""
    asyncio, trio = sys.modules.get("asyncio"), sys.modules.get("trio.lowlevel")
    if asyncio is not None:
        loop = asyncio._get_running_loop()  # noqa: SLF001  documented for such use
        task = None if loop is None else asyncio.current_task(loop)
        if task is not None:
            return task
    try:
        return None if trio is None else trio.current_task()
    except (AttributeError, RuntimeError):  # It is being imported; or does not run here.
        return None


def has_ended(task: Any) -> bool:
    """Tell whether a task, as current_task() returns it, runs no more."""
    is_done = getattr(task, "done", None)
    # One of trio does not tell, but its coroutine does.
    return bool(task.coro.cr_frame is None if is_done is None else is_done())


def task_without_scope() -> Any:
    """Return the running task if it uses what its thread has, ``None`` otherwise."""
    task = current_task()
    return None if task is None or current_scope() is not None else task
