"""Which objects are in memory: each oid has one instance, or none (I7).

Knows neither states nor threads. What the garbage collector reports is only noted here, and
removed by the next thread that holds the lock of the shared state.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from dobbin_like.ids import Oid
from dobbin_like.objects.graph.masks import MaskedRefs
from dobbin_like.objects.values.refs import ObjectRef
from dobbin_like.processes.threaded_dict import ThreadedDict


class Cache:
    """The objects in memory by oid, each once (I7). Any thread reads and adds.

    Replacing and removing is done under the lock of the shared state. ``forget`` is called by
    the garbage collector, and must not wait for a lock: it only notes the reference.
    """

    def __init__(self) -> None:
        self.refs: dict[Oid, ObjectRef] = ThreadedDict()
        self.dead: deque[ObjectRef] = deque()
        self.forget: Final = self.dead.append

    def get(self, oid: Oid) -> ObjectRef | None:
        return self.refs.get(oid)

    def all(self) -> list[ObjectRef]:
        return list(self.refs.values())

    def collect(self, masked: MaskedRefs) -> None:
        """Remove what the garbage collector has reported (lock held), its old versions too."""
        while self.dead:
            ref = self.dead[0]
            oid = getattr(ref, "oid", None)  # None: an interrupt came while it was made.
            if oid is not None:
                if self.refs.get(oid) is ref:
                    del self.refs[oid]
                masked.remove(ref)
                ref.mask = None
            self.dead.popleft()  # last: until then, it is done again if interrupted
