"""Names that are imported when somebody asks for them.

A program that opens a database and reads an object needs half of the package. What it does not
need would take as long to import as all the rest.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


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
