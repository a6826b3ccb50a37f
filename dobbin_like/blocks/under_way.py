"""What a thread or task is in when a block begins or ends: its blocks, and a transaction."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Final

from dobbin_like.objects.values.here import Scope, current_scope, current_task
from dobbin_like.transactions.data_manager import DataManager
from dobbin_like.transactions.package_internals import participants_of

EnteredBlock = tuple[weakref.ref[Any], Any, Any]
"""A block, its transaction, and its task."""


class _Entered(threading.local):
    """The blocks that a thread is in, the innermost last.

    Weak: a with statement keeps its block. If that is gone, an interrupt has kept the block from
    beginning or from ending, and the next block ends the transaction that it has left.
    """

    def __init__(self) -> None:
        self.blocks: list[EnteredBlock] = []


of_thread: Final = _Entered()


def entered_here() -> list[EnteredBlock]:
    """Return the blocks that the calling task is in, or else its thread."""
    scope = current_scope()
    return of_thread.blocks if scope is None else scope.entered


def is_in_plain_block() -> bool:
    """Tell whether the calling task is in a block of a plain ``with``, which has no scope."""
    task = current_task()
    return any(of is task and block() is not None for block, _, of in of_thread.blocks)


def doom(block: weakref.ref[Any]) -> None:
    """Let nobody commit a part of what was done in a block that is gone without its end."""
    for each, transaction, _ in of_thread.blocks:
        if each is block and transaction.status == "Active":
            transaction.doom()


def is_in(blocks: list[EnteredBlock], transaction: Any) -> bool:
    """Tell whether one of *blocks* belongs to a transaction."""
    return any(of is transaction for _, of, _ in blocks)


def task_of(scope: Scope | None) -> Any:
    """Return the task whose blocks are entered here; None: there is none, or not one alone."""
    return None if scope is not None and scope.is_shared else current_task()


def goes_on(transaction: Any) -> bool:
    """Tell whether a transaction has still to be ended."""
    return transaction.status in ("Active", "Doomed")


def has_changes(transaction: Any) -> bool:
    """Tell whether something was changed in a transaction, in whichever database.

    One that takes part may have nothing: what was checked out has failed, or was rolled back.
    """
    return any(
        not isinstance(participant, DataManager) or participant.pending > 0
        for participant in participants_of(transaction)
    )
