"""How a transaction came to fail, noted without formatting it.

The ``transaction`` package formats the stack with its source lines whenever a commit fails, for
the error that it raises if the same transaction is used again. Conflicts are frequent, and
formatting would cost more than everything else in one.
"""

from __future__ import annotations

import sys
import traceback
import weakref
from types import FrameType, TracebackType
from typing import Any

from transaction._transaction import Status
from transaction.interfaces import TransientError

__all__ = ["note_failure"]

_ErrorInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class _Trace:
    """The lines that were run, and what the error says; it keeps no frame alive."""

    def __init__(self, error: BaseException) -> None:
        places = []
        caller: FrameType | None = sys._getframe(2)  # noqa: SLF001  Behind note_failure().
        while caller is not None:
            places.append((caller.f_code.co_filename, caller.f_lineno, caller.f_code.co_name))
            caller = caller.f_back
        places.reverse()
        for frame, line in traceback.walk_tb(error.__traceback__):
            places.append((frame.f_code.co_filename, line, frame.f_code.co_name))
        self._places = places
        self._message = "".join(traceback.format_exception_only(error))

    def getvalue(self) -> str:
        """Return the text. The package calls it, for which this is a buffer."""
        lines = [(file, number, name, None) for file, number, name in self._places]
        return "".join(traceback.format_list(lines)) + self._message


def note_failure(reference: weakref.ref[Any]) -> _ErrorInfo:
    """Mark a transaction as failed with the error that is being handled; return that.

    This takes the place of the method of the package, for errors that a retry cures.
    """
    transaction: Any = reference()
    error = sys.exception()
    if not isinstance(error, TransientError):
        saved: _ErrorInfo = type(transaction)._saveAndGetCommitishError(transaction)  # noqa: SLF001
        return saved
    transaction.status = Status.COMMITFAILED  # This very text: the package compares by identity.
    transaction._failure_traceback = _Trace(error)  # noqa: SLF001
    return type(error), error, error.__traceback__
