"""Ctrl-C between any two lines of the package, or wherever the interpreter looks for signals."""

from __future__ import annotations

import contextlib
import gc
import itertools
import linecache
import sys

from tests.helpers.tracing import tracing

NO_CALL_BEFORE = (
    "self.seen = seen",
    "self.tail = tail",
    "try:",
    "return root",
    "dropped, is_owner = None, True",
    "if is_owner:",
    "del self._entered[self._depth :]",
)
"""No signal comes between lines in which nothing is called: two are of Applied.move_to(), the last
of Block. The one that comes before the first line of its end has tests of its own."""


MOST_STEPS = 10_000
"""No function that a test interrupts at each of its steps has as many."""


def each_step(first=0, stride=1):
    """Yield one step after the other, until the loop over them is left; fail if it never is.

    What was interrupted and is garbage may add steps to what comes after it. It is collected now
    and then: else the steps might grow in number as fast as they are tried.
    """
    for number, step in enumerate(range(first, MOST_STEPS, stride)):
        if number % 50 == 0:
            gc.collect()
        yield step
    raise AssertionError(f"it has not come to its end in {MOST_STEPS} steps")


class Interrupt:
    """Raises *error* at the *number*-th line that is run of *module* or below.

    Lines of finalizers do not count. What is raised there goes nowhere and would interrupt
    nothing, and which objects of earlier tests are collected meanwhile is chance.
    """

    def __init__(
        self, number: int, module: str, error: type[BaseException] = KeyboardInterrupt
    ) -> None:
        self.left = number
        self.error = error
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
        # No signal comes between the end of a with block and the release of its lock, nor
        # between the lock and a try that begins the block; only a tracer can be there.
        here = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if event == "line" and not (here.startswith("with ") or here in NO_CALL_BEFORE):
            self.left -= 1
            if self.left <= 0:
                self.left = sys.maxsize
                raise self.error
        return self.line


def interrupted(function, number, module="dobbin_like", error=KeyboardInterrupt):
    """Run *function*; tell whether it was interrupted at its *number*-th line."""
    try:
        with tracing(Interrupt(number, module, error)):
            function()
    except error:
        return True
    return False


def interrupted_at_step(step, function):
    """Run *function*, raise KeyboardInterrupt at one step of it; tell whether it came so far."""
    came = False

    def interrupt():
        nonlocal came
        came = True
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        handled_at_step(step, function, interrupt)
    return came


def in_finalizer(frame):
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


def handled_at_step(step, function, handler):
    """Run *function*, call a signal *handler* at one step of it; tell whether it came so far.

    A step is a point at which the interpreter looks for signals: the begin of a function in
    Python and the end of one in C. The first one is 0. A step of a finalizer, where whatever the
    handler raises is lost, stands for the next one outside of it.
    """
    steps = itertools.count()
    came = False

    def count(frame, event, argument):
        nonlocal came
        module = frame.f_globals.get("__name__", "").partition(".")[0]
        # Not everywhere: logging and others of the standard library are not that safe.
        if event not in ("call", "c_return") or module not in ("dobbin_like", "transaction"):
            return
        # A with statement does not look for signals when it has called __enter__. Since 3.14 it
        # is seen by profilers; that 3.14 itself looks is known to interrupts.GivenBack.
        if event == "c_return" and getattr(argument, "__name__", "") == "__enter__":
            return
        if next(steps) >= step and not in_finalizer(frame):
            sys.setprofile(None)  # The steps of the handler do not count.
            came = True
            handler()

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return came


class ProbedLock:
    """The lock of a graph; tells when it is free because of an interrupt."""

    def __init__(self, lock, told):
        self._lock = lock
        self._told = told
        self.acquire = lock.acquire
        self.release = lock.release
        self._is_owned = lock._is_owned

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, kind, error, trace):
        self._lock.release()
        if kind is KeyboardInterrupt and not self._lock._is_owned():
            self._told()


@contextlib.contextmanager
def interrupting(function):
    """Raise KeyboardInterrupt where *function* begins, once: Python looks for signals there."""

    def raise_at_start(frame, event, _argument):
        if event == "call" and frame.f_code is function.__code__:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(raise_at_start)
    try:
        yield
    finally:
        sys.setprofile(None)
