"""Signals that end a command: it takes back what is half done, as after Ctrl-C.

A timer that has run out, a shutdown and a terminal that is closed send them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)

_AGAIN_SECONDS: Final = 0.01

_OURS: Final = "is_of_signal"
"""The attribute of an interrupt that one of these signals has raised; Ctrl-C raises others."""


@contextlib.contextmanager
def as_interrupt() -> Iterator[list[int]]:
    """Let the signals do what Ctrl-C does; yield a list of the one that has come.

    Not those that are ignored, as by ``nohup``, or that a program handles itself. Another one that
    comes meanwhile does not keep the first from its work. Where Python drops the interrupt, as in
    a ``__del__``, the signal comes again a moment later.
    """
    come: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        if come:
            return
        come.append(number)
        interrupt = signal.getsignal(signal.SIGINT)
        if not callable(interrupt):  # It is ignored, as in the background of a shell.
            interrupt = signal.default_int_handler
        try:
            interrupt(signal.SIGINT, frame)  # A server has one of its own.
        except KeyboardInterrupt as error:
            setattr(error, _OURS, True)
            raise

    is_main = threading.current_thread() is threading.main_thread()
    ours = [each for each in _ENDING if is_main and signal.getsignal(each) is signal.SIG_DFL]
    try:
        for each in ours:
            signal.signal(each, end)
        with _sent_again(come):
            yield come
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)


@contextlib.contextmanager
def _sent_again(come: list[int]) -> Iterator[None]:
    """Send the signal in *come* once more if Python drops the interrupt that it has raised."""
    timers: list[threading.Timer] = []
    before = sys.unraisablehook

    def again() -> None:
        number = come[0]
        come.clear()
        os.kill(os.getpid(), number)

    def dropped(found: sys.UnraisableHookArgs) -> None:
        if not getattr(found.exc_value, _OURS, False):
            before(found)
            return
        timer = threading.Timer(_AGAIN_SECONDS, again)  # Not here: it would be dropped, too.
        try:
            timer.start()
        except RuntimeError:  # There are too many threads.
            come.clear()
        else:
            timers.append(timer)

    sys.unraisablehook = dropped
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in timers:  # The signal would end the process by now.
            timer.cancel()
            timer.join()
