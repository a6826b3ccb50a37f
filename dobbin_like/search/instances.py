"""All stored objects of a class: classes are read from the log, the objects are not loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, overload

from dobbin_like.contract import StoredVersion
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.search.snapshot_scan import SnapshotScan
from dobbin_like.store import Progress, Store

_T = TypeVar("_T")


@overload
def instances(store: Store, cls: type[_T], progress: Progress | None = None) -> Iterator[_T]: ...


@overload
def instances(store: Store, cls: str, progress: Progress | None = None) -> Iterator[Any]: ...


def instances(store: Store, cls: type | str, progress: Progress | None = None) -> Iterator[Any]:
    """Yield all stored objects of class *cls* and its subclasses, in the order of their oids.

    Those that the root does not lead to are among them, until the database is packed.
    What they are is what the log says: after a ``rename_class()``, objects of the new class.

    Args:
        cls: A class, persistent or a mixin of persistent ones. Subclasses are those that
            may be loaded under the policy for loading; objects whose class is not there
            are left out. Or a name, ``"module.Qualname"``: the objects that are stored as of
            that class and no subclass, whether it is there or not.
        progress: Called with the oids that were looked at so far, and all there are.

    Raises:
        TypeError: *cls* is neither a class nor a name.
        IntegrityError: An object is damaged. What was yielded before is right.
        ClosedError: The database is closed.

    Cost: Reading the bytes of every object from the log; in the past of ``at()``, those of
    the newer versions, too.
    """
    given: Any = cls
    if not isinstance(given, (type, str)):
        text = f"expected a class or the name of one, got {type(given).__name__}"
        raise TypeError(text)
    sight = SnapshotScan(store)
    wanted = _of_class(sight, cls) if isinstance(cls, type) else _of_name(sight, cls)
    return _instances(sight, wanted, progress)


def _instances(
    sight: SnapshotScan, is_wanted: Callable[[StoredVersion], bool], progress: Progress | None
) -> Iterator[Any]:
    known: dict[int, bool] = {}  # By the number of a state: a few for each class.
    try:
        for oid, stored in sight.all(progress):
            wanted = known.get(stored.number)
            if wanted is None:
                wanted = known[stored.number] = is_wanted(stored)
            if wanted:
                yield sight.object_of(oid, stored)
    finally:
        sight.release()


def _of_class(sight: SnapshotScan, cls: type) -> Callable[[StoredVersion], bool]:
    def is_wanted(stored: StoredVersion) -> bool:
        # What may not be loaded, or is not there, is a stand-in, of no class of ours.
        found = sight.graph.classes.load(sight.class_of(stored))
        return isinstance(found, type) and issubclass(found, Persistent) and issubclass(found, cls)

    return is_wanted


def _of_name(sight: SnapshotScan, name: str) -> Callable[[StoredVersion], bool]:
    return lambda stored: sight.name_of(stored) == name
