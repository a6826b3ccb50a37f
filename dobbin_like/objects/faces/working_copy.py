"""A working copy: one thread's private, changeable state of one object."""

from __future__ import annotations

from typing import Any, Final

from dobbin_like.ids import NO_TID, Tid
from dobbin_like.objects.deltas.delta import ITEMS, Delta, apply_delta
from dobbin_like.objects.deltas.overlay import Overlay
from dobbin_like.objects.deltas.overlays import are_apart, difference, overlay_of
from dobbin_like.objects.values.refs import ObjectRef, State
from dobbin_like.objects.values.value_kinds import KINDS, PLAIN_TYPES, REFERENCE, SHAREABLE
from dobbin_like.objects.values.values import (
    StateComparison,
    deep_copy,
    needs_whole_copy,
    share_parts,
    thaw,
)


class _Pending:
    """Stands in a working copy for a value nobody has asked for yet."""

    def __repr__(self) -> str:
        return "<not asked for>"


PENDING: Final = _Pending()


class WorkingCopy(dict[str, Any]):
    """One thread's private, changeable state of one object.

    A dict of the attributes. Values that can't change are those of the base
    state; the others are :data:`PENDING` until somebody asks for them, and
    from then on the thread's own copies. Touched by its thread only.
    """

    __slots__ = ("base", "exclusive", "memo", "obj", "ref", "serial")

    def __init__(self, obj: Any, ref: ObjectRef, serial: Tid, base: State) -> None:
        super().__init__(base)
        self.obj = obj
        self.ref = ref
        self.serial = serial
        self.base = base
        self.memo: dict[int, Any] = {}
        self.exclusive = False
        if not SHAREABLE.issuperset(map(type, base.values())):
            for name, value in base.items():
                if KINDS[type(value)] > REFERENCE:
                    self[name] = PENDING

    def thaw(self, name: str) -> Any:
        """Return the thread's own copy of the value of *name*, made now."""
        value = self.base[name]
        overlay = self._overlay(value) if name == ITEMS else None
        if overlay is not None:
            self[name] = overlay
        elif needs_whole_copy(value):
            self.thaw_all()
        else:
            self[name] = thaw(value, self.memo)
        return self[name]

    def _overlay(self, items: Any) -> Overlay | None:
        plain: Any = type(self.obj)._p_faces.plain
        return overlay_of(self, items) if plain._p_deltas else None

    def overlay(self) -> Overlay | None:
        """Return what was touched of a collection; ``None``: nothing, or all of it."""
        items = self.get(ITEMS)
        return items if isinstance(items, Overlay) else None

    def thaw_all(self) -> None:
        """Make the thread's own copies of all that is still pending.

        Values that lead to each other are read again from the log: so what
        is one thing in the state is one in the copy, arbitrary objects included.
        """
        base = self.base
        pending = [name for name, value in self.items() if value is PENDING]
        if ITEMS in pending and (overlay := self._overlay(base[ITEMS])) is not None:
            self[ITEMS] = overlay
            pending.remove(ITEMS)
        if any(needs_whole_copy(base[name]) for name in pending):
            assert self.ref.jar is not None
            fresh = self.ref.jar.fresh(self.ref, self.serial)
            self.update({name: fresh[name] for name in pending})
        else:
            self.update({name: thaw(base[name], self.memo) for name in pending})

    def changed(self) -> State | None:
        """Return the state if it differs from the base, else ``None``.

        Cost: what was asked for.
        """
        state: State = type(self.obj)._p_faces.state_of(self)
        base = self.base
        if len(state) != len(base):
            return state
        aliases = None
        for name, value in state.items():
            before = base.get(name, PENDING)
            if value is before or value is PENDING:
                continue
            if type(value) in PLAIN_TYPES:
                same = type(value) is type(before) and value == before
            elif isinstance(value, Overlay):
                same = not value.is_changed()
            else:
                aliases = aliases or StateComparison()
                same = aliases.same(before, value)
            if not same:
                return state
        return None

    def delta(self) -> Overlay | None:
        """Return what was touched of a collection if nothing else has changed of its state."""
        overlay = self.overlay()
        state = type(self.obj)._p_faces.state_of(self)
        base = self.base
        if overlay is None or state.keys() != base.keys():
            return None
        aliases = StateComparison()
        for name, value in state.items():
            kept = value is overlay or value is PENDING or aliases.same(base[name], value)
            if not kept:
                return None
        return overlay

    def rebase(self, serial: Tid, base: State, state: State | None) -> None:
        """Go on as *state*, a change of the version *base*: a conflict was resolved.

        Without a *state*: as the same changes of *base*, which fits.
        """
        if state is None:
            self._merge(serial, base)
            return
        self.serial = serial
        self.base = base
        self.memo = {}
        self.clear()
        self.update(state)

    def fits(self, saved: State) -> bool:
        """Tell whether *saved*, a later version, has changed nothing of what this one changes.

        Cost: what was touched; of a list, the whole of it.
        """
        base, aliases = self.base, StateComparison()
        items = self.get(ITEMS, PENDING)
        if items is not PENDING and ITEMS in base and not isinstance(items, Overlay):
            made = difference(self, base[ITEMS], items)
            if made is None:
                return False
            self[ITEMS] = made
        mine = self._changed_names()
        if any(not _same_in(name, base, saved, aliases) for name in mine):
            return False
        overlay = self.overlay()
        if overlay is None:
            return True
        if not overlay.fits(saved.get(ITEMS)):
            return False
        return _are_apart(overlay, saved) or not self._leads_to_the_rest(overlay, mine)

    def _leads_to_the_rest(self, overlay: Overlay, mine: list[str]) -> bool:
        """Tell whether what was changed has a part in what was not: that can't be merged."""
        came = overlay.came()
        changed = [came] if overlay.kind is not dict else [*came.values()]
        changed += [self[name] for name in mine if name in self]
        rest = [value for name, value in self.items() if name not in (ITEMS, *mine)]
        return share_parts(
            changed, [value for value in rest if value is not PENDING] + [overlay.own]
        )

    def _merge(self, serial: Tid, saved: State) -> None:
        overlay, mine = self.overlay(), self._changed_names()
        state, exclusive = dict(self), self.exclusive
        self.clear()
        # As at its checkout, but of the other version.
        self.__init__(self.obj, self.ref, serial, saved)  # type: ignore[misc]
        self.exclusive = exclusive
        for name in mine:
            if name in state:
                self[name] = state[name]
            else:
                self.pop(name, None)
        if overlay is None:
            return
        if _are_apart(overlay, saved):
            overlay.move_to(saved[ITEMS])
            self[ITEMS] = overlay
            return
        assert self.ref.jar is not None
        fresh = self.ref.jar.fresh(self.ref, serial)
        overlay.follow(fresh[ITEMS])
        apply_delta(fresh[ITEMS], Delta(NO_TID, overlay.gone, overlay.came()))
        self.update({name: value for name, value in fresh.items() if name not in mine})

    def _changed_names(self) -> list[str]:
        """Return the attributes that differ from the base, but for an overlay."""
        state: State = type(self.obj)._p_faces.state_of(self)
        aliases = StateComparison()
        names = [name for name in self.base if name not in state]
        for name, value in state.items():
            if value is PENDING or isinstance(value, Overlay):
                continue
            if name not in self.base or not aliases.same(self.base[name], value):
                names.append(name)
        return names

    def save(self) -> State:
        """Return a copy that :meth:`restore` takes: for savepoints. Cost: the state."""
        self.thaw_all()  # what is one now has to stay one
        return copy_state(self)

    def restore(self, saved: State) -> None:
        """Go back to what :meth:`save` returned, which can be used again."""
        self.clear()
        self.memo = {}
        self.update(copy_state(saved))
        overlay = self.overlay()
        if overlay is not None:
            overlay.working = self


def _are_apart(overlay: Overlay, saved: State) -> bool:
    return are_apart(overlay.base) and are_apart(saved[ITEMS])


def _same_in(name: str, one: State, other: State, aliases: StateComparison) -> bool:
    if name not in one or name not in other:
        return name not in one and name not in other
    return aliases.same(one[name], other[name])


def copy_state(state: State) -> State:
    """Return a deep copy; what is volatile is not copied, for it may be anything."""
    volatile = {name: value for name, value in state.items() if name[:3] == "_v_"}
    rest = {name: value for name, value in state.items() if name not in volatile}
    return deep_copy(rest) | volatile  # type: ignore[no-any-return]
