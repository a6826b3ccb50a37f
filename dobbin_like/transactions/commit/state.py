"""How far the commit of a thread is: its phases, which may follow which, and what is decided."""

from __future__ import annotations

import weakref
from typing import Any, Final

from dobbin_like.contract import Storage, Transaction
from dobbin_like.exc import ClosedError, LogError
from dobbin_like.ids import NO_TID

IDLE: Final = "idle"  # There is none; objects may be checked out.
BEGUN: Final = "begun"  # The commit lock is held; conflicts are looked for.
REPLAYING: Final = "replaying"  # Owners of structures do their changes again: they check out.
GATHERED: Final = "gathered"  # A failure from here on is recorded in the log.
APPENDING: Final = "appending"  # The storage decides: settle() tells whether it has.
PREPARED: Final = "prepared"  # It is written; others may still refuse it.
COMMITTED: Final = "committed"  # It is decided, and gets visible now.
PUBLISHED: Final = "published"  # All see it; the commit lock is given back.

_NEXT: Final[dict[str, tuple[str, ...]]] = {
    IDLE: (BEGUN,),
    BEGUN: (REPLAYING, GATHERED),
    REPLAYING: (BEGUN,),
    GATHERED: (BEGUN, APPENDING, PREPARED),
    PREPARED: (APPENDING,),
    APPENDING: (BEGUN, COMMITTED),
    COMMITTED: (PUBLISHED,),
    PUBLISHED: (),
}
"""What may follow. From everywhere the way back leads to IDLE."""

_deciders: weakref.WeakKeyDictionary[Any, CommitState] = weakref.WeakKeyDictionary()
"""Transactions of several participants, and the commit that decides for all of them."""


class CommitState:
    """Where the commit of one thread to one database stands. Touched by its thread only.

    ``snapshot`` is what the transaction has read, ``tid`` its own, ``made`` what the storage has
    made of it. ``decided_tid`` is that of the last one that was committed.
    """

    def __init__(self, storage: Storage) -> None:
        self.phase: str = IDLE
        self.snapshot = NO_TID
        self.tid = NO_TID
        self.decided_tid = NO_TID
        self.made: Transaction | None = None
        self._storage = storage

    def enter(self, phase: str) -> None:
        """Go on to *phase*."""
        assert phase in _NEXT[self.phase], (self.phase, phase)
        self.phase = phase

    def decide_for_all(self, transaction: Any) -> None:
        """Let the decision of this database be that of all, unless another one was the first."""
        _deciders.setdefault(transaction, self)

    def decide(self, *, wait: bool) -> None:
        """Append what is prepared, unless that has happened. May be run again."""
        if self.phase is PREPARED:
            self.enter(APPENDING)
        if self._storage.settle(self.tid) is None:
            self._storage.decide(wait=wait)
        self.enter(COMMITTED)

    def is_committed(self, transaction: Any) -> bool:
        """Return whether the decision was made before an error or an interrupt came."""
        if self.phase is PREPARED or self.phase is APPENDING:
            first = _deciders.get(transaction)
            if first is not None and first is not self and first.has_decided():
                return True
        if self.phase is APPENDING:
            made = self._settled()
            if made is not None:
                self.made = made
                self.enter(COMMITTED)
        return self.phase in (COMMITTED, PUBLISHED)

    def _settled(self) -> Transaction | None:
        try:
            return self._storage.settle(self.tid)
        except (OSError, LogError, ClosedError):
            return None  # The disk is gone, or a signal handler has closed it: it is in doubt.

    def has_decided(self) -> bool:
        """Return whether this database has committed the transaction, which it has prepared."""
        if self.phase is APPENDING:
            return self._settled() is not None
        return self.phase in (COMMITTED, PUBLISHED) or self.decided_tid == self.tid
