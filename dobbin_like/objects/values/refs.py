"""What lies under the faces of a persistent object: its dict, its reference, its thread.

An instance of a persistent class stays the same; its class (its *face*) and its dict are
replaced. Read :mod:`~dobbin_like.objects.faces.classes.faces` next.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Final, Protocol

from dobbin_like.contract import Storage
from dobbin_like.ids import Oid, Tid

State = dict[str, Any]
"""The attributes of a persistent object by name."""

UNREAD: Final = Tid(0)
"""The serial of a ghost: it is not known yet which transaction wrote it."""

UNSTORED: Final = Tid(-1)
"""The serial of an object that has an oid and is not stored yet."""


class Identity:
    """The base of all persistent objects: a dict, weak references, nothing else."""

    # No slots: they would take the inline attribute values of CPython 3.12 and later from every
    # subclass, and clash with other bases.


native_dict: Callable[[object], State] = Identity.__dict__["__dict__"].__get__
"""The dict of an instance, whatever face it wears."""

set_native_dict: Callable[[object, State], None] = Identity.__dict__["__dict__"].__set__
"""Give an instance another dict: one step, atomic for every reader."""

swap_class: Callable[[object, type], None] = object.__dict__["__class__"].__set__
"""Give an instance another class, past every ``__setattr__`` and ``__class__`` property."""


def in_class(cls: type, name: str, default: Any = None) -> Any:
    """Return what a class, or the first of its bases that has it, has under *name*.

    As it stands there: no descriptor is asked.
    """
    return next((vars(each)[name] for each in cls.__mro__ if name in vars(each)), default)


class Jar(Protocol):
    """What an object needs of the graph of its database."""

    database: Any
    storage: Storage

    def load(self, obj: Any, ref: ObjectRef, /) -> None:
        """Read the state of a ghost and give it its plain face."""

    def visible(self, obj: Any, ref: ObjectRef, /) -> State | None:
        """The state of a masked object that the calling thread sees."""

    def serial(self, obj: Any, ref: ObjectRef, /) -> Tid:
        """The tid that last changed the object, as the calling thread sees it."""

    def newest_tid(self) -> Tid:
        """The newest tid that is published."""

    def keep_cached(self, obj: Any, ref: ObjectRef, name: str, value: Any, newest: Tid, /) -> None:
        """Keep a value that the calling thread has computed since *newest* was published."""

    def fresh(self, ref: ObjectRef, serial: Tid, /) -> State:
        """Return the state that *serial* has written, a copy of the caller's own."""

    def checkout(self, obj: Any, ref: ObjectRef, *, exclusive: bool) -> None:
        """Give the calling thread a working copy of the object."""

    def broken_state(self, ref: ObjectRef, class_number: int, /) -> tuple[State, str]:
        """Return what is stored of a broken object, and why its class is not loaded."""


class Mask:
    """Why an object is masked: versions that a view sees, and working copies.

    ``chain``: ``((tid, state), ...)``, newest first; ``None`` if there is only the native dict.
    The tuple is replaced as a whole, so that readers need no lock. A state of ``None`` was not
    read from the log yet. ``holders``: ids of the views that have a working copy. ``foreign``: the
    newest version was found in the log, not made by a thread of this database instance. All are
    written under the graph's lock only; never those of a mask that several objects share.
    """

    __slots__ = ("chain", "foreign", "holders")

    def __init__(
        self, chain: tuple[tuple[Tid, State | None], ...] | None, holders: frozenset[int]
    ) -> None:
        self.chain: tuple[tuple[Tid, State | None], ...] | None = chain
        self.holders: frozenset[int] = holders
        self.foreign: bool = False


NOBODY: Final = Mask(None, frozenset())
"""The mask of what nobody has checked out, and of which there is one version."""


class ObjectRef(weakref.ref[Any]):
    """What a database knows of one object: cache entry and weak reference in one.

    The database finds it by the oid, the object among its weak references (100 ns, never on a
    plain read). ``serial`` is the newest tid that wrote the object, or :data:`UNREAD`, or
    :data:`UNSTORED`. Written under the graph's lock only.
    """

    __slots__ = ("jar", "mask", "oid", "serial")

    oid: Oid
    serial: Tid
    jar: Jar | None
    mask: Mask | None


def make_ref(
    obj: object, oid: Oid, jar: Jar, serial: Tid, forget: Callable[[ObjectRef], object] | None
) -> ObjectRef:
    """Make *obj* known to *jar* as *oid*; *forget* is called when it is gone."""
    ref = ObjectRef(obj, forget)
    ref.oid = oid
    ref.jar = jar
    ref.serial = serial
    ref.mask = None
    return ref


def ref_of(obj: object) -> ObjectRef | None:
    """Return the reference of *obj*, or ``None`` if it belongs to no database."""
    for ref in weakref.getweakrefs(obj):
        if type(ref) is ObjectRef and ref.jar is not None:
            return ref
    return None
