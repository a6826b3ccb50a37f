"""Threads that take turns: one runs at a time, and at each system call another one may go on.

Which one is drawn from a seeded source of random numbers, so that a run can be repeated. Processes
may be killed at any call, and threads be stopped for a while. If all wait for each other, that is
reported as a fault.
Read :mod:`dobbin_like.testing.system` next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from dobbin_like.testing.faults import FoundFault, Killed

__all__ = ["Schedule", "Task"]


class Killable(Protocol):
    """What has threads, and may be killed."""

    pid: int
    dead: bool

    def kill(self) -> None: ...


class Host(Protocol):
    """What runs one process at a time."""

    process: Any
    schedule: Any


class Task:
    """A thread of a simulated process.

    ``ended`` says whether it has come to its end; ``error`` is what it has raised, ``result`` what
    it has returned. ``waiting`` tells that it can't go on now. A process ends when all its tasks
    have but those that are ``daemon``.
    """

    def __init__(
        self, process: Killable, function: Callable[[], object], *, daemon: bool = False
    ) -> None:
        self.process = process
        self.daemon = daemon
        self.ended = False
        self.error: BaseException | None = None
        self.result: object = None
        self.stopped_until = 0
        self.ready: Callable[[], bool] | None = None
        self.turn: threading.Lock = threading.Lock()
        self.turn.acquire()
        self._function = function

    @property
    def waiting(self) -> bool:
        return not self.process.dead and self.ready is not None and not self.ready()

    def run(self) -> None:
        """Do what the task does, and note how that ends."""
        try:
            self.result = self._function()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001  handed to the caller of the schedule
            self.error = error


class Schedule:
    """Whose turn it is in one machine.

    Args:
        change: How likely another task goes on at a call.
        stop: How likely the one that runs is stopped for some time.
        kill: How likely the process that runs is killed.
        limit: Calls after which the run counts as one that does not end.
    """

    def __init__(
        self,
        machine: Host,
        random: Random,
        *,
        change: float = 0.3,
        stop: float = 0.0,
        kill: float = 0.0,
        limit: int = 200_000,
    ) -> None:
        self.machine = machine
        self.random = random
        self.change = change
        self.stop = stop
        self.kill = kill
        self.calls: int = 0
        self.tasks: list[Task] = []
        self.every_call: Callable[[], object] | None = None
        self._limit = limit
        self._current: Task | None = None
        self._aborting = False
        self._main = threading.Lock()
        self._main.acquire()
        self._threads: list[threading.Thread] = []
        machine.schedule = self

    def spawn(
        self, process: Killable, function: Callable[[], object], *, daemon: bool = False
    ) -> Task:
        """Add a task, which begins when it is its turn."""
        task = Task(process, function, daemon=daemon)

        def body() -> None:
            task.turn.acquire()
            if not process.dead:
                task.run()
            self._end(task)

        thread = threading.Thread(target=body, daemon=True)
        self.tasks.append(task)
        self._threads.append(thread)
        thread.start()
        return task

    def run(self) -> None:
        """Let the tasks take turns until all have ended.

        Raises:
            FoundFault: They wait for each other, or do not end.
            BaseException: What a task has raised; the others were killed then.
        """
        self._aborting = False
        if self.tasks:
            self._hand_to(self._choose(None), self._main)
        self.finish()

    def finish(self) -> None:
        """Kill what is left; raise what a task has raised."""
        errors = [task.error for task in self.tasks if task.error is not None]
        self.abort()
        if errors:
            raise errors[0]

    def abort(self) -> None:
        """Kill all processes."""
        self._aborting = True
        for task in list(self.tasks):
            task.process.kill()
            if not task.ended:
                self._hand_to(task, self._main)
        for thread in self._threads:
            thread.join()
        self.tasks, self._threads = [], []

    # -- what the stand-ins call ---------------------------------------------------

    def point(self) -> None:
        """Let another task go on, perhaps; called before each system call."""
        task = self._current
        if task is None:
            return
        self.calls += 1
        if self.calls > self._limit:
            text = f"it does not end: {self.calls} calls"
            raise FoundFault(text)
        if not self._aborting:
            self._draw(task)

    def _draw(self, task: Task) -> None:
        if self.every_call is not None:
            self.every_call()
        random = self.random
        if self.kill and random.random() < self.kill:
            task.process.kill()
            return
        if self.stop and random.random() < self.stop:
            task.stopped_until = self.calls + random.randint(20, 400)
        elif random.random() >= self.change:
            return
        self._go_on(task)

    def sleep(self, calls: int) -> None:
        """Let others go on for so many calls."""
        task = self._current
        if task is not None and not self._aborting:
            task.stopped_until = self.calls + calls
            self._go_on(task)

    def wait(self, ready: Callable[[], bool]) -> None:
        """Let others go on until something is so, or the process is killed."""
        task = self._current
        assert task is not None
        # While all are killed, only a task of a process that is dead by then has its turn.
        while not ready() and not task.process.dead:
            task.ready = ready
            self._go_on(task)
        task.ready = None

    # -- inside ------------------------------------------------------------------

    def _go_on(self, task: Task) -> None:
        chosen = self._choose(task)
        if chosen is not task:
            self._hand_to(chosen, task.turn)

    def _hand_to(self, task: Task | None, own: threading.Lock) -> None:
        self._give(task)
        own.acquire()

    def _give(self, task: Task | None) -> None:
        self._current = task
        if task is None:
            self._main.release()
        else:
            self.machine.process = task.process
            task.turn.release()

    def _end(self, task: Task) -> None:
        task.ended = True
        if task.error is not None or self._aborting:
            self._give(None)
            return
        self.tasks.remove(task)
        if all(one.daemon for one in self.tasks if one.process is task.process):
            task.process.kill()
        if self.every_call is not None:
            self.every_call()
        try:
            self._give(self._choose(None) if self.tasks else None)
        except FoundFault as error:
            task.error = error
            self.tasks.append(task)
            self._give(None)

    def _choose(self, task: Task | None) -> Task:
        able = [one for one in self.tasks if not one.ended and not one.waiting]
        if not able:
            text = "all wait for each other"
            raise FoundFault(text)
        ready = [one for one in able if one.stopped_until <= self.calls]
        if not ready:
            first = min(able, key=lambda one: one.stopped_until)
            self.calls = first.stopped_until
            return first
        if task in ready and len(ready) > 1 and self.random.random() < 0.5:
            ready.remove(task)
        return self.random.choice(ready)
