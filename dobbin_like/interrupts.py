"""The rule of steps that may be run again: what an interrupt cuts short is begun anew.

Ctrl-C, or another exception that a signal handler raises, may come between any two lines.
Where half of a change must never be seen, the change is written as a step that may be
repeated from any point, and run by :func:`finish_despite_interrupts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def finish_despite_interrupts(step: Callable[[], None]) -> None:
    """Run *step*, which may be repeated, to its end, whatever interrupts it.

    Ctrl-C, or another exception that a signal handler raises, may come
    between any two lines; what has been begun here must not stay half done.
    The exception is raised when *step* has come to its end, or when it
    happens again and again and so is the step's own.
    """
    interrupt: BaseException | None = None
    for _ in range(10):
        try:
            try:
                step()
                break
            except BaseException as error:  # noqa: BLE001  raised below
                interrupt = error
        except BaseException as error:  # noqa: BLE001  another one, that very moment
            interrupt = error
    if interrupt is not None:
        raise interrupt
