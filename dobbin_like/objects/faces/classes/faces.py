"""The faces of a persistent object: classes generated beside the user's class.

The instance never changes; what changes is its class, and with it what answers when an
attribute is asked for:

* **plain**: the user's class itself. Reading runs no code of ours (I6).
* **open**: attributes may be set, in the constructor.
* **owned**: a new object that is checked out; one thread, or task, may set attributes.
* **masked**: some thread needs another state than the newest; each is answered with its own.
* **ghost**: known by oid and class; the first touch reads the state.

The generated classes stand *below* the user's class and *above* ``Persistent`` (but for the
ghost, on top), so that ``__getattr__``, ``__setattr__`` and ``__getattribute__`` of the user's
class run first and their ``super()`` arrives here. What the layers do:
:mod:`dobbin_like.objects.faces.base`.
"""

from __future__ import annotations

import copyreg
import functools
from collections.abc import Callable
from typing import Any, Final

from dobbin_like.exc import NotStorableError
from dobbin_like.ids import Oid
from dobbin_like.objects.faces.classes.declaration import own_dict
from dobbin_like.objects.faces.classes.methods import adapt_again
from dobbin_like.processes.interrupts import reentrant_lock

making: Final = reentrant_lock()
"""Held while a face is made: there must be one of each."""

_CLEAN_LIMIT: Final = 64
"""Sets of names that are remembered for a class; some classes have one for each object."""

_OWN_NAMES: Final = frozenset({"__annotate_func__", "__annotations__", "__type_params__"})
"""What Python looks for in the dict of a class alone, past all that a face can answer."""

_GUARDED_LIMIT: Final = 1000
"""Names that are guarded on a mask; some programs use an object like a dict."""


class Faces:
    """The faces of one class, made when first needed; ``type(obj)._p_faces`` on each of them.

    ``clean`` has the sets of names, in order, of which all are state; ``guarded`` has the names of
    attributes that nobody can set past the mask.
    """

    __slots__ = (
        *("clean", "data_names", "ghost", "guarded", "mask", "open", "owned", "plain"),
        "volatile",
    )

    def __init__(self, plain: Any) -> None:
        self.plain: Any = plain
        self.open: type | None = None
        self.owned: type | None = None
        self.mask: type | None = None
        self.ghost: type | None = None
        self.data_names: frozenset[str] | None = None
        self.volatile: frozenset[str] | None = None
        self.clean: set[tuple[str, ...]] = set()
        self.guarded: set[str] = set()

    def make_open(self) -> type:
        with making:
            self.open = self.open or self._below("open")
            return self.open

    def make_owned(self) -> type:
        with making:
            self.owned = self.owned or self._below("owned")
            return self.owned

    def make_mask(self) -> type:
        with making:
            self.mask = self.mask or self._below("mask")
            return self.mask

    def make_ghost(self, kind: str = "ghost") -> type:
        """Return the ghost face, made if need be; *kind* is a key of :data:`TOPS`."""
        with making:
            # On top of the user's class, and as its only base: the layout stays the same.
            self.ghost = self.ghost or self._generate((self.plain,), TOPS[kind])
            return self.ghost

    def _below(self, kind: str) -> type:
        layer: Any = LAYERS[kind]
        if issubclass(layer, self.plain):  # Persistent itself: nothing is below it
            return self._generate((layer,), TOPS[kind])
        return self._generate((self.plain, layer), TOPS[kind])

    def _generate(self, bases: tuple[type, ...], content: dict[str, Any]) -> type:
        plain = self.plain
        adapt_again(plain)
        own = own_dict(plain)
        namespace = {
            **content,
            "_p_faces": self,
            "__module__": plain.__module__,
            "__qualname__": plain.__qualname__,
            "__doc__": plain.__doc__,
            **{name: own[name] for name in _OWN_NAMES.intersection(own)},
        }
        # Past the user's metaclass: it shall not register a class nobody wrote.
        meta: Any = type(plain)
        made: type = type.__new__(_generated(meta), plain.__name__, bases, namespace)
        return made

    def find_data_names(self) -> frozenset[str]:
        """Find the data descriptors: names that the class answers before the state does."""
        self.data_names = self._names(
            lambda value: hasattr(type(value), "__set__") or hasattr(type(value), "__delete__")
        )
        return self.data_names

    def find_volatile(self) -> frozenset[str]:
        """Find names that are not state: cached properties, the mark of generic aliases."""
        cached = self._names(lambda value: isinstance(value, functools.cached_property))
        self.volatile = cached | {"__orig_class__"}
        return self.volatile

    def _names(self, wanted: Any) -> frozenset[str]:
        cls = self.mask or self.make_mask()
        found: dict[str, Any] = {}
        for base in reversed(cls.__mro__[1:]):  # What the mask itself has is ours.
            found.update(own_dict(base))
        return frozenset(name for name, value in found.items() if wanted(value))

    def state_of(self, attributes: dict[str, Any], oid: Oid | None = None) -> dict[str, Any]:
        """Return those of *attributes* that are state: neither volatile nor left by others.

        NotStorableError: One of them, of the object *oid*, has no name that is a text.
        """
        names: tuple[Any, ...] = tuple(attributes)
        if names in self.clean:  # the objects of a class mostly have the same attributes
            return dict(attributes)
        for name in names:
            if not isinstance(name, str):  # vars(obj) takes any.
                place = f".__dict__[{name!r}]"
                reason = "the name of an attribute has to be a text"
                raise NotStorableError(self.plain.__name__, oid, place, reason)
        state = {name: value for name, value in attributes.items() if name[:3] != "_v_"}
        for name in self.volatile or self.find_volatile():
            state.pop(name, None)
        if len(state) == len(names) and len(self.clean) < _CLEAN_LIMIT:
            self.clean.add(names)
        return state

    def to_be_copied(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """Return *attributes* without what others left there, and guard those of the mask.

        Of a masked object, what ``object.__setattr__`` and C code set has to go where the mask
        says. For that, they find a data descriptor.
        """
        volatile = self.volatile or self.find_volatile()
        data_names = self.data_names or self.find_data_names()
        mask = self.mask or self.make_mask()
        if not volatile.isdisjoint(attributes):
            attributes = {name: attributes[name] for name in attributes if name not in volatile}
        for name in attributes.keys() - self.guarded - data_names:
            # Special names mean something to the interpreter where a class has them.
            if len(self.guarded) < _GUARDED_LIMIT and name[:2] != "__":
                type.__setattr__(mask, name, Guarded(name))
                self.guarded.add(name)
        return attributes

    def class_changed(self) -> None:
        """Forget what is known about the attributes of the class."""
        self.guarded = set()
        self.data_names = None
        self.volatile = None
        self.clean = set()


class Guarded:
    """An attribute of masked objects, for code that reads or sets it past their class."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, obj: Any, owner: Any) -> Any:
        if obj is None:
            return getattr(owner._p_faces.plain, self._name)
        return LAYERS["mask"].__getattribute__(obj, self._name)

    def __set__(self, obj: Any, value: Any) -> None:
        LAYERS["mask"].__setattr__(obj, self._name, value)

    def __delete__(self, obj: Any) -> None:
        LAYERS["mask"].__delattr__(obj, self._name)


LAYERS: dict[str, Any] = {}
"""What :mod:`dobbin_like.objects.faces.base` has for below the user's class, by face."""

TOPS: dict[str, dict[str, Any]] = {}
"""What it has for on top of the user's class, by face."""


@functools.cache
def _generated(meta: Any) -> Any:
    """Return the metaclass of the generated faces of classes that *meta* has made.

    ``isinstance(other, type(obj))`` has to hold, whatever faces the two have. A program that
    looks into ``type(obj)``, or derives from it, has to find the user's class.
    """

    class Generated(meta):  # type: ignore[misc]
        def __new__(
            cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any
        ) -> Any:
            return meta(name, tuple(map(plain_of, bases)), namespace, **kwargs)

        def __instancecheck__(self, obj: Any) -> bool:
            return isinstance(obj, self._p_faces.plain)

        def __subclasscheck__(self, sub: type) -> bool:
            return issubclass(sub, self._p_faces.plain)

        def __subclasses__(self) -> list[Any]:
            found: list[Any] = self._p_faces.plain.__subclasses__()
            return found

        __dict__ = property(lambda self: vars(self._p_faces.plain))
        __bases__ = property(lambda self: self._p_faces.plain.__bases__)

    copyreg.pickle(Generated, _reduce_face)
    return Generated


def plain_of(cls: Any) -> Any:
    """Return the user's class if *cls* is a face of it, else *cls*."""
    faces = vars(cls).get("_p_faces")
    return cls if faces is None else faces.plain


def _reduce_face(face: Any) -> tuple[Callable[..., Any], tuple[Any]]:
    return plain_of, (face._p_faces.plain,)
