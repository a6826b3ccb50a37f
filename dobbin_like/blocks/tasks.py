"""Blocks of tasks of asyncio: each has a scope, and what may wait is done in another thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import get_ident
from typing import Any, Final
from weakref import WeakKeyDictionary

import transaction

from dobbin_like.blocks.under_way import is_in_plain_block
from dobbin_like.exc import UncommittedChangesWarning
from dobbin_like.objects.values.here import (
    Scope,
    current_scope,
    current_task,
    here,
    keep_scope,
    scope_of_context,
)
from dobbin_like.store import Store
from dobbin_like.transactions.data_manager import uncommitted_in
from dobbin_like.warn_outside import warn_outside

_BEGUN_IN_A_TURN: Final = 8
"""Blocks that begin in one turn of a loop: some two milliseconds, with what is done in them."""


class _Entrance:
    """Where the tasks of one loop wait if many want to begin a block at the same moment.

    One after the other, in one turn of the loop, they would keep all other tasks waiting.
    """

    def __init__(self) -> None:
        self._begun = 0  # In this turn.
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._begun < _BEGUN_IN_A_TURN and not self._waiting:
            if not self._begun:
                loop.call_soon(self._go_on, loop)
            self._begun += 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the next ones begin: they do in the next turn, and so does this."""
        self._begun = 0
        while self._waiting and self._begun < _BEGUN_IN_A_TURN:
            turn = self._waiting.popleft()
            if not turn.done():  # It was not cancelled.
                turn.set_result(None)
                self._begun += 1
        if self._begun:
            loop.call_soon(self._go_on, loop)


_entrances: WeakKeyDictionary[asyncio.AbstractEventLoop, _Entrance] = WeakKeyDictionary()


async def _wait_for_turn() -> None:
    """Return when the calling task may begin a block: at once, if few others do."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        text = (
            "async with is for tasks of asyncio; in those of trio, say, call a function in a "
            "thread that has with db.transaction(): in it"
        )
        raise RuntimeError(text) from None
    entrance = _entrances.get(loop)
    if entrance is None:
        entrance = _entrances[loop] = _Entrance()
    await entrance.enter(loop)


async def let_generators_end() -> None:
    """Return when the loop has ended what async generators have left that the task is done with.

    It makes a task for that in its next turn, which begins in the one after it. The block that
    the calling task is in may be of such a generator.
    """
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def enter_scope(*, is_shared: bool = False) -> bool:
    """Give the calling task a scope; return False if it has one."""
    if current_scope() is not None:
        return False
    here.let_tasks_have_scopes()
    keep_scope(Scope(_new_manager, _tell_changes_beside, is_shared=is_shared))
    return True


def ends_generator(error: BaseException | None) -> bool:
    """Tell whether *error* may be what ends a generator that was not run to its end."""
    return isinstance(error, GeneratorExit | asyncio.CancelledError)


def take_scope(scope: Scope) -> None:
    """Let the calling task have the scope of another one, which is without it from now on."""
    here.let_tasks_have_scopes()
    scope.carrier = (get_ident(), current_task())
    keep_scope(scope)


def _new_manager() -> Any:
    return transaction.TransactionManager(explicit=True)


def leave_scope() -> None:
    """Let the calling task, and whatever shares its scope, be without one again.

    What goes on after a request is still known to belong to it, until :func:`leave_request`.
    """
    scope = scope_of_context()
    if scope is not None:
        scope.is_shared, scope.carrier = False, None
        if not scope.was_shared:
            keep_scope(None)
        _tell_changes_beside(scope, [*scope.beside])  # Last: a warning may be raised as an error.


def leave_request() -> None:
    """Let the calling task be what it was before the request, which has ended."""
    scope = scope_of_context()
    if scope is not None and scope.was_shared and scope.carrier is None:
        keep_scope(None)
        _tell_changes_beside(scope, [*scope.beside])


def _tell_changes_beside(scope: Scope, transactions: list[Any]) -> None:
    """Warn once of what *transactions* beside a block have changed and not committed."""
    for beside in transactions:
        if beside not in scope.beside:
            continue
        scope.beside.remove(beside)
        current = beside()
        if current is None or current.status != "Active":
            continue
        error = uncommitted_in(current)
        if error is not None:
            who, helps = _BESIDE_REQUEST if scope.was_shared else _BESIDE_BLOCK
            text = (
                f"{error.path}: {who} has changes of its own (in {error.class_name} oid "
                f"{error.oid}) which it has not committed: they are no part of the {helps}"
            )
            warn_outside(text, UncommittedChangesWarning)


_BESIDE_BLOCK: Final = (
    "a thread that was asked in a block",
    "block; let the thread change nothing, or use with db.transaction() in it",
)
_BESIDE_REQUEST: Final = (
    "what goes on after a request, as a background task does,",
    "request; use db.run(function) or a block of db.transaction() there",
)


class BlockInTask:
    """What a block has in its task: the scope, and the thread that keeps the commit lock for it.

    ``has_scope``: the block has made the scope, and ends it; else the task had one, or is in a
    block of a plain ``with``. ``holds_lock``: the scope has such a thread.
    """

    def __init__(self, store: Store, *, is_shared: bool, holds_lock: bool) -> None:
        self.has_scope: bool = False
        self.holds_lock: bool = False
        self._store = store
        self._is_shared = is_shared
        self._wants_lock = holds_lock

    async def begin(self) -> None:
        """Give the task a scope if it needs one, the lock if it is wanted, and the news."""
        scope, publisher = current_scope(), self._store.publisher
        if scope is None:
            await _wait_for_turn()
        elif not scope.is_shared:
            await let_generators_end()
        self.has_scope = not is_in_plain_block() and enter_scope(is_shared=self._is_shared)
        self.holds_lock = self._wants_lock and self.has_scope
        try:
            if self.holds_lock:
                _take_lock_thread()
                await in_thread(lambda: self._store.manager().acquire_early())
            if publisher.has_news():
                await in_thread(publisher.catch_up)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Give back the lock, if it is still held, and leave the scope."""
        if self.holds_lock:
            try:
                in_thread_at_once(self._store.release_early)
            finally:
                _give_back_lock_thread()
        if self.has_scope:
            leave_scope()


def _take_lock_thread() -> None:
    """Let what the scope does in another thread be done in one of its own: it may keep a lock."""
    scope = current_scope()
    assert scope is not None
    scope.executor = ThreadPoolExecutor(1, thread_name_prefix="dobbin_like")


def _give_back_lock_thread() -> None:
    """Let the thread of the scope end, if it has one."""
    scope = current_scope()
    if scope is not None and scope.executor is not None:
        scope.executor.shutdown(wait=False)
        scope.executor = None


async def in_thread(step: Callable[[], object]) -> None:
    """Run *step* in another thread, for the calling task, and wait for it.

    It is never interrupted: a cancellation that comes meanwhile is raised when it has ended.
    """
    done = asyncio.wrap_future(_submit(step))
    cancelled: asyncio.CancelledError | None = None
    while not done.done():
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        done.exception()  # It has been seen.
        raise cancelled
    done.result()


def in_thread_at_once(step: Callable[[], object]) -> None:
    """Run *step* in another thread, and let the loop wait for it."""
    _submit(step).result()


def _submit(step: Callable[[], object]) -> Future[Any]:
    scope, context = current_scope(), copy_context()
    if scope is None:
        return _executor().submit(lambda: context.run(step))
    return (scope.executor or _executor()).submit(lambda: context.run(_lent, scope, step))


def _lent(scope: Scope, step: Callable[[], object]) -> None:
    here.let_tasks_have_scopes()
    if scope.is_shared:
        step()
        return
    carrier, scope.carrier = scope.carrier, (get_ident(), None)
    try:
        step()
    finally:
        scope.carrier = carrier


_executors: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor] = WeakKeyDictionary()


def _executor() -> ThreadPoolExecutor:
    """Return the threads of the running loop that commit.

    Not those that the loop has for everybody: those that wait for the lock might keep off what
    the one that has it waits for.
    """
    loop = asyncio.get_running_loop()
    executor = _executors.get(loop)
    if executor is None:
        executor = _executors[loop] = ThreadPoolExecutor(thread_name_prefix="dobbin_like")
    return executor
