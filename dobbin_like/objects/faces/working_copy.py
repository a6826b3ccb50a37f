"""A working copy: one thread's private, changeable state of one object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from dobbin_like.exc import ReadCycleError
from dobbin_like.ids import NO_TID, Oid, Tid
from dobbin_like.objects.deltas.delta import ITEMS, Delta, apply_delta
from dobbin_like.objects.deltas.overlay import Overlay
from dobbin_like.objects.deltas.overlays import are_independent, difference, overlay_of
from dobbin_like.objects.values.comparison import StateComparison, share_parts
from dobbin_like.objects.values.refs import ObjectRef, State
from dobbin_like.objects.values.value_kinds import (
    BASES,
    DICT,
    IMMUTABLE,
    KINDS,
    LIST,
    MUTABLE,
    OTHER,
    PLAIN_TYPES,
    REFERENCE,
    TUPLE,
)
from dobbin_like.objects.values.values import deep_copy, needs_whole_copy, own_copy

Written = tuple[ObjectRef, Any, Any]
"""An object and a container of its state: as the thread had it, and as it is shared.

Or a list of arbitrary values, as the thread had them, and None.
"""


class _Pending:
    """Stands for a value that was not read, and so was not copied for the thread."""

    def __repr__(self) -> str:
        return "<not read>"


PENDING: Final = _Pending()


class PartialState(dict[str, Any]):
    """What can be had of an object while its state is decoded, the rest being PENDING.

    For code of the user that decoding runs: a hash of what the object holds may need the object.
    """

    def __init__(self, class_name: str, oid: Oid, state: State) -> None:
        super().__init__(state)
        self._whose = class_name, oid

    def own_value(self, name: str) -> Any:
        raise ReadCycleError(*self._whose, name)

    def copy_pending(self) -> None:
        for name, value in self.items():
            if value is PENDING:
                self.own_value(name)


class Touched:
    """What a transaction has written, also if it is equal to what was there.

    ``names`` are attributes, ``keys`` those that were set, added or taken out of a collection; a
    list has None among them if it was changed otherwise than by appending. ``whole``: the object
    is to be stored.
    """

    __slots__ = ("keys", "names", "whole")

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.keys: dict[Any, None] = {}
        self.whole: bool = False

    def copy(self) -> Touched:
        made = Touched()
        made.names, made.keys, made.whole = {**self.names}, {**self.keys}, self.whole
        return made


class WorkingCopy(dict[str, Any]):
    """One thread's private, changeable state of one object.

    A dict of the attributes. Immutable values are those of the base state; the others are
    :data:`PENDING` until they are read, then copies of the thread's own. Only its thread uses it.
    Made by :func:`working_copy`. ``has_pending``: some values were PENDING at the beginning; None
    while these are read again.
    """

    # No __init__: a checkout would take a fourth longer.
    __slots__ = ("base", "exclusive", "has_pending", "obj", "ref", "serial", "touched")

    obj: Any
    ref: ObjectRef
    serial: Tid
    base: State
    exclusive: bool
    has_pending: bool | None
    touched: Touched | None

    def hide_mutable(self) -> None:
        """Let what can be changed be PENDING."""
        base = self.base
        mutable = MUTABLE[tuple(map(type, base.values()))]
        if mutable:
            names = [*base]
            for index in mutable:
                self[names[index]] = PENDING
            self.has_pending = True

    def note(self) -> Touched:
        """Return what was written, to which the caller adds. It is in ``touched``, once made."""
        touched = self.touched
        if touched is None:
            touched = self.touched = Touched()
        return touched

    def own_value(self, name: str) -> Any:
        value = self.base[name]
        overlay = self._overlay(value) if name == ITEMS else None
        if overlay is not None:
            self[name] = overlay
        elif self.has_pending is None:
            return value
        elif needs_whole_copy(value):
            self.copy_pending()
        else:
            self[name] = own_copy(value)
        return self[name]

    def _overlay(self, items: Any) -> Overlay | None:
        plain: Any = type(self.obj)._p_faces.plain
        return overlay_of(self, items) if plain._p_deltas else None

    def overlay(self) -> Overlay | None:
        """Return the overlay over the items; ``None``: they were not read, or are a built-in."""
        items = self.get(ITEMS)
        return items if isinstance(items, Overlay) else None

    def copy_pending(self) -> None:
        """Copy all pending values for the thread: what is one thing in the state stays one.

        If values share parts, or hold arbitrary objects, the state is read again from the log.
        """
        if self.has_pending is None:
            raise ReadCycleError(type(self.obj)._p_faces.plain.__name__, self.ref.oid, "__dict__")
        if not self.has_pending:
            return
        base = self.base
        pending = [name for name, value in self.items() if value is PENDING]
        if ITEMS in pending and (overlay := self._overlay(base[ITEMS])) is not None:
            self[ITEMS] = overlay
            pending.remove(ITEMS)
        if any(needs_whole_copy(base[name]) for name in pending):
            assert self.ref.jar is not None
            # A hash, or what makes a value again, may read this object: it has the base then.
            self.has_pending = None
            try:
                fresh = self.ref.jar.fresh(self.ref, self.serial)
            finally:
                self.has_pending = True
            self.update({name: fresh[name] for name in pending})
        else:
            self.update({name: own_copy(base[name]) for name in pending})

    def changed(self) -> State | None:
        """Return the state if it differs from the base, or was touched as a whole, else ``None``.

        Cost: what was read.
        """
        faces = type(self.obj)._p_faces
        # As state_of() does, without a call where all attributes are state.
        state: State = (
            dict(self) if tuple(self) in faces.clean else faces.state_of(self, self.ref.oid)
        )
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
            elif issubclass(type(value), Overlay):
                same = not value.is_changed()
            else:
                aliases = aliases or StateComparison()
                same = aliases.same(before, value)
            if not same:
                return state
        return state if self.touched is not None and self.touched.whole else None

    def delta(self) -> Overlay | None:
        """Return the overlay over the items if nothing but items was changed."""
        overlay = self.overlay()
        return None if overlay is None or self._changed_names() else overlay

    def rebase(self, serial: Tid, base: State, state: State | None) -> None:
        """Become *state*, a change of the version *base*, after a conflict was resolved.

        Without a *state*: apply the changes of this working copy to *base*, which fits.
        """
        if state is None:
            self._merge(serial, base)
            return
        self.serial = serial
        self.base = base
        self.clear()
        self.update(state)

    def fits(self, saved: State) -> bool:
        """Return whether *saved*, a later version, has changed nothing that this one changes."""
        base, aliases = self.base, StateComparison()
        items = self.get(ITEMS, PENDING)
        if items is not PENDING and ITEMS in base and not isinstance(items, Overlay):
            made = difference(self, base[ITEMS], items)
            if made is None:
                return False
            self[ITEMS] = made
        mine, touched = self._changed_names(), self.note()
        if any(not _same_in(name, base, saved, aliases) for name in (*mine, *touched.names)):
            return False
        overlay = self.overlay()
        if overlay is None:
            return True
        if not overlay.fits(saved.get(ITEMS), touched.keys):
            return False
        return _are_independent(overlay, saved) or not self._leads_to_the_rest(overlay, mine)

    def _leads_to_the_rest(self, overlay: Overlay, mine: list[str]) -> bool:
        """Return whether changed and unchanged values share a part: they can't be merged."""
        added = overlay.all_added()
        changed = [*added.values()] if isinstance(added, dict) else [added]
        changed += [self[name] for name in mine if name in self]
        rest = [value for name, value in self.items() if name not in (ITEMS, *mine)]
        return share_parts(
            changed, [value for value in rest if value is not PENDING] + [overlay.own]
        )

    def _merge(self, serial: Tid, saved: State) -> None:
        overlay, mine = self.overlay(), self._changed_names()
        state = dict(self)
        self.clear()
        # As after a checkout of the other version.
        self.update(saved)
        self.serial, self.base, self.exclusive, self.has_pending = serial, saved, False, False
        self.hide_mutable()
        for name in mine:
            if name in state:
                self[name] = state[name]
            else:
                self.pop(name, None)
        if overlay is None:
            return
        if _are_independent(overlay, saved):
            overlay.rebase(saved[ITEMS])
            self[ITEMS] = overlay
            return
        assert self.ref.jar is not None
        fresh = self.ref.jar.fresh(self.ref, serial)
        overlay.renumber(fresh[ITEMS])
        apply_delta(fresh[ITEMS], Delta(NO_TID, overlay.removed, overlay.all_added()))
        self.update({name: value for name, value in fresh.items() if name not in mine})

    def _changed_names(self) -> list[str]:
        """Return the attributes that differ from the base, except an overlay."""
        state: State = type(self.obj)._p_faces.state_of(self, self.ref.oid)
        base, aliases = self.base, StateComparison()
        names = [name for name in base if name not in state]
        for name, value in state.items():
            if value is PENDING or issubclass(type(value), Overlay):
                continue
            if name not in base or not aliases.same(base[name], value):
                names.append(name)
        return names

    def save(self) -> tuple[State, Touched | None]:
        """Return a copy that :meth:`restore` takes: for savepoints. Cost: the state."""
        self.copy_pending()  # What is one thing now has to stay one.
        touched = self.touched
        state = copy_state(self, type(self.obj)._p_faces)
        return state, touched if touched is None else touched.copy()

    def restore(self, saved: tuple[State, Touched | None]) -> None:
        """Go back to what :meth:`save` returned, which can be used again."""
        state, touched = saved
        self.clear()
        self.update(copy_state(state, type(self.obj)._p_faces))
        self.touched = touched if touched is None else touched.copy()
        overlay = self.overlay()
        if overlay is not None:
            overlay.working = self


def working_copy(obj: Any, ref: ObjectRef, serial: Tid, base: State) -> WorkingCopy:
    """Return a copy of *base*, the version *serial* of an object, for the calling thread."""
    working = WorkingCopy(base)
    working.obj = obj
    working.ref = ref
    working.serial = serial
    working.base = base
    working.exclusive = working.has_pending = False
    working.touched = None
    working.hide_mutable()
    return working


def _are_independent(overlay: Overlay, saved: State) -> bool:
    return are_independent(overlay.base) and are_independent(saved[ITEMS])


def _same_in(name: str, one: State, other: State, aliases: StateComparison) -> bool:
    if name not in one or name not in other:
        return name not in one and name not in other
    return aliases.same(one[name], other[name])


def copy_state(state: State, faces: Any) -> State:
    """Return a deep copy of a state, with volatile values as they are, without cached ones."""
    # Each savepoint copies all that is checked out, and most states are like this.
    kinds = map(KINDS.__getitem__, map(type, state.values()))
    if max(kinds, default=IMMUTABLE) <= REFERENCE and tuple(state) in faces.clean:
        return {**state}
    volatile = {name: value for name, value in state.items() if name[:3] == "_v_"}
    return deep_copy(faces.state_of(state)) | volatile  # type: ignore[no-any-return]


def containers_of(working: WorkingCopy) -> Iterator[Written]:
    """Yield the containers of a working copy that were read, each with that of its base.

    Also a list of the arbitrary values.
    """
    base: Any = working.base
    todo = [(value, base.get(name)) for name, value in working.items()]
    seen: set[int] = set()
    others: dict[int, Any] = {}
    for value, before in todo:
        kind = KINDS[type(value)]
        if issubclass(type(value), Overlay):  # Not isinstance(): it would read an object's state.
            todo += [(own, value.base[key]) for key, own in value.own.items()]
        elif kind == OTHER:
            others[id(value)] = value
        elif kind > REFERENCE and kind == KINDS[type(before)] and id(value) not in seen:
            seen.add(id(value))
            if kind in BASES:
                yield working.ref, value, before
            parts = value.values() if kind == DICT else value if kind in (LIST, TUPLE) else ()
            if any(KINDS[cls] > REFERENCE for cls in set(map(type, parts))):
                todo += zip(parts, before.values() if kind == DICT else before, strict=False)
    if others:
        yield working.ref, [*others.values()], None
