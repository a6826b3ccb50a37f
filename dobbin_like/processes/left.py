"""Blocks that an interrupt has left: their end was not called, or not begun.

Python looks for signals when a function begins. An interrupt that comes just before the end of a
block, ``__exit__``, is raised there, before its first line: nothing is committed, and nothing
taken back. So the next use by the thread has to find it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any


def was_left(block: Any) -> bool:
    """Tell whether nobody will call the end of *block*; None: it is gone.

    If it is not gone, somebody handles the interrupt, or the prompt has kept it.
    """
    if block is None:
        return True
    if "last_value" not in vars(sys) and sys.exc_info()[1] is None:
        return False
    return any(_is_at_end(each, block) for error in _known_errors() for each in _traceback(error))


def _known_errors() -> Iterator[BaseException]:
    todo = [sys.exc_info()[1], *(getattr(sys, name, None) for name in ("last_exc", "last_value"))]
    seen = set()
    while todo:
        error = todo.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            yield error
            todo += error.__context__, error.__cause__


def _traceback(error: BaseException) -> Iterator[TracebackType]:
    each = error.__traceback__
    while each is not None:
        yield each
        each = each.tb_next


def _is_at_end(each: TracebackType, block: Any) -> bool:
    code = each.tb_frame.f_code
    if code.co_name != "__exit__" or each.tb_lineno != code.co_firstlineno:
        return False
    ended = each.tb_frame.f_locals.get("self")
    return ended is block or getattr(ended, "_block", None) is block  # As that of a claim.
