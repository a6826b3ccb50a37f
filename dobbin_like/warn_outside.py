"""Warnings that show the line of the program which led to them, or none."""

from __future__ import annotations

import sys
import warnings
from types import FrameType
from typing import Final

_INSIDE: Final = ("dobbin_like", "transaction")
"""Packages whose lines tell a user nothing; his own call a commit through both."""


def warn_outside(text: str, category: type[Warning]) -> None:
    """Issue a warning at the innermost line that is outside of this package and ``transaction``.

    If there is none, as at the end of the program, it is that of no file. Cost: the frames.
    """
    # From Python 3.12 on, there is skip_file_prefixes.
    level = 1
    frame: FrameType | None = sys._getframe()  # noqa: SLF001
    while frame is not None and str(frame.f_globals.get("__name__")).split(".")[0] in _INSIDE:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


def warn_nowhere(text: str, category: type[Warning]) -> None:
    """Issue a warning to which no line that runs now has led: that of another thread has."""
    warnings.warn(text, category, stacklevel=sys.maxsize)
