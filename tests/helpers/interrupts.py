"""Ctrl-C between any two lines of the package."""

from __future__ import annotations

import linecache
import sys

from tests.helpers.tracing import tracing

NO_CALL_BEFORE = ("self.seen = seen", "self.tail = tail")
"""Lines of Applied.move_to(): no signal comes between lines in which nothing is called."""


class Interrupt:
    """Raises ``KeyboardInterrupt`` at the *number*-th line that is run of *module* or below.

    Lines of finalizers do not count. What is raised there goes nowhere and would interrupt
    nothing, and which objects of earlier tests are collected meanwhile is chance.
    """

    def __init__(self, number: int, module: str) -> None:
        self.left = number
        self.module = module
        self._in_finalizer = False

    def __call__(self, frame, event, _arg):
        if self._in_finalizer:
            return None
        if frame.f_code.co_name == "__del__":
            self._in_finalizer = True
            return self._until_the_end
        # Between two assignments without a call no signal comes, only a tracer.
        ours = self.module in frame.f_globals.get("__name__", "")
        return self.line if ours and frame.f_code.co_name != "move_to" else None

    def _until_the_end(self, frame, event, _arg):
        if event == "return" and frame.f_code.co_name == "__del__":
            self._in_finalizer = False
        return self._until_the_end

    def line(self, frame, event, _arg):
        # No signal comes between the end of a with block and the release of its lock;
        # only a tracer can be there.
        here = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if event == "line" and not (here.startswith("with ") or here in NO_CALL_BEFORE):
            self.left -= 1
            if self.left <= 0:
                self.left = sys.maxsize
                raise KeyboardInterrupt
        return self.line


def interrupted(function, number, module="dobbin_like"):
    """Run *function*; tell whether it was interrupted at its *number*-th line."""
    try:
        with tracing(Interrupt(number, module)):
            function()
    except KeyboardInterrupt:
        return True
    return False
