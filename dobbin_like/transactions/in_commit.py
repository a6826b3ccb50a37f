"""Refuses to end a transaction in the middle of its own commit.

A signal handler or a finalizer runs between any two lines of its thread. If it begins, aborts or
commits while the thread is committing, the ``transaction`` package takes the participants away
from the commit, which goes on without them: it would be acknowledged and not be stored, or be
stored by some databases and not by others.
"""

from __future__ import annotations

import sys
import weakref
from types import FrameType
from typing import Any, Final

from dobbin_like.exc import SelfWaitError

COMMITTING: Final = "Committing"
"""The status of a transaction while its participants commit."""

_OPEN: Final = ("Active", COMMITTING)


def refuse_second_commit(transaction: Any, path: str) -> None:
    """Raise SelfWaitError if *transaction* is committed in the middle of its commit."""
    if _is_in_commit(transaction):
        raise SelfWaitError(path)


def abort_outside_commit(reference: weakref.ref[Any], path: str) -> None:
    """Abort a transaction; raise SelfWaitError, and do nothing, in the middle of its commit.

    This takes the place of its ``abort()``, which begin() calls too: that one goes on to its end,
    whatever participants and synchronizers raise.
    """
    transaction: Any = reference()
    if transaction.status in _OPEN and _is_in_commit(transaction):
        raise SelfWaitError(path)
    type(transaction).abort(transaction)


def _is_in_commit(transaction: Any) -> bool:
    # The stack knows; an interrupt of the commit could leave a flag behind, as it does the status.
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None:
        if frame.f_code.co_name == "commit" and frame.f_locals.get("self") is transaction:
            return True
        frame = frame.f_back
    return False
