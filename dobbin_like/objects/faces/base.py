"""``Persistent`` and what its faces answer; ``checkout``.

The plain face has no hook on reading. The layers below are mixed into the generated classes of
:mod:`.classes.faces`; they ask the jar of the object for the state that the calling thread sees.
How they look an attribute up: :mod:`.lookup`.
"""

from __future__ import annotations

import copyreg
from typing import TYPE_CHECKING, Any, Final
from weakref import getweakrefs

from dobbin_like.exc import CheckedOutElsewhereError, NotPersistentError
from dobbin_like.ids import OWN_ATTRIBUTES, Oid, Tid
from dobbin_like.objects.faces.classes.faces import LAYERS, TOPS
from dobbin_like.objects.faces.classes.metaclass import PersistentMeta
from dobbin_like.objects.faces.elsewhere import (
    IN_OBJECTS,
    Elsewhere,
    no_attribute,
    no_such_attribute,
)
from dobbin_like.objects.faces.lookup import (
    MISSING,
    class_attribute,
    class_descriptor,
    ghost_delattr,
    ghost_getattribute,
    ghost_setattr,
    is_left_unread,
    left_unread,
    refusal,
    refuse_setting,
    seen_dict,
    set_dict,
    visible_state,
)
from dobbin_like.objects.faces.working_copy import PENDING, WorkingCopy
from dobbin_like.objects.values.guards import SHARED_TYPES
from dobbin_like.objects.values.here import current_scope, current_task, here
from dobbin_like.objects.values.owners import disown, is_own, own
from dobbin_like.objects.values.refs import (
    UNSTORED,
    Identity,
    ObjectRef,
    State,
    native_dict,
    ref_of,
    swap_class,
)
from dobbin_like.objects.values.values import to_plain

# What pickles of protocol 2 and later call to make an instance; typeshed lacks them.
_NEW: Final[Any] = vars(copyreg)["__newobj__"]
_NEW_EX: Final[Any] = vars(copyreg)["__newobj_ex__"]


class Persistent(Identity, metaclass=PersistentMeta):
    """Base class of objects that are stored and shared.

    A subclass is a plain Python class; attributes may be set in its constructor. After that, an
    object is read-only until :func:`checkout`; setting or deleting an attribute raises
    :class:`~dobbin_like.exc.ReadOnlyError`. Attributes that begin with ``_v_`` and what
    ``functools.cached_property`` leaves are not stored.

    It may derive from ``abc.ABC`` and other abstract base classes, too. With a
    ``typing.Protocol``, it needs a metaclass that derives from ``PersistentMeta`` and
    ``type(Protocol)``: Python reports a metaclass conflict without.

    A subclass may define:

    * ``_p_resolve_conflict(old_state, saved_state, new_state)``, a static or class method that
      returns the merged state, or raises :class:`~dobbin_like.exc.ConflictError`;
    * ``_p_part_of``, the name of the attribute that leads from a part to the owner of the
      structure, whose ``_p_replay(self, parts)`` settles the conflicts of parts that can't be
      merged one by one: see :mod:`dobbin_like.transactions.replay`;
    * ``_p_version``, a number that grows when states come to look different, and
      ``_p_migrate(state, version)``, a static or class method that returns a state that was
      stored as an older *version* as one of this version, from its arguments alone.
    """

    __module__ = "dobbin_like.persistent"  # The name that logs have for it.
    # Without annotations, which type hints of every persistent class would show.
    _p_version = 0
    _p_deltas = False
    """Whether the attribute of the items is stored by what was changed of it."""

    @property
    def _p_oid(self) -> Oid | None:
        """The id of the object in its database; ``None`` as long as it is in none."""
        ref = ref_of(self)
        return None if ref is None else ref.oid

    @property
    def _p_jar(self) -> Any:
        """The database of the object, or ``None``."""
        ref = ref_of(self)
        return None if ref is None or ref.jar is None else ref.jar.database

    @property
    def _p_serial(self) -> Tid | None:
        """The tid that last changed the object, as this thread sees it, or ``None``."""
        ref = ref_of(self)
        if ref is None or ref.jar is None or ref.serial == UNSTORED:
            return None
        return ref.jar.serial(self, ref)

    def __setattr__(self, name: str, value: Any) -> None:
        layer = type(self)._p_layer
        if layer is not Persistent:  # It was called by the name of this class, not by super().
            layer.__setattr__(self, name, value)
        # Generic aliases leave their mark on every instance they make.
        elif name != "__orig_class__":
            refuse_setting(self, name, value)

    def __delattr__(self, name: str) -> None:
        layer = type(self)._p_layer
        if layer is Persistent:
            raise refusal(self, name)
        layer.__delattr__(self, name)

    def __repr__(self) -> str:
        other = super().__repr__
        if getattr(other, "__objclass__", None) is not object:  # That of a mixin.
            return other()
        cls, ref = type(self)._p_faces.plain, ref_of(self)
        place = f"new at {id(self):#x}" if ref is None else f"oid {ref.oid}"
        return f"<{cls.__module__}.{cls.__qualname__} {place}>"

    def __getstate__(self) -> Any:
        """Return the state that this thread sees, its values ordinary: for copies and pickles."""
        memo: dict[int, Any] = {}
        return {name: to_plain(value, memo) for name, value in state_to_copy(self).items()}

    def __reduce_ex__(self, protocol: Any) -> Any:
        # object's own would see the mask, and the native dict behind it.
        cls: Any = type(self)._p_faces.plain
        registered: Any = copyreg.dispatch_table.get(cls)
        if registered is not None:  # Pickle has asked by type(), which was a face.
            return registered(self)
        if cls.__reduce__ is not object.__reduce__:
            return self.__reduce__()
        new: Any = getattr(self, "__getnewargs_ex__", None)
        if new is not None:
            args, kwargs = new()
            return _NEW_EX, (cls, args, kwargs), self.__getstate__()
        new = getattr(self, "__getnewargs__", tuple)
        return _NEW, (cls, *new()), self.__getstate__()


def state_to_copy(obj: Any) -> State:
    """Return the state of *obj* as this thread sees it, without what the store has put there."""
    state: State = type(obj)._p_faces.state_of(obj.__dict__)
    for name in OWN_ATTRIBUTES:
        state.pop(name, None)
    return state


def _refuse_class(obj: Any, value: Any) -> None:
    raise refusal(obj, "__class__", value)


_looks = property(lambda obj: type(obj)._p_faces.plain, _refuse_class)
"""``__class__`` of a generated face: the user's class."""


class OpenLayer(Persistent):
    """A new object under construction."""

    if not TYPE_CHECKING:  # They take what those of Persistent take.
        __setattr__ = object.__setattr__
        __delattr__ = object.__delattr__


class OwnedLayer(Persistent):
    """A new object that was checked out before it was ever stored: for one thread, or task."""

    def __setattr__(self, name: str, value: Any) -> None:
        if is_own(self):
            object.__setattr__(self, name, value)
        else:
            refuse_setting(self, name, value)

    def __delattr__(self, name: str) -> None:
        if not is_own(self):
            raise refusal(self, name)
        object.__delattr__(self, name)


class MaskLayer(Persistent):
    """An object of which some thread sees another state than the newest."""

    def __getattribute__(self, name: str) -> Any:
        state = here.memo.get(id(self))
        if state is None:
            state = visible_state(self)
            if state is None:  # the mask was taken off meanwhile
                return getattr(self, name)
        # By way of the faces: the mask may be off by now, and type() another class.
        faces = type(self)._p_faces
        value = state.get(name, MISSING)  # First: most names that it lacks are of methods.
        if value is not MISSING and name not in (faces.data_names or faces.find_data_names()):
            return state.own_value(name) if value is PENDING else value
        if name == "__class__":
            return faces.plain
        if name == "__dict__":
            return seen_dict(self)
        return class_attribute(self, name, faces.mask)

    def __setattr__(self, name: str, value: Any) -> None:
        state = here.memo.get(id(self))
        if type(state) is not WorkingCopy:
            refuse_setting(self, name, value)
            return
        faces = type(self)._p_faces
        if name in faces.guarded:  # No data descriptor of the class has it.
            state[name] = to_plain(value, {}) if type(value) in SHARED_TYPES else value
            return
        if name in (faces.data_names or faces.find_data_names()):
            descriptor = class_descriptor(self, name)
            # As the interpreter does: through the type of the descriptor.
            if hasattr(type(descriptor), "__set__"):
                type(descriptor).__set__(descriptor, self, value)
                return
        if name[:3] == "_p_":
            raise no_such_attribute(self, name)
        state[name] = to_plain(value, {}) if type(value) in SHARED_TYPES else value

    def __delattr__(self, name: str) -> None:
        state = here.memo.get(id(self))
        if type(state) is not WorkingCopy:
            raise refusal(self, name)
        descriptor = class_descriptor(self, name)
        if hasattr(type(descriptor), "__delete__"):
            type(descriptor).__delete__(descriptor, self)
        elif name in state:
            del state[name]
        else:
            raise no_attribute(self, name)


for _layer in (Persistent, OpenLayer, OwnedLayer, MaskLayer):
    _layer._p_layer = _layer
for _name in IN_OBJECTS:
    setattr(Persistent, _name, Elsewhere(_name))
LAYERS.update(open=OpenLayer, owned=OwnedLayer, mask=MaskLayer)
TOPS.update(
    open={"__class__": _looks},
    owned={"__class__": _looks},
    # On top: a mixin that stands before Persistent has a __dict__ of its own. And a property, as
    # object.__setattr__() would else replace the dict that all threads share.
    mask={"__class__": _looks, "__dict__": property(seen_dict, set_dict)},
    ghost={
        "__class__": _looks,
        "__getattribute__": ghost_getattribute,
        "__setattr__": ghost_setattr,
        "__delattr__": ghost_delattr,
    },
)


def checkout(*objects: Persistent, exclusive: bool = False) -> None:
    """Let the calling thread change *objects* until its transaction ends.

    From here on the thread reads and writes its own copy of the state of each, mutable values
    included; persistent objects inside are never copied. An object that was checked out takes
    part in the conflict check at commit even when it was not changed. Checking out twice is
    checking out once.

    A thread that was given its objects by another one has no snapshot before it has used the
    database, by ``db.root`` for one, or has checked something out: what it has read until then
    may have changed, and nobody notices.

    Args:
        exclusive: Let every change of these objects by others be a conflict, also where it would
            be merged: for decisions that depend on more of a collection than the items that are
            changed, on its length for one. Of a ``BTree``, that is every change of the nodes that
            are in memory: all that was read is there.

    Raises:
        NotPersistentError: One of them is not an instance of ``Persistent``; those before it are
            checked out.
        CheckedOutElsewhereError: One of them is new, so that it has no copies, and another thread
            or task has checked it out in a transaction that has not ended; as above.
        ReadOnlyStorageError: The database of one was opened for reading, or shows the past.
        BlockError: The block of the thread only reads, or another task has changes there.
        UnloadedClassError: The class of one is not loaded; it can be kept and moved as it is.
        SnapshotDroppedError: The thread goes on after a pause, in a snapshot that a pack has
            dropped.
        ClosedError: The database of one is closed.
        transaction.interfaces.TransactionFailedError: The transaction has failed before;
            ``transaction.abort()`` is due.

    Cost: the number of attributes; of a collection, nothing for its items.
    """
    for obj in objects:
        if type(here.memo.get(id(obj))) is WorkingCopy and not exclusive and not current_task():
            continue  # It is checked out already; a task might have met that of another one.
        if not isinstance(type(obj), PersistentMeta):
            raise NotPersistentError.of(obj, "its objects one by one: checkout(*objects)")
        for ref in getweakrefs(obj):  # As ref_of() does, without a call.
            if type(ref) is ObjectRef and ref.jar is not None and ref.serial != UNSTORED:
                ref.jar.checkout(obj, ref, exclusive=exclusive)
                break
        else:
            _open(obj)


def _open(obj: Any) -> None:
    """Let a new object be changed, by this thread alone: it has no copies.

    If the thread is in no transaction, that is not ended by any.
    """
    faces = type(obj)._p_faces
    if type(obj) is faces.open:
        return  # In its constructor, which ends it.
    if is_left_unread(obj):
        raise left_unread(obj)
    if type(obj) is not faces.owned or not is_own(obj):
        opened = (current_scope() or here).running()
        if not own(obj, opened):  # First: then nobody else changes what is copied below.
            raise CheckedOutElsewhereError(type(obj).__name__)
        if opened is not None:
            memo: dict[int, Any] = {}
            before = {name: to_plain(value, memo) for name, value in native_dict(obj).items()}
            opened.pairs.append((obj, before))
        _take_over(native_dict(obj))
        swap_class(obj, faces.owned or faces.make_owned())


def _take_over(state: State) -> None:
    """Replace the containers in a new state that belong to another object by copies."""
    memo: dict[int, Any] = {}
    met = {id(state)}
    todo: list[Any] = [state]
    while todo:
        each = todo.pop()
        for key, value in each.items() if type(each) is dict else enumerate(each):
            if type(value) in SHARED_TYPES:
                each[key] = to_plain(value, memo)
            elif type(value) in (dict, list) and id(value) not in met:
                met.add(id(value))
                todo.append(value)


def seal(obj: Any) -> None:
    """End the checkout of a new object."""
    faces = type(obj)._p_faces
    if type(obj) is faces.owned:
        swap_class(obj, faces.plain)
        disown(obj)


def is_open(obj: Any) -> bool:
    """Return whether this thread may set attributes of *obj*, which is new, past any copy."""
    face, faces = type(obj), type(obj)._p_faces
    return face is faces.open or (face is faces.owned and is_own(obj))


def is_new(ref: ObjectRef | None) -> bool:
    """Return whether no transaction has stored the object of *ref* yet."""
    return ref is None or ref.serial == UNSTORED
