"""What the body of a persistent class may define, and what its faces need for themselves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any

from dobbin_like.exc import ClassNotSupported
from dobbin_like.objects.faces.elsewhere import IN_OBJECTS

HOOKS = frozenset(
    {"_p_merge", "_p_migrate", "_p_part_of", "_p_replay", "_p_resolve_conflict", "_p_version"}
)
"""The names with ``_p_`` that a user's class may define."""

own_dict: Callable[[type], Mapping[str, Any]] = vars(type)["__dict__"].__get__
"""The dict of a class itself: that of a face, too, whose ``__dict__`` is the user's class's."""


def check_state_methods(cls: type) -> None:
    """Raise ClassNotSupported for methods that would be called by pickle and by no commit."""
    for name in "__getstate__", "__setstate__":
        owner = next((base for base in cls.__mro__ if name in own_dict(base)), object)
        if owner is not object and not is_ours(vars(owner)):
            reason = (
                f"it has {name}, which no commit calls: the attributes are stored as they are; "
                "let names of what is not to be stored begin with _v_, convert what older "
                "programs have stored in _p_migrate, and make copies by __reduce__"
            )
            raise ClassNotSupported(cls.__name__, reason)


def check_bases(cls: type) -> None:
    """Raise ClassNotSupported for several bases with states of their own, as collections have."""
    ours = [base for base in cls.__mro__ if is_ours(vars(base)) and hasattr(base, "_p_faces")]
    for other in ours:
        if not issubclass(ours[0], other):
            reason = (
                f"{ours[0].__name__} and {other.__name__} are bases of it, each with items or a "
                "state of its own; derive it from one of them, and keep the other in an attribute"
            )
            raise ClassNotSupported(cls.__name__, reason)


def check_names(cls: Any) -> None:
    """Raise ClassNotSupported for a name in which a base has its content, an option or its own.

    A mixin in front of the base counts as well, but for options. A property may stand for an
    option: it answers first, as its class wants it.
    """
    body = own_dict(cls)
    if is_ours(body):
        return
    base = our_base(cls).__name__
    _check_private_names(cls, base)
    for name in getattr(cls, "_p_options", frozenset()).intersection(body):
        if not hasattr(type(body[name]), "__set__"):
            reason = (
                f"it defines {name}, which each {base} has of its own, so that this one would "
                "never be used; set it in the constructor"
            )
            raise ClassNotSupported(cls.__name__, reason)


def check_declaration(name: str, namespace: dict[str, Any]) -> None:
    """Raise ClassNotSupported if the body of a persistent class defines what its faces need."""
    if is_ours(namespace):
        return
    reason = next(_objections(namespace), None)
    if reason is not None:
        raise ClassNotSupported(name, reason)


def _check_private_names(cls: type, base: str) -> None:
    for name in _theirs(cls):
        reason = ""
        if name in getattr(cls, "_p_content", frozenset()):
            reason = f"it defines {name}, where a {base} has its content; take another name"
        elif _is_private(name) and any(name in own_dict(each) for each in _ours(cls)):
            reason = f"it defines {name}, which a {base} needs for itself; take another name"
        if reason:
            raise ClassNotSupported(cls.__name__, reason)


def _theirs(cls: type) -> Iterator[str]:
    """Yield the names that *cls* and its mixins define in front of its base of this package."""
    for each in itertools.takewhile(lambda base: not is_ours(own_dict(base)), cls.__mro__):
        yield from own_dict(each)


def _ours(cls: type) -> Iterator[type]:
    return (base for base in cls.__mro__ if is_ours(own_dict(base)))


def _is_private(name: str) -> bool:
    """Return whether *name* is no hook, and none that ABCMeta sets."""
    hook = name == "_from_iterable" or name.startswith("_p_") or name.endswith("_")
    return name.startswith("_") and not hook and not name.startswith(("__", "_abc_"))


def is_ours(namespace: Mapping[str, Any]) -> bool:
    """Return whether a class with that body, or in that module, is one of this package."""
    return str(namespace.get("__module__", "")).startswith("dobbin_like.")


def our_base(cls: type) -> type:
    """Return the class of this package that *cls* is derived from."""
    return next(base for base in cls.__mro__ if is_ours(own_dict(base)))


def _objections(namespace: dict[str, Any]) -> Iterator[str]:
    if namespace.get("__slots__"):
        yield (
            "it has __slots__ (attrs and dataclasses make them with slots=True): a state is "
            "a dict, and is replaced as one; leave them out"
        )
    for attribute in namespace:
        if attribute.startswith("_p_") and attribute not in HOOKS:
            reserved = "names with _p_ are reserved, but for " + ", ".join(sorted(HOOKS))
            yield f"{attribute}: {IN_OBJECTS.get(attribute, reserved)}"
    version = namespace.get("_p_version", 0)
    if type(version) is not int or version < 0:
        yield f"_p_version is {version!r}, expected an int that grows with each change"
    if not isinstance(namespace.get("_p_migrate"), (NoneType, staticmethod, classmethod)):
        yield "_p_migrate gets a state, no object yet; make it a static or class method"
    part_of = namespace.get("_p_part_of", "")
    if not isinstance(part_of, str):
        yield f"_p_part_of is {part_of!r:.60}, expected the name of an attribute"
    for attribute in filter(namespace.__contains__, ("__dict__", "__class__", "__weakref__")):
        yield f"it redefines {attribute}, which its faces need"
