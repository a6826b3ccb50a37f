"""The snapshots that one instance keeps from being dropped by the packs of any process.

The oldest of them stands in a row on the server, which does not count any more after a day: a
process that was killed takes nothing back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from typing import Final

import psycopg

from dobbin_like.exc import Error, ServerUnavailableError
from dobbin_like.ids import Tid
from dobbin_like.processes.interrupts import reentrant_lock
from dobbin_like.storages.postgres.lines import Lines
from dobbin_like.storages.postgres.tables import Statements, new_id

_logger = logging.getLogger(__name__)

_PUT: Final = (
    "insert into {s}.pin (id, tid, until) values (%b, %s, now() + interval '1 day') "
    "on conflict (id) do update set tid = excluded.tid, until = excluded.until"
)
_DROP: Final = "delete from {s}.pin where id = %b"

_FRESH_SECONDS: Final = 60.0
_FRESH_MICROSECONDS: Final = 600 * 1_000_000
"""How long a row may name a snapshot that is so much older than what is needed by now."""


class Pins:
    """The pins of one instance. Any thread.

    Args:
        read_only: The server may be a standby, where nothing can be written: packs of other
            processes do not know of the pins.
    """

    def __init__(self, lines: Lines, statements: Statements, *, read_only: bool) -> None:
        self._lines = lines
        self._put = statements.of(_PUT)
        self._drop = statements.of(_DROP)
        self._read_only = read_only
        self._pins: dict[object, Tid] = {}
        self.forget_row()

    def forget_row(self) -> None:
        """Begin anew, in a forked child: the row is that of the parent."""
        self._lock = reentrant_lock()
        self._id = new_id()
        self._pid = os.getpid()
        self._row: Tid | None = None  # What the server has.
        self._put_at = 0.0

    def oldest(self) -> Tid | None:
        """Return the oldest one of this instance."""
        return min(self._pins.copy().values(), default=None)

    def pin(self, tid: Tid) -> object:
        """Keep what snapshots from *tid* on need.

        Cost: A round trip, if no older one is pinned.
        """
        if self._pid != os.getpid():
            self.forget_row()  # No hook has seen the fork.
        token = object()
        self._pins[token] = tid
        if self._read_only:
            return token
        try:
            with self._lock:
                if self._row is None or tid < self._row or self._is_old():
                    self._write()
        except BaseException:
            self._pins.pop(token, None)
            raise
        return token

    def _is_old(self) -> bool:
        """Return whether the row keeps too much."""
        if time.monotonic() - self._put_at > _FRESH_SECONDS:
            return True
        oldest, row = self.oldest(), self._row
        return None not in (oldest, row) and oldest - row > _FRESH_MICROSECONDS  # type: ignore[operator]

    def _write(self) -> None:
        tid = self.oldest()
        if tid is None:
            return
        if self._row is None or tid < self._row:
            self._row = tid  # Before: after an interrupt, it may be there.
        try:
            self._lines.run(lambda line: line.execute(self._put, (self._id, tid)))
        except ServerUnavailableError as error:
            if not isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege):
                raise
            self._row, self._read_only = None, True
            text = "%s: packs of other processes may drop what this one reads: %s"
            _logger.warning(text, self._lines.path, error.reason)
        else:
            self._row, self._put_at = tid, time.monotonic()

    def unpin(self, token: object) -> None:
        """Take a pin() back; the last one takes the row away. Nothing happens the second time."""
        if self._pins.pop(token, None) is None or self._row is None or self._pid != os.getpid():
            return
        with self._lock:
            if not self._pins:
                self.close()
            elif self._is_old():
                with contextlib.suppress(Error):
                    self._write()

    def close(self) -> None:
        """Take the row away; if that can't be done now, it does not count after a day."""
        if self._row is not None and self._pid == os.getpid():
            with contextlib.suppress(Error):
                self._lines.run(lambda line: line.execute(self._drop, (self._id,)), 0.0)
            self._row = None
