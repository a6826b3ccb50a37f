"""Who refers to an object, and where in his state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dobbin_like.objects.codec.reference_path import way_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dobbin_like.ids import Oid
    from dobbin_like.search.snapshot_scan import SnapshotScan

__all__ = ["Referrer", "referrers"]


class Referrer(NamedTuple):
    """An object, and the way from it to the first of its references to another one.

    The way is what one would write behind the name of the object in Python, with ``' key ...'``
    where it is a key of a dict and ``' member'`` where it is in a set. It is empty where it
    leads through values whose parts are not known.
    """

    obj: Any
    way: str


def referrers(
    sight: SnapshotScan, target: Oid, progress: Callable[[int, int], object] | None
) -> Iterator[Referrer]:
    """Yield the objects that refer to *target*, in the order of their oids.

    Raises:
        IntegrityError: An object is damaged. What was yielded before is right.
    """
    try:
        for oid, stored in sight.all(progress):
            if target in sight.references(oid, stored):
                way = way_to(sight.state(oid, stored), target)
                yield Referrer(sight.object_of(oid, stored), way)
    finally:
        sight.release()
