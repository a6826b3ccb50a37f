"""Other names for classes on their way in: from a file, or by a function."""

from __future__ import annotations

import importlib
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from dobbin_like.exc import SourceError
from dobbin_like.objects.codec.state_writer import ClassName

KINDS: Final = ("dict", "list", "set", "tree", "treeset", "counter")
"""What the objects of a class can be told to be."""

_EXPECTED: Final = (
    f"the new name, or {{name = ..., as = ...}} with one of {', '.join(KINDS)}, or nothing"
)


class Mapped(NamedTuple):
    """The new name of a class, and what its objects are, if that was told.

    ``is_told``: the mapping has it.
    """

    name: ClassName
    kind: str | None = None
    is_told: bool = False


class Mapping:
    """Maps names of classes. *find* takes ``module.Class``, and returns what a file may have."""

    def __init__(self, find: Callable[[str], Any] | None = None, source: str = "") -> None:
        self._find, self._source = find, source
        self._known: dict[ClassName, Mapped] = {}

    def of(self, name: ClassName) -> Mapped:
        """Return what a class is to be. SourceError: The mapping gives something else."""
        found = self._known.get(name)
        if found is None:
            told = None if self._find is None else self._find(".".join(name))
            found = self._known[name] = self._mapped(name, told)
        return found

    def _mapped(self, name: ClassName, told: Any) -> Mapped:
        if told is None:
            return Mapped(name)
        kind = None
        if isinstance(told, dict) and told.keys() <= {"name", "as"}:
            kind = told.get("as")
            told = told.get("name", ".".join(name))
        if not isinstance(told, str) or kind not in (None, *KINDS):
            raise SourceError(self._source, ".".join(name), repr(told), _EXPECTED)
        if told == ".".join(name):
            return Mapped(name, kind, is_told=True)
        # A colon tells where the module ends, of a class inside of another one.
        module, colon, qualname = told.rpartition(":" if ":" in told else ".")
        if not (module and colon and qualname):
            raise SourceError(self._source, ".".join(name), repr(told), "module.Class")
        return Mapped((module, qualname), kind, is_told=True)


def mapping_of(text: str) -> Mapping:
    """Return the mapping of a file, .toml or .json, or of a function, ``module:function``.

    Raises:
        SourceError: It is neither, or can't be read.
    """
    if Path(text).exists():
        return Mapping(_Table(_read(text), text).find, text)
    module, colon, name = text.partition(":")
    if not colon:
        raise SourceError(text, "--classes", "no file", "a file, or module:function")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        raise SourceError(text, "--classes", found, "a function that can be imported") from error
    return Mapping(function, text)


def _read(path: str) -> dict[str, Any]:
    data = Path(path).read_bytes()
    try:
        found = json.loads(data) if path.endswith(".json") else tomllib.loads(data.decode())
    except ValueError as error:
        raise SourceError(path, "--classes", str(error), "TOML, or JSON in a .json") from None
    if not isinstance(found, dict):
        raise SourceError(path, "--classes", repr(found)[:60], "names of classes with new names")
    return found


class _Table:
    """Names and their new ones; those that end with ``.*`` are for all of a package."""

    def __init__(self, names: dict[str, Any], source: str) -> None:
        self._names = names
        self._packages: list[tuple[str, str]] = []
        for old, new in names.items():
            if old.endswith(".*"):
                if not (isinstance(new, str) and new.endswith(".*")):
                    raise SourceError(source, old, repr(new), "a package, as 'shop.*'")
                self._packages.append((old[:-1], new[:-1]))

    def find(self, name: str) -> Any:
        if name in self._names:
            return self._names[name]
        for old, new in self._packages:
            if name.startswith(old):
                return new + name.removeprefix(old)
        return None
