"""Whether the time that a tid tells can be believed. No decision about data rests on it."""

from __future__ import annotations

import time
from typing import Final

from dobbin_like.ids import Tid

_TOLERANCE_MICROSECONDS: Final = 60_000_000
"""By how much the clocks of machines may differ."""


def now() -> Tid:
    """Return the tid that a transaction would have by the clock of this machine."""
    return Tid(time.time_ns() // 1000)  # noqa: TID251


def is_ahead(tid: Tid) -> bool:
    """Return whether *tid* is of the future: a clock was wrong when it was given, or is now."""
    return tid > now() + _TOLERANCE_MICROSECONDS
