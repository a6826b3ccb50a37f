"""Questions to all stored objects: how many, those of a class, those that refer to one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from dobbin_like.contract import StoredVersion
from dobbin_like.ids import Oid, Tid
from dobbin_like.mistaken.arguments import check_callables
from dobbin_like.objects.codec.state_reader import way_to
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.search.snapshot_scan import SnapshotScan
from dobbin_like.store import Progress, Store, warn_if_redefined


class ClassCount(NamedTuple):
    """What there is of one class; large collections with the changes that are stored of them."""

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
        return sum(count.objects for count in self.classes)

    @property
    def bytes(self) -> int:
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

    With those that the root does not lead to. Classes need not be there. ``print()`` shows a
    table. *progress*, errors and cost are as for ``instances()``.
    """
    check_callables(progress=progress)
    counts: dict[str, list[int]] = {}
    with SnapshotScan(store) as scan:
        for oid, stored in scan.all(progress):
            count = counts.setdefault(scan.name_of(stored), [0, 0])
            count[0] += 1
            count[1] += scan.size(oid, stored)
    return census_of(scan.tid, counts)


def census_of(tid: Tid, counts: dict[str, list[int]]) -> Census:
    """Return a census, by the objects and the bytes of each class."""
    found = [ClassCount(name, *count) for name, count in counts.items()]
    found.sort(key=lambda count: (-count.bytes, count.name))
    return Census(tid, tuple(found))


def instances(store: Store, cls: type | str, progress: Progress | None = None) -> Iterator[Any]:
    """Yield all stored objects of class *cls* and its subclasses, in the order of their oids.

    Those that the root does not lead to are among them, until the database is packed.
    What they are is what the log says: after a ``rename_class()``, objects of the new class. If
    *cls* was defined again, in a module that was reloaded or by a cell of a notebook, objects that
    have the class of before are among them, and there is a
    :class:`~dobbin_like.exc.RedefinedClassWarning`.

    Args:
        cls: A class, or a mixin of persistent ones: objects whose class can't be loaded are
            left out. Or a name, ``"module.Qualname"``: the objects that are stored as of that
            class and no subclass, whether it is there or not.
        progress: Called with the oids that were looked at so far, and all there are.

    Raises:
        TypeError: *cls* is neither a class nor a name.
        ValueError: The name is without its module.
        IntegrityError: An object is damaged. What was yielded before is right.

    Cost: Reading the bytes of every object from the log; in the past of ``at()``, those of
    the newer versions, too.
    """
    given: Any = cls
    if not isinstance(given, (type, str)):
        text = f"expected a class or the name of one, got {type(given).__name__}"
        raise TypeError(text)
    check_callables(progress=progress)
    if isinstance(given, str) and "." not in given:
        text = f"instances({given!r}): a class is named with its module, 'module.Class'"
        raise ValueError(text)
    if isinstance(cls, type):
        warn_if_redefined(store, cls)
    return all_instances(store, cls, progress)


def is_kind(found: type, cls: type) -> bool:
    """Return whether objects of *found* are of *cls*, whichever of the two was defined again."""
    name = cls.__module__, cls.__qualname__
    return issubclass(found, cls) or any(
        (each.__module__, each.__qualname__) == name for each in found.__mro__
    )


def all_instances(
    store: Store, cls: type | str, progress: Progress | None = None
) -> Iterator[Any]:
    """Do what instances() does, for a class or a name that was looked at."""
    scan = SnapshotScan(store)

    def is_wanted(stored: StoredVersion) -> bool:
        if isinstance(cls, str):
            return scan.name_of(stored) == cls
        # What may not be loaded, or is not there, is a stand-in, of no class of ours.
        found = scan.graph.classes.load(scan.class_of(stored))
        return isinstance(found, type) and issubclass(found, Persistent) and is_kind(found, cls)

    return _instances(scan, is_wanted, progress)


def _instances(
    scan: SnapshotScan, is_wanted: Callable[[StoredVersion], bool], progress: Progress | None
) -> Iterator[Any]:
    known: dict[int, bool] = {}  # By the number of a state: a few for each class.
    with scan:
        for oid, stored in scan.all(progress):
            wanted = known.get(stored.number)
            if wanted is None:
                wanted = known[stored.number] = is_wanted(stored)
            if wanted:
                yield scan.object_of(oid, stored)


class Referrer(NamedTuple):
    """An object, and the way from it to the first of its references to another one.

    The way is what one would write behind the name of the object in Python, with ``' key ...'``
    where it is a key of a dict and ``' member'`` where it is in a set. It is empty where it
    leads through values whose parts are not known.
    """

    obj: Any
    way: str


def referrers(
    store: Store, obj: Persistent | int, progress: Progress | None = None
) -> Iterator[Referrer]:
    """Yield the objects that refer to *obj*, and where in their states, by oid.

    *obj* is an object or an oid. Each referrer comes once, with the first of its ways. Those
    that the root does not lead to are among them, until the database is packed. What refers to
    a value in a ``BTree`` is the node that has it. Nobody refers to an object that is not
    stored yet. *progress* is called as by ``instances()``, and errors are those of ``walk()``.

    Cost: Reading the bytes of every object from the log, and looking for references in
    them, without loading a class.
    """
    check_callables(progress=progress)
    scan = SnapshotScan(store)
    oid = scan.oid_of(obj, "referrers()")
    return iter(()) if oid is None else _referrers(scan, oid, progress)


def _referrers(scan: SnapshotScan, target: Oid, progress: Progress | None) -> Iterator[Referrer]:
    with scan:
        for oid, stored in scan.all(progress):
            if target in scan.references(oid, stored):
                way = way_to(scan.state(oid, stored), target)
                yield Referrer(scan.object_of(oid, stored), way)
