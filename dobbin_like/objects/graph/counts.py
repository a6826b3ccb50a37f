"""What has happened to the objects of one database instance, in figures."""

from __future__ import annotations

from dobbin_like.processes.threaded_dict import ThreadedDict

__all__ = ["ObjectCounts"]


class ObjectCounts:
    """Counted where it happens, under the lock that is held there. Any thread may read.

    The lock of the shared state guards ``loads`` (states that were read from the storage) and
    ``commits`` (of this instance). The commit lock guards the others: ``conflicts`` by the name
    of the class, ``merged`` objects, ``replays`` of structures, and ``retries``: commits of a
    thread whose commit before had a conflict.
    """

    __slots__ = ("commits", "conflicts", "loads", "merged", "replays", "retries")

    def __init__(self) -> None:
        self.loads: int = 0
        self.commits: int = 0
        self.merged: int = 0
        self.replays: int = 0
        self.retries: int = 0
        self.conflicts: dict[str, int] = ThreadedDict()

    def conflict(self, class_name: str) -> None:
        self.conflicts[class_name] = self.conflicts.get(class_name, 0) + 1
