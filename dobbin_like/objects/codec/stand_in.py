"""What stands for a value whose class is not loaded, or fails: it keeps what was stored."""

from __future__ import annotations

import copyreg
from typing import Any

from dobbin_like.exc import UnloadedClassError


class StandInMeta(type):
    """Tells a stand-in that was called from one made by ``__new__``: both are kept."""

    _p_name: tuple[str, str]
    _p_sealed: bool

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        _check_loading(cls)
        made: Any = cls.__new__(cls, *args, **kwargs)  # type: ignore[arg-type]
        made._p_how = "call"
        return made


class StandIn(metaclass=StandInMeta):
    """A value that is not there: keeps how it was made, and is stored back unchanged.

    Using it raises :class:`~dobbin_like.exc.UnloadedClassError`, which says what to do. The class
    is made for one loading and sealed after it. What is stored is in ``_p_args``, ``_p_state``,
    ``_p_items`` and ``_p_pairs``.
    """

    __slots__ = ("_p_args", "_p_how", "_p_items", "_p_kwargs", "_p_pairs", "_p_state")

    _p_immutable = True
    _p_sealed = False
    _p_args: tuple[Any, ...]
    _p_builtin: Any = None
    """The built-in container that it stands for, if a key of it has no hash."""
    _p_error: type[UnloadedClassError]
    _p_how: str
    _p_items: list[Any]
    _p_kwargs: dict[str, Any]
    _p_name: tuple[str, str]
    _p_number: int
    _p_pairs: list[tuple[Any, Any]]
    _p_reason: str
    _p_state: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self: Any = super().__new__(cls)
        self._p_how = "new"
        self._p_args = args
        self._p_kwargs = kwargs
        self._p_state = None
        self._p_items = []
        self._p_pairs = []
        return self

    def __setstate__(self, state: Any) -> None:
        _check_loading(type(self))
        self._p_state = state

    def append(self, item: Any) -> None:
        _check_loading(type(self))
        self._p_items.append(item)

    def extend(self, items: Any) -> None:
        _check_loading(type(self))
        self._p_items.extend(items)

    def __setitem__(self, key: Any, value: Any) -> None:
        _check_loading(type(self))
        self._p_pairs.append((key, value))

    def __eq__(self, other: object) -> bool:
        # As a key it has to be found by another one that was loaded from the same bytes.
        return isinstance(other, StandIn) and self._p_parts() == other._p_parts()

    def __hash__(self) -> int:
        try:
            return hash((self._p_number, self._p_args))
        except TypeError:
            return hash(self._p_number)

    def _p_parts(self) -> list[Any]:
        parts = (self._p_args, self._p_kwargs, self._p_state, self._p_items, self._p_pairs)
        return [self._p_number, self._p_how, *parts]

    def __reduce_ex__(self, protocol: Any) -> Any:
        cls = type(self)
        if cls._p_builtin is not None:
            if cls._p_builtin is dict:
                return dict, (), None, None, iter(self._p_pairs)
            return cls._p_builtin, (self._p_items,)
        rest = (self._p_state, iter(self._p_items) if self._p_items else None)
        rest += (iter(self._p_pairs) if self._p_pairs else None,)  # type: ignore[assignment]
        if self._p_how == "call":
            return cls, self._p_args, *rest
        if self._p_kwargs:
            return copyreg.__newobj_ex__, (cls, self._p_args, self._p_kwargs), *rest  # type: ignore[attr-defined]
        return copyreg.__newobj__, (cls, *self._p_args), *rest  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise self._p_error(*self._p_name, self._p_reason)

    def _p_refuse(self, *_args: Any) -> Any:
        raise self._p_error(*self._p_name, self._p_reason)

    __call__ = _p_refuse
    __contains__ = _p_refuse
    __getitem__ = _p_refuse
    __iter__ = _p_refuse
    __len__ = _p_refuse
    __int__ = _p_refuse
    __float__ = _p_refuse
    __add__ = _p_refuse
    __lt__ = _p_refuse
    __le__ = _p_refuse
    __gt__ = _p_refuse
    __ge__ = _p_refuse

    def __repr__(self) -> str:
        return f"<stand-in for {'.'.join(self._p_name)}: {self._p_reason}>"


def _check_loading(cls: Any) -> None:
    if cls._p_sealed:
        raise cls._p_error(*cls._p_name, cls._p_reason)


def make_stand_in(
    name: tuple[str, str],
    number: int,
    reason: str,
    error: type[UnloadedClassError] = UnloadedClassError,
) -> StandInMeta:
    """Return a class that stands for the one with *number*, which is not used for *reason*.

    Its instances raise *error*.
    """
    content = {
        "__slots__": (),
        "_p_error": error,
        "_p_name": name,
        "_p_number": number,
        "_p_reason": reason,
    }
    return StandInMeta("StandIn", (StandIn,), content)


def stand_in_member(cls: Any, number: int, *member: Any) -> Any:
    """Stand for a member of an enum that is not loaded, or has lost this member."""
    if not issubclass(cls, StandIn):
        name = cls.__module__, cls.__qualname__
        cls = make_stand_in(name, number, f"it has no member {member[0]!r}")
    made = cls.__new__(cls, *member)
    made._p_how = "member"
    return made
