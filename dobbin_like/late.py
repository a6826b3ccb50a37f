"""Names and methods that are imported when somebody asks for them.

A program that opens a database and reads an object needs half of the package. What it does not
need would take as long to import as all the rest.
"""

from __future__ import annotations

import errno
import functools
import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, TypeVar, cast

_P = ParamSpec("_P")
_R = TypeVar("_R")

_NO_DESCRIPTOR: Final = (errno.EMFILE, errno.ENFILE)


def late_names(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for *module* (PEP 562), which imports what is asked for.

    Args:
        homes: The modules of the package that have the names, by name; a module that is given
            out itself has an empty home.
    """
    package = __name__.rpartition(".")[0]

    def get_attribute(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            text = f"module {module!r} has no attribute {name!r}"
            raise AttributeError(text, name=name)
        if not home:
            return importlib.import_module(f"{package}.{name}")
        return getattr(importlib.import_module(f"{package}.{home}"), name)

    return get_attribute


if TYPE_CHECKING:

    class Method(Generic[_P, _R]):
        """What a function in a class is, told so that every type checker knows it."""

        def __get__(self, database: Any, owner: Any = None, /) -> Callable[_P, _R]: ...


class LateMethod:
    """A method that is a function of the store of a database: of the module *home*."""

    def __init__(self, home: str) -> None:
        self._home = home

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner, self._name = owner, name

    def __get__(self, database: object, owner: type) -> Any:
        try:
            home = importlib.import_module(self._home)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTOR or database is None:
                raise
            # Not of the module: whatever would be opened next could not be.
            path = cast("Any", database).storage.path
            raise OSError(error.errno, error.strerror, path) from error
        function = getattr(home, self._name)
        method: Any = function if function in _methods else bound(function)
        setattr(self._owner, self._name, method)
        return method.__get__(database, owner)


_methods: set[Callable[..., Any]] = set()


def of_database(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let *function* be the method itself, of the database: it is called all the time."""
    _methods.add(function)
    return function


def bound(function: Callable[Concatenate[Any, _P], _R]) -> Method[_P, _R]:
    """Return a method of a database that is *function* of its store."""
    bare = cast("Callable[[Any], _R]", function)

    @functools.wraps(function)
    def method(self: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        if args or kwargs:
            return function(self._store, *args, **kwargs)
        return bare(self._store)  # A call that unpacks nothing costs a third.

    return cast("Method[_P, _R]", method)
