"""Which objects refer to an object, and where in their states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from dobbin_like.ids import Oid
from dobbin_like.objects.codec.reference_path import way_to
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.search.snapshot_scan import SnapshotScan
from dobbin_like.store import Progress, Store


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

    *obj* is an object or an oid. Each referrer comes once, with the first of its ways:
    ``Referrer(obj, way)``. Those that the root does not lead to are among them, until the
    database is packed. What refers to a value in a ``BTree`` is the node that has it. Nobody
    refers to an object that is not stored yet.

    Args:
        progress: Called with the oids that were looked at so far, and all there are.

    Raises:
        As :func:`~dobbin_like.search.walk.walk`.

    Cost: Reading the bytes of every object from the log, and looking for references in
    them, without loading a class.
    """
    sight = SnapshotScan(store)
    oid = sight.oid_of(obj, "referrers()")
    return iter(()) if oid is None else _referrers(sight, oid, progress)


def _referrers(sight: SnapshotScan, target: Oid, progress: Progress | None) -> Iterator[Referrer]:
    try:
        for oid, stored in sight.all(progress):
            if target in sight.references(oid, stored):
                way = way_to(sight.state(oid, stored), target)
                yield Referrer(sight.object_of(oid, stored), way)
    finally:
        sight.release()
