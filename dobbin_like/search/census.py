"""How many objects of which class there are, and how many bytes they take."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from dobbin_like.ids import Tid
from dobbin_like.search.snapshot_scan import SnapshotScan
from dobbin_like.store import Progress, Store


class ClassCount(NamedTuple):
    """What there is of one class.

    ``bytes`` are those of the states, as they are stored; of a large collection, with those of
    its changes since it was stored whole.
    """

    name: str
    objects: int
    bytes: int


@dataclass(frozen=True)
class Census:
    """What was stored as of one tid, by class; the class that takes most bytes first."""

    tid: Tid
    classes: tuple[ClassCount, ...]

    @property
    def objects(self) -> int:
        """Of all classes."""
        return sum(count.objects for count in self.classes)

    @property
    def bytes(self) -> int:
        """Of all classes."""
        return sum(count.bytes for count in self.classes)

    def as_dict(self) -> dict[str, Any]:
        classes = [count._asdict() for count in self.classes]
        return {**asdict(self), "objects": self.objects, "bytes": self.bytes, "classes": classes}

    def __str__(self) -> str:
        counts = [*self.classes, ClassCount("in all", self.objects, self.bytes)]
        lines = [("objects", "bytes", "class")]
        lines += [(f"{count.objects:,}", f"{count.bytes:,}", count.name) for count in counts]
        objects, size = (max(len(line[column]) for line in lines) for column in (0, 1))
        return "\n".join(
            f"{line[0].rjust(objects)}  {line[1].rjust(size)}  {line[2]}" for line in lines
        )


def census(store: Store, progress: Progress | None = None) -> Census:
    """Count the stored objects and their bytes, by class.

    With those that the root does not lead to. Classes need not be there; they go by the
    names that the log has for them now. ``print()`` shows a table.

    Args:
        progress: Called with the oids that were looked at so far, and all there are.

    Raises:
        IntegrityError: An object is damaged.
        ClosedError: The database is closed.

    Cost: That of ``instances()``.
    """
    sight = SnapshotScan(store)
    try:
        counts: dict[str, list[int]] = {}
        known: dict[int, list[int]] = {}  # By the number of a state: a few for each class.
        for oid, stored in sight.all(progress):
            count = known.get(stored.number)
            if count is None:
                count = known[stored.number] = counts.setdefault(sight.name_of(stored), [0, 0])
            count[0] += 1
            count[1] += sight.size(oid, stored)
        found = [ClassCount(name, *count) for name, count in counts.items()]
    finally:
        sight.release()
    found.sort(key=lambda count: (-count.bytes, count.name))
    return Census(sight.tid, tuple(found))
