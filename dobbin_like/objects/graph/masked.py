"""Which objects are masked because a snapshot may see an older version, and until when.

Each object is there once, however often it is changed meanwhile, and weakly: what nobody can
reach any more is freed though a snapshot is older. Knows nothing of views: that is
:mod:`.publication`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from dobbin_like.ids import Tid
from dobbin_like.objects.values.refs import ObjectRef
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
