"""Unreachable objects and dangling references, as of the newest versions.

Needs no class: references are read from the bytes of states. Knows nothing of frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dobbin_like.ids import ROOT_OID, Oid
from dobbin_like.objects.codec.references import Marks, references

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dobbin_like.log.reading.positions import Positions
    from dobbin_like.log.reading.reader import LoggedVersion

_FIRST: Final = 5


class Unreachable(NamedTuple):
    """Objects that can't be reached from the root; a pack drops them.

    ``bytes`` are those of their newest states; ``first`` are the smallest of their oids.
    """

    objects: int
    bytes: int
    first: tuple[int, ...]


def unreachable(
    positions: Positions, load: Callable[[int], LoggedVersion | None]
) -> Unreachable | None:
    """Return the unreachable objects; None if states can't be read.

    Cost: The newest states, each read once; one byte of memory for each oid.
    """
    marks = Marks(positions.next_oid, lambda oid: _data(load(oid)), order=positions.get)
    try:
        marks.follow([ROOT_OID])
        lost = [oid for oid, flag in enumerate(marks.flags) if not flag and positions.get(oid)]
        size = sum(len(_data(load(oid)) or b"") for oid in lost)
    except Exception:  # noqa: BLE001  damaged bytes may raise anything; the walk has noted it
        return None
    return Unreachable(len(lost), size, tuple(lost[:_FIRST]))


def _data(stored: LoggedVersion | None) -> bytes | None:
    return None if stored is None else stored.data


def dangling(
    positions: Positions, load: Callable[[int], LoggedVersion | None]
) -> Iterator[tuple[Oid, LoggedVersion, Oid]]:
    """Yield (oid, target) for newest versions that refer to a target that is not stored.

    Cost: The newest states.
    """
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
