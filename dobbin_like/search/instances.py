"""All stored objects of a class: classes are read from the log, the objects are not loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dobbin_like.persistent import Persistent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dobbin_like.contract import StoredVersion
    from dobbin_like.search.snapshot_scan import SnapshotScan

__all__ = ["instances"]


def instances(
    sight: SnapshotScan, cls: Any, progress: Callable[[int, int], object] | None
) -> Iterator[Any]:
    """Yield the objects of class *cls* and its subclasses, in the order of their oids.

    Args:
        cls: A class; or the name of one, which need not be there, and then of that one alone.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(cls, type):
        wanted = _of_class(sight, cls)
    elif isinstance(cls, str):
        wanted = _of_name(sight, cls)
    else:
        text = f"expected a class or the name of one, got {type(cls).__name__}"
        raise TypeError(text)
    return _instances(sight, wanted, progress)


def _instances(
    sight: SnapshotScan,
    is_wanted: Callable[[StoredVersion], bool],
    progress: Callable[[int, int], object] | None,
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
