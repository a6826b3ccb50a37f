"""Puts blocks of several threads into a fixed order, without sleeping.

::

    steps = Steps()

    @steps.thread
    def writer():
        with steps[1]:
            ...

    with steps[0]:
        ...
    with steps[2]:
        ...
    steps.join()

A block begins when the one before it has ended, in whatever thread. A wait
that lasts too long says which step never came. The steps may have names:
``Steps("read", "changed")`` has the blocks ``steps["read"]``, then ``steps["changed"]``.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["StepNeverCame", "Steps", "in_thread"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

TIMEOUT_SECONDS: Final = 30.0


class StepNeverCame(AssertionError):
    """A block waited in vain for its turn."""


class Steps:
    """One order of blocks, and the threads that keep to it.

    Args:
        names: Of the steps, in their order; without, steps are numbered from 0.
        timeout: Seconds after which a step is taken not to come.
    """

    def __init__(self, *names: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self._timeout = timeout
        self._numbers = {name: number for number, name in enumerate(names)}
        self._changed = threading.Condition()
        self._next = 0
        self._failed = False
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    @contextmanager
    def __getitem__(self, step: int | str) -> Iterator[None]:
        """Wait for the step before *step* to end, run the block, let the next one begin.

        Raises:
            StepNeverCame: The one before has not ended in time, or this one has begun before.
            KeyError: There is no step of that name.
        """
        number = self._numbers[step] if isinstance(step, str) else step
        self._wait_for(number)
        try:
            yield
        except BaseException:
            self._move_on(number, failed=True)
            raise
        self._move_on(number)

    def _wait_for(self, number: int) -> None:
        with self._changed:
            came = self._changed.wait_for(
                lambda: self._failed or self._next >= number, self._timeout
            )
            if self._failed or not came:
                cause = self._errors[0] if self._errors else None
                text = f"step {number} never came; step {self._next} has not ended: {cause!r}"
                raise StepNeverCame(text) from cause
            if self._next > number:
                text = f"step {number} was run already"
                raise StepNeverCame(text)

    def _move_on(self, number: int, *, failed: bool = False) -> None:
        with self._changed:
            self._next = number + 1
            self._failed = self._failed or failed
            self._changed.notify_all()

    def thread(self, function: Callable[[], Any]) -> threading.Thread:
        """Start a thread that runs *function*; can be used as a decorator."""

        def run() -> None:
            try:
                function()
            except BaseException as error:  # noqa: BLE001  raised by join()
                with self._changed:
                    self._errors.append(error)
                    self._failed = True
                    self._changed.notify_all()

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def join(self) -> None:
        """Wait for all threads; raise again the first exception that ended one of them."""
        for thread in self._threads:
            thread.join(self._timeout)
        # What another one waited for in vain is a consequence, not the cause.
        for error in sorted(self._errors, key=lambda error: isinstance(error, StepNeverCame)):
            raise error
        alive = [thread.name for thread in self._threads if thread.is_alive()]
        assert not alive, f"threads that never ended: {alive}; step {self._next} is due"


def in_thread(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Run *function* in a thread of its own; return what it returns, raise what it raises."""
    results: list[_R] = []
    steps = Steps()
    steps.thread(lambda: results.append(function(*args, **kwargs)))
    steps.join()
    return results[0]
