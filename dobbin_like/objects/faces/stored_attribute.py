"""Attributes that every state of a class has, and what a state says that lacks them.

So it is when the base of a class was changed after the state was stored.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from dobbin_like.exc import ChangedBaseError, NoSuchAttributeError
from dobbin_like.ids import Oid
from dobbin_like.objects.faces.base import is_new
from dobbin_like.objects.faces.classes.declaration import our_base
from dobbin_like.objects.faces.elsewhere import no_attribute
from dobbin_like.objects.values.refs import State, ref_of


class StoredAttribute:
    """Answers in the class for an attribute that the state of an object lacks."""

    def __init__(self, expected: str) -> None:
        self._expected = expected

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, obj: Any, owner: Any = None) -> Any:
        if obj is None:
            return self
        ref = ref_of(obj)
        if ref is None or is_new(ref):  # Its constructor has not come that far.
            raise no_attribute(obj, self._name)
        names = ", ".join(obj.__dict__) or "none"
        found, expected = f"the attributes {names}", f"{self._name}, {self._expected}"
        raise ChangedBaseError(type(obj).__name__, ref.oid, found, expected)


def taken(obj: Any, name: str, what: str = "setter") -> NoSuchAttributeError:
    """Return the error for setting an attribute in which a class of ours has its content.

    *what* is "deleter" for deleting it.
    """
    base = our_base(obj.__class__).__name__
    instead = f"a {base} has its content there; give your attribute another name"
    return NoSuchAttributeError(obj.__class__.__name__, f"{what} of {name}", instead)


class NoItems:
    """Stands in the state of a collection for the items that it lacks: any use of them raises.

    A descriptor in the class, as for the other attributes, would make each read of the items take
    twice as long: CPython finds nothing to remember of an attribute whose class has one.
    """

    __slots__ = ("_found", "_name", "_oid")
    __hash__: ClassVar[None] = None  # type: ignore[assignment]
    _p_immutable: ClassVar[bool] = True  # It is shared as it is.

    def __init__(self, class_name: str, oid: Oid, state: State) -> None:
        self._name, self._oid = class_name, oid
        self._found = ", ".join(state) or "none"

    def __eq__(self, other: object) -> bool:
        return type(other) is NoItems and other._oid == self._oid and other._found == self._found

    def __repr__(self) -> str:
        return f"<no items, but the attributes {self._found}>"

    def _refuse(self, *_args: Any) -> NoReturn:
        found, expected = f"the attributes {self._found}", "_items, of a collection"
        raise ChangedBaseError(self._name, self._oid, found, expected)


for _name in "contains delitem getattr getitem iter len reduce_ex reversed setitem".split():
    setattr(NoItems, f"__{_name}__", NoItems._refuse)  # noqa: SLF001


def check_items(cls: Any, ref: Any, state: State, name: str) -> None:
    """Raise ChangedBaseError if *name* in *state* is another built-in than that of *cls*.

    If there is none, the state gets what raises it when the items are asked for: the attributes
    can be read.
    """
    if name not in state:
        state[name] = NoItems(cls.__name__, ref.oid, state)
    value, expected = state[name], cls._p_builtin
    if isinstance(value, (dict, list, set)) and not isinstance(value, expected):
        kind = next(kind for kind in (dict, list, set) if isinstance(value, kind))
        found, needed = f"{name}, a {kind.__name__}", f"a {expected.__name__}"
        raise ChangedBaseError(cls.__name__, ref.oid, found, needed)
