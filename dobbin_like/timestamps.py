"""Tids and datetimes: a tid is a moment, in microseconds since the epoch."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from dobbin_like.ids import Tid
from dobbin_like.mistaken.arguments import wrong_type

_logger = logging.getLogger(__name__)

Moment = int | datetime
"""A tid, or a datetime that knows its time zone."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_TOLERANCE_MICROSECONDS: Final = 60_000_000
"""By how much the clocks of machines may differ."""


def time_of(tid: Tid) -> datetime:
    """Return when a transaction was committed, by the clock of its writer, in UTC."""
    try:
        return _EPOCH + timedelta(microseconds=tid)
    except OverflowError:  # behind the year 9999
        return datetime.max.replace(tzinfo=UTC)


def tid_of(moment: Moment, name: str = "moment", or_else: str = "") -> Tid:
    """Return the tid of a moment: the largest that a transaction up to then can have.

    *name* is that of the argument, *or_else* what it may be besides, for the text of a TypeError.
    """
    if isinstance(moment, datetime):
        if moment.utcoffset() is None:
            # Not replace(tzinfo=UTC): what datetime.now() returns is local time.
            text = (
                f"{moment!r} has no time zone; call moment.astimezone(), which takes it as local "
                "time"
            )
            raise ValueError(text)
        return Tid((moment - _EPOCH) // _MICROSECOND)
    if isinstance(moment, int) and not isinstance(moment, bool):
        return Tid(moment)
    raise wrong_type(moment, name, f"a tid or a datetime with a time zone{or_else}")


def now() -> Tid:
    """Return the tid that a transaction would have by the clock of this machine."""
    return Tid(max(1, time.time_ns() // 1000))  # noqa: TID251  a clock may be before 1970


def is_ahead(tid: Tid) -> bool:
    """Return whether *tid* is of the future: a clock was wrong when it was given, or is now."""
    return tid > now() + _TOLERANCE_MICROSECONDS


def warn_if_ahead(path: str, tid: Tid) -> None:
    """Log a warning if the last transaction of a log is of the future."""
    if is_ahead(tid):
        _logger.warning(
            "%s: its last transaction has the tid %d, which is of the future: a clock was "
            "ahead, or that of this machine is behind; see Clocks in the guide",
            path,
            tid,
        )
