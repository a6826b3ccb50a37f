"""Threads that are stopped at a line, and go on when they are told to."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from tests.helpers.tracing import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_SECONDS = 30.0


class Stop:
    """Stops the thread that it traces at its *number*-th line in some of *modules*' functions.

    *functions* are their names; without, all count.
    """

    def __init__(self, number: int, modules: tuple[str, ...], *functions: str) -> None:
        self.left = number
        self.modules = modules
        self.functions = functions
        self.came = threading.Event()  # To the line, or to its end.
        self.go = threading.Event()
        self.ended = threading.Event()

    def __call__(self, frame: Any, _event: str, _arg: object) -> Any:
        if not frame.f_globals.get("__name__", "").startswith(self.modules):
            return None
        return self._line if frame.f_code.co_name in self.functions or not self.functions else None

    def _line(self, _frame: object, event: str, _arg: object) -> Any:
        if event == "line":
            self.left -= 1
            if not self.left:
                self.came.set()
                self.go.wait(TIMEOUT_SECONDS)
                sys.settrace(None)  # It is slow, and nothing more is to be found out.
        return self._line

    def run(self, step: Callable[[], object]) -> None:
        """Run *step* in this thread."""
        try:
            with tracing(self):
                step()
        finally:
            self.came.set()
            self.ended.set()


class StoppedThread:
    """A thread that gets ready, waits, and then does a step in which *stop* stops it."""

    def __init__(
        self, stop: Stop, get_ready: Callable[[], object], step: Callable[[], object]
    ) -> None:
        self.stop = stop
        self._get_ready, self._step = get_ready, step
        self._ready, self._starts = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(TIMEOUT_SECONDS)

    def _run(self) -> None:
        try:
            self._get_ready()
        finally:
            self._ready.set()
        self._starts.wait(TIMEOUT_SECONDS)
        self._step()

    def start(self, seconds: float) -> bool:
        """Let it do the step; return whether it has come to the line or to its end."""
        self._starts.set()
        return self.stop.came.wait(seconds)

    def join(self) -> None:
        """Let it go on to its end."""
        self.stop.go.set()
        self._thread.join(TIMEOUT_SECONDS)
        assert not self._thread.is_alive()


class Breakpoints:
    """Stops the thread that it traces at some lines, one after the other, until it may go on.

    A place is the module, the function and how many of its lines come first.
    """

    def __init__(self, *places: tuple[str, str, int]) -> None:
        self._places = list(places)
        self._lines = 0
        self._came, self._goes = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, frame: Any, _event: str, _arg: object) -> Any:
        return self._line if self._is_there(frame) else None

    def _is_there(self, frame: Any) -> bool:
        place = frame.f_globals.get("__name__"), frame.f_code.co_name
        return bool(self._places) and place == self._places[0][:2]

    def _line(self, frame: Any, event: str, _arg: object) -> Any:
        if event == "line" and self._is_there(frame):
            self._lines += 1
            if self._lines > self._places[0][2]:
                self._lines = 0
                del self._places[0]
                self._came.release()
                assert self._goes.acquire(timeout=TIMEOUT_SECONDS)
        return self._line

    def start(self, step: Callable[[], object]) -> threading.Thread:
        """Run *step* in a thread; return when it has come to the first place."""
        thread = threading.Thread(target=self._run, args=(step,))
        thread.start()
        self.wait()
        return thread

    def _run(self, step: Callable[[], object]) -> None:
        with tracing(self):
            step()

    def wait(self) -> None:
        assert self._came.acquire(timeout=TIMEOUT_SECONDS)

    def go(self) -> None:
        self._goes.release()
