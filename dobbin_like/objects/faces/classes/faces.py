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
class run first and their ``super()`` arrives here. What the layers do: :mod:`.base`.
"""

from __future__ import annotations

import copyreg
import functools
from abc import ABCMeta
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from dobbin_like.exc import ClassNotSupported, NotStorableError
from dobbin_like.ids import Oid
from dobbin_like.objects.faces.declaration import (
    check_bases,
    check_declaration,
    check_state_methods,
    is_ours,
    own_dict,
)
from dobbin_like.objects.faces.elsewhere import is_there
from dobbin_like.objects.faces.methods import (
    adapt_again,
    adapt_mixins,
    adapted,
    calling_module,
)
from dobbin_like.objects.values.refs import Identity, swap_class
from dobbin_like.processes.interrupts import reentrant_lock

if TYPE_CHECKING:
    import inspect

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

    def __init__(self, plain: PersistentMeta) -> None:
        self.plain: PersistentMeta = plain
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
"""The classes of :mod:`.base` that stand below the user's class, by face."""

TOPS: dict[str, dict[str, Any]] = {}
"""What stands on top of the user's class, by face, also from :mod:`.base`."""


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
    return cls._p_faces.plain if isinstance(cls, PersistentMeta) else cls


def _reduce_face(face: Any) -> tuple[Callable[..., Any], tuple[Any]]:
    return plain_of, (face._p_faces.plain,)


_IS_ABSTRACT: Final = 1 << 20
"""The bit of ``__flags__`` of a class that has abstract methods left (Py_TPFLAGS_IS_ABSTRACT)."""


def _instance(cls: Any, /, *args: Any, **kwargs: Any) -> Any:
    # type(self)(...) in a method of a masked object arrives here with the mask.
    faces = cls._p_faces
    plain: Any = faces.plain
    open_class = faces.open or faces.make_open()
    if plain.__flags__ & _IS_ABSTRACT:
        return type.__call__(plain, *args, **kwargs)  # refuses, in Python's words
    obj = plain.__new__(open_class, *args, **kwargs)
    if not isinstance(obj, plain):
        return obj
    try:
        obj.__init__(*args, **kwargs)
    finally:
        if type(obj) is open_class:
            swap_class(obj, plain)
    return obj


# What is no function of a program hides no constructor, to inspect of 3.14.
_instance.__wrapped__ = type.__call__  # type: ignore[attr-defined]
_instance.__annotations__ = {}  # They would be resolved in the module of that one: it has none.


class _ConstructorSignature:
    """The signature of the constructor of a class; its ``__call__`` would hide it.

    There is none while an annotation can't be evaluated, which may be so since Python 3.14:
    inspect finds the constructor then, and knows in which form it is asked for annotations.
    It is no property: a class may have a ``__signature__``, or be given one by its decorator.
    """

    def __get__(self, cls: Any, meta: object = None) -> inspect.Signature:
        import inspect

        if cls is None:
            raise AttributeError(name="__signature__", obj=meta)
        plain = cls._p_faces.plain
        init = plain.__init__
        method = plain.__new__ if init is object.__init__ else init
        if method is object.__new__:
            return inspect.Signature()
        try:
            signature = inspect.signature(method)
        except NameError as error:
            raise AttributeError(name="__signature__", obj=cls) from error
        return signature.replace(parameters=list(signature.parameters.values())[1:])


class PersistentMeta(ABCMeta):
    """The class of persistent classes: checks them, makes their faces, seals instances.

    A class with an abstract base class gets :class:`PersistentABCMeta`; one that has another
    metaclass as well needs a metaclass that is derived from both.
    """

    _p_faces: Faces
    _p_layer: Any
    """The class of :mod:`.base` that stands for the face."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any
    ) -> PersistentMeta:
        if mcs is PersistentMeta and ABCMeta in map(type, bases):
            mcs = PersistentABCMeta
        check_declaration(name, namespace)
        if type(namespace) is dict:
            namespace = dict(namespace)  # The caller of type() may use it again.
        if "__module__" not in namespace:  # type(name, bases, {}) would take that of this one.
            namespace["__module__"] = calling_module()
        if not is_ours(namespace):
            module = namespace["__module__"]
            namespace.update({key: adapted(value, module) for key, value in namespace.items()})
        made = _quieten(namespace)
        # Without an abstract base, nothing is abstract, as in any class.
        make = type.__new__ if mcs is PersistentMeta else super().__new__
        cls = make(mcs, name, bases, namespace, **kwargs)
        made.append(cls)
        if cls.__basicsize__ != Identity.__basicsize__ or cls.__itemsize__:
            reason = (
                "a base class with a memory layout of its own (a built-in type, an "
                "exception, slots) can't be combined with it; keep such a value in an attribute"
            )
            raise ClassNotSupported(name, reason)
        check_bases(cls)
        check_state_methods(cls)
        adapt_mixins(cls)
        type.__setattr__(cls, "_p_faces", Faces(cls))
        return cls

    if not TYPE_CHECKING:  # A checker that sees it looks at no constructor.
        __call__ = _instance

    __signature__: Any = _ConstructorSignature()

    if not TYPE_CHECKING:  # To a checker, they are those of ABCMeta.
        # Those also ask for registered classes, and take twice the time.
        __instancecheck__ = type.__instancecheck__
        __subclasscheck__ = type.__subclasscheck__

        def register(cls, subclass: type) -> Any:
            """Refuse *subclass*: only :class:`PersistentABCMeta` looks for registered ones."""
            name = cls.__qualname__
            text = (
                f"{subclass!r} can't be registered with {name}, which is not made by "
                f"PersistentABCMeta; derive {name} from abc.ABC, too, or its metaclass, if it has "
                "one of its own, from PersistentABCMeta"
            )
            raise TypeError(text)

    def __setattr__(cls, name: str, value: Any) -> None:
        faces = vars(cls).get("_p_faces")
        if faces is not None and faces.plain is not cls:  # type(self).name = value
            setattr(faces.plain, name, value)
            return
        super().__setattr__(name, adapted(value, cls.__module__))
        _changed(cls)

    def __delattr__(cls, name: str) -> None:
        faces = vars(cls).get("_p_faces")
        if faces is not None and faces.plain is not cls:
            delattr(faces.plain, name)
            return
        super().__delattr__(name)
        _changed(cls)

    def __dir__(cls) -> list[str]:
        return [name for name in super().__dir__() if is_there(cls, name)]

    def __subclasses__(cls) -> list[Any]:
        found: list[Any] = type.__subclasses__(cls)
        return [sub for sub in found if vars(sub).get("_p_faces") and sub._p_faces.plain is sub]


# Those of a class would be hidden by them, from Python 3.14 on, and those that it has not, always.
del PersistentMeta.__annotations__


class PersistentABCMeta(PersistentMeta):
    """The metaclass of persistent classes with abstract methods or abstract bases."""

    if not TYPE_CHECKING:
        __instancecheck__ = ABCMeta.__instancecheck__
        __subclasscheck__ = ABCMeta.__subclasscheck__
        register = ABCMeta.register


def _changed(cls: type) -> None:
    faces = vars(cls).get("_p_faces")
    if faces is not None:
        faces.class_changed()
    subclasses: list[type] = type.__subclasses__(cls)
    for sub in subclasses:
        _changed(sub)


def _quieten(namespace: dict[str, Any]) -> list[type]:
    """Keep ``__init_subclass__`` of a class from being run for its generated classes.

    Returns a list to which the caller adds the class once it is made.
    """
    made: list[Any] = []
    original: Any = namespace.get("__init_subclass__")
    if isinstance(original, FunctionType):
        original = classmethod(original)

    def init_subclass(cls: Any, /, **kwargs: Any) -> None:
        faces = vars(cls).get("_p_faces")
        if faces is not None and faces.plain is not cls:
            return
        if original is None:
            super(made[0], cls).__init_subclass__(**kwargs)
        else:
            original.__get__(None, cls)(**kwargs)

    namespace["__init_subclass__"] = classmethod(init_subclass)
    return made
