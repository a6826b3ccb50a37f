"""The objects of one database instance that are in memory, by oid: each is there once (I7)."""

from __future__ import annotations

from collections import deque

from dobbin_like.ids import Oid
from dobbin_like.objects.values.refs import ObjectRef


class Cache:
    """References to objects by oid. Any thread reads and adds.

    Replacing and removing is done under the lock of the shared state. ``forget`` is called by
    the garbage collector when an object is gone; it must not wait for a lock, so it only notes
    the reference, and :meth:`collect` removes it.
    """

    def __init__(self) -> None:
        self.refs: dict[Oid, ObjectRef] = {}
        self.dead: deque[ObjectRef] = deque()
        self.forget = self.dead.append

    def get(self, oid: Oid) -> ObjectRef | None:
        return self.refs.get(oid)

    def all(self) -> list[ObjectRef]:
        return list(self.refs.values())

    def collect(self) -> None:
        """Remove what the garbage collector has reported (lock held)."""
        while self.dead:
            ref = self.dead.popleft()
            oid = getattr(ref, "oid", None)  # None: an interrupt came while it was made.
            if oid is not None and self.refs.get(oid) is ref:
                del self.refs[oid]
