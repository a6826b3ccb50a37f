"""Objects whose class is not loaded: only their stored state can be read.

A broken object stays a ghost. Each access first asks whether the class can be loaded by now; then
the object becomes a ghost of that class. If not, the access reads the state that the thread sees
from the log, as it was stored; it is not kept.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable
from typing import Any, Final

from dobbin_like.exc import BrokenObjectError, UnloadedClassError
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.objects.faces.classes.faces import TOPS
from dobbin_like.objects.faces.classes.metaclass import PersistentMeta
from dobbin_like.objects.faces.lookup import load
from dobbin_like.objects.values.refs import ref_of

_GONE: Final = "the object is gone from its database"


class Broken(Persistent):
    """Base of the classes that stand for those that are not loaded, one for each number.

    The attributes of an instance, and ``vars()`` of it, are those of its stored state; values in
    it refuse to be changed. It can be referred to, and so be moved. Checking it out, setting an
    attribute, copying it and calling it raise :class:`~dobbin_like.exc.UnloadedClassError`.
    """

    _p_name: tuple[str, str]
    _p_number: int

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Broken:
        raise UnloadedClassError(*cls._p_name, "only what is stored of it can be read")

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A copy would be a new object with a state that only the class can make.
        _make_whole(self)
        return self.__reduce_ex__(protocol)

    def __bool__(self) -> bool:
        return bool(self) if _is_whole(self) else True

    def __eq__(self, other: object) -> bool:
        return bool(self == other) if _is_whole(self) else self is other

    def __hash__(self) -> int:
        return hash(self) if _is_whole(self) else object.__hash__(self)

    def __repr__(self) -> str:
        cls = type(self)
        if _is_whole(self):
            return repr(self)
        return f"<broken {'.'.join(cls._p_name)} oid {self._p_oid}>"


def _forward(operate: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> Any:
        _make_whole(self)
        return operate(self, *args)

    return method


# What Python looks up in the class alone, past __getattribute__.
for _name in "call contains delitem getitem lt le gt ge setitem".split():
    setattr(Broken, f"__{_name}__", _forward(getattr(operator, _name)))
for _operate in (iter, len, reversed):
    setattr(Broken, f"__{_operate.__name__}__", _forward(_operate))


def make_broken(module: str, qualname: str, number: int) -> type[Broken]:
    """Return the class of the broken objects of one class number."""
    content = {"__module__": __name__, "_p_name": (module, qualname), "_p_number": number}
    made: Any = PersistentMeta(qualname, (Broken,), content)
    made._p_faces.make_ghost("broken")
    return made  # type: ignore[no-any-return]


def _is_whole(obj: Any) -> bool:
    """Give *obj* its class if it can be loaded by now; return whether it has it."""
    # Another thread may be faster, at any moment: what counts is the class in the end.
    with contextlib.suppress(UnloadedClassError):
        load(obj)
    return not issubclass(type(obj), Broken)


def _make_whole(obj: Any) -> None:
    """Give *obj* its class and its state, or raise UnloadedClassError."""
    try:
        load(obj)
    except UnloadedClassError:
        if issubclass(type(obj), Broken):
            raise
    cls = type(obj)
    if issubclass(cls, Broken):
        raise UnloadedClassError(*cls._p_name, _GONE)


def _getattribute(obj: Any, name: str) -> Any:
    plain = type(obj)._p_faces.plain
    if name == "__class__":
        return plain
    if name.startswith("_p_"):
        return object.__getattribute__(obj, name)
    if _is_whole(obj):
        return getattr(obj, name)
    ref = ref_of(obj)
    state: dict[str, Any] = {}
    reason = _GONE
    if ref is not None and ref.jar is not None:
        state, reason = ref.jar.broken_state(ref, plain._p_number)
    if name == "__dict__":
        return state
    if name in state:
        return state[name]
    if name.startswith("__"):
        return object.__getattribute__(obj, name)
    module, qualname = plain._p_name
    raise BrokenObjectError(module, qualname, reason, name)


TOPS["broken"] = {
    **TOPS["ghost"],
    "__getattribute__": _getattribute,
    "__setattr__": _forward(setattr),  # refuses, in the words of the class
    "__delattr__": _forward(delattr),
}
