"""What stands for a class while a state is decoded: it makes instances, and does nothing else.

The bytes of a state could do more with a class than call it: pickle has an instruction that sets
attributes of whatever is there, and so would change the class for the whole program. They could
also let a type of the standard library make something much larger than themselves: a list of a
range, say.
"""

from __future__ import annotations

import array
import collections
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from dobbin_like.exc import UnloadedClassError
from dobbin_like.objects.codec.instances.fields import IS_BY_ORDER, LATE, loader_of
from dobbin_like.objects.values.refs import Identity

_rebuild_array: Final[Callable[..., Any]] = array._array_reconstructor  # type: ignore[attr-defined]  # noqa: SLF001

_GROWING: Final = (
    *(array.array, bytearray, bytes, collections.UserDict, collections.UserList),
    *(collections.UserString, collections.deque, dict, float, frozenset, int, list, set, str),
    tuple,
)
"""Types that may make much of little, as fractions do. Others take what they are given."""

_THEIR_MODULES: Final = frozenset({cls.__module__ for cls in _GROWING} | {"fractions"})

_REFUSAL: Final = "a state never {}; the data is damaged or was tampered with"
_NEW_OBJECT: Final = "makes one"
_SUCH_ARGUMENTS: Final = "makes one of such arguments"

_IMMUTABLE_TYPE: Final = 1 << 8
"""The flag of a class that refuses to be changed, as those do that are written in C."""


class _Made(threading.local):
    count = 0

    def __init__(self) -> None:
        self.late: list[Any] = []


made: Final = _Made()
"""How many makers were used up by the thread: one that is left stands for a class that is a
value itself; and the values that may lack fields when the state is decoded."""


class MakerMeta(type):
    """The type of makers."""

    _p_real: Any
    _p_check: Any

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made.count += 1
        args = _real(args)
        cls._p_check(args, kwargs)
        return cls._p_real(*args, **kwargs)

    def __setattr__(cls, name: str, value: Any) -> None:
        raise refusal(cls._p_real, "changes it")


class Maker(metaclass=MakerMeta):
    """Stands for the class or function ``_p_real``."""


def maker_of(real: Any) -> Any:
    """Return a class that makes what *real* does, as far as a state asks for it.

    That is *real* itself if bytes can neither change it nor make something huge with it.
    """
    if not callable(real):  # A sentinel.
        return real
    check = check_of(real)
    content = {"_p_real": real, "_p_check": staticmethod(check)}
    if isinstance(real, type):
        if check is _no_check and real.__flags__ & _IMMUTABLE_TYPE:
            return real
        new, loaded = real.__new__, loader_of(real) if IS_BY_ORDER[real] else real
        is_late = loaded is real and bool(LATE[real])

        def make(_maker: Any, *args: Any, **kwargs: Any) -> Any:
            made.count += 1
            if args or kwargs or check is not _no_check:
                args = _real(args)
                check(args, kwargs)
            value = new(loaded, *args, **kwargs)
            if is_late:
                made.late.append(value)
            return value

        content["__new__"] = make
    return MakerMeta("Maker", (Maker,), content)


def check_of(real: Any) -> Callable[[Any, Any], None]:
    """Return what raises UnloadedClassError for arguments of which no state makes a *real*."""
    if not isinstance(real, type):
        return _no_check
    if issubclass(real, Identity):
        reason = _NEW_OBJECT
        is_allowed: Callable[[Any], bool] = lambda _args: False  # noqa: E731
    elif (issubclass(real, _GROWING) or _is_fraction(real)) and _has_their_constructor(real):
        reason = _SUCH_ARGUMENTS
        is_allowed = partial(_is_bounded, real)
    else:
        return _no_check

    def check(args: Any, kwargs: Any) -> None:
        if kwargs or not is_allowed(args):
            raise refusal(real, reason)

    return check


class _Checked(dict[type, bool]):
    """Whether there are arguments of which no state makes an instance, by class."""

    def __missing__(self, cls: type) -> bool:
        found = check_of(cls) is not _no_check
        if not getattr(cls, "_p_immutable", False):  # Stand-ins are made for one loading.
            self[cls] = found
        return found


IS_CHECKED: Final = _Checked()


def _no_check(args: Any, kwargs: Any) -> None:
    pass


def make_array(cls: Any, *args: Any) -> Any:
    """Do what the standard library does to rebuild an array."""
    return _rebuild_array(*_real((cls, *args)))


def _has_their_constructor(cls: type) -> bool:
    """Return whether a class has no code of its own to make an instance."""
    names = {"__init__", "__new__"}
    return next(c for c in cls.__mro__ if names & vars(c).keys()).__module__ in _THEIR_MODULES


def _is_fraction(cls: type) -> bool:
    module = sys.modules.get("fractions")  # It takes long to be imported.
    return module is not None and issubclass(cls, module.Fraction)


def _is_bounded(cls: type, args: tuple[Any, ...]) -> bool:
    if not args:
        return True
    first = args[0]
    if issubclass(cls, (int, float)):
        return isinstance(first, (int, float))
    if issubclass(cls, (str, collections.UserString)):
        return isinstance(first, str)
    if issubclass(cls, (bytes, bytearray)):
        return isinstance(first, (str, bytes, bytearray))
    if _is_fraction(cls):  # Not "1e999999999".
        return isinstance(first, (str, int)) and not (
            isinstance(first, str) and "e" in first.lower()
        )
    return range not in map(type, args)


def _real(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return *args* with the classes that makers among them stand for."""
    count = [*map(type, args)].count(MakerMeta)
    if not count:
        return args
    made.count += count
    return tuple([arg._p_real if type(arg) is MakerMeta else arg for arg in args])


def refusal(real: Any, what: str) -> UnloadedClassError:
    """Return the error for a state that does to a class or function what is done in none."""
    return UnloadedClassError(real.__module__, real.__qualname__, _REFUSAL.format(what))


def refused_class(error: Exception) -> tuple[str, bool] | None:
    """Return the class that *error* refuses to make, and whether for being persistent."""
    if not isinstance(error, UnloadedClassError):
        return None
    if error.reason == _REFUSAL.format(_NEW_OBJECT):
        return error.qualname, True
    return (error.qualname, False) if error.reason == _REFUSAL.format(_SUCH_ARGUMENTS) else None
