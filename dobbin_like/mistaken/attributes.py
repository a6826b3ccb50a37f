"""What a program holds, a database for one, is no place for its own attributes and items.

``db.foo = 1`` and ``db["foo"] = 1`` would be kept by the instance and stored nowhere, and a
misspelt option would do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from dobbin_like.exc import NoSuchAttributeError

_Class = TypeVar("_Class", bound=type)


def fixed(
    given: str, options: str, otherwise: str, told: Mapping[str, str] | None = None
) -> Callable[[_Class], _Class]:
    """Return a class decorator that lets instances refuse to be given a public attribute.

    A method may be replaced by something that can be called, as mocks do. Private attributes and
    subclasses are free: their code knows what it does.

    Args:
        given: How an option is given instead; ``{name}`` is its name.
        options: The names of these, separated by blanks.
        otherwise: What to do instead for another name.
        told: What there is instead of others.
    """

    def complete(cls: Any) -> Any:
        def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807
            if type(self) is cls and name[:1] != "_":
                check(self, name, value)
            object.__setattr__(self, name, value)

        def check(obj: Any, name: str, value: Any) -> None:
            there = getattr(cls, name, None)
            if there is None:
                what = f"setter of {name}" if name in vars(obj) else name
                instead = hints.get(name, otherwise).format(name=name)
                raise NoSuchAttributeError(cls.__name__, what, instead)
            if callable(there) and not callable(value):
                instead = "it is a method, to be called"
                raise NoSuchAttributeError(cls.__name__, f"setter of {name}", instead)

        hints = {**(told or {}), **dict.fromkeys(options.split(), given)}
        cls.__setattr__ = __setattr__
        return cls

    return complete


if TYPE_CHECKING:

    class NoMapping:
        """Has no items, for type checkers as well."""

else:

    class NoMapping:
        """Has no items, and says where they are."""

        def __getitem__(self, key: object) -> NoReturn:
            _refuse(self, "it has no items", f"[{key!r:.40}]")

        def __setitem__(self, key: object, value: object) -> NoReturn:
            _refuse(self, "it has no items", f"[{key!r:.40}] = ...")

        def __delitem__(self, key: object) -> NoReturn:
            _refuse(self, "it has no items", f"[{key!r:.40}]")

        def __contains__(self, key: object) -> NoReturn:
            _refuse(self, "nothing is in it", "")

        def __iter__(self) -> NoReturn:
            _refuse(self, "it can't be iterated over", "; db.walk() yields all objects")


def _refuse(obj: object, reason: str, instead: str) -> NoReturn:
    name = type(obj).__name__
    text = f"a {name} is no mapping, {reason}; the root is what leads to all objects: db.root"
    raise TypeError(text + instead)
