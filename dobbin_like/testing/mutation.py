"""Small mutations of functions, to see whether tests would find them.

A mutant is a function with one piece of its text replaced. :func:`mutated` lets it take the place
of the true one for some time, for everybody who has it: only its code is exchanged.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from types import FunctionType
from typing import Any, NamedTuple

__all__ = ["Mutant", "mutated"]


class Mutant(NamedTuple):
    """A mutation.

    ``where`` is module and name of the function, ``module:Class.method``; ``old`` stands in its
    text once, and ``new`` takes its place. ``kinds`` are what has to happen in a simulation.
    """

    name: str
    where: str
    old: str
    new: str
    kinds: str = ""


def _function(where: str) -> FunctionType:
    module, _, path = where.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = inspect.getattr_static(found, name)
    if isinstance(found, property):
        found = found.fget
    found = inspect.unwrap(found)
    assert isinstance(found, FunctionType), where
    return found


@contextlib.contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    """Let a mutant be there. Raises ValueError: its text is not in the function once."""
    function = _function(mutant.where)
    source = inspect.getsource(function)
    if source.count(mutant.old) != 1:
        text = f"{mutant.name}: {source.count(mutant.old)} times in {mutant.where}"
        raise ValueError(text)
    names: dict[str, Any] = {}
    changed = textwrap.dedent(source.replace(mutant.old, mutant.new))
    changed = "from __future__ import annotations\n" + changed
    exec(compile(changed, f"<{mutant.name}>", "exec"), function.__globals__ | {}, names)
    code = inspect.unwrap(names[function.__name__]).__code__
    true = function.__code__
    function.__code__ = code
    try:
        yield
    finally:
        function.__code__ = true
