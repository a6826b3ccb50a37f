"""What comes between two lines of a commit: interrupts, and the end of its own transaction.

A signal handler or a finalizer runs between any two lines of its thread. If it begins, aborts or
commits while the thread is committing, the ``transaction`` package takes the participants away
from the commit, which goes on without them: it would be acknowledged without being stored, or
stored by only some of the databases. So that is refused.

If it raises an exception, as Ctrl-C does, after the transaction is decided, nothing is taken back.
The exception is held until ``commit()`` is done: raised out of a participant, it would make that
package report an inconsistent state, and tell its hooks that the commit has failed.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final

from dobbin_like.exc import Error, SelfWaitError

COMMITTING: Final = "Committing"
"""The status of a transaction while its participants commit."""

DECIDED: Final = (COMMITTING, "Committed")
"""The states of a transaction to which nothing can be added any more."""

_HELD: Final = "dobbin_like_held_interrupt"
"""The attribute of a transaction for an interrupt that came when it was decided."""

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
    end_then_raise(type(transaction).abort, reference)


def hold(transaction: Any, interrupt: BaseException) -> None:
    """Let the commit of *transaction* raise *interrupt* when it is done; the first one counts.

    Not an error in reading what others have committed: when it is done, that was read.
    """
    if is_interrupt(interrupt) and getattr(transaction, _HELD, None) is None:
        setattr(transaction, _HELD, interrupt)


def is_interrupt(error: BaseException) -> bool:
    """Tell whether a signal handler has raised *error*, and not the storage or the disk.

    A handler's TimeoutError is an OSError, too; those of the system have a number.
    """
    return not isinstance(error, Error) and getattr(error, "errno", None) is None


def end_then_raise(end: Callable[[Any], object], reference: weakref.ref[Any]) -> None:
    """Commit or abort a transaction, then raise the interrupt that was held.

    After an interrupt at its very end, its manager has it no more: else it would be the thread's
    transaction for good, to which nothing can be added.
    """
    transaction: Any = reference()
    manager = transaction._manager  # noqa: SLF001  There is no public way to ask.
    try:
        end(transaction)
    except BaseException:
        if manager is not None and transaction._manager is None:  # noqa: SLF001
            with suppress(ValueError):  # It does not have it any more.
                manager.free(transaction)
        raise
    finally:
        interrupt = getattr(transaction, _HELD, None)
        if interrupt is not None:
            setattr(transaction, _HELD, None)
            raise interrupt


def _is_in_commit(transaction: Any) -> bool:
    # Found by the stack: an interrupt could leave a flag set, as it leaves the status.
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None:
        if frame.f_code.co_name == "commit" and frame.f_locals.get("self") is transaction:
            return True
        frame = frame.f_back
    return False
