"""Logs in PostgreSQL of one process that behave as those of several."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dobbin_like.storages.memory_lock import MemoryLock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dobbin_like.storage.postgres import PostgresLog


@contextlib.contextmanager
def in_another_process(log: PostgresLog) -> Iterator[None]:
    """Let *log* take no turns with the threads of this process."""
    lock, log._lock = log._lock, MemoryLock(log.path)
    yield
    log._lock = lock
