"""Masks: which objects wear one, as a snapshot sees an older version, and until when.

A masked object has a class that asks, at each touch, which version the reading thread sees.
It is masked exactly while a thread needs another state than the newest. Everything here is done
under the lock of the shared state, and may be repeated after an interrupt. Removing a mask:
class first, then the chain.

Knows the snapshots, but not when they begin and end: that is :mod:`.publication`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from dobbin_like.ids import Tid
from dobbin_like.objects.faces.view import Horizon
from dobbin_like.objects.values.refs import NOBODY, Mask, ObjectRef, swap_class
from dobbin_like.processes.threaded_dict import ThreadedDict


class MaskedRefs:
    """References of masked objects, in the order in which to look at them again.

    Guarded by the lock of the shared state. Each method may be repeated after an interrupt.
    ``turns``: by the newest tid when they were added.
    """

    def __init__(self) -> None:
        self.turns: OrderedDict[Tid, dict[int, ObjectRef]] = OrderedDict()
        self._turn_of: dict[int, Tid] = ThreadedDict()

    def __len__(self) -> int:
        return len(self._turn_of)

    def add(self, tid: Tid, refs: Iterable[ObjectRef]) -> None:
        """Note *refs* until no snapshot is older than *tid*, which is the newest so far."""
        turn_of = self._turn_of
        new = {id(ref): ref for ref in refs if id(ref) not in turn_of}
        if new:
            self.turns.setdefault(tid, {}).update(new)
            turn_of.update(dict.fromkeys(new, tid))

    def add_changed(self, refs: Iterable[ObjectRef]) -> None:
        """Note *refs* until no snapshot is older than what has changed each of them last."""
        turns, turn_of = self.turns, self._turn_of
        for ref in refs:
            if id(ref) not in turn_of:
                turns.setdefault(ref.serial, {})[id(ref)] = ref
                turn_of[id(ref)] = ref.serial
        self.turns = OrderedDict(sorted(turns.items()))

    def first(self, oldest: Tid | None) -> tuple[Tid, list[ObjectRef]] | None:
        """Return the first turn if no snapshot is older; *oldest* is the oldest one, if any."""
        tid = next(iter(self.turns), None)
        if tid is None or (oldest is not None and oldest < tid):
            return None
        return tid, list(self.turns[tid].values())

    def end(self, turn: Tid, newest: Tid, needed: list[ObjectRef]) -> None:
        """End a turn; *needed* are those of it that older snapshots see: *newest* is theirs."""
        refs = self.turns.get(turn, {})
        later = {id(ref): ref for ref in needed if self._turn_of.get(id(ref)) == turn}
        if later:
            self.turns.setdefault(newest, {}).update(later)
            self._turn_of.update(dict.fromkeys(later, newest))
        for key in refs:
            if self._turn_of.get(key) == turn:
                del self._turn_of[key]
        self.turns.pop(turn, None)

    def remove(self, ref: ObjectRef) -> None:
        """Forget an object that is gone."""
        turn = self._turn_of.get(id(ref))
        if turn is None:
            return
        refs = self.turns[turn]
        refs.pop(id(ref), None)
        if not refs:
            del self.turns[turn]
        del self._turn_of[id(ref)]


class Masks:
    """Puts masks on objects and takes them off, for the snapshots in *horizon*."""

    def __init__(self, horizon: Horizon) -> None:
        self.masked: MaskedRefs = MaskedRefs()
        self._horizon = horizon

    def put_on(self, obj: Any, ref: ObjectRef, chain: Any, held: Mask = NOBODY) -> Mask:
        """Mask *obj*: from now on each reader gets the state that it sees.

        *chain* has its versions; ``None``: there are no others than before. *held* is ``alone`` of
        a view that has a working copy from now on.
        """
        before = ref.mask
        if chain is None and (before is None or before is held):
            mask = held
        else:
            before = before or NOBODY
            mask = Mask(chain or before.chain, before.holders | held.holders)
            mask.foreign = before.foreign
        ref.mask = mask
        faces = type(obj)._p_faces
        cls = faces.mask or faces.make_mask()
        if type(obj) is not cls:
            swap_class(obj, cls)
        return mask

    def take_off_due(self, newest: Tid) -> None:
        """Unmask what all snapshots see in its newest version; *newest* is the newest tid."""
        oldest = self._horizon.oldest()
        while found := self.masked.first(oldest):
            turn, refs = found
            needed = [ref for ref in refs if self._is_needed(ref, oldest)]
            self.masked.end(turn, newest, needed)

    def _is_needed(self, ref: ObjectRef, oldest: Tid | None) -> bool:
        """Take off a mask, or return True if a snapshot needs it."""
        obj = ref()
        if obj is not None:
            self.take_off(obj, ref, oldest)
        chain = None if ref.mask is None else ref.mask.chain
        return oldest is not None and chain is not None and oldest < chain[0][0]

    def take_off(self, obj: Any, ref: ObjectRef, oldest: Tid | None) -> None:
        """Remove the mask if nobody needs it; *oldest* is the oldest snapshot, if any."""
        mask = ref.mask
        if mask is None:
            return
        chain = mask.chain
        if chain is not None and oldest is not None and oldest < chain[0][0]:
            return
        unread = chain is not None and chain[0][1] is None
        if mask.holders:
            if chain is not None and not unread:
                mask.chain = None
            return
        faces = type(obj)._p_faces
        swap_class(obj, (faces.ghost or faces.make_ghost()) if unread else faces.plain)
        ref.mask = None
