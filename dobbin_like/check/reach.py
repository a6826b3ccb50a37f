"""Unreachable objects and dangling references, as of the newest versions.

Needs no class: references are read from the bytes of states. Knows nothing of frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dobbin_like.ids import ROOT_OID, Oid
from dobbin_like.objects.codec.references import Marks, references

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dobbin_like.log.reading.positions import Positions
    from dobbin_like.log.reading.reader import LoggedVersion

_FIRST: Final = 5


def unreachable(
    positions: Positions, load: Callable[[int], LoggedVersion | None]
) -> tuple[int, int, tuple[int, ...]] | None:
    """Return the number of unreachable objects, the bytes of their states, and the first oids.

    None if states can't be read. Cost: the newest states, each read once; one byte of memory for
    each oid.
    """

    def data(oid: int) -> bytes | None:
        stored = load(oid)
        return None if stored is None else stored.data

    marks = Marks(positions.next_oid, data, order=positions.get)
    try:
        marks.follow([ROOT_OID])
        lost = [oid for oid, flag in enumerate(marks.flags) if not flag and positions.get(oid)]
        size = sum(len(data(oid) or b"") for oid in lost)
    except Exception:  # noqa: BLE001  damaged bytes may raise anything; the walk has noted it
        return None
    return len(lost), size, tuple(lost[:_FIRST])


def dangling(
    positions: Positions, load: Callable[[int], LoggedVersion | None]
) -> Iterator[tuple[Oid, LoggedVersion, Oid]]:
    """Yield (oid, version, target) for newest versions that refer to an object not stored."""
    for number in range(positions.next_oid):
        oid = Oid(number)
        try:
            stored = load(oid)
            found = () if stored is None else references(stored.data)
        except Exception:  # noqa: BLE001  damaged bytes may raise anything; the walk has noted it
            continue
        for target in dict.fromkeys(target for target, _ in found):
            if stored is not None and not positions.get(target):
                yield oid, stored, Oid(target)
