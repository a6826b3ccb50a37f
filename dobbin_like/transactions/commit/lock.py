"""The commit lock, and the tid of a transaction that is made while it is held."""

from __future__ import annotations

import os
import time
from typing import Final

from dobbin_like.contract import Storage
from dobbin_like.exc import ChangesLostError, ClosedError, LogPackedError, SelfWaitError
from dobbin_like.ids import Tid
from dobbin_like.transactions.publisher import Publisher

_FOLLOW_TRIES: Final = 100
"""How often a log may be packed while one commit waits for its lock."""


def acquire(publisher: Publisher, *, settled: bool = True) -> None:
    """Take the commit lock; if the log was packed, that of the new file."""
    if publisher.publishing:  # This is a signal handler, in the middle of acquire().
        raise SelfWaitError(publisher.storage.path)
    for _ in range(_FOLLOW_TRIES):
        try:
            publisher.storage.acquire(settled=settled)
        except LogPackedError:
            publisher.catch_up()
        except ClosedError:
            if publisher.closed:
                raise changes_lost(publisher) from None
            raise
        else:
            break
    else:
        publisher.storage.acquire(settled=settled)
    if publisher.pid != os.getpid():  # Before this process has anything to publish.
        publisher.forget_parent()


def changes_lost(publisher: Publisher) -> ChangesLostError:
    """Return the error for a commit to a database that was closed."""
    return ChangesLostError(f"the database {publisher.storage.path}")


def new_tid(storage: Storage) -> Tid:
    """Return the tid for a transaction that follows what is appended to *storage*."""
    # The only use of the clock; no decision rests on it.
    now_microseconds, last = time.time_ns() // 1000, storage.last_tid  # noqa: TID251
    return Tid(now_microseconds if now_microseconds > last else last + 1)
