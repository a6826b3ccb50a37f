"""Which overlay lies over the items of a collection, if one can."""

from __future__ import annotations

from typing import Any, Final

from dobbin_like.objects.deltas.layered import DELTA_TYPES
from dobbin_like.objects.deltas.overlay import Overlay
from dobbin_like.objects.deltas.overlay_dict import OverlayDict
from dobbin_like.objects.deltas.overlay_list import OverlayList
from dobbin_like.objects.deltas.overlay_set import OverlaySet
from dobbin_like.objects.values.value_kinds import DICT, KINDS, LIST, SET

SMALL: Final = 64
"""Items up to which a collection is copied when it is checked out."""

_OVERLAYS: Final[dict[int, Any]] = {DICT: OverlayDict, SET: OverlaySet, LIST: OverlayList}


def overlay_of(working: Any, items: Any) -> Overlay | None:
    """Return an overlay over *items* of shared state; ``None`` if there can be none."""
    if len(items) <= SMALL or not are_apart(items):
        return None
    return _overlay_of(working, items)


def are_apart(items: Any) -> bool:
    """Tell whether each of *items*, of shared state, can be copied without the others."""
    return type(items) in DELTA_TYPES and not items._p_together


def _overlay_of(working: Any, items: Any) -> Overlay:
    cls: Any = type(working.obj)._p_faces.plain
    made: Overlay = (cls._p_overlay or _OVERLAYS[KINDS[type(items)]])(working, items)
    return made


def difference(working: Any, items: Any, now: Any) -> Overlay | None:
    """Return an overlay that makes *now*, a built-in, of *items*; ``None`` if there can be none.

    Where items are not apart, it is good for what it says alone: not for being read.

    Cost: the size.
    """
    kind = KINDS[type(items)]
    if kind not in _OVERLAYS or kind != KINDS[type(now)]:
        return None
    made = _overlay_of(working, items)
    return made if made.become(now) else None
