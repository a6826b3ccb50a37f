"""Modules that run on a machine in memory: stand-ins in the place of their global names.

Read :mod:`dobbin_like.testing.model` next.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

from dobbin_like.testing.standins import replacements
from dobbin_like.testing.system import Machine, active

__all__ = ["LOG", "simulated"]

LOG: Final = "dobbin_like.log"
"""The package whose modules are simulated unless something else is asked for."""


def _modules(packages: Iterable[str]) -> list[dict[str, Any]]:
    names = tuple(packages)
    return [
        vars(module)
        for name, module in sorted(sys.modules.items())
        if module is not None and any(name == p or name.startswith(p + ".") for p in names)
    ]


@contextlib.contextmanager
def simulated(
    machine: Machine,
    *,
    packages: Iterable[str] = (LOG,),
    constants: Iterable[tuple[Any, str, Any]] = (),
) -> Iterator[Machine]:
    """Let modules call *machine* instead of the system, for some time.

    Args:
        packages: Whose modules; those that are imported already.
        constants: Module, name and value of what is to be another value meanwhile: small
            sizes, for instance, so that what is rare happens often.

    What was opened inside must not be used afterwards. Not for several threads at once, but for
    those of a :class:`.Schedule`. The log of messages is silent meanwhile.
    """
    table = replacements()
    saved: list[tuple[dict[str, Any], str, Any]] = []
    logger = logging.getLogger("dobbin_like")
    level = logger.level
    collects = gc.isenabled()
    # A finalizer is to run at the same moment each time; what was there before is none of it.
    gc.disable()
    gc.freeze()
    try:
        logger.setLevel(logging.CRITICAL + 1)
        for names in _modules(packages):
            for name, value in list(names.items()):
                if id(value) in table and not name.startswith("__"):
                    saved.append((names, name, value))
                    names[name] = table[id(value)]
        for module, name, value in constants:
            saved.append((vars(module), name, getattr(module, name)))
            setattr(module, name, value)
        with active(machine):
            try:
                yield machine
            finally:
                gc.collect()
    finally:
        for names, name, value in reversed(saved):
            names[name] = value
        logger.setLevel(level)
        gc.unfreeze()
        if collects:
            gc.enable()
