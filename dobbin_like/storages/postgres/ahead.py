"""Versions that were read before they are loaded, many in one round trip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dobbin_like.ids import Oid, Tid
from dobbin_like.processes.interrupts import reentrant_lock
from dobbin_like.storages.postgres.tables import PostgresTransaction, PostgresVersion

AHEAD_BYTES: Final = 8 << 10
"""Of one state: a larger one is not read ahead, for that takes longer than a round trip."""

_MOST: Final = 4000
"""Versions that are kept: those that nobody has loaded by then are dropped."""


class Ahead:
    """Newest versions of objects, as of what is applied. Any thread.

    Each is given once: whoever loads an object keeps it. All that this drops can be read again.
    """

    def __init__(self) -> None:
        self._lock = reentrant_lock()
        self._versions: dict[Oid, PostgresVersion] = {}

    def take(self, oid: Oid, at: Tid | None) -> PostgresVersion | None:
        """Return the version of an object as of *at*, if it is there."""
        if not self._versions:
            return None
        version = self._versions.pop(oid, None)
        return None if version is None or (at is not None and at < version.tid) else version

    def keep(
        self, versions: Mapping[Oid, PostgresVersion], are_newest: Callable[[], bool]
    ) -> None:
        """Keep versions until they are taken, unless there are newer ones by now."""
        with self._lock:
            if not are_newest():
                return
            if len(self._versions) + len(versions) > _MOST:
                self._versions = {}
            self._versions.update(versions)

    def apply(
        self, logged: PostgresTransaction, move_to: Callable[[PostgresTransaction], None]
    ) -> None:
        """Forget what a transaction has changed, and call *move_to*, which lets it count."""
        with self._lock:
            if self._versions and not logged.failed:
                for oid in (*logged.oids, *logged.dropped):
                    self._versions.pop(Oid(oid), None)
            move_to(logged)
