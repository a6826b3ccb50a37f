"""Which overlay lies over the items of a collection, if one can."""

from __future__ import annotations

from typing import Any, Final

from dobbin_like.persistent.kinds import DICT, KINDS, LIST, SET
from dobbin_like.persistent.layered import DELTA_TYPES
from dobbin_like.persistent.overlay import Overlay
from dobbin_like.persistent.overlay_dict import OverlayDict
from dobbin_like.persistent.overlay_list import OverlayList
from dobbin_like.persistent.overlay_set import OverlaySet

SMALL: Final = 64
"""Items up to which a collection is copied when it is checked out."""

_OVERLAYS: Final[dict[int, Any]] = {DICT: OverlayDict, SET: OverlaySet, LIST: OverlayList}


def overlay_of(working: Any, items: Any) -> Overlay | None:
    """Return an overlay over *items* of shared state; ``None`` if there can be none."""
    if len(items) <= SMALL:
        return None
    return _overlay_of(working, items)


def _overlay_of(working: Any, items: Any) -> Overlay | None:
    if type(items) not in DELTA_TYPES or items._p_together:
        return None
    cls: Any = type(working.obj)._p_faces.plain
    made: Overlay = (cls._p_overlay or _OVERLAYS[KINDS[type(items)]])(working, items)
    return made


def difference(working: Any, items: Any, now: Any) -> Overlay | None:
    """Return an overlay that makes *now*, a built-in, of *items*; ``None`` if there can be none.

    Cost: the size.
    """
    made = _overlay_of(working, items)
    if made is None or KINDS[type(items)] != KINDS[type(now)] or not made.become(now):
        return None
    return made
