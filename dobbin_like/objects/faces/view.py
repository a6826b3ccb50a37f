"""What one thread sees: a snapshot, and which version of an object is visible in it.

::

    tid   object A        object B        views
     10   {'n': 1}        {'n': 1}
     11   {'n': 2}                        v (tid 11) reads A 11, B 10
     12   {'n': 3}        {'n': 2}        v still reads A 11, B 10
     ...  [v: {'n': 9}]                   v has checked A out and reads its own

A version is visible in a snapshot if it is the newest one not younger than the snapshot.
"""

from __future__ import annotations

from threading import get_ident
from typing import Any, NamedTuple

from dobbin_like.ids import Tid
from dobbin_like.objects.faces.working_copy import WorkingCopy
from dobbin_like.objects.values.refs import Mask, ObjectRef, State
from dobbin_like.processes.threads import RunTime

Version = tuple[Tid, "State | None"]
Chain = tuple[Version, ...]

NewRoot = tuple[Any, ObjectRef]
"""The object that a transaction has set as the root, and its reference."""


def visible_version(chain: Chain, snapshot: Tid) -> Version | None:
    """Return the newest version that is not younger than *snapshot*, if *chain* has it."""
    for version in chain:
        if version[0] <= snapshot:
            return version
    return None


class View:
    """What one thread sees of one database, from the beginning of a transaction to its end.

    Belongs to one thread; ``active`` while :class:`Horizon` knows it. ``kept`` holds the objects
    of which the thread's memo has a state, so that their ids are not reused; ``working`` has the
    working copies by ``id(obj)``. ``alone`` is the mask of all objects that this view alone needs
    to be masked, because it has checked them out.

    ``between``: no transaction was begun since the last one, and nothing is checked out. If the
    thread waits then (``run_time`` is asked now and then), the view may lapse: it ends, and
    ``lapsed`` is the snapshot that it had, which it reads again when the thread goes on.
    ``thread`` is the number of its thread.
    """

    __slots__ = (
        "__weakref__",
        "active",
        "alone",
        "between",
        "kept",
        "lapsed",
        "memo",
        "new_root",
        "run_time",
        "thread",
        "tid",
        "working",
    )

    def __init__(self, memo: dict[int, State]) -> None:
        self.memo: dict[int, State] = memo
        self.thread: int = get_ident()
        self.alone: Mask = Mask(None, frozenset([id(self)]))
        self.tid: Tid = Tid(0)
        self.active: bool = False
        self.between: bool = False
        self.run_time: RunTime = RunTime()
        self.lapsed: Tid | None = None
        self.kept: list[Any] = []
        self.working: dict[int, WorkingCopy] = {}
        self.new_root: NewRoot | None = None

    def in_use(self) -> bool:
        """Return whether there is anything to end; an interrupted end leaves some of it."""
        return self.active or bool(self.working) or bool(self.kept) or self.lapsed is not None

    def remember(self, obj: Any, state: State) -> None:
        """Let the thread find *state* for *obj* at once from now on."""
        self.kept.append(obj)
        self.memo[id(obj)] = state
        if not self.active:  # another thread has just ended the view
            self.memo.pop(id(obj), None)

    def forget_states(self) -> None:
        """Drop what was remembered, except working copies."""
        pop = self.memo.pop
        for obj in self.kept:
            if id(obj) not in self.working:
                pop(id(obj), None)
        self.kept.clear()


class Left(NamedTuple):
    """What a thread or task that has ended had checked out: the first object, which may be gone.

    ``what``: "checked out", or that it was set as the root.
    """

    process: int
    who: str
    class_name: str
    ref: ObjectRef
    objects: int
    what: str


class Horizon:
    """The active views and their snapshots: which versions can still be seen.

    Guarded by the graph's lock; but a view may leave without it, so that all are looked at in a
    copy. Each step is one operation on one dict, and may be repeated: an interrupt between two of
    them leaves nothing half done.
    """

    def __init__(self) -> None:
        self.snapshots: dict[View, Tid] = {}
        # No view is older. A view enters at the newest tid, or lowers this when it is resumed.
        self.floor: Tid = Tid(0)

    def __len__(self) -> int:
        return len(self.snapshots)

    def enter(self, view: View, tid: Tid) -> None:
        # In this order: what is registered here is active, so that it will be ended.
        view.active = True
        view.tid = tid
        self.snapshots[view] = tid

    def oldest(self) -> Tid | None:
        """Return the oldest snapshot, or ``None``. Cost: the views."""
        return min(self.snapshots.copy().values(), default=None)

    def between(self, snapshot: Tid, end: Tid) -> list[Tid]:
        """Return the snapshots after *snapshot* and before *end*, newest first."""
        inside = {tid for tid in self.snapshots.copy().values() if snapshot < tid < end}
        return sorted(inside, reverse=True)

    def has_older(self, tid: Tid) -> bool:
        """Return whether there is a snapshot before *tid*. Cost: the views, mostly none."""
        if tid <= self.floor:
            return False
        oldest = self.oldest()
        if oldest is None:
            return False
        self.floor = oldest
        return oldest < tid

    def prune(self, chain: Chain) -> Chain:
        """Drop the versions that no view can see, except the newest."""
        kept = [chain[0]]
        newer = chain[0][0]
        snapshots = set(self.snapshots.copy().values())
        for version in chain[1:]:
            if any(version[0] <= snapshot < newer for snapshot in snapshots):
                kept.append(version)
            newer = version[0]
        return tuple(kept)
