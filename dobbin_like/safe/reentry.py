"""Whether a method of a safe is called in the middle of another one.

A signal handler or a finalizer may do that, at any line, in the thread that it interrupts.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Final

from dobbin_like.safe.groups import Groups

_ASKING: Final = ("update", "__ior__", "__or__", "__ror__")
"""Methods that call the program for the items that it gives."""


def was_inside(safe: object, groups: Groups) -> bool:
    """Tell whether the thread was in a method of *safe* already when it called the present one.

    The stack knows. A mark could be left behind by an interrupt, and would slow down reads.
    """
    caller = sys._getframe(1)  # noqa: SLF001
    present = caller.f_globals["__name__"]
    frame: FrameType | None = caller
    modules = (present, Groups.__module__)
    while frame is not None and frame.f_globals.get("__name__") == present:
        frame = frame.f_back
    while frame is not None:
        ours = frame.f_globals.get("__name__") in modules
        if ours and frame.f_code.co_name not in _ASKING:
            owner = frame.f_locals.get("self")
            if owner is safe or owner is groups:
                return True
        frame = frame.f_back
    return False
