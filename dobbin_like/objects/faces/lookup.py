"""How attributes are looked up where the dict of an object must not answer: on a mask or a ghost.

Each function takes the object first. What is asked goes to the jar, for the state that the calling
thread sees, and to the class. Read :mod:`.base` next.
"""

from __future__ import annotations

from types import MethodType
from typing import Any, Final
from weakref import getweakrefs

from dobbin_like.exc import ClosedError, FixedClassError, ReadCycleError, ReadOnlyError, UsageError
from dobbin_like.objects.faces.classes.declaration import own_dict
from dobbin_like.objects.faces.classes.faces import Guarded
from dobbin_like.objects.faces.elsewhere import FixedProperty, no_attribute, no_such_attribute
from dobbin_like.objects.faces.working_copy import PENDING, PartialState, WorkingCopy
from dobbin_like.objects.values.guards import is_elsewhere
from dobbin_like.objects.values.here import here
from dobbin_like.objects.values.refs import (
    Identity,
    ObjectRef,
    State,
    in_class,
    native_dict,
    ref_of,
    swap_class,
)
from dobbin_like.objects.values.values import to_plain

MISSING: Final = object()
"""What is found if nothing is."""


def load(obj: Any) -> None:
    """Give a ghost its state, unless it has it."""
    ref = ref_of(obj)
    if ref is not None and ref.jar is not None:
        ref.jar.load(obj, ref)
    elif is_left_unread(obj):
        raise left_unread(obj)
    else:
        # Collected as part of a cycle, its __del__ running: what it still has is all there is.
        swap_class(obj, type(obj)._p_faces.plain)


def is_left_unread(obj: Any) -> bool:
    """Return whether *obj*, which no database knows, was not read before its database was gone."""
    return type(obj) is type(obj)._p_faces.ghost and not native_dict(obj)


def left_unread(obj: Any) -> ClosedError:
    """Return the error for using such an object, or such a stream."""
    return ClosedError(f"the database of this {type(obj).__name__}")


def refusal(obj: Any, name: str, value: Any = None) -> UsageError:
    """Return the error for setting or deleting an attribute of what is not checked out."""
    if name[:3] == "_p_":
        return no_such_attribute(obj, name)
    class_name, oid = type(obj).__name__, obj._p_oid
    if name == "__class__":
        return FixedClassError(class_name, oid, getattr(value, "__name__", "another class"))
    fixed = in_class(type(obj), name)
    if isinstance(fixed, FixedProperty):  # A checkout would not help.
        return fixed.refusal(obj)
    elsewhere = type(obj) is type(obj)._p_faces.owned or is_elsewhere(ref_of(obj))
    return ReadOnlyError(class_name, oid, name, elsewhere)


def refuse_setting(obj: Any, name: str, value: Any) -> None:
    """Raise the error for setting an attribute of what is not checked out, if it is a change.

    ``obj.items += more`` sets what it has read. If that is a persistent object, *obj* stays as it
    is: it has changed itself.
    """
    if not (issubclass(type(value), Identity) and _state_of(obj).get(name) is value):
        raise refusal(obj, name, value)
    if name in (type(obj)._p_faces.data_names or type(obj)._p_faces.find_data_names()):
        raise refusal(obj, name, value)  # Nobody knows what a setter does.


def _state_of(obj: Any) -> State:
    """Return the state of *obj*, which is read, as this thread sees it."""
    while True:
        cls = type(obj)
        state = visible_state(obj) if cls is cls._p_faces.mask else native_dict(obj)
        if state is not None and type(obj) is cls:  # Else it may be of another version.
            return state


def seen_dict(obj: Any) -> State:
    """Return the ``__dict__`` of a masked object, as this thread sees it."""
    state: State | None = here.memo.get(id(obj))
    if state is None:
        state = visible_state(obj)
    if state is None:
        return native_dict(obj)
    if type(state) is WorkingCopy or type(state) is PartialState:
        state.copy_pending()
    return state


def set_dict(obj: Any, attributes: State) -> None:
    """Do what ``obj.__dict__ = attributes`` does, in the working copy."""
    state = here.memo.get(id(obj))
    if type(state) is not WorkingCopy:
        raise refusal(obj, "__dict__")
    memo: dict[int, Any] = {}
    made = {name: to_plain(value, memo) for name, value in attributes.items()}
    state.clear()
    state.update(made)


def ghost_getattribute(obj: Any, name: str) -> Any:
    """Read the state at the first access, unless the class answers."""
    if name == "__class__":
        return type(obj)._p_faces.plain
    if name[:3] == "_p_":
        return object.__getattribute__(obj, name)
    for ref in getweakrefs(obj):  # As load() does, without a call.
        if type(ref) is ObjectRef and ref.jar is not None:
            try:
                ref.jar.load(obj, ref)
            except ReadCycleError:
                return _partial_attribute(obj, name, _partial_state(ref))
            return getattr(obj, name)
    if name != "__dict__" and is_left_unread(obj):
        found = type(in_class(type(obj), name))
        if hasattr(found, "__get__"):  # A method, which its __del__ may need.
            return object.__getattribute__(obj, name)
    load(obj)
    return getattr(obj, name)


def _partial_attribute(obj: Any, name: str, state: PartialState) -> Any:
    """Do for a ghost whose state is being decoded what MaskLayer does for a masked object."""
    faces = type(obj)._p_faces
    if name not in (faces.data_names or faces.find_data_names()):
        value = state.get(name, MISSING)
        if value is PENDING:
            state.own_value(name)
        if value is not MISSING:
            return value
    if name == "__dict__":
        state.copy_pending()
        return state
    return class_attribute(obj, name, faces.ghost)


def _partial_state(ref: ObjectRef) -> PartialState:
    """Return what can be had of an object meanwhile; raise the caller's error if it is another."""
    state = here.reading.get(id(ref))
    if type(state) is not PartialState:
        raise  # noqa: PLE0704  of the caller
    return state


def ghost_setattr(obj: Any, name: str, value: Any) -> None:
    """Do what ``setattr(obj, name, value)`` does, when the state is read."""
    load(obj)
    setattr(obj, name, value)


def ghost_delattr(obj: Any, name: str) -> None:
    """Do what ``delattr(obj, name)`` does, when the state is read."""
    load(obj)
    delattr(obj, name)


def visible_state(obj: Any) -> State | None:
    """Return the state of a masked object that this thread sees; None: it has no mask by now."""
    ref = ref_of(obj)
    if ref is None or ref.jar is None:  # never was in a database: not masked
        return native_dict(obj)
    try:
        return ref.jar.visible(obj, ref)
    except ReadCycleError:
        return _partial_state(ref)


def class_descriptor(obj: Any, name: str) -> Any:
    """Return the data descriptor that the class of *obj* has for *name*, or None."""
    faces = type(obj)._p_faces
    if name in (faces.data_names or faces.find_data_names()):
        for cls in type(obj).__mro__:
            found = own_dict(cls).get(name, MISSING)
            # Guarded: the descriptor was added to the class later.
            if found is not MISSING and type(found) is not Guarded:
                return found
    return None


def class_attribute(obj: Any, name: str, mask: Any) -> Any:
    """Look *name* up in the class only, and bind it to *obj*."""
    # By super: a thread with a view must not see the native dict while the object is masked.
    try:
        found: Any = getattr(super(mask, obj), name)
    except AttributeError:
        if any(name in own_dict(cls) for cls in mask.__mro__[1:]):
            raise  # from the code of a property
        raise no_attribute(obj, name) from None
    except TypeError:
        if type(obj) is not mask:  # the mask was taken off meanwhile
            return getattr(obj, name)
        raise
    # A class method gets the user's class.
    if type(found) is MethodType and found.__self__ is mask:
        return MethodType(found.__func__, mask._p_faces.plain)  # type: ignore[attr-defined]
    return found
