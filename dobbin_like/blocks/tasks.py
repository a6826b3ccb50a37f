"""Blocks of tasks of asyncio: each has a scope, and what may wait is done in another thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from threading import get_ident

import transaction

from dobbin_like.objects.values.here import Scope, current_scope, here, keep_scope


def enter_scope() -> bool:
    """Give the calling task a scope; return False if it has one."""
    if current_scope() is not None:
        return False
    here.let_tasks_have_scopes()
    keep_scope(Scope(transaction.TransactionManager(explicit=True)))
    return True


def leave_scope() -> None:
    """Let the calling task be without a scope again."""
    keep_scope(None)


async def in_thread(step: Callable[[], object]) -> None:
    """Run *step* in another thread, for the calling task, and wait for it.

    It is never interrupted: a cancellation that comes meanwhile is raised when it has ended.
    """
    scope = current_scope()

    def run() -> None:
        if scope is not None:
            here.let_tasks_have_scopes()
            scope.carrier = get_ident(), None
        step()

    carrier = None if scope is None else scope.carrier
    done = asyncio.get_running_loop().run_in_executor(None, copy_context().run, run)
    cancelled: asyncio.CancelledError | None = None
    while not done.done():
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError as error:
            cancelled = error
    if scope is not None and carrier is not None:
        scope.carrier = carrier
    if cancelled is not None:
        done.exception()  # It has been seen.
        raise cancelled
    done.result()
