"""The class of persistent classes: what it checks, and how it makes an instance.

It takes classes as they are written, adapts the functions in them, and gives each its faces
(:mod:`.faces`). An instance is made with the open face, and gets the user's class when its
constructor has ended.
"""

from __future__ import annotations

from abc import ABCMeta
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from dobbin_like.exc import ClassNotSupported
from dobbin_like.objects.faces.classes.declaration import (
    check_bases,
    check_declaration,
    check_names,
    check_state_methods,
    is_ours,
)
from dobbin_like.objects.faces.classes.faces import Faces
from dobbin_like.objects.faces.classes.methods import adapt_mixins, adapted, calling_module
from dobbin_like.objects.faces.elsewhere import is_there
from dobbin_like.objects.values.refs import Identity, swap_class

if TYPE_CHECKING:
    import inspect

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
    """The class of :mod:`~dobbin_like.objects.faces.base` that stands for the face."""

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
        check_names(cls)
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
