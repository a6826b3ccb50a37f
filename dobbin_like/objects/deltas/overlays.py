"""Chooses the overlay for the items of a collection."""

from __future__ import annotations

from typing import Any, Final

from dobbin_like.objects.deltas.layered import DELTA_TYPES
from dobbin_like.objects.deltas.overlay import Overlay
from dobbin_like.objects.deltas.overlay_dict import OverlayDict
from dobbin_like.objects.deltas.overlay_list import OverlayList
from dobbin_like.objects.deltas.overlay_set import OverlaySet
from dobbin_like.objects.values.value_kinds import DICT, KINDS, LIST, SET

SMALL: Final = 64
"""Up to this size a collection is copied at checkout."""

_OVERLAYS: Final[dict[int, Any]] = {DICT: OverlayDict, SET: OverlaySet, LIST: OverlayList}


def overlay_of(working: Any, items: Any) -> Overlay | None:
    """Return an overlay over shared *items*; ``None`` if they have to be copied."""
    if len(items) <= SMALL or not are_independent(items):
        return None
    return _overlay_of(working, items)


def are_independent(items: Any) -> bool:
    """Return whether each of the shared *items* can be copied without the others."""
    return type(items) in DELTA_TYPES and not items._p_together


def _overlay_of(working: Any, items: Any) -> Overlay:
    cls: Any = type(working.obj)._p_faces.plain
    made: Overlay = (cls._p_overlay or _OVERLAYS[KINDS[type(items)]])(working, items)
    return made


def difference(working: Any, items: Any, now: Any) -> Overlay | None:
    """Return an overlay that makes *now*, a built-in, of *items*; ``None`` if that is impossible.

    If items are not independent, it has only a difference and can't be read. Cost: the size.
    """
    kind = KINDS[type(items)]
    if kind not in _OVERLAYS or kind != KINDS[type(now)]:
        return None
    made = _overlay_of(working, items)
    return made if made.take_difference(now) else None
