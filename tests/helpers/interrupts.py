"""Ctrl-C between any two lines of the package."""

from __future__ import annotations

import linecache
import sys

from tests.helpers.tracing import tracing

NO_CALL_BEFORE = ("self.seen = seen", "self.tail = tail")
"""Lines of Applied.move_to(): no signal comes between lines in which nothing is called."""


class Interrupt:
    """Raises ``KeyboardInterrupt`` at the *number*-th line that is run of *module* or below."""

    def __init__(self, number: int, module: str) -> None:
        self.left = number
        self.module = module

    def __call__(self, frame, event, _arg):
        # Between two assignments without a call no signal comes, only a tracer.
        ours = self.module in frame.f_globals.get("__name__", "")
        return self.line if ours and frame.f_code.co_name != "move_to" else None

    def line(self, frame, event, _arg):
        # No signal comes between the end of a with block and the release of its lock;
        # only a tracer can be there.
        here = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if event == "line" and not (here.startswith("with ") or here in NO_CALL_BEFORE):
            self.left -= 1
            # What is raised in a finalizer goes nowhere: it would interrupt nothing.
            if self.left <= 0 and not in_finalizer(frame):
                self.left = sys.maxsize
                raise KeyboardInterrupt
        return self.line


def in_finalizer(frame):
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def interrupted(function, number, module="dobbin_like"):
    """Run *function*; tell whether it was interrupted at its *number*-th line."""
    try:
        with tracing(Interrupt(number, module)):
            function()
    except KeyboardInterrupt:
        return True
    return False
