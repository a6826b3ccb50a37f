"""Ctrl-C and death between any two lines of what copies a log."""

from __future__ import annotations

import contextlib
import linecache
import os
from typing import TYPE_CHECKING, Any

from dobbin_like.log import copies
from dobbin_like.log.file import disk
from dobbin_like.log.format import header
from dobbin_like.log.writing import recovery
from dobbin_like.upkeep import backup
from tests.helpers.processes import exit_code, forked
from tests.helpers.tracing import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

MODULES = tuple(module.__name__ for module in (backup, copies, disk, header, recovery))


def copies_log(frame: Any, modules: tuple[str, ...] = MODULES) -> bool:
    """Return whether a frame is one of what copies a log."""
    return str(frame.f_globals.get("__name__", "")).startswith(modules)


class AtLine:
    """A tracer that calls *function* at the *number*-th line of the modules that copy."""

    def __init__(
        self, number: int, function: Callable[[], None], modules: tuple[str, ...] = MODULES
    ) -> None:
        self.left = number
        self.function = function
        self.modules = modules

    def __call__(self, frame: Any, event: str, _arg: Any) -> Any:
        if frame.f_code.co_name == "__del__":  # What is raised there is lost.
            return None
        return self.line if copies_log(frame, self.modules) else None

    def line(self, frame: Any, event: str, _arg: Any) -> Any:
        # No signal comes between the end of a with block and what ends it, only a tracer.
        here = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not here.strip().startswith("with "):
            self.left -= 1
            if self.left == 0:
                self.function()
        return self.line


def killed(
    function: Callable[[], object], number: int, modules: tuple[str, ...] = MODULES
) -> bool:
    """Run *function* in a child that dies at its *number*-th line; tell whether it did."""

    def child() -> None:
        with (
            contextlib.suppress(BaseException),
            tracing(AtLine(number, lambda: os._exit(9), modules)),
        ):
            function()
            os._exit(0)
        os._exit(1)

    code = exit_code(forked(child))
    assert code in (0, 9)
    return code == 9


def raise_interrupt() -> None:
    raise KeyboardInterrupt


def interrupted(function: Callable[[], object], number: int) -> bool:
    """Run *function*; tell whether it was interrupted at its *number*-th line."""
    try:
        with tracing(AtLine(number, raise_interrupt)):
            function()
    except KeyboardInterrupt:
        return True
    return False
